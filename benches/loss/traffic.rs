//! What crosses the firewall while rules are loaded: two UDP streams, TCP connects, and one
//! connection that stays open.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_linger, socket_error};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::bed::{ALLOWED, Bed, CONNECT, ECHO, FORBIDDEN, Place, STREAM};

/// Packets of each stream that are sent before the sender looks at the clock.
const BURST: u32 = 20;
/// Time between two connects, and between two exchanges over the open connection.
const PAUSE: Duration = Duration::from_millis(1);
/// Longest wait for a connection or an answer; the kernel sends a lost SYN again after a second.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };

/// What became of TCP.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Connects {
    /// Connections that were established at once.
    pub(crate) established: u64,
    /// Connections that were refused.
    pub(crate) refused: u64,
    /// Connections that were not established within half a second.
    pub(crate) timed_out: u64,
    /// Times that the open connection was cut or had no answer.
    pub(crate) cut: u64,
}

/// Runs the work while traffic crosses the firewall; what became of TCP, how long it ran, and what
/// the work returns.
pub(crate) fn during<T>(
    bed: &Bed,
    rate: u32,
    work: impl FnOnce() -> Result<T, String>,
) -> Result<(Connects, Duration, T), String> {
    let stop = AtomicBool::new(false);
    let sinks = Sinks::open(bed)?;
    // The neighbors learn each other's addresses before anything is counted.
    bed.within(Place::Client, || {
        let first = TcpStream::connect_timeout(&to(ALLOWED, CONNECT)?, Duration::from_secs(2));
        first.map(drop).map_err(|error| format!("nothing passes before the first load: {error}"))
    })?;
    thread::scope(|scope| {
        scope.spawn(|| sinks.serve_echo(&stop));
        scope.spawn(|| sinks.accept(&stop));
        let streams = scope.spawn(|| bed.within(Place::Client, || send_streams(rate, &stop)));
        let connects = scope.spawn(|| bed.within(Place::Client, || connect(&stop)));
        let kept = scope.spawn(|| bed.within(Place::Client, || exchange(&stop)));
        let started = Instant::now();
        thread::sleep(Duration::from_millis(300));
        let worked = work();
        thread::sleep(Duration::from_millis(100));
        stop.store(true, Ordering::Relaxed);
        let elapsed = started.elapsed();
        let (streams, connects, kept) = (streams.join(), connects.join(), kept.join());
        // Whatever failed, nobody waits in `accept` any more.
        sinks.close();
        let lost = |_| "a thread panicked".to_owned();
        streams.map_err(lost)??;
        let mut connects = connects.map_err(lost)??;
        connects.cut = kept.map_err(lost)??;
        Ok((connects, elapsed, worked?))
    })
}

/// The server's sockets.
struct Sinks {
    /// Bound so that no packet of the streams is answered; nobody reads it.
    _streams: UdpSocket,
    connects: TcpListener,
    echo: TcpListener,
}

impl Sinks {
    fn open(bed: &Bed) -> Result<Self, String> {
        bed.within(Place::Server, || {
            let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
            let failed = |error: std::io::Error| error.to_string();
            Ok(Self {
                _streams: UdpSocket::bind(any(STREAM)).map_err(failed)?,
                connects: TcpListener::bind(any(CONNECT)).map_err(failed)?,
                echo: TcpListener::bind(any(ECHO)).map_err(failed)?,
            })
        })
    }

    /// Wakes those who wait in `accept`.
    fn close(&self) {
        for listener in [&self.connects, &self.echo] {
            _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
        }
    }

    fn accept(&self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            if self.connects.accept().is_err() {
                return;
            }
        }
    }

    fn serve_echo(&self, stop: &AtomicBool) {
        while let Ok((mut stream, _)) = self.echo.accept() {
            _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
            _ = stream.set_nodelay(true);
            let mut byte = [0; 1];
            while !stop.load(Ordering::Relaxed) {
                match stream.read(&mut byte) {
                    Ok(0) => break,
                    Ok(_) if stream.write_all(&byte).is_err() => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
            }
        }
    }
}

fn to(address: &str, port: u16) -> Result<SocketAddr, String> {
    format!("{address}:{port}").parse().map_err(|error| format!("{address}: {error}"))
}

/// Sends both streams at this rate each. The server never answers, so that conntrack keeps calling
/// their packets new and each is decided by the rules.
fn send_streams(rate: u32, stop: &AtomicBool) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the streams cannot be sent: {error}");
    let socket = UdpSocket::bind("0.0.0.0:0").map_err(failed)?;
    let (allowed, forbidden) = (to(ALLOWED, STREAM)?, to(FORBIDDEN, STREAM)?);
    let interval = Duration::from_secs(1) * BURST / rate.max(1);
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..BURST {
            for destination in [&allowed, &forbidden] {
                socket.send_to(&[0; 16], destination).map_err(failed)?;
            }
        }
        next += interval;
        match next.checked_duration_since(Instant::now()) {
            Some(early) => thread::sleep(early),
            // What a busy machine delayed is made up for, but not in one flood.
            None if next.elapsed() > Duration::from_millis(50) => next = Instant::now(),
            None => {}
        }
    }
    Ok(())
}

/// Opens one connection after another.
fn connect(stop: &AtomicBool) -> Result<Connects, String> {
    let mut connects = Connects::default();
    let destination = to(ALLOWED, CONNECT)?;
    while !stop.load(Ordering::Relaxed) {
        match connect_once(&destination) {
            Ok(()) | Err(Errno::CONNRESET) => connects.established += 1,
            Err(Errno::TIMEDOUT) => connects.timed_out += 1,
            Err(Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::ACCESS) => {
                connects.refused += 1;
            }
            Err(error) => return Err(format!("a connection cannot be tried: {error}")),
        }
        thread::sleep(PAUSE);
    }
    Ok(connects)
}

fn connect_once(destination: &SocketAddr) -> Result<(), Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    // It ends by a reset, so that neither side runs out of ports.
    set_socket_linger(&socket, Some(Duration::ZERO))?;
    match rustix::net::connect(&socket, destination) {
        Err(Errno::INPROGRESS) => {}
        other => return other,
    }
    let mut waiting = [PollFd::new(&socket, PollFlags::OUT)];
    if poll(&mut waiting, Some(&PATIENCE))? == 0 {
        return Err(Errno::TIMEDOUT);
    }
    socket_error(&socket)?
}

/// Sends a byte back and forth over one connection; how often it was cut or had no answer.
fn exchange(stop: &AtomicBool) -> Result<u64, String> {
    let destination = to(ALLOWED, ECHO)?;
    let patience = Duration::from_secs(3);
    let mut cut = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect_timeout(&destination, patience) else {
            cut += 1;
            thread::sleep(PAUSE);
            continue;
        };
        let configured =
            stream.set_read_timeout(Some(patience)).and_then(|()| stream.set_nodelay(true));
        configured.map_err(|error| error.to_string())?;
        let mut byte = [0; 1];
        while !stop.load(Ordering::Relaxed) {
            let talked = stream.write_all(&byte).and_then(|()| stream.read_exact(&mut byte));
            if talked.is_err() {
                // At the end the server stops first.
                cut += u64::from(!stop.load(Ordering::Relaxed));
                break;
            }
            thread::sleep(PAUSE);
        }
    }
    Ok(cut)
}
