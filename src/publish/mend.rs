//! What an interrupted publication left, mended when the folder is opened next.
//!
//! Staged, but neither being loaded nor switched to, is discarded; being loaded (and passing the check) or switched to, but not
//! recorded, is applied; taken back half-way is taken back to the end. A generation that cannot be applied any more is taken
//! back, and that is told: opening does not fail for it.

use super::companions;
use super::force::Transition;
use super::journal::{Journal, Phase};
use super::manifest::{Manifest, Outcome};
use super::{Failure, PublishError, Published, Publisher, verify};
use crate::os::clock;

impl Publisher {
    /// Mends, and says what was mended.
    pub(super) fn mend(&self) -> Result<Option<String>, PublishError> {
        self.store.sweep()?;
        companions::mend(self.store.dir())?;
        let mut mended = Vec::new();
        if let Some(journal) = Journal::read(self.store.dir())? {
            mended.extend(self.mend_publication(journal)?);
        }
        let current = self.store.current()?;
        for number in self.store.numbers()? {
            if Some(number) != current && self.store.is_unfinished(number)? {
                self.store.discard(number)?;
            }
        }
        Ok((!mended.is_empty()).then(|| mended.join("; ")))
    }

    fn mend_publication(&self, journal: Journal) -> Result<Option<String>, PublishError> {
        let current = self.store.current()?;
        let Journal { from, to, corrects, phase, .. } = journal;
        match (phase, corrects) {
            (Phase::Back, _) => self.mend_back(journal),
            (Phase::Forward, _) if current == Some(to) => {
                self.mend_forward(journal, "was switched to but not applied")
            }
            // The correction was staged and not switched to: it begins anew from what it corrects.
            (Phase::Forward, Some(wrong)) if current == Some(wrong) => {
                self.store.hand_over_companions(to, wrong)?;
                let mut again = Journal::new(from, wrong);
                again.anew = journal.anew;
                again.write(self.store.dir())?;
                self.mend_forward(again, "was switched to but not applied")
            }
            (Phase::Forward, None) if journal.first.is_some() && self.store.path(to).exists() => {
                self.mend_first(journal)
            }
            (Phase::Forward, _) => {
                Journal::clear(self.store.dir())?;
                Ok(Some(format!("generation {to} was staged but not switched to: discarded it")))
            }
        }
    }

    /// What was switched to is applied and recorded; what was recorded already is only tidied up.
    fn mend_forward(&self, journal: Journal, was: &str) -> Result<Option<String>, PublishError> {
        let to = journal.to;
        let generation = self.store.read(to)?;
        let now = clock::now();
        if let Some(wrong) = journal.corrects
            && self.store.is_unfinished(wrong)?
        {
            let message = "an isolated target failed, and the correction was interrupted";
            self.store.record(&Outcome::failed(wrong, now, message.to_owned()))?;
        }
        if generation.outcome.is_some() {
            self.store.settle(to)?;
            Journal::clear(self.store.dir())?;
            return Ok(None);
        }
        let transition = self.transition(generation.manifest, &journal)?;
        Ok(Some(match self.go_forward(transition, journal, now) {
            Ok(Published::Partly(number)) if number != to => format!(
                "generation {to} {was}: applied it, but for isolated targets that failed \
                 (generation {number})"
            ),
            Ok(_) => format!("generation {to} {was}: applied it"),
            Err(error) => {
                format!("generation {to} {was}, and could not be: {error}")
            }
        }))
    }

    /// It is not known whether the kernel has what is loaded before the switch. What passes the check is brought in force, as
    /// if it had been switched to already; what does not is taken back.
    fn mend_first(&self, mut journal: Journal) -> Result<Option<String>, PublishError> {
        let to = journal.to;
        let mut transition = self.transition(self.store.read(to)?.manifest, &journal)?;
        transition.first = journal.first.take();
        if let Err(failure) = verify::first(&self.store, &transition) {
            let now = clock::now();
            let error = self.take_back(failure.into(), &transition, journal, now);
            return Ok(Some(format!("generation {to} was being loaded, and cannot be: {error}")));
        }
        self.mend_forward(journal, "was being loaded")
    }

    /// What was being taken back is taken back to the end.
    fn mend_back(&self, journal: Journal) -> Result<Option<String>, PublishError> {
        let to = journal.to;
        if !self.store.path(to).exists() {
            Journal::clear(self.store.dir())?;
            return Ok(None);
        }
        let transition = self.transition(self.store.read(to)?.manifest, &journal)?;
        let interrupted = PublishError::State {
            path: self.store.path(to),
            reason: "its publication failed, and taking it back was interrupted".to_owned(),
        };
        let error = self.take_back(Failure::from(interrupted), &transition, journal, clock::now());
        Ok(Some(error.to_string()))
    }

    /// From the generation that was in force when a publication began, unless that one was damaged.
    fn transition(&self, to: Manifest, journal: &Journal) -> Result<Transition, PublishError> {
        let before = journal.from.filter(|_| !journal.anew);
        let before = before.map(|number| self.store.read(number)).transpose()?;
        let mut transition = Transition::new(to, before.map(|generation| generation.manifest));
        transition.damaged = journal.anew;
        Ok(transition)
    }
}
