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

mod common;
#[path = "common/fortios_model.rs"]
mod fortios_model;
#[path = "fortios/meaning.rs"]
mod meaning;
#[path = "fortios/schemas.rs"]
mod schemas;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use common::feeds;
use fortios_model::{Device, Kind};
use tagwall::config::Config;
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

fn plan(
    config: &Config,
    path: Option<&Path>,
    previous: Option<&RuleSet>,
) -> Result<Plan, PlanError> {
    let policy = config.policy();
    let publication = match path {
        Some(path) => tagwall::feed::from_file(path, &policy).unwrap(),
        None => tagwall::feed::example(&policy).unwrap(),
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

fn fresh(kind: Kind, script: &str) -> Device {
    let mut device = Device::with_foreign_objects(kind);
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

/// Two publications that are different in most tags; all of them on request.
fn two_or_all() -> Vec<PathBuf> {
    if std::env::var_os("TAGWALL_LONG").is_some() {
        return feeds::public();
    }
    [feeds::OLDER, feeds::NEWEST].into_iter().filter_map(feeds::real).collect()
}

/// Full and delta scripts of consecutive publications, by the delta alone and by the full script with the delta after it.
fn walk(config: &Config, stem: &str, kind: Kind, paths: &[PathBuf]) {
    if paths.is_empty() {
        return;
    }
    let mut previous: Option<RuleSet> = None;
    let (mut by_delta, mut by_both) =
        (Device::with_foreign_objects(kind), Device::with_foreign_objects(kind));
    let mut removals = 0;
    for path in paths {
        let plan = plan(config, Some(path), previous.as_ref()).unwrap();
        let full = file(&plan, &format!("{stem}.conf"));
        let expected = fresh(kind, full);
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
        Kind::Plain,
        &feeds::public(),
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
        Kind::Plain,
        &feeds::public(),
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
        Kind::Plain,
        &feeds::public(),
    );
}

/// The stem of the script, what takes it, and the settings for that.
const VARIANTS: [(&str, Kind, &str); 5] = [
    ("rules", Kind::Vdoms("edge"), "format = \"cli\"\nvdom = \"edge\"\n"),
    (
        "feed",
        Kind::Vdoms("edge"),
        "format = \"feed\"\nurl = \"https://lists.example.com/f\"\nvdom = \"edge\"\n",
    ),
    (
        "feed",
        Kind::Vdoms("edge"),
        "format = \"feed\"\nurl = \"https://lists.example.com/f\"\nvdom = \"edge\"\nscope = \"global\"\n",
    ),
    ("rules", Kind::Manager, "format = \"cli\"\nfortimanager = true\n"),
    (
        "feed",
        Kind::Manager,
        "format = \"feed\"\nurl = \"https://lists.example.com/f\"\nfortimanager = true\n",
    ),
];

#[test]
fn vdoms_the_global_scope_and_fortimanager_over_real_publications() {
    for (stem, kind, settings) in VARIANTS {
        let text = format!(
            "cloud = \"public\"\n[apim.prod]\nregions = [\"westeurope\"]\nnetwork = \"external\"\nsubnets = \
             [\"10.20.0.0/24\"]\n[targets.f.fortios]\n{settings}{COMMON}"
        );
        walk(&config(&text), stem, kind, &two_or_all());
    }
}

#[test]
fn a_script_for_another_kind_of_device_is_refused() {
    let script = |settings: &str, stem: &str| {
        let text = format!(
            "cloud = \"example\"\n[groups.g]\ntags = [\"Storage\"]\n[rules.r]\ndirection = \"outbound\"\nsource = \
             [\"10.0.0.0/24\"]\ndestination = \"g\"\nservices = [\"tcp/443\"]\n[targets.f.fortios]\n{settings}{COMMON}"
        );
        let plan = plan(&config(&text), None, None).unwrap();
        file(&plan, &format!("{stem}.conf")).to_owned()
    };
    let takes = |kind, script: &str| Device::with_foreign_objects(kind).apply(script).is_ok();
    for (stem, kind, settings) in VARIANTS {
        let script = script(settings, stem);
        assert!(takes(kind, &script), "{settings}");
        for other in [Kind::Plain, Kind::Vdoms("edge"), Kind::Vdoms("other")] {
            // What FortiManager takes, a device without VDOMs takes as well.
            let fits = other == kind || (kind, other) == (Kind::Manager, Kind::Plain);
            assert_eq!(takes(other, &script), fits, "{settings} {other:?}");
        }
        assert_eq!(takes(Kind::Manager, &script), kind == Kind::Manager, "{settings}");
    }
}

#[test]
fn rules_and_groups_come_and_go() {
    let plain = ("rules", Kind::Plain, "format = \"cli\"\n");
    for (stem, kind, settings) in VARIANTS.into_iter().chain([plain]) {
        come_and_go(stem, kind, settings);
    }
}

fn come_and_go(stem: &str, kind: Kind, settings: &str) {
    let target = format!("[targets.f.fortios]\n{settings}{COMMON}");
    let rule = |name: &str, own: &str, group: &str| {
        format!(
            "[rules.{name}]\ndirection = \"outbound\"\nsource = [{own}]\ndestination = \"{group}\"\nservices = \
             [\"tcp/443\"]\n"
        )
    };
    let one = "[groups.one]\ntags = [\"Storage\"]\n";
    let two = "[groups.two]\nhosts = [\"*.a.example.com\", \"b.example.com\"]\n";
    let groups = format!("cloud = \"example\"\n{one}{two}");
    let both = "\"10.1.0.0/24\", \"2001:db8:1::/64\"";
    let states = [
        format!("{groups}{}{}", rule("b", both, "one"), rule("c", both, "two")),
        format!("{groups}{}{}", rule("a", "\"10.2.0.0/24\"", "two"), rule("b", both, "one")),
        format!("{groups}{}", rule("c", "\"2001:db8:1::/64\"", "one")),
        groups.clone(),
        format!("cloud = \"example\"\n{two}{}", rule("c", both, "two")),
        format!("{groups}{}{}", rule("b", both, "one"), rule("c", both, "two")),
    ];
    let mut device = Device::with_foreign_objects(kind);
    let mut previous: Option<RuleSet> = None;
    let mut feeds_gone = false;
    for state in &states {
        let plan = plan(&config(&format!("{state}{target}")), None, previous.as_ref()).unwrap();
        let full = file(&plan, &format!("{stem}.conf"));
        let feeds = device.table("system external-resource").len();
        if previous.is_some() {
            device.apply(file(&plan, &format!("{stem}.delta.conf"))).unwrap();
        } else {
            device.apply(full).unwrap();
        }
        feeds_gone |= device.table("system external-resource").len() < feeds;
        assert!(same(&device, &fresh(kind, full)), "{settings}{state}");
        // What is written as the previous rule set is read back as the same.
        previous = Some(ruleset::read_document(&ruleset::write_document(&plan.rule_set)).unwrap());
    }
    assert_eq!(feeds_gone, stem == "feed", "{settings}");
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
    let ids = |text: &str| {
        fresh(Kind::Plain, file(&plan(&config(text), None, None).unwrap(), "rules.conf")).order
    };
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
