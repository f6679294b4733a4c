//! The time that a probe may take, and who hears of its stages.

use std::fmt;
use std::time::{Duration, Instant};

use super::ProbeError;

/// A deadline for everything that one probe does, and a listener for its stages.
pub struct Budget {
    end: Instant,
    stage: Box<dyn Fn(&'static str) + Send + Sync>,
}

impl Budget {
    /// A budget that ends after `time`.
    pub fn new(time: Duration) -> Self {
        Self { end: Instant::now() + time, stage: Box::new(|_| {}) }
    }

    /// Calls `listener` with the name of each stage that begins.
    #[must_use]
    pub fn with_stages(mut self, listener: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        self.stage = Box::new(listener);
        self
    }

    /// Announces a stage.
    pub(super) fn stage(&self, name: &'static str) {
        (self.stage)(name);
    }

    /// The time that is left; an error when there is none.
    pub(super) fn left(&self) -> Result<Duration, ProbeError> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ProbeError::Time) } else { Ok(left) }
    }

    /// The earlier of the budget's end and `time` from now.
    pub(super) fn within(&self, time: Duration) -> Instant {
        self.end.min(Instant::now() + time)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Budget").field("end", &self.end).finish_non_exhaustive()
    }
}
