//! Bounded subprocesses: how this crate runs another program.
//!
//! Promises, for every program that is run here:
//!
//! - it is named by an absolute path and gets an argument vector; no shell reads anything;
//! - its environment holds [`PATH`], `LC_ALL=C` and what was added explicitly; its folder is `/`; its
//!   standard input is what it was given, or empty;
//! - it ends within the time limit: then it and everything in its process group is killed. When it
//!   ends by itself, what it left behind in its group is killed too. A process that made itself a
//!   daemon (left the group) is out of reach, but cannot make the call wait;
//! - of its output no more is kept than the limit, the rest is read and thrown away, so that it
//!   never blocks on a full pipe;
//! - its words reach an error message only after [`printable`](super::printable) made them harmless.
//!
//! A child holds the [lock](super::lock) of this process while it runs. Calls block.

mod error;
mod programs;
mod run;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

pub use error::{CommandError, last_lines};
pub use programs::{configure_programs, find_program};

/// The search path of children, and the only folders in which [`find_program`] looks for what has no configured path.
pub const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Time limit of a command that sets none. A kernel rule set of every service tag takes 2 seconds.
pub const DEFAULT_TIME_LIMIT: Duration = Duration::from_secs(30);

/// Bytes kept of each of stdout and stderr when a command sets no limit.
pub const DEFAULT_OUTPUT_LIMIT: usize = 1024 * 1024;

/// A program to run, with its limits.
///
/// Does not show its environment and input when debugged: they may hold credentials.
#[must_use = "a command does nothing until it is run"]
pub struct BoundedCommand {
    program: PathBuf,
    args: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    input: Option<Vec<u8>>,
    time_limit: Duration,
    output_limit: usize,
}

/// What a program that succeeded left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The first bytes that it wrote, up to the output limit.
    pub stdout: Vec<u8>,
    /// Whether it wrote more to stdout than was kept.
    pub stdout_cut: bool,
    /// The last bytes that it wrote, up to the output limit (the end says why it failed).
    pub stderr: Vec<u8>,
    /// Whether it wrote more to stderr than was kept.
    pub stderr_cut: bool,
    /// Its exit status.
    pub status: std::process::ExitStatus,
}

impl BoundedCommand {
    /// A program by its absolute path, with the default limits, no arguments and no input.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            environment: Vec::new(),
            input: None,
            time_limit: DEFAULT_TIME_LIMIT,
            output_limit: DEFAULT_OUTPUT_LIMIT,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds a variable to the environment (also to replace `PATH` or `LC_ALL`).
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Gives the program these bytes on its standard input. It may leave them unread.
    pub fn stdin(mut self, input: Vec<u8>) -> Self {
        self.input = Some(input);
        self
    }

    /// Sets the time after which the program is killed.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Sets how many bytes are kept of each of stdout and stderr.
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_limit = bytes;
        self
    }

    /// Runs the program to its end. An exit status other than 0 is an error.
    pub fn run(mut self) -> Result<Output, CommandError> {
        if !self.program.is_absolute() {
            return Err(CommandError::NotAbsolute { program: self.program });
        }
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let limits = run::Limits { time: self.time_limit, output: self.output_limit };
        let finished = run::to_end(&mut command, self.input.take(), &limits);
        error::judge(self.program, self.args, self.time_limit, finished)
    }
}

impl fmt::Debug for BoundedCommand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BoundedCommand")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("time_limit", &self.time_limit)
            .field("output_limit", &self.output_limit)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
