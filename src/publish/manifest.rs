//! What a generation says of itself: the manifest, which never changes once written, and the outcome beside it.
//!
//! Both are JSON with a format name and version; docs/state.md describes them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Request, Step, Took};
use crate::config::{Conntrack, Name, OnDrift};
use crate::render::{Allowed, Kernel, Load};
use crate::ruleset::{Difference, RuleSet, Surplus};
use crate::snapshot::{Cloud, Digest};

/// Name and version of the manifest's format.
const MANIFEST_FORMAT: &str = "tagwall-manifest/1";
/// Name and version of the outcome's format.
const OUTCOME_FORMAT: &str = "tagwall-outcome/1";

/// What a generation consists of and where it came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `tagwall-manifest/1`.
    pub format: String,
    /// The generation's number.
    pub generation: u64,
    /// When it was made.
    pub created: Timestamp,
    /// Version of the program that made it.
    pub tool: String,
    /// Why it was made: `render`, `rollback to 7`, `rebaseline: …`.
    pub reason: String,
    /// The generation that was in force before.
    pub previous: Option<u64>,
    /// Digest of the configuration's text.
    pub configuration: Digest,
    /// The publications in use.
    pub publications: Vec<PublicationRecord>,
    /// Digest of the whole rule set; the rule set itself lies beside as `ruleset.json`.
    pub rule_set: Digest,
    /// The targets, by name.
    pub targets: BTreeMap<Name, TargetRecord>,
    /// What changed against the generation before.
    pub summary: ChangeSummary,
    /// Whether only addresses of hostnames differ from the generation before.
    #[serde(default)]
    pub small: bool,
    /// Groups that let through more than is published, because they are fitted into few prefixes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub widened: Vec<Surplus>,
    /// By target, how much of each limit of its firewall is used.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub loads: BTreeMap<Name, Vec<Load>>,
}

impl TargetRecord {
    /// Longest time that one of its commands may take.
    pub(super) fn time_limit(&self) -> Duration {
        Duration::from_secs(self.time_limit)
    }

    /// Whether a target with this record has to be installed or applied where the other was in force.
    fn differs_in_force(&self, was: &Self) -> bool {
        (&self.files, &self.kernel, &self.install, &self.reload)
            != (&was.files, &was.kernel, &was.install, &was.reload)
    }
}

impl Manifest {
    /// The manifest of a request after `old`, which is in force; what changes is still to be summed up.
    pub(super) fn new(
        generation: u64,
        request: &Request,
        rule_set: Digest,
        old: Option<&Self>,
    ) -> Self {
        Self {
            format: MANIFEST_FORMAT.to_owned(),
            generation,
            created: request.now,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            reason: request.reason.clone(),
            previous: old.map(|old| old.generation),
            configuration: request.configuration,
            publications: request.publications.clone(),
            rule_set,
            targets: request.targets.clone(),
            summary: ChangeSummary::default(),
            small: request.small,
            widened: request.rule_set.widened(),
            loads: request.loads.clone(),
        }
    }

    /// The targets that have to be installed or applied after this generation.
    pub(super) fn changed_after(&self, old: Option<&Self>) -> BTreeSet<Name> {
        let was = |name: &Name| old.and_then(|old| old.targets.get(name));
        self.targets
            .iter()
            .filter(|(name, record)| was(name).is_none_or(|was| record.differs_in_force(was)))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Whether a request has the targets of this generation, the content of their files aside.
    pub fn has_targets_of(&self, request: &Request) -> bool {
        let aside = |record: &TargetRecord| TargetRecord {
            rule_set: self.rule_set,
            files: BTreeMap::new(),
            allowed: Allowed::default(),
            ..record.clone()
        };
        let targets = |targets: &BTreeMap<Name, TargetRecord>| -> BTreeMap<Name, TargetRecord> {
            targets.iter().map(|(name, record)| (name.clone(), aside(record))).collect()
        };
        targets(&self.targets) == targets(&request.targets)
    }

    /// Whether a request, whose rule set has this digest, asks for what this generation is.
    pub(super) fn is_met_by(&self, request: &Request, rule_set: Digest) -> bool {
        self.targets == request.targets && self.rule_set == rule_set
    }
}

/// A publication as a manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicationRecord {
    /// Its cloud.
    pub cloud: Cloud,
    /// Where it was read from.
    pub source: String,
    /// The date in its name.
    pub date: Option<String>,
    /// Its change number.
    pub change_number: u64,
    /// Digest of its canonical content.
    pub digest: Digest,
}

/// A target as it was published: everything that is needed to apply, read back and roll back without the
/// configuration of that day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetRecord {
    /// The dialect's key.
    pub dialect: String,
    /// Digest of the part of the rule set that it carries.
    pub rule_set: Digest,
    /// Its files, without folder, by name.
    pub files: BTreeMap<String, FileRecord>,
    /// What it creates in the kernel, when it is applied there.
    pub kernel: Option<Kernel>,
    /// Where copies are installed: file name and path.
    pub install: BTreeMap<String, PathBuf>,
    /// The user's check, an argument vector.
    pub verify: Option<Vec<String>>,
    /// The user's command that makes the firewall use the files, an argument vector.
    pub reload: Option<Vec<String>>,
    /// Longest time that one of its commands may take, in seconds.
    pub time_limit: u64,
    /// Whether its failure leaves the other targets alone.
    #[serde(default)]
    pub isolated: bool,
    /// What becomes of connections to ranges that left.
    #[serde(default)]
    pub conntrack: Conntrack,
    /// What is done about foreign changes.
    #[serde(default)]
    pub on_drift: OnDrift,
    /// The connections that its rules in the kernel allow.
    #[serde(default, skip_serializing_if = "Allowed::is_empty")]
    pub allowed: Allowed,
    /// The generation whose rules its delta files start from; none when it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta_from: Option<u64>,
}

/// One file of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// SHA-256 of its content.
    pub sha256: Digest,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What changed between two generations, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeSummary {
    /// By group: what came and went.
    pub groups: BTreeMap<Name, GroupSummary>,
    /// Rules that are new.
    pub rules_added: Vec<Name>,
    /// Rules that are gone.
    pub rules_removed: Vec<Name>,
    /// Rules that differ otherwise than in addresses.
    pub rules_changed: Vec<Name>,
}

/// What came and went in a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSummary {
    /// Aggregated prefixes that are new.
    pub prefixes_added: usize,
    /// Aggregated prefixes that are gone.
    pub prefixes_removed: usize,
    /// IPv4 addresses that are new.
    pub v4_addresses_added: u64,
    /// IPv4 addresses that are gone.
    pub v4_addresses_removed: u64,
}

impl ChangeSummary {
    /// The difference of two rule sets in numbers.
    pub fn of(old: &RuleSet, new: &RuleSet) -> Self {
        let difference = Difference::between(old, new);
        let group = |change: &crate::ruleset::GroupChange| GroupSummary {
            prefixes_added: change.space.prefixes_added,
            prefixes_removed: change.space.prefixes_removed,
            v4_addresses_added: change.space.added.v4_addresses(),
            v4_addresses_removed: change.space.removed.v4_addresses(),
        };
        Self {
            groups: difference
                .groups
                .iter()
                .map(|change| (change.name.clone(), group(change)))
                .collect(),
            rules_added: difference.rules_added,
            rules_removed: difference.rules_removed,
            rules_changed: difference.rules_changed,
        }
    }
}

/// How the publication of a generation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// `tagwall-outcome/1`.
    pub format: String,
    /// The generation.
    pub generation: u64,
    /// When it ended.
    pub at: Timestamp,
    /// How.
    pub result: OutcomeResult,
    /// For a failure: the step, the target and the tool's own words.
    pub message: Option<String>,
    /// Isolated targets that stayed behind: the generation carries the files that they had.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub behind: BTreeMap<Name, Behind>,
    /// What somebody should know: what was overwritten, deleted or left over, and what went wrong without harm to what is in
    /// force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// How long the steps of each target took, in microseconds; of one that was not touched, when it last was.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub microseconds: BTreeMap<Name, Took>,
}

impl Outcome {
    pub(super) fn recorded(
        generation: u64,
        at: Timestamp,
        behind: BTreeMap<Name, Behind>,
        notes: Vec<String>,
        microseconds: BTreeMap<Name, Took>,
    ) -> Self {
        let (format, result) = (OUTCOME_FORMAT.to_owned(), OutcomeResult::Recorded);
        Self { format, generation, at, result, message: None, behind, notes, microseconds }
    }

    pub(super) fn failed(generation: u64, at: Timestamp, message: String) -> Self {
        Self {
            format: OUTCOME_FORMAT.to_owned(),
            generation,
            at,
            result: OutcomeResult::Failed,
            message: Some(message),
            behind: BTreeMap::new(),
            notes: Vec::new(),
            microseconds: BTreeMap::new(),
        }
    }
}

/// An isolated target that stayed behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behind {
    /// The step that failed, with the tool's own words.
    pub message: String,
    /// The step alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// Whether its new files had been visible: what a polling device fetched meanwhile cannot be taken back.
    pub was_visible: bool,
}

/// How a publication ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeResult {
    /// It was in force when it was recorded.
    Recorded,
    /// It was taken back.
    Failed,
}
