//! Questions to the kernel's firewall over netlink: the number of nf_tables' ruleset, the content
//! of one set, and how many elements and users a set of ipset has.
//!
//! Neither depends on the version of nft, nor on what else the host has: nft reads much of it for the same answers, and old
//! versions end with a signal over sets that newer ones declared. Formats: linux/netfilter/nf_tables.h.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink, recv, send,
    socket_with,
};

use crate::prefix::PrefixSet;

/// `NFNL_SUBSYS_NFTABLES`, in the high byte of a message's type.
const NFTABLES: u16 = 10 << 8;
const GET_SET: u16 = NFTABLES + 10;
const GET_SET_ELEMENTS: u16 = NFTABLES + 13;
const GET_GENERATION: u16 = NFTABLES + 16;
/// `NFNL_SUBSYS_IPSET`, with `IPSET_CMD_LIST`.
const LIST_IPSET: u16 = (6 << 8) + 7;
/// The oldest protocol of ipset that kernels still speak.
const IPSET_PROTOCOL: u8 = 6;
/// `IPSET_FLAG_LIST_HEADER`: without elements.
const IPSET_HEADER: u32 = 1 << 2;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// `NLM_F_ACK`.
const ACKNOWLEDGE: u16 = 4;
/// `NLM_F_ROOT | NLM_F_MATCH`.
const DUMP: u16 = 0x300;
/// `NLM_F_DUMP_INTR`: the list changed while it was read.
const INTERRUPTED: u16 = 0x10;
/// `NLMSG_ERROR` and `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Length of a netlink header, and of it with the header of nfnetlink.
const HEADER: usize = 16;
const HEADERS: usize = 20;
/// Largest datagram: the kernel fills at most 32 KiB.
const BUFFER: usize = 64 << 10;
/// What one number needs.
const SMALL_BUFFER: usize = 512;
/// How often a list that changes while it is read is read again.
const ATTEMPTS: usize = 8;
/// The types that nft gives sets of addresses: `TYPE_IPADDR` and `TYPE_IP6ADDR`.
const IPV4_ADDRESS: u32 = 7;
const IPV6_ADDRESS: u32 = 8;
/// `NFT_SET_INTERVAL`: elements are the ends of ranges.
const INTERVAL: u32 = 4;
/// `NFT_SET_ELEM_INTERVAL_END`: the element is the first address behind a range.
const INTERVAL_END: u32 = 1;

/// A socket on which nf_tables answers.
#[derive(Debug)]
pub(in crate::publish) struct Netfilter {
    socket: OwnedFd,
}

/// The addresses of a set as the kernel holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::publish) enum Elements {
    /// Addresses of one family.
    Addresses(PrefixSet),
    /// Something else: ports, interfaces, several fields.
    Other,
}

/// What a set of ipset shows without its elements; another one tells of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::publish) struct IpsetSigns {
    elements: u32,
    /// Rules that use it.
    references: u32,
}

impl Netfilter {
    /// Opens a socket in the network namespace of this thread.
    pub(in crate::publish) fn open() -> Result<Self, Errno> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::NETFILTER),
        )?;
        bind(&socket, &netlink::SocketAddrNetlink::new(0, 0))?;
        // The kernel answers at once; a limit all the same, as nothing may wait for ever.
        set_socket_timeout(&socket, Timeout::Recv, Some(std::time::Duration::from_secs(10)))?;
        Ok(Self { socket })
    }

    /// The number of the ruleset, which rises with each change of any table of this network namespace.
    pub(in crate::publish) fn generation(&self) -> Result<u32, Errno> {
        self.send(GET_GENERATION, REQUEST, 0, &[])?;
        let mut number = None;
        self.receive(&mut [0; SMALL_BUFFER], |message| {
            number = attribute(message, 1).and_then(be32);
            false
        })?;
        number.ok_or(Errno::PROTO)
    }

    /// What a set of ipset shows; none where there is no such set.
    pub(in crate::publish) fn ipset(&self, set: &str) -> Result<Option<IpsetSigns>, Errno> {
        let name = text(set);
        let attributes: [(u16, &[u8]); 3] =
            [(1, &[IPSET_PROTOCOL]), (2, &name), (6, &IPSET_HEADER.to_be_bytes())];
        self.send(LIST_IPSET, REQUEST | DUMP, 0, &attributes)?;
        let mut signs = None;
        let read = self.receive(&mut vec![0; BUFFER], |message| {
            if let Some(data) = attribute(message, 7) {
                let number = |kind| attribute(data, kind).and_then(be32).unwrap_or(0);
                signs = Some(IpsetSigns { elements: number(24), references: number(25) });
            }
            true
        });
        match read {
            // Whether it changed meanwhile is for the next look to tell.
            Ok(()) | Err(Errno::INTR) => Ok(signs),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The content of a set; none where there is no such table or set.
    pub(in crate::publish) fn set(
        &self,
        family: &str,
        table: &str,
        set: &str,
    ) -> Result<Option<Elements>, Errno> {
        for _ in 0..ATTEMPTS {
            match self.read_set(family, table, set) {
                Err(Errno::INTR) => {}
                Err(Errno::NOENT) => return Ok(None),
                read => return read.map(Some),
            }
        }
        Err(Errno::AGAIN)
    }

    fn read_set(&self, family: &str, table: &str, set: &str) -> Result<Elements, Errno> {
        let family = match family {
            "inet" => 1,
            "ip" => 2,
            "ip6" => 10,
            _ => return Err(Errno::AFNOSUPPORT),
        };
        let place: [(u16, &[u8]); 2] = [(1, &text(table)), (2, &text(set))];
        self.send(GET_SET, REQUEST | ACKNOWLEDGE, family, &place)?;
        let (mut kind, mut interval) = (0, false);
        let buffer = &mut vec![0; BUFFER][..];
        self.receive(buffer, |message| {
            interval = attribute(message, 3).and_then(be32).unwrap_or(0) & INTERVAL != 0;
            kind = attribute(message, 4).and_then(be32).unwrap_or(0);
            true
        })?;
        let length = match kind {
            IPV4_ADDRESS => 4,
            IPV6_ADDRESS => 16,
            _ => return Ok(Elements::Other),
        };
        self.send(GET_SET_ELEMENTS, REQUEST | DUMP, family, &place)?;
        let mut ends: Vec<(u128, bool)> = Vec::new();
        let mut addresses = true;
        let read = self.receive(buffer, |message| {
            let list = attribute(message, 3).unwrap_or_default();
            for (_, element) in attributes(list) {
                // The key is a value inside an attribute inside an attribute.
                let key = attribute(element, 1).and_then(|key| attribute(key, 1));
                let ranged = attribute(element, 10).is_some();
                let flags = attribute(element, 3).and_then(be32).unwrap_or(0);
                match key {
                    Some(key) if !ranged && key.len() == length => {
                        let value =
                            key.iter().fold(0, |value, byte| value << 8 | u128::from(*byte));
                        ends.push((value, flags & INTERVAL_END != 0));
                    }
                    _ => addresses = false,
                }
            }
            true
        });
        // It was there a moment ago: it is being loaded again.
        read.map_err(|error| if error == Errno::NOENT { Errno::INTR } else { error })?;
        if !addresses {
            return Ok(Elements::Other);
        }
        let last = if length == 4 { u128::from(u32::MAX) } else { u128::MAX };
        let ranges = if interval {
            ranges(ends, last)
        } else {
            ends.into_iter().map(|(address, _)| (address, address)).collect()
        };
        Ok(Elements::Addresses(prefixes(&ranges, length)))
    }

    fn send(
        &self,
        kind: u16,
        flags: u16,
        family: u8,
        attributes: &[(u16, &[u8])],
    ) -> Result<(), Errno> {
        let mut body = vec![family, 0, 0, 0];
        for (kind, value) in attributes {
            let length = u16::try_from(4 + value.len()).map_err(|_| Errno::NAMETOOLONG)?;
            body.extend(length.to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let length = u32::try_from(HEADER + body.len()).map_err(|_| Errno::NAMETOOLONG)?;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        send(&self.socket, &message, SendFlags::empty())?;
        Ok(())
    }

    /// Hands over the attributes of each message of an answer; `more` says whether another one follows.
    fn receive(&self, buffer: &mut [u8], mut more: impl FnMut(&[u8]) -> bool) -> Result<(), Errno> {
        let mut interrupted = false;
        loop {
            let (_, received) = recv(&self.socket, &mut *buffer, RecvFlags::empty())?;
            let mut rest = &buffer[..received.min(buffer.len())];
            while rest.len() >= HEADER {
                let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
                let message =
                    rest.get(..length).filter(|_| length >= HEADER).ok_or(Errno::PROTO)?;
                let kind = u16::from_ne_bytes([message[4], message[5]]);
                let flags = u16::from_ne_bytes([message[6], message[7]]);
                interrupted |= flags & INTERRUPTED != 0;
                let ended = match kind {
                    // The end of a list has a code too: the set may have gone meanwhile.
                    DONE | ERROR => {
                        let code = message.get(HEADER..HEADERS).ok_or(Errno::PROTO)?;
                        match i32::from_ne_bytes([code[0], code[1], code[2], code[3]]) {
                            0 => true,
                            code @ -4095..=-1 => return Err(Errno::from_raw_os_error(-code)),
                            _ => return Err(Errno::PROTO),
                        }
                    }
                    _ => !more(message.get(HEADERS..).unwrap_or_default()),
                };
                if ended {
                    return if interrupted { Err(Errno::INTR) } else { Ok(()) };
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// The attributes of a message or of another attribute, with their kinds.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes([*rest.first()?, *rest.get(1)?]));
        let kind = u16::from_ne_bytes([*rest.get(2)?, *rest.get(3)?]) & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// A text as the value of an attribute.
fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn be32(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

/// Ranges from their ends, both inclusive. An end without a beginning is the empty range that nft puts at the first address; a
/// beginning without an end reaches to the last one.
fn ranges(mut ends: Vec<(u128, bool)>, last: u128) -> Vec<(u128, u128)> {
    // Where one range ends and the next begins at the same address, the end comes first.
    ends.sort_unstable_by_key(|(address, end)| (*address, !*end));
    let mut ranges = Vec::with_capacity(ends.len() / 2 + 1);
    let mut open = None;
    for (address, end) in ends {
        match (open, end) {
            (None, false) => open = Some(address),
            (Some(first), true) => {
                ranges.push((first, address.saturating_sub(1)));
                open = None;
            }
            _ => {}
        }
    }
    ranges.extend(open.map(|first| (first, last)));
    ranges
}

#[expect(clippy::cast_possible_truncation, reason = "a value of four bytes is an IPv4 address")]
fn prefixes(ranges: &[(u128, u128)], length: usize) -> PrefixSet {
    let mut nets: Vec<IpNet> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        if length == 4 {
            let (first, last) = (Ipv4Addr::from(*first as u32), Ipv4Addr::from(*last as u32));
            nets.extend(Ipv4Subnets::new(first, last, 0).map(IpNet::V4));
        } else {
            let (first, last) = (Ipv6Addr::from(*first), Ipv6Addr::from(*last));
            nets.extend(Ipv6Subnets::new(first, last, 0).map(IpNet::V6));
        }
    }
    nets.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_close_at_their_ends() {
        let last = u128::from(u32::MAX);
        assert_eq!(ranges(vec![(0, true)], last), []);
        let ends = vec![(20, true), (10, false), (0, true), (20, false), (30, true), (40, false)];
        assert_eq!(ranges(ends, last), [(10, 19), (20, 29), (40, last)]);
        let all = prefixes(&[(0, last)], 4);
        assert_eq!(all.to_string(), "0.0.0.0/0");
    }

    #[test]
    fn list_that_ends_with_an_error_is_not_taken_for_a_short_one() {
        let (ours, kernel) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let netfilter = Netfilter { socket: ours };
        let end = |code: i32| {
            let mut message = 20_u32.to_ne_bytes().to_vec();
            message.extend(DONE.to_ne_bytes());
            message.extend([0; 10]);
            message.extend(code.to_ne_bytes());
            send(&kernel, &message, SendFlags::empty()).unwrap();
            netfilter.receive(&mut [0; SMALL_BUFFER], |_| true)
        };
        assert_eq!(end(0), Ok(()));
        assert_eq!(end(-2), Err(Errno::NOENT));
        assert_eq!(end(i32::MIN), Err(Errno::PROTO));
    }

    #[test]
    fn attributes_of_any_bytes_end() {
        assert_eq!(attributes(&[]).count(), 0);
        assert_eq!(attributes(&[0, 0, 0, 0, 1, 2]).count(), 0);
        assert_eq!(attributes(&[5, 0, 1, 0, 7, 0, 0, 0]).collect::<Vec<_>>(), [(1, &[7][..])]);
        assert_eq!(attributes(&[255, 255, 1, 0, 7]).count(), 0);
    }
}
