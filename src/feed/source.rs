//! One feed of the configuration.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::directory::{Folder, Watch};
use super::discovery::Api;
use super::download::Page;
use super::http::Fixed;
use super::{FeedError, parse};
use crate::config::{AppSecret, Config, Discovery, Feed, FeedKind, Identity, Name};
use crate::snapshot::{Cloud, Policy, Publication, Seen};
use crate::web;

/// A feed, looked at when its turn comes.
#[derive(Debug)]
pub struct Source {
    name: Name,
    terms: Terms,
    way: Way,
    seen: Option<Seen>,
}

/// What became of a look.
#[derive(Debug)]
pub enum Look {
    /// There is nothing new.
    Unchanged,
    /// A document that was not found before.
    Found(Box<Found>),
}

/// A document that a feed brought.
#[derive(Debug, Clone)]
pub struct Found {
    /// The validated document.
    pub publication: Publication,
    /// The document as it is archived.
    pub bytes: Vec<u8>,
    /// By what it is recognised, to be archived with it.
    pub seen: Seen,
}

/// A credential of a feed that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// What ends: `certificate /etc/tagwall/client.pem`.
    pub what: String,
    /// When.
    pub at: Timestamp,
}

/// What every way needs to know of the feed.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) cloud: Cloud,
    pub(super) policy: Arc<Policy>,
}

#[derive(Debug)]
enum Way {
    Download(Page),
    Http(Fixed),
    Discovery(Box<Api>),
    Directory(Folder),
}

/// What a way made of a look.
#[derive(Debug)]
pub(super) enum Step {
    /// It is the same; how it is recognised from now on.
    Same(Option<Seen>),
    /// It is another.
    New(Box<Found>),
}

impl Source {
    /// Makes a feed ready; nothing is asked yet.
    pub fn new(name: &Name, config: &Config) -> Result<Self, FeedError> {
        let unknown = || FeedError::Unusable(format!("the configuration has no feed {name}"));
        let feed = config.feeds.get(name).ok_or_else(unknown)?.get_ref();
        let terms = Terms {
            cloud: feed.cloud.unwrap_or_else(|| config.default_cloud()),
            policy: Arc::new(config.policy()),
        };
        let connection = feed.connection.located(config);
        let way = match feed.kinds().first().copied().ok_or_else(unknown)? {
            FeedKind::Download(download) => Way::Download(Page::new(download, connection, &terms)?),
            FeedKind::Http(http) => Way::Http(Fixed::new(http, connection, config)),
            FeedKind::Directory(directory) => Way::Directory(Folder::new(directory, config)),
            FeedKind::Discovery(discovery) => {
                Way::Discovery(Box::new(Api::new(discovery, connection, config, &terms)?))
            }
        };
        Ok(Self { name: name.clone(), terms, way, seen: None })
    }

    /// The feed's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The cloud whose publications it brings.
    pub fn cloud(&self) -> Cloud {
        self.terms.cloud
    }

    /// Goes on from a document that this feed brought in an earlier life: only what differs is found from now on.
    pub fn resume(&mut self, seen: Seen) {
        self.seen = Some(seen);
    }

    /// By what the document that was found last is recognised: it changes also when the document does not.
    pub fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref()
    }

    /// Looks once.
    pub async fn look(&mut self) -> Result<Look, FeedError> {
        let step = match &mut self.way {
            Way::Download(page) => page.look(&self.terms, self.seen.as_ref()).await?,
            Way::Http(fixed) => fixed.look(&self.terms, self.seen.as_ref()).await?,
            Way::Discovery(api) => api.look(&self.terms, self.seen.as_ref()).await?,
            Way::Directory(folder) => folder.look(&self.terms, self.seen.as_ref()).await?,
        };
        match step {
            Step::Same(seen) => {
                self.seen = seen.or(self.seen.take());
                Ok(Look::Unchanged)
            }
            Step::New(mut found) => {
                found.publication.feed = Some(self.name.as_str().into());
                self.seen = Some(found.seen.clone());
                Ok(Look::Found(found))
            }
        }
    }

    /// Watches a directory feed; nothing for the other kinds, which can only be asked. Needs a tokio runtime.
    pub fn watch(&self) -> Option<Watch> {
        match &self.way {
            Way::Directory(folder) => Some(folder.watch()),
            Way::Download(_) | Way::Http(_) | Way::Discovery(_) => None,
        }
    }
}

/// The credentials of a feed that are known to end, the first to end first. Reads certificates: call it now and then.
pub fn endings(feed: &Feed, config: &Config) -> Result<Vec<Ending>, FeedError> {
    let mut found = Vec::new();
    let mut certificates = Vec::new();
    certificates.extend(feed.connection.located(config).certificate_file);
    for identity in feed.discovery.iter().flat_map(Discovery::identities) {
        match identity {
            Identity::Certificate(app) => certificates.push(config.beside(&app.certificate_file)),
            Identity::Secret(AppSecret { expires: Some(day), client_id, .. }) => {
                let what = format!("client secret of application {client_id}");
                found.extend(
                    day.to_zoned(TimeZone::UTC).ok().map(|at| Ending { what, at: at.timestamp() }),
                );
            }
            Identity::Secret(_) | Identity::Machine(_) | Identity::Arc(_) => {}
        }
    }
    for path in certificates {
        let end = web::certificate_end(&path)?;
        found.push(Ending { what: format!("certificate {}", end.path.display()), at: end.at });
    }
    found.sort_by_key(|ending| ending.at);
    Ok(found)
}

impl Terms {
    /// Reads a document of the feed's cloud, on a thread where it may take its time.
    pub(super) async fn read(
        &self,
        bytes: Vec<u8>,
        origin: String,
    ) -> Result<(Publication, Vec<u8>), FeedError> {
        let terms = self.clone();
        let reading = tokio::task::spawn_blocking(move || {
            terms.read_here(&bytes, origin).map(|publication| (publication, bytes))
        });
        reading.await.unwrap_or_else(|error| {
            Err(FeedError::Unusable(format!("reading the document was given up: {error}")))
        })
    }

    /// The same on this thread.
    pub(super) fn read_here(&self, bytes: &[u8], origin: String) -> Result<Publication, FeedError> {
        let publication = parse(bytes, &self.policy, origin)?;
        let found = publication.snapshot.cloud();
        if found == self.cloud {
            Ok(publication)
        } else {
            Err(FeedError::WrongCloud { origin: publication.source, expected: self.cloud, found })
        }
    }
}
