//! The server, as the loop has it: started, given something to show after each job, reloaded and stopped.
//!
//! What is shown is gathered by the worker while nothing else is at work, so that it is of one moment. A server that cannot be
//! started, or cannot take its new settings, is told in the status and tried again each time something is shown; the loop goes
//! on without it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::engine::{Done, Engine};
use super::{AgentError, clock, tell};
use crate::config::{Config, ServeSettings};
use crate::report::{AgentStatus, FeedStatus, ServeStatus, Status};
use crate::serve::{self, Fetch, Fetches, ServeError, Server, Sources, View};

/// The server, and how what it shows stands to what is so.
#[derive(Debug)]
pub(super) struct Serving {
    /// What the configuration in use says; none: nothing is served.
    wanted: Option<ServeSettings>,
    /// Whether the server runs with it.
    taken: bool,
    server: Option<Server>,
    /// Why it does not.
    fault: Option<String>,
    /// What is shown, to the server and to those that are started later.
    view: Arc<watch::Sender<Arc<View>>>,
    /// The status that was shown last, without what changes by itself.
    shown: Option<Status>,
    /// Whether something is not as it was when it was gathered last.
    stale: bool,
    /// Whether the worker gathers.
    gathering: bool,
    /// Where it is kept what clients fetched.
    state_dir: PathBuf,
    /// What of that is kept.
    kept: Vec<Fetch>,
}

impl Serving {
    /// The server of this configuration, which starts when there is something to show.
    pub(super) fn new(config: &Config, state_dir: &Path) -> Self {
        Self {
            wanted: config.serve_settings(),
            taken: false,
            server: None,
            fault: None,
            view: Arc::new(watch::Sender::default()),
            shown: None,
            stale: true,
            gathering: false,
            state_dir: state_dir.to_owned(),
            kept: Vec::new(),
        }
    }

    /// Takes new settings into use. Certificates and passwords are read anew even when these are as before.
    pub(super) fn reload(&mut self, config: &Config) {
        self.wanted = config.serve_settings();
        self.taken = false;
        self.fault = None;
        self.stale = true;
        if self.wanted.is_some() {
            // One that does not run yet starts when there is something to show.
            if self.server.is_some() {
                self.settle();
            }
            return;
        }
        self.shown = None;
        self.view.send_replace(Arc::default());
        keep(self.fetched(), &self.state_dir);
        if let Some(server) = self.server.take() {
            info!("nothing is served any more");
            tokio::spawn(server.stop(config.agent.grace_period.duration()));
        }
    }

    /// Takes note of a job that ended.
    pub(super) fn finished(&mut self, done: &Done) {
        if matches!(done, Done::Shown) {
            self.gathering = false;
            self.settle();
        } else {
            self.stale = true;
        }
    }

    /// Something is to be shown that no job has brought.
    pub(super) fn touch(&mut self) {
        self.stale = true;
    }

    /// Lets the server run with what is wanted, unless it does.
    fn settle(&mut self) {
        let Some(wanted) = self.wanted.as_ref().filter(|_| !self.taken) else { return };
        let settled = match &self.server {
            Some(server) => server.reload(wanted),
            None => serve::start(wanted, self.view.subscribe()).map(|server| {
                match Fetches::load(&self.state_dir) {
                    Ok(kept) => server.restore(kept),
                    Err(error) => {
                        warn!(error = %tell::chain(&error), "what clients fetched is forgotten");
                    }
                }
                self.kept = server.clients();
                self.server = Some(server);
            }),
        };
        self.taken = settled.is_ok();
        self.note(settled.err());
    }

    /// Keeps why the settings are not in use, and logs it once.
    fn note(&mut self, error: Option<ServeError>) {
        let fault = error.map(|error| tell::chain(&error));
        match &fault {
            Some(fault) if self.fault.as_ref() != Some(fault) => error!("{fault}"),
            None if self.fault.is_some() => info!("the settings of [serve] are in use now"),
            _ => {}
        }
        self.fault = fault;
    }

    /// Why the settings of the configuration are not in use.
    pub(super) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Whether something is to be served.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.is_some()
    }

    /// Whether what is served is behind what is known.
    pub(super) fn is_behind(&self) -> bool {
        self.wanted.is_some() && (self.stale || self.gathering)
    }

    /// The server's part of the status.
    pub(super) fn status(&self) -> Option<ServeStatus> {
        let mut status = match (&self.server, &self.fault) {
            (Some(server), _) => server.status(),
            (None, Some(_)) => ServeStatus::default(),
            (None, None) => return None,
        };
        status.faults.extend(self.fault.clone());
        Some(status)
    }

    /// What clients fetched, when that is not what is kept.
    fn fetched(&mut self) -> Option<Fetches> {
        let fetched = self.server.as_ref()?.clients();
        (fetched != self.kept).then(|| {
            self.kept.clone_from(&fetched);
            fetched.into()
        })
    }

    /// Stops it: connections that are busy get this long to finish.
    pub(super) async fn stop(mut self, grace: Duration) {
        let fetched = self.fetched();
        if let Some(server) = self.server {
            server.stop(grace).await;
        }
        keep(fetched, &self.state_dir);
    }
}

/// Keeps what clients fetched. A disk that is full does not keep anything else from being done.
fn keep(fetched: Option<Fetches>, state_dir: &Path) {
    if let Some(Err(error)) = fetched.map(|fetched| fetched.save(state_dir)) {
        warn!(error = %tell::chain(&error), "what clients fetched is not kept");
    }
}

impl Engine {
    /// Shows what has changed, as soon as the worker has nothing else to do.
    pub(super) fn show(&mut self) -> Result<(), AgentError> {
        if self.serving.wanted.is_none() || !self.jobs.is_empty() {
            return Ok(());
        }
        // The server says of itself what it knows.
        let status = Status { serve: None, ..self.status(self.standing()) };
        let lasting = lasting(&status);
        if !self.serving.stale && self.serving.shown.as_ref() == Some(&lasting) {
            return Ok(());
        }
        self.serving.shown = Some(lasting);
        self.serving.stale = false;
        self.serving.gathering = true;
        let (view, config) = (Arc::clone(&self.serving.view), Arc::clone(&self.config));
        let dir = self.options.state_dir.clone();
        let fetched = self.serving.fetched();
        self.give(move |operator| {
            keep(fetched, &dir);
            let believed = operator.belief().publications();
            let now = clock::now();
            let sources = Sources { state_dir: &dir, config: &config, believed, status, now };
            let before = Arc::clone(&view.borrow());
            view.send_replace(Arc::new(View::gather(sources, Some(&before))));
            Done::Shown
        })
    }
}

/// A status without what changes although nothing happens: times from now on, and words about them.
fn lasting(status: &Status) -> Status {
    let agent = status.agent.clone().map(|agent| AgentStatus { next: None, ..agent });
    let feeds = status.feeds.iter().map(|feed| FeedStatus { notes: Vec::new(), ..feed.clone() });
    // Names are shown when something of them changed, and from time to time.
    let names = Vec::new();
    Status { at: Timestamp::UNIX_EPOCH, agent, feeds: feeds.collect(), names, ..status.clone() }
}
