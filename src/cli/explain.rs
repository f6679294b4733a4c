//! `tagwall explain`: where a flow is decided.
//!
//! Owns the question; each kind of answer (a profile, an address, a hostname) is a file of the folder beside this one.

mod address;
mod host;
mod profile;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::printer::Printer;
use super::{Cli, Exit, UsageError, feeds};
use crate::config::{Config, Name, Server, nearest};
use crate::names::Book;
use crate::os::printable::printable;
use crate::ruleset::AllowRule;
use crate::state;

/// Options of `explain`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ExplainArgs {
    /// apim.NAME, an address or prefix, or a hostname
    #[arg(value_name = "WHAT")]
    what: String,
    /// A Service Tags document, once for each cloud; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    feed: Vec<PathBuf>,
    /// Take the embedded publication of documentation ranges
    #[arg(long)]
    example: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Examples:
  tagwall explain apim.prod                       the profile's table; with --feed, with prefix counts
  tagwall explain 203.0.113.7 --feed FILE.json    which tags, groups and rules have this address
  tagwall explain 2001:db8::/48 --feed FILE.json
  tagwall explain login.microsoftonline.com       which groups name it, which rules let it through

Without a configuration, an address is looked up among the tags alone.
Exit codes: 0 answered, 2 command line, 3 configuration, 4 publication refused, 6 system.";

/// The answer as JSON.
#[derive(Serialize)]
struct Document<A> {
    format: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    answer: A,
}

/// A rule that lets something through, in every answer the same.
#[derive(Serialize)]
struct RuleAnswer {
    name: Name,
    direction: &'static str,
    own: Vec<String>,
    services: Vec<String>,
    interfaces: Vec<String>,
    group: Name,
}

pub(super) fn run(cli: &Cli, args: &ExplainArgs, printer: &Printer) -> anyhow::Result<Exit> {
    if let Some(name) = args.what.strip_prefix("apim.")
        && let Ok(name) = name.parse::<Name>()
    {
        let config = Config::load(&cli.config)?;
        if config.apim.contains_key(&name) {
            let example = args.example || feeds::lives_on_example(Some(&config));
            let publications = feeds::publications(Some(&config), &args.feed, example)?;
            let answer = profile::explain(&config, &name, &publications)?;
            return print(args, printer, "profile", &answer, profile::Answer::text);
        }
        // A hostname can begin with `apim.` too, but only with a further dot.
        return Err(unknown_profile(&config, &name).into());
    }
    match Server::try_from(args.what.clone()) {
        Ok(Server::Address(network)) => {
            let config = feeds::optional_config(cli)?;
            let example = args.example || feeds::lives_on_example(config.as_ref());
            let publications = feeds::some_publications(config.as_ref(), &args.feed, example)?;
            let answer = address::explain(config.as_ref(), network, &publications)?;
            print(args, printer, "address", &answer, address::Answer::text)
        }
        Ok(Server::Host(host)) => {
            let config = Config::load(&cli.config)?;
            let answer =
                host::explain(&config, &host, &book(cli)?, &state::belief(&cli.state_dir)?);
            print(args, printer, "host", &answer, host::Answer::text)
        }
        Err(reason) => Err(UsageError(format!(
            "`{}` is neither apim.NAME nor an address, prefix or hostname: {reason}",
            printable(&args.what, 80)
        ))
        .into()),
    }
}

fn book(cli: &Cli) -> anyhow::Result<Book> {
    Book::load(&cli.state_dir).context("cannot read the stored answers")
}

fn print<A: Serialize>(
    args: &ExplainArgs,
    printer: &Printer,
    kind: &'static str,
    answer: &A,
    text: fn(&A) -> String,
) -> anyhow::Result<Exit> {
    if args.json {
        let document = Document { format: "tagwall-explain/1", kind, answer };
        printer.json(&document)?;
    } else {
        printer.out(&text(answer))?;
    }
    Ok(Exit::Ok)
}

fn unknown_profile(config: &Config, name: &Name) -> UsageError {
    let all: Vec<&str> = config.apim.keys().map(Name::as_str).collect();
    let hint = match nearest(name.as_str(), all.iter().copied()).first() {
        Some(near) => format!("; did you mean apim.{near}?"),
        None => String::new(),
    };
    let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
    UsageError(format!("there is no profile apim.{name}{hint} (profiles: {all})"))
}

impl RuleAnswer {
    fn of(rule: &AllowRule) -> Self {
        Self {
            name: rule.name.clone(),
            direction: rule.direction.name(),
            own: rule.own.iter().map(|prefix| prefix.to_string()).collect(),
            services: rule.services.iter().map(ToString::to_string).collect(),
            interfaces: rule.interfaces.iter().map(ToString::to_string).collect(),
            group: rule.group.clone(),
        }
    }

    fn line(&self) -> String {
        let (from, to) = match self.direction {
            "inbound" => (self.group.to_string(), self.own.join(" ")),
            _ => (self.own.join(" "), self.group.to_string()),
        };
        let interfaces = match self.interfaces.as_slice() {
            [] => String::new(),
            some => format!(" on {}", some.join(" ")),
        };
        format!(
            "{} ({}): {from} → {to}, {}{interfaces}",
            self.name,
            self.direction,
            self.services.join(" ")
        )
    }
}
