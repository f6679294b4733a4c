//! The faults and attacks, and how often each is tried.

use fastrand::Rng;
use ipnet::{IpNet, Ipv4Net};
use tagwall::prefix::{PrefixSet, special};
use tagwall::snapshot::{Policy, TagContent, TagName};

use super::Bench;

fn find<'c>(contents: &'c mut [TagContent], name: &TagName) -> Option<&'c mut TagContent> {
    contents.iter_mut().find(|content| content.name == *name)
}

fn space(content: &TagContent) -> PrefixSet {
    PrefixSet::from_parts(content.v4.clone(), content.v6.clone())
}

/// A mutation; none where this one is not possible.
pub(super) type Mutation = fn(&Bench, &mut Rng) -> Option<Mutated>;

/// What was made of the publication, and which additions must never be believed whatever their amount.
pub(super) struct Mutated {
    pub(super) document: Document,
    pub(super) evil: PrefixSet,
}

pub(super) enum Document {
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
pub(super) fn azure(bench: &Bench) -> PrefixSet {
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

pub(super) const KINDS: &[(&str, Mutation, usize)] = &[
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
