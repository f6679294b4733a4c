//! What was already said: a pure schedule of escalations.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::event::{Event, News, State};
use crate::config::Period;
use crate::os::record::{self, Record, RecordError};

/// What each receiver was told of what lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    format: String,
    receivers: BTreeMap<String, Vec<Told>>,
}

/// Something that lasts, as one receiver knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    event: Event,
    since: Timestamp,
    /// How many escalations were told, or passed over while nobody could be told.
    escalations: usize,
}

impl Record for Said {
    const FORMAT: &'static str = "tagwall-notified/1";
    const MAX_BYTES: u64 = 4 << 20;

    fn format(&self) -> &str {
        &self.format
    }
}

impl Default for Said {
    fn default() -> Self {
        Self { format: Self::FORMAT.to_owned(), receivers: BTreeMap::new() }
    }
}

impl Said {
    /// The name of its file in the state folder.
    pub const FILE: &'static str = "notified.json";

    /// Reads what was said; nothing when there is no file.
    pub fn load(path: &Path) -> Result<Self, RecordError> {
        Ok(record::read(path)?.unwrap_or_default())
    }

    /// The bytes of its file.
    pub fn write(&self) -> Result<Vec<u8>, RecordError> {
        record::bytes(self)
    }

    /// What a receiver hears now, when this is all that lasts: what began, what lasts longer than another escalation, what
    /// ended. However many escalations passed meanwhile, it is told once.
    pub fn update<'e>(
        &mut self,
        receiver: &str,
        lasting: impl IntoIterator<Item = &'e Event>,
        again_after: &[Period],
        now: Timestamp,
    ) -> Vec<News> {
        let told = self.receivers.entry(receiver.to_owned()).or_default();
        let mut due = Vec::new();
        let mut present = BTreeSet::new();
        for event in lasting {
            if !present.insert((event.kind, event.subject.clone())) {
                continue;
            }
            let same = |known: &&mut Told| {
                known.event.kind == event.kind && known.event.subject == event.subject
            };
            let Some(known) = told.iter_mut().find(same) else {
                told.push(Told { event: event.clone(), since: event.at, escalations: 0 });
                due.push(News { state: State::Begun, event: event.clone(), since: event.at });
                continue;
            };
            let age = now.duration_since(known.since);
            let passed =
                again_after.iter().filter(|after| SignedDuration::from(**after) <= age).count();
            if passed > known.escalations {
                known.escalations = passed;
                known.event = event.clone();
                due.push(News { state: State::Lasting, event: event.clone(), since: known.since });
            }
        }
        told.retain(|known| {
            let lasts = present.contains(&(known.event.kind, known.event.subject.clone()));
            if !lasts {
                let event = Event { at: now, ..known.event.clone() };
                due.push(News { state: State::Ended, event, since: known.since });
            }
            lasts
        });
        due
    }

    /// What was told to last, each thing once.
    pub fn lasting(&self) -> impl Iterator<Item = &Event> {
        let all = self.receivers.values().flatten().map(|told| &told.event);
        let mut seen = BTreeSet::new();
        all.filter(move |event| seen.insert((event.kind, event.subject.as_str())))
    }

    /// When a receiver is to hear something again, if nothing changes.
    pub fn next(&self, receiver: &str, again_after: &[Period]) -> Option<Timestamp> {
        let told = self.receivers.get(receiver)?;
        let due = |known: &Told| {
            let after = again_after.get(known.escalations)?;
            known.since.checked_add(SignedDuration::from(*after)).ok()
        };
        told.iter().filter_map(due).min()
    }

    /// Forgets receivers that are gone from the configuration.
    pub fn forget_all_but<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) {
        let names: BTreeSet<&str> = names.into_iter().collect();
        self.receivers.retain(|name, _| names.contains(name.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EventKind, Notify};

    fn at(text: &str) -> Timestamp {
        format!("2025-09-{text}Z").parse().unwrap()
    }

    fn event(kind: EventKind, subject: &str, when: Timestamp) -> Event {
        Event {
            kind,
            subject: subject.to_owned(),
            summary: "x".to_owned(),
            at: when,
            critical: false,
        }
    }

    fn states(news: &[News]) -> Vec<State> {
        news.iter().map(|news| news.state).collect()
    }

    #[test]
    fn what_lasts_is_told_at_once_and_after_one_three_and_five_days() {
        let again = Notify::AGAIN_AFTER;
        let mut said = Said::default();
        let begun = at("01T12:00:00");
        let held = event(EventKind::Held, "hold 1", begun);
        let mut told = Vec::new();
        // Every hour for ten days, restarted each time.
        for hour in 0..240 {
            let now = begun + SignedDuration::from_hours(hour);
            let read: Said = serde_json::from_slice(&said.write().unwrap()).unwrap();
            assert_eq!(read, said);
            said = read;
            let news = said.update("mail", [&held], &again, now);
            if !news.is_empty() {
                told.push((hour, news[0].state));
            }
            assert_eq!(said.update("mail", [&held], &again, now), [], "told twice");
        }
        assert_eq!(
            told,
            [(0, State::Begun), (24, State::Lasting), (72, State::Lasting), (120, State::Lasting)]
        );
        assert_eq!(said.next("mail", &again), None);
        assert_eq!(states(&said.update("mail", [], &again, at("12T12:00:00"))), [State::Ended]);
        assert_eq!(said.update("mail", [], &again, at("12T12:00:00")), []);
    }

    #[test]
    fn after_a_long_silence_it_is_told_once() {
        let again = Notify::AGAIN_AFTER;
        let mut said = Said::default();
        let stale = event(EventKind::Stale, "cloud public", at("01T00:00:00"));
        said.update("a", [&stale], &again, at("01T00:00:00"));
        assert_eq!(said.next("a", &again), Some(at("02T00:00:00")));
        assert_eq!(
            states(&said.update("a", [&stale], &again, at("04T06:00:00"))),
            [State::Lasting]
        );
        assert_eq!(said.next("a", &again), Some(at("06T00:00:00")));
        // The clock was set back: nothing is told for that.
        assert_eq!(said.update("a", [&stale], &again, at("01T06:00:00")), []);
    }

    #[test]
    fn receivers_and_subjects_are_apart() {
        let mut said = Said::default();
        let now = at("01T00:00:00");
        let (one, two) = (event(EventKind::Held, "1", now), event(EventKind::Held, "2", now));
        assert_eq!(said.update("a", [&one, &two, &one], &[], now).len(), 2);
        assert_eq!(said.update("b", [&one], &[], now).len(), 1);
        let ended = said.update("a", [&two], &[], now);
        assert_eq!(ended[0].event.subject, "1");
        said.forget_all_but(["a"]);
        assert_eq!(said.update("b", [&one], &[], now).len(), 1);
    }
}
