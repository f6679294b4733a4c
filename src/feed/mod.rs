//! Where publications come from.
//!
//! Owns the ways to a document's bytes. Promises: reading is bounded in size and never blocks on something that is not a
//! file. Does not judge what it read: that is the snapshot's and the guard's business.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::os::files::{self, FileError};
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

/// Reads a publication from a file, or from standard input when the path is `-`.
pub fn from_file(path: &Path, policy: &Policy) -> Result<Publication, FeedError> {
    let bytes = if path == Path::new("-") {
        files::read_stream_bounded(std::io::stdin().lock(), policy.max_bytes, "standard input")
    } else {
        files::read_bounded(path, policy.max_bytes)
    };
    let bytes = bytes.map_err(|source| FeedError::Read { path: path.to_owned(), source })?;
    parse(&bytes, policy, path.display().to_string())
}

/// The embedded publication of documentation ranges.
pub fn example(policy: &Policy) -> Result<Publication, FeedError> {
    parse(EXAMPLE_DOCUMENT.as_bytes(), policy, "embedded example".to_owned())
}

fn parse(bytes: &[u8], policy: &Policy, origin: String) -> Result<Publication, FeedError> {
    match Snapshot::parse(bytes, policy) {
        Ok(snapshot) => Ok(Publication::new(snapshot, origin)),
        Err(source) => Err(FeedError::Refused { origin, source }),
    }
}
