//! `tagwall status`: what is in force, and what the agent is at.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::text::{HEADLINE, REMOVED, WARNING, relative};
use super::{
    AgentStatus, BeliefStatus, CapacityStatus, FeedStatus, GroupStatus, HoldStatus, ReceiverStatus,
    ReportError, ServeStatus,
};
use super::{NameStatus, ReachStatus};
use crate::config::{Name, Period};
use crate::guard::Belief;
use crate::publish::{
    self, Behind, Found, Generation, PublicationRecord, Store, TargetReach, Took,
};
use crate::ruleset::Surplus;
use crate::snapshot::Digest;
use crate::state::{self, Memory, Pause, Pin};

/// Name and version of the format. Fields may be added to a version; a reader passes over what it does not know.
const FORMAT: &str = "tagwall-status/1";

/// What is in force, and what the agent is at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `tagwall-status/1`.
    pub format: String,
    /// When this was so.
    #[serde(default)]
    pub at: Timestamp,
    /// The state folder.
    pub state_dir: String,
    /// The generation in force; none before the first.
    pub generation: Option<u64>,
    /// Why it cannot be read: it is in force all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Why it was made.
    pub reason: Option<String>,
    /// Digest of its rule set.
    pub rule_set: Option<Digest>,
    /// The publications in it.
    pub publications: Vec<PublicationRecord>,
    /// The generation that a rollback keeps in force until `resume`.
    pub pin: Option<Pin>,
    /// The emergency stop.
    #[serde(default)]
    pub pause: Option<Pause>,
    /// Whether a publication is under way, or was interrupted and is not mended yet.
    pub interrupted: bool,
    /// What somebody should know of the publication in force: what it overwrote, deleted or left over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The targets.
    pub targets: Vec<TargetStatus>,
    /// Whether the kernel was read for this status.
    #[serde(default)]
    pub verified: bool,
    /// The running agent; none when none runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentStatus>,
    /// The feeds, as the running agent sees them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub feeds: Vec<FeedStatus>,
    /// The address groups in force, where they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupStatus>,
    /// Groups that let through more than is published, because they are fitted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub widened: Vec<Surplus>,
    /// How much of each limit of the firewalls is used, and for how long it will do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capacity: Vec<CapacityStatus>,
    /// What is believed; none while nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub belief: Option<BeliefStatus>,
    /// What is held until somebody decides, or time does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<HoldStatus>,
    /// Who is told, as the running agent sees it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receivers: Vec<ReceiverStatus>,
    /// The hostnames that are resolved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NameStatus>,
    /// The server; none when nothing is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve: Option<ServeStatus>,
}

/// A target of the generation in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// Its name.
    pub name: Name,
    /// Its dialect.
    pub dialect: String,
    /// Whether this host's kernel uses it.
    pub applied: bool,
    /// How many files it has.
    pub files: usize,
    /// Where copies are installed.
    pub installed: Vec<String>,
    /// How the kernel or an installed file differs; absent when it was not looked at or does not differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<String>,
    /// What of it is foreign, line by line: `-` for what was published and is gone, `+` for what was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign: Option<String>,
    /// Whether packets get to its rules in the kernel; absent when that was not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<ReachStatus>,
    /// Why this isolated target keeps the files of an earlier generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<Behind>,
    /// How long its steps took when they were last done, in microseconds.
    #[serde(default, skip_serializing_if = "Took::is_empty")]
    pub microseconds: Took,
}

impl Status {
    /// The status of a state folder; with `verify` the kernel is read and compared. What is full within `horizon` is marked.
    pub fn read(
        dir: &Path,
        verify: bool,
        horizon: Period,
        now: Timestamp,
    ) -> Result<Self, ReportError> {
        let store = Store::new(dir);
        let memory = Memory::load(dir)?;
        let number = store.current()?;
        // Whether all is stopped, and what is held, is asked for most when something is damaged.
        let generation = number.map(|number| store.read(number)).transpose();
        let damage = generation.as_ref().err().map(ToString::to_string);
        let generation = generation.ok().flatten();
        let verify = verify && damage.is_none();
        let drift = if verify { publish::drift(&store)? } else { BTreeMap::new() };
        let reach = if verify { publish::reach_of_all(&store)? } else { BTreeMap::new() };
        let belief = state::belief(dir)?;
        let mut status = Self::of(dir, number, generation.as_ref(), &memory, &drift, now);
        status.interrupted |= store.is_under_way();
        let capacity = CapacityStatus::read(dir, horizon, now)?;
        Ok(Self { damage, capacity, ..status.verified(verify).reaching(&reach).believing(&belief) })
    }

    /// The status of what is known already, so that nothing needs to be read again.
    pub fn of(
        dir: &Path,
        number: Option<u64>,
        generation: Option<&Generation>,
        memory: &Memory,
        drift: &BTreeMap<Name, Found>,
        now: Timestamp,
    ) -> Self {
        let manifest = generation.map(|generation| &generation.manifest);
        let outcome = generation.and_then(|generation| generation.outcome.as_ref());
        let targets = manifest.iter().flat_map(|manifest| &manifest.targets);
        Self {
            format: FORMAT.to_owned(),
            at: now,
            state_dir: dir.display().to_string(),
            generation: number,
            damage: None,
            created: manifest.map(|manifest| manifest.created),
            reason: manifest.map(|manifest| manifest.reason.clone()),
            rule_set: manifest.map(|manifest| manifest.rule_set),
            publications: manifest
                .map(|manifest| manifest.publications.clone())
                .unwrap_or_default(),
            pin: memory.pin.clone(),
            pause: memory.pause.clone(),
            interrupted: generation.is_some_and(|generation| generation.outcome.is_none()),
            notes: outcome.map(|outcome| outcome.notes.clone()).unwrap_or_default(),
            targets: targets
                .map(|(name, record)| TargetStatus {
                    name: name.clone(),
                    dialect: record.dialect.clone(),
                    applied: record.kernel.is_some(),
                    files: record.files.len(),
                    installed: record
                        .install
                        .values()
                        .map(|path| path.display().to_string())
                        .collect(),
                    drift: drift.get(name).filter(|found| !found.is_true()).map(Found::to_string),
                    foreign: drift.get(name).map(Found::diff).filter(|diff| !diff.is_empty()),
                    reach: None,
                    behind: outcome.and_then(|outcome| outcome.behind.get(name)).cloned(),
                    microseconds: outcome
                        .and_then(|outcome| outcome.microseconds.get(name))
                        .cloned()
                        .unwrap_or_default(),
                })
                .collect(),
            verified: false,
            agent: None,
            feeds: Vec::new(),
            groups: Vec::new(),
            widened: manifest.map(|manifest| manifest.widened.clone()).unwrap_or_default(),
            capacity: Vec::new(),
            belief: None,
            holds: Vec::new(),
            receivers: Vec::new(),
            names: Vec::new(),
            serve: None,
        }
    }

    /// With what is believed and held.
    #[must_use]
    pub fn believing(mut self, belief: &Belief) -> Self {
        self.belief = BeliefStatus::of(belief);
        self.holds = belief.holds().iter().map(HoldStatus::from).collect();
        self
    }

    /// Adds whether packets get to the rules of each target.
    #[must_use]
    pub fn reaching(mut self, reach: &BTreeMap<Name, TargetReach>) -> Self {
        for target in &mut self.targets {
            target.reach = reach.get(&target.name).map(ReachStatus::from);
        }
        self
    }

    fn verified(mut self, verified: bool) -> Self {
        self.verified = verified;
        self
    }

    /// Whether the kernel differs from what is in force, or packets do not get to its rules.
    pub fn differs(&self) -> bool {
        let is_broken = |target: &TargetStatus| {
            target.drift.is_some() || target.reach.as_ref().is_some_and(ReachStatus::is_broken)
        };
        self.targets.iter().any(is_broken)
    }

    /// Whether it is not known of some target that packets get to its rules.
    pub fn is_doubtful(&self) -> bool {
        let reach = self.targets.iter().filter_map(|target| target.reach.as_ref());
        reach.into_iter().any(ReachStatus::is_doubtful)
    }

    /// As people read it, with styles.
    pub fn text(&self) -> String {
        let mut text = self.in_force();
        if let Some(pause) = &self.pause {
            text.push_str(&format!(
                "{REMOVED}PAUSED{REMOVED:#} since {} by {}: {}\n  nothing is published until `tagwall resume`\n",
                pause.since, pause.by, pause.reason
            ));
        }
        if let Some(pin) = &self.pin {
            text.push_str(&format!(
                "{WARNING}pinned{WARNING:#} since {}: publications are not followed until `tagwall resume`\n",
                pin.since
            ));
        }
        if self.interrupted {
            text.push_str(&format!(
                "{WARNING}interrupted{WARNING:#}: its publication was not recorded; the next run mends it\n"
            ));
        }
        for publication in &self.publications {
            text.push_str(&format!(
                "publication {} ({}, change number {}, digest {})\n",
                publication.cloud,
                publication.date.as_deref().unwrap_or("no date"),
                publication.change_number,
                publication.digest.short()
            ));
        }
        if let Some(belief) = &self.belief {
            text.push_str(&belief.text(self.at));
        }
        for surplus in &self.widened {
            text.push_str(&format!("{REMOVED}WIDER{REMOVED:#}: {surplus}\n"));
        }
        for note in &self.notes {
            text.push_str(&format!("{WARNING}note{WARNING:#}: {}\n", note.trim_end()));
        }
        for target in &self.targets {
            let state = match (&target.drift, target.applied, &target.reach) {
                (Some(drift), _, Some(reach)) if reach.is_broken() => {
                    format!("{REMOVED}DIFFERS{REMOVED:#}: {drift}; {}", reach.text())
                }
                (Some(drift), ..) => format!("{REMOVED}DIFFERS{REMOVED:#}: {drift}"),
                (None, true, Some(reach)) => format!("in the kernel, {}", reach.text()),
                (None, true, None) => "in the kernel".to_owned(),
                (None, false, _) => "files only".to_owned(),
            };
            text.push_str(&format!(
                "target {} ({}, {} files): {state}\n",
                target.name, target.dialect, target.files
            ));
            for path in &target.installed {
                text.push_str(&format!("  installed as {path}\n"));
            }
            if !target.microseconds.is_empty() {
                text.push_str(&format!("  took: {}\n", target.microseconds));
            }
            for line in target.foreign.iter().flat_map(|diff| diff.lines()) {
                text.push_str(&format!("  {line}\n"));
            }
            if let Some(behind) = &target.behind {
                text.push_str(&format!(
                    "  {REMOVED}BEHIND{REMOVED:#}: it keeps the files that it had; {}\n",
                    behind.message
                ));
                if behind.was_visible {
                    text.push_str(
                        "  its new files had been visible: what a device fetched meanwhile cannot be taken back\n",
                    );
                }
            }
        }
        text.push_str(&CapacityStatus::lines(&self.capacity, true, self.at));
        for feed in &self.feeds {
            text.push_str(&feed.text(self.at));
        }
        for hold in &self.holds {
            text.push_str(&hold.text(self.at));
        }
        for receiver in &self.receivers {
            text.push_str(&receiver.text(self.at));
        }
        for name in &self.names {
            text.push_str(&name.text(self.at));
        }
        if let Some(serve) = &self.serve {
            text.push_str(&serve.text(self.at));
        }
        if let Some(agent) = &self.agent {
            text.push_str(&agent.text(self.at));
        }
        text
    }

    fn in_force(&self) -> String {
        match (self.generation, self.created, &self.damage) {
            (Some(number), _, Some(damage)) => {
                format!(
                    "generation {number} is in force and {REMOVED}DAMAGED{REMOVED:#}: {damage}\n"
                )
            }
            (Some(number), Some(created), None) => format!(
                "{HEADLINE}generation {number}{HEADLINE:#} of {created}, {} ({})\n",
                relative(created, self.at),
                self.reason.as_deref().unwrap_or_default()
            ),
            _ => format!("nothing is in force: {} holds no generation\n", self.state_dir),
        }
    }
}
