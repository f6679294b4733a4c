//! The part of a rule set that a target carries.

use std::borrow::Cow;
use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{AddressGroup, AllowRule, Destination, Peer, Route, RuleSet, SecurityRule};
use crate::config::{Families, HostName, Hostnames, Name, Target};
use crate::prefix::PrefixSet;

impl AddressGroup {
    /// The group as a target carries it. Where hostnames are resolved for the firewall, their addresses are prefixes
    /// like any other; where it resolves them itself, they are none of the group's.
    fn carried(&self, target: &Target) -> Self {
        let (families, hostnames) = (target.families, target.hostnames());
        let (prefixes, resolved, unresolved) = match hostnames {
            Hostnames::Resolve => {
                (families.of(&self.space()), PrefixSet::new(), self.unresolved.clone())
            }
            Hostnames::Native => (families.of(&self.prefixes), PrefixSet::new(), Vec::new()),
            Hostnames::Both => {
                (families.of(&self.prefixes), families.of(&self.resolved), self.unresolved.clone())
            }
        };
        let mut hosts = self.hosts.clone();
        if hostnames == Hostnames::Resolve && target.writes_host_objects() {
            // Wildcards are beyond resolving: a device that has them takes them as they are.
            hosts.retain(HostName::is_wildcard);
        }
        Self {
            name: self.name.clone(),
            cloud: self.cloud,
            tags: self.tags.clone(),
            prefixes,
            // Files other than the whole rule set have no place for it, and need not change when nothing else does.
            surplus: if target.json.is_some() {
                families.of(&self.surplus)
            } else {
                PrefixSet::new()
            },
            hosts,
            resolved,
            unresolved,
            profile: self.profile.clone(),
        }
    }
}

impl RuleSet {
    /// The part that a target carries: its rules, its groups, its families. Routes and security rules belong to
    /// profiles and follow them. Borrowed where it is the whole as it is.
    pub fn part_for(&self, target: &Target) -> Cow<'_, Self> {
        if self.goes_whole(target) {
            debug_assert!(self.cut_for(target) == *self, "what is lent is what would be cut");
            return Cow::Borrowed(self);
        }
        Cow::Owned(self.cut_for(target))
    }

    /// Whether nothing is left out for the target, and nothing is other for it: most targets are so.
    fn goes_whole(&self, target: &Target) -> bool {
        let is_plain = |group: &AddressGroup| {
            group.hosts.is_empty() && group.resolved.is_empty() && group.surplus.is_empty()
        };
        let has_peer = |rule: &SecurityRule| match &rule.peer {
            Peer::Tag(_) => true,
            Peer::Prefixes(prefixes) => !prefixes.is_empty(),
        };
        target.rules.is_none()
            && target.groups.is_none()
            && target.families == Families::Both
            && self.groups.iter().all(is_plain)
            && self.security.iter().all(has_peer)
    }

    fn cut_for(&self, target: &Target) -> Self {
        let named = |list: &[toml::Spanned<Name>], name: &Name, profile: Option<&Name>| {
            list.iter().any(|wanted| wanted.get_ref() == name || Some(wanted.get_ref()) == profile)
        };
        let families = |prefixes: &PrefixSet| target.families.of(prefixes);
        let rules: Vec<AllowRule> = self
            .rules
            .iter()
            .filter(|rule| match &target.rules {
                None => true,
                Some(wanted) => named(wanted, &rule.name, rule.profile.as_ref()),
            })
            .map(|rule| AllowRule { own: families(&rule.own), ..rule.clone() })
            .collect();
        let used: BTreeSet<&Name> = rules.iter().map(|rule| &rule.group).collect();
        let groups = self
            .groups
            .iter()
            .filter(|group| match (&target.groups, &target.rules) {
                (None, None) => true,
                (None, Some(_)) => used.contains(&group.name),
                (Some(wanted), _) => {
                    used.contains(&group.name) && target.rules.is_some()
                        || named(wanted, &group.name, group.profile.as_ref())
                }
            })
            .map(|group| group.carried(target))
            .collect::<Vec<_>>();
        let present: BTreeSet<&Name> = groups.iter().map(|group| &group.name).collect();
        let rules = rules.iter().filter(|rule| present.contains(&rule.group)).cloned().collect();
        let of_profile = |profile: &Name| match &target.rules {
            None => true,
            Some(wanted) => wanted.iter().any(|wanted| wanted.get_ref() == profile),
        };
        let in_families = |prefix: &IpNet| match prefix {
            IpNet::V4(_) => target.families.v4(),
            IpNet::V6(_) => target.families.v6(),
        };
        let routes = self
            .routes
            .iter()
            .filter(|route| of_profile(&route.profile))
            .filter(|route| match &route.destination {
                Destination::Prefix(prefix) => in_families(prefix),
                Destination::Tag { .. } => true,
            })
            .map(|route| match &route.destination {
                Destination::Tag { tag, prefixes, routable } => {
                    let (tag, prefixes) = (tag.clone(), families(prefixes));
                    let destination = Destination::Tag { tag, prefixes, routable: *routable };
                    Route { destination, ..route.clone() }
                }
                Destination::Prefix(_) => route.clone(),
            })
            .collect();
        let security = self
            .security
            .iter()
            .filter(|rule| of_profile(&rule.profile))
            .filter_map(|rule| match &rule.peer {
                Peer::Tag(_) => Some(rule.clone()),
                Peer::Prefixes(prefixes) => {
                    let prefixes = families(prefixes);
                    (!prefixes.is_empty())
                        .then(|| SecurityRule { peer: Peer::Prefixes(prefixes), ..rule.clone() })
                }
            })
            .collect();
        Self { groups, rules, routes, security }
    }
}
