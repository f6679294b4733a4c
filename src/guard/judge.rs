//! The judgement of one cloud: from suspicions to holds, and from holds to what is believed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::belief::{Belief, Believed, Grace, Standing};
use super::compose;
use super::event::Event;
use super::ground::{Ground, TagState, space_of};
use super::hold::{Decision, Hold, Kind, Verdict, addresses};
use super::holds::{self, Drafts};
use super::neighbourhoods;
use super::plausible::{self, Change};
use super::scope::{self, Scope};
use super::{Offer, Offers};
use crate::config::{Config, Mode, Name, space};
use crate::intent::Intent;
use crate::prefix::{PrefixSet, special};
use crate::snapshot::{Cloud, Publication, Snapshot, TagName};

/// How long growth is watched.
pub(super) const FOUR_WEEKS: SignedDuration = SignedDuration::from_hours(24 * 28);

/// Everything that a judgement goes by beside what is believed.
#[derive(Clone, Copy)]
pub(super) struct Court<'c> {
    pub(super) config: &'c Config,
    pub(super) intent: &'c Intent,
    pub(super) offers: &'c Offers,
    pub(super) now: Timestamp,
}

impl Court<'_> {
    /// Judges every offer, and lets time pass for clouds without one.
    pub(super) fn sit(
        &self,
        belief: &mut Belief,
        events: &mut Vec<Event>,
        withheld: &mut Vec<Name>,
    ) {
        for (cloud, offer) in self.offers {
            match refusal(belief, *cloud, offer) {
                Some(why) => {
                    let publication = offer.publication.digest();
                    events.push(Event::Refused { cloud: *cloud, publication, why });
                    self.pass_time(belief, *cloud, events);
                }
                None => self.judge(belief, *cloud, offer, events, withheld),
            }
        }
        for cloud in belief.clouds().into_iter().filter(|cloud| !self.offers.contains_key(cloud)) {
            self.pass_time(belief, cloud, events);
        }
    }

    fn judge(
        &self,
        belief: &mut Belief,
        cloud: Cloud,
        offer: &Offer,
        events: &mut Vec<Event>,
        withheld: &mut Vec<Name>,
    ) {
        let old = belief.publications.get(&cloud).cloned();
        let kept = belief.clouds.get(&cloud).cloned();
        let old_snapshot = old.as_ref().map(|publication| &*publication.snapshot);
        let published = &*offer.publication.snapshot;
        let patched = compose::with_believed_regions(published, old_snapshot, kept.as_ref());
        let offered = patched.as_ref().unwrap_or(published);
        let snapshots: Vec<&Snapshot> = old_snapshot.into_iter().chain([offered]).collect();
        let scopes = scope::scopes(self.config, self.intent, cloud, &snapshots);
        let mut ground = Ground::new(
            cloud,
            old_snapshot.zip(kept.as_ref()),
            offered,
            weeks(kept.as_ref(), &offer.publication),
            self.now,
            &self.ordinary_space(cloud),
        );
        let (mut tags, returned) = states(&scopes, &ground, kept.as_ref());
        std::mem::swap(&mut ground.tags, &mut tags);
        let decided = Decided::of(belief, cloud, &offer.publication, self.now);

        let mut drafts = Drafts::default();
        for (index, scope) in scopes.iter().enumerate() {
            let change = change(scope, &ground, kept.as_ref(), &decided, self.now);
            let everything =
                self.config.guard.hold_everything || self.config.agent.mode == Mode::Propose;
            for suspicion in plausible::suspicions(scope, &change, &ground, everything) {
                drafts.add(index, scope, &change.before, suspicion);
            }
        }
        let earlier: Vec<Hold> =
            belief.holds.iter().filter(|hold| hold.cloud == cloud).cloned().collect();
        let (holds, released) = holds::settle(drafts, &scopes, &earlier, cloud, offer, self.now);

        let outcome = compose::compose(
            &scopes,
            &ground,
            kept.as_ref(),
            &holds,
            &released,
            &decided,
            self.now,
        );
        report(cloud, kept.as_ref(), offer, events);
        for (tag, space) in returned {
            events.push(Event::Returned { tag, cloud, addresses: addresses(&space) });
        }
        holds::report(&earlier, &holds, &released, belief.decisions(), events);
        events.extend(outcome.events);

        withheld.extend(
            scopes
                .iter()
                .filter(|scope| !scope.names_only && !scope.allow_empty)
                .filter(|scope| holds.iter().any(|held| held.hold.concerns(&scope.name)))
                .filter(|scope| {
                    scope
                        .space(|tag| outcome.spaces.get(tag).cloned().unwrap_or_default())
                        .is_empty()
                })
                .map(|scope| scope.name.clone()),
        );

        let Some(publication) = compose::publication(
            &outcome.spaces,
            old_snapshot,
            offered,
            &offer.publication,
            kept.as_ref(),
        ) else {
            return;
        };
        let mut blocks = kept.as_ref().map(|kept| kept.blocks.clone()).unwrap_or_default();
        neighbourhoods::note(&mut blocks, offered, self.now);
        let believed = Believed {
            standing: standing(kept.as_ref(), &offer.publication, self.now),
            grace: outcome.grace,
            judged: outcome.judged,
            blocks,
        };
        belief.publications.insert(cloud, publication);
        belief.clouds.insert(cloud, believed);
        belief.holds.retain(|hold| hold.cloud != cloud);
        belief.holds.extend(holds.into_iter().map(|held| held.hold));
        belief.holds.sort_by(|left, right| (left.since, &left.id).cmp(&(right.since, &right.id)));
        let used = outcome.rejections;
        belief.decisions.retain(|decision| {
            decision.cloud != cloud
                || match decision.verdict {
                    Verdict::Approve => decision.expires.is_none_or(|expires| expires > self.now),
                    Verdict::Reject => used.contains(&decision.hold),
                }
        });
    }

    /// Space in which additions are ordinary whatever the shipped table says.
    fn ordinary_space(&self, cloud: Cloud) -> PrefixSet {
        let configured = space(&self.config.guard.neighbourhoods)
            .union(&space(&self.config.document.allow_special));
        if cloud == Cloud::Example {
            configured.union(special::documentation())
        } else {
            configured
        }
    }

    /// Without a publication to judge only withdrawn ranges can change: their time ends.
    fn pass_time(&self, belief: &mut Belief, cloud: Cloud, events: &mut Vec<Event>) {
        let Some(kept) = belief.clouds.get_mut(&cloud) else { return };
        let (closed, open): (Vec<_>, Vec<_>) =
            std::mem::take(&mut kept.grace).into_iter().partition(|grace| grace.until <= self.now);
        kept.grace = open;
        let Some(publication) = belief.publications.get(&cloud).filter(|_| !closed.is_empty())
        else {
            return;
        };
        let snapshot = &publication.snapshot;
        let contents = snapshot.tags().iter().map(|tag| {
            let mut content = snapshot.content(tag);
            let gone = closed.iter().filter(|grace| grace.tag == *tag.name());
            let gone = gone.fold(PrefixSet::new(), |all, grace| all.union(&grace.space));
            if !gone.is_empty() {
                let rest = space_of(snapshot, tag).difference(&gone);
                content.v4 = rest.v4().to_vec();
                content.v6 = rest.v6().to_vec();
            }
            content
        });
        let Ok(rest) = Snapshot::of_tags(cloud, snapshot.change_number(), contents) else { return };
        let rest = Publication::new(rest, publication.source.clone()).dated(publication.date);
        belief.publications.insert(cloud, rest);
        for Grace { tag, space, .. } in closed {
            events.push(Event::Closed { tag, cloud, addresses: addresses(&space) });
        }
    }
}

/// Why an offer is not even looked at.
fn refusal(belief: &Belief, cloud: Cloud, offer: &Offer) -> Option<String> {
    let publication = &offer.publication;
    let actual = publication.snapshot.cloud();
    if actual != cloud {
        return Some(format!("it is of cloud {actual}"));
    }
    let standing = belief.standing(cloud)?;
    if standing.digest == publication.digest() {
        return None;
    }
    let number = publication.snapshot.change_number();
    match (publication.date, standing.date) {
        (Some(date), Some(known)) if date < known => {
            Some(format!("it is of {date}, older than the one of {known} that is believed"))
        }
        (Some(_), Some(_)) => None,
        _ if number < standing.change_number => Some(format!(
            "its change number {number} is below {}, that of the one that is believed",
            standing.change_number
        )),
        _ => None,
    }
}

/// How many weeks lie between the publication that is believed and this one; one at least.
fn weeks(kept: Option<&Believed>, publication: &Publication) -> f64 {
    let days = kept.and_then(|kept| {
        let (from, to) = (kept.standing.date?, publication.date?);
        Some((to - from).get_days())
    });
    days.map_or(1.0, |days| (f64::from(days) / 7.0).max(1.0))
}

fn standing(kept: Option<&Believed>, publication: &Publication, now: Timestamp) -> Standing {
    let digest = publication.digest();
    let since =
        kept.filter(|kept| kept.standing.digest == digest).map_or(now, |kept| kept.standing.since);
    Standing {
        date: publication.date,
        change_number: publication.snapshot.change_number(),
        digest,
        source: publication.source.clone(),
        since,
    }
}

fn report(cloud: Cloud, kept: Option<&Believed>, offer: &Offer, events: &mut Vec<Event>) {
    let publication = offer.publication.digest();
    if kept.is_none_or(|kept| kept.standing.digest != publication) {
        events.push(Event::Judged {
            cloud,
            publication,
            date: offer.publication.date,
            change_number: offer.publication.snapshot.change_number(),
            first: kept.is_none(),
        });
    }
}

/// The decisions about one cloud that count for this publication.
#[derive(Debug, Default)]
pub(super) struct Decided<'d> {
    pub(super) approved: Vec<&'d Decision>,
    pub(super) rejected: Vec<&'d Decision>,
}

impl<'d> Decided<'d> {
    fn of(belief: &'d Belief, cloud: Cloud, publication: &Publication, now: Timestamp) -> Self {
        let mut decided = Self::default();
        for decision in belief.decisions.iter().filter(|decision| decision.cloud == cloud) {
            match decision.verdict {
                Verdict::Approve
                    if decision.publication == publication.digest()
                        && decision.expires.is_none_or(|expires| expires > now) =>
                {
                    decided.approved.push(decision);
                }
                Verdict::Approve => {}
                Verdict::Reject => decided.rejected.push(decision),
            }
        }
        decided
    }

    /// The space of the decisions of one kind that concern a group.
    pub(super) fn space(decisions: &[&Decision], kind: Kind, group: &Name) -> PrefixSet {
        decisions
            .iter()
            .filter(|decision| decision.kind == kind && decision.groups.contains(group))
            .fold(PrefixSet::new(), |all, decision| all.union(&decision.space))
    }
}

type States = BTreeMap<TagName, TagState>;

/// The state of every tag that a scope names, and what came back before its time was over.
fn states(
    scopes: &[Scope],
    ground: &Ground<'_>,
    kept: Option<&Believed>,
) -> (States, Vec<(TagName, PrefixSet)>) {
    let names: BTreeSet<&TagName> = scopes.iter().flat_map(Scope::all_tags).collect();
    let (mut states, mut returned) = (States::new(), Vec::new());
    for name in names {
        let find = |snapshot: &Snapshot| {
            snapshot
                .tag(name.as_str())
                .map(|tag| (space_of(snapshot, tag), Box::<str>::from(tag.region())))
        };
        let (published, believed) = (find(ground.offered), ground.believed.and_then(find));
        let judged = kept.is_some_and(|kept| kept.judged.contains_key(name));
        let region: Box<str> = published
            .as_ref()
            .or(believed.as_ref())
            .map(|(_, region)| region.clone())
            .unwrap_or_default();
        let vanished = published.is_none();
        let published = published.map(|(space, _)| space).unwrap_or_default();
        let unjudged = believed.is_some() && !judged;
        let before = believed.filter(|_| judged).map(|(space, _)| space).unwrap_or_default();
        let withdrawn = before.difference(&published);
        let entries =
            kept.into_iter().flat_map(|kept| &kept.grace).filter(|grace| grace.tag == *name);
        let all = entries.fold(PrefixSet::new(), |all, grace| all.union(&grace.space));
        let back = all.intersection(&published);
        if !back.is_empty() {
            returned.push((name.clone(), back));
        }
        let grace = all.intersection(&withdrawn);
        states.insert(
            name.clone(),
            TagState { before, published, grace, vanished, unjudged, region },
        );
    }
    (states, returned)
}

/// How a group would change.
fn change(
    scope: &Scope,
    ground: &Ground<'_>,
    kept: Option<&Believed>,
    decided: &Decided<'_>,
    now: Timestamp,
) -> Change {
    let of = |part: fn(&TagState) -> PrefixSet| {
        scope.space(|tag| ground.tag(tag).map(part).unwrap_or_default())
    };
    let before = of(|state| state.before.clone());
    let published = of(|state| state.published.clone());
    let after = of(|state| state.published.union(&state.grace));
    let settled = |kind| {
        Decided::space(&decided.approved, kind, &scope.name).union(&Decided::space(
            &decided.rejected,
            kind,
            &scope.name,
        ))
    };
    let (settled_removals, settled_additions) = (settled(Kind::Removal), settled(Kind::Addition));
    let removed = before.difference(&after).difference(&settled_removals);
    let added = after.difference(&before).difference(&settled_additions);
    let states = || scope.tags.keys().filter_map(|tag| ground.tag(tag));
    let judged = |tag: &TagName| kept.is_some_and(|kept| kept.judged.contains_key(tag));
    let all_first = !scope.tags.keys().any(judged);
    let first_tags = states().filter(|state| all_first || state.unjudged);
    let first = first_tags.fold(PrefixSet::new(), |all, state| all.union(&state.published));
    let first = added.intersection(&first);
    let grown = added.difference(&first);
    let grace = states().fold(PrefixSet::new(), |all, state| all.union(&state.grace));
    let leaving = before.intersection(&grace).difference(&published);
    let mut came = [0_u128; 2];
    for grown in scope.tags.keys().filter_map(|tag| kept?.judged.get(tag)).flatten() {
        if now.duration_since(grown.at) < FOUR_WEEKS {
            came[0] = came[0].saturating_add(u128::from(grown.ipv4));
            came[1] = came[1].saturating_add(grown.ipv6);
        }
    }
    let empties = published.is_empty();
    let decided = settled_removals.union(&grace);
    Change { before, removed, grown, first, leaving, decided, came, empties }
}
