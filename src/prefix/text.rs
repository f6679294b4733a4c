//! Prefixes as text, fast.
//!
//! The standard library's formatting of 90,000 prefixes costs as much as all the rest of a rendering; IPv4, which most are, is
//! written by hand here. The text is the one that the library writes.

use std::fmt::Write as _;
use std::ops::Range;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Appends a prefix.
pub fn push(text: &mut String, net: IpNet) {
    match net {
        IpNet::V4(net) => push_v4(text, net),
        IpNet::V6(net) => push_v6(text, net),
    }
}

/// Appends an IPv4 prefix.
pub fn push_v4(text: &mut String, net: Ipv4Net) {
    let [a, b, c, d] = net.addr().octets();
    for (number, end) in [(a, '.'), (b, '.'), (c, '.'), (d, '/')] {
        push_number(text, number);
        text.push(end);
    }
    push_number(text, net.prefix_len());
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
    let mut index = 0;
    while index < 8 {
        if index == gap.start && gap.len() > 1 {
            text.push_str("::");
            index = gap.end;
            continue;
        }
        // Behind a gap its second colon separates already.
        if index > 0 && !(gap.len() > 1 && index == gap.end) {
            text.push(':');
        }
        push_hexadecimal(text, groups[index]);
        index += 1;
    }
    text.push('/');
    push_number(text, net.prefix_len());
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

fn push_hexadecimal(text: &mut String, group: u16) {
    let mut started = false;
    for shift in [12, 8, 4, 0] {
        let digit = u32::from(group >> shift & 0xf);
        if digit > 0 || started || shift == 0 {
            started = true;
            text.extend(char::from_digit(digit, 16));
        }
    }
}

fn push_number(text: &mut String, number: u8) {
    let digit = |value: u8| char::from(b'0' + value);
    if number >= 100 {
        text.push(digit(number / 100));
    }
    if number >= 10 {
        text.push(digit(number / 10 % 10));
    }
    text.push(digit(number % 10));
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
            let mut text = String::new();
            push_number(&mut text, number);
            assert_eq!(text, number.to_string());
        }
        for net in ["0.0.0.0/0", "192.0.2.128/25", "255.255.255.255/32", "2001:db8::/32", "::/0"] {
            let mut text = String::new();
            push(&mut text, net.parse().unwrap());
            assert_eq!(text, net);
        }
    }
}
