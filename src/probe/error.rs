//! Failures of a probe.

use std::io;

use thiserror::Error;

use super::report::Report;
use super::{Flow, Verdict};
use crate::os::command::CommandError;

/// A probe that could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// A program is not installed.
    #[error("{0} is not installed; a probe needs it")]
    NoProgram(&'static str),
    /// This process may not make a network namespace.
    #[error("no scratch network namespace (root and CAP_SYS_ADMIN are needed): {0}")]
    Namespace(String),
    /// A program that reads the host or prepares the clone failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A descriptor, setting or socket of the clone failed.
    #[error("{step}: {source}")]
    Io {
        /// The step that failed.
        step: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A program's answer has another form than its manual says.
    #[error("{program} answered in an unknown form: {reason}")]
    Answer {
        /// The program.
        program: &'static str,
        /// The fault.
        reason: String,
    },
    /// The flow names what this host does not have, or cannot be sent.
    #[error("{0}")]
    Flow(String),
    /// The rules of this host cannot be read or loaded into the clone.
    #[error("{0}")]
    Uncloned(String),
    /// The time is up.
    #[error("the time limit is exceeded")]
    Time,
}

impl ProbeError {
    pub(super) fn io(step: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let step = step.into();
        move |source| Self::Io { step, source }
    }

    /// A report with the verdict unknown where the host's rules are the reason, or the time: what
    /// packets do is then not known, and nothing of this command line or system is wrong.
    pub(super) fn into_report(self, flow: &Flow) -> Result<Report, Self> {
        let reason = match self {
            Self::Uncloned(reason) => reason,
            Self::Time | Self::Command(CommandError::TimedOut { .. }) => self.to_string(),
            other => return Err(other),
        };
        let mut report = Report::new(flow);
        report.verdict = Verdict::Unknown;
        report.reason = Some(reason);
        Ok(report)
    }
}
