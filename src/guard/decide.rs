//! What a person orders about a hold.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::belief::Belief;
use super::hold::{Decision, HoldId, Verdict};
use crate::config::GuardSettings;

/// An order about a hold: what `tagwall approve` and `tagwall reject` carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Order {
    /// The hold.
    pub hold: HoldId,
    /// What is to be done.
    pub verdict: Verdict,
    /// Who orders it.
    pub who: String,
    /// The ticket.
    #[serde(default)]
    pub ticket: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Why an order cannot be followed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DecideError {
    /// There is no such hold.
    #[error(
        "there is no hold {id}: it was decided, released, or the publication shows another difference now; \
         `tagwall review` lists what is held"
    )]
    NoSuchHold {
        /// The name given.
        id: HoldId,
    },
}

impl Belief {
    /// Takes an order down; the next judgement follows it. An approval binds the publication that showed the difference last, the
    /// groups and the difference, and expires. A rejection can be taken back by an approval, and the other way round.
    pub fn decide(
        &mut self,
        order: &Order,
        settings: &GuardSettings,
        now: Timestamp,
    ) -> Result<Decision, DecideError> {
        let days = i64::from(settings.approval_days());
        let expires = (order.verdict == Verdict::Approve)
            .then(|| now.saturating_add(SignedDuration::from_hours(24 * days)))
            .and_then(Result::ok);
        let earlier = self.decisions.iter().find(|decision| decision.hold == order.hold);
        let (cloud, kind, groups, space, publication, since) =
            match (self.hold(&order.hold), earlier) {
                (Some(hold), _) => (
                    hold.cloud,
                    hold.kind,
                    hold.groups.iter().map(|group| group.name.clone()).collect(),
                    hold.space.clone(),
                    hold.seen.digest,
                    hold.since,
                ),
                (None, Some(earlier)) => {
                    // What was rejected is held no more, but still published: the newest publication is the one that shows it.
                    let standing = self.standing(earlier.cloud).map(|standing| standing.digest);
                    (
                        earlier.cloud,
                        earlier.kind,
                        earlier.groups.clone(),
                        earlier.space.clone(),
                        standing.unwrap_or(earlier.publication),
                        earlier.since,
                    )
                }
                (None, None) => return Err(DecideError::NoSuchHold { id: order.hold.clone() }),
            };
        let decision = Decision {
            hold: order.hold.clone(),
            cloud,
            kind,
            verdict: order.verdict,
            groups,
            space,
            publication,
            since,
            who: order.who.clone(),
            ticket: order.ticket.clone(),
            reason: order.reason.clone(),
            at: now,
            expires,
        };
        self.decisions.retain(|decision| decision.hold != order.hold);
        self.decisions.push(decision.clone());
        Ok(decision)
    }
}
