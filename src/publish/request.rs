//! What a caller wants to be published, put together from a plan or read back from a generation.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::companions::Companion;
use super::manifest::{FileRecord, PublicationRecord, TargetRecord};
use super::store::MAX_BYTES;
use super::{PublishError, Store};
use crate::config::{Config, Name};
use crate::os::files;
use crate::render::{self, Artifact, Load, RenderError};
use crate::ruleset::RuleSet;
use crate::selection::Publications;
use crate::snapshot::Digest;

/// What a caller wants to be published.
#[derive(Debug, Clone)]
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
    /// By target, how much of each limit of its firewall is used.
    pub loads: BTreeMap<Name, Vec<Load>>,
    /// Files of the state folder that change together with the generation, or alone when the rules are the same.
    pub companions: Vec<Companion>,
    /// Targets that may replace what is not tagwall's.
    pub take_over: BTreeSet<Name>,
    /// Targets whose first load is taken back when no packet gets to their rules.
    pub must_be_reached: BTreeSet<Name>,
    /// The rules of targets that keep the files of an earlier generation, where those are not this request's.
    pub(super) carried: BTreeMap<Name, RuleSet>,
}

/// The generation whose rules each target's delta files start from.
pub type DeltaFrom = BTreeMap<Name, u64>;

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
                allowed: render::allowed(target, &rule_set),
                delta_from: None,
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
            loads: BTreeMap::new(),
            companions: Vec::new(),
            take_over: config
                .targets
                .iter()
                .filter(|(_, target)| target.get_ref().take_over)
                .map(|(name, _)| name.clone())
                .collect(),
            must_be_reached: BTreeSet::new(),
            carried: BTreeMap::new(),
        })
    }

    /// What would publish a generation again, read from its folder. Fails where a file is not what the manifest says.
    pub(super) fn of_generation(
        store: &Store,
        number: u64,
        now: Timestamp,
    ) -> Result<Self, PublishError> {
        let manifest = store.read(number)?.manifest;
        let mut request = Self {
            rule_set: store.rule_set(number)?,
            artifacts: Vec::new(),
            targets: BTreeMap::new(),
            publications: manifest.publications,
            configuration: manifest.configuration,
            reason: manifest.reason,
            now,
            small: manifest.small,
            loads: manifest.loads,
            companions: Vec::new(),
            take_over: BTreeSet::new(),
            must_be_reached: BTreeSet::new(),
            carried: BTreeMap::new(),
        };
        for (name, record) in manifest.targets {
            request.take_target(store, number, name, record)?;
        }
        Ok(request)
    }

    /// Takes down where delta files start from, so that the same rules are rendered to the same files again.
    pub fn note_deltas(&mut self, from: DeltaFrom) {
        for (name, generation) in from {
            if let Some(record) = self.targets.get_mut(&name) {
                record.delta_from = Some(generation);
            }
        }
    }

    /// Gives a target the files that it has in a generation; without one, takes it out.
    pub(super) fn carry(
        &mut self,
        store: &Store,
        from: Option<u64>,
        name: &Name,
    ) -> Result<(), PublishError> {
        self.targets.remove(name);
        self.carried.remove(name);
        self.loads.remove(name);
        self.artifacts.retain(|artifact| artifact.target != *name);
        let Some(from) = from else { return Ok(()) };
        let mut manifest = store.read(from)?.manifest;
        match manifest.targets.remove(name) {
            Some(record) => {
                self.take_target(store, from, name.clone(), record)?;
                self.carried.insert(name.clone(), store.rules_of(from, name)?);
                self.loads.extend(manifest.loads.remove_entry(name));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn take_target(
        &mut self,
        store: &Store,
        from: u64,
        name: Name,
        record: TargetRecord,
    ) -> Result<(), PublishError> {
        for (file, expected) in &record.files {
            let path = store.path(from).join(name.as_str()).join(file);
            let bytes = files::read_bounded(&path, MAX_BYTES)?;
            if Digest::of(&bytes) != expected.sha256 {
                return Err(PublishError::Damaged { path });
            }
            self.artifacts.push(Artifact {
                target: name.clone(),
                file: file.clone(),
                bytes,
                rule_set: record.rule_set,
                warnings: Vec::new(),
            });
        }
        if let Some(rules) = store.carried_rules(from, &name)? {
            self.carried.insert(name.clone(), rules);
        }
        self.targets.insert(name, record);
        Ok(())
    }
}
