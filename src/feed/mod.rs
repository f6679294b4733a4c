//! Where publications come from.
//!
//! Owns the ways to a document's bytes: a file given by hand, and the feeds of the configuration ([`Source`]), each looked at
//! when its turn comes. Promises: reading is bounded in size and time and never blocks on something that is not a file; an
//! unchanged document costs a conditional request and is not parsed; what was found is a whole, valid document of the feed's
//! cloud; no credential is in an error. Does not decide when to look, nor whether what it found is newer or plausible: that is
//! the business of the agent, of [`state`](crate::state) and of the guard.

mod directory;
mod discovery;
mod download;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod http;
mod source;

pub use directory::{Watch, Watching};
pub use error::FeedError;
pub use source::{Ending, Found, Look, Source, endings};

use std::path::Path;

use crate::os::files::{self, FileError, Step};
use crate::snapshot::{EXAMPLE_DOCUMENT, Policy, Publication, Snapshot, SnapshotError};

/// What a person should know where nothing but the Discovery API brings a cloud.
pub const DISCOVERY_ONLY: &str = "the Service Tag Discovery API is the only feed of this cloud: it carries less than the download \
     and has lagged it by weeks; add a download, http or directory feed";

/// Reads a publication from a file, or from standard input when the path is `-`, as it streams in.
pub fn from_file(path: &Path, policy: &Policy) -> Result<Publication, FeedError> {
    let unreadable = |source| FeedError::Read { path: path.to_owned(), source };
    let snapshot = if path == Path::new("-") {
        Snapshot::read(&mut std::io::stdin().lock(), policy)
    } else {
        let file = files::open_bounded(path, policy.max_bytes).map_err(unreadable)?;
        Snapshot::read_file(&file, policy)
    };
    let origin = path.display().to_string();
    if let Err(SnapshotError::Unreadable(source)) = snapshot {
        let path = path.to_owned();
        return Err(unreadable(FileError::Io { path, step: Step::Read, source }));
    }
    taken(snapshot, origin)
}

/// The bytes of a publication that somebody else will read; from standard input when the path is `-`.
pub fn bytes_of(path: &Path, policy: &Policy) -> Result<Vec<u8>, FeedError> {
    let bytes = if path == Path::new("-") {
        files::read_stream_bounded(std::io::stdin().lock(), policy.max_bytes, "standard input")
    } else {
        files::read_bounded(path, policy.max_bytes)
    };
    bytes.map_err(|source| FeedError::Read { path: path.to_owned(), source })
}

/// Reads a publication that somebody has handed over.
pub fn from_bytes(bytes: &[u8], policy: &Policy, origin: String) -> Result<Publication, FeedError> {
    parse(bytes, policy, origin)
}

/// The embedded publication of documentation ranges.
pub fn example(policy: &Policy) -> Result<Publication, FeedError> {
    parse(EXAMPLE_DOCUMENT.as_bytes(), policy, "embedded example".to_owned())
}

fn parse(bytes: &[u8], policy: &Policy, origin: String) -> Result<Publication, FeedError> {
    taken(Snapshot::parse(bytes, policy), origin)
}

fn taken(
    snapshot: Result<Snapshot, SnapshotError>,
    origin: String,
) -> Result<Publication, FeedError> {
    match snapshot {
        Ok(snapshot) => Ok(Publication::new(snapshot, origin)),
        Err(source) => Err(FeedError::Refused { origin, source }),
    }
}
