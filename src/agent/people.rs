//! What people ask for, through the control socket and by signals.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::engine::{Done, Engine};
use super::gather::Cause;
use super::jobs::{self, Loaded, NotLoaded, NotWorked, Order, Worked};
use super::{clock, tell};
use crate::config::Name;
use crate::control::{Answer, Asked, Document, Failure, Operation, Request, Restoration, Said};
use crate::feed;
use crate::guard;
use crate::operate::{self, Kind, Offering, OperateError, Operator, Wish};
use crate::os::command::configure_programs;
use crate::publish::Retention;
use crate::report::{History, Review};
use crate::snapshot::{Cloud, Seen};

/// A person who waits for feeds to have looked, and for what comes of it.
#[derive(Debug)]
pub(super) struct Fetching {
    waiting_for: BTreeSet<Name>,
    asked: BTreeSet<Name>,
    answer: oneshot::Sender<Answer>,
}

impl Fetching {
    /// A feed has looked.
    pub(super) fn looked(&mut self, feed: &Name) {
        self.waiting_for.remove(feed);
    }
}

/// What became of a reload.
#[derive(Debug)]
pub(super) struct Reloaded {
    /// The configuration that is in use now, with what it made of the publications; or why it is not taken.
    result: Result<(Loaded, Worked), String>,
    /// By what feeds recognise what they brought.
    seen: BTreeMap<(String, Cloud), Seen>,
    answer: Option<oneshot::Sender<Answer>>,
}

/// An operator's answers to what would be refused.
#[derive(Debug)]
struct Consent {
    rebaseline: Option<String>,
    take_over: bool,
    allow_unreached: bool,
}

impl Engine {
    /// Does what a person asks for, or gives it to the worker.
    pub(super) fn on_request(&mut self, asked: Asked) {
        let Asked { request, documents, by, answer } = asked;
        if !request.only_reads() {
            info!(%by, ?request, "asked");
        }
        match request {
            Request::Status { verify: false } => {
                self.reply(answer, Answer::Status(Box::new(self.status(self.standing()))));
            }
            Request::Status { verify: true } => self.verified(answer),
            Request::History { limit } => {
                let dir = self.options.state_dir.clone();
                self.delegate(answer, None, move |_| match History::read(&dir, limit) {
                    Ok(history) => Answer::History(history),
                    Err(error) => failed(&error),
                });
            }
            Request::Fetch { feed } => self.fetch(feed, answer),
            Request::Reload => self.reload(Some(answer)),
            Request::Render {
                configuration,
                documents: announced,
                rebaseline,
                take_over,
                allow_unreached,
            } => {
                let given = announced.into_iter().zip(documents).collect();
                let consent = Consent { rebaseline, take_over, allow_unreached };
                self.render(&configuration, given, consent, by, answer);
            }
            Request::Rollback { generation } => {
                let retention = Retention::from(&self.config.publish);
                self.delegate(answer, None, move |operator| {
                    match operator.rollback(generation, &by, clock::now(), retention) {
                        Ok(generation) => Answer::Done(Operation::rolled_back(generation)),
                        Err(error) => failed(&error),
                    }
                });
            }
            Request::Restore { sets_only: true, .. } => {
                self.delegate(answer, None, |operator| match operator.create_sets() {
                    Ok(sets) => Answer::Restored(Restoration::from(sets.as_slice())),
                    Err(error) => failed(&error),
                });
            }
            Request::Restore { overwrite, sets_only: false } => {
                self.delegate(answer, None, move |operator| {
                    match operator.restore(overwrite, Some(&by), clock::now()) {
                        Ok(restored) => Answer::Restored(Restoration::of(&restored)),
                        Err(error) => failed(&error),
                    }
                });
            }
            Request::RestoreBeforeTakeOver { target } => {
                self.restore_before_take_over(target, by, answer);
            }
            Request::Pause { reason } => self.delegate(answer, None, move |operator| {
                said(operator.pause(&reason, &by, clock::now()), |()| operate::PAUSED.to_owned())
            }),
            Request::Resume => self.delegate(answer, Some(Cause::Decision), move |operator| {
                said(operator.resume(&by, clock::now()), |resumed| resumed.text())
            }),
            Request::Review => self
                .delegate(answer, None, |operator| Answer::Review(Review::of(operator.belief()))),
            Request::Decide { hold, verdict, ticket, reason, now } => {
                let config = Arc::clone(&self.config);
                let cause = if now { Cause::Urged } else { Cause::Decision };
                self.delegate(answer, Some(cause), move |operator| {
                    let order = guard::Order { hold, verdict, who: by, ticket, reason };
                    match operator.decide(&order, &config.guard, clock::now()) {
                        Ok(decision) => Answer::Decided(Box::new(decision)),
                        Err(error) => failed(&error),
                    }
                });
            }
            Request::Rebaseline { cloud, reason } => {
                self.delegate(answer, None, move |operator| {
                    match operator.rebaseline(cloud, &reason, &by, clock::now()) {
                        Ok(begun) => Answer::Said(Said { text: operate::begun_anew(&begun) }),
                        Err(error) => failed(&error),
                    }
                });
                // Feeds must bring anew what they brought before.
                self.reload(None);
            }
            Request::Adopt { .. } => {
                self.delegate(answer, Some(Cause::Decision), move |operator| {
                    let belief = documents.first().map(Vec::as_slice).unwrap_or_default();
                    match operator.adopt(belief, &by, clock::now()) {
                        Ok(()) => Answer::Said(Said { text: operate::adopted(operator.belief()) }),
                        Err(error) => failed(&error),
                    }
                });
            }
        }
    }

    /// Lets the worker answer; `again`: why what waits is judged again afterwards.
    fn delegate(
        &mut self,
        answer: oneshot::Sender<Answer>,
        again: Option<Cause>,
        job: impl FnOnce(&mut Operator) -> Answer + Send + 'static,
    ) {
        let given = self.give(move |operator| {
            // What was said of jobs that nobody asked for is in the log.
            operator.take_warnings();
            let told = warned(job(operator), operator.take_warnings());
            let again = again.filter(|_| !matches!(told, Answer::Failed(_)));
            // A person who does not wait any more is told by the status.
            _ = answer.send(told);
            Done::Answered { again }
        });
        if given.is_err() {
            error!("a request could not be dealt with: the worker is overloaded or gone");
        }
    }

    #[expect(clippy::unused_self, reason = "all answers go through here")]
    fn reply(&self, to: oneshot::Sender<Answer>, answer: Answer) {
        // A person who does not wait any more needs no answer.
        _ = to.send(answer);
    }

    /// Applies what is known, with documents given by hand.
    fn render(
        &mut self,
        configuration: &str,
        given: Vec<(Document, Vec<u8>)>,
        consent: Consent,
        by: String,
        answer: oneshot::Sender<Answer>,
    ) {
        if configuration != self.config.digest().to_string() {
            let message = "the agent uses another configuration than the one that was read: reload it first, with \
                           `tagwall reload`, or name the one that it uses";
            return self.reply(answer, refused(message));
        }
        let (config, templates) = (Arc::clone(&self.config), Arc::clone(&self.templates));
        self.delegate(answer, None, move |operator| {
            render(operator, &config, &templates, given, &consent, by)
                .unwrap_or_else(|error| failed(&*error))
        });
    }

    /// Reports the status with the kernel read for it.
    fn verified(&mut self, answer: oneshot::Sender<Answer>) {
        let now = self.status(self.standing());
        let config = Arc::clone(&self.config);
        self.delegate(answer, None, move |operator| match jobs::verified(operator, &config) {
            Ok(base) => Answer::Status(Box::new(crate::report::Status {
                agent: now.agent,
                feeds: now.feeds,
                names: now.names,
                serve: now.serve,
                receivers: now.receivers,
                ..base
            })),
            Err(error) => failed(&error),
        });
    }

    /// Brings back what targets had taken over.
    fn restore_before_take_over(
        &mut self,
        target: Option<Name>,
        by: String,
        answer: oneshot::Sender<Answer>,
    ) {
        self.delegate(answer, None, move |operator| {
            let restored = operator.restore_before_take_over(target.as_ref(), &by, clock::now());
            said(restored, |text| text)
        });
    }

    fn fetch(&mut self, only: Option<Name>, answer: oneshot::Sender<Answer>) {
        let asked: BTreeSet<Name> = self
            .feeds
            .keys()
            .filter(|name| only.as_ref().is_none_or(|only| only == *name))
            .cloned()
            .collect();
        if asked.is_empty() {
            let message = match only {
                Some(feed) => format!("there is no feed {feed}"),
                None => "the configuration has no feed".to_owned(),
            };
            return self.reply(answer, refused(&message));
        }
        self.hurry(only.as_ref());
        self.fetching.push(Fetching { waiting_for: asked.clone(), asked, answer });
    }

    /// Answers those who waited for feeds that have looked, once what came of it was dealt with.
    pub(super) fn answer_fetches(&mut self) {
        if self.fetching.is_empty() || self.is_at_work() {
            return;
        }
        let (ready, waiting) = std::mem::take(&mut self.fetching)
            .into_iter()
            .partition(|fetching| fetching.waiting_for.is_empty());
        self.fetching = waiting;
        for Fetching { asked, answer, .. } in ready {
            let status = self.status(self.standing());
            let mut text = String::new();
            for feed in status.feeds.iter().filter(|feed| asked.contains(&feed.name)) {
                text.push_str(&match (&feed.error, &feed.found) {
                    (Some(error), _) => format!("feed {}: failed: {error}\n", feed.name),
                    (None, Some(found)) if Some(found.at) == feed.looked => {
                        format!("feed {}: brought {}\n", feed.name, found.source)
                    }
                    (None, _) => format!("feed {}: unchanged\n", feed.name),
                });
            }
            let agent = status.agent.as_ref();
            let failed = agent.and_then(|agent| agent.failed.as_deref());
            let waiting = agent.and_then(|agent| agent.waiting.as_deref());
            text.push_str(&tell::summary(&status, failed, waiting));
            text.push('\n');
            self.reply(answer, Answer::Said(Said { text }));
        }
    }

    /// Reads the configuration and its templates anew, and tries what they make of the publications: what cannot be
    /// rendered is refused like what cannot be read.
    pub(super) fn reload(&mut self, answer: Option<oneshot::Sender<Answer>>) {
        let path = self.options.config.clone();
        let given = self.give(move |operator| {
            let result = match jobs::load(&path) {
                Ok(loaded) => tried(operator, loaded),
                Err(error) => Err(plain(&error)),
            };
            Done::Reloaded(Box::new(Reloaded { result, seen: jobs::seen(operator), answer }))
        });
        match given {
            Ok(()) => self.supervisor.reloading(),
            // systemd is told nothing: nobody would tell it the end.
            Err(_) => {
                error!("the configuration could not be reloaded: the worker is overloaded or gone");
            }
        }
    }

    /// Takes note of a reload.
    pub(super) fn reloaded(&mut self, reloaded: Reloaded) {
        let answer = match reloaded.result {
            Ok((loaded, worked)) => {
                info!(config = %self.options.config.display(), "reloaded");
                let failed = match &worked.result {
                    // Without a publication there is nothing to be in force yet, whatever the configuration asks for.
                    Ok(_) | Err(NotWorked::Nothing(_)) => None,
                    Err(error) => {
                        Some(Failure { kind: error.kind(), message: words(error.cause()) })
                    }
                };
                self.adopt(loaded, &reloaded.seen);
                self.worked(worked);
                let mut text = "the configuration was reloaded\n".to_owned();
                if let Some(waiting) = &self.waiting {
                    text.push_str(&format!("{waiting}\n"));
                }
                if let Some(fault) = self.serving.fault() {
                    text.push_str(&format!("but for the server: {fault}\n"));
                }
                match failed {
                    None => Answer::Said(Said { text }),
                    Some(Failure { kind, message }) => {
                        let message = format!("{text}what it asks for is not in force: {message}");
                        Answer::Failed(Failure { kind, message })
                    }
                }
            }
            Err(message) => {
                warn!(error = %message, "the configuration was refused: the one before stays in use");
                self.config_refused = Some(message.clone());
                Answer::Failed(Failure { kind: Kind::Config, message })
            }
        };
        if let Some(to) = reloaded.answer {
            self.reply(to, answer);
        }
        let words = tell::summary(&self.standing(), None, None);
        self.supervisor.ready(&words);
    }
}

/// Tries a configuration that was read: it is refused when it asks for what is not published, or for more than a firewall
/// takes. A firewall that fails is no fault of the configuration. The programs are those of the configuration that is in use at
/// the end.
fn tried(operator: &mut Operator, loaded: Loaded) -> Result<(Loaded, Worked), String> {
    let before = configure_programs(loaded.config.programs.paths());
    let order = Order {
        config: Arc::clone(&loaded.config),
        templates: Arc::clone(&loaded.templates),
        causes: BTreeSet::from([Cause::Configuration]),
        found: BTreeMap::new(),
    };
    let worked = jobs::work(operator, order);
    match &worked.result {
        Err(error) if matches!(error.kind(), Kind::Config | Kind::Limit) => {
            configure_programs(before);
            Err(words(error.cause()))
        }
        _ => Ok((loaded, worked)),
    }
}

/// The error of a configuration with the place of what is wrong, without colours.
fn plain(error: &NotLoaded) -> String {
    match error {
        NotLoaded::Config(error) => error.render(false),
        NotLoaded::Render(error) => tell::chain(error),
    }
}

/// Publishes with documents given by hand.
fn render(
    operator: &mut Operator,
    config: &crate::config::Config,
    templates: &crate::render::Templates,
    given: Vec<(Document, Vec<u8>)>,
    consent: &Consent,
    by: String,
) -> Result<Answer, Box<dyn std::error::Error>> {
    let policy = config.policy();
    let now = clock::now();
    let mut publications = Vec::new();
    for (document, bytes) in given {
        publications.push(feed::from_bytes(&bytes, &policy, document.name)?);
    }
    let mut offers = operate::offers(publications, now);
    operator.add_example(config, &mut offers, now)?;
    let offered = operator.offer(&Offering {
        config,
        templates,
        offers: &offers,
        rebaseline: consent.rebaseline.as_deref(),
        take_over: consent.take_over,
        allow_unreached: consent.allow_unreached,
        wish: Wish::OfPerson { by },
        reason: "render",
        now,
    })?;
    Ok(Answer::Done(Operation::of(&offered)))
}

fn said<T>(result: Result<T, OperateError>, text: impl FnOnce(T) -> String) -> Answer {
    result.map_or_else(|error| failed(&error), |value| Answer::Said(Said { text: text(value) }))
}

/// An answer with what should be known of what was done all the same.
fn warned(mut answer: Answer, warnings: Vec<String>) -> Answer {
    match &mut answer {
        Answer::Done(operation) => operation.warnings.extend(warnings),
        Answer::Said(said) => {
            said.text.extend(warnings.iter().map(|warning| format!("warning: {warning}\n")));
        }
        // The rest has no place for words: they are in the log.
        _ => {}
    }
    answer
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Answer {
    Answer::Failed(Failure { kind: Kind::of(error), message: words(error) })
}

/// An error in words: of a configuration with the place of what is wrong.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    match operate::config_error(error) {
        Some(config) => config.render(false),
        None => tell::chain(error),
    }
}

fn refused(message: &str) -> Answer {
    Answer::Failed(Failure { kind: Kind::Usage, message: message.to_owned() })
}
