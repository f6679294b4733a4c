//! The newest generations, and what each changed.

use jiff::Timestamp;
use serde::Serialize;

use super::minute;
use crate::config::Name;
use crate::publish::ChangeSummary;
use crate::report::text::{counted, grouped, relative};
use crate::report::{Entry, EntryResult, History};

/// Generations that are shown.
const SHOWN: usize = 20;

/// A generation.
#[derive(Debug, Serialize)]
pub(super) struct Generation {
    number: String,
    current: bool,
    failure: bool,
    result: &'static str,
    created: String,
    ago: String,
    reason: String,
    message: Option<String>,
    summary: String,
    changes: Vec<Change>,
}

#[derive(Debug, Serialize)]
struct Change {
    what: String,
    more: String,
    less: String,
}

/// The newest generations, the newest first.
pub(super) fn generations(history: &History, now: Timestamp) -> Vec<Generation> {
    let of = |entry: &Entry| {
        let changes = changes(&entry.summary);
        Generation {
            number: entry.generation.to_string(),
            current: history.current == Some(entry.generation),
            failure: entry.result != EntryResult::Recorded,
            result: entry.result.name(),
            created: minute(entry.created),
            ago: relative(entry.created, now),
            reason: entry.reason.clone(),
            message: entry.message.clone(),
            summary: counted(changes.len(), "change", "changes"),
            changes,
        }
    };
    history.generations.iter().take(SHOWN).map(of).collect()
}

/// What changed, a line each.
fn changes(summary: &ChangeSummary) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, group) in &summary.groups {
        let side = |sign: &str, prefixes: usize, addresses: u64| {
            if prefixes == 0 && addresses == 0 {
                return String::new();
            }
            format!(
                "{sign}{} prefixes, {sign}{} IPv4 addresses",
                grouped(prefixes),
                grouped(addresses)
            )
        };
        changes.push(Change {
            what: format!("{name}:"),
            more: side("+", group.prefixes_added, group.v4_addresses_added),
            less: side("−", group.prefixes_removed, group.v4_addresses_removed),
        });
    }
    let names = |names: &[Name]| names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
    for (what, rules, comes) in [
        ("new rules:", &summary.rules_added, true),
        ("rules gone:", &summary.rules_removed, false),
        ("rules changed:", &summary.rules_changed, true),
    ] {
        if rules.is_empty() {
            continue;
        }
        let (more, less) =
            if comes { (names(rules), String::new()) } else { (String::new(), names(rules)) };
        changes.push(Change { what: what.to_owned(), more, less });
    }
    changes
}
