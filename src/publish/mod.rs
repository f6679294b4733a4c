//! Generations: staged, verified, switched to atomically, applied, read back, recorded, and rolled back.
//!
//! Owns the state folder's `generations/`, `current` and the journal, and the doors to this host's firewall. Promises:
//! `current` always equals what is in force; a reader of it sees one whole generation; what was reported as published
//! survives a power cut; a failure at any step leaves or restores the generation before, in files and kernel; a crash is
//! mended when the folder is opened next. Does not decide what is published.
//!
//! The transaction: stage → verify → journal → switch → install → apply → read back → record. Where only one target is loaded
//! into the kernel, and as a whole, it is applied before the switch: the loading verifies it, and files follow at once.

mod companions;
mod drift;
mod firewall;
mod force;
mod instances;
mod journal;
mod manifest;
mod mend;
mod publisher;
mod reached;
mod request;
mod retention;
mod rollback;
mod sets;
mod step;
mod store;
mod takeover;
mod verify;
mod watch;

pub use companions::Companion;
pub use drift::{Became, Found, Restored, drift};
pub use firewall::{Drift, FirewallError, Foreign};
pub use manifest::{
    Behind, ChangeSummary, FileRecord, GroupSummary, Manifest, Outcome, OutcomeResult,
    PublicationRecord, TargetRecord,
};
pub use publisher::{Published, Publisher};
pub use reached::{TargetReach, reach, reach_of_all};
pub use request::{DeltaFrom, Request};
pub use retention::Retention;
pub use sets::{TargetSets, create_sets};
pub use step::{Step, Took};
pub use store::{Generation, Store};
pub use watch::{RulesetWatch, active_ipsets};

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

use crate::config::Name;
use crate::os::files::FileError;
use crate::os::lock::LockError;
use crate::os::record::WHAT_TO_DO;

/// Why nothing was published, or why what was published was taken back.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Another process works on the state folder.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A folder or link cannot be changed.
    #[error("cannot {what} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Something in the state folder is not as this program writes it.
    #[error("{path} cannot be used: {reason}", path = path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A value cannot be written as JSON.
    #[error("cannot encode: {0}")]
    Encode(serde_json::Error),
    /// There is not enough room for another generation.
    #[error(
        "{path} has {free} bytes free, and a generation needs {needed}: nothing was changed; make room, or keep fewer \
         generations",
        path = path.display()
    )]
    Full {
        /// The state folder.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that are needed.
        needed: u64,
    },
    /// There is no such generation.
    #[error("there is no generation {0}; `tagwall history` lists them")]
    NoGeneration(u64),
    /// There is nothing to go back to.
    #[error("there is no earlier generation with other rules to go back to")]
    NothingEarlier,
    /// What is in force cannot be read, so it is not known which generation has other rules.
    #[error(
        "generation {current} is in force and damaged ({reason}), so it is not known which one before has other rules: say to \
         which to go back; `tagwall history` lists them"
    )]
    Unknown {
        /// The generation in force.
        current: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A generation's file is not what its manifest says.
    #[error(
        "{path} is not what its manifest says: it was changed or damaged; {WHAT_TO_DO}",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A step of a target failed; what is in force now is said.
    #[error("target {target}, {step}: {source}{}", Aftermath(aftermath))]
    Step {
        /// The target.
        target: Name,
        /// The step.
        step: Step,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// What is in force now.
        aftermath: String,
    },
    /// The state folder failed after the switch; what is in force now is said.
    #[error("{source}{}", Aftermath(aftermath))]
    TakenBack {
        /// Why.
        source: Box<PublishError>,
        /// What is in force now.
        aftermath: String,
    },
}

/// Shows what is in force now, behind what failed.
struct Aftermath<'a>(&'a str);

impl fmt::Display for Aftermath<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(formatter, "; {}", self.0) }
    }
}

/// A step of a target that failed, before it is known what becomes of the publication.
#[derive(Debug)]
struct StepFailure {
    target: Name,
    step: Step,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl StepFailure {
    fn new(
        target: &Name,
        step: Step,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { target: target.clone(), step, source: source.into() }
    }

    fn with_aftermath(self, aftermath: String) -> PublishError {
        let Self { target, step, source } = self;
        PublishError::Step { target, step, source, aftermath }
    }

    /// What is kept of it when the target is isolated.
    fn behind(&self, was_visible: bool) -> Behind {
        Behind {
            message: format!("{}: {}", self.step, chain(&*self.source)),
            step: Some(self.step),
            was_visible,
        }
    }
}

impl fmt::Display for StepFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "target {}, {}: {}", self.target, self.step, chain(&*self.source))
    }
}

/// An error with its causes, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Why a generation is taken back.
#[derive(Debug)]
enum Failure {
    Step(StepFailure),
    State(PublishError),
}

impl Failure {
    fn with_aftermath(self, aftermath: String) -> PublishError {
        match self {
            Self::Step(failure) => failure.with_aftermath(aftermath),
            Self::State(source) => PublishError::TakenBack { source: Box::new(source), aftermath },
        }
    }
}

impl From<StepFailure> for Failure {
    fn from(failure: StepFailure) -> Self {
        Self::Step(failure)
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        Self::State(error)
    }
}
