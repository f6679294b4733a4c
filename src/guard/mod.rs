//! What is believed: a publication counts only as far as it is plausible.
//!
//! Owns the comparison of what is believed with what is published, under the same configuration on both sides, the holds that
//! come of it, and the grace of withdrawn ranges. Pure: no clock, no files, no network. Promises: the same inputs give the same
//! belief; nothing outside the bounds is ever believed, whatever is approved. Does not fetch, publish or notify.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::config::Config;
use crate::intent::Intent;
use crate::selection::Publications;
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

/// What is believed of each cloud. The belief is a value of its own, not the last publication.
#[derive(Debug, Clone, Default)]
pub struct Belief {
    publications: Publications,
}

impl Belief {
    /// What is believed, in the form in which it can be selected from.
    pub fn publications(&self) -> &Publications {
        &self.publications
    }
}

/// What the guard made of the offers.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// What is believed from now on.
    pub belief: Belief,
    /// When time alone will change it: a grace that ends, a hold that is due. None: never.
    pub next: Option<Timestamp>,
}

/// Judges what was published against what is believed.
pub fn judge(
    _config: &Config,
    _intent: &Intent,
    belief: &Belief,
    offers: &Offers,
    _now: Timestamp,
) -> Judgement {
    let mut belief = belief.clone();
    for (cloud, offer) in offers {
        belief.publications.insert(*cloud, offer.publication.clone());
    }
    Judgement { belief, next: None }
}
