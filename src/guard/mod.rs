//! What is believed: a publication counts only as far as it is plausible.
//!
//! Owns the comparison of what is believed with what is published, under the same configuration on both sides, the holds that
//! come of it, and the grace of withdrawn ranges. Pure: no clock, no files, no network. Promises: the same inputs give the same
//! belief; nothing outside the bounds is ever believed, whatever is approved. Does not fetch, publish or notify.

mod belief;
mod decide;
mod document;
mod event;
mod hold;
mod words;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use belief::{Belief, Grace, Standing};
pub use decide::{DecideError, Order};
pub use document::BeliefError;
pub use event::Event;
pub use hold::{Cause, Decision, HeldGroup, Hold, HoldId, Kind, Seen, Verdict, addresses};

use self::belief::Believed;
use crate::config::Config;
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
    /// When time alone will change it: a grace that ends, a hold that is due. None: never.
    pub next: Option<Timestamp>,
}

/// Judges what was published against what is believed.
pub fn judge(
    _config: &Config,
    _intent: &Intent,
    belief: &Belief,
    offers: &Offers,
    now: Timestamp,
) -> Judgement {
    let mut belief = belief.clone();
    for (cloud, offer) in offers {
        let publication = &offer.publication;
        let standing = Standing {
            date: publication.date,
            change_number: publication.snapshot.change_number(),
            digest: publication.digest(),
            source: publication.source.clone(),
            since: now,
        };
        let believed = Believed {
            standing,
            grace: Vec::new(),
            judged: BTreeMap::new(),
            blocks: BTreeMap::new(),
        };
        belief.clouds.insert(*cloud, believed);
        belief.publications.insert(*cloud, publication.clone());
    }
    Judgement { belief, events: Vec::new(), next: None }
}
