//! What every template is given, whatever the dialect (docs/templates.md describes it).

use ipnet::{Ipv4Net, Ipv6Net};
use serde::Serialize;

use super::Job;
use crate::config::{Direction, Families, HostName, Name};
use crate::prefix::{PrefixSet, text};
use crate::ruleset::{
    AddressGroup, AllowRule, Destination, Family, Flow, Peer, Route, SecurityRule,
};

/// Version of the artifacts' form: it rises when a file's meaning would be read otherwise than before.
pub const ARTIFACT_FORMAT: u32 = 1;

/// Where a header line that lists names goes on in another, in characters; one name may stand out.
const HEADER_WIDTH: usize = 120;

/// A group as templates see it.
#[derive(Debug, Serialize)]
pub(super) struct GroupContext {
    pub(super) name: String,
    pub(super) cloud: Option<&'static str>,
    pub(super) tags: Vec<String>,
    /// IPv4 prefixes, one a line.
    pub(super) v4: String,
    pub(super) v4_count: usize,
    /// IPv6 prefixes, one a line.
    pub(super) v6: String,
    pub(super) v6_count: usize,
    /// Hostnames that can be resolved.
    pub(super) hosts: Vec<String>,
    /// Those of them whose addresses are not known; empty where the firewall resolves names itself.
    pub(super) unresolved: Vec<String>,
    /// Wildcards such as `*.example.com`.
    pub(super) wildcards: Vec<String>,
}

impl GroupContext {
    pub(super) fn of(group: &AddressGroup) -> Self {
        let (wildcards, hosts): (Vec<_>, Vec<_>) =
            group.hosts.iter().partition(|host| host.is_wildcard());
        let texts = |hosts: Vec<&HostName>| hosts.iter().map(ToString::to_string).collect();
        Self {
            name: group.name.to_string(),
            cloud: group.cloud.map(crate::snapshot::Cloud::name),
            tags: group.tags.iter().map(ToString::to_string).collect(),
            v4: packed_nets(group.prefixes.v4(), &[]),
            v4_count: group.prefixes.v4().len(),
            v6: packed_nets(&[], group.prefixes.v6()),
            v6_count: group.prefixes.v6().len(),
            hosts: texts(hosts),
            unresolved: group.unresolved.iter().map(ToString::to_string).collect(),
            wildcards: texts(wildcards),
        }
    }
}

/// A rule in one family and protocol as templates see it.
#[derive(Debug, Serialize)]
pub(super) struct FlowContext {
    pub(super) rule: String,
    pub(super) group: String,
    pub(super) comment: Option<String>,
    /// `outbound` or `inbound`.
    pub(super) direction: &'static str,
    /// `ipv4` or `ipv6`.
    pub(super) family: &'static str,
    /// Own prefixes.
    pub(super) own: Vec<String>,
    /// `tcp` or `udp`.
    pub(super) protocol: &'static str,
    /// Ports and ranges: `443`, `8000-8010`.
    pub(super) ports: Vec<String>,
    /// Interfaces towards the internet; empty for any.
    pub(super) interfaces: Vec<String>,
    pub(super) log: bool,
}

impl FlowContext {
    pub(super) fn of(flow: &Flow<'_>, egress: &[crate::config::Interface]) -> Self {
        let interfaces =
            if flow.rule.interfaces.is_empty() { egress } else { &flow.rule.interfaces };
        Self {
            rule: flow.rule.name.to_string(),
            group: flow.group.name.to_string(),
            comment: flow.rule.comment.as_ref().map(ToString::to_string),
            direction: flow.rule.direction.name(),
            family: match flow.family {
                Family::V4 => "ipv4",
                Family::V6 => "ipv6",
            },
            own: flow.own.iter().map(ToString::to_string).collect(),
            protocol: flow.protocol.name(),
            ports: flow.ports.iter().map(ToString::to_string).collect(),
            interfaces: interfaces.iter().map(ToString::to_string).collect(),
            log: flow.rule.log,
        }
    }

    pub(super) fn is_outbound(&self) -> bool {
        self.direction == Direction::Outbound.name()
    }
}

/// A rule as templates see it; [`FlowContext`] is the same by family and protocol.
#[derive(Debug, Serialize)]
pub(super) struct RuleContext {
    pub(super) name: String,
    pub(super) group: String,
    /// `outbound` or `inbound`.
    pub(super) direction: &'static str,
    /// Own IPv4 prefixes.
    pub(super) own_v4: Vec<String>,
    /// Own IPv6 prefixes.
    pub(super) own_v6: Vec<String>,
    /// Protocols and ports: `tcp/443`, `udp/8000-8010`.
    pub(super) services: Vec<String>,
    /// Interfaces towards the internet; empty for any.
    pub(super) interfaces: Vec<String>,
    pub(super) log: bool,
    pub(super) comment: Option<String>,
    pub(super) profile: Option<String>,
}

impl RuleContext {
    fn of(rule: &AllowRule) -> Self {
        Self {
            name: rule.name.to_string(),
            group: rule.group.to_string(),
            direction: rule.direction.name(),
            own_v4: rule.own.v4().iter().map(ToString::to_string).collect(),
            own_v6: rule.own.v6().iter().map(ToString::to_string).collect(),
            services: rule.services.iter().map(ToString::to_string).collect(),
            interfaces: rule.interfaces.iter().map(ToString::to_string).collect(),
            log: rule.log,
            comment: rule.comment.as_ref().map(ToString::to_string),
            profile: rule.profile.as_ref().map(ToString::to_string),
        }
    }
}

/// A route with next hop Internet as templates see it.
#[derive(Debug, Serialize)]
pub(super) struct RouteContext {
    pub(super) name: String,
    /// The service tag that it leads to; none for a prefix.
    pub(super) tag: Option<String>,
    /// Whether the destination may be that of a route in Azure; true for a prefix.
    pub(super) routable: bool,
    /// The prefixes of the tag, or the prefix: IPv4, one a line.
    pub(super) v4: String,
    /// The same in IPv6.
    pub(super) v6: String,
    /// What it is for, in words.
    pub(super) purpose: &'static str,
    pub(super) profile: String,
}

impl RouteContext {
    fn of(route: &Route) -> Self {
        let (tag, routable, prefixes) = match &route.destination {
            Destination::Tag { tag, prefixes, routable } => {
                (Some(tag.to_string()), *routable, prefixes.clone())
            }
            Destination::Prefix(prefix) => (None, true, PrefixSet::from_iter([*prefix])),
        };
        Self {
            name: route.name.to_string(),
            tag,
            routable,
            v4: packed_nets(prefixes.v4(), &[]),
            v6: packed_nets(&[], prefixes.v6()),
            purpose: route.purpose.describe(),
            profile: route.profile.to_string(),
        }
    }
}

/// A rule of a network security group as templates see it.
#[derive(Debug, Serialize)]
pub(super) struct SecurityContext {
    pub(super) name: String,
    /// `outbound` or `inbound`.
    pub(super) direction: &'static str,
    /// The service tag on the far side; none for prefixes.
    pub(super) tag: Option<String>,
    /// IPv4 prefixes on the far side, one a line.
    pub(super) v4: String,
    /// The same in IPv6.
    pub(super) v6: String,
    /// `tcp` or `udp`.
    pub(super) protocol: &'static str,
    /// Ports and ranges.
    pub(super) ports: Vec<String>,
    /// What it is for, in words.
    pub(super) purpose: String,
    pub(super) profile: String,
}

impl SecurityContext {
    fn of(rule: &SecurityRule) -> Self {
        let (tag, prefixes) = match &rule.peer {
            Peer::Tag(tag) => (Some(tag.to_string()), PrefixSet::new()),
            Peer::Prefixes(prefixes) => (None, prefixes.clone()),
        };
        Self {
            name: rule.name.to_string(),
            direction: rule.direction.name(),
            tag,
            v4: packed_nets(prefixes.v4(), &[]),
            v6: packed_nets(&[], prefixes.v6()),
            protocol: rule.protocol.name(),
            ports: rule.services.iter().map(|service| service.ports.to_string()).collect(),
            purpose: rule.purpose.clone(),
            profile: rule.profile.to_string(),
        }
    }
}

impl Job<'_> {
    /// How many prefixes the target carries, over all groups.
    pub(super) fn prefix_count(&self) -> usize {
        self.part.groups.iter().map(|group| group.prefixes.len()).sum()
    }

    /// The rules of the target's part, in order.
    pub(super) fn rules(&self) -> Vec<RuleContext> {
        self.part.rules.iter().map(RuleContext::of).collect()
    }

    /// The routes of the target's part, in order.
    pub(super) fn routes(&self) -> Vec<RouteContext> {
        self.part.routes.iter().map(RouteContext::of).collect()
    }

    /// The security rules of the target's part, in order.
    pub(super) fn security(&self) -> Vec<SecurityContext> {
        self.part.security.iter().map(SecurityContext::of).collect()
    }

    /// The lines that every artifact starts with, where its format has comments. The names that
    /// are missing are listed.
    pub(super) fn header(&self) -> Vec<String> {
        let mut lines = vec![
            format!(
                "Made by tagwall; changes made here are overwritten. Format {ARTIFACT_FORMAT}."
            ),
            format!("target {}, rule set {}", self.name, self.digest),
        ];
        for group in &self.part.groups {
            // Where the firewall resolves names itself, none is unresolved.
            let unresolved = group.unresolved.iter().collect();
            let wildcards = if self.takes_wildcards {
                Vec::new()
            } else {
                group.hosts.iter().filter(|host| host.is_wildcard()).collect()
            };
            lines.extend(listed(&group.name, "not yet resolved", unresolved));
            lines.extend(listed(&group.name, "not covered (wildcard)", wildcards));
        }
        lines
    }

    /// The groups of the target's part, in order.
    pub(super) fn groups(&self) -> impl Iterator<Item = GroupContext> {
        self.part.groups.iter().map(GroupContext::of)
    }

    /// The flows of the target's part in these families, with the target's interfaces where a rule names none.
    pub(super) fn flows(
        &self,
        families: Families,
        egress: &[crate::config::Interface],
    ) -> Vec<FlowContext> {
        self.part.flows(families).iter().map(|flow| FlowContext::of(flow, egress)).collect()
    }
}

/// Names of a group in as many header lines as they need: ipset reads no line longer than 1,023 characters, a comment
/// neither.
fn listed(group: &Name, what: &str, names: Vec<&HostName>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for name in names {
        if line.len() + 1 + name.as_str().len() > HEADER_WIDTH {
            lines.push(std::mem::take(&mut line));
        }
        if line.is_empty() {
            line = format!("group {group}, {what}:");
        }
        line.push(' ');
        line.push_str(name.as_str());
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// The prefixes of a set as text, one a line.
pub(super) fn packed(set: &PrefixSet) -> String {
    packed_nets(set.v4(), set.v6())
}

/// Prefixes as text, one a line, for dialects that have an object for each and not only sets.
pub(super) fn packed_nets(v4: &[Ipv4Net], v6: &[Ipv6Net]) -> String {
    let mut text = String::with_capacity(v4.len() * 18 + v6.len() * 32);
    for net in v4 {
        text::push_v4(&mut text, *net);
        text.push('\n');
    }
    for net in v6 {
        text::push_v6(&mut text, *net);
        text.push('\n');
    }
    text
}

/// Prefixes in one text for the filter `each`, for dialects that have an object for each: a text of a megabyte, written at once,
/// is copied several times, each time into memory that the kernel has yet to give.
const NETS_A_BATCH: usize = 256;

/// The prefixes as text, one a line, some in each.
pub(super) fn batches(v4: &[Ipv4Net], v6: &[Ipv6Net]) -> Vec<String> {
    let v4 = v4.chunks(NETS_A_BATCH).map(|some| packed_nets(some, &[]));
    let v6 = v6.chunks(NETS_A_BATCH).map(|some| packed_nets(&[], some));
    v4.chain(v6).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_text_is_what_the_library_writes() {
        let nets = [
            "0.0.0.0/1",
            "192.0.2.0/24",
            "198.51.100.128/25",
            "255.255.255.255/32",
            "10.9.99.100/30",
        ];
        let set: PrefixSet = nets.iter().map(|net| net.parse::<ipnet::IpNet>().unwrap()).collect();
        let lines: Vec<String> = set.iter().map(|net| format!("{net}\n")).collect();
        assert_eq!(packed(&set), lines.concat());
    }
}
