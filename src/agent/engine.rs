//! The loop: what happens is gathered, given to the worker, and told.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook_tokio::Signals;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{error, info, warn};

use super::feeds::{Looked, Outcome, Tended};
use super::gather::{Cause, Gathering};
use super::jobs::{self, Followed, Loaded, NotWorked, Order, Worked};
use super::life::Options;
use super::naming::Naming;
use super::notifying::{Facts, Notifying};
use super::people::{Fetching, Reloaded};
use super::serving::Serving;
use super::systemd::Supervisor;
use super::worker::Worker;
use super::{AgentError, clock, tell};
use crate::config::{Config, Name};
use crate::control::{Asked, Listener};
use crate::feed::{Found, Watching};
use crate::intent::Intent;
use crate::names::Expected;
use crate::operate::{Kind, OperateError, Operator};
use crate::publish::{Published, Restored};
use crate::render::Templates;
use crate::report::{AgentStatus, FoundStatus, ReportError, Status};
use crate::snapshot::{Cloud, Publication, Seen};
use crate::state::{Edition, Standing};

/// Events of feeds that may wait for the loop.
const LOOKS: usize = 16;
/// Requests of people that may wait for the loop.
const REQUESTS: usize = 16;
/// First pause before a failed publication is tried again; it doubles up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(60);
const LONGEST_RETRY: Duration = Duration::from_secs(3600);
/// A job that takes longer has got stuck: systemd is given no more signs of life. Every command has a time limit of its own.
const LONGEST_JOB: Duration = Duration::from_secs(900);

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// A signal asked for it.
    Signal(&'static str),
    /// The worker's thread is gone.
    Lost,
}

/// What a job was, and what became of it.
#[derive(Debug)]
pub(super) enum Done {
    /// Publications were judged.
    Worked(Box<Worked>),
    /// Answers of hostnames were followed.
    Followed(Box<Followed>),
    /// The kernel was compared.
    Checked(Result<Vec<Restored>, OperateError>),
    /// A configuration was read, and tried.
    Reloaded(Box<Reloaded>),
    /// What a feed brought is still the newest; whether something is held that this confirms.
    Confirmed { held: bool },
    /// A person's request was answered; whether what waits should be judged again.
    Answered { again: bool },
    /// What is so was given to the server.
    Shown,
}

/// A job that ended, with the status of the state folder after it.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) done: Done,
    pub(super) standing: Result<Status, ReportError>,
    pub(super) facts: Facts,
    /// Which tags should hold the addresses of hostnames.
    pub(super) expected: Expected,
}

/// The agent.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) options: Options,
    pub(super) config: Arc<Config>,
    pub(super) templates: Arc<Templates>,
    pub(super) supervisor: Supervisor,
    pub(super) worker: Worker,
    pub(super) serving: Serving,
    pub(super) naming: Naming,
    /// Open while the agent lives.
    _listener: Listener,
    since: Timestamp,
    config_loaded: Timestamp,
    pub(super) config_refused: Option<String>,

    pub(super) feeds: BTreeMap<Name, Tended>,
    looks: mpsc::Receiver<Looked>,
    looked: mpsc::Sender<Looked>,
    requests: mpsc::Receiver<Asked>,
    pub(super) jobs: FuturesUnordered<oneshot::Receiver<Finished>>,
    /// Since when jobs are under way without a pause.
    busy_since: Option<Instant>,

    found: BTreeMap<Cloud, Found>,
    gathering: Gathering,
    working: bool,
    pub(super) fetching: Vec<Fetching>,
    /// When the kernel is compared next.
    check_due: Option<Instant>,
    /// When time alone changes what is believed.
    belief_due: Option<Timestamp>,
    /// When a failed publication is tried again.
    pub(super) retry: Option<Instant>,
    failures: u32,

    standing: Status,
    failed: Option<String>,
    pub(super) waiting: Option<String>,
    ready: bool,
    said: String,
    notifying: Notifying,
}

impl Engine {
    /// Brings the rules in force, and starts everything that looks and listens.
    pub(super) async fn start(
        options: Options,
        config: Arc<Config>,
        templates: Arc<Templates>,
        worker: Worker,
        supervisor: Supervisor,
    ) -> Result<Self, AgentError> {
        supervisor.status("bringing the rules in force");
        let before = Arc::clone(&config);
        let first = worker.give(move |operator| {
            let checked = jobs::check(operator);
            let facts = Facts::of(operator, &before);
            let known = operator.memory().publications.keys().copied().collect();
            let names = operator.names().clone();
            (checked, jobs::standing(operator), jobs::seen(operator), known, facts, names)
        });
        let first = first.map_err(|_| AgentError::Lost)?;
        let (checked, standing, seen, known, facts, names) =
            first.await.map_err(|_| AgentError::Lost)?;
        let (looked, looks) = mpsc::channel(LOOKS);
        let (asked, requests) = mpsc::channel(REQUESTS);
        let largest = config.document.max_bytes;
        let listener = Listener::open(&options.state_dir, &config.agent, largest, &asked)?;
        let now = clock::now();
        let mut engine = Self {
            serving: Serving::new(&config, &options.state_dir),
            naming: Naming::start(&config, names),
            notifying: Notifying::start(&config, &options.state_dir, facts),
            config,
            templates,
            supervisor,
            worker,
            _listener: listener,
            since: now,
            config_loaded: now,
            config_refused: None,
            feeds: BTreeMap::new(),
            looks,
            looked,
            requests,
            jobs: FuturesUnordered::new(),
            busy_since: None,
            found: BTreeMap::new(),
            gathering: Gathering::default(),
            working: false,
            fetching: Vec::new(),
            check_due: None,
            belief_due: None,
            retry: None,
            failures: 0,
            standing: standing?,
            failed: None,
            waiting: None,
            ready: false,
            said: String::new(),
            options,
        };
        engine.checked(checked);
        engine.tend_feeds(&known, &seen);
        engine.gathering.add(Cause::Start, Instant::now(), Duration::ZERO, Duration::ZERO);
        // What is in force is served before anything is judged.
        engine.show()?;
        Ok(engine)
    }

    /// Starts the tasks of all feeds anew; `known` are the clouds of which there is a publication.
    fn tend_feeds(&mut self, known: &BTreeSet<Cloud>, seen: &BTreeMap<(String, Cloud), Seen>) {
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

    /// Turns until a signal ends it.
    pub(super) async fn turn(&mut self, signals: &mut Signals) -> Ending {
        let mut beat = self.supervisor.beat().map(|every| {
            let mut beat = interval(every);
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            beat
        });
        loop {
            let due = self.due();
            tokio::select! {
                Some(signal) = signals.next() => match signal {
                    SIGHUP => self.reload(None),
                    SIGUSR1 => self.hurry(None),
                    SIGTERM => return Ending::Signal("SIGTERM"),
                    SIGINT => return Ending::Signal("SIGINT"),
                    _ => {}
                },
                Some(looked) = self.looks.recv() => self.on_look(looked),
                Some(asked) = self.requests.recv() => self.on_request(asked),
                Some(finished) = self.jobs.next() => match finished {
                    Ok(finished) => self.on_finished(finished),
                    Err(_) => return Ending::Lost,
                },
                changed = self.naming.changed() => self.on_names(&changed),
                () = until(due) => {}
                () = next_beat(beat.as_mut()) => self.give_sign_of_life(),
            }
            if self.on_time().is_err() || self.follow_names().is_err() || self.show().is_err() {
                return Ending::Lost;
            }
            self.tell_supervisor();
            self.tell_people();
            self.answer_fetches();
        }
    }

    /// What is needed to end: the grace period, the worker, the server, and who tells people.
    pub(super) fn end(self) -> (Duration, Worker, Serving, Notifying) {
        self.keep_names();
        let grace = self.config.agent.grace_period.duration();
        (grace, self.worker, self.serving, self.notifying)
    }

    /// When the loop must turn although nothing happens.
    fn due(&self) -> Option<Instant> {
        let gathered = self.gathering.due().filter(|_| !self.working);
        let belief = self.belief_due.map(clock::timer);
        let calendar = self.calendar_due().map(clock::timer);
        let notifying = self.notifying.due();
        [gathered, belief, calendar, self.check_due, self.retry, notifying, self.naming.due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// When the calendar lets through what waits.
    fn calendar_due(&self) -> Option<Timestamp> {
        self.waiting.as_ref()?;
        let gate = self.config.agent.calendar.gate(Timestamp::now());
        gate.closed.and(gate.until)
    }

    /// Gives the jobs that are due.
    fn on_time(&mut self) -> Result<(), AgentError> {
        let now = Instant::now();
        if self.belief_due.is_some_and(|due| due <= Timestamp::now()) {
            self.belief_due = None;
            self.gather(Cause::Time);
        }
        if self.waiting.is_some() && !self.working && self.calendar_opened() {
            self.waiting = None;
            self.gather(Cause::Calendar);
        }
        if self.retry.is_some_and(|due| due <= now) {
            self.retry = None;
            self.gather(Cause::Retry);
        }
        if self.check_due.is_some_and(|due| due <= now) {
            self.check_due = None;
            self.give(|operator| Done::Checked(jobs::check(operator)))?;
        }
        if !self.working && self.gathering.due().is_some_and(|due| due <= now) {
            let order = Order {
                config: Arc::clone(&self.config),
                templates: Arc::clone(&self.templates),
                causes: self.gathering.take(),
                found: std::mem::take(&mut self.found),
            };
            self.working = true;
            let names = self.naming.book().clone();
            self.give(|operator| {
                operator.learn(names);
                Done::Worked(Box::new(jobs::work(operator, order)))
            })?;
        }
        Ok(())
    }

    /// Whether what waits for the calendar need not wait any more.
    fn calendar_opened(&self) -> bool {
        self.standing.pause.is_none()
            && self.standing.pin.is_none()
            && self.config.agent.calendar.gate(Timestamp::now()).closed.is_none()
    }

    /// Something is to be judged, when it is quiet.
    pub(super) fn gather(&mut self, cause: Cause) {
        let agent = &self.config.agent;
        let quiet = match cause {
            // What a person has decided, and what time has brought, waits for nobody.
            Cause::Decision | Cause::Time | Cause::Calendar | Cause::Retry | Cause::Names => {
                Duration::ZERO
            }
            _ => agent.quiet_period.duration(),
        };
        let longest = agent.maximum_delay.duration();
        self.gathering.add(cause, Instant::now(), quiet, longest);
    }

    /// Gives a job to the worker.
    pub(super) fn give(
        &mut self,
        job: impl FnOnce(&mut Operator) -> Done + Send + 'static,
    ) -> Result<(), AgentError> {
        let config = Arc::clone(&self.config);
        let given = self.worker.give(move |operator| {
            let done = job(operator);
            let (standing, facts) = (jobs::standing(operator), Facts::of(operator, &config));
            let believed = operator.belief().publications();
            let expected = Expected::of(&config, &Intent::of(&config), believed);
            Finished { done, standing, facts, expected }
        });
        self.jobs.push(given.map_err(|_| AgentError::Lost)?);
        self.busy_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    fn on_look(&mut self, looked: Looked) {
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

    fn on_finished(&mut self, finished: Finished) {
        if self.jobs.is_empty() {
            self.busy_since = None;
        }
        match finished.standing {
            Ok(standing) => self.standing = standing,
            Err(error) => error!(error = %tell::chain(&error), "the state cannot be read"),
        }
        self.serving.finished(&finished.done);
        self.notifying.learn(finished.facts);
        self.naming.expect(finished.expected);
        match finished.done {
            Done::Worked(worked) => {
                self.working = false;
                self.worked(*worked);
            }
            Done::Followed(followed) => self.followed(*followed),
            Done::Checked(checked) => self.checked(checked),
            Done::Reloaded(reloaded) => self.reloaded(*reloaded),
            Done::Answered { again: true } => self.gather(Cause::Decision),
            Done::Confirmed { held: true } => self.gather(Cause::Confirmation),
            Done::Answered { again: false } | Done::Confirmed { held: false } | Done::Shown => {}
        }
    }

    /// Takes note of what a judgement brought.
    pub(super) fn worked(&mut self, worked: Worked) {
        tell::worked(&worked);
        self.waiting = None;
        match worked.result {
            Ok(offered) => {
                self.failed = None;
                self.failures = 0;
                self.retry = None;
                self.belief_due = offered.next;
                self.waiting = offered.waiting.as_ref().map(tell::waiting);
                if let Some(Published::Generation(_) | Published::Partly(_)) = offered.published {
                    // What was just read back need not be compared soon.
                    self.plan_check();
                }
            }
            Err(NotWorked::Nothing(cloud)) => {
                self.failed = Some(format!("there is no publication of cloud {cloud} yet"));
            }
            Err(error) => self.not_worked(&error),
        }
    }

    /// Takes note of why something is not in force.
    pub(super) fn not_worked(&mut self, error: &NotWorked) {
        self.failed = Some(tell::chain(error));
        // Trying again helps where the system or a firewall failed; the rest waits for a person or a publication.
        if matches!(error.kind(), Kind::Firewall | Kind::System | Kind::Locked) {
            let doubled = FIRST_RETRY * 2_u32.saturating_pow(self.failures.min(10));
            self.retry = Some(Instant::now() + doubled.min(LONGEST_RETRY));
            self.failures = self.failures.saturating_add(1);
        }
    }

    fn checked(&mut self, checked: Result<Vec<Restored>, OperateError>) {
        self.notifying.compared(&checked);
        match checked {
            Ok(restored) => {
                for restored in restored {
                    warn!("{restored}");
                }
            }
            Err(error) => error!(error = %tell::chain(&error), "the kernel cannot be compared"),
        }
        self.plan_check();
    }

    fn plan_check(&mut self) {
        let every = self.config.agent.drift_check.duration();
        self.check_due = (!every.is_zero()).then(|| Instant::now() + every);
    }

    /// Takes a configuration into use.
    pub(super) fn adopt(&mut self, loaded: Loaded, seen: &BTreeMap<(String, Cloud), Seen>) {
        let known = self.standing.publications.iter().map(|record| record.cloud).collect();
        self.config = loaded.config;
        self.templates = loaded.templates;
        self.config_loaded = clock::now();
        self.config_refused = None;
        self.serving.reload(&self.config);
        self.naming.reload(&self.config);
        self.notifying.reload(&self.config);
        self.tend_feeds(&known, seen);
        self.plan_check();
        if self.config.agent.calendar.gate(self.config_loaded).closed.is_some() {
            // What waits for the calendar was left out when the configuration was tried.
            self.gather(Cause::Publication);
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

    /// Whether something is still to be judged, or to be served.
    pub(super) fn is_at_work(&self) -> bool {
        self.working || !self.gathering.is_empty() || self.serving.is_behind()
    }

    /// The whole status.
    pub(super) fn status(&self, base: Status) -> Status {
        let now = clock::now();
        let gate = self.config.agent.calendar.gate(now);
        let status = Status {
            at: now,
            agent: Some(AgentStatus {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                since: self.since,
                config: self.options.config.display().to_string(),
                config_loaded: self.config_loaded,
                config_refused: self.config_refused.clone(),
                mode: self.config.agent.mode,
                closed_until: gate.closed.is_some().then_some(gate.until).flatten(),
                closed: gate.closed,
                waiting: self.waiting.clone(),
                failed: self.failed.clone(),
                next: self.due().map(clock::at),
            }),
            feeds: self.feeds.values().map(|tended| tended.status.clone()).collect(),
            names: self.naming.status(),
            serve: self.serving.status(),
            ..base
        };
        self.notifying.complete(&self.config, status)
    }

    /// The status of the state folder after the last job.
    pub(super) fn standing(&self) -> Status {
        self.standing.clone()
    }

    /// Tells systemd when the agent is ready, and in words what it is at.
    fn tell_supervisor(&mut self) {
        let words = tell::summary(&self.standing, self.failed.as_deref(), self.waiting.as_deref());
        if !self.ready && self.knows_where_it_stands() {
            self.ready = true;
            info!(status = %words, "ready");
            self.supervisor.ready(&words);
            self.said = words;
        } else if self.said != words {
            self.supervisor.status(&words);
            self.said = words;
        }
    }

    /// Tells people what is wrong, once that is known.
    fn tell_people(&mut self) {
        if self.knows_where_it_stands() {
            let status = self.status(self.standing());
            self.notifying.say(&self.config, &status);
        } else {
            self.notifying.wait();
        }
    }

    /// Whether the rules are in force, or it is known why they are not.
    fn knows_where_it_stands(&self) -> bool {
        let looked = self.feeds.values().all(|tended| tended.status.looked.is_some());
        !self.is_at_work() && (self.standing.generation.is_some() || looked)
    }

    fn give_sign_of_life(&self) {
        if self.busy_since.is_none_or(|since| since.elapsed() < LONGEST_JOB) {
            self.supervisor.alive();
        }
    }
}

/// Whether a publication does not have to stand back behind another of its cloud.
fn is_newer(one: &Publication, other: &Publication) -> bool {
    Edition::of(one).against(&Edition::of(other)) != Standing::Older
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

async fn next_beat(beat: Option<&mut tokio::time::Interval>) {
    match beat {
        Some(beat) => _ = beat.tick().await,
        None => pending().await,
    }
}
