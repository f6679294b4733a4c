//! What is told, and the message it is told in.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::EventKind;
use crate::os::printable::printable;

/// The format of [`Message`].
const FORMAT: &str = "tagwall-notification/1";
/// Longest summary, in characters: a cause can be as long as a server likes.
const SUMMARY_CHARACTERS: usize = 500;

/// Something worth telling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What kind of thing.
    pub kind: EventKind,
    /// What it is about, the same as long as it lasts: `feed microsoft`, `hold 3f2a`.
    pub subject: String,
    /// What happened and what to do, in one line.
    pub summary: String,
    /// When.
    pub at: Timestamp,
    /// Whether it is an alarm: nothing but a person's decision ends it, and it may be an attack.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub critical: bool,
}

/// How an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It happened.
    Happened,
    /// It began, and lasts.
    Begun,
    /// It lasts still.
    Lasting,
    /// It is over.
    Ended,
}

/// An event with how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct News {
    /// How it stands.
    pub state: State,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
    /// Since when.
    pub since: Timestamp,
}

/// What one receiver is told at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    format: &'static str,
    /// Different for each message, and the same when it is tried again.
    pub id: String,
    /// The host that tells.
    pub host: String,
    /// When it was put together.
    pub at: Timestamp,
    /// The news, the oldest first.
    pub events: Vec<News>,
}

/// How much an event matters, as syslog counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    Critical = 2,
    Error = 3,
    Warning = 4,
    Notice = 5,
}

impl Event {
    /// An event now.
    pub fn new(kind: EventKind, subject: impl Into<String>, summary: &str) -> Self {
        let summary = printable(summary, SUMMARY_CHARACTERS);
        Self { kind, subject: subject.into(), summary, at: Timestamp::now(), critical: false }
    }

    /// The same as an alarm.
    #[must_use]
    pub fn critical(self) -> Self {
        Self { critical: true, ..self }
    }
}

impl News {
    pub(super) fn severity(&self) -> Severity {
        match (self.state, self.event.kind) {
            (State::Ended, _) => Severity::Notice,
            _ if self.event.critical => Severity::Critical,
            (_, EventKind::Published | EventKind::Released) => Severity::Notice,
            (_, EventKind::Failed) => Severity::Error,
            _ => Severity::Warning,
        }
    }

    /// One line for people.
    pub(super) fn line(&self) -> String {
        let Self { state, event: Event { kind, subject, summary, critical, .. }, since } = self;
        let kind = kind.name();
        let alarm = if *critical { "CRITICAL: " } else { "" };
        match state {
            State::Happened | State::Begun => format!("{alarm}{kind}: {subject}: {summary}"),
            State::Lasting => {
                format!("{alarm}still {kind} since {since:.0}: {subject}: {summary}")
            }
            State::Ended => format!("no longer {kind} (since {since:.0}): {subject}"),
        }
    }
}

impl Message {
    pub(super) fn new(events: Vec<News>) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let id = format!("{:032x}", fastrand::u128(..));
        Self { format: FORMAT, id, host: printable(&host, 253), at: Timestamp::now(), events }
    }

    /// One line that says the most.
    pub(super) fn subject(&self) -> String {
        let gravest = self.events.iter().min_by_key(|news| news.severity());
        let line = gravest.map(News::line).unwrap_or_default();
        let more = match self.events.len() {
            0 | 1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        format!("tagwall {}: {}{more}", self.host, printable(&line, 120))
    }

    pub(super) fn json(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec(self).unwrap_or_default(); // strings and times: it cannot fail
        text.push(b'\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_graver_than_a_failure_until_it_is_over() {
        let news = |state, event: Event| News { state, since: event.at, event };
        let held = || Event::new(EventKind::Held, "hold 3f2a", "65,536 addresses");
        let alarm = news(State::Begun, held().critical());
        assert!(alarm.line().starts_with("CRITICAL: held: hold 3f2a"), "{}", alarm.line());
        assert_eq!(alarm.severity() as u32, 2);
        assert_eq!(news(State::Begun, held()).severity(), Severity::Warning);
        assert_eq!(news(State::Ended, held().critical()).severity(), Severity::Notice);
        let failed = news(State::Begun, Event::new(EventKind::Failed, "kernel", "x"));
        let message = Message::new(vec![failed, alarm]);
        assert!(message.subject().contains("CRITICAL"), "{}", message.subject());
        let json = String::from_utf8(message.json()).unwrap();
        assert_eq!(json.matches("\"critical\":true").count(), 1, "{json}");
    }
}
