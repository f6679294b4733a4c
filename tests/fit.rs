//! Groups that are fitted into a number of prefixes: what is written, that it is the least, and that it is said everywhere. And
//! firewalls that are nearly full.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]

mod cli_support;
mod common;

use std::path::Path;

use cli_support::{Folder, expect, tagwall, text};
use ipnet::{IpNet, Ipv4Net};
use proptest::prelude::*;
use serde_json::Value;
use tagwall::config::Config;
use tagwall::feed;
use tagwall::pipeline;
use tagwall::prefix::PrefixSet;
use tagwall::ruleset::{AddressGroup, RuleSet, read_document, write_document};
use tagwall::selection::{HostAddresses, Publications};

/// The group `fitted` of a configuration, or why there is none.
fn group(config: &str, publications: &Publications) -> Result<AddressGroup, String> {
    let config = Config::parse(Path::new("test.toml"), config.to_owned()).unwrap();
    let rules = pipeline::rules(&config, publications, &HostAddresses::new());
    let rules = rules.map_err(|error| error.to_string())?;
    Ok(rules.group(&"fitted".parse().unwrap()).unwrap().clone())
}

#[test]
fn the_surplus_is_the_least_that_others_found_too() {
    let Some(path) = common::feeds::real(common::feeds::NEWEST) else { return };
    let config = |fit: usize| {
        format!("[groups.fitted]\ntags = [\"AzureCloud\"]\nfamilies = \"ipv4\"\nfit = {fit}\n")
    };
    let policy = Config::parse(Path::new("test.toml"), config(1)).unwrap().policy();
    let publication = feed::from_file(&path, &policy).unwrap();
    let publications: Publications = [(publication.snapshot.cloud(), publication)].into();
    let exact = group(&config(10_000), &publications).unwrap();
    assert!(exact.surplus.is_empty());
    let addresses = exact.prefixes.v4_addresses();
    // An optimal cover by another program, as shares of the addresses in units of a hundred thousandth.
    for (fit, expected) in [(1_500, 11), (1_000, 200), (500, 1_280), (300, 3_000), (200, 5_900)] {
        let fitted = group(&config(fit), &publications).unwrap();
        assert_eq!(fitted.prefixes.len(), fit);
        assert!(exact.prefixes.is_subset(&fitted.prefixes));
        assert_eq!(fitted.prefixes.difference(&exact.prefixes), fitted.surplus);
        let surplus = fitted.surplus.v4_addresses();
        let share = surplus * 100_000 / addresses;
        eprintln!("AzureCloud in {fit}: {surplus} of {addresses} addresses, {share}/100,000");
        assert!(share * 100 <= expected * 102, "{fit}: {share}");
        if fit == 1_500 {
            assert_eq!(surplus, 5_220);
        }
    }
}

/// 198.18.0.0/22 in pieces, and space in it that the group excludes.
fn pieces() -> impl Strategy<Value = (Vec<(u32, u8)>, (u32, u8), usize)> {
    (
        proptest::collection::vec((0_u32..1_024, 24_u8..=32), 1..24),
        (0_u32..1_024, 26_u8..=30),
        1_usize..16,
    )
}

fn net((host, length): (u32, u8)) -> Ipv4Net {
    Ipv4Net::new_assert(std::net::Ipv4Addr::from_bits(0xc612_0000 | host), length).trunc()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_fitted_group_has_all_of_its_space_and_nothing_that_it_excludes((nets, excluded, fit) in pieces()) {
        let written: Vec<String> = nets.iter().map(|piece| format!("\"{}\"", net(*piece))).collect();
        let base = format!(
            "cloud = \"example\"\n[groups.fitted]\nprefixes = [{}]\nexclude = [\"{}\"]\nallow-empty = true\n",
            written.join(", "),
            net(excluded)
        );
        let exact = group(&base, &Publications::new()).unwrap();
        prop_assert!(exact.surplus.is_empty());
        match group(&format!("{base}fit = {fit}\n"), &Publications::new()) {
            Ok(fitted) => {
                prop_assert!(fitted.prefixes.len() <= fit);
                prop_assert!(exact.prefixes.is_subset(&fitted.prefixes));
                prop_assert!(!fitted.prefixes.overlaps(IpNet::V4(net(excluded))));
                prop_assert_eq!(&fitted.prefixes.difference(&exact.prefixes), &fitted.surplus);
                if exact.prefixes.len() <= fit {
                    prop_assert_eq!(fitted, exact);
                }
            }
            // What is excluded parts the space: then the number that would do is named, and does.
            Err(error) => {
                let (_, needed) = error.split_once("does not fit into ").unwrap();
                let needed: usize =
                    needed.split_once(": ").unwrap().1.split_once(' ').unwrap().0.parse().unwrap();
                prop_assert!(needed > fit && needed <= exact.prefixes.len());
                let with = |fit: usize| group(&format!("{base}fit = {fit}\n"), &Publications::new());
                prop_assert!(with(needed).is_ok());
                prop_assert!(with(needed - 1).is_err());
            }
        }
    }
}

#[test]
fn private_space_is_never_taken() {
    let config = |prefixes: &str, fit: usize| {
        format!("[groups.fitted]\nprefixes = [{prefixes}]\nfit = {fit}\n")
    };
    // Between them lies 10.0.0.0/8, and below the second pair 100.64.0.0/10.
    for prefixes in
        ["\"9.255.255.0/24\", \"11.0.0.0/24\"", "\"100.63.255.0/24\", \"100.128.0.0/24\""]
    {
        let error = group(&config(prefixes, 1), &Publications::new()).unwrap_err();
        assert!(error.contains("does not fit into 1 prefixes: 2 prefixes are needed"), "{error}");
        assert!(error.contains("test.toml:3:"), "{error}");
        assert!(group(&config(prefixes, 2), &Publications::new()).unwrap().surplus.is_empty());
    }
    // What the user has written is hers to write, private or not.
    let own = group(&config("\"10.0.0.0/24\", \"20.0.0.0/24\"", 2), &Publications::new()).unwrap();
    assert!(own.surplus.is_empty());
}

#[test]
fn the_document_of_a_rule_set_keeps_the_surplus() {
    let config = "cloud = \"example\"\n[groups.fitted]\nprefixes = [\"192.0.2.0/26\", \"192.0.2.128/26\"]\nfit = 1\n";
    let fitted = group(config, &Publications::new()).unwrap();
    assert_eq!(fitted.surplus.to_string(), "192.0.2.64/26, 192.0.2.192/26");
    let rules = RuleSet { groups: vec![fitted.clone()], ..RuleSet::default() };
    assert_eq!(read_document(&write_document(&rules)).unwrap(), rules);
    // Who takes it for published is found out by the digest.
    let exact = AddressGroup { surplus: PrefixSet::new(), ..fitted };
    let exact = RuleSet { groups: vec![exact], ..RuleSet::default() };
    assert_ne!(exact.digest(), rules.digest());
    let document = text(&write_document(&rules)).replace("192.0.2.192/26", "192.0.2.192/27");
    assert!(read_document(document.as_bytes()).is_err());
    // And a change of the surplus alone is a change that the audit trail can bring back.
    let change = rules.change_since(&exact);
    assert_eq!(exact.changed_by(&change).unwrap(), rules);
}

const CONFIG: &str = "cloud = \"example\"
[groups.fitted]
tags = [\"Storage.WestEurope\"]
families = \"ipv4\"
fit = 2
[groups.sql]
tags = [\"Sql.WestEurope\"]
[rules.fitted]
source = [\"10.20.0.0/24\"]
destination = \"fitted\"
services = [\"tcp/443\"]
[targets.lists.list]
max-entries = 100
[targets.all.json]
";

#[test]
fn a_surplus_is_said_wherever_somebody_looks() {
    let folder = Folder::new();
    let (config, out) = (folder.put("tagwall.toml", CONFIG), folder.arg("out"));
    let (said, _) = expect(0, &["render", "--config", &config, "--out", &out]);
    let loud = said.lines().find(|line| line.starts_with("WIDER: group fitted")).unwrap();
    assert!(loud.contains("WIDER than what is published"), "{said}");
    let list = std::fs::read_to_string(folder.path("out/lists/fitted.txt")).unwrap();
    let written: PrefixSet = list
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.parse::<IpNet>().unwrap())
        .collect();
    assert_eq!(written.len(), 2);
    let document: Value =
        serde_json::from_slice(&std::fs::read(folder.path("out/all/ruleset.json")).unwrap())
            .unwrap();
    let groups = document["groups"].as_array().unwrap();
    let surplus = groups[0]["surplus_v4"].as_array().unwrap();
    assert!(!surplus.is_empty());
    assert!(groups[1].get("surplus_v4").is_none(), "sql is not fitted");
    let (said, _) = expect(0, &["render", "--config", &config, "--out", &out, "--json"]);
    let summary: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(summary["widened"][0]["group"], "fitted");
    let addresses = summary["widened"][0]["v4_addresses"].as_u64().unwrap();
    let of_document: u64 = surplus
        .iter()
        .map(|net| 1 << (32 - net.as_str().unwrap().parse::<IpNet>().unwrap().prefix_len()))
        .sum();
    assert_eq!(addresses, of_document);
    // An address that nobody published.
    let foreign = surplus[0].as_str().unwrap();
    let (said, _) = expect(0, &["explain", foreign, "--config", &config, "--example"]);
    assert!(
        said.contains("fitted: not published, or only in part; `fit` lets it through"),
        "{said}"
    );
    assert!(
        !expect(0, &["explain", "fitted.example.net", "--config", &config]).0.contains("`fit`")
    );
    let (_, said) = expect(0, &["check", "--config", &config]);
    assert!(said.contains("groups.fitted") && said.contains("is fitted into 2 prefixes"), "{said}");
}

#[test]
fn what_is_in_force_says_its_surplus() {
    let folder = Folder::new();
    let config = folder.put("tagwall.toml", CONFIG);
    let state = folder.path("state");
    let run = |args: &[&str]| {
        let mut command = tagwall();
        let output = command.env("TAGWALL_STATE_DIR", &state).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?} {}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    };
    let (_, said) = run(&["render", "--config", &config]);
    assert!(said.contains("group fitted is WIDER than what is published"), "{said}");
    let (said, _) = run(&["status", "--config", &config]);
    assert!(said.contains("WIDER: group fitted"), "{said}");
    assert!(said.contains("capacity of target lists, fullest "), "{said}");
    let status: Value =
        serde_json::from_str(&run(&["status", "--json", "--config", &config]).0).unwrap();
    assert_eq!(status["widened"][0]["group"], "fitted");
    assert_eq!(status["capacity"][0]["limit"], 100);
    assert_eq!(status["capacity"][0]["forecast"]["kind"], "not-enough-history");
    // Exact again: the surplus is gone from the rules and from the status, and the trail has both.
    folder.put("tagwall.toml", CONFIG.replace("fit = 2\n", ""));
    run(&["render", "--config", &config]);
    assert!(!run(&["status", "--config", &config]).0.contains("WIDER"));
}

#[test]
fn hostnames_are_not_fitted() {
    let folder = Folder::new();
    let config = folder.put(
        "tagwall.toml",
        CONFIG.replace("fit = 2", "fit = 2\nhosts = [\"login.microsoftonline.com\"]"),
    );
    let (_, said) = expect(3, &["check", "--config", &config]);
    assert!(said.contains("groups.fitted has `fit` and `hosts`"), "{said}");
}

#[test]
fn a_firewall_that_is_nearly_full_is_named_before_it_is() {
    let folder = Folder::new();
    let config = |prefixes: u8| {
        let prefixes: Vec<String> =
            (0..prefixes).map(|n| format!("\"198.51.100.{}/32\"", 2 * n)).collect();
        let text = format!(
            "cloud = \"example\"\n[groups.web]\nprefixes = [{}]\n[targets.lists.list]\nmax-entries = 100\n",
            prefixes.join(", ")
        );
        folder.put("tagwall.toml", text)
    };
    let state = folder.arg("state");
    let run = |code: i32, args: &[&str]| {
        let output = tagwall().env("TAGWALL_STATE_DIR", &state).args(args).output().unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?} {said}");
        said
    };
    let path = config(89);
    assert!(!run(0, &["render", "--config", &path]).contains("CAPACITY"));
    assert!(!run(0, &["check", "--config", &path]).contains("of 100 prefixes"));
    config(90);
    let near = "list web.txt: 90 of 100 prefixes (90 %), not enough history for a forecast";
    assert!(
        run(0, &["render", "--config", &path, "--dry-run"]).contains("CAPACITY of target lists")
    );
    let said = run(0, &["render", "--config", &path]);
    assert!(said.contains("CAPACITY of target lists") && said.contains(near), "{said}");
    for args in [["check", "--config", &path], ["status", "--config", &path]] {
        let said = run(0, &args).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(near), "{args:?} {said}");
    }
    // What each generation used is kept, for the forecasts to come.
    let history: Value =
        serde_json::from_str(&run(0, &["history", "--json", "--config", &path])).unwrap();
    let counts =
        [0, 1].map(|index| history["generations"][index]["loads"]["lists"][0]["count"].clone());
    assert_eq!(counts, [90, 89]);
    // And what does not fit is refused.
    config(101);
    assert!(run(5, &["render", "--config", &path]).contains("more than the 100 that fit"));
}
