//! What the agent hands over to be served, and how it is gathered from a recorded generation.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::body::Bytes;
use jiff::Timestamp;
use thiserror::Error;

use super::conditional::Modified;
use super::content::Content;
use crate::config::{Config, Dialect, Fortios, Name, PanosFormat};
use crate::os::files::{self, FileError};
use crate::publish::{PublishError, Store};
use crate::report::{History, ListStatus, Status};
use crate::snapshot::{Cloud, Digest};

/// Largest list that is served, in bytes.
const MAX_LIST: u64 = 1 << 28;

/// Everything that is served at one moment: an answer is made from one of these and no other.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// What the agent knows, with the groups; none before it has looked.
    pub status: Option<Arc<Status>>,
    /// The newest generations, for the page.
    pub history: Option<Arc<History>>,
    /// The lists of the generation in force; none while there is no generation.
    pub lists: Option<Arc<Lists>>,
    /// The newest publication of each cloud, as it was fetched.
    pub publications: BTreeMap<Cloud, Arc<Document>>,
    /// What the guard believes of each cloud, in the form of a publication.
    pub believed: BTreeMap<Cloud, Arc<Document>>,
    /// What cannot be served as it should.
    pub faults: Vec<String>,
}

/// A document of a cloud.
#[derive(Debug)]
pub struct Document {
    /// Its bytes.
    pub content: Arc<Content>,
    /// Its name as a file: Microsoft's, with the date by which publications are ordered, when there is one.
    pub name: String,
    /// Since when it is the newest.
    pub modified: Modified,
    /// The digest of the publication that it stands for.
    pub of: Digest,
}

/// The lists of one generation.
#[derive(Debug, Default)]
pub struct Lists {
    /// The generation.
    pub generation: u64,
    by_path: BTreeMap<Arc<str>, Arc<List>>,
}

/// A list that firewalls fetch.
#[derive(Debug)]
pub struct List {
    /// `TARGET/FILE`: what stands behind `/lists/`.
    pub path: Arc<str>,
    /// The target that it belongs to.
    pub target: Name,
    /// Its file, without a folder.
    pub file: String,
    /// Its bytes.
    pub content: Arc<Content>,
    /// Since when it has these bytes.
    pub modified: Modified,
    /// IPv4 lines.
    pub v4: usize,
    /// IPv6 lines.
    pub v6: usize,
    /// How much the device takes.
    pub capacity: Option<Capacity>,
}

/// How many entries a device takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capacity {
    /// In this list.
    Each(usize),
    /// In all lists of the target.
    Together(usize),
}

/// Why a generation cannot be served.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ViewError {
    /// It cannot be read.
    #[error("cannot serve generation {generation}: {source}")]
    Generation {
        /// The generation.
        generation: u64,
        /// Why.
        source: Box<PublishError>,
    },
    /// A list cannot be read.
    #[error("cannot serve generation {generation}: {source}")]
    List {
        /// The generation.
        generation: u64,
        /// Why.
        source: FileError,
    },
    /// A list was changed.
    #[error(
        "cannot serve generation {generation}: {path} is not what its manifest says; publish again, or roll back"
    )]
    Damaged {
        /// The generation.
        generation: u64,
        /// The list.
        path: String,
    },
}

impl List {
    /// How many entries it has.
    pub fn entries(&self) -> usize {
        self.v4 + self.v6
    }
}

impl Lists {
    /// Reads the lists of a generation, and checks each against the manifest. What `before` has is not read again.
    pub fn read(
        store: &Store,
        generation: u64,
        config: &Config,
        before: Option<&Self>,
    ) -> Result<Self, ViewError> {
        let unreadable =
            |source: PublishError| ViewError::Generation { generation, source: Box::new(source) };
        let known = store.read(generation).map_err(unreadable)?;
        let since = known.outcome.as_ref().map_or(known.manifest.created, |outcome| outcome.at);
        let mut lists = Self { generation, by_path: BTreeMap::new() };
        for (target, record) in &known.manifest.targets {
            let folder = store.path(generation).join(target.as_str());
            for (file, record) in
                record.files.iter().filter(|(file, _)| is_list(&record.dialect, file))
            {
                let path = format!("{target}/{file}");
                let known = lists.with(record.sha256).or_else(|| before?.with(record.sha256));
                let content = if let Some(known) = known {
                    known
                } else {
                    let bytes = files::read_bounded(&folder.join(file), MAX_LIST)
                        .map_err(|source| ViewError::List { generation, source })?;
                    let content = Content::new(bytes);
                    if content.digest() != record.sha256 {
                        return Err(ViewError::Damaged { generation, path });
                    }
                    Arc::new(content)
                };
                lists.insert(config, target, file, content, since, before);
            }
        }
        Ok(lists)
    }

    /// Lists made of these bytes, for a generation that is not on disk. What `before` has keeps its time.
    pub fn of<'l>(
        generation: u64,
        files: impl IntoIterator<Item = (&'l Name, &'l str, Bytes)>,
        config: &Config,
        since: Timestamp,
        before: Option<&Self>,
    ) -> Self {
        let mut lists = Self { generation, by_path: BTreeMap::new() };
        for (target, file, bytes) in files {
            lists.insert(config, target, file, Arc::new(Content::new(bytes)), since, before);
        }
        lists
    }

    fn insert(
        &mut self,
        config: &Config,
        target: &Name,
        file: &str,
        content: Arc<Content>,
        since: Timestamp,
        before: Option<&Self>,
    ) {
        let path: Arc<str> = format!("{target}/{file}").into();
        let same = before
            .and_then(|before| before.get(&path))
            .filter(|list| list.content.digest() == content.digest());
        let (v4, v6) = match same {
            Some(list) => (list.v4, list.v6),
            None => content.bytes().map_or((0, 0), |bytes| count(bytes)),
        };
        let list = List {
            path: Arc::clone(&path),
            target: target.clone(),
            file: file.to_owned(),
            modified: same.map_or_else(|| since.into(), |list| list.modified.clone()),
            capacity: capacity(config, target),
            content,
            v4,
            v6,
        };
        self.by_path.insert(path, Arc::new(list));
    }

    /// A list by `TARGET/FILE`.
    pub fn get(&self, path: &str) -> Option<&Arc<List>> {
        self.by_path.get(path)
    }

    /// All lists, by path.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<List>> {
        self.by_path.values()
    }

    /// All of them for people and programs.
    pub fn status(&self) -> Vec<ListStatus> {
        let of = |list: &Arc<List>| {
            let (capacity, counted) = match list.capacity {
                None => (None, None),
                Some(Capacity::Each(most)) => (Some(most), Some(list.entries())),
                Some(Capacity::Together(most)) => (Some(most), Some(self.entries_of(&list.target))),
            };
            ListStatus {
                target: list.target.clone(),
                file: list.file.clone(),
                digest: list.content.digest(),
                modified: list.modified.at,
                bytes: list.content.length(),
                v4: list.v4,
                v6: list.v6,
                capacity,
                counted,
            }
        };
        self.iter().map(of).collect()
    }

    /// How many entries all lists of a target have.
    pub fn entries_of(&self, target: &Name) -> usize {
        self.iter().filter(|list| list.target == *target).map(|list| list.entries()).sum()
    }

    fn with(&self, digest: Digest) -> Option<Arc<Content>> {
        let list = self.iter().find(|list| list.content.digest() == digest)?;
        Some(Arc::clone(&list.content))
    }
}

/// Whether a file of this dialect is a list that devices fetch: the others are scripts, checks and documents.
fn is_list(dialect: &str, file: &str) -> bool {
    match dialect {
        "list" => true,
        "panos" | "fortios" => {
            file != "check.txt" && file.rsplit_once('.').is_some_and(|(_, ending)| ending == "txt")
        }
        _ => false,
    }
}

/// IPv4 and IPv6 lines.
fn count(bytes: &[u8]) -> (usize, usize) {
    let lines = bytes.split(|byte| *byte == b'\n');
    lines.filter(|line| !line.is_empty() && line[0] != b'#').fold((0, 0), |(v4, v6), line| {
        if line.contains(&b':') { (v4, v6 + 1) } else { (v4 + 1, v6) }
    })
}

fn capacity(config: &Config, target: &Name) -> Option<Capacity> {
    let target = config.targets.get(target)?.get_ref();
    match *target.dialects().first()? {
        Dialect::List(settings) => settings.max_entries.map(Capacity::Each),
        Dialect::Panos(settings) if settings.format == PanosFormat::Edl => {
            settings.lists.as_ref().map(|lists| Capacity::Together(lists.max_entries))
        }
        Dialect::Fortios(settings) if settings.version.full() < (7, 4, 4) => {
            Some(Capacity::Each(settings.entry_limit.unwrap_or(Fortios::ENTRIES_EACH)))
        }
        Dialect::Fortios(settings) => {
            Some(Capacity::Together(settings.entry_limit.unwrap_or(Fortios::ENTRIES_TOGETHER)))
        }
        _ => None,
    }
}
