//! Where publications come from.
//!
//! Owns the ways to a document's bytes. Promises: reading is bounded in size and never blocks on something that is not a
//! file. Does not judge what it read: that is the snapshot's and the guard's business.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::os::files::{self, FileError, Step};
use crate::snapshot::{EXAMPLE_DOCUMENT, Policy, Publication, Snapshot, SnapshotError};

/// Why a publication could not be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FeedError {
    /// The file cannot be read.
    #[error("cannot read the publication {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: FileError,
    },
    /// The document is not taken.
    #[error("the publication {origin} is refused: {source}")]
    Refused {
        /// Where it came from.
        origin: String,
        /// Why.
        source: SnapshotError,
    },
}

/// Reads a publication from a file, or from standard input when the path is `-`, as it streams in.
pub fn from_file(path: &Path, policy: &Policy) -> Result<Publication, FeedError> {
    let unreadable = |source| FeedError::Read { path: path.to_owned(), source };
    let snapshot = if path == Path::new("-") {
        Snapshot::read(&mut std::io::stdin().lock(), policy)
    } else {
        let mut file = files::open_bounded(path, policy.max_bytes).map_err(unreadable)?;
        Snapshot::read(&mut file, policy)
    };
    match snapshot {
        Ok(snapshot) => Ok(Publication::new(snapshot, path.display().to_string())),
        Err(SnapshotError::Unreadable(source)) => {
            let path = path.to_owned();
            Err(unreadable(FileError::Io { path, step: Step::Read, source }))
        }
        Err(source) => Err(FeedError::Refused { origin: path.display().to_string(), source }),
    }
}

/// The embedded publication of documentation ranges.
pub fn example(policy: &Policy) -> Result<Publication, FeedError> {
    let origin = "embedded example";
    match Snapshot::parse(EXAMPLE_DOCUMENT.as_bytes(), policy) {
        Ok(snapshot) => Ok(Publication::new(snapshot, origin)),
        Err(source) => Err(FeedError::Refused { origin: origin.to_owned(), source }),
    }
}
