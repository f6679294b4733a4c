//! One task for each feed: it waits for its turn, looks, and tells the loop what became of it.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::clock;
use super::schedule::{Ended, Schedule, seed};
use crate::config::{Config, Feed, Name};
use crate::feed::{FeedError, Found, Look, Source, Watching};
use crate::report::FeedStatus;
use crate::snapshot::{Cloud, Seen};

/// What a feed's task tells the loop.
#[derive(Debug)]
pub(super) struct Looked {
    /// The feed.
    pub(super) feed: Name,
    /// What became of it.
    pub(super) outcome: Outcome,
    /// When it looks next.
    pub(super) next: Timestamp,
    /// How many looks have failed one after another.
    pub(super) failures: u32,
    /// How long the look took.
    pub(super) took: std::time::Duration,
}

/// What became of a look.
#[derive(Debug)]
pub(super) enum Outcome {
    /// There is nothing new; by what it is recognised from now on.
    Unchanged(Option<Seen>),
    /// A document that was not found before.
    Found(Box<Found>),
    /// There was no answer, or none that helps.
    Failed(FeedError),
    /// It is noticed in another way from now on when something changes; nothing was looked at.
    Watching(Watching),
}

/// A feed, as the loop sees it.
#[derive(Debug)]
pub(super) struct Tended {
    /// What the status says of it.
    pub(super) status: FeedStatus,
    /// Asks it to look now.
    hurry: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

impl Tended {
    /// Starts a feed's task. `seen` is what it brought in an earlier life.
    pub(super) fn start(
        name: &Name,
        config: &Config,
        seen: Option<Seen>,
        nothing_known: bool,
        events: &mpsc::Sender<Looked>,
    ) -> Result<Self, FeedError> {
        let mut source = Source::new(name, config)?;
        if let Some(seen) = seen {
            source.resume(seen);
        }
        let cloud = source.cloud();
        let feed = config.feeds.get(name).map(toml::Spanned::get_ref);
        let kind = feed.and_then(|feed| feed.kinds().first().map(|kind| kind.name()));
        let schedule = schedule(name, feed);
        let hurry = Arc::new(Notify::new());
        let task =
            tokio::spawn(tend(source, schedule, nothing_known, Arc::clone(&hurry), events.clone()));
        Ok(Self {
            status: blank(name, kind.unwrap_or_default(), cloud),
            hurry,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Looks now, whatever its schedule says.
    pub(super) fn hurry(&self) {
        self.hurry.notify_one();
    }
}

fn schedule(name: &Name, feed: Option<&Feed>) -> Schedule {
    let interval = feed.map_or(Feed::INTERVAL, |feed| feed.interval).duration();
    let splay = feed.map_or(Feed::SPLAY, |feed| feed.splay).duration();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Schedule::new(interval, splay, seed(&host, name.as_str()))
}

/// The status of a feed that was not looked at yet.
fn blank(name: &Name, kind: &str, cloud: Cloud) -> FeedStatus {
    FeedStatus {
        name: name.clone(),
        kind: kind.to_owned(),
        cloud,
        looked: None,
        answered: None,
        found: None,
        error: None,
        failures: 0,
        next: None,
        notes: Vec::new(),
    }
}

/// Waits for its turn, a change in the folder or the loop's word; looks; tells; for ever.
async fn tend(
    mut source: Source,
    mut schedule: Schedule,
    nothing_known: bool,
    hurry: Arc<Notify>,
    events: mpsc::Sender<Looked>,
) {
    let feed = source.name().clone();
    let mut watch = source.watch();
    let mut how = watch.as_ref().map(crate::feed::Watch::how);
    // A folder costs nobody anything: it is looked at when it changes, and now.
    let first = schedule.first(nothing_known || watch.is_some());
    let mut next = Instant::now() + first;
    loop {
        let turn = async {
            match &mut watch {
                // A watch that ended leaves the schedule.
                Some(watch) => {
                    if !watch.changed().await {
                        std::future::pending::<()>().await;
                    }
                }
                None => std::future::pending().await,
            }
        };
        let told = async {
            if let Some(how) = &mut how
                && how.changed().await.is_ok()
            {
                return how.borrow_and_update().clone();
            }
            std::future::pending().await
        };
        let outcome = tokio::select! {
            watching = told => Some(Outcome::Watching(watching)),
            () = sleep_until(next) => None,
            () = hurry.notified() => None,
            () = turn => None,
        };
        let began = Instant::now();
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => look(&mut source, &mut schedule, &mut next).await,
        };
        let looked = Looked {
            feed: feed.clone(),
            outcome,
            next: clock::at(next),
            failures: schedule.failures(),
            took: began.elapsed(),
        };
        if events.send(looked).await.is_err() {
            return; // the loop has ended
        }
    }
}

async fn look(source: &mut Source, schedule: &mut Schedule, next: &mut Instant) -> Outcome {
    let outcome = match source.look().await {
        Ok(Look::Unchanged) => Outcome::Unchanged(source.seen().cloned()),
        Ok(Look::Found(found)) => Outcome::Found(found),
        Err(error) => Outcome::Failed(error),
    };
    let ended = match &outcome {
        Outcome::Failed(error) if error.is_transient() => Ended::Badly(error.retry_after()),
        Outcome::Failed(_) => Ended::Hopelessly,
        _ => Ended::Well,
    };
    *next = Instant::now() + schedule.next(ended, fastrand::f64());
    outcome
}
