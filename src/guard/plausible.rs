//! The rules: which part of a group's difference is not plausible, and why. docs/guard.md gives every figure with its reason.
//!
//! Removals and additions are judged apart, each family by itself, in addresses after aggregation. What is suspicious by its
//! place (outside the neighbourhoods, another service's) is held alone; what is suspicious by its amount is held whole.

use super::cause::{Amount, Cause};
use super::floors;
use super::ground::{Custom, Ground, LARGE, TagState, share, v4, v6};
use super::hold::Kind;
use super::scope::Scope;
use crate::config::Families;
use crate::prefix::{Family, PrefixSet};
use crate::snapshot::TagName;

/// A gap of so many weeks between two publications is covered by the figures for additions as they are.
const ADDITION_GAP_WEEKS: f64 = 16.0;
/// A gap of so many weeks is covered by the figure for space outside of AzureCloud as it is.
const OUTSIDE_GAP_WEEKS: f64 = 4.0;
/// Fewer addresses outside of AzureCloud are never held for their share.
const OUTSIDE_ADDRESSES: u128 = 1024;
/// The smallest suspicious addition to a group of at least [`LARGE`] addresses, and to a smaller one.
const ADDITION_FLOORS: (u128, u128) = (512, 1024);

/// A group that loses this share of its addresses and gets others is another one.
const EXCHANGED: f64 = 0.9;

/// A part of a difference that is not plausible.
#[derive(Debug)]
pub(super) struct Suspicion {
    pub(super) kind: Kind,
    pub(super) space: PrefixSet,
    pub(super) causes: Vec<Cause>,
}

/// How a group would change, without what was decided about it.
#[derive(Debug)]
pub(super) struct Change {
    /// What is in force, without tags that are judged for the first time.
    pub(super) before: PrefixSet,
    /// What would go.
    pub(super) removed: PrefixSet,
    /// What would come to tags that were judged before.
    pub(super) grown: PrefixSet,
    /// What would come with tags that are judged for the first time.
    pub(super) first: PrefixSet,
    /// What goes already: withdrawn and still open.
    pub(super) leaving: PrefixSet,
    /// What went or stays by a decision, or is still open.
    pub(super) decided: PrefixSet,
    /// What came in the last four weeks, IPv4 and IPv6 addresses.
    pub(super) came: [u128; 2],
    /// Whether nothing remains.
    pub(super) empties: bool,
}

/// One family of sets.
#[derive(Debug, Clone, Copy)]
struct Measure {
    family: Family,
    index: usize,
    of: fn(&PrefixSet) -> PrefixSet,
    count: fn(&PrefixSet) -> u128,
}

const FAMILIES: [Measure; 2] = [
    Measure { family: Family::V4, index: 0, of: PrefixSet::only_v4, count: v4 },
    Measure { family: Family::V6, index: 1, of: PrefixSet::only_v6, count: v6 },
];

impl Measure {
    /// A share of the group's addresses of this family, or of a tag's.
    fn amount(self, tag: Option<&TagName>, share: f64, limit: f64) -> Amount {
        Amount { tag: tag.cloned(), family: Some(self.family), share, limit }
    }
}

/// The suspicions about one group: at most one a kind that only a person may decide about, and one that time may.
pub(super) fn suspicions(
    scope: &Scope,
    change: &Change,
    ground: &Ground<'_>,
    everything: bool,
) -> Vec<Suspicion> {
    let mut found = Found::default();
    removals(scope, change, ground, &mut found);
    if !scope.names_only {
        additions(scope, change, ground, &mut found);
        firsts(scope, change, ground, &mut found);
        if everything {
            found.add(Kind::Removal, &change.removed, Cause::Everything);
            found.add(Kind::Addition, &change.grown, Cause::Everything);
            found.add(Kind::Addition, &change.first, Cause::Everything);
        }
    }
    found.suspicions()
}

/// Suspicions in the making: (removal, addition) by (time may decide, only a person may).
#[derive(Debug, Default)]
struct Found([[(PrefixSet, Vec<Cause>); 2]; 2]);

impl Found {
    fn add(&mut self, kind: Kind, space: &PrefixSet, cause: Cause) {
        if !space.is_empty() {
            self.insist(kind, space, cause);
        }
    }

    /// The same for a hold that counts even without an address.
    fn insist(&mut self, kind: Kind, space: &PrefixSet, cause: Cause) {
        let (held, causes) = &mut self.0[kind as usize][usize::from(cause.is_critical())];
        *held = held.union(space);
        let cause = cause.rounded();
        if !causes.contains(&cause) {
            causes.push(cause);
        }
    }

    /// All that is held of a kind.
    fn held(&self, kind: Kind) -> PrefixSet {
        let [ordinary, critical] = &self.0[kind as usize];
        ordinary.0.union(&critical.0)
    }

    fn suspicions(self) -> Vec<Suspicion> {
        let [removals, additions] = self.0;
        let mut suspicions = Vec::new();
        for (kind, [ordinary, critical]) in [(Kind::Removal, removals), (Kind::Addition, additions)]
        {
            let rest = ordinary.0.difference(&critical.0);
            for (space, causes) in [critical, (rest, ordinary.1)] {
                // What only a person may decide counts even without an address; a rest of nothing does not.
                let counts = !space.is_empty() || causes.iter().any(Cause::is_critical);
                if counts && !causes.is_empty() {
                    suspicions.push(Suspicion { kind, space, causes });
                }
            }
        }
        suspicions
    }
}

/// What would go.
fn removals(scope: &Scope, change: &Change, ground: &Ground<'_>, found: &mut Found) {
    let limits = &scope.limits;
    for (tag, named) in &scope.tags {
        let Some(state) = ground.tag(tag) else { continue };
        let lost = change.removed.intersection(&state.before);
        if state.vanished {
            let cause = || Cause::Vanished { tag: tag.clone(), renamed: ground.renamed(state) };
            // Whoever names a tag has no rules without it, whether or not another tag of the group has its space.
            if *named {
                let whole = scope.families.of(&state.before);
                if !whole.is_empty() && !whole.is_subset(&change.decided) {
                    found.insist(Kind::Removal, &whole, cause());
                }
            } else if !lost.is_empty() {
                found.add(Kind::Removal, &lost, cause());
            }
        } else if state.published.is_empty() && !lost.is_empty() {
            found.add(Kind::Removal, &lost, Cause::Emptied { tag: Some(tag.clone()) });
        }
    }
    if scope.names_only {
        return;
    }
    if change.empties && !scope.allow_empty && !change.removed.is_empty() {
        found.add(Kind::Removal, &change.removed, Cause::Emptied { tag: None });
    }
    let mut rest = change.removed.difference(&found.held(Kind::Removal));
    if !rest.v6().is_empty() {
        for (tag, state) in scope.tags.keys().filter_map(|tag| Some((tag, ground.tag(tag)?))) {
            rest = rest.difference(&ground.given_back(tag, state, &rest));
        }
    }
    let weekly = (limits.removal_share * ground.weeks)
        .min(limits.removal_share_most.max(limits.removal_share));
    let floor = u128::from(limits.removal_addresses);
    for family in FAMILIES {
        let lost = (family.of)(&rest);
        let (count, all) = ((family.count)(&lost), (family.count)(&change.before));
        if count == 0 {
            continue;
        }
        let part = share(count, all);
        if count >= floor && part > weekly {
            found.add(Kind::Removal, &lost, Cause::Removed(family.amount(None, part, weekly)));
            continue;
        }
        let leaving = count + (family.count)(&change.leaving);
        let part = share(leaving, all);
        let limit = limits.removal_share_most.max(weekly);
        if leaving >= floor && part > limit {
            found.add(
                Kind::Removal,
                &lost,
                Cause::RemovedInFourWeeks(family.amount(None, part, limit)),
            );
            continue;
        }
        // A tag among several may lose much of itself without the group losing much.
        for tag in scope.tags.keys().filter(|_| scope.tags.len() > 1) {
            let Some(state) = ground.tag(tag) else { continue };
            let lost = lost.intersection(&state.before);
            let (count, all) = ((family.count)(&lost), (family.count)(&state.before));
            let part = share(count, all);
            if count >= floor && part > weekly {
                let amount = family.amount(Some(tag), part, weekly);
                found.add(Kind::Removal, &lost, Cause::Removed(amount));
            }
        }
    }
}

/// What would come to tags that were judged before.
fn additions(scope: &Scope, change: &Change, ground: &Ground<'_>, found: &mut Found) {
    let limits = &scope.limits;
    if change.grown.is_empty() {
        return;
    }
    places(&change.grown, ground, found);
    // What is exchanged and not changed: nothing about it is taken on trust, and what no tag had before waits.
    let mut exchanged = PrefixSet::new();
    for family in FAMILIES {
        let (lost, all) = ((family.count)(&change.removed), (family.count)(&change.before));
        if lost > 0 && share(lost, all) >= EXCHANGED {
            exchanged = exchanged.union(&(family.of)(&change.grown));
        }
    }
    found.add(Kind::Addition, &ground.never_seen(&exchanged), Cause::Exchanged);
    for (tag, state, added) in parts(scope, ground, &change.grown) {
        for (other, space) in ground.of_other_services(tag, state, &added, false) {
            found.add(Kind::Addition, &space, Cause::OtherService { tag: other });
        }
        let doubtful = added.intersection(&exchanged);
        for (part, strict) in [(&added, false), (&doubtful, true)] {
            for (custom, within, space) in ground.strays(tag, state, part, strict) {
                found.add(Kind::Addition, &space, stray_cause(custom, tag, within));
            }
        }
    }
    let regional = scope.tags.keys().all(|tag| tag.suffix().is_some());
    let longer = |gap: f64| (ground.weeks / gap).max(1.0);
    if regional {
        let new = ground.never_seen(&change.grown.only_v4());
        let (count, limit) = (new.v4_addresses(), limits.addition_new_addresses);
        if share(u128::from(count), u128::from(limit)) > ground.weeks {
            found.add(Kind::Addition, &new, Cause::AddedNew { addresses: count, limit });
        }
    } else {
        let limit = limits.addition_outside_share * longer(OUTSIDE_GAP_WEEKS);
        let outside = ground.outside_azure(&change.grown.only_v4());
        // Of a group without an address before, all is new.
        let part = share(v4(&outside), v4(&change.before).max(1));
        if v4(&outside) >= OUTSIDE_ADDRESSES && part > limit {
            found.add(
                Kind::Addition,
                &outside,
                Cause::OutsideAzure(FAMILIES[0].amount(None, part, limit)),
            );
        }
    }
    let limit = limits.addition_share * longer(ADDITION_GAP_WEEKS);
    let floor = |all: u128| match limits.addition_addresses {
        Some(floor) => u128::from(floor),
        None if all >= LARGE => ADDITION_FLOORS.0,
        None => ADDITION_FLOORS.1,
    };
    for family in FAMILIES {
        let added = (family.of)(&change.grown);
        let (count, all) = ((family.count)(&added), (family.count)(&change.before));
        // A family that the group did not have yet has no size to grow from: its place is judged, not its amount.
        if count == 0 || all == 0 {
            continue;
        }
        let part = share(count, all);
        if count >= floor(all) && part > limit {
            found.add(Kind::Addition, &added, Cause::Added(family.amount(None, part, limit)));
            continue;
        }
        let came = count + change.came[family.index];
        let base = all.saturating_sub(change.came[family.index]).max(1);
        let (part, most) = (share(came, base), limits.addition_share_four_weeks.max(limit));
        if came >= floor(base) && part > most {
            found.add(
                Kind::Addition,
                &added,
                Cause::AddedInFourWeeks(family.amount(None, part, most)),
            );
            continue;
        }
        for (tag, state, added) in parts(scope, ground, &added).filter(|_| scope.tags.len() > 1) {
            let (count, all) = ((family.count)(&added), (family.count)(&state.before));
            let part = share(count, all);
            if all > 0 && count >= floor(all) && part > limit {
                let amount = family.amount(Some(tag), part, limit);
                found.add(Kind::Addition, &added, Cause::Added(amount));
            }
        }
    }
}

/// What would come with tags that are judged for the first time.
fn firsts(scope: &Scope, change: &Change, ground: &Ground<'_>, found: &mut Found) {
    if change.first.is_empty() {
        return;
    }
    places(&change.first, ground, found);
    for (tag, state, added) in parts(scope, ground, &change.first) {
        for (other, space) in ground.of_other_services(tag, state, &added, true) {
            found.add(Kind::Addition, &space, Cause::OtherService { tag: other });
        }
        for (custom, within, space) in ground.first_strays(tag, state) {
            let space = space.intersection(&added);
            found.add(Kind::Addition, &space, stray_cause(custom, tag, within));
        }
        let addresses = state.published.v4_addresses();
        if let Some((floor, ceiling)) = floors::bounds(ground.cloud, tag)
            && scope.families != Families::Ipv6
        {
            let tag = tag.clone();
            if addresses < floor {
                found.add(Kind::Addition, &added, Cause::TooSmall { tag, addresses, floor });
            } else if addresses > ceiling {
                found.add(Kind::Addition, &added, Cause::TooLarge { tag, addresses, ceiling });
            }
        }
    }
}

/// What is suspicious by where it lies, whatever tag it comes to.
fn places(added: &PrefixSet, ground: &Ground<'_>, found: &mut Found) {
    let outside = added.difference(&ground.neighbourhoods);
    found.add(Kind::Addition, &outside, Cause::OutsideNeighbourhoods);
    for (cloud, space) in &ground.foreign {
        let foreign = added.intersection(space);
        found.add(Kind::Addition, &foreign, Cause::OtherCloud { cloud: *cloud });
    }
    if let Some(kept) = ground.other_document() {
        found.add(Kind::Addition, added, Cause::OtherDocument { kept });
    }
}

/// The part of an addition that each tag brings.
fn parts<'p>(
    scope: &'p Scope,
    ground: &'p Ground<'_>,
    added: &'p PrefixSet,
) -> impl Iterator<Item = (&'p TagName, &'p TagState, PrefixSet)> {
    scope.tags.keys().filter_map(move |tag| {
        let state = ground.tag(tag)?;
        let part = added.intersection(&state.published);
        (!part.is_empty()).then_some((tag, state, part))
    })
}

fn stray_cause(custom: Custom, tag: &TagName, within: TagName) -> Cause {
    let tag = tag.clone();
    match custom {
        Custom::Region => Cause::OutsideRegion { tag, within },
        Custom::Service => Cause::OutsideService { tag, within },
        Custom::AzureCloud => Cause::OutsideAzureCloud { tag },
    }
}
