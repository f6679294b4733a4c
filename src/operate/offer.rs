//! Publications offered: judged, planned, published.

use jiff::Timestamp;

use super::record::Note;
use super::{OperateError, Operator, answers, believed, companion};
use crate::config::{Closed, Config, Name, Target, Urgent};
use crate::feed::{self, FeedError};
use crate::guard::{Belief, Event, Hold, Offer, Offers};
use crate::pipeline::{self, Inputs, PlanError};
use crate::publish::{ChangeSummary, Published, Request, Restored, Retention};
use crate::render::Templates;
use crate::ruleset::{Difference, RuleSet, Surplus};
use crate::snapshot::{Cloud, Digest, Publication};
use crate::state::Memory;
use crate::state::trail::Action;

/// What is offered, and under which configuration.
#[derive(Debug)]
pub struct Offering<'o> {
    /// What the user asks for.
    pub config: &'o Config,
    /// The templates of the targets.
    pub templates: &'o Templates,
    /// The newest publication of each cloud.
    pub offers: &'o Offers,
    /// Why older publications are taken as a new beginning; none: they are refused.
    pub rebaseline: Option<&'o str>,
    /// Whether targets may replace what is not tagwall's, whatever their configuration says.
    pub take_over: bool,
    /// Whether the first load of a target may stay although no packet gets to its rules, whatever its configuration says.
    pub allow_unreached: bool,
    /// Who wants it.
    pub wish: Wish,
    /// Why it is done, as the manifest says it.
    pub reason: &'o str,
    /// When.
    pub now: Timestamp,
}

/// Who wants something to be published.
#[derive(Debug, Clone)]
pub enum Wish {
    /// A person, now: a pause or a pin is told as an error.
    OfPerson {
        /// Who.
        by: String,
    },
    /// The agent, by itself: a pause, a pin or the calendar make a change wait.
    OfAgent {
        /// Why the calendar lets nothing through; none: it does.
        closed: Option<Closed>,
        /// What is let through all the same.
        urgent: Urgent,
    },
}

impl Wish {
    /// Who; none: the agent by itself.
    fn by(&self) -> Option<&str> {
        match self {
            Self::OfPerson { by } => Some(by),
            Self::OfAgent { .. } => None,
        }
    }
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Offered {
    /// Whether a new generation is in force; none: the change waits.
    pub published: Option<Published>,
    /// The change that waits.
    pub waiting: Option<Waiting>,
    /// What changed, when a new generation is in force.
    pub summary: ChangeSummary,
    /// What was said about artifacts while rendering.
    pub warnings: Vec<(Name, String)>,
    /// Groups that let through more than is published, because they are fitted.
    pub widened: Vec<Surplus>,
    /// What was not as it had been published, and what was done about it.
    pub restored: Vec<Restored>,
    /// What the judgement did.
    pub events: Vec<Event>,
    /// What is held, of this and of earlier publications.
    pub holds: Vec<Hold>,
    /// When time alone will change what is believed.
    pub next: Option<Timestamp>,
}

/// A change that may not be published yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// What it waits for.
    pub until: Until,
    /// What it would change.
    pub summary: ChangeSummary,
}

/// What a change waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Until {
    /// `resume`: everything is paused, or a generation is pinned.
    Resumed,
    /// The calendar.
    Open(Closed),
}

impl Operator {
    /// Judges what is offered, and brings what is believed of it in force: all targets, or nothing. A change that waits is
    /// not remembered either: it is judged anew when it may be published.
    pub fn offer(&mut self, offering: &Offering<'_>) -> Result<Offered, OperateError> {
        let &Offering { config, templates, offers, now, .. } = offering;
        let until = self.obstacle(&offering.wish)?;
        let (memory, belief, reason) = self.take(offering)?;
        let mut names = self.names.clone();
        names.keep(config, now);
        let hosts = names.addresses(now);
        let inputs = Inputs {
            config,
            templates,
            belief: &belief,
            offers,
            hosts: &hosts,
            previous: None,
            now,
        };
        let (judgement, mut plan) = match pipeline::judged(&inputs) {
            Err(PlanError::Withheld { groups, why, holds }) => {
                self.keep_holds(&holds, offering)?;
                return Err(PlanError::Withheld { groups, why, holds }.into());
            }
            planned => planned?,
        };
        let delta_from = self.add_deltas(config, templates, &mut plan)?;
        let warnings = plan.warnings();
        let publications = judgement.belief.publications();
        let mut request =
            Request::of(config, plan.rule_set, plan.artifacts, publications, reason, now)?;
        request.note_deltas(delta_from);
        request.loads = plan.loads;
        consent(&mut request, offering);
        name_evaluated(&mut request, &judgement.belief);
        let document = believed(&judgement.belief)?;
        let written = Digest::of(&document.bytes);
        request.companions = vec![companion(&memory)?, document];
        if names.entries().next().is_some() {
            request.companions.push(answers(&names)?);
        }
        let holds = judgement.belief.holds().to_vec();
        let widened = request.rule_set.widened();
        let next = judgement.next;
        let mut offered = Offered { warnings, widened, holds, next, ..Offered::default() };
        let before = self.rules_in_force()?;
        let in_force = self.publisher.is_in_force(&request)?;
        if !in_force {
            offered.summary = ChangeSummary::of(&before, &request.rule_set);
            if let Some(until) = until
                && !self.is_let_through(&offering.wish, &before, &request.rule_set)
            {
                offered.waiting = Some(Waiting { until, summary: offered.summary.clone() });
                return Ok(offered);
            }
        }
        let note = Note {
            at: now,
            action: if in_force { Action::Judged } else { Action::Published },
            by: offering.wish.by(),
            reason: Some(&request.reason),
            decision: None,
            events: &judgement.events,
            configuration: Some(request.configuration),
        };
        let generation = if in_force {
            self.publisher.store().current()?
        } else {
            Some(self.publisher.next_number()?)
        };
        let tells = !in_force
            || judgement.belief != self.belief
            || self.trail.is_of_other_configuration(request.configuration);
        let mut entry = None;
        if tells {
            let rules = (&before, &request.rule_set);
            let written = (&judgement.belief, Some(written));
            let (trail, prepared) = self.prepare(&note, generation, written, rules)?;
            request.companions.push(trail);
            entry = Some(prepared);
        }
        let published = self.publisher.publish(&request, Retention::from(&config.publish));
        let published = published.inspect_err(|error| self.note_failure(&note, error))?;
        self.memory = memory;
        self.belief = judgement.belief;
        if let Published::Generation(number) | Published::Partly(number) = published {
            self.warn_of_notes(number);
        }
        if let Some(entry) = &entry {
            self.committed(entry);
        }
        self.note_correction(now);
        // The rules are the same, but somebody may have flushed them.
        if matches!(published, Published::Unchanged(_)) && self.memory.pause.is_none() {
            offered.restored = self.restore(false, offering.wish.by(), now)?;
        }
        offered.published = Some(published);
        offered.events = judgement.events;
        Ok(offered)
    }

    /// Warns of what a load replaced, removed or left over.
    pub(super) fn warn_of_notes(&mut self, generation: u64) {
        let read = self.publisher.store().read(generation).ok();
        for note in
            read.and_then(|read| read.outcome).map(|outcome| outcome.notes).into_iter().flatten()
        {
            self.warn(note);
        }
    }

    /// Nothing of a judgement that leaves a group without rules is believed, but what it holds can be decided about.
    fn keep_holds(&mut self, holds: &[Hold], offering: &Offering<'_>) -> Result<(), OperateError> {
        let mut belief = self.belief.clone();
        belief.hold_like(holds);
        if belief == self.belief {
            return Ok(());
        }
        let note = Note {
            at: offering.now,
            action: Action::Judged,
            by: offering.wish.by(),
            reason: Some(offering.reason),
            decision: None,
            events: &[],
            configuration: None,
        };
        self.commit(&note, belief, self.memory.clone())
    }

    /// Adds the embedded publication where the configuration lives on it, unless a newer edition is given or known.
    pub fn add_example(
        &self,
        config: &Config,
        offers: &mut Offers,
        now: Timestamp,
    ) -> Result<(), FeedError> {
        if !config.clouds().contains(&Cloud::Example) || offers.contains_key(&Cloud::Example) {
            return Ok(());
        }
        let publication = feed::example(&config.policy())?;
        if self.memory.judge(&publication).is_ok() {
            offers.insert(Cloud::Example, Offer { publication, fetched: now });
        }
        Ok(())
    }

    /// What a change would have to wait for; an error where a person wants it.
    pub(super) fn obstacle(&self, wish: &Wish) -> Result<Option<Until>, OperateError> {
        match wish {
            Wish::OfPerson { .. } => match (&self.memory.pause, &self.memory.pin) {
                (Some(pause), _) => Err(OperateError::Paused(pause.clone())),
                (None, Some(pin)) => Err(OperateError::Pinned(pin.clone())),
                (None, None) => Ok(None),
            },
            Wish::OfAgent { .. } if self.memory.pause.is_some() || self.memory.pin.is_some() => {
                Ok(Some(Until::Resumed))
            }
            Wish::OfAgent { closed, .. } => Ok(closed.clone().map(Until::Open)),
        }
    }

    /// Whether the calendar lets a change through although it is closed.
    fn is_let_through(&self, wish: &Wish, before: &RuleSet, after: &RuleSet) -> bool {
        matches!(wish, Wish::OfAgent { urgent: Urgent::Additions, .. })
            && self.memory.pause.is_none()
            && self.memory.pin.is_none()
            && only_adds_addresses(&Difference::between(before, after))
    }

    /// Refuses what is older than what is in use, or takes it as a new beginning; what is remembered then, and why.
    fn take(&self, offering: &Offering<'_>) -> Result<(Memory, Belief, String), OperateError> {
        let mut memory = self.memory.clone();
        let mut belief = self.belief.clone();
        let mut reason = offering.reason.to_owned();
        for publication in offering.offers.values().map(|offer| &offer.publication) {
            match (offering.rebaseline, memory.judge(publication)) {
                (_, Ok(())) => memory.take(publication, offering.now),
                (Some(why), Err(_)) => {
                    memory.rebaseline(publication, why, offering.now);
                    belief.forget(publication.snapshot.cloud());
                    reason = format!("rebaseline: {why}");
                }
                (None, Err(older)) => return Err(older.into()),
            }
        }
        Ok((memory, belief, reason))
    }
}

/// Adds what an operator agreed to, and what a first load by hand has to meet.
fn consent(request: &mut Request, offering: &Offering<'_>) {
    if offering.take_over {
        request.take_over.extend(request.targets.keys().cloned());
    }
    if !offering.allow_unreached && matches!(offering.wish, Wish::OfPerson { .. }) {
        let refuses =
            |(_, target): &(&Name, &toml::Spanned<Target>)| !target.get_ref().allow_unreached;
        let targets = offering.config.targets.iter().filter(refuses);
        request.must_be_reached = targets.map(|(name, _)| name.clone()).collect();
    }
}

/// Names in the manifest the publications as they were published and evaluated: their accepted content is in the ruleset.
fn name_evaluated(request: &mut Request, baseline: &Belief) {
    for record in &mut request.publications {
        if let Some(standing) = baseline.standing(record.cloud) {
            record.source.clone_from(&standing.source);
            record.date = standing.date.map(|date| date.to_string());
            record.change_number = standing.change_number;
            record.digest = standing.digest;
        }
    }
}

/// Whether all that changes is that groups which are there get more addresses.
fn only_adds_addresses(difference: &Difference) -> bool {
    let Difference {
        groups,
        rules_added,
        rules_removed,
        rules_changed,
        routes_removed,
        security_removed,
        ..
    } = difference;
    [rules_added, rules_removed, rules_changed, routes_removed, security_removed]
        .iter()
        .all(|names| names.is_empty())
        && groups.iter().all(|group| {
            group.whole.is_none() && group.space.removed.is_empty() && group.hosts_removed == 0
        })
}

/// Offers of publications that were fetched just now.
pub fn offers(publications: impl IntoIterator<Item = Publication>, now: Timestamp) -> Offers {
    publications
        .into_iter()
        .map(|publication| {
            let cloud = publication.snapshot.cloud();
            (cloud, Offer { publication, fetched: now })
        })
        .collect()
}
