//! What a person decides about a hold, and beginning anew.

use jiff::Timestamp;

use super::record::Note;
use super::{OperateError, Operator};
use crate::config::GuardSettings;
use crate::guard::{DecideError, Decision, Order};
use crate::snapshot::Cloud;
use crate::state::trail::Action;

/// Why a decision was not taken down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecisionError {
    /// It cannot be followed.
    #[error(transparent)]
    Decide(#[from] DecideError),
    /// The state folder cannot be used.
    #[error(transparent)]
    Operate(#[from] OperateError),
}

impl Operator {
    /// Takes a decision down durably; the next judgement follows it.
    pub fn decide(
        &mut self,
        order: &Order,
        settings: &GuardSettings,
        now: Timestamp,
    ) -> Result<Decision, DecisionError> {
        let mut belief = self.belief.clone();
        let decision = belief.decide(order, settings, now)?;
        let note = Note {
            reason: order.reason.as_deref(),
            decision: Some(&decision),
            ..Note::of_person(Action::Decided, &order.who, now)
        };
        self.commit(&note, belief, self.memory.clone())?;
        Ok(decision)
    }

    /// Forgets what is believed of a cloud, so that the next publication is judged as the first one. What is in force stays in
    /// force until then.
    pub fn forget(
        &mut self,
        cloud: Cloud,
        reason: &str,
        by: &str,
        now: Timestamp,
    ) -> Result<(), DecisionError> {
        let mut belief = self.belief.clone();
        belief.forget(cloud);
        let note = Note { reason: Some(reason), ..Note::of_person(Action::BeganAnew, by, now) };
        Ok(self.commit(&note, belief, self.memory.clone())?)
    }
}
