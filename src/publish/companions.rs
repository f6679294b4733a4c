//! Companions: files of the state folder that change together with a generation, or together without one.
//!
//! What is believed and what is remembered must agree with what is in force, whatever happens in between. So companions are
//! staged inside the generation and reach the state folder only once its outcome is recorded; when nothing but
//! companions changed, they are gathered in a folder whose rename decides. Either way a crash leaves all of the old ones or,
//! after the mending, all of the new ones.

use std::fs;
use std::path::{Path, PathBuf};

use super::PublishError;
use super::store::{Unsynced, failed, remove_tree, sync_folder};
use crate::os::files::OpenFolder;

/// Where companions are gathered that change without a generation, and where they wait once it is decided that they change.
const GATHERED: &str = ".companions";
const DECIDED: &str = "companions.pending";

/// A file of the state folder that changes together with a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Companion {
    /// Its name in the state folder.
    pub name: &'static str,
    /// All of its bytes.
    pub bytes: Vec<u8>,
}

/// Writes those that differ from what the state folder has into a folder, which is made when there is any.
pub(super) fn stage(
    dir: &Path,
    folder: &Path,
    companions: &[Companion],
) -> Result<(), PublishError> {
    let differs = |companion: &&Companion| {
        // What cannot be read is replaced like what differs.
        let place = dir.join(companion.name);
        !OpenFolder::of(&place).holds(companion.name, &companion.bytes)
    };
    let changed: Vec<_> = companions.iter().filter(differs).collect();
    if changed.is_empty() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(failed("create", folder))?;
    let mut written = Unsynced::default();
    for companion in changed {
        written.write(&folder.join(companion.name), &companion.bytes)?;
    }
    written.sync()?;
    sync_folder(folder)
}

/// Moves what was staged into the state folder; what was moved already stays there.
pub(super) fn settle(dir: &Path, folder: &Path) -> Result<(), PublishError> {
    let staged = staged(folder)?;
    for from in &staged {
        let Some(name) = from.file_name() else { continue };
        let to = dir.join(name);
        fs::rename(from, &to).map_err(failed("replace", &to))?;
    }
    if !staged.is_empty() {
        sync_folder(dir)?;
    }
    remove_tree(folder)
}

/// Replaces companions alone: all of them or none.
pub(super) fn replace(dir: &Path, companions: &[Companion]) -> Result<(), PublishError> {
    let gathered = dir.join(GATHERED);
    remove_tree(&gathered)?;
    stage(dir, &gathered, companions)?;
    if staged(&gathered)?.is_empty() {
        return Ok(());
    }
    let decided = dir.join(DECIDED);
    fs::rename(&gathered, &decided).map_err(failed("rename", &decided))?;
    sync_folder(dir)?;
    settle(dir, &decided)
}

/// Ends what an interrupted [`replace`] began.
pub(super) fn mend(dir: &Path) -> Result<(), PublishError> {
    remove_tree(&dir.join(GATHERED))?;
    settle(dir, &dir.join(DECIDED))
}

/// The files that wait in a folder.
fn staged(folder: &Path) -> Result<Vec<PathBuf>, PublishError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", folder)(error)),
    };
    entries.map(|entry| Ok(entry.map_err(failed("list", folder))?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(belief: &[u8], memory: &[u8]) -> [Companion; 2] {
        [
            Companion { name: "belief.json", bytes: belief.to_vec() },
            Companion { name: "memory.json", bytes: memory.to_vec() },
        ]
    }

    fn contents(dir: &Path) -> (Vec<u8>, Vec<u8>) {
        (
            fs::read(dir.join("belief.json")).unwrap_or_default(),
            fs::read(dir.join("memory.json")).unwrap_or_default(),
        )
    }

    #[test]
    fn companions_change_together_and_equal_ones_are_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        replace(dir, &both(b"1", b"1")).unwrap();
        assert_eq!(contents(dir), (b"1".to_vec(), b"1".to_vec()));
        let inode = |name: &str| {
            std::os::unix::fs::MetadataExt::ino(&fs::metadata(dir.join(name)).unwrap())
        };
        let before = (inode("belief.json"), inode("memory.json"));
        replace(dir, &both(b"1", b"2")).unwrap();
        assert_eq!(contents(dir), (b"1".to_vec(), b"2".to_vec()));
        assert_eq!(inode("belief.json"), before.0);
        assert_ne!(inode("memory.json"), before.1);
        assert_eq!(fs::read_dir(dir).unwrap().count(), 2);
    }

    #[test]
    fn one_that_cannot_be_read_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        std::os::unix::fs::symlink("memory.json", dir.join("memory.json")).unwrap();
        replace(dir, &both(b"1", b"1")).unwrap();
        assert_eq!(contents(dir), (b"1".to_vec(), b"1".to_vec()));
    }

    #[test]
    fn a_crash_before_the_decision_leaves_the_old_ones_and_after_it_the_new_ones() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        replace(dir, &both(b"1", b"1")).unwrap();
        stage(dir, &dir.join(GATHERED), &both(b"2", b"2")).unwrap();
        mend(dir).unwrap();
        assert_eq!(contents(dir), (b"1".to_vec(), b"1".to_vec()));
        // Decided, and half moved.
        stage(dir, &dir.join(DECIDED), &both(b"2", b"2")).unwrap();
        fs::rename(dir.join(DECIDED).join("belief.json"), dir.join("belief.json")).unwrap();
        mend(dir).unwrap();
        assert_eq!(contents(dir), (b"2".to_vec(), b"2".to_vec()));
        assert_eq!(fs::read_dir(dir).unwrap().count(), 2);
    }
}
