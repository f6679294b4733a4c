//! The newest good document of each cloud, as bytes.
//!
//! Used at start, when feeds may be unreachable. The document stands under a name that holds its digest, and a small file says
//! which one counts: so each of the two is replaced whole, and what is read is what was written or an error that says so.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::StateError;
use crate::os::files;
use crate::os::record::{self, Record, RecordError};
use crate::snapshot::{Cloud, Digest, Policy, Publication, Seen, Snapshot};

const FOLDER: &str = "publications";

/// The folder of archived publications.
#[derive(Debug, Clone)]
pub struct Archive {
    folder: PathBuf,
}

/// What is known of an archived document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    format: String,
    /// The cloud.
    pub cloud: Cloud,
    /// The digest of the document's bytes.
    pub bytes: Digest,
    /// The digest of its content.
    pub digest: Digest,
    /// Its change number.
    pub change_number: u64,
    /// The date in its name.
    pub date: Option<Date>,
    /// Where it was read from.
    pub source: String,
    /// The feed that brought it.
    pub feed: Option<String>,
    /// When it was brought first.
    pub taken: Timestamp,
    /// When a feed last said that it is still the newest.
    pub confirmed: Timestamp,
    /// By what its feed recognises it.
    pub seen: Option<Seen>,
}

impl Record for Entry {
    const FORMAT: &'static str = "tagwall-publication/1";
    const MAX_BYTES: u64 = 64 << 10;

    fn format(&self) -> &str {
        &self.format
    }
}

/// An archived publication.
#[derive(Debug, Clone)]
pub struct Archived {
    /// The publication, validated anew.
    pub publication: Publication,
    /// What is known of it.
    pub entry: Entry,
}

impl Entry {
    /// Of a publication that a feed brought as the document that is recognised by this.
    pub fn new(publication: &Publication, seen: Seen, now: Timestamp) -> Self {
        Self {
            format: Self::FORMAT.to_owned(),
            cloud: publication.snapshot.cloud(),
            bytes: seen.bytes,
            digest: publication.digest(),
            change_number: publication.snapshot.change_number(),
            date: publication.date,
            source: publication.source.clone(),
            feed: publication.feed.as_deref().map(str::to_owned),
            taken: now,
            confirmed: now,
            seen: Some(seen),
        }
    }
}

impl Archive {
    /// The archive of a state folder.
    pub fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join(FOLDER) }
    }

    /// Keeps a document in the place of the one before it: the one whose digest the entry has.
    pub fn store(&self, entry: &Entry, bytes: &[u8]) -> Result<(), StateError> {
        files::create_dir_all_durable(&self.folder, 0o755)?;
        files::replace(&self.document(entry), bytes)?;
        self.write(entry)?;
        self.sweep(entry.cloud, entry.bytes);
        Ok(())
    }

    /// Notes that the archived document of a cloud is still the newest, and by what its feed recognises it now.
    pub fn confirm(
        &self,
        cloud: Cloud,
        seen: Option<&Seen>,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let Some(mut entry) = self.entry(cloud)? else { return Ok(()) };
        entry.confirmed = now;
        if let Some(seen) = seen.filter(|seen| seen.bytes == entry.bytes) {
            entry.seen = Some(seen.clone());
        }
        self.write(&entry)
    }

    /// What is known of the archived document of a cloud; none when there is none.
    pub fn entry(&self, cloud: Cloud) -> Result<Option<Entry>, StateError> {
        let path = self.entry_path(cloud);
        let Some(entry) = record::read::<Entry>(&path)? else { return Ok(None) };
        if entry.cloud != cloud {
            return Err(
                RecordError::malformed(&path, format!("it is of cloud {}", entry.cloud)).into()
            );
        }
        Ok(Some(entry))
    }

    /// The archived publication of a cloud, checked against its digest and validated anew; none when there is none.
    pub fn load(&self, cloud: Cloud, policy: &Policy) -> Result<Option<Archived>, StateError> {
        let Some((bytes, entry)) = self.read(cloud, policy.max_bytes)? else { return Ok(None) };
        let path = self.document_path(cloud, entry.bytes);
        let snapshot = Snapshot::parse(&bytes, policy)
            .map_err(|error| RecordError::malformed(&path, error))?;
        if snapshot.cloud() != cloud {
            let reason = format!("it is of cloud {}", snapshot.cloud());
            return Err(RecordError::malformed(&path, reason).into());
        }
        let mut publication = Publication::new(snapshot, entry.source.clone());
        publication.date = entry.date;
        publication.feed = entry.feed.as_deref().map(Into::into);
        Ok(Some(Archived { publication, entry }))
    }

    /// The bytes of the archived document of a cloud, checked against their digest.
    pub fn read(
        &self,
        cloud: Cloud,
        max_bytes: u64,
    ) -> Result<Option<(Vec<u8>, Entry)>, StateError> {
        let Some(entry) = self.entry(cloud)? else { return Ok(None) };
        let path = self.document_path(cloud, entry.bytes);
        let bytes = files::read_bounded(&path, max_bytes)?;
        if Digest::of(&bytes) != entry.bytes {
            let reason = "it is not the document that was archived: its digest differs";
            return Err(RecordError::malformed(&path, reason).into());
        }
        Ok(Some((bytes, entry)))
    }

    /// Where the document of an entry stands. It is replaced by others and never changed in place.
    pub fn document(&self, entry: &Entry) -> PathBuf {
        self.document_path(entry.cloud, entry.bytes)
    }

    /// Forgets the document of a cloud, so that a feed has to bring it anew.
    pub fn forget(&self, cloud: Cloud) -> Result<(), StateError> {
        Ok(files::remove(&self.entry_path(cloud))?)
    }

    fn write(&self, entry: &Entry) -> Result<(), StateError> {
        files::replace(&self.entry_path(entry.cloud), &record::bytes(entry)?)?;
        Ok(())
    }

    /// Removes the documents of a cloud that do not count any more. One that stays does no harm.
    fn sweep(&self, cloud: Cloud, kept: Digest) {
        let keep = self.document_path(cloud, kept);
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let digest = name
                .strip_prefix(cloud.name())
                .and_then(|rest| rest.strip_prefix('-'))
                .and_then(|rest| rest.strip_suffix(".json"));
            if digest.is_some_and(|digest| digest.parse::<Digest>().is_ok()) && path != keep {
                _ = std::fs::remove_file(path);
            }
        }
    }

    fn entry_path(&self, cloud: Cloud) -> PathBuf {
        self.folder.join(format!("{cloud}.json"))
    }

    fn document_path(&self, cloud: Cloud, bytes: Digest) -> PathBuf {
        self.folder.join(format!("{cloud}-{bytes}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::EXAMPLE_DOCUMENT;

    fn publication(edit: &str) -> (Publication, Vec<u8>) {
        let text = EXAMPLE_DOCUMENT.replacen("192.0.2.0/26", edit, 1);
        let snapshot = Snapshot::parse(text.as_bytes(), &Policy::default()).unwrap();
        let source = "https://mirror.example/ServiceTags_Example_20250908.json";
        let mut publication = Publication::new(snapshot, source);
        publication.feed = Some("mirror".into());
        (publication, text.into_bytes())
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_kept_comes_back_with_everything_known_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::new(folder.path());
        let policy = Policy::default();
        assert!(archive.load(Cloud::Example, &policy).unwrap().is_none());
        let (first, bytes) = publication("192.0.2.0/26");
        let seen = Seen::of(&bytes);
        let entry = Entry::new(&first, seen.clone(), at("2025-09-08T12:00:00Z"));
        archive.store(&entry, &bytes).unwrap();
        let loaded = archive.load(Cloud::Example, &policy).unwrap().unwrap();
        assert_eq!(loaded.publication.digest(), first.digest());
        assert_eq!(loaded.publication.date, first.date);
        assert_eq!(loaded.publication.feed.as_deref(), Some("mirror"));
        assert_eq!(loaded.entry.seen, Some(seen));

        archive.confirm(Cloud::Example, None, at("2025-09-09T12:00:00Z")).unwrap();
        let entry = archive.entry(Cloud::Example).unwrap().unwrap();
        assert_eq!(entry.taken, at("2025-09-08T12:00:00Z"));
        assert_eq!(entry.confirmed, at("2025-09-09T12:00:00Z"));

        let (second, bytes) = publication("192.0.2.0/27");
        let entry = Entry::new(&second, Seen::of(&bytes), at("2025-09-15T12:00:00Z"));
        archive.store(&entry, &bytes).unwrap();
        let loaded = archive.load(Cloud::Example, &policy).unwrap().unwrap();
        assert_eq!(loaded.publication.digest(), second.digest());
        let files = std::fs::read_dir(folder.path().join(FOLDER)).unwrap().count();
        assert_eq!(files, 2, "the document before is still there");
    }

    #[test]
    fn a_document_that_was_changed_on_disk_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::new(folder.path());
        let (first, bytes) = publication("192.0.2.0/26");
        let entry = Entry::new(&first, Seen::of(&bytes), at("2025-09-08T12:00:00Z"));
        archive.store(&entry, &bytes).unwrap();
        let (_, other) = publication("192.0.2.0/27");
        let path = archive.document_path(Cloud::Example, Digest::of(&bytes));
        files::replace(&path, &other).unwrap();
        let error = archive.load(Cloud::Example, &Policy::default()).unwrap_err();
        assert!(error.to_string().contains("its digest differs"), "{error}");
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(
            archive.load(Cloud::Example, &Policy::default()),
            Err(StateError::File(_))
        ));
        files::replace(&archive.entry_path(Cloud::Example), b"{}").unwrap();
        assert!(matches!(
            archive.entry(Cloud::Example),
            Err(StateError::Record(RecordError::Malformed { .. }))
        ));
    }
}
