//! What is remembered between runs: the newest publication of each cloud, fresh beginnings, a pin and a pause.
//!
//! Owns `memory.json` in the state folder, and `pause.pending`. Promises: data of an older publication never replaces that of a
//! newer one, except by a rebaseline, which is recorded with its reason. Whoever changes it holds the folder's lock.

mod archive;
mod order;
pub mod trail;

pub use archive::{Archive, Archived, Entry};
pub use order::{Edition, Standing};
pub use trail::Trail;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::guard::{Belief, BeliefError};
use crate::os::files::{self, FileError};
use crate::os::record::{self, Record, RecordError, WHAT_TO_DO};
use crate::snapshot::{Cloud, Digest, Publication};

/// What is remembered between runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    format: String,
    /// The newest publication taken, by cloud.
    pub publications: BTreeMap<Cloud, Known>,
    /// Fresh beginnings, the newest last.
    pub rebaselines: Vec<Rebaseline>,
    /// The generation that is kept in force until `resume`.
    pub pin: Option<Pin>,
    /// The emergency stop, until `resume`.
    #[serde(default)]
    pub pause: Option<Pause>,
}

/// A publication that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The date in its name.
    pub date: Option<Date>,
    /// Its change number.
    pub change_number: u64,
    /// The digest of its content.
    pub digest: Digest,
    /// Where it was read from.
    pub source: String,
    /// The feed that brought it; none: it was given by hand.
    #[serde(default)]
    pub feed: Option<String>,
    /// When it was taken.
    pub taken: Timestamp,
}

/// A fresh beginning: an older publication was taken on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rebaseline {
    /// When.
    pub at: Timestamp,
    /// Which cloud.
    pub cloud: Cloud,
    /// The digest that was taken; of a beginning with nothing, the one that counts no more.
    pub digest: Digest,
    /// Why, in the operator's words.
    pub reason: String,
    /// Who began with nothing; none where a publication was given by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// A generation that is kept in force until `resume`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The generation.
    pub generation: u64,
    /// Since when.
    pub since: Timestamp,
}

/// An emergency stop: nothing is published until `resume`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// Since when.
    pub since: Timestamp,
    /// Who asked for it.
    pub by: String,
    /// Why, in the operator's words.
    pub reason: String,
}

/// Why the memory cannot be used, or a publication is not taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is not as this program writes it.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The audit trail is not as this program writes it.
    #[error(
        "{path}, line {line}: {reason}; the audit trail is the only thing that is lost with it: moved elsewhere, a new one begins",
        path = path.display()
    )]
    Trail {
        /// The file.
        path: PathBuf,
        /// The line, from 1; 0 where it is not one line.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// The audit trail or a file beside it cannot be read or written.
    #[error("cannot {step} {path}: {source}", path = path.display())]
    Write {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// What is believed cannot be written.
    #[error(transparent)]
    Belief(#[from] BeliefError),
    /// What is believed cannot be read.
    #[error("{path} cannot be used: {source}; {WHAT_TO_DO}", path = path.display())]
    Believed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: BeliefError,
    },
    /// The publication is older than the one in use.
    #[error(
        "the publication {offered} of cloud {cloud} is older than the one in use ({known}): refused, nothing was \
         changed; --rebaseline REASON takes it as a new beginning"
    )]
    Older {
        /// The cloud.
        cloud: Cloud,
        /// What was offered: its date or change number.
        offered: String,
        /// What is in use.
        known: String,
    },
}

/// What is believed in a state folder; nothing yet where there is no file.
pub fn belief(dir: &Path) -> Result<Belief, StateError> {
    let path = dir.join(Belief::FILE);
    match files::read_bounded(&path, Belief::MAX_BYTES) {
        Ok(bytes) => Belief::read(&bytes).map_err(|source| StateError::Believed { path, source }),
        Err(error) if error.is_not_found() => Ok(Belief::default()),
        Err(error) => Err(error.into()),
    }
}

impl Known {
    /// What decides about its order.
    pub fn edition(&self) -> Edition<'_> {
        Edition {
            date: self.date,
            change_number: self.change_number,
            digest: self.digest,
            feed: self.feed.as_deref(),
        }
    }
}

impl Record for Memory {
    const FORMAT: &'static str = "tagwall-memory/1";
    const MAX_BYTES: u64 = 16 << 20;

    fn format(&self) -> &str {
        &self.format
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            format: Self::FORMAT.to_owned(),
            publications: BTreeMap::new(),
            rebaselines: Vec::new(),
            pin: None,
            pause: None,
        }
    }
}

impl Memory {
    /// Name of the file in the state folder.
    pub const FILE: &'static str = "memory.json";
    /// Name of the file with an emergency stop that was asked for while the state folder could not be opened: a memory of
    /// nothing else.
    pub const PAUSE: &'static str = "pause.pending";

    /// Reads the memory of a state folder; empty when there is none. An emergency stop that was left counts.
    pub fn load(dir: &Path) -> Result<Self, StateError> {
        let mut memory: Self = record::read(&dir.join(Self::FILE))?.unwrap_or_default();
        if let Some(pause) = Self::left_pause(dir)? {
            memory.pause = Some(pause);
        }
        Ok(memory)
    }

    /// Leaves an emergency stop in a state folder that cannot be opened, for whoever opens it next. Needs no lock.
    pub fn leave_pause(dir: &Path, pause: Pause) -> Result<(), StateError> {
        let memory = Self { pause: Some(pause), ..Self::default() };
        files::replace(&dir.join(Self::PAUSE), &memory.write()?)?;
        Ok(())
    }

    /// The emergency stop that was left.
    pub fn left_pause(dir: &Path) -> Result<Option<Pause>, StateError> {
        let left: Option<Self> = record::read(&dir.join(Self::PAUSE))?;
        Ok(left.and_then(|left| left.pause))
    }

    /// Takes away the emergency stop that was left: it is remembered, or over.
    pub fn forget_left_pause(dir: &Path) -> Result<(), StateError> {
        let path = dir.join(Self::PAUSE);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(StateError::Write { step: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    /// The bytes of the file: whoever publishes writes them together with the generation that they belong to.
    pub fn write(&self) -> Result<Vec<u8>, StateError> {
        Ok(record::bytes(self)?)
    }

    /// Refuses a publication that must not take the place of the one in use: see [`Edition::against`].
    pub fn judge(&self, offered: &Publication) -> Result<(), StateError> {
        let cloud = offered.snapshot.cloud();
        let Some(known) = self.publications.get(&cloud) else { return Ok(()) };
        let number = offered.snapshot.change_number();
        if Edition::of(offered).against(&known.edition()) != Standing::Older {
            return Ok(());
        }
        let describe = |date: Option<Date>, number: u64| match date {
            Some(date) => format!("of {date} (change number {number})"),
            None => format!("with change number {number}"),
        };
        Err(StateError::Older {
            cloud,
            offered: describe(offered.date, number),
            known: describe(known.date, known.change_number),
        })
    }

    /// Remembers a publication that was taken. One with the same content keeps the newer date and number.
    pub fn take(&mut self, publication: &Publication, now: Timestamp) {
        let known = Known {
            date: publication.date,
            change_number: publication.snapshot.change_number(),
            digest: publication.digest(),
            source: publication.source.clone(),
            feed: publication.feed.as_deref().map(str::to_owned),
            taken: now,
        };
        let cloud = publication.snapshot.cloud();
        let unchanged = self.publications.get(&cloud).is_some_and(|old| {
            old.digest == known.digest
                && (old.date, old.change_number) >= (known.date, known.change_number)
        });
        if !unchanged {
            self.publications.insert(cloud, known);
        }
    }

    /// Remembers a fresh beginning.
    pub fn rebaseline(&mut self, publication: &Publication, reason: &str, now: Timestamp) {
        let cloud = publication.snapshot.cloud();
        self.publications.remove(&cloud);
        self.take(publication, now);
        self.rebaselines.push(Rebaseline {
            at: now,
            cloud,
            digest: publication.digest(),
            reason: reason.to_owned(),
            by: None,
        });
    }

    /// Forgets which publication of a cloud is the newest: the next one is taken whatever its date and number are. False when
    /// none is known.
    pub fn forget(&mut self, cloud: Cloud, reason: &str, by: &str, now: Timestamp) -> bool {
        let Some(known) = self.publications.remove(&cloud) else { return false };
        self.rebaselines.push(Rebaseline {
            at: now,
            cloud,
            digest: known.digest,
            reason: reason.to_owned(),
            by: Some(by.to_owned()),
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{EXAMPLE_DOCUMENT, Policy, Snapshot};

    fn publication(number: u64, source: &str, edit: &str) -> Publication {
        let text = EXAMPLE_DOCUMENT
            .replacen("\"changeNumber\": 1,", &format!("\"changeNumber\": {number},"), 1)
            .replacen("192.0.2.0/26", edit, 1);
        Publication::new(Snapshot::parse(text.as_bytes(), &Policy::default()).unwrap(), source)
    }

    fn now() -> Timestamp {
        "2025-09-08T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn an_older_publication_is_refused_by_date_then_by_number() {
        let mut memory = Memory::default();
        memory.take(&publication(5, "ServiceTags_Example_20250908.json", "192.0.2.0/26"), now());
        let older = publication(9, "ServiceTags_Example_20250901.json", "192.0.2.0/27");
        assert!(matches!(memory.judge(&older), Err(StateError::Older { .. })));
        memory.judge(&publication(1, "ServiceTags_Example_20250915.json", "192.0.2.0/27")).unwrap();
        assert!(memory.judge(&publication(4, "file.json", "192.0.2.0/27")).is_err());
        memory.judge(&publication(5, "file.json", "192.0.2.0/27")).unwrap();
        // The same content is no step back, whatever its number.
        memory.judge(&publication(4, "file.json", "192.0.2.0/26")).unwrap();
    }

    #[test]
    fn a_rebaseline_takes_an_older_one_and_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let mut memory = Memory::load(folder.path()).unwrap();
        memory.take(&publication(5, "ServiceTags_Example_20250908.json", "192.0.2.0/26"), now());
        let older = publication(4, "ServiceTags_Example_20250901.json", "192.0.2.0/27");
        memory.rebaseline(&older, "forged number", now());
        memory.judge(&older).unwrap();
        files::replace(&folder.path().join(Memory::FILE), &memory.write().unwrap()).unwrap();
        let read = Memory::load(folder.path()).unwrap();
        assert_eq!(read, memory);
        assert_eq!(read.rebaselines[0].reason, "forged number");
    }

    #[test]
    fn a_newer_date_with_the_same_content_is_remembered() {
        let mut memory = Memory::default();
        memory.take(&publication(5, "ServiceTags_Example_20250908.json", "192.0.2.0/26"), now());
        memory.take(&publication(6, "ServiceTags_Example_20250915.json", "192.0.2.0/26"), now());
        assert_eq!(memory.publications[&Cloud::Example].change_number, 6);
        memory.take(&publication(5, "ServiceTags_Example_20250908.json", "192.0.2.0/26"), now());
        assert_eq!(memory.publications[&Cloud::Example].change_number, 6);
    }
}
