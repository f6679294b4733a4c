//! The page in a real browser, and what is in it.
#![allow(clippy::format_collect, reason = "a test is read, not run often")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tagwall::config::{Config, Mode, Name};
use tagwall::publish::{ChangeSummary, GroupSummary, PublicationRecord, Step};
use tagwall::report::{
    AgentStatus, Entry, EntryResult, FailedStep, FeedStatus, FoundStatus, GroupStatus, History,
    Status, TargetStatus, Unreadable,
};
use tagwall::serve::{Lists, View};
use tagwall::snapshot::{Cloud, Digest};

use crate::support::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn publication(date: &str, change_number: u64) -> PublicationRecord {
    PublicationRecord {
        cloud: Cloud::Public,
        source: format!(
            "https://download.example/ServiceTags_Public_{}.json",
            date.replace('-', "")
        ),
        date: Some(date.to_owned()),
        change_number,
        digest: Digest::of(date.as_bytes()),
    }
}

fn days_ago(days: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_hours(24 * days)
}

/// A year of generations.
fn history(groups: &[GroupStatus]) -> History {
    let generations = (1..=13_u64).rev().map(|generation| {
        let failed = generation == 9;
        let changes: BTreeMap<Name, GroupSummary> = groups
            .iter()
            .enumerate()
            .filter(|(index, _)| (generation + *index as u64).is_multiple_of(3))
            .map(|(index, group)| {
                let summary = GroupSummary {
                    prefixes_added: 3 + index,
                    prefixes_removed: usize::from(generation.is_multiple_of(2)),
                    v4_addresses_added: 256 * generation,
                    v4_addresses_removed: if generation.is_multiple_of(2) { 2_048 } else { 0 },
                };
                (group.name.clone(), summary)
            })
            .collect();
        Entry {
            generation,
            created: days_ago(14 * (13 - i64::try_from(generation).unwrap()) + 3),
            reason: "publication public 2025-09-08".to_owned(),
            result: if failed { EntryResult::Failed } else { EntryResult::Recorded },
            message: failed
                .then(|| "target edge, verify: nft: syntax error, unexpected }".to_owned()),
            rule_set: Digest::of(b"rules"),
            configuration: None,
            loads: BTreeMap::new(),
            publications: vec![publication("2025-09-08", 367)],
            summary: ChangeSummary { groups: changes, ..ChangeSummary::default() },
            behind: BTreeMap::new(),
            notes: Vec::new(),
        }
    });
    History {
        format: "tagwall-history/1".to_owned(),
        current: Some(12),
        generations: generations.collect(),
        unreadable: vec![Unreadable {
            generation: 4,
            reason: "its manifest is damaged".to_owned(),
        }],
    }
}

/// Firewalls that are getting full, and a group that is fitted.
fn crowd(status: &mut Status) {
    status.widened = serde_json::from_value(serde_json::json!([{
        "group": "apim-prod-monitor", "prefixes": 850, "v4_addresses": 1_024, "v4_share": 0.0104,
        "v6_addresses": "0", "v6_share": 0.0,
    }]))
    .unwrap();
    let limit = |object: &str, count: usize, near: bool, forecast: serde_json::Value| {
        serde_json::json!({
            "target": "edge", "object": object, "what": "entries", "count": count, "limit": 50_000,
            "forecast": forecast, "near": near,
        })
    };
    let in_months = status.at + SignedDuration::from_hours(24 * 130);
    status.capacity = serde_json::from_value(serde_json::json!([
        limit(
            "the lists that rules use together",
            43_900,
            true,
            serde_json::json!({ "kind": "reached", "at": in_months, "per_week": 328.0 })
        ),
        limit("the device", 640, false, serde_json::json!({ "kind": "not-growing" })),
    ]))
    .unwrap();
}

fn status(groups: Vec<GroupStatus>) -> Status {
    let now = Timestamp::now();
    let text = serde_json::json!({
        "format": "tagwall-status/1", "state_dir": "/var/lib/tagwall", "generation": 12, "created": days_ago(17),
        "reason": "publication public 2025-09-08", "rule_set": Digest::of(b"rules"), "publications": [], "pin": null,
        "interrupted": false, "targets": []
    });
    let mut status: Status = serde_json::from_value(text).unwrap();
    status.at = now;
    status.publications = vec![publication("2025-09-08", 367)];
    status.groups = groups;
    crowd(&mut status);
    let target = |text: &str, dialect: &str, applied, took: &str| TargetStatus {
        name: name(text),
        dialect: dialect.to_owned(),
        applied,
        files: 3,
        installed: Vec::new(),
        drift: None,
        reach: applied.then(|| {
            let unknown =
                json!({ "reached": "unknown", "reason": "interface wan0 does not exist" });
            let families = json!({ "ipv4": { "reached": "yes" }, "ipv6": unknown });
            serde_json::from_value(json!({ "families": families })).unwrap()
        }),
        foreign: None,
        behind: None,
        microseconds: serde_json::from_str(took).unwrap(),
    };
    status.targets = vec![
        target("edge", "panos", false, "{}"),
        target(
            "local",
            "nftables",
            true,
            r#"{"verify": 41200, "apply": 53000, "read-back": 61700}"#,
        ),
    ];
    let feed = |text: &str, error: Option<&str>| FeedStatus {
        name: name(text),
        kind: "download".to_owned(),
        cloud: Cloud::Public,
        looked: Some(now - SignedDuration::from_mins(4)),
        answered: Some(now - SignedDuration::from_mins(if error.is_some() { 64 } else { 4 })),
        found: Some(FoundStatus {
            source: "ServiceTags_Public_20250908.json".to_owned(),
            date: Some("2025-09-08".to_owned()),
            change_number: 367,
            digest: Digest::of(b"x"),
            at: days_ago(3),
        }),
        error: error.map(str::to_owned),
        failures: u32::from(error.is_some()),
        next: Some(now + SignedDuration::from_mins(56)),
        notes: Vec::new(),
    };
    status.agent = Some(AgentStatus {
        version: "0.1.0".to_owned(),
        pid: 1,
        since: days_ago(40),
        config: "/etc/tagwall/tagwall.toml".to_owned(),
        config_loaded: days_ago(40),
        config_refused: None,
        mode: Mode::Automatic,
        closed: None,
        closed_until: None,
        waiting: None,
        failed: None,
        failed_step: Some(FailedStep { target: name("late"), step: Step::Verify }),
        next: None,
    });
    status.feeds = vec![feed("microsoft", None), feed("mirror", Some("connection refused"))];
    status.holds = serde_json::from_value(serde_json::json!([
        {"id": "1a2b3c4d", "cloud": "public", "kind": "addition", "groups": ["apim-prod-monitor"], "addresses": "65536",
         "why": "outside the neighbourhoods", "since": days_ago(2), "critical": true},
        {"id": "5e6f7a8b", "cloud": "public", "kind": "removal", "groups": ["apim-prod-key-vault", "apim-prod-monitor"],
         "addresses": "1024", "why": "12 % of the group", "since": days_ago(5),
         "due": now + SignedDuration::from_hours(23 * 24), "critical": false}
    ]))
    .unwrap();
    let known = serde_json::json!({"address": "192.0.2.77", "first": days_ago(9), "last": now, "by": ["192.0.2.53"]});
    status.names = serde_json::from_value(serde_json::json!([
        {"name": "shoebox2.prod.microsoftmetrics.com", "addresses": [known], "ttl": 60, "answered": now, "looked": now,
         "due": now + SignedDuration::from_secs(55), "failures": 0},
        {"name": "login.microsoftonline.com", "addresses": [known], "ttl": 300, "answered": days_ago(1), "looked": now,
         "due": now + SignedDuration::from_mins(4), "failures": 3,
         "refused": {"10.0.0.1": "a private address"},
         "outside": {"tag": "AzureActiveDirectory", "addresses": ["192.0.2.77"]}}
    ]))
    .unwrap();
    status.receivers = serde_json::from_value(serde_json::json!([
        {"name": "on-call", "way": "webhook", "told": days_ago(1), "error": "connection refused", "given_up": 2}
    ]))
    .unwrap();
    status
}

/// A server that has everything to show.
pub(crate) fn shown_house() -> House {
    let house = House::open("");
    house.show(&shown_view());
    house
}

/// Everything that there is to show.
pub(crate) fn shown_view() -> View {
    let groups: Vec<GroupStatus> = [
        ("apim-prod-storage-westeurope", 312, 48, 412_160),
        ("apim-prod-sql-westeurope", 41, 12, 23_040),
        ("apim-prod-key-vault", 96, 30, 2_304),
        ("apim-prod-monitor", 640, 210, 98_304),
        ("apim-prod-metrics", 0, 0, 0),
    ]
    .map(|(text, v4_prefixes, v6_prefixes, v4_addresses)| GroupStatus {
        name: name(text),
        v4_prefixes,
        v6_prefixes,
        v4_addresses,
        hosts: if v4_addresses == 0 { 9 } else { 0 },
    })
    .into();
    let text = "[targets.edge.panos]\nformat = \"edl\"\nfrom = [\"a\"]\nto = [\"b\"]\n\
                [targets.edge.panos.lists]\nbase-url = \"https://tagwall.example.net/lists/edge\"\nmax-entries = 2000\n";
    let config = Config::parse(Path::new("test.toml"), text.to_owned()).unwrap();
    let edge = name("edge");
    let lines: String =
        (0..1_560).map(|n| format!("198.18.{}.{}/32\n", n / 250, n % 250)).collect();
    let files = [
        (&edge, "apim-prod-storage-westeurope.txt", lines.into()),
        (&edge, "apim-prod-key-vault.txt", "192.0.2.0/24\n2001:db8::/48\n".into()),
    ];
    let lists = Lists::of(12, files, &config, days_ago(17), None);
    View {
        history: Some(Arc::new(history(&groups))),
        status: Some(Arc::new(status(groups))),
        lists: Some(Arc::new(lists)),
        ..View::default()
    }
}

#[test]
fn it_says_what_is_in_force_and_loads_nothing() {
    let house = shown_house();
    house.get(
        "/lists/edge/apim-prod-key-vault.txt",
        &[("user-agent", "<script>alert('x')</script>")],
    );
    let answer = house.get("/", &[]);
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let policy = answer.header("content-security-policy").unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    let page = answer.text();
    for words in [
        "Generation 12 is in force",
        "1,562 of 2,000 (78 %)",
        "connection refused",
        "&lt;script&gt;alert(",
        "target edge, verify: nft: syntax error",
        "412,160",
        "has it",
        "2 changes are held until somebody decides",
        "addition of 65,536 addresses",
        "only by a person",
        "outside of AzureActiveDirectory",
        "refused 10.0.0.1: a private address",
        "2 messages given up",
        "43,900 of 50,000 (87 %)",
        "at this growth it reaches 50,000 in 4 months",
        "The group apim-prod-monitor is WIDER than what is published",
        "wider than published",
        "Generation 4 cannot be read: its manifest is damaged.",
        "verify 41.2 ms, apply 53.0 ms, read back 61.7 ms",
    ] {
        assert!(page.contains(words), "{words} is not on the page");
    }
    assert!(!page.contains("<script"), "no script");
    for loading in ["src=", "@import", "url(", "//cdn", "style=\""] {
        assert!(!page.contains(loading), "{loading}");
    }
    // Each table can be found and read by those who do not see it.
    assert_eq!(
        page.matches("<table>").count(),
        page.matches("role=\"region\" aria-labelledby=").count()
    );
    assert_eq!(page.matches("<svg").count(), page.matches("role=\"img\" aria-label=").count());
    let status = house.get("/status.json", &[]);
    let value: serde_json::Value = serde_json::from_slice(&status.body).unwrap();
    assert_eq!(value["generation"], 12);
    assert_eq!(value["serve"]["lists"][0]["counted"], 1_562);
}

#[test]
fn a_browser_shows_it_in_light_and_dark_on_wide_and_narrow() {
    let house = shown_house();
    house.get("/lists/edge/apim-prod-key-vault.txt", &[("user-agent", "PAN-OS/11.1.4")]);
    let shots = std::env::var_os("TAGWALL_SHOTS").map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).join("shots"),
        std::path::PathBuf::from,
    );
    std::fs::create_dir_all(&shots).unwrap();
    let profile = tempfile::tempdir().unwrap();
    let mut sizes = Vec::new();
    for (scheme, setting) in [("light", "1"), ("dark", "0")] {
        for (width, size) in [("wide", "1280,3200"), ("narrow", "500,4800")] {
            let shot = shots.join(format!("{scheme}-{width}.png"));
            let mut chromium = Command::new("chromium");
            chromium
                .args([
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-background-networking",
                ])
                .args(["--no-first-run", "--hide-scrollbars", "--enable-logging=stderr"])
                .arg(format!("--blink-settings=preferredColorScheme={setting}"))
                .arg(format!("--user-data-dir={}", profile.path().display()))
                .arg(format!("--window-size={size}"))
                .arg(format!("--screenshot={}", shot.display()))
                .arg(format!("http://{}/", house.address()));
            let Ok(output) = chromium.output() else {
                eprintln!("skipped: chromium is not installed");
                return;
            };
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                !words.contains("Content Security Policy"),
                "the page breaks its own policy: {words}"
            );
            let image = std::fs::read(&shot).unwrap_or_else(|_| panic!("no picture: {words}"));
            assert!(image.starts_with(b"\x89PNG"));
            sizes.push(image);
        }
    }
    assert_ne!(sizes[0], sizes[2], "dark is another picture than light");
    // Nothing was asked for but the page.
    let metrics = house.get("/metrics", &[]).text();
    assert!(!metrics.contains("code=\"404\""), "{metrics}");
}
