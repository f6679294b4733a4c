//! The audit trail: every decision and what it did to belief and rules, one JSON object a line.
//!
//! Owns `trail/` in the state folder, and `trail.pending`. Promises: an entry is committed together with the generation,
//! belief or memory that it tells of, so that none is missing and none tells of what never was; each line names the digest of
//! the one before, so that a line that was taken out or edited is noticed; the entries from the beginning of any file on
//! reproduce belief and rules. Whoever appends holds the folder's lock; reading needs none.
//!
//! What is committed is a file of its own that holds only new lines ([`Trail::PENDING`]); after the commit they are appended to
//! the newest file of `trail/`, and the file is removed. A crash in between, or a full disk, leaves it to the next entry or
//! start, and a line that was torn by one is cut off and written again.

mod entry;
mod read;

use entry::Head;
pub use entry::{Action, Entry};
pub use read::{Replayed, entries, replay};

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::StateError;
use crate::guard::{Belief, Decision, Event};
use crate::os::files;
use crate::ruleset::RuleSet;
use crate::snapshot::Digest;

const FOLDER: &str = "trail";
/// A file that has grown larger than this is continued by another one.
const FILE_BYTES: u64 = 16 << 20;
/// How many files are kept: the oldest goes when another one is begun.
const FILES: usize = 16;
/// Largest line read, in bytes: the first of a file holds all that is believed.
const MAX_LINE: u64 = 256 << 20;

/// The audit trail of a state folder, as its only writer sees it.
#[derive(Debug)]
pub struct Trail {
    dir: PathBuf,
    /// The newest entry that is committed; none before the first.
    last: Option<Last>,
    /// The number of the newest entry in a file.
    written: u64,
    /// The newest file, with its size.
    newest: Option<(PathBuf, u64)>,
    /// Lines that are committed, and not appended yet.
    pending: Vec<u8>,
    /// Whether what the caller believes is known to be what the newest entry says: since an entry of this life.
    agrees: bool,
}

/// What an entry is continued from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Last {
    number: u64,
    line: Digest,
    belief: Digest,
    rule_set: Digest,
    configuration: Option<Digest>,
    generation: Option<u64>,
}

/// What is to be told of a decision.
#[derive(Debug)]
pub struct Draft<'d> {
    /// When.
    pub at: Timestamp,
    /// What.
    pub action: Action,
    /// Who; none: the agent by itself.
    pub by: Option<&'d str>,
    /// Why.
    pub reason: Option<&'d str>,
    /// Digest of the configuration's text that decided; none where it does not matter.
    pub configuration: Option<Digest>,
    /// The generation in force afterwards.
    pub generation: Option<u64>,
    /// What the judgement did.
    pub events: &'d [Event],
    /// What a person decided.
    pub decision: Option<&'d Decision>,
    /// What is believed, before and after.
    pub belief: (&'d Belief, &'d Belief),
    /// The digest of the latter's document, where that was written already.
    pub written: Option<Digest>,
    /// The rules in force, before and after.
    pub rules: (&'d RuleSet, &'d RuleSet),
}

/// An entry that is to be committed with what it tells of.
#[derive(Debug)]
#[must_use = "an entry counts once it is committed"]
pub struct Prepared {
    line: Vec<u8>,
    last: Last,
}

impl Trail {
    /// Name of the file with what is committed and not appended yet.
    pub const PENDING: &'static str = "trail.pending";

    /// Opens the trail of a state folder, whose lock is held, and appends what an earlier run had committed.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        let pending = read::pending(dir)?;
        let mut trail = Self {
            dir: dir.to_owned(),
            last: None,
            written: 0,
            newest: None,
            pending,
            agrees: false,
        };
        for path in read::files_of(dir)?.into_iter().rev() {
            let (whole, line) = read::last_whole_line(&path)?;
            let Some(line) = line else {
                // Its only line was torn.
                fs::remove_file(&path).map_err(failed("remove", &path))?;
                continue;
            };
            cut(&path, whole).map_err(failed("cut a torn line off", &path))?;
            let head = Head::parse(&path, 0, &line)?;
            trail.written = head.number;
            trail.last = Some(Last::of(&head, &line));
            trail.newest = Some((path, whole));
            break;
        }
        trail.append()?;
        Ok(trail)
    }

    /// The generation that the newest entry says is in force.
    pub fn generation(&self) -> Option<u64> {
        self.last.and_then(|last| last.generation)
    }

    /// Whether the newest entry stands on another configuration than this one.
    pub fn is_of_other_configuration(&self, configuration: Digest) -> bool {
        self.last.is_some_and(|last| last.configuration != Some(configuration))
    }

    /// Prepares an entry. The first one of a file, and one that cannot stand on what the entry before says, hold the whole of
    /// belief and rules.
    pub fn prepare(&self, draft: &Draft<'_>) -> Result<Prepared, StateError> {
        let (old_belief, belief) = draft.belief;
        let (old_rules, rules) = draft.rules;
        // Answers of hostnames change the rules every minute, and the belief never: it need not be written each time.
        let old_digest = match self.last {
            Some(last) if self.agrees => last.belief,
            _ => digest_of(old_belief)?,
        };
        let belief_digest = match draft.written {
            Some(written) => written,
            None if std::ptr::eq(old_belief, belief) => old_digest,
            None => digest_of(belief)?,
        };
        let full = self.pending.is_empty()
            && self.newest.as_ref().is_some_and(|(_, size)| *size >= FILE_BYTES);
        let continues = match self.last {
            Some(last) if !full => last.belief == old_digest && last.rule_set == old_rules.digest(),
            _ => false,
        };
        let (belief_change, rules_change) = if continues {
            (belief.change_since(old_belief), rules.change_since(old_rules))
        } else {
            (belief.change_since(&Belief::default()), rules.change_since(&RuleSet::default()))
        };
        let configuration = draft.configuration.or(self.last.and_then(|last| last.configuration));
        let entry = Entry {
            format: Entry::FORMAT.to_owned(),
            number: self.last.map_or(1, |last| last.number + 1),
            after: self.last.map(|last| last.line),
            at: draft.at,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            action: draft.action,
            by: draft.by.map(str::to_owned),
            reason: draft.reason.map(str::to_owned),
            configuration,
            generation: draft.generation,
            publications: belief
                .clouds()
                .into_iter()
                .filter_map(|cloud| Some((cloud, belief.standing(cloud)?.clone())))
                .collect(),
            events: draft.events.to_vec(),
            decision: draft.decision.cloned(),
            whole: !continues,
            belief: belief_change,
            belief_digest,
            rules: rules_change,
            rule_set: rules.digest(),
        };
        let mut line = serde_json::to_vec(&entry)
            .map_err(|error| Entry::refused(&self.dir.join(FOLDER), 0, error))?;
        let last = Last::of(&Head::from(&entry), &line);
        line.push(b'\n');
        Ok(Prepared { line, last })
    }

    /// The bytes of [`Trail::PENDING`] with which an entry is committed.
    pub fn committing(&self, prepared: &Prepared) -> Vec<u8> {
        [self.pending.as_slice(), &prepared.line].concat()
    }

    /// The entry is committed: appends it. What cannot be appended now is appended with the next entry, or at the next start.
    pub fn committed(&mut self, prepared: &Prepared) -> Result<(), StateError> {
        self.pending.extend_from_slice(&prepared.line);
        (self.last, self.agrees) = (Some(prepared.last), true);
        self.append()
    }

    /// Appends what is pending, and removes the file that held it.
    fn append(&mut self) -> Result<(), StateError> {
        let pending = std::mem::take(&mut self.pending);
        if let Err(error) = self.append_all(&pending) {
            self.pending = pending;
            return Err(error);
        }
        Ok(())
    }

    fn append_all(&mut self, pending: &[u8]) -> Result<(), StateError> {
        let path = self.dir.join(Self::PENDING);
        for (index, line) in pending.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            let entry = Head::parse(&path, index as u64 + 1, text)?;
            // What is not newer was appended before, by a run that could not remove the file any more.
            if entry.number > self.written {
                self.append_line(&entry, line)?;
                self.written = entry.number;
            }
            self.last = Some(Last::of(&entry, text));
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// An entry with the whole of belief and rules begins a file.
    fn append_line(&mut self, entry: &Head, line: &[u8]) -> Result<(), StateError> {
        let added = line.len() as u64;
        if let Some((path, size)) = self.newest.as_mut().filter(|_| !entry.whole) {
            let mut file =
                OpenOptions::new().append(true).open(&*path).map_err(failed("open", path))?;
            if let Err(error) = file.write_all(line).and_then(|()| file.sync_data()) {
                // A torn line would be in the way of the next one; where it cannot be cut off, the next start does it.
                _ = file.set_len(*size);
                return Err(failed("append to", path)(error));
            }
            *size += added;
            return Ok(());
        }
        let folder = self.dir.join(FOLDER);
        files::create_dir_all_durable(&folder, 0o755)?;
        let path = folder.join(format!("{:012}.jsonl", entry.number));
        let mut file = File::create(&path).map_err(failed("create", &path))?;
        file.write_all(line)
            .and_then(|()| file.sync_all())
            .and_then(|()| File::open(&folder)?.sync_all())
            .map_err(failed("write", &path))?;
        self.newest = Some((path, added));
        let files = read::files_of(&self.dir)?;
        for old in files.iter().rev().skip(FILES) {
            fs::remove_file(old).map_err(failed("remove", old))?;
        }
        Ok(())
    }
}

impl Last {
    fn of(entry: &Head, line: &[u8]) -> Self {
        Self {
            number: entry.number,
            line: Digest::of(line),
            belief: entry.belief_digest,
            rule_set: entry.rule_set,
            configuration: entry.configuration,
            generation: entry.generation,
        }
    }
}

/// The digest of a belief's document: holds and decisions count.
fn digest_of(belief: &Belief) -> Result<Digest, StateError> {
    Ok(Digest::of(&belief.write()?))
}

/// Shortens a file to this size, where it is longer.
fn cut(path: &Path, size: u64) -> io::Result<()> {
    if fs::metadata(path)?.len() > size {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(size)?;
        file.sync_all()?;
    }
    Ok(())
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Write { step, path, source }
}
