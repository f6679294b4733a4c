//! What is known of a hostname, in status and `explain`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::text::{WARNING, counted, relative};
use crate::config::HostName;
use crate::names::{Book, Entry, Expected, Known, Outside};
use crate::snapshot::TagName;

/// What is known of a hostname.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameStatus {
    /// The name.
    pub name: HostName,
    /// Its addresses.
    pub addresses: Vec<AddressStatus>,
    /// The names that it led to last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The time to live of the last answer, in seconds.
    pub ttl: Option<u32>,
    /// The last look that brought an address.
    pub answered: Option<Timestamp>,
    /// The last look.
    pub looked: Option<Timestamp>,
    /// The next look.
    pub due: Timestamp,
    /// Looks in a row that brought no address.
    pub failures: u32,
    /// What resolvers had instead of addresses, by resolver.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub troubles: BTreeMap<String, String>,
    /// Addresses that were answered and refused, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<IpAddr, String>,
    /// The tag that should hold the addresses, and does not hold all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<OutsideStatus>,
}

/// An address of a hostname.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressStatus {
    /// The address.
    pub address: IpAddr,
    /// The first answer with it.
    pub first: Timestamp,
    /// The last answer with it.
    pub last: Timestamp,
    /// The resolvers whose last answer has it.
    pub by: Vec<String>,
    /// When it leaves, because no resolver has it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaves: Option<Timestamp>,
}

/// Addresses outside of the tag that should hold them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutsideStatus {
    /// The tag.
    pub tag: TagName,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
}

impl NameStatus {
    /// Everything that a book knows.
    pub fn all(book: &Book, expected: &Expected) -> Vec<Self> {
        book.entries()
            .map(|(name, entry)| Self::of(name, entry, expected.outside_of(name, entry)))
            .collect()
    }

    fn of(name: &HostName, entry: &Entry, outside: Option<Outside>) -> Self {
        let address = |(address, known): (&IpAddr, &Known)| AddressStatus {
            address: *address,
            first: known.first,
            last: known.last,
            by: known.by.iter().cloned().collect(),
            leaves: known.leaves,
        };
        Self {
            name: name.clone(),
            addresses: entry.addresses.iter().map(address).collect(),
            aliases: entry.aliases.clone(),
            ttl: entry.ttl,
            answered: entry.answered,
            looked: entry.looked,
            due: entry.due,
            failures: entry.failures,
            troubles: entry.troubles.clone(),
            refused: entry.refused.clone(),
            outside: outside.map(|Outside { tag, addresses }| OutsideStatus { tag, addresses }),
        }
    }

    /// One line, and one more for each thing that wants attention.
    pub fn text(&self, now: Timestamp) -> String {
        let answered = match self.answered {
            Some(answered) => format!("answered {}", relative(answered, now)),
            None => "never answered".to_owned(),
        };
        let resolvers: BTreeSet<&str> =
            self.addresses.iter().flat_map(|known| known.by.iter().map(String::as_str)).collect();
        let by = match resolvers.into_iter().collect::<Vec<_>>().join(", ") {
            some if some.is_empty() => some,
            some => format!(" by {some}"),
        };
        let ttl = self.ttl.map(|ttl| format!(", time to live {ttl} s")).unwrap_or_default();
        let mut text = format!("name {}: {}, {answered}{by}{ttl}\n", self.name, self.count(now));
        if self.failures > 0 {
            let looks = counted(self.failures as usize, "look", "looks");
            text.push_str(&format!(
                "  {WARNING}not answered{WARNING:#} in the last {looks}; what is known stays\n"
            ));
        }
        for (resolver, trouble) in &self.troubles {
            text.push_str(&format!("  {resolver}: {trouble}\n"));
        }
        for (address, reason) in &self.refused {
            text.push_str(&format!("  {WARNING}refused{WARNING:#} {address}: {reason}\n"));
        }
        if let Some(outside) = &self.outside {
            let addresses: Vec<String> =
                outside.addresses.iter().map(ToString::to_string).collect();
            text.push_str(&format!(
                "  {WARNING}outside of {}{WARNING:#}, which should hold it: {}\n",
                outside.tag,
                addresses.join(" ")
            ));
        }
        text
    }

    /// How many addresses, how many of them only stay for their grace period, and since when the first is known.
    fn count(&self, now: Timestamp) -> String {
        let mut text = counted(self.addresses.len(), "address", "addresses");
        let gone = self.addresses.iter().filter(|known| known.leaves.is_some()).count();
        if gone > 0 {
            text.push_str(&format!(" ({gone} of them gone and kept for a while)"));
        }
        if let Some(first) = self.addresses.iter().map(|known| known.first).min() {
            text.push_str(&format!(", the first seen {}", relative(first, now)));
        }
        text
    }

    /// The addresses, a line each.
    pub fn details(&self, now: Timestamp) -> String {
        let mut text = String::new();
        if !self.aliases.is_empty() {
            text.push_str(&format!("  through {}\n", self.aliases.join(", ")));
        }
        for known in &self.addresses {
            let state = match known.leaves {
                Some(leaves) => format!("gone, leaves {}", relative(leaves, now)),
                None => format!("by {}", known.by.join(", ")),
            };
            text.push_str(&format!(
                "  {} first {}, last {}, {state}\n",
                known.address,
                relative(known.first, now),
                relative(known.last, now)
            ));
        }
        text
    }
}
