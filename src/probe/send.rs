//! The packets of a probe: plain sockets, in the namespace that they were opened in.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

use super::report::Exchange;
use super::{Flow, ProbeService};

/// The payload, which has to come back.
const DATA: &[u8] = b"tagwall";
/// Interval at which a service checks whether it has to end.
const TICK: Duration = Duration::from_millis(50);
/// Number of times that an unanswered datagram is sent.
const DATAGRAMS: u32 = 3;

/// The socket that the first packet was sent with.
#[derive(Debug)]
pub(super) struct First(OwnedFd);

impl First {
    /// Sends the first packet of a flow, from its source's address.
    pub(super) fn send(flow: &Flow) -> Result<Self, Errno> {
        let socket = socket(flow, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        rustix::net::bind(&socket, &SocketAddr::new(flow.source, 0))?;
        let to = SocketAddr::new(flow.destination, flow.service.port());
        match rustix::net::connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        let socket = Self(socket);
        if let Some(packet) = packet(flow) {
            rustix::net::send(&socket.0, &packet, rustix::net::SendFlags::empty())?;
        }
        Ok(socket)
    }

    /// The refusal that came back until `end`, if one did.
    pub(super) fn refusal(&self, end: Instant) -> Option<Errno> {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap_or_default();
        let mut waiting = [PollFd::new(&self.0, PollFlags::IN | PollFlags::OUT | PollFlags::ERR)];
        // A datagram socket can always be written to: only its error matters.
        if !matches!(sockopt::socket_type(&self.0), Ok(SocketType::STREAM)) {
            waiting[0] = PollFd::new(&self.0, PollFlags::IN | PollFlags::ERR);
        }
        rustix::io::retry_on_intr(|| poll(&mut waiting, Some(&left))).ok()?;
        sockopt::socket_error(&self.0).ok()?.err()
    }
}

fn socket(flow: &Flow, flags: SocketFlags) -> Result<OwnedFd, Errno> {
    let v4 = flow.source.is_ipv4();
    let family = if v4 { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, protocol) = match flow.service {
        ProbeService::Tcp(_) => (SocketType::STREAM, ipproto::TCP),
        ProbeService::Udp(_) => (SocketType::DGRAM, ipproto::UDP),
        ProbeService::Echo if v4 => (SocketType::DGRAM, ipproto::ICMP),
        ProbeService::Echo => (SocketType::DGRAM, ipproto::ICMPV6),
    };
    rustix::net::socket_with(family, kind, flags, Some(protocol))
}

/// The payload of a datagram; none for a connection.
fn packet(flow: &Flow) -> Option<Vec<u8>> {
    let echo = |kind| [&[kind, 0, 0, 0, 0, 0, 0, 1], DATA].concat();
    match flow.service {
        ProbeService::Tcp(_) => None,
        ProbeService::Udp(_) => Some(DATA.to_vec()),
        ProbeService::Echo => Some(echo(if flow.source.is_ipv4() { 8 } else { 128 })),
    }
}

/// A service at the other end of a flow.
#[derive(Debug)]
pub(super) enum Service {
    Tcp(TcpListener),
    Udp(UdpSocket),
    /// The kernel answers echoes.
    Kernel,
}

impl Service {
    /// Opens it in the namespace that this thread is in: for TCP at every address, as a translation
    /// may choose another one each time; for UDP at this one, as answers must come from it.
    pub(super) fn open(address: IpAddr, service: ProbeService) -> io::Result<Self> {
        let address = SocketAddr::new(address, service.port());
        match service {
            ProbeService::Tcp(port) => {
                let any: IpAddr = if address.is_ipv4() {
                    Ipv4Addr::UNSPECIFIED.into()
                } else {
                    Ipv6Addr::UNSPECIFIED.into()
                };
                Ok(Self::Tcp(TcpListener::bind(SocketAddr::new(any, port))?))
            }
            ProbeService::Udp(_) => {
                let socket = UdpSocket::bind(address)?;
                socket.set_read_timeout(Some(TICK))?;
                Ok(Self::Udp(socket))
            }
            ProbeService::Echo => Ok(Self::Kernel),
        }
    }

    /// Sends back what comes, until `stop`.
    pub(super) fn serve(&self, stop: &AtomicBool) {
        match self {
            Self::Kernel => {}
            Self::Udp(socket) => {
                let mut buffer = [0; 64];
                while !stop.load(Ordering::Relaxed) {
                    if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                        _ = socket.send_to(buffer.get(..length).unwrap_or_default(), from);
                    }
                }
            }
            Self::Tcp(listener) => {
                let tick = Timespec::try_from(TICK).unwrap_or_default();
                while !stop.load(Ordering::Relaxed) {
                    let mut waiting = [PollFd::new(listener, PollFlags::IN)];
                    if matches!(poll(&mut waiting, Some(&tick)), Ok(1..))
                        && let Ok((stream, _)) = listener.accept()
                    {
                        echo(stream, stop);
                    }
                }
            }
        }
    }
}

/// Sends back what comes over a connection, until it ends.
fn echo(mut stream: TcpStream, stop: &AtomicBool) {
    _ = stream.set_read_timeout(Some(TICK));
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                if stream.write_all(buffer.get(..length).unwrap_or_default()).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Opens a connection and sends data there and back, within `patience`.
pub(super) fn converse(flow: &Flow, patience: Duration) -> (Exchange, Option<String>) {
    match attempt(flow, patience) {
        Ok(()) => (Exchange::Answered, None),
        Err(Errno::INPROGRESS | Errno::AGAIN | Errno::TIMEDOUT) => (Exchange::Silent, None),
        Err(error) => (Exchange::Refused, Some(io::Error::from(error).to_string())),
    }
}

fn attempt(flow: &Flow, patience: Duration) -> Result<(), Errno> {
    let errno = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::CONNRESET);
    let socket = socket(flow, SocketFlags::CLOEXEC)?;
    let packet = packet(flow);
    let each = if packet.is_some() { patience / DATAGRAMS } else { patience };
    for timeout in [Timeout::Send, Timeout::Recv] {
        sockopt::set_socket_timeout(&socket, timeout, Some(each))?;
    }
    rustix::net::bind(&socket, &SocketAddr::new(flow.source, 0))?;
    let to = SocketAddr::new(flow.destination, flow.service.port());
    rustix::net::connect(&socket, &to)?;
    let Some(packet) = packet else {
        let mut stream = TcpStream::from(socket);
        let mut answer = [0; DATA.len()];
        stream.write_all(DATA).and_then(|()| stream.read_exact(&mut answer)).map_err(errno)?;
        return Ok(());
    };
    let mut last = Errno::AGAIN;
    for _ in 0..DATAGRAMS {
        rustix::net::send(&socket, &packet, rustix::net::SendFlags::empty())?;
        let mut answer = [0; 64];
        match rustix::net::recv(&socket, &mut answer[..], rustix::net::RecvFlags::empty()) {
            Ok(_) => return Ok(()),
            Err(Errno::AGAIN) => last = Errno::AGAIN,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}
