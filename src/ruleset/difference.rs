//! What changes between two rule sets, by group and rule, in prefixes and addresses.

use std::collections::BTreeMap;

use super::{AddressGroup, RuleSet};
use crate::config::Name;
use crate::prefix::PrefixSet;

/// What changes between two rule sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Groups whose space, hosts or tags differ, by name.
    pub groups: Vec<GroupChange>,
    /// Rules that are new.
    pub rules_added: Vec<Name>,
    /// Rules that are gone.
    pub rules_removed: Vec<Name>,
    /// Rules that differ in anything but the addresses of their group.
    pub rules_changed: Vec<Name>,
    /// Routes that are new or differ.
    pub routes_added: Vec<Name>,
    /// Routes that are gone or differ.
    pub routes_removed: Vec<Name>,
    /// Security rules that are new or differ.
    pub security_added: Vec<Name>,
    /// Security rules that are gone or differ.
    pub security_removed: Vec<Name>,
}

/// What changes in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupChange {
    /// The group.
    pub name: Name,
    /// Whether it is new or gone as a whole.
    pub whole: Option<Whole>,
    /// What changes in its space, the addresses of its hostnames included.
    pub space: SpaceChange,
    /// Hostnames that are new.
    pub hosts_added: usize,
    /// Hostnames that are gone.
    pub hosts_removed: usize,
}

/// A group that exists on one side only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
}

/// What changes in an address space: prefixes as they are written, addresses as they count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpaceChange {
    /// Space that is new.
    pub added: PrefixSet,
    /// Space that is gone.
    pub removed: PrefixSet,
    /// Aggregated prefixes that are written now and were not before.
    pub prefixes_added: usize,
    /// Aggregated prefixes that were written before and are not now.
    pub prefixes_removed: usize,
}

impl SpaceChange {
    /// Compares two sets.
    pub fn between(old: &PrefixSet, new: &PrefixSet) -> Self {
        Self {
            added: new.difference(old),
            removed: old.difference(new),
            prefixes_added: not_in(new, old),
            prefixes_removed: not_in(old, new),
        }
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

/// How many prefixes of one set are not written in the other.
fn not_in(left: &PrefixSet, right: &PrefixSet) -> usize {
    let v4 = left.v4().iter().filter(|net| right.v4().binary_search(net).is_err()).count();
    let v6 = left.v6().iter().filter(|net| right.v6().binary_search(net).is_err()).count();
    v4 + v6
}

impl Difference {
    /// Compares two rule sets.
    pub fn between(old: &RuleSet, new: &RuleSet) -> Self {
        let mut difference = Self::default();
        let mut groups: BTreeMap<&Name, (Option<&AddressGroup>, Option<&AddressGroup>)> =
            BTreeMap::new();
        for group in &old.groups {
            groups.entry(&group.name).or_default().0 = Some(group);
        }
        for group in &new.groups {
            groups.entry(&group.name).or_default().1 = Some(group);
        }
        for (name, (before, after)) in groups {
            difference.groups.extend(group_change(name, before, after));
        }
        for rule in &new.rules {
            match old.rules.iter().find(|before| before.name == rule.name) {
                None => difference.rules_added.push(rule.name.clone()),
                Some(before) if before != rule => difference.rules_changed.push(rule.name.clone()),
                Some(_) => {}
            }
        }
        let gone = |name: &Name| !new.rules.iter().any(|rule| rule.name == *name);
        difference.rules_removed =
            old.rules.iter().map(|rule| rule.name.clone()).filter(gone).collect();
        difference.routes_added = missing(&new.routes, &old.routes, |route| &route.name);
        difference.routes_removed = missing(&old.routes, &new.routes, |route| &route.name);
        difference.security_added = missing(&new.security, &old.security, |rule| &rule.name);
        difference.security_removed = missing(&old.security, &new.security, |rule| &rule.name);
        difference
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The names of those on one side that the other has not, or not in the same form.
fn missing<T: PartialEq>(side: &[T], other: &[T], name: impl Fn(&T) -> &Name) -> Vec<Name> {
    side.iter().filter(|one| !other.contains(one)).map(|one| name(one).clone()).collect()
}

fn group_change(
    name: &Name,
    before: Option<&AddressGroup>,
    after: Option<&AddressGroup>,
) -> Option<GroupChange> {
    if before == after {
        return None;
    }
    let whole = match (before, after) {
        (None, Some(_)) => Some(Whole::Added),
        (Some(_), None) => Some(Whole::Removed),
        _ => None,
    };
    let empty = PrefixSet::new();
    let space = |group: Option<&AddressGroup>| {
        group.map_or(empty.clone(), |group| group.space().into_owned())
    };
    let hosts =
        |group: Option<&AddressGroup>| group.map(|group| group.hosts.clone()).unwrap_or_default();
    let (old_hosts, new_hosts) = (hosts(before), hosts(after));
    let space = SpaceChange::between(&space(before), &space(after));
    let hosts_added = new_hosts.iter().filter(|host| !old_hosts.contains(host)).count();
    let hosts_removed = old_hosts.iter().filter(|host| !new_hosts.contains(host)).count();
    let changed = whole.is_some() || !space.is_empty() || hosts_added + hosts_removed > 0;
    changed.then(|| GroupChange { name: name.clone(), whole, space, hosts_added, hosts_removed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Direction, Protocol, Service};
    use crate::ruleset::{Peer, SecurityRule};
    use crate::snapshot::TagName;

    fn with_port(port: u16) -> RuleSet {
        let rule = SecurityRule {
            name: "in-clients".parse().unwrap(),
            direction: Direction::Inbound,
            peer: Peer::Tag(TagName::new("Internet").unwrap()),
            protocol: Protocol::Tcp,
            services: vec![Service::tcp(port)],
            purpose: "clients".to_owned(),
            profile: "prod".parse().unwrap(),
        };
        RuleSet { security: vec![rule], ..RuleSet::default() }
    }

    #[test]
    fn a_security_rule_that_comes_goes_or_differs_is_a_difference() {
        let names: Vec<Name> = vec!["in-clients".parse().unwrap()];
        let (none, one, other) = (RuleSet::default(), with_port(443), with_port(80));
        assert!(Difference::between(&one, &one).is_empty());
        for (old, new, added, removed) in
            [(&none, &one, true, false), (&one, &none, false, true), (&one, &other, true, true)]
        {
            let difference = Difference::between(old, new);
            assert!(!difference.is_empty());
            assert_eq!(difference.security_added == names, added);
            assert_eq!(difference.security_removed == names, removed);
        }
    }
}
