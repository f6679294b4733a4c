//! Elements of named sets, which no listing has: asked for one at a time.

use std::fmt;
use std::net::IpAddr;

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
    /// The output of `nft get element`, which succeeds only where there is one. It is text whatever
    /// form is asked for (nft 1.0.6).
    pub fn from_get_element(text: &str) -> Self {
        let map = text.lines().any(|line| line.trim_start().starts_with("map "));
        if !map {
            return if text.contains("elements") { Self::Present } else { Self::Unknown };
        }
        let element = text.split_once("elements = {").map(|(_, rest)| rest);
        let element = element.and_then(|rest| rest.rsplit_once('}')).map(|(inner, _)| inner);
        let element = element.and_then(|inner| inner.split('}').next()).unwrap_or_default();
        let verdict = element.rsplit_once(" : ").and_then(|(_, text)| verdict_of_text(text));
        verdict.map_or(Self::Present, |verdict| Self::Verdict(MapVerdict(verdict)))
    }
}

fn verdict_of_text(text: &str) -> Option<Verdict> {
    let mut words = text.split_whitespace();
    match (words.next()?, words.next(), words.next()) {
        ("accept", None, None) => Some(Verdict::Accept),
        ("drop", None, None) => Some(Verdict::Drop),
        ("return", None, None) => Some(Verdict::Return),
        ("continue", None, None) => Some(Verdict::Continue),
        ("jump", Some(chain), None) => Some(Verdict::Jump(chain.to_owned())),
        ("goto", Some(chain), None) => Some(Verdict::Goto(chain.to_owned())),
        _ => None,
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
