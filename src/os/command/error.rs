//! How a program failed, told with its own last words.

use std::ffi::OsString;
use std::fmt::{self, Write};
use std::io::{self, ErrorKind};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::Output;
use super::run::{Ending, Finished, RunError};
use crate::os::printable::{printable, printable_os, printable_path};

/// How many lines of stderr a message shows.
const LINES: usize = 6;

/// How much of each line it shows, in characters.
const LINE_CHARACTERS: usize = 240;

/// How much of the arguments it shows, in characters.
const ARGUMENTS_CHARACTERS: usize = 160;

/// A program could not be run, or failed.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The path is relative, so it would depend on the folder and the environment.
    #[error("refusing to run {}: the path of a program must be absolute", printable_path(.program))]
    NotAbsolute {
        /// The path as given.
        program: PathBuf,
    },
    /// There is no such program.
    #[error("there is no program {} (or not the interpreter that its first line names)", printable_path(.program))]
    NotFound {
        /// Its path.
        program: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The operating system refused to start it.
    #[error("could not start {}", printable_path(.program))]
    Spawn {
        /// Its path.
        program: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// It did not end in time, and was killed.
    #[error("{} did not end within {limit:?} and was killed{}", Call(.program, .args), Words(.stderr))]
    TimedOut {
        /// Its path.
        program: PathBuf,
        /// Its arguments.
        args: Vec<OsString>,
        /// The time limit.
        limit: Duration,
        /// What it had said so far.
        stderr: Vec<u8>,
    },
    /// It ended with an exit status other than 0.
    #[error("{} failed with exit status {status}{}", Call(.program, .args), Words(.stderr))]
    Failed {
        /// Its path.
        program: PathBuf,
        /// Its arguments.
        args: Vec<OsString>,
        /// Its exit status, 1 to 255.
        status: i32,
        /// The last bytes of its stderr.
        stderr: Vec<u8>,
    },
    /// A signal ended it.
    #[error(
        "{} was ended by signal {}{}",
        Call(.program, .args), SignalName(*.signal), Words(.stderr)
    )]
    Signalled {
        /// Its path.
        program: PathBuf,
        /// Its arguments.
        args: Vec<OsString>,
        /// The number of the signal.
        signal: i32,
        /// The last bytes of its stderr.
        stderr: Vec<u8>,
    },
    /// Talking to it or waiting for it failed; it was killed.
    #[error("lost touch with {}", printable_path(.program))]
    Io {
        /// Its path.
        program: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl CommandError {
    /// The last bytes of its stderr, as it wrote them; empty when it never ran.
    pub fn stderr(&self) -> &[u8] {
        match self {
            Self::TimedOut { stderr, .. }
            | Self::Failed { stderr, .. }
            | Self::Signalled { stderr, .. } => stderr,
            _ => &[],
        }
    }
}

/// Makes of a program's end an output or an error.
pub(super) fn judge(
    program: PathBuf,
    args: Vec<OsString>,
    limit: Duration,
    finished: Result<Finished, RunError>,
) -> Result<Output, CommandError> {
    let Finished { ending, stdout, stderr } = match finished {
        Ok(finished) => finished,
        Err(RunError::Spawn(source)) if source.kind() == ErrorKind::NotFound => {
            return Err(CommandError::NotFound { program, source });
        }
        Err(RunError::Spawn(source)) => return Err(CommandError::Spawn { program, source }),
        Err(RunError::Io(source)) => return Err(CommandError::Io { program, source }),
    };
    let Ending::Exited(status) = ending else {
        return Err(CommandError::TimedOut { program, args, limit, stderr: stderr.bytes });
    };
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(Output {
            stdout: stdout.bytes,
            stdout_cut: stdout.cut,
            stderr: stderr.bytes,
            stderr_cut: stderr.cut,
            status,
        }),
        (None, Some(signal)) => {
            Err(CommandError::Signalled { program, args, signal, stderr: stderr.bytes })
        }
        (code, _) => {
            // Without code and signal it was only stopped, which waiting for the end does not report.
            let status = code.unwrap_or(status.into_raw());
            Err(CommandError::Failed { program, args, status, stderr: stderr.bytes })
        }
    }
}

/// The last lines of a program's stderr that are not blank, each made harmless and cut, joined by
/// line feeds; empty when it said nothing.
pub fn last_lines(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let mut lines: Vec<_> = text
        .lines()
        .rev()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .take(LINES)
        .map(|line| printable(line, LINE_CHARACTERS))
        .collect();
    lines.reverse();
    lines.join("\n")
}

/// Shows a call: the program and its arguments, made harmless and cut.
struct Call<'a>(&'a Path, &'a [OsString]);

impl fmt::Display for Call<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&printable_path(self.0))?;
        let mut room = ARGUMENTS_CHARACTERS;
        for arg in self.1 {
            let shown = printable_os(arg, room);
            room = room.saturating_sub(shown.chars().count());
            write!(formatter, " {shown}")?;
            if room == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// Shows the number of a signal and, where it is a usual one, its name.
struct SignalName(i32);

impl fmt::Display for SignalName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            4 => "SIGILL",
            6 => "SIGABRT",
            7 => "SIGBUS",
            8 => "SIGFPE",
            9 => "SIGKILL",
            11 => "SIGSEGV",
            13 => "SIGPIPE",
            15 => "SIGTERM",
            31 => "SIGSYS",
            other => return write!(formatter, "{other}"),
        };
        write!(formatter, "{} ({name})", self.0)
    }
}

/// Shows the last words of a program, indented below the message.
struct Words<'a>(&'a [u8]);

impl fmt::Display for Words<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = last_lines(self.0);
        if words.is_empty() {
            return formatter.write_str(" and said nothing on stderr");
        }
        formatter.write_char(':')?;
        for line in words.lines() {
            write!(formatter, "\n  {line}")?;
        }
        Ok(())
    }
}
