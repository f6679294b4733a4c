//! What becomes of publications week after week: grace, holds, releases, decisions. Pure: the clock is an argument.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]

mod clouds;
#[path = "../common/mod.rs"]
mod common;
mod events;
mod limits;

use std::path::Path;

use common::tags::tag;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use tagwall::config::{Config, Name};
use tagwall::feed;
use tagwall::guard::{self, Belief, Cause, Event, Judgement, Kind, Offer, Offers, Order, Verdict};
use tagwall::intent::Intent;
use tagwall::prefix::PrefixSet;
use tagwall::selection::{self, HostAddresses};
use tagwall::snapshot::{Cloud, Publication, Snapshot};

/// Limits that a group of documentation ranges can exceed.
const WEB: &str = r#"
    cloud = "example"
    [groups.web]
    tags = ["Web"]
    [guard.limits]
    addition-addresses = 8
    removal-addresses = 8
"#;

fn set(texts: &[&str]) -> PrefixSet {
    texts.iter().map(|text| text.parse::<IpNet>().unwrap()).collect()
}

/// A publication of the cloud "example" of these tags.
fn publication(tags: &[(&str, &[&str])]) -> Publication {
    common::tags::publication(1, tags.iter().map(|(name, prefixes)| tag(name, &set(prefixes))))
}

/// A host that judges one publication after another.
struct Host {
    config: Config,
    belief: Belief,
    now: Timestamp,
}

impl Host {
    fn new(config: &str) -> Self {
        let config = Config::parse(Path::new("test.toml"), config.to_owned()).unwrap();
        Self { config, belief: Belief::default(), now: "2025-01-06T12:00:00Z".parse().unwrap() }
    }

    /// Believes what it is offered first.
    fn with(config: &str, tags: &[(&str, &[&str])]) -> Self {
        let mut host = Self::new(config);
        host.offer(&publication(tags));
        assert!(host.belief.holds().is_empty(), "{:?}", host.belief.holds());
        host
    }

    fn judge(&mut self, offers: &Offers) -> Judgement {
        let intent = Intent::of(&self.config);
        let judgement = guard::judge(&self.config, &intent, &self.belief, offers, self.now);
        // What is believed outlives every restart.
        let written = judgement.belief.write().unwrap();
        self.belief = Belief::read(&written).unwrap();
        assert_eq!(self.belief.digest(), judgement.belief.digest());
        judgement
    }

    /// Judges a publication that was just downloaded.
    fn offer(&mut self, publication: &Publication) -> Judgement {
        let offer = Offer { publication: publication.clone(), fetched: self.now };
        self.judge(&Offers::from([(publication.snapshot.cloud(), offer)]))
    }

    fn pass(&mut self, days: i64) {
        self.now += SignedDuration::from_hours(24 * days);
    }

    fn group(&self, name: &str) -> PrefixSet {
        let intent = Intent::of(&self.config);
        let hosts = HostAddresses::new();
        let selection =
            selection::select(&self.config, &intent, self.belief.publications(), &hosts).unwrap();
        selection.groups[&name.parse::<Name>().unwrap()].prefixes.clone()
    }

    fn held(&self) -> Vec<(Kind, bool)> {
        self.belief.holds().iter().map(|hold| (hold.kind, hold.critical)).collect()
    }

    fn decide(&mut self, verdict: Verdict) {
        let order = Order {
            hold: self.belief.holds()[0].id.clone(),
            verdict,
            who: "alice (uid 1000)".to_owned(),
            ticket: Some("CHG-1".to_owned()),
            reason: Some("announced".to_owned()),
        };
        let decision = self.belief.decide(&order, &self.config.guard, self.now).unwrap();
        assert_eq!(
            (decision.who.as_str(), decision.ticket.as_deref()),
            ("alice (uid 1000)", Some("CHG-1"))
        );
    }
}

const ALL: &[&str] = &["192.0.2.0/24", "198.51.100.0/24"];
/// Less by 16 of 512 addresses.
const A_LITTLE_LESS: &[&str] = &[
    "192.0.2.0/24",
    "198.51.100.0/25",
    "198.51.100.128/26",
    "198.51.100.192/27",
    "198.51.100.224/28",
];
const A_THIRD_LESS: &[&str] = &["192.0.2.0/24", "198.51.100.0/26"];

#[test]
fn a_withdrawn_range_stays_open_for_its_grace_and_closes_by_time_alone() {
    let mut host = Host::with(WEB, &[("Web", ALL)]);
    host.pass(7);
    let judgement = host.offer(&publication(&[("Web", A_LITTLE_LESS)]));
    assert!(judgement.events.iter().any(|event| matches!(event, Event::Withdrawn { .. })));
    assert_eq!(host.group("web"), set(ALL));
    let (_, grace) = host.belief.grace().next().unwrap();
    assert_eq!(grace.space, set(&["198.51.100.240/28"]), "never more than what was withdrawn");
    assert_eq!(judgement.next, Some(grace.until));
    host.pass(27);
    host.judge(&Offers::new());
    assert_eq!(host.group("web"), set(ALL));
    host.pass(1);
    let judgement = host.judge(&Offers::new());
    assert!(judgement.events.iter().any(|event| matches!(event, Event::Closed { .. })));
    assert_eq!(host.group("web"), set(A_LITTLE_LESS));
}

#[test]
fn a_range_that_comes_back_within_its_grace_changes_nothing() {
    let mut host = Host::with(WEB, &[("Web", ALL)]);
    host.pass(7);
    host.offer(&publication(&[("Web", A_LITTLE_LESS)]));
    host.pass(14);
    let judgement = host.offer(&publication(&[("Web", ALL)]));
    assert!(judgement.events.iter().any(|event| matches!(event, Event::Returned { .. })));
    assert_eq!((host.group("web"), host.belief.grace().count()), (set(ALL), 0));
    host.pass(60);
    host.judge(&Offers::new());
    assert_eq!(host.group("web"), set(ALL));
}

#[test]
fn grace_is_settable_by_group_and_none_closes_at_once() {
    let config = r#"
        cloud = "example"
        [groups.at-once]
        tags = ["Web"]
        [groups.a-week]
        tags = ["Mail"]
        [guard.groups.at-once]
        grace-days = 0
        [guard.groups.a-week]
        grace-days = 7
    "#;
    let mail: &[&str] = &["203.0.113.0/24"];
    let less_mail: &[&str] =
        &["203.0.113.0/25", "203.0.113.128/26", "203.0.113.192/27", "203.0.113.224/28"];
    let mut host = Host::with(config, &[("Web", ALL), ("Mail", mail)]);
    host.pass(7);
    host.offer(&publication(&[("Web", A_LITTLE_LESS), ("Mail", less_mail)]));
    assert_eq!(host.group("at-once"), set(A_LITTLE_LESS));
    assert_eq!(host.group("a-week"), set(mail));
    host.pass(7);
    host.judge(&Offers::new());
    assert_eq!(host.group("a-week"), set(less_mail));
}

#[test]
fn a_vanished_tag_is_held_for_ever_and_a_rename_is_suggested() {
    let mut host = Host::with(WEB, &[("Web", ALL), ("Other", &["203.0.113.0/24"])]);
    let renamed = publication(&[("WebSites", ALL), ("Other", &["203.0.113.0/24"])]);
    for _ in 0..20 {
        host.pass(7);
        host.offer(&renamed);
        assert_eq!((host.group("web"), host.held()), (set(ALL), vec![(Kind::Removal, true)]));
    }
    let hold = &host.belief.holds()[0];
    let suggests = |cause: &Cause| matches!(cause, Cause::Vanished { renamed: Some(other), .. } if other.as_str() == "WebSites");
    assert!(hold.causes.iter().any(suggests), "{}", hold.why());
    assert_eq!(hold.due, None);
    host.decide(Verdict::Approve);
    host.offer(&renamed);
    // Approved, and open for as long as whatever is withdrawn: counted from when it was seen first.
    assert!(host.belief.holds().is_empty(), "{:?}", host.belief.holds());
    assert!(host.belief.publications()[&Cloud::Example].snapshot.tag("Web").is_none());
}

#[test]
fn a_rename_is_suggested_to_the_narrowest_new_tag_alone() {
    let mail: &[&str] = &["203.0.113.0/24"];
    let everything: &[&str] = &["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"];
    let renamed = |after: &[(&str, &[&str])]| {
        let mut host =
            Host::with(WEB, &[("AzureCloud", everything), ("Web", ALL), ("Other", mail)]);
        host.pass(7);
        host.offer(&publication(after));
        let mut causes = host.belief.holds().iter().flat_map(|hold| hold.causes.clone());
        causes
            .find_map(|cause| match cause {
                Cause::Vanished { renamed, .. } => Some(renamed.map(|name| name.to_string())),
                _ => None,
            })
            .unwrap()
    };
    // One that was there before had the space already.
    assert_eq!(renamed(&[("AzureCloud", everything), ("Other", mail)]), None);
    let new = [("AzureCloud", everything), ("Other", mail), ("Sites", ALL), ("World", everything)];
    assert_eq!(renamed(&new).as_deref(), Some("Sites"));
}

#[test]
fn what_changes_first_by_time_alone_is_when_it_is_judged_again() {
    let config = format!("{WEB}[groups.mail]\ntags = [\"Mail\"]\n");
    let mut host = Host::with(&config, &[("Web", ALL), ("Mail", &["203.0.113.0/26"])]);
    host.pass(7);
    let mail: &[&str] = &["203.0.113.0/26", "203.0.113.64/27", "203.0.113.96/28"];
    let judgement = host.offer(&publication(&[("Web", A_LITTLE_LESS), ("Mail", mail)]));
    let due = host.belief.holds()[0].due.unwrap();
    let closes = host.belief.grace().map(|(_, grace)| grace.until).next().unwrap();
    assert!(due < closes);
    assert_eq!(judgement.next, Some(due));
    // What is overdue waits for a publication, and the clock goes on without it.
    host.pass(7);
    assert_eq!(host.judge(&Offers::new()).next, Some(closes));
}

#[test]
fn beliefs_that_differ_in_what_is_held_or_decided_differ() {
    let mut host = Host::with(WEB, &[("Web", &["192.0.2.0/26"])]);
    host.pass(7);
    host.offer(&publication(&[("Web", &["192.0.2.0/26", "192.0.2.128/25"])]));
    let held = host.belief.clone();
    assert_eq!(held, Belief::read(&held.write().unwrap()).unwrap());
    let mut other = held.clone();
    other.hold_like(&[]);
    assert_ne!(held, other);
    host.decide(Verdict::Approve);
    host.belief.hold_like(held.holds());
    assert_ne!(held, host.belief);
}

#[test]
fn a_held_addition_is_released_after_six_days_if_a_second_download_shows_it() {
    let mut host = Host::with(WEB, &[("Web", &["192.0.2.0/26"])]);
    let grown = publication(&[("Web", &["192.0.2.0/26", "192.0.2.64/27", "192.0.2.96/28"])]);
    host.pass(7);
    host.offer(&grown);
    assert_eq!(host.held(), [(Kind::Addition, false)]);
    let due = host.belief.holds()[0].due.unwrap();
    assert_eq!(due, host.now + SignedDuration::from_hours(24 * 6));
    // One download, however often it is judged, confirms nothing.
    let once =
        Offers::from([(Cloud::Example, Offer { publication: grown.clone(), fetched: host.now })]);
    host.pass(6);
    host.judge(&once);
    assert_eq!(host.held(), [(Kind::Addition, false)]);
    assert_eq!(host.group("web"), set(&["192.0.2.0/26"]));
    let judgement = host.offer(&grown);
    assert!(judgement.events.iter().any(|event| matches!(event, Event::Released { .. })));
    assert_eq!(host.held(), []);
    assert_eq!(host.group("web").v4_addresses(), 64 + 32 + 16);
}

#[test]
fn a_held_removal_is_released_after_28_days_and_three_further_publications() {
    let mut host = Host::with(WEB, &[("Web", ALL)]);
    let base = |number: u64| {
        let text = format!("203.0.113.{}/32", number % 256);
        publication(&[("Web", A_THIRD_LESS), ("Other", &[text.as_str()])])
    };
    host.pass(7);
    host.offer(&base(1));
    assert_eq!(host.held(), [(Kind::Removal, false)]);
    // Time alone is not enough.
    host.pass(40);
    host.offer(&base(1));
    assert_eq!((host.held(), host.group("web")), (vec![(Kind::Removal, false)], set(ALL)));
    for number in 2..=3 {
        host.pass(7);
        host.offer(&base(number));
        assert_eq!(host.held(), [(Kind::Removal, false)], "publication {number}");
    }
    host.pass(7);
    let judgement = host.offer(&base(4));
    assert!(judgement.events.iter().any(|event| matches!(event, Event::Released { .. })));
    assert_eq!(host.held(), []);
    assert_eq!(host.group("web"), set(A_THIRD_LESS), "its grace was over meanwhile");
}

#[test]
fn what_is_critical_is_never_released() {
    let mut host = Host::with(WEB, &[("Web", &["192.0.2.0/26"])]);
    let foreign = publication(&[("Web", &["192.0.2.0/26", "192.0.3.0/24"])]);
    for _ in 0..30 {
        host.pass(7);
        host.offer(&foreign);
        assert_eq!(host.held(), [(Kind::Addition, true)]);
        assert_eq!(host.group("web"), set(&["192.0.2.0/26"]));
    }
    let mut host = Host::with(WEB, &[("Web", ALL)]);
    let halved = publication(&[("Web", &["192.0.2.0/25"])]);
    for _ in 0..30 {
        host.pass(7);
        host.offer(&halved);
        assert_eq!((host.held(), host.group("web")), (vec![(Kind::Removal, true)], set(ALL)));
    }
}

#[test]
fn what_is_plausible_goes_through_beside_what_is_held() {
    let mut host = Host::with(WEB, &[("Web", &["192.0.2.0/25"])]);
    host.pass(7);
    host.offer(&publication(&[("Web", &["192.0.2.0/25", "192.0.2.128/27", "192.0.3.0/28"])]));
    assert_eq!(host.held(), [(Kind::Addition, true)]);
    assert_eq!(host.belief.holds()[0].space, set(&["192.0.3.0/28"]));
    assert_eq!(host.group("web"), set(&["192.0.2.0/25", "192.0.2.128/27"]));
}

#[test]
fn an_approval_is_good_for_one_publication_and_one_difference_and_expires() {
    let start: &[&str] = &["192.0.2.0/26"];
    let grown = publication(&[("Web", &["192.0.2.0/26", "192.0.2.128/25"])]);
    let more = publication(&[("Web", &["192.0.2.0/26", "192.0.2.128/25", "198.51.100.0/24"])]);
    let approved = || {
        let mut host = Host::with(WEB, &[("Web", start)]);
        host.pass(7);
        host.offer(&grown);
        host.decide(Verdict::Approve);
        host
    };
    let mut host = approved();
    host.offer(&grown);
    assert_eq!(host.group("web"), set(&["192.0.2.0/26", "192.0.2.128/25"]));
    // Another publication, even if it holds the approved difference, is not what was approved.
    let mut host = approved();
    host.offer(&more);
    assert_eq!(host.group("web"), set(start));
    assert!(!host.belief.holds().is_empty());
    let mut host = approved();
    host.pass(8);
    host.offer(&grown);
    assert_eq!(host.group("web"), set(start));
    assert_eq!(host.held().len(), 1);
}

#[test]
fn what_is_rejected_stays_out_while_it_is_published_and_can_be_approved_after_all() {
    let mut host = Host::with(WEB, &[("Web", &["192.0.2.0/26"])]);
    let grown = publication(&[("Web", &["192.0.2.0/26", "192.0.2.128/25"])]);
    host.pass(7);
    host.offer(&grown);
    let id = host.belief.holds()[0].id.clone();
    host.decide(Verdict::Reject);
    for _ in 0..10 {
        host.pass(7);
        host.offer(&grown);
        assert_eq!((host.held(), host.group("web")), (vec![], set(&["192.0.2.0/26"])));
    }
    let order = Order {
        hold: id,
        verdict: Verdict::Approve,
        who: "bob".to_owned(),
        ticket: None,
        reason: None,
    };
    host.belief.decide(&order, &host.config.guard, host.now).unwrap();
    host.offer(&grown);
    assert_eq!(host.group("web"), set(&["192.0.2.0/26", "192.0.2.128/25"]));
}

#[test]
fn growth_in_small_steps_is_held_over_four_weeks() {
    let mut host = Host::with(&format!("{WEB}never-release = true"), &[("Web", &["192.0.2.0/26"])]);
    let mut now: Vec<String> = vec!["192.0.2.0/26".to_owned()];
    // A quarter a week, below the weekly limit of a half.
    for block in 0..5 {
        now.push(format!("192.0.2.{}/28", 64 + 16 * block));
        let texts: Vec<&str> = now.iter().map(String::as_str).collect();
        host.pass(7);
        host.offer(&publication(&[("Web", &texts)]));
        assert!(host.group("web").v4_addresses() <= 64 + 48, "after block {block}");
    }
    let why = host.belief.holds()[0].why();
    assert!(why.contains("within four weeks"), "{why}");
}

#[test]
fn nothing_approved_makes_another_cloud_or_an_older_publication_believed() {
    let mut host = Host::with(WEB, &[("Web", ALL)]);
    let dated = |date: &str, tags| publication(tags).dated(Some(date.parse().unwrap()));
    host.pass(7);
    host.offer(&dated("2025-01-13", &[("Web", ALL)]));
    let judgement = host.offer(&dated("2025-01-06", &[("Web", &["192.0.2.0/24"])]));
    assert!(matches!(&judgement.events[..], [Event::Refused { .. }]), "{:?}", judgement.events);
    // A document of another cloud that is offered for this one.
    let other = Snapshot::of_tags(Cloud::China, 1, Vec::new()).unwrap();
    let offer = Offer { publication: Publication::new(other, "test"), fetched: host.now };
    let judgement = host.judge(&Offers::from([(Cloud::Example, offer)]));
    assert!(matches!(&judgement.events[..], [Event::Refused { .. }]), "{:?}", judgement.events);
    assert_eq!(host.group("web"), set(ALL));
}

#[test]
fn an_edit_of_the_configuration_is_no_growth() {
    let tags: &[(&str, &[&str])] = &[("Web", &["192.0.2.0/26"]), ("Mail", ALL)];
    let mut host = Host::with(WEB, tags);
    let wider = WEB.replace(r#"tags = ["Web"]"#, r#"tags = ["Web", "Mail"]"#);
    host.config = Config::parse(Path::new("test.toml"), wider).unwrap();
    host.offer(&publication(tags));
    assert_eq!((host.held(), host.group("web")), (vec![], set(ALL)));
}

#[test]
fn a_difference_of_shares_survives_being_written() {
    // A group without an address before: a share of nothing is no number that JSON has.
    let config = WEB.replace(r#"tags = ["Web"]"#, "tags = [\"Web\"]\nallow-empty = true");
    let mut host = Host::with(&config, &[("Web", &[])]);
    host.pass(7);
    host.offer(&publication(&[("Web", &["192.0.2.0/24", "192.0.3.0/24"])]));
    assert!(host.belief.holds().iter().all(|hold| hold.share().is_finite()));
}

#[test]
fn a_feed_that_flapped_for_real_closes_nothing() {
    let Some(files) = ["20240115", "20240122", "20240129", "20240205"]
        .map(|date| common::feeds::real(&format!("public/ServiceTags_Public_{date}.json")))
        .into_iter()
        .collect::<Option<Vec<_>>>()
    else {
        return;
    };
    let config = "cloud = \"public\"\n[groups.storage]\ntags = [\"Storage.WestUS\"]\n";
    let mut host = Host::new(config);
    let policy = host.config.policy();
    let mut before: Option<PrefixSet> = None;
    for path in files {
        host.offer(&feed::from_file(&path, &policy).unwrap());
        let now = host.group("storage");
        if let Some(before) = &before {
            // 79 % of its addresses were withdrawn for two weeks: not one of them closes.
            assert!(before.is_subset(&now), "{} lost {}", path.display(), before.difference(&now));
        }
        before = Some(now);
        host.pass(7);
    }
    assert_eq!(host.held(), []);
    let open: u64 = host.belief.grace().map(|(_, grace)| grace.space.v4_addresses()).sum();
    assert!(
        open * 100 < host.group("storage").v4_addresses(),
        "{open} addresses are still leaving"
    );
}

#[test]
fn a_first_publication_is_judged_by_what_was_ever_published() {
    let Some(path) = common::feeds::real("public/ServiceTags_Public_20250908.json") else { return };
    let config = "cloud = \"public\"\n[groups.storage]\ntags = [\"Storage\"]\n";
    let mut host = Host::new(config);
    let whole = feed::from_file(&path, &host.config.policy()).unwrap();
    let cut = |keep: usize| {
        let contents = whole.snapshot.tags().iter().map(|tag| {
            let mut content = whole.snapshot.content(tag);
            if content.name.as_str() == "Storage" {
                content.v4.truncate(keep);
            }
            content
        });
        Publication::new(Snapshot::of_tags(Cloud::Public, 370, contents).unwrap(), "test")
    };
    let judgement = host.offer(&cut(20));
    assert_eq!(judgement.withheld, ["storage".parse::<Name>().unwrap()]);
    let why = host.belief.holds()[0].why();
    assert!(why.contains("is expected to have"), "{why}");
    let mut host = Host::new(config);
    host.offer(&whole);
    assert_eq!((host.held().len(), host.group("storage").is_empty()), (0, false));
}
