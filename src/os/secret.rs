//! Credentials that do not show themselves.
//!
//! Owns the text of a password, token or key from the file it is kept in to the one place that uses
//! it. Promises that neither `{}` nor `{:?}` prints it, and that a file which every user may read is
//! refused. Overwriting it in memory is the best that safe code can do: the compiler and the kernel
//! may have made copies. It does not fetch or renew anything.

use std::env;
use std::fmt;
use std::fs;
use std::hint;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::files::{self, FileError};
use super::printable::printable_path;

/// Largest file accepted as a secret; a chain of certificates with its key is some kilobytes.
pub const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Permission bits that let every user of the host read or change a file.
const OTHERS: u32 = 0o006;

/// A credential, overwritten with zeros when it is dropped.
#[derive(Clone)]
pub struct Secret(String);

/// A secret could not be loaded.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The file could not be read.
    #[error("could not load the secret in {}", printable_path(.0.path()))]
    File(#[from] FileError),
    /// Other users of the host may read or change it.
    #[error(
        "refusing the secret in {}: its mode {mode:04o} lets every user read or change it; run \
         `chmod o= FILE`, or pass it with LoadCredential= of systemd",
        printable_path(.path)
    )]
    OpenToAll {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// systemd gave this process no credentials.
    #[error(
        "there is no credential {name}: $CREDENTIALS_DIRECTORY is not set; add `LoadCredential={name}:FILE` to the \
         service, or name the file itself"
    )]
    NoCredentials {
        /// The credential asked for.
        name: String,
    },
    /// It holds nothing.
    #[error("the secret in {} is empty; put the credential into the file, and nothing else", printable_path(.path))]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It is not UTF-8.
    #[error("the secret in {} is not text (UTF-8)", printable_path(.path))]
    NotText {
        /// The file.
        path: PathBuf,
    },
}

impl Secret {
    /// Takes over text that is a credential.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Loads a credential of at most [`MAX_SECRET_BYTES`] from a file, without the line feed (or
    /// carriage return and line feed) at its end.
    ///
    /// The file must not be open to every user, unless it stands in the folder which systemd made
    /// for this service (`$CREDENTIALS_DIRECTORY`): there the folder protects it.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let credentials = env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        Self::load(path, credentials.as_deref())
    }

    /// Loads a credential that systemd hands to this service (`LoadCredential=NAME:FILE`).
    pub fn from_credential(name: &str) -> Result<Self, SecretError> {
        match env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from) {
            Some(folder) => Self::load(&folder.join(name), Some(&folder)),
            None => Err(SecretError::NoCredentials { name: name.to_owned() }),
        }
    }

    fn load(path: &Path, credentials: Option<&Path>) -> Result<Self, SecretError> {
        let (file, metadata) = files::open_regular(path)?;
        let mode = metadata.mode() & 0o7777;
        if mode & OTHERS != 0 && !credentials.is_some_and(|folder| stands_in(path, folder)) {
            return Err(SecretError::OpenToAll { path: path.to_owned(), mode });
        }
        let bytes = files::read_at_most(file, metadata.len(), MAX_SECRET_BYTES, path)?;
        let mut secret = match String::from_utf8(bytes) {
            Ok(text) => Self(text),
            Err(error) => {
                wipe(&mut error.into_bytes());
                return Err(SecretError::NotText { path: path.to_owned() });
            }
        };
        if secret.0.ends_with('\n') {
            secret.0.pop();
            if secret.0.ends_with('\r') {
                secret.0.pop();
            }
        }
        if secret.0.is_empty() {
            return Err(SecretError::Empty { path: path.to_owned() });
        }
        Ok(secret)
    }

    /// The credential itself, for the one place that uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Whether the file really stands below the folder, whatever links lead there.
fn stands_in(path: &Path, folder: &Path) -> bool {
    match (fs::canonicalize(path), fs::canonicalize(folder)) {
        (Ok(path), Ok(folder)) => folder.is_absolute() && path.starts_with(folder),
        _ => false,
    }
}

/// Overwrites the whole buffer, also the part beyond its length, before it is freed.
fn wipe(bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.resize(bytes.capacity(), 0);
    // Tells the compiler that somebody looks at the zeros, so that it may not leave them out.
    hint::black_box(bytes.as_slice());
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(&mut std::mem::take(&mut self.0).into_bytes());
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::os::testing::put;

    fn file(folder: &Path, name: &str, contents: &[u8], mode: u32) -> PathBuf {
        let path = folder.join(name);
        put(&path, contents);
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn it_is_shown_to_nobody() {
        let secret = Secret::new("hush".into());
        assert_eq!(
            format!("{secret} {secret:?} {:?}", Some(&secret)),
            "[secret] [secret] Some([secret])"
        );
        assert_eq!(secret.clone().expose(), "hush");
    }

    #[test]
    fn one_line_end_is_trimmed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for (contents, expected) in
            [("a b ", "a b "), ("x\n", "x"), ("x\r\n", "x"), ("x\n\n", "x\n"), (" \r", " \r")]
        {
            let path = file(folder.path(), "secret", contents.as_bytes(), 0o600);
            assert_eq!(Secret::from_file(&path).unwrap().expose(), expected, "{contents:?}");
        }
    }

    #[test]
    fn a_file_open_to_all_is_refused_except_among_credentials() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), "secret", b"hush\n", 0o644);
        let error = Secret::load(&path, None).unwrap_err();
        assert!(matches!(error, SecretError::OpenToAll { mode: 0o644, .. }), "{error:?}");
        let message = error.to_string();
        assert!(
            message.contains("secret: its mode 0644") && message.contains("chmod"),
            "{message}"
        );
        assert!(!message.contains("hush"), "{message}");

        assert_eq!(Secret::load(&path, Some(folder.path())).unwrap().expose(), "hush");
        // A link from elsewhere into the folder is as good, one out of the folder is not.
        let credentials = folder.path().join("credentials");
        fs::create_dir(&credentials).unwrap();
        let inside = file(&credentials, "inside", b"hush", 0o444);
        let (good, bad) = (folder.path().join("link"), credentials.join("link"));
        symlink(&inside, &good).unwrap();
        symlink(&path, &bad).unwrap();
        assert!(Secret::load(&good, Some(&credentials)).is_ok());
        let dotted = credentials.join("../secret");
        for path in [&bad, &path, &dotted] {
            let result = Secret::load(path, Some(&credentials));
            assert!(matches!(result, Err(SecretError::OpenToAll { .. })), "{}", path.display());
        }
    }

    #[test]
    fn a_file_that_holds_no_secret_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for contents in ["", "\n", "\r\n"] {
            let path = file(folder.path(), "empty", contents.as_bytes(), 0o600);
            assert!(matches!(Secret::from_file(&path), Err(SecretError::Empty { .. })));
        }
        let path = file(folder.path(), "binary", b"\xff\xfe", 0o600);
        assert!(matches!(Secret::from_file(&path), Err(SecretError::NotText { .. })));
        let path = file(folder.path(), "large", &vec![b'x'; 64 * 1024 + 1], 0o600);
        let error = Secret::from_file(&path).unwrap_err();
        let cause = error.source().unwrap().to_string();
        assert!(cause.contains("large is larger than the 65536 bytes"), "{cause}");
        let path = file(folder.path(), "full", &vec![b'x'; 64 * 1024], 0o600);
        assert_eq!(Secret::from_file(&path).unwrap().expose().len(), 64 * 1024);
    }

    #[test]
    fn the_whole_buffer_is_wiped() {
        let mut bytes = b"hush, also beyond the length".to_vec();
        bytes.truncate(4);
        let (place, capacity) = (bytes.as_ptr(), bytes.capacity());
        wipe(&mut bytes);
        assert_eq!((bytes.as_ptr(), bytes.len()), (place, capacity), "another buffer was wiped");
        assert!(bytes.iter().all(|byte| *byte == 0));
    }
}
