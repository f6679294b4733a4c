//! How many generations are kept.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Generation, OutcomeResult, PublishError, Store};
use crate::config::Publishing;

/// How many generations are kept. The one in force, the one before it, and those from which its deltas start are always kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// The newest that are kept. Default: 50.
    pub generations: usize,
    /// Whether a younger age in days keeps one too. Default: 90.
    pub days: u32,
    /// The newest small or failed ones that are kept; no age keeps more of them. Default: 5.
    pub small: usize,
}

impl Retention {
    /// Everything is kept.
    pub const ALL: Self = Self { generations: usize::MAX, days: u32::MAX, small: usize::MAX };
}

impl From<&Publishing> for Retention {
    fn from(settings: &Publishing) -> Self {
        let Publishing { generations, days, small_generations: small, .. } = *settings;
        Self { generations, days, small }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self::from(&Publishing::default())
    }
}

/// Removes what need not be kept any more. What cannot be read or removed stays, keeps no other from being removed, and is told.
pub(super) fn prune(
    store: &Store,
    retention: Retention,
    now: Timestamp,
) -> Result<(), PublishError> {
    let mut generations = Vec::new();
    let mut result = Ok(());
    for number in store.numbers()? {
        match store.read(number) {
            Ok(generation) => generations.push(generation),
            Err(error) => result = result.and(Err(error)),
        }
    }
    for number in excess(&generations, store.current()?, retention, now) {
        result = result.and(store.discard(number));
    }
    result
}

/// The numbers that need not be kept; `generations` ascend.
fn excess(
    generations: &[Generation],
    current: Option<u64>,
    retention: Retention,
    now: Timestamp,
) -> BTreeSet<u64> {
    let in_force = generations.iter().find(|entry| Some(entry.manifest.generation) == current);
    let previous = in_force.and_then(|entry| entry.manifest.previous);
    let deltas: BTreeSet<u64> = in_force
        .into_iter()
        .flat_map(|entry| entry.manifest.targets.values())
        .filter_map(|record| record.delta_from)
        .collect();
    let (mut full, mut brief) = (0, 0);
    let mut excess = BTreeSet::new();
    for Generation { manifest, outcome } in generations.iter().rev() {
        let failed =
            outcome.as_ref().is_some_and(|outcome| outcome.result == OutcomeResult::Failed);
        let keep = if manifest.small || failed {
            brief += 1;
            brief <= retention.small
        } else {
            full += 1;
            let hours = now.duration_since(manifest.created).as_hours();
            full <= retention.generations || hours < i64::from(retention.days) * 24
        };
        let number = manifest.generation;
        if !keep && ![current, previous].contains(&Some(number)) && !deltas.contains(&number) {
            excess.insert(number);
        }
    }
    excess
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::publish::{ChangeSummary, Manifest, Outcome};
    use crate::snapshot::Digest;

    fn generation(number: u64, day: &str, small: bool, result: OutcomeResult) -> Generation {
        let manifest = Manifest {
            format: String::new(),
            generation: number,
            created: format!("2025-09-{day}T00:00:00Z").parse().unwrap(),
            tool: String::new(),
            reason: String::new(),
            previous: number.checked_sub(1),
            configuration: Digest::of(b""),
            publications: Vec::new(),
            rule_set: Digest::of(b""),
            targets: BTreeMap::new(),
            summary: ChangeSummary::default(),
            small,
            widened: Vec::new(),
            loads: BTreeMap::new(),
        };
        let outcome = Outcome {
            format: String::new(),
            generation: number,
            at: manifest.created,
            result,
            message: None,
            behind: BTreeMap::new(),
            notes: Vec::new(),
            microseconds: BTreeMap::new(),
        };
        Generation { manifest, outcome: Some(outcome) }
    }

    #[test]
    fn small_and_failed_ones_do_not_push_out_the_others() {
        use OutcomeResult::{Failed, Recorded};
        let all = [
            generation(1, "01", false, Recorded),
            generation(2, "02", false, Recorded),
            generation(3, "03", true, Recorded),
            generation(4, "04", false, Failed),
            generation(5, "05", true, Recorded),
            generation(6, "06", true, Recorded),
            generation(7, "07", true, Recorded),
        ];
        let now = "2025-09-30T00:00:00Z".parse().unwrap();
        let excess = |generations, days, small| {
            let retention = Retention { generations, days, small };
            excess(&all, Some(7), retention, now).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(excess(2, 0, 2), [3, 4, 5]);
        assert_eq!(excess(1, 0, 2), [1, 3, 4, 5]);
        assert_eq!(excess(1, 29, 2), [1, 3, 4, 5]);
        assert_eq!(excess(1, 30, 2), [3, 4, 5]);
        // The one in force and the one before it stay, whatever the settings.
        assert_eq!(excess(0, 0, 0), [1, 2, 3, 4, 5]);
    }
}
