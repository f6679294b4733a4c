//! The parts of the status that only a running agent knows.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::text::{HEADLINE, REMOVED, WARNING, relative};
use crate::config::{Closed, Mode, Name};
use crate::publish::Step;
use crate::snapshot::{Cloud, Digest};

/// The running agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since when it runs.
    pub since: Timestamp,
    /// The configuration file.
    pub config: String,
    /// When that was loaded.
    pub config_loaded: Timestamp,
    /// Why the last reload was refused; none when the file is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_refused: Option<String>,
    /// Whether changes are applied by themselves.
    pub mode: Mode,
    /// Why changes are not applied just now; none: they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Closed>,
    /// When that changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_until: Option<Timestamp>,
    /// A change that waits for a window, for `resume` or for an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// What failed last, when nothing has succeeded since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// The step of a target at which it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_step: Option<FailedStep>,
    /// When it will look at anything next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
}

/// Where a publication failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedStep {
    /// The target.
    pub target: Name,
    /// Its step.
    pub step: Step,
}

impl AgentStatus {
    pub(super) fn text(&self, now: Timestamp) -> String {
        let mut text = format!(
            "{HEADLINE}agent{HEADLINE:#} {} (pid {}), started {}, mode {}\n",
            self.version,
            self.pid,
            relative(self.since, now),
            self.mode.name()
        );
        if let Some(refused) = &self.config_refused {
            text.push_str(&format!(
                "  {REMOVED}configuration refused{REMOVED:#}, the one of {} stays in use:\n",
                self.config_loaded
            ));
            for line in refused.lines() {
                text.push_str(&format!("    {line}\n"));
            }
        }
        if let Some(closed) = &self.closed {
            let why = match closed {
                Closed::Freeze { name, reason: Some(reason) } => {
                    format!("freeze {name} ({reason})")
                }
                Closed::Freeze { name, reason: None } => format!("freeze {name}"),
                Closed::OutsideWindows => "outside the windows".to_owned(),
            };
            let until = self.closed_until.map_or_else(String::new, |until| {
                format!(" until {until}, {}", relative(until, now))
            });
            text.push_str(&format!("  {WARNING}no changes{WARNING:#}: {why}{until}\n"));
        }
        if let Some(waiting) = &self.waiting {
            text.push_str(&format!("  {WARNING}waiting{WARNING:#}: {waiting}\n"));
        }
        if let Some(failed) = &self.failed {
            text.push_str(&format!("  {REMOVED}failed{REMOVED:#}: {failed}\n"));
        }
        text
    }
}

/// A feed, as the running agent sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeedStatus {
    /// Its name.
    pub name: Name,
    /// Its kind: `download`, `http`, `discovery`, `directory`.
    pub kind: String,
    /// The cloud that it brings.
    pub cloud: Cloud,
    /// When it was asked last.
    pub looked: Option<Timestamp>,
    /// When it last answered well.
    pub answered: Option<Timestamp>,
    /// What it brought last.
    pub found: Option<FoundStatus>,
    /// What went wrong, when the last look failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How many looks have failed one after another.
    #[serde(default)]
    pub failures: u32,
    /// When it is asked next; none: only when something happens.
    pub next: Option<Timestamp>,
    /// What a person should know of it: that it is polled, that its publication is old.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What a feed brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundStatus {
    /// Where from.
    pub source: String,
    /// The date in its name.
    pub date: Option<String>,
    /// Its change number.
    pub change_number: u64,
    /// The digest of its content.
    pub digest: Digest,
    /// When it was brought.
    pub at: Timestamp,
}

impl FeedStatus {
    pub(super) fn text(&self, now: Timestamp) -> String {
        let looked = match (self.looked, self.answered) {
            (None, _) => "not asked yet".to_owned(),
            (Some(looked), answered) if answered == Some(looked) => {
                format!("asked {}", relative(looked, now))
            }
            (Some(looked), Some(answered)) => {
                format!("asked {}, answered {}", relative(looked, now), relative(answered, now))
            }
            (Some(looked), None) => format!("asked {}, never answered", relative(looked, now)),
        };
        let next =
            self.next.map_or_else(String::new, |next| format!(", next {}", relative(next, now)));
        let mut text = format!(
            "{HEADLINE}feed {}{HEADLINE:#} ({}, {}): {looked}{next}\n",
            self.name, self.kind, self.cloud
        );
        if let Some(found) = &self.found {
            text.push_str(&format!(
                "  brought {} ({}, change number {}, digest {}) {}\n",
                found.source,
                found.date.as_deref().unwrap_or("no date"),
                found.change_number,
                found.digest.short(),
                relative(found.at, now)
            ));
        }
        if let Some(error) = &self.error {
            text.push_str(&format!(
                "  {REMOVED}failed{REMOVED:#} {} times: {error}\n",
                self.failures
            ));
        }
        for note in &self.notes {
            text.push_str(&format!("  {WARNING}note{WARNING:#}: {note}\n"));
        }
        text
    }
}
