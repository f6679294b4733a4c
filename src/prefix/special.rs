//! Address space that a cloud provider cannot own.
//!
//! Owns the tables of special-purpose, multicast and reserved space after the IANA registries
//! (IPv4 and IPv6 Special-Purpose Address, IPv4 and IPv6 Multicast, IPv6 Address Space). A
//! published prefix that touches them is a fault or an attack. Promises that every block has the
//! name a message can show. Does not decide what to do about it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::PrefixSet;

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

/// The prefix of `length` whose first four groups are given.
const fn v6(a: u16, b: u16, c: u16, d: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), length)
}

/// Ascending; a block before the one that encloses it.
const V4: [(Ipv4Net, &str); 19] = [
    (v4(0, 0, 0, 0, 8), "\"this network\""),
    (v4(10, 0, 0, 0, 8), "private use"),
    (v4(100, 64, 0, 0, 10), "shared address space (carrier-grade NAT)"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private use"),
    (v4(192, 0, 0, 0, 24), "IETF protocol assignments"),
    (v4(192, 0, 2, 0, 24), "documentation (TEST-NET-1)"),
    (v4(192, 31, 196, 0, 24), "AS112 (reverse DNS of private space)"),
    (v4(192, 52, 193, 0, 24), "automatic multicast tunnelling"),
    (v4(192, 88, 99, 0, 24), "6to4 relay anycast (deprecated)"),
    (v4(192, 168, 0, 0, 16), "private use"),
    (v4(192, 175, 48, 0, 24), "AS112 (reverse DNS of private space)"),
    (v4(198, 18, 0, 0, 15), "benchmarking"),
    (v4(198, 51, 100, 0, 24), "documentation (TEST-NET-2)"),
    (v4(203, 0, 113, 0, 24), "documentation (TEST-NET-3)"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(255, 255, 255, 255, 32), "limited broadcast"),
    (v4(240, 0, 0, 0, 4), "reserved for future use"),
];

/// A block before the one that encloses it; the space outside of global unicast, which the IETF
/// holds back, comes last.
const V6: [(Ipv6Net, &str); 37] = [
    (v6(0, 0, 0, 0, 128), "unspecified address"),
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), "loopback"),
    (Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96), "IPv4-mapped addresses"),
    (v6(0, 0, 0, 0, 96), "IPv4-compatible addresses (deprecated)"),
    (v6(0x64, 0xff9b, 0, 0, 96), "IPv4/IPv6 translation (NAT64)"),
    (v6(0x64, 0xff9b, 1, 0, 48), "local-use IPv4/IPv6 translation (NAT64)"),
    (v6(0x100, 0, 0, 0, 64), "discard only"),
    (v6(0x100, 0, 0, 1, 64), "dummy prefix"),
    (v6(0x2001, 0, 0, 0, 32), "Teredo"),
    (v6(0x2001, 2, 0, 0, 48), "benchmarking"),
    (v6(0x2001, 3, 0, 0, 32), "automatic multicast tunnelling"),
    (v6(0x2001, 4, 0x112, 0, 48), "AS112 (reverse DNS of private space)"),
    (v6(0x2001, 0x10, 0, 0, 28), "ORCHID (deprecated)"),
    (v6(0x2001, 0x20, 0, 0, 28), "ORCHIDv2"),
    (v6(0x2001, 0x30, 0, 0, 28), "drone remote identification"),
    (v6(0x2001, 0, 0, 0, 23), "IETF protocol assignments"),
    (v6(0x2001, 0xdb8, 0, 0, 32), "documentation"),
    (v6(0x2002, 0, 0, 0, 16), "6to4"),
    (v6(0x2620, 0x4f, 0x8000, 0, 48), "AS112 (reverse DNS of private space)"),
    (v6(0x3fff, 0, 0, 0, 20), "documentation"),
    (v6(0x5f00, 0, 0, 0, 16), "segment routing identifiers"),
    (v6(0xfc00, 0, 0, 0, 7), "unique local"),
    (v6(0xfe80, 0, 0, 0, 10), "link-local"),
    (v6(0xfec0, 0, 0, 0, 10), "site-local (deprecated)"),
    (v6(0xff00, 0, 0, 0, 8), "multicast"),
    (v6(0, 0, 0, 0, 8), RESERVED),
    (v6(0x100, 0, 0, 0, 8), RESERVED),
    (v6(0x200, 0, 0, 0, 7), RESERVED),
    (v6(0x400, 0, 0, 0, 6), RESERVED),
    (v6(0x800, 0, 0, 0, 5), RESERVED),
    (v6(0x1000, 0, 0, 0, 4), RESERVED),
    (v6(0x4000, 0, 0, 0, 2), RESERVED), // 4000::/3 and 6000::/3
    (v6(0x8000, 0, 0, 0, 2), RESERVED), // 8000::/3 and a000::/3
    (v6(0xc000, 0, 0, 0, 3), RESERVED),
    (v6(0xe000, 0, 0, 0, 4), RESERVED),
    (v6(0xf000, 0, 0, 0, 5), RESERVED),
    (v6(0xf800, 0, 0, 0, 5), RESERVED), // f800::/6 and fe00::/9, around unique and link-local
];

const RESERVED: &str = "reserved by the IETF (outside of global unicast)";

static SPECIAL_V4: LazyLock<PrefixSet> =
    LazyLock::new(|| V4.iter().map(|(block, _)| IpNet::V4(*block)).collect());

static SPECIAL_V6: LazyLock<PrefixSet> =
    LazyLock::new(|| V6.iter().map(|(block, _)| IpNet::V6(*block)).collect());

static DOCUMENTATION: LazyLock<PrefixSet> = LazyLock::new(|| {
    PrefixSet::from_parts(
        vec![
            v4(192, 0, 2, 0, 24),
            v4(198, 51, 100, 0, 24),
            v4(203, 0, 113, 0, 24),
            v4(198, 18, 0, 0, 15),
        ],
        vec![v6(0x2001, 0xdb8, 0, 0, 32)],
    )
});

/// All special IPv4 space.
pub fn special_v4() -> &'static PrefixSet {
    &SPECIAL_V4
}

/// All special IPv6 space, which includes all that is not global unicast (`2000::/3`).
pub fn special_v6() -> &'static PrefixSet {
    &SPECIAL_V6
}

/// The space that examples and fixtures use: `192.0.2.0/24`, `198.51.100.0/24`, `203.0.113.0/24`,
/// `198.18.0.0/15` and `2001:db8::/32`. All of it is special space too.
pub fn documentation() -> &'static PrefixSet {
    &DOCUMENTATION
}

/// Which first octets have special space behind them.
static TOUCHED_V4: LazyLock<[bool; 256]> = LazyLock::new(|| {
    let mut touched = [false; 256];
    for net in special_v4().v4() {
        let (first, last) = (net.network().octets()[0], net.broadcast().octets()[0]);
        touched[usize::from(first)..=usize::from(last)].fill(true);
    }
    touched
});

/// Which first groups of global unicast space (2000::/3) have special space behind them. All other space is
/// special.
static TOUCHED_V6: LazyLock<Vec<u16>> = LazyLock::new(|| {
    let global = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
    let inside = special_v6().intersection(&PrefixSet::from(IpNet::V6(global)));
    let groups = |net: &Ipv6Net| net.network().segments()[0]..=net.broadcast().segments()[0];
    let mut touched: Vec<u16> = inside.v6().iter().flat_map(groups).collect();
    touched.dedup();
    touched
});

/// The name of the first special block that the prefix overlaps; the narrower of nested blocks.
/// `None` for a prefix of ordinary, globally routed space.
pub fn special_kind(prefix: IpNet) -> Option<&'static str> {
    // Nearly every prefix is ordinary, and its first bits tell; the rest is searched, and the tables only name.
    match prefix {
        IpNet::V4(prefix)
            if prefix.prefix_len() >= 8 && !TOUCHED_V4[usize::from(prefix.addr().octets()[0])] =>
        {
            None
        }
        IpNet::V6(prefix)
            if prefix.prefix_len() >= 16
                && !TOUCHED_V6.contains(&prefix.addr().segments()[0])
                && prefix.addr().segments()[0] >> 13 == 1 =>
        {
            None
        }
        IpNet::V4(prefix) if special_v4().overlaps(prefix.into()) => {
            first_overlap(V4.map(|(block, name)| (block.into(), name)), prefix.into())
        }
        IpNet::V6(prefix) if special_v6().overlaps(prefix.into()) => {
            first_overlap(V6.map(|(block, name)| (block.into(), name)), prefix.into())
        }
        _ => None,
    }
}

/// The name of the first block of the table that the prefix overlaps.
fn first_overlap(
    blocks: impl IntoIterator<Item = (IpNet, &'static str)>,
    prefix: IpNet,
) -> Option<&'static str> {
    // Prefixes overlap exactly when one holds the other.
    let overlaps = |block: &IpNet| block.contains(&prefix) || prefix.contains(block);
    blocks.into_iter().find(|(block, _)| overlaps(block)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Option<&'static str> {
        special_kind(text.parse().unwrap())
    }

    #[test]
    fn the_first_bits_agree_with_the_search() {
        let searched = |prefix: IpNet| match prefix {
            IpNet::V4(_) => special_v4().overlaps(prefix),
            IpNet::V6(_) => special_v6().overlaps(prefix),
        };
        for octet in 0..=255 {
            for length in [8, 9, 24] {
                let prefix = IpNet::V4(v4(octet, 0, 0, 0, length));
                assert_eq!(special_kind(prefix).is_some(), searched(prefix), "{prefix}");
            }
        }
        for group in 0..=u16::MAX {
            for prefix in
                [v6(group, 0, 0, 0, 16), v6(group, 0xdb8, 0, 0, 32), v6(group, 0x4000, 0, 0, 40)]
            {
                let prefix = IpNet::V6(prefix);
                assert_eq!(special_kind(prefix).is_some(), searched(prefix), "{prefix}");
            }
        }
    }

    #[test]
    fn every_block_is_canonical_and_found() {
        for (block, name) in V4 {
            assert_eq!(block, block.trunc(), "{block}");
            assert!(special_kind(block.into()).is_some() && !name.is_empty());
        }
        for (block, name) in V6 {
            assert_eq!(block, block.trunc(), "{block}");
            assert!(special_kind(block.into()).is_some() && !name.is_empty());
        }
    }

    #[test]
    fn a_block_stands_before_the_one_that_encloses_it() {
        for (index, (block, _)) in V4.iter().enumerate() {
            assert!(!V4[..index].iter().any(|(earlier, _)| earlier.contains(block)), "{block}");
        }
        for (index, (block, _)) in V6.iter().enumerate() {
            assert!(!V6[..index].iter().any(|(earlier, _)| earlier.contains(block)), "{block}");
        }
    }

    #[test]
    fn names_the_block() {
        assert_eq!(kind("10.1.0.0/16"), Some("private use"));
        assert_eq!(kind("100.127.255.255/32"), Some("shared address space (carrier-grade NAT)"));
        assert_eq!(kind("169.254.169.254/32"), Some("link-local"));
        assert_eq!(kind("239.0.0.0/8"), Some("multicast"));
        assert_eq!(kind("255.255.255.255/32"), Some("limited broadcast"));
        assert_eq!(kind("::1/128"), Some("loopback"));
        assert_eq!(kind("::ffff:192.0.2.0/120"), Some("IPv4-mapped addresses"));
        assert_eq!(kind("64:ff9b::c000:200/120"), Some("IPv4/IPv6 translation (NAT64)"));
        assert_eq!(kind("2001:0:1::/48"), Some("Teredo"));
        assert_eq!(kind("2001:1ff::/32"), Some("IETF protocol assignments"));
        assert_eq!(kind("2001:db8:1::/48"), Some("documentation"));
        assert_eq!(kind("2002:c000:200::/48"), Some("6to4"));
        assert_eq!(kind("fd00::/8"), Some("unique local"));
        assert_eq!(kind("fe00::/16"), Some(RESERVED));
        assert_eq!(kind("4000::/16"), Some(RESERVED));
    }

    #[test]
    fn a_prefix_that_encloses_special_space_is_special() {
        assert_eq!(kind("0.0.0.0/0"), Some("\"this network\""));
        assert_eq!(kind("172.0.0.0/8"), Some("private use"));
        assert_eq!(kind("::/0"), Some("unspecified address"));
        assert_eq!(kind("2000::/3"), Some("Teredo"));
    }

    #[test]
    fn the_neighbours_of_special_space_are_ordinary() {
        for text in [
            "9.0.0.0/8",
            "11.0.0.0/8",
            "100.63.0.0/16",
            "100.128.0.0/16",
            "126.0.0.0/8",
            "172.15.0.0/16",
            "172.32.0.0/16",
            "192.0.1.0/24",
            "192.167.0.0/16",
            "192.169.0.0/16",
            "198.17.0.0/16",
            "198.20.0.0/16",
            "223.0.0.0/8",
            "168.63.129.16/32",
            "2001:200::/23",
            "2001:db7::/32",
            "2001:db9::/32",
            "2003::/16",
            "3ffe::/16",
        ] {
            assert_eq!(kind(text), None, "{text}");
        }
    }

    #[test]
    fn all_but_global_unicast_is_special_in_ipv6() {
        let everything = PrefixSet::from("::/0".parse::<IpNet>().unwrap());
        let unicast = PrefixSet::from("2000::/3".parse::<IpNet>().unwrap());
        assert!(everything.difference(&unicast).is_subset(special_v6()));
    }

    #[test]
    fn documentation_space_is_special() {
        let special = special_v4().union(special_v6());
        assert!(documentation().is_subset(&special));
        assert_eq!(documentation().len(), 5);
    }
}
