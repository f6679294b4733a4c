//! The one who publishes: holds the state folder's lock and walks through the transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

use jiff::Timestamp;

use super::companions::{self, Companion};
use super::force::Transition;
use super::journal::{Journal, Phase};
use super::manifest::{Behind, ChangeSummary, Manifest, Outcome};
use super::retention::{Retention, prune};
use super::takeover::TakenOver;
use super::{
    Failure, FirewallError, PublishError, Request, StepFailure, Store, Took, firewall, instances,
    verify,
};
use crate::config::Name;
use crate::os::files;
use crate::os::lock::DirLock;
use crate::os::two;
use crate::ruleset::RuleSet;
use crate::snapshot::Digest;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The rules in force are the same: nothing was touched.
    Unchanged(Option<u64>),
    /// A new generation is in force; what its outcome warns of did no harm to it.
    Generation(u64),
    /// A new generation is in force, in which isolated targets keep the files that they had: its outcome says which, and why.
    Partly(u64),
}

/// What is in force when a publication begins.
#[derive(Debug)]
pub(super) struct Footing {
    /// Its manifest; none where nothing is in force, or where that cannot be read.
    pub(super) old: Option<Manifest>,
    /// Whether a file of it is not what it was.
    pub(super) damaged: bool,
}

impl Footing {
    /// Whether publishing this would change nothing.
    pub(super) fn meets(&self, request: &Request, rule_set: Digest) -> bool {
        !self.damaged && self.old.as_ref().is_some_and(|old| old.is_met_by(request, rule_set))
    }
}

/// The one who may publish in a state folder: holds its lock.
#[derive(Debug)]
pub struct Publisher {
    pub(super) store: Store,
    lock: DirLock,
    /// By target, the kernel's number for its table or chain when it was compared last.
    pub(super) handles: Mutex<BTreeMap<Name, u64>>,
    mended: Option<String>,
}

impl Publisher {
    /// Takes the lock of a state folder (made when it is missing) and mends what an interrupted publication left.
    pub fn open(dir: &Path, purpose: &str) -> Result<Self, PublishError> {
        files::create_dir_all_durable(dir, 0o755)?;
        let lock = DirLock::acquire(dir, purpose)?;
        let handles = Mutex::default();
        let mut publisher = Self { store: Store::new(dir), lock, handles, mended: None };
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

    /// Whether publishing this would change nothing.
    pub fn is_in_force(&self, request: &Request) -> Result<bool, PublishError> {
        let Some(number) = self.store.current()? else { return Ok(false) };
        let manifest = self.store.read(number)?.manifest;
        Ok(manifest.is_met_by(request, request.rule_set.digest()))
    }

    /// The last rules of a target that were others than those with this digest, and the generation which has them: what is
    /// to be taken off a device is found by them. None for a new target, and where they are not kept any more.
    pub fn rules_before(
        &self,
        target: &Name,
        rules: Digest,
    ) -> Result<Option<(u64, RuleSet)>, PublishError> {
        let Some(number) = self.store.current()? else { return Ok(None) };
        let manifest = self.store.read(number)?.manifest;
        let Some(record) = manifest.targets.get(target) else { return Ok(None) };
        let from = if record.rule_set == rules { record.delta_from } else { Some(number) };
        match from.filter(|from| self.store.path(*from).exists()) {
            Some(from) => Ok(Some((from, self.store.rules_of(from, target)?))),
            None => Ok(None),
        }
    }

    /// Replaces files of the state folder without a generation: all of them or none.
    pub fn keep(&self, companions: &[Companion]) -> Result<(), PublishError> {
        companions::replace(self.store.dir(), companions)
    }

    /// Publishes: all targets or, when one fails that is not isolated, none.
    pub fn publish(
        &self,
        request: &Request,
        retention: Retention,
    ) -> Result<Published, PublishError> {
        let before = self.store.current()?;
        let old = before.map(|number| self.store.read(number)).transpose()?;
        let old = old.map(|generation| generation.manifest);
        self.publish_after(before, Footing { old, damaged: false }, request, retention)
    }

    /// Publishes after `before`, which is in force.
    pub(super) fn publish_after(
        &self,
        before: Option<u64>,
        footing: Footing,
        request: &Request,
        retention: Retention,
    ) -> Result<Published, PublishError> {
        let _listing = firewall::KeptListing::new();
        let rule_set = request.rule_set.digest();
        if footing.meets(request, rule_set) {
            self.keep(&request.companions)?;
            return Ok(Published::Unchanged(before));
        }
        verify::room(&self.store, request)?;
        request.targets.keys().for_each(|name| self.loaded(name));
        let anew = footing.damaged && footing.old.is_none();
        let (mut transition, behind) = self.staged(request, rule_set, footing)?;
        let number = transition.manifest.generation;
        let mut journal = Journal::new(before, number);
        journal.anew = anew;
        journal.behind = behind;
        journal.first.clone_from(&transition.first);
        if let Err(error) = verify::save(&self.store, &mut transition)
            .and_then(|()| {
                journal.staged = transition.staged(&self.store)?;
                Ok(())
            })
            .and_then(|()| journal.write(self.store.dir()))
        {
            self.abandon(number);
            return Err(error);
        }
        if let Err(failure) = transition.load_first(&self.store) {
            return Err(self.not_loaded(failure, &transition, journal, request.now));
        }
        let taken = transition.manifest.targets.keys().cloned().collect::<BTreeSet<Name>>();
        let published = self.go_forward(transition, journal, request.now)?;
        self.remember_objects();
        if let Err(error) = TakenOver::retain(self.store.dir(), |name| taken.contains(name)) {
            let current = self.store.current()?.unwrap_or(number);
            self.note(current, format!("old consents could not be removed: {error}"));
        }
        if let Published::Generation(number) | Published::Partly(number) = published
            && let Err(error) = prune(&self.store, retention, request.now)
        {
            self.note(number, format!("old generations could not be removed: {error}"));
        }
        Ok(published)
    }

    /// Records which objects of this network namespace the active generation has.
    pub(super) fn remember_objects(&self) {
        let Ok(Some(number)) = self.store.current() else { return };
        let Ok(generation) = self.store.read(number) else { return };
        let mut objects = BTreeSet::new();
        for (name, record) in &generation.manifest.targets {
            if let Some(kernel) = &record.kernel {
                let folder = self.store.path(number).join(name.as_str());
                objects.extend(firewall::objects(kernel, &folder));
            }
        }
        instances::record(&self.store, &objects);
    }

    /// The number that the next generation gets.
    pub fn next_number(&self) -> Result<u64, PublishError> {
        Ok(self.store.numbers()?.last().copied().unwrap_or(0) + 1)
    }

    /// Stages and verifies. Isolated targets that do not pass keep the files that they have, unless nothing else changes.
    fn staged(
        &self,
        request: &Request,
        rule_set: Digest,
        footing: Footing,
    ) -> Result<(Transition, BTreeMap<Name, Behind>), PublishError> {
        let number = self.next_number()?;
        let mut manifest = Manifest::new(number, request, rule_set, footing.old.as_ref());
        // The disk and the processor have about as much to do.
        let (staged, summary) = two::both(
            || self.store.stage(request, &manifest, footing.old.as_ref()),
            || self.summary(&footing, &request.rule_set),
        );
        staged?;
        manifest.summary = summary?;
        self.store.complete(&manifest)?;
        let mut transition = Transition::new(manifest, footing.old);
        transition.damaged = footing.damaged;
        transition.take_over.clone_from(&request.take_over);
        transition.must_be_reached.clone_from(&request.must_be_reached);
        let mut failures = verify::all(&self.store, &mut transition);
        if failures.is_empty() {
            return Ok((transition, BTreeMap::new()));
        }
        self.abandon(number);
        let failed: BTreeSet<Name> =
            failures.iter().map(|failure| failure.target.clone()).collect();
        // Where nothing else would change, and where all must change together, there is nothing to go on with.
        let decides = |failure: &StepFailure| {
            failed == transition.changed || !transition.is_isolated(&failure.target)
        };
        if let Some(index) = failures.iter().position(decides) {
            return Err(failures
                .swap_remove(index)
                .with_aftermath("nothing was changed".to_owned()));
        }
        let mut narrowed = request.clone();
        let before = transition.old.as_ref().map(|old| old.generation);
        for name in &failed {
            narrowed.carry(&self.store, before, name)?;
        }
        let footing = Footing { old: transition.old, damaged: footing.damaged };
        let (transition, mut behind) = self.staged(&narrowed, rule_set, footing)?;
        for failure in failures {
            behind.insert(failure.target.clone(), failure.behind(false));
        }
        Ok((transition, behind))
    }

    /// What becomes of a publication whose first load failed: where the kernel has refused it, nothing was changed; else it is
    /// not known what the kernel has.
    fn not_loaded(
        &self,
        failure: StepFailure,
        transition: &Transition,
        journal: Journal,
        now: Timestamp,
    ) -> PublishError {
        if failure.source.downcast_ref().is_some_and(FirewallError::is_refusal)
            && let Err(refused) = verify::first(&self.store, transition)
        {
            self.abandon(transition.manifest.generation);
            return refused.with_aftermath("nothing was changed".to_owned());
        }
        self.take_back(failure.into(), transition, journal, now)
    }

    /// From the switch to the record. The journal is written.
    pub(super) fn go_forward(
        &self,
        mut transition: Transition,
        journal: Journal,
        now: Timestamp,
    ) -> Result<Published, PublishError> {
        let number = transition.manifest.generation;
        if let Err(error) = self.store.switch(Some(number)) {
            // It may be switched all the same: what failed may have been the sync of the folder.
            return Err(self.take_back(error.into(), &transition, journal, now));
        }
        let mut failures = match transition.bring_in_force(&self.store) {
            Ok(failures) => failures,
            Err(failure) => return Err(self.take_back(failure.into(), &transition, journal, now)),
        };
        if !failures.is_empty() {
            // Where nothing else changed, there is nothing to keep.
            if failures.len() == transition.changed.len() {
                let first = failures.swap_remove(0);
                return Err(self.take_back(first.into(), &transition, journal, now));
            }
            let mut correcting = journal.clone();
            correcting.corrects = Some(number);
            correcting.first = None;
            return self.correct(&transition, correcting, failures, now).map_err(|error| {
                let error = self.take_back(error.into(), &transition, journal, now);
                self.discard_after(number);
                error
            });
        }
        transition.clean_up(&self.store);
        let (behind, notes) = (journal.behind.clone(), transition.notes.clone());
        let outcome = Outcome::recorded(number, now, behind, notes, self.took(&transition));
        let partly = !outcome.behind.is_empty();
        if let Err(error) = self.store.record(&outcome) {
            return Err(self.take_back(error.into(), &transition, journal, now));
        }
        self.tidy_up(number);
        Ok(if partly { Published::Partly(number) } else { Published::Generation(number) })
    }

    /// Replaces a generation of which isolated targets failed by one that carries the files that they had, so that `current`
    /// equals what is in force.
    fn correct(
        &self,
        transition: &Transition,
        mut journal: Journal,
        failures: Vec<StepFailure>,
        now: Timestamp,
    ) -> Result<Published, PublishError> {
        let wrong = transition.manifest.generation;
        let number = self.next_number()?;
        let mut request = Request::of_generation(&self.store, wrong, now)?;
        let mut notes = transition.notes.clone();
        let message = failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        for failure in failures {
            let name = failure.target.clone();
            request.carry(&self.store, journal.from, &name)?;
            if let Err(error) = transition.take_back(&self.store, [&name]) {
                notes.push(format!("target {name} could not be taken back: {error}"));
            }
            journal.behind.insert(name, failure.behind(true));
        }
        let rule_set = transition.manifest.rule_set;
        let footing = Footing { old: transition.old.clone(), damaged: transition.damaged };
        let mut manifest = Manifest::new(number, &request, rule_set, footing.old.as_ref());
        manifest.summary = self.summary(&footing, &request.rule_set)?;
        manifest.reason = format!("{} (corrects {wrong})", request.reason);
        self.store.stage(&request, &manifest, Some(&transition.manifest))?;
        self.store.complete(&manifest)?;
        journal.to = number;
        journal.write(self.store.dir())?;
        self.store.hand_over_companions(wrong, number)?;
        self.store.switch(Some(number))?;
        self.store.record(&Outcome::failed(wrong, now, message))?;
        let mut corrected = Transition::new(manifest, footing.old);
        corrected.keep_rules_of_untouched(&self.store)?;
        corrected.clean_up(&self.store);
        notes.append(&mut corrected.notes);
        let took = self.took(transition);
        self.store.record(&Outcome::recorded(number, now, journal.behind, notes, took))?;
        self.tidy_up(number);
        Ok(Published::Partly(number))
    }

    /// How long each step of each target took when it was last done, as far as it is known.
    fn took(&self, transition: &Transition) -> BTreeMap<Name, Took> {
        let before = transition.old.as_ref().and_then(|old| self.store.read(old.generation).ok());
        let before = before.and_then(|generation| generation.outcome);
        let mut whole = BTreeMap::new();
        for name in transition.manifest.targets.keys() {
            let mut took = transition.took.get(name).cloned().unwrap_or_default();
            if let Some(before) = before.as_ref().and_then(|before| before.microseconds.get(name)) {
                took.or(before);
            }
            if !took.is_empty() {
                whole.insert(name.clone(), took);
            }
        }
        whole
    }

    /// What new rules change of those that are in force; nothing is said where those are damaged.
    fn summary(&self, footing: &Footing, rules: &RuleSet) -> Result<ChangeSummary, PublishError> {
        let old = footing.old.as_ref().map(|old| self.store.rule_set(old.generation)).transpose();
        match old {
            Err(_) if footing.damaged => Ok(ChangeSummary::default()),
            old => Ok(ChangeSummary::of(&old?.unwrap_or_default(), rules)),
        }
    }

    /// Puts the generation before back into force after a failure; returns the error to report.
    pub(super) fn take_back(
        &self,
        failure: Failure,
        transition: &Transition,
        mut journal: Journal,
        now: Timestamp,
    ) -> PublishError {
        let number = transition.manifest.generation;
        journal.phase = Phase::Back;
        // Should this fail, a crash before the end is mended forwards, which is as good.
        let _ = journal.write(self.store.dir());
        if let Err(second) = self.store.switch(journal.from) {
            return failure.with_aftermath(format!(
                "taking it back failed too: {second}; generation {number} stays in place, and the next start tries again"
            ));
        }
        let undone = transition.take_back(&self.store, &transition.changed);
        transition.remove_staged(&journal.staged);
        let aftermath = match (&undone, journal.from) {
            (Ok(()), Some(before)) => format!("generation {before}, the one before, is in force"),
            (Ok(()), None) => "nothing is in force, as before".to_owned(),
            (Err(second), _) => format!("and taking it back failed too: {second}"),
        };
        let error = failure.with_aftermath(aftermath);
        // A generation without an outcome that is not current is discarded at the next start.
        let _ = self
            .store
            .record(&Outcome::failed(number, now, error.to_string()))
            .and_then(|()| self.store.forget(number))
            .and_then(|()| Journal::clear(self.store.dir()));
        error
    }

    /// Removes what was staged after a generation that was taken back. What is left of it is removed at the next start.
    fn discard_after(&self, taken_back: u64) {
        let (Ok(current), Ok(numbers)) = (self.store.current(), self.store.numbers()) else {
            return;
        };
        for number in numbers.into_iter().filter(|number| *number > taken_back) {
            if Some(number) != current {
                let _ = self.store.discard(number);
            }
        }
    }

    /// Removes a generation that never was visible. What is left of it is removed at the next start.
    fn abandon(&self, number: u64) {
        let _ = self.store.discard(number);
        let _ = Journal::clear(self.store.dir());
    }

    /// After the record: companions come to the state folder, and the journal goes. The generation is in force whether or not
    /// this succeeds; where it does not, the next start does it.
    fn tidy_up(&self, number: u64) {
        let tidied = self.store.settle(number).and_then(|()| Journal::clear(self.store.dir()));
        if let Err(error) = tidied {
            let note =
                format!("the state folder could not be tidied up, the next start will: {error}");
            self.note(number, note);
        }
    }

    /// Adds a note to an outcome. The publication succeeded, whether or not this can be written.
    pub(super) fn note(&self, number: u64, note: String) {
        let outcome = self.store.read(number).ok().and_then(|generation| generation.outcome);
        if let Some(mut outcome) = outcome {
            outcome.notes.push(note);
            let _ = self.store.record(&outcome);
        }
    }
}
