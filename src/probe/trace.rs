//! The kernel's trace of packets through nf_tables, read from its netlink group.
//!
//! `nft monitor trace` reads the whole cache before it listens, and prints text that differs
//! between versions; a socket of this group listens from its `bind` on, whatever the host's rules
//! are. Attributes are those of `NFTA_TRACE_*` in the kernel's `nf_tables.h`.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, sockopt};

/// The multicast group of traces (`NFNLGRP_NFTRACE`), as a bit.
const GROUP: u32 = 1 << (9 - 1);
/// The type of its messages: subsystem nf_tables, `NFT_MSG_TRACE`.
const MESSAGE: u16 = 10 * 256 + 17;
/// Bytes of traces that wait to be read: some thousand events.
const BUFFER: usize = 4 << 20;
/// Bytes of the headers in front of the attributes: netlink's and netfilter's.
const HEADERS: usize = 16 + 4;

/// A socket that hears of every traced packet of the namespace that it was opened in.
#[derive(Debug)]
pub(super) struct TraceSocket(OwnedFd);

/// A step of a packet's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// The packet.
    pub(super) id: u32,
    /// The family of the table, as nft names it.
    pub(super) family: &'static str,
    pub(super) table: String,
    pub(super) chain: String,
    pub(super) kind: Kind,
    /// The rule.
    pub(super) handle: u64,
    pub(super) outcome: Outcome,
    /// Interfaces by index; 0 where there is none.
    pub(super) output: u32,
    /// Addresses and port, where the event has the packet's headers.
    pub(super) ends: Option<Ends>,
}

/// Which kind of step it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A rule matched.
    Rule,
    /// A chain that was jumped to ended.
    Return,
    /// A base chain ended.
    Policy,
}

/// Effect of a step on the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Accept,
    Drop,
    /// It went to user space.
    Queue,
    /// Another part of the kernel took it.
    Stolen,
    /// It goes on with the next rule.
    Continue,
    Return,
    Jump(String),
    Goto(String),
    /// A code that is not known here.
    Other(i32),
}

/// Source and destination of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// The destination port, if its protocol has one.
    pub(super) port: u16,
}

impl TraceSocket {
    /// Opens a socket in the namespace that this thread is in.
    pub(super) fn open() -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(NETFILTER),
        )?;
        sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUP))?;
        Ok(Self(socket))
    }

    /// The next events, or none when there are none until `end`.
    pub(super) fn next(&self, end: Instant) -> io::Result<Vec<Event>> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).unwrap_or_default();
            let mut waiting = [PollFd::new(&self.0, PollFlags::IN)];
            if rustix::io::retry_on_intr(|| poll(&mut waiting, Some(&left)))? == 0 {
                return Ok(Vec::new());
            }
            match rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::empty()) {
                Ok((_, length)) => {
                    let read = buffer.get(..length).ok_or(io::ErrorKind::InvalidData)?;
                    let events = parse(read);
                    if !events.is_empty() {
                        return Ok(events);
                    }
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                // NOBUFS: events were lost, and with them the proof.
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The events of a datagram. What is no trace is passed over.
fn parse(mut bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(length) = bytes.first_chunk().map(|length| u32::from_ne_bytes(*length)) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(message) = bytes.get(..length).filter(|message| message.len() >= HEADERS) else {
            break;
        };
        if message[4..6] == MESSAGE.to_ne_bytes() {
            events.extend(event(message[16], &message[HEADERS..]));
        }
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    events
}

fn event(family: u8, attributes: &[u8]) -> Option<Event> {
    let mut event = Event {
        id: 0,
        family: match family {
            1 => "inet",
            2 => "ip",
            3 => "arp",
            5 => "netdev",
            7 => "bridge",
            10 => "ip6",
            _ => return None,
        },
        table: String::new(),
        chain: String::new(),
        kind: Kind::Rule,
        handle: 0,
        outcome: Outcome::Continue,
        output: 0,
        ends: None,
    };
    let (mut network, mut transport): (&[u8], &[u8]) = (&[], &[]);
    for (kind, value) in Attributes(attributes) {
        match kind {
            1 => event.table = text(value),
            2 => event.chain = text(value),
            3 => event.handle = u64::from_be_bytes(*value.first_chunk()?),
            4 => {
                event.kind = match number(value)? {
                    1 => Kind::Policy,
                    2 => Kind::Return,
                    3 => Kind::Rule,
                    _ => return None,
                }
            }
            5 => event.outcome = verdict(value)?,
            6 => event.id = number(value)?,
            8 => network = value,
            9 => transport = value,
            12 => event.output = number(value)?,
            // The policy is a verdict without a chain.
            16 => event.outcome = outcome(number(value)?.cast_signed(), String::new()),
            _ => {}
        }
    }
    event.ends = ends(network, transport);
    Some(event)
}

fn verdict(nested: &[u8]) -> Option<Outcome> {
    let (mut code, mut chain) = (None, String::new());
    for (kind, value) in Attributes(nested) {
        match kind {
            1 => code = Some(number(value)?.cast_signed()),
            2 => chain = text(value),
            _ => {}
        }
    }
    Some(outcome(code?, chain))
}

fn outcome(code: i32, chain: String) -> Outcome {
    match code {
        // The upper half of a drop is its error number, of a queue its number.
        -1 => Outcome::Continue,
        -3 => Outcome::Jump(chain),
        -4 => Outcome::Goto(chain),
        -5 => Outcome::Return,
        code if code < 0 => Outcome::Other(code),
        code => match code & 0xff {
            0 => Outcome::Drop,
            1 => Outcome::Accept,
            2 => Outcome::Stolen,
            3 => Outcome::Queue,
            _ => Outcome::Other(code),
        },
    }
}

/// The ends of a packet, from the beginnings of its headers.
fn ends(network: &[u8], transport: &[u8]) -> Option<Ends> {
    let address = |at: usize| -> Option<IpAddr> {
        match network.first()? >> 4 {
            4 => Some(IpAddr::from(*network.get(12 + 4 * at..)?.first_chunk::<4>()?)),
            6 => Some(IpAddr::from(*network.get(8 + 16 * at..)?.first_chunk::<16>()?)),
            _ => None,
        }
    };
    let port = transport.get(2..4).map_or(0, |port| u16::from_be_bytes([port[0], port[1]]));
    Some(Ends { source: address(0)?, destination: address(1)?, port })
}

fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*value.first_chunk()?))
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

/// The attributes of a netlink message, by type.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let [low, high, kind_low, kind_high] = *self.0.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([low, high]));
        // The two upper bits are flags.
        let kind = u16::from_ne_bytes([kind_low, kind_high]) & 0x3fff;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn message(kind: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADERS + attributes.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend([family, 0, 0, 0]);
        bytes.extend(attributes);
        bytes
    }

    fn jump() -> Vec<u8> {
        let mut network = [0; 20];
        network[0] = 0x45;
        network[12..16].copy_from_slice(&[10, 0, 0, 1]);
        network[16..20].copy_from_slice(&[203, 0, 113, 7]);
        let nested = [attribute(1, &(-3_i32).to_be_bytes()), attribute(2, b"sub\0")].concat();
        [
            attribute(1, b"filter\0"),
            attribute(2, b"forward\0"),
            attribute(3, &7_u64.to_be_bytes()),
            attribute(4, &3_u32.to_be_bytes()),
            attribute(5 | 0x8000, &nested),
            attribute(6, &99_u32.to_be_bytes()),
            attribute(8, &network),
            attribute(9, &[0x9c, 0x40, 0x01, 0xbb, 0, 0]),
            attribute(12, &3_u32.to_be_bytes()),
        ]
        .concat()
    }

    #[test]
    fn traces_are_read_from_netlink_messages() {
        let mut bytes = message(3, 2, &[]);
        bytes.extend(message(MESSAGE, 1, &jump()));
        let events = parse(&bytes);
        assert_eq!(
            events,
            [Event {
                id: 99,
                family: "inet",
                table: "filter".to_owned(),
                chain: "forward".to_owned(),
                kind: Kind::Rule,
                handle: 7,
                outcome: Outcome::Jump("sub".to_owned()),
                output: 3,
                ends: Some(Ends {
                    source: "10.0.0.1".parse().unwrap(),
                    destination: "203.0.113.7".parse().unwrap(),
                    port: 443,
                }),
            }]
        );
    }

    #[test]
    fn cut_messages_are_no_events_and_no_panic() {
        let whole = message(MESSAGE, 1, &jump());
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), []);
        }
        let mut lying = whole;
        lying[20] = 0xff;
        assert!(parse(&lying).len() <= 1);
    }

    #[test]
    fn verdict_codes_of_the_kernel_are_known() {
        let of = |code| outcome(code, String::new());
        assert_eq!(of(0), Outcome::Drop);
        assert_eq!(of(1), Outcome::Accept);
        assert_eq!(of(0x0002_0003), Outcome::Queue);
        assert_eq!(of(-5), Outcome::Return);
        assert_eq!(of(-2), Outcome::Other(-2));
    }
}
