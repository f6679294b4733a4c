//! Why a server gave no answer, told without credentials.

use std::error::Error;
use std::time::Duration;

use thiserror::Error;

use crate::os::printable::printable;

/// Longest reason shown, in characters: parts of it can come from the server (a certificate's names).
const REASON_CHARACTERS: usize = 300;

/// Why there is no answer, or none that helps.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WebError {
    /// Something on this host is missing: a certificate, a key, a proxy's credentials.
    #[error("cannot {what}: {reason}")]
    Setup {
        /// What was to be done.
        what: String,
        /// Why not.
        reason: String,
    },
    /// The connection failed, or broke.
    #[error("no answer from {url}: {reason}")]
    Unanswered {
        /// The URL without its query.
        url: String,
        /// What happened.
        reason: String,
    },
    /// It took too long.
    #[error(
        "no answer from {url} in time: {reason} (the whole request may take {limit:?}; see `connection`)"
    )]
    TimedOut {
        /// The URL without its query.
        url: String,
        /// What happened.
        reason: String,
        /// Longest time of the whole request.
        limit: Duration,
    },
    /// A redirect leads where it must not.
    #[error("{url} redirects to {to}: {reason}")]
    Redirect {
        /// The URL that was asked.
        url: String,
        /// Where it leads.
        to: String,
        /// Why it is not followed.
        reason: &'static str,
    },
    /// The answer is larger than asked.
    #[error(
        "the answer of {url} is larger than the {limit} bytes that are allowed (`max-bytes` under [document])"
    )]
    TooLarge {
        /// The URL without its query.
        url: String,
        /// Allowed size in bytes, after decompression.
        limit: u64,
    },
    /// The status is no success.
    #[error("{url} answers {status}{}", hint(*.status))]
    Status {
        /// The URL without its query.
        url: String,
        /// The status.
        status: u16,
        /// How long the server asks us to wait.
        pause: Option<Duration>,
    },
}

/// What a status usually means.
fn hint(status: u16) -> &'static str {
    match status {
        401 => " (unauthorised): check the credentials of the feed",
        403 => " (forbidden): the credentials are known, but may not read this",
        404 | 410 => " (not found): check the URL",
        407 => " (proxy authentication): check `proxy-credentials-file` under `connection`",
        429 => " (too many requests)",
        500..=599 => " (the server's own fault)",
        _ => "",
    }
}

/// A redirect that is not followed, on its way through the client.
#[derive(Debug, Error)]
#[error("redirect to {to}: {reason}")]
pub(super) struct RefusedRedirect {
    pub(super) to: String,
    pub(super) reason: &'static str,
}

impl WebError {
    /// Words the client's error.
    pub(super) fn of(error: reqwest::Error, asked: &str, limit: Duration) -> Self {
        let error = error.without_url();
        if let Some(refused) = find::<RefusedRedirect>(&error) {
            let (to, reason) = (refused.to.clone(), refused.reason);
            return Self::Redirect { url: asked.to_owned(), to, reason };
        }
        let (url, reason) = (asked.to_owned(), chain(&error));
        if error.is_timeout() {
            Self::TimedOut { url, reason, limit }
        } else {
            Self::Unanswered { url, reason }
        }
    }

    /// Whether asking again later can help without anybody changing a setting.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unanswered { .. } | Self::TimedOut { .. } => true,
            Self::Setup { .. } | Self::Redirect { .. } | Self::TooLarge { .. } => false,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
        }
    }

    /// How long the server asks us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { pause, .. } => *pause,
            _ => None,
        }
    }
}

/// An error and its causes.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let current = next?;
        next = current.source();
        Some(current)
    })
}

/// The first error of this type among the causes.
fn find<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    causes(error).find_map(|error| error.downcast_ref())
}

/// An error with its causes on one line, each said once, harmless to print.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in causes(error) {
        let cause = cause.to_string();
        if text.contains(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    printable(&text, REASON_CHARACTERS)
}
