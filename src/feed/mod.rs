//! Where publications come from.
//!
//! Owns the ways to a document's bytes: a file given by hand, and the feeds of the configuration ([`Source`]), each looked at
//! when its turn comes. Promises: reading is bounded in size and time and never blocks on something that is not a file; an
//! unchanged document costs a conditional request and is not parsed; what was found is a whole, valid document of the feed's
//! cloud; no credential is in an error. Does not decide when to look, nor whether what it found is newer or plausible: that is
//! the business of the agent, of [`state`](crate::state) and of the guard.

mod directory;
mod download;
mod error;
mod http;
mod source;

pub use directory::{Watch, Watching};
pub use error::FeedError;
pub use source::{Ending, Found, Look, Source, endings};

use std::path::Path;

use crate::os::files;
use crate::snapshot::{EXAMPLE_DOCUMENT, Policy, Publication, Snapshot};

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
