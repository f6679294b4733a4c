//! `tagwall status` and `tagwall history`: what is in force, and what was.

use clap::Args;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;

use super::printer::Printer;
use super::{Cli, Exit, control};
use crate::config::{Config, Period, Publishing};
use crate::control::{Answer, Client, Request};
use crate::prefix::parse::parse_net_or_address;
use crate::report::{History, PrefixHistory, Status};

/// Options of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Read the kernel; exit with 1 when it differs or packets do not get to the rules
    #[arg(long)]
    pub verify: bool,
    /// Exit with 1 also when it is not known that packets get to the rules
    #[arg(long, requires = "verify")]
    pub strict: bool,
    /// Print the status as JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `history`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tagwall history                              the generations with what changed
  tagwall history --prefix 192.0.2.0/24        when it came and went, and why")]
pub struct HistoryArgs {
    /// Only the newest N generations
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// When this address or prefix entered the rules and left them, from which publication, and on whose word
    #[arg(long, value_name = "PREFIX", value_parser = parse_net_or_address, conflicts_with = "limit")]
    pub prefix: Option<IpNet>,
    /// Print the history as JSON
    #[arg(long)]
    pub json: bool,
}

pub(super) fn status(cli: &Cli, args: &StatusArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let status = match Client::find(&cli.state_dir) {
        Some(agent) => match control::ask(&agent, &Request::Status { verify: args.verify }, &[])? {
            Answer::Status(status) => *status,
            other => return Err(control::unexpected(&other)),
        },
        None => Status::read(&cli.state_dir, args.verify, capacity_horizon(cli), Timestamp::now())?,
    };
    print(args.json, &status, Status::text, printer)?;
    Ok(if status.damage.is_some() {
        Exit::System
    } else if status.differs() || (args.strict && status.is_doubtful()) {
        Exit::Differs
    } else {
        Exit::Ok
    })
}

/// That of the configuration, where there is one that can be read: a status is needed most when it cannot.
fn capacity_horizon(cli: &Cli) -> Period {
    Config::load(&cli.config)
        .map_or(Publishing::CAPACITY_HORIZON, |config| config.publish.capacity_horizon)
}

pub(super) fn history(cli: &Cli, args: &HistoryArgs, printer: &Printer) -> anyhow::Result<Exit> {
    if let Some(prefix) = args.prefix {
        let history = PrefixHistory::read(&cli.state_dir, prefix)?;
        print(args.json, &history, PrefixHistory::text, printer)?;
        return Ok(Exit::Ok);
    }
    let history = match Client::find(&cli.state_dir) {
        Some(agent) => match control::ask(&agent, &Request::History { limit: args.limit }, &[])? {
            Answer::History(history) => history,
            other => return Err(control::unexpected(&other)),
        },
        None => History::read(&cli.state_dir, args.limit)?,
    };
    print(args.json, &history, History::text, printer)?;
    Ok(Exit::Ok)
}

/// Prints a report as JSON or as text.
fn print<T: Serialize>(
    json: bool,
    report: &T,
    text: impl Fn(&T) -> String,
    printer: &Printer,
) -> anyhow::Result<()> {
    if json {
        printer.json(report)?;
    } else {
        printer.out(&text(report))?;
    }
    Ok(())
}
