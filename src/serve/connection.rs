//! One connection: who may come in, the handshake, the requests, and its end.
//!
//! Whatever a client does costs its own task at most: each step has a limit in time, and a panic stays inside.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::answer::{Peer, answer};
use super::counters::{Counters, Reason};
use super::crowd::{Refusal, Seat};
use super::doors::Caller;
use super::patient::Patient;
use super::server::{Active, Shared};
use super::tls::{Keyring, subject};

/// Gives a client a task of its own, if it may come in.
pub(super) fn admit(shared: &Arc<Shared>, caller: Caller) {
    let active = shared.active();
    let address = match &caller {
        Caller::Tcp(_, address) => Some(*address),
        Caller::Unix(_) => None,
    };
    if address.is_some_and(|address| !active.admits(address)) {
        shared.counters.refuse(Reason::network);
        return;
    }
    let seat = match shared.crowd.enter(address, &active.settings.limits) {
        Ok(seat) => seat,
        Err(refusal) => {
            shared.counters.refuse(match refusal {
                Refusal::Full => Reason::full,
                Refusal::Greedy => Reason::client_full,
            });
            return;
        }
    };
    shared.counters.connections.inc();
    let task = Arc::clone(shared);
    shared.tasks.spawn(async move {
        let _watch = PanicWatch(&task.counters, seat);
        let patience = active.settings.limits.stall_timeout.duration();
        match caller {
            Caller::Tcp(stream, address) => {
                let peer = Peer { address: Some(address), certificate: None };
                let stream = Patient::new(stream, patience);
                if active.settings.tls.is_some() {
                    secure(&task, &active, stream, peer).await;
                } else {
                    converse(&task, &active, stream, peer).await;
                }
            }
            Caller::Unix(stream) => {
                converse(&task, &active, Patient::new(stream, patience), Peer::default()).await;
            }
        }
    });
}

/// Counts a task that panicked. The runtime keeps a panic inside its task; it must be seen all the same.
struct PanicWatch<'c>(
    &'c Counters,
    #[expect(dead_code, reason = "held for the time of the connection")] Seat,
);

impl Drop for PanicWatch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panics.inc();
            tracing::error!("a connection ended in a panic; the others are not touched");
        }
    }
}

/// Speaks TLS with a client, then HTTP.
async fn secure<S>(shared: &Arc<Shared>, active: &Arc<Active>, stream: S, mut peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(keyring) = certificate(active).await else {
        // To be unreachable is what a firewall forgives.
        shared.counters.refuse(Reason::certificate);
        return;
    };
    let acceptor = TlsAcceptor::from(Arc::clone(&keyring.config));
    let limit = active.settings.limits.handshake_timeout.duration();
    let Ok(Ok(stream)) = timeout(limit, acceptor.accept(stream)).await else {
        shared.counters.refuse(Reason::handshake);
        return;
    };
    let certificates = stream.get_ref().1.peer_certificates();
    peer.certificate = certificates.and_then(|chain| subject(chain.first()?));
    converse(shared, active, stream, peer).await;
}

/// The certificate in service, after a look whether there is a newer one.
async fn certificate(active: &Arc<Active>) -> Option<Arc<Keyring>> {
    look_again(active).await;
    active.credentials.keyring(Timestamp::now())
}

/// Looks whether credentials were renewed, unless that was done just now. A disk that hangs does not hold up anybody.
async fn look_again(active: &Arc<Active>) {
    if active.credentials.is_due() {
        let active = Arc::clone(active);
        let look =
            tokio::task::spawn_blocking(move || active.credentials.refresh(Timestamp::now()));
        let _ = timeout(Duration::from_secs(2), look).await;
    }
}

/// Speaks HTTP with a client.
pub(super) async fn converse<S>(shared: &Arc<Shared>, active: &Arc<Active>, stream: S, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    look_again(active).await;
    let limits = &active.settings.limits;
    let service =
        service_fn(|request| async { Ok::<_, Infallible>(answer(shared, &peer, request).await) });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout.duration())
            .max_headers(limits.headers)
            .max_header_size(limits.header_bytes)
            .max_buf_size(limits.header_bytes.max(64 * 1024))
            .serve_connection(TokioIo::new(stream), service)
    );
    let lifetime = limits.connection_lifetime.duration();
    tokio::select! {
        // How a connection ended is the client's matter.
        _ = connection.as_mut() => return,
        () = sleep(lifetime) => {}
        () = shared.stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(lifetime, connection).await;
}
