//! What a generation says of itself: the manifest, which never changes once written, and the outcome beside it.
//!
//! Both are JSON with a format name and version; docs/state.md describes them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::companions::Companion;
use crate::config::{Config, Conntrack, Name, OnDrift};
use crate::render::{self, Artifact, Kernel, RenderError};
use crate::ruleset::{Difference, RuleSet};
use crate::selection::Publications;
use crate::snapshot::{Cloud, Digest};

/// Name and version of the manifest's format.
pub(super) const MANIFEST_FORMAT: &str = "tagwall-manifest/1";
/// Name and version of the outcome's format.
pub(super) const OUTCOME_FORMAT: &str = "tagwall-outcome/1";

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
}

impl Manifest {
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
    /// By target: what the kernel's rules looked like after applying, sets aside; a later difference is drift.
    #[serde(default)]
    pub fingerprints: BTreeMap<Name, Digest>,
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

/// What a caller wants to be published.
#[derive(Debug)]
pub struct Request {
    /// The rules.
    pub rule_set: RuleSet,
    /// The files of every target.
    pub artifacts: Vec<Artifact>,
    /// The targets, without their files' digests.
    pub targets: BTreeMap<Name, TargetRecord>,
    /// The publications in use.
    pub publications: Vec<PublicationRecord>,
    /// Digest of the configuration's text.
    pub configuration: Digest,
    /// Why.
    pub reason: String,
    /// When.
    pub now: Timestamp,
    /// Whether only addresses of hostnames differ from what is in force: such generations are kept briefly, and a rollback
    /// looks past them.
    pub small: bool,
    /// Files of the state folder that change together with the generation, or alone when the rules are the same.
    pub companions: Vec<Companion>,
}

impl Request {
    /// Puts together what a configuration and a plan say.
    pub fn of(
        config: &Config,
        rule_set: RuleSet,
        artifacts: Vec<Artifact>,
        publications: &Publications,
        reason: String,
        now: Timestamp,
    ) -> Result<Self, RenderError> {
        let mut targets = BTreeMap::new();
        for (name, target) in &config.targets {
            let target = target.get_ref();
            let mut files = BTreeMap::new();
            let mut digest = rule_set.digest();
            for artifact in artifacts.iter().filter(|artifact| artifact.target == *name) {
                digest = artifact.rule_set;
                let record = FileRecord {
                    sha256: Digest::of(&artifact.bytes),
                    bytes: artifact.bytes.len() as u64,
                };
                files.insert(artifact.file.clone(), record);
            }
            let install = target.install_paths(files.keys().map(String::as_str));
            let kernel =
                if target.applies() { render::kernel(name, target, &rule_set)? } else { None };
            let record = TargetRecord {
                dialect: target.dialects().first().map_or("", |dialect| dialect.name()).to_owned(),
                rule_set: digest,
                files,
                kernel,
                install,
                verify: target.verify.clone(),
                reload: target.reload.clone(),
                time_limit: target.time_limit,
                isolated: target.isolated,
                conntrack: target.conntrack,
                on_drift: target.on_drift.unwrap_or(config.publish.on_drift),
            };
            targets.insert(name.clone(), record);
        }
        let publications = publications
            .values()
            .map(|publication| PublicationRecord {
                cloud: publication.snapshot.cloud(),
                source: publication.source.clone(),
                date: publication.date.map(|date| date.to_string()),
                change_number: publication.snapshot.change_number(),
                digest: publication.digest(),
            })
            .collect();
        let configuration = config.digest();
        Ok(Self {
            rule_set,
            artifacts,
            targets,
            publications,
            configuration,
            reason,
            now,
            small: false,
            companions: Vec::new(),
        })
    }
}
