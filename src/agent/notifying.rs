//! Telling people: what the loop sees becomes events, and what lasts is said whenever it changes.
//!
//! What is wrong is found out by [`wrong::all`] from plain values; here is when it is asked, and what happened in between.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tracing::warn;

use super::{clock, tell, wrong};
use crate::config::{Config, EventKind, Name};
use crate::feed::{self, DISCOVERY_ONLY, Ending, FeedError};
use crate::guard::{Decision, Verdict};
use crate::notify::{Event, Notifier};
use crate::operate::Operator;
use crate::publish::Restored;
use crate::report::{FeedStatus, HoldStatus, Status};
use crate::snapshot::Cloud;

/// Time alone makes something wrong: a publication grows old, a certificate nears its end.
const EVERY: Duration = Duration::from_secs(3600);
/// Looks that fail one after another until a document that is refused is no passing trouble.
const REFUSED_LOOKS: u32 = 3;
/// How long a stop waits for messages that are under way.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What only the worker can find out, as it was after a job.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The generation in force, and in words how it came to be; none: it only follows answers of hostnames.
    pub(super) generation: Option<(u64, Option<String>)>,
    /// What is held.
    pub(super) holds: Vec<HoldStatus>,
    /// What was decided, and still counts.
    decisions: Vec<Decided>,
    /// The time of the newest publication of each cloud: its date, else when it came.
    pub(super) newest: BTreeMap<Cloud, Timestamp>,
    /// When a feed last said that what it brought is the newest.
    pub(super) confirmed: BTreeMap<String, Timestamp>,
    /// The credentials that end, by feed.
    pub(super) endings: BTreeMap<Name, Result<Vec<Ending>, String>>,
}

/// A person's decision about a hold.
#[derive(Debug)]
struct Decided {
    hold: String,
    words: String,
}

impl Facts {
    /// Looks at the state folder and at certificates.
    pub(super) fn of(operator: &Operator, config: &Config) -> Self {
        let belief = operator.belief();
        let mut facts = Self {
            generation: generation(operator),
            holds: belief.holds().iter().map(HoldStatus::from).collect(),
            decisions: belief.decisions().iter().map(Decided::from).collect(),
            ..Self::default()
        };
        for (cloud, known) in &operator.memory().publications {
            facts.note(*cloud, known.date, known.taken);
        }
        for cloud in config.clouds() {
            // An archive that cannot be read is told where it is used.
            let Ok(Some(entry)) = operator.archive().entry(cloud) else { continue };
            facts.note(cloud, entry.date, entry.taken);
            if let Some(feed) = entry.feed {
                facts.confirmed.insert(feed, entry.confirmed);
            }
        }
        for (name, feed) in &config.feeds {
            let endings =
                feed::endings(feed.get_ref(), config).map_err(|error| tell::chain(&error));
            facts.endings.insert(name.clone(), endings);
        }
        facts
    }

    fn note(&mut self, cloud: Cloud, date: Option<Date>, taken: Timestamp) {
        let at = dated(date).unwrap_or(taken);
        let newest = self.newest.entry(cloud).or_insert(at);
        *newest = at.max(*newest);
    }
}

/// The beginning of a day.
pub(super) fn dated(date: Option<Date>) -> Option<Timestamp> {
    let day = date?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(day.timestamp())
}

fn generation(operator: &Operator) -> Option<(u64, Option<String>)> {
    let store = operator.publisher().store();
    let number = store.current().ok().flatten()?;
    let manifest = store.read(number).ok()?.manifest;
    let words = format!("{}: {}", manifest.reason, tell::change(&manifest.summary));
    Some((number, (!manifest.small).then_some(words)))
}

impl From<&Decision> for Decided {
    fn from(decision: &Decision) -> Self {
        let mut words = match decision.verdict {
            Verdict::Approve => format!("approved by {}", decision.who),
            Verdict::Reject => format!("rejected by {}", decision.who),
        };
        for said in [&decision.ticket, &decision.reason].into_iter().flatten() {
            words.push_str(&format!(", {said}"));
        }
        Self { hold: decision.hold.to_string(), words }
    }
}

/// What the loop keeps for it.
#[derive(Debug)]
pub(super) struct Notifying {
    notifier: Notifier,
    since: Timestamp,
    facts: Facts,
    /// What the last comparison of kernel and files found, by target.
    drifted: Vec<(String, String)>,
    /// Targets whose rules something keeps removing.
    contested: BTreeSet<Name>,
    /// Feeds that go on failing until somebody changes something.
    hopeless: BTreeSet<Name>,
    /// What was said last to be wrong.
    said: Option<Vec<Event>>,
    /// When it is asked again although nothing happens; none: at the next turn of the loop.
    due: Option<Instant>,
    /// How often somebody was reminded of the pause or pin in force.
    reminded: (Option<Timestamp>, i128),
}

/// What the loop knows when it asks what is wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'v> {
    pub(super) config: &'v Config,
    pub(super) status: &'v Status,
    pub(super) facts: &'v Facts,
    pub(super) drifted: &'v [(String, String)],
    pub(super) contested: &'v BTreeSet<Name>,
    pub(super) hopeless: &'v BTreeSet<Name>,
    /// What an earlier life said to last.
    pub(super) known: &'v [Event],
    /// Since when the agent runs.
    pub(super) since: Timestamp,
    pub(super) now: Timestamp,
}

impl Notifying {
    /// Starts telling; needs the runtime.
    pub(super) fn start(config: &Config, state_dir: &Path, facts: Facts) -> Self {
        warn_of_discovery(config);
        Self {
            notifier: Notifier::start(config, state_dir),
            since: clock::now(),
            facts,
            drifted: Vec::new(),
            contested: BTreeSet::new(),
            hopeless: BTreeSet::new(),
            said: None,
            due: None,
            reminded: (None, 0),
        }
    }

    /// Tells the receivers of another configuration from now on.
    pub(super) fn reload(&mut self, config: &Config) {
        warn_of_discovery(config);
        self.notifier.reload(config);
        self.hopeless.retain(|name| config.feeds.contains_key(name));
    }

    /// What is under way gets a little time.
    pub(super) async fn finish(self, most: Duration) {
        self.notifier.finish(most.min(LAST_WORDS)).await;
    }

    /// When time alone may have made something wrong.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// It is not known yet what is wrong: nothing is said until it is.
    pub(super) fn wait(&mut self) {
        self.due = None;
    }

    /// Adds to the status what is known here: what is held, who is told, and what there is to say of feeds.
    pub(super) fn complete(&self, config: &Config, status: Status) -> Status {
        let view = self.view(config, &status);
        let feeds = status.feeds.iter().map(|feed| {
            let notes = wrong::notes(&view, feed);
            FeedStatus { notes, ..feed.clone() }
        });
        Status {
            feeds: feeds.collect(),
            holds: self.facts.holds.clone(),
            receivers: self.notifier.receivers(),
            ..status
        }
    }

    fn view<'v>(&'v self, config: &'v Config, status: &'v Status) -> View<'v> {
        View {
            config,
            status,
            facts: &self.facts,
            drifted: &self.drifted,
            contested: &self.contested,
            hopeless: &self.hopeless,
            known: self.notifier.known(),
            since: self.since,
            now: status.at,
        }
    }

    /// Takes note of the state after a job, and tells what happened in between.
    pub(super) fn learn(&mut self, facts: Facts) {
        for event in happened(&self.facts, &facts, clock::now()) {
            self.notifier.tell(event);
        }
        self.facts = facts;
    }

    /// A feed has looked: well, or not.
    pub(super) fn looked(&mut self, feed: &Name, error: Option<&FeedError>, failures: u32) {
        let refused = |error: &FeedError| {
            matches!(error, FeedError::Refused { .. } | FeedError::Pages { .. })
                && failures >= REFUSED_LOOKS
        };
        if error.is_some_and(|error| !error.is_transient() || refused(error)) {
            self.hopeless.insert(feed.clone());
        } else {
            self.hopeless.remove(feed);
        }
    }

    /// Kernel and installed files were compared.
    pub(super) fn compared<E: std::error::Error>(
        &mut self,
        checked: &Result<Vec<Restored>, E>,
        contested: &BTreeSet<Name>,
    ) {
        self.contested.clone_from(contested);
        self.drifted = match checked {
            Ok(restored) => restored
                .iter()
                .map(|restored| (format!("target {}", restored.target), restored.to_string()))
                .collect(),
            Err(error) => {
                let text = format!("the kernel cannot be compared: {}", tell::chain(error));
                vec![("kernel".to_owned(), text)]
            }
        };
    }

    /// Says all that is wrong when that has changed; reminds of a pause or pin.
    pub(super) fn say(&mut self, config: &Config, status: &Status) {
        self.due = Some(Instant::now() + EVERY);
        self.remind(config, status);
        let wrong = wrong::all(&self.view(config, status));
        let same = |said: &Vec<Event>| {
            said.len() == wrong.len()
                && said.iter().zip(&wrong).all(|(one, other)| {
                    (one.kind, &one.subject, &one.summary)
                        == (other.kind, &other.subject, &other.summary)
                })
        };
        if !self.said.as_ref().is_some_and(same) {
            self.notifier.lasting(wrong.clone());
            self.said = Some(wrong);
        }
    }

    /// A line in the log each time that a pause or pin has lasted for `remind-after` once more.
    fn remind(&mut self, config: &Config, status: &Status) {
        let paused = status.pause.as_ref().map(|pause| (pause.since, "paused"));
        let pinned = status.pin.as_ref().map(|pin| (pin.since, "pinned"));
        let Some((since, what)) = paused.or(pinned) else {
            self.reminded = (None, 0);
            return;
        };
        if self.reminded.0 != Some(since) {
            self.reminded = (Some(since), 0);
        }
        let every = SignedDuration::from(config.agent.remind_after).as_nanos();
        let times = status.at.duration_since(since).as_nanos().checked_div(every).unwrap_or(0);
        if times > self.reminded.1 {
            self.reminded.1 = times;
            warn!(%since, "still {what}: nothing is published until `tagwall resume`");
        }
    }
}

/// What happened between two looks at the state.
fn happened(before: &Facts, after: &Facts, now: Timestamp) -> Vec<Event> {
    let mut events = Vec::new();
    if let Some((number, Some(words))) = &after.generation
        && before.generation.as_ref().map(|(number, _)| number) != Some(number)
    {
        let subject = format!("generation {number}");
        events.push(Event::new(EventKind::Published, subject, &format!("in force; {words}")));
    }
    let gone =
        before.holds.iter().filter(|hold| !after.holds.iter().any(|other| other.id == hold.id));
    for hold in gone {
        let decided = after.decisions.iter().rfind(|decided| decided.hold == hold.id);
        let words = match decided {
            Some(decided) => decided.words.clone(),
            None if hold.due.is_some_and(|due| due <= now) => {
                "released by itself: it still is published".to_owned()
            }
            // It is published no more, or in another form: that it is held no longer is told anyway.
            None => continue,
        };
        let text = format!("{words}: {}", hold.summary());
        events.push(Event::new(EventKind::Released, format!("hold {}", hold.id), &text));
    }
    events
}

fn warn_of_discovery(config: &Config) {
    for (cloud, feeds) in config.discovery_only() {
        let feeds: Vec<_> = feeds.iter().map(|name| name.as_str()).collect();
        warn!(%cloud, feeds = feeds.join(", "), "{}", DISCOVERY_ONLY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(id: &str, due: Option<Timestamp>) -> HoldStatus {
        HoldStatus {
            id: id.to_owned(),
            cloud: Cloud::Public,
            kind: "removal".to_owned(),
            groups: vec!["storage".parse().unwrap()],
            addresses: "4096".to_owned(),
            why: "more than a tenth goes".to_owned(),
            since: Timestamp::UNIX_EPOCH,
            due,
            critical: false,
        }
    }

    #[test]
    fn what_happened_follows_from_two_looks_at_the_state() {
        let now: Timestamp = "2025-09-08T12:00:00Z".parse().unwrap();
        let holds = ["approved", "rejected", "lapsed", "goes-on"].map(|id| hold(id, None));
        let mut before = Facts { generation: Some((3, Some("x".to_owned()))), ..Facts::default() };
        before.holds.extend(holds);
        before.holds.push(hold("due", Some(now)));
        let decided =
            |id: &str, words: &str| Decided { hold: id.to_owned(), words: words.to_owned() };
        let after = Facts {
            generation: Some((4, Some("publication: 1 group change".to_owned()))),
            holds: vec![hold("goes-on", None), hold("new", None)],
            decisions: vec![
                decided("approved", "approved by ann, CHG-7"),
                decided("rejected", "rejected by ann"),
            ],
            ..Facts::default()
        };
        let told: Vec<_> = happened(&before, &after, now)
            .into_iter()
            .map(|event| (event.kind, event.subject, event.summary))
            .collect();
        let subjects: Vec<_> =
            told.iter().map(|(kind, subject, _)| (*kind, subject.as_str())).collect();
        assert_eq!(
            subjects,
            [
                (EventKind::Published, "generation 4"),
                (EventKind::Released, "hold approved"),
                (EventKind::Released, "hold rejected"),
                (EventKind::Released, "hold due"),
            ]
        );
        assert!(
            told[1].2.starts_with("approved by ann, CHG-7: removal of 4,096 addresses"),
            "{told:?}"
        );
        assert!(told[3].2.starts_with("released by itself"), "{told:?}");
        assert_eq!(happened(&after, &after, now), []);
    }
}
