//! `tagwall run`: the agent.

use std::str::FromStr as _;

use clap::Args;
use tracing::debug;
use tracing_subscriber::filter::LevelFilter;

use super::{Cli, Exit};
use crate::agent::{self, Options};
use crate::config::Config;

/// Options of `run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Signals: HUP reloads the configuration and templates, USR1 looks at the feeds now, TERM and INT stop within the
grace period, and a second one at once.

Examples:
  tagwall run --config /etc/tagwall/tagwall.toml
  tagwall run --log-level debug")]
pub struct RunArgs {
    /// What is logged: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = level, env = "TAGWALL_LOG_LEVEL")]
    pub log_level: LevelFilter,
}

fn level(text: &str) -> Result<LevelFilter, String> {
    match LevelFilter::from_str(text) {
        Ok(level)
            if level != LevelFilter::OFF && !text.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            Ok(level)
        }
        _ => Err("there are error, warn, info, debug and trace".to_owned()),
    }
}

pub(super) fn run(cli: &Cli, args: &RunArgs) -> anyhow::Result<Exit> {
    let settled = agent::settle_allocator();
    let config = Config::load(&cli.config)?;
    agent::start_logging(config.agent.log_format, args.log_level);
    if let Err(error) = settled {
        debug!(%error, "the allocator keeps its own settings");
    }
    let options = Options { config: cli.config.clone(), state_dir: cli.state_dir.clone() };
    agent::run(options, config)?;
    Ok(Exit::Ok)
}
