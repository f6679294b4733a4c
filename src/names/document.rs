//! The book as a file, so that what was answered once is used at the next start without DNS.
//!
//! The file is committed together with the generation whose rules hold its addresses. Reading is strict and bounded; what
//! it says is taken no further than an answer would be ([`Book::want`] refuses special addresses again).

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::book::{Book, Entry};
use crate::config::HostName;
use crate::os::files::{self, FileError};
use crate::os::printable::printable;

/// Name and version of the format.
const FORMAT: &str = "tagwall-names/1";
/// Largest file taken, in bytes: room for a thousand names of 500 addresses.
const MAX_BYTES: u64 = 64 << 20;

/// Why stored answers cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BookError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] FileError),
    /// Not JSON of this shape.
    #[error("not a file of answered hostnames: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Another format or version.
    #[error("its format is `{0}`; this version reads {FORMAT}")]
    Format(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    names: BTreeMap<HostName, Entry>,
}

impl Book {
    /// The file's name in the state folder.
    pub const FILE: &'static str = "names.json";

    /// The book as it is written.
    pub fn write(&self) -> Result<Vec<u8>, BookError> {
        let document = Document { format: FORMAT.to_owned(), names: self.names().clone() };
        let mut bytes = serde_json::to_vec_pretty(&document)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a book back.
    pub fn read(bytes: &[u8]) -> Result<Self, BookError> {
        #[derive(Deserialize)]
        struct Header {
            format: String,
        }
        let header: Header = serde_json::from_slice(bytes)?;
        if header.format != FORMAT {
            return Err(BookError::Format(printable(&header.format, 60)));
        }
        let document: Document = serde_json::from_slice(bytes)?;
        Ok(Self::new(document.names))
    }

    /// Reads the book of a state folder; an empty one where there is none yet.
    pub fn load(folder: &Path) -> Result<Self, BookError> {
        let path = folder.join(Self::FILE);
        match files::read_bounded(&path, MAX_BYTES) {
            Ok(bytes) => Self::read(&bytes),
            Err(error) if error.is_not_found() => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }
}
