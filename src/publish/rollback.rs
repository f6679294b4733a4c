//! The way back: an earlier generation is published again, as a new one.

use jiff::Timestamp;

use super::companions::Companion;
use super::manifest::{Manifest, OutcomeResult};
use super::publisher::{Footing, Published, Publisher};
use super::retention::Retention;
use super::{PublishError, Request, Store};
use crate::ruleset::RuleSet;

impl Publisher {
    /// Brings an earlier generation back as a new one, in files and kernel. Without a number: the last whose rules differ
    /// from those in force, small changes aside. `companions` are asked for with the number and the rules that will be in
    /// force, and change together with them. A generation in force that is damaged is built upon no further than it can be read.
    pub fn rollback<E: From<PublishError>>(
        &self,
        to: Option<u64>,
        now: Timestamp,
        retention: Retention,
        companions: impl FnOnce(u64, &RuleSet) -> Result<Vec<Companion>, E>,
    ) -> Result<u64, E> {
        let current = self.store.current()?.ok_or(PublishError::NothingEarlier)?;
        let in_force = self.store.read(current).map(|generation| generation.manifest);
        let (to, passed_over) = match (to, &in_force) {
            (Some(to), _) => (to, Vec::new()),
            (None, Ok(in_force)) => self.last_other(in_force)?,
            (None, Err(error)) => {
                let reason = error.to_string();
                return Err(PublishError::Unknown { current, reason }.into());
            }
        };
        let mut request = Request::of_generation(&self.store, to, now)?;
        request.reason = format!("rollback to {to}");
        request.small = false;
        let (footing, damage) = footing(&self.store, current, in_force, now);
        let same = footing.meets(&request, request.rule_set.digest());
        let number = if same { current } else { self.next_number()? };
        request.companions = companions(number, &request.rule_set)?;
        let number = match self.publish_after(Some(current), footing, &request, retention)? {
            Published::Generation(number) | Published::Partly(number) => number,
            Published::Unchanged(_) => current,
        };
        for error in passed_over {
            self.note(number, format!("the rollback looked past a generation: {error}"));
        }
        if let Some(damage) = damage {
            self.note(number, damage);
        }
        Ok(number)
    }

    /// The newest generation with other rules than the one in force, from before the last change that was not small; and those
    /// in between that cannot be read.
    fn last_other(&self, in_force: &Manifest) -> Result<(u64, Vec<PublishError>), PublishError> {
        let mut small = in_force.small;
        let mut unreadable = Vec::new();
        for number in self.store.numbers()?.into_iter().rev() {
            if number >= in_force.generation {
                continue;
            }
            let generation = match self.store.read(number) {
                Ok(generation) => generation,
                Err(error) => {
                    unreadable.push(error);
                    continue;
                }
            };
            let recorded =
                generation.outcome.is_some_and(|outcome| outcome.result == OutcomeResult::Recorded);
            if !recorded || generation.manifest.rule_set == in_force.rule_set {
                continue;
            }
            if small {
                // Only addresses of hostnames differ between this one and the one in force.
                small = generation.manifest.small;
                continue;
            }
            return Ok((number, unreadable));
        }
        // What cannot be read may be what was looked for.
        Err(unreadable.into_iter().next().unwrap_or(PublishError::NothingEarlier))
    }
}

/// What a rollback builds upon: the generation in force as far as it can be read; and what is to be noted where it is damaged.
fn footing(
    store: &Store,
    current: u64,
    in_force: Result<Manifest, PublishError>,
    now: Timestamp,
) -> (Footing, Option<String>) {
    let (old, error, so) = match in_force {
        Ok(in_force) => match Request::of_generation(store, current, now) {
            Ok(_) => return (Footing { old: Some(in_force), damaged: false }, None),
            Err(error) => {
                let so = "what changed was loaded whole, and foreign changes were not looked for";
                (Some(in_force), error, so)
            }
        },
        Err(error) => {
            let so = "everything was brought in force anew, and what only that generation had in the kernel may still be there";
            (None, error, so)
        }
    };
    (
        Footing { old, damaged: true },
        Some(format!("generation {current} was damaged ({error}): {so}")),
    )
}
