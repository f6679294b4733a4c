//! Requests and answers, as values.

use serde::{Deserialize, Serialize};

use crate::config::Name;
use crate::guard::{Decision, HoldId, Verdict};
use crate::operate::{Kind, Offered};
use crate::publish::{Became, Published, Restored, TargetSets};
use crate::report::{History, HoldStatus, Review, Status};
use crate::snapshot::Cloud;

/// Name and version of the protocol.
pub(super) const FORMAT: &str = "tagwall-control/1";

/// What is asked of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    tag = "command",
    deny_unknown_fields
)]
pub enum Request {
    /// What is in force, and what the agent is at.
    Status {
        /// Whether the kernel is read for it.
        #[serde(default)]
        verify: bool,
    },
    /// The newest generations.
    History {
        /// How many at most.
        limit: usize,
    },
    /// Look at the feeds now.
    Fetch {
        /// Only at this one.
        feed: Option<Name>,
    },
    /// Take the configuration and templates anew.
    Reload,
    /// Publish what is known, with documents given by hand.
    Render {
        /// Digest of the configuration that the asker has read: it must be the one that the agent uses.
        configuration: String,
        /// Documents; their bytes follow the line, one after the other.
        documents: Vec<Document>,
        /// Why older publications are taken as a new beginning.
        rebaseline: Option<String>,
        /// Whether targets may replace what is not tagwall's.
        #[serde(default)]
        take_over: bool,
        /// Whether the first load of a target may stay although no packet gets to its rules.
        #[serde(default)]
        allow_unreached: bool,
    },
    /// Bring an earlier generation back, and keep it.
    Rollback {
        /// Which; none: the last whose rules differ.
        generation: Option<u64>,
    },
    /// Bring back what is not as it was published.
    Restore {
        /// Foreign changes are overwritten also where `on-drift` is `hold`.
        overwrite: bool,
        /// Absent ipset sets are created, and nothing else.
        #[serde(default)]
        sets_only: bool,
    },
    /// Pause, and bring back what targets took over.
    RestoreBeforeTakeOver {
        /// Which target; none: all.
        #[serde(default)]
        target: Option<Name>,
    },
    /// Stop everything.
    Pause {
        /// Why.
        reason: String,
    },
    /// End a pause and the pin of a rollback.
    Resume,
    /// What is held, with all of its prefixes.
    Review,
    /// Decide about what is held.
    Decide {
        /// Which hold.
        hold: HoldId,
        /// How.
        verdict: Verdict,
        /// The ticket.
        #[serde(default)]
        ticket: Option<String>,
        /// Why.
        #[serde(default)]
        reason: Option<String>,
        /// Whether it does not wait for the calendar.
        #[serde(default)]
        now: bool,
    },
    /// Forget what is known and believed of a cloud: the next publication is judged as the first one.
    Rebaseline {
        /// Which; none: all.
        #[serde(default)]
        cloud: Option<Cloud>,
        /// Why.
        reason: String,
    },
    /// Take over the belief of another host.
    Adopt {
        /// The belief; its bytes follow the line.
        belief: Document,
    },
}

/// A document that follows a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Its name; the date in it orders publications.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
}

impl Request {
    /// Whether it changes nothing: then whoever may read may ask.
    pub fn only_reads(&self) -> bool {
        matches!(self, Self::Status { .. } | Self::History { .. } | Self::Review)
    }

    /// The documents that follow the line.
    pub(super) fn documents(&self) -> &[Document] {
        match self {
            Self::Render { documents, .. } => documents,
            Self::Adopt { belief } => std::slice::from_ref(belief),
            _ => &[],
        }
    }

    /// How many bytes follow the line.
    pub(super) fn following(&self) -> u64 {
        self.documents().iter().fold(0, |sum, document| sum.saturating_add(document.bytes))
    }
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To `status`.
    Status(Box<Status>),
    /// To `history`.
    History(History),
    /// To `review`.
    Review(Review),
    /// To `decide`.
    Decided(Box<Decision>),
    /// To whatever changes something.
    Done(Operation),
    /// To `restore`.
    Restored(Restoration),
    /// To all that only says something.
    Said(Said),
    /// To whatever was not done.
    Failed(Failure),
}

/// What an operation did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// `published`, `unchanged`, `rolled-back`.
    pub result: String,
    /// The generation in force.
    pub generation: Option<u64>,
    /// Whether it is kept until `resume`.
    pub pinned: bool,
    /// What a person should know of it.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What is held and waits for somebody to decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<HoldStatus>,
}

/// The result of an operation that brought a new generation in force.
pub const PUBLISHED: &str = "published";
/// The same, but isolated targets failed and have their files before.
pub const PUBLISHED_PARTLY: &str = "published-partly";

impl Operation {
    /// What became of publications that a person offered.
    pub fn of(offered: &Offered) -> Self {
        let (result, generation) = match offered.published {
            Some(Published::Generation(number)) => (PUBLISHED, Some(number)),
            Some(Published::Partly(number)) => (PUBLISHED_PARTLY, Some(number)),
            Some(Published::Unchanged(number)) => ("unchanged", number),
            None => ("unchanged", None),
        };
        let warned =
            offered.warnings.iter().map(|(target, warning)| format!("target {target}: {warning}"));
        let widened = offered.widened.iter().map(ToString::to_string);
        let restored = offered.restored.iter().map(ToString::to_string);
        Self {
            result: result.to_owned(),
            generation,
            pinned: false,
            warnings: warned.chain(widened).chain(restored).collect(),
            holds: offered.holds.iter().map(HoldStatus::from).collect(),
        }
    }

    /// An earlier generation was brought back.
    pub fn rolled_back(generation: u64) -> Self {
        Self {
            result: "rolled-back".to_owned(),
            generation: Some(generation),
            pinned: true,
            warnings: Vec::new(),
            holds: Vec::new(),
        }
    }
}

/// What was done about targets that were not as they had been published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restoration {
    /// What was done about each, as the command line prints it.
    pub targets: Vec<String>,
    /// Whether one was left alone, for `on-drift` is `hold`.
    pub held: bool,
    /// Why one could not be brought back: the first.
    pub failed: Option<Failure>,
}

impl Restoration {
    /// Says it of what the publisher did.
    pub fn of(restored: &[Restored]) -> Self {
        let failed = restored.iter().find_map(|restored| match &restored.became {
            Became::Failed(error) => {
                Some(Failure { kind: Kind::of(error), message: error.to_string() })
            }
            Became::Restored | Became::Healed | Became::Held | Became::Postponed => None,
        });
        Self {
            targets: restored.iter().map(ToString::to_string).collect(),
            held: restored
                .iter()
                .any(|restored| matches!(restored.became, Became::Held | Became::Postponed)),
            failed,
        }
    }
}

impl From<&[TargetSets]> for Restoration {
    fn from(all: &[TargetSets]) -> Self {
        let failed = all.iter().find_map(TargetSets::error);
        Self {
            targets: all.iter().map(ToString::to_string).collect(),
            held: all.iter().any(TargetSets::has_conflict),
            failed: failed
                .map(|error| Failure { kind: Kind::Firewall, message: error.to_string() }),
        }
    }
}

/// Words for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The words, whole lines.
    pub text: String,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its kind, which decides the exit code.
    pub kind: Kind,
    /// The error, as the command line prints it.
    pub message: String,
}

/// A message on the wire: the format, and what it carries.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Envelope<T> {
    pub(super) format: String,
    #[serde(flatten)]
    pub(super) content: T,
}

impl<T> Envelope<T> {
    pub(super) fn new(content: T) -> Self {
        Self { format: FORMAT.to_owned(), content }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_they_are_written() {
        for request in [
            Request::Status { verify: true },
            Request::History { limit: 20 },
            Request::Fetch { feed: Some("microsoft".parse().unwrap()) },
            Request::Reload,
            Request::Render {
                configuration: "ab".to_owned(),
                documents: vec![Document { name: "a.json".to_owned(), bytes: 7 }],
                rebaseline: None,
                take_over: true,
                allow_unreached: false,
            },
            Request::RestoreBeforeTakeOver { target: None },
            Request::Rollback { generation: Some(3) },
            Request::Pause { reason: "ticket 4711".to_owned() },
            Request::Resume,
            Request::Restore { overwrite: false, sets_only: true },
        ] {
            let line = serde_json::to_string(&Envelope::new(&request)).unwrap();
            assert!(line.starts_with(r#"{"format":"tagwall-control/1","command":""#), "{line}");
            let read: Envelope<serde_json::Value> = serde_json::from_str(&line).unwrap();
            assert_eq!(serde_json::from_value::<Request>(read.content).unwrap(), request);
        }
    }

    #[test]
    fn only_status_and_history_are_for_readers() {
        assert!(Request::Status { verify: false }.only_reads());
        assert!(Request::History { limit: 1 }.only_reads());
        assert!(!Request::Reload.only_reads() && !Request::Resume.only_reads());
        let documents = vec![
            Document { name: String::new(), bytes: u64::MAX },
            Document { name: String::new(), bytes: 2 },
        ];
        let (configuration, rebaseline) = (String::new(), None);
        let (take_over, allow_unreached) = (false, false);
        let render =
            Request::Render { configuration, documents, rebaseline, take_over, allow_unreached };
        assert_eq!(render.following(), u64::MAX, "a sum that would overflow stays too large");
    }
}
