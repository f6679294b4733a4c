//! The loop's part: looks up what is due, and says when something changed.
//!
//! Owns the book while a loop runs, and the questions under way. Promises: [`Follower::changed`] may be dropped at any time
//! (in a `select!`) without losing an answer; answers of about a second are gathered into one change; a resolver that is
//! silent delays nobody but the names that wait for it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::answer::{Look, Reply, Said};
use super::book::{Book, Changed};
use super::resolvers::{ResolverError, Resolvers};
use super::wanted::wanted;
use crate::config::{Config, Dns, HostName};
use crate::intent::Intent;

/// Changes of this time are one: each costs a transaction in the kernel.
const GATHER: Duration = Duration::from_secs(1);
/// Names that are due this soon are looked up with those that are due now.
const AHEAD: Duration = Duration::from_secs(1);
/// Longest sleep: the clock of the wall may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Follows the names of a configuration.
#[derive(Debug)]
pub struct Follower {
    book: Book,
    dns: Dns,
    resolvers: Resolvers,
    looking: JoinSet<Look>,
    under_way: HashMap<Id, HostName>,
    gathered: Changed,
    /// When what is gathered is told.
    tell: Option<Instant>,
}

impl Follower {
    /// Starts from what was stored; every name is looked up soon.
    pub fn new(config: &Config, mut book: Book, now: Timestamp) -> Result<Self, ResolverError> {
        let resolvers = Resolvers::new(&config.dns)?;
        let gathered = want(&mut book, config, &resolvers, now);
        book.hurry(&[], now);
        Ok(Self {
            book,
            dns: config.dns.clone(),
            resolvers,
            looking: JoinSet::new(),
            under_way: HashMap::new(),
            tell: (!gathered.is_empty()).then(Instant::now),
            gathered,
        })
    }

    /// Goes on under another configuration. On an error everything stays as it was.
    pub fn reconfigure(&mut self, config: &Config, now: Timestamp) -> Result<(), ResolverError> {
        self.resolvers = Resolvers::new(&config.dns)?;
        self.dns = config.dns.clone();
        // What is under way was asked of others.
        self.looking = JoinSet::new();
        self.under_way.clear();
        let changed = want(&mut self.book, config, &self.resolvers, now);
        self.book.hurry(&[], now);
        self.gather(changed, true);
        Ok(())
    }

    /// What is known.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// Looks these names up now, or all when none is given.
    pub fn hurry(&mut self, names: &[HostName], now: Timestamp) {
        self.book.hurry(names, now);
    }

    /// Waits until something changed: addresses, or something worth saying. Never returns where there are no names.
    pub async fn changed(&mut self) -> Changed {
        loop {
            let now = Timestamp::now();
            let released = self.book.release(now);
            self.gather(released, false);
            self.start(now);
            let until = Instant::now() + self.pause(now);
            tokio::select! {
                Some(done) = self.looking.join_next_with_id(), if !self.looking.is_empty() => {
                    let look = match done {
                        Ok((id, look)) => {
                            self.under_way.remove(&id);
                            look
                        }
                        // A look that broke off is one that failed: it is tried again later, not at once.
                        Err(error) => match self.under_way.remove(&error.id()) {
                            Some(name) => broken(name),
                            None => continue,
                        },
                    };
                    let policy = self.dns.policy(&look.name);
                    let changed = self.book.apply(&look, &policy, Timestamp::now(), fastrand::f64());
                    self.gather(changed, self.looking.is_empty());
                }
                () = sleep_until(self.tell.unwrap_or(until)), if self.tell.is_some() => {
                    self.tell = None;
                    return std::mem::take(&mut self.gathered);
                }
                () = sleep_until(until) => {}
            }
        }
    }

    /// Asks for the names that are due and not asked for yet.
    fn start(&mut self, now: Timestamp) {
        let under_way: BTreeSet<&HostName> = self.under_way.values().collect();
        let mut due = self.book.due(now, AHEAD);
        due.retain(|name| !under_way.contains(name));
        for name in due {
            let (resolvers, asked) = (self.resolvers.clone(), name.clone());
            let task = self.looking.spawn(async move { resolvers.look(&asked).await });
            self.under_way.insert(task.id(), name);
        }
    }

    /// How long nothing is due.
    fn pause(&self, now: Timestamp) -> Duration {
        let waiting = |name: &HostName| self.under_way.values().any(|asked| asked == name);
        let next = self.book.next_due_of(|name| !waiting(name));
        next.and_then(|next| Duration::try_from(next.duration_since(now)).ok())
            .map_or(if next.is_some() { Duration::ZERO } else { LONGEST_SLEEP }, |pause| {
                pause.min(LONGEST_SLEEP)
            })
    }

    /// Keeps a change until it is told: after a second, or at once when nothing else is coming.
    fn gather(&mut self, changed: Changed, last: bool) {
        self.gathered.join(changed);
        if self.gathered.is_empty() {
            return;
        }
        let at = if last { Instant::now() } else { Instant::now() + GATHER };
        self.tell = Some(self.tell.map_or(at, |known| known.min(at)));
    }
}

/// Takes up the names of a configuration.
fn want(book: &mut Book, config: &Config, resolvers: &Resolvers, now: Timestamp) -> Changed {
    let names = wanted(config, &Intent::of(config));
    let labels = resolvers.labels().map(str::to_owned).collect();
    book.want(&names, &labels, &config.dns, now)
}

fn broken(name: HostName) -> Look {
    let said = || Said::Failed("the look broke off".to_owned());
    Look { name, replies: vec![Reply { resolver: "(none)".to_owned(), v4: said(), v6: said() }] }
}
