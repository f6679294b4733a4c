//! Why something is held.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::words::percent;
use crate::os::printable::grouped;
use crate::prefix::Family;
use crate::snapshot::{Cloud, TagName};

/// A share of addresses that exceeds its limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Amount {
    /// The tag whose addresses are counted, where a group has several; none: those of the whole group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<TagName>,
    /// Which of its addresses; none in what a program before 2026-12 wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// The share.
    pub share: f64,
    /// The limit that it exceeds.
    pub limit: f64,
}

impl fmt::Display for Amount {
    /// Whose addresses: `the group's IPv4 addresses`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.tag, self.family) {
            (None, None) => formatter.write_str("the group"),
            (None, Some(family)) => write!(formatter, "the group's {} addresses", family.name()),
            (Some(tag), None) => tag.fmt(formatter),
            (Some(tag), Some(family)) => {
                write!(formatter, "the {} addresses of {tag}", family.name())
            }
        }
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
    Removed(Amount),
    /// More of a group is withdrawn within four weeks than is plausible, each week by itself being ordinary.
    RemovedInFourWeeks(Amount),
    /// More comes to a group than is plausible.
    Added(Amount),
    /// More comes within four weeks than is plausible.
    AddedInFourWeeks(Amount),
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
    OutsideAzure(Amount),
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
            Self::Removed(amount)
            | Self::RemovedInFourWeeks(amount)
            | Self::Added(amount)
            | Self::AddedInFourWeeks(amount)
            | Self::OutsideAzure(amount) => {
                (amount.share, amount.limit) = (rounded(amount.share), rounded(amount.limit));
            }
            Self::OtherDocument { kept } => *kept = rounded(*kept),
            _ => {}
        }
        self
    }

    /// Whether a hold for this cause is never released without an approval: what it stands for is either an attack or an outage.
    pub fn is_critical(&self) -> bool {
        match self {
            Self::Removed(amount) | Self::RemovedInFourWeeks(amount) => amount.share > 0.5,
            // More than half is out of the ordinary whatever the limit is; what is less may be released in time.
            Self::Added(amount) | Self::AddedInFourWeeks(amount) => amount.share > 1.0,
            Self::AddedNew { .. } => false,
            Self::Vanished { .. }
            | Self::Emptied { .. }
            | Self::OutsideNeighbourhoods
            | Self::OutsideRegion { .. }
            | Self::OutsideService { .. }
            | Self::OutsideAzureCloud { .. }
            | Self::OutsideAzure(_)
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
            Self::Removed(amount) => write!(
                formatter,
                "{} of {amount} would go, at most {} is ordinary",
                percent(amount.share),
                percent(amount.limit)
            ),
            Self::RemovedInFourWeeks(amount) => write!(
                formatter,
                "{} of {amount} would have gone within four weeks, at most {} is plausible",
                percent(amount.share),
                percent(amount.limit)
            ),
            Self::Added(amount) => write!(
                formatter,
                "{amount} would grow by {}, at most {} is plausible",
                percent(amount.share),
                percent(amount.limit)
            ),
            Self::AddedInFourWeeks(amount) => write!(
                formatter,
                "{amount} would have grown by {} within four weeks, at most {} is plausible",
                percent(amount.share),
                percent(amount.limit)
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
            Self::OutsideAzure(amount) => write!(
                formatter,
                "{amount} would grow by {} from space that neither AzureCloud nor another tag has, at most {} is plausible",
                percent(amount.share),
                percent(amount.limit)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_survive_their_json() {
        let tag = TagName::new("Storage.WestEurope").unwrap();
        for cause in [
            Cause::Vanished { tag: tag.clone(), renamed: None },
            Cause::Removed(amount(None, Some(Family::V6))),
            Cause::Added(amount(Some(tag.clone()), Some(Family::V4))),
            Cause::OtherCloud { cloud: Cloud::China },
            Cause::OtherDocument { kept: 0.25 },
            Cause::OutsideNeighbourhoods,
        ] {
            let text = serde_json::to_string(&cause).unwrap();
            assert_eq!(serde_json::from_str::<Cause>(&text).unwrap(), cause, "{text}");
        }
    }

    fn amount(tag: Option<TagName>, family: Option<Family>) -> Amount {
        Amount { tag, family, share: 0.67, limit: 0.5 }
    }

    #[test]
    fn an_amount_says_whose_addresses_and_which() {
        let tag = TagName::new("Storage.WestUS");
        for (cause, text) in [
            (
                Cause::Removed(amount(None, Some(Family::V4))),
                "67 % of the group's IPv4 addresses would go, at most 50 % is ordinary",
            ),
            (
                Cause::Added(amount(tag.clone(), Some(Family::V6))),
                "the IPv6 addresses of Storage.WestUS would grow by 67 %, at most 50 % is plausible",
            ),
            (
                Cause::RemovedInFourWeeks(amount(tag, None)),
                "67 % of Storage.WestUS would have gone within four weeks, at most 50 % is plausible",
            ),
        ] {
            assert_eq!(cause.to_string(), text);
        }
    }

    #[test]
    fn what_an_older_program_wrote_is_read() {
        let cause: Cause =
            serde_json::from_str(r#"{"cause":"removed","share":0.67,"limit":0.5}"#).unwrap();
        assert_eq!(cause.to_string(), "67 % of the group would go, at most 50 % is ordinary");
        assert_eq!(
            serde_json::to_string(&Cause::Removed(amount(None, Some(Family::V4)))).unwrap(),
            r#"{"cause":"removed","family":"ipv4","share":0.67,"limit":0.5}"#
        );
    }
}
