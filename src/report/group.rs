//! The size of each address group in force, and how it came to be.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::history::History;
use crate::config::Name;
use crate::ruleset::RuleSet;

/// An address group of the generation in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Its name.
    pub name: Name,
    /// IPv4 prefixes.
    pub v4_prefixes: usize,
    /// IPv6 prefixes.
    pub v6_prefixes: usize,
    /// IPv4 addresses.
    pub v4_addresses: u64,
    /// Hostnames that belong to it.
    pub hosts: usize,
}

impl GroupStatus {
    /// Every group of a rule set, by name.
    pub fn all(rule_set: &RuleSet) -> Vec<Self> {
        let of = |group: &crate::ruleset::AddressGroup| Self {
            name: group.name.clone(),
            v4_prefixes: group.prefixes.v4().len(),
            v6_prefixes: group.prefixes.v6().len(),
            v4_addresses: group.prefixes.v4_addresses(),
            hosts: group.hosts.len(),
        };
        rule_set.groups.iter().map(of).collect()
    }
}

/// A group's size from a time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// From when on.
    pub since: Timestamp,
    /// Prefixes of both families.
    pub prefixes: u64,
    /// IPv4 addresses.
    pub v4_addresses: u64,
}

/// The sizes of each group over the generations of a history, the oldest first: reckoned back from the sizes in force by what
/// each generation changed, so that no rule set of the past needs to be read. They begin after a generation that cannot be read.
pub fn sizes(groups: &[GroupStatus], history: &History) -> BTreeMap<Name, Vec<Size>> {
    let unknown = history.unreadable.iter().map(|unreadable| unreadable.generation).max();
    let in_force = history.in_force().filter(|entry| Some(entry.generation) > unknown);
    let mut sizes = BTreeMap::new();
    for group in groups {
        let mut prefixes = (group.v4_prefixes + group.v6_prefixes) as u64;
        let mut v4_addresses = group.v4_addresses;
        let mut steps = Vec::new();
        for entry in in_force.clone() {
            steps.push(Size { since: entry.created, prefixes, v4_addresses });
            let Some(change) = entry.summary.groups.get(&group.name) else { continue };
            let before = |now: u64, added: u64, removed: u64| {
                now.saturating_sub(added).saturating_add(removed)
            };
            prefixes =
                before(prefixes, change.prefixes_added as u64, change.prefixes_removed as u64);
            v4_addresses =
                before(v4_addresses, change.v4_addresses_added, change.v4_addresses_removed);
        }
        steps.reverse();
        sizes.insert(group.name.clone(), steps);
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::super::history::{Entry, EntryResult, Unreadable};
    use super::*;
    use crate::publish::{ChangeSummary, GroupSummary};
    use crate::snapshot::Digest;

    fn entry(
        generation: u64,
        result: EntryResult,
        change: Option<(usize, usize, u64, u64)>,
    ) -> Entry {
        let groups = change.map(|(prefixes_added, prefixes_removed, more, fewer)| {
            let summary = GroupSummary {
                prefixes_added,
                prefixes_removed,
                v4_addresses_added: more,
                v4_addresses_removed: fewer,
            };
            ("storage".parse().unwrap(), summary)
        });
        Entry {
            generation,
            created: Timestamp::from_second(i64::try_from(generation).unwrap() * 60).unwrap(),
            reason: "render".to_owned(),
            result,
            message: None,
            rule_set: Digest::of(b""),
            configuration: None,
            loads: BTreeMap::new(),
            publications: Vec::new(),
            summary: ChangeSummary {
                groups: groups.into_iter().collect(),
                ..ChangeSummary::default()
            },
            behind: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn sizes_are_reckoned_back_over_what_was_in_force() {
        let group = GroupStatus {
            name: "storage".parse().unwrap(),
            v4_prefixes: 10,
            v6_prefixes: 2,
            v4_addresses: 1_000,
            hosts: 0,
        };
        let mut history = History {
            format: String::new(),
            current: Some(4),
            generations: vec![
                entry(4, EntryResult::Recorded, Some((3, 1, 100, 50))),
                entry(3, EntryResult::Failed, Some((500, 0, 9_000, 0))),
                entry(2, EntryResult::Recorded, None),
                entry(1, EntryResult::Recorded, Some((10, 0, 950, 0))),
            ],
            unreadable: Vec::new(),
        };
        let steps = |history: &History| -> Vec<(i64, u64, u64)> {
            let sizes = sizes(std::slice::from_ref(&group), history);
            sizes[&group.name]
                .iter()
                .map(|size| (size.since.as_second() / 60, size.prefixes, size.v4_addresses))
                .collect()
        };
        assert_eq!(steps(&history), [(1, 10, 950), (2, 10, 950), (4, 12, 1_000)]);
        // What a generation changed that cannot be read is not known.
        let reason = String::new();
        history.unreadable.push(Unreadable { generation: 3, reason });
        assert_eq!(steps(&history), [(4, 12, 1_000)]);
    }
}
