//! The PAN-OS dialect against a model of the device, and against a reader that is not ours.
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "to panic is how a test fails"
)]

#[path = "common/panos_model.rs"]
mod panos_model;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// The Public publications in order, or nothing (and a word about it).
fn publications() -> Vec<PathBuf> {
    let folder = std::env::var_os("TAGWALL_FEEDS")
        .map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/feeds"),
            PathBuf::from,
        )
        .join("public");
    let entries =
        std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    found.sort();
    if found.is_empty() {
        eprintln!("skipped: no publications in {}", folder.display());
    }
    found
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
    let files = publications();
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

type Meaning = BTreeSet<(String, BTreeSet<String>, BTreeSet<String>, String, String)>;

/// What the device lets through: rule, source, destination, protocol, ports.
fn meaning_of(device: &Device) -> Meaning {
    let mut meaning = Meaning::new();
    for ((kind, name), rule) in ours(device) {
        if kind != "security" {
            continue;
        }
        assert_eq!(rule["action"], BTreeSet::from(["allow".to_owned()]));
        assert_eq!(rule["application"], BTreeSet::from(["any".to_owned()]));
        let end = |path: &str| {
            rule[path].iter().flat_map(|name| device.expand(name)).collect::<BTreeSet<_>>()
        };
        for service in &rule["service"] {
            let service = &device.objects[&("service".to_owned(), service.clone())];
            for protocol in ["tcp", "udp"] {
                if let Some(ports) = service.get(&format!("protocol {protocol} port")) {
                    let ports = ports.iter().next().unwrap().clone();
                    let name = name.strip_prefix("azst-").unwrap().to_owned();
                    meaning.insert((
                        name,
                        end("source"),
                        end("destination"),
                        protocol.to_owned(),
                        ports,
                    ));
                }
            }
        }
    }
    meaning
}

/// The same of the json target, without rules that nothing but a wildcard could serve.
fn meaning_of_json(text: &str) -> Meaning {
    let document: Value = serde_json::from_str(text).unwrap();
    let texts = |value: &Value| -> BTreeSet<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .map(|text| text.as_str().unwrap().to_owned())
            .collect()
    };
    let end = |value: &Value| -> BTreeSet<String> {
        let Some(name) = value.as_str() else { return texts(value) };
        let groups = document["groups"].as_array().unwrap();
        let group = groups.iter().find(|group| group["name"] == name).unwrap();
        let hosts = texts(&group["hosts"]).into_iter().filter(|host| !host.starts_with('*'));
        texts(&group["v4"]).into_iter().chain(texts(&group["v6"])).chain(hosts).collect()
    };
    let rules = document["rules"].as_array().unwrap().iter();
    rules
        .map(|rule| {
            let ports: Vec<&str> = rule["ports"]
                .as_array()
                .unwrap()
                .iter()
                .map(|port| port.as_str().unwrap())
                .collect();
            let text = |key: &str| rule[key].as_str().unwrap().to_owned();
            (
                text("name"),
                end(&rule["source"]),
                end(&rule["destination"]),
                text("protocol"),
                ports.join(","),
            )
        })
        .filter(|rule| !rule.1.is_empty() && !rule.2.is_empty())
        .collect()
}

#[test]
fn rules_mean_what_the_rule_set_means() {
    let config = config(&with_variants(EXAMPLE));
    let mut steps = vec![(example(&config), config)];
    if let Some(last) = publications().last() {
        let config = self::config(&with_variants(REAL));
        let publication = feed::from_file(last, &config.policy()).unwrap();
        steps.push((Publications::from([(Cloud::Public, publication)]), config));
    }
    for (publications, config) in steps {
        let (_, files) = render(&config, &publications, None).unwrap();
        let expected = meaning_of_json(&files["json/ruleset.json"]);
        assert!(expected.len() > 5);
        for (name, file, _) in VARIANTS.iter().filter(|variant| variant.0 != "edl") {
            let mut device = device();
            load(&mut device, file, &files[&format!("{name}/{file}")]);
            assert_eq!(meaning_of(&device), expected, "{name}");
        }
        // A list stands for its file.
        let mut device = device();
        load(&mut device, "edl.set", &files["edl/edl.set"]);
        let from_lists = |names: BTreeSet<String>| -> BTreeSet<String> {
            let expand = |name: String| match name.strip_prefix("list azst-") {
                Some(list) => {
                    files[&format!("edl/{list}.txt")].lines().map(str::to_owned).collect()
                }
                None => vec![name],
            };
            names.into_iter().flat_map(expand).collect()
        };
        let meaning: Meaning = meaning_of(&device)
            .into_iter()
            .map(|rule| (rule.0, from_lists(rule.1), from_lists(rule.2), rule.3, rule.4))
            .collect();
        assert_eq!(meaning, expected, "edl");
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
fn what_does_not_fit_is_an_error_with_ways_out() {
    let refused = |settings: &str| {
        let config = config(&format!("{EXAMPLE}[targets.fw.panos]\n{settings}\n"));
        render(&config, &example(&config), None).expect_err(settings)
    };
    let lists = |more: &str| {
        format!("format = \"edl\"\nlists = {{ base-url = \"https://h.example.com\", {more} }}")
    };
    for (settings, needle) in [
        ("max-addresses = 5".to_owned(), "raise `max-addresses`"),
        ("max-fqdns = 1".to_owned(), "raise `max-fqdns`"),
        (lists("max-entries = 7"), "raise `max-entries`"),
        (lists("max-lists = 2"), "families = \"together\""),
    ] {
        let error = refused(&settings);
        assert!(error.contains(needle) && error.contains("target fw"), "{error}");
    }
    // More groups than fit into a group of groups.
    let nets: Vec<String> = (0..400)
        .map(|index| format!("\"198.18.{}.{}/32\"", index / 100, index % 100 * 2))
        .collect();
    let text = format!(
        "{EXAMPLE}[groups.many]\nprefixes = [{}]\n[targets.fw.panos]\nmax-members = 10\n",
        nets.join(", ")
    );
    let config = config(&text);
    let error = render(&config, &example(&config), None).unwrap_err();
    assert!(error.contains("nested groups") && error.contains("dynamic"), "{error}");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for (settings, needle) in [
        ("format = \"edl\"", "where to fetch"),
        ("lists = { base-url = \"https://h.example.com\" }", "only for format"),
        ("vsys = \"vsys2\"\ndevice-group = \"edge\"", "both vsys and device-group"),
        ("rulebase = \"post\"", "only for a Panorama"),
        ("from = [\"any\", \"trust\"]", "nothing beside it"),
        ("to = []", "name zones"),
        ("max-members = 2", "at least 10"),
        ("zones = []", "zones"),
    ] {
        let text = format!("{EXAMPLE}[targets.fw.panos]\n{settings}\n");
        let error = Config::parse(Path::new("test.toml"), text).expect_err(settings);
        assert!(format!("{error}").contains(needle), "{settings}: {error}");
    }
}

#[test]
fn names_never_clash() {
    let with = |more: &str| {
        let config = config(&format!(
            "{EXAMPLE}{more}\n[targets.fw.panos]\n[targets.dyn.panos]\ngroups = \"dynamic\"\ntag = \"azst-own\"\n"
        ));
        render(&config, &example(&config), None)
    };
    // A hostname that reads like an address object, and a group whose tag is the common one.
    let error = with("[groups.odd]\nprefixes = [\"192.0.2.128/28\"]\nhosts = [\"192.0.2.128_28\"]")
        .unwrap_err();
    assert!(error.contains("azst-192.0.2.128_28"), "{error}");
    let error = with("[groups.own]\nprefixes = [\"192.0.2.128/28\"]").unwrap_err();
    assert!(error.contains("azst-own"), "{error}");
    let long = "a".repeat(60);
    let (_, files) = with(&format!("[groups.{long}b]\nprefixes = [\"192.0.2.128/28\"]\n[groups.{long}c]\nprefixes = [\"192.0.2.128/28\"]")).unwrap();
    load(&mut device(), "rules.set", &files["fw/rules.set"]);
}

/// Reads the document with pan-os-python and prints what it found, one object a line.
const READER: &str = r#"
import sys, json, xml.etree.ElementTree as ET
from panos.firewall import Firewall
from panos.objects import AddressObject, AddressGroup, ServiceObject, Tag
from panos.policies import SecurityRule, Rulebase
root = ET.parse(sys.argv[1]).getroot()
firewall = Firewall("192.0.2.1", "user", "password", vsys="vsys1")
firewall._set_version_and_version_info("10.1.0")
rulebase = Rulebase()
firewall.add(rulebase)
kinds = {"security/rules/entry": (SecurityRule, rulebase, "security"), "address-group/entry": (AddressGroup, firewall, "address-group"),
         "address": (AddressObject, firewall, "address"), "service": (ServiceObject, firewall, "service"), "tag": (Tag, firewall, "tag")}
for step in root:
    for key, (cls, parent, kind) in kinds.items():
        if ("/" + key + "[") in step.get("xpath") or step.get("xpath").endswith("/" + key):
            reader = cls()
            parent.add(reader)
            holder = ET.Element("result")
            holder.extend(list(step))
            for found in reader.refreshall_from_xml(holder):
                print(json.dumps([kind, found.name, found.about()]))
            break
"#;

/// A Python with pan-os-python: the one that is there, or one in the build's folder of temporary files.
fn python() -> Option<PathBuf> {
    let has = |python: &Path| {
        Command::new(python)
            .args(["-c", "import panos"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let system = PathBuf::from("python3");
    if has(&system) {
        return Some(system);
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("panos-venv");
    let python = folder.join("bin/python");
    if !has(&python) {
        _ = Command::new("python3").args(["-m", "venv"]).arg(&folder).output();
        let pip = Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "pan-os-python"])
            .output();
        drop(pip);
    }
    if has(&python) {
        return Some(python);
    }
    eprintln!("skipped: pan-os-python is not installed, and pip could not get it");
    None
}

#[test]
fn pan_os_python_reads_the_same_objects() {
    let Some(python) = python() else { return };
    let config = config(&with_variants(EXAMPLE));
    let (_, files) = render(&config, &example(&config), None).unwrap();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for name in ["xml", "xmldyn"] {
        let text = &files[&format!("{name}/rules.xml")];
        let path = folder.path().join("rules.xml");
        {
            use std::io::Write as _;
            std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        }
        let output = Command::new(&python).args(["-c", READER]).arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut device = device();
        load(&mut device, "rules.xml", text);
        let mut expected: BTreeSet<Key> =
            ours(&device).into_keys().filter(|key| key.0 != "decryption").collect();
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let found: Value = serde_json::from_str(line).unwrap();
            let key =
                (found[0].as_str().unwrap().to_owned(), found[1].as_str().unwrap().to_owned());
            let read = &found[2];
            let held = &device.objects[&key];
            let set = |field: &str| -> BTreeSet<String> {
                match &read[field] {
                    Value::Array(values) => {
                        values.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
                    }
                    Value::String(text) => BTreeSet::from([text.clone()]),
                    _ => BTreeSet::new(),
                }
            };
            let same = |field: &str, path: &str| {
                assert_eq!(
                    set(field),
                    held.get(path).cloned().unwrap_or_default(),
                    "{key:?} {field}"
                );
            };
            match key.0.as_str() {
                "address" => {
                    let path = if held.contains_key("fqdn") { "fqdn" } else { "ip-netmask" };
                    assert_eq!(read["type"], path);
                    same("value", path);
                    same("tag", "tag");
                }
                "address-group" => {
                    same("static_value", "static");
                    same("dynamic_value", "dynamic filter");
                    same("tag", "tag");
                }
                "service" => {
                    let protocol = read["protocol"].as_str().unwrap();
                    same("destination_port", &format!("protocol {protocol} port"));
                }
                "security" => {
                    for (field, path) in [
                        ("fromzone", "from"),
                        ("tozone", "to"),
                        ("source", "source"),
                        ("destination", "destination"),
                        ("service", "service"),
                        ("application", "application"),
                        ("action", "action"),
                        ("description", "description"),
                        ("tag", "tag"),
                    ] {
                        same(field, path);
                    }
                }
                _ => same("comments", "comments"),
            }
            assert!(expected.remove(&key), "{key:?} is read twice");
        }
        assert!(expected.is_empty(), "not read: {expected:?}");
    }
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
