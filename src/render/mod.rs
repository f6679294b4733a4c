//! Turns a rule set into the files of each target.
//!
//! Owns the templates, what they are given, and what templates cannot do: names that fit, limits, chunks. Promises:
//! the same rule set and configuration give the same bytes; a limit that is exceeded is an error that names group,
//! count, limit and the ways out, never a shortened file; nothing from a publication reaches a template as free text
//! (names are validated types, prefixes are parsed). Writes no files.

mod context;
mod error;
mod filters;
mod list;
mod naming;
mod nftables;
mod sample;
mod templates;

pub use context::ARTIFACT_FORMAT;
pub use error::RenderError;
pub use templates::{BUILT_IN, Templates};

use crate::config::{Config, ConfigError, Dialect, Name, Target};
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
}

impl Artifact {
    /// `TARGET/FILE`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.target, self.file)
    }
}

/// What a dialect is given.
struct Job<'r> {
    name: &'r Name,
    target: &'r Target,
    part: &'r RuleSet,
    digest: Digest,
    templates: &'r Templates,
}

/// One file of a dialect.
struct File {
    name: String,
    text: Vec<u8>,
}

impl File {
    fn new(name: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), text: text.into() }
    }
}

/// Renders every target of the configuration, or those that `wanted` names.
pub fn render(
    config: &Config,
    rule_set: &RuleSet,
    templates: &Templates,
    wanted: &[Name],
) -> Result<Vec<Artifact>, RenderError> {
    let mut artifacts = Vec::new();
    for (name, target) in &config.targets {
        if !wanted.is_empty() && !wanted.contains(name) {
            continue;
        }
        artifacts.extend(render_target(name, target.get_ref(), rule_set, templates)?);
    }
    Ok(artifacts)
}

fn render_target(
    name: &Name,
    target: &Target,
    rule_set: &RuleSet,
    templates: &Templates,
) -> Result<Vec<Artifact>, RenderError> {
    let part = rule_set.part_for(target);
    let digest = part.digest();
    let job = Job { name, target, part: &part, digest, templates };
    let mut files = Vec::new();
    for dialect in target.dialects() {
        files.extend(match dialect {
            Dialect::Nftables(settings) => nftables::render(&job, settings)?,
            Dialect::List(settings) => list::render(&job, settings)?,
            Dialect::Json(_) => {
                vec![File::new("ruleset.json", ruleset::write_document(&part))]
            }
            Dialect::Iptables(_) => Vec::new(),
        });
    }
    let artifact = |file: File| Artifact {
        target: name.clone(),
        file: file.name,
        bytes: file.text,
        rule_set: digest,
    };
    Ok(files.into_iter().map(artifact).collect())
}

/// Compiles the templates of every target and renders them with sample rule sets that between them have
/// everything, so that an unknown variable is found now and not in the night in which it is needed.
pub fn check(config: &Config) -> Result<(), CheckError> {
    let templates = Templates::load(config)?;
    for sample in sample::rule_sets() {
        for (name, target) in &config.targets {
            // The sample's names are not the configuration's: a target that is narrowed carries all of it here.
            let whole = Target { rules: None, groups: None, ..target.get_ref().clone() };
            match render_target(name, &whole, &sample, &templates) {
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
