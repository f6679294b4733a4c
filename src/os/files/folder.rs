//! Folders: held open while files in them are replaced, created durably, brought to disk.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, Permissions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{FileError, Step, read};

/// Longest name of a file in bytes, on every file system that Linux hosts use.
const NAME_BYTES: usize = 255;

/// How often another random name is tried when one is taken.
const NAME_ATTEMPTS: u32 = 16;

/// A folder held open: what is done in it stays in it, even when its path changes meanwhile.
pub(super) struct Folder {
    file: File,
    path: PathBuf,
    identity: (u64, u64),
}

impl Folder {
    /// Opens the folder in which `target` stands or will stand.
    pub(super) fn of(target: &Path) -> Result<Self, FileError> {
        let path = parent(target);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| {
            if error == Errno::NOENT {
                FileError::MissingFolder { path: target.to_owned(), folder: path.to_owned() }
            } else {
                FileError::io(path, Step::OpenFolder, error)
            }
        })?;
        let file = File::from(descriptor);
        let metadata = file.metadata().map_err(FileError::at(path, Step::Inspect))?;
        let identity = (metadata.dev(), metadata.ino());
        Ok(Self { file, path: path.to_owned(), identity })
    }

    /// Tells one folder from another, however it was named.
    pub(super) fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Opens a file in the folder for reading, without waiting and without following a link.
    /// `None` when there is none.
    pub(super) fn open(&self, name: &OsStr) -> Result<Option<File>, Errno> {
        let flags =
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.file, name, flags, Mode::empty()) {
            Ok(descriptor) => Ok(Some(File::from(descriptor))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Brings the folder's entries to disk.
    pub(super) fn sync(&self) -> Result<(), FileError> {
        sync_folder(&self.file).map_err(FileError::at(&self.path, Step::SyncFolder))
    }
}

/// A file with a random hidden name that nobody else may read, removed unless it is put in place.
pub(super) struct Temporary {
    folder: Rc<Folder>,
    name: OsString,
    placed: bool,
}

impl Temporary {
    /// Creates one for a file called `name`; open for writing.
    pub(super) fn create(folder: &Rc<Folder>, name: &OsStr) -> io::Result<(Self, File)> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut attempt = 0;
        loop {
            let name = random_name(name);
            match rustix::fs::openat(&folder.file, &name, flags, Mode::RUSR | Mode::WUSR) {
                Ok(descriptor) => {
                    let temporary = Self { folder: Rc::clone(folder), name, placed: false };
                    return Ok((temporary, File::from(descriptor)));
                }
                Err(Errno::EXIST) if attempt < NAME_ATTEMPTS => attempt += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Renames it to `name` in its folder, over what is there.
    pub(super) fn place(&mut self, name: &OsStr) -> Result<(), Errno> {
        rustix::fs::renameat(&self.folder.file, &self.name, &self.folder.file, name)?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.placed {
            // Nothing more can be done when this fails too: the file is hidden and harmless.
            let _ = rustix::fs::unlinkat(&self.folder.file, &self.name, AtFlags::empty());
        }
    }
}

/// `.NAME.RANDOM.tmp`, with NAME shortened where the whole would be too long.
fn random_name(name: &OsStr) -> OsString {
    // Seeded by the operating system's generator; O_EXCL makes a guessed name harmless.
    let random = format!(".{:016x}.tmp", RandomState::new().build_hasher().finish());
    let room = NAME_BYTES - random.len() - 1;
    let kept = &name.as_bytes()[..name.len().min(room)];
    OsString::from_vec([b".", kept, random.as_bytes()].concat())
}

/// The folder of `path`; `.` for a bare name.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => Path::new("/"),
    }
}

/// Creates a folder and those above it that are missing, each with exactly `mode` (whatever the
/// umask), and brings every new entry to disk. Folders that exist are left as they are.
pub fn create_dir_all_durable(path: &Path, mode: u32) -> Result<(), FileError> {
    if is_folder(path)? {
        return Ok(());
    }
    let above = parent(path);
    create_dir_all_durable(above, mode)?;
    // Nobody gets in before the mode is what was asked.
    match DirBuilder::new().mode(0o700 & mode).create(path) {
        Ok(()) => {}
        // Somebody else created it meanwhile, or the path ends in `..`.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && is_folder(path)? => return Ok(()),
        Err(error) => return Err(FileError::io(path, Step::CreateFolder, error)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let new = rustix::fs::open(path, flags, Mode::empty())
        .map(File::from)
        .map_err(FileError::at(path, Step::OpenFolder))?;
    new.set_permissions(Permissions::from_mode(mode & 0o7777))
        .map_err(FileError::at(path, Step::SetMode))?;
    sync_folder(&new).map_err(FileError::at(path, Step::SyncFolder))?;
    let above_file = File::open(above).map_err(FileError::at(above, Step::OpenFolder))?;
    sync_folder(&above_file).map_err(FileError::at(above, Step::SyncFolder))
}

/// Whether there is a folder; an error when there is something else.
fn is_folder(path: &Path) -> Result<bool, FileError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(true),
        Ok(metadata) => Err(FileError::WrongKind {
            path: path.to_owned(),
            found: read::kind(&metadata),
            expected: "a folder",
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FileError::io(path, Step::Inspect, error)),
    }
}

/// fsync of a folder; file systems that have no such thing (some network ones) answer EINVAL, and
/// then there is nothing to wait for.
fn sync_folder(folder: &File) -> io::Result<()> {
    match folder.sync_all() {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::testing::put;

    #[test]
    fn missing_folders_are_created_with_their_mode_and_others_left() {
        let base = tempfile::tempdir().unwrap();
        fs::set_permissions(base.path(), Permissions::from_mode(0o711)).unwrap();
        let path = base.path().join("a/b/c");
        create_dir_all_durable(&path, 0o2777).unwrap();
        for folder in [&path, &base.path().join("a/b"), &base.path().join("a")] {
            let mode = fs::metadata(folder).unwrap().mode() & 0o7777;
            assert_eq!(mode, 0o2777, "{}", folder.display());
        }
        assert_eq!(fs::metadata(base.path()).unwrap().mode() & 0o7777, 0o711);
        create_dir_all_durable(&path, 0o700).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o2777);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("file");
        put(&file, b"");
        let error = create_dir_all_durable(&file, 0o755).unwrap_err();
        assert!(error.to_string().ends_with("file is a regular file, not a folder"), "{error}");
        let error = create_dir_all_durable(&file.join("below"), 0o755).unwrap_err();
        assert!(matches!(error, FileError::Io { step: Step::Inspect, .. }), "{error:?}");
    }

    #[test]
    fn a_long_name_leaves_room_for_the_random_part() {
        let folder = tempfile::tempdir().unwrap();
        let name = OsString::from("n".repeat(NAME_BYTES));
        let target = folder.path().join(&name);
        let opened = Rc::new(Folder::of(&target).unwrap());
        let (temporary, file) = Temporary::create(&opened, &name).unwrap();
        assert_eq!(temporary.name.len(), NAME_BYTES);
        assert_ne!(temporary.name, Temporary::create(&opened, &name).unwrap().0.name);
        assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o600);
    }
}
