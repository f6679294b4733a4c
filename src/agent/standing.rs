//! Where the agent stands: its status, and telling systemd and people of it.

use tokio::time::Instant;
use tracing::info;

use super::engine::{Engine, LONGEST_JOB};
use super::{clock, tell};
use crate::report::{AgentStatus, Status};

impl Engine {
    /// Whether something is still to be judged, or to be served.
    pub(super) fn is_at_work(&self) -> bool {
        self.working || !self.gathering.is_empty() || self.serving.is_behind()
    }

    /// The whole status.
    pub(super) fn status(&self, base: Status) -> Status {
        let now = clock::now();
        let gate = self.config.agent.calendar.gate(now);
        let status = Status {
            at: now,
            agent: Some(AgentStatus {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                since: self.since,
                config: self.options.config.display().to_string(),
                config_loaded: self.config_loaded,
                config_refused: self.config_refused.clone(),
                mode: self.config.agent.mode,
                closed_until: gate.closed.is_some().then_some(gate.until).flatten(),
                closed: gate.closed,
                waiting: self.waiting.clone(),
                failed: self.failed.clone(),
                failed_step: self.failed_step.clone(),
                next: self.due().map(clock::at),
            }),
            feeds: self.feeds.values().map(|tended| tended.status.clone()).collect(),
            names: self.naming.status(),
            serve: self.serving.status(),
            ..base
        };
        self.notifying.complete(&self.config, status)
    }

    /// The status of the state folder after the last job.
    pub(super) fn standing(&self) -> Status {
        self.standing.clone()
    }

    /// Tells systemd when the agent is ready, and in words what it is at.
    pub(super) fn tell_supervisor(&mut self) {
        let words = tell::summary(&self.standing, self.failed.as_deref(), self.waiting.as_deref());
        if !self.ready && self.knows_where_it_stands() {
            self.ready = true;
            info!(status = %words, "ready");
            self.supervisor.ready(&words);
            self.said = words;
        } else if self.said != words {
            self.supervisor.status(&words);
            self.said = words;
        }
    }

    /// Tells people what is wrong, once that is known.
    pub(super) fn tell_people(&mut self) {
        if self.knows_where_it_stands() {
            let status = self.status(self.standing());
            self.notifying.say(&self.config, &status);
        } else {
            self.notifying.wait();
        }
    }

    /// Whether the rules are in force, or it is known why they are not.
    pub(super) fn knows_where_it_stands(&self) -> bool {
        let looked = self.feeds.values().all(|tended| tended.status.looked.is_some());
        !self.is_at_work() && (self.standing.generation.is_some() || looked)
    }

    pub(super) fn give_sign_of_life(&self) {
        if makes_progress(self.busy_since) {
            self.supervisor.alive();
        }
    }
}

/// Whether the job that is under way, if there is one, may still come to an end by itself.
fn makes_progress(busy_since: Option<Instant>) -> bool {
    busy_since.is_none_or(|since| since.elapsed() < LONGEST_JOB)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_job_that_got_stuck_ends_the_signs_of_life() {
        assert!(makes_progress(None), "nothing is to be done");
        let began = Some(Instant::now());
        let moment = Duration::from_millis(1);
        tokio::time::advance(LONGEST_JOB.saturating_sub(moment)).await;
        assert!(makes_progress(began));
        tokio::time::advance(moment).await;
        assert!(!makes_progress(began));
        assert!(makes_progress(Some(Instant::now())), "the next job has begun");
    }
}
