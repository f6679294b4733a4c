//! What a person decides about a hold, and beginning anew.

use jiff::Timestamp;

use super::record::Note;
use super::{OperateError, Operator};
use crate::config::GuardSettings;
use crate::guard::{Belief, BeliefError, DecideError, Decision, Order};
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
    /// What was given is no belief.
    #[error(transparent)]
    Belief(#[from] BeliefError),
    /// There is nothing to begin anew.
    #[error("nothing is known of {0} yet: the next publication is the first one anyhow")]
    NothingKnown(String),
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

    /// Forgets what is known and believed of a cloud (none: of all), so that the next publication is judged as the first one,
    /// whatever its date and number are. What is in force stays in force until then. Says which clouds that were.
    pub fn rebaseline(
        &mut self,
        cloud: Option<Cloud>,
        reason: &str,
        by: &str,
        now: Timestamp,
    ) -> Result<Vec<Cloud>, DecisionError> {
        let (mut memory, mut belief) = (self.memory.clone(), self.belief.clone());
        let mut begun = Vec::new();
        for &cloud in Cloud::ALL.iter().filter(|known| cloud.is_none_or(|cloud| cloud == **known)) {
            let known = memory.forget(cloud, reason, by, now);
            let believed = belief.clouds().contains(&cloud);
            if known || believed || belief.holds().iter().any(|hold| hold.cloud == cloud) {
                belief.forget(cloud);
                begun.push(cloud);
            }
        }
        if begun.is_empty() {
            let whom =
                cloud.map_or_else(|| "any cloud".to_owned(), |cloud| format!("cloud {cloud}"));
            return Err(DecisionError::NothingKnown(whom));
        }
        // First, so that a document that must not count is not taken up again if the rest fails.
        for cloud in &begun {
            self.archive.forget(*cloud).map_err(OperateError::from)?;
        }
        let note = Note { reason: Some(reason), ..Note::of_person(Action::BeganAnew, by, now) };
        self.commit(&note, belief, memory)?;
        Ok(begun)
    }

    /// Takes over the belief of another host, whole: the next offer is judged against it, and brings it in force.
    pub fn adopt(&mut self, bytes: &[u8], by: &str, now: Timestamp) -> Result<(), DecisionError> {
        let belief = Belief::read(bytes)?;
        let note = Note::of_person(Action::BeganAnew, by, now);
        Ok(self.commit(&note, belief, self.memory.clone())?)
    }
}
