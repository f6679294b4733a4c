//! What a person decides about a hold, and beginning anew.

use jiff::Timestamp;

use super::{OperateError, Operator, companion};
use crate::config::GuardSettings;
use crate::guard::{Belief, BeliefError, DecideError, Decision, Order};
use crate::publish::{Companion, PublishError};
use crate::snapshot::Cloud;
use crate::state::StateError;

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
    /// What is remembered cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
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
        self.believe(belief)?;
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
            self.archive.forget(*cloud)?;
        }
        let beliefs = Companion { name: Belief::FILE, bytes: belief.write()? };
        self.publisher.keep(&[companion(&memory)?, beliefs])?;
        (self.memory, self.belief) = (memory, belief);
        Ok(begun)
    }

    /// Takes over the belief of another host, whole: the next offer is judged against it, and brings it in force.
    pub fn adopt(&mut self, belief: Belief) -> Result<(), DecisionError> {
        self.believe(belief)
    }

    fn believe(&mut self, belief: Belief) -> Result<(), DecisionError> {
        let companion = Companion { name: Belief::FILE, bytes: belief.write()? };
        self.publisher.keep(&[companion])?;
        self.belief = belief;
        Ok(())
    }
}
