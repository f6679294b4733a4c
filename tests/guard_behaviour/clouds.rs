//! What belongs to another cloud than the one judged, and profiles, of which only names are judged.

use super::*;
use tagwall::snapshot::{TagContent, TagName};

const PROFILE: &str = r#"
    cloud = "example"
    [apim.prod]
    regions = ["westeurope"]
    network = "external"
    subnets = ["10.20.0.0/24"]
    egress = ["wan0"]
    clients = ["203.0.113.10/32"]
"#;

fn of_cloud(cloud: Cloud, tags: impl IntoIterator<Item = TagContent>) -> Publication {
    Publication::new(Snapshot::of_tags(cloud, 1, tags).unwrap(), "test")
}

fn in_region(name: &str, region: &str, prefixes: &[&str]) -> TagContent {
    TagContent { region: region.into(), region_id: 18, ..tag(name, &set(prefixes)) }
}

/// The scopes of which something is held.
fn concerned(host: &Host) -> Vec<String> {
    let holds = host.belief.holds().iter();
    let mut names: Vec<String> =
        holds.flat_map(|hold| &hold.groups).map(|group| group.name.to_string()).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn space_of_its_own_is_no_space_of_another_cloud() {
    // 20.140.0.0/15 is Government's alone, 40.72.0.0/15 China's.
    for (name, added, is_foreign) in [
        (Cloud::Government, "20.140.1.0/28", false),
        (Cloud::Government, "40.72.1.0/28", true),
        (Cloud::China, "40.72.1.0/28", false),
        (Cloud::China, "20.140.1.0/28", true),
        (Cloud::Public, "20.140.1.0/28", true),
    ] {
        let cloud = name.to_string();
        let config = format!("cloud = \"{cloud}\"\n[groups.web]\ntags = [\"Web\"]\n");
        let mut host = Host::new(&config);
        let mut offer = |texts: &[&str]| {
            let offer =
                Offer { publication: of_cloud(name, [tag("Web", &set(texts))]), fetched: host.now };
            host.judge(&Offers::from([(name, offer)]));
            host.held()
        };
        assert_eq!(offer(&["20.60.0.0/24"]), [], "{cloud}");
        let expected: &[(Kind, bool)] = if is_foreign { &[(Kind::Addition, true)] } else { &[] };
        assert_eq!(offer(&["20.60.0.0/24", added]), expected, "{cloud}: {added}");
    }
}

/// What a profile needs, and its management endpoint.
fn needed(control: &[&str]) -> Vec<TagContent> {
    let global = ["AzureKeyVault", "AzureMonitor", "AzureActiveDirectory", "AzureLoadBalancer"];
    let mut tags: Vec<TagContent> =
        global.iter().map(|name| tag(name, &set(&["198.51.100.0/25"]))).collect();
    tags.push(in_region("Storage.WestEurope", "westeurope", &["198.51.100.128/26"]));
    tags.push(in_region("Sql.WestEurope", "westeurope", &["198.51.100.192/26"]));
    tags.push(tag("ApiManagement", &set(control)));
    tags
}

#[test]
fn a_route_to_a_tag_is_judged_in_the_publication_of_its_cloud() {
    let mut host = Host::new(PROFILE);
    host.offer(&of_cloud(Cloud::Example, needed(&["192.0.2.0/28"])));
    assert_eq!(concerned(&host), [] as [&str; 0]);
    host.pass(7);
    // What another cloud has under that name says nothing about this one.
    let other = of_cloud(Cloud::Public, [tag("ApiManagement", &set(&["20.60.0.0/24"]))]);
    let offer = Offer { publication: other, fetched: host.now };
    host.judge(&Offers::from([(Cloud::Public, offer)]));
    assert_eq!(concerned(&host), [] as [&str; 0]);
    assert!(host.belief.publications().contains_key(&Cloud::Public));
    // The route bypasses the firewall: a stranger's address must not come to it unseen.
    host.offer(&of_cloud(Cloud::Example, needed(&["192.0.2.0/28", "192.0.3.0/28"])));
    assert_eq!(host.held(), [(Kind::Addition, true)]);
    assert_eq!(concerned(&host), ["apim-prod-control-plane"]);
}

#[test]
fn of_a_security_rule_the_name_counts_and_not_the_space() {
    let endpoints = "service-endpoints = [\"Storage\"]\n";
    let mut host = Host::new(&format!("{PROFILE}{endpoints}"));
    let before = needed(&["192.0.2.0/28"]);
    let change = |edit: &dyn Fn(&mut TagContent)| {
        let mut tags = before.clone();
        let storage = tags.iter_mut().find(|tag| tag.name.as_str() == "Storage.WestEurope");
        edit(storage.unwrap());
        of_cloud(Cloud::Example, tags)
    };
    host.offer(&of_cloud(Cloud::Example, before.clone()));
    assert_eq!(concerned(&host), [] as [&str; 0]);
    // Azure fills the rule with prefixes itself: a stranger's are its business.
    host.pass(7);
    host.offer(&change(&|storage| storage.v4.push("192.0.3.0/24".parse().unwrap())));
    assert_eq!(concerned(&host), [] as [&str; 0]);
    // Without the tag the rule would be refused.
    host.pass(7);
    host.offer(&change(&|storage| storage.name = TagName::new("Storage.EuropeWest").unwrap()));
    assert_eq!(host.held(), [(Kind::Removal, true)]);
    assert_eq!(concerned(&host), ["apim-prod-out-storage-westeurope"]);
}

#[test]
fn a_group_by_region_follows_the_tag_of_its_region() {
    let config = "cloud = \"example\"\n[groups.web]\ntags = [\"Web\"]\nregions = [\"westeurope\", \"northeurope\"]\n\
                  exclude = [\"192.0.2.0/30\", \"Excluded\"]\n";
    let offered = |west: &[&str], excluded: &[&str]| {
        of_cloud(
            Cloud::Example,
            [
                in_region("Web.WestEurope", "westeurope", west),
                in_region("Web.NorthEurope", "northeurope", &["198.51.100.0/24"]),
                tag("Excluded", &set(excluded)),
            ],
        )
    };
    let mut host = Host::new(config);
    host.offer(&offered(&["192.0.2.0/28"], &["198.51.100.0/28"]));
    assert_eq!(host.held(), []);
    // What is taken out by its prefix is no concern, and what is not is.
    host.pass(7);
    host.offer(&offered(&["192.0.2.0/28", "192.0.3.0/28"], &["198.51.100.0/28"]));
    assert_eq!(host.held(), [(Kind::Addition, true)]);
    host.pass(7);
    host.offer(&offered(&["192.0.2.4/30", "192.0.2.8/29"], &["198.51.100.0/28"]));
    assert_eq!((host.held(), host.belief.grace().count()), (vec![], 1));
    assert_eq!(
        host.group("web"),
        set(&["192.0.2.4/30", "192.0.2.8/29", "198.51.100.0/24"])
            .difference(&set(&["198.51.100.0/28"]))
    );
}

/// A regional tag, its service's tag of all regions and its region's AzureCloud.
fn regional(west: &[&str], all: &[&str], azure: &[&str]) -> Publication {
    of_cloud(
        Cloud::Example,
        [
            in_region("Web.WestEurope", "westeurope", west),
            tag("Web", &set(all)),
            in_region("AzureCloud.westeurope", "westeurope", azure),
            tag("Other", &set(&["198.51.100.0/24", "203.0.113.0/26"])),
        ],
    )
}

#[test]
fn a_regional_tag_never_leaves_its_service_and_its_region_by_a_few_addresses_at_most() {
    let config = "cloud = \"example\"\n[groups.web]\ntags = [\"Web.WestEurope\"]\n";
    let (half, whole) = ("192.0.2.0/25", "192.0.2.0/24");
    let critical: &[(Kind, bool)] = &[(Kind::Addition, true)];
    let judged = |before: Publication, after: Publication| {
        let mut host = Host::new(config);
        host.offer(&before);
        assert_eq!(host.held(), []);
        host.pass(7);
        host.offer(&after);
        host.held()
    };
    let inside = || regional(&[half], &[whole], &[whole]);
    // One address of its own that the service's tag does not have.
    let close = "198.51.100.1/32";
    let after = regional(&[half, close], &[whole], &[whole, close]);
    assert_eq!(judged(inside(), after), critical);
    // Even where the service's tag loses what both had, at the same time.
    let after = regional(&[half, close], &["192.0.2.128/25"], &[whole, close]);
    assert_eq!(judged(inside(), after), critical);
    // Eight that the region does not have are free where the cloud has others close by, nine are not.
    for (added, expected) in [
        (&["198.51.100.8/29"][..], &[][..]),
        (&["198.51.100.8/29", "198.51.100.16/32"], critical),
        // Nothing of the cloud is near this one.
        (&["198.18.0.1/32"], critical),
    ] {
        let with = |texts: &[&'static str]| [texts, added].concat();
        let after = regional(&with(&[half]), &with(&[whole]), &[whole]);
        assert_eq!(judged(inside(), after), expected, "{added:?}");
    }
    // A service that always had an address outside may get another.
    let before = regional(&[half, close], &[whole], &[whole, close]);
    let other = "198.51.100.3/32";
    let after = regional(&[half, close, other], &[whole], &[whole, close, other]);
    assert_eq!(judged(before, after), []);
}

#[test]
fn a_new_tag_that_claims_a_region_does_not_take_the_place_of_the_one_in_force() {
    let config =
        "cloud = \"example\"\n[groups.web]\ntags = [\"Web\"]\nregions = [\"westeurope\"]\n";
    let old = || in_region("Web.West1", "westeurope", &["192.0.2.0/24"]);
    let mut host = Host::new(config);
    host.offer(&of_cloud(Cloud::Example, [old()]));
    assert_eq!(host.group("web"), set(&["192.0.2.0/24"]));
    host.pass(7);
    let new = in_region("Web.West0", "westeurope", &["192.0.2.0/25"]);
    host.offer(&of_cloud(Cloud::Example, [new, old()]));
    assert_eq!((host.held(), host.group("web")), (vec![], set(&["192.0.2.0/24"])));
}
