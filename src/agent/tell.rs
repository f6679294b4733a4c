//! What the agent says: one log line a decision, and words for the status.

use std::error::Error;
use std::time::Duration;

use jiff::Timestamp;
use tracing::{info, warn};

use super::gather::Cause;
use super::jobs::{NotWorked, Worked};
use crate::config::{Closed, Name};
use crate::guard::Event;
use crate::operate::{Offered, Until, Waiting};
use crate::publish::{ChangeSummary, Published};
use crate::report::text::{counted, grouped};
use crate::report::{CapacityStatus, Status};
use crate::snapshot::Publication;

/// An error with its causes, each said once.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

/// A feed brought a document.
pub(super) fn fetched(feed: &Name, publication: &Publication, took: Duration) {
    info!(
        %feed,
        cloud = %publication.snapshot.cloud(),
        change_number = publication.snapshot.change_number(),
        date = publication.date.map(|date| date.to_string()),
        digest = %publication.digest().short(),
        source = %publication.source,
        ?took,
        "fetched"
    );
}

/// What a judgement brought.
pub(super) fn worked(worked: &Worked) {
    let took = worked.took;
    let causes: Vec<_> = worked.causes.iter().map(|cause: &Cause| cause.name()).collect();
    let because = causes.join(", ");
    for (publication, error) in &worked.older {
        info!(cloud = %publication.snapshot.cloud(), source = %publication.source, reason = %chain(error), "passed over");
    }
    for publication in &worked.judged {
        info!(
            cloud = %publication.snapshot.cloud(),
            change_number = publication.snapshot.change_number(),
            digest = %publication.digest().short(),
            "judged"
        );
    }
    match &worked.result {
        Ok(offered) => {
            for (target, warning) in &offered.warnings {
                warn!(%target, "{warning}");
            }
            for surplus in &offered.widened {
                warn!(group = %surplus.group, "{surplus}");
            }
            for event in &offered.events {
                match event {
                    Event::Held { .. } | Event::Refused { .. } => warn!("{event}"),
                    _ => info!("{event}"),
                }
            }
            for restored in &offered.restored {
                warn!("{restored}");
            }
            match (offered.published, &offered.waiting) {
                (_, Some(waiting)) => {
                    warn!(because, ?took, reason = %self::waiting(waiting), "waiting");
                }
                (Some(Published::Partly(generation)), None) => {
                    warn!(
                        because,
                        generation,
                        ?took,
                        "published, but for isolated targets that failed"
                    );
                }
                (Some(Published::Generation(generation)), None) => {
                    let change = Change::of(&offered.summary);
                    info!(
                        because,
                        generation,
                        groups = change.groups,
                        prefixes_added = change.added,
                        prefixes_removed = change.removed,
                        ?took,
                        "published"
                    );
                }
                (Some(Published::Unchanged(generation)), None) => {
                    info!(because, generation, ?took, "nothing to publish");
                }
                (None, None) => {}
            }
        }
        Err(NotWorked::Nothing(cloud)) => info!(because, %cloud, "no publication yet"),
        Err(error) => warn!(because, ?took, error = %chain(error), "failed to publish"),
    }
}

/// Which firewalls will be full too soon.
pub(super) fn scarce(capacity: &[CapacityStatus], now: Timestamp) {
    for one in capacity.iter().filter(|one| one.near) {
        let target = &one.target;
        warn!(%target, "CAPACITY: {}", one.summary(now));
    }
}

/// What answers of hostnames brought.
pub(super) fn followed(offered: &Offered, took: Duration) {
    if let Some(waiting) = &offered.waiting {
        warn!(?took, reason = %self::waiting(waiting), "answers of hostnames wait");
    }
    if let Some(Published::Generation(generation) | Published::Partly(generation)) =
        offered.published
    {
        let Change { groups, added, removed } = Change::of(&offered.summary);
        info!(
            generation,
            groups,
            prefixes_added = added,
            prefixes_removed = removed,
            ?took,
            "followed answers of hostnames"
        );
    }
}

/// A change in three numbers.
struct Change {
    groups: usize,
    added: usize,
    removed: usize,
}

impl Change {
    fn of(summary: &ChangeSummary) -> Self {
        Self {
            groups: summary.groups.len(),
            added: summary.groups.values().map(|group| group.prefixes_added).sum(),
            removed: summary.groups.values().map(|group| group.prefixes_removed).sum(),
        }
    }
}

/// A change in words.
pub(super) fn change(summary: &ChangeSummary) -> String {
    let change = Change::of(summary);
    format!(
        "{} change (+{} −{} prefixes)",
        counted(change.groups, "group", "groups"),
        grouped(change.added),
        grouped(change.removed)
    )
}

/// A change that waits, in words.
pub(super) fn waiting(waiting: &Waiting) -> String {
    let what = change(&waiting.summary);
    let until = match &waiting.until {
        Until::Resumed => "waits for `tagwall resume`".to_owned(),
        Until::Open(Closed::Freeze { name, .. }) => format!("waits for the end of freeze {name}"),
        Until::Open(Closed::OutsideWindows) => "waits for a window".to_owned(),
    };
    format!("{what}: {until}")
}

/// Where the agent stands, in one line that a person understands.
pub(super) fn summary(status: &Status, failed: Option<&str>, waiting: Option<&str>) -> String {
    let mut words = match status.generation {
        Some(number) => format!("generation {number} is in force"),
        None => "nothing is in force".to_owned(),
    };
    for publication in &status.publications {
        let date = publication.date.as_deref().map_or_else(
            || format!("change number {}", publication.change_number),
            |date| format!("of {date}"),
        );
        words.push_str(&format!(", {} {date}", publication.cloud));
    }
    if let Some(pause) = &status.pause {
        words.push_str(&format!("; PAUSED ({})", pause.reason));
    }
    if status.pin.is_some() {
        words.push_str("; pinned");
    }
    if let Some(waiting) = waiting {
        words.push_str(&format!("; {waiting}"));
    }
    if let Some(failed) = failed {
        words.push_str(&format!("; {failed}"));
    }
    // systemd shows one line.
    words.replace('\n', " ")
}
