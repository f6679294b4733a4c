//! What is held: a difference between publication and belief that is not plausible, and what may become of it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::config::Name;
use crate::prefix::PrefixSet;
use crate::snapshot::digest::Hasher;
use crate::snapshot::{Cloud, Digest};

use super::cause::Cause;

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
}
