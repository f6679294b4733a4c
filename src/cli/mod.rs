//! What people type: one file a subcommand, the printer, dispatch and exit codes.
//!
//! stdout is data, stderr is diagnostics; a closed pipe is quiet; `NO_COLOR` is honoured.

mod args;
mod belief;
mod capacity;
mod change;
mod check;
mod completions;
mod control;
mod diff;
mod exit;
mod explain;
mod feeds;
mod generator;
mod init;
mod man;
mod plot;
mod printer;
mod probe;
mod publish;
mod render;
mod replay;
mod resolve;
mod restore;
mod review;
mod run;
mod status;
mod summary;
mod tags;
mod templates;

pub use args::Cli;
pub use exit::Exit;

use std::process::ExitCode;

use clap::Parser as _;

use self::args::Command;
use self::printer::Printer;
use crate::agent::AgentError;
use crate::config::Programs;
use crate::operate::Kind;
use crate::os::command::configure_programs;

/// Parses the command line, runs the command and returns its exit code.
pub fn main() -> ExitCode {
    let mut cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no error.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            return match error.print() {
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Exit::System.into(),
                _ => exit.into(),
            };
        }
    };
    // The commands of firewalls run elsewhere.
    if let Ok(absolute) = std::path::absolute(&cli.state_dir) {
        cli.state_dir = absolute;
    }
    cli.color.apply();
    let printer = Printer::new();
    use_configured_programs(&cli);
    let outcome = match &cli.command {
        Command::Render(args) => render::run(&cli, args, &printer),
        Command::Check(args) => check::run(&cli, args, &printer),
        Command::Tags(args) => tags::run(&cli, args, &printer),
        Command::Explain(args) => explain::run(&cli, args, &printer),
        Command::Run(args) => run::run(&cli, args),
        Command::Fetch(args) => control::fetch(&cli, args, &printer),
        Command::Reload => control::reload(&cli, &printer),
        Command::Status(args) => status::status(&cli, args, &printer),
        Command::History(args) => status::history(&cli, args, &printer),
        Command::Rollback(args) => publish::rollback(&cli, args, &printer),
        Command::Review(args) => review::review(&cli, args, &printer),
        Command::Approve(args) => review::approve(&cli, args, &printer),
        Command::Reject(args) => review::reject(&cli, args, &printer),
        Command::Rebaseline(args) => review::rebaseline(&cli, args, &printer),
        Command::Belief(args) => belief::run(&cli, args, &printer),
        Command::Resolve(args) => resolve::run(&cli, args, &printer),
        Command::Replay(args) => replay::run(&cli, args, &printer),
        Command::Restore(args) => restore::run(&cli, args, &printer),
        Command::Pause(args) => publish::pause(&cli, args, &printer),
        Command::Resume => publish::resume(&cli, &printer),
        Command::Probe(args) => probe::run(args, &printer),
        Command::Diff(args) => diff::run(&cli, args, &printer),
        Command::Init(args) => init::run(&cli, args, &printer),
        Command::Templates(args) => templates::run(args, &printer),
        Command::Completions(args) => completions::run(args, &printer),
        Command::Man(args) => man::run(args, &printer),
        Command::Generator(args) => generator::run(&cli, args, &printer),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) if is_closed_pipe(&error) => Exit::Ok.into(),
        Err(error) => {
            printer.error(&error);
            exit_of(&error).into()
        }
    }
}

/// Takes the paths of the firewall's programs from the configuration, for the commands that run them. A configuration that
/// cannot be read leaves the usual places: what else is wrong with it is for the command to say.
fn use_configured_programs(cli: &Cli) {
    let runs_them = matches!(
        cli.command,
        Command::Render(_)
            | Command::Run(_)
            | Command::Status(_)
            | Command::Probe(_)
            | Command::Rollback(_)
            | Command::Restore(_)
            | Command::Pause(_)
            | Command::Resume
            | Command::Approve(_)
            | Command::Reject(_)
            | Command::Rebaseline(_)
            | Command::Belief(_)
    );
    if let Some(programs) = runs_them.then(|| Programs::read(&cli.config)).flatten() {
        configure_programs(programs.paths());
    }
}

/// A reader that has seen enough (`tagwall … | head`) is no error.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// The exit code of an error, by its kind and not by its words.
fn exit_of(error: &anyhow::Error) -> Exit {
    let exit = |cause: &(dyn std::error::Error + 'static)| {
        if cause.is::<UsageError>() {
            return Some(Exit::Usage);
        }
        if let Some(told) = cause.downcast_ref::<control::Told>() {
            return Some(told.kind.into());
        }
        // These only pass on what happened, and the chain of causes does not show it.
        let cause: &(dyn std::error::Error + 'static) = match cause.downcast_ref() {
            Some(AgentError::Config(error)) => error,
            Some(AgentError::Render(error)) => error,
            Some(AgentError::Operate(error)) => error,
            _ => cause,
        };
        Kind::of_cause(cause).map(Exit::from)
    };
    error.chain().find_map(exit).unwrap_or(Exit::System)
}

/// The options contradict each other or the configuration.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);
