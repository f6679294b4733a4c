//! Generations on disk: staged, switched to, kept, discarded.
//!
//! `generations/NNNNNN/` holds `TARGET/FILE`, `ruleset.json`, `manifest.json` and, in `archive/`, what belongs to its
//! publication; `current` is a symbolic link to the one in force, replaced by one rename, so a reader of `current/…` sees all
//! files of one generation.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::journal::Journal;
use super::manifest::{Manifest, Outcome};
use super::verify::is_known;
use super::{PublishError, Request, companions};
use crate::config::Name;
use crate::os::files::{self, OpenFolder};
use crate::os::record::WHAT_TO_DO;
use crate::ruleset::{self, RuleSet};

/// Largest file of a generation that is read, in bytes.
pub(super) const MAX_BYTES: u64 = 1 << 30;
const MANIFEST: &str = "manifest.json";
const OUTCOME: &str = "outcome.json";
const RULE_SET: &str = "ruleset.json";
const STAGING: &str = ".staging";
/// What is kept beside a generation's files; no target may have the name.
const ARCHIVE: &str = crate::config::Target::RESERVED_NAME;
/// In the archive: companions that wait for the record.
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

/// What a generation keeps of a target beside its files.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kept<'k> {
    /// What the kernel had before tagwall first touched it.
    Before,
    /// The rules as the kernel showed them after loading.
    Rules,
    /// The rule set of a target that carries files of an earlier generation.
    RuleSet,
    /// The update that was loaded instead of the whole artifact; with its kind.
    Update(&'k str),
    /// An installed file as a foreign hand had left it, before it was overwritten.
    Foreign(&'k str),
}

impl Kept<'_> {
    fn name(self, target: &Name) -> String {
        match self {
            Self::Before => format!("{target}.before"),
            Self::Rules => format!("{target}.rules"),
            Self::RuleSet => format!("{target}.ruleset.json"),
            Self::Update(kind) => format!("{target}.update.{kind}"),
            Self::Foreign(file) => format!("{target}.foreign.{file}"),
        }
    }
}

/// New files that are not on disk yet. They are synced many at a time, so that one commit of the file system's journal serves
/// all of them, and not at the end only, so that not all are open at once.
#[derive(Debug, Default)]
pub(super) struct Unsynced(Vec<(File, PathBuf)>);

impl Unsynced {
    /// Writes one more.
    pub(super) fn write(&mut self, path: &Path, contents: &[u8]) -> Result<(), PublishError> {
        if self.0.len() >= files::OPEN_AT_ONCE {
            self.sync()?;
        }
        self.0.push((write_new(path, contents)?, path.to_owned()));
        Ok(())
    }

    /// Brings all of them to disk.
    pub(super) fn sync(&mut self) -> Result<(), PublishError> {
        for (file, path) in self.0.drain(..) {
            file.sync_all().map_err(failed("sync", &path))?;
        }
        Ok(())
    }
}

/// Makes what happened in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> Result<(), PublishError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
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

    fn kept_path(&self, number: u64, target: &Name, what: Kept<'_>) -> PathBuf {
        self.path(number).join(ARCHIVE).join(what.name(target))
    }

    fn companions(&self, number: u64) -> PathBuf {
        self.path(number).join(ARCHIVE).join(COMPANIONS)
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
        let path = folder.join(MANIFEST);
        let manifest = read_json(&path)?.ok_or_else(|| {
            if folder.exists() {
                damaged(&path, &"it is missing")
            } else {
                PublishError::NoGeneration(number)
            }
        })?;
        let outcome = read_json(&folder.join(OUTCOME))?;
        Ok(Generation { manifest, outcome })
    }

    /// Whether a publication is under way, or was interrupted and is not mended yet.
    pub fn is_under_way(&self) -> bool {
        Journal::path(&self.dir).exists()
    }

    /// Whether a generation is there whose publication was not seen to its end.
    pub(super) fn is_unfinished(&self, number: u64) -> Result<bool, PublishError> {
        let folder = self.path(number);
        let exists = |path: &Path| path.try_exists().map_err(failed("look at", path));
        Ok(exists(&folder)? && !exists(&folder.join(OUTCOME))?)
    }

    /// A generation's rule set.
    pub fn rule_set(&self, number: u64) -> Result<RuleSet, PublishError> {
        let path = self.path(number).join(RULE_SET);
        let rules = read_rules(&path)?;
        rules.ok_or(PublishError::Damaged { path })
    }

    /// The rule set that a target of a generation carries: the generation's, unless its files are those of an earlier one.
    pub(super) fn rules_of(&self, number: u64, target: &Name) -> Result<RuleSet, PublishError> {
        match self.carried_rules(number, target)? {
            Some(rules) => Ok(rules),
            None => self.rule_set(number),
        }
    }

    /// The rule set of a target that carries files of an earlier generation.
    pub(super) fn carried_rules(
        &self,
        number: u64,
        target: &Name,
    ) -> Result<Option<RuleSet>, PublishError> {
        read_rules(&self.kept_path(number, target, Kept::RuleSet))
    }

    /// Writes the files of a generation durably, under a name that is none. Files that are equal in the generation `before`
    /// share its storage, and so does what the kernel showed of targets that are not touched.
    pub(super) fn stage(
        &self,
        request: &Request,
        manifest: &Manifest,
        before: Option<&Manifest>,
    ) -> Result<(), PublishError> {
        let generations = self.generations();
        files::create_dir_all_durable(&generations, 0o755)?;
        let staging = generations.join(STAGING);
        remove_tree(&staging)?;
        make_folder(&staging)?;
        let mut written = Unsynced::default();
        for name in manifest.targets.keys() {
            make_folder(&staging.join(name.as_str()))?;
        }
        let mut folders = BTreeMap::new();
        for artifact in &request.artifacts {
            let place = staging.join(artifact.target.as_str()).join(&artifact.file);
            let record = |manifest: &Manifest| {
                let target = manifest.targets.get(&artifact.target)?;
                target.files.get(&artifact.file).cloned()
            };
            let same = before.filter(|before| {
                let was = record(before);
                was.is_some() && was == record(manifest)
            });
            let earlier = same.map(|before| {
                let target = self.path(before.generation).join(artifact.target.as_str());
                target.join(&artifact.file)
            });
            // A file that was damaged meanwhile must not live on.
            let earlier = earlier.filter(|earlier| {
                let folder =
                    folders.entry(&artifact.target).or_insert_with(|| OpenFolder::of(earlier));
                folder.holds(&artifact.file, &artifact.bytes)
            });
            if earlier.is_none_or(|earlier| fs::hard_link(earlier, &place).is_err()) {
                written.write(&place, &artifact.bytes)?;
            }
        }
        let archive = staging.join(ARCHIVE);
        make_folder(&archive)?;
        for (name, rules) in &request.carried {
            let place = archive.join(Kept::RuleSet.name(name));
            written.write(&place, &ruleset::write_document(rules))?;
        }
        if let Some(before) = before {
            let touched = manifest.changed_after(Some(before));
            for (name, record) in &manifest.targets {
                let had = before.targets.get(name).and_then(|record| record.kernel.as_ref());
                let moved = record.kernel.as_ref().is_some_and(|kernel| !is_known(kernel, had));
                for what in [Kept::Before, Kept::Rules] {
                    // What was there before is that of one table or chain.
                    let is_of_other = match what {
                        Kept::Before => moved,
                        _ => touched.contains(name),
                    };
                    if is_of_other {
                        continue;
                    }
                    let earlier = self.kept_path(before.generation, name, what);
                    let place = archive.join(what.name(name));
                    if earlier.exists() && fs::hard_link(&earlier, &place).is_err() {
                        let bytes = files::read_bounded(&earlier, MAX_BYTES)?;
                        written.write(&place, &bytes)?;
                    }
                }
            }
        }
        companions::stage(&self.dir, &archive.join(COMPANIONS), &request.companions)?;
        written.write(&staging.join(RULE_SET), &ruleset::write_document(&request.rule_set))?;
        written.sync()?;
        for name in manifest.targets.keys() {
            sync_folder(&staging.join(name.as_str()))?;
        }
        sync_folder(&archive)
    }

    /// Completes a generation that was staged, with its manifest; it is not in force yet.
    pub(super) fn complete(&self, manifest: &Manifest) -> Result<(), PublishError> {
        let generations = self.generations();
        let staging = generations.join(STAGING);
        let mut written = Unsynced::default();
        written.write(&staging.join(MANIFEST), &encode(manifest)?)?;
        written.sync()?;
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
                remove_file(&fresh)?;
                let target = Path::new("generations").join(format!("{number:06}"));
                symlink(target, &fresh).map_err(failed("create", &fresh))?;
                fs::rename(&fresh, &link).map_err(failed("switch", &link))?;
            }
            None => remove_file(&link)?,
        }
        sync_folder(&self.dir)
    }

    /// Records how a generation's publication ended.
    pub(super) fn record(&self, outcome: &Outcome) -> Result<(), PublishError> {
        files::replace(&self.path(outcome.generation).join(OUTCOME), &encode(outcome)?)?;
        Ok(())
    }

    /// Brings the companions of a recorded generation to the state folder.
    pub(super) fn settle(&self, number: u64) -> Result<(), PublishError> {
        companions::settle(&self.dir, &self.companions(number))
    }

    /// Throws away the companions of a generation that was taken back.
    pub(super) fn forget(&self, number: u64) -> Result<(), PublishError> {
        remove_tree(&self.companions(number))
    }

    /// Moves the companions that wait in one generation to another that takes its place.
    pub(super) fn hand_over_companions(&self, from: u64, to: u64) -> Result<(), PublishError> {
        let (source, place) = (self.companions(from), self.companions(to));
        match fs::rename(&source, &place) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed("rename", &place)(error));
            }
            _ => {}
        }
        sync_folder(&self.path(to).join(ARCHIVE))?;
        sync_folder(&self.path(from).join(ARCHIVE))
    }

    /// Keeps something of a target beside its files.
    pub(super) fn keep(
        &self,
        number: u64,
        target: &Name,
        what: Kept<'_>,
        contents: &[u8],
    ) -> Result<(), PublishError> {
        files::replace(&self.kept_path(number, target, what), contents)?;
        Ok(())
    }

    /// What [`Store::keep`] kept.
    pub(super) fn kept(
        &self,
        number: u64,
        target: &Name,
        what: Kept<'_>,
    ) -> Result<Option<Vec<u8>>, PublishError> {
        read_if_there(&self.kept_path(number, target, what))
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
        remove_tree(&self.generations().join(STAGING))?;
        remove_file(&self.dir.join(".current.new"))
    }
}

/// Makes a folder whose mode is set, and not left to the umask: who may enter the state folder may read what is in force.
fn make_folder(path: &Path) -> Result<(), PublishError> {
    fs::DirBuilder::new().mode(0o755).create(path).map_err(failed("create", path))?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
        .map_err(failed("set the mode of", path))
}

pub(super) fn remove_tree(path: &Path) -> Result<(), PublishError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failed("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) -> Result<(), PublishError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failed("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Writes a file that must not exist yet, and that everybody may read, whatever the umask; the caller syncs it.
fn write_new(path: &Path, contents: &[u8]) -> Result<File, PublishError> {
    use std::io::Write as _;
    let mut file = File::create_new(path).map_err(failed("create", path))?;
    let mode = Permissions::from_mode(files::DEFAULT_MODE);
    file.set_permissions(mode).map_err(failed("set the mode of", path))?;
    file.write_all(contents).map_err(failed("write", path))?;
    Ok(file)
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>, PublishError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(PublishError::Encode)?;
    text.push(b'\n');
    Ok(text)
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, PublishError> {
    match files::read_bounded(path, MAX_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn damaged(path: &Path, reason: &dyn std::fmt::Display) -> PublishError {
    PublishError::State { path: path.to_owned(), reason: format!("{reason}; {WHAT_TO_DO}") }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, PublishError> {
    let Some(bytes) = read_if_there(path)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| damaged(path, &error))
}

fn read_rules(path: &Path) -> Result<Option<RuleSet>, PublishError> {
    let Some(bytes) = read_if_there(path)? else { return Ok(None) };
    ruleset::read_document(&bytes).map(Some).map_err(|error| damaged(path, &error))
}
