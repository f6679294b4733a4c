//! By what a document is recognised where it came from.

use serde::{Deserialize, Serialize};

use super::Digest;

/// What a feed needs to ask "has it changed?" of the document that it brought last, also after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The digest of the document's bytes.
    pub bytes: Digest,
    /// The digest of the URL it was read from: a URL may hold a credential.
    pub url: Option<Digest>,
    /// What the server said of the document.
    #[serde(default)]
    pub file: Validators,
    /// What the server said of the page that leads to it.
    #[serde(default)]
    pub page: Validators,
}

/// What a server gave us to ask again with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validators {
    /// The entity tag.
    pub etag: Option<String>,
    /// The time of the last change, in the server's words.
    pub last_modified: Option<String>,
}

impl Seen {
    /// Of a document that did not come from a server.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: Digest::of(bytes),
            url: None,
            file: Validators::default(),
            page: Validators::default(),
        }
    }
}
