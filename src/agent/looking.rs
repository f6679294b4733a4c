//! What feeds tell the loop: their tasks started, and what each look brought taken note of.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{info, warn};

use super::engine::{Done, Engine};
use super::feeds::{Looked, Outcome, Tended};
use super::gather::Cause;
use super::{clock, jobs, tell};
use crate::config::Name;
use crate::feed::Watching;
use crate::operate::Operator;
use crate::report::FoundStatus;
use crate::snapshot::{Cloud, Publication, Seen};
use crate::state::{Edition, Standing};

impl Engine {
    /// Starts the tasks of all feeds anew; `known` are the clouds of which there is a publication.
    pub(super) fn tend_feeds(
        &mut self,
        known: &BTreeSet<Cloud>,
        seen: &BTreeMap<(String, Cloud), Seen>,
    ) {
        let mut before = std::mem::take(&mut self.feeds);
        for (name, feed) in &self.config.feeds {
            let cloud = feed.get_ref().cloud.unwrap_or_else(|| self.config.default_cloud());
            let nothing_known = !known.contains(&cloud);
            let seen = seen.get(&(name.as_str().to_owned(), cloud)).cloned();
            match Tended::start(name, &self.config, seen, nothing_known, &self.looked) {
                Ok(mut tended) => {
                    // What is known of a feed outlives a reload.
                    if let Some(old) = before.remove(name)
                        && old.status.kind == tended.status.kind
                        && old.status.cloud == tended.status.cloud
                    {
                        tended.status = old.status;
                    }
                    self.feeds.insert(name.clone(), tended);
                }
                Err(error) => {
                    warn!(feed = %name, error = %tell::chain(&error), "feed cannot be used");
                }
            }
        }
    }

    pub(super) fn on_look(&mut self, looked: Looked) {
        let Looked { feed, outcome, next, failures, took } = looked;
        let Some(tended) = self.feeds.get_mut(&feed) else { return };
        let status = &mut tended.status;
        if let Outcome::Watching(watching) = outcome {
            status.notes = match &watching {
                Watching::Kernel => Vec::new(),
                Watching::Polling { reason } => {
                    info!(%feed, %reason, "the folder is polled");
                    vec![format!("the folder is polled: {reason}")]
                }
            };
            return;
        }
        let now = clock::now();
        status.looked = Some(now);
        status.next = Some(next);
        status.failures = failures;
        let cloud = status.cloud;
        let error = if let Outcome::Failed(error) = &outcome { Some(error) } else { None };
        self.notifying.looked(&feed, error, failures);
        match outcome {
            Outcome::Unchanged(seen) => {
                status.answered = Some(now);
                status.error = None;
                info!(%feed, %cloud, took = ?took, "unchanged");
                let name = feed.clone();
                let confirm = move |operator: &mut Operator| Done::Confirmed {
                    held: jobs::confirm(operator, &name, cloud, seen.as_ref()),
                };
                if self.give(confirm).is_err() {
                    warn!(%feed, "the worker is overloaded or gone");
                }
            }
            Outcome::Found(found) => {
                let publication = &found.publication;
                tell::fetched(&feed, publication, took);
                status.answered = Some(now);
                status.error = None;
                status.found = Some(FoundStatus {
                    source: publication.source.clone(),
                    date: publication.date.map(|date| date.to_string()),
                    change_number: publication.snapshot.change_number(),
                    digest: publication.digest(),
                    at: now,
                });
                // Two feeds of one cloud: the newer one counts, and is judged against what is in use.
                let newer = self
                    .found
                    .get(&cloud)
                    .is_none_or(|other| is_newer(publication, &other.publication));
                if newer {
                    self.found.insert(cloud, *found);
                }
                self.gather(Cause::Publication);
            }
            Outcome::Failed(error) => {
                let text = tell::chain(&error);
                warn!(%feed, %cloud, error = %text, failures, next = %next, "failed to fetch");
                status.error = Some(text);
            }
            Outcome::Watching(_) => {}
        }
        for fetching in &mut self.fetching {
            fetching.looked(&feed);
        }
    }

    /// Asks feeds to look now: one, or all.
    pub(super) fn hurry(&self, only: Option<&Name>) {
        for (_, tended) in
            self.feeds.iter().filter(|(name, _)| only.is_none_or(|only| only == *name))
        {
            tended.hurry();
        }
    }
}

/// Whether a publication does not have to stand back behind another of its cloud.
fn is_newer(one: &Publication, other: &Publication) -> bool {
    Edition::of(one).against(&Edition::of(other)) != Standing::Older
}
