//! Rule sets that between them have everything a template can meet: both families, one family, hostnames, wildcards, both
//! directions, several ports and protocols, logging, comments, routes, security rules, and nothing at all.

use crate::config::{Comment, Direction, HostName, Interface, Name, Protocol, Service};
use crate::intent::RoutePurpose;
use crate::prefix::PrefixSet;
use crate::ruleset::{AddressGroup, AllowRule, Destination, Peer, Route, RuleSet, SecurityRule};
use crate::snapshot::{Cloud, TagName};

/// The samples.
pub(super) fn rule_sets() -> Vec<RuleSet> {
    vec![full(), one_family("192.0.2.0/24"), one_family("2001:db8::/32"), RuleSet::default()]
}

fn full() -> RuleSet {
    let dual = prefixes(&["192.0.2.0/24", "198.51.100.0/25", "2001:db8::/48", "2001:db8:2::/47"]);
    let addresses = prefixes(&["203.0.113.7/32", "2001:db8:7::7/128"]);
    let group = |text: &str, prefixes: &PrefixSet, hosts: &[&str]| AddressGroup {
        name: name(text),
        cloud: (!prefixes.is_empty()).then_some(Cloud::Example),
        tags: if prefixes.is_empty() { Vec::new() } else { vec![tag("Storage.WestEurope")] },
        prefixes: prefixes.clone(),
        surplus: PrefixSet::new(),
        hosts: hosts.iter().filter_map(|host| host.parse::<HostName>().ok()).collect(),
        resolved: if hosts.is_empty() { PrefixSet::new() } else { addresses.clone() },
        unresolved: Vec::new(),
        profile: Some(name("sample")),
    };
    let own = prefixes(&["10.20.0.0/24", "10.21.0.0/24", "fd00:20::/64"]);
    let rule = |text: &str, group: &str, direction, services: &[&str], log| AllowRule {
        name: name(text),
        direction,
        own: own.clone(),
        group: name(group),
        services: services.iter().filter_map(|text| text.parse::<Service>().ok()).collect(),
        interfaces: if log { vec![interface("wan0"), interface("ppp*")] } else { Vec::new() },
        log,
        comment: log.then(|| comment("CHG-1234")),
        profile: Some(name("sample")),
    };
    let route = |text: &str, destination, purpose| Route {
        name: name(text),
        destination,
        purpose,
        profile: name("sample"),
    };
    let security = |text: &str, direction, peer, protocol, service: &str| SecurityRule {
        name: name(text),
        direction,
        peer,
        protocol,
        services: service.parse::<Service>().into_iter().collect(),
        purpose: "sample".to_owned(),
        profile: name("sample"),
    };
    let control =
        Destination::Tag { tag: tag("ApiManagement"), prefixes: dual.clone(), routable: true };
    RuleSet {
        groups: vec![
            group("dual", &dual, &[]),
            group("hosts", &PrefixSet::new(), &["host.example.com", "*.example.com"]),
            group("mixed", &dual, &["other.example.com"]),
        ],
        rules: vec![
            rule(
                "many-ports",
                "dual",
                Direction::Outbound,
                &["tcp/443", "tcp/8000-8010", "udp/123"],
                true,
            ),
            rule("hosts", "hosts", Direction::Outbound, &["tcp/443"], false),
            rule("inbound", "mixed", Direction::Inbound, &["tcp/443"], false),
            rule("inbound-log", "dual", Direction::Inbound, &["udp/53", "udp/123"], true),
        ],
        routes: vec![
            route("control-plane", control, RoutePurpose::ControlPlane),
            route("client", Destination::Prefix(net("203.0.113.10/32")), RoutePurpose::Client),
            route("client-ipv6", Destination::Prefix(net("2001:db8:9::/64")), RoutePurpose::Client),
            route("kms", Destination::Prefix(net("203.0.113.224/32")), RoutePurpose::Kms),
        ],
        security: vec![
            security(
                "in",
                Direction::Inbound,
                Peer::Tag(tag("ApiManagement")),
                Protocol::Tcp,
                "tcp/3443",
            ),
            security(
                "out",
                Direction::Outbound,
                Peer::Prefixes(prefixes(&["203.0.113.224/32"])),
                Protocol::Udp,
                "udp/123",
            ),
            SecurityRule {
                services: vec![Service::tcp(80), Service::tcp(443)],
                ..security(
                    "in-many",
                    Direction::Inbound,
                    Peer::Prefixes(dual),
                    Protocol::Tcp,
                    "tcp/80",
                )
            },
        ],
    }
}

fn one_family(text: &str) -> RuleSet {
    let mut sample = full();
    let only = prefixes(&[text]);
    for group in &mut sample.groups {
        group.prefixes = if group.prefixes.is_empty() { PrefixSet::new() } else { only.clone() };
        group.hosts.clear();
        group.resolved = PrefixSet::new();
    }
    let own = if only.v4().is_empty() { "fd00:20::/64" } else { "10.20.0.0/24" };
    for rule in &mut sample.rules {
        rule.own = prefixes(&[own]);
    }
    // With the full sample before this one, something has gone and what follows it moves.
    sample.routes.remove(0);
    sample.security.remove(0);
    sample
}

fn prefixes(texts: &[&str]) -> PrefixSet {
    texts.iter().map(|text| net(text)).collect()
}

#[expect(clippy::expect_used, reason = "constants of this file, all used by every call")]
fn net(text: &str) -> ipnet::IpNet {
    text.parse().expect("a sample prefix is well-formed")
}

#[expect(clippy::expect_used, reason = "constants of this file, all used by every call")]
fn name(text: &str) -> Name {
    text.parse().expect("a sample name is well-formed")
}

#[expect(clippy::expect_used, reason = "constants of this file, all used by every call")]
fn interface(text: &str) -> Interface {
    text.parse().expect("a sample interface is well-formed")
}

#[expect(clippy::expect_used, reason = "constants of this file, all used by every call")]
fn comment(text: &str) -> Comment {
    text.parse().expect("a sample comment is well-formed")
}

#[expect(clippy::expect_used, reason = "constants of this file, all used by every call")]
fn tag(text: &str) -> TagName {
    TagName::new(text).expect("a sample tag is well-formed")
}
