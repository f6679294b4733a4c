//! The real publication in real firewalls: loaded, loaded again, listed back and equal, element by element.
//!
//! Needs root (for a network namespace), nft, iptables, ipset and the publications; what is not there is said and left
//! out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{Namespace, feeds, loaded};
use ipnet::IpNet;
use serde_json::Value;
use tagwall::config::{Config, Dialect, Iptables, IptablesMode};
use tagwall::ruleset::RuleSet;

const TAGS: &[(&str, &str)] = &[
    ("storage", "Storage"),
    ("sql", "Sql"),
    ("key-vault", "AzureKeyVault"),
    ("event-hub", "EventHub"),
    ("entra", "AzureActiveDirectory"),
    ("monitor", "AzureMonitor"),
    ("api-management", "ApiManagement"),
];

/// Seven global tags with a rule each, and these targets.
fn seven_tags(targets: &str) -> String {
    let mut config = "cloud = \"public\"\n".to_owned();
    for (name, tag) in TAGS {
        config.push_str(&format!(
            "[groups.{name}]\ntags = [\"{tag}\"]\n[rules.{name}]\nsource = [\"10.20.0.0/24\", \"fd00:20::/64\"]\n\
             destination = \"{name}\"\nservices = [\"tcp/443\"]\n"
        ));
    }
    config + targets
}

/// What each set must hold, by its name on the firewall.
fn expected(rule_set: &RuleSet) -> BTreeMap<String, Vec<IpNet>> {
    let mut sets = BTreeMap::new();
    for group in &rule_set.groups {
        for (suffix, family) in [("v4", group.prefixes.only_v4()), ("v6", group.prefixes.only_v6())]
        {
            if !family.is_empty() {
                sets.insert(format!("tw-{}-{suffix}", group.name), family.iter().collect());
            }
        }
    }
    assert_eq!(sets.len(), 2 * TAGS.len(), "every tag has both families");
    assert!(sets.values().map(Vec::len).sum::<usize>() > 6_000);
    sets
}

/// Says which sets differ without listing thousands of prefixes.
fn assert_sets(
    actual: &BTreeMap<String, Vec<IpNet>>,
    expected: &BTreeMap<String, Vec<IpNet>>,
    when: &str,
) {
    let names = |sets: &BTreeMap<String, Vec<IpNet>>| sets.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(actual), names(expected), "{when}");
    for (name, prefixes) in expected {
        let counts = (actual[name].len(), prefixes.len());
        assert!(actual[name] == *prefixes, "{when}: {name} differs, {counts:?} prefixes");
    }
}

#[test]
fn nft_holds_exactly_the_published_intervals() {
    let Some(publication) = feeds::real(feeds::NEWEST) else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = seven_tags(
        "[targets.own.nftables]\negress = [\"wan0\"]\n\
         [targets.reject.nftables]\nrest = \"reject\"\negress = [\"wan0\"]\n\
         [targets.embed.nftables]\nmode = \"embed\"\ntable = \"host\"\negress = [\"wan0\"]\n",
    );
    let plan = feeds::render(&config, Some(&publication), folder.path());
    for (target, table) in [("own", "tagwall"), ("reject", "tagwall"), ("embed", "host")] {
        let Some(namespace) = Namespace::new(&["nft"]) else { return };
        let file = folder.path().join(target).join("rules.nft");
        if target == "embed" {
            // The host's own table, with a set and rules that must stay as they are.
            let host = "table inet host {
                set theirs {
                    type ipv4_addr
                    elements = { 192.0.2.1 }
                }
                chain azure {
                }
                chain forward {
                    type filter hook forward priority 0; policy drop;
                    ip saddr @theirs accept
                    jump azure
                }
            }";
            namespace.run(&["nft", "-f", "-"], host.as_bytes());
        }
        namespace.feed(&["nft", "-c", "-f", "-"], &file);
        namespace.feed(&["nft", "-f", "-"], &file);
        let once = namespace.run(&["nft", "-s", "list", "ruleset"], b"");
        namespace.feed(&["nft", "-f", "-"], &file);
        let twice = namespace.run(&["nft", "-s", "list", "ruleset"], b"");
        assert!(once == twice, "{target} loaded twice is not what it was loaded once");
        for (name, prefixes) in expected(&plan.rule_set) {
            let json = namespace.run(&["nft", "-j", "list", "set", "inet", table, &name], b"");
            let document: Value = serde_json::from_str(&json).unwrap();
            let set = document["nftables"].as_array().unwrap().iter().find_map(|o| o.get("set"));
            let actual = loaded::nft_intervals(set.unwrap().get("elem"));
            let mut intervals: Vec<_> = prefixes.iter().map(|net| loaded::interval(*net)).collect();
            intervals.sort_unstable();
            assert!(actual == intervals, "{target}: set {name} differs");
        }
        if target == "embed" {
            let theirs = namespace.run(&["nft", "list", "chain", "inet", "host", "forward"], b"");
            assert!(theirs.contains("ip saddr @theirs accept") && theirs.contains("jump azure"));
        }
    }
}

#[test]
fn ipset_holds_exactly_the_published_prefixes() {
    let (Some(newest), Some(older)) = (feeds::real(feeds::NEWEST), feeds::real(feeds::OLDER))
    else {
        return;
    };
    let Some(namespace) = Namespace::new(&["ipset", "iptables", "ip6tables"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    // A small table grows while it is filled: `create -exist` must not mind at the next run.
    let config = seven_tags("[targets.t.iptables]\nhash-size = 64\negress = [\"wan0\"]\n");
    let old = feeds::render(&config, Some(&older), &folder.path().join("old"));
    let new = feeds::render(&config, Some(&newest), &folder.path().join("new"));
    let (old_sets, new_sets) = (expected(&old.rule_set), expected(&new.rule_set));
    for (name, prefixes) in &new_sets {
        assert!(old_sets[name] != *prefixes, "{name} is the same in both publications");
    }
    let saved = || loaded::ipset_sets(&namespace.run(&["ipset", "save"], b""));
    let file = |which: &str| folder.path().join(which).join("t/sets.ipset");

    namespace.feed(&["ipset", "restore"], &file("old"));
    assert_sets(&saved(), &old_sets, "a first load");
    // From here on the sets are in use and cannot be destroyed.
    for command in ["iptables", "ip6tables"] {
        let rules = folder.path().join(format!("old/t/rules.{command}"));
        namespace.feed(&[&format!("{command}-restore"), "-n"], &rules);
    }
    for _ in 0..2 {
        namespace.feed(&["ipset", "restore"], &file("new"));
        assert_sets(&saved(), &new_sets, "an update and the same again");
    }

    // A run that died after any of these lines: nothing in use has changed before the first swap, every set is
    // whole, and the next run ends as always.
    let text = std::fs::read_to_string(file("old")).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let first_swap = lines.iter().position(|line| line.starts_with("swap ")).unwrap();
    let adds = lines.iter().position(|line| line.starts_with("add ")).unwrap();
    for stop in
        [adds - 1, adds, adds + 5, first_swap / 2, first_swap, first_swap + 1, lines.len() - 1]
    {
        namespace.run(&["ipset", "restore"], lines[..stop].concat().as_bytes());
        let half_way = saved();
        assert!(half_way.len() > new_sets.len(), "something is left over");
        for (name, prefixes) in &new_sets {
            let actual = &half_way[name];
            let swapped = stop > first_swap && *actual == old_sets[name];
            assert!(
                swapped || actual == prefixes,
                "{name} is neither old nor new after line {stop}"
            );
        }
        namespace.feed(&["ipset", "restore"], &file("new"));
        assert_sets(&saved(), &new_sets, &format!("after a run that died at line {stop}"));
    }
}

#[test]
fn iptables_replaces_its_own_chains_and_no_other() {
    let Some(publication) = feeds::real(feeds::NEWEST) else { return };
    let folder = tempfile::tempdir().unwrap();
    let targets = |families: &str| {
        seven_tags(&format!(
            "[targets.ipset]\nfamilies = \"{families}\"\n\
             [targets.ipset.iptables]\nrest = \"drop\"\negress = [\"wan0\", \"ppp*\"]\n\
             [targets.plain]\nfamilies = \"{families}\"\n\
             [targets.plain.iptables]\nmode = \"plain\"\nrest = \"reject\"\negress = [\"wan0\"]\n"
        ))
    };
    let both = folder.path().join("both");
    feeds::render(&targets("both"), Some(&publication), &both);
    let ipv4 = folder.path().join("ipv4");
    feeds::render(&targets("ipv4"), Some(&publication), &ipv4);
    for target in ["ipset", "plain"] {
        let Some(namespace) = Namespace::new(&["iptables", "ip6tables", "ipset"]) else { return };
        if target == "ipset" {
            namespace.feed(&["ipset", "restore"], &both.join("ipset/sets.ipset"));
        }
        for command in ["iptables", "ip6tables"] {
            let restore = format!("{command}-restore");
            let file = |folder: &Path| folder.join(target).join(format!("rules.{command}"));
            let rules = || namespace.run(&[command, "-S"], b"");
            let theirs = [
                "-N THEIRS",
                "-A THEIRS -m comment --comment \"not ours\" -j DROP",
                "-A FORWARD -j THEIRS",
            ];
            for rule in theirs {
                namespace.run(&["sh", "-c", &format!("{command} {rule}")], b"");
            }
            namespace.feed(&[&restore, "-n", "--test"], &file(&both));
            assert!(!rules().contains("TAGWALL"), "a test changes nothing");
            namespace.feed(&[&restore, "-n", "-w", "5"], &file(&both));
            let hook =
                format!("{command} -C FORWARD -j TAGWALL || {command} -I FORWARD -j TAGWALL");
            for _ in 0..2 {
                namespace.run(&["sh", "-c", &hook], b"");
            }
            let once = rules();
            assert_eq!(once.matches("-A FORWARD -j TAGWALL\n").count(), 1, "{once}");
            // Every rule of the file is there, and none is there twice.
            let text = std::fs::read_to_string(file(&both)).unwrap();
            let appended = |text: &str| {
                text.lines()
                    .filter(|line| line.starts_with("-A T") || line.starts_with("-A tw-"))
                    .count()
            };
            assert_eq!(appended(&once), appended(&text) + 1, "the host's THEIRS rule and ours");
            namespace.feed(&[&restore, "-n", "-w", "5"], &file(&both));
            assert_eq!(rules(), once, "{target} twice");

            // A family that is no longer wanted: its file takes the place of the older one.
            namespace.feed(&[&restore, "-n", "-w", "5"], &file(&ipv4));
            let after = rules();
            for rule in theirs {
                assert!(after.contains(rule), "{rule} is gone:\n{after}");
            }
            // But for the mark, which each chain of ours bears.
            let unmarked = |line: &str| {
                line.starts_with("-A TAGWALL") && !line.ends_with("\"managed by tagwall\"")
            };
            assert_eq!(after.lines().any(unmarked), command == "iptables", "{after}");
        }
    }
}

#[test]
fn the_examples_load() {
    let Some(publication) = feeds::real(feeds::NEWEST) else { return };
    let folder = tempfile::tempdir().unwrap();
    for example in ["iptables", "nftables", "seven-tags"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("packaging/examples/{example}.toml"));
        let config = std::fs::read_to_string(path).unwrap();
        let folder = folder.path().join(example);
        let plan = feeds::render(&config, Some(&publication), &folder);
        let Some(namespace) = Namespace::new(&["nft", "iptables", "ip6tables", "ipset"]) else {
            return;
        };
        for artifact in &plan.artifacts {
            let file = folder.join(artifact.path());
            // iptables and nftables do not share a table, so that each may be loaded beside the other.
            match file.extension().unwrap().to_str().unwrap() {
                "nft" => _ = namespace.feed(&["nft", "-f", "-"], &file),
                "ipset" => _ = namespace.feed(&["ipset", "restore"], &file),
                "iptables" => _ = namespace.feed(&["iptables-restore", "-n", "-w", "5"], &file),
                "ip6tables" => _ = namespace.feed(&["ip6tables-restore", "-n", "-w", "5"], &file),
                "txt" | "json" => {}
                other => panic!("unknown extension {other}"),
            }
        }
    }
}

/// The examples show each setting with its default, commented out: taking the comment off changes nothing.
#[test]
fn the_examples_show_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/examples/iptables.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let setting = |line: &str| {
        let bare = line.strip_prefix("# ")?;
        bare.split_once(" = ").filter(|(key, _)| !key.contains(' ')).map(|_| bare.to_owned())
    };
    let bare: Vec<String> =
        text.lines().map(|line| setting(line).unwrap_or_else(|| line.to_owned())).collect();
    assert!(bare.len() > 40 && bare.join("\n").contains("\nmax-rules = "));
    let config = Config::parse(&path, bare.join("\n")).unwrap_or_else(|error| panic!("{error}"));
    let default = Iptables::default();
    for (name, mode) in
        [("iptables-ipset", IptablesMode::Ipset), ("iptables-plain", IptablesMode::Plain)]
    {
        let target = config.targets[&name.parse().unwrap()].get_ref();
        let [Dialect::Iptables(shown)] = target.dialects()[..] else { panic!("{name}") };
        assert_eq!(shown.mode, mode);
        assert_eq!(shown.chain, default.chain);
        assert_eq!(shown.prefix, default.prefix);
        assert_eq!(shown.max_elements, default.max_elements);
        assert_eq!(shown.hash_size, default.hash_size);
        assert_eq!(shown.max_rules, default.max_rules);
        assert_eq!(shown.log.enabled, default.log.enabled);
        assert_eq!(shown.log.prefix, default.log.prefix);
        assert_eq!(shown.log.per_second, default.log.per_second);
    }
}

#[test]
fn a_limit_names_group_count_and_ways_out() {
    let refused = |settings: &str| {
        let config = format!(
            "cloud = \"example\"\n[groups.storage]\ntags = [\"Storage\"]\n[rules.storage]\n\
             source = [\"10.20.0.0/24\"]\ndestination = \"storage\"\nservices = [\"tcp/443\"]\n\
             [targets.t.iptables]\n{settings}\n"
        );
        feeds::plan(&config, None)
            .map(|plan| plan.artifacts.len())
            .map_err(|error| error.to_string())
    };
    assert_eq!(refused(""), Ok(3));
    let error = refused("max-elements = 3").unwrap_err();
    assert!(error.contains("group storage") && error.contains("`max-elements`"), "{error}");
    let error = refused("mode = \"plain\"\nmax-rules = 9").unwrap_err();
    assert!(error.contains("group storage") && error.contains("mode = \"ipset\""), "{error}");
    // The files replace the chain that they name: never one of the host's.
    let error = refused("chain = \"FORWARD\"").unwrap_err();
    assert!(error.contains("`FORWARD`"), "{error}");
    assert!(refused("hash-size = 0").is_err());
    assert!(refused("max-elements = 4294967296").is_err());
    assert!(refused("log.per-second = 10001").is_err());
}

/// ipset reads no line longer than 1,023 characters, not even a comment, and takes the rest of it for a command.
#[test]
fn many_hostnames_make_no_long_line() {
    let Some(namespace) = Namespace::new(&["ipset"]) else { return };
    let hosts: Vec<String> =
        (0..100).map(|n| format!("\"create-{n}.a-rather-long-name.example.com\"")).collect();
    let config = format!(
        "cloud = \"example\"\n[groups.names]\nhosts = [{}]\n[targets.t.iptables]\n",
        hosts.join(", ")
    );
    let folder = tempfile::tempdir().unwrap();
    feeds::render(&config, None, folder.path());
    let file = folder.path().join("t/sets.ipset");
    assert!(std::fs::read_to_string(&file).unwrap().contains("create-99.a-rather-long-name"));
    namespace.feed(&["ipset", "restore"], &file);
    let sets = loaded::ipset_sets(&namespace.run(&["ipset", "save"], b""));
    assert_eq!(sets.len(), 2);
}
