//! The FortiOS dialect against a model of a device, over consecutive real publications.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by failing"
)]
#![allow(clippy::disallowed_methods, reason = "files of a test need not outlive a power cut")]
#![allow(
    clippy::format_collect,
    clippy::case_sensitive_file_extension_comparisons,
    reason = "short in a test"
)]
#![allow(clippy::print_stderr, reason = "a skipped test says so")]
#![allow(missing_docs, unreachable_pub, reason = "a test")]

#[path = "common/fortios_model.rs"]
mod fortios_model;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fortios_model::Device;
use tagwall::config::Config;
use tagwall::feed;
use tagwall::pipeline::{self, Plan, PlanError};
use tagwall::render::Templates;
use tagwall::ruleset::{self, RuleSet};
use tagwall::selection::{HostAddresses, Publications};

const COMMON: &str = "version = \"7.4.8\"\nfirst-policy-id = 7000\npolicy-count = 100\nown-interfaces = [\"port2\"]\n\
                      internet-interfaces = [\"port1\"]\nmove-before = 900\n";

fn config(text: &str) -> Config {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Config::load(file.path()).unwrap_or_else(|error| panic!("{}", error.render(false)))
}

fn feeds() -> Vec<PathBuf> {
    let base = std::env::var_os("TAGWALL_FEEDS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/feeds"),
        PathBuf::from,
    );
    let Ok(entries) = std::fs::read_dir(base.join("public")) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn plan(
    config: &Config,
    path: Option<&Path>,
    previous: Option<&RuleSet>,
) -> Result<Plan, PlanError> {
    let policy = config.policy();
    let publication = match path {
        Some(path) => feed::from_file(path, &policy).unwrap(),
        None => feed::example(&policy).unwrap(),
    };
    let publications = Publications::from_iter([(publication.snapshot.cloud(), publication)]);
    pipeline::plan(
        config,
        &publications,
        &HostAddresses::new(),
        &Templates::load(config).unwrap(),
        previous,
        &[],
    )
}

fn file<'p>(plan: &'p Plan, name: &str) -> &'p str {
    let artifact = plan.artifacts.iter().find(|artifact| artifact.file == name);
    std::str::from_utf8(&artifact.unwrap_or_else(|| panic!("no {name}")).bytes).unwrap()
}

fn fresh(script: &str) -> Device {
    let mut device = Device::with_foreign_objects();
    device.apply(script).unwrap();
    device
}

fn same(left: &Device, right: &Device) -> bool {
    let live = |device: &Device| {
        let mut tables = device.tables.clone();
        tables.retain(|_, table| !table.is_empty());
        tables
    };
    let order = |device: &Device| device.order.iter().cloned().collect::<BTreeSet<_>>();
    // Among our own policies the order does not matter: all of them accept.
    live(left) == live(right)
        && order(left) == order(right)
        && left.order.last() == right.order.last()
}

/// Full and delta scripts of consecutive publications, by the delta alone and by the full script with the delta after it.
fn walk(config: &Config, stem: &str) {
    let paths = feeds();
    if paths.is_empty() {
        eprintln!("skipped: no real publications; set TAGWALL_FEEDS");
        return;
    }
    let mut previous: Option<RuleSet> = None;
    let (mut by_delta, mut by_both) =
        (Device::with_foreign_objects(), Device::with_foreign_objects());
    let mut removals = 0;
    for path in &paths {
        let plan = plan(config, Some(path), previous.as_ref()).unwrap();
        let full = file(&plan, &format!("{stem}.conf"));
        let expected = fresh(full);
        let shown = path.display();
        if previous.is_some() {
            let delta = file(&plan, &format!("{stem}.delta.conf"));
            removals += delta.matches("delete \"").count();
            by_delta.apply(delta).unwrap_or_else(|error| panic!("{shown}, delta: {error}"));
            by_both.apply(full).unwrap_or_else(|error| panic!("{shown}, full: {error}"));
            by_both.apply(delta).unwrap_or_else(|error| panic!("{shown}, after full: {error}"));
        } else {
            by_delta.apply(full).unwrap();
            by_both.apply(full).unwrap();
        }
        assert!(same(&by_delta, &expected), "{shown}: the delta leads elsewhere");
        assert!(same(&by_both, &expected), "{shown}: full and delta lead elsewhere");
        let before = by_delta.clone();
        by_delta.apply(full).unwrap();
        assert!(same(&by_delta, &before), "{shown}: a second run changes something");
        assert_eq!(by_delta.order.last().map(String::as_str), Some("900"));
        assert!(by_delta.table("firewall addrgrp").contains_key("theirs"));
        previous = Some(plan.rule_set);
    }
    assert!(stem == "feed" || removals > 0, "nothing was ever removed: the test shows nothing");
}

#[test]
fn a_regional_profile_over_all_publications() {
    walk(
        &config(&format!(
            "cloud = \"public\"\n[apim.prod]\nregions = [\"westeurope\"]\nnetwork = \"external\"\nsubnets = \
             [\"10.20.0.0/24\"]\n[targets.f.fortios]\nformat = \"cli\"\n{COMMON}"
        )),
        "rules",
    );
}

#[test]
fn large_groups_nest_over_all_publications() {
    walk(
        &config(&format!(
            "cloud = \"public\"\n[groups.storage]\ntags = [\"Storage\", \"Sql\"]\n[groups.monitor]\ntags = \
             [\"AzureMonitor\", \"EventHub\"]\n[rules.storage]\ndirection = \"outbound\"\nsource = [\"10.0.0.0/16\", \
             \"2001:db8:1::/48\"]\ndestination = \"storage\"\nservices = [\"tcp/443\"]\n[rules.monitor]\ndirection = \
             \"inbound\"\nsource = \"monitor\"\ndestination = [\"10.0.0.0/16\"]\nservices = [\"tcp/443\", \
             \"udp/5671-5672\"]\n[targets.f.fortios]\nformat = \"cli\"\nmember-limit = 40\naddress-limit = 50000\n{COMMON}"
        )),
        "rules",
    );
}

#[test]
fn lists_over_all_publications() {
    walk(
        &config(&format!(
            "cloud = \"public\"\n[apim.prod]\nregions = [\"westeurope\"]\nnetwork = \"external\"\nsubnets = \
             [\"10.20.0.0/24\"]\n[targets.f.fortios]\nformat = \"feed\"\nurl = \"https://lists.example.com/f\"\n{COMMON}"
        )),
        "feed",
    );
}

#[test]
fn rules_come_and_go() {
    let target = format!("[targets.f.fortios]\nformat = \"cli\"\n{COMMON}");
    let rule = |name: &str, own: &str, group: &str| {
        format!(
            "[rules.{name}]\ndirection = \"outbound\"\nsource = [{own}]\ndestination = \"{group}\"\nservices = \
             [\"tcp/443\"]\n"
        )
    };
    let groups = "cloud = \"example\"\n[groups.one]\ntags = [\"Storage\"]\n[groups.two]\nhosts = [\"*.a.example.com\", \
                  \"b.example.com\"]\n";
    let both = "\"10.1.0.0/24\", \"2001:db8:1::/64\"";
    let states = [
        format!("{groups}{}{}", rule("b", both, "one"), rule("c", both, "two")),
        format!("{groups}{}{}", rule("a", "\"10.2.0.0/24\"", "two"), rule("b", both, "one")),
        format!("{groups}{}", rule("c", "\"2001:db8:1::/64\"", "one")),
        groups.to_owned(),
        format!("{groups}{}{}", rule("b", both, "one"), rule("c", both, "two")),
    ];
    let mut device = Device::with_foreign_objects();
    let mut previous: Option<RuleSet> = None;
    for state in &states {
        let plan = plan(&config(&format!("{state}{target}")), None, previous.as_ref()).unwrap();
        let full = file(&plan, "rules.conf");
        if previous.is_some() {
            device.apply(file(&plan, "rules.delta.conf")).unwrap();
        } else {
            device.apply(full).unwrap();
        }
        assert!(same(&device, &fresh(full)), "{state}");
        // What is written as the previous rule set is read back as the same.
        previous = Some(ruleset::read_document(&ruleset::write_document(&plan.rule_set)).unwrap());
    }
}

#[test]
fn slots_keep_ids_and_a_limit_is_an_error_with_ways_out() {
    let base = |slots: &str, more: &str, extra: &str| {
        format!(
            "cloud = \"example\"\n[groups.g]\ntags = [\"Storage\"]\n[rules.m]\ndirection = \"outbound\"\nsource = \
             [\"10.0.0.0/24\"]\ndestination = \"g\"\nservices = [\"tcp/443\"]\n{more}[targets.f.fortios]\nformat = \
             \"cli\"\n{slots}{extra}{COMMON}"
        )
    };
    let rule = "[rules.a]\ndirection = \"outbound\"\nsource = [\"10.0.0.0/24\"]\ndestination = \"g\"\nservices = \
                [\"tcp/443\"]\n";
    let ids =
        |text: &str| fresh(file(&plan(&config(text), None, None).unwrap(), "rules.conf")).order;
    assert_eq!(ids(&base("", "", "")), ["7000", "900"]);
    assert_eq!(ids(&base("slots = [\"m\"]\n", rule, "")), ["7000", "7002", "900"]);
    let error = |text: &str| plan(&config(text), None, None).unwrap_err().to_string();
    let addresses = error(&base("", "", "address-limit = 2\n"));
    assert!(addresses.contains("raise `address-limit`"), "{addresses}");
    let many = base("", rule, "").replace("policy-count = 100", "policy-count = 2");
    assert!(error(&many).contains("raise `policy-count`"), "{}", error(&many));
    let feed = base("", "", "entry-limit = 2\n")
        .replace("\"cli\"", "\"feed\"\nurl = \"https://lists.example.com\"");
    assert!(error(&feed).contains("raise `entry-limit`"), "{}", error(&feed));
}

/// The wheel with the schemas, fetched once into target/tmp; none where there is no network or no pip.
fn schemas() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fortios-schemas");
    std::fs::create_dir_all(&folder).unwrap();
    let wheel = || {
        let mut entries = std::fs::read_dir(&folder).ok()?.filter_map(Result::ok);
        entries.find(|entry| entry.path().extension().is_some_and(|ext| ext == "whl"))
    };
    if wheel().is_none() {
        let pip = std::process::Command::new("python3")
            .args(["-m", "pip", "download", "-q", "--no-deps", "ansible==12.3.0", "--dest"])
            .arg(&folder)
            .output();
        pip.ok().filter(|output| output.status.success())?;
    }
    Some(wheel()?.path())
}

#[test]
fn every_attribute_and_value_is_in_the_schema_of_its_version() {
    let Some(wheel) = schemas() else {
        eprintln!("skipped: the ansible package cannot be fetched");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fortios_schema.py");
    let look_at = |used: &BTreeSet<(String, String, String)>, version: &str| {
        let lines: String = used
            .iter()
            .map(|(table, attribute, value)| format!("{table}\t{attribute}\t{value}\n"))
            .collect();
        let input = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(input.path(), lines).unwrap();
        let output = std::process::Command::new("python3")
            .arg(&script)
            .arg(&wheel)
            .arg(version)
            .stdin(std::fs::File::open(input.path()).unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for version in ["6.4.0", "7.0.0", "7.0.8", "7.2.0", "7.2.4", "7.4.0", "7.4.8", "7.6.0", "7.6.4"]
    {
        for format in ["cli", "feed"] {
            let target = COMMON.replace("7.4.8", version);
            let text = format!(
                "cloud = \"example\"\n[groups.g]\ntags = [\"Storage\"]\nhosts = [\"*.a.example.com\"]\n[rules.r]\n\
                 direction = \"outbound\"\nsource = [\"10.0.0.0/24\", \"2001:db8:1::/64\"]\ndestination = \"g\"\n\
                 services = [\"tcp/443\", \"udp/53\"]\nlog = true\n[targets.f.fortios]\nformat = \"{format}\"\nurl = \
                 \"https://lists.example.com\"\nusername = \"u\"\nnat6 = true\nip-pool = \"p\"\nip-pool6 = \"p6\"\n\
                 ssl-ssh-profile = \"s\"\nips-sensor = \"i\"\napplication-list = \"a\"\n{target}"
            );
            let device = fresh(file(
                &plan(&config(&text), None, None).unwrap(),
                match format {
                    "cli" => "rules.conf",
                    _ => "feed.conf",
                },
            ));
            let answer = look_at(&device.used, version);
            assert_eq!(answer, format!("looked at {}\n", device.used.len()), "{version} {format}");
        }
    }
    // The schemas do say no.
    let wrong = BTreeSet::from([(
        "system external-resource".to_owned(),
        "server-identity-check".to_owned(),
        "full".to_owned(),
    )]);
    assert!(look_at(&wrong, "6.4.0").contains("no attribute"));
}

/// The prefixes and hostnames that a name stands for, groups opened.
fn opened(device: &Device, name: &str, six: bool, found: &mut BTreeSet<String>) {
    let (addresses, groups) = if six {
        ("firewall address6", "firewall addrgrp6")
    } else {
        ("firewall address", "firewall addrgrp")
    };
    if let Some(group) = device.tables.get(groups).and_then(|groups| groups.get(name)) {
        for member in &group["member"] {
            opened(device, member, six, found);
        }
        return;
    }
    let address = &device.tables[addresses][name];
    let text = if let Some(host) = address.get("fqdn") {
        host[0].clone()
    } else if six {
        address["ip6"][0].clone()
    } else {
        let [network, mask] = address["subnet"].as_slice() else { panic!("{address:?}") };
        ipnet::Ipv4Net::with_netmask(network.parse().unwrap(), mask.parse().unwrap())
            .unwrap()
            .to_string()
    };
    found.insert(text);
}

/// One line a rule, family, protocol: direction, own, remote, ports.
fn meaning_of_device(device: &Device) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for (id, policy) in device.table("firewall policy") {
        if id == "900" {
            continue;
        }
        assert_eq!(policy["action"], ["accept"]);
        let six = policy.contains_key("srcaddr6");
        let open = |attribute: &str| {
            let attribute = if six { format!("{attribute}6") } else { attribute.to_owned() };
            let mut found = BTreeSet::new();
            for name in &policy[&attribute] {
                opened(device, name, six, &mut found);
            }
            found
        };
        let outbound = policy["srcintf"] == ["port2"] && policy["dstintf"] == ["port1"];
        assert!(outbound || policy["srcintf"] == ["port1"] && policy["dstintf"] == ["port2"]);
        let (own, remote) = if outbound {
            (open("srcaddr"), open("dstaddr"))
        } else {
            (open("dstaddr"), open("srcaddr"))
        };
        let mut ports = std::collections::BTreeMap::<&str, Vec<String>>::new();
        for service in &policy["service"] {
            let service = &device.tables["firewall service custom"][service];
            for (protocol, attribute) in [("tcp", "tcp-portrange"), ("udp", "udp-portrange")] {
                ports
                    .entry(protocol)
                    .or_default()
                    .extend(service.get(attribute).into_iter().flatten().cloned());
            }
        }
        for (protocol, ports) in ports.into_iter().filter(|(_, ports)| !ports.is_empty()) {
            lines.insert(format!("{outbound} {own:?} {remote:?} {protocol} {ports:?}"));
        }
    }
    lines
}

/// The same from the document that the json target writes.
fn meaning_of_document(plan: &Plan) -> BTreeSet<String> {
    let rule_set = ruleset::read_document(file(plan, "ruleset.json").as_bytes()).unwrap();
    let flows = rule_set.flows(tagwall::config::Families::Both);
    let lines = flows.iter().map(|flow| {
        let texts = |nets: Vec<ipnet::IpNet>| {
            nets.iter().map(ToString::to_string).collect::<BTreeSet<String>>()
        };
        let outbound = flow.rule.direction == tagwall::config::Direction::Outbound;
        let mut remote = texts(flow.family.of(&flow.group.prefixes).iter().collect());
        remote.extend(flow.group.hosts.iter().map(ToString::to_string));
        let ports: Vec<String> = flow.ports.iter().map(ToString::to_string).collect();
        format!("{outbound} {:?} {remote:?} {} {ports:?}", texts(flow.own.clone()), flow.protocol)
    });
    lines.collect()
}

#[test]
fn the_meaning_is_that_of_the_json_target() {
    let text = format!(
        "[groups.g]\ntags = [\"Storage\"]\nhosts = [\"*.a.example.com\", \"b.example.com\"]\n[groups.h]\ntags = \
         [\"EventHub\"]\n[rules.in]\ndirection = \"inbound\"\nsource = \"g\"\ndestination = [\"10.1.0.0/24\", \
         \"2001:db8:1::/64\"]\nservices = [\"tcp/443\"]\n[rules.out]\ndirection = \"outbound\"\nsource = \
         [\"10.2.0.0/24\", \"10.4.0.0/24\"]\ndestination = \"h\"\nservices = [\"tcp/443\", \"tcp/8000-8010\", \
         \"udp/53\"]\n[targets.j.json]\n[targets.f.fortios]\nformat = \"cli\"\nmember-limit = 3\naddress-limit = \
         50000\n{COMMON}"
    );
    let mut cases = vec![(format!("cloud = \"example\"\n{text}"), None)];
    match feeds().pop() {
        // A model device takes 300 members and no more, so small chunks prove the nesting.
        Some(path) => cases.push((
            format!("cloud = \"public\"\n{text}").replace("member-limit = 3", "member-limit = 30"),
            Some(path),
        )),
        None => eprintln!("skipped: no real publications; set TAGWALL_FEEDS"),
    }
    for (text, path) in cases {
        let plan = plan(&config(&text), path.as_deref(), None).unwrap();
        let device = fresh(file(&plan, "rules.conf"));
        let expected = meaning_of_document(&plan);
        assert!(expected.len() >= 4);
        assert_eq!(meaning_of_device(&device), expected);
    }
}

#[test]
fn the_example_is_written_as_before() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/examples/fortinet.toml");
    let config = Config::load(&example).unwrap();
    let plan = plan(&config, None, Some(&RuleSet::default())).unwrap();
    for artifact in &plan.artifacts {
        if artifact.target.as_str() != "rules" {
            let text = std::str::from_utf8(&artifact.bytes).unwrap();
            insta::assert_snapshot!(format!("{}__{}", artifact.target, artifact.file), text);
        }
    }
    // Whatever the example's settings, the scripts hold no password and no long line.
    for artifact in plan.artifacts.iter().filter(|artifact| artifact.file.ends_with(".conf")) {
        let text = std::str::from_utf8(&artifact.bytes).unwrap();
        assert!(!text.contains("password"));
        let commands = text.lines().filter(|line| !line.starts_with('#'));
        assert!(commands.clone().all(|line| line.len() < 1_400 && !line.contains('?')));
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let base = format!("cloud = \"example\"\n[targets.f.fortios]\nformat = \"cli\"\n{COMMON}");
    for (from, to, says) in [
        ("first-policy-id = 7000", "first-policy-id = 1", "1000 or more"),
        ("first-policy-id = 7000\n", "", "reserves no policy ids"),
        ("move-before = 900", "move-before = 7001", "one of the reserved ids"),
        ("\"cli\"", "\"feed\"", "no `url`"),
        ("\"7.4.8\"", "\"7.2\"\nserver-identity-check = \"full\"", "not in this version"),
        ("own-interfaces = [\"port2\"]\n", "", "does not know the interfaces"),
        ("move-before = 900", "prefix = \"g-tw\"", "starts with `g-`"),
        ("move-before = 900", "nat = false\nip-pool = \"p\"", "nat = false"),
        ("move-before = 900", "slots = [\"a\", \"A\"]", "twice"),
    ] {
        let text = base.replace(from, to);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &text).unwrap();
        let error = Config::load(file.path()).err().unwrap_or_else(|| panic!("taken: {text}"));
        assert!(error.render(false).contains(says), "{}", error.render(false));
    }
}
