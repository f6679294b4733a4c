//! One entry of the audit trail, as it stands in its line (docs/state.md).

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::StateError;
use crate::guard::{BeliefChange, Decision, Event, Standing};
use crate::ruleset::RuleSetChange;
use crate::snapshot::{Cloud, Digest};

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Publications were judged, and a generation was published.
    Published,
    /// Publications were judged, or time passed: what is believed changed, and the rules stayed as they were.
    Judged,
    /// A generation was to be published, and failed: belief and rules stayed as they were.
    Failed,
    /// An earlier generation was brought back.
    RolledBack,
    /// A generation was replaced by one that carries the files of isolated targets that failed.
    Corrected,
    /// A person approved or rejected a hold.
    Decided,
    /// What was believed of a cloud was forgotten, or a belief was taken over from elsewhere.
    BeganAnew,
    /// An emergency stop.
    Paused,
    /// The end of an emergency stop, or of the pin of a rollback.
    Resumed,
    /// Kernel or installed files had been changed by something else: the reason says how, and what was done.
    Drifted,
}

impl Action {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Judged => "judged",
            Self::Failed => "failed",
            Self::RolledBack => "rolled back",
            Self::Corrected => "corrected",
            Self::Decided => "decided",
            Self::BeganAnew => "began anew",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Drifted => "drifted",
        }
    }
}

/// One decision, and what it did to belief and rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Entry {
    pub(super) format: String,
    /// Its number: one more than that of the entry before.
    pub number: u64,
    /// SHA-256 of the line before, without its line break; none in the first.
    pub after: Option<Digest>,
    /// When.
    pub at: Timestamp,
    /// Version of the program.
    pub tool: String,
    /// What was done.
    pub action: Action,
    /// Who asked for it; none: the agent by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Digest of the configuration's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Digest>,
    /// The generation in force afterwards; none before the first.
    pub generation: Option<u64>,
    /// The publications that belief stands on afterwards.
    pub publications: BTreeMap<Cloud, Standing>,
    /// What the judgement did, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    /// What a person decided about a hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Whether the changes are from nothing, and not from the entry before: in the first entry of a file.
    pub whole: bool,
    /// What changed in the belief.
    #[serde(default, skip_serializing_if = "BeliefChange::is_empty")]
    pub belief: BeliefChange,
    /// SHA-256 of `belief.json` afterwards.
    pub belief_digest: Digest,
    /// What changed in the rules in force.
    #[serde(default, skip_serializing_if = "RuleSetChange::is_empty")]
    pub rules: RuleSetChange,
    /// Digest of the rule set in force afterwards.
    pub rule_set: Digest,
}

/// What the writer needs of an entry: it goes on behind one that holds more than this version knows.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Head {
    format: String,
    pub(super) number: u64,
    pub(super) configuration: Option<Digest>,
    pub(super) generation: Option<u64>,
    pub(super) whole: bool,
    pub(super) belief_digest: Digest,
    pub(super) rule_set: Digest,
}

impl Head {
    /// Reads a line as far as this.
    pub(super) fn parse(path: &Path, line: u64, text: &[u8]) -> Result<Self, StateError> {
        let head: Self =
            serde_json::from_slice(text).map_err(|error| Entry::refused(path, line, error))?;
        Entry::check_format(path, line, &head.format)?;
        Ok(head)
    }
}

impl From<&Entry> for Head {
    fn from(entry: &Entry) -> Self {
        Self {
            format: entry.format.clone(),
            number: entry.number,
            configuration: entry.configuration,
            generation: entry.generation,
            whole: entry.whole,
            belief_digest: entry.belief_digest,
            rule_set: entry.rule_set,
        }
    }
}

impl Entry {
    pub(super) const FORMAT: &'static str = "tagwall-trail/1";

    /// Reads a line.
    pub(super) fn parse(path: &Path, line: u64, text: &[u8]) -> Result<Self, StateError> {
        let entry: Self =
            serde_json::from_slice(text).map_err(|error| Self::refused(path, line, error))?;
        Self::check_format(path, line, &entry.format)?;
        Ok(entry)
    }

    fn check_format(path: &Path, line: u64, format: &str) -> Result<(), StateError> {
        if format == Self::FORMAT {
            return Ok(());
        }
        let format = crate::os::printable::printable(format, 40);
        let reason = format!("its format is {format}, this version reads {}", Self::FORMAT);
        Err(Self::refused(path, line, reason))
    }

    /// The entry does not say what it should.
    pub fn damaged(&self, why: &dyn Display) -> StateError {
        Self::refused(Path::new(super::FOLDER), 0, format!("entry {}: {why}", self.number))
    }

    pub(super) fn refused(path: &Path, line: u64, reason: impl Display) -> StateError {
        StateError::Trail { path: path.to_owned(), line, reason: reason.to_string() }
    }
}
