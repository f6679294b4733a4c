//! What a person or the agent may do to the state, each operation whole: publish, roll back, resume, pause, decide.
//!
//! Owns the order in which the lock, the memory, the belief and a generation are brought together, so that the agent and the
//! command line (without an agent) do the same. Promises: belief and generation are committed together; an operation that is
//! refused or fails leaves both as they were. Does not read feeds, and asks nobody: what to do is decided before it is called.

mod decide;
mod deltas;
mod follow;
mod kind;
mod offer;
mod record;
mod replay;

pub use decide::DecisionError;
pub use kind::{Kind, config_error};
pub use offer::{Offered, Offering, Until, Waiting, Wish, offers};
pub use replay::{HeldLine, Outcome, Replay, Replayed, Size};

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;
use thiserror::Error;

use crate::config::Name;
use crate::guard::Belief;
use crate::names::{Book, BookError};
use crate::os::clock;
use crate::os::lock::LockError;
use crate::pipeline::PlanError;
use crate::publish::{
    self, Became, Companion, PublishError, Publisher, Restored, Retention, TargetReach, TargetSets,
};
use crate::render::RenderError;
use crate::ruleset::RuleSet;
use crate::snapshot::Cloud;
use crate::state::trail::Action;
use crate::state::{self, Archive, Memory, Pause, Pin, StateError, Trail};
use record::Note;

/// Why an operation was not done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OperateError {
    /// There is no plan: the configuration, a template or a limit.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A target cannot be rendered.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// Nothing was published, or it was taken back.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The memory cannot be used, or a publication is older than the one in use.
    #[error(transparent)]
    State(#[from] StateError),
    /// What was answered of hostnames cannot be read.
    #[error("cannot use the stored answers of hostnames: {0}")]
    Names(#[from] BookError),
    /// A rollback keeps a generation in force.
    #[error("generation {} is pinned by a rollback since {}; `tagwall resume` first", .0.generation, .0.since)]
    Pinned(Pin),
    /// An emergency stop.
    #[error("paused since {} by {} ({}); `tagwall resume` first", .0.since, .0.by, .0.reason)]
    Paused(Pause),
}

impl OperateError {
    /// Whether the state folder is held only by a command that a process which has ended left behind: it is over soon.
    pub fn is_left_behind(&self) -> bool {
        let Self::Publish(PublishError::Locked(error)) = self else { return false };
        matches!(error, LockError::Held { left_behind: true, .. })
    }
}

/// What `pause` answers.
pub const PAUSED: &str = "paused: nothing is published until `tagwall resume`\n";

/// What `rebaseline` answers.
pub fn begun_anew(clouds: &[Cloud]) -> String {
    let names: Vec<&str> = clouds.iter().map(|cloud| cloud.name()).collect();
    format!(
        "nothing is known and believed of cloud {} any more: the next publication is judged as the first one; \
         what is in force stays in force until then\n",
        names.join(", ")
    )
}

/// What `belief import` answers.
pub fn adopted(belief: &Belief) -> String {
    format!(
        "the belief {} was taken over; the next publication is judged against it\n",
        belief.digest().short()
    )
}

/// The one who may change a state folder: holds its lock.
#[derive(Debug)]
pub struct Operator {
    publisher: Publisher,
    archive: Archive,
    memory: Memory,
    belief: Belief,
    names: Book,
    trail: Trail,
    /// By target, the drift that lasts, as the audit trail has it.
    drifted: BTreeMap<Name, String>,
    /// Whether packets get to the rules of each target, as last checked.
    reach: BTreeMap<Name, TargetReach>,
    /// What a person should know of operations that were done all the same.
    warnings: Vec<String>,
}

/// What `resume` ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    /// The pin of a rollback.
    pub pin: Option<Pin>,
    /// The emergency stop.
    pub pause: Option<Pause>,
}

impl Resumed {
    /// What `resume` answers.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Some(pause) = &self.pause {
            text.push_str(&format!("the pause of {} ({}) is over\n", pause.since, pause.reason));
        }
        if let Some(pin) = &self.pin {
            text.push_str(&format!("generation {} is pinned no longer\n", pin.generation));
        }
        if text.is_empty() {
            text.push_str("nothing is paused or pinned\n");
        }
        text
    }
}

impl Operator {
    /// Takes the lock of a state folder (made when it is missing), mends what an interrupted publication left, and reads
    /// what is remembered.
    pub fn open(dir: &Path, purpose: &str) -> Result<Self, OperateError> {
        let publisher = Publisher::open(dir, purpose)?;
        let memory = Memory::load(dir)?;
        let belief = state::belief(dir)?;
        let mut operator = Self {
            publisher,
            archive: Archive::new(dir),
            memory,
            belief,
            names: Book::load(dir)?,
            trail: Trail::open(dir)?,
            drifted: BTreeMap::new(),
            reach: BTreeMap::new(),
            warnings: Vec::new(),
        };
        let now = clock::now();
        operator.note_correction(now);
        operator.take_up_pause(now);
        Ok(operator)
    }

    /// What was mended when the folder was opened, in words; none when all was well.
    pub fn mended(&self) -> Option<&str> {
        self.publisher.mended()
    }

    /// What a person should know of operations since this was asked last: they were done all the same.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// What is remembered.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// What is believed.
    pub fn belief(&self) -> &Belief {
        &self.belief
    }

    /// What was answered of hostnames.
    pub fn names(&self) -> &Book {
        &self.names
    }

    /// Takes up what was answered of hostnames: the next offer uses it, and keeps it with its generation.
    pub fn learn(&mut self, names: Book) {
        self.names = names;
    }

    /// Takes up and keeps what was answered of hostnames, although the rules stay as they are: when each address was seen
    /// last is known to the next start.
    pub fn keep_names(&mut self, names: Book) -> Result<(), OperateError> {
        self.learn(names);
        Ok(self.publisher.keep(&[answers(&self.names)?])?)
    }

    /// The newest good document of each cloud.
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// The generations, and the folder.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Checks anew whether packets get to the rules of each target.
    pub fn check_reach(&mut self) -> Result<(), OperateError> {
        self.reach = publish::reach_of_all(self.publisher.store())?;
        Ok(())
    }

    /// Whether packets get to the rules of each target, as last checked.
    pub fn reach(&self) -> &BTreeMap<Name, TargetReach> {
        &self.reach
    }

    /// Brings back what is not as it was published, in kernel and installed files; says what was done about each target.
    /// What a foreign hand changed is left alone where `on-drift` is `hold`, unless it is to be overwritten.
    pub fn restore(
        &mut self,
        overwrite: bool,
        by: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<Restored>, OperateError> {
        self.restore_but(overwrite, &BTreeSet::new(), by, now)
    }

    /// The same, but for targets whose repair waits. Each drift is in the audit trail once, and each repair.
    pub fn restore_but(
        &mut self,
        overwrite: bool,
        waiting: &BTreeSet<Name>,
        by: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<Restored>, OperateError> {
        let restored = self.publisher.restore_but(overwrite, waiting)?;
        let mut lasting = BTreeMap::new();
        for one in &restored {
            let text = one.to_string();
            let is_repaired = matches!(one.became, Became::Restored | Became::Healed);
            if !is_repaired {
                lasting.insert(one.target.clone(), text.clone());
            }
            if !is_repaired && self.drifted.get(&one.target) == Some(&text) {
                continue;
            }
            let first = text.lines().next().unwrap_or_default();
            let note = Note {
                at: now,
                action: Action::Drifted,
                by,
                reason: Some(first),
                decision: None,
                events: &[],
                configuration: None,
            };
            if let Err(error) = self.commit(&note, self.belief.clone(), self.memory.clone()) {
                self.warn(format!("the audit trail has no entry of a drift ({first}): {error}"));
            }
        }
        self.drifted = lasting;
        Ok(restored)
    }

    /// Pauses, and brings back what targets had taken over, or one of them; returns what was done.
    pub fn restore_before_take_over(
        &mut self,
        target: Option<&Name>,
        by: &str,
        now: Timestamp,
    ) -> Result<String, OperateError> {
        if self.publisher.taken_over(target)?.is_empty() {
            return Ok("no target took over anything; nothing was changed\n".to_owned());
        }
        if self.memory.pause.is_none() {
            self.pause("what was there before a take-over was brought back", by, now)?;
        }
        let restored = self.publisher.restore_before_take_over(target)?;
        let names: Vec<&str> = restored.iter().map(Name::as_str).collect();
        Ok(format!(
            "brought back what {} had taken over; everything is paused: remove the target from the configuration, then \
             `tagwall resume`\n",
            names.join(", ")
        ))
    }

    /// Creates the absent ipset sets of the active generation, and changes nothing else.
    pub fn create_sets(&self) -> Result<Vec<TargetSets>, OperateError> {
        Ok(publish::create_sets(self.publisher.store())?)
    }

    /// Brings an earlier generation back and pins it. Without a number: the last whose rules differ from those in force.
    pub fn rollback(
        &mut self,
        to: Option<u64>,
        by: &str,
        now: Timestamp,
        retention: Retention,
    ) -> Result<u64, OperateError> {
        let mut memory = self.memory.clone();
        // Without the rules in force, the entry holds the whole of those that are brought back.
        let before = self.rules_as_told().unwrap_or_else(|damaged| {
            self.warn(damaged.to_string());
            RuleSet::default()
        });
        let note = Note::of_person(Action::RolledBack, by, now);
        let mut entry = None;
        let pinned = |generation, rules: &RuleSet| {
            memory.pin = Some(Pin { generation, since: now });
            let (trail, prepared) =
                self.prepare(&note, Some(generation), (&self.belief, None), (&before, rules))?;
            entry = Some(prepared);
            Ok::<_, OperateError>(vec![companion(&memory)?, trail])
        };
        let generation = self.publisher.rollback(to, now, retention, pinned)?;
        self.memory = memory;
        if let Some(entry) = &entry {
            self.committed(entry);
        }
        self.note_correction(now);
        self.warn_of_notes(generation);
        Ok(generation)
    }

    /// Stops everything until `resume`: what is in force stays in force.
    pub fn pause(&mut self, reason: &str, by: &str, now: Timestamp) -> Result<(), OperateError> {
        let mut memory = self.memory.clone();
        memory.pause = Some(Pause { since: now, by: by.to_owned(), reason: reason.to_owned() });
        let note = Note { reason: Some(reason), ..Note::of_person(Action::Paused, by, now) };
        self.commit(&note, self.belief.clone(), memory)
    }

    /// Stops everything in a state folder that cannot be opened: whoever opens it next finds it paused.
    pub fn pause_unopened(
        dir: &Path,
        reason: &str,
        by: &str,
        now: Timestamp,
    ) -> Result<(), OperateError> {
        let pause = Pause { since: now, by: by.to_owned(), reason: reason.to_owned() };
        Ok(Memory::leave_pause(dir, pause)?)
    }

    /// Remembers and tells an emergency stop that was left while the folder could not be opened. It counts in any case; what
    /// cannot be written now is written by the next who opens the folder.
    fn take_up_pause(&mut self, now: Timestamp) {
        if let Err(error) = self.try_to_take_up_pause(now) {
            self.warn(format!("the pause that was left is not remembered yet: {error}"));
        }
    }

    fn try_to_take_up_pause(&mut self, now: Timestamp) -> Result<(), OperateError> {
        let dir = self.publisher.store().dir().to_owned();
        let Some(pause) = Memory::left_pause(&dir)? else { return Ok(()) };
        let note =
            Note { reason: Some(&pause.reason), ..Note::of_person(Action::Paused, &pause.by, now) };
        self.commit(&note, self.belief.clone(), self.memory.clone())?;
        Ok(Memory::forget_left_pause(&dir)?)
    }

    /// Ends an emergency stop and the pin of a rollback.
    pub fn resume(&mut self, by: &str, now: Timestamp) -> Result<Resumed, OperateError> {
        Memory::forget_left_pause(self.publisher.store().dir())?;
        let mut memory = self.memory.clone();
        let resumed = Resumed { pin: memory.pin.take(), pause: memory.pause.take() };
        if memory != self.memory {
            let note = Note::of_person(Action::Resumed, by, now);
            self.commit(&note, self.belief.clone(), memory)?;
        }
        Ok(resumed)
    }

    /// Gives the lock back.
    pub fn close(self) {
        self.publisher.close();
    }
}

/// What is believed as a file that changes together with a generation.
fn believed(belief: &Belief) -> Result<Companion, StateError> {
    Ok(Companion { name: Belief::FILE, bytes: belief.write().map_err(StateError::from)? })
}

/// The memory as a file that changes together with a generation.
fn companion(memory: &Memory) -> Result<Companion, StateError> {
    Ok(Companion { name: Memory::FILE, bytes: memory.write()? })
}

/// What was answered of hostnames, as a file that changes together with a generation.
fn answers(names: &Book) -> Result<Companion, BookError> {
    Ok(Companion { name: Book::FILE, bytes: names.write()? })
}
