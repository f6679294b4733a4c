//! The vendor-neutral rules: address groups, allow rules, routes and security rules.
//!
//! Owns the value that every dialect renders, its canonical digest, its JSON form, and the difference of two.
//! Promises: equal rule sets have equal digests whatever publication they came from; a rule never has a family
//! in which its own end is empty (it would admit anyone).

mod change;
mod difference;
mod document;
mod part;
mod surplus;

use std::borrow::Cow;

use ipnet::IpNet;

use crate::config::{Comment, Direction, Families, HostName, Interface, Name, Protocol, Service};
use crate::intent::{Intent, RouteDestination, RoutePurpose, SecurityPeer};
use crate::prefix::PrefixSet;
use crate::selection::Selection;
use crate::snapshot::{Cloud, Digest, TagName, digest::Hasher};

pub use change::{Moved, RuleSetChange};
pub use difference::{Difference, GroupChange, SpaceChange, Whole};
pub use document::{DocumentError, FORMAT, read as read_document, write as write_document};
pub use surplus::Surplus;

pub use crate::prefix::Family;

/// Everything that is let through, and the routes and security rules beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSet {
    /// Address groups, by name.
    pub groups: Vec<AddressGroup>,
    /// Allow rules, by name.
    pub rules: Vec<AllowRule>,
    /// User-defined routes with next hop Internet.
    pub routes: Vec<Route>,
    /// Rules of network security groups.
    pub security: Vec<SecurityRule>,
}

/// A named set of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressGroup {
    /// Its name.
    pub name: Name,
    /// The cloud of its tags; none for a group without tags.
    pub cloud: Option<Cloud>,
    /// Its tags as published, by name.
    pub tags: Vec<TagName>,
    /// The space of its tags and prefixes, aggregated; where it is fitted into fewer prefixes, with the surplus.
    pub prefixes: PrefixSet,
    /// The part of it that nobody published: what lies between, where `fit` asks for fewer prefixes.
    pub surplus: PrefixSet,
    /// Hostnames whose addresses belong to it.
    pub hosts: Vec<HostName>,
    /// The addresses by which the hostnames are known, aggregated.
    pub resolved: PrefixSet,
    /// The hostnames, wildcards apart, for which no address is known.
    pub unresolved: Vec<HostName>,
    /// The profile it comes from.
    pub profile: Option<Name>,
}

impl AddressGroup {
    /// All of its space that is known: that of tags and prefixes, and the addresses of its hostnames.
    pub fn space(&self) -> Cow<'_, PrefixSet> {
        if self.resolved.is_empty() {
            Cow::Borrowed(&self.prefixes)
        } else {
            Cow::Owned(self.prefixes.union(&self.resolved))
        }
    }
}

/// Lets new connections through between own prefixes and a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowRule {
    /// Its name.
    pub name: Name,
    /// Which way connections are opened.
    pub direction: Direction,
    /// Own prefixes.
    pub own: PrefixSet,
    /// The remote group.
    pub group: Name,
    /// Protocols and ports, sorted and joined.
    pub services: Vec<Service>,
    /// Interfaces towards the internet; empty: those of the target.
    pub interfaces: Vec<Interface>,
    /// Log new connections.
    pub log: bool,
    /// The user's comment.
    pub comment: Option<Comment>,
    /// The profile it comes from.
    pub profile: Option<Name>,
}

/// A user-defined route with next hop Internet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its name.
    pub name: Name,
    /// Where to.
    pub destination: Destination,
    /// What for.
    pub purpose: RoutePurpose,
    /// The profile it comes from.
    pub profile: Name,
}

/// Where a route leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A service tag, with its prefixes for those who cannot route to tags.
    Tag {
        /// The tag as published.
        tag: TagName,
        /// Its space.
        prefixes: PrefixSet,
        /// Whether the publication says that it may be a route's destination.
        routable: bool,
    },
    /// A prefix.
    Prefix(IpNet),
}

/// A rule of a network security group; the near side is the tag VirtualNetwork.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityRule {
    /// Its name.
    pub name: Name,
    /// Which way.
    pub direction: Direction,
    /// The far side.
    pub peer: Peer,
    /// The protocol.
    pub protocol: Protocol,
    /// The ports, of that protocol.
    pub services: Vec<Service>,
    /// What it is for.
    pub purpose: String,
    /// The profile it comes from.
    pub profile: Name,
}

/// The far side of a security rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A service tag, or one of AzureLoadBalancer, VirtualNetwork and Internet.
    Tag(TagName),
    /// Prefixes of one family.
    Prefixes(PrefixSet),
}

/// One rule in one family and protocol: what most dialects write as one line.
#[derive(Debug, Clone)]
pub struct Flow<'r> {
    /// The rule.
    pub rule: &'r AllowRule,
    /// Its remote group.
    pub group: &'r AddressGroup,
    /// The family.
    pub family: Family,
    /// The protocol.
    pub protocol: Protocol,
    /// Own prefixes of the family; never empty.
    pub own: Vec<IpNet>,
    /// Ports of the protocol; never empty.
    pub ports: Vec<crate::config::Ports>,
}

impl RuleSet {
    /// Whether another rule set differs in nothing but the addresses that hostnames were answered with.
    pub fn is_equal_but_for_answers(&self, other: &Self) -> bool {
        let Self { groups, rules, routes, security } = self;
        let same = |(one, other): (&AddressGroup, &AddressGroup)| {
            let (resolved, unresolved) = (other.resolved.clone(), other.unresolved.clone());
            *other == AddressGroup { resolved, unresolved, ..one.clone() }
        };
        (rules, routes, security) == (&other.rules, &other.routes, &other.security)
            && groups.len() == other.groups.len()
            && groups.iter().zip(&other.groups).all(same)
    }

    /// Joins what is asked for with what was selected.
    pub fn build(intent: &Intent, selection: &Selection) -> Self {
        let groups = intent
            .groups
            .iter()
            .map(|spec| {
                let selected = selection.groups.get(&spec.name).cloned().unwrap_or_default();
                AddressGroup {
                    name: spec.name.clone(),
                    cloud: (!selected.tags.is_empty()).then_some(spec.cloud),
                    tags: selected.tags,
                    prefixes: selected.prefixes,
                    surplus: selected.surplus,
                    hosts: spec.hosts.clone(),
                    resolved: selected.resolved,
                    unresolved: selected.unresolved,
                    profile: spec.profile.clone(),
                }
            })
            .collect();
        let rules = intent
            .rules
            .iter()
            .map(|spec| AllowRule {
                name: spec.name.clone(),
                direction: spec.direction,
                own: spec.own.clone(),
                group: spec.group.clone(),
                services: spec.services.clone(),
                interfaces: spec.interfaces.clone(),
                log: spec.log,
                comment: spec.comment.clone(),
                profile: spec.profile.clone(),
            })
            .collect();
        let routes = intent
            .routes
            .iter()
            .filter_map(|spec| {
                let destination = match &spec.destination {
                    RouteDestination::Prefix(prefix) => Destination::Prefix(*prefix),
                    RouteDestination::Tag { cloud, tag } => {
                        let found = selection.route_tags.get(&(*cloud, tag.clone()))?;
                        Destination::Tag {
                            tag: found.name.clone(),
                            prefixes: found.prefixes.clone(),
                            routable: found.routable,
                        }
                    }
                };
                let (name, profile) = (spec.name.clone(), spec.profile.clone());
                Some(Route { name, destination, purpose: spec.purpose, profile })
            })
            .collect();
        let security = intent
            .security
            .iter()
            .filter_map(|spec| {
                let peer = match &spec.peer {
                    SecurityPeer::Tag(tag) => Peer::Tag(tag.clone()),
                    SecurityPeer::Prefixes(prefixes) => Peer::Prefixes(prefixes.clone()),
                    SecurityPeer::ServiceInRegion { cloud, service, region } => {
                        let key = (*cloud, *service, region.clone());
                        Peer::Tag(selection.region_tags.get(&key)?.clone())
                    }
                };
                Some(SecurityRule {
                    name: spec.name.clone(),
                    direction: spec.direction,
                    peer,
                    protocol: spec.protocol,
                    services: spec.services.clone(),
                    purpose: spec.purpose.to_owned(),
                    profile: spec.profile.clone(),
                })
            })
            .collect();
        Self { groups, rules, routes, security }
    }

    /// The group of this name.
    pub fn group(&self, name: &Name) -> Option<&AddressGroup> {
        self.groups.iter().find(|group| group.name == *name)
    }

    /// Every rule in every family and protocol in which it lets something through (or will, once its hostnames
    /// are resolved). A family in which the own end is empty gives none: see [`RuleSet::gaps`].
    pub fn flows(&self, families: Families) -> Vec<Flow<'_>> {
        let mut flows = Vec::new();
        for rule in &self.rules {
            let Some(group) = self.group(&rule.group) else { continue };
            for family in Family::ALL {
                let wanted = match family {
                    Family::V4 => families.v4(),
                    Family::V6 => families.v6(),
                };
                let own: Vec<IpNet> = family.of(&rule.own).iter().collect();
                let remote = !family.of(&group.prefixes).is_empty() || !group.hosts.is_empty();
                if !wanted || own.is_empty() || !remote {
                    continue;
                }
                for protocol in Protocol::ALL {
                    let ports: Vec<_> = rule
                        .services
                        .iter()
                        .filter(|service| service.protocol == protocol)
                        .map(|service| service.ports)
                        .collect();
                    if !ports.is_empty() {
                        let own = own.clone();
                        flows.push(Flow { rule, group, family, protocol, own, ports });
                    }
                }
            }
        }
        flows
    }

    /// What is left out and why, for the summary: families without a source, hostnames not yet resolved.
    pub fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        for family in Family::ALL {
            let without: Vec<&str> = self
                .rules
                .iter()
                .filter(|rule| family.of(&rule.own).is_empty())
                .filter(|rule| {
                    self.group(&rule.group)
                        .is_some_and(|group| !family.of(&group.space()).is_empty())
                })
                .map(|rule| rule.name.as_str())
                .collect();
            if !without.is_empty() {
                gaps.push(format!(
                    "no {} rule for {}, whose own end has no {} prefix",
                    family.name(),
                    without.join(", "),
                    family.name()
                ));
            }
        }
        for group in self.groups.iter().filter(|group| !group.hosts.is_empty()) {
            let wildcards: Vec<_> = group.hosts.iter().filter(|host| host.is_wildcard()).collect();
            let names: Vec<_> = group.unresolved.iter().collect();
            let join = |hosts: &[&HostName]| {
                hosts.iter().map(|host| host.as_str()).collect::<Vec<_>>().join(" ")
            };
            if !names.is_empty() {
                gaps.push(format!("group {}: not yet resolved: {}", group.name, join(&names)));
            }
            if !wildcards.is_empty() {
                gaps.push(format!(
                    "group {}: not covered where a dialect has no wildcards: {}",
                    group.name,
                    join(&wildcards)
                ));
            }
        }
        gaps
    }

    /// SHA-256 over the canonical content. Where the addresses came from does not count, so a publication that
    /// changes nothing here changes no artifact.
    pub fn digest(&self) -> Digest {
        let mut hash = Hasher::new("tagwall rule set v1");
        hash.number(self.groups.len() as u64);
        for group in &self.groups {
            hash.text(group.name.as_str());
            hash.text(group.cloud.map_or("", Cloud::name));
            hash.texts(group.tags.iter().map(TagName::as_str));
            hash.prefixes(group.prefixes.v4(), group.prefixes.v6());
            hash.texts(group.hosts.iter().map(HostName::as_str));
            hash.prefixes(group.resolved.v4(), group.resolved.v6());
            hash.texts(group.unresolved.iter().map(HostName::as_str));
        }
        hash.number(self.rules.len() as u64);
        for rule in &self.rules {
            hash.text(rule.name.as_str());
            hash.text(rule.direction.name());
            hash.prefixes(rule.own.v4(), rule.own.v6());
            hash.text(rule.group.as_str());
            hash.texts(rule.services.iter().map(ToString::to_string));
            hash.texts(rule.interfaces.iter().map(Interface::as_str));
            hash.number(u64::from(rule.log));
            hash.text(rule.comment.as_ref().map_or("", Comment::as_str));
        }
        hash.number(self.routes.len() as u64);
        for route in &self.routes {
            hash.text(route.name.as_str());
            match &route.destination {
                Destination::Tag { tag, prefixes, routable } => {
                    hash.text(tag.as_str());
                    hash.prefixes(prefixes.v4(), prefixes.v6());
                    hash.number(u64::from(*routable));
                }
                Destination::Prefix(prefix) => hash.text(&prefix.to_string()),
            }
            hash.text(route.purpose.describe());
        }
        hash.number(self.security.len() as u64);
        for rule in &self.security {
            hash.text(rule.name.as_str());
            hash.text(rule.direction.name());
            match &rule.peer {
                Peer::Tag(tag) => hash.text(tag.as_str()),
                Peer::Prefixes(prefixes) => hash.prefixes(prefixes.v4(), prefixes.v6()),
            }
            hash.text(rule.protocol.name());
            hash.texts(rule.services.iter().map(ToString::to_string));
        }
        // Behind all else, so that rules without it have the digest that they had before there was any.
        for group in self.groups.iter().filter(|group| !group.surplus.is_empty()) {
            hash.text(group.name.as_str());
            hash.prefixes(group.surplus.v4(), group.surplus.v6());
        }
        hash.finish()
    }
}
