//! The JSON form of a rule set: what the json target writes, and what `--previous` reads back.
//!
//! The format is versioned ([`FORMAT`]) and described in docs/json.md. It carries no date and no change number, so
//! equal rule sets give equal bytes. Reading is strict: a file that was edited by hand is checked like any other
//! input.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

use super::{AddressGroup, AllowRule, Destination, Peer, Route, RuleSet, SecurityRule};
use crate::config::{
    Comment, Direction, HostName, Interface, Name, Network, Ports, Protocol, Service, normalise,
};
use crate::intent::RoutePurpose;
use crate::prefix::{PrefixSet, text};
use crate::snapshot::{Cloud, Digest, TagName};

/// Name and version of the format. The version rises when a reader of the old one would misunderstand the new one.
pub const FORMAT: &str = "tagwall-ruleset/1";

/// Why a rule set's file cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Not JSON of this shape.
    #[error("not a rule set in JSON: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Another format or version.
    #[error("its format is `{0}`; this version reads {FORMAT}")]
    Format(String),
    /// A rule names a group that is not there.
    #[error("rule {rule} names the group {group}, which is not in the file")]
    UnknownGroup {
        /// The rule.
        rule: Name,
        /// The group.
        group: Name,
    },
    /// A rule's ends are not a group and prefixes.
    #[error(
        "rule {0}: one end is a list of prefixes and the other a group's name, by its direction"
    )]
    Ends(Name),
    /// The content does not have the digest that it says.
    #[error("the content has digest {actual}, but the file says {stated}: it was changed by hand")]
    Digest {
        /// What it says.
        stated: Digest,
        /// What it has.
        actual: Digest,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'r> {
    format: Cow<'r, str>,
    digest: Digest,
    provenance: Provenance,
    groups: Vec<GroupEntry<'r>>,
    rules: Vec<RuleEntry<'r>>,
    routes: Vec<RouteEntry<'r>>,
    security_rules: Vec<SecurityEntry<'r>>,
}

/// Where the content came from, as far as it does not change without the content.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Provenance {
    generator: Cow<'static, str>,
    clouds: Vec<Cloud>,
    profiles: Vec<Name>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupEntry<'r> {
    name: Cow<'r, Name>,
    cloud: Option<Cloud>,
    tags: Cow<'r, [TagName]>,
    v4: Vec<CidrText>,
    v6: Vec<CidrText>,
    hosts: Cow<'r, [HostName]>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    surplus_v4: Vec<CidrText>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    surplus_v6: Vec<CidrText>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    resolved_v4: Vec<CidrText>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    resolved_v6: Vec<CidrText>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unresolved: Vec<Cow<'r, HostName>>,
    profile: Option<Cow<'r, Name>>,
}

/// A prefix as text.
#[derive(Deserialize, Clone, Copy)]
#[serde(transparent)]
struct CidrText(Network);

impl Serialize for CidrText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        text::serialize(self.0.0, serializer)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry<'r> {
    name: Cow<'r, Name>,
    direction: Direction,
    source: End<'r>,
    destination: End<'r>,
    protocol: Protocol,
    ports: Vec<Ports>,
    interfaces: Cow<'r, [Interface]>,
    log: bool,
    comment: Option<Cow<'r, Comment>>,
    profile: Option<Cow<'r, Name>>,
}

/// One end of a rule: own prefixes in a list, or the name of a group.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum End<'r> {
    Prefixes(Vec<CidrText>),
    Group(Cow<'r, Name>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteEntry<'r> {
    name: Cow<'r, Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<Cow<'r, TagName>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    routable: Option<bool>,
    prefixes: Vec<CidrText>,
    next_hop: Cow<'static, str>,
    purpose: RoutePurpose,
    profile: Cow<'r, Name>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecurityEntry<'r> {
    name: Cow<'r, Name>,
    direction: Direction,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<Cow<'r, TagName>>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    prefixes: Vec<CidrText>,
    protocol: Protocol,
    ports: Vec<Ports>,
    purpose: Cow<'r, str>,
    profile: Cow<'r, Name>,
}

fn texts(set: &PrefixSet) -> Vec<CidrText> {
    set.iter().map(|prefix| CidrText(Network(prefix))).collect()
}

fn set(texts: &[CidrText]) -> PrefixSet {
    texts.iter().map(|text| text.0.0).collect()
}

/// Writes a rule set as JSON, with a newline at the end.
pub fn write(rule_set: &RuleSet) -> Vec<u8> {
    let document = of(rule_set);
    let prefixes: usize = rule_set.groups.iter().map(|group| group.prefixes.len()).sum();
    let mut bytes = Vec::with_capacity(4_096 + 40 * prefixes);
    // Serialising plain data into memory has no way to fail: no map has a key that is not a text.
    if serde_json::to_writer_pretty(&mut bytes, &document).is_err() {
        bytes.clear();
    }
    bytes.push(b'\n');
    bytes
}

fn of(rule_set: &RuleSet) -> Document<'_> {
    let mut clouds: Vec<Cloud> = rule_set.groups.iter().filter_map(|group| group.cloud).collect();
    clouds.sort_unstable();
    clouds.dedup();
    let mut profiles: Vec<Name> =
        rule_set.groups.iter().filter_map(|group| group.profile.clone()).collect();
    profiles.sort_unstable();
    profiles.dedup();
    Document {
        format: FORMAT.into(),
        digest: rule_set.digest(),
        provenance: Provenance { generator: "tagwall".into(), clouds, profiles },
        groups: rule_set.groups.iter().map(group_entry).collect(),
        rules: rule_set.rules.iter().flat_map(rule_entries).collect(),
        routes: rule_set.routes.iter().map(route_entry).collect(),
        security_rules: rule_set.security.iter().map(security_entry).collect(),
    }
}

fn group_entry(group: &AddressGroup) -> GroupEntry<'_> {
    GroupEntry {
        name: Cow::Borrowed(&group.name),
        cloud: group.cloud,
        tags: Cow::Borrowed(&group.tags),
        v4: texts(&group.prefixes.only_v4()),
        v6: texts(&group.prefixes.only_v6()),
        surplus_v4: texts(&group.surplus.only_v4()),
        surplus_v6: texts(&group.surplus.only_v6()),
        hosts: Cow::Borrowed(&group.hosts),
        resolved_v4: texts(&group.resolved.only_v4()),
        resolved_v6: texts(&group.resolved.only_v6()),
        unresolved: group.unresolved.iter().map(Cow::Borrowed).collect(),
        profile: group.profile.as_ref().map(Cow::Borrowed),
    }
}

/// One entry a protocol.
fn rule_entries(rule: &AllowRule) -> impl Iterator<Item = RuleEntry<'_>> {
    Protocol::ALL.into_iter().filter_map(move |protocol| {
        let ports: Vec<Ports> = rule
            .services
            .iter()
            .filter(|service| service.protocol == protocol)
            .map(|service| service.ports)
            .collect();
        let own = End::Prefixes(texts(&rule.own));
        let group = End::Group(Cow::Borrowed(&rule.group));
        let (source, destination) = match rule.direction {
            Direction::Outbound => (own, group),
            Direction::Inbound => (group, own),
        };
        (!ports.is_empty()).then(|| RuleEntry {
            name: Cow::Borrowed(&rule.name),
            direction: rule.direction,
            source,
            destination,
            protocol,
            ports,
            interfaces: Cow::Borrowed(&rule.interfaces),
            log: rule.log,
            comment: rule.comment.as_ref().map(Cow::Borrowed),
            profile: rule.profile.as_ref().map(Cow::Borrowed),
        })
    })
}

fn route_entry(route: &Route) -> RouteEntry<'_> {
    let (tag, routable, prefixes) = match &route.destination {
        Destination::Tag { tag, prefixes, routable } => {
            (Some(Cow::Borrowed(tag)), Some(*routable), texts(prefixes))
        }
        Destination::Prefix(prefix) => (None, None, vec![CidrText(Network(*prefix))]),
    };
    RouteEntry {
        name: Cow::Borrowed(&route.name),
        tag,
        routable,
        prefixes,
        next_hop: "Internet".into(),
        purpose: route.purpose,
        profile: Cow::Borrowed(&route.profile),
    }
}

fn security_entry(rule: &SecurityRule) -> SecurityEntry<'_> {
    let (tag, prefixes) = match &rule.peer {
        Peer::Tag(tag) => (Some(Cow::Borrowed(tag)), Vec::new()),
        Peer::Prefixes(prefixes) => (None, texts(prefixes)),
    };
    SecurityEntry {
        name: Cow::Borrowed(&rule.name),
        direction: rule.direction,
        tag,
        prefixes,
        protocol: rule.protocol,
        ports: rule.services.iter().map(|service| service.ports).collect(),
        purpose: Cow::Borrowed(&rule.purpose),
        profile: Cow::Borrowed(&rule.profile),
    }
}

/// Reads a rule set back.
pub fn read(bytes: &[u8]) -> Result<RuleSet, DocumentError> {
    #[derive(Deserialize)]
    struct Header {
        format: String,
    }
    let header: Header = serde_json::from_slice(bytes)?;
    if header.format != FORMAT {
        return Err(DocumentError::Format(crate::os::printable::printable(&header.format, 60)));
    }
    let document: Document<'_> = serde_json::from_slice(bytes)?;
    let groups: Vec<AddressGroup> = document
        .groups
        .into_iter()
        .map(|group| AddressGroup {
            name: group.name.into_owned(),
            cloud: group.cloud,
            tags: group.tags.into_owned(),
            prefixes: set(&group.v4).union(&set(&group.v6)),
            surplus: set(&group.surplus_v4).union(&set(&group.surplus_v6)),
            hosts: group.hosts.into_owned(),
            resolved: set(&group.resolved_v4).union(&set(&group.resolved_v6)),
            unresolved: group.unresolved.into_iter().map(Cow::into_owned).collect(),
            profile: group.profile.map(Cow::into_owned),
        })
        .collect();
    let mut rules: BTreeMap<Name, AllowRule> = BTreeMap::new();
    for entry in document.rules {
        let rule = read_rule(entry)?;
        if !groups.iter().any(|group| group.name == rule.group) {
            return Err(DocumentError::UnknownGroup { rule: rule.name, group: rule.group });
        }
        match rules.get_mut(&rule.name) {
            // The other protocol of a rule that has two.
            Some(known) => {
                known.services.extend_from_slice(&rule.services);
                known.services = normalise(&known.services);
            }
            None => {
                rules.insert(rule.name.clone(), rule);
            }
        }
    }
    let routes = document.routes.into_iter().filter_map(read_route).collect();
    let security = document.security_rules.into_iter().map(read_security).collect();
    let rule_set = RuleSet { groups, rules: rules.into_values().collect(), routes, security };
    let actual = rule_set.digest();
    if actual == document.digest {
        Ok(rule_set)
    } else {
        Err(DocumentError::Digest { stated: document.digest, actual })
    }
}

fn read_rule(entry: RuleEntry<'_>) -> Result<AllowRule, DocumentError> {
    let (own, remote) = match entry.direction {
        Direction::Outbound => (entry.source, entry.destination),
        Direction::Inbound => (entry.destination, entry.source),
    };
    let (End::Prefixes(own), End::Group(group)) = (own, remote) else {
        return Err(DocumentError::Ends(entry.name.into_owned()));
    };
    Ok(AllowRule {
        name: entry.name.into_owned(),
        direction: entry.direction,
        own: set(&own),
        group: group.into_owned(),
        services: entry
            .ports
            .into_iter()
            .map(|ports| Service { protocol: entry.protocol, ports })
            .collect(),
        interfaces: entry.interfaces.into_owned(),
        log: entry.log,
        comment: entry.comment.map(Cow::into_owned),
        profile: entry.profile.map(Cow::into_owned),
    })
}

fn read_route(entry: RouteEntry<'_>) -> Option<Route> {
    let destination = match entry.tag {
        Some(tag) => Destination::Tag {
            tag: tag.into_owned(),
            prefixes: set(&entry.prefixes),
            routable: entry.routable.unwrap_or(false),
        },
        None => Destination::Prefix(entry.prefixes.first()?.0.0),
    };
    let (name, profile) = (entry.name.into_owned(), entry.profile.into_owned());
    Some(Route { name, destination, purpose: entry.purpose, profile })
}

fn read_security(entry: SecurityEntry<'_>) -> SecurityRule {
    let protocol = entry.protocol;
    SecurityRule {
        name: entry.name.into_owned(),
        direction: entry.direction,
        peer: match entry.tag {
            Some(tag) => Peer::Tag(tag.into_owned()),
            None => Peer::Prefixes(set(&entry.prefixes)),
        },
        protocol,
        services: entry.ports.into_iter().map(|ports| Service { protocol, ports }).collect(),
        purpose: entry.purpose.into_owned(),
        profile: entry.profile.into_owned(),
    }
}
