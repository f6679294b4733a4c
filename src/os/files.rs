//! Files replaced whole, durably, and only when they differ.
//!
//! A file is written beside its target under a hidden temporary name, brought to disk, and renamed
//! over it; then the folder is brought to disk. So a reader sees all of the old contents or all of
//! the new, whatever happens in between, and what was reported as written survives a power cut.
//! Promises:
//!
//! - a file whose bytes are already right is not touched: its inode and times stay;
//! - owner, mode, POSIX access list and `SELinux` label of the file that is replaced are kept (other
//!   extended attributes are not); a new file gets [`DEFAULT_MODE`] or the one asked for, whatever
//!   the umask, and the label that the policy has for new files there;
//! - a symbolic link stays, and what it points to is replaced;
//! - in a batch everything that commonly fails (a full disk, missing rights, a mount point) fails
//!   before the first rename, and leaves nothing behind. Only a machine that stops may leave a file
//!   `.NAME.*.tmp`, readable by its owner alone.
//!
//! It does not keep two writers apart (see [`lock`](super::lock)), and a batch is not atomic as a
//! whole: for that, swap a folder's symbolic link.

mod attributes;
mod error;
mod folder;
mod read;

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread;

use rustix::fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use attributes::{keep_access_list, keep_label, keep_owner};
use folder::{Folder, Temporary};

pub use error::{FileError, Step};
pub use folder::create_dir_all_durable;
pub use read::{OpenFolder, open_bounded, read_bounded, read_stream_bounded};
pub(in crate::os) use read::{open_regular, read_at_most};

/// Mode of a new file when none is asked for: everybody may read what is installed.
pub const DEFAULT_MODE: u32 = 0o644;

/// So many files of a batch are open together, each with the one that it replaces. A process may open 1,024 unless it was
/// given more.
pub const OPEN_AT_ONCE: usize = 256;

/// How many symbolic links are followed (the kernel's own limit).
const MAX_LINKS: u32 = 40;

/// From this many bytes on, freeing the replaced files takes milliseconds and is left to a thread.
const SLOW_TO_FREE_BYTES: u64 = 256 * 1024;

/// One file as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The file; a symbolic link is followed.
    pub path: PathBuf,
    /// All of its bytes.
    pub contents: Vec<u8>,
    /// Permission bits. `None` keeps those of the file that is replaced, and gives a new file
    /// [`DEFAULT_MODE`]. `Some` is enforced on old and new files alike.
    pub mode: Option<u32>,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// There was none.
    Created,
    /// It had other bytes.
    Replaced,
    /// It had these bytes already (its mode may have been corrected).
    Unchanged,
}

/// Replaces one file, keeping its owner and mode.
pub fn replace(path: &Path, contents: &[u8]) -> Result<Written, FileError> {
    let written = write_all(&[Wanted { path, contents, mode: None }])?;
    Ok(written.first().copied().unwrap_or(Written::Unchanged)) // one in, one out
}

/// Replaces several files: all are written and brought to disk before the first is renamed, and each
/// folder is brought to disk once. Returns what became of each, in order.
///
/// After [`FileError::Partly`] some files are new; after every other error none is.
pub fn replace_all(batch: &[Replacement]) -> Result<Vec<Written>, FileError> {
    let wanted: Vec<_> = batch
        .iter()
        .map(|file| Wanted { path: &file.path, contents: &file.contents, mode: file.mode })
        .collect();
    write_all(&wanted)
}

/// A [`Replacement`] that borrows.
struct Wanted<'a> {
    path: &'a Path,
    contents: &'a [u8],
    mode: Option<u32>,
}

/// A wanted file and where it really goes.
struct Target<'a> {
    wanted: &'a Wanted<'a>,
    folder: Rc<Folder>,
    name: OsString,
}

/// A target made ready for its rename.
enum Staged {
    /// The bytes are right; a mode may be left to set.
    Equal { mode: Option<u32> },
    /// The new file waits under its temporary name, open until it is on disk. The old one stays open until everything is
    /// renamed (else each rename would wait for the kernel to free the old contents), unless they are many; with its size.
    Ready { temporary: Temporary, new: Option<File>, old: Option<(File, u64)>, becomes: Written },
}

fn write_all(batch: &[Wanted<'_>]) -> Result<Vec<Written>, FileError> {
    let targets = locate(batch)?;
    let mut staged = Vec::with_capacity(targets.len());
    for some in targets.chunks(OPEN_AT_ONCE) {
        let before = staged.len();
        for target in some {
            staged.push(stage(target)?);
        }
        // Written first and synced afterwards, so that one commit of the journal serves many files.
        for (target, file) in some.iter().zip(&mut staged[before..]) {
            if let Staged::Ready { new, old, .. } = file {
                if let Some(new) = new.take() {
                    new.sync_all().map_err(FileError::at(target.wanted.path, Step::Sync))?;
                }
                if targets.len() > OPEN_AT_ONCE {
                    *old = None;
                }
            }
        }
    }
    let written = staged
        .iter()
        .map(|file| match file {
            Staged::Equal { .. } => Written::Unchanged,
            Staged::Ready { becomes, .. } => *becomes,
        })
        .collect();
    place(&targets, &mut staged)?;
    close_replaced(staged);
    Ok(written)
}

/// Finds out where each file really goes; every folder is opened once.
fn locate<'a>(batch: &'a [Wanted<'a>]) -> Result<Vec<Target<'a>>, FileError> {
    let mut targets: Vec<Target<'a>> = Vec::with_capacity(batch.len());
    for wanted in batch {
        let path = resolve(wanted.path)?;
        let is_folder = || FileError::WrongKind {
            path: wanted.path.to_owned(),
            found: "a folder",
            expected: "a regular file",
        };
        if path.as_os_str().as_bytes().ends_with(b"/") {
            return Err(is_folder());
        }
        let name = path.file_name().ok_or_else(is_folder)?.to_owned();
        let opened = Folder::of(&path)?;
        let known = targets.iter().find(|other| other.folder.identity() == opened.identity());
        let folder = known.map_or_else(|| Rc::new(opened), |other| Rc::clone(&other.folder));
        if let Some(first) =
            targets.iter().find(|other| Rc::ptr_eq(&other.folder, &folder) && other.name == name)
        {
            let (first, second) = (first.wanted.path.to_owned(), wanted.path.to_owned());
            return Err(FileError::Twice { first, second });
        }
        targets.push(Target { wanted, folder, name });
    }
    Ok(targets)
}

/// Follows the symbolic links at the end of `path`, also to a file that does not exist yet.
fn resolve(path: &Path) -> Result<PathBuf, FileError> {
    let mut resolved = path.to_owned();
    for followed in 0..=MAX_LINKS {
        match fs::read_link(&resolved) {
            Ok(to) => {
                if followed == 0 {
                    kernel_follows(path)?;
                }
                resolved = folder::parent(&resolved).join(to);
            }
            // Not a link, or nothing there: this is the place.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound) => {
                return Ok(resolved);
            }
            Err(error) => return Err(FileError::io(path, Step::FollowLink, error)),
        }
    }
    Err(FileError::io(path, Step::FollowLink, Errno::LOOP))
}

/// Asks the kernel to follow the link first: it refuses those that another user planted in a shared
/// folder (`fs.protected_symlinks`), and reading the link ourselves would go round that protection.
fn kernel_follows(path: &Path) -> Result<(), FileError> {
    match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(_) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(FileError::io(path, Step::FollowLink, error)),
    }
}

/// Compares with what is there, and writes the new file beside it when it differs.
fn stage(target: &Target<'_>) -> Result<Staged, FileError> {
    let Wanted { path, contents, mode } = *target.wanted;
    let old = target.folder.open(&target.name).map_err(FileError::at(path, Step::Open))?;
    let old = match old {
        None => None,
        Some(file) => {
            let metadata = file.metadata().map_err(FileError::at(path, Step::Inspect))?;
            read::require_regular(path, &metadata)?;
            if read::holds_in(&file, &metadata, contents)
                .map_err(FileError::at(path, Step::Read))?
            {
                let wrong = |mode: &u32| mode & 0o7777 != metadata.mode() & 0o7777;
                return Ok(Staged::Equal { mode: mode.filter(wrong) });
            }
            if is_mount_point(&file) {
                return Err(FileError::MountPoint { path: path.to_owned() });
            }
            Some((file, metadata))
        }
    };
    let (temporary, mut new) = Temporary::create(&target.folder, &target.name)
        .map_err(FileError::at(path, Step::CreateTemporary))?;
    new.write_all(contents).map_err(FileError::at(path, Step::Write))?;
    if let Some((_, metadata)) = &old {
        keep_owner(&new, metadata).map_err(FileError::at(path, Step::SetOwner))?;
    }
    // After the owner, because a change of owner clears bits of the mode.
    let kept = old.as_ref().map(|(_, metadata)| metadata.mode());
    let bits = mode.or(kept).unwrap_or(DEFAULT_MODE) & 0o7777;
    let set_mode = new.set_permissions(Permissions::from_mode(bits));
    set_mode.map_err(FileError::at(path, Step::SetMode))?;
    if let (Some((old, _)), None) = (&old, mode) {
        keep_access_list(&new, old).map_err(FileError::at(path, Step::SetMode))?;
    }
    if let Some((old, _)) = &old {
        keep_label(&new, old).map_err(FileError::at(path, Step::SetLabel))?;
    }
    let old = old.map(|(file, metadata)| (file, metadata.len()));
    let becomes = if old.is_some() { Written::Replaced } else { Written::Created };
    Ok(Staged::Ready { temporary, new: Some(new), old, becomes })
}

/// Whether the file itself is mounted. Kernels before 5.8 do not tell; there the rename does.
fn is_mount_point(file: &File) -> bool {
    rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::empty())
        .is_ok_and(|answer| answer.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Renames everything into place and brings the folders to disk.
fn place(targets: &[Target<'_>], staged: &mut [Staged]) -> Result<(), FileError> {
    let planned = staged.iter().filter(|file| matches!(file, Staged::Ready { .. })).count();
    let mut replaced: Vec<PathBuf> = Vec::with_capacity(planned);
    let mut folders: Vec<&Folder> = Vec::new();
    let mut stopped = None;
    for (target, file) in targets.iter().zip(staged) {
        match place_one(target, file) {
            Ok(false) => {}
            Ok(true) => {
                replaced.push(target.wanted.path.to_owned());
                if !folders.iter().any(|folder| folder.identity() == target.folder.identity()) {
                    folders.push(&target.folder);
                }
            }
            Err(error) => {
                stopped = Some(error);
                break;
            }
        }
    }
    // Also when it stopped: what is in place should stay there.
    for folder in folders {
        if let Err(error) = folder.sync() {
            stopped.get_or_insert(error);
        }
    }
    match stopped {
        None => Ok(()),
        Some(error) if replaced.is_empty() => Err(error),
        Some(error) => Err(FileError::Partly { replaced, planned, source: Box::new(error) }),
    }
}

/// Puts one file in place; says whether its folder changed.
fn place_one(target: &Target<'_>, file: &mut Staged) -> Result<bool, FileError> {
    let path = target.wanted.path;
    match file {
        Staged::Ready { temporary, .. } => match temporary.place(&target.name) {
            Ok(()) => Ok(true),
            Err(Errno::BUSY) => Err(FileError::MountPoint { path: path.to_owned() }),
            Err(Errno::ISDIR) => Err(FileError::WrongKind {
                path: path.to_owned(),
                found: "a folder",
                expected: "a regular file",
            }),
            Err(error) => Err(FileError::io(path, Step::Rename, error)),
        },
        Staged::Equal { mode: Some(mode) } => {
            let found =
                target.folder.open(&target.name).map_err(FileError::at(path, Step::Open))?;
            let old = found.ok_or_else(|| FileError::io(path, Step::Open, Errno::NOENT))?;
            let metadata = old.metadata().map_err(FileError::at(path, Step::Inspect))?;
            read::require_regular(path, &metadata)?;
            old.set_permissions(Permissions::from_mode(*mode & 0o7777))
                .map_err(FileError::at(path, Step::SetMode))?;
            old.sync_all().map_err(FileError::at(path, Step::Sync))?;
            Ok(false)
        }
        Staged::Equal { mode: None } => Ok(false),
    }
}

/// Closes the replaced files, which frees their contents: off the caller's path when that is slow.
fn close_replaced(staged: Vec<Staged>) {
    let replaced: Vec<_> = staged
        .into_iter()
        .filter_map(|file| match file {
            Staged::Ready { old, .. } => old,
            Staged::Equal { .. } => None,
        })
        .collect();
    if replaced.iter().map(|(_, size)| size).sum::<u64>() >= SLOW_TO_FREE_BYTES {
        // Where no thread can be had, the closure is dropped here, and the files with it.
        let _ = thread::Builder::new().name("close-replaced".into()).spawn(move || drop(replaced));
    }
}

/// Removes a file durably; one that is not there is no error.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Ok(()) => Folder::of(path)?.sync(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FileError::io(path, Step::Remove, error)),
    }
}

#[cfg(test)]
mod tests;
