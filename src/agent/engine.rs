//! The loop: what happens is gathered, given to the worker, and told.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook_tokio::Signals;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{error, warn};

use super::feeds::{Looked, Tended};
use super::gather::{Cause, Gathering};
use super::jobs::{self, Followed, Loaded, NotWorked, Order, Worked};
use super::life::Options;
use super::naming::Naming;
use super::notifying::{Facts, Notifying};
use super::people::{Fetching, Reloaded};
use super::repairs::RepairSchedule;
use super::serving::Serving;
use super::systemd::Supervisor;
use super::worker::Worker;
use super::{AgentError, clock, tell};
use crate::config::{Config, Name};
use crate::control::{Asked, Listener};
use crate::feed::Found;
use crate::intent::Intent;
use crate::names::Expected;
use crate::operate::{Kind, OperateError, Operator};
use crate::publish::{Became, Published, Restored, RulesetWatch, active_ipsets};
use crate::render::Templates;
use crate::report::{FailedStep, History, ReportError, Status};
use crate::snapshot::{Cloud, Seen};

/// Events of feeds that may wait for the loop.
const LOOKS: usize = 16;
/// Requests of people that may wait for the loop.
const REQUESTS: usize = 16;
/// First pause before a failed publication is tried again; it doubles up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(60);
const LONGEST_RETRY: Duration = Duration::from_secs(3600);
/// A job that takes longer has got stuck: systemd is given no more signs of life. Every command has a time limit of its own.
pub(super) const LONGEST_JOB: Duration = Duration::from_secs(900);

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
    /// A person's request was answered; why what waits should be judged again.
    Answered { again: Option<Cause> },
    /// What is so was given to the server.
    Shown,
}

/// A job that ended.
#[derive(Debug)]
pub(super) struct Finished {
    done: Done,
    /// What is so after it; none where it only showed what is so.
    learned: Option<Learned>,
}

/// What is so after a job.
#[derive(Debug)]
struct Learned {
    /// The status of the state folder.
    standing: Result<Status, ReportError>,
    facts: Facts,
    /// Which tags should hold the addresses of hostnames.
    expected: Expected,
    /// The sets of ipset in force.
    ipsets: BTreeSet<String>,
}

impl Learned {
    fn of(operator: &Operator, config: &Config, known: &Mutex<History>) -> Self {
        let believed = operator.belief().publications();
        Self {
            standing: jobs::standing(operator, config, known),
            facts: Facts::of(operator, config),
            expected: Expected::of(config, &Intent::of(config), believed),
            ipsets: active_ipsets(operator.publisher().store()).unwrap_or_default(),
        }
    }
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
    pub(super) since: Timestamp,
    pub(super) config_loaded: Timestamp,
    pub(super) config_refused: Option<String>,

    pub(super) feeds: BTreeMap<Name, Tended>,
    looks: mpsc::Receiver<Looked>,
    pub(super) looked: mpsc::Sender<Looked>,
    requests: mpsc::Receiver<Asked>,
    pub(super) jobs: FuturesUnordered<oneshot::Receiver<Finished>>,
    /// Since when the job that is under way has been the next one.
    pub(super) busy_since: Option<Instant>,

    pub(super) found: BTreeMap<Cloud, Found>,
    pub(super) gathering: Gathering,
    pub(super) working: bool,
    pub(super) fetching: Vec<Fetching>,
    /// When the kernel is compared next.
    check_due: Option<Instant>,
    /// Asks for the ruleset's number; none where no target is loaded, or where it cannot be asked for.
    ruleset: Option<RulesetWatch>,
    /// The sets of ipset that it looks at.
    ipsets: BTreeSet<String>,
    ruleset_news: mpsc::Receiver<()>,
    ruleset_sender: mpsc::Sender<()>,
    repairs: RepairSchedule,
    /// When time alone changes what is believed.
    belief_due: Option<Timestamp>,
    /// When a failed publication is tried again.
    pub(super) retry: Option<Instant>,
    failures: u32,

    /// What jobs have read of the generations.
    known: Arc<Mutex<History>>,
    pub(super) standing: Status,
    pub(super) failed: Option<String>,
    /// Whether it failed for want of an operator's consent.
    waits_for_consent: bool,
    /// The step of a target at which it failed.
    pub(super) failed_step: Option<FailedStep>,
    pub(super) waiting: Option<String>,
    pub(super) ready: bool,
    pub(super) said: String,
    pub(super) notifying: Notifying,
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
        let known = Arc::new(Mutex::new(History::default()));
        let generations = Arc::clone(&known);
        let first = worker.give(move |operator| {
            let checked = jobs::check(operator, &BTreeSet::new());
            let facts = Facts::of(operator, &before);
            let clouds = operator.memory().publications.keys().copied().collect();
            let names = operator.names().clone();
            let standing = jobs::standing(operator, &before, &generations);
            let ipsets = active_ipsets(operator.publisher().store()).unwrap_or_default();
            (checked, standing, jobs::seen(operator), clouds, facts, names, ipsets)
        });
        let first = first.map_err(|_| AgentError::Lost)?;
        let (checked, standing, seen, clouds, facts, names, ipsets) =
            first.await.map_err(|_| AgentError::Lost)?;
        let (looked, looks) = mpsc::channel(LOOKS);
        let (asked, requests) = mpsc::channel(REQUESTS);
        let (ruleset_sender, ruleset_news) = mpsc::channel(1);
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
            ruleset: None,
            ipsets,
            ruleset_news,
            ruleset_sender,
            repairs: RepairSchedule::default(),
            belief_due: None,
            retry: None,
            failures: 0,
            known,
            standing: standing?,
            failed: None,
            waits_for_consent: false,
            failed_step: None,
            waiting: None,
            ready: false,
            said: String::new(),
            options,
        };
        engine.watch_ruleset();
        engine.checked(checked);
        engine.tend_feeds(&clouds, &seen);
        engine.gathering.add(Cause::Start, Instant::now(), Duration::ZERO, Duration::ZERO);
        // What is in force is served before anything is judged.
        engine.show()?;
        Ok(engine)
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
                Some(()) = self.ruleset_news.recv() => self.on_ruleset(),
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
    pub(super) fn due(&self) -> Option<Instant> {
        let gathered = self.gathering.due().filter(|_| !self.working);
        let belief = self.belief_due.map(clock::timer);
        let calendar = self.calendar_due().map(clock::timer);
        let notifying = self.notifying.due();
        let naming = self.naming.due(self.serving.is_wanted());
        [gathered, belief, calendar, self.check_due, self.retry, notifying, naming]
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
            self.repairs.compared(now);
            let waiting = self.repairs.waiting(now);
            self.give(move |operator| Done::Checked(jobs::check(operator, &waiting)))?;
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
            Cause::Decision
            | Cause::Urged
            | Cause::Time
            | Cause::Calendar
            | Cause::Retry
            | Cause::Names => Duration::ZERO,
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
        let (config, known) = (Arc::clone(&self.config), Arc::clone(&self.known));
        let given = self.worker.give(move |operator| {
            let done = job(operator);
            let changed = !matches!(done, Done::Shown);
            Finished { learned: changed.then(|| Learned::of(operator, &config, &known)), done }
        });
        self.jobs.push(given.map_err(|_| AgentError::Lost)?);
        self.busy_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    fn on_finished(&mut self, finished: Finished) {
        // A job that ended is progress, also when others are still to come.
        self.busy_since = (!self.jobs.is_empty()).then(Instant::now);
        self.serving.finished(&finished.done);
        if let Some(Learned { standing, facts, expected, ipsets }) = finished.learned {
            self.ipsets = ipsets;
            if let Some(watch) = &self.ruleset {
                watch.watch_ipsets(self.ipsets.clone());
            }
            match standing {
                Ok(standing) => self.standing = standing,
                Err(error) => error!(error = %tell::chain(&error), "the state cannot be read"),
            }
            self.notifying.learn(facts);
            self.naming.expect(expected);
        }
        match finished.done {
            Done::Worked(worked) => {
                self.working = false;
                self.worked(*worked);
            }
            Done::Followed(followed) => self.followed(*followed),
            Done::Checked(checked) => self.checked(checked),
            Done::Reloaded(reloaded) => self.reloaded(*reloaded),
            Done::Answered { again: Some(cause) } => {
                self.gather(cause);
                // Answers of hostnames that waited for the end of a pause wait for no calendar.
                self.naming.again();
            }
            Done::Confirmed { held: true } => self.gather(Cause::Confirmation),
            Done::Answered { again: None } | Done::Confirmed { held: false } | Done::Shown => {}
        }
    }

    /// Takes note of what a judgement brought.
    pub(super) fn worked(&mut self, worked: Worked) {
        tell::worked(&worked);
        self.waiting = None;
        self.failed_step = None;
        match worked.result {
            Ok(offered) => {
                self.failed = None;
                self.waits_for_consent = false;
                self.failures = 0;
                self.retry = None;
                self.belief_due = offered.next;
                self.waiting = offered.waiting.as_ref().map(tell::waiting);
                if let Some(Published::Generation(_) | Published::Partly(_)) = offered.published {
                    tell::scarce(&self.standing.capacity, clock::now());
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
        self.failed_step = error.step();
        self.waits_for_consent = error.kind() == Kind::Consent;
        // Trying again helps where the system or a firewall failed; the rest waits for a person or a publication.
        if matches!(error.kind(), Kind::Firewall | Kind::System | Kind::Locked) {
            let doubled = FIRST_RETRY * 2_u32.saturating_pow(self.failures.min(10));
            self.retry = Some(Instant::now() + doubled.min(LONGEST_RETRY));
            self.failures = self.failures.saturating_add(1);
        }
    }

    fn checked(&mut self, checked: Result<Vec<Restored>, OperateError>) {
        let now = Instant::now();
        if let Ok(restored) = &checked {
            for one in restored.iter().filter(|one| matches!(one.became, Became::Restored)) {
                if self.repairs.repaired(&one.target, now) {
                    error!(target_name = %one.target, "something keeps removing these rules");
                }
            }
        }
        self.notifying.compared(&checked, &self.repairs.contested(now));
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
        let now = Instant::now();
        let regular = (!every.is_zero()).then(|| now + every);
        let postponed = self.repairs.due(now);
        self.check_due = [regular, postponed].into_iter().flatten().min();
    }

    /// Begins to ask for the ruleset's number where a target is loaded into this host's kernel.
    fn watch_ruleset(&mut self) {
        let loads = self.config.targets.values().any(|target| target.get_ref().applies());
        let watched = loads && !self.config.agent.drift_check.duration().is_zero();
        self.ruleset = None;
        if watched {
            let changed = self.ruleset_sender.clone();
            // One that is not looked at yet stands for all.
            match RulesetWatch::start(move || _ = changed.try_send(())) {
                Ok(watch) => {
                    watch.watch_ipsets(self.ipsets.clone());
                    self.ruleset = Some(watch);
                }
                Err(error) => warn!(
                    %error,
                    "changes of the ruleset are noticed by the regular comparison alone"
                ),
            }
        }
    }

    /// Plans a comparison after the ruleset changed.
    fn on_ruleset(&mut self) {
        let due = self.repairs.comparison(Instant::now());
        self.check_due = Some(self.check_due.map_or(due, |planned| planned.min(due)));
        if self.waits_for_consent {
            // What stood in the way may be gone.
            self.gather(Cause::Retry);
        }
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
        self.watch_ruleset();
        self.plan_check();
        if self.config.agent.calendar.gate(self.config_loaded).closed.is_some() {
            // What waits for the calendar was left out when the configuration was tried.
            self.gather(Cause::Publication);
        }
    }
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
