//! What can go wrong with a file, told so that an operator knows what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use crate::os::printable::printable_path;

/// A file could not be read or replaced.
///
/// The message names the file and, where the operating system's answer has a usual remedy, the
/// remedy; that answer itself is the source.
#[derive(Debug, Error)]
pub enum FileError {
    /// A system call failed.
    #[error("could not {step} {}{}", printable_path(.path), Hint(.source))]
    Io {
        /// The file or folder that the caller named (not the temporary file beside it).
        path: PathBuf,
        /// What was being done.
        step: Step,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The file holds more than the caller accepts.
    #[error("{} is larger than the {limit} bytes accepted here", printable_path(.path))]
    TooLarge {
        /// The file, or the name given for a stream.
        path: PathBuf,
        /// Accepted size in bytes.
        limit: u64,
    },
    /// There is something at this path, but not a regular file (or, for a folder, not a folder).
    #[error("{} is {found}, not {expected}", printable_path(.path))]
    WrongKind {
        /// What the caller named.
        path: PathBuf,
        /// What it is, with its article: "a folder", "a pipe".
        found: &'static str,
        /// What it should be, with its article.
        expected: &'static str,
    },
    /// The folder in which the file should stand does not exist.
    #[error(
        "cannot write {}: the folder {} does not exist; create it first",
        printable_path(.path), printable_path(.folder)
    )]
    MissingFolder {
        /// The file.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
    },
    /// The file is a mount point by itself, so nothing can be renamed over it.
    #[error(
        "cannot replace {}: it is a mount point by itself (a file bound into a container?); mount \
         the folder that contains it instead",
        printable_path(.path)
    )]
    MountPoint {
        /// The file.
        path: PathBuf,
    },
    /// Two replacements of one batch lead to the same file.
    #[error("{} and {} are the same file, and would be written twice", printable_path(.first), printable_path(.second))]
    Twice {
        /// As it was named first.
        first: PathBuf,
        /// As it was named again.
        second: PathBuf,
    },
    /// A batch stopped after its first rename: the files named are new, the others are old. After a
    /// failed fsync of a folder every file may be new, but may not survive a power cut.
    #[error("stopped after {} of {planned} files were already replaced", .replaced.len())]
    Partly {
        /// The files that are replaced, as the caller named them.
        replaced: Vec<PathBuf>,
        /// How many the batch would have replaced or created.
        planned: usize,
        /// What stopped it.
        source: Box<FileError>,
    },
}

impl FileError {
    /// Wraps the answer of a system call.
    pub(super) fn io(path: &Path, step: Step, source: impl Into<io::Error>) -> Self {
        Self::Io { path: path.to_owned(), step, source: source.into() }
    }

    /// Makes a function for `map_err`.
    pub(super) fn at<E: Into<io::Error>>(path: &Path, step: Step) -> impl FnOnce(E) -> Self {
        move |source| Self::io(path, step, source)
    }

    /// The file that the error is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Io { path, .. }
            | Self::TooLarge { path, .. }
            | Self::WrongKind { path, .. }
            | Self::MissingFolder { path, .. }
            | Self::MountPoint { path }
            | Self::Twice { first: path, .. } => path,
            Self::Partly { source, .. } => source.path(),
        }
    }

    /// Whether the error says that there is no such file (as opposed to one that cannot be read).
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { step: Step::Open, source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// The step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Open the file for reading.
    Open,
    /// Ask for its size, owner and mode.
    Inspect,
    /// Read it.
    Read,
    /// Follow a symbolic link to what it points to.
    FollowLink,
    /// Open the folder of the file.
    OpenFolder,
    /// Create the temporary file beside it.
    CreateTemporary,
    /// Write the new contents.
    Write,
    /// Give the new file the owner of the old one.
    SetOwner,
    /// Give the new file its mode and access list.
    SetMode,
    /// Giving the new file the `SELinux` label of the old one.
    SetLabel,
    /// Bring the new contents to the disk.
    Sync,
    /// Put the new file in the place of the old one.
    Rename,
    /// Bring the folder's entry to the disk.
    SyncFolder,
    /// Create a folder.
    CreateFolder,
    /// Remove the file.
    Remove,
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Open => "open",
            Self::Inspect => "inspect",
            Self::Read => "read",
            Self::FollowLink => "follow the symbolic link",
            Self::OpenFolder => "open the folder",
            Self::CreateTemporary => "create a temporary file beside",
            Self::Write => "write",
            Self::SetOwner => "keep the owner of",
            Self::SetMode => "set the mode of",
            Self::SetLabel => "set the SELinux label of",
            Self::Sync => "bring to disk (fsync)",
            Self::Rename => "rename the new file over",
            Self::SyncFolder => "bring to disk (fsync) the folder",
            Self::CreateFolder => "create the folder",
            Self::Remove => "remove",
        })
    }
}

/// Shows the usual remedy for an answer of the operating system, in parentheses.
struct Hint<'a>(&'a io::Error);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hint = match Errno::from_io_error(self.0) {
            Some(Errno::NOSPC) => "the file system is full: free space or inodes there",
            Some(Errno::DQUOT) => "the quota of this user is used up",
            Some(Errno::ROFS) => {
                "it is mounted read-only here: under systemd, name the folder in ReadWritePaths="
            }
            Some(Errno::ACCESS | Errno::PERM) => {
                let user = rustix::process::geteuid().as_raw();
                return write!(
                    formatter,
                    " (user id {user} may not: check owner and mode of it and of its folders)"
                );
            }
            Some(Errno::BUSY) => "it is in use as a mount point or by the kernel",
            Some(Errno::LOOP) => "a symbolic link leads in a circle, or was put there meanwhile",
            _ => return Ok(()),
        };
        write!(formatter, " ({hint})")
    }
}
