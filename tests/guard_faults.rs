//! Thousands of faults and attacks in real publications: what is held, what is let through, and why.
//!
//! Short form: a few of each kind; `TAGWALL_LONG=1`: thousands. Prints the table that docs/guard.md shows.

#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::unnecessary_wraps, reason = "every kind of fault has one signature")]
#![allow(clippy::swap_with_temporary, reason = "what is found borrows what is changed")]
#![allow(clippy::print_stdout, reason = "the table is what the test is run for")]

mod common;
#[path = "guard_faults/mutations.rs"]
mod mutations;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use mutations::{Document, KINDS, Mutated};
use tagwall::config::{Config, Name};
use tagwall::feed;
use tagwall::guard::{self, Belief, Kind, Offer, Offers};
use tagwall::intent::Intent;
use tagwall::operate::{Outcome, Replay};
use tagwall::prefix::PrefixSet;
use tagwall::selection::{self, HostAddresses, Publications};
use tagwall::snapshot::{Cloud, Publication, Snapshot, TagContent, TagName};

const BEFORE: &str = "public/ServiceTags_Public_20250901.json";
const AFTER: &str = "public/ServiceTags_Public_20250908.json";
const FOREIGN: [&str; 2] = [
    "china/ServiceTags_China_20250609.json",
    "government/ServiceTags_AzureGovernment_20250721.json",
];

const REGIONAL: &str = r#"
    cloud = "public"
    [apim.prod]
    regions = ["westeurope", "northeurope", "eastus", "southeastasia"]
    network = "external"
    subnets = ["10.20.0.0/24"]
    tunnelled = ["0.0.0.0/0"]
    egress = ["wan0"]
    features = ["entra", "event-hubs", "connectors", "diagnostics", "captcha"]
"#;

fn global() -> String {
    let tags = [
        "Storage",
        "Sql",
        "AzureKeyVault",
        "EventHub",
        "AzureActiveDirectory",
        "AzureMonitor",
        "ApiManagement",
    ];
    let mut text = "cloud = \"public\"\n".to_owned();
    for tag in tags {
        _ = writeln!(text, "[groups.{tag}]\ntags = [\"{tag}\"]");
    }
    text
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A configuration with what it believes, and what the next publication really changed.
struct Bench {
    config: Config,
    intent: Intent,
    belief: Belief,
    after: Publication,
    bytes: Vec<u8>,
    foreign: Vec<Publication>,
    /// The tags that the groups are made of.
    selected: Vec<TagName>,
}

type Groups = BTreeMap<Name, PrefixSet>;

impl Bench {
    fn new(text: &str) -> Option<Self> {
        let (before, after) = (common::feeds::real(BEFORE)?, common::feeds::real(AFTER)?);
        let foreign: Option<Vec<_>> =
            FOREIGN.iter().map(|name| common::feeds::real(name)).collect();
        let config = Config::parse(Path::new("test.toml"), text.to_owned()).unwrap();
        let policy = config.policy();
        let read = |path: &Path| feed::from_file(path, &policy).unwrap();
        let intent = Intent::of(&config);
        let first = read(&before);
        let now = time("2025-09-01T12:00:00Z");
        let offers = Offers::from([(Cloud::Public, Offer { publication: first, fetched: now })]);
        let judgement = guard::judge(&config, &intent, &Belief::default(), &offers, now);
        assert!(judgement.belief.holds().is_empty(), "{:?}", judgement.belief.holds());
        let belief = judgement.belief;
        let bytes = std::fs::read(&after).unwrap();
        let after = read(&after);
        let selection =
            selection::select(&config, &intent, belief.publications(), &HostAddresses::new())
                .unwrap();
        let mut selected: Vec<TagName> =
            selection.groups.into_values().flat_map(|group| group.tags).collect();
        selected.sort();
        selected.dedup();
        let foreign = foreign?.iter().map(|path| read(path)).collect();
        Some(Self { config, intent, belief, after, bytes, foreign, selected })
    }

    fn groups(&self, publications: &Publications) -> Groups {
        let selection =
            selection::select(&self.config, &self.intent, publications, &HostAddresses::new());
        let groups = selection.unwrap_or_else(|error| panic!("{error}")).groups;
        groups
            .into_iter()
            .filter(|(_, group)| !group.tags.is_empty())
            .map(|(name, group)| (name, group.prefixes))
            .collect()
    }

    fn in_force(&self) -> Groups {
        self.groups(self.belief.publications())
    }

    fn judge(&self, publication: Publication) -> Belief {
        let now = time("2025-09-08T12:00:00Z");
        let offers = Offers::from([(Cloud::Public, Offer { publication, fetched: now })]);
        let judgement = guard::judge(&self.config, &self.intent, &self.belief, &offers, now);
        assert!(judgement.withheld.is_empty());
        judgement.belief
    }

    fn contents(&self) -> Vec<TagContent> {
        let snapshot = &self.after.snapshot;
        snapshot.tags().iter().map(|tag| snapshot.content(tag)).collect()
    }

    fn any_selected(&self, rng: &mut Rng) -> TagName {
        self.selected[rng.usize(..self.selected.len())].clone()
    }
}

fn publication(contents: Vec<TagContent>) -> Publication {
    let snapshot = Snapshot::of_tags(Cloud::Public, 400, contents).unwrap();
    Publication::new(snapshot, "ServiceTags_Public_20250908.json")
}

/// What became of a kind of mutation.
#[derive(Debug, Default)]
struct Tally {
    refused: usize,
    held: usize,
    /// Nothing that is selected is touched.
    harmless: usize,
    /// Only withdrawals below the limits: still open for four weeks.
    graced: usize,
    through: usize,
    reasons: BTreeMap<String, usize>,
}

#[test]
fn faults_and_attacks_are_held() {
    let long = std::env::var_os("TAGWALL_LONG").is_some();
    for (what, text) in [("regional profile", REGIONAL.to_owned()), ("seven tags", global())] {
        let Some(bench) = Bench::new(&text) else { return };
        let before = bench.in_force();
        let clean = bench.groups(bench.judge(bench.after.clone()).publications());
        let mut table = format!("{what}\n");
        let mut rng = Rng::with_seed(20_250_908);
        for &(kind, mutate, count) in KINDS {
            let mut tally = Tally::default();
            for _ in 0..if long { count * 10 } else { count / 10 + 1 } {
                let Some(mutated) = mutate(&bench, &mut rng) else { continue };
                try_one(&bench, &before, &clean, kind, mutated, &mut tally);
            }
            let Tally { refused, held, harmless, graced, through, reasons } = tally;
            _ = writeln!(
                table,
                "| {kind} | {refused} | {held} | {graced} | {harmless} | {through} |"
            );
            for (reason, count) in reasons {
                _ = writeln!(table, "    {count} × {reason}");
            }
        }
        println!("{table}");
    }
}

fn try_one(
    bench: &Bench,
    before: &Groups,
    clean: &Groups,
    kind: &str,
    mutated: Mutated,
    tally: &mut Tally,
) {
    let Mutated { document, evil } = mutated;
    let offered = match document {
        Document::Tags(contents) => publication(contents),
        Document::Bytes(bytes) => match Snapshot::parse(&bytes, &bench.config.policy()) {
            Ok(snapshot) if snapshot.cloud() == Cloud::Public => {
                Publication::new(snapshot, "ServiceTags_Public_20250908.json")
            }
            _ => {
                tally.refused += 1;
                return;
            }
        },
    };
    let belief = bench.judge(offered.clone());
    let after = bench.groups(belief.publications());
    let held = |kind: Kind, group: &Name| {
        belief.holds().iter().any(|hold| hold.kind == kind && hold.concerns(group))
    };
    let mut through = Vec::new();
    for (group, was) in before {
        let is = &after[group];
        // Nothing that was in force is closed at once.
        assert!(was.is_subset(is), "{kind}: {group} lost {} at once", was.difference(is));
        let added = is.difference(was);
        assert!(
            added.intersection(&evil).is_empty(),
            "{kind}: {group} got {}",
            added.intersection(&evil)
        );
        if was.v4_addresses() >= 1024 {
            assert!(
                added.v4_addresses() * 2 <= was.v4_addresses(),
                "{kind}: {group} grew by {added}"
            );
        }
        // What is published for the group, where it can be told: one tag with the group's own space.
        let spec = bench.intent.groups.iter().find(|spec| spec.name == *group).unwrap();
        let tags =
            selection::parts(spec, &bench.belief.publications()[&Cloud::Public].snapshot).tags;
        let published = tags.iter().fold(PrefixSet::new(), |all, (tag, _)| {
            match offered.snapshot.tag(tag.name().as_str()) {
                Some(tag) => all.union(&PrefixSet::from_parts(
                    offered.snapshot.v4(tag).to_vec(),
                    offered.snapshot.v6(tag).to_vec(),
                )),
                None => all,
            }
        });
        let lost = was.difference(&published);
        if was.v4_addresses() >= 1024 && lost.v4_addresses() * 4 > was.v4_addresses() {
            assert!(
                held(Kind::Removal, group),
                "{kind}: {group} would lose {}",
                lost.v4_addresses()
            );
        }
        if tags.iter().any(|(tag, _)| offered.snapshot.tag(tag.name().as_str()).is_none()) {
            assert!(held(Kind::Removal, group), "{kind}: a tag of {group} vanished");
        }
        let beyond = added.difference(&clean[group]);
        if !beyond.is_empty() {
            through.push(match beyond.v4_addresses() {
                0..=8 => "8 addresses or fewer".to_owned(),
                _ => {
                    "where the tag, its service and its region lie, and below the limits".to_owned()
                }
            });
        }
    }
    let holds = !belief.holds().is_empty();
    if !through.is_empty() {
        tally.through += 1;
        for reason in through {
            *tally.reasons.entry(reason).or_default() += 1;
        }
    } else if holds {
        tally.held += 1;
    } else if belief.grace().next().is_some() {
        tally.graced += 1;
    } else {
        tally.harmless += 1;
    }
}

#[test]
fn the_same_publication_again_changes_nothing() {
    let Some(bench) = Bench::new(REGIONAL) else { return };
    let once = bench.judge(bench.after.clone());
    let now = time("2025-09-08T12:00:00Z") + SignedDuration::from_hours(1);
    let offers =
        Offers::from([(Cloud::Public, Offer { publication: bench.after.clone(), fetched: now })]);
    let twice = guard::judge(&bench.config, &bench.intent, &once, &offers, now);
    assert_eq!(twice.belief.digest(), once.digest());
    assert!(twice.events.is_empty(), "{:?}", twice.events);
    let written = once.write().unwrap();
    assert!(written.len() < 3 << 20, "{} bytes", written.len());
    assert_eq!(Belief::read(&written).unwrap(), once);
}

/// What was really published, in order: at most so many hundredths of the publications may have a hold, and each says why.
#[test]
fn real_history_is_nearly_always_believed() {
    let Some(first) = common::feeds::real("public/ServiceTags_Public_20240115.json") else {
        return;
    };
    let mut files: Vec<_> = std::fs::read_dir(first.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .collect();
    files.sort();
    let config = |text: &str| Config::parse(Path::new("test.toml"), text.to_owned()).unwrap();
    for (what, config, most) in
        [("regional profile", config(REGIONAL), 3), ("seven tags", config(&global()), 6)]
    {
        let (policy, mut replay) = (config.policy(), Replay::new(&config));
        let mut held = 0;
        for path in &files {
            let name = path.file_name().unwrap().to_str().unwrap();
            let step = replay.step(name, feed::from_file(path, &policy).unwrap());
            assert_ne!(step.outcome, Outcome::Refused, "{name}: {:?}", step.reason);
            held += usize::from(!step.held.is_empty());
            for line in &step.held {
                assert!(!line.why.is_empty());
                println!("{what}: {name}: {} of {}: {}", line.kind.name(), line.group, line.why);
            }
        }
        println!("{what}: {held} of {} publications have a hold", files.len());
        assert!(held * 100 <= most * files.len(), "{what}: {held} of {}", files.len());
    }
}
