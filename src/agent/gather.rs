//! Changes gathered until it is quiet, so that what comes together is published together. Pure: the time is handed in.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

/// Why there is something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// The agent has just started.
    Start,
    /// A feed brought a publication.
    Publication,
    /// A held change was seen again.
    Confirmation,
    /// The configuration or a template was loaded.
    Configuration,
    /// A grace ended, or a hold is due.
    Time,
    /// A window opened, or a freeze ended.
    Calendar,
    /// A person decided.
    Decision,
    /// A person decided, and does not want to wait for the calendar.
    Urged,
    /// A publication failed and is tried again.
    Retry,
    /// Hostnames were answered differently, and more than their addresses changes with it.
    Names,
}

impl Cause {
    /// As the manifest and the log say it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Publication => "publication",
            Self::Confirmation => "confirmation",
            Self::Configuration => "configuration",
            Self::Time => "time",
            Self::Calendar => "calendar",
            Self::Decision => "decision",
            Self::Urged => "urgent decision",
            Self::Retry => "retry",
            Self::Names => "names",
        }
    }
}

/// What has come together, and until when it waits.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    causes: BTreeSet<Cause>,
    first: Option<Instant>,
    due: Option<Instant>,
}

impl Gathering {
    /// Something came: wait for `quiet` from now, but no longer than `longest` from the first.
    pub(super) fn add(&mut self, cause: Cause, now: Instant, quiet: Duration, longest: Duration) {
        self.causes.insert(cause);
        let first = *self.first.get_or_insert(now);
        let due = self.due.map_or(now + quiet, |due| due.max(now + quiet));
        self.due = Some(due.min(first + longest));
    }

    /// When it is to be looked at; none when nothing has come.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes what has come, to begin anew.
    pub(super) fn take(&mut self) -> BTreeSet<Cause> {
        std::mem::take(self).causes
    }

    /// Whether nothing has come.
    pub(super) fn is_empty(&self) -> bool {
        self.causes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_secs(2);
    const LONGEST: Duration = Duration::from_secs(30);

    fn add(gathering: &mut Gathering, cause: Cause, now: Instant) {
        gathering.add(cause, now, QUIET, LONGEST);
    }

    #[test]
    fn what_comes_together_is_looked_at_together_when_it_is_quiet() {
        let start = Instant::now();
        let mut gathering = Gathering::default();
        assert_eq!(gathering.due(), None);
        add(&mut gathering, Cause::Publication, start);
        assert_eq!(gathering.due(), Some(start + QUIET));
        add(&mut gathering, Cause::Configuration, start + Duration::from_secs(1));
        assert_eq!(gathering.due(), Some(start + Duration::from_secs(3)));
        let causes = gathering.take();
        assert!(causes.iter().eq([&Cause::Publication, &Cause::Configuration]));
        assert!(gathering.is_empty() && gathering.due().is_none());
    }

    #[test]
    fn what_never_gets_quiet_waits_for_the_longest_delay_at_most() {
        let start = Instant::now();
        let mut gathering = Gathering::default();
        for second in 0..100 {
            add(&mut gathering, Cause::Publication, start + Duration::from_secs(second));
        }
        assert_eq!(gathering.due(), Some(start + LONGEST));
    }

    #[test]
    fn a_change_with_a_shorter_wait_does_not_hurry_those_before() {
        let start = Instant::now();
        let mut gathering = Gathering::default();
        add(&mut gathering, Cause::Publication, start);
        gathering.add(Cause::Configuration, start, Duration::from_millis(500), LONGEST);
        assert_eq!(gathering.due(), Some(start + QUIET));
    }
}
