//! What is written down of each operation: belief, memory and the entry of the audit trail, committed together.

use jiff::Timestamp;

use super::{OperateError, Operator, believed, companion};
use crate::guard::{Belief, Decision, Event};
use crate::publish::{Companion, PublishError};
use crate::ruleset::RuleSet;
use crate::snapshot::Digest;
use crate::state::trail::{self, Action, Draft, Prepared};
use crate::state::{Memory, Trail};

/// What the audit trail says of an operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Note<'n> {
    pub(super) at: Timestamp,
    pub(super) action: Action,
    /// Who asked for it; none: the agent by itself.
    pub(super) by: Option<&'n str>,
    pub(super) reason: Option<&'n str>,
    pub(super) decision: Option<&'n Decision>,
    pub(super) events: &'n [Event],
    pub(super) configuration: Option<Digest>,
}

impl<'n> Note<'n> {
    /// Of something that a person did.
    pub(super) fn of_person(action: Action, by: &'n str, at: Timestamp) -> Self {
        let (reason, decision, configuration) = (None, None, None);
        Self { at, action, by: Some(by), reason, decision, events: &[], configuration }
    }
}

impl Operator {
    /// An entry about what is to be committed: belief (with the digest of its document, where that was written), rules and
    /// generation are those afterwards.
    pub(super) fn prepare(
        &self,
        note: &Note<'_>,
        generation: Option<u64>,
        (belief, written): (&Belief, Option<Digest>),
        rules: (&RuleSet, &RuleSet),
    ) -> Result<(Companion, Prepared), OperateError> {
        let prepared = self.trail.prepare(&Draft {
            at: note.at,
            action: note.action,
            by: note.by,
            reason: note.reason,
            configuration: note.configuration,
            generation,
            events: note.events,
            decision: note.decision,
            belief: (&self.belief, belief),
            written,
            rules,
        })?;
        let bytes = self.trail.committing(&prepared);
        Ok((Companion { name: Trail::PENDING, bytes }, prepared))
    }

    /// Commits belief and memory without a generation, with an entry in the audit trail. What is remembered on disk is what is
    /// remembered here, also when writing fails. An emergency stop and its end are committed also where no entry can be made.
    pub(super) fn commit(
        &mut self,
        note: &Note<'_>,
        belief: Belief,
        memory: Memory,
    ) -> Result<(), OperateError> {
        let document = believed(&belief)?;
        let told = match self.tell(note, (&belief, Digest::of(&document.bytes))) {
            Ok(told) => Some(told),
            Err(error) if matches!(note.action, Action::Paused | Action::Resumed) => {
                self.warn(format!("the audit trail does not tell of this: {error}"));
                None
            }
            Err(error) => return Err(error),
        };
        let (trail, prepared) = told.unzip();
        let mut companions = vec![companion(&memory)?, document];
        companions.extend(trail);
        self.publisher.keep(&companions)?;
        (self.belief, self.memory) = (belief, memory);
        if let Some(prepared) = &prepared {
            self.committed(prepared);
        }
        Ok(())
    }

    /// An entry about something that leaves the rules in force as they are.
    fn tell(
        &mut self,
        note: &Note<'_>,
        (belief, written): (&Belief, Digest),
    ) -> Result<(Companion, Prepared), OperateError> {
        let generation = self.publisher.store().current()?;
        let rules = self.rules_as_told()?;
        self.prepare(note, generation, (belief, Some(written)), (&rules, &rules))
    }

    /// The entry is committed. That it cannot be appended undoes nothing: it is appended with the next one.
    pub(super) fn committed(&mut self, prepared: &Prepared) {
        if let Err(error) = self.trail.committed(prepared) {
            complain(&error);
        }
    }

    /// Notes when another generation is in force than the trail says: one that carries on the files of isolated targets that
    /// failed, and took the place of the one that was meant. What is in force is so whether or not this can be written: it is
    /// tried again with the next operation.
    pub(super) fn note_correction(&mut self, now: Timestamp) {
        if let Err(error) = self.try_to_note_correction(now) {
            complain(&error);
        }
    }

    fn try_to_note_correction(&mut self, now: Timestamp) -> Result<(), OperateError> {
        let current = self.publisher.store().current()?;
        if self.trail.generation().is_none_or(|noted| Some(noted) == current) {
            return Ok(());
        }
        let note = Note {
            at: now,
            action: Action::Corrected,
            by: None,
            reason: None,
            decision: None,
            events: &[],
            configuration: None,
        };
        self.commit(&note, self.belief.clone(), self.memory.clone())
    }

    /// Notes that a publication failed: each attempt, so that it is known later what was tried and when. What it would have
    /// changed is forgotten. A disk that is full does not take the note either.
    pub(super) fn note_failure(&mut self, note: &Note<'_>, error: &PublishError) {
        let reason = format!("{}: {error}", note.reason.unwrap_or_default());
        let note = Note {
            action: Action::Failed,
            reason: Some(&reason),
            events: &[],
            configuration: None,
            ..*note
        };
        if let Err(error) = self.commit(&note, self.belief.clone(), self.memory.clone()) {
            tracing::error!(%error, "the audit trail does not tell of an attempt that failed");
        }
    }

    /// The rules in force; none before the first generation.
    pub(super) fn rules_in_force(&self) -> Result<RuleSet, OperateError> {
        let store = self.publisher.store();
        let rules = store.current()?.map(|number| store.rule_set(number)).transpose()?;
        Ok(rules.unwrap_or_default())
    }

    /// The same where a damaged file must not be in the way: what cannot be read any more is made again from the audit trail,
    /// which holds every change of the rules.
    pub(super) fn rules_as_told(&mut self) -> Result<RuleSet, OperateError> {
        let damaged = match self.rules_in_force() {
            Ok(rules) => return Ok(rules),
            Err(error) => error,
        };
        let store = self.publisher.store();
        let Some(current) = store.current()? else { return Err(damaged) };
        let generation =
            |told: &trail::Replayed| told.last.as_ref().and_then(|last| last.generation);
        match trail::replay(store.dir()) {
            Ok(told) if generation(&told) == Some(current) => {
                self.warn(format!(
                    "{damaged}; the audit trail tells the rules of generation {current}"
                ));
                Ok(told.rule_set)
            }
            _ => Err(damaged),
        }
    }

    /// Keeps what a person should know of an operation that is done all the same; each thing once.
    pub(super) fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            tracing::warn!("{warning}");
            self.warnings.push(warning);
        }
    }
}

fn complain(error: &dyn std::error::Error) {
    tracing::error!(%error, "the audit trail could not be appended to: it is tried again with the next entry");
}
