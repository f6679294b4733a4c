//! What is not as it was published: noticed, shown, and restored or held.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::PoisonError;

use super::firewall::{self, Drift, Firewall, FirewallError, KeptListing};
use super::manifest::Manifest;
use super::store::{Kept, MAX_BYTES};
use super::{PublishError, Publisher, Step, StepFailure, Store, force, takeover};
use crate::config::{Name, OnDrift};
use crate::os::{clock, files};

/// Most repairs that a generation notes down.
const MAX_REPAIRS: usize = 20;
/// The beginning of such a note.
const REPAIR: &str = "drift ";

/// How a target is found.
#[derive(Debug)]
pub struct Found {
    /// Everything in which it differs from what was published; or why that cannot be told.
    pub differences: Result<Vec<Drift>, FirewallError>,
    /// What is done about foreign changes.
    pub on_drift: OnDrift,
}

impl Found {
    /// Whether it is known to be as it was published.
    pub fn is_true(&self) -> bool {
        self.differences.as_ref().is_ok_and(Vec::is_empty)
    }

    /// What is foreign, line by line; empty when nothing can be shown.
    pub fn diff(&self) -> String {
        let differences = self.differences.as_ref().map(Vec::as_slice).unwrap_or_default();
        differences.iter().filter_map(Drift::diff).collect()
    }

    /// The sets whose content differs, where nothing else does.
    fn sets_alone(&self) -> Option<Vec<String>> {
        let differences = self.differences.as_ref().ok()?;
        let set = |drift: &Drift| match drift {
            Drift::Set { set, .. } => Some(set.clone()),
            _ => None,
        };
        differences.iter().map(set).collect()
    }

    /// Whether it is left alone until somebody decides.
    fn is_held(&self) -> bool {
        let foreign = |drift: &Drift| !drift.is_loss();
        self.on_drift == OnDrift::Hold
            && self.differences.as_ref().is_ok_and(|found| found.iter().any(foreign))
    }
}

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.differences {
            Ok(found) => {
                let words: Vec<String> = found.iter().map(ToString::to_string).collect();
                formatter.write_str(&words.join("; "))
            }
            Err(error) => error.fmt(formatter),
        }
    }
}

/// What was done about a target that was not as it was published.
#[derive(Debug)]
pub struct Restored {
    /// The target.
    pub target: Name,
    /// How it was found.
    pub found: Found,
    /// What was done.
    pub became: Became,
}

/// What was done about a target that was not as it was published.
#[derive(Debug)]
pub enum Became {
    /// It is as it was published again.
    Restored,
    /// It was left alone: `on-drift` is `hold`.
    Held,
    /// It is as it was published, and was removed and loaded again by something else meanwhile.
    Healed,
    /// It is repaired later: something keeps removing these rules.
    Postponed,
    /// It could not be restored.
    Failed(PublishError),
}

impl fmt::Display for Restored {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, found, became } = self;
        write!(formatter, "target {target}: {found}; ")?;
        match became {
            Became::Healed => formatter.write_str("it is as it was published")?,
            Became::Restored => formatter.write_str("brought back what was published")?,
            Became::Postponed => formatter
                .write_str("something keeps removing these rules, so the next repair waits")?,
            Became::Held => formatter.write_str("left alone, for on-drift is \"hold\"")?,
            Became::Failed(error) => write!(formatter, "could not be brought back: {error}")?,
        }
        let diff = found.diff();
        if !diff.is_empty() {
            write!(formatter, "\n{}", diff.trim_end())?;
        }
        Ok(())
    }
}

impl Publisher {
    /// Brings back what is not as it was published, target by target: each is tried, whatever becomes of the others. What a
    /// foreign hand changed is left alone where `on-drift` is `hold`, unless it is to be overwritten.
    pub fn restore(&self, overwrite: bool) -> Result<Vec<Restored>, PublishError> {
        self.restore_but(overwrite, &BTreeSet::new())
    }

    /// The same, but for targets whose repair waits.
    pub fn restore_but(
        &self,
        overwrite: bool,
        waiting: &BTreeSet<Name>,
    ) -> Result<Vec<Restored>, PublishError> {
        let Some(number) = self.store.current()? else { return Ok(Vec::new()) };
        let _listing = KeptListing::new();
        let manifest = self.store.read(number)?.manifest;
        let mut restored = Vec::new();
        for (target, found) in drift(&self.store)? {
            if found.is_true() {
                if self.was_loaded_by_others(&manifest, &target) {
                    let text = "removed and loaded again by something else".to_owned();
                    let differences = Ok(vec![Drift::Reloaded(text)]);
                    let found = Found { differences, ..found };
                    self.note_repair(number, &format!("target {target}: {found}"));
                    restored.push(Restored { target, found, became: Became::Healed });
                }
                continue;
            }
            self.loaded(&target);
            let became = if found.is_held() && !overwrite {
                Became::Held
            } else if waiting.contains(&target) {
                Became::Postponed
            } else {
                match self.restore_one(&manifest, &target, &found) {
                    Ok(()) => Became::Restored,
                    Err(error) => Became::Failed(error),
                }
            };
            if matches!(became, Became::Restored) {
                self.note_repair(number, &format!("target {target}: {found}; brought back"));
            }
            restored.push(Restored { target, found, became });
        }
        self.remember_objects();
        Ok(restored)
    }

    /// The targets, or one of them, that took something over of which there is a copy.
    pub fn taken_over(&self, only: Option<&Name>) -> Result<Vec<Name>, PublishError> {
        let Some(number) = self.store.current()? else { return Ok(Vec::new()) };
        let mut taken = Vec::new();
        for (name, record) in self.store.read(number)?.manifest.targets {
            let wanted = record.kernel.is_some() && only.is_none_or(|only| *only == name);
            if wanted && takeover::copy_of(self.store.dir(), &name)?.is_some() {
                taken.push(name);
            }
        }
        Ok(taken)
    }

    /// Brings back what targets had taken over: all of them, or one. The rules of these targets are out of the kernel then.
    pub fn restore_before_take_over(&self, only: Option<&Name>) -> Result<Vec<Name>, PublishError> {
        let Some(number) = self.store.current()? else { return Ok(Vec::new()) };
        let manifest = self.store.read(number)?.manifest;
        let taken = self.taken_over(only)?;
        for name in &taken {
            let Some(record) = manifest.targets.get(name) else { continue };
            let Some(kernel) = &record.kernel else { continue };
            let saved = takeover::copy_of(self.store.dir(), name)?.unwrap_or_default();
            let firewall = Firewall::new(kernel, record.time_limit());
            firewall.put_back(&saved).map_err(|error| {
                StepFailure::new(name, Step::Undo, error).with_aftermath(String::new())
            })?;
        }
        Ok(taken)
    }

    /// Whether the kernel's object of a target is another one than when it was compared last, and not by a load of ours.
    fn was_loaded_by_others(&self, manifest: &Manifest, name: &Name) -> bool {
        let record = manifest.targets.get(name);
        let kernel = record.and_then(|record| Some((record.kernel.as_ref()?, record.time_limit())));
        let Some((kernel, time_limit)) = kernel else { return false };
        let Some(handle) = Firewall::new(kernel, time_limit).handle() else { return false };
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.insert(name.clone(), handle).is_some_and(|before| before != handle)
    }

    /// A target is loaded by us: what was known of the kernel's object counts no more.
    pub(super) fn loaded(&self, name: &Name) {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Notes a repair down with the generation, where `tagwall history` shows it. The oldest go first.
    fn note_repair(&self, number: u64, text: &str) {
        let outcome = self.store.read(number).ok().and_then(|generation| generation.outcome);
        let Some(mut outcome) = outcome else { return };
        outcome.notes.push(format!("{REPAIR}{}: {text}", clock::now()));
        let repairs = outcome.notes.iter().filter(|note| note.starts_with(REPAIR)).count();
        if repairs > MAX_REPAIRS
            && let Some(oldest) = outcome.notes.iter().position(|note| note.starts_with(REPAIR))
        {
            outcome.notes.remove(oldest);
        }
        // The rules are back whether or not this can be written.
        let _ = self.store.record(&outcome);
    }

    fn restore_one(
        &self,
        manifest: &Manifest,
        name: &Name,
        found: &Found,
    ) -> Result<(), PublishError> {
        let Some(record) = manifest.targets.get(name) else { return Ok(()) };
        let number = manifest.generation;
        let restore = || {
            if let Some(sets) = found.sets_alone()
                && force::refill(&self.store, number, name, record, sets)?
            {
                return Ok(());
            }
            force::install(&self.store, number, name, record)?;
            if let Some(kernel) = &record.kernel {
                force::load(&self.store, number, name, record, kernel)?;
            }
            force::reload(&self.store, number, name, record)
        };
        restore().map_err(|failure: StepFailure| {
            failure.with_aftermath("the next check tries again".to_owned())
        })
    }
}

/// Compares kernel and installed files with the generation in force, target by target, without the lock.
pub fn drift(store: &Store) -> Result<BTreeMap<Name, Found>, PublishError> {
    let Some(number) = store.current()? else { return Ok(BTreeMap::new()) };
    let _listing = KeptListing::new();
    let manifest = store.read(number)?.manifest;
    let mut found = BTreeMap::new();
    for (name, record) in &manifest.targets {
        if record.kernel.is_none() && record.install.is_empty() {
            continue;
        }
        let differences = of_target(store, &manifest, name);
        found.insert(name.clone(), Found { differences, on_drift: record.on_drift });
    }
    Ok(found)
}

/// Everything in which a target differs from what a generation has published.
pub(super) fn of_target(
    store: &Store,
    manifest: &Manifest,
    name: &Name,
) -> Result<Vec<Drift>, FirewallError> {
    let Some(record) = manifest.targets.get(name) else { return Ok(Vec::new()) };
    let number = manifest.generation;
    let folder = store.path(number).join(name.as_str());
    let mut differences = Vec::new();
    if let Some(kernel) = &record.kernel {
        let unreadable = |error: PublishError| FirewallError::State(Box::new(error));
        let rule_set = store.rules_of(number, name).map_err(unreadable)?;
        let rules = store.kept(number, name, Kept::Rules).map_err(unreadable)?;
        let rules = rules.map(|text| String::from_utf8_lossy(&text).into_owned());
        let firewall = Firewall::new(kernel, record.time_limit());
        differences = firewall.read(&folder, &rule_set, None, rules.as_deref())?.differences;
    }
    for (file, path) in &record.install {
        let ours = files::read_bounded(&folder.join(file), MAX_BYTES)?;
        match files::read_bounded(path, MAX_BYTES) {
            Ok(theirs) if theirs == ours => {}
            Ok(theirs) => differences
                .push(Drift::File { path: path.clone(), diff: text_difference(&ours, &theirs) }),
            Err(error) if error.is_not_found() => {
                differences.push(Drift::NoFile { path: path.clone() });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(differences)
}

fn text_difference(ours: &[u8], theirs: &[u8]) -> String {
    firewall::unified(&String::from_utf8_lossy(ours), &String::from_utf8_lossy(theirs))
}

/// What is said of an installed file that is overwritten although a foreign hand has changed it, or had put it there.
pub(super) fn overwritten(name: &Name, path: &Path, ours: Option<&[u8]>, theirs: &[u8]) -> String {
    let path = path.display();
    match ours {
        None => format!(
            "target {name}: {path} was there before; it is kept in the generation's archive"
        ),
        Some(ours) => format!(
            "target {name}: {path} had been changed by somebody else, and was overwritten; what it had is kept in the \
             generation's archive:\n{}",
            text_difference(ours, theirs)
        ),
    }
}
