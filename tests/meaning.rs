//! One meaning: whatever the dialect, the same connections are let through.
//!
//! A configuration that uses everything is rendered for every target; each target's files are loaded where a firewall is
//! at hand, read back, and compared as (direction, interface, own prefix, protocol, ports, remote addresses) with what
//! the json target says. A further dialect is one more reader in [`READERS`]. Lists that firewalls fetch hold the same groups.
#![allow(clippy::unwrap_used, reason = "to panic is how a test fails")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::meaning::{Chains, Meaning, Way};
use common::{Namespace, feeds, loaded};
use serde_json::Value;
use tagwall::prefix::PrefixSet;

/// Reads a target's folder back; none when the firewall is not at hand.
type Reader = fn(&Path) -> Option<Meaning>;

/// Every target whose rules can be read back.
const READERS: &[(&str, Reader)] = &[
    ("nft-own", nft_own),
    ("nft-own-reject", nft_own),
    ("nft-embed", nft_embed),
    ("iptables-ipset", iptables_ipset),
    ("iptables-ipset-return", iptables_ipset),
    ("iptables-plain", iptables_plain),
];

/// What targets are given for rules that name no interface.
const EGRESS: &[&str] = &["wan0", "ppp*"];

const TARGETS: &str = r#"
[targets.nft-own.nftables]
egress = ["wan0", "ppp*"]
[targets.nft-own-reject.nftables]
rest = "reject"
prefix = "az_"
egress = ["wan0", "ppp*"]
[targets.nft-embed.nftables]
mode = "embed"
table = "host"
egress = ["wan0", "ppp*"]
[targets.iptables-ipset.iptables]
rest = "drop"
egress = ["wan0", "ppp*"]
[targets.iptables-ipset-return.iptables]
chain = "AZURE"
egress = ["wan0", "ppp*"]
[targets.iptables-plain.iptables]
mode = "plain"
rest = "reject"
egress = ["wan0", "ppp*"]
[targets.list.list]
[targets.list-apart.list]
layout = "apart"
[targets.panos-edl.panos]
format = "edl"
from = ["azure"]
to = ["untrust"]
[targets.panos-edl.panos.lists]
max-lists = 100
base-url = "https://lists.example.com/panos-edl"
[targets.panos-edl-apart.panos]
format = "edl"
from = ["azure"]
to = ["untrust"]
[targets.panos-edl-apart.panos.lists]
max-lists = 100
base-url = "https://lists.example.com/panos-edl-apart"
families = "apart"
[targets.fortios-feed.fortios]
format = "feed"
version = "7.4.8"
url = "https://lists.example.com/fortios-feed"
first-policy-id = 7000
policy-count = 200
own-interfaces = ["azure"]
internet-interfaces = ["wan1"]
[targets.fortios-feed-apart.fortios]
format = "feed"
version = "7.4.8"
layout = "apart"
url = "https://lists.example.com/fortios-feed-apart"
first-policy-id = 7000
policy-count = 200
own-interfaces = ["azure"]
internet-interfaces = ["wan1"]
[targets.json.json]
"#;

const EVERYTHING: &str = r#"
[apim.prod]
regions = ["westeurope", "northeurope"]
network = "external"
tunnelled = ["0.0.0.0/0", "::/0"]
features = ["entra", "event-hubs", "connectors", "smtp", "captcha", "diagnostics", "kms"]
clients = ["203.0.113.10/32"]
dns = ["198.51.100.53", "2001:db8:53::53"]
ntp = ["198.51.100.123", "ntp.example.com"]
log = true
comment = "CHG-1234: it; has / characters"
[apim.prod.subnets]
westeurope = ["10.20.0.0/24", "fd00:20::/64"]
northeurope = ["10.21.0.0/24", "10.22.0.0/25"]

[groups.fixed]
prefixes = ["192.0.2.0/25", "192.0.2.128/26", "192.0.2.200/32", "2001:db8:7::/48", "2001:db8:9::1/128"]
[groups.regional]
tags = ["Storage"]
regions = ["westeurope", "francecentral"]
[groups.trimmed]
tags = ["Storage.WestEurope", "Sql.WestEurope"]
exclude = ["Sql.WestEurope", "192.0.2.0/24", "2001:db8:3:180::/64"]
[groups.with-prefix]
tags = ["AzureKeyVault"]
prefixes = ["198.51.100.0/24"]
[groups.only-ipv4]
tags = ["EventHub.WestEurope"]
families = "ipv4"
[groups.only-ipv6]
tags = ["EventHub.WestEurope"]
families = "ipv6"
[groups.mixed-with-a-name-that-is-too-long-for-iptables-and-for-ipset]
prefixes = ["198.51.100.7/32"]
hosts = ["a.example.com", "*.example.com"]
[groups.names]
hosts = ["only.example.com"]
[groups.unused]
prefixes = ["203.0.113.0/24"]

# More ports than one rule of iptables takes, singly and in ranges that touch one another.
[rules.many-ports]
source = ["10.30.0.0/24", "10.32.0.0/16", "fd00:30::/64", "fd00:31::/64"]
destination = "fixed"
services = [
  "tcp/22", "tcp/25", "tcp/80", "tcp/443", "tcp/465", "tcp/587", "tcp/993", "tcp/995", "tcp/1433", "tcp/1883",
  "tcp/3000-3010", "tcp/3011", "tcp/5671-5672", "tcp/8000-8010", "tcp/8080", "tcp/8443", "tcp/8883", "tcp/9000-9100",
  "tcp/9354", "tcp/65535", "udp/53", "udp/123", "udp/3478-3481", "udp/1",
]
log = true
comment = "everything at once"
[rules.second]
source = ["10.30.0.0/24"]
destination = "regional"
services = ["tcp/443"]
[rules.overlapping]
source = ["10.30.0.0/24"]
destination = "trimmed"
services = ["tcp/400-500"]
[rules.other-interfaces]
source = ["10.30.0.0/24", "10.40.0.0/24", "fd00:40::/64"]
destination = "with-prefix"
services = ["tcp/443", "udp/443"]
interfaces = ["wan1", "eth0.100"]
[rules.mixed]
source = ["10.30.0.0/24", "fd00:30::/64"]
destination = "mixed-with-a-name-that-is-too-long-for-iptables-and-for-ipset"
services = ["tcp/443"]
log = true
[rules.names]
source = ["10.30.0.0/24", "fd00:30::/64"]
destination = "names"
services = ["tcp/443"]
[rules.ipv4]
source = ["10.30.0.0/24", "fd00:30::/64"]
destination = "only-ipv4"
services = ["tcp/5671"]
[rules.ipv6]
source = ["10.30.0.0/24", "fd00:30::/64"]
destination = "only-ipv6"
services = ["tcp/5672"]
[rules.no-ipv6]
source = ["10.50.0.0/24"]
destination = "fixed"
services = ["tcp/443"]
[rules.in]
direction = "inbound"
source = "regional"
destination = ["10.30.0.0/24", "fd00:30::/64"]
services = ["tcp/443", "tcp/8000-8010", "udp/500"]
[rules.in-logged]
direction = "inbound"
source = "fixed"
destination = ["10.30.0.7/32", "10.60.0.0/24"]
services = ["udp/53"]
interfaces = ["wan1"]
log = true
comment = "in"
# As long as a name, a comment and an interface may be.
[rules.a-rule-whose-name-is-as-long-as-a-name-can-possibly-be-63-chars]
source = ["10.70.0.0/24", "fd00:70::/64"]
destination = "with-prefix"
services = ["tcp/443"]
interfaces = ["fifteen-letters", "wan2"]
log = true
comment = "one hundred characters, as many as a comment may have: ABCDEFGHIJKLMNOPQRSTUVWXYZ and 0123456789 ; !"
[rules.off]
source = ["10.99.0.0/24"]
destination = "fixed"
services = ["tcp/1"]
enabled = false
"#;

#[test]
fn every_dialect_means_the_same_with_the_example() {
    one_meaning("example", None);
}

#[test]
fn every_dialect_means_the_same_with_a_real_publication() {
    if let Some(publication) = feeds::real(feeds::NEWEST) {
        one_meaning("public", Some(&publication));
    }
}

fn one_meaning(cloud: &str, publication: Option<&Path>) {
    let folder = tempfile::tempdir().unwrap();
    let config = format!("cloud = \"{cloud}\"\n{EVERYTHING}\n{TARGETS}");
    let plan = feeds::render(&config, publication, folder.path());

    let text = std::fs::read(folder.path().join("json/ruleset.json")).unwrap();
    let document: Value = serde_json::from_slice(&text).unwrap();
    let expected = Meaning::of(loaded::json_facts(&document, EGRESS));
    // The configuration is what it says: both ways, both families, both protocols, and a lot.
    for way in [Way::Out, Way::In] {
        for v6 in [false, true] {
            for protocol in ["tcp", "udp"] {
                assert!(expected.has(way, v6, protocol), "{way:?} {v6} {protocol}");
            }
        }
    }
    assert!(expected.len() > 250, "{}", expected.len());

    let mut groups = loaded::json_groups(&document);
    assert_eq!(groups.len(), plan.rule_set.groups.len());
    groups.retain(|_, prefixes| !prefixes.is_empty());
    let apart: BTreeMap<String, PrefixSet> = groups
        .iter()
        .flat_map(|(name, all)| {
            [(format!("{name}-v4"), all.only_v4()), (format!("{name}-v6"), all.only_v6())]
        })
        .filter(|(_, prefixes)| !prefixes.is_empty())
        .collect();
    // What firewalls fetch: nothing but the groups, whichever firewall it is for.
    for target in ["list", "panos-edl", "fortios-feed"] {
        assert_eq!(loaded::lists(&folder.path().join(target)), groups, "{target}");
        let target = format!("{target}-apart");
        assert_eq!(loaded::lists(&folder.path().join(&target)), apart, "{target}");
    }

    for (target, read) in READERS {
        let Some(actual) = read(&folder.path().join(target)) else { continue };
        let differences = actual.differences(&expected);
        assert!(differences.is_empty(), "{target} and json differ:\n{}", differences.join("\n"));
        assert_eq!(actual, expected);
    }
}

fn nft_own(folder: &Path) -> Option<Meaning> {
    let namespace = Namespace::new(&["nft"])?;
    namespace.feed(&["nft", "-f", "-"], &folder.join("rules.nft"));
    let chains = loaded::nft_chains(&namespace.run(&["nft", "-j", "list", "ruleset"], b""));
    Some(Meaning::of(chains.facts("forward")))
}

fn nft_embed(folder: &Path) -> Option<Meaning> {
    const HOST: &str = "table inet host {
        chain azure {
        }
        chain forward {
            type filter hook forward priority 0; policy drop;
            jump azure
        }
    }";
    let namespace = Namespace::new(&["nft"])?;
    namespace.run(&["nft", "-f", "-"], HOST.as_bytes());
    namespace.feed(&["nft", "-f", "-"], &folder.join("rules.nft"));
    let chains = loaded::nft_chains(&namespace.run(&["nft", "-j", "list", "ruleset"], b""));
    Some(Meaning::of(chains.facts("forward")))
}

fn iptables_ipset(folder: &Path) -> Option<Meaning> {
    let namespace = Namespace::new(&["iptables", "ip6tables", "ipset"])?;
    namespace.feed(&["ipset", "restore"], &folder.join("sets.ipset"));
    Some(iptables(&namespace, folder))
}

fn iptables_plain(folder: &Path) -> Option<Meaning> {
    let namespace = Namespace::new(&["iptables", "ip6tables"])?;
    Some(iptables(&namespace, folder))
}

fn iptables(namespace: &Namespace, folder: &Path) -> Meaning {
    let sets = namespace.attempt(&["ipset", "save"], b"");
    let sets = loaded::ipset_sets(std::str::from_utf8(&sets.stdout).unwrap());
    let mut facts = Vec::new();
    for command in ["iptables", "ip6tables"] {
        let fragment = folder.join(format!("rules.{command}"));
        namespace.feed(&[&format!("{command}-restore"), "-n"], &fragment);
        // Hooked as the file's header says.
        let text = std::fs::read_to_string(&fragment).unwrap();
        let hook = text.lines().find(|line| line.contains("-I FORWARD")).unwrap();
        namespace.run(&["sh", "-c", hook.trim_start_matches('#')], b"");
        let saved = namespace.run(&[&format!("{command}-save"), "-t", "filter"], b"");
        let chains: Chains = loaded::iptables_chains(&saved, &sets);
        facts.extend(chains.facts("FORWARD"));
    }
    Meaning::of(facts)
}

/// The comparison itself: it tells apart what differs, and only that.
#[test]
fn a_different_meaning_is_noticed() {
    let document = |ports: &str, prefix: &str, interfaces: &str| -> Value {
        serde_json::from_str(&format!(
            r#"{{"groups": [{{"name": "g", "v4": ["{prefix}"], "v6": []}}],
                "rules": [{{"direction": "outbound", "source": ["10.0.0.0/24"], "destination": "g",
                            "protocol": "tcp", "ports": [{ports}], "interfaces": [{interfaces}]}}]}}"#
        ))
        .unwrap()
    };
    let meaning = |ports, prefix, interfaces| {
        Meaning::of(loaded::json_facts(&document(ports, prefix, interfaces), &["wan0"]))
    };
    let base = meaning(r#""80-90""#, "192.0.2.0/24", "");
    // However it is cut, and whichever way the interface is said.
    assert_eq!(base, meaning(r#""85-90", "80", "80-82", "81-84""#, "192.0.2.0/24", r#""wan0""#));
    for other in [
        meaning(r#""80-91""#, "192.0.2.0/24", ""),
        meaning(r#""80-84", "86-90""#, "192.0.2.0/24", ""),
        meaning(r#""80-90""#, "192.0.2.0/25", ""),
        meaning(r#""80-90""#, "192.0.2.0/24", r#""wan1""#),
    ] {
        assert!(!base.differences(&other).is_empty());
    }
    let elsewhere = meaning(r#""80-90""#, "192.0.2.0/24", r#""wan1""#);
    assert_eq!(base.without_interfaces(), elsewhere.without_interfaces());
}
