//! Publications offered: judged, planned, published.

use jiff::Timestamp;

use super::{OperateError, Operator, answers, companion};
use crate::config::{Config, Name};
use crate::guard::Offers;
use crate::pipeline::{self, Inputs};
use crate::publish::{Published, Request, Restored, Retention};
use crate::render::Templates;
use crate::snapshot::Publication;

/// What is offered, and under which configuration.
#[derive(Debug)]
pub struct Offering<'o> {
    /// What the user asks for.
    pub config: &'o Config,
    /// The templates of the targets.
    pub templates: &'o Templates,
    /// The newest publication of each cloud.
    pub offers: &'o Offers,
    /// Why older publications are taken as a new beginning; none: they are refused.
    pub rebaseline: Option<&'o str>,
    /// Why it is done, as the manifest says it.
    pub reason: &'o str,
    /// When.
    pub now: Timestamp,
}

/// What became of it.
#[derive(Debug)]
pub struct Offered {
    /// Whether a new generation is in force.
    pub published: Published,
    /// What was said about artifacts while rendering.
    pub warnings: Vec<(Name, String)>,
    /// What was not as it had been published, and what was done about it.
    pub restored: Vec<Restored>,
    /// When time alone will change what is believed.
    pub next: Option<Timestamp>,
}

impl Operator {
    /// Judges what is offered, and brings what is believed of it in force: all targets, or nothing.
    pub fn offer(&mut self, offering: &Offering<'_>) -> Result<Offered, OperateError> {
        let &Offering { config, templates, offers, rebaseline, now, .. } = offering;
        if let Some(pause) = &self.memory.pause {
            return Err(OperateError::Paused(pause.clone()));
        }
        if let Some(pin) = &self.memory.pin {
            return Err(OperateError::Pinned(pin.clone()));
        }
        let mut memory = self.memory.clone();
        let mut reason = offering.reason.to_owned();
        for publication in offers.values().map(|offer| &offer.publication) {
            match (rebaseline, memory.judge(publication)) {
                (_, Ok(())) => memory.take(publication, now),
                (Some(why), Err(_)) => {
                    memory.rebaseline(publication, why, now);
                    reason = format!("rebaseline: {why}");
                }
                (None, Err(older)) => return Err(older.into()),
            }
        }
        let mut names = self.names.clone();
        names.keep(config, now);
        let hosts = names.addresses(now);
        let inputs = Inputs {
            config,
            templates,
            belief: &self.belief,
            offers,
            hosts: &hosts,
            previous: None,
            now,
        };
        let (judgement, plan) = pipeline::judged(&inputs)?;
        let warnings = plan
            .artifacts
            .iter()
            .flat_map(|artifact| {
                artifact.warnings.iter().map(|text| (artifact.target.clone(), text.clone()))
            })
            .collect();
        let believed = judgement.belief.publications();
        let mut request =
            Request::of(config, plan.rule_set, plan.artifacts, believed, reason, now)?;
        request.companions.push(companion(&memory)?);
        if names.entries().next().is_some() {
            request.companions.push(answers(&names)?);
        }
        let published = self.publisher.publish(&request, Retention::from(&config.publish))?;
        self.memory = memory;
        self.belief = judgement.belief;
        // The rules are the same, but somebody may have flushed them.
        let restored = match published {
            Published::Unchanged(_) => self.restore()?,
            Published::Generation(_) | Published::Partly(_) => Vec::new(),
        };
        Ok(Offered { published, warnings, restored, next: judgement.next })
    }
}

/// Offers of publications that were fetched just now.
pub fn offers(publications: impl IntoIterator<Item = Publication>, now: Timestamp) -> Offers {
    publications
        .into_iter()
        .map(|publication| {
            let cloud = publication.snapshot.cloud();
            (cloud, crate::guard::Offer { publication, fetched: now })
        })
        .collect()
}
