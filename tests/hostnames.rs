//! Hostnames in the files of every dialect: resolved for those that match addresses, as objects for those that have them.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![expect(clippy::panic, reason = "a test may fail by panicking")]

use tagwall::config::{Config, HostName, Name};
use tagwall::pipeline::{self, Plan};
use tagwall::render::Templates;
use tagwall::ruleset::{self, Difference};
use tagwall::selection::{HostAddresses, Publications};

const CONFIG: &str = r#"
cloud = "example"
[groups.web]
prefixes = ["192.0.2.0/24"]
hosts = ["a.example.com", "b.example.com", "*.wild.example.com"]
exclude = ["203.0.113.128/25"]
[groups.only-names]
hosts = ["c.example.com"]
families = "ipv4"
[rules.web]
source = ["10.20.0.0/24", "fd00:20::/64"]
destination = "web"
services = ["tcp/443"]
[rules.only-names]
source = ["10.20.0.0/24", "fd00:20::/64"]
destination = "only-names"
services = ["tcp/443"]
"#;

const TARGETS: &str = r#"
[targets.nft.nftables]
egress = ["wan0"]
[targets.ipset.iptables]
egress = ["wan0"]
[targets.plain.iptables]
mode = "plain"
egress = ["wan0"]
[targets.lists.list]
[targets.json.json]
[targets.pa.panos]
format = "set"
from = ["trust"]
to = ["untrust"]
[targets.pa-resolved]
hostnames = "resolve"
[targets.pa-resolved.panos]
format = "set"
from = ["trust"]
to = ["untrust"]
[targets.forti.fortios]
format = "cli"
version = "7.4.8"
first-policy-id = 7000
policy-count = 200
own-interfaces = ["port2"]
internet-interfaces = ["port1"]
move-before = 900
[targets.forti-resolved]
hostnames = "resolve"
[targets.forti-resolved.fortios]
format = "cli"
version = "7.4.8"
first-policy-id = 7300
policy-count = 200
own-interfaces = ["port2"]
internet-interfaces = ["port1"]
move-before = 900
"#;

fn config(targets: &str) -> Config {
    let text = format!("{CONFIG}{targets}");
    Config::parse("test.toml".as_ref(), text).unwrap_or_else(|error| panic!("{error}"))
}

fn hosts(pairs: &[(&str, &[&str])]) -> HostAddresses {
    let set = |texts: &[&str]| {
        texts.iter().map(|text| text.parse::<std::net::IpAddr>().unwrap()).map(Into::into).collect()
    };
    pairs.iter().map(|(host, texts)| (host.parse::<HostName>().unwrap(), set(texts))).collect()
}

fn plan(config: &Config, hosts: &HostAddresses) -> Plan {
    let templates = Templates::load(config).unwrap();
    pipeline::plan(config, &Publications::new(), hosts, &templates, None, &[])
        .unwrap_or_else(|error| panic!("{error}"))
}

/// All files of a target, one after another.
fn text(plan: &Plan, target: &str) -> String {
    let target: Name = target.parse().unwrap();
    plan.artifacts
        .iter()
        .filter(|artifact| artifact.target == target)
        .map(|artifact| String::from_utf8(artifact.bytes.clone()).unwrap())
        .collect()
}

const ADDRESSES: &[(&str, &[&str])] = &[
    ("a.example.com", &["198.51.100.7", "2001:db8:a::7", "203.0.113.200"]),
    ("c.example.com", &["198.51.100.9", "2001:db8:c::9"]),
];

#[test]
fn dialects_that_match_addresses_get_them_and_say_which_names_have_none() {
    let plan = plan(&config(TARGETS), &hosts(ADDRESSES));
    for target in ["nft", "ipset", "plain", "lists", "pa-resolved", "forti-resolved"] {
        let text = text(&plan, target);
        assert!(text.contains("198.51.100.7"), "{target}: {text}");
        assert!(text.contains("2001:db8:a::7"), "{target}");
        assert!(text.contains("198.51.100.9"), "{target}");
        assert!(text.contains("192.0.2.0"), "{target}");
        assert!(!text.contains("203.0.113"), "{target}: an excluded address of a hostname");
        assert!(!text.contains("2001:db8:c::9"), "{target}: a family that the group leaves out");
        assert!(!text.contains("a.example.com"), "{target}: what is resolved needs no mention");
    }
    for target in ["nft", "ipset", "plain"] {
        let text = text(&plan, target);
        assert!(text.contains("group web, not yet resolved: b.example.com"), "{target}: {text}");
        let wildcard = "group web, not covered (wildcard): *.wild.example.com";
        assert!(text.contains(wildcard), "{target}: {text}");
    }
    let forti = text(&plan, "forti-resolved");
    assert!(forti.contains("not yet resolved: b.example.com"), "{forti}");
    assert!(forti.contains("*.wild.example.com") && !forti.contains("not covered"), "{forti}");
}

#[test]
fn devices_with_host_objects_keep_their_bytes_whatever_the_names_resolve_to() {
    let config = config(TARGETS);
    let (before, after) = (plan(&config, &HostAddresses::new()), plan(&config, &hosts(ADDRESSES)));
    for target in ["pa", "forti"] {
        assert_eq!(text(&before, target), text(&after, target));
        assert!(text(&after, target).contains("a.example.com"), "{target}");
        assert!(!text(&after, target).contains("not yet resolved"), "{target}");
        assert!(!text(&after, target).contains("198.51.100"), "{target}");
    }
    assert_ne!(text(&before, "nft"), text(&after, "nft"));
}

#[test]
fn a_first_answer_fills_sets_that_exist_already() {
    let config = config("[targets.nft.nftables]\negress = [\"wan0\"]\n");
    let names = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| line.trim_start().starts_with("set tw-") || line.contains(" @tw-"))
            .map(|line| line.trim().to_owned())
            .collect()
    };
    let before = names(&text(&plan(&config, &HostAddresses::new()), "nft"));
    let after = names(&text(&plan(&config, &hosts(ADDRESSES)), "nft"));
    assert!(!before.is_empty());
    assert_eq!(before, after, "an answer changes elements, never sets or rules");
}

#[test]
fn the_rule_set_keeps_names_and_addresses_apart_and_comes_back_from_json() {
    let config = config("[targets.json.json]\n");
    let plan = plan(&config, &hosts(ADDRESSES));
    let group = plan.rule_set.group(&"web".parse().unwrap()).unwrap();
    assert_eq!(group.prefixes.len(), 1);
    assert_eq!(group.resolved.len(), 2);
    assert_eq!(group.unresolved, ["b.example.com".parse::<HostName>().unwrap()]);
    let written = ruleset::write_document(&plan.rule_set);
    assert_eq!(ruleset::read_document(&written).unwrap(), plan.rule_set);
    assert_eq!(text(&plan, "json").as_bytes(), written, "json leaves the choice to its readers");
    let forged = String::from_utf8(written).unwrap().replace("198.51.100.7/32", "198.51.100.8/32");
    assert!(ruleset::read_document(forged.as_bytes()).is_err());
}

#[test]
fn answers_show_in_the_difference_and_the_gaps() {
    let config = config("[targets.lists.list]\n");
    let rules = |hosts| pipeline::rules(&config, &Publications::new(), hosts).unwrap();
    let (before, after) = (rules(&HostAddresses::new()), rules(&hosts(ADDRESSES)));
    let difference = Difference::between(&before, &after);
    let space =
        &difference.groups.iter().find(|change| change.name.as_str() == "web").unwrap().space;
    assert_eq!((space.prefixes_added, space.prefixes_removed), (2, 0));
    let gaps = |rules: &ruleset::RuleSet| rules.gaps().join("\n");
    assert!(gaps(&before).contains("not yet resolved: a.example.com b.example.com"));
    assert!(gaps(&after).contains("group web: not yet resolved: b.example.com"));
    assert!(!gaps(&after).contains("group only-names"));
}

#[test]
fn a_dialect_without_host_objects_refuses_native_names() {
    let refused = |targets: &str| {
        Config::parse("test.toml".as_ref(), format!("{CONFIG}{targets}")).unwrap_err().to_string()
    };
    let nft =
        "[targets.nft]\nhostnames = \"native\"\n[targets.nft.nftables]\negress = [\"wan0\"]\n";
    assert!(refused(nft).contains("nftables has no objects for hostnames"));
    let azure = "[targets.az]\nhostnames = \"resolve\"\n[targets.az.azure]\nformat = \"bicep\"\nresource-group = \"rg\"\nroute-table = \"rt\"\n";
    assert!(refused(azure).contains("`hostnames` says nothing"), "{}", refused(azure));
    let unknown = "[targets.pa]\nhostnames = \"both\"\n[targets.pa.list]\n";
    assert!(refused(unknown).contains("`both`"), "{}", refused(unknown));
}
