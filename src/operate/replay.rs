//! Past publications judged one after another, as the agent would have judged them.
//!
//! The clock is each publication's own date; each is fetched once, so the next one is the second download of what it still shows.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::config::{Config, Name};
use crate::guard::{self, Belief, Event, Hold, Judgement, Kind, Offer, Offers};
use crate::intent::Intent;
use crate::pipeline;
use crate::render::{Load, Templates};
use crate::selection::{self, HostAddresses, Selection};
use crate::snapshot::{Cloud, Digest, Publication};

/// Judges one publication after another.
#[derive(Debug)]
pub struct Replay<'c> {
    config: &'c Config,
    intent: Intent,
    belief: Belief,
    /// What was selected last, to tell a change from none.
    selected: Selection,
}

/// What became of one publication.
#[derive(Debug, Clone, Serialize)]
pub struct Replayed {
    /// The file.
    pub file: String,
    /// Its cloud; none when it could not be read.
    pub cloud: Option<Cloud>,
    /// Its date.
    pub date: Option<Date>,
    /// When it was judged: the clock of a replay.
    #[serde(skip)]
    pub at: Option<Timestamp>,
    /// Its change number.
    pub change_number: Option<u64>,
    /// Its digest.
    pub digest: Option<Digest>,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it was refused or what is held, in words.
    pub reason: Option<String>,
    /// What it brought that is held.
    pub held: Vec<HeldLine>,
    /// What earlier publications brought and is held still.
    pub still_held: Vec<HeldLine>,
    /// What was released by itself.
    pub released: Vec<String>,
    /// How many addresses are withdrawn and still open, by group; IPv4, or IPv6 where there is no IPv4.
    pub grace: BTreeMap<Name, u128>,
    /// The sizes of the groups after it.
    pub groups: BTreeMap<Name, Size>,
}

/// What became of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All of it is believed, and the rules change.
    Applied,
    /// A part of it is held; the rest is believed.
    PartlyHeld,
    /// The rules stay as they are.
    Unchanged,
    /// It was not looked at.
    Refused,
}

impl Outcome {
    /// The name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::PartlyHeld => "partly-held",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

/// What is held of one group.
#[derive(Debug, Clone, Serialize)]
pub struct HeldLine {
    /// The group.
    pub group: Name,
    /// Which way.
    pub kind: Kind,
    /// How many addresses: IPv4, or IPv6 where there is no IPv4.
    pub addresses: u128,
    /// Their share of the group.
    pub share: f64,
    /// Why.
    pub why: String,
    /// The hold.
    pub id: guard::HoldId,
    /// Whether only a person may decide.
    pub critical: bool,
}

/// The size of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Size {
    /// IPv4 addresses.
    pub ipv4_addresses: u64,
    /// IPv6 addresses.
    pub ipv6_addresses: u128,
    /// Prefixes of both families.
    pub prefixes: usize,
}

impl<'c> Replay<'c> {
    /// Begins with nothing believed.
    pub fn new(config: &'c Config) -> Self {
        Self {
            config,
            intent: Intent::of(config),
            belief: Belief::default(),
            selected: Selection::default(),
        }
    }

    /// How full the firewalls of the configuration would be with what is believed; none while nothing is, or where it does not
    /// fit.
    pub fn loads(&self, templates: &Templates) -> Option<BTreeMap<Name, Vec<Load>>> {
        let (believed, hosts) = (self.belief.publications(), HostAddresses::new());
        pipeline::plan(self.config, believed, &hosts, templates, None, &[])
            .ok()
            .map(|plan| plan.loads)
    }

    /// A file that is no publication.
    pub fn refused(&self, file: &str, reason: String) -> Replayed {
        Replayed {
            file: file.to_owned(),
            cloud: None,
            date: crate::snapshot::date_in_name(file),
            at: None,
            change_number: None,
            digest: None,
            outcome: Outcome::Refused,
            reason: Some(reason),
            held: Vec::new(),
            still_held: Vec::new(),
            released: Vec::new(),
            grace: BTreeMap::new(),
            groups: self.sizes(),
        }
    }

    /// Judges the next publication.
    pub fn step(&mut self, file: &str, publication: Publication) -> Replayed {
        let cloud = publication.snapshot.cloud();
        let now = time_of(publication.date, self.belief.standing(cloud).map(|known| known.since));
        let mut replayed = self.refused(file, String::new());
        replayed.reason = None;
        replayed.cloud = Some(cloud);
        replayed.date = publication.date;
        replayed.at = Some(now);
        replayed.change_number = Some(publication.snapshot.change_number());
        replayed.digest = Some(publication.digest());
        if !self.config.clouds().contains(&cloud) {
            replayed.outcome = Outcome::Unchanged;
            replayed.reason = Some(format!("nothing in the configuration uses cloud {cloud}"));
            return replayed;
        }
        let offers = Offers::from([(cloud, Offer { publication, fetched: now })]);
        let judgement = guard::judge(self.config, &self.intent, &self.belief, &offers, now);
        if let Some(why) = refusal(&judgement) {
            replayed.reason = Some(why);
            return replayed;
        }
        let mut needed = self.config.clouds();
        needed.retain(|cloud| !judgement.belief.clouds().contains(cloud));
        self.fill(&mut replayed, &judgement);
        if !judgement.withheld.is_empty() {
            // Nothing of a group is believed: there are no rules yet, and what is held stays to be decided.
            self.belief = judgement.belief;
            replayed.outcome = Outcome::PartlyHeld;
            return replayed;
        }
        match selection::select(
            self.config,
            &self.intent,
            judgement.belief.publications(),
            &HostAddresses::new(),
        ) {
            Ok(selection) => {
                replayed.outcome = match () {
                    () if !replayed.held.is_empty() => Outcome::PartlyHeld,
                    () if selection.groups == self.selected.groups => Outcome::Unchanged,
                    () => Outcome::Applied,
                };
                self.selected = selection;
                self.belief = judgement.belief;
            }
            // Clouds whose turn has not come yet have nothing to select from.
            Err(_) if !needed.is_empty() => {
                replayed.outcome = Outcome::Unchanged;
                replayed.reason = Some("waits for publications of other clouds".to_owned());
                self.belief = judgement.belief;
            }
            Err(error) => {
                replayed.outcome = Outcome::Refused;
                replayed.reason = Some(error.to_string());
            }
        }
        replayed.groups = self.sizes();
        replayed
    }

    fn fill(&self, replayed: &mut Replayed, judgement: &Judgement) {
        let known = |hold: &Hold| self.belief.hold(&hold.id).is_some();
        for hold in judgement.belief.holds() {
            let lines = hold.groups.iter().map(|group| HeldLine {
                group: group.name.clone(),
                kind: hold.kind,
                addresses: hold.addresses(),
                share: group.share,
                why: hold.why(),
                id: hold.id.clone(),
                critical: hold.critical,
            });
            if known(hold) {
                replayed.still_held.extend(lines);
            } else {
                replayed.held.extend(lines);
            }
        }
        let reasons: Vec<String> = replayed
            .held
            .iter()
            .map(|held| format!("{} of {}: {}", held.kind.name(), held.group, held.why))
            .collect();
        replayed.reason = (!reasons.is_empty()).then(|| reasons.join("; "));
        for event in &judgement.events {
            if let Event::Released { .. } = event {
                replayed.released.push(event.to_string());
            }
        }
        for (cloud, grace) in judgement.belief.grace() {
            for spec in self.intent.groups.iter().filter(|spec| spec.cloud == cloud) {
                let Some(publication) = judgement.belief.publications().get(&cloud) else {
                    continue;
                };
                let parts = selection::parts(spec, &publication.snapshot);
                if parts.tags.iter().any(|(tag, _)| *tag.name() == grace.tag) {
                    *replayed.grace.entry(spec.name.clone()).or_default() +=
                        guard::addresses(&grace.space);
                }
            }
        }
    }

    fn sizes(&self) -> BTreeMap<Name, Size> {
        self.selected
            .groups
            .iter()
            .filter(|(_, group)| !group.tags.is_empty())
            .map(|(name, group)| {
                let size = Size {
                    ipv4_addresses: group.prefixes.v4_addresses(),
                    ipv6_addresses: group.prefixes.v6_addresses(),
                    prefixes: group.prefixes.len(),
                };
                (name.clone(), size)
            })
            .collect()
    }
}

fn refusal(judgement: &Judgement) -> Option<String> {
    judgement.events.iter().find_map(|event| match event {
        Event::Refused { why, .. } => Some(why.clone()),
        _ => None,
    })
}

/// Noon of the date; without one, a week after the publication before.
fn time_of(date: Option<Date>, before: Option<Timestamp>) -> Timestamp {
    let noon = date.and_then(|date| {
        let noon = date.at(12, 0, 0, 0).to_zoned(TimeZone::UTC).ok()?;
        Some(noon.timestamp())
    });
    let week = jiff::SignedDuration::from_hours(24 * 7);
    noon.or_else(|| before?.checked_add(week).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}
