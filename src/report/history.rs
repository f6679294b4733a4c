//! `tagwall history`: the generations with what changed.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::text::{ADDED, HEADLINE, REMOVED, WARNING, grouped};
use super::{ReportError, Use};
use crate::config::Name;
use crate::publish::{Behind, ChangeSummary, Generation, OutcomeResult, PublicationRecord, Store};
use crate::render::Load;
use crate::snapshot::Digest;

const FORMAT: &str = "tagwall-history/1";

/// The generations on disk, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// `tagwall-history/1`.
    pub format: String,
    /// The one in force.
    pub current: Option<u64>,
    /// The generations, the newest first.
    pub generations: Vec<Entry>,
    /// Those that cannot be read, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Unreadable>,
}

/// A generation of which nothing is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// Its number.
    pub generation: u64,
    /// Why.
    pub reason: String,
}

/// One generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number.
    pub generation: u64,
    /// When it was made.
    pub created: Timestamp,
    /// Why.
    pub reason: String,
    /// How its publication ended.
    pub result: EntryResult,
    /// For a failure: the step, the target and the tool's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Isolated targets that stayed behind: it carries the files that they had.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub behind: BTreeMap<Name, Behind>,
    /// What somebody should know: what was overwritten, deleted or left over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Digest of its rule set.
    pub rule_set: Digest,
    /// Digest of the configuration's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Digest>,
    /// The publications in it.
    pub publications: Vec<PublicationRecord>,
    /// What changed against the one before.
    pub summary: ChangeSummary,
    /// By target, how much of each limit of its firewall it uses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub loads: BTreeMap<Name, Vec<Load>>,
}

/// How the publication of a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryResult {
    /// It was in force when it was recorded.
    Recorded,
    /// It was taken back.
    Failed,
    /// It is under way, or was interrupted and is not mended yet.
    Interrupted,
}

impl EntryResult {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<Generation> for Entry {
    fn from(generation: Generation) -> Self {
        let Generation { manifest, outcome } = generation;
        let result = match outcome.as_ref().map(|outcome| outcome.result) {
            Some(OutcomeResult::Recorded) => EntryResult::Recorded,
            Some(OutcomeResult::Failed) => EntryResult::Failed,
            None => EntryResult::Interrupted,
        };
        let (message, behind, notes) = outcome
            .map(|outcome| (outcome.message, outcome.behind, outcome.notes))
            .unwrap_or_default();
        Self {
            generation: manifest.generation,
            created: manifest.created,
            reason: manifest.reason,
            result,
            message,
            behind,
            notes,
            rule_set: manifest.rule_set,
            configuration: Some(manifest.configuration),
            publications: manifest.publications,
            summary: manifest.summary,
            loads: manifest.loads,
        }
    }
}

impl History {
    /// The newest generations of a state folder, at most so many. One that cannot be read hides no other.
    pub fn read(dir: &Path, limit: usize) -> Result<Self, ReportError> {
        let store = Store::new(dir);
        let (mut generations, mut unreadable) = (Vec::new(), Vec::new());
        for number in store.numbers()?.into_iter().rev().take(limit) {
            match store.read(number) {
                Ok(generation) => generations.push(Entry::from(generation)),
                Err(error) => {
                    unreadable.push(Unreadable { generation: number, reason: error.to_string() });
                }
            }
        }
        Ok(Self { format: FORMAT.to_owned(), current: store.current()?, generations, unreadable })
    }

    /// Whether reading it again, with the same limit, would bring the same: no generation came, ended or left since, and each could
    /// be read. What has ended does not change.
    fn is_up_to_date(&self, dir: &Path, limit: usize) -> Result<bool, ReportError> {
        let store = Store::new(dir);
        let numbers = store.numbers()?;
        let newest = numbers.iter().rev().take(limit);
        let ended = self.generations.iter().all(|entry| entry.result != EntryResult::Interrupted);
        Ok(ended
            && self.unreadable.is_empty()
            && self.current == store.current()?
            && newest.eq(self.generations.iter().map(|entry| &entry.generation)))
    }

    /// As many generations as a forecast looks at.
    pub fn for_forecasts(dir: &Path) -> Result<Self, ReportError> {
        Self::read(dir, super::capacity::MOST_GENERATIONS)
    }

    /// What reading it again, with the same limit, brings; nothing where that would be the same.
    pub fn newer(&self, dir: &Path, limit: usize) -> Result<Option<Self>, ReportError> {
        if self.is_up_to_date(dir, limit)? {
            return Ok(None);
        }
        Self::read(dir, limit).map(Some)
    }

    /// Becomes what a forecast looks at, unless it is already.
    pub fn refresh_for_forecasts(&mut self, dir: &Path) -> Result<(), ReportError> {
        if let Some(newer) = self.newer(dir, super::capacity::MOST_GENERATIONS)? {
            *self = newer;
        }
        Ok(())
    }

    /// What was in force, the newest first: what failed never was, and what a rollback left behind is no more.
    pub fn in_force(&self) -> impl Iterator<Item = &Entry> + Clone {
        self.generations.iter().filter(|entry| {
            entry.result == EntryResult::Recorded && Some(entry.generation) <= self.current
        })
    }

    /// How full the firewalls were, the newest first.
    pub fn uses(&self) -> Vec<Use<'_>> {
        self.in_force()
            .map(|entry| Use {
                since: entry.created,
                configuration: entry.configuration,
                loads: &entry.loads,
            })
            .collect()
    }

    /// As people read it, with styles.
    pub fn text(&self) -> String {
        if self.generations.is_empty() && self.unreadable.is_empty() {
            return "there is no generation yet\n".to_owned();
        }
        let mut text = String::new();
        for Unreadable { generation, reason } in &self.unreadable {
            text.push_str(&format!(
                "{REMOVED}generation {generation} cannot be read{REMOVED:#}: {reason}\n"
            ));
        }
        for entry in &self.generations {
            let mark = if Some(entry.generation) == self.current { "*" } else { " " };
            text.push_str(&format!(
                "{mark} {HEADLINE}{}{HEADLINE:#}  {}  {}, {}\n",
                entry.generation,
                entry.created,
                entry.reason,
                entry.result.name()
            ));
            if let Some(message) = &entry.message {
                text.push_str(&format!("      {REMOVED}{message}{REMOVED:#}\n"));
            }
            for (name, behind) in &entry.behind {
                text.push_str(&format!(
                    "      {WARNING}target {name} stayed behind{WARNING:#}: {}\n",
                    behind.message
                ));
            }
            for note in &entry.notes {
                text.push_str(&format!("      note: {}\n", note.replace('\n', "\n        ")));
            }
            for (name, group) in &entry.summary.groups {
                text.push_str(&format!(
                    "      {name}: {ADDED}+{}{ADDED:#} {REMOVED}−{}{REMOVED:#} prefixes, \
                     {ADDED}+{}{ADDED:#} {REMOVED}−{}{REMOVED:#} IPv4 addresses\n",
                    grouped(group.prefixes_added),
                    grouped(group.prefixes_removed),
                    grouped(group.v4_addresses_added),
                    grouped(group.v4_addresses_removed)
                ));
            }
            for (what, names) in [
                ("new rules", &entry.summary.rules_added),
                ("rules gone", &entry.summary.rules_removed),
                ("rules changed", &entry.summary.rules_changed),
            ] {
                if !names.is_empty() {
                    let names: Vec<_> = names.iter().map(Name::as_str).collect();
                    text.push_str(&format!("      {what}: {}\n", names.join(", ")));
                }
            }
        }
        text
    }
}
