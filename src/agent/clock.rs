//! Between the two clocks: the one that timers run by, and the one that people read.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

pub(super) use crate::os::clock::now;

/// A timer is never set further ahead: the clock that people read may be set meanwhile.
const FURTHEST: Duration = Duration::from_secs(24 * 3600);

/// When a timer runs out, for people.
pub(super) fn at(timer: Instant) -> Timestamp {
    let ahead = timer.saturating_duration_since(Instant::now());
    let ahead = SignedDuration::try_from(ahead).unwrap_or(SignedDuration::MAX);
    now().checked_add(ahead).unwrap_or(Timestamp::MAX)
}

/// A timer for a time that people read; a day at most, then it is to be asked again.
pub(super) fn timer(at: Timestamp) -> Instant {
    let ahead = at.duration_since(Timestamp::now());
    let ahead = Duration::try_from(ahead).unwrap_or_default();
    Instant::now() + ahead.min(FURTHEST)
}
