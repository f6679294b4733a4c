//! What is exactly at a limit passes, and one address more is held: of every figure of `[guard.limits]`.

use super::*;

/// A group with these figures.
fn web(limits: &str) -> String {
    format!("cloud = \"example\"\n[groups.web]\ntags = [\"Web\"]\n[guard.limits]\n{limits}")
}

/// The first addresses of 192.0.2.0/24, 198.51.100.0/24 and 203.0.113.0/24.
fn first(count: u32) -> Vec<String> {
    addresses(0..count)
}

fn addresses(which: std::ops::Range<u32>) -> Vec<String> {
    let block = |number: u32| ["192.0.2", "198.51.100", "203.0.113"][number as usize / 256];
    which.map(|number| format!("{}.{}/32", block(number), number % 256)).collect()
}

/// The first addresses of 2001:db8::/64.
fn first_v6(count: u32) -> Vec<String> {
    (0..count).map(|number| format!("2001:db8::{number:x}/128")).collect()
}

fn web_of(prefixes: &[String]) -> Publication {
    let texts: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    publication(&[("Web", &texts)])
}

/// Offers these sizes week after week. Nothing is held before the last one, and then what the function says.
#[track_caller]
fn held_at_last(limits: &str, of: fn(u32) -> Vec<String>, sizes: &[u32]) -> Option<String> {
    let mut host = Host::new(&web(limits));
    for (week, size) in sizes.iter().enumerate() {
        assert_eq!(host.held(), [], "after {:?}", &sizes[..week]);
        host.pass(7);
        host.offer(&web_of(&of(*size)));
    }
    host.belief.holds().first().map(guard::Hold::why)
}

#[track_caller]
fn at_and_beyond(limits: &str, of: fn(u32) -> Vec<String>, at: &[u32], beyond: u32, why: &str) {
    assert_eq!(held_at_last(limits, of, at), None, "{limits}: {at:?}");
    let further = [&at[..at.len() - 1], &[beyond]].concat();
    let said = held_at_last(limits, of, &further);
    assert!(
        said.as_ref().is_some_and(|said| said.contains(why)),
        "{limits}: {further:?}: {said:?}"
    );
}

#[test]
fn of_a_removal_in_a_week() {
    let limits = "removal-share = 0.25\nremoval-share-most = 0.5\nremoval-addresses = 8\n";
    at_and_beyond(limits, first, &[256, 192], 191, "IPv4");
    at_and_beyond(limits, first_v6, &[256, 192], 191, "IPv6");
    // Fewer addresses than are counted are never held, whatever the share; exactly as many are.
    at_and_beyond(limits, first, &[16, 9], 8, "IPv4");
}

#[test]
fn of_removals_in_four_weeks() {
    let limits = "removal-share = 0.25\nremoval-share-most = 0.5\nremoval-addresses = 8\n";
    at_and_beyond(limits, first, &[256, 192, 140, 128], 127, "within four weeks");
    // Three and four addresses are too few to be counted, eight are not.
    let few = "removal-share = 0.9\nremoval-share-most = 0.25\nremoval-addresses = 8\n";
    at_and_beyond(&few.replace("0.9", "0.25"), first, &[16, 13, 9], 8, "within four weeks");
}

#[test]
fn of_an_addition_in_a_week() {
    let limits = "addition-share = 0.5\naddition-addresses = 8\naddition-share-four-weeks = 0.75\n";
    at_and_beyond(limits, first, &[64, 96], 97, "IPv4");
    at_and_beyond(limits, first_v6, &[64, 96], 97, "IPv6");
    // Fewer addresses than are counted are never held, whatever the share; exactly as many are.
    let week = limits.replace("0.75", "100");
    at_and_beyond(&week, first, &[4, 11], 12, "IPv4");
}

#[test]
fn of_additions_in_four_weeks() {
    let limits = "addition-share = 0.5\naddition-addresses = 8\naddition-share-four-weeks = 0.75\n";
    at_and_beyond(limits, first, &[64, 96, 112], 113, "within four weeks");
    at_and_beyond(limits, first, &[4, 8, 11], 12, "within four weeks");
    // After four weeks growth is forgotten.
    let mut host = Host::new(&web(limits));
    host.offer(&web_of(&first(64)));
    host.pass(7);
    host.offer(&web_of(&first(96)));
    host.pass(28);
    host.offer(&web_of(&first(140)));
    assert_eq!(host.held(), []);
}

#[test]
fn of_additions_that_nothing_is_said_about() {
    // A group of 1,024 addresses is large: 512 are many for it; for a smaller one 1,024.
    let limits = "addition-share = 0.25\naddition-share-four-weeks = 0.25\n";
    at_and_beyond(limits, first_v6, &[1024, 1024 + 511], 1024 + 512, "IPv6");
    at_and_beyond(limits, first_v6, &[1023, 1023 + 1023], 1023 + 1024, "IPv6");
}

#[test]
fn of_addresses_that_a_region_never_had() {
    let config = "cloud = \"example\"\n[groups.web]\ntags = [\"Web.WestEurope\"]\n[guard.limits]\naddition-new-addresses = 16\n";
    let offered = |week: &str, count: u32| {
        let texts = first(count);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        publication(&[("Web.WestEurope", &texts), ("Other", &["203.0.113.0/24"])])
            .dated(Some(week.parse().unwrap()))
    };
    for (week, count, is_held) in [
        ("2025-01-13", 64 + 16, false),
        ("2025-01-13", 64 + 17, true),
        // Twice as many in two weeks.
        ("2025-01-20", 64 + 32, false),
        ("2025-01-20", 64 + 33, true),
    ] {
        let mut host = Host::new(config);
        host.offer(&offered("2025-01-06", 64));
        host.pass(7);
        host.offer(&offered(week, count));
        assert_eq!(!host.held().is_empty(), is_held, "{week}: {count}");
    }
}

#[test]
fn a_tag_among_several_has_limits_of_its_own() {
    let config = r#"
        cloud = "example"
        [groups.web]
        tags = ["Web", "Mail"]
        [guard.limits]
        removal-share = 0.25
        removal-share-most = 0.5
        removal-addresses = 8
        addition-share = 0.5
        addition-addresses = 8
    "#;
    let web = set(&["192.0.2.0/24", "2001:db8:1::/64"]);
    let mail = |size: u32| -> PrefixSet {
        let texts = addresses(256..256 + size);
        texts.iter().map(|text| text.parse::<IpNet>().unwrap()).collect()
    };
    for (start, then, is_held) in [
        (32, 24, false),
        (32, 23, true),
        (16, 9, false),
        (16, 8, true),
        (32, 48, false),
        (32, 49, true),
        (12, 19, false),
        (12, 20, true),
        // What had no address of a family has no size to grow from.
        (0, 20, false),
    ] {
        let offered = |size: u32| {
            let mail = mail(size).union(&set(&["2001:db8:2::/64"]));
            common::tags::publication(1, [tag("Web", &web), tag("Mail", &mail)])
        };
        let mut host = Host::new(config);
        host.offer(&offered(start));
        assert_eq!(host.held(), []);
        host.pass(7);
        host.offer(&offered(then));
        let why = host.belief.holds().first().map(guard::Hold::why);
        assert_eq!(
            why.as_ref().is_some_and(|why| why.contains("Mail")),
            is_held,
            "{start} to {then}: {why:?}"
        );
        assert_eq!(why.is_some(), is_held, "{start} to {then}: {why:?}");
    }
}

#[test]
fn the_first_size_of_a_tag_is_within_its_bounds() {
    let config = "cloud = \"public\"\n[groups.api]\ntags = [\"ApiManagement\"]\n";
    // A row of floors.rs: ApiManagement has 200 to 16,000 addresses.
    for (count, wrong) in
        [(199, Some("at least")), (200, None), (16_000, None), (16_001, Some("at most"))]
    {
        let space = |number: u32| {
            format!("20.60.{}.{}/32", number / 256, number % 256).parse::<IpNet>().unwrap()
        };
        let all: PrefixSet = (0..count).map(space).collect();
        let snapshot = Snapshot::of_tags(Cloud::Public, 1, [tag("ApiManagement", &all)]).unwrap();
        let mut host = Host::new(config);
        for _ in 0..2 {
            // A second look at what was too small or too large is a first one still.
            host.now += SignedDuration::from_hours(1);
            let publication = Publication::new(snapshot.clone(), "test");
            let offer = Offer { publication, fetched: host.now };
            let judgement = host.judge(&Offers::from([(Cloud::Public, offer)]));
            let why = host.belief.holds().first().map(guard::Hold::why);
            assert_eq!(why.is_some(), wrong.is_some(), "{count}: {why:?}");
            assert_eq!(judgement.withheld.len(), usize::from(wrong.is_some()), "{count}");
        }
    }
}

#[test]
fn a_group_that_exchanges_nine_tenths_waits_for_a_person() {
    let limits = "removal-share = 100\naddition-share = 100\naddition-share-four-weeks = 100\n";
    for (gone, is_critical) in [(89, false), (90, true)] {
        let mut host = Host::new(&web(limits));
        host.offer(&web_of(&addresses(0..100)));
        host.pass(7);
        host.offer(&web_of(&addresses(gone..gone + 100)));
        let held = host.held().contains(&(Kind::Addition, true));
        assert_eq!(held, is_critical, "{gone}: {:?}", host.belief.holds());
    }
}

#[test]
fn of_space_outside_of_azure_cloud() {
    let all_but_one = PrefixSet::difference(&set(&["198.19.4.0/22"]), &set(&["198.19.7.255/32"]));
    let exactly = set(&["198.19.4.0/22"]);
    let one_more = set(&["198.19.4.0/22", "198.19.8.0/32"]);
    // The group has 5,120 addresses, a fifth of them outside: what is outside is no surprise, only how much.
    for (share, added, is_held) in [
        ("0.1", &all_but_one, false),
        ("0.1", &exactly, true),
        ("0.2", &exactly, false),
        ("0.2", &one_more, true),
    ] {
        let config = web(&format!("addition-outside-share = {share}\n"));
        let offered = |added: &PrefixSet| {
            let web = set(&["198.18.0.0/20", "198.19.0.0/22"]).union(added);
            common::tags::publication(
                1,
                [tag("Web", &web), tag("AzureCloud", &set(&["198.18.0.0/16"]))],
            )
        };
        let mut host = Host::new(&config);
        host.offer(&offered(&PrefixSet::new()));
        assert_eq!(host.held(), []);
        host.pass(7);
        host.offer(&offered(added));
        assert_eq!(!host.held().is_empty(), is_held, "{share}: {added}");
    }
}
