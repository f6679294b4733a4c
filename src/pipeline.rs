//! From publications to artifacts: the way that the agent and `render` share.
//!
//! Pure: no clock, no files, no network. The same publications, configuration, templates and previous rule set give the
//! same bytes on every host.

use std::collections::BTreeMap;

use jiff::Timestamp;
use thiserror::Error;

use crate::config::{Config, ConfigError, Name};
use crate::guard::{self, Belief, Judgement, Offers};
use crate::intent::Intent;
use crate::render::{self, Artifact, Load, RenderError, Rendered, Templates};
use crate::ruleset::RuleSet;
use crate::selection::{self, HostAddresses, Publications};
use crate::snapshot::Digest;

/// What is to be done: the rules, and the files that carry them.
#[derive(Debug)]
pub struct Plan {
    /// The vendor-neutral rules.
    pub rule_set: RuleSet,
    /// Its digest.
    pub digest: Digest,
    /// The files of every target wanted.
    pub artifacts: Vec<Artifact>,
    /// How much of each limit of its firewall a target uses.
    pub loads: BTreeMap<Name, Vec<Load>>,
}

impl Plan {
    /// What was said about artifacts while rendering, by target.
    pub fn warnings(&self) -> Vec<(Name, String)> {
        let of = |artifact: &Artifact| {
            let target = artifact.target.clone();
            artifact.warnings.clone().into_iter().map(move |text| (target.clone(), text))
        };
        self.artifacts.iter().flat_map(of).collect()
    }
}

/// Why there is no plan.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The configuration asks for something that is not published.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A target cannot be rendered.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// Nothing of a group is believed, so that there are no rules for it.
    #[error(
        "nothing of {groups} is believed, so that there are no rules for it: {why}; `tagwall review` shows what is held, \
         `tagwall approve ID` lets it in, and [guard] in the configuration sets what is plausible"
    )]
    Withheld {
        /// The groups.
        groups: String,
        /// Why they are held.
        why: String,
        /// What is held, so that somebody can decide about it.
        holds: Vec<guard::Hold>,
    },
}

/// Everything that decides what is in force next.
#[derive(Debug)]
pub struct Inputs<'i> {
    /// What the user asks for.
    pub config: &'i Config,
    /// The templates of the targets.
    pub templates: &'i Templates,
    /// What is believed so far.
    pub belief: &'i Belief,
    /// The newest publication of each cloud.
    pub offers: &'i Offers,
    /// The addresses by which hostnames are known.
    pub hosts: &'i HostAddresses,
    /// The rule set in force.
    pub previous: Option<&'i RuleSet>,
    /// The time of the decision.
    pub now: Timestamp,
}

/// The whole way, as the agent walks it: judges, then selects from what is believed, builds and renders.
pub fn judged(inputs: &Inputs<'_>) -> Result<(Judgement, Plan), PlanError> {
    let Inputs { config, templates, belief, offers, hosts, previous, now } = *inputs;
    let judgement = guard::judge(config, &Intent::of(config), belief, offers, now);
    if !judgement.withheld.is_empty() {
        return Err(withheld(&judgement));
    }
    let plan = plan(config, judgement.belief.publications(), hosts, templates, previous, &[])?;
    Ok((judgement, plan))
}

fn withheld(judgement: &Judgement) -> PlanError {
    let groups: Vec<&str> = judgement.withheld.iter().map(Name::as_str).collect();
    let holds = judgement.belief.holds().iter();
    let holds = holds.filter(|hold| judgement.withheld.iter().any(|group| hold.concerns(group)));
    let why: Vec<String> = holds.map(|hold| format!("{} (hold {})", hold.why(), hold.id)).collect();
    PlanError::Withheld {
        groups: groups.join(", "),
        why: why.join("; "),
        holds: judgement.belief.holds().to_vec(),
    }
}

/// Selects, builds and renders what is published, without a judgement. `wanted` narrows the targets; empty means all.
pub fn plan(
    config: &Config,
    publications: &Publications,
    hosts: &HostAddresses,
    templates: &Templates,
    previous: Option<&RuleSet>,
    wanted: &[Name],
) -> Result<Plan, PlanError> {
    let rule_set = rules(config, publications, hosts)?;
    let digest = rule_set.digest();
    let Rendered { artifacts, loads } =
        render::render(config, &rule_set, digest, previous, templates, wanted)?;
    Ok(Plan { rule_set, digest, artifacts, loads })
}

/// The rules alone, for those who ask about them without rendering.
pub fn rules(
    config: &Config,
    publications: &Publications,
    hosts: &HostAddresses,
) -> Result<RuleSet, ConfigError> {
    let intent = Intent::of(config);
    let selection = selection::select(config, &intent, publications, hosts)?;
    Ok(RuleSet::build(&intent, &selection))
}
