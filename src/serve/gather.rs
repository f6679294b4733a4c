//! A view gathered from the state folder, with as much as possible taken over from the view before.
//!
//! What cannot be read is told as a fault, and what was served before is served on: a damaged file must not empty a list.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::content::Content;
use super::view::{Document, Lists, View};
use crate::config::Config;
use crate::publish::Store;
use crate::report::{GroupStatus, History, ReportError, Status};
use crate::selection::Publications;
use crate::snapshot::{Cloud, Publication};
use crate::state::Archive;

/// Generations in the history of a view: a year of weekly publications.
const GENERATIONS: usize = 60;

/// What a view is gathered from.
#[derive(Debug)]
pub struct Sources<'s> {
    /// The state folder.
    pub state_dir: &'s Path,
    /// The configuration in use.
    pub config: &'s Config,
    /// What is believed, by cloud.
    pub believed: &'s Publications,
    /// What the agent knows.
    pub status: Status,
    /// Now.
    pub now: Timestamp,
}

impl View {
    /// Gathers a view. Blocks; reads the lists of a generation once, and documents and history only when they are others than before.
    pub fn gather(sources: Sources<'_>, before: Option<&Self>) -> Self {
        let mut view = Self::default();
        let mut status = sources.status;
        if let Some(generation) = status.generation {
            view.take_generation(
                sources.state_dir,
                generation,
                sources.config,
                &mut status,
                before,
            );
        }
        let known = before.and_then(|before| before.history.as_ref());
        match history(sources.state_dir, known) {
            Ok(history) => view.history = Some(history),
            Err(error) => view.faults.push(format!("the history cannot be shown: {error}")),
        }
        view.status = Some(Arc::new(status));
        let archive = Archive::new(sources.state_dir);
        for cloud in Cloud::ALL {
            let known = before.and_then(|before| before.publications.get(&cloud));
            match archived(&archive, cloud, known) {
                Ok(found) => view.publications.extend(found.map(|document| (cloud, document))),
                Err(reason) => {
                    view.faults
                        .push(format!("/publications/{cloud}.json cannot be served: {reason}"));
                    view.publications.extend(known.map(|known| (cloud, Arc::clone(known))));
                }
            }
        }
        for (cloud, publication) in sources.believed {
            let known = before.and_then(|before| before.believed.get(cloud));
            match believed(publication, known, sources.state_dir, sources.now) {
                Ok(document) => {
                    view.believed.insert(*cloud, document);
                }
                // What was believed before would be a decision that is not the guard's any more.
                Err(error) => {
                    view.faults.push(format!("/believed/{cloud}.json cannot be served: {error}"));
                }
            }
        }
        view
    }

    /// The lists and groups of a generation.
    fn take_generation(
        &mut self,
        state_dir: &Path,
        generation: u64,
        config: &Config,
        status: &mut Status,
        before: Option<&Self>,
    ) {
        let store = Store::new(state_dir);
        let known = before.and_then(|before| before.lists.as_ref());
        match Lists::read(&store, generation, config, known.map(AsRef::as_ref)) {
            Ok(lists) => self.lists = Some(Arc::new(lists)),
            Err(error) => {
                let stays = known.map_or("", |_| "; the lists before stay in service");
                self.faults.push(format!("{error}{stays}"));
                self.lists = known.cloned();
            }
        }
        if !status.groups.is_empty() {
            return;
        }
        let earlier = before.and_then(|before| before.status.as_deref());
        match earlier
            .filter(|earlier| earlier.rule_set.is_some() && earlier.rule_set == status.rule_set)
        {
            Some(earlier) => status.groups.clone_from(&earlier.groups),
            None => match store.rule_set(generation) {
                Ok(rule_set) => status.groups = GroupStatus::all(&rule_set),
                Err(error) => self.faults.push(format!("the groups cannot be shown: {error}")),
            },
        }
    }
}

/// The newest generations: those that are known, unless one came or went since.
fn history(dir: &Path, known: Option<&Arc<History>>) -> Result<Arc<History>, ReportError> {
    let Some(known) = known else { return Ok(Arc::new(History::read(dir, GENERATIONS)?)) };
    Ok(known.newer(dir, GENERATIONS)?.map_or_else(|| Arc::clone(known), Arc::new))
}

/// Microsoft's name of a document: the date in it is how publications are ordered.
fn file_name(cloud: Cloud, date: Option<jiff::civil::Date>) -> String {
    match date {
        Some(date) => {
            format!("ServiceTags_{}_{}.json", cloud.document_name(), date.strftime("%Y%m%d"))
        }
        None => format!("{cloud}.json"),
    }
}

/// The archived document of a cloud.
fn archived(
    archive: &Archive,
    cloud: Cloud,
    known: Option<&Arc<Document>>,
) -> Result<Option<Arc<Document>>, String> {
    let Some(entry) = archive.entry(cloud).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let name = file_name(cloud, entry.date);
    if let Some(known) =
        known.filter(|known| known.content.digest() == entry.bytes && known.name == name)
    {
        return Ok(Some(Arc::clone(known)));
    }
    let path = archive.document(&entry);
    let content =
        Content::of_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    if content.digest() != entry.bytes {
        return Err(format!("{} is not the document that was archived", path.display()));
    }
    let document = Document {
        content: Arc::new(content),
        name,
        modified: entry.taken.into(),
        of: entry.digest,
    };
    Ok(Some(Arc::new(document)))
}

/// What is believed, in the form of a publication.
fn believed(
    publication: &Publication,
    known: Option<&Arc<Document>>,
    folder: &Path,
    now: Timestamp,
) -> std::io::Result<Arc<Document>> {
    let cloud = publication.snapshot.cloud();
    let (of, name) = (publication.digest(), file_name(cloud, publication.date));
    if let Some(known) = known.filter(|known| known.of == of && known.name == name) {
        return Ok(Arc::clone(known));
    }
    let content = Content::spooled(&publication.snapshot.document(), folder)?;
    Ok(Arc::new(Document { content: Arc::new(content), name, modified: now.into(), of }))
}
