//! Hostnames, as the loop has them: followed by themselves, told, and given to the worker when their addresses changed.
//!
//! Owns what is known of names while the agent runs. An answer is followed at once by a small generation: neither the quiet
//! period nor the calendar hold it up, because what is waited for is an address that clients already use.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::engine::{Done, Engine};
use super::gather::Cause;
use super::jobs::{self, Followed};
use super::{AgentError, clock, tell};
use crate::config::{Config, HostName};
use crate::names::{Book, Changed, Expected, Follower, Outside};
use crate::report::NameStatus;

/// How often what is known is shown although no address changed: when each name was answered last.
const SHOW_EVERY: Duration = Duration::from_secs(60);
/// How often it is kept on disk although no address changed.
const KEEP_EVERY: Duration = Duration::from_secs(3600);

/// The names, and how what is in force stands to them.
#[derive(Debug)]
pub(super) struct Naming {
    follower: Follower,
    expected: Expected,
    outside: BTreeMap<HostName, Outside>,
    /// Whether addresses changed that are not followed yet.
    pending: bool,
    /// Whether the worker follows.
    following: bool,
    show: Instant,
    keep: Instant,
}

impl Naming {
    /// Starts from what was stored.
    pub(super) fn start(config: &Config, book: Book) -> Self {
        let now = Instant::now();
        Self {
            follower: Follower::new(config, book, clock::now()),
            expected: Expected::default(),
            outside: BTreeMap::new(),
            pending: false,
            following: false,
            show: now + SHOW_EVERY,
            keep: now + KEEP_EVERY,
        }
    }

    /// Goes on under another configuration.
    pub(super) fn reload(&mut self, config: &Config) {
        self.follower.reconfigure(config, clock::now());
    }

    /// What is known.
    pub(super) fn book(&self) -> &Book {
        self.follower.book()
    }

    /// What is known, for the status.
    pub(super) fn status(&self) -> Vec<NameStatus> {
        NameStatus::all(self.book(), &self.expected)
    }

    /// Waits until something changed. May be dropped at any time.
    pub(super) async fn changed(&mut self) -> Changed {
        self.follower.changed().await
    }

    /// Takes note of what should hold the addresses.
    pub(super) fn expect(&mut self, expected: Expected) {
        self.expected = expected;
        self.compare();
    }

    /// Says which addresses lie outside of the tag that should hold them, each once.
    fn compare(&mut self) {
        let outside = self.expected.outside(self.follower.book());
        for (name, Outside { tag, addresses }) in &outside {
            let known = self.outside.get(name).filter(|known| known.tag == *tag);
            for address in addresses {
                if !known.is_some_and(|known| known.addresses.contains(address)) {
                    warn!(%name, %address, %tag, "an address lies outside of the tag that should hold it: news, or an attack");
                }
            }
        }
        self.outside = outside;
    }

    /// What is known is to be followed, whether or not it was.
    pub(super) fn again(&mut self) {
        self.pending |= self.has_names();
    }

    fn has_names(&self) -> bool {
        self.book().entries().next().is_some()
    }

    /// When something is to be done although nothing changed; what is known is `shown` to nobody where nothing is served.
    pub(super) fn due(&self, shown: bool) -> Option<Instant> {
        self.has_names().then(|| if shown { self.show.min(self.keep) } else { self.keep })
    }
}

impl Engine {
    /// Something changed: addresses, or what is worth saying.
    pub(super) fn on_names(&mut self, changed: &Changed) {
        for news in &changed.news {
            if news.is_warning() { warn!("{news}") } else { info!("{news}") }
        }
        self.naming.compare();
        self.naming.pending |= changed.addresses;
        self.serving.touch();
    }

    /// Gives the jobs of names that are due.
    pub(super) fn follow_names(&mut self) -> Result<(), AgentError> {
        let now = Instant::now();
        if self.naming.has_names() && self.serving.is_wanted() && self.naming.show <= now {
            self.naming.show = now + SHOW_EVERY;
            self.serving.touch();
        }
        if self.naming.pending && !self.naming.following {
            (self.naming.pending, self.naming.following) = (false, true);
            self.naming.keep = now + KEEP_EVERY;
            let (config, templates) = (Arc::clone(&self.config), Arc::clone(&self.templates));
            let book = self.naming.book().clone();
            self.give(move |operator| {
                Done::Followed(Box::new(jobs::follow(operator, book, &config, &templates)))
            })?;
        } else if self.naming.has_names() && self.naming.keep <= now {
            self.naming.keep = now + KEEP_EVERY;
            let book = self.naming.book().clone();
            self.give(move |operator| {
                if let Err(error) = operator.keep_names(book) {
                    error!(error = %tell::chain(&error), "what was answered of hostnames cannot be kept");
                }
                Done::Answered { again: None }
            })?;
        }
        Ok(())
    }

    /// Takes note of what became of it.
    pub(super) fn followed(&mut self, followed: Followed) {
        self.naming.following = false;
        let Followed { result, took } = followed;
        match result {
            Ok(Some(offered)) => {
                tell::followed(&offered, took);
                if offered.published.is_some() && self.retry.is_some() {
                    // What failed before may succeed now as well.
                    self.retry = Some(Instant::now());
                }
            }
            // More than addresses would change: it is judged as a whole.
            Ok(None) => self.gather(Cause::Names),
            Err(error) => {
                debug!(?took, "names could not be followed");
                self.not_worked(&error);
            }
        }
    }

    /// Keeps what was answered for the next start.
    pub(super) fn keep_names(&self) {
        if self.naming.has_names() {
            let book = self.naming.book().clone();
            // Whether it was kept is not waited for: the next start asks again.
            _ = self.worker.give(move |operator| operator.keep_names(book));
        }
    }
}
