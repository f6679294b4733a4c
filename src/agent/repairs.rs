//! When targets are compared and repaired: as soon as the ruleset changes, within bounds.
//!
//! A change of the ruleset that has nothing to do with tagwall costs one comparison in [`PER_COMPARISON`] in the long run; two
//! in a row are made at once, so that a flush is repaired with the next poll. Where something keeps removing the rules, repairs
//! wait longer and longer, and that is told once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tokio::time::{Duration, Instant};

use crate::config::Name;

/// In the long run, changes of others cost one comparison in this time.
const PER_COMPARISON: Duration = Duration::from_secs(5);
/// Comparisons that may follow each other at once.
const AT_ONCE: usize = 2;

/// This many repairs within [`WITHIN`] are a fight.
const FIGHT: usize = 3;
const WITHIN: Duration = Duration::from_secs(600);
/// The first pause between repairs then; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(900);

/// What is known of one target's repairs.
#[derive(Debug, Default)]
struct Repairs {
    recent: VecDeque<Instant>,
    wait: Option<Duration>,
    until: Option<Instant>,
}

/// The schedule of comparisons and repairs.
#[derive(Debug, Default)]
pub(super) struct RepairSchedule {
    comparisons: VecDeque<Instant>,
    targets: BTreeMap<Name, Repairs>,
}

impl RepairSchedule {
    /// When a change that was just seen is looked at: now, or when the allowance is there again.
    pub(super) fn comparison(&mut self, now: Instant) -> Instant {
        let allowance = PER_COMPARISON * u32::try_from(AT_ONCE).unwrap_or(1);
        while self.comparisons.front().is_some_and(|first| *first + allowance <= now) {
            self.comparisons.pop_front();
        }
        match self.comparisons.front() {
            Some(first) if self.comparisons.len() >= AT_ONCE => *first + allowance,
            _ => now,
        }
    }

    /// A comparison begins.
    pub(super) fn compared(&mut self, now: Instant) {
        self.comparisons.push_back(now);
        while self.comparisons.len() > AT_ONCE {
            self.comparisons.pop_front();
        }
    }

    /// A target was repaired. Whether this is where a fight is noticed.
    pub(super) fn repaired(&mut self, target: &Name, now: Instant) -> bool {
        let repairs = self.targets.entry(target.clone()).or_default();
        repairs.recent.push_back(now);
        while repairs.recent.front().is_some_and(|first| *first + WITHIN <= now) {
            repairs.recent.pop_front();
        }
        let quiet = repairs.until.is_none_or(|until| until + WITHIN <= now);
        if repairs.recent.len() < FIGHT && quiet {
            repairs.wait = None;
            repairs.until = None;
            return false;
        }
        let begins = repairs.wait.is_none();
        let wait = repairs.wait.map_or(FIRST_WAIT, |wait| (wait * 2).min(LONGEST_WAIT));
        repairs.wait = Some(wait);
        repairs.until = Some(now + wait);
        begins
    }

    /// The targets whose repair waits.
    pub(super) fn waiting(&self, now: Instant) -> BTreeSet<Name> {
        let waits = |repairs: &Repairs| repairs.until.is_some_and(|until| until > now);
        self.targets
            .iter()
            .filter(|(_, repairs)| waits(repairs))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The targets that something keeps removing.
    pub(super) fn contested(&self, now: Instant) -> BTreeSet<Name> {
        let contested = |repairs: &Repairs| repairs.until.is_some_and(|until| until + WITHIN > now);
        self.targets
            .iter()
            .filter(|(_, repairs)| contested(repairs))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// When a repair that waits is due.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.targets.values().filter_map(|repairs| repairs.until).filter(|until| *until > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn foreign_changes_cost_one_comparison_in_five_seconds() {
        let mut schedule = RepairSchedule::default();
        let start = Instant::now();
        let mut compared = 0;
        // A change each second for ten minutes.
        for second in 0..600 {
            let now = start + seconds(second);
            if schedule.comparison(now) <= now {
                schedule.compared(now);
                compared += 1;
            }
        }
        assert_eq!(compared, 120);
        // After a quiet time two changes in a row are looked at as they come.
        for second in [700, 701] {
            let now = start + seconds(second);
            assert_eq!(schedule.comparison(now), now);
            schedule.compared(now);
        }
        assert_eq!(schedule.comparison(start + seconds(702)), start + seconds(710));
    }

    #[test]
    fn repairs_of_a_contested_target_wait_longer_and_longer() {
        let mut schedule = RepairSchedule::default();
        let name: Name = "edge".parse().unwrap();
        let mut now = Instant::now();
        assert!(!schedule.repaired(&name, now));
        assert!(!schedule.repaired(&name, now + seconds(1)));
        assert!(schedule.waiting(now + seconds(2)).is_empty());
        now += seconds(2);
        assert!(schedule.repaired(&name, now), "the third within ten minutes");
        let mut waits = Vec::new();
        for _ in 0..6 {
            assert!(schedule.waiting(now).contains(&name));
            let due = schedule.due(now).unwrap();
            waits.push((due - now).as_secs() / 60);
            now = due;
            assert!(schedule.waiting(now).is_empty());
            assert!(schedule.contested(now).contains(&name));
            assert!(!schedule.repaired(&name, now), "it is told once");
        }
        assert_eq!(waits, [1, 2, 4, 8, 15, 15]);
        // Ten quiet minutes behind the last wait end it.
        now = schedule.due(now).unwrap() + seconds(601);
        assert!(schedule.contested(now).is_empty());
        assert!(!schedule.repaired(&name, now));
        assert!(schedule.waiting(now).is_empty());
    }

    #[test]
    fn repairs_far_apart_are_no_fight() {
        let mut schedule = RepairSchedule::default();
        let name: Name = "edge".parse().unwrap();
        let start = Instant::now();
        for turn in 0..10 {
            assert!(!schedule.repaired(&name, start + seconds(301 * turn)));
        }
    }
}
