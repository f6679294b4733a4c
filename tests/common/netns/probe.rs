//! One connection, seen from where it begins. What makes it runs in the namespace that the calling thread is in.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketType, ipproto};

/// What a connection is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transport {
    /// TCP: a connection, and data both ways.
    Tcp,
    /// UDP: a datagram, and its answer.
    Udp,
    /// An ICMP or ICMPv6 echo; it has no port.
    Ping,
}

/// How a connection went, seen from where it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The other side answered.
    Passed,
    /// Somebody said no: a reset, or an ICMP error.
    Refused,
    /// Nobody said anything.
    Silent,
}

/// A connection to try: its two ends lie on different sides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    /// Where it begins.
    pub(crate) source: IpAddr,
    /// Where it goes.
    pub(crate) to: IpAddr,
    /// With what.
    pub(crate) transport: Transport,
    /// To which port.
    pub(crate) port: u16,
}

impl Probe {
    /// A connection between addresses in text.
    pub(crate) fn new(source: &str, to: &str, transport: Transport, port: u16) -> Self {
        let address = |text: &str| match text.parse() {
            Ok(address) => address,
            Err(error) => panic!("{text}: {error}"),
        };
        Self { source: address(source), to: address(to), transport, port }
    }
}

impl std::fmt::Display for Probe {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { source, to, transport, port } = self;
        write!(formatter, "{source} -> {to} {transport:?}/{port}")
    }
}

fn family(address: SocketAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

pub(super) fn open(
    source: SocketAddr,
    to: SocketAddr,
    patience: Duration,
) -> Result<TcpStream, Errno> {
    let socket = rustix::net::socket(family(to), SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &source)?;
    for timeout in [Timeout::Send, Timeout::Recv] {
        set_socket_timeout(&socket, timeout, Some(patience))?;
    }
    rustix::net::connect(&socket, &to)?;
    Ok(TcpStream::from(socket))
}

/// Sends data over a connection and says whether it came back.
pub(crate) fn talk(stream: &mut TcpStream) -> Verdict {
    let mut answer = [0; 4];
    let talked = stream.write_all(b"ping").and_then(|()| stream.read_exact(&mut answer));
    match talked {
        Ok(()) if &answer == b"ping" => Verdict::Passed,
        Ok(()) => panic!("the service answers with something else: {answer:?}"),
        Err(error) => verdict_of(Errno::from_io_error(&error).unwrap_or(Errno::CONNRESET)),
    }
}

pub(super) fn datagram(
    source: SocketAddr,
    to: SocketAddr,
    patience: Duration,
) -> Result<Verdict, Errno> {
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let socket = UdpSocket::bind(source).map_err(errno)?;
    socket.connect(to).map_err(errno)?;
    socket.set_read_timeout(Some(patience)).map_err(errno)?;
    socket.send(b"ping").map_err(errno)?;
    let mut answer = [0; 8];
    let length = socket.recv(&mut answer).map_err(errno)?;
    assert_eq!(&answer[..length], b"ping", "the service answers with something else");
    Ok(Verdict::Passed)
}

pub(super) fn ping(source: IpAddr, to: IpAddr, patience: Duration) -> Result<Verdict, Errno> {
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let to = SocketAddr::new(to, 0);
    let (protocol, request, reply) =
        if to.is_ipv4() { (ipproto::ICMP, 8, 0) } else { (ipproto::ICMPV6, 128, 129) };
    let socket = rustix::net::socket(family(to), SocketType::DGRAM, Some(protocol))?;
    rustix::net::bind(&socket, &SocketAddr::new(source, 0))?;
    rustix::net::connect(&socket, &to)?;
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(patience)).map_err(errno)?;
    socket.send(&[request, 0, 0, 0, 0, 0, 0, 1]).map_err(errno)?;
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer).map_err(errno)?;
    assert_eq!(answer[..length].first(), Some(&reply), "no echo reply");
    Ok(Verdict::Passed)
}

/// What an error says about the way; one that says something about the bed ends the test.
pub(super) fn verdict_of(error: Errno) -> Verdict {
    match error {
        Errno::INPROGRESS | Errno::AGAIN | Errno::TIMEDOUT => Verdict::Silent,
        Errno::CONNREFUSED
        | Errno::CONNRESET
        | Errno::HOSTUNREACH
        | Errno::NETUNREACH
        | Errno::ACCESS => Verdict::Refused,
        other => panic!("the bed is broken: {other}"),
    }
}
