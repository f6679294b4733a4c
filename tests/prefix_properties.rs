//! Properties of [`PrefixSet`] and of its text form, against oracles that are too simple to be
//! wrong: a bitmap over a small universe, the standard library's parser, and ipnet.
#![allow(clippy::unwrap_used, reason = "to panic is how a test fails")]

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::vec;
use proptest::prelude::*;
use tagwall::prefix::parse::{parse_net, parse_net_or_address, parse_v4, parse_v6};
use tagwall::prefix::{PrefixError, PrefixSet};

/// The universe of the bitmap: 256 addresses at each end of both families, so that every property
/// also holds at `0.0.0.0`, `255.255.255.255`, `::` and at the last address of all.
const WINDOW: u32 = 256;
const CELLS: usize = 4 * WINDOW as usize;

/// A counterexample becomes a test of its own here, not a line in a file of seeds.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn address(cell: usize) -> IpAddr {
    let offset = u32::try_from(cell).unwrap() % WINDOW;
    match cell / WINDOW as usize {
        0 => Ipv4Addr::from_bits(offset).into(),
        1 => Ipv4Addr::from_bits(u32::MAX - (WINDOW - 1) + offset).into(),
        2 => Ipv6Addr::from_bits(offset.into()).into(),
        _ => Ipv6Addr::from_bits(u128::MAX - u128::from(WINDOW - 1) + u128::from(offset)).into(),
    }
}

/// A prefix inside one window, host bits included; now and then one that spans windows.
fn small_net() -> impl Strategy<Value = IpNet> {
    (0..CELLS, prop_oneof![30 => 0_u8..=8, 1 => 0_u8..=32]).prop_map(|(cell, host)| {
        let address = address(cell);
        let width = if address.is_ipv4() { 32 } else { 128 };
        // For IPv6, 32 stands for the whole family.
        let host = if width == 128 && host == 32 { 128 } else { host };
        IpNet::new(address, width - host).unwrap()
    })
}

fn small_nets() -> impl Strategy<Value = Vec<IpNet>> {
    vec(small_net(), 0..24)
}

/// A canonical prefix anywhere.
fn any_net() -> impl Strategy<Value = IpNet> {
    let v4 = (any::<u32>(), 0_u8..=32)
        .prop_map(|(bits, length)| Ipv4Net::new(bits.into(), length).unwrap().trunc().into());
    // Masked groups, so that `::` stands in every place.
    let v6 = (any::<[u16; 8]>(), any::<u8>(), 0_u8..=128).prop_map(|(mut groups, zero, length)| {
        for (index, group) in groups.iter_mut().enumerate() {
            if zero >> index & 1 == 1 {
                *group = 0;
            }
        }
        Ipv6Net::new(groups.into(), length).unwrap().trunc().into()
    });
    prop_oneof![v4, v6]
}

fn set(nets: &[IpNet]) -> PrefixSet {
    nets.iter().copied().collect()
}

/// The naive oracle: which cells of the windows some prefix contains.
fn bitmap(nets: &[IpNet]) -> Vec<bool> {
    (0..CELLS).map(|cell| nets.iter().any(|net| net.contains(&address(cell)))).collect()
}

fn cells(set: &PrefixSet) -> Vec<bool> {
    (0..CELLS).map(|cell| set.contains(address(cell))).collect()
}

fn combine(left: &[bool], right: &[bool], rule: fn(bool, bool) -> bool) -> Vec<bool> {
    left.iter().zip(right).map(|(l, r)| rule(*l, *r)).collect()
}

fn first_and_last(net: IpNet) -> (u128, u128) {
    match net {
        IpNet::V4(net) => (net.network().to_bits().into(), net.broadcast().to_bits().into()),
        IpNet::V6(net) => (net.network().to_bits(), net.broadcast().to_bits()),
    }
}

/// Sorted, disjoint, without host bits, and without two siblings.
fn assert_invariant(set: &PrefixSet) {
    let families: [Vec<IpNet>; 2] = [
        set.v4().iter().copied().map(IpNet::from).collect(),
        set.v6().iter().copied().map(IpNet::from).collect(),
    ];
    for family in &families {
        assert!(family.iter().all(|net| *net == net.trunc()), "host bits in {set}");
        for pair in family.windows(2) {
            assert!(first_and_last(pair[0]).1 < first_and_last(pair[1]).0, "overlap in {set}");
            assert!(!pair[0].is_sibling(&pair[1]), "mergeable siblings in {set}");
        }
    }
    assert_eq!(set.iter().collect::<Vec<_>>(), families.concat());
    assert_eq!(set.len(), families.concat().len());
    assert_eq!(set.is_empty(), families.concat().is_empty());
}

fn hash(set: &PrefixSet) -> u64 {
    let mut hasher = DefaultHasher::new();
    set.hash(&mut hasher);
    hasher.finish()
}

/// What a strict reader must make of a text, by the standard library alone.
fn oracle(text: &str) -> Option<IpNet> {
    let (address, digits) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let length: u8 = digits.parse().ok()?;
    let net = IpNet::new(address, length).ok()?;
    (length.to_string() == digits && net.trunc() == net).then_some(net)
}

/// Every reader against the oracle, and ipnet's parser against what was accepted.
fn assert_read_alike(text: &str) {
    let expected = oracle(text);
    let read = parse_net(text);
    assert_eq!(read.clone().ok(), expected, "{text:?}: {read:?}");
    let v4 = expected.filter(|net| matches!(net, IpNet::V4(_)));
    let v6 = expected.filter(|net| matches!(net, IpNet::V6(_)));
    assert_eq!(parse_v4(text.as_bytes()).map(IpNet::V4), v4, "{text:?}");
    assert_eq!(parse_v6(text.as_bytes()).map(IpNet::V6), v6, "{text:?}");
    if let Some(net) = expected {
        assert_eq!(text.parse::<IpNet>().ok(), Some(net), "{text:?}");
    }
    let plain = text.parse::<IpAddr>().ok().map(IpNet::from);
    assert_eq!(parse_net_or_address(text).ok(), plain.or(expected), "{text:?}");
    if let Err(PrefixError::HostBits { network, .. }) = &read {
        assert_eq!(text.parse::<IpNet>().unwrap().trunc(), *network, "{text:?}");
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn a_set_has_the_addresses_of_its_prefixes_and_one_minimal_form(nets in small_nets()) {
        let set = set(&nets);
        assert_invariant(&set);
        prop_assert_eq!(cells(&set), bitmap(&nets));
        let aggregate = IpNet::aggregate(&nets);
        let mut aggregate: Vec<IpNet> = aggregate.iter().map(IpNet::trunc).collect();
        aggregate.sort();
        prop_assert_eq!(set.iter().collect::<Vec<_>>(), aggregate);
    }

    #[test]
    fn origin_and_order_do_not_show(nets in small_nets(), cut in any::<prop::sample::Index>()) {
        let whole = set(&nets);
        let (head, tail) = nets.split_at(cut.index(nets.len() + 1));
        let mut extended = set(tail);
        extended.extend(head.iter().copied());
        let reversed: PrefixSet = nets.iter().rev().copied().collect();
        let again = PrefixSet::from_parts(whole.v4().to_vec(), whole.v6().to_vec());
        for other in [extended, reversed, again, set(head).union(&set(tail))] {
            prop_assert_eq!(&other, &whole);
            prop_assert_eq!(hash(&other), hash(&whole));
            prop_assert_eq!(other.to_string(), whole.to_string());
        }
    }

    #[test]
    fn the_algebra_is_that_of_address_sets(left in small_nets(), right in small_nets()) {
        let (a, b) = (set(&left), set(&right));
        let (in_a, in_b) = (bitmap(&left), bitmap(&right));
        let (union, rest, both) = (a.union(&b), a.difference(&b), a.intersection(&b));
        for result in [&union, &rest, &both] {
            assert_invariant(result);
        }
        prop_assert_eq!(cells(&union), combine(&in_a, &in_b, |l, r| l || r));
        prop_assert_eq!(cells(&rest), combine(&in_a, &in_b, |l, r| l && !r));
        prop_assert_eq!(cells(&both), combine(&in_a, &in_b, |l, r| l && r));
        // Laws, which also hold for the addresses outside of the windows.
        prop_assert_eq!(&union, &b.union(&a));
        prop_assert_eq!(&both, &b.intersection(&a));
        prop_assert_eq!(&rest.union(&both), &a);
        prop_assert_eq!(&rest.union(&b), &union);
        prop_assert!(rest.intersection(&b).is_empty());
        prop_assert_eq!(&both, &a.difference(&rest));
        prop_assert_eq!(a.is_subset(&b), rest.is_empty());
        prop_assert!(both.is_subset(&a) && both.is_subset(&b) && a.is_subset(&union));
        prop_assert_eq!(
            u128::from(union.v4_addresses()) + u128::from(both.v4_addresses()),
            u128::from(a.v4_addresses()) + u128::from(b.v4_addresses())
        );
        if union.v6_addresses() < u128::MAX / 4 {
            prop_assert_eq!(
                union.v6_addresses() + both.v6_addresses(),
                a.v6_addresses() + b.v6_addresses()
            );
        }
    }

    #[test]
    fn questions_about_a_prefix_agree_with_the_algebra(nets in small_nets(), net in small_net()) {
        let set = set(&nets);
        let alone = PrefixSet::from(net);
        prop_assert_eq!(set.covers(net), alone.is_subset(&set));
        prop_assert_eq!(set.overlaps(net), !set.intersection(&alone).is_empty());
        for cell in 0..CELLS {
            let single = IpNet::from(address(cell));
            prop_assert_eq!(set.overlaps(single), set.contains(address(cell)));
            prop_assert_eq!(set.covers(single), set.contains(address(cell)));
        }
        let inside: Vec<usize> = (0..CELLS).filter(|c| net.contains(&address(*c))).collect();
        if set.covers(net) {
            prop_assert!(inside.iter().all(|cell| set.contains(address(*cell))));
        }
        if inside.iter().any(|cell| set.contains(address(*cell))) {
            prop_assert!(set.overlaps(net));
        }
    }

    #[test]
    fn the_families_part_and_join(nets in small_nets()) {
        let set = set(&nets);
        prop_assert!(set.only_v4().v6().is_empty() && set.only_v6().v4().is_empty());
        prop_assert_eq!(set.only_v4().union(&set.only_v6()), set);
    }

    #[test]
    fn what_is_printed_is_read_back(net in any_net(), nets in vec(any_net(), 0..40)) {
        prop_assert_eq!(parse_net(&net.to_string()), Ok(net));
        prop_assert_eq!(parse_net_or_address(&net.addr().to_string()), Ok(IpNet::from(net.addr())));
        let set = set(&nets);
        let printed = set.to_string();
        let read: Result<PrefixSet, _> =
            printed.split(", ").filter(|text| !text.is_empty()).map(parse_net).collect();
        prop_assert_eq!(read, Ok(set.clone()));
        let json = serde_json::to_string(&set).unwrap();
        prop_assert_eq!(serde_json::from_str::<PrefixSet>(&json).unwrap(), set);
    }
}

proptest! {
    #![proptest_config(cases(4096))]

    #[test]
    fn arbitrary_text_is_read_as_the_standard_library_reads_it(text in any::<String>()) {
        assert_read_alike(&text);
    }

    #[test]
    fn text_of_the_right_letters_is_read_as_the_standard_library_reads_it(
        text in "[0-9a-fA-F:./%+ -]{0,28}",
        v4 in "([0-9]{1,3}\\.){3}[0-9]{1,3}/[0-9]{1,3}",
        v6 in "(:|::)?([0-9a-f]{0,4}::?){0,8}([0-9a-f]{1,5}|[0-9.]{7})?/[0-9]{1,3}",
        zero in "(::)?((0{1,4}|f):){0,8}:?0?/(0|128|112)",
    ) {
        for text in [text, v4, v6, zero] {
            assert_read_alike(&text);
        }
    }

    /// A valid text with one character changed, gone or new: the border between right and wrong.
    #[test]
    fn damaged_text_is_read_as_the_standard_library_reads_it(
        net in any_net(),
        place in any::<prop::sample::Index>(),
        letter in "[0-9a-fG:./]",
        kind in 0..3,
    ) {
        let mut text = net.to_string();
        assert_read_alike(&text);
        let place = place.index(text.len());
        match kind {
            0 => text.replace_range(place..=place, &letter),
            1 => text.replace_range(place..=place, ""),
            _ => text.insert_str(place, &letter),
        }
        assert_read_alike(&text);
        assert_read_alike(&text.to_uppercase());
    }
}
