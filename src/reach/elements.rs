//! Elements of named sets, which no listing has: asked for one at a time.

use std::fmt;
use std::net::IpAddr;

use serde_json::Value;

use super::expression::verdict_of;
use super::model::Verdict;

/// A named set or map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetId<'s> {
    /// Family of its table: `ip`, `ip6`, `inet`; `ipset` for a set of ipset.
    pub family: &'s str,
    /// Its table; empty for a set of ipset.
    pub table: &'s str,
    /// Its name.
    pub name: &'s str,
}

/// One field of an element.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// An address.
    Address(IpAddr),
    /// A port, or another number.
    Number(u64),
    /// A transport protocol, by its name where it has a common one.
    Protocol(String),
    /// An interface, a state or another word.
    Word(String),
}

impl fmt::Display for Key {
    /// As `nft` reads it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(formatter),
            Self::Number(number) => number.fmt(formatter),
            Self::Protocol(name) => name.fmt(formatter),
            Self::Word(word) => write!(formatter, "\"{word}\""),
        }
    }
}

/// What a set has for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// No element.
    Absent,
    /// An element.
    Present,
    /// An element of a verdict map.
    Verdict(MapVerdict),
    /// Not known.
    Unknown,
}

/// The verdict of an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapVerdict(pub(super) Verdict);

impl Lookup {
    /// The answer of `nft -j get element`, which succeeds only where there is one.
    pub fn from_get_element(document: &Value) -> Self {
        let objects = document.get("nftables").and_then(Value::as_array);
        let found = objects.into_iter().flatten().find_map(|object| {
            let set = object.get("set").or_else(|| object.get("map"))?;
            set.get("elem").and_then(Value::as_array)?.first()
        });
        match found {
            None => Self::Unknown,
            Some(Value::Array(pair)) => match pair.get(1).and_then(verdict_of) {
                Some(verdict) => Self::Verdict(MapVerdict(verdict)),
                None => Self::Present,
            },
            Some(_) => Self::Present,
        }
    }
}

/// Answers whether a set has an element.
pub trait Elements {
    /// What this set has for this key, one entry a field. Sets whose content changes with the
    /// traffic are not asked about.
    fn look_up(&self, set: SetId<'_>, key: &[Key]) -> Lookup;
}

/// Knows no element.
#[derive(Debug, Clone, Copy)]
pub struct NoElements;

impl Elements for NoElements {
    fn look_up(&self, _: SetId<'_>, _: &[Key]) -> Lookup {
        Lookup::Unknown
    }
}

impl<F: Fn(SetId<'_>, &[Key]) -> Lookup> Elements for F {
    fn look_up(&self, set: SetId<'_>, key: &[Key]) -> Lookup {
        self(set, key)
    }
}
