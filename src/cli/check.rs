//! `tagwall check`: is the configuration sound?

use super::{Cli, Exit, Printer};
use crate::config::Config;
use crate::render;

/// Loads the configuration, cross-checks it, and renders every target's templates with a complete sample.
pub(super) fn run(cli: &Cli, printer: &Printer) -> anyhow::Result<Exit> {
    let config = Config::load(&cli.config)?;
    render::check(&config)?;
    let count = |count: usize, one: &str, many: &str| {
        format!("{count} {}", if count == 1 { one } else { many })
    };
    let parts = [
        count(config.apim.len(), "profile", "profiles"),
        count(config.groups.len(), "group", "groups"),
        count(config.rules.len(), "rule", "rules"),
        count(config.targets.len(), "target", "targets"),
    ];
    printer.out(&format!("{}: sound ({})\n", cli.config.display(), parts.join(", ")))?;
    Ok(Exit::Ok)
}
