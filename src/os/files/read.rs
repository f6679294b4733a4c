//! Bounded reading: never more than asked, never blocking on something that is not a file.

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::OFlags;
use rustix::io::{Errno, pread, retry_on_intr};

use super::folder::Folder;
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

/// A folder whose files are compared with what they should hold.
///
/// It is opened once, and a file that holds what it should costs three calls of the kernel (open, read, close): there are
/// thousands where every service tag is a list.
pub struct OpenFolder(Option<Folder>);

impl OpenFolder {
    /// The folder in which a file stands.
    pub fn of(path: &Path) -> Self {
        Self(Folder::of(path).ok())
    }

    /// Whether a file there, and no link, holds exactly these bytes. On any doubt it does not: reading the file tells why.
    pub fn holds(&self, name: &str, contents: &[u8]) -> bool {
        let open = |folder: &Folder| folder.open(OsStr::new(name)).ok().flatten();
        let file = self.0.as_ref().and_then(open);
        file.is_some_and(|file| same_bytes(&file, contents).unwrap_or(false))
    }
}

/// Whether an open file holds exactly these bytes.
pub(super) fn holds_in(file: &File, metadata: &Metadata, contents: &[u8]) -> Result<bool, Errno> {
    if metadata.len() != contents.len() as u64 {
        return Ok(false);
    }
    same_bytes(file, contents)
}

/// Compares piece by piece: memory for the whole of a file would cost more than reading it. A pipe or a socket cannot be
/// read at a place, and is an error.
fn same_bytes(file: &File, contents: &[u8]) -> Result<bool, Errno> {
    let mut piece = Vec::with_capacity(COMPARE_BYTES.min(contents.len() + 1));
    let mut rest = contents;
    loop {
        piece.clear();
        let place = (contents.len() - rest.len()) as u64;
        let count = retry_on_intr(|| pread(file, spare_capacity(&mut piece), place))?;
        match rest.strip_prefix(piece.as_slice()) {
            // Less than was asked for: a file has ended there, and needs not be asked once more.
            Some(after) if count < piece.capacity() => return Ok(after.is_empty()),
            Some(after) => rest = after,
            None => return Ok(false),
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
        let open = OpenFolder::of(&path);
        assert!(!open.holds("file", b""), "a file that is not there");
        for length in [0, 1, 100_000, COMPARE_BYTES - 1, COMPARE_BYTES, 2 * COMPARE_BYTES] {
            let contents = vec![7; length];
            put(&path, &contents);
            assert!(open.holds("file", &contents), "{length}");
            assert!(!open.holds("file", &[contents.as_slice(), b"\x07"].concat()), "{length}");
            for place in [0, 16_384, 65_535, 65_536, length.saturating_sub(1)] {
                let mut other = contents.clone();
                if let Some(byte) = other.get_mut(place) {
                    *byte = 8;
                    assert!(!open.holds("file", &other), "{length}, {place}");
                    assert!(!open.holds("file", &contents[..place]), "{length}, {place}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_file_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let open = OpenFolder::of(&folder.path().join("any"));
        put(&folder.path().join("file"), b"12345");
        std::os::unix::fs::symlink("file", folder.path().join("link")).unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(CWD, &pipe, Mode::from_raw_mode(0o600)).unwrap();
        // Held open for reading and writing, so that there is something in it to read.
        let mut full = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        io::Write::write_all(&mut full, b"12345").unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        assert!(open.holds("file", b"12345"));
        for name in ["link", "pipe", "folder", "none"] {
            assert!(!open.holds(name, b"12345") && !open.holds(name, b""), "{name}");
        }
        assert!(!OpenFolder::of(Path::new("/nonexistent/file")).holds("file", b""));
        // A file that says 0 and has more.
        assert!(!OpenFolder::of(Path::new("/proc/self/status")).holds("status", b""));
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
