//! The PAN-OS dialect against a model of the device, and against a reader that is not ours.
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "to panic is how a test fails"
)]

mod common;
#[path = "panos/meaning.rs"]
mod meaning;
#[path = "panos/pan_os_python.rs"]
mod pan_os_python;
#[path = "common/panos_model.rs"]
mod panos_model;
#[path = "panos/refusals.rs"]
mod refusals;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use common::feeds::public;

use panos_model::{Attributes, Device, Key};
use serde_json::Value;
use tagwall::config::Config;
use tagwall::feed;
use tagwall::pipeline;
use tagwall::render::Templates;
use tagwall::ruleset::RuleSet;
use tagwall::selection::{HostAddresses, Publications};
use tagwall::snapshot::Cloud;

/// What does not change between targets: groups and rules of every kind, on the embedded publication.
const EXAMPLE: &str = r#"
cloud = "example"

[apim.prod]
regions = ["westeurope"]
network = "external"
subnets = ["10.20.0.0/24"]
features = ["entra"]

[groups.partner]
prefixes = ["192.0.2.0/25", "198.51.100.0/24", "2001:db8:f::/48"]
hosts = ["host.example.com", "*.example.com"]

[groups.wild]
hosts = ["*.example.com"]

[rules.partner]
source = ["10.20.0.0/24", "2001:db8:20::/64"]
destination = "partner"
services = ["tcp/443", "tcp/8000-8010", "udp/123"]
comment = "CHG-1 (R&D)"
log = true

[rules.partner-in]
direction = "inbound"
source = "partner"
destination = ["10.20.0.0/25"]
services = ["tcp/8443"]

[rules.wild]
source = ["10.20.0.0/24"]
destination = "wild"
services = ["tcp/443"]

[targets.json.json]
"#;

type Files = BTreeMap<String, String>;

fn config(text: &str) -> Config {
    Config::parse(Path::new("test.toml"), text.to_owned()).unwrap_or_else(|error| panic!("{error}"))
}

fn example(config: &Config) -> Publications {
    Publications::from([(Cloud::Example, feed::example(&config.policy()).unwrap())])
}

/// The rule set, and every file as `TARGET/FILE`.
fn render(
    config: &Config,
    publications: &Publications,
    previous: Option<&RuleSet>,
) -> Result<(RuleSet, Files), String> {
    let templates = Templates::load(config).map_err(|error| error.to_string())?;
    let plan =
        pipeline::plan(config, publications, &HostAddresses::new(), &templates, previous, &[])
            .map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let files =
        plan.artifacts.iter().map(|artifact| (artifact.path(), text(&artifact.bytes))).collect();
    Ok((plan.rule_set, files))
}

/// A device with objects of somebody else, some with names that are nearly ours.
fn device() -> Device {
    let mut device = Device::new();
    device
        .run(
            "set tag azure comments mine\n\
             set address web ip-netmask 192.0.2.80\n\
             set address azs-192.0.2.0_24 ip-netmask 192.0.2.0/24\n\
             set address-group servers static [ web azs-192.0.2.0_24 ]\n\
             set address-group servers tag azure\n\
             set service tcp-443 protocol tcp port 443\n\
             set rulebase security rules outbound source servers\n\
             set rulebase security rules outbound service tcp-443\n\
             set rulebase security rules outbound action allow\n\
             set rulebase security rules Final action deny",
        )
        .unwrap();
    device
}

fn load(device: &mut Device, path: &str, text: &str) {
    let result =
        if path.rsplit('.').next() == Some("xml") { device.apply(text) } else { device.run(text) };
    result.unwrap_or_else(|error| panic!("{path}: refused: {error}"));
}

fn ours(device: &Device) -> BTreeMap<Key, Attributes> {
    device.ours("azst-", "tagwall")
}

fn foreign(device: &Device) -> BTreeMap<Key, Attributes> {
    let ours = ours(device);
    device
        .objects
        .iter()
        .filter(|(key, _)| !ours.contains_key(*key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Settings under test: name and table.
const VARIANTS: [(&str, &str, &str); 5] = [
    (
        "set",
        "rules.set",
        "format = \"set\"\nmax-members = 90\nfrom = [\"trust\"]\nto = [\"untrust\"]\nno-decrypt = true",
    ),
    ("setdyn", "rules.set", "format = \"set\"\ngroups = \"dynamic\"\nposition = \"before Final\""),
    (
        "xml",
        "rules.xml",
        "format = \"xml\"\nmax-members = 90\nfrom = [\"trust\"]\nto = [\"untrust\"]\nno-decrypt = true",
    ),
    ("xmldyn", "rules.xml", "format = \"xml\"\ngroups = \"dynamic\""),
    (
        "edl",
        "edl.set",
        "format = \"edl\"\nlists = { base-url = \"https://lists.example.com/t\", families = \"apart\" }",
    ),
];

fn with_variants(text: &str) -> String {
    let mut text = text.to_owned();
    for (name, _, settings) in VARIANTS {
        text.push_str(&format!("\n[targets.{name}.panos]\nmax-addresses = 50000\n{settings}\n"));
    }
    text
}

/// Walks through rule sets, one after the other, on devices that take only the deltas, and on devices that take each full
/// script and then the delta.
fn walk(steps: &[(Config, Publications)]) {
    let mut by_delta: BTreeMap<&str, Device> = BTreeMap::new();
    let mut by_both: BTreeMap<&str, Device> = BTreeMap::new();
    let mut previous: Option<RuleSet> = None;
    let mut deltas = 0;
    for (index, (config, publications)) in steps.iter().enumerate() {
        let (rule_set, files) = render(config, publications, previous.as_ref())
            .unwrap_or_else(|error| panic!("step {index}: {error}"));
        for (name, file, _) in VARIANTS {
            let full_path = format!("{name}/{file}");
            let full = &files[&full_path];
            let mut fresh = device();
            load(&mut fresh, &full_path, full);
            // A second run changes nothing.
            let once = fresh.clone();
            load(&mut fresh, &full_path, full);
            assert_eq!(fresh, once, "{full_path} is not idempotent");
            assert_eq!(foreign(&fresh), foreign(&device()));
            let (stem, ending) = full_path.rsplit_once('.').unwrap();
            let delta_path = format!("{stem}.delta.{ending}");
            let delta = files.get(&delta_path);
            if previous.is_none() {
                assert_eq!(delta, None);
                by_delta.insert(name, fresh.clone());
                by_both.insert(name, fresh);
                continue;
            }
            let walked = by_delta.get_mut(name).unwrap();
            let both = by_both.get_mut(name).unwrap();
            load(both, &full_path, full);
            if let Some(delta) = delta {
                deltas += 1;
                assert!(!delta.trim().is_empty(), "{delta_path} is empty");
                load(walked, &delta_path, delta);
                load(both, &delta_path, delta);
            }
            for device in [&*walked, &*both] {
                assert_eq!(
                    ours(device),
                    ours(&fresh),
                    "step {index}: {delta_path} leads elsewhere"
                );
                assert_eq!(
                    foreign(device),
                    foreign(&fresh),
                    "step {index}: {delta_path} touched what is not ours"
                );
            }
        }
        // Both ways to say the same mean the same.
        for (left, right) in [("set", "xml"), ("setdyn", "xmldyn")] {
            assert_eq!(ours(&by_delta[left]), ours(&by_delta[right]), "{left} and {right} differ");
        }
        previous = Some(rule_set);
    }
    assert!(deltas > 0, "nothing changed between these steps");
}

#[test]
fn deltas_lead_where_full_scripts_lead() {
    let many = |count: u32| -> String {
        let nets =
            (0..count).map(|index| format!("\"198.18.{}.{}/32\"", index / 100, index % 100 * 2));
        format!("[groups.many]\nprefixes = [{}]\n", nets.collect::<Vec<_>>().join(", "))
    };
    let rule = "[rules.many]\nsource = [\"10.30.0.0/24\"]\ndestination = \"many\"\nservices = [\"tcp/443\"]\n";
    let texts = [
        format!("{EXAMPLE}{}{rule}", many(50)),
        // Grows beyond the member limit, and a piece is cut in two.
        format!("{EXAMPLE}{}{rule}", many(300)),
        format!("{EXAMPLE}{}{rule}", many(301)),
        // Other ports, group, own prefixes and comment.
        format!("{EXAMPLE}{}{}", many(200), rule.replace("10.30", "10.31").replace("tcp/443", "udp/123")),
        EXAMPLE.replace("comment = \"CHG-1 (R&D)\"\nlog = true\n", "").replace("\"udp/123\"", "\"udp/53\""),
        // The rule goes to another group, whose prefixes and host it shares.
        EXAMPLE
            .replace("destination = \"partner\"", "destination = \"other\"")
            .replace("[groups.wild]", "[groups.other]\nprefixes = [\"192.0.2.0/25\"]\nhosts = [\"host.example.com\"]\n\n[groups.wild]"),
        // Nothing is left but the profile.
        EXAMPLE.split("[groups.partner]").next().unwrap().to_owned() + "[targets.json.json]\n",
        EXAMPLE.to_owned(),
    ];
    let steps: Vec<_> = texts
        .iter()
        .map(|text| {
            let config = config(&with_variants(text));
            let publications = example(&config);
            (config, publications)
        })
        .collect();
    walk(&steps);
}

const REAL: &str = r#"
cloud = "public"

[apim.prod]
regions = ["westeurope", "northeurope"]
network = "external"
subnets = ["10.20.0.0/24"]
features = ["entra", "event-hubs"]

[groups.vault]
tags = ["AzureKeyVault"]
[groups.sql]
tags = ["Sql"]
[groups.directory]
tags = ["AzureActiveDirectory"]

[rules.vault]
source = ["10.20.0.0/24", "2001:db8:20::/64"]
destination = "vault"
services = ["tcp/443"]
[rules.sql]
source = ["10.20.0.0/24"]
destination = "sql"
services = ["tcp/1433"]
[rules.directory]
source = ["10.20.0.0/24"]
destination = "directory"
services = ["tcp/443"]

[targets.json.json]
"#;

#[test]
fn real_publications_follow_each_other() {
    let files = public();
    let steps: Vec<_> = files
        .iter()
        .map(|file| {
            let config = config(&with_variants(REAL));
            let publication = feed::from_file(file, &config.policy()).unwrap();
            (config, Publications::from([(Cloud::Public, publication)]))
        })
        .collect();
    if !steps.is_empty() {
        walk(&steps);
    }
}

#[test]
fn lists_are_bare_and_scripts_are_commands_only() {
    let config = config(&with_variants(EXAMPLE));
    let (_, files) = render(&config, &example(&config), None).unwrap();
    for (path, text) in &files {
        for line in text.lines() {
            let fine = match path.rsplit_once('.').unwrap().1 {
                "txt" if path.ends_with("check.txt") => {
                    line.starts_with("request ") || line.starts_with("test ")
                }
                "txt" => line.parse::<ipnet::IpNet>().is_ok(),
                "set" => {
                    line.starts_with("set ")
                        || line.starts_with("move rulebase security rules azst-")
                }
                _ => true,
            };
            assert!(fine, "{path}: {line:?}");
            assert!(
                path.rsplit('.').next() != Some("set") || line.len() < 4_000,
                "{path}: a line of {} characters",
                line.len()
            );
        }
    }
    assert!(!files.contains_key("edl/wild.txt"));
}

#[test]
fn scopes_and_rulebases_are_those_of_the_settings() {
    for (settings, scope, rulebase, place) in [
        ("vsys = \"vsys2\"", "vsys vsys2 ", "rulebase", "vsys/entry[@name='vsys2']"),
        (
            "device-group = \"edge\"",
            "device-group edge ",
            "pre-rulebase",
            "device-group/entry[@name='edge']",
        ),
        (
            "device-group = \"the edge\"\nrulebase = \"post\"",
            "device-group \"the edge\" ",
            "post-rulebase",
            "device-group/entry[@name='the edge']",
        ),
    ] {
        let target = |format: &str| {
            format!(
                "[targets.{format}.panos]\nformat = \"{format}\"\nposition = \"top\"\n{settings}\n"
            )
        };
        let config = config(&format!("{EXAMPLE}{}{}", target("set"), target("xml")));
        let (_, files) = render(&config, &example(&config), None).unwrap();
        let empty = Device {
            scope: scope.to_owned(),
            rulebase: rulebase.to_owned(),
            xpath: format!("/config/devices/entry[@name='localhost.localdomain']/{place}"),
            ..Device::default()
        };
        let (mut set, mut xml) = (empty.clone(), empty);
        load(&mut set, "rules.set", &files["set/rules.set"]);
        load(&mut xml, "rules.xml", &files["xml/rules.xml"]);
        load(&mut xml, "position.xml", &files["xml/position.xml"]);
        assert_eq!(set, xml);
        assert!(set.order.len() > 3 && set.order.is_sorted(), "{:?}", set.order);
    }
}

#[test]
fn rules_are_put_where_they_are_wanted() {
    let order = |position: &str| {
        let target = |format: &str| {
            format!("[targets.{format}.panos]\nformat = \"{format}\"\nposition = \"{position}\"\n")
        };
        let config = config(&format!("{EXAMPLE}{}{}", target("set"), target("xml")));
        let (_, files) = render(&config, &example(&config), None).unwrap();
        let (mut set, mut xml) = (device(), device());
        for _ in 0..2 {
            load(&mut set, "rules.set", &files["set/rules.set"]);
            load(&mut xml, "rules.xml", &files["xml/rules.xml"]);
            load(&mut xml, "position.xml", &files["xml/position.xml"]);
            assert_eq!(set.order, xml.order);
        }
        let short = |name: &String| {
            if name.starts_with("azst-") { "ours".to_owned() } else { name.clone() }
        };
        let ours: Vec<_> = set.order.iter().filter(|name| name.starts_with("azst-")).collect();
        assert!(ours.is_sorted());
        let mut order: Vec<String> = set.order.iter().map(short).collect();
        order.dedup();
        order.join(" ")
    };
    assert_eq!(order("top"), "ours outbound Final");
    assert_eq!(order("bottom"), "outbound Final ours");
    assert_eq!(order("before Final"), "outbound ours Final");
    assert_eq!(order("after outbound"), "outbound ours Final");
}

#[test]
fn golden_files() {
    const SMALL: &str = r#"
cloud = "example"

[groups.partner]
tags = ["Storage.WestEurope"]
hosts = ["host.example.com"]

[rules.partner]
source = ["10.20.0.0/24"]
destination = "partner"
services = ["tcp/443", "udp/123"]
comment = "CHG-1 (R&D)"

[targets.set.panos]
from = ["trust"]
to = ["untrust"]
position = "before Final"
log-setting = "default"
[targets.xml.panos]
format = "xml"
groups = "dynamic"
no-decrypt = true
[targets.edl.panos]
format = "edl"
lists = { base-url = "https://lists.example.com/t", certificate-profile = "lists", username = "pan" }
"#;
    let before =
        config(&SMALL.replace("host.example.com", "old.example.com").replace("udp/123", "udp/53"));
    let (previous, _) = render(&before, &example(&before), None).unwrap();
    let config = config(SMALL);
    let (_, files) = render(&config, &example(&config), Some(&previous)).unwrap();
    assert_eq!(files.len(), 8, "{:?}", files.keys());
    for (path, text) in files {
        insta::assert_snapshot!(format!("panos-{}", path.replace('/', "-")), text);
    }
}
