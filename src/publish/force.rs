//! Bringing a generation in force: install, apply, read back; and bringing the one before back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use super::firewall::{self, Drift, Firewall, FirewallError, Foreign, Object, Staged, Update};
use super::manifest::{Manifest, TargetRecord};
use super::store::{Kept, MAX_BYTES};
use super::verify::is_known;
use super::{PublishError, Step, StepFailure, Store, Took, reached};
use crate::config::{Conntrack, Name};
use crate::os::files::{self, FileError, Replacement};
use crate::reach::{Reach, Reached};
use crate::render::Kernel;

/// From one generation to another.
#[derive(Debug)]
pub(super) struct Transition {
    /// Of the new one.
    pub(super) manifest: Manifest,
    /// Of the one that was in force; none for the first.
    pub(super) old: Option<Manifest>,
    /// Whether a file of that is not what it was: without its manifest, what it had is only known as it was saved.
    pub(super) damaged: bool,
    /// The targets that have to be installed or applied.
    pub(super) changed: BTreeSet<Name>,
    /// Of these, the ones of which only the content of sets differs.
    pub(super) updates: BTreeMap<Name, Update>,
    /// Targets that may replace what is not tagwall's.
    pub(super) take_over: BTreeSet<Name>,
    /// Targets whose first load is taken back when no packet gets to their rules.
    pub(super) must_be_reached: BTreeSet<Name>,
    /// By target, what it takes over.
    pub(super) taking: BTreeMap<Name, Vec<Foreign>>,
    /// The target that is verified by being loaded, before the switch; see [`Transition::load_first`].
    pub(super) first: Option<Name>,
    /// What somebody should know of it.
    pub(super) notes: Vec<String>,
    /// How long the steps of each target took.
    pub(super) took: BTreeMap<Name, Took>,
}

impl Transition {
    pub(super) fn new(manifest: Manifest, old: Option<Manifest>) -> Self {
        let changed = manifest.changed_after(old.as_ref());
        Self {
            manifest,
            old,
            damaged: false,
            changed,
            updates: BTreeMap::new(),
            take_over: BTreeSet::new(),
            must_be_reached: BTreeSet::new(),
            taking: BTreeMap::new(),
            first: None,
            notes: Vec::new(),
            took: BTreeMap::new(),
        }
    }

    /// The records of the targets that change, by name.
    pub(super) fn changing(&self) -> impl Iterator<Item = (&Name, &TargetRecord)> {
        self.manifest.targets.iter().filter(|(name, _)| self.changed.contains(*name))
    }

    pub(super) fn is_isolated(&self, name: &Name) -> bool {
        self.manifest.targets.get(name).is_some_and(|record| record.isolated)
    }

    /// The record that a target had in the generation before.
    pub(super) fn was(&self, name: &Name) -> Option<&TargetRecord> {
        self.old.as_ref()?.targets.get(name)
    }

    /// What the loads of the targets that change make in the kernel before the rules that use it: the journal names it, so that
    /// whoever takes the generation back removes exactly this.
    pub(super) fn staged(
        &self,
        store: &Store,
    ) -> Result<BTreeMap<Name, Vec<Staged>>, PublishError> {
        let mut staged = BTreeMap::new();
        for (name, record) in self.changing().filter(|(name, _)| !self.updates.contains_key(*name))
        {
            let Some(kernel) = &record.kernel else { continue };
            let folder = store.path(self.manifest.generation).join(name.as_str());
            let made = Firewall::new(kernel, record.time_limit()).staged(&folder);
            let made = made.map_err(|error| {
                StepFailure::new(name, Step::Verify, error)
                    .with_aftermath("nothing was changed".to_owned())
            })?;
            if !made.is_empty() {
                staged.insert(name.clone(), made);
            }
        }
        Ok(staged)
    }

    /// Removes from the kernel what was staged for rules that did not come, but for what the generation before has too.
    pub(super) fn remove_staged(&self, staged: &BTreeMap<Name, Vec<Staged>>) {
        let had = |staged: &Staged| {
            let mut records = self.old.iter().flat_map(|old| old.targets.values());
            records.any(|record| {
                record.kernel.as_ref().is_some_and(|kernel| staged.is_part_of(kernel))
            })
        };
        for (name, staged) in staged {
            let Some(record) = self.manifest.targets.get(name) else { continue };
            let Some(kernel) = &record.kernel else { continue };
            let staged: Vec<Staged> =
                staged.iter().filter(|staged| !had(staged)).cloned().collect();
            Firewall::new(kernel, record.time_limit()).remove_staged(&staged);
        }
    }

    /// Loads the rules of the one target that is verified by being loaded: the kernel takes them as a whole or not at all, so a
    /// check beforehand would say nothing that the loading does not. Nothing is visible yet, should it refuse.
    pub(super) fn load_first(&mut self, store: &Store) -> Result<(), StepFailure> {
        let Some(name) = self.first.clone() else { return Ok(()) };
        let Some(record) = self.manifest.targets.get(&name).cloned() else { return Ok(()) };
        let Some(kernel) = &record.kernel else { return Ok(()) };
        self.apply(store, &name, &record, kernel)
    }

    /// Installs, applies and reads back all that changes: first what changes together, where the first failure ends it, then
    /// the isolated targets, whose failures are returned.
    pub(super) fn bring_in_force(
        &mut self,
        store: &Store,
    ) -> Result<Vec<StepFailure>, StepFailure> {
        let names: Vec<Name> = self.changed.iter().cloned().collect();
        let (isolated, together): (Vec<Name>, Vec<Name>) =
            names.into_iter().partition(|name| self.is_isolated(name));
        for name in &together {
            self.bring_one(store, name)?;
        }
        Ok(isolated.iter().filter_map(|name| self.bring_one(store, name).err()).collect())
    }

    fn bring_one(&mut self, store: &Store, name: &Name) -> Result<(), StepFailure> {
        let number = self.manifest.generation;
        let Some(record) = self.manifest.targets.get(name).cloned() else { return Ok(()) };
        if !record.install.is_empty() {
            self.timed(name, Step::Install, |_| install(store, number, name, &record))?;
        }
        if let Some(kernel) = &record.kernel {
            if self.first.as_ref() != Some(name) {
                self.apply(store, name, &record, kernel)?;
            }
            self.read_back(store, name, &record, kernel)?;
            if !self.updates.contains_key(name) {
                self.judge_reach(store, name, &record, kernel)?;
            }
        }
        if record.reload.is_some() {
            self.timed(name, Step::Reload, |_| reload(store, number, name, &record))?;
        }
        Ok(())
    }

    /// Says where no packet gets to rules that were just loaded as a whole; refuses the first load
    /// of a target then, where that is not allowed.
    fn judge_reach(
        &mut self,
        store: &Store,
        name: &Name,
        record: &TargetRecord,
        kernel: &Kernel,
    ) -> Result<(), StepFailure> {
        let reach = reached::reach(store, &self.manifest, name);
        let Some(not_reached) =
            reach.families.values().find(|reach| reach.reached() == Reached::No)
        else {
            return Ok(());
        };
        let by = not_reached.reason().unwrap_or_default().to_owned();
        let first = self.was(name).is_none_or(|was| was.kernel.is_none());
        // A chain that is to jump and does not exist yet may come later: Docker makes DOCKER-USER when it starts.
        let waits = || Firewall::new(kernel, record.time_limit()).absent_jump().is_some();
        if first
            && self.must_be_reached.contains(name)
            && reach.families.values().any(Reach::is_by_rule_graph)
            && !waits()
        {
            return Err(StepFailure::new(name, Step::ReadBack, FirewallError::NotReached(by)));
        }
        self.notes.push(format!("target {name}: loaded, but no packet gets to these rules: {by}"));
        Ok(())
    }

    /// Does a step of a target, and notes how long it took.
    fn timed<T>(&mut self, name: &Name, step: Step, work: impl FnOnce(&mut Self) -> T) -> T {
        let mut took = self.took.remove(name).unwrap_or_default();
        let done = took.time(step, || work(self));
        self.took.insert(name.clone(), took);
        done
    }

    /// Loads what differs of a target or, where the kernel refuses that, the whole of it.
    fn apply(
        &mut self,
        store: &Store,
        name: &Name,
        record: &TargetRecord,
        kernel: &Kernel,
    ) -> Result<(), StepFailure> {
        let firewall = Firewall::new(kernel, record.time_limit());
        let folder = store.path(self.manifest.generation).join(name.as_str());
        self.timed(name, Step::Apply, |this| {
            if let Some(update) = this.updates.get(name) {
                match firewall.apply_update(update) {
                    Err(error) if error.is_refusal() => this.give_up_update(name, &error),
                    loaded => return loaded,
                }
            }
            firewall.apply(&folder)
        })
        .map_err(|error| StepFailure::new(name, Step::Apply, error))
    }

    /// Compares the kernel with what is meant. Where it was not in the state that an update was made for, the whole is loaded.
    fn read_back(
        &mut self,
        store: &Store,
        name: &Name,
        record: &TargetRecord,
        kernel: &Kernel,
    ) -> Result<(), StepFailure> {
        let number = self.manifest.generation;
        let before = self.old.as_ref().map(|old| old.generation);
        if let Some(update) = self.updates.get(name).cloned() {
            let difference = self.timed(name, Step::ReadBack, |_| {
                difference(
                    store,
                    number,
                    name,
                    record,
                    kernel,
                    before.map(|before| (before, &update)),
                )
            })?;
            let Some(difference) = difference else { return Ok(()) };
            self.give_up_update(name, &difference);
            self.apply(store, name, record, kernel)?;
        }
        self.timed(name, Step::ReadBack, |_| is_as_meant(store, number, name, record, kernel))
    }

    /// The kernel was not in the state that an update was made for.
    fn give_up_update(&mut self, name: &Name, reason: &dyn fmt::Display) {
        self.updates.remove(name);
        self.notes.push(format!(
            "target {name}: the kernel was not as it had been left ({reason}), so the whole artifact was loaded"
        ));
    }

    /// Brings targets back to what the generation before had, and takes out those that it did not have. Goes on after a
    /// failure, and returns the first.
    pub(super) fn take_back<'n>(
        &self,
        store: &Store,
        names: impl IntoIterator<Item = &'n Name>,
    ) -> Result<(), StepFailure> {
        let mut result = Ok(());
        for name in names {
            result = result.and(self.take_one_back(store, name));
        }
        result
    }

    fn take_one_back(&self, store: &Store, name: &Name) -> Result<(), StepFailure> {
        let number = self.manifest.generation;
        let Some(record) = self.manifest.targets.get(name) else { return Ok(()) };
        let was = self.was(name).zip(self.old.as_ref().map(|old| old.generation));
        uninstall(store, number, name, record, was.map(|(was, _)| was))?;
        let had = was.and_then(|(was, _)| was.kernel.as_ref());
        // What lies where it lay before is replaced below; a table or chain of another name would stay beside it.
        if let Some(kernel) = record.kernel.as_ref().filter(|kernel| !is_known(kernel, had)) {
            let firewall = Firewall::new(kernel, record.time_limit());
            let folder = store.path(number).join(name.as_str());
            // A target whose turn never came has nothing in the kernel to take out.
            let missing = matches!(
                firewall.rules(&folder),
                Err(FirewallError::Difference(ref drift)) if drift.is_loss()
            );
            if !missing {
                // To empty its chains would take away what the generation before let through.
                if self.damaged && self.old.is_none() && !firewall.restores() {
                    return Err(StepFailure::new(name, Step::Undo, FirewallError::Damaged));
                }
                let saved = store.kept(number, name, Kept::Before);
                let saved = saved.map_err(|error| StepFailure::new(name, Step::Undo, error))?;
                firewall.undo(saved).map_err(|error| StepFailure::new(name, Step::Undo, error))?;
            }
        }
        let Some((was, before)) = was else { return Ok(()) };
        install(store, before, name, was)?;
        if let Some(kernel) = &was.kernel {
            load(store, before, name, was, kernel)?;
        }
        reload(store, before, name, was)
    }

    /// Takes over from the generation before what the kernel showed of targets that it does not touch.
    pub(super) fn keep_rules_of_untouched(&self, store: &Store) -> Result<(), PublishError> {
        let Some(old) = &self.old else { return Ok(()) };
        for name in self.manifest.targets.keys().filter(|name| !self.changed.contains(*name)) {
            if let Some(rules) = store.kept(old.generation, name, Kept::Rules)? {
                store.keep(self.manifest.generation, name, Kept::Rules, &rules)?;
            }
        }
        Ok(())
    }

    /// After everything is in force: connections to ranges that left, and what earlier generations left in the kernel and
    /// among the installed files. What fails here is noted and harms nothing.
    pub(super) fn clean_up(&mut self, store: &Store) {
        let Some(old) = &self.old else { return };
        let mut notes = Vec::new();
        for (name, record) in self.changing() {
            let (Some(kernel), Some(_)) = (&record.kernel, old.targets.get(name)) else { continue };
            if record.conntrack == Conntrack::Delete {
                match expire(store, old, &self.manifest, name, record, kernel) {
                    Ok(0) => {}
                    Ok(count) => notes.push(format!(
                        "target {name}: ended {count} connections to ranges that left"
                    )),
                    Err(error) => notes.push(format!(
                        "target {name}: connections to ranges that left may go on: {error}"
                    )),
                }
            }
        }
        notes.extend(left_in_kernel(store, old, &self.manifest));
        let kept: BTreeSet<&PathBuf> =
            self.manifest.targets.values().flat_map(|record| record.install.values()).collect();
        for (name, record) in &old.targets {
            for path in record.install.values().filter(|path| !kept.contains(path)) {
                notes.push(format!(
                    "target {name}: {} is not kept true any more; remove it",
                    path.display()
                ));
            }
        }
        self.notes.append(&mut notes);
    }
}

/// Puts a target's files where the configuration wants copies.
pub(super) fn install(
    store: &Store,
    number: u64,
    name: &Name,
    record: &TargetRecord,
) -> Result<(), StepFailure> {
    let failed = |error: FileError| StepFailure::new(name, Step::Install, error);
    let mut batch = Vec::new();
    for (file, path) in &record.install {
        let from = store.path(number).join(name.as_str()).join(file);
        let contents = files::read_bounded(&from, MAX_BYTES).map_err(failed)?;
        batch.push(Replacement { path: path.clone(), contents, mode: None });
    }
    files::replace_all(&batch).map_err(failed)?;
    Ok(())
}

/// Takes away the copies that the record before does not have, and puts back what was in their place.
fn uninstall(
    store: &Store,
    number: u64,
    name: &Name,
    record: &TargetRecord,
    was: Option<&TargetRecord>,
) -> Result<(), StepFailure> {
    let undone = |file: &str, path: &Path| -> Result<(), PublishError> {
        let ours = store.path(number).join(name.as_str()).join(file);
        let ours = files::read_bounded(&ours, MAX_BYTES)?;
        match files::read_bounded(path, MAX_BYTES) {
            // Only what was put there by this publication is taken away.
            Ok(bytes) if bytes == ours => {}
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if let Some(theirs) = store.kept(number, name, Kept::Foreign(file))? {
            files::replace(path, &theirs)?;
        } else {
            std::fs::remove_file(path).map_err(super::store::failed("remove", path))?;
        }
        Ok(())
    };
    for (file, path) in &record.install {
        if was.is_none_or(|was| was.install.values().all(|had| had != path)) {
            undone(file, path).map_err(|error| StepFailure::new(name, Step::Uninstall, error))?;
        }
    }
    Ok(())
}

/// Loads a target's files, reads the kernel back, and keeps what its rules look like.
pub(super) fn load(
    store: &Store,
    number: u64,
    name: &Name,
    record: &TargetRecord,
    kernel: &Kernel,
) -> Result<(), StepFailure> {
    let folder = store.path(number).join(name.as_str());
    Firewall::new(kernel, record.time_limit())
        .apply(&folder)
        .map_err(|error| StepFailure::new(name, Step::Apply, error))?;
    is_as_meant(store, number, name, record, kernel)
}

/// Refills sets of a target, which leaves its rules and their counters as they are, and reads the
/// whole of it back; false where that cannot be done, and all of it has to be loaded.
pub(super) fn refill(
    store: &Store,
    number: u64,
    name: &Name,
    record: &TargetRecord,
    sets: Vec<String>,
) -> Result<bool, StepFailure> {
    let Some(kernel) = &record.kernel else { return Ok(false) };
    let folder = store.path(number).join(name.as_str());
    let Some(update) = Update::refilling(kernel, &folder, sets) else { return Ok(false) };
    match Firewall::new(kernel, record.time_limit()).apply_update(&update) {
        Err(error) if error.is_refusal() => return Ok(false),
        loaded => loaded.map_err(|error| StepFailure::new(name, Step::Apply, error))?,
    }
    is_as_meant(store, number, name, record, kernel)?;
    Ok(true)
}

/// Reads back the whole of a target; a difference is an error.
fn is_as_meant(
    store: &Store,
    number: u64,
    name: &Name,
    record: &TargetRecord,
    kernel: &Kernel,
) -> Result<(), StepFailure> {
    match difference(store, number, name, record, kernel, None)? {
        Some(difference) => {
            let error = FirewallError::Difference(difference);
            Err(StepFailure::new(name, Step::ReadBack, error))
        }
        None => Ok(()),
    }
}

/// The first thing in which the kernel differs from what is meant, after the whole of a target was loaded or an update from an
/// earlier generation. Where there is none, what was loaded and what its rules look like is kept.
fn difference(
    store: &Store,
    number: u64,
    name: &Name,
    record: &TargetRecord,
    kernel: &Kernel,
    update: Option<(u64, &Update)>,
) -> Result<Option<Drift>, StepFailure> {
    let failed = |error: PublishError| StepFailure::new(name, Step::ReadBack, error);
    let rule_set = store.rules_of(number, name).map_err(failed)?;
    let before = match update {
        Some((before, _)) => store.kept(before, name, Kept::Rules).map_err(failed)?,
        None => None,
    };
    let before = before.map(|text| String::from_utf8_lossy(&text).into_owned());
    let only = update.map(|(_, update)| update.sets.as_slice());
    let folder = store.path(number).join(name.as_str());
    let mut reading = Firewall::new(kernel, record.time_limit())
        .read(&folder, &rule_set, only, before.as_deref())
        .map_err(|error| StepFailure::new(name, Step::ReadBack, error))?;
    if !reading.differences.is_empty() {
        return Ok(Some(reading.differences.swap_remove(0)));
    }
    if let Some((_, update)) = update {
        store.keep(number, name, Kept::Update(update.kind), &update.text()).map_err(failed)?;
    }
    store.keep(number, name, Kept::Rules, reading.rules.as_bytes()).map_err(failed)?;
    Ok(None)
}

/// Runs the user's command that makes a firewall use the files.
pub(super) fn reload(
    store: &Store,
    number: u64,
    name: &Name,
    record: &TargetRecord,
) -> Result<(), StepFailure> {
    let Some(command) = &record.reload else { return Ok(()) };
    let folder = store.path(number).join(name.as_str());
    firewall::run_user_command(command, &folder, record.time_limit())
        .map_err(|error| StepFailure::new(name, Step::Reload, error))
}

fn expire(
    store: &Store,
    old: &Manifest,
    new: &Manifest,
    name: &Name,
    record: &TargetRecord,
    kernel: &Kernel,
) -> Result<usize, PublishError> {
    let before = store.rules_of(old.generation, name)?;
    let after = store.rules_of(new.generation, name)?;
    firewall::expire(kernel, &before, &after, record.time_limit()).map_err(|error| {
        StepFailure::new(name, Step::Conntrack, error).with_aftermath(String::new())
    })
}

/// Takes away what the generation before had in the kernel and the new one has not; says what is left, and why.
fn left_in_kernel(store: &Store, old: &Manifest, new: &Manifest) -> Vec<String> {
    let of = |manifest: &Manifest, name: &Name, record: &TargetRecord| {
        let folder = store.path(manifest.generation).join(name.as_str());
        record.kernel.as_ref().map(|kernel| firewall::objects(kernel, &folder)).unwrap_or_default()
    };
    let wanted: BTreeSet<Object> =
        new.targets.iter().flat_map(|(name, record)| of(new, name, record)).collect();
    let mut notes = Vec::new();
    for (name, record) in &old.targets {
        let mut stale = of(old, name, record);
        stale.retain(|object| !wanted.contains(object));
        if new.targets.get(name).is_some_and(|record| record.kernel.is_none()) {
            // The files are loaded by somebody else from now on, and the rules may be in use.
            let left = stale.iter().map(|object| {
                format!("target {name}: {object} stays in the kernel, for apply is \"off\" now")
            });
            notes.extend(left);
            continue;
        }
        let shared = |object: &Object| {
            matches!(object, Object::NftTable(..))
                && wanted.iter().any(|wanted| wanted.shares_a_table_with(object))
        };
        for object in stale.iter().filter(|object| shared(object)) {
            notes.push(format!(
                "target {name}: {object} was ours as a whole and now holds others' rules too: what it still has of ours \
                 must be removed by hand"
            ));
        }
        stale.retain(|object| !shared(object));
        for (object, reason) in firewall::remove(&stale, record.time_limit()) {
            notes.push(format!(
                "target {name}: {object} is not needed any more and stays: {reason}"
            ));
        }
    }
    notes
}
