//! What waits for a person, and the persons who are told.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::text::{REMOVED, WARNING, counted, grouped, relative};
use crate::config::Name;
use crate::guard::Hold;
use crate::snapshot::Cloud;

/// A change that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldStatus {
    /// Its name, for `review`, `approve` and `reject`.
    pub id: String,
    /// The cloud.
    pub cloud: Cloud,
    /// `addition` or `removal`.
    pub kind: String,
    /// The groups concerned.
    pub groups: Vec<Name>,
    /// How many addresses, in decimal digits (they can be more than a JSON number holds): IPv4, or IPv6 where there are no others.
    pub addresses: String,
    /// Why.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// When it is released by itself if it is published still; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// Whether only a person may decide.
    pub critical: bool,
}

impl From<&Hold> for HoldStatus {
    fn from(hold: &Hold) -> Self {
        Self {
            id: hold.id.to_string(),
            cloud: hold.cloud,
            kind: hold.kind.name().to_owned(),
            groups: hold.groups.iter().map(|group| group.name.clone()).collect(),
            addresses: hold.addresses().to_string(),
            why: hold.why(),
            since: hold.since,
            due: hold.due,
            critical: hold.critical,
        }
    }
}

impl HoldStatus {
    /// What is held and why, in one line.
    pub fn summary(&self) -> String {
        let groups: Vec<_> = self.groups.iter().map(Name::as_str).collect();
        let due = match (self.critical, self.due) {
            (false, Some(due)) => format!(" (it is released by itself at {due})"),
            _ => String::new(),
        };
        format!(
            "{} of {} of {} in cloud {}: {}{due}",
            self.kind,
            match self.addresses.as_str() {
                "1" => "1 address".to_owned(),
                count => format!("{} addresses", grouped(count)),
            },
            groups.join(", "),
            self.cloud,
            self.why
        )
    }

    pub(super) fn text(&self, now: Timestamp) -> String {
        format!(
            "{WARNING}held{WARNING:#} {} since {}: {}\n",
            self.id,
            relative(self.since, now),
            self.summary()
        )
    }
}

/// Somebody who is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverStatus {
    /// Its name.
    pub name: Name,
    /// `webhook`, `mail`, `command` or `syslog`.
    pub way: String,
    /// When it was told last in this life of the agent.
    pub told: Option<Timestamp>,
    /// Why the last message did not get there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How many messages were given up.
    #[serde(default)]
    pub given_up: u64,
}

impl ReceiverStatus {
    pub(super) fn text(&self, now: Timestamp) -> String {
        let told = match self.told {
            Some(told) => format!("told {}", relative(told, now)),
            None => "nothing told yet".to_owned(),
        };
        let mut text = format!("receiver {} ({}): {told}\n", self.name, self.way);
        if let Some(error) = &self.error {
            text.push_str(&format!("  {REMOVED}not told{REMOVED:#}: {error}\n"));
        }
        if self.given_up > 0 {
            let count = usize::try_from(self.given_up).unwrap_or(usize::MAX);
            let lost = counted(count, "message was given up", "messages were given up");
            text.push_str(&format!("  {WARNING}note{WARNING:#}: {lost}\n"));
        }
        text
    }
}
