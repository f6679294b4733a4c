//! What people type: one file a subcommand, the printer, dispatch and exit codes.
//!
//! stdout is data, stderr is diagnostics; a closed pipe is quiet; `NO_COLOR` is honoured.

mod args;
mod check;
mod exit;
mod printer;
mod render;

pub use args::Cli;
pub use exit::Exit;

use std::process::ExitCode;

use clap::Parser as _;

use self::args::Command;
use self::printer::Printer;
use crate::config::ConfigError;
use crate::feed::FeedError;
use crate::os::files::FileError;
use crate::pipeline::PlanError;
use crate::render::{CheckError, RenderError};

/// Parses the command line, runs the command and returns its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no error.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            return match error.print() {
                Ok(()) => exit.into(),
                Err(_) => ExitCode::from(Exit::System as u8),
            };
        }
    };
    let printer = Printer::new();
    let outcome = match &cli.command {
        Command::Render(args) => render::run(&cli, args, &printer),
        Command::Check => check::run(&cli, &printer),
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
    for cause in error.chain() {
        if cause.is::<UsageError>() {
            return Exit::Usage;
        }
        if let Some(error) = cause.downcast_ref::<ConfigError>() {
            return match error {
                ConfigError::Read { .. } => Exit::System,
                _ => Exit::Config,
            };
        }
        if let Some(PlanError::Config(_) | PlanError::Render(_)) = cause.downcast_ref() {
            continue;
        }
        if let Some(error) = cause.downcast_ref::<FeedError>() {
            return match error {
                FeedError::Read { source: FileError::TooLarge { .. }, .. }
                | FeedError::Refused { .. } => Exit::Refused,
                FeedError::Read { .. } => Exit::System,
            };
        }
        if let Some(error) = cause.downcast_ref::<RenderError>() {
            return match error {
                RenderError::Limit { .. } => Exit::Limit,
                RenderError::TemplatesDir { .. } => Exit::System,
                _ => Exit::Config,
            };
        }
        if cause.is::<CheckError>() {
            continue;
        }
        if cause.is::<FileError>() || cause.is::<std::io::Error>() {
            return Exit::System;
        }
    }
    Exit::System
}

/// The options contradict each other or the configuration.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);
