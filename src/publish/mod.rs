//! Generations: staged, verified, switched to atomically, applied, read back, recorded, and rolled back.
//!
//! Owns the state folder's `generations/`, `current` and the journal, and the doors to this host's firewall. Promises:
//! `current` always equals what is in force; a reader of it sees one whole generation; what was reported as published
//! survives a power cut; a failure at any step leaves or restores the generation before, in files and kernel; a crash is
//! mended when the folder is opened next. Does not decide what is published.
//!
//! The transaction: stage → verify → journal → switch → install → apply → read back → record.

mod companions;
mod firewall;
mod journal;
mod manifest;
mod store;
mod transaction;

pub use companions::Companion;
pub use firewall::{Drift, FirewallError};
pub use manifest::{
    ChangeSummary, FileRecord, GroupSummary, Manifest, Outcome, OutcomeResult, PublicationRecord,
    Request, TargetRecord,
};
pub use store::{Generation, Store};
pub use transaction::{Published, Publisher, Retention, drift};

use std::path::PathBuf;

use thiserror::Error;

use crate::config::Name;
use crate::os::files::FileError;
use crate::os::lock::LockError;

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
    /// A generation's file is not what its manifest says.
    #[error("{path} is not what its manifest says: it was changed or damaged", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A step of a target failed; the generation before is in force.
    #[error("target {target}, {step}: {source}; {aftermath}")]
    Step {
        /// The target.
        target: Name,
        /// The step: verify, install, apply, read back.
        step: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// What is in force now.
        aftermath: String,
    },
}
