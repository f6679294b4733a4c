//! The files of a folder that may be publications, and whether they stand still.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::feed::FeedError;

/// Most entries of a folder that are looked at.
const MOST_ENTRIES: usize = 10_000;

/// A file that may be a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) name: OsString,
    pub(super) stamp: Stamp,
}

/// What changes when a file does: which file it is, its size, and when it last changed in any way.
///
/// The change time cannot be set back by whoever copies a file with its old modification time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// How long ago it changed; nothing when that lies in the future (another machine's clock).
    fn age(&self) -> Option<Duration> {
        let seconds = u64::try_from(self.changed.0).ok()?;
        let nanoseconds = u32::try_from(self.changed.1).ok()?;
        let at = SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))?;
        SystemTime::now().duration_since(at).ok()
    }
}

impl Candidate {
    /// How much longer it must stand still, when it has not for long enough.
    pub(super) fn restless(&self, settle: Duration) -> Option<Duration> {
        // A time in the future says nothing: what is read must be the same before and after, and whole.
        let age = self.stamp.age()?;
        settle.checked_sub(age).filter(|rest| !rest.is_zero())
    }

    /// The path to open: of a link, what it leads to, which must lie in the folder.
    pub(super) fn open_path(&self, folder: &Path) -> Result<PathBuf, FeedError> {
        let path = folder.join(&self.name);
        let link = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink());
        if !link {
            return Ok(path);
        }
        match (fs::canonicalize(folder), fs::canonicalize(&path)) {
            (Ok(folder), Ok(target)) if target.starts_with(&folder) => Ok(target),
            _ => Err(FeedError::LeadsOut { path }),
        }
    }

    /// Whether it is still the same file, unchanged.
    pub(super) fn still_stands(&self, folder: &Path) -> bool {
        fs::metadata(folder.join(&self.name))
            .is_ok_and(|metadata| Stamp::of(&metadata) == self.stamp)
    }
}

/// Whether a name may be a publication's: `*.json`, not hidden. Those who write files under a temporary name hide it or
/// give it another ending.
pub(super) fn is_candidate(name: &std::ffi::OsStr) -> bool {
    let name = name.as_bytes();
    !name.starts_with(b".")
        && name.len() > ".json".len()
        && name[name.len() - ".json".len()..].eq_ignore_ascii_case(b".json")
}

/// The files of a folder that may be publications, in order of name. Blocks.
pub(super) fn candidates(folder: &Path) -> Result<Vec<Candidate>, FeedError> {
    let failed = |source| FeedError::Folder { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)?.take(MOST_ENTRIES) {
        let name = entry.map_err(failed)?.file_name();
        if !is_candidate(&name) {
            continue;
        }
        // Through links. What vanished meanwhile, or is a link to nothing yet, is no file.
        let Ok(metadata) = fs::metadata(folder.join(&name)) else { continue };
        if metadata.is_file() {
            found.push(Candidate { name, stamp: Stamp::of(&metadata) });
        }
    }
    found.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn temporary_names_are_passed_over() {
        for name in ["ServiceTags_Public_20250908.json", "x.JSON"] {
            assert!(is_candidate(OsStr::new(name)), "{name}");
        }
        for name in [
            ".ServiceTags_Public_20250908.json.Xa81bc", // rsync
            ".x.json.swp",                              // vim
            "x.json~",
            "4913",
            "#x.json#",
            "x.json.part",
            "x.json.crdownload",
            ".x.json",
            ".json",
            "x.json.filepart",
        ] {
            assert!(!is_candidate(OsStr::new(name)), "{name}");
        }
    }
}
