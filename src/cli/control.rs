//! What the command line asks of a running agent, and `tagwall fetch` and `tagwall reload`, which need one.

use clap::Args;

use super::printer::Printer;
use super::{Cli, Exit, UsageError};
use crate::config::Name;
use crate::control::{Answer, Client, Failure, Request};
use crate::operate::Kind;
use crate::os::accounts;

/// Options of `fetch`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tagwall fetch                 look at every feed now, and say what came of it
  tagwall fetch microsoft       look at one")]
pub struct FetchArgs {
    /// Only this feed
    pub feed: Option<Name>,
}

/// What an agent could not do, in its words.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Told {
    /// Its kind, which decides the exit code.
    pub(super) kind: Kind,
    message: String,
}

/// Who types, for the records.
pub(super) fn me() -> String {
    accounts::describe(rustix::process::getuid().as_raw())
}

/// Looks at the feeds now.
pub(super) fn fetch(cli: &Cli, args: &FetchArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let agent = needed(cli, "fetch")?;
    say(&agent, &Request::Fetch { feed: args.feed.clone() }, printer)
}

/// Takes the configuration and templates anew.
pub(super) fn reload(cli: &Cli, printer: &Printer) -> anyhow::Result<Exit> {
    let agent = needed(cli, "reload")?;
    say(&agent, &Request::Reload, printer)
}

fn needed(cli: &Cli, command: &str) -> Result<Client, UsageError> {
    Client::find(&cli.state_dir).ok_or_else(|| {
        UsageError(format!(
            "no agent works on {}: `tagwall {command}` needs one, start it with `systemctl start tagwall` or `tagwall run`",
            cli.state_dir.display()
        ))
    })
}

/// Asks, and turns what was not done into an error.
pub(super) fn ask(
    agent: &Client,
    request: &Request,
    documents: &[&[u8]],
) -> anyhow::Result<Answer> {
    match agent.ask(request, documents)? {
        Answer::Failed(failure) => Err(told(failure)),
        answer => Ok(answer),
    }
}

/// What was not done, as an error.
pub(super) fn told(failure: Failure) -> anyhow::Error {
    let Failure { kind, message } = failure;
    Told { kind, message }.into()
}

/// Asks for something that is answered in words, and prints them.
pub(super) fn say(agent: &Client, request: &Request, printer: &Printer) -> anyhow::Result<Exit> {
    match ask(agent, request, &[])? {
        Answer::Said(said) => {
            printer.out(&said.text)?;
            Ok(Exit::Ok)
        }
        other => Err(unexpected(&other)),
    }
}

/// An answer to another question: the agent is of another version.
pub(super) fn unexpected(answer: &Answer) -> anyhow::Error {
    anyhow::anyhow!("the agent answered something else than what it was asked: {answer:?}")
}
