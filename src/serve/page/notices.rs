//! What wants attention, the worst and the widest first.

use jiff::Timestamp;
use serde::Serialize;

use super::minute;
use super::table::Level;
use crate::report::text::{counted, relative};
use crate::report::{History, ServeStatus, Status};

/// A sentence that wants attention.
#[derive(Debug, Serialize)]
pub(super) struct Notice {
    level: Level,
    text: String,
}

/// Everything that wants attention.
pub(super) fn notices(
    status: Option<&Status>,
    history: Option<&History>,
    serve: &ServeStatus,
    now: Timestamp,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    let mut say = |level, text: String| notices.push(Notice { level, text });
    if let Some(status) = status {
        if let Some(pause) = &status.pause {
            say(
                Level::Bad,
                format!(
                    "Paused {} by {}: {}. Nothing is published until `tagwall resume`.",
                    relative(pause.since, now),
                    pause.by,
                    pause.reason
                ),
            );
        }
        if let Some(pin) = &status.pin {
            say(
                Level::Warn,
                format!(
                    "Pinned to generation {} {}: publications are not followed until `tagwall resume`.",
                    pin.generation,
                    relative(pin.since, now)
                ),
            );
        }
        if status.interrupted {
            say(
                Level::Warn,
                "A publication is under way, or was interrupted and is not mended yet.".to_owned(),
            );
        }
        if let Some(agent) = &status.agent {
            if let Some(failed) = &agent.failed {
                say(Level::Bad, format!("Failed: {failed}"));
            }
            if let Some(refused) = &agent.config_refused {
                say(
                    Level::Bad,
                    format!(
                        "The configuration was refused, the one before stays in use: {refused}"
                    ),
                );
            }
            if let Some(waiting) = &agent.waiting {
                say(Level::Warn, format!("Waiting: {waiting}"));
            }
        }
        if !status.holds.is_empty() {
            let critical = status.holds.iter().any(|hold| hold.critical);
            let level = if critical { Level::Bad } else { Level::Warn };
            let changes = counted(status.holds.len(), "change is", "changes are");
            say(level, format!("{changes} held until somebody decides: see below."));
        }
        for feed in &status.feeds {
            if let Some(error) = &feed.error {
                let times = counted(feed.failures as usize, "time", "times");
                say(Level::Warn, format!("Feed {} failed {times}: {error}.", feed.name));
            }
        }
        for surplus in &status.widened {
            say(Level::Warn, format!("The {surplus}."));
        }
        for target in status.targets.iter().filter(|target| target.behind.is_some()) {
            let name = &target.name;
            say(Level::Bad, format!("Target {name}: it keeps the files of an earlier generation."));
        }
        for target in status.targets.iter().filter(|target| target.drift.is_some()) {
            say(
                Level::Bad,
                format!("Target {}: what is there differs from what is in force.", target.name),
            );
        }
    }
    for unreadable in history.iter().flat_map(|history| &history.unreadable) {
        let number = unreadable.generation;
        say(Level::Warn, format!("Generation {number} cannot be read: {}.", unreadable.reason));
    }
    for fault in &serve.faults {
        say(Level::Bad, format!("Serving: {fault}"));
    }
    if let (Some(ends), true) = (serve.certificate_ends, serve.certificate_warning) {
        say(
            Level::Warn,
            format!("The server's certificate ends {} ({}).", relative(ends, now), minute(ends)),
        );
    }
    let behind = serve.clients.iter().filter(|client| !client.current).count();
    if behind > 0 {
        say(
            Level::Warn,
            format!("{} not the newest list.", counted(behind, "client has", "clients have")),
        );
    }
    notices
}
