//! What is believed from now on: what is published, less what is held back, with what is held fast and what is still open.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::belief::{Believed, Grace, Grown};
use super::event::Event;
use super::ground::{Ground, TagState, space_of, v4, v6};
use super::hold::{HoldId, Kind, addresses};
use super::holds::Held;
use super::judge::{Decided, FOUR_WEEKS};
use super::scope::Scope;
use crate::prefix::PrefixSet;
use crate::snapshot::{Publication, ServiceTag, Snapshot, TagName};

/// What follows from the holds.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The space of every selected tag; of a vanished one only while something of it is in force.
    pub(super) spaces: BTreeMap<TagName, PrefixSet>,
    /// Withdrawn ranges that are still open.
    pub(super) grace: Vec<Grace>,
    /// The tags that count as judged from now on.
    pub(super) judged: BTreeMap<TagName, Vec<Grown>>,
    /// What time did.
    pub(super) events: Vec<Event>,
    /// The rejections that still keep something out or in.
    pub(super) rejections: BTreeSet<HoldId>,
}

/// What binds one tag.
#[derive(Debug, Default)]
struct Bound {
    /// Published, and held back.
    held_back: PrefixSet,
    /// Withdrawn, and held fast.
    held_fast: PrefixSet,
    /// When withdrawals that were held and are released now were seen first.
    released: Vec<(PrefixSet, Timestamp)>,
    /// How long withdrawn ranges stay open, in days.
    grace_days: u16,
}

/// Composes the space of every selected tag.
pub(super) fn compose(
    scopes: &[Scope],
    ground: &Ground<'_>,
    kept: Option<&Believed>,
    held: &[Held],
    released: &[Held],
    decided: &Decided<'_>,
    now: Timestamp,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut bounds: BTreeMap<&TagName, Bound> = BTreeMap::new();
    for scope in scopes {
        for tag in scope.all_tags() {
            let bound = bounds.entry(tag).or_default();
            bound.grace_days = bound.grace_days.max(scope.limits.grace_days);
        }
    }
    for held in held {
        for scope in held.scopes.iter().filter_map(|index| scopes.get(*index)) {
            bind(scope, ground, held.hold.kind, &held.hold.space, &mut bounds);
        }
    }
    for decision in &decided.rejected {
        for scope in scopes.iter().filter(|scope| decision.groups.contains(&scope.name)) {
            if bind(scope, ground, decision.kind, &decision.space, &mut bounds) {
                outcome.rejections.insert(decision.hold.clone());
            }
        }
    }
    let removals = released.iter().map(|held| &held.hold).filter(|hold| hold.kind == Kind::Removal);
    let released = removals.map(|hold| (hold.space.clone(), hold.since));
    let approved = decided.approved.iter().filter(|decision| decision.kind == Kind::Removal);
    let approved = approved.map(|decision| (decision.space.clone(), decision.since));
    let seen_before: Vec<(PrefixSet, Timestamp)> = released.chain(approved).collect();
    for bound in bounds.values_mut() {
        bound.released.clone_from(&seen_before);
    }
    for (tag, bound) in bounds {
        if let Some(state) = ground.tag(tag) {
            one(tag, state, &bound, ground, kept, now, &mut outcome);
        }
    }
    outcome
}

/// Binds the tags of a scope to what is held of it; whether that binds anything.
fn bind<'s>(
    scope: &'s Scope,
    ground: &Ground<'_>,
    kind: Kind,
    space: &PrefixSet,
    bounds: &mut BTreeMap<&'s TagName, Bound>,
) -> bool {
    let mut binds = false;
    let tags = scope.tags.keys().map(|tag| (tag, false));
    for (tag, is_excluded) in tags.chain(scope.excluded.iter().map(|tag| (tag, true))) {
        let Some(state) = ground.tag(tag) else { continue };
        let bound = bounds.entry(tag).or_default();
        // What goes from an excluded tag comes to the group, and the other way round.
        let part = match (kind, is_excluded) {
            (Kind::Addition, false) | (Kind::Removal, true) => {
                let part = state.published.difference(&state.before).intersection(space);
                bound.held_back = bound.held_back.union(&part);
                part
            }
            (Kind::Removal, false) | (Kind::Addition, true) => {
                let part = state.before.difference(&state.published).intersection(space);
                bound.held_fast = bound.held_fast.union(&part);
                part
            }
        };
        binds |= !part.is_empty();
    }
    binds
}

/// One tag.
fn one(
    tag: &TagName,
    state: &TagState,
    bound: &Bound,
    ground: &Ground<'_>,
    kept: Option<&Believed>,
    now: Timestamp,
    outcome: &mut Outcome,
) {
    let cloud = ground.cloud;
    let lasts = SignedDuration::from_hours(24 * i64::from(bound.grace_days));
    let mut open = PrefixSet::new();
    let mut keep = |space: PrefixSet, since: Timestamp, is_new: bool, outcome: &mut Outcome| {
        let until = since.saturating_add(lasts).unwrap_or(Timestamp::MAX);
        let (tag, addresses) = (tag.clone(), addresses(&space));
        if space.is_empty() {
            return;
        }
        if until <= now {
            outcome.events.push(Event::Closed { tag, cloud, addresses });
            return;
        }
        if is_new {
            outcome.events.push(Event::Withdrawn { tag: tag.clone(), cloud, addresses, until });
        }
        open = open.union(&space);
        outcome.grace.push(Grace { tag, space, since, until });
    };
    let withdrawn = state.before.difference(&state.published).difference(&bound.held_fast);
    for grace in kept.into_iter().flat_map(|kept| &kept.grace).filter(|grace| grace.tag == *tag) {
        keep(grace.space.intersection(&withdrawn), grace.since, false, outcome);
    }
    let mut new = withdrawn.difference(&state.grace);
    for (space, since) in &bound.released {
        keep(new.intersection(space), *since, true, outcome);
        new = new.difference(space);
    }
    keep(new, now, true, outcome);

    let taken = state.published.difference(&bound.held_back);
    let space = taken.union(&bound.held_fast).union(&open);
    let judged_before = kept.and_then(|kept| kept.judged.get(tag));
    if space.is_empty() && state.vanished {
        return;
    }
    // A tag of which nothing is believed yet stays one that is judged for the first time.
    let first = state.unjudged || ground.believed.is_none();
    if !(first && space.is_empty() && !state.published.is_empty()) {
        let mut grown: Vec<Grown> = judged_before.cloned().unwrap_or_default();
        grown.retain(|grown| now.duration_since(grown.at) < FOUR_WEEKS);
        let added = space.difference(&state.before);
        if judged_before.is_some() && !added.is_empty() {
            let ipv4 = u64::try_from(v4(&added)).unwrap_or(u64::MAX);
            grown.push(Grown { at: now, ipv4, ipv6: v6(&added) });
        }
        outcome.judged.insert(tag.clone(), grown);
    }
    outcome.spaces.insert(tag.clone(), space);
}

/// The publication with the regions that the judged tags are believed to have: a selection by region must not change because a
/// region's name was left out or exchanged. `Storage.EastUS` had none for two weeks in January 2024. None when nothing differs.
pub(super) fn with_believed_regions(
    offered: &Snapshot,
    old: Option<&Snapshot>,
    kept: Option<&Believed>,
) -> Option<Snapshot> {
    let (old, kept) = (old?, kept?);
    let believed = |name: &TagName| {
        let tag = old.tag(name.as_str()).filter(|_| kept.judged.contains_key(name))?;
        (!tag.region().is_empty()).then_some(tag)
    };
    let differs = |tag: &ServiceTag| {
        believed(tag.name()).is_some_and(|old| !old.region().eq_ignore_ascii_case(tag.region()))
    };
    if !offered.tags().iter().any(differs) {
        return None;
    }
    let contents = offered.tags().iter().map(|tag| {
        let mut content = offered.content(tag);
        if let Some(old) = believed(tag.name()) {
            content.region = old.region().into();
            content.region_id = old.region_id();
        }
        content
    });
    Snapshot::of_tags(offered.cloud(), offered.change_number(), contents).ok()
}

/// The publication as it is believed: tags that are believed as published keep their published form. The tags that were judged before
/// stand before all others, in their order, so that a region that is looked up finds the tag that is in force, and
/// neither the new name of one that vanished nor another tag that claims the region. None if two tags had one name, which cannot
/// be: those that vanished are not among those that are published.
pub(super) fn publication(
    spaces: &BTreeMap<TagName, PrefixSet>,
    old: Option<&Snapshot>,
    offered: &Snapshot,
    offer: &Publication,
    kept: Option<&Believed>,
) -> Option<Publication> {
    let differs = |name: &TagName, space: &PrefixSet| {
        offered.tag(name.as_str()).is_none_or(|tag| space_of(offered, tag) != *space)
    };
    let judged = |name: &TagName| kept.is_some_and(|kept| kept.judged.contains_key(name));
    let mut claimed = BTreeSet::new();
    let selected = spaces.keys().filter_map(|name| offered.tag(name.as_str()));
    let contested = selected.filter_map(claim).any(|claim| !claimed.insert(claim));
    let as_published = std::ptr::eq(offered, &raw const *offer.snapshot);
    if as_published && !contested && !spaces.iter().any(|(name, space)| differs(name, space)) {
        return Some(offer.clone());
    }
    let with = |snapshot: &Snapshot, tag: &ServiceTag| {
        let mut content = snapshot.content(tag);
        if let Some(space) = spaces.get(tag.name()).filter(|space| differs(tag.name(), space)) {
            content.v4 = space.v4().to_vec();
            content.v6 = space.v6().to_vec();
        }
        content
    };
    let gone =
        spaces.keys().filter(|name| offered.tag(name.as_str()).is_none()).filter_map(|name| {
            let old = old?;
            old.tag(name.as_str()).map(|tag| with(old, tag))
        });
    let in_force = old.into_iter().flat_map(Snapshot::tags).filter(|tag| judged(tag.name()));
    let in_force = in_force.filter_map(|tag| offered.tag(tag.name().as_str()));
    let others = offered.tags().iter().filter(|tag| {
        !(judged(tag.name()) && old.is_some_and(|old| old.tag(tag.name().as_str()).is_some()))
    });
    let there = in_force.chain(others).map(|tag| with(offered, tag));
    let tags = gone.chain(there);
    let snapshot = Snapshot::of_tags(offered.cloud(), offered.change_number(), tags).ok()?;
    Some(Publication::new(snapshot, offer.source.clone()).dated(offer.date))
}

/// The service and region that a tag claims to be the one of. Where several claim the same, their order is part of what is
/// believed: a selection by region takes the first.
pub(super) fn claim(tag: &ServiceTag) -> Option<(String, String)> {
    let name = tag.name();
    let claims = name.suffix().is_some() && !tag.region().is_empty();
    claims.then(|| (name.service().to_lowercase(), tag.region().to_lowercase()))
}
