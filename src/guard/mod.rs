//! What is believed: a publication counts only as far as it is plausible.
//!
//! Owns the comparison of what is believed with what is published, under the same configuration on both sides, the holds that
//! come of it, and the grace of withdrawn ranges. Pure: no clock, no files, no network. Promises: the same inputs give the same
//! belief; nothing outside the bounds is ever believed, whatever is approved. Does not fetch, publish or notify.

mod belief;
mod cause;
mod change;
mod compose;
mod decide;
mod document;
mod event;
mod floors;
mod ground;
mod hold;
mod holds;
mod judge;
mod neighbourhoods;
mod plausible;
mod scope;
mod words;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use belief::{Belief, Grace, Standing};
pub use cause::{Amount, Cause};
pub use change::BeliefChange;
pub use decide::{DecideError, Order};
pub use document::BeliefError;
pub use event::Event;
pub use hold::{Decision, HeldGroup, Hold, HoldId, Kind, Seen, Verdict, addresses};

use crate::config::{Config, Name};
use crate::intent::Intent;
use crate::snapshot::{Cloud, Publication};

/// A publication as a feed brought it.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The validated document.
    pub publication: Publication,
    /// When it was fetched last: a second download that shows the same counts as a confirmation.
    pub fetched: Timestamp,
}

/// The newest publication of each cloud.
pub type Offers = BTreeMap<Cloud, Offer>;

/// What the guard made of the offers.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// What is believed from now on, with what is held.
    pub belief: Belief,
    /// What changed in what is believed, held and decided, in order.
    pub events: Vec<Event>,
    /// Groups of which nothing is believed because all of it is held: there are no rules without an approval.
    pub withheld: Vec<Name>,
    /// When time alone will change it: a grace that ends, a hold that is due. None: never.
    pub next: Option<Timestamp>,
}

/// Judges what was published against what is believed.
pub fn judge(
    config: &Config,
    intent: &Intent,
    belief: &Belief,
    offers: &Offers,
    now: Timestamp,
) -> Judgement {
    let (mut belief, mut events, mut withheld) = (belief.clone(), Vec::new(), Vec::new());
    judge::Court { config, intent, offers, now }.sit(&mut belief, &mut events, &mut withheld);
    let next = belief.next(now);
    Judgement { belief, events, withheld, next }
}
