//! What a judgement did, for the log, the audit trail and notifications.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::hold::{HoldId, Kind};
use crate::os::printable::grouped;
use crate::snapshot::{Cloud, Digest, TagName};

/// One thing that a judgement did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Event {
    /// A publication was judged for the first time.
    Judged {
        /// Its cloud.
        cloud: Cloud,
        /// Its digest.
        publication: Digest,
        /// Its date.
        date: Option<Date>,
        /// Its change number.
        change_number: u64,
        /// Whether nothing was believed of the cloud before.
        first: bool,
    },
    /// A publication is not even looked at.
    Refused {
        /// The cloud.
        cloud: Cloud,
        /// Its digest.
        publication: Digest,
        /// Why.
        why: String,
    },
    /// A difference is held from now on.
    Held {
        /// The hold.
        hold: HoldId,
        /// Its cloud.
        cloud: Cloud,
        /// Which way.
        kind: Kind,
        /// How many addresses.
        #[serde(with = "decimal")]
        addresses: u128,
        /// Why.
        why: String,
    },
    /// A difference is held no more because it is not published any more, or has changed.
    Lapsed {
        /// The hold.
        hold: HoldId,
        /// Its cloud.
        cloud: Cloud,
    },
    /// A hold was released by itself.
    Released {
        /// The hold.
        hold: HoldId,
        /// Its cloud.
        cloud: Cloud,
        /// Which way.
        kind: Kind,
        /// How many addresses.
        #[serde(with = "decimal")]
        addresses: u128,
    },
    /// Ranges were withdrawn; they stay open for a while.
    Withdrawn {
        /// From which tag.
        tag: TagName,
        /// Of which cloud.
        cloud: Cloud,
        /// How many addresses.
        #[serde(with = "decimal")]
        addresses: u128,
        /// When they close.
        until: Timestamp,
    },
    /// Withdrawn ranges came back before they closed: the feed flaps, and nothing changed.
    Returned {
        /// To which tag.
        tag: TagName,
        /// Of which cloud.
        cloud: Cloud,
        /// How many addresses.
        #[serde(with = "decimal")]
        addresses: u128,
    },
    /// The time of withdrawn ranges is over.
    Closed {
        /// Of which tag.
        tag: TagName,
        /// Of which cloud.
        cloud: Cloud,
        /// How many addresses.
        #[serde(with = "decimal")]
        addresses: u128,
    },
}

/// Numbers of addresses as text: readers of JSON in other languages have no integers of 128 bits.
mod decimal {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(number: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Judged { cloud, publication, date, change_number, first } => {
                let first = if *first { ", the first one" } else { "" };
                let date = date.map_or_else(String::new, |date| format!(" of {date}"));
                let digest = publication.short();
                write!(
                    formatter,
                    "judged publication {digest}{date} of cloud {cloud} (change number {change_number}{first})"
                )
            }
            Self::Refused { cloud, publication, why } => {
                write!(
                    formatter,
                    "refused publication {} of cloud {cloud}: {why}",
                    publication.short()
                )
            }
            Self::Held { hold, cloud, kind, addresses, why } => write!(
                formatter,
                "hold {hold}: {} of {} addresses of cloud {cloud}: {why}",
                kind.name(),
                grouped(*addresses)
            ),
            Self::Lapsed { hold, cloud } => {
                write!(
                    formatter,
                    "hold {hold} of cloud {cloud} lapsed: it is published no more in this form"
                )
            }
            Self::Released { hold, cloud, kind, addresses } => write!(
                formatter,
                "hold {hold} of cloud {cloud} released by itself: {} of {} addresses",
                kind.name(),
                grouped(*addresses)
            ),
            Self::Withdrawn { tag, cloud, addresses, until } => write!(
                formatter,
                "{} addresses of {tag} (cloud {cloud}) were withdrawn and stay open until {until}",
                grouped(*addresses)
            ),
            Self::Returned { tag, cloud, addresses } => write!(
                formatter,
                "{} withdrawn addresses of {tag} (cloud {cloud}) came back",
                grouped(*addresses)
            ),
            Self::Closed { tag, cloud, addresses } => write!(
                formatter,
                "{} withdrawn addresses of {tag} (cloud {cloud}) are closed now",
                grouped(*addresses)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::PrefixSet;

    #[test]
    fn each_event_is_a_sentence_and_survives_its_json() {
        let (cloud, kind, addresses) = (Cloud::Public, Kind::Removal, 4096);
        let tag = TagName::new("Storage").unwrap();
        let space: PrefixSet = ["20.0.0.0/20".parse().unwrap()].into_iter().collect();
        let hold = HoldId::of(cloud, kind, false, &space);
        let until: Timestamp = "2025-10-06T00:00:00Z".parse().unwrap();
        for (event, words) in [
            (
                Event::Lapsed { hold: hold.clone(), cloud },
                "lapsed: it is published no more in this form",
            ),
            (
                Event::Released { hold, cloud, kind, addresses },
                "released by itself: removal of 4,096 addresses",
            ),
            (
                Event::Withdrawn { tag: tag.clone(), cloud, addresses, until },
                "4,096 addresses of Storage (cloud public) were withdrawn and stay open until 2025-10-06",
            ),
            (
                Event::Returned { tag: tag.clone(), cloud, addresses },
                "4,096 withdrawn addresses of Storage (cloud public) came back",
            ),
            (
                Event::Closed { tag, cloud, addresses },
                "4,096 withdrawn addresses of Storage (cloud public) are closed now",
            ),
        ] {
            assert!(event.to_string().contains(words), "{event}");
            let json = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event, "{json}");
        }
    }
}
