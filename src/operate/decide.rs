//! What a person decides about a hold, and beginning anew.

use jiff::Timestamp;

use super::{OperateError, Operator};
use crate::config::GuardSettings;
use crate::guard::{Belief, BeliefError, DecideError, Decision, Order};
use crate::publish::{Companion, PublishError};
use crate::snapshot::Cloud;

/// Why a decision was not taken down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecisionError {
    /// It cannot be followed.
    #[error(transparent)]
    Decide(#[from] DecideError),
    /// The belief cannot be written.
    #[error(transparent)]
    Belief(#[from] BeliefError),
    /// The state folder cannot be written.
    #[error(transparent)]
    Publish(#[from] PublishError),
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
        self.believe(belief)?;
        Ok(decision)
    }

    /// Forgets what is believed of a cloud, so that the next publication is judged as the first one. What is in force stays in
    /// force until then.
    pub fn forget(&mut self, cloud: Cloud) -> Result<(), DecisionError> {
        let mut belief = self.belief.clone();
        belief.forget(cloud);
        self.believe(belief)
    }

    fn believe(&mut self, belief: Belief) -> Result<(), DecisionError> {
        let companion = Companion { name: Belief::FILE, bytes: belief.write()? };
        self.publisher.keep(&[companion])?;
        self.belief = belief;
        Ok(())
    }
}
