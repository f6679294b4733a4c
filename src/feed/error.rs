//! Why a feed brought nothing.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::os::files::FileError;
use crate::os::printable::printable_path;
use crate::os::secret::SecretError;
use crate::snapshot::{Cloud, SnapshotError};
use crate::web::WebError;

/// Why a publication could not be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FeedError {
    /// The file cannot be read.
    #[error("cannot read the publication {}: {source}", printable_path(path))]
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
    /// The document is of another cloud than the feed's.
    #[error(
        "the publication {origin} is of cloud {found}, but the feed is of cloud {expected}: set `cloud` of the feed"
    )]
    WrongCloud {
        /// Where it came from.
        origin: String,
        /// The feed's cloud.
        expected: Cloud,
        /// The document's cloud.
        found: Cloud,
    },
    /// A server gave no answer, or none that helps.
    #[error(transparent)]
    Web(#[from] WebError),
    /// A credential of the feed cannot be read.
    #[error("{source}: {}", why(source))]
    Secret {
        /// Why.
        #[from]
        source: SecretError,
    },
    /// The page has no link to a publication.
    #[error("the page {page} has no link to a publication of cloud {cloud}{detail}")]
    NoLink {
        /// The page.
        page: String,
        /// The cloud.
        cloud: Cloud,
        /// What it has instead.
        detail: String,
    },
    /// There is no token. Nothing of the answer is shown but Azure's own code.
    #[error("no token from {url}: {reason}")]
    Token {
        /// Where it was asked for.
        url: String,
        /// Azure's code, and what it means.
        reason: String,
        /// Whether asking again can help.
        transient: bool,
        /// How long the server asks us to wait.
        pause: Option<Duration>,
    },
    /// Azure Arc's challenge is not one that may be answered.
    #[error("the challenge of {url} is not answered: {reason}")]
    Challenge {
        /// Who challenged.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The pages of an answer do not make one document.
    #[error("the answer of {url} is refused: {reason}")]
    Pages {
        /// Where it came from.
        url: String,
        /// Why.
        reason: String,
    },
    /// The feed's settings do not go together with its cloud.
    #[error("{0}")]
    Unusable(String),
    /// A folder cannot be looked into.
    #[error("cannot look into the folder {}: {source}", printable_path(path))]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// There is no publication in a folder, and none was ever found in it.
    #[error(
        "there is no publication in the folder {}: put a file `ServiceTags_*.json` there",
        printable_path(path)
    )]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// A link in a folder leads out of it.
    #[error(
        "{} is a link that leads out of its folder, and is not followed: put the file itself there",
        printable_path(path)
    )]
    LeadsOut {
        /// The link.
        path: PathBuf,
    },
}

/// The cause of a secret's error, which its own text leaves to the source.
fn why(error: &SecretError) -> String {
    std::error::Error::source(error)
        .map_or_else(|| "check the file".to_owned(), ToString::to_string)
}

impl FeedError {
    /// How long the server asks us to wait; bounded.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Web(error) => error.retry_after(),
            Self::Token { pause, .. } => *pause,
            _ => None,
        }
    }

    /// Whether looking again soon can help without anybody changing a setting.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Web(error) => error.is_transient(),
            Self::Token { transient, .. } => *transient,
            // A page or file may be half-way through its publication; a folder may be mounted in a moment.
            Self::Read { .. }
            | Self::Refused { .. }
            | Self::NoLink { .. }
            | Self::Pages { .. }
            | Self::Folder { .. }
            | Self::Empty { .. } => true,
            Self::WrongCloud { .. }
            | Self::Secret { .. }
            | Self::Challenge { .. }
            | Self::Unusable(_)
            | Self::LeadsOut { .. } => false,
        }
    }
}
