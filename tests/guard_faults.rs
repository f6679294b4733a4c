//! Thousands of faults and attacks in real publications: what is held, what is let through, and why.
//!
//! Short form: a few of each kind; `TAGWALL_LONG=1`: thousands. Prints the table that docs/guard.md shows.

#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::unnecessary_wraps, reason = "every kind of fault has one signature")]
#![allow(clippy::swap_with_temporary, reason = "what is found borrows what is changed")]
#![allow(clippy::print_stdout, reason = "the table is what the test is run for")]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use fastrand::Rng;
use ipnet::{IpNet, Ipv4Net};
use jiff::{SignedDuration, Timestamp};
use tagwall::config::{Config, Name};
use tagwall::feed;
use tagwall::guard::{self, Belief, Kind, Offer, Offers};
use tagwall::intent::Intent;
use tagwall::prefix::{PrefixSet, special};
use tagwall::selection::{self, HostAddresses, Publications};
use tagwall::snapshot::{Cloud, Policy, Publication, Snapshot, TagContent, TagName};

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

fn find<'c>(contents: &'c mut [TagContent], name: &TagName) -> Option<&'c mut TagContent> {
    contents.iter_mut().find(|content| content.name == *name)
}

fn space(content: &TagContent) -> PrefixSet {
    PrefixSet::from_parts(content.v4.clone(), content.v6.clone())
}

/// A mutation; none where this one is not possible.
type Mutation = fn(&Bench, &mut Rng) -> Option<Mutated>;

/// What was made of the publication, and which additions must never be believed whatever their amount.
struct Mutated {
    document: Document,
    evil: PrefixSet,
}

enum Document {
    Bytes(Vec<u8>),
    Tags(Vec<TagContent>),
}

fn tags(contents: Vec<TagContent>) -> Option<Mutated> {
    Some(Mutated { document: Document::Tags(contents), evil: PrefixSet::new() })
}

fn truncated(bench: &Bench, rng: &mut Rng) -> Option<Mutated> {
    let document = Document::Bytes(bench.bytes[..rng.usize(..bench.bytes.len())].to_vec());
    Some(Mutated { document, evil: PrefixSet::new() })
}

fn bit_flipped(bench: &Bench, rng: &mut Rng) -> Option<Mutated> {
    let mut bytes = bench.bytes.clone();
    let place = rng.usize(..bytes.len());
    bytes[place] ^= 1 << rng.u8(..8);
    Some(Mutated { document: Document::Bytes(bytes), evil: PrefixSet::new() })
}

fn tail_missing(bench: &Bench, rng: &mut Rng) -> Option<Mutated> {
    let mut contents = bench.contents();
    contents.truncate(rng.usize(1..contents.len()));
    tags(contents)
}

fn tag_dropped(bench: &Bench, rng: &mut Rng) -> Option<Mutated> {
    let (mut contents, name) = (bench.contents(), bench.any_selected(rng));
    contents.retain(|content| content.name != name);
    tags(contents)
}

fn region_dropped(bench: &Bench, rng: &mut Rng) -> Option<Mutated> {
    let mut contents = bench.contents();
    let regions: Vec<Box<str>> = contents
        .iter()
        .filter(|content| bench.selected.contains(&content.name) && !content.region.is_empty())
        .map(|content| content.region.clone())
        .collect();
    let region = regions.get(rng.usize(..regions.len().max(1)))?.clone();
    contents.retain(|content| content.region != region);
    tags(contents)
}

fn tag_emptied(bench: &Bench, rng: &mut Rng) -> Option<Mutated> {
    let (mut contents, name) = (bench.contents(), bench.any_selected(rng));
    let content = find(&mut contents, &name)?;
    content.v4.clear();
    content.v6.clear();
    tags(contents)
}

fn tags_swapped(bench: &Bench, rng: &mut Rng) -> Option<Mutated> {
    let (mut contents, one, other) =
        (bench.contents(), bench.any_selected(rng), bench.any_selected(rng));
    let (first, second) =
        (find(&mut contents, &one)?.clone(), find(&mut contents, &other)?.clone());
    let evil = if one.service() == other.service() || one == other {
        PrefixSet::new()
    } else {
        space(&first).union(&space(&second))
    };
    let content = find(&mut contents, &one)?;
    (content.v4, content.v6) = (second.v4, second.v6);
    let content = find(&mut contents, &other)?;
    (content.v4, content.v6) = (first.v4, first.v6);
    Some(Mutated { document: Document::Tags(contents), evil })
}

fn regions_swapped(bench: &Bench, rng: &mut Rng) -> Option<Mutated> {
    let mut contents = bench.contents();
    let one = bench.any_selected(rng);
    let region = find(&mut contents, &one)?.region.clone();
    let of_service: Vec<TagName> = contents
        .iter()
        .filter(|content| {
            content.name.service() == one.service()
                && content.region != region
                && content.name.suffix().is_some()
        })
        .map(|content| content.name.clone())
        .collect();
    if one.suffix().is_none() || of_service.is_empty() {
        return None;
    }
    let other = &of_service[rng.usize(..of_service.len())];
    let theirs = std::mem::replace(&mut find(&mut contents, other)?.region, region);
    find(&mut contents, &one)?.region = theirs;
    tags(contents)
}

fn half_of_a_tag(bench: &Bench, rng: &mut Rng) -> Option<Mutated> {
    let (mut contents, name) = (bench.contents(), bench.any_selected(rng));
    let content = find(&mut contents, &name)?;
    content.v4.retain(|_| rng.bool());
    content.v6.retain(|_| rng.bool());
    tags(contents)
}

fn half_of_everything(bench: &Bench, rng: &mut Rng) -> Option<Mutated> {
    let mut contents = bench.contents();
    for content in &mut contents {
        content.v4.retain(|_| rng.bool());
        content.v6.retain(|_| rng.bool());
    }
    tags(contents)
}

fn prefix_widened(bench: &Bench, rng: &mut Rng) -> Option<Mutated> {
    let (mut contents, name) = (bench.contents(), bench.any_selected(rng));
    let content = find(&mut contents, &name)?;
    let index = rng.usize(..content.v4.len().max(1));
    let net = content.v4.get_mut(index)?;
    let length = net.prefix_len().saturating_sub(rng.u8(1..=8)).max(Policy::WIDEST_V4);
    *net = Ipv4Net::new_assert(net.addr(), length).trunc();
    ordinary(*net)?;
    tags(contents)
}

fn prefix_flipped(bench: &Bench, rng: &mut Rng) -> Option<Mutated> {
    let (mut contents, name) = (bench.contents(), bench.any_selected(rng));
    let content = find(&mut contents, &name)?;
    let index = rng.usize(..content.v4.len().max(1));
    let net = content.v4.get_mut(index)?;
    let bit = 31 - u32::from(rng.u8(..net.prefix_len()));
    *net = Ipv4Net::new_assert((net.addr().to_bits() ^ 1 << bit).into(), net.prefix_len());
    ordinary(*net)?;
    tags(contents)
}

/// A network that the parser takes.
fn ordinary(net: Ipv4Net) -> Option<Ipv4Net> {
    special::special_kind(IpNet::V4(net)).is_none().then_some(net)
}

fn any_network(rng: &mut Rng, length: u8) -> Ipv4Net {
    loop {
        let net = Ipv4Net::new_assert(rng.u32(..).into(), length).trunc();
        if let Some(net) = ordinary(net) {
            return net;
        }
    }
}

fn attackers_network(bench: &Bench, rng: &mut Rng) -> Option<Mutated> {
    let (mut contents, name) = (bench.contents(), bench.any_selected(rng));
    find(&mut contents, &name)?.v4.push(any_network(rng, 16));
    tags(contents)
}

/// The attacker knows how publications hang together, and adds the network everywhere where it should be.
fn attackers_network_everywhere(bench: &Bench, rng: &mut Rng) -> Option<Mutated> {
    let (mut contents, name) = (bench.contents(), bench.any_selected(rng));
    let net = any_network(rng, 16);
    let region = find(&mut contents, &name)?.region.clone();
    for content in &mut contents {
        let of_region = !region.is_empty()
            && content.region == region
            && content.name.service() == "AzureCloud";
        let around =
            content.name.as_str() == "AzureCloud" || content.name.as_str() == name.service();
        if content.name == name || of_region || around {
            content.v4.push(net);
            content.v4.sort_unstable();
            content.v4.dedup();
        }
    }
    tags(contents)
}

fn other_tags_space(bench: &Bench, rng: &mut Rng) -> Option<Mutated> {
    let (mut contents, name) = (bench.contents(), bench.any_selected(rng));
    let large: Vec<TagContent> = contents
        .iter()
        .filter(|content| {
            content.name.suffix().is_none()
                && !related(content.name.service(), name.service())
                && content.name.as_str() != "AzureCloud"
                && space(content).v4_addresses() >= 1024
        })
        .cloned()
        .collect();
    let other = large[rng.usize(..large.len())].clone();
    let evil = space(&other);
    let content = find(&mut contents, &name)?;
    content.v4.extend(other.v4);
    content.v6.extend(other.v6);
    Some(Mutated { document: Document::Tags(contents), evil })
}

fn related(one: &str, other: &str) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// The cloud's own space: other clouds publish some of it too.
fn azure(bench: &Bench) -> PrefixSet {
    let snapshot = &bench.after.snapshot;
    space(&snapshot.content(snapshot.tag("AzureCloud").unwrap()))
}

fn other_clouds_space(bench: &Bench, rng: &mut Rng) -> Option<Mutated> {
    let (mut contents, name) = (bench.contents(), bench.any_selected(rng));
    let foreign = &bench.foreign[rng.usize(..bench.foreign.len())].snapshot;
    let theirs: Vec<_> = foreign.tags().iter().filter(|tag| !foreign.v4(tag).is_empty()).collect();
    let tag = theirs[rng.usize(..theirs.len())];
    let content = find(&mut contents, &name)?;
    content.v4.extend(foreign.v4(tag));
    let evil = PrefixSet::from_parts(foreign.v4(tag).to_vec(), Vec::new());
    let evil = evil.difference(&azure(bench));
    Some(Mutated { document: Document::Tags(contents), evil })
}

fn replaced_by_other_cloud(bench: &Bench, rng: &mut Rng) -> Option<Mutated> {
    let foreign = &bench.foreign[rng.usize(..bench.foreign.len())].snapshot;
    let contents: Vec<TagContent> = foreign.tags().iter().map(|tag| foreign.content(tag)).collect();
    let evil = contents.iter().fold(PrefixSet::new(), |all, content| all.union(&space(content)));
    let evil = evil.difference(&azure(bench));
    Some(Mutated { document: Document::Tags(contents), evil })
}

/// Growth by more than half, out of space that lies where it should.
fn more_than_half_added(bench: &Bench, rng: &mut Rng) -> Option<Mutated> {
    let (mut contents, name) = (bench.contents(), bench.any_selected(rng));
    let (mine, region) = {
        let content = find(&mut contents, &name)?;
        (space(content), content.region.clone())
    };
    let azure = contents.iter().find(|content| {
        content.name.service() == "AzureCloud"
            && if region.is_empty() {
                content.name.suffix().is_none()
            } else {
                content.region == region
            }
    })?;
    let free = space(azure).difference(&mine);
    let start = rng.usize(..free.v4().len());
    let mut added = Vec::new();
    let wanted = mine.v4_addresses() * 3 / 5 + 64;
    let mut count = 0;
    for net in free.v4().iter().cycle().skip(start).take(free.v4().len()) {
        if count >= wanted {
            break;
        }
        count += 1_u64 << (32 - net.prefix_len());
        added.push(*net);
    }
    find(&mut contents, &name)?.v4.extend(added.iter().copied());
    let mut everywhere = TagName::new(name.service())?;
    std::mem::swap(
        &mut everywhere,
        &mut find(&mut contents, &TagName::new(name.service())?)?.name.clone(),
    );
    if name.suffix().is_some() {
        find(&mut contents, &everywhere)?.v4.extend(added);
    }
    tags(contents)
}

const KINDS: &[(&str, Mutation, usize)] = &[
    ("document cut short", truncated, 10),
    ("one bit flipped in the document", bit_flipped, 20),
    ("last tags missing", tail_missing, 40),
    ("tag dropped", tag_dropped, 60),
    ("region dropped", region_dropped, 20),
    ("tag emptied", tag_emptied, 60),
    ("two tags swapped", tags_swapped, 60),
    ("regions of two tags swapped", regions_swapped, 40),
    ("half of a tag's prefixes gone", half_of_a_tag, 80),
    ("half of all prefixes gone", half_of_everything, 10),
    ("prefix widened", prefix_widened, 80),
    ("bit of a prefix flipped", prefix_flipped, 80),
    ("foreign /16 added", attackers_network, 80),
    ("foreign /16 added wherever it belongs", attackers_network_everywhere, 80),
    ("other large tag's space added", other_tags_space, 60),
    ("other cloud's space added", other_clouds_space, 60),
    ("replaced by other cloud", replaced_by_other_cloud, 4),
    ("more than half added", more_than_half_added, 60),
];

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
