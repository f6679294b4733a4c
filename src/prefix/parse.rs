//! Address prefixes from text, strictly.
//!
//! Owns the reading of `address/length`. Promises that a text is read in one way or refused: no
//! leading zeros (octal to some firewalls), no signs, spaces, zones or netmasks, and no host bits,
//! because a prefix such as `192.0.2.77/24` shows that its author meant something else. IPv6
//! addresses may be spelt in any way of RFC 4291. Does not resolve names, and never guesses.
//!
//! The common spellings take a path of our own without an allocation, several times as fast as
//! the general parsers; everything else takes the standard library's, and what both refuse is
//! looked at once more to say why.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Why a text is no address prefix. Quoted text is escaped, and cut after 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// There is no text.
    #[error("an address prefix is empty; write one such as 192.0.2.0/24")]
    Empty,
    /// There is an address but no length.
    #[error(
        "the address `{text}` has no prefix length; write `{text}/{single}` for this address alone"
    )]
    MissingLength {
        /// The address.
        text: String,
        /// The length that stands for one address of its family: 32 or 128.
        single: u8,
    },
    /// What should be an address is not.
    #[error(
        "`{text}` is no address; write IPv4 as 192.0.2.0, without leading zeros, and IPv6 as 2001:db8::"
    )]
    Address {
        /// What stands before the slash, or all of the text where there is no slash.
        text: String,
    },
    /// The length is not a plain number.
    #[error(
        "`{text}` has no valid prefix length; write digits alone, without sign or leading zeros"
    )]
    Length {
        /// All of the text.
        text: String,
    },
    /// The length is larger than the family's width.
    #[error("`{text}` has a prefix length above {max}")]
    LengthRange {
        /// All of the text.
        text: String,
        /// The largest length of the address's family: 32 or 128.
        max: u8,
    },
    /// The address has bits beyond the prefix.
    #[error("`{text}` has host bits; its network is {network}")]
    HostBits {
        /// All of the text.
        text: String,
        /// The prefix of the same length without host bits.
        network: IpNet,
    },
}

/// Reads `address/length` of either family.
pub fn parse_net(text: &str) -> Result<IpNet, PrefixError> {
    let bytes = text.as_bytes();
    if let Some(prefix) = parse_v4(bytes) {
        return Ok(prefix.into());
    }
    if let Some(prefix) = fast_v6(bytes) {
        return Ok(prefix.into());
    }
    parse_slowly(text)
}

/// Reads `address/length`, or a plain address as the prefix of that address alone.
pub fn parse_net_or_address(text: &str) -> Result<IpNet, PrefixError> {
    if text.is_empty() || text.contains('/') {
        return parse_net(text);
    }
    text.parse::<IpAddr>()
        .map(IpNet::from)
        .map_err(|_| PrefixError::Address { text: excerpt(text) })
}

/// Reads a canonical IPv4 prefix; `None` for anything else.
pub fn parse_v4(text: &[u8]) -> Option<Ipv4Net> {
    let mut padded = [0; LONGEST_V4 + 2];
    padded.get_mut(..=LONGEST_V4)?.get_mut(..text.len())?.copy_from_slice(text);
    let (prefix, length) = v4_before(&padded, 0)?;
    (length == text.len()).then_some(prefix)
}

/// Reads a prefix that a quote ends, in one of the common spellings, and says how many bytes it took with the quote. `None` for
/// anything else, and for a prefix at the very end of the bytes.
#[inline]
pub fn net_before_quote(bytes: &[u8]) -> Option<(IpNet, usize)> {
    if let Some((prefix, length)) = bytes.first_chunk().and_then(|bytes| v4_before(bytes, b'"')) {
        return Some((prefix.into(), length + 1));
    }
    let (prefix, rest) = v6_and_rest(bytes)?;
    let behind = rest.strip_prefix(b"\"")?;
    Some((prefix.into(), bytes.len() - behind.len()))
}

/// Length of `255.255.255.255/32`.
const LONGEST_V4: usize = 18;

/// Reads a canonical IPv4 prefix at the front that the byte `end` ends, and its length without it.
#[inline]
fn v4_before(bytes: &[u8; LONGEST_V4 + 2], end: u8) -> Option<(Ipv4Net, usize)> {
    let mut address = 0;
    let mut at = 0;
    for separator in *b".../" {
        let (number, digits) = octet(bytes, at, separator)?;
        address = address << 8 | number;
        at += digits + 1;
    }
    let (length, digits) = octet(bytes, at, end)?;
    at += digits;
    if length > 32 {
        return None;
    }
    // A mask of 64 bits, so that it can be shifted out of the address altogether.
    if u64::from(address) & (u64::from(u32::MAX) >> length) != 0 {
        return None;
    }
    let prefix = Ipv4Net::new(Ipv4Addr::from_bits(address), u8::try_from(length).ok()?).ok()?;
    Some((prefix, at))
}

/// A decimal number up to 255 without leading zeros that the byte `end` ends, and how many digits it has. Without a branch for each digit: which of them
/// are there is as good as random in a list of 70,000 prefixes, and a processor that guessed wrong loses more than all of this takes.
#[inline]
fn octet(bytes: &[u8; LONGEST_V4 + 2], at: usize, end: u8) -> Option<(u32, usize)> {
    const EACH: u32 = 0x0101_0101;
    // Up to three digits and what is behind them. All that may come before is shorter than the bytes by more than this.
    let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    // The first digit is the lowest byte. A digit becomes 0 to 9, everything else more.
    let four = u32::from_le_bytes(four);
    let values = four ^ (EACH * u32::from(b'0'));
    let others = (((values & (EACH * 0x7f)) + EACH * 0x76) | values) & (EACH * 0x80);
    // The bits of the digits: 8, 16 or 24; 0 when there is none, and 32 when there are too many.
    let bits = others.trailing_zeros() & !7;
    if bits == 0 || (four.unbounded_shr(bits) & 0xff) != u32::from(end) || bits > 24 {
        return None;
    }
    // The last digit to the highest byte, so that its place no longer depends on how many there are.
    let places = values << (32 - bits);
    let number = (places >> 24) + (places >> 16 & 0xff) * 10 + (places >> 8 & 0xff) * 100;
    let leading_zero = values.trailing_zeros() >= 8 && bits > 8;
    (number <= 255 && !leading_zero).then_some((number, bits as usize / 8))
}

/// Reads an IPv6 prefix without host bits, in any spelling of RFC 4291; `None` for anything else.
pub fn parse_v6(text: &[u8]) -> Option<Ipv6Net> {
    fast_v6(text).or_else(|| match parse_slowly(std::str::from_utf8(text).ok()?) {
        Ok(IpNet::V6(prefix)) => Some(prefix),
        _ => None,
    })
}

/// Reads an IPv6 prefix that is written with hexadecimal groups only (no dotted tail).
fn fast_v6(text: &[u8]) -> Option<Ipv6Net> {
    v6_and_rest(text).filter(|(_, rest)| rest.is_empty()).map(|(prefix, _)| prefix)
}

/// The same at the front of a text, with what is behind it.
fn v6_and_rest(text: &[u8]) -> Option<(Ipv6Net, &[u8])> {
    let mut groups = [0_u16; 8];
    let mut count = 0;
    // How many groups stand before the `::`.
    let mut gap = None;
    let mut rest = text;
    if let Some(after) = rest.strip_prefix(b"::") {
        gap = Some(0);
        rest = after;
    }
    // A text that begins with its `::` may have no group at all.
    if gap.is_none() || rest.first() != Some(&b'/') {
        loop {
            let (group, after) = hexadecimal(rest)?;
            *groups.get_mut(count)? = group;
            count += 1;
            match *after {
                [b'/', ..] => {
                    rest = after;
                    break;
                }
                [b':', b':', ref tail @ ..] if gap.is_none() => {
                    gap = Some(count);
                    rest = tail;
                    if rest.first() == Some(&b'/') {
                        break;
                    }
                }
                [b':', ref tail @ ..] => rest = tail,
                _ => return None,
            }
        }
    }
    match gap {
        // A `::` stands for one group at least.
        Some(before) if count < 8 => {
            let behind = count - before;
            groups.copy_within(before..count, 8 - behind);
            groups[before..8 - behind].fill(0);
        }
        None if count == 8 => {}
        _ => return None,
    }
    let (length, rest) = number(rest.strip_prefix(b"/")?)?;
    let address = Ipv6Addr::from(groups);
    let prefix = Ipv6Net::new(address, length).ok()?;
    (address.to_bits() & prefix.hostmask().to_bits() == 0).then_some((prefix, rest))
}

/// Takes a decimal number up to 255 without leading zeros from the front.
fn number(text: &[u8]) -> Option<(u8, &[u8])> {
    let digit =
        |index: usize| text.get(index).map(|byte| byte.wrapping_sub(b'0')).filter(|d| *d < 10);
    let first = digit(0)?;
    let Some(second) = digit(1) else { return Some((first, &text[1..])) };
    if first == 0 {
        return None;
    }
    let two = first * 10 + second;
    let Some(third) = digit(2) else { return Some((two, &text[2..])) };
    let three = u16::from(two) * 10 + u16::from(third);
    // A fourth digit is left to the caller, who expects a separator there or the end.
    Some((u8::try_from(three).ok()?, &text[3..]))
}

/// Takes a group of one to four hexadecimal digits from the front.
fn hexadecimal(text: &[u8]) -> Option<(u16, &[u8])> {
    let mut group = 0;
    let mut digits = 0;
    while let Some(&byte) = text.get(digits) {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => break,
        };
        if digits == 4 {
            return None;
        }
        group = group << 4 | u16::from(digit);
        digits += 1;
    }
    (digits > 0).then(|| (group, &text[digits..]))
}

/// Reads the spellings that the fast paths leave, and says what is wrong with the others.
#[cold]
fn parse_slowly(text: &str) -> Result<IpNet, PrefixError> {
    if text.is_empty() {
        return Err(PrefixError::Empty);
    }
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(PrefixError::Address { text: excerpt(address) });
    };
    let max = if address.is_ipv4() { 32 } else { 128 };
    let Some(length) = length else {
        return Err(PrefixError::MissingLength { text: excerpt(text), single: max });
    };
    let plain = length.bytes().all(|byte| byte.is_ascii_digit());
    if length.is_empty() || !plain || (length.len() > 1 && length.starts_with('0')) {
        return Err(PrefixError::Length { text: excerpt(text) });
    }
    // A plain number that does not fit into a byte is too large for any family.
    let prefix = length.parse::<u8>().ok().and_then(|length| IpNet::new(address, length).ok());
    let Some(prefix) = prefix else {
        return Err(PrefixError::LengthRange { text: excerpt(text), max });
    };
    let network = prefix.trunc();
    if network != prefix {
        return Err(PrefixError::HostBits { text: excerpt(text), network });
    }
    Ok(prefix)
}

/// The text as an error may show it: hostile input must neither fill a log nor steer a terminal.
fn excerpt(text: &str) -> String {
    const LONGEST: usize = 64;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_canonical_prefixes_of_both_families() {
        for text in [
            "0.0.0.0/0",
            "192.0.2.0/24",
            "255.255.255.255/32",
            "198.18.0.0/15",
            "::/0",
            "::1/128",
            "2001:db8::/32",
            "2001:db8:210:402::178/125",
            "2001:db8:1:2:3:4:5:6/128",
            "::ffff:192.0.2.0/120",
        ] {
            assert_eq!(parse_net(text).unwrap().to_string(), text);
            assert_eq!(parse_net_or_address(text), parse_net(text));
        }
    }

    #[test]
    fn reads_every_spelling_of_rfc_4291() {
        let expected = "2001:db8::1:0:0:0/80".parse::<IpNet>().unwrap();
        for text in ["2001:DB8:0:0:1::/80", "2001:0db8::1:0:0:0/80", "2001:db8::1:0:0.0.0.0/80"] {
            assert_eq!(parse_net(text).unwrap(), expected, "{text}");
            assert_eq!(parse_v6(text.as_bytes()).map(IpNet::V6), Some(expected), "{text}");
        }
        assert_eq!(parse_net("::2:3:4:5:6:7:8/128"), parse_net("0:2:3:4:5:6:7:8/128"));
        assert_eq!(parse_net("1:2:3:4:5:6:7::/128"), parse_net("1:2:3:4:5:6:7:0/128"));
    }

    #[test]
    fn refuses_what_could_be_read_in_two_ways_or_none() {
        use PrefixError::{Address, Length, LengthRange};
        for text in [
            "192.0.2.00/24",
            "192.0.02.0/24",
            "192.0.2/24",
            "192.0.2.0.0/24",
            "192.0.2.256/24",
            " 192.0.2.0/24",
            "/24",
            "0x10.0.0.0/8",
            "2001:db8:::/32",
            "2001:db8::1::/64",
            "1:2:3:4:5:6:7:8::/128",
            "::1:2:3:4:5:6:7:8/128",
            "1:2:3:4:5:6:7/128",
            "fe80::1%1/128",
            "2001:0db80::/32",
            ":2001:db8::/32",
            "2001:db8:/32",
            "example.com/24",
            "[2001:db8::]/32",
            "²01.0.2.0/24",
        ] {
            assert!(
                matches!(parse_net(text), Err(Address { .. })),
                "{text}: {:?}",
                parse_net(text)
            );
        }
        for text in [
            "192.0.2.0/",
            "192.0.2.0/024",
            "192.0.2.0/+24",
            "192.0.2.0/-1",
            "192.0.2.0/24 ",
            "192.0.2.0/24/24",
            "192.0.2.0/255.255.255.0",
            "2001:db8::/032",
            "::/00",
        ] {
            assert!(matches!(parse_net(text), Err(Length { .. })), "{text}: {:?}", parse_net(text));
        }
        for text in ["192.0.2.0/33", "192.0.2.0/256", "2001:db8::/129", "::/99999999999999999999"] {
            assert!(matches!(parse_net(text), Err(LengthRange { .. })), "{text}");
        }
        assert_eq!(parse_net(""), Err(PrefixError::Empty));
        assert_eq!(parse_net_or_address(""), Err(PrefixError::Empty));
    }

    #[test]
    fn host_bits_are_refused_and_the_network_is_named() {
        let error = parse_net("192.0.2.77/24").unwrap_err();
        assert_eq!(error.to_string(), "`192.0.2.77/24` has host bits; its network is 192.0.2.0/24");
        let error = parse_net_or_address("2001:db8::1/64").unwrap_err();
        assert!(error.to_string().ends_with("its network is 2001:db8::/64"), "{error}");
        assert!(parse_v4(b"192.0.2.77/24").is_none() && parse_v6(b"2001:db8::1/64").is_none());
    }

    #[test]
    fn a_plain_address_needs_permission() {
        let error = parse_net("192.0.2.7").unwrap_err();
        assert!(error.to_string().contains("`192.0.2.7/32`"), "{error}");
        assert!(parse_net("2001:db8::7").unwrap_err().to_string().contains("`2001:db8::7/128`"));
        assert_eq!(parse_net_or_address("192.0.2.7").unwrap().to_string(), "192.0.2.7/32");
        assert_eq!(parse_net_or_address("2001:db8::7").unwrap().to_string(), "2001:db8::7/128");
        assert!(parse_net_or_address("192.0.2.007").is_err());
    }

    #[test]
    fn hostile_text_is_escaped_and_cut() {
        let error = parse_net(&format!("\x1b[2J\n{}", "x".repeat(100_000))).unwrap_err();
        let shown = error.to_string();
        assert!(shown.len() < 256 && !shown.contains(['\x1b', '\n']), "{shown:?}");
    }
}
