//! Tells people: webhook, mail, command, syslog.
//!
//! Owns the channels and what was already said (`notified.json` in the state folder). Promises: what happens is told once;
//! what lasts is told when it begins, again only when its escalation is due, and when it ends; a receiver that is slow or gone
//! never holds up the agent; no secret is in a message. Does not decide what is worth telling.
//!
//! The agent hands over [`Event`]s and goes on at once. [`Notifier::tell`] is for what happened; [`Notifier::lasting`] for all
//! that is wrong right now, as often as the agent looks: whether anybody needs to hear of it again is found out here.

mod deliver;
mod delivery;
mod event;
mod mail;
mod said;
mod syslog;

pub use deliver::NotifyError;
pub use event::{Event, Message, News, State};
pub use said::Said;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::config::{Config, Notify};
use crate::os::files;
use crate::report::ReceiverStatus;
use deliver::Receiver;
use delivery::{Deliveries, Delivery};

/// Events and conditions that may wait for the notifier.
const WAITING: usize = 256;
/// News that may wait for one receiver.
const WAITING_NEWS: usize = 256;
/// Most news in one message.
const MOST_NEWS: usize = 100;
/// Pauses before a message is tried again; then it is given up. What lasts is told again when its time comes.
const RETRY_AFTER: [Duration; 6] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
    Duration::from_secs(1800),
    Duration::from_secs(3600),
];
/// Longest sleep until escalations are looked at again: the clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Hands news to the receivers of the configuration. Ends when it is dropped.
#[derive(Debug)]
pub struct Notifier {
    sender: mpsc::Sender<Order>,
    tasks: Vec<AbortOnDropHandle<()>>,
    deliveries: Deliveries,
    known: Vec<Event>,
}

#[derive(Debug)]
enum Order {
    Tell(Event),
    Lasting(Vec<Event>),
    Receivers(Vec<Channel>),
}

/// A receiver as the keeper sees it.
#[derive(Debug)]
struct Channel {
    name: String,
    settings: Notify,
    news: mpsc::Sender<News>,
}

impl Notifier {
    /// Starts telling. Needs a tokio runtime. What was said before is read from the state folder.
    pub fn start(config: &Config, state_dir: &Path) -> Self {
        let path = state_dir.join(Said::FILE);
        let said = Said::load(&path).unwrap_or_else(|error| {
            warn!(%error, "what was told before is not known: it may be told again");
            Said::default()
        });
        let known = said.lasting().cloned().collect();
        let deliveries = Deliveries::default();
        let (channels, mut tasks) = receivers(config, &deliveries);
        let (sender, orders) = mpsc::channel(WAITING);
        tasks.push(AbortOnDropHandle::new(tokio::spawn(keep(channels, said, path, orders))));
        Self { sender, tasks, deliveries, known }
    }

    /// Tells the receivers of another configuration from now on. What the ones before were handed they still deliver.
    pub fn reload(&mut self, config: &Config) {
        self.deliveries.forget();
        let (channels, tasks) = receivers(config, &self.deliveries);
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.extend(tasks);
        self.order(Order::Receivers(channels));
    }

    /// What was told to last in an earlier life, and not yet to have ended.
    pub fn known(&self) -> &[Event] {
        &self.known
    }

    /// How it went with each receiver.
    pub fn receivers(&self) -> Vec<ReceiverStatus> {
        self.deliveries.all()
    }

    /// Takes nothing more, and gives what was handed over so much time to be delivered.
    pub async fn finish(self, within: Duration) {
        let Self { sender, tasks, .. } = self;
        drop(sender);
        let limit = Instant::now() + within;
        for task in tasks {
            if timeout_at(limit, task).await.is_err() {
                warn!("not everything could be told before the end");
                return;
            }
        }
    }

    /// Tells of something that happened. Never waits.
    pub fn tell(&self, event: Event) {
        self.order(Order::Tell(event));
    }

    /// Says everything that is wrong right now. Never waits.
    pub fn lasting(&self, events: Vec<Event>) {
        self.order(Order::Lasting(events));
    }

    fn order(&self, order: Order) {
        if self.sender.try_send(order).is_err() {
            warn!("too much to tell at once: something was left out");
        }
    }
}

/// Starts a task for each receiver of the configuration.
fn receivers(
    config: &Config,
    deliveries: &Deliveries,
) -> (Vec<Channel>, Vec<AbortOnDropHandle<()>>) {
    let (mut channels, mut tasks) = (Vec::new(), Vec::new());
    for (name, settings) in &config.notify {
        let settings = settings.get_ref();
        let Some(receiver) = Receiver::new(name.as_str(), settings, config) else { continue };
        let (news, waiting) = mpsc::channel(WAITING_NEWS);
        let gather = settings.gather.duration();
        let delivery = deliveries.of(name, receiver.way());
        tasks
            .push(AbortOnDropHandle::new(tokio::spawn(serve(receiver, gather, waiting, delivery))));
        channels.push(Channel { name: name.to_string(), settings: settings.clone(), news });
    }
    (channels, tasks)
}

/// Keeps what was said, and decides what each receiver hears.
async fn keep(
    mut channels: Vec<Channel>,
    mut said: Said,
    path: PathBuf,
    mut orders: mpsc::Receiver<Order>,
) {
    let mut lasting: Option<Vec<Event>> = None;
    loop {
        let now = Timestamp::now();
        let next = channels
            .iter()
            .filter_map(|channel| said.next(&channel.name, &channel.settings.again_after))
            .min()
            .map_or(LONGEST_SLEEP, |at| {
                Duration::try_from(at.duration_since(now)).unwrap_or_default()
            });
        // Until the agent has said what lasts, nothing can have ended and nothing is due.
        let pause = if lasting.is_some() { next.min(LONGEST_SLEEP) } else { LONGEST_SLEEP };
        let order = tokio::select! {
            order = orders.recv() => match order {
                Some(order) => Some(order),
                None => return,
            },
            () = tokio::time::sleep(pause) => None,
        };
        match order {
            Some(Order::Tell(event)) => {
                for channel in channels.iter().filter(|channel| channel.settings.wants(event.kind))
                {
                    channel.pass(News {
                        state: State::Happened,
                        event: event.clone(),
                        since: event.at,
                    });
                }
                continue;
            }
            Some(Order::Lasting(events)) => lasting = Some(events),
            Some(Order::Receivers(others)) => channels = others,
            None => {}
        }
        let Some(events) = &lasting else { continue };
        let before = said.clone();
        for channel in &channels {
            let wanted = events.iter().filter(|event| channel.settings.wants(event.kind));
            let due =
                said.update(&channel.name, wanted, &channel.settings.again_after, Timestamp::now());
            for news in due {
                channel.pass(news);
            }
        }
        said.forget_all_but(channels.iter().map(|channel| channel.name.as_str()));
        if said != before {
            save(said.clone(), path.clone()).await;
        }
    }
}

async fn save(said: Said, path: PathBuf) {
    let saving = tokio::task::spawn_blocking(move || {
        let text = said.write().map_err(|error| error.to_string())?;
        files::replace(&path, &text).map(|_| ()).map_err(|error| error.to_string())
    });
    let result = saving.await.unwrap_or_else(|error| Err(error.to_string()));
    if let Err(error) = result {
        warn!(%error, "what was told cannot be kept: it may be told again after a restart");
    }
}

impl Channel {
    fn pass(&self, news: News) {
        if self.news.try_send(news).is_err() {
            warn!(receiver = self.name, "the receiver is far behind: something was left out");
        }
    }
}

/// Gathers the news of one receiver into messages, and sees each of them delivered or given up.
async fn serve(
    receiver: Receiver,
    gather: Duration,
    mut waiting: mpsc::Receiver<News>,
    delivery: Delivery,
) {
    let receiver = Arc::new(receiver);
    while let Some(first) = waiting.recv().await {
        let mut news = vec![first];
        let until = Instant::now() + gather;
        while news.len() < MOST_NEWS {
            match timeout_at(until, waiting.recv()).await {
                Ok(Some(next)) => news.push(next),
                Ok(None) | Err(_) => break,
            }
        }
        let message = Message::new(news);
        let mut pauses = RETRY_AFTER.iter();
        loop {
            match receiver.deliver(&message).await {
                Ok(()) => {
                    info!(receiver = receiver.name(), events = message.events.len(), "told");
                    delivery.told();
                    break;
                }
                Err(error) => match pauses.next() {
                    Some(pause) if error.is_transient() => {
                        warn!(receiver = receiver.name(), %error, ?pause, "not told yet: tried again");
                        delivery.failed(&error, false);
                        sleep_until(Instant::now() + *pause).await;
                    }
                    _ => {
                        warn!(receiver = receiver.name(), %error, "given up: not told");
                        delivery.failed(&error, true);
                        break;
                    }
                },
            }
        }
    }
}
