//! Small JSON files of the program's own, which say in what format they are.
//!
//! Owns the reading of a file that only this program writes: bounded, strict, and refused when its format is another one.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::files::{self, FileError};

/// What such a file holds.
pub trait Record: Serialize + DeserializeOwned {
    /// The format that this program writes and reads: `tagwall-NAME/VERSION`.
    const FORMAT: &'static str;
    /// Largest file read, in bytes.
    const MAX_BYTES: u64;

    /// The format that the file names.
    fn format(&self) -> &str;
}

/// Where it says what to do about a file of the program's own that is not as it was written.
pub const WHAT_TO_DO: &str = "docs/operations.md says what to do about a damaged file";

/// Why a file of the program's own cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not as this program writes it.
    #[error("{path} cannot be used: {reason}; {WHAT_TO_DO}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl RecordError {
    /// A file is not as this program writes it.
    pub fn malformed(path: &Path, reason: impl Display) -> Self {
        Self::Malformed { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// Reads a file; none when there is none.
pub fn read<T: Record>(path: &Path) -> Result<Option<T>, RecordError> {
    let bytes = match files::read_bounded(path, T::MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let value: T =
        serde_json::from_slice(&bytes).map_err(|error| RecordError::malformed(path, error))?;
    if value.format() == T::FORMAT {
        return Ok(Some(value));
    }
    let reason = format!("its format is {}, this version reads {}", value.format(), T::FORMAT);
    Err(RecordError::malformed(path, reason))
}

/// The bytes of a file.
pub fn bytes<T: Record>(value: &T) -> Result<Vec<u8>, RecordError> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| RecordError::malformed(Path::new(T::FORMAT), error))?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        format: String,
    }

    impl Record for Note {
        const FORMAT: &'static str = "tagwall-note/2";
        const MAX_BYTES: u64 = 64;

        fn format(&self) -> &str {
            &self.format
        }
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("note.json");
        let write = |bytes: &[u8]| files::replace(&path, bytes).map(drop).unwrap();
        assert_eq!(read::<Note>(&path).unwrap(), None);
        let note = Note { format: Note::FORMAT.to_owned() };
        write(&bytes(&note).unwrap());
        assert_eq!(read(&path).unwrap(), Some(note));

        write(br#"{"format": "tagwall-note/1"}"#);
        let error = read::<Note>(&path).unwrap_err().to_string();
        assert!(
            error.ends_with(&format!(
                "its format is tagwall-note/1, this version reads tagwall-note/2; {WHAT_TO_DO}"
            )),
            "{error}"
        );
        write(b"{\"format\"");
        assert!(matches!(read::<Note>(&path), Err(RecordError::Malformed { .. })));
        write(&[b' '; 65]);
        assert!(matches!(read::<Note>(&path), Err(RecordError::File(_))));
    }
}
