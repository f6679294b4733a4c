//! What is believed of each cloud: a value of its own, not the last publication.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::hold::{Decision, Hold, HoldId};
use crate::prefix::PrefixSet;
use crate::selection::Publications;
use crate::snapshot::digest::Hasher;
use crate::snapshot::{Cloud, Digest, TagName};

/// What is believed of each cloud, what is held, and what was decided.
///
/// Kept by tag: every tag of the publication, those that the configuration selects only as far as they are plausible, the others
/// as they are published. Two firewalls that believe the same have beliefs of the same [`Belief::digest`].
#[derive(Debug, Clone, Default)]
pub struct Belief {
    pub(super) publications: Publications,
    pub(super) clouds: BTreeMap<Cloud, Believed>,
    pub(super) holds: Vec<Hold>,
    pub(super) decisions: Vec<Decision>,
}

/// What is kept of one cloud beside its tags.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Believed {
    /// The publication that was judged last.
    pub(super) standing: Standing,
    /// Withdrawn ranges that are still open.
    pub(super) grace: Vec<Grace>,
    /// The tags that were judged, with what was added to each in the last four weeks. All others only follow.
    pub(super) judged: BTreeMap<TagName, Vec<Grown>>,
    /// Blocks outside the shipped neighbourhoods in which the cloud was seen, and since when.
    pub(super) blocks: BTreeMap<IpNet, Timestamp>,
}

/// The publication that a belief stands on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Standing {
    /// Its date.
    pub date: Option<Date>,
    /// Its change number.
    pub change_number: u64,
    /// The digest of its content: not that of the belief, unless all of it is believed.
    pub digest: Digest,
    /// Where it came from.
    pub source: String,
    /// When it was judged for the first time.
    pub since: Timestamp,
}

/// A withdrawn range that stays open for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Grace {
    /// The tag that it was withdrawn from.
    pub tag: TagName,
    /// What was withdrawn.
    pub space: PrefixSet,
    /// When the withdrawal was seen first.
    pub since: Timestamp,
    /// When it closes.
    pub until: Timestamp,
}

/// What was added to a tag at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Grown {
    pub(super) at: Timestamp,
    pub(super) ipv4: u64,
    pub(super) ipv6: u128,
}

impl Belief {
    /// The file that holds it in the state folder.
    pub const FILE: &'static str = "belief.json";
    /// Largest belief that is read, in bytes.
    pub const MAX_BYTES: u64 = 256 << 20;

    /// What is believed, in the form in which it can be selected from.
    pub fn publications(&self) -> &Publications {
        &self.publications
    }

    /// The publication of a cloud that was judged last.
    pub fn standing(&self, cloud: Cloud) -> Option<&Standing> {
        self.clouds.get(&cloud).map(|believed| &believed.standing)
    }

    /// Withdrawn ranges that are still open.
    pub fn grace(&self) -> impl Iterator<Item = (Cloud, &Grace)> {
        self.clouds
            .iter()
            .flat_map(|(cloud, believed)| believed.grace.iter().map(|grace| (*cloud, grace)))
    }

    /// What is held.
    pub fn holds(&self) -> &[Hold] {
        &self.holds
    }

    /// The hold of this name.
    pub fn hold(&self, id: &HoldId) -> Option<&Hold> {
        self.holds.iter().find(|hold| hold.id == *id)
    }

    /// Decisions that still count.
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// SHA-256 over what is believed of every cloud: what the rules are made of. When things were seen or held does not count.
    pub fn digest(&self) -> Digest {
        let mut hash = Hasher::new("tagwall belief v1");
        hash.number(self.publications.len() as u64);
        for (cloud, publication) in &self.publications {
            hash.text(cloud.name());
            hash.text(&publication.digest().to_string());
        }
        hash.finish()
    }

    /// When time alone will change what is believed: a range closes, or a hold is due. What is overdue waits for a publication.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let closings = self.grace().map(|(_, grace)| grace.until);
        let dues = self.holds.iter().filter_map(|hold| hold.due).filter(|due| *due > now);
        closings.chain(dues).min()
    }

    /// Forgets everything about a cloud: the next publication is judged as the first one.
    pub fn forget(&mut self, cloud: Cloud) {
        self.publications.remove(&cloud);
        self.clouds.remove(&cloud);
        self.holds.retain(|hold| hold.cloud != cloud);
        self.decisions.retain(|decision| decision.cloud != cloud);
    }

    /// Takes over what another belief holds, and nothing else of it: so a person can decide about what leaves a group without
    /// rules although nothing of that judgement is believed yet.
    pub fn hold_like(&mut self, holds: &[Hold]) {
        self.holds = holds.to_vec();
    }

    /// The clouds of which something is believed.
    pub fn clouds(&self) -> BTreeSet<Cloud> {
        self.clouds.keys().copied().collect()
    }
}

/// Two beliefs are equal when they are written alike.
impl PartialEq for Belief {
    fn eq(&self, other: &Self) -> bool {
        self.clouds == other.clouds
            && self.holds == other.holds
            && self.decisions == other.decisions
            && self.digest() == other.digest()
    }
}
