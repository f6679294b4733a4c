//! Bounded reading: never more than asked, never blocking on something that is not a file.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::{FileError, Step};

/// Bytes compared at once with the file on disk.
pub(super) const COMPARE_BYTES: usize = 64 * 1024;

/// Reads a regular file of at most `max_bytes`.
///
/// A larger file, a folder, a pipe, a socket or a device is refused; opening never waits (a pipe
/// without a writer would). For standard input use [`read_stream_bounded`].
pub fn read_bounded(path: &Path, max_bytes: u64) -> Result<Vec<u8>, FileError> {
    let (file, metadata) = open_regular(path)?;
    read_at_most(file, metadata.len(), max_bytes, path)
}

/// Opens a regular file of at most `max_bytes` for reading piece by piece; whoever reads bounds what it has grown by since.
///
/// Refuses what [`read_bounded`] refuses, and never waits either.
pub fn open_bounded(path: &Path, max_bytes: u64) -> Result<File, FileError> {
    let (file, metadata) = open_regular(path)?;
    if metadata.len() > max_bytes {
        return Err(FileError::TooLarge { path: path.to_owned(), limit: max_bytes });
    }
    Ok(file)
}

/// Whether a regular file holds exactly these bytes. It is compared piece by piece: memory for the whole of it would cost more
/// than reading it.
pub fn holds(path: &Path, contents: &[u8]) -> Result<bool, FileError> {
    let (file, metadata) = open_regular(path)?;
    holds_in(&file, &metadata, contents).map_err(FileError::at(path, Step::Read))
}

/// The same of an open file: the size first, then piece by piece.
pub(super) fn holds_in(
    mut file: &File,
    metadata: &Metadata,
    contents: &[u8],
) -> std::io::Result<bool> {
    if metadata.len() != contents.len() as u64 {
        return Ok(false);
    }
    let mut rest = contents;
    let mut piece = vec![0; COMPARE_BYTES.min(contents.len() + 1)];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(rest.is_empty()),
            Ok(count) => match rest.strip_prefix(&piece[..count]) {
                // Less than was asked for: a regular file has ended there, and needs not be asked once more.
                Some([]) if count < piece.len() => return Ok(true),
                Some(after) => rest = after,
                None => return Ok(false),
            },
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads a stream to its end, refusing more than `max_bytes`; `name` stands for the path in errors.
///
/// Blocks as long as the stream does.
pub fn read_stream_bounded(
    stream: impl Read,
    max_bytes: u64,
    name: &str,
) -> Result<Vec<u8>, FileError> {
    read_at_most(stream, 0, max_bytes, Path::new(name))
}

/// Opens a regular file for reading without ever waiting, following symbolic links.
pub(in crate::os) fn open_regular(path: &Path) -> Result<(File, Metadata), FileError> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(FileError::at(path, Step::Open))?;
    let metadata = file.metadata().map_err(FileError::at(path, Step::Inspect))?;
    require_regular(path, &metadata)?;
    Ok((file, metadata))
}

/// Refuses everything but a regular file.
pub(super) fn require_regular(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(FileError::WrongKind {
        path: path.to_owned(),
        found: kind(metadata),
        expected: "a regular file",
    })
}

/// What a path leads to, with its article.
pub(super) fn kind(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_file() {
        "a regular file"
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// Reads everything that `source` has, as long as it is not more than `limit` bytes.
///
/// `expected` (the size at opening) only sizes the buffer: the file may grow meanwhile, and files
/// in /proc say 0.
pub(in crate::os) fn read_at_most(
    source: impl Read,
    expected: u64,
    limit: u64,
    path: &Path,
) -> Result<Vec<u8>, FileError> {
    let too_large = || FileError::TooLarge { path: path.to_owned(), limit };
    if expected > limit {
        return Err(too_large());
    }
    // One byte more than the limit tells a file of that size from a larger one; one byte more than
    // expected lets the end be seen without growing the buffer (which would leave a copy behind).
    let room = usize::try_from(expected).map_err(|_| too_large())?.saturating_add(1);
    let mut contents = Vec::with_capacity(room);
    source
        .take(limit.saturating_add(1))
        .read_to_end(&mut contents)
        .map_err(FileError::at(path, Step::Read))?;
    if contents.len() as u64 > limit {
        return Err(too_large());
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, Mode};

    use super::*;
    use crate::os::testing::put;

    #[test]
    fn a_file_is_read_up_to_its_limit_and_not_beyond() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        put(&path, b"12345");
        assert_eq!(read_bounded(&path, 5).unwrap(), b"12345");
        let error = read_bounded(&path, 4).unwrap_err();
        assert!(matches!(error, FileError::TooLarge { limit: 4, .. }), "{error:?}");
        assert_eq!(read_bounded(&path, u64::MAX).unwrap(), b"12345");
        put(&path, b"");
        assert_eq!(read_bounded(&path, 0).unwrap(), b"");
    }

    #[test]
    fn a_file_is_opened_within_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        put(&path, b"12345");
        assert!(open_bounded(&path, 5).is_ok());
        assert!(matches!(open_bounded(&path, 4), Err(FileError::TooLarge { limit: 4, .. })));
        assert!(matches!(open_bounded(folder.path(), 4), Err(FileError::WrongKind { .. })));
    }

    #[test]
    fn a_file_holds_its_bytes_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let contents = vec![7; 100_000];
        put(&path, &contents);
        assert!(holds(&path, &contents).unwrap());
        assert!(!holds(&path, &contents[1..]).unwrap() && !holds(&path, b"").unwrap());
        for place in [0, 16_384, 99_999] {
            let mut other = contents.clone();
            other[place] = 8;
            assert!(!holds(&path, &other).unwrap(), "{place}");
        }
        // A file that says 0 and has more.
        assert!(!holds(Path::new("/proc/self/status"), b"").unwrap());
        assert!(holds(&folder.path().join("none"), b"").unwrap_err().is_not_found());
    }

    #[test]
    fn a_file_that_does_not_tell_its_size_is_bounded_too() {
        let path = Path::new("/proc/self/status");
        assert!(!read_bounded(path, 1 << 20).unwrap().is_empty());
        assert!(matches!(read_bounded(path, 10), Err(FileError::TooLarge { .. })));
    }

    #[test]
    fn what_is_not_a_file_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(CWD, &pipe, Mode::from_raw_mode(0o600)).unwrap();
        let socket = folder.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        for (path, expected) in [
            (pipe.as_path(), "is a pipe, not a regular file"),
            (folder.path(), "is a folder, not a regular file"),
            (Path::new("/dev/null"), "is a device, not a regular file"),
        ] {
            let error = read_bounded(path, 100).unwrap_err();
            assert!(error.to_string().ends_with(expected), "{error}");
        }
        assert!(matches!(read_bounded(&socket, 100), Err(FileError::Io { step: Step::Open, .. })));
    }

    #[test]
    fn a_missing_file_says_so() {
        let error = read_bounded(Path::new("/nonexistent/file"), 1).unwrap_err();
        assert!(error.is_not_found());
        assert_eq!(error.to_string(), "could not open /nonexistent/file");
    }

    #[test]
    fn an_endless_stream_ends_at_the_limit() {
        let error = read_stream_bounded(io::repeat(7), 1 << 16, "standard input").unwrap_err();
        assert_eq!(
            error.to_string(),
            "standard input is larger than the 65536 bytes accepted here"
        );
        assert_eq!(read_stream_bounded(&b"abc"[..], 3, "standard input").unwrap(), b"abc");
    }
}
