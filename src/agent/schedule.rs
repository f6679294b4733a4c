//! When a feed is looked at next. Pure: time and chance are handed in.

use std::time::Duration;

/// First pause after a failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// Longest pause after failures, unless the interval is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// Longest time that a server may ask us to wait: it must not silence us for ever.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// When a feed is looked at next.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    interval: Duration,
    /// This host's share of the splay; used up by the first look that is not urgent.
    shift: Option<Duration>,
    failures: u32,
}

/// How a look ended, as far as the schedule cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// There was an answer.
    Well,
    /// There was none; trying again soon can help. The server may have said when.
    Badly(Option<Duration>),
    /// There was none, and only a person can change that.
    Hopelessly,
}

impl Schedule {
    /// `seed` differs between hosts and feeds and stays the same on one: it decides the share of the splay.
    pub(super) fn new(interval: Duration, splay: Duration, seed: u64) -> Self {
        let shift = splay.mul_f64(fastrand::Rng::with_seed(seed).f64());
        Self { interval, shift: Some(shift), failures: 0 }
    }

    /// The wait before the first look: none where nothing is known yet, else this host's share of the splay, so that a fleet
    /// that starts at once does not call at once.
    pub(super) fn first(&mut self, nothing_known: bool) -> Duration {
        if nothing_known { Duration::ZERO } else { self.shift.take().unwrap_or_default() }
    }

    /// The wait after a look. `chance` is between 0 and 1.
    pub(super) fn next(&mut self, ended: Ended, chance: f64) -> Duration {
        match ended {
            Ended::Well => {
                self.failures = 0;
                self.interval + self.shift.take().unwrap_or_default()
            }
            Ended::Badly(retry_after) => {
                self.failures = self.failures.saturating_add(1);
                let doubled = FIRST_PAUSE * 2_u32.saturating_pow((self.failures - 1).min(16));
                let pause = doubled.min(LONGEST_PAUSE.min(self.interval.max(FIRST_PAUSE)));
                // Half of it is chance: those who failed together shall not come back together.
                let pause = pause.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
                pause.max(retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER))
            }
            Ended::Hopelessly => {
                self.failures = self.failures.saturating_add(1);
                self.interval
            }
        }
    }

    /// How many looks have failed one after another.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

/// A number that differs between hosts and feeds and stays the same on one.
pub(super) fn seed(host: &str, feed: &str) -> u64 {
    let text = crate::snapshot::Digest::of(format!("{host}\0{feed}").as_bytes()).to_string();
    u64::from_str_radix(text.get(..16).unwrap_or_default(), 16).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_host_that_knows_nothing_looks_at_once_and_is_shifted_later() {
        let splay = Duration::from_secs(600);
        let mut fresh = Schedule::new(HOUR, splay, 7);
        assert_eq!(fresh.first(true), Duration::ZERO);
        let second = fresh.next(Ended::Well, 0.0);
        assert!(second > HOUR && second < HOUR + splay, "{second:?}");
        assert_eq!(fresh.next(Ended::Well, 0.0), HOUR, "it is shifted once");

        let mut known = Schedule::new(HOUR, splay, 7);
        assert_eq!(known.first(false) + HOUR, second, "the shift is the host's own");
        assert_eq!(known.next(Ended::Well, 0.0), HOUR);
    }

    #[test]
    fn a_fleet_is_spread_over_the_splay() {
        let splay = Duration::from_secs(600);
        let mut minutes = [0; 10];
        for host in 0..1000 {
            let shift =
                Schedule::new(HOUR, splay, seed(&format!("host-{host}"), "microsoft")).first(false);
            minutes[usize::try_from(shift.as_secs() / 60).unwrap()] += 1;
        }
        assert!(minutes.iter().all(|count| (50..150).contains(count)), "{minutes:?}");
        assert_eq!(seed("a", "b"), seed("a", "b"));
        assert_ne!(seed("a", "b"), seed("ab", ""));
    }

    #[test]
    fn failures_back_off_with_chance_up_to_the_interval_and_end_with_an_answer() {
        let mut schedule = Schedule::new(HOUR, Duration::ZERO, 0);
        schedule.first(true);
        let most: Vec<u64> =
            (0..9).map(|_| schedule.next(Ended::Badly(None), 1.0).as_secs()).collect();
        assert_eq!(most, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert_eq!(schedule.failures(), 9);
        assert_eq!(schedule.next(Ended::Badly(None), 0.0).as_secs(), 1800, "half of it is chance");
        assert_eq!(schedule.next(Ended::Well, 1.0), HOUR);
        assert_eq!(schedule.next(Ended::Badly(None), 1.0).as_secs(), 30, "it begins again");
        let mut busy = Schedule::new(Duration::from_secs(60), Duration::ZERO, 0);
        for _ in 0..40 {
            assert!(busy.next(Ended::Badly(None), 1.0) <= Duration::from_secs(60));
        }
    }

    #[test]
    fn a_server_may_ask_for_time_within_bounds() {
        let mut schedule = Schedule::new(HOUR, Duration::ZERO, 0);
        let after = |seconds| Ended::Badly(Some(Duration::from_secs(seconds)));
        assert_eq!(schedule.next(after(7200), 0.5).as_secs(), 7200);
        assert_eq!(schedule.next(after(u64::from(u32::MAX)), 0.5), LONGEST_RETRY_AFTER);
        assert!(schedule.next(after(0), 1.0).as_secs() >= 60, "it cannot hurry us");
    }

    #[test]
    fn what_only_a_person_can_change_waits_for_the_interval() {
        let mut schedule = Schedule::new(HOUR, Duration::ZERO, 0);
        assert_eq!(schedule.next(Ended::Hopelessly, 0.0), HOUR);
        assert_eq!(schedule.failures(), 1);
    }
}
