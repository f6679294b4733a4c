//! When a name is looked up next.
//!
//! Owns the arithmetic and nothing else: every function is told the time and how to spread.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::config::DnsPolicy;

/// Longest time before a time to live ends at which a name is looked up again.
const LONGEST_LEAD: Duration = Duration::from_secs(30);
/// Longest time between two looks at a name that does not answer.
const LONGEST_BACKOFF: Duration = Duration::from_secs(15 * 60);
/// Addresses leave together at the ends of steps of this length at most, so that a rotation that stops does not cost a
/// transaction for each address.
const LONGEST_STEP: Duration = Duration::from_secs(15 * 60);

/// The time to live that is followed.
pub(super) fn bounded(ttl: u32, policy: &DnsPolicy) -> Duration {
    Duration::from_secs(ttl.into()).clamp(policy.min_ttl.into(), policy.max_ttl.into())
}

/// The next look after an answer: shortly before its time to live ends. `spread` (0 to 1) keeps names that were answered
/// together from being asked together for ever.
pub(super) fn after_answer(now: Timestamp, ttl: Duration, spread: f64) -> Timestamp {
    let lead = (ttl / 10).min(LONGEST_LEAD);
    later(now, ttl.saturating_sub(lead.mul_f64(0.5 + 0.5 * spread.clamp(0.0, 1.0))))
}

/// The next look after the `failures`th failure in a row.
pub(super) fn after_failure(
    now: Timestamp,
    failures: u32,
    policy: &DnsPolicy,
    spread: f64,
) -> Timestamp {
    let doubled = Duration::from(policy.min_ttl)
        .saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    let pause = doubled.clamp(Duration::from_secs(1), LONGEST_BACKOFF);
    later(now, pause.mul_f64(0.75 + 0.5 * spread.clamp(0.0, 1.0)))
}

/// When an address leaves that has gone now: after the grace period, at the end of a step.
pub(super) fn leaves(now: Timestamp, grace: Duration) -> Timestamp {
    let step = (grace / 8).min(LONGEST_STEP).as_secs().max(1);
    let step = i64::try_from(step).unwrap_or(1);
    let end = later(now, grace);
    let seconds = end.as_second();
    let over = seconds.rem_euclid(step);
    if over == 0 && end.subsec_nanosecond() == 0 {
        return end;
    }
    Timestamp::from_second(seconds - over + step).unwrap_or(end)
}

/// A time after another; the end of time where there is none.
pub(super) fn later(time: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| time.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp, reason = "sums of whole numbers are exact")]
    use super::*;
    use crate::config::Dns;

    fn now() -> Timestamp {
        "2025-09-08T12:00:00Z".parse().unwrap()
    }

    fn policy() -> DnsPolicy {
        Dns::default().policy(&"a.example.com".parse().unwrap())
    }

    fn seconds(time: Timestamp) -> f64 {
        time.duration_since(now()).as_secs_f64()
    }

    #[test]
    fn the_next_look_comes_shortly_before_the_time_to_live_ends() {
        for (ttl, earliest, latest) in
            [(30, 27.0, 28.5), (300, 270.0, 285.0), (3600, 3570.0, 3585.0)]
        {
            for spread in [0.0, 0.5, 1.0] {
                let due = seconds(after_answer(now(), Duration::from_secs(ttl), spread));
                assert!((earliest..=latest).contains(&due), "{ttl} {spread}: {due}");
            }
        }
        assert_eq!(bounded(0, &policy()), Duration::from_secs(30));
        assert_eq!(bounded(300, &policy()), Duration::from_secs(300));
        assert_eq!(bounded(u32::MAX, &policy()), Duration::from_secs(86_400));
    }

    #[test]
    fn a_name_that_does_not_answer_is_asked_ever_more_rarely_and_never_given_up() {
        let pause = |failures| seconds(after_failure(now(), failures, &policy(), 0.5));
        assert_eq!([1, 2, 3, 6].map(pause), [30.0, 60.0, 120.0, 900.0]);
        assert_eq!(pause(u32::MAX), 900.0);
        assert!(seconds(after_failure(now(), 1, &policy(), 1.0)) > 30.0);
    }

    #[test]
    fn addresses_leave_in_steps_after_their_grace_and_never_within() {
        let grace = Duration::from_secs(86_400);
        for offset in [0, 1, 7, 899, 900] {
            let gone = later(now(), Duration::from_secs(offset));
            let left = leaves(gone, grace).duration_since(gone).as_secs();
            assert!((86_400..86_400 + 900).contains(&left), "{offset}: {left}");
            assert_eq!(leaves(gone, grace).as_second() % 900, 0);
        }
        let at_once = leaves(now(), Duration::ZERO);
        assert_eq!(at_once, now());
    }
}
