//! The transaction, its undoing, and what is mended after a crash.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::PublishError;
use super::companions::{self, Companion};
use super::firewall::{self, Drift, Firewall, FirewallError};
use super::journal::Journal;
use super::manifest::{
    ChangeSummary, MANIFEST_FORMAT, Manifest, OUTCOME_FORMAT, Outcome, OutcomeResult, Request,
    TargetRecord,
};
use super::store::{Generation, Store};
use crate::config::{Name, Publishing};
use crate::os::files::{self, Replacement};
use crate::os::lock::DirLock;
use crate::ruleset::RuleSet;
use crate::snapshot::Digest;

/// Largest installed file that is compared, in bytes.
const MAX_BYTES: u64 = 1 << 30;

/// How many generations are kept. The one in force, the one before it and a pinned one are always kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// The newest that are kept. Default: 50.
    pub generations: usize,
    /// Whether a younger age in days keeps one too. Default: 90.
    pub days: u32,
    /// The newest small or failed ones that are kept, whatever their age. Default: 5.
    pub small: usize,
}

impl From<&Publishing> for Retention {
    fn from(settings: &Publishing) -> Self {
        let Publishing { generations, days, small_generations: small, .. } = *settings;
        Self { generations, days, small }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self::from(&Publishing::default())
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The rules in force are the same: nothing was touched.
    Unchanged(Option<u64>),
    /// A new generation is in force.
    Generation(u64),
}

/// The one who may publish in a state folder: holds its lock.
#[derive(Debug)]
pub struct Publisher {
    store: Store,
    lock: DirLock,
    mended: Option<String>,
}

impl Publisher {
    /// Takes the lock of a state folder (made when it is missing) and mends what an interrupted publication left.
    pub fn open(dir: &Path, purpose: &str) -> Result<Self, PublishError> {
        files::create_dir_all_durable(dir, 0o755)?;
        let lock = DirLock::acquire(dir, purpose)?;
        let mut publisher = Self { store: Store::new(dir), lock, mended: None };
        publisher.mended = publisher.mend()?;
        Ok(publisher)
    }

    /// The generations.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What was mended when the folder was opened, in words; none when all was well.
    pub fn mended(&self) -> Option<&str> {
        self.mended.as_deref()
    }

    /// Gives the lock back.
    pub fn close(self) {
        self.lock.release();
    }

    /// Publishes: all targets or, when one fails, none.
    pub fn publish(
        &self,
        request: &Request,
        retention: Retention,
    ) -> Result<Published, PublishError> {
        let before = self.store.current()?;
        let old = before.map(|number| self.store.read(number)).transpose()?;
        let rule_set = request.rule_set.digest();
        if old.as_ref().is_some_and(|old| old.manifest.is_met_by(request, rule_set)) {
            companions::replace(self.store.dir(), &request.companions)?;
            return Ok(Published::Unchanged(before));
        }
        let number = self.next_number()?;
        self.check_room(request)?;
        let old_rules =
            before.map(|number| self.store.rule_set(number)).transpose()?.unwrap_or_default();
        let manifest = Manifest {
            format: MANIFEST_FORMAT.to_owned(),
            generation: number,
            created: request.now,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            reason: request.reason.clone(),
            previous: before,
            configuration: request.configuration,
            publications: request.publications.clone(),
            rule_set,
            targets: request.targets.clone(),
            summary: ChangeSummary::of(&old_rules, &request.rule_set),
            small: request.small,
        };
        self.store.stage(request, &manifest, before)?;
        let changed = changed_targets(old.as_ref(), &manifest);
        if let Err(error) = self.verify(&manifest, &changed) {
            self.store.discard(number)?;
            return Err(error);
        }
        self.save_before(&manifest, old.as_ref())?;
        Journal::new(before, number).write(self.store.dir())?;
        self.store.switch(Some(number))?;
        match self.bring_in_force(&manifest, &request.rule_set, &changed) {
            Ok(fingerprints) => self.record(number, fingerprints, request.now)?,
            Err(failure) => {
                return Err(self.take_back(failure, &manifest, before, &changed, request.now)?);
            }
        }
        self.prune(retention, request.now)?;
        Ok(Published::Generation(number))
    }

    /// Whether publishing this would change nothing.
    pub fn is_in_force(&self, request: &Request) -> Result<bool, PublishError> {
        let Some(number) = self.store.current()? else { return Ok(false) };
        let manifest = self.store.read(number)?.manifest;
        Ok(manifest.is_met_by(request, request.rule_set.digest()))
    }

    /// Replaces files of the state folder without a generation: all of them or none.
    pub fn keep(&self, companions: &[Companion]) -> Result<(), PublishError> {
        companions::replace(self.store.dir(), companions)
    }

    fn next_number(&self) -> Result<u64, PublishError> {
        Ok(self.store.numbers()?.last().copied().unwrap_or(0) + 1)
    }

    /// Brings an earlier generation back as a new one, in files and kernel. Without a number: the last whose rules differ
    /// from those in force. `companions` are asked for the number that will be in force, and change together with it.
    pub fn rollback<E: From<PublishError>>(
        &self,
        to: Option<u64>,
        now: Timestamp,
        retention: Retention,
        companions: impl FnOnce(u64) -> Result<Vec<Companion>, E>,
    ) -> Result<u64, E> {
        let current = self.store.current()?.ok_or(PublishError::NothingEarlier)?;
        let in_force = self.store.read(current)?;
        let to = match to {
            Some(to) => to,
            None => self.last_other(current, in_force.manifest.rule_set)?,
        };
        let target = self.store.read(to)?;
        let rule_set = self.store.rule_set(to)?;
        let mut artifacts = Vec::new();
        for (name, record) in &target.manifest.targets {
            for (file, expected) in &record.files {
                let path = self.store.path(to).join(name.as_str()).join(file);
                let bytes = files::read_bounded(&path, MAX_BYTES).map_err(PublishError::from)?;
                if Digest::of(&bytes) != expected.sha256 {
                    return Err(PublishError::Damaged { path }.into());
                }
                artifacts.push(crate::render::Artifact {
                    target: name.clone(),
                    file: file.clone(),
                    bytes,
                    rule_set: record.rule_set,
                    warnings: Vec::new(),
                });
            }
        }
        let mut request = Request {
            rule_set,
            artifacts,
            targets: target.manifest.targets,
            publications: target.manifest.publications,
            configuration: target.manifest.configuration,
            reason: format!("rollback to {to}"),
            now,
            small: false,
            companions: Vec::new(),
        };
        let same = in_force.manifest.is_met_by(&request, request.rule_set.digest());
        request.companions = companions(if same { current } else { self.next_number()? })?;
        match self.publish(&request, retention)? {
            Published::Generation(number) => Ok(number),
            Published::Unchanged(_) => Ok(current),
        }
    }

    fn last_other(&self, current: u64, rules: Digest) -> Result<u64, PublishError> {
        for number in self.store.numbers()?.into_iter().rev().filter(|number| *number < current) {
            let generation = self.store.read(number)?;
            let recorded =
                generation.outcome.is_some_and(|outcome| outcome.result == OutcomeResult::Recorded);
            if recorded && generation.manifest.rule_set != rules {
                return Ok(number);
            }
        }
        Err(PublishError::NothingEarlier)
    }

    /// Compares the kernel with the generation in force, target by target.
    pub fn drift(&self) -> Result<BTreeMap<Name, Option<FirewallError>>, PublishError> {
        drift(&self.store)
    }

    /// Loads the generation in force again where the kernel has lost it; says what was done.
    pub fn restore(&self) -> Result<Vec<(Name, Drift)>, PublishError> {
        let Some(number) = self.store.current()? else { return Ok(Vec::new()) };
        let generation = self.store.read(number)?;
        let rule_set = self.store.rule_set(number)?;
        let mut restored = Vec::new();
        for (name, found) in self.drift()? {
            let Some(found) = found else { continue };
            let FirewallError::Difference(drift) = found else {
                return Err(step(&name, "read back", found, "nothing was changed"));
            };
            if let Some(record) = generation.manifest.targets.get(&name) {
                self.apply(&generation.manifest, &name, record, &rule_set)?;
            }
            restored.push((name, drift));
        }
        Ok(restored)
    }

    fn check_room(&self, request: &Request) -> Result<(), PublishError> {
        let bytes: u64 = request.artifacts.iter().map(|artifact| artifact.bytes.len() as u64).sum();
        // The rule set and manifest beside the files, and room for the file system's own needs.
        let needed = bytes * 2 + (1 << 20);
        let stat = rustix::fs::statvfs(self.store.dir()).map_err(|error| PublishError::Io {
            what: "measure",
            path: self.store.dir().to_owned(),
            source: error.into(),
        })?;
        let free = stat.f_bavail * stat.f_frsize;
        if free < needed {
            return Err(PublishError::Full { path: self.store.dir().to_owned(), free, needed });
        }
        Ok(())
    }

    fn verify(&self, manifest: &Manifest, changed: &[Name]) -> Result<(), PublishError> {
        for (name, record) in records(manifest, changed) {
            let folder = self.store.path(manifest.generation).join(name.as_str());
            let limit = Duration::from_secs(record.time_limit);
            let own = record
                .kernel
                .as_ref()
                .map_or(Ok(()), |kernel| Firewall::new(kernel, limit).verify(&folder));
            let users = || {
                record
                    .verify
                    .as_ref()
                    .map_or(Ok(()), |command| firewall::run_user_command(command, &folder, limit))
            };
            own.and_then(|()| users())
                .map_err(|error| step(name, "verify", error, "nothing was changed"))?;
        }
        Ok(())
    }

    /// Keeps what the kernel had before tagwall first touched it.
    fn save_before(
        &self,
        manifest: &Manifest,
        old: Option<&Generation>,
    ) -> Result<(), PublishError> {
        for (name, record) in &manifest.targets {
            let Some(kernel) = &record.kernel else { continue };
            let known = old
                .and_then(|old| old.manifest.targets.get(name))
                .and_then(|was| was.kernel.as_ref());
            if known.is_some() {
                continue;
            }
            let limit = Duration::from_secs(record.time_limit);
            let saved = Firewall::new(kernel, limit)
                .save()
                .map_err(|error| step(name, "save", error, "nothing was changed"))?;
            if let Some(text) = saved {
                self.store.keep(manifest.generation, &before_name(name), &text)?;
            }
        }
        Ok(())
    }

    /// Installs, applies and reads back; stops at the first failure.
    fn bring_in_force(
        &self,
        manifest: &Manifest,
        rule_set: &RuleSet,
        changed: &[Name],
    ) -> Result<BTreeMap<Name, Digest>, PublishError> {
        let mut fingerprints = BTreeMap::new();
        for (name, record) in records(manifest, changed) {
            self.install(manifest.generation, name, record).map_err(|error| {
                step(name, "install", error, "the generation before is in force")
            })?;
            if let Some(fingerprint) = self.apply(manifest, name, record, rule_set)? {
                fingerprints.insert(name.clone(), fingerprint);
            }
        }
        Ok(fingerprints)
    }

    fn install(&self, number: u64, name: &Name, record: &TargetRecord) -> Result<(), PublishError> {
        let mut batch = Vec::new();
        for (file, path) in &record.install {
            let from = self.store.path(number).join(name.as_str()).join(file);
            batch.push(Replacement {
                path: path.clone(),
                contents: files::read_bounded(&from, MAX_BYTES)?,
                mode: None,
            });
        }
        files::replace_all(&batch)?;
        Ok(())
    }

    fn apply(
        &self,
        manifest: &Manifest,
        name: &Name,
        record: &TargetRecord,
        rule_set: &RuleSet,
    ) -> Result<Option<Digest>, PublishError> {
        let folder = self.store.path(manifest.generation).join(name.as_str());
        let limit = Duration::from_secs(record.time_limit);
        let aftermath = "the generation before is in force";
        let mut fingerprint = None;
        if let Some(kernel) = &record.kernel {
            let firewall = Firewall::new(kernel, limit);
            firewall.apply(&folder).map_err(|error| step(name, "apply", error, aftermath))?;
            let read = firewall.read_back(&folder, rule_set, None);
            fingerprint = Some(read.map_err(|error| step(name, "read back", error, aftermath))?);
        }
        if let Some(command) = &record.reload {
            firewall::run_user_command(command, &folder, limit)
                .map_err(|error| step(name, "reload", error, aftermath))?;
        }
        Ok(fingerprint)
    }

    fn record(
        &self,
        number: u64,
        mut fingerprints: BTreeMap<Name, Digest>,
        now: Timestamp,
    ) -> Result<(), PublishError> {
        // Targets that were not touched keep the fingerprint of the generation that touched them.
        if let Some(before) = self.store.read(number)?.manifest.previous
            && let Some(outcome) = self.store.read(before).ok().and_then(|old| old.outcome)
        {
            for (name, fingerprint) in outcome.fingerprints {
                fingerprints.entry(name).or_insert(fingerprint);
            }
        }
        self.store.record(&Outcome {
            format: OUTCOME_FORMAT.to_owned(),
            generation: number,
            at: now,
            result: OutcomeResult::Recorded,
            message: None,
            fingerprints,
        })?;
        self.store.settle(number)?;
        Journal::clear(self.store.dir())
    }

    /// Puts the generation before back into force after a failure; returns the error to report.
    fn take_back(
        &self,
        failure: PublishError,
        manifest: &Manifest,
        before: Option<u64>,
        changed: &[Name],
        now: Timestamp,
    ) -> Result<PublishError, PublishError> {
        self.store.switch(before)?;
        let undone = self.undo(manifest, before, changed);
        let message = match &undone {
            Ok(()) => failure.to_string(),
            Err(second) => format!("{failure}; and taking it back failed too: {second}"),
        };
        self.store.record(&Outcome {
            format: OUTCOME_FORMAT.to_owned(),
            generation: manifest.generation,
            at: now,
            result: OutcomeResult::Failed,
            message: Some(message.clone()),
            fingerprints: BTreeMap::new(),
        })?;
        self.store.forget(manifest.generation)?;
        Journal::clear(self.store.dir())?;
        match (undone, failure) {
            (Err(_), PublishError::Step { target, step, source, .. }) => {
                Ok(PublishError::Step { target, step, source, aftermath: message })
            }
            (_, failure) => Ok(failure),
        }
    }

    /// Brings the generation before back into force, and takes targets out of the kernel that it did not have.
    fn undo(
        &self,
        manifest: &Manifest,
        before: Option<u64>,
        changed: &[Name],
    ) -> Result<(), PublishError> {
        let old = before.map(|number| self.store.read(number)).transpose()?;
        for (name, record) in records(manifest, changed) {
            let had = old.as_ref().and_then(|old| old.manifest.targets.get(name));
            let Some(kernel) = &record.kernel else { continue };
            if had.is_some_and(|had| had.kernel.is_some()) {
                continue;
            }
            let firewall = Firewall::new(kernel, Duration::from_secs(record.time_limit));
            // A target whose turn never came has nothing in the kernel to take out.
            if firewall.is_loaded(&self.store.path(manifest.generation).join(name.as_str())) {
                let saved = self.store.kept(manifest.generation, &before_name(name))?;
                firewall
                    .undo(saved)
                    .map_err(|error| step(name, "undo", error, "it may still be in the kernel"))?;
            }
        }
        match old {
            Some(old) => {
                let rules = self.store.rule_set(old.manifest.generation)?;
                self.bring_in_force(&old.manifest, &rules, changed).map(drop)
            }
            None => Ok(()),
        }
    }

    /// Mends what an interrupted publication left: staged but not switched is discarded, switched but not recorded is
    /// applied.
    fn mend(&self) -> Result<Option<String>, PublishError> {
        self.store.sweep()?;
        companions::mend(self.store.dir())?;
        let current = self.store.current()?;
        let mut mended = None;
        if let Some(journal) = Journal::read(self.store.dir())? {
            if current == Some(journal.to) {
                let generation = self.store.read(journal.to)?;
                if generation.outcome.is_some() {
                    self.store.settle(journal.to)?;
                    Journal::clear(self.store.dir())?;
                    return Ok(None);
                }
                let rule_set = self.store.rule_set(journal.to)?;
                let all: Vec<Name> = generation.manifest.targets.keys().cloned().collect();
                let now = Timestamp::now();
                match self.bring_in_force(&generation.manifest, &rule_set, &all) {
                    Ok(fingerprints) => self.record(journal.to, fingerprints, now)?,
                    Err(failure) => {
                        return Err(self.take_back(
                            failure,
                            &generation.manifest,
                            journal.from,
                            &all,
                            now,
                        )?);
                    }
                }
                mended = Some(format!(
                    "generation {} was switched to but not applied: applied it",
                    journal.to
                ));
            } else {
                Journal::clear(self.store.dir())?;
                mended = Some(format!(
                    "generation {} was staged but not switched to: discarded it",
                    journal.to
                ));
            }
        }
        for number in self.store.numbers()? {
            let without_outcome = !self.store.path(number).join("outcome.json").exists();
            if without_outcome && Some(number) != current {
                self.store.discard(number)?;
            }
        }
        Ok(mended)
    }

    fn prune(&self, retention: Retention, now: Timestamp) -> Result<(), PublishError> {
        let numbers = self.store.numbers()?;
        let current = self.store.current()?;
        let previous = current.and_then(|number| self.store.read(number).ok()?.manifest.previous);
        let excess = numbers.len().saturating_sub(retention.generations);
        for number in numbers.into_iter().take(excess) {
            if Some(number) == current || Some(number) == previous {
                continue;
            }
            let age = now.duration_since(self.store.read(number)?.manifest.created);
            if age.as_hours() >= i64::from(retention.days) * 24 {
                self.store.discard(number)?;
            }
        }
        Ok(())
    }
}

/// Compares the kernel with the generation in force, target by target; `None` means equal.
pub fn drift(store: &Store) -> Result<BTreeMap<Name, Option<FirewallError>>, PublishError> {
    let Some(number) = store.current()? else { return Ok(BTreeMap::new()) };
    let generation = store.read(number)?;
    let rule_set = store.rule_set(number)?;
    let outcome = generation.outcome.as_ref();
    let mut found = BTreeMap::new();
    for (name, record) in &generation.manifest.targets {
        let Some(kernel) = &record.kernel else { continue };
        let firewall = Firewall::new(kernel, Duration::from_secs(record.time_limit));
        let earlier = outcome.and_then(|outcome| outcome.fingerprints.get(name).copied());
        let folder = store.path(number).join(name.as_str());
        found.insert(name.clone(), firewall.read_back(&folder, &rule_set, earlier).err());
    }
    Ok(found)
}

fn step(
    target: &Name,
    step: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    aftermath: &str,
) -> PublishError {
    PublishError::Step {
        target: target.clone(),
        step,
        source: source.into(),
        aftermath: aftermath.to_owned(),
    }
}

/// The file that keeps what the kernel had before a target's first load.
fn before_name(target: &Name) -> String {
    format!("{target}.before")
}

/// The targets whose record differs from the generation before.
fn changed_targets(old: Option<&Generation>, manifest: &Manifest) -> Vec<Name> {
    manifest
        .targets
        .iter()
        .filter(|(name, record)| old.and_then(|old| old.manifest.targets.get(name)) != Some(record))
        .map(|(name, _)| name.clone())
        .collect()
}

fn records<'m>(
    manifest: &'m Manifest,
    wanted: &'m [Name],
) -> impl Iterator<Item = (&'m Name, &'m TargetRecord)> {
    manifest.targets.iter().filter(|(name, _)| wanted.contains(name))
}
