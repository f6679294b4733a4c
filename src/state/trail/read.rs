//! Reading the audit trail: entry by entry, or replayed to what is believed and in force.

use std::fs;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::{Entry, FOLDER, MAX_LINE, Trail, failed};
use crate::guard::Belief;
use crate::os::files;
use crate::ruleset::RuleSet;
use crate::snapshot::Digest;
use crate::state::StateError;

/// What the trail says is believed and in force.
#[derive(Debug, Clone, Default)]
pub struct Replayed {
    /// The newest entry; none where there is none.
    pub last: Option<Entry>,
    /// What is believed.
    pub belief: Belief,
    /// The rules in force.
    pub rule_set: RuleSet,
}

/// The files of the trail, the oldest first.
pub(super) fn files_of(dir: &Path) -> Result<Vec<PathBuf>, StateError> {
    let folder = dir.join(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", &folder)(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed("list", &folder))?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(path);
        }
    }
    // The names are numbers of one length.
    files.sort_unstable();
    Ok(files)
}

/// What is committed and not appended yet.
pub(super) fn pending(dir: &Path) -> Result<Vec<u8>, StateError> {
    match files::read_bounded(&dir.join(Trail::PENDING), MAX_LINE) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// How many bytes of a file are whole lines, and the last of these.
pub(super) fn last_whole_line(path: &Path) -> Result<(u64, Option<Vec<u8>>), StateError> {
    let (mut whole, mut last) = (0, None);
    for line in Lines::open(path)? {
        let line = line?;
        whole += line.len() as u64 + 1;
        last = Some(line);
    }
    Ok((whole, last))
}

/// The whole lines of a file; a torn one at its end is none.
struct Lines {
    path: PathBuf,
    reader: BufReader<fs::File>,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, StateError> {
        let reader = BufReader::new(files::open_bounded(path, u64::MAX)?);
        Ok(Self { path: path.to_owned(), reader })
    }
}

impl Iterator for Lines {
    type Item = Result<Vec<u8>, StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        match (&mut self.reader).take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(_) if line.pop() == Some(b'\n') => Some(Ok(line)),
            Ok(_) => None,
            Err(error) => Some(Err(failed("read", &self.path)(error))),
        }
    }
}

/// Hands over every entry that is there, the oldest first, after checking that none was edited or taken out.
pub fn entries(
    dir: &Path,
    mut each: impl FnMut(Entry) -> Result<(), StateError>,
) -> Result<(), StateError> {
    let mut before: Option<(u64, Digest)> = None;
    let mut hand_over = |path: &Path, number: u64, line: &[u8]| {
        let entry = Entry::parse(path, number, line)?;
        match before {
            // Lines of the pending file that were appended already.
            Some((known, _)) if entry.number <= known => return Ok(()),
            Some((known, digest)) if (entry.number, entry.after) != (known + 1, Some(digest)) => {
                let reason = format!(
                    "entry {} does not follow entry {known}: a line was changed, or is missing",
                    entry.number
                );
                return Err(Entry::refused(path, number, reason));
            }
            None if !entry.whole => {
                return Err(Entry::refused(path, number, "the beginning of the file is missing"));
            }
            _ => {}
        }
        before = Some((entry.number, Digest::of(line)));
        each(entry)
    };
    for path in files_of(dir)? {
        for (index, line) in Lines::open(&path)?.enumerate() {
            hand_over(&path, index as u64 + 1, &line?)?;
        }
    }
    let path = dir.join(Trail::PENDING);
    let pending = pending(dir)?;
    let lines = pending.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    for (index, line) in lines.enumerate() {
        hand_over(&path, index as u64 + 1, line)?;
    }
    Ok(())
}

/// Makes belief and rules from the entries alone, and checks them against the digests that each entry names.
pub fn replay(dir: &Path) -> Result<Replayed, StateError> {
    let mut replayed = Replayed::default();
    entries(dir, |entry| {
        if entry.whole {
            replayed = Replayed::default();
        }
        let belief = std::mem::take(&mut replayed.belief);
        replayed.belief =
            belief.changed_by(&entry.belief).map_err(|error| entry.damaged(&error))?;
        replayed.rule_set =
            replayed.rule_set.changed_by(&entry.rules).map_err(|error| entry.damaged(&error))?;
        if replayed.rule_set.digest() != entry.rule_set {
            return Err(entry.damaged(&"the rules that it makes are not those that it names"));
        }
        if super::digest_of(&replayed.belief)? != entry.belief_digest {
            return Err(entry.damaged(&"the belief that it makes is not the one that it names"));
        }
        replayed.last = Some(entry);
        Ok(())
    })?;
    Ok(replayed)
}
