//! Where Azure lives: the coarse blocks in which any tag of any cloud was published from 2019-12 to 2025-09-08, and the finer
//! ones that only one closed cloud uses.
//!
//! A foreign network falls into one of the coarse blocks by chance in fewer than one of twenty-five cases; ordinary growth leaves
//! them in a few weeks of six years. The table grows with what is believed.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::{SignedDuration, Timestamp};

use crate::prefix::PrefixSet;
use crate::snapshot::{Cloud, Snapshot};

/// The length of an IPv4 block.
const V4_BITS: u8 = 12;
/// The length of an IPv6 block.
const V6_BITS: u8 = 28;
/// How long a block must have been published before it counts without an approval: as long as growth is watched.
pub(super) const SETTLED: SignedDuration = SignedDuration::from_hours(24 * 28);

/// First octet and the high half of the second (as the block's network has it) of every IPv4 /12.
#[rustfmt::skip]
const V4: &[(u8, &[u8])] = &[
    (4, &[144, 160, 176, 192, 208, 224, 240]), (9, &[128, 160, 192, 208, 224]), (13, &[64, 80, 96]),
    (20, &[0, 16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240]), (23, &[96]), (39, &[208]),
    (40, &[64, 80, 96, 112, 160]), (42, &[144]), (48, &[192, 208]), (50, &[80]),
    (51, &[0, 16, 48, 96, 112, 128, 144]), (52, &[96, 112, 128, 144, 160, 176, 224, 240]), (53, &[96]), (57, &[144]),
    (62, &[0]), (64, &[0, 224]), (65, &[48]), (68, &[144, 208]), (69, &[0]), (70, &[32, 144]), (72, &[144]),
    (74, &[0, 160, 176, 224, 240]), (85, &[208]), (94, &[240]), (98, &[64]), (102, &[32, 128]),
    (103, &[0, 16, 32, 240]), (104, &[32, 208]), (108, &[128]), (111, &[208]), (128, &[16, 80, 192, 240]),
    (130, &[32, 96, 128, 208]), (131, &[144, 160, 176, 240]), (132, &[160, 192, 208, 240]),
    (134, &[32, 112, 128, 144, 160]), (135, &[0, 16, 112, 128, 144, 160, 208, 224]), (137, &[112, 128]), (138, &[80]),
    (139, &[208]), (143, &[64]), (145, &[128, 176]), (147, &[240]), (150, &[160]), (151, &[192]), (157, &[48]),
    (158, &[16, 144]), (159, &[16]), (163, &[224]), (167, &[96]), (168, &[48]), (172, &[160, 176, 192, 208]),
    (191, &[224]), (193, &[144]), (195, &[128]), (198, &[176]), (199, &[16]), (202, &[80]), (204, &[64, 144, 224]),
    (207, &[32, 64]), (209, &[192, 240]), (213, &[192]), (216, &[208]),
];

/// The first two groups of every IPv6 /28.
#[rustfmt::skip]
const V6: &[(u16, u16)] = &[
    (0x2001, 0x4890), (0x2404, 0x7940), (0x2406, 0xe500), (0x2602, 0xfd50), (0x2603, 0x1000), (0x2603, 0x1010),
    (0x2603, 0x1020), (0x2603, 0x1030), (0x2603, 0x1040), (0x2603, 0x1050), (0x2603, 0x1060), (0x2603, 0x10e0),
    (0x2620, 0x01e0), (0x2a01, 0x0110), (0x2a01, 0x4180),
];

/// Blocks in which only this cloud was ever published, so that they are foreign to every other.
#[rustfmt::skip]
const OWN: &[(Cloud, &str)] = &[
    (Cloud::China, "40.72.0.0/15"), (Cloud::China, "40.125.128.0/17"), (Cloud::China, "40.126.64.0/18"),
    (Cloud::China, "40.162.0.0/16"), (Cloud::China, "42.159.0.0/16"), (Cloud::China, "52.130.0.0/15"),
    (Cloud::China, "103.9.0.0/18"), (Cloud::China, "139.217.0.0/16"), (Cloud::China, "139.219.0.0/16"),
    (Cloud::China, "143.64.0.0/16"), (Cloud::China, "159.27.0.0/16"), (Cloud::China, "163.228.0.0/16"),
    (Cloud::China, "2404:7940::/36"), (Cloud::China, "2406:e500:2000::/36"), (Cloud::China, "2406:e500:4000::/35"),
    (Cloud::China, "2406:e500:c000::/36"),
    (Cloud::Government, "13.72.0.0/18"), (Cloud::Government, "13.72.128.0/18"), (Cloud::Government, "20.34.0.0/18"),
    (Cloud::Government, "20.35.192.0/18"), (Cloud::Government, "20.140.0.0/15"), (Cloud::Government, "20.158.0.0/15"),
    (Cloud::Government, "23.103.128.0/17"), (Cloud::Government, "51.54.0.0/16"), (Cloud::Government, "51.55.0.0/18"),
    (Cloud::Government, "52.126.0.0/15"), (Cloud::Government, "52.180.192.0/18"),
    (Cloud::Government, "52.181.0.0/16"), (Cloud::Government, "52.182.0.0/17"), (Cloud::Government, "52.227.0.0/16"),
    (Cloud::Government, "52.235.128.0/17"), (Cloud::Government, "52.238.64.0/18"),
    (Cloud::Government, "52.238.128.0/18"), (Cloud::Government, "52.243.128.0/17"),
    (Cloud::Government, "52.244.0.0/16"), (Cloud::Government, "52.245.128.0/17"),
    (Cloud::Government, "52.247.128.0/18"), (Cloud::Government, "62.10.0.0/15"),
    (Cloud::Government, "104.212.0.0/18"), (Cloud::Government, "195.134.192.0/18"),
    (Cloud::Government, "2001:489a:2000::/35"), (Cloud::Government, "2603:1063:7000::/36"),
    // Where a /18 is shared with Public, the prefixes that Government alone has in it.
    (Cloud::Government, "13.73.64.0/19"), (Cloud::Government, "13.73.208.0/20"),
    (Cloud::Government, "13.77.224.0/19"), (Cloud::Government, "23.97.0.0/19"), (Cloud::Government, "23.97.32.0/20"),
    (Cloud::Government, "40.66.0.128/25"), (Cloud::Government, "40.66.1.0/24"), (Cloud::Government, "40.66.2.0/23"),
    (Cloud::Government, "40.66.4.0/24"), (Cloud::Government, "40.112.38.0/25"),
    (Cloud::Government, "40.112.38.128/26"), (Cloud::Government, "40.112.40.0/21"),
    (Cloud::Government, "52.108.64.0/22"), (Cloud::Government, "52.108.140.0/24"),
    (Cloud::Government, "52.112.20.0/23"), (Cloud::Government, "52.114.116.0/22"),
    (Cloud::Government, "52.115.248.0/21"), (Cloud::Government, "52.123.196.0/23"),
    (Cloud::Government, "52.239.166.0/24"), (Cloud::Government, "52.239.176.0/25"),
    (Cloud::Government, "52.243.0.0/19"), (Cloud::Government, "52.245.0.0/21"),
    (Cloud::Government, "52.246.144.0/22"), (Cloud::Government, "52.249.96.0/19"),
    (Cloud::Government, "104.210.16.0/20"),
];

static SHIPPED: LazyLock<PrefixSet> = LazyLock::new(|| {
    let v4 = V4.iter().flat_map(|(first, seconds)| {
        seconds
            .iter()
            .map(|second| Ipv4Net::new_assert(Ipv4Addr::new(*first, *second, 0, 0), V4_BITS))
    });
    let v6 = V6.iter().map(|(first, second)| {
        Ipv6Net::new_assert(Ipv6Addr::new(*first, *second, 0, 0, 0, 0, 0, 0), V6_BITS)
    });
    PrefixSet::from_parts(v4.collect(), v6.collect())
});

/// The blocks that ship with the program.
pub(super) fn shipped() -> &'static PrefixSet {
    &SHIPPED
}

/// The blocks in which each of these clouds alone was published.
pub(super) fn own_blocks() -> &'static [(Cloud, PrefixSet)] {
    static BLOCKS: LazyLock<Vec<(Cloud, PrefixSet)>> = LazyLock::new(|| {
        let mut blocks: BTreeMap<Cloud, Vec<IpNet>> = BTreeMap::new();
        for (cloud, text) in OWN {
            // A test holds every line to be a prefix.
            blocks.entry(*cloud).or_default().extend(text.parse::<IpNet>());
        }
        blocks.into_iter().map(|(cloud, nets)| (cloud, nets.into_iter().collect())).collect()
    });
    &BLOCKS
}

/// The blocks that hold this set.
pub(super) fn blocks_of(v4: &[Ipv4Net], v6: &[Ipv6Net]) -> PrefixSet {
    let mut blocks4: Vec<Ipv4Net> = Vec::new();
    for net in v4 {
        let length = net.prefix_len().min(V4_BITS);
        let block = Ipv4Net::new_assert(net.addr(), length).trunc();
        if blocks4.last() != Some(&block) {
            blocks4.push(block);
        }
    }
    let mut blocks6: Vec<Ipv6Net> = Vec::new();
    for net in v6 {
        let length = net.prefix_len().min(V6_BITS);
        let block = Ipv6Net::new_assert(net.addr(), length).trunc();
        if blocks6.last() != Some(&block) {
            blocks6.push(block);
        }
    }
    PrefixSet::from_parts(blocks4, blocks6)
}

/// Notes the blocks of a publication that are not shipped, each with when it was seen first, and forgets those that are gone.
pub(super) fn note(blocks: &mut BTreeMap<IpNet, Timestamp>, published: &Snapshot, now: Timestamp) {
    let mut seen = PrefixSet::new();
    for tag in published.tags() {
        let of_tag = blocks_of(published.v4(tag), published.v6(tag));
        if !of_tag.is_subset(&SHIPPED) {
            seen = seen.union(&of_tag.difference(&SHIPPED));
        }
    }
    let earlier = std::mem::take(blocks);
    // Aggregation may have joined blocks: they are noted one by one.
    for net in seen.iter() {
        let bits = match net {
            IpNet::V4(_) => V4_BITS,
            IpNet::V6(_) => V6_BITS,
        };
        let Ok(single) = net.subnets(bits.max(net.prefix_len())) else { continue };
        for block in single {
            blocks.insert(block, earlier.get(&block).copied().unwrap_or(now));
        }
    }
}

/// The noted blocks that were published for long enough.
pub(super) fn settled(blocks: &BTreeMap<IpNet, Timestamp>, now: Timestamp) -> PrefixSet {
    blocks
        .iter()
        .filter(|(_, since)| now.duration_since(**since) >= SETTLED)
        .map(|(block, _)| *block)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_what_was_measured() {
        assert_eq!(V4.iter().map(|(_, seconds)| seconds.len()).sum::<usize>(), 152);
        assert_eq!(V6.len(), 15);
        for inside in ["20.60.0.0/16", "13.69.40.0/23", "2603:1020::/47", "52.239.0.0/17"] {
            assert!(SHIPPED.covers(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["8.8.8.0/24", "185.220.101.0/24", "2a00:1450::/32"] {
            assert!(!SHIPPED.overlaps(outside.parse().unwrap()), "{outside}");
        }
        for (_, text) in OWN {
            let net: IpNet = text.parse().unwrap();
            assert_eq!(net, net.trunc(), "{text}");
            assert!(SHIPPED.covers(net), "{text}");
        }
        let own = own_blocks();
        assert_eq!(own.len(), 2);
        assert!(own[0].1.intersection(&own[1].1).is_empty());
    }

    #[test]
    fn blocks_hold_what_they_are_of() {
        let nets: PrefixSet = ["8.8.8.0/24", "8.9.0.0/16", "9.0.0.0/10", "2001:db8:1::/48"]
            .iter()
            .map(|text| text.parse::<IpNet>().unwrap())
            .collect();
        let blocks = blocks_of(nets.v4(), nets.v6());
        assert!(nets.is_subset(&blocks));
        assert_eq!(blocks.to_string(), "8.0.0.0/12, 9.0.0.0/10, 2001:db0::/28");
    }
}
