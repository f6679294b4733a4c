//! From suspicions to holds: what was held before keeps its name and its age, and what is due is released.

use jiff::{SignedDuration, Timestamp};

use super::Offer;
use super::cause::{Cause, rounded};
use super::event::Event;
use super::ground::{share, v4, v6};
use super::hold::{Decision, HeldGroup, Hold, HoldId, Kind, Seen};
use super::plausible::Suspicion;
use super::scope::Scope;
use crate::prefix::PrefixSet;
use crate::snapshot::Cloud;

/// A hold with the scopes that it binds.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) hold: Hold,
    /// Indices into the scopes.
    pub(super) scopes: Vec<usize>,
}

/// Suspicions of all groups; those about the same space are one.
#[derive(Debug, Default)]
pub(super) struct Drafts(Vec<Draft>);

#[derive(Debug)]
struct Draft {
    kind: Kind,
    critical: bool,
    space: PrefixSet,
    causes: Vec<Cause>,
    groups: Vec<HeldGroup>,
    scopes: Vec<usize>,
}

impl Drafts {
    /// Adds a suspicion about a group that has this space.
    pub(super) fn add(
        &mut self,
        index: usize,
        scope: &Scope,
        before: &PrefixSet,
        suspicion: Suspicion,
    ) {
        let Suspicion { kind, space, causes } = suspicion;
        let critical = causes.iter().any(Cause::is_critical);
        let part = |count: fn(&PrefixSet) -> u128| match share(count(&space), count(before)) {
            part if part.is_finite() => part,
            // Everything of a group that had nothing.
            _ => 1.0,
        };
        let group = HeldGroup {
            name: scope.name.clone(),
            rules: scope.rules.clone(),
            share: rounded(part(v4).max(part(v6))),
        };
        let same = self
            .0
            .iter_mut()
            .find(|draft| draft.kind == kind && draft.critical == critical && draft.space == space);
        if let Some(draft) = same {
            for cause in causes {
                if !draft.causes.contains(&cause) {
                    draft.causes.push(cause);
                }
            }
            draft.groups.push(group);
            draft.scopes.push(index);
        } else {
            let (groups, scopes) = (vec![group], vec![index]);
            self.0.push(Draft { kind, critical, space, causes, groups, scopes });
        }
    }
}

impl Draft {
    /// The part of the draft that lies in this space, with shares in proportion.
    fn part(&self, space: PrefixSet) -> Self {
        let portion = |count: fn(&PrefixSet) -> u128| share(count(&space), count(&self.space));
        let portion = portion(v4).max(portion(v6)).min(1.0);
        let groups = self
            .groups
            .iter()
            .map(|group| HeldGroup { share: rounded(group.share * portion), ..group.clone() });
        Self {
            kind: self.kind,
            critical: self.critical,
            causes: self.causes.clone(),
            groups: groups.collect(),
            scopes: self.scopes.clone(),
            space,
        }
    }

    fn continues(&self, earlier: &Hold) -> bool {
        self.kind == earlier.kind
            && self.critical == earlier.critical
            && self.groups.iter().any(|group| earlier.concerns(&group.name))
    }
}

/// Makes holds of what is suspicious, and tells which are held on and which are released.
pub(super) fn settle(
    drafts: Drafts,
    scopes: &[Scope],
    earlier: &[Hold],
    cloud: Cloud,
    offer: &Offer,
    now: Timestamp,
) -> (Vec<Held>, Vec<Held>) {
    let mut all: Vec<Held> = Vec::new();
    for draft in drafts.0 {
        let mut rest = draft.space.clone();
        let mut pieces: Vec<(Draft, Option<&Hold>)> = Vec::new();
        // What was held before ages on by itself, so that a difference that grows from week to week neither hides behind the age
        // of its beginning nor starts anew each time.
        for known in earlier.iter().filter(|known| draft.continues(known)) {
            let part = rest.intersection(&known.space);
            if part.is_empty() {
                continue;
            }
            rest = rest.difference(&known.space);
            pieces.push((draft.part(part), Some(known)));
        }
        if !rest.is_empty() || pieces.is_empty() {
            pieces.push((draft.part(rest), None));
        }
        for (piece, known) in pieces {
            let one = hold(piece, known, scopes, cloud, offer, now);
            // Pieces of different groups may be the same space: an ID must lead to all of them.
            match all.iter_mut().find(|other| other.hold.id == one.hold.id) {
                Some(same) => same.join(one),
                None => all.push(one),
            }
        }
    }
    let (released, held) = all.into_iter().partition(|one| is_released(one, scopes, now));
    (held, released)
}

impl Held {
    /// Joins another hold of the same space: the younger one decides when it is released.
    fn join(&mut self, other: Self) {
        let Held { hold: other, scopes } = other;
        let hold = &mut self.hold;
        for cause in other.causes {
            if !hold.causes.contains(&cause) {
                hold.causes.push(cause);
            }
        }
        for group in other.groups {
            if !hold.concerns(&group.name) {
                hold.groups.push(group);
            }
        }
        if other.since > hold.since {
            (hold.since, hold.seen) = (other.since, other.seen);
        }
        hold.due = hold.due.zip(other.due).map(|(one, other)| one.max(other));
        self.scopes.extend(scopes);
    }
}

fn hold(
    draft: Draft,
    known: Option<&Hold>,
    scopes: &[Scope],
    cloud: Cloud,
    offer: &Offer,
    now: Timestamp,
) -> Held {
    let publication = &offer.publication;
    let (digest, date, fetched) = (publication.digest(), publication.date, offer.fetched);
    let since = known.map_or(now, |known| known.since);
    let seen = match known {
        None => Seen { publications: 1, downloads: 1, digest, date, fetched },
        Some(Hold { seen, .. }) => {
            let again = |differs: bool| u32::from(differs);
            Seen {
                publications: seen.publications + again((seen.digest, seen.date) != (digest, date)),
                downloads: seen.downloads + again(seen.fetched != fetched),
                digest,
                date,
                fetched,
            }
        }
    };
    let causes = draft.causes.into_iter().map(|cause| still_renamed(cause, known)).collect();
    let limits =
        || draft.scopes.iter().filter_map(|index| scopes.get(*index)).map(|scope| &scope.limits);
    let never = draft.critical || limits().any(|limits| limits.never_release);
    let days = limits().map(|limits| match draft.kind {
        Kind::Addition => limits.release_additions_days,
        Kind::Removal => limits.release_removals_days,
    });
    let days = i64::from(days.max().unwrap_or_default());
    let due = since.checked_add(SignedDuration::from_hours(24 * days)).ok().filter(|_| !never);
    let hold = Hold {
        id: HoldId::of(cloud, draft.kind, draft.critical, &draft.space),
        cloud,
        kind: draft.kind,
        groups: draft.groups,
        causes,
        space: draft.space,
        since,
        seen,
        due,
        critical: draft.critical,
    };
    Held { hold, scopes: draft.scopes }
}

/// A tag that carries a vanished one's space is new in one publication only: from then on it is remembered.
fn still_renamed(cause: Cause, known: Option<&Hold>) -> Cause {
    let Cause::Vanished { tag, renamed: None } = cause else { return cause };
    let suggested =
        known.into_iter().flat_map(|known| &known.causes).find_map(|cause| match cause {
            Cause::Vanished { tag: same, renamed } if *same == tag => renamed.clone(),
            _ => None,
        });
    Cause::Vanished { tag, renamed: suggested }
}

fn is_released(held: &Held, scopes: &[Scope], now: Timestamp) -> bool {
    let Hold { kind, seen, due, .. } = &held.hold;
    let confirmed = match kind {
        Kind::Addition => seen.downloads >= 2,
        Kind::Removal => {
            let further = held.scopes.iter().filter_map(|index| scopes.get(*index));
            let further = further.map(|scope| scope.limits.release_removals_publications).max();
            seen.publications > further.unwrap_or_default()
        }
    };
    confirmed && due.is_some_and(|due| due <= now)
}

/// Tells what is held anew, what is held no more, and what was released.
pub(super) fn report(
    earlier: &[Hold],
    held: &[Held],
    released: &[Held],
    decisions: &[Decision],
    events: &mut Vec<Event>,
) {
    for Held { hold, .. } in
        held.iter().filter(|held| !earlier.iter().any(|old| old.id == held.hold.id))
    {
        let (id, cloud, kind) = (hold.id.clone(), hold.cloud, hold.kind);
        events.push(Event::Held {
            hold: id,
            cloud,
            kind,
            addresses: hold.addresses(),
            why: hold.why(),
        });
    }
    for Held { hold, .. } in released {
        let (id, cloud, kind) = (hold.id.clone(), hold.cloud, hold.kind);
        events.push(Event::Released { hold: id, cloud, kind, addresses: hold.addresses() });
    }
    for old in earlier {
        let goes_on = held.iter().chain(released).any(|held| held.hold.id == old.id);
        if !goes_on && !decisions.iter().any(|decision| decision.hold == old.id) {
            events.push(Event::Lapsed { hold: old.id.clone(), cloud: old.cloud });
        }
    }
}
