//! What every template is given, whatever the dialect (docs/templates.md describes it).

use std::fmt::Write as _;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Serialize;

use super::Job;
use crate::config::{Direction, Families};
use crate::prefix::PrefixSet;
use crate::ruleset::{AddressGroup, Family, Flow};

/// Version of the artifacts' form: it rises when a file's meaning would be read otherwise than before.
pub const ARTIFACT_FORMAT: u32 = 1;

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
    /// Wildcards such as `*.example.com`.
    pub(super) wildcards: Vec<String>,
}

impl GroupContext {
    pub(super) fn of(group: &AddressGroup) -> Self {
        let (wildcards, hosts): (Vec<_>, Vec<_>) =
            group.hosts.iter().partition(|host| host.is_wildcard());
        let texts =
            |hosts: Vec<&crate::config::HostName>| hosts.iter().map(ToString::to_string).collect();
        Self {
            name: group.name.to_string(),
            cloud: group.cloud.map(crate::snapshot::Cloud::name),
            tags: group.tags.iter().map(ToString::to_string).collect(),
            v4: packed(&group.prefixes.only_v4()),
            v4_count: group.prefixes.v4().len(),
            v6: packed(&group.prefixes.only_v6()),
            v6_count: group.prefixes.v6().len(),
            hosts: texts(hosts),
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

impl Job<'_> {
    /// The lines that every artifact starts with, where its format has comments. `resolves` says whether the dialect takes
    /// hostnames by itself; otherwise the names that are missing are listed.
    pub(super) fn header(&self, resolves: bool) -> Vec<String> {
        let mut lines = vec![
            format!(
                "Made by tagwall; changes made here are overwritten. Format {ARTIFACT_FORMAT}."
            ),
            format!("target {}, rule set {}", self.name, self.digest),
        ];
        if !resolves {
            for group in self.part.groups.iter().filter(|group| !group.hosts.is_empty()) {
                let (wildcards, hosts): (Vec<_>, Vec<_>) =
                    group.hosts.iter().partition(|host| host.is_wildcard());
                for (what, names) in
                    [("not yet resolved", hosts), ("not covered (wildcard)", wildcards)]
                {
                    if !names.is_empty() {
                        let names: Vec<_> = names.iter().map(|host| host.as_str()).collect();
                        lines.push(format!("group {}, {what}: {}", group.name, names.join(" ")));
                    }
                }
            }
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

/// Writes a prefix as [`packed`] does.
pub(super) fn push_net(text: &mut String, net: IpNet) {
    match net {
        IpNet::V4(net) => push_v4(text, net),
        IpNet::V6(net) => push_v6(text, net),
    }
}

/// The prefixes of a set as text, one a line.
pub(super) fn packed(set: &PrefixSet) -> String {
    let mut text = String::with_capacity(set.v4().len() * 18 + set.v6().len() * 32);
    for net in set.v4() {
        push_v4(&mut text, *net);
        text.push('\n');
    }
    for net in set.v6() {
        push_v6(&mut text, *net);
        text.push('\n');
    }
    text
}

fn push_v4(text: &mut String, net: Ipv4Net) {
    // The standard library's formatting costs as much as all the rest of a rendering.
    let mut separator = None;
    for octet in net.addr().octets() {
        text.extend(separator);
        push_number(text, octet);
        separator = Some('.');
    }
    text.push('/');
    push_number(text, net.prefix_len());
}

fn push_v6(text: &mut String, net: Ipv6Net) {
    _ = write!(text, "{net}");
}

fn push_number(text: &mut String, number: u8) {
    let digit = |value: u8| char::from(b'0' + value);
    if number >= 100 {
        text.push(digit(number / 100));
    }
    if number >= 10 {
        text.push(digit(number / 10 % 10));
    }
    text.push(digit(number % 10));
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
        let set: PrefixSet = nets.iter().map(|net| net.parse::<IpNet>().unwrap()).collect();
        let expected: String = set.iter().map(|net| format!("{net}\n")).collect();
        assert_eq!(packed(&set), expected);
        for number in 0..=u8::MAX {
            let mut text = String::new();
            push_number(&mut text, number);
            assert_eq!(text, number.to_string());
        }
    }
}
