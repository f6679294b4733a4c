//! `tagwall belief`: what is believed, to be looked at, and to be carried to the other firewall of a pair.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::printer::Printer;
use super::publish::{close, open};
use super::{Cli, Exit, control};
use crate::control::{Answer, Client, Document, Request};
use crate::guard::Belief;
use crate::operate;
use crate::os::clock::now;
use crate::os::files;
use crate::report;

/// Options of `belief`.
#[derive(Debug, Args)]
#[command(after_help = "\
Two firewalls of a pair hold the same when one takes over what the other believes, with all holds, decisions and
withdrawn ranges; both then show the same digest.

Examples:
  tagwall belief show
  tagwall belief export > belief.json
  tagwall belief export | ssh other-firewall tagwall belief import -")]
pub struct BeliefArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What is done with the belief.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Say what is believed: its digest, the publications it stands on, and what is withdrawn and still open
    Show,
    /// Print the belief as a document
    Export,
    /// Take over the belief of another host, in the place of what is believed here
    Import {
        /// The document; `-` reads standard input
        file: PathBuf,
    },
}

pub(super) fn run(cli: &Cli, args: &BeliefArgs, printer: &Printer) -> anyhow::Result<Exit> {
    match &args.action {
        Action::Show => {
            let text = report::BeliefStatus::of(&report::belief(&cli.state_dir)?)
                .map(|belief| belief.text(Timestamp::now()));
            printer.out(&text.unwrap_or_else(|| "nothing is believed yet\n".to_owned()))?;
        }
        Action::Export => printer.raw(&report::belief(&cli.state_dir)?.write()?)?,
        Action::Import { file } => return import(cli, file, printer),
    }
    Ok(Exit::Ok)
}

fn import(cli: &Cli, file: &std::path::Path, printer: &Printer) -> anyhow::Result<Exit> {
    let bytes = if file.as_os_str() == "-" {
        files::read_stream_bounded(std::io::stdin().lock(), Belief::MAX_BYTES, "standard input")?
    } else {
        files::read_bounded(file, Belief::MAX_BYTES)?
    };
    if let Some(agent) = Client::find(&cli.state_dir) {
        let name = file.display().to_string();
        let request = Request::Adopt { belief: Document::of(name, &bytes) };
        return match control::ask(&agent, &request, &[&bytes])? {
            Answer::Said(said) => {
                printer.out(&said.text)?;
                Ok(Exit::Ok)
            }
            other => Err(control::unexpected(&other)),
        };
    }
    let mut operator = open(cli, "tagwall belief import", printer)?;
    operator
        .adopt(&bytes, &control::me(), now())
        .with_context(|| format!("{} is not imported, nothing was changed", file.display()))?;
    let text = operate::adopted(operator.belief());
    close(operator, printer);
    printer.out(&text)?;
    Ok(Exit::Ok)
}
