//! Prefixes as text, fast.
//!
//! The standard library's formatting of 90,000 prefixes costs as much as all the rest of a rendering; they are
//! written by hand here. The text is the one that the library writes.

use std::fmt::Write as _;
use std::ops::Range;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Serializer;

/// Appends a prefix.
pub fn push(text: &mut String, net: IpNet) {
    match net {
        IpNet::V4(net) => push_v4(text, net),
        IpNet::V6(net) => push_v6(text, net),
    }
}

/// Serialises a prefix as text, for what has a type of its own for it.
pub(crate) fn serialize<S: Serializer>(net: IpNet, serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = String::with_capacity(48);
    push(&mut text, net);
    serializer.serialize_str(&text)
}

/// Appends an IPv4 prefix.
pub fn push_v4(text: &mut String, net: Ipv4Net) {
    let mut line = Line::new();
    for (number, end) in net.addr().octets().into_iter().zip(*b".../") {
        line.number(number);
        line.byte(end);
    }
    line.number(net.prefix_len());
    text.push_str(line.as_str());
}

/// Appends an IPv6 prefix, in the spelling of RFC 5952.
pub fn push_v6(text: &mut String, net: Ipv6Net) {
    let groups = net.addr().segments();
    if groups[..5] == [0; 5] {
        // IPv4-mapped and the like have a spelling of their own, and are never published. Writing to a String cannot fail.
        _ = write!(text, "{net}");
        return;
    }
    let gap = longest_gap(groups);
    let mut line = Line::new();
    let mut index = 0;
    while index < 8 {
        if index == gap.start && gap.len() > 1 {
            line.byte(b':');
            line.byte(b':');
            index = gap.end;
            continue;
        }
        // Behind a gap its second colon separates already.
        if index > 0 && !(gap.len() > 1 && index == gap.end) {
            line.byte(b':');
        }
        line.hexadecimal(groups[index]);
        index += 1;
    }
    line.byte(b'/');
    line.number(net.prefix_len());
    text.push_str(line.as_str());
}

/// The longest run of zero groups, the first of equal ones; empty when there is none.
fn longest_gap(groups: [u16; 8]) -> Range<usize> {
    let mut best = 0..0;
    let mut index = 0;
    while index < 8 {
        let length = groups[index..].iter().take_while(|group| **group == 0).count();
        if length > best.len() {
            best = index..index + length;
        }
        index += length.max(1);
    }
    best
}

/// A prefix as it is written, byte by byte: a `String` looks with each character whether it has room.
struct Line {
    bytes: [u8; Self::LONGEST],
    length: usize,
}

impl Line {
    /// Eight groups of four digits, seven colons, a slash and three digits.
    const LONGEST: usize = 43;

    fn new() -> Self {
        Self { bytes: [0; Self::LONGEST], length: 0 }
    }

    #[inline]
    fn byte(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    #[inline]
    fn number(&mut self, number: u8) {
        if number >= 100 {
            self.byte(b'0' + number / 100);
        }
        if number >= 10 {
            self.byte(b'0' + number / 10 % 10);
        }
        self.byte(b'0' + number % 10);
    }

    fn hexadecimal(&mut self, group: u16) {
        let [high, low] = group.to_be_bytes();
        let digits = [high >> 4, high & 0xf, low >> 4, low & 0xf];
        let zeros = digits[..3].iter().take_while(|digit| **digit == 0).count();
        for digit in &digits[zeros..] {
            self.byte(b"0123456789abcdef"[usize::from(*digit)]);
        }
    }

    #[inline]
    fn as_str(&self) -> &str {
        // Nothing but ASCII was put in.
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_of_zero_groups_is_written_as_by_the_library() {
        for pattern in 0..=u8::MAX {
            for value in [1_u16, 0xf, 0x10, 0xabc, 0xffff] {
                let group = |bit: u8| if pattern >> bit & 1 == 1 { value } else { 0 };
                let groups = [0, 1, 2, 3, 4, 5, 6, 7].map(group);
                let net = Ipv6Net::new_assert(groups.into(), 128);
                let mut text = String::new();
                push_v6(&mut text, net);
                assert_eq!(text, net.to_string());
            }
        }
    }

    #[test]
    fn the_text_is_what_the_library_writes() {
        for number in 0..=u8::MAX {
            let mut line = Line::new();
            line.number(number);
            assert_eq!(line.as_str(), number.to_string());
        }
        let longest = "2001:db88:1111:2222:3333:4444:5555:6666/128";
        for net in
            ["0.0.0.0/0", "192.0.2.128/25", "255.255.255.255/32", "2001:db8::/32", "::/0", longest]
        {
            let mut text = String::new();
            push(&mut text, net.parse().unwrap());
            assert_eq!(text, net);
        }
    }
}
