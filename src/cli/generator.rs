//! `tagwall generator`: what systemd calls at boot and at `daemon-reload`, to learn what the agent needs.
//!
//! A unit file cannot read the configuration, so it would have to allow what any configuration could need. This writes
//! a drop-in beside it instead: the firewall's capabilities where a target is applied to this host's kernel, the folders
//! into which targets install files, and the like; and it takes the network away where nothing needs it. A configuration
//! that cannot be used adds nothing; what is wrong with it is said by `tagwall check` when the agent starts.

mod needs;
mod places;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use self::needs::Needs;
use super::printer::Printer;
use super::{Cli, Exit};
use crate::config::{Config, ConfigError};
use crate::os::command::{BoundedCommand, find_program};
use crate::os::files::{self, Replacement};

/// Options of `generator`: what systemd gives a generator.
#[derive(Debug, Args)]
pub struct GeneratorArgs {
    /// Where units are written
    #[arg(value_name = "NORMAL")]
    normal: PathBuf,
    /// Where units that take precedence over the administrator's are written; not used
    #[arg(value_name = "EARLY")]
    _early: Option<PathBuf>,
    /// Where units that everything takes precedence over are written; not used
    #[arg(value_name = "LATE")]
    _late: Option<PathBuf>,
}

/// The agent's unit.
const AGENT: &str = "tagwall.service";
/// The units that load sets and rules at boot.
const BOOT: [&str; 2] = ["tagwall-sets.service", "tagwall-boot.service"];

/// Longest time that systemd may take to say its version: a boot waits for it.
const VERSION_LIMIT: Duration = Duration::from_secs(2);

pub(super) fn run(cli: &Cli, args: &GeneratorArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let config = match Config::load(&cli.config) {
        Ok(config) => config,
        Err(ConfigError::Read { source, .. }) if source.is_not_found() => {
            return Ok(Exit::Ok);
        }
        Err(error) => return Err(error.into()),
    };
    let needs = Needs::of(&config);
    for path in &needs.unwritable {
        printer.warning(&format!("{} cannot be made writable for the agent", path.display()));
    }
    for path in &needs.hidden.refused {
        printer.warning(&format!(
            "{} is hidden from the agent; move it to /etc/tagwall, or into a folder below",
            path.display()
        ));
    }
    let mut texts = vec![(AGENT, needs.drop_in(&cli.config, systemd_version()))];
    if let Some(text) = needs.boot_drop_in(&cli.config) {
        texts.extend(BOOT.map(|unit| (unit, text.clone())));
    }
    let mut drop_ins = Vec::new();
    for (unit, text) in texts {
        let folder = args.normal.join(format!("{unit}.d"));
        files::create_dir_all_durable(&folder, 0o755)?;
        drop_ins.push(Replacement {
            path: folder.join("50-configuration.conf"),
            contents: text.into_bytes(),
            mode: Some(0o644),
        });
    }
    files::replace_all(&drop_ins)?;
    Ok(Exit::Ok)
}

/// The version of the systemd that is installed: `systemd 252 (252.38-1~deb12u1)`.
fn systemd_version() -> Option<u32> {
    let output = BoundedCommand::new(find_program("systemctl")?)
        .arg("--version")
        .time_limit(VERSION_LIMIT)
        .run()
        .ok()?;
    version_in(&String::from_utf8_lossy(&output.stdout))
}

fn version_in(text: &str) -> Option<u32> {
    let digits = |word: &str| -> String { word.chars().take_while(char::is_ascii_digit).collect() };
    digits(text.strip_prefix("systemd ")?).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_systemd_is_read() {
        assert_eq!(version_in("systemd 252 (252.38-1~deb12u1)\n+PAM"), Some(252));
        assert_eq!(version_in("systemd 256.7 (256.7-1)"), Some(256));
        assert_eq!(version_in("something else"), None);
    }
}
