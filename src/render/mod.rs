//! Turns a rule set into the files of each target.
//!
//! Owns the templates, what they are given, and what templates cannot do: names that fit, limits, chunks. Promises:
//! the same rule set and configuration give the same bytes; a limit that is exceeded is an error that names group,
//! count, limit and the ways out, never a shortened file; nothing from a publication reaches a template as free text
//! (names are validated types, prefixes are parsed). Writes no files.

mod allowed;
mod azure;
mod context;
mod custom;
mod error;
mod filters;
mod fortios;
#[cfg(fuzzing)]
pub mod fuzzing;
mod iptables;
mod kernel;
mod limits;
mod list;
mod naming;
mod nftables;
mod panos;
mod sample;
mod scope;
mod templates;

use std::borrow::Cow;

pub use allowed::{Allowed, AllowedFlow, allowed};
pub use context::ARTIFACT_FORMAT;
pub use error::RenderError;
pub use kernel::{IptablesJump, IptablesKernel, Kernel, KernelSet, MARK, NftablesKernel, kernel};
pub use limits::Load;
pub use templates::{Templates, built_in};

use std::collections::BTreeMap;

use self::limits::Limits;
use crate::config::{Config, ConfigError, Dialect, Name, Target};
use crate::os::two;
use crate::ruleset::{self, RuleSet};
use crate::snapshot::Digest;

/// One rendered file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The target it belongs to: also the name of its folder.
    pub target: Name,
    /// The file's name, without a folder.
    pub file: String,
    /// Its content.
    pub bytes: Vec<u8>,
    /// The digest of the part of the rule set that the target carries.
    pub rule_set: Digest,
    /// What is rendered as asked, but may not do what was meant; a sentence each.
    pub warnings: Vec<String>,
}

impl Artifact {
    /// `TARGET/FILE`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.target, self.file)
    }
}

/// The files of targets, and how full they make their firewalls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The files.
    pub artifacts: Vec<Artifact>,
    /// By target, how much of each limit is used.
    pub loads: BTreeMap<Name, Vec<Load>>,
}

/// What a dialect is given.
struct Job<'r> {
    name: &'r Name,
    part: &'r RuleSet,
    /// Whether the firewall takes wildcards such as `*.example.com`.
    takes_wildcards: bool,
    /// The same part of the rule set before this one, when it is known: what has gone is computed from it.
    previous: Option<&'r RuleSet>,
    digest: Digest,
    templates: &'r Templates,
    limits: Limits<'r>,
}

/// One file of a dialect.
struct File {
    name: String,
    text: Vec<u8>,
    /// See [`Artifact::warnings`].
    warnings: Vec<String>,
}

impl File {
    fn new(name: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), text: text.into(), warnings: Vec::new() }
    }
}

/// Renders every target of the configuration, or those that `wanted` names. With the rule set that was in force before,
/// dialects that remove objects one by one write that as a file of its own; full files never depend on it.
/// `digest` is the rule set's.
pub fn render(
    config: &Config,
    rule_set: &RuleSet,
    digest: Digest,
    previous: Option<&RuleSet>,
    templates: &Templates,
    wanted: &[Name],
) -> Result<Rendered, RenderError> {
    let is_wanted = |name: &Name| wanted.is_empty() || wanted.contains(name);
    let targets: Vec<_> = config.targets.iter().filter(|(name, _)| is_wanted(name)).collect();
    let each = two::map(&targets, |(name, target)| {
        render_target(name, target.get_ref(), (rule_set, digest), previous, templates)
    });
    let mut rendered = Rendered::default();
    for ((name, _), target) in targets.iter().zip(each) {
        // The error of the first target that has one, whichever was rendered first.
        let (artifacts, loads) = target?;
        rendered.artifacts.extend(artifacts);
        if !loads.is_empty() {
            rendered.loads.insert((*name).clone(), loads);
        }
    }
    Ok(rendered)
}

fn render_target(
    name: &Name,
    target: &Target,
    (rule_set, digest): (&RuleSet, Digest),
    previous: Option<&RuleSet>,
    templates: &Templates,
) -> Result<(Vec<Artifact>, Vec<Load>), RenderError> {
    let part = part_for(target, rule_set);
    let previous = previous.map(|previous| part_for(target, previous));
    let digest = match part {
        Cow::Borrowed(_) => digest,
        Cow::Owned(_) => part.digest(),
    };
    let job = Job {
        name,
        part: &part,
        takes_wildcards: target.takes_wildcards(),
        previous: previous.as_deref(),
        digest,
        templates,
        limits: Limits::new(name),
    };
    let mut files = Vec::new();
    for dialect in target.dialects() {
        files.extend(match dialect {
            Dialect::Nftables(settings) => nftables::render(&job, settings)?,
            Dialect::List(settings) => list::render(&job, settings)?,
            Dialect::Json(_) => {
                vec![File::new("ruleset.json", ruleset::write_document(&part))]
            }
            Dialect::Iptables(settings) => iptables::render(&job, settings)?,
            Dialect::Panos(settings) => panos::render(&job, settings)?,
            Dialect::Fortios(settings) => fortios::render(&job, settings)?,
            Dialect::Azure(settings) => azure::render(&job, settings)?,
            Dialect::Custom(settings) => custom::render(&job, settings)?,
        });
    }
    let artifact = |file: File| Artifact {
        target: name.clone(),
        file: file.name,
        bytes: file.text,
        rule_set: digest,
        warnings: file.warnings,
    };
    let artifacts = files.into_iter().map(artifact).collect();
    Ok((artifacts, job.limits.into_loads()))
}

fn part_for<'r>(target: &Target, whole: &'r RuleSet) -> Cow<'r, RuleSet> {
    let part = whole.part_for(target);
    match &target.azure {
        // Its files say nothing about groups and rules: a change there must not change their digest.
        Some(settings) => Cow::Owned(azure::carried(&part, settings)),
        None => part,
    }
}

/// Compiles the templates of every target and renders them with sample rule sets that between them have
/// everything, so that an unknown variable is found now and not in the night in which it is needed.
pub fn check(config: &Config) -> Result<(), CheckError> {
    let templates = Templates::load(config)?;
    let samples = sample::rule_sets();
    for (index, sample) in samples.iter().enumerate() {
        // Each sample with another before it, and one with none: both ways to write what has gone.
        let previous = index.checked_sub(1).map(|before| &samples[before]);
        for (name, target) in &config.targets {
            // The sample's names are not the configuration's: a target that is narrowed carries all of it here.
            let whole = Target { rules: None, groups: None, ..target.get_ref().clone() };
            match render_target(name, &whole, (sample, sample.digest()), previous, &templates) {
                // The sample is small: a limit that it exceeds is one of the settings, not of the templates.
                Ok(_) | Err(RenderError::Limit { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Why [`check`] failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// A template is wrong.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
}
