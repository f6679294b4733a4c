//! The conversation with systemd: ready, status, reloading, watchdog, stopping. Without systemd it is silent.

use std::time::Duration;

use sd_notify::NotifyState;

/// The supervisor, when there is one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Supervisor {
    /// Whether there is one that listens.
    present: bool,
    /// How often it wants a sign of life; none: it does not.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// Finds out what it wants.
    pub(super) fn new() -> Self {
        Self {
            present: std::env::var_os("NOTIFY_SOCKET").is_some(),
            watchdog: sd_notify::watchdog_enabled(),
        }
    }

    /// How often a sign of life is given: twice in the time that is allowed.
    pub(super) fn beat(self) -> Option<Duration> {
        self.watchdog.map(|limit| (limit / 2).max(Duration::from_millis(50)))
    }

    /// The rules are in force, or it is known why they are not.
    pub(super) fn ready(self, status: &str) {
        self.send(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// What is being done, in words.
    pub(super) fn status(self, status: &str) {
        self.send(&[NotifyState::Status(status)]);
    }

    /// A new configuration is being taken; [`Supervisor::ready`] ends it.
    pub(super) fn reloading(self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[NotifyState::Reloading, now]),
            Err(_) => self.send(&[NotifyState::Reloading]),
        }
    }

    /// The loop makes progress.
    pub(super) fn alive(self) {
        self.send(&[NotifyState::Watchdog]);
    }

    /// It takes longer than usual to start or to stop; so much longer.
    pub(super) fn extend(self, by: Duration) {
        let microseconds = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
        self.send(&[NotifyState::ExtendTimeoutUsec(microseconds)]);
    }

    /// The end has begun.
    pub(super) fn stopping(self, status: &str) {
        self.send(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }

    fn send(self, state: &[NotifyState<'_>]) {
        if self.present
            && let Err(error) = sd_notify::notify(state)
        {
            tracing::debug!(%error, "systemd was not told");
        }
    }
}
