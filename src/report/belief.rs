//! What is believed, what is withdrawn and still open, and what is held.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::text::{counted, grouped, relative};
use crate::guard::{Belief, Decision, Hold, addresses};
use crate::snapshot::{Cloud, Digest, TagName};

/// What is believed, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeliefStatus {
    /// Two firewalls with this digest believe the same.
    pub digest: Digest,
    /// The publications that were judged last.
    pub publications: Vec<StandingStatus>,
    /// Ranges that were withdrawn and are still open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grace: Vec<GraceStatus>,
}

/// The publication of a cloud that was judged last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingStatus {
    /// The cloud.
    pub cloud: Cloud,
    /// The publication's date.
    pub date: Option<Date>,
    /// Its change number.
    pub change_number: u64,
    /// The digest of its content.
    pub digest: Digest,
    /// Since when it is judged.
    pub since: Timestamp,
    /// Whether all of it is believed.
    pub whole: bool,
}

/// Ranges of a tag that were withdrawn and are still open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraceStatus {
    /// The cloud.
    pub cloud: Cloud,
    /// The tag.
    pub tag: TagName,
    /// How many addresses, in decimal digits: IPv4, or IPv6 where there are no others.
    pub addresses: String,
    /// In how many prefixes.
    pub prefixes: usize,
    /// Since when they are withdrawn.
    pub since: Timestamp,
    /// When they close.
    pub until: Timestamp,
}

impl BeliefStatus {
    /// Of this belief; none while nothing is believed.
    pub fn of(belief: &Belief) -> Option<Self> {
        let publications: Vec<StandingStatus> = belief
            .publications()
            .iter()
            .filter_map(|(cloud, publication)| {
                let standing = belief.standing(*cloud)?;
                Some(StandingStatus {
                    cloud: *cloud,
                    date: standing.date,
                    change_number: standing.change_number,
                    digest: standing.digest,
                    since: standing.since,
                    whole: publication.digest() == standing.digest,
                })
            })
            .collect();
        let grace = belief.grace().map(|(cloud, grace)| GraceStatus {
            cloud,
            tag: grace.tag.clone(),
            addresses: addresses(&grace.space).to_string(),
            prefixes: grace.space.len(),
            since: grace.since,
            until: grace.until,
        });
        let grace = grace.collect();
        (!publications.is_empty()).then(|| Self { digest: belief.digest(), publications, grace })
    }

    /// As people read it.
    pub fn text(&self, now: Timestamp) -> String {
        let mut text = format!("belief {}", self.digest.short());
        for one in &self.publications {
            let part = if one.whole { "all" } else { "a part" };
            let date = one.date.map_or_else(|| "no date".to_owned(), |date| date.to_string());
            text.push_str(&format!("; {part} of cloud {} of {date}", one.cloud));
        }
        text.push('\n');
        for grace in &self.grace {
            text.push_str(&format!(
                "  withdrawn from {} {}, still open: {} addresses in {}; they close {} ({})\n",
                grace.tag,
                relative(grace.since, now),
                grouped(&grace.addresses),
                counted(grace.prefixes, "prefix", "prefixes"),
                relative(grace.until, now),
                grace.until
            ));
        }
        text
    }
}

/// What is held, with all of its prefixes, and what was decided: what `review` shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Review {
    /// What is held, the oldest first.
    pub holds: Vec<Hold>,
    /// The decisions that still count.
    pub decisions: Vec<Decision>,
}

impl Review {
    /// Of this belief.
    pub fn of(belief: &Belief) -> Self {
        Self { holds: belief.holds().to_vec(), decisions: belief.decisions().to_vec() }
    }
}
