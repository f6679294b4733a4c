//! A folder into which publications are dropped: for hosts without internet.
//!
//! A file counts when it is complete, however it got there: it must have stood still for the settle time, be the same before
//! and after it was read, and be one whole valid document. Hidden files are somebody's temporary ones. The newest publication
//! of the feed's cloud is found, once; files that were read before are not read again. That a file vanishes, is damaged or
//! becomes unreadable changes nothing of what was found before.

mod files;
mod watch;

pub use watch::{Watch, Watching};

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::civil::Date;

use super::FeedError;
use super::source::{Found, Step, Terms};
use crate::config::{Config, Directory};
use crate::os;
use crate::snapshot::{Digest, Publication, Seen, date_in_name};
use files::{Candidate, Stamp};

/// A feed of a folder.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
    settle: Duration,
    poll: Duration,
    /// What is known of the files that were read, by name.
    known: Arc<Mutex<BTreeMap<OsString, Known>>>,
    /// The newest that was found: when it goes away, an older one that is left is no news.
    newest: Option<Edition>,
}

/// What the order of publications goes by.
#[derive(Debug, Clone, Copy)]
struct Edition {
    date: Option<Date>,
    number: u64,
}

/// A file that was read while it stood still.
#[derive(Debug, Clone)]
struct Known {
    stamp: Stamp,
    made: Made,
}

/// What was made of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Made {
    /// A publication of the feed's cloud.
    Publication { number: u64, bytes: Digest },
    /// One of another cloud.
    OtherCloud,
    /// No publication.
    Refused,
}

/// The best publication so far of one look through the folder.
struct Best {
    edition: Edition,
    bytes: Digest,
    /// Only of a file that was read in this look.
    fresh: Option<(Publication, Vec<u8>)>,
}

impl Folder {
    pub(super) fn new(directory: &Directory, config: &Config) -> Self {
        Self {
            path: config.beside(&directory.path),
            settle: directory.settle.duration(),
            poll: directory.poll.duration(),
            known: Arc::default(),
            newest: None,
        }
    }

    pub(super) fn watch(&self) -> Watch {
        Watch::start(self.path.clone(), self.settle, self.poll)
    }

    pub(super) async fn look(
        &mut self,
        terms: &Terms,
        seen: Option<&Seen>,
    ) -> Result<Step, FeedError> {
        let mut candidates = self.candidates().await?;
        // What was just put there is waited for, once: it may be all that somebody asks for.
        let longest =
            candidates.iter().filter_map(|candidate| candidate.restless(self.settle)).max();
        if let Some(longest) = longest {
            tokio::time::sleep(longest).await;
            candidates = self.candidates().await?;
        }
        candidates.retain(|candidate| candidate.restless(self.settle).is_none());
        let (folder, terms, seen) = (self.clone(), terms.clone(), seen.cloned());
        let step = in_background(move || folder.choose(candidates, &terms, seen.as_ref())).await?;
        if let Step::New(found) = &step {
            let number = found.publication.snapshot.change_number();
            self.newest = Some(Edition { date: found.publication.date, number });
        }
        Ok(step)
    }

    async fn candidates(&self) -> Result<Vec<Candidate>, FeedError> {
        let path = self.path.clone();
        in_background(move || files::candidates(&path)).await
    }

    /// Finds the newest publication among files that stand still, the newest date first. Blocks.
    fn choose(
        &self,
        mut candidates: Vec<Candidate>,
        terms: &Terms,
        seen: Option<&Seen>,
    ) -> Result<Step, FeedError> {
        // Of a file without a date only its number tells how new it is, so all of those are read.
        candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.date()));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|name, _| candidates.iter().any(|candidate| candidate.name == *name));
        let mut best: Option<Best> = None;
        let mut trouble = None;
        for candidate in &candidates {
            let date = candidate.date();
            if date.is_some() && best.as_ref().is_some_and(|best| best.edition.date.is_some()) {
                continue; // an older date
            }
            match self.consider(candidate, terms, &mut known) {
                Ok(Some(found)) => {
                    if best.as_ref().is_none_or(|best| found.edition.is_newer_than(&best.edition)) {
                        best = Some(found);
                    }
                }
                Ok(None) => {}
                // The first is about the newest date.
                Err(error) => trouble = trouble.or(Some(error)),
            }
        }
        let none = best.is_none();
        match best {
            Some(Best { bytes, edition, fresh: Some((publication, contents)) })
                if seen.is_none_or(|seen| seen.bytes != bytes)
                    && !self.newest.is_some_and(|newest| newest.is_newer_than(&edition)) =>
            {
                let seen = Seen::of(&contents);
                Ok(Step::New(Box::new(Found { publication, bytes: contents, seen })))
            }
            _ => match trouble {
                Some(error) => Err(error),
                None if none && seen.is_none() => Err(FeedError::Empty { path: self.path.clone() }),
                None => Ok(Step::Same(None)),
            },
        }
    }

    /// What a file is: from memory, or read now. Nothing when it is of another cloud, or still changes.
    fn consider(
        &self,
        candidate: &Candidate,
        terms: &Terms,
        known: &mut BTreeMap<OsString, Known>,
    ) -> Result<Option<Best>, FeedError> {
        let path = self.path.join(&candidate.name);
        let date = candidate.date();
        if let Some(Known { stamp, made }) = known.get(&candidate.name)
            && *stamp == candidate.stamp
        {
            match made {
                Made::Publication { number, bytes } => {
                    let edition = Edition { date, number: *number };
                    return Ok(Some(Best { edition, bytes: *bytes, fresh: None }));
                }
                Made::OtherCloud => return Ok(None),
                Made::Refused => {} // read again, for the reason
            }
        }
        let source = candidate.open_path(&self.path)?;
        let read = os::files::read_bounded(&source, terms.policy.max_bytes);
        let contents = match read {
            Ok(contents) => contents,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(source) => return Err(FeedError::Read { path, source }),
        };
        if !candidate.still_stands(&self.path) {
            return Ok(None);
        }
        let mut remember = |made| {
            let entry = Known { stamp: candidate.stamp.clone(), made };
            known.insert(candidate.name.clone(), entry);
        };
        match terms.read_here(&contents, path.display().to_string()) {
            Ok(publication) => {
                let number = publication.snapshot.change_number();
                let bytes = Digest::of(&contents);
                remember(Made::Publication { number, bytes });
                let edition = Edition { date, number };
                Ok(Some(Best { edition, bytes, fresh: Some((publication, contents)) }))
            }
            Err(FeedError::WrongCloud { .. }) => {
                remember(Made::OtherCloud);
                Ok(None)
            }
            Err(error) => {
                remember(Made::Refused);
                Err(error)
            }
        }
    }
}

impl Edition {
    /// By date where both have one, else by number.
    fn is_newer_than(&self, other: &Self) -> bool {
        match (self.date, other.date) {
            (Some(date), Some(others)) => date > others,
            _ => self.number > other.number,
        }
    }
}

impl Candidate {
    fn date(&self) -> Option<Date> {
        date_in_name(&self.name.to_string_lossy())
    }
}

/// Runs what blocks on a thread where it may.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FeedError> + Send + 'static,
) -> Result<T, FeedError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(FeedError::Unusable(format!("looking into the folder was given up: {error}")))
    })
}
