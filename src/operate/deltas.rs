//! Deltas: what has to be taken off a device, as files beside the whole ones.
//!
//! Each target's come from the last rules of its own that were others: so a target whose rules stay keeps its files, and the same
//! rules again are no change.

use super::{OperateError, Operator};
use crate::config::Config;
use crate::pipeline::Plan;
use crate::publish::DeltaFrom;
use crate::render::{self, Templates};

impl Operator {
    /// Renders anew, with the rules before, the targets whose dialects write deltas; says from which generation each comes.
    pub(super) fn add_deltas(
        &self,
        config: &Config,
        templates: &Templates,
        plan: &mut Plan,
    ) -> Result<DeltaFrom, OperateError> {
        let mut from = DeltaFrom::new();
        let writing = config.targets.iter().filter(|(_, target)| target.get_ref().writes_deltas());
        for (name, _) in writing {
            let digest = plan.artifacts.iter().find(|artifact| artifact.target == *name);
            let Some(digest) = digest.map(|artifact| artifact.rule_set) else { continue };
            let Some((generation, before)) = self.publisher.rules_before(name, digest)? else {
                continue;
            };
            let wanted = std::slice::from_ref(name);
            let (rule_set, digest) = (&plan.rule_set, plan.digest);
            let files = render::render(config, rule_set, digest, Some(&before), templates, wanted)?;
            plan.artifacts.retain(|artifact| artifact.target != *name);
            plan.artifacts.extend(files.artifacts);
            from.insert(name.clone(), generation);
        }
        Ok(from)
    }
}
