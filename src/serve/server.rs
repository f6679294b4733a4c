//! The server's life: threads, doors, reload and stop.
//!
//! It runs on threads of its own and shares nothing with the agent but the view: a flood or a fault here is not felt there.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::Gate;
use super::clients::{Clients, Fetch, Fetches};
use super::connection::admit;
use super::counters::Counters;
use super::credentials::{CertificateTime, Credentials};
use super::crowd::Crowd;
use super::doors::{Bound, Door, Place, bind_place, handed_over};
use super::page::Page;
use super::view::View;
use crate::config::{PlainHttp, ServeSettings, space};
use crate::prefix::PrefixSet;
use crate::report::{ClientStatus, ServeStatus};

/// First pause after an error of accepting; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// First pause before a place that could not be listened at is tried again; it doubles up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// Threads for what blocks: files that are read, passwords that are verified.
const BLOCKING_THREADS: usize = 4;

/// Why there is no server.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Threads could not be started.
    #[error("cannot start the server's threads: {0}")]
    Threads(std::io::Error),
    /// The page's template is wrong.
    #[error("cannot start the server: its page: {0}")]
    Page(tera::Error),
    /// The system gave no random bytes.
    #[error("cannot start the server: the system gives no random bytes")]
    Random,
    /// A place of the new settings cannot be listened at; those before stay in service.
    #[error("cannot listen at {place}: {source}; the settings before stay in service")]
    Listen {
        /// Where.
        place: Place,
        /// Why not.
        source: std::io::Error,
    },
}

/// What a reload changes.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) settings: ServeSettings,
    pub(super) credentials: Credentials,
    networks: PrefixSet,
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    active: RwLock<Arc<Active>>,
    view: watch::Receiver<Arc<View>>,
    pub(super) crowd: Arc<Crowd>,
    pub(super) gate: Gate,
    pub(super) page: Page,
    pub(super) clients: Clients,
    pub(super) counters: Counters,
    doors: Mutex<BTreeMap<Place, DoorState>>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// A place and what became of it.
#[derive(Debug)]
struct DoorState {
    /// The address that it got.
    address: Option<SocketAddr>,
    /// Why it is not open.
    fault: Option<String>,
    close: CancellationToken,
}

/// A running server. Stops when it is dropped.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

/// Starts a server. A place that cannot be listened at and a file that cannot be used do not keep it from starting: they are
/// told by [`Server::faults`] and tried again.
pub fn start(
    settings: &ServeSettings,
    view: watch::Receiver<Arc<View>>,
) -> Result<Server, ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.limits.threads)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("tagwall-serve")
        .enable_all()
        .build()
        .map_err(ServeError::Threads)?;
    let shared = Arc::new(Shared::new(settings, view)?);
    let server = Server { shared, runtime: Some(runtime) };
    let mut bound: Vec<_> =
        places(settings).into_iter().map(|place| (place.clone(), bind_place(&place))).collect();
    if settings.socket_activation {
        bound.extend(handed_over());
    }
    for (place, bound) in bound {
        server.open(place, bound);
    }
    Ok(server)
}

/// Where the settings say to listen, sockets of systemd aside.
fn places(settings: &ServeSettings) -> Vec<Place> {
    let addresses = settings.listen.iter().map(|address| Place::Tcp(*address));
    addresses.chain(settings.socket.iter().map(|path| Place::Unix(path.clone()))).collect()
}

impl Active {
    fn new(settings: &ServeSettings, credentials: Credentials) -> Self {
        Self { settings: settings.clone(), credentials, networks: space(&settings.networks) }
    }

    /// Whether this client is answered at all.
    pub(super) fn admits(&self, address: IpAddr) -> bool {
        let plain = self.settings.tls.is_none();
        if address.is_loopback() {
            return true;
        }
        let known = self.settings.networks.is_empty() || self.networks.contains(address);
        known && !(plain && self.settings.plain_http == PlainHttp::Loopback)
    }
}

impl Shared {
    /// What is shared by no connection yet.
    pub(super) fn new(
        settings: &ServeSettings,
        view: watch::Receiver<Arc<View>>,
    ) -> Result<Self, ServeError> {
        let mut key = [0; 32];
        rustls::crypto::ring::default_provider()
            .secure_random
            .fill(&mut key)
            .map_err(|_| ServeError::Random)?;
        Ok(Self {
            active: RwLock::new(Arc::new(Active::new(settings, Credentials::load(settings)))),
            view,
            crowd: Arc::default(),
            gate: Gate::new(key),
            page: Page::new().map_err(ServeError::Page)?,
            clients: Clients::default(),
            counters: Counters::default(),
            doors: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    pub(super) fn active(&self) -> Arc<Active> {
        Arc::clone(&self.active.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// How many connections there are.
    pub(super) fn connections(&self) -> usize {
        self.crowd.size()
    }

    fn doors(&self) -> std::sync::MutexGuard<'_, BTreeMap<Place, DoorState>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server as the status shows it.
    pub(super) fn status(&self, view: &View, now: Timestamp) -> ServeStatus {
        let certificate = self.active().credentials.certificate(now);
        let places = self
            .doors()
            .iter()
            .filter(|(_, door)| door.fault.is_none())
            .map(|(place, door)| match door.address {
                Some(address) => address.to_string(),
                None => place.to_string(),
            })
            .collect();
        let now_has = |fetch: &Fetch| {
            let list = view.lists.as_ref().and_then(|lists| lists.get(&fetch.list));
            list.is_some_and(|list| list.content.digest() == fetch.digest)
        };
        let client = |fetch: Fetch| ClientStatus {
            current: now_has(&fetch),
            address: fetch.address.map_or_else(|| "unix".to_owned(), |address| address.to_string()),
            user: fetch.user,
            agent: fetch.agent,
            list: fetch.list,
            generation: fetch.generation,
            digest: fetch.digest,
            at: fetch.at,
            count: fetch.count,
        };
        ServeStatus {
            places,
            faults: self.faults().into_iter().chain(view.faults.iter().cloned()).collect(),
            certificate_ends: certificate.map(|certificate| certificate.ends),
            certificate_warning: certificate.is_some_and(|certificate| certificate.warn),
            lists: view.lists.as_ref().map(|lists| lists.status()).unwrap_or_default(),
            clients: self.clients.all().into_iter().map(client).collect(),
        }
    }

    /// Places that are not listened at, and files that are not in service, with their reasons.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self
            .doors()
            .iter()
            .filter_map(|(place, door)| {
                Some(format!("cannot listen at {place}: {}", door.fault.as_ref()?))
            })
            .collect();
        faults.extend(self.active().credentials.faults());
        faults
    }
}

impl Server {
    /// Takes new settings. Places that are new are listened at first: when one cannot be, nothing changes. A certificate or a
    /// password file that is bad leaves the one before in service, and is told by [`Server::faults`].
    pub fn reload(&self, settings: &ServeSettings) -> Result<(), ServeError> {
        let wanted = places(settings);
        let fresh: Vec<Place> = {
            let doors = self.shared.doors();
            wanted.iter().filter(|place| !doors.contains_key(place)).cloned().collect()
        };
        let mut bound = Vec::new();
        for place in fresh {
            match bind_place(&place) {
                Ok(door) => bound.push((place, Ok(door))),
                Err(source) => return Err(ServeError::Listen { place, source }),
            }
        }
        let old = self.shared.active();
        let active = Active::new(settings, old.credentials.reloaded(settings));
        *self.shared.active.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(active);
        self.shared.doors().retain(|place, door| {
            let stays = wanted.contains(place) || matches!(place, Place::Handed(_));
            if !stays {
                door.close.cancel();
            }
            stays
        });
        for (place, bound) in bound {
            self.open(place, bound);
        }
        Ok(())
    }

    /// Begins to listen at a place, or keeps trying to.
    fn open(&self, place: Place, bound: std::io::Result<Bound>) {
        let Some(runtime) = &self.runtime else { return };
        let close = self.shared.stop.child_token();
        let state = DoorState { address: None, fault: None, close: close.clone() };
        self.shared.doors().insert(place.clone(), state);
        let _guard = runtime.enter();
        let door = self.shared.opened(&place, bound);
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn_on(
            async move { close.run_until_cancelled(keep_open(&shared, &place, door)).await },
            runtime.handle(),
        );
    }

    /// The TCP addresses that are listened at.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.shared.doors().values().filter_map(|door| door.address).collect()
    }

    /// Takes in what clients had fetched before the last restart.
    pub fn restore(&self, kept: Fetches) {
        self.shared.clients.restore(kept);
    }

    /// What each client fetched last.
    pub fn clients(&self) -> Vec<Fetch> {
        self.shared.clients.all()
    }

    /// What keeps the server from serving all that it should.
    pub fn faults(&self) -> Vec<String> {
        self.shared.faults()
    }

    /// All of it, for the status.
    pub fn status(&self) -> ServeStatus {
        self.shared.status(&self.shared.view(), Timestamp::now())
    }

    /// How long the certificate is good for; none without TLS, or while no certificate could be taken.
    pub fn certificate(&self) -> Option<CertificateTime> {
        self.shared.active().credentials.certificate(Timestamp::now())
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }

    /// Stops: no more connections, and those that are busy get this long to finish.
    pub async fn stop(mut self, grace: Duration) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        let _ = timeout(grace, self.shared.tasks.wait()).await;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            // Waiting is not allowed where this may happen: inside the agent's own runtime.
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    /// Opens what was bound, and notes how that went.
    fn opened(&self, place: &Place, bound: std::io::Result<Bound>) -> Option<Door> {
        let door = bound.and_then(|bound| Door::open(bound, place));
        if let Some(state) = self.doors().get_mut(place) {
            state.address = door.as_ref().ok().and_then(Door::address);
            state.fault = door.as_ref().err().map(ToString::to_string);
        }
        match door {
            Ok(door) => {
                tracing::info!("serving at {place}");
                Some(door)
            }
            Err(error) => {
                tracing::error!("cannot listen at {place}: {error}; tried again until it can");
                None
            }
        }
    }
}

/// Listens at a place for ever; tries again as long as it cannot be listened at.
async fn keep_open(shared: &Arc<Shared>, place: &Place, mut door: Option<Door>) {
    let mut pause = FIRST_RETRY;
    loop {
        if let Some(door) = &door {
            welcome(shared, door).await;
        }
        if matches!(place, Place::Handed(_)) {
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_RETRY);
        if let Ok(bound) = bind_place(place) {
            door = shared.opened(place, Ok(bound));
        }
    }
}

/// Takes clients in. An error (no descriptors left, say) is waited out and ends nothing.
async fn welcome(shared: &Arc<Shared>, door: &Door) -> Infallible {
    let mut pause = FIRST_PAUSE;
    loop {
        match door.next().await {
            Ok(caller) => {
                pause = FIRST_PAUSE;
                admit(shared, caller);
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::warn!("cannot accept connections: {error}; waiting {pause:?}");
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Whether a client went away before it was taken in.
fn is_the_clients(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{
        ConnectionAborted, ConnectionReset, Interrupted, InvalidInput, NotConnected,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | InvalidInput | NotConnected
    )
}
