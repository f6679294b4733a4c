//! Generations on disk: staged, switched to, kept, discarded.
//!
//! `generations/NNNNNN/` holds `TARGET/FILE`, `ruleset.json` and `manifest.json`; `current` is a symbolic link to the one in
//! force, replaced by one rename, so a reader of `current/…` sees all files of one generation.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::manifest::{Manifest, Outcome};
use super::{PublishError, Request, companions};
use crate::os::files;
use crate::ruleset::{self, RuleSet};

/// Largest file of a generation that is read, in bytes.
const MAX_BYTES: u64 = 1 << 30;
const MANIFEST: &str = "manifest.json";
const OUTCOME: &str = "outcome.json";
const RULE_SET: &str = "ruleset.json";
const STAGING: &str = ".staging";
/// What is kept beside a generation's files: the kernel before, derived updates, companions that wait.
const ARCHIVE: &str = "archive";
const COMPANIONS: &str = "state";

/// The generations in a state folder.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

/// A generation with what is known of it.
#[derive(Debug, Clone)]
pub struct Generation {
    /// Its manifest.
    pub manifest: Manifest,
    /// How its publication ended; none when it was interrupted.
    pub outcome: Option<Outcome>,
}

/// Makes what happened in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> Result<(), PublishError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| PublishError::Io {
        what: "sync",
        path: folder.to_owned(),
        source,
    })
}

pub(super) fn failed(
    what: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> PublishError {
    let path = path.to_owned();
    move |source| PublishError::Io { what, path, source }
}

impl Store {
    /// The store of a state folder, which need not exist yet.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The state folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn generations(&self) -> PathBuf {
        self.dir.join("generations")
    }

    /// The folder of a generation.
    pub fn path(&self, number: u64) -> PathBuf {
        self.generations().join(format!("{number:06}"))
    }

    /// The numbers of all generations on disk, ascending.
    pub fn numbers(&self) -> Result<Vec<u64>, PublishError> {
        let folder = self.generations();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("list", &folder)(error)),
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed("list", &folder))?.file_name();
            // Anything that is not a number is not ours to judge.
            numbers.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The number of the generation that `current` points to.
    pub fn current(&self) -> Result<Option<u64>, PublishError> {
        let link = self.dir.join("current");
        match fs::read_link(&link) {
            Ok(target) => {
                let number = target
                    .file_name()
                    .and_then(|name| name.to_str())
                    .and_then(|name| name.parse().ok());
                number.map(Some).ok_or_else(|| PublishError::State {
                    path: link,
                    reason: format!("it points to {}, which is no generation", target.display()),
                })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &link)(error)),
        }
    }

    /// A generation's manifest and outcome.
    pub fn read(&self, number: u64) -> Result<Generation, PublishError> {
        let folder = self.path(number);
        let manifest =
            read_json(&folder.join(MANIFEST))?.ok_or(PublishError::NoGeneration(number))?;
        let outcome = read_json(&folder.join(OUTCOME))?;
        Ok(Generation { manifest, outcome })
    }

    /// A generation's rule set.
    pub fn rule_set(&self, number: u64) -> Result<RuleSet, PublishError> {
        let path = self.path(number).join(RULE_SET);
        let bytes = files::read_bounded(&path, MAX_BYTES)?;
        ruleset::read_document(&bytes)
            .map_err(|error| PublishError::State { path, reason: error.to_string() })
    }

    /// Writes a generation durably; it is complete when this returns, and not in force yet. Files that are equal in the
    /// generation before share its storage.
    pub(super) fn stage(
        &self,
        request: &Request,
        manifest: &Manifest,
        before: Option<u64>,
    ) -> Result<(), PublishError> {
        let generations = self.generations();
        files::create_dir_all_durable(&generations, 0o755)?;
        let staging = generations.join(STAGING);
        remove_tree(&staging)?;
        // The mode is set, and not left to the umask: who may enter the state folder may read what is in force.
        let folder = |path: &Path| {
            fs::create_dir(path)
                .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o755)))
                .map_err(failed("create", path))
        };
        folder(&staging)?;
        for name in manifest.targets.keys() {
            folder(&staging.join(name.as_str()))?;
        }
        let old = before.map(|number| self.read(number)).transpose()?;
        for artifact in &request.artifacts {
            let place = staging.join(artifact.target.as_str()).join(&artifact.file);
            let record = |manifest: &Manifest| {
                manifest
                    .targets
                    .get(&artifact.target)
                    .and_then(|target| target.files.get(&artifact.file).cloned())
            };
            let same = old.as_ref().is_some_and(|old| {
                let was = record(&old.manifest);
                was.is_some() && was == record(manifest)
            });
            if let (true, Some(before)) = (same, before) {
                let earlier = self.path(before).join(artifact.target.as_str()).join(&artifact.file);
                if fs::hard_link(&earlier, &place).is_ok() {
                    continue;
                }
            }
            write_new(&place, &artifact.bytes)?;
        }
        let archive = staging.join(ARCHIVE);
        companions::stage(&self.dir, &archive.join(COMPANIONS), &request.companions)?;
        if archive.exists() {
            sync_folder(&archive)?;
        }
        write_new(&staging.join(RULE_SET), &ruleset::write_document(&request.rule_set))?;
        let mut text = serde_json::to_vec_pretty(manifest).map_err(PublishError::Encode)?;
        text.push(b'\n');
        write_new(&staging.join(MANIFEST), &text)?;
        for name in manifest.targets.keys() {
            sync_folder(&staging.join(name.as_str()))?;
        }
        sync_folder(&staging)?;
        let place = self.path(manifest.generation);
        fs::rename(&staging, &place).map_err(failed("rename", &place))?;
        sync_folder(&generations)
    }

    /// Makes `current` point to a generation, with one rename; to none when there was none before.
    pub(super) fn switch(&self, to: Option<u64>) -> Result<(), PublishError> {
        let link = self.dir.join("current");
        match to {
            Some(number) => {
                let fresh = self.dir.join(".current.new");
                match fs::remove_file(&fresh) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(failed("remove", &fresh)(error));
                    }
                    _ => {}
                }
                let target = Path::new("generations").join(format!("{number:06}"));
                symlink(target, &fresh).map_err(failed("create", &fresh))?;
                fs::rename(&fresh, &link).map_err(failed("switch", &link))?;
            }
            None => match fs::remove_file(&link) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed("remove", &link)(error));
                }
                _ => {}
            },
        }
        sync_folder(&self.dir)
    }

    /// Records how a generation's publication ended.
    pub(super) fn record(&self, outcome: &Outcome) -> Result<(), PublishError> {
        let mut text = serde_json::to_vec_pretty(outcome).map_err(PublishError::Encode)?;
        text.push(b'\n');
        files::replace(&self.path(outcome.generation).join(OUTCOME), &text)?;
        Ok(())
    }

    /// Brings the companions of a recorded generation to the state folder.
    pub(super) fn settle(&self, number: u64) -> Result<(), PublishError> {
        companions::settle(&self.dir, &self.path(number).join(ARCHIVE).join(COMPANIONS))
    }

    /// Throws away the companions of a generation that was taken back.
    pub(super) fn forget(&self, number: u64) -> Result<(), PublishError> {
        remove_tree(&self.path(number).join(ARCHIVE).join(COMPANIONS))
    }

    /// Keeps a file of a generation beside its manifest (the state of the kernel before, a derived update).
    pub(super) fn keep(
        &self,
        number: u64,
        name: &str,
        contents: &[u8],
    ) -> Result<PathBuf, PublishError> {
        let folder = self.path(number).join(ARCHIVE);
        files::create_dir_all_durable(&folder, 0o755)?;
        let path = folder.join(name);
        files::replace(&path, contents)?;
        Ok(path)
    }

    /// A file that [`Store::keep`] kept.
    pub(super) fn kept(&self, number: u64, name: &str) -> Result<Option<Vec<u8>>, PublishError> {
        match files::read_bounded(&self.path(number).join(ARCHIVE).join(name), MAX_BYTES) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a generation.
    pub(super) fn discard(&self, number: u64) -> Result<(), PublishError> {
        // Renamed first: a generation that is half removed must not look like one.
        let place = self.path(number);
        let grave = self.generations().join(STAGING);
        remove_tree(&grave)?;
        fs::rename(&place, &grave).map_err(failed("rename", &place))?;
        remove_tree(&grave)?;
        sync_folder(&self.generations())
    }

    /// Removes what an interrupted staging left.
    pub(super) fn sweep(&self) -> Result<(), PublishError> {
        remove_tree(&self.generations().join(STAGING))
    }
}

pub(super) fn remove_tree(path: &Path) -> Result<(), PublishError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failed("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Writes a file that must not exist yet, and syncs it.
pub(super) fn write_new(path: &Path, contents: &[u8]) -> Result<(), PublishError> {
    use std::io::Write as _;
    let mut file = File::create_new(path).map_err(failed("create", path))?;
    file.write_all(contents).map_err(failed("write", path))?;
    file.sync_all().map_err(failed("sync", path))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, PublishError> {
    let bytes = match files::read_bounded(path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| PublishError::State { path: path.to_owned(), reason: error.to_string() })
}
