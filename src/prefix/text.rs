//! Prefixes as text, fast.
//!
//! The standard library's formatting of 90,000 prefixes costs as much as all the rest of a rendering; IPv4, which most are, is
//! written by hand here. The text is the one that the library writes.

use std::fmt::Write as _;

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
    // Writing to a String cannot fail.
    _ = write!(text, "{net}");
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
