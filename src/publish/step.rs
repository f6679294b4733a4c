//! The steps of a publication that concern one target, and how long each took.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A step that concerns one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The firewall's own parser and the user's check are asked.
    Verify,
    /// What was there before is kept.
    Save,
    /// Copies are put where the configuration wants them.
    Install,
    /// The kernel is made to use the rules.
    Apply,
    /// The kernel is compared with what is meant.
    ReadBack,
    /// The user's command makes a firewall use the files.
    Reload,
    /// Connections to ranges that left are ended.
    Conntrack,
    /// Copies that were new are taken away again.
    Uninstall,
    /// Rules that were new are taken out of the kernel again.
    Undo,
}

impl Step {
    /// The steps by which a target gets in force, in their order: those whose outcome and time are told.
    pub const TOLD: [Self; 5] =
        [Self::Verify, Self::Install, Self::Apply, Self::ReadBack, Self::Reload];

    /// Its name, in a message.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Save => "save",
            Self::Install => "install",
            Self::Apply => "apply",
            Self::ReadBack => "read back",
            Self::Reload => "reload",
            Self::Conntrack => "conntrack",
            Self::Uninstall => "uninstall",
            Self::Undo => "undo",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// How long each step of a target took when it was last done, in microseconds; a step that was never done is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Took(BTreeMap<Step, u64>);

impl Took {
    /// Does a step, and notes how long it took.
    pub(super) fn time<T>(&mut self, step: Step, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        *self.0.entry(step).or_default() += took;
        done
    }

    /// Takes over what another says of steps that this one does not have.
    pub(super) fn or(&mut self, earlier: &Self) {
        for (step, took) in &earlier.0 {
            self.0.entry(*step).or_insert(*took);
        }
    }

    /// The steps that were done, in their order.
    pub fn steps(&self) -> impl Iterator<Item = (Step, Duration)> {
        self.0.iter().map(|(step, took)| (*step, Duration::from_micros(*took)))
    }

    /// Whether none was done.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `verify 12.0 ms, apply 50.2 ms`.
impl fmt::Display for Took {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (step, took)) in self.steps().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(formatter, "{comma}{step} {:.1} ms", took.as_secs_f64() * 1e3)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_is_done_twice_took_both_times_and_what_was_not_done_is_taken_over() {
        let mut earlier = Took::default();
        earlier.time(Step::Verify, || ());
        earlier.time(Step::Apply, || std::thread::sleep(Duration::from_millis(2)));
        let mut took = Took::default();
        for _ in 0..2 {
            took.time(Step::Verify, || std::thread::sleep(Duration::from_millis(2)));
        }
        took.or(&earlier);
        let steps: BTreeMap<Step, Duration> = took.steps().collect();
        assert!(steps[&Step::Verify] >= Duration::from_millis(4), "{steps:?}");
        assert!(steps[&Step::Apply] >= Duration::from_millis(2), "{steps:?}");
        let text = serde_json::to_string(&took).unwrap();
        assert!(text.starts_with("{\"verify\":"), "{text}");
        assert_eq!(serde_json::from_str::<Took>(&text).unwrap(), took);
        let fixed: Took = serde_json::from_str(r#"{"read-back": 50240, "verify": 12000}"#).unwrap();
        assert_eq!(fixed.to_string(), "verify 12.0 ms, read back 50.2 ms");
    }
}
