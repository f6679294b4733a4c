//! What is selected: patterns, exclusions, and a profile in clouds other than the public one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]

mod common;

use std::path::Path;

use common::feeds::{plan, real};
use common::running::Agent;
use tagwall::config::Config;
use tagwall::intent::{Intent, RouteDestination};
use tagwall::prefix::PrefixSet;
use tagwall::ruleset::AddressGroup;

/// A configuration of groups alone.
fn groups(text: &str) -> String {
    format!("cloud = \"example\"\n{text}[targets.lists.list]\n")
}

fn group(text: &str) -> AddressGroup {
    plan(&groups(text), None).unwrap().rule_set.groups.remove(0)
}

fn names(group: &AddressGroup) -> Vec<String> {
    group.tags.iter().map(ToString::to_string).collect()
}

#[test]
fn a_pattern_takes_every_tag_that_matches_whatever_its_case() {
    let regional = group("[groups.x]\ntags = [\"storage.*\"]\n");
    assert_eq!(
        names(&regional),
        ["Storage.FranceCentral", "Storage.NorthEurope", "Storage.WestEurope"]
    );
    let each = group(
        "[groups.x]\ntags = [\"Storage.FranceCentral\", \"Storage.NorthEurope\", \"Storage.WestEurope\"]\n",
    );
    assert_eq!(regional.prefixes, each.prefixes);
    let inside = group("[groups.x]\ntags = [\"*Hub.*Europe\"]\n");
    assert_eq!(names(&inside), ["EventHub.NorthEurope", "EventHub.WestEurope"]);
    let nothing = plan(&groups("[groups.x]\ntags = [\"Storage.*Asia\"]\n"), None).unwrap_err();
    assert!(nothing.to_string().contains("Storage.*Asia"), "{nothing}");
}

#[test]
fn what_is_excluded_is_taken_out_exactly() {
    let all = group("[groups.x]\ntags = [\"Storage\"]\n");
    let west = group("[groups.x]\ntags = [\"Storage.WestEurope\"]\n").prefixes;
    let others = group("[groups.x]\ntags = [\"Storage\"]\nexclude = [\"Storage.West*\"]\n");
    assert_eq!(others.prefixes, all.prefixes.difference(&west));
    assert!(!west.is_empty() && others.prefixes != all.prefixes);

    let net = all.prefixes.iter().next().unwrap();
    let text = format!("[groups.x]\ntags = [\"Storage\"]\nexclude = [\"{net}\"]\n");
    let less = group(&text).prefixes;
    assert_eq!(less, all.prefixes.difference(&[net].into_iter().collect::<PrefixSet>()));
}

#[test]
fn a_group_of_one_family_has_all_of_that_family_and_nothing_else() {
    let all = group("[groups.x]\ntags = [\"Storage\", \"AzureDevOps\"]\n").prefixes;
    assert!(!all.v4().is_empty() && !all.v6().is_empty());
    for (families, expected) in
        [("ipv4", all.only_v4()), ("ipv6", all.only_v6()), ("both", all.clone())]
    {
        let text = format!(
            "[groups.x]\ntags = [\"Storage\", \"AzureDevOps\"]\nfamilies = \"{families}\"\n"
        );
        assert_eq!(group(&text).prefixes, expected, "{families}");
    }
}

#[test]
fn what_is_published_and_judged_has_the_same_selection() {
    let text =
        "[groups.x]\ntags = [\"Storage*\"]\nexclude = [\"Storage.West*\", \"Sql\"]\n[publish]\n";
    let agent = Agent::new(&groups(text));
    agent.expect(0, &["render"]);
    let list = agent.path("state/current/lists/x.txt");
    let written = std::fs::read_to_string(&list).unwrap();
    let written: PrefixSet = written.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(written, group(text).prefixes);
    let said = agent.expect(0, &["render"]);
    assert!(said.contains("unchanged") || said.contains("in force"), "{said}");
}

#[test]
fn a_table_of_one_family_holds_that_family_alone() {
    let rule = "[rules.x]\nsource = [\"10.20.0.0/24\", \"2001:db8:20::/64\"]\ndestination = \"x\"\nservices = [\"tcp/443\"]\n";
    for (family, wanted, other) in
        [("ip", "192.0.2.", "2001:db8:"), ("ip6", "2001:db8:", "192.0.2.")]
    {
        let config = format!(
            "cloud = \"example\"\n[groups.x]\ntags = [\"AzureDevOps\", \"Storage\"]\n{rule}[targets.edge.nftables]\nmode = \"embed\"\n\
             table = \"filter\"\nfamily = \"{family}\"\negress = [\"wan0\"]\n"
        );
        let plan = plan(&config, None).unwrap();
        let text = std::str::from_utf8(&plan.artifacts[0].bytes).unwrap();
        assert!(text.contains(&format!("{family} filter")), "{text}");
        assert!(text.contains(wanted) && !text.contains(other), "{family}: {text}");
    }
}

/// A profile that uses everything, in a cloud.
fn profile(cloud: &str, region: &str) -> String {
    format!(
        "cloud = \"{cloud}\"\n[apim.prod]\nregions = [\"{region}\"]\nnetwork = \"external\"\nsubnets = [\"10.20.0.0/24\"]\n\
         egress = [\"wan0\"]\nclients = [\"203.0.113.10/32\"]\n\
         features = [\"entra\", \"event-hubs\", \"connectors\", \"smtp\", \"captcha\", \"diagnostics\", \"kms\"]\n\
         [targets.lists.list]\n"
    )
}

#[test]
fn a_sovereign_cloud_has_hosts_and_key_servers_of_its_own() {
    for (cloud, region, sign_in, metrics, key_server) in [
        ("public", "westeurope", "login.microsoftonline.com", "azure.com", "20.118.99.224/32"),
        (
            "government",
            "usgovvirginia",
            "login.microsoftonline.us",
            "usgovcloudapi.net",
            "23.97.0.13/32",
        ),
        ("china", "chinaeast2", "login.chinacloudapi.cn", "chinacloudapi.cn", "42.159.7.249/32"),
    ] {
        let config = Config::parse(Path::new("x.toml"), profile(cloud, region)).unwrap();
        let intent = Intent::of(&config);
        let hosts: Vec<String> =
            intent.groups.iter().flat_map(|group| &group.hosts).map(ToString::to_string).collect();
        assert!(hosts.iter().any(|host| host == sign_in), "{cloud}: {hosts:?}");
        assert!(hosts.iter().any(|host| host.ends_with(metrics)), "{cloud}: {hosts:?}");
        let routes: Vec<String> = intent
            .routes
            .iter()
            .filter_map(|route| match &route.destination {
                RouteDestination::Prefix(prefix) => Some(prefix.to_string()),
                RouteDestination::Tag { .. } => None,
            })
            .collect();
        assert!(routes.iter().any(|route| route == key_server), "{cloud}: {routes:?}");
        if cloud != "public" {
            let foreign = ["login.microsoftonline.com", "shoebox2.metrics.nsatc.net"];
            assert!(!hosts.iter().any(|host| foreign.contains(&host.as_str())), "{hosts:?}");
        }
    }
}

#[test]
fn a_profile_is_rendered_from_the_publication_of_its_cloud() {
    for (cloud, region, file) in [
        ("government", "usgovvirginia", "government/ServiceTags_AzureGovernment_20251117.json"),
        ("china", "chinaeast2", "china/ServiceTags_China_20251028.json"),
    ] {
        let Some(path) = real(file) else { return };
        let plan = plan(&profile(cloud, region), Some(&path)).unwrap();
        let groups = &plan.rule_set.groups;
        for tag in ["Storage", "Sql", "AzureKeyVault", "EventHub", "AzureActiveDirectory"] {
            let found = groups.iter().any(|group| {
                !group.prefixes.is_empty()
                    && group.tags.iter().any(|name| name.to_string().starts_with(tag))
            });
            assert!(found, "{cloud}: nothing of {tag}");
        }
    }
}
