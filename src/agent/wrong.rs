//! What is wrong right now, for the people who are told. Pure: all that it needs is handed in.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::notifying::{View, dated};
use crate::config::{EventKind, Feed, Name};
use crate::feed::{DISCOVERY_ONLY, Ending};
use crate::notify::Event;
use crate::reach::Reached;
use crate::report::FeedStatus;
use crate::report::text::{length, relative};
use crate::snapshot::Cloud;

/// So long before a credential ends one is told.
const EXPIRES_SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// So long a name is not answered before one is told.
const UNANSWERED: SignedDuration = SignedDuration::from_hours(1);

/// Everything that is wrong, in a fixed order.
pub(super) fn all(view: &View<'_>) -> Vec<Event> {
    let mut events = Vec::new();
    publishing(view, &mut events);
    for hold in &view.facts.holds {
        let subject = format!("hold {}", hold.id);
        let event = |words| {
            let summary = format!("{}; {words}see `tagwall review`", hold.summary());
            Event::new(EventKind::Held, subject, &summary)
        };
        events.push(if hold.critical {
            event("it may be an attack, and nothing but a decision releases it; ").critical()
        } else {
            event("")
        });
    }
    for feed in &view.status.feeds {
        if let Some(text) = unreachable(view, feed) {
            push(&mut events, EventKind::Failed, subject(&feed.name), &text);
        }
    }
    for cloud in view.config.clouds() {
        if let Some(text) = stale(view, cloud) {
            push(&mut events, EventKind::Stale, format!("cloud {cloud}"), &text);
        }
    }
    names(view, &mut events);
    expiring(view, &mut events);
    scarce(view, &mut events);
    events
}

/// What a person should know of a feed beside its errors.
pub(super) fn notes(view: &View<'_>, feed: &FeedStatus) -> Vec<String> {
    let mut notes = feed.notes.clone();
    notes.extend(stale(view, feed.cloud));
    let lonely = view.config.discovery_only();
    if lonely.get(&feed.cloud).is_some_and(|feeds| feeds.contains(&&feed.name)) {
        notes.push(DISCOVERY_ONLY.to_owned());
    }
    notes
}

fn push(events: &mut Vec<Event>, kind: EventKind, subject: impl Into<String>, summary: &str) {
    events.push(Event::new(kind, subject, summary));
}

fn subject(feed: &Name) -> String {
    format!("feed {feed}")
}

/// Publications that fail or are stopped, targets that are not as they should be, a configuration that is refused.
fn publishing(view: &View<'_>, events: &mut Vec<Event>) {
    let status = view.status;
    if let Some(failed) = status.agent.as_ref().and_then(|agent| agent.failed.as_ref()) {
        push(events, EventKind::Failed, "publication", failed);
    }
    if let Some(refused) = status.agent.as_ref().and_then(|agent| agent.config_refused.as_ref()) {
        let first = refused.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let text = format!("refused, the one before stays in use; see `tagwall status`: {first}");
        push(events, EventKind::Failed, "configuration", &text);
    }
    for (subject, text) in view.drifted {
        let first = text.lines().next().unwrap_or_default();
        push(events, EventKind::Failed, subject.clone(), first);
    }
    for target in view.contested {
        let mut event = Event::new(
            EventKind::Failed,
            format!("target {target} contested"),
            "something keeps removing these rules: repairs wait 1 to 15 minutes; see `tagwall history`",
        );
        event.critical = true;
        events.push(event);
    }
    for target in &status.targets {
        if let Some(reach) = &target.reach {
            if let Some(reasons) = reach.reasons(Reached::No) {
                let text = format!("packets do not get to its rules; {reasons}");
                let subject = format!("target {} reach", target.name);
                events.push(Event::new(EventKind::Failed, subject, &text).critical());
            }
            if !reach.overruled.is_empty() {
                let text = format!("overruled; {}", reach.overruled.join("; "));
                push(events, EventKind::Failed, format!("target {} overruled", target.name), &text);
            }
        }
        if let Some(behind) = &target.behind {
            let text = format!("is behind, and keeps the files that it had; {}", behind.message);
            push(events, EventKind::Failed, format!("target {} behind", target.name), &text);
        }
    }
    let faults: Vec<_> = status.serve.iter().flat_map(|serve| &serve.faults).cloned().collect();
    if !faults.is_empty() {
        push(events, EventKind::Failed, "server", &faults.join("; "));
    }
    if let Some(pause) = &status.pause {
        let text = format!(
            "paused by {} ({}): nothing is published until `tagwall resume`",
            pause.by, pause.reason
        );
        push(events, EventKind::Paused, "pause", &text);
    }
    if let Some(pin) = &status.pin {
        let text = format!(
            "generation {} is kept in force by a rollback: nothing is published until `tagwall resume`",
            pin.generation
        );
        push(events, EventKind::Paused, "pin", &text);
    }
}

/// Firewalls that are nearly full, or will be soon.
fn scarce(view: &View<'_>, events: &mut Vec<Event>) {
    let mut targets: Vec<&Name> = view.status.capacity.iter().map(|one| &one.target).collect();
    targets.dedup();
    for target in targets {
        let of_target = view.status.capacity.iter().filter(|one| one.target == *target && one.near);
        let texts: Vec<String> = of_target.map(|one| one.summary(view.now)).collect();
        if !texts.is_empty() {
            let subject = format!("target {target} capacity");
            push(events, EventKind::Expiring, subject, &texts.join("; "));
        }
    }
}

/// Why a feed is out of reach, when that is worth telling.
fn unreachable(view: &View<'_>, feed: &FeedStatus) -> Option<String> {
    let known = || {
        let same = |event: &&Event| {
            event.kind == EventKind::Failed && event.subject == subject(&feed.name)
        };
        view.known.iter().find(same).map(|event| event.summary.clone())
    };
    let Some(error) = &feed.error else {
        // What an earlier life told has not ended before the feed has answered.
        return if feed.looked.is_none() { known() } else { None };
    };
    let confirmed = view.facts.confirmed.get(feed.name.as_str()).copied();
    let answered = feed.answered.max(confirmed);
    let settings = view.config.feeds.get(&feed.name).map(toml::Spanned::get_ref);
    let limit = SignedDuration::from(
        settings.map_or(Feed::UNREACHABLE_AFTER, |feed| feed.unreachable_after),
    );
    let silent = view.now.duration_since(answered.unwrap_or(view.since));
    let told = feed.answered.is_none() && known().is_some();
    let serious = view.hopeless.contains(&feed.name) || silent >= limit || told;
    let last = answered
        .map_or_else(|| "never answered yet".to_owned(), |at| format!("last answered at {at}"));
    serious.then(|| format!("{last}: {error}"))
}

/// How old the newest publication of a cloud is, when that is too old.
fn stale(view: &View<'_>, cloud: Cloud) -> Option<String> {
    let of_cloud =
        |feed: &&Feed| feed.cloud.unwrap_or_else(|| view.config.default_cloud()) == cloud;
    let feeds = view.config.feeds.values().map(toml::Spanned::get_ref).filter(of_cloud);
    let limit = SignedDuration::from(feeds.map(|feed| feed.stale_after).min()?);
    let brought = view.status.feeds.iter().filter(|feed| feed.cloud == cloud).filter_map(|feed| {
        let found = feed.found.as_ref()?;
        let date = found.date.as_ref().and_then(|date| date.parse().ok());
        Some(dated(date).unwrap_or(found.at))
    });
    let newest = brought.chain(view.facts.newest.get(&cloud).copied()).max()?;
    let age = view.now.duration_since(newest);
    (age >= limit).then(|| {
        let day = newest.strftime("%Y-%m-%d");
        format!("the newest publication is of {day}, more than {} old", length(limit))
    })
}

/// Hostnames that nobody answers, and answers that no one should give.
fn names(view: &View<'_>, events: &mut Vec<Event>) {
    for name in &view.status.names {
        let subject = |what: &str| format!("name {}{what}", name.name);
        let silent = view.now.duration_since(name.answered.unwrap_or(view.since));
        if name.failures > 0 && silent >= UNANSWERED {
            let last = name.answered.map_or_else(
                || "never answered yet".to_owned(),
                |at| format!("last answered at {at}"),
            );
            let reasons: BTreeSet<&str> = name.troubles.values().map(String::as_str).collect();
            let reasons = reasons.into_iter().collect::<Vec<_>>().join("; ");
            let text = format!("{last}, what is known of it stays: {reasons}");
            push(events, EventKind::Failed, subject(""), &text);
        }
        if !name.refused.is_empty() {
            let refused: Vec<String> = name
                .refused
                .iter()
                .map(|(address, reason)| format!("{address} ({reason})"))
                .collect();
            let text = format!("answered with what is refused: {}", refused.join(", "));
            push(events, EventKind::Failed, subject(": refused"), &text);
        }
        if let Some(outside) = &name.outside {
            let addresses: Vec<String> =
                outside.addresses.iter().map(ToString::to_string).collect();
            let text = format!(
                "answered with addresses outside of {}, which should hold them: news, or an attack; they are let through: {}",
                outside.tag,
                addresses.join(" ")
            );
            push(events, EventKind::Failed, subject(": outside"), &text);
        }
    }
}

/// Credentials and certificates that end soon, have ended, or cannot be read.
fn expiring(view: &View<'_>, events: &mut Vec<Event>) {
    for (name, endings) in &view.facts.endings {
        match endings {
            Ok(endings) => {
                for Ending { what, at } in
                    endings.iter().filter(|ending| ends_soon(ending.at, view.now))
                {
                    push(
                        events,
                        EventKind::Expiring,
                        format!("{}: {what}", subject(name)),
                        &ends(*at, view.now),
                    );
                }
            }
            Err(error) => {
                push(events, EventKind::Failed, format!("{}: certificate", subject(name)), error);
            }
        }
    }
    if let Some(serve) = &view.status.serve
        && let Some(at) = serve.certificate_ends.filter(|_| serve.certificate_warning)
    {
        push(events, EventKind::Expiring, "server: certificate", &ends(at, view.now));
    }
}

fn ends_soon(at: Timestamp, now: Timestamp) -> bool {
    at.duration_since(now) <= EXPIRES_SOON
}

fn ends(at: Timestamp, now: Timestamp) -> String {
    let verb = if at > now { "ends" } else { "ended" };
    format!("{verb} at {at}, {}: renew it", relative(at, now))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use super::super::notifying::Facts;
    use super::*;
    use crate::config::Config;
    use crate::report::{CapacityStatus, Forecast, HoldStatus, Status, TargetStatus};
    use crate::state::Memory;

    const CONFIG: &str = "cloud = \"public\"\n[groups.storage]\ntags = [\"Storage\"]\n[feeds.api.discovery]\n\
         subscription = \"00000000-0000-0000-0000-000000000000\"\nlocation = \"westeurope\"\n[feeds.api.discovery.managed-identity]\n";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    struct Case {
        config: Config,
        status: Status,
        facts: Facts,
        hopeless: BTreeSet<Name>,
        known: Vec<Event>,
    }

    impl Case {
        /// A host whose feed answered well an hour ago.
        fn new(config: &str) -> Self {
            let config = Config::parse(Path::new("test.toml"), config.to_owned()).unwrap();
            let (memory, drift) = (Memory::default(), BTreeMap::new());
            let now = at("2025-09-08T12:00:00Z");
            let mut status = Status::of(Path::new("state"), None, None, &memory, &drift, now);
            status.feeds = config
                .feeds
                .keys()
                .map(|name| FeedStatus {
                    name: name.clone(),
                    kind: "discovery".to_owned(),
                    cloud: Cloud::Public,
                    looked: Some(at("2025-09-08T11:00:00Z")),
                    answered: Some(at("2025-09-08T11:00:00Z")),
                    found: None,
                    error: None,
                    failures: 0,
                    next: None,
                    notes: Vec::new(),
                })
                .collect();
            let facts = Facts::default();
            Self { config, status, facts, hopeless: BTreeSet::new(), known: Vec::new() }
        }

        fn view(&self) -> View<'_> {
            View {
                config: &self.config,
                status: &self.status,
                facts: &self.facts,
                drifted: &[],
                contested: const { &BTreeSet::new() },
                hopeless: &self.hopeless,
                known: &self.known,
                since: at("2025-09-08T10:00:00Z"),
                now: self.status.at,
            }
        }

        fn told(&self) -> Vec<(EventKind, String)> {
            all(&self.view()).into_iter().map(|event| (event.kind, event.subject)).collect()
        }

        fn failing(&mut self, answered: Option<&str>) {
            let feed = &mut self.status.feeds[0];
            feed.error = Some("no answer".to_owned());
            feed.answered = answered.map(at);
        }
    }

    fn failed(subject: &str) -> Vec<(EventKind, String)> {
        vec![(EventKind::Failed, subject.to_owned())]
    }

    #[test]
    fn a_firewall_that_is_nearly_full_is_one_subject_a_target() {
        let mut case = Case::new(CONFIG);
        let limit = |target: &str, object: &str, near: bool| CapacityStatus {
            target: target.parse().unwrap(),
            object: object.to_owned(),
            what: "prefixes".to_owned(),
            count: 90,
            limit: 100,
            forecast: Forecast::NotGrowing,
            near,
        };
        case.status.capacity = vec![
            limit("edge", "group sql", true),
            limit("edge", "group storage", true),
            limit("edge", "group web", false),
            limit("local", "group sql", false),
        ];
        let told = all(&case.view());
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(
            (told[0].kind, told[0].subject.as_str()),
            (EventKind::Expiring, "target edge capacity")
        );
        assert!(told[0].summary.contains("group sql: 90 of 100 prefixes (90 %)"), "{told:?}");
        assert!(told[0].summary.contains("group storage") && !told[0].summary.contains("web"));
    }

    #[test]
    fn rules_that_are_not_reached_are_critical_and_unknown_is_no_alert() {
        let mut case = Case::new(CONFIG);
        let target = |name: &str, reached: &str, overruled: &[&str]| -> TargetStatus {
            serde_json::from_value(serde_json::json!({
                "name": name, "dialect": "nftables", "applied": true, "files": 1, "installed": [],
                "reach": {
                    "families": { "ipv6": { "reached": reached, "reason": "no base chain" } },
                    "overruled": overruled,
                },
            }))
            .unwrap()
        };
        case.status.targets = vec![
            target("edge", "no", &[]),
            target("lab", "unknown", &[]),
            target("late", "yes", &["dropped by another table"]),
        ];
        let told = all(&case.view());
        let told: Vec<_> = told
            .iter()
            .map(|event| (event.subject.as_str(), event.critical, event.summary.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("target edge reach", true, "packets do not get to its rules; IPv6: no base chain"),
                ("target late overruled", false, "overruled; dropped by another table"),
            ]
        );
    }

    #[test]
    fn a_feed_is_out_of_reach_after_a_day_or_at_once_when_nobody_can_wait_for_it() {
        let mut case = Case::new(CONFIG);
        assert_eq!(case.told(), []);
        case.failing(Some("2025-09-07T12:00:01Z"));
        assert_eq!(case.told(), [], "a day is not over");
        case.failing(Some("2025-09-07T12:00:00Z"));
        assert_eq!(case.told(), failed("feed api"));
        // In another life it has not answered, but the archive knows when it did.
        case.failing(None);
        assert_eq!(case.told(), []);
        case.facts.confirmed.insert("api".to_owned(), at("2025-09-01T00:00:00Z"));
        assert_eq!(case.told(), failed("feed api"));
        case.failing(Some("2025-09-08T11:00:00Z"));
        case.hopeless.insert("api".parse().unwrap());
        assert_eq!(case.told(), failed("feed api"));
    }

    #[test]
    fn a_hold_that_only_a_person_may_release_is_an_alarm() {
        let mut case = Case::new(CONFIG);
        let hold = |critical| HoldStatus {
            id: "3f2a".to_owned(),
            cloud: Cloud::Public,
            kind: "addition".to_owned(),
            groups: vec!["storage".parse().unwrap()],
            addresses: "65536".to_owned(),
            why: "outside the neighbourhoods".to_owned(),
            since: Timestamp::UNIX_EPOCH,
            due: None,
            critical,
        };
        for critical in [false, true] {
            case.facts.holds = vec![hold(critical)];
            let told = all(&case.view());
            let [event] = told.as_slice() else { unreachable!("{told:?}") };
            assert_eq!((event.kind, event.critical), (EventKind::Held, critical));
            assert_eq!(event.summary.contains("nothing but a decision"), critical);
        }
    }

    #[test]
    fn what_an_earlier_life_told_of_a_feed_lasts_until_it_has_answered() {
        let mut case = Case::new(CONFIG);
        case.known = vec![Event::new(EventKind::Failed, "feed api", "no answer")];
        case.status.feeds[0].looked = None;
        case.status.feeds[0].answered = None;
        assert_eq!(case.told(), failed("feed api"), "it was not looked at yet");
        case.status.feeds[0].looked = Some(at("2025-09-08T11:59:00Z"));
        case.failing(None);
        assert_eq!(case.told(), failed("feed api"), "it fails still");
        case.status.feeds[0].error = None;
        case.status.feeds[0].answered = Some(at("2025-09-08T11:59:30Z"));
        assert_eq!(case.told(), []);
        case.failing(Some("2025-09-08T11:59:30Z"));
        assert_eq!(case.told(), [], "another failure has its own time");
    }

    #[test]
    fn an_old_publication_is_told_whatever_is_known_of_its_age() {
        let mut case = Case::new(CONFIG);
        case.facts.newest.insert(Cloud::Public, at("2025-08-04T12:00:01Z"));
        assert_eq!(case.told(), []);
        case.facts.newest.insert(Cloud::Public, at("2025-08-04T12:00:00Z"));
        assert_eq!(case.told(), [(EventKind::Stale, "cloud public".to_owned())]);
        let notes = notes(&case.view(), &case.status.feeds[0]);
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].contains("2025-08-04") && notes[1] == DISCOVERY_ONLY, "{notes:?}");
    }

    #[test]
    fn discovery_is_no_only_feed_beside_another_of_its_cloud() {
        let more = |cloud: &str| {
            Case::new(&format!(
                "{CONFIG}[feeds.page]\ncloud = \"{cloud}\"\n[feeds.page.download]\n"
            ))
        };
        assert_eq!(more("public").config.discovery_only().len(), 0);
        assert_eq!(more("china").config.discovery_only().len(), 1);
    }

    #[test]
    fn a_credential_is_told_thirty_days_before_it_ends() {
        let mut case = Case::new(CONFIG);
        let mut ends = |time: &str| {
            let ending = Ending { what: "client secret".to_owned(), at: at(time) };
            case.facts.endings.insert("api".parse().unwrap(), Ok(vec![ending]));
            all(&case.view()).pop().map(|event| (event.kind, event.summary))
        };
        assert_eq!(ends("2025-10-08T12:00:01Z"), None);
        let (kind, text) = ends("2025-10-08T12:00:00Z").unwrap();
        assert_eq!(kind, EventKind::Expiring);
        assert!(text.starts_with("ends at 2025-10-08"), "{text}");
        let (_, text) = ends("2025-09-08T11:00:00Z").unwrap();
        assert!(text.starts_with("ended at"), "{text}");
        case.facts.endings.insert("api".parse().unwrap(), Err("it cannot be read".to_owned()));
        assert_eq!(case.told(), failed("feed api: certificate"));
    }
}
