//! The loop's part: looks up what is due, and says when something changed.
//!
//! Owns the book while a loop runs, and the questions under way. Promises: [`Follower::changed`] may be dropped at any time
//! (in a `select!`) without losing an answer; answers of about a second are gathered into one change; a resolver that is
//! silent delays nobody but the names that wait for it; resolvers that cannot be set up are names that are not answered, and
//! are set up once that is possible; what /etc/resolv.conf says is taken up when it changes.

use std::collections::HashMap;
use std::future::pending;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::answer::{Look, Reply, Said};
use super::book::{Book, Changed};
use super::resolvers::{self, MAX_REASON, Resolvers};
use super::wanted::wanted;
use crate::config::{Config, Dns, HostName};
use crate::intent::Intent;
use crate::os::printable::printable;

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
    /// None: they cannot be set up; why.
    resolvers: Result<Resolvers, String>,
    looking: JoinSet<Look>,
    under_way: HashMap<Id, HostName>,
    gathered: Changed,
    /// When what is gathered is told.
    tell: Option<Instant>,
}

impl Follower {
    /// Starts from what was stored; every name is looked up soon.
    pub fn new(config: &Config, mut book: Book, now: Timestamp) -> Self {
        let gathered = want(&mut book, config, now);
        book.hurry(now);
        Self {
            book,
            dns: config.dns.clone(),
            resolvers: set_up(&config.dns),
            looking: JoinSet::new(),
            under_way: HashMap::new(),
            tell: (!gathered.is_empty()).then(Instant::now),
            gathered,
        }
    }

    /// Goes on under another configuration.
    pub fn reconfigure(&mut self, config: &Config, now: Timestamp) {
        self.resolvers = set_up(&config.dns);
        self.dns = config.dns.clone();
        // What is under way was asked of others.
        self.looking = JoinSet::new();
        self.under_way.clear();
        let changed = want(&mut self.book, config, now);
        self.book.hurry(now);
        self.gather(changed, true);
    }

    /// What is known.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// Waits until something changed: addresses, or something worth saying. Never returns where there are no names.
    pub async fn changed(&mut self) -> Changed {
        if self.book.entries().next().is_none() && self.tell.is_none() {
            pending::<()>().await;
        }
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
                            Some(name) => failed(name, "the look broke off"),
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
        let due = self.book.take_due(now, AHEAD);
        if due.is_empty() {
            return;
        }
        if !self.resolvers.as_ref().is_ok_and(Resolvers::are_current) {
            self.renew();
        }
        for name in due {
            let (resolvers, asked) = (self.resolvers.clone(), name.clone());
            let task = self.looking.spawn(async move {
                match resolvers {
                    Ok(resolvers) => resolvers.look(&asked).await,
                    Err(reason) => failed(asked, &reason),
                }
            });
            self.under_way.insert(task.id(), name);
        }
    }

    /// Sets the resolvers up anew. Where that fails, those who could be asked so far are asked further.
    fn renew(&mut self) {
        let renewed = set_up(&self.dns);
        if renewed.is_ok() || self.resolvers.is_err() {
            self.resolvers = renewed;
        }
    }

    /// How long nothing is due.
    fn pause(&self, now: Timestamp) -> Duration {
        let next = self.book.next_due();
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
fn want(book: &mut Book, config: &Config, now: Timestamp) -> Changed {
    let names = wanted(config, &Intent::of(config));
    book.want(&names, &resolvers::labels(&config.dns), &config.dns, now)
}

fn set_up(dns: &Dns) -> Result<Resolvers, String> {
    Resolvers::new(dns).map_err(|error| printable(&error.to_string(), MAX_REASON))
}

/// A look that nobody answered, because nobody was asked.
fn failed(name: HostName, reason: &str) -> Look {
    let said = || Said::Failed(reason.to_owned());
    Look { name, replies: vec![Reply { resolver: "(none)".to_owned(), v4: said(), v6: said() }] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{News, steps};

    /// Follows so many names, whose resolvers cannot be set up, until each was looked up once; the steps that this takes.
    fn steps_of_a_round(count: usize) -> u64 {
        let hosts: Vec<String> = (0..count).map(|n| format!("\"n{n}.example.com\"")).collect();
        let config: Config = toml::from_str(&format!(
            "cloud = \"example\"\n[groups.web]\nhosts = [{}]\n[targets.lists.list]\n\
             [dns]\nresolvers = [\"192.0.2.53\"]\ntrust-anchor = \"/nowhere/keys\"\n",
            hosts.join(", ")
        ))
        .unwrap();
        let mut follower = Follower::new(&config, Book::default(), Timestamp::now());
        let before = steps::taken();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut failing = 0;
        while failing < count {
            let news = runtime.block_on(follower.changed()).news;
            failing += news.iter().filter(|news| matches!(news, News::Failing(..))).count();
        }
        let steps = steps::taken() - before;
        let failures = |entry: &crate::names::Entry| entry.failures;
        assert!(follower.book().entries().all(|(_, entry)| failures(entry) == 1));
        steps
    }

    #[test]
    fn steps_of_following_grow_with_due_names_alone() {
        let few = steps_of_a_round(100);
        let many = steps_of_a_round(1_600);
        assert!(few >= 100, "each name is a step at least: {few}");
        assert!(many <= 17 * few, "{few} steps for 100 names, {many} for 1,600");
    }
}
