//! What is held: a difference between publication and belief that is not plausible, with its causes and what may become of it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::config::Name;
use crate::os::printable::grouped;
use crate::prefix::PrefixSet;
use crate::snapshot::digest::Hasher;
use crate::snapshot::{Cloud, Digest, TagName};

use super::words::percent;

/// Which way a group would change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Addresses would go: production could break.
    Removal,
    /// Addresses would come: the network could open.
    Addition,
}

impl Kind {
    /// `removal` or `addition`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Removal => "removal",
            Self::Addition => "addition",
        }
    }
}

/// The name of a hold: eight hexadecimal digits that follow from the cloud, the kind and the difference. The same difference has
/// the same name in the next publication; another one has another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HoldId(Box<str>);

impl HoldId {
    const LENGTH: usize = 8;

    /// The name of this difference.
    pub fn of(cloud: Cloud, kind: Kind, critical: bool, space: &PrefixSet) -> Self {
        let mut hash = Hasher::new("tagwall hold v1");
        hash.text(cloud.name());
        hash.text(kind.name());
        hash.number(u64::from(critical));
        hash.prefixes(space.v4(), space.v6());
        let mut text = hash.finish().to_string();
        text.truncate(Self::LENGTH);
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HoldId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let well_formed = text.len() == Self::LENGTH
            && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if well_formed {
            Ok(Self(text.into()))
        } else {
            Err("the ID of a hold is eight hexadecimal digits; `tagwall review` lists them"
                .to_owned())
        }
    }
}

impl TryFrom<String> for HoldId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HoldId> for String {
    fn from(id: HoldId) -> Self {
        id.0.into()
    }
}

impl fmt::Display for HoldId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Why a difference is not plausible.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Cause {
    /// A tag is not published any more.
    Vanished {
        /// The tag.
        tag: TagName,
        /// The tag that carries most of its space now.
        renamed: Option<TagName>,
    },
    /// A tag or group would have no address left.
    Emptied {
        /// The tag; none when the whole group is meant.
        tag: Option<TagName>,
    },
    /// More of a group is withdrawn than in an ordinary week.
    Removed {
        /// The share of the group.
        share: f64,
        /// The limit that it exceeds.
        limit: f64,
    },
    /// More of a group is withdrawn within four weeks than is plausible, each week by itself being ordinary.
    RemovedInFourWeeks {
        /// The share of the group.
        share: f64,
        /// The limit that it exceeds.
        limit: f64,
    },
    /// More comes to a group than is plausible.
    Added {
        /// The share of the group as it is.
        share: f64,
        /// The limit that it exceeds.
        limit: f64,
    },
    /// More comes within four weeks than is plausible.
    AddedInFourWeeks {
        /// The share of the group as it is.
        share: f64,
        /// The limit that it exceeds.
        limit: f64,
    },
    /// A group of one region gets much space that no tag ever had.
    AddedNew {
        /// How many addresses.
        addresses: u64,
        /// The limit that it exceeds.
        limit: u64,
    },
    /// Space outside every neighbourhood in which Azure was ever published.
    OutsideNeighbourhoods,
    /// Space of a regional tag that is not in AzureCloud's tag of the region, although all of it was before.
    OutsideRegion {
        /// The tag.
        tag: TagName,
        /// The tag in which it should be.
        within: TagName,
    },
    /// Space of a regional tag that is not in its service's tag for all regions, although all of it was before.
    OutsideService {
        /// The tag.
        tag: TagName,
        /// The tag in which it should be.
        within: TagName,
    },
    /// Space of a tag that is not in AzureCloud, although all of the tag was before.
    OutsideAzureCloud {
        /// The tag.
        tag: TagName,
    },
    /// Much space that is neither in AzureCloud nor in any other tag.
    OutsideAzure {
        /// The share of the group as it is.
        share: f64,
        /// The limit that it exceeds.
        limit: f64,
    },
    /// Space that belongs to another service.
    OtherService {
        /// A tag of that service.
        tag: TagName,
    },
    /// Space that belongs to another cloud.
    OtherCloud {
        /// That cloud.
        cloud: Cloud,
    },
    /// The publication as a whole does not go on from what is believed.
    OtherDocument {
        /// The share of all believed IPv4 addresses that it still has.
        kept: f64,
    },
    /// Space that no tag had before, in a group that would lose nearly all that it has.
    Exchanged,
    /// A tag is smaller than it ever was, and nothing is believed yet to compare it with.
    TooSmall {
        /// The tag.
        tag: TagName,
        /// Its IPv4 addresses.
        addresses: u64,
        /// What is expected at least.
        floor: u64,
    },
    /// A tag is larger than is plausible, and nothing is believed yet to compare it with.
    TooLarge {
        /// The tag.
        tag: TagName,
        /// Its IPv4 addresses.
        addresses: u64,
        /// What is expected at most.
        ceiling: u64,
    },
    /// The configuration holds everything.
    Everything,
}

impl Cause {
    /// With shares that are the same after they were written and read.
    pub(super) fn rounded(mut self) -> Self {
        match &mut self {
            Self::Removed { share, limit }
            | Self::RemovedInFourWeeks { share, limit }
            | Self::Added { share, limit }
            | Self::AddedInFourWeeks { share, limit }
            | Self::OutsideAzure { share, limit } => {
                (*share, *limit) = (rounded(*share), rounded(*limit));
            }
            Self::OtherDocument { kept } => *kept = rounded(*kept),
            _ => {}
        }
        self
    }

    /// Whether a hold for this cause is never released without an approval: what it stands for is either an attack or an outage.
    pub fn is_critical(&self) -> bool {
        match self {
            Self::Removed { share, .. } | Self::RemovedInFourWeeks { share, .. } => *share > 0.5,
            // More than half is out of the ordinary whatever the limit is; what is less may be released in time.
            Self::Added { share, .. } | Self::AddedInFourWeeks { share, .. } => *share > 1.0,
            Self::AddedNew { .. } => false,
            Self::Vanished { .. }
            | Self::Emptied { .. }
            | Self::OutsideNeighbourhoods
            | Self::OutsideRegion { .. }
            | Self::OutsideService { .. }
            | Self::OutsideAzureCloud { .. }
            | Self::OutsideAzure { .. }
            | Self::OtherService { .. }
            | Self::OtherCloud { .. }
            | Self::OtherDocument { .. }
            | Self::Exchanged
            | Self::TooSmall { .. }
            | Self::TooLarge { .. }
            | Self::Everything => true,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vanished { tag, renamed: Some(other) } => write!(
                formatter,
                "tag {tag} is published no more; {other} has most of its space now: renamed?"
            ),
            Self::Vanished { tag, renamed: None } => {
                write!(formatter, "tag {tag} is published no more")
            }
            Self::Emptied { tag: Some(tag) } => write!(formatter, "tag {tag} would be empty"),
            Self::Emptied { tag: None } => formatter.write_str("the group would be empty"),
            Self::Removed { share, limit } => write!(
                formatter,
                "{} of the group would go, at most {} is ordinary",
                percent(*share),
                percent(*limit)
            ),
            Self::RemovedInFourWeeks { share, limit } => write!(
                formatter,
                "{} of the group would have gone within four weeks, at most {} is plausible",
                percent(*share),
                percent(*limit)
            ),
            Self::Added { share, limit } => write!(
                formatter,
                "the group would grow by {}, at most {} is plausible",
                percent(*share),
                percent(*limit)
            ),
            Self::AddedInFourWeeks { share, limit } => write!(
                formatter,
                "the group would have grown by {} within four weeks, at most {} is plausible",
                percent(*share),
                percent(*limit)
            ),
            Self::AddedNew { addresses, limit } => write!(
                formatter,
                "{} addresses that no tag ever had would come to one region, at most {} is ordinary",
                grouped(*addresses),
                grouped(*limit)
            ),
            Self::OutsideNeighbourhoods => {
                formatter.write_str("outside every neighbourhood in which Azure was ever published")
            }
            Self::OutsideRegion { tag, within } => write!(
                formatter,
                "not in {within}, the region's own tag, where all of {tag} was before"
            ),
            Self::OutsideService { tag, within } => {
                write!(formatter, "not in {within}, where all of {tag} was before")
            }
            Self::OutsideAzureCloud { tag } => {
                write!(formatter, "not in AzureCloud, where all of {tag} was before")
            }
            Self::OutsideAzure { share, limit } => write!(
                formatter,
                "{} of the group would come from space that neither AzureCloud nor another tag has, at most {} is plausible",
                percent(*share),
                percent(*limit)
            ),
            Self::OtherService { tag } => write!(formatter, "belongs to {tag}"),
            Self::OtherCloud { cloud } => write!(formatter, "belongs to cloud {cloud}"),
            Self::OtherDocument { kept } => write!(
                formatter,
                "the publication has only {} of what is believed: another cloud's, or cut short",
                percent(*kept)
            ),
            Self::Exchanged => formatter
                .write_str("no tag had it before, and the group would lose nearly all that it has"),
            Self::TooSmall { tag, addresses, floor } => write!(
                formatter,
                "first seen with {} IPv4 addresses, {tag} is expected to have {} at least",
                grouped(*addresses),
                grouped(*floor)
            ),
            Self::TooLarge { tag, addresses, ceiling } => write!(
                formatter,
                "first seen with {} IPv4 addresses, {tag} is expected to have {} at most",
                grouped(*addresses),
                grouped(*ceiling)
            ),
            Self::Everything => formatter.write_str("the configuration holds everything"),
        }
    }
}

/// A share with so few digits that it is the same after it was written and read: two hosts, or one before and after a restart, must
/// not differ in the last bit of what they hold.
pub(super) fn rounded(share: f64) -> f64 {
    const DIGITS: f64 = 1e6;
    (share * DIGITS).round() / DIGITS
}

/// A group that a hold concerns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HeldGroup {
    /// The group, or the route, by name.
    pub name: Name,
    /// The rules that let the group through.
    pub rules: Vec<Name>,
    /// The part of the group that is held, from 0; above 1 where the group would more than double. The larger of both families.
    pub share: f64,
}

/// How often a difference was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Seen {
    /// In how many publications.
    pub publications: u32,
    /// In how many downloads.
    pub downloads: u32,
    /// The digest of the last publication that shows it: an approval is good for this one only.
    pub digest: Digest,
    /// Its date.
    pub date: Option<Date>,
    /// When it was downloaded last.
    pub fetched: Timestamp,
}

/// A difference that is not believed yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Hold {
    /// Its name, for `approve` and `reject`.
    pub id: HoldId,
    /// The cloud.
    pub cloud: Cloud,
    /// Which way.
    pub kind: Kind,
    /// The groups concerned.
    pub groups: Vec<HeldGroup>,
    /// Why; at least one.
    pub causes: Vec<Cause>,
    /// The addresses held.
    pub space: PrefixSet,
    /// Since when.
    pub since: Timestamp,
    /// How often it was seen.
    pub seen: Seen,
    /// When it is released by itself if it still is published by then; none: never.
    pub due: Option<Timestamp>,
    /// Whether only a person may decide.
    pub critical: bool,
}

impl Hold {
    /// Whether it concerns this group.
    pub fn concerns(&self, group: &Name) -> bool {
        self.groups.iter().any(|held| held.name == *group)
    }

    /// The causes in words.
    pub fn why(&self) -> String {
        self.causes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    /// The largest share of a group that is held.
    pub fn share(&self) -> f64 {
        self.groups.iter().map(|group| group.share).fold(0.0, f64::max)
    }

    /// How many addresses are held: IPv4 addresses, or IPv6 addresses where there is no IPv4 address among them. The two do not
    /// add up to anything that means something.
    pub fn addresses(&self) -> u128 {
        addresses(&self.space)
    }
}

/// The addresses of a set in one number: see [`Hold::addresses`].
pub fn addresses(space: &PrefixSet) -> u128 {
    match space.v4_addresses() {
        0 => space.v6_addresses(),
        v4 => u128::from(v4),
    }
}

/// What a person decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Believe it.
    Approve,
    /// Leave it out for as long as it is published in this form.
    Reject,
}

/// A decision about a hold: it binds the publication, the groups and the difference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Decision {
    /// The hold.
    pub hold: HoldId,
    /// The cloud.
    pub cloud: Cloud,
    /// Which way.
    pub kind: Kind,
    /// What was decided.
    pub verdict: Verdict,
    /// The groups concerned.
    pub groups: Vec<Name>,
    /// The difference.
    pub space: PrefixSet,
    /// The publication that showed it.
    pub publication: Digest,
    /// Since when it was held.
    pub since: Timestamp,
    /// Who decided; `tagwall` for a release by time.
    pub who: String,
    /// The ticket.
    pub ticket: Option<String>,
    /// Why, in the person's words.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
    /// Until when an approval is good; none for a rejection.
    pub expires: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_follows_from_the_difference() {
        let space: PrefixSet = ["192.0.2.0/24".parse().unwrap()].into_iter().collect();
        let id = |cloud, kind, critical| HoldId::of(cloud, kind, critical, &space);
        let one = id(Cloud::Public, Kind::Removal, false);
        assert_eq!(one, id(Cloud::Public, Kind::Removal, false));
        assert_ne!(one, id(Cloud::China, Kind::Removal, false));
        assert_ne!(one, id(Cloud::Public, Kind::Addition, false));
        assert_eq!(one.as_str().parse(), Ok(one));
        for bad in ["", "12", "ABCDEF12", "0123456g", "012345678"] {
            assert!(bad.parse::<HoldId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn causes_survive_their_json() {
        let tag = TagName::new("Storage.WestEurope").unwrap();
        for cause in [
            Cause::Vanished { tag: tag.clone(), renamed: None },
            Cause::Removed { share: 0.5, limit: 0.1 },
            Cause::OtherCloud { cloud: Cloud::China },
            Cause::OtherDocument { kept: 0.25 },
            Cause::OutsideNeighbourhoods,
        ] {
            let text = serde_json::to_string(&cause).unwrap();
            assert_eq!(serde_json::from_str::<Cause>(&text).unwrap(), cause, "{text}");
        }
    }
}
