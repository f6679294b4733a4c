//! What is done on the worker's thread: each job a plain function of the operator and what it was given.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::gather::Cause;
use super::{clock, tell};
use crate::config::{Config, ConfigError, Name};
use crate::feed::{FeedError, Found};
use crate::guard::{Offer, Offers};
use crate::names::Book;
use crate::operate::{Kind, Offered, Offering, OperateError, Operator, Wish};
use crate::os::two;
use crate::publish::{PublishError, Restored};
use crate::render::{RenderError, Templates};
use crate::report::{CapacityStatus, FailedStep, History, ReportError, Status};
use crate::snapshot::{Cloud, Publication, Seen};
use crate::state::{Archive, Archived, Entry, StateError};

/// What is to be worked at.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) config: Arc<Config>,
    pub(super) templates: Arc<Templates>,
    pub(super) causes: BTreeSet<Cause>,
    /// What feeds brought, by cloud.
    pub(super) found: BTreeMap<Cloud, Found>,
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Worked {
    pub(super) causes: BTreeSet<Cause>,
    pub(super) result: Result<Offered, NotWorked>,
    /// Publications that were older than those in use, and why that is so.
    pub(super) older: Vec<(Publication, StateError)>,
    /// The publications that were judged.
    pub(super) judged: Vec<Publication>,
    pub(super) took: Duration,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotWorked {
    /// There is no publication yet.
    #[error("there is no publication of cloud {0} yet")]
    Nothing(Cloud),
    /// What is built in cannot be read.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// The operation was refused or failed.
    #[error(transparent)]
    Operate(#[from] OperateError),
}

impl NotWorked {
    /// Its kind, which decides whether trying again can help.
    pub(super) fn kind(&self) -> Kind {
        Kind::of(self.cause())
    }

    /// The step of a target at which a publication failed.
    pub(super) fn step(&self) -> Option<FailedStep> {
        match self {
            Self::Operate(OperateError::Publish(PublishError::Step { target, step, .. })) => {
                Some(FailedStep { target: target.clone(), step: *step })
            }
            _ => None,
        }
    }

    /// The error that is passed on: the chain of causes does not show it.
    pub(super) fn cause(&self) -> &(dyn std::error::Error + 'static) {
        match self {
            Self::Nothing(_) => self,
            Self::Feed(error) => error,
            Self::Operate(error) => error,
        }
    }
}

/// Judges and publishes what has come together.
pub(super) fn work(operator: &mut Operator, order: Order) -> Worked {
    let began = Instant::now();
    let Order { config, templates, causes, found } = order;
    let now = clock::now();
    let mut offers = Offers::new();
    let (mut kept, mut passed_over) = (Vec::new(), Vec::new());
    for found in found.into_values() {
        let Found { publication, bytes, seen } = found;
        match operator.memory().judge(&publication) {
            Ok(()) => {
                kept.push((Entry::new(&publication, seen, now), bytes));
                let cloud = publication.snapshot.cloud();
                offers.insert(cloud, Offer { publication, fetched: now });
            }
            Err(error) => passed_over.push((publication, error)),
        }
    }
    recall(operator, &config, &mut offers);
    // What is held must be there when it is decided about, also after a restart. A document that is not kept when the machine
    // stops is brought again: its feed knows that it is not.
    let archive = operator.archive().clone();
    let (result, ()) = two::both(
        || publish(operator, &config, &templates, &mut offers, &causes),
        || keep(&archive, &kept),
    );
    if result.as_ref().is_ok_and(|offered| offered.published.is_some()) {
        check_reach(operator);
    }
    let judged = offers.into_values().map(|offer| offer.publication).collect();
    Worked { causes, result, older: passed_over, judged, took: began.elapsed() }
}

/// Keeps what feeds brought, while it is judged.
fn keep(archive: &Archive, documents: &[(Entry, Vec<u8>)]) {
    for (entry, bytes) in documents {
        if let Err(error) = archive.store(entry, bytes) {
            tracing::error!(error = %tell::chain(&error), "the publication could not be archived");
        }
    }
}

/// What became of answers of hostnames.
#[derive(Debug)]
pub(super) struct Followed {
    /// None: more than addresses would change.
    pub(super) result: Result<Option<Offered>, NotWorked>,
    pub(super) took: Duration,
}

/// Brings in force what was answered of hostnames, and nothing else.
pub(super) fn follow(
    operator: &mut Operator,
    names: Book,
    config: &Config,
    templates: &Templates,
) -> Followed {
    let began = Instant::now();
    operator.learn(names);
    let result = operator.follow(config, templates, clock::now()).map_err(NotWorked::from);
    Followed { result, took: began.elapsed() }
}

/// Adds the archived publication of each cloud of which nothing newer was brought.
fn recall(operator: &Operator, config: &Config, offers: &mut Offers) {
    let policy = config.policy();
    for cloud in config.clouds() {
        if offers.contains_key(&cloud) {
            continue;
        }
        match operator.archive().load(cloud, &policy) {
            Ok(Some(Archived { publication, entry })) => {
                // An archive that is behind what is in use (a rebaseline, a restored backup) is no news.
                if operator.memory().judge(&publication).is_ok() {
                    offers.insert(cloud, Offer { publication, fetched: entry.confirmed });
                }
            }
            Ok(None) => {}
            // What is believed stands without it; a feed brings it anew.
            Err(error) => {
                tracing::error!(%cloud, error = %tell::chain(&error), "the archived publication cannot be used");
            }
        }
    }
}

/// Notes that what a feed brought is still the newest. Says whether something is held that a second look may confirm.
pub(super) fn confirm(operator: &Operator, feed: &Name, cloud: Cloud, seen: Option<&Seen>) -> bool {
    let archive = operator.archive();
    let confirmed = archive.entry(cloud).and_then(|entry| match entry {
        Some(entry) if entry.feed.as_deref() == Some(feed.as_str()) => {
            archive.confirm(cloud, seen, clock::now()).map(|()| true)
        }
        _ => Ok(false),
    });
    match confirmed {
        Ok(confirmed) => {
            confirmed && operator.belief().holds().iter().any(|hold| hold.cloud == cloud)
        }
        Err(error) => {
            tracing::error!(%cloud, error = %tell::chain(&error), "the archive cannot be kept");
            false
        }
    }
}

/// By what each feed recognises what it brought in an earlier life.
pub(super) fn seen(operator: &Operator) -> BTreeMap<(String, Cloud), Seen> {
    Cloud::ALL
        .iter()
        .filter_map(|cloud| {
            let entry = operator.archive().entry(*cloud).ok().flatten()?;
            Some(((entry.feed?, *cloud), entry.seen?))
        })
        .collect()
}

fn publish(
    operator: &mut Operator,
    config: &Config,
    templates: &Templates,
    offers: &mut Offers,
    causes: &BTreeSet<Cause>,
) -> Result<Offered, NotWorked> {
    let now = clock::now();
    let needed = config.clouds();
    operator.add_example(config, offers, now)?;
    let believed = operator.belief().publications();
    if let Some(&cloud) =
        needed.iter().find(|cloud| !offers.contains_key(cloud) && !believed.contains_key(cloud))
    {
        return Err(NotWorked::Nothing(cloud));
    }
    let calendar = &config.agent.calendar;
    let gate = calendar.gate(now);
    // What a person decided waits for the calendar like what was published, unless they say that it must not.
    let at_once = causes.contains(&Cause::Configuration) || causes.contains(&Cause::Urged);
    if gate.closed.is_some()
        && causes.iter().eq([&Cause::Configuration])
        && needed.iter().all(|cloud| believed.contains_key(cloud))
    {
        // A configuration that is loaded while the calendar is closed brings no publication in that waits for it.
        offers.clear();
    }
    let wish =
        Wish::OfAgent { closed: if at_once { None } else { gate.closed }, urgent: calendar.urgent };
    let reason: Vec<_> = causes.iter().map(|cause| cause.name()).collect();
    let offering = Offering {
        take_over: false,
        allow_unreached: false,
        config,
        templates,
        offers,
        rebaseline: None,
        wish,
        reason: &reason.join(", "),
        now,
    };
    Ok(operator.offer(&offering)?)
}

/// Compares the kernel with what should be in force, and loads again what was lost.
pub(super) fn check(
    operator: &mut Operator,
    waiting: &BTreeSet<Name>,
) -> Result<Vec<Restored>, OperateError> {
    // In an emergency stop, a person may be at work in the kernel.
    let paused = operator.memory().pause.is_some();
    let restored = if paused {
        Ok(Vec::new())
    } else {
        operator.restore_but(false, waiting, None, clock::now())
    };
    check_reach(operator);
    restored
}

/// Checks whether packets get to the rules of each target.
fn check_reach(operator: &mut Operator) {
    if let Err(error) = operator.check_reach() {
        tracing::error!(error = %tell::chain(&error), "the reach of targets cannot be checked");
    }
}

/// A configuration that was loaded with its templates.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) config: Arc<Config>,
    pub(super) templates: Arc<Templates>,
}

/// Why a configuration was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotLoaded {
    /// It is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A template is wrong.
    #[error(transparent)]
    Render(#[from] RenderError),
}

/// Reads the configuration and its templates anew.
pub(super) fn load(path: &Path) -> Result<Loaded, NotLoaded> {
    let config = Config::load(path)?;
    let templates = Templates::load(&config)?;
    Ok(Loaded { config: Arc::new(config), templates: Arc::new(templates) })
}

/// The status of the state folder, as the operator knows it. `known` is what was read of the generations before, and is brought
/// up to date.
pub(super) fn standing(
    operator: &Operator,
    config: &Config,
    known: &Mutex<History>,
) -> Result<Status, ReportError> {
    let store = operator.publisher().store();
    let number = store.current()?;
    let generation = number.map(|number| store.read(number)).transpose()?;
    let drift = BTreeMap::new();
    let memory = operator.memory();
    let status = Status::of(store.dir(), number, generation.as_ref(), memory, &drift, clock::now());
    let horizon = config.publish.capacity_horizon;
    // Only jobs use it, and there is one at a time.
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    known.refresh_for_forecasts(store.dir())?;
    let capacity = CapacityStatus::all(&known.uses(), horizon, clock::now());
    let status = status.reaching(operator.reach()).believing(operator.belief());
    Ok(Status { capacity, ..status })
}

/// The same with the kernel and the installed files read.
pub(super) fn verified(operator: &Operator, config: &Config) -> Result<Status, ReportError> {
    let horizon = config.publish.capacity_horizon;
    Status::read(operator.publisher().store().dir(), true, horizon, clock::now())
}
