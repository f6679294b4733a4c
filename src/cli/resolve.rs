//! `tagwall resolve`: asks now, and shows what would be used.
//!
//! Nothing is kept: the agent is the one who follows names.

use std::collections::BTreeSet;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::printer::Printer;
use super::{Cli, Exit, UsageError};
use crate::config::{Config, HostName};
use crate::intent::Intent;
use crate::names::{Book, Expected, Resolvers, wanted};
use crate::report::NameStatus;

/// Options of `resolve`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ResolveArgs {
    /// Hostnames; none: all that the configuration's targets need
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Examples:
  tagwall resolve                                 every name that the targets need, from every resolver
  tagwall resolve login.microsoftonline.com       one name, under the settings of [dns]

Stored answers are shown with what is answered now; nothing is kept and nothing changes.
Exit codes: 0 every name has an address, 1 some name has none, 2 command line, 3 configuration, 6 system.";

#[derive(Serialize)]
struct Document<'n> {
    format: &'static str,
    names: &'n [NameStatus],
}

pub(super) fn run(cli: &Cli, args: &ResolveArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let config = Config::load(&cli.config)?;
    let names = asked(&config, &args.names)?;
    let resolvers = Resolvers::new(&config.dns)?;
    let now = Timestamp::now();
    let mut book = Book::load(&cli.state_dir).context("cannot read the stored answers")?;
    let labels = resolvers.labels().map(str::to_owned).collect();
    _ = book.want(&names, &labels, &config.dns, now);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let looks = runtime
        .block_on(futures_util::future::join_all(names.iter().map(|name| resolvers.look(name))));
    for look in &looks {
        _ = book.apply(look, &config.dns.policy(&look.name), now, 1.0);
    }
    let found = NameStatus::all(&book, &Expected::default());
    if args.json {
        let document = Document { format: "tagwall-resolve/1", names: &found };
        printer.json(&document)?;
    } else {
        for name in &found {
            printer.out(&name.text(now))?;
            printer.out(&name.details(now))?;
        }
    }
    let all = found.iter().all(|name| !name.addresses.is_empty());
    Ok(if all { Exit::Ok } else { Exit::Differs })
}

fn asked(config: &Config, given: &[String]) -> anyhow::Result<BTreeSet<HostName>> {
    if given.is_empty() {
        return Ok(wanted(config, &Intent::of(config)));
    }
    given
        .iter()
        .map(|text| match text.parse::<HostName>() {
            Ok(name) if name.is_wildcard() => {
                Err(UsageError(format!("{name} is a wildcard, which cannot be resolved")).into())
            }
            Ok(name) => Ok(name),
            Err(reason) => Err(UsageError(reason).into()),
        })
        .collect()
}
