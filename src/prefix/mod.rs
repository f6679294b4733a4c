//! Sets of address prefixes.
//!
//! Owns [`PrefixSet`], an exact set of IPv4 and IPv6 addresses kept as the fewest prefixes, its
//! algebra, its strict text form ([`parse`]) and the space that no cloud may claim ([`special`]).
//!
//! Promises that a set has exactly one representation: two sets of the same addresses are equal,
//! hash alike and print alike, however they came about. Nothing here widens: every operation is
//! exact, save [`fit`], which says what it adds. Does not read files or know tags.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod family;
mod fit;
pub mod parse;
mod ranges;
pub mod special;
pub mod text;

pub use family::Family;
pub use fit::{DoesNotFit, Fitted, fit};
pub use parse::PrefixError;

/// An exact set of IPv4 and IPv6 addresses.
///
/// Each family is a list of prefixes without host bits, ascending, disjoint, and minimal: no two
/// of them could be written as one. IPv4-mapped IPv6 addresses are IPv6 addresses here.
///
/// Prints as `192.0.2.0/24, 2001:db8::/32`, and as nothing when empty. Serialises as a list of
/// such prefixes; what is read back is parsed strictly ([`parse::parse_net`]) and made minimal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PrefixSet {
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
}

impl PrefixSet {
    /// The set without an address.
    pub const fn new() -> Self {
        Self { v4: Vec::new(), v6: Vec::new() }
    }

    /// The set of all addresses in the prefixes, which may come in any order, repeat, nest and
    /// carry host bits (which are dropped). Takes linear time where they are ascending already.
    pub fn from_parts(v4: Vec<Ipv4Net>, v6: Vec<Ipv6Net>) -> Self {
        Self { v4: ranges::aggregate(v4), v6: ranges::aggregate(v6) }
    }

    /// The IPv4 prefixes: ascending, disjoint, minimal.
    pub fn v4(&self) -> &[Ipv4Net] {
        &self.v4
    }

    /// The IPv6 prefixes: ascending, disjoint, minimal.
    pub fn v6(&self) -> &[Ipv6Net] {
        &self.v6
    }

    /// Whether the set has no address.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// How many prefixes the set has, of both families.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// How many IPv4 addresses the set has, 2³² at most.
    pub fn v4_addresses(&self) -> u64 {
        self.v4.iter().map(|prefix| 1 << (32 - prefix.prefix_len())).sum()
    }

    /// How many IPv6 addresses the set has; `::/0` counts as 2¹²⁸ − 1, the largest that fits.
    pub fn v6_addresses(&self) -> u128 {
        self.v6
            .iter()
            .map(|prefix| 1_u128.checked_shl(128 - u32::from(prefix.prefix_len())))
            .fold(0, |sum, count| sum.saturating_add(count.unwrap_or(u128::MAX)))
    }

    /// Whether the address is in the set.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => ranges::contains(&self.v4, address.to_bits()),
            IpAddr::V6(address) => ranges::contains(&self.v6, address.to_bits()),
        }
    }

    /// Whether every address of the prefix is in the set.
    pub fn covers(&self, prefix: IpNet) -> bool {
        match prefix {
            IpNet::V4(prefix) => ranges::covers(&self.v4, prefix),
            IpNet::V6(prefix) => ranges::covers(&self.v6, prefix),
        }
    }

    /// Whether any address of the prefix is in the set.
    pub fn overlaps(&self, prefix: IpNet) -> bool {
        match prefix {
            IpNet::V4(prefix) => ranges::overlaps(&self.v4, prefix),
            IpNet::V6(prefix) => ranges::overlaps(&self.v6, prefix),
        }
    }

    /// The addresses in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self { v4: ranges::union(&self.v4, &other.v4), v6: ranges::union(&self.v6, &other.v6) }
    }

    /// The addresses in this set that are not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Self {
            v4: ranges::difference(&self.v4, &other.v4),
            v6: ranges::difference(&self.v6, &other.v6),
        }
    }

    /// The addresses in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self {
            v4: ranges::intersection(&self.v4, &other.v4),
            v6: ranges::intersection(&self.v6, &other.v6),
        }
    }

    /// Whether every address of this set is in the other.
    pub fn is_subset(&self, other: &Self) -> bool {
        ranges::is_subset(&self.v4, &other.v4) && ranges::is_subset(&self.v6, &other.v6)
    }

    /// The IPv4 addresses of the set.
    #[must_use]
    pub fn only_v4(&self) -> Self {
        Self { v4: self.v4.clone(), v6: Vec::new() }
    }

    /// The IPv6 addresses of the set.
    #[must_use]
    pub fn only_v6(&self) -> Self {
        Self { v4: Vec::new(), v6: self.v6.clone() }
    }

    /// The prefixes, IPv4 before IPv6, each ascending.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> {
        let v4 = self.v4.iter().copied().map(IpNet::V4);
        v4.chain(self.v6.iter().copied().map(IpNet::V6))
    }
}

impl FromIterator<IpNet> for PrefixSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(prefixes: I) -> Self {
        let mut set = Self::new();
        set.extend(prefixes);
        set
    }
}

impl Extend<IpNet> for PrefixSet {
    /// Aggregates once, after the last prefix: extend by many rather than often.
    fn extend<I: IntoIterator<Item = IpNet>>(&mut self, prefixes: I) {
        // Taken out first: an iterator that panics leaves an empty set, never a broken one.
        let Self { mut v4, mut v6 } = std::mem::take(self);
        for prefix in prefixes {
            match prefix {
                IpNet::V4(prefix) => v4.push(prefix),
                IpNet::V6(prefix) => v6.push(prefix),
            }
        }
        *self = Self::from_parts(v4, v6);
    }
}

impl From<IpNet> for PrefixSet {
    fn from(prefix: IpNet) -> Self {
        std::iter::once(prefix).collect()
    }
}

impl fmt::Display for PrefixSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, prefix) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{prefix}")?;
        }
        Ok(())
    }
}

impl Serialize for PrefixSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Text))
    }
}

impl<'de> Deserialize<'de> for PrefixSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(SetVisitor)
    }
}

/// A prefix that is written to and read from text without a string in between.
struct Text(IpNet);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        text::serialize(self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address prefix such as \"192.0.2.0/24\"")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text, E> {
        parse::parse_net(text).map(Text).map_err(E::custom)
    }
}

struct SetVisitor;

impl<'de> Visitor<'de> for SetVisitor {
    type Value = PrefixSet;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of address prefixes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<PrefixSet, A::Error> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        while let Some(Text(prefix)) = list.next_element()? {
            match prefix {
                IpNet::V4(prefix) => v4.push(prefix),
                IpNet::V6(prefix) => v6.push(prefix),
            }
        }
        Ok(PrefixSet::from_parts(v4, v6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> PrefixSet {
        texts.iter().map(|text| text.parse::<IpNet>().unwrap()).collect()
    }

    #[test]
    fn one_representation_whatever_the_origin() {
        let expected = set(&["192.0.2.0/24", "2001:db8::/32"]);
        let pieces =
            set(&["2001:db8:8000::/33", "192.0.2.128/25", "192.0.2.0/25", "2001:db8::/33"]);
        assert_eq!(pieces, expected);
        assert_eq!(pieces.to_string(), "192.0.2.0/24, 2001:db8::/32");
        assert_eq!(pieces.len(), 2);
        assert_eq!(PrefixSet::new().to_string(), "");
    }

    #[test]
    fn the_families_do_not_mix() {
        let mapped = set(&["::ffff:192.0.2.0/120"]);
        assert!(!mapped.contains("192.0.2.1".parse().unwrap()));
        assert!(mapped.contains("::ffff:192.0.2.1".parse().unwrap()));
        assert!(!set(&["0.0.0.0/0"]).covers("::/96".parse().unwrap()));
        let both = set(&["192.0.2.0/24", "2001:db8::/32"]);
        assert_eq!(both.only_v4(), set(&["192.0.2.0/24"]));
        assert_eq!(both.only_v6(), set(&["2001:db8::/32"]));
        assert_eq!(both.only_v4().union(&both.only_v6()), both);
        assert_eq!(both.difference(&both.only_v4()), both.only_v6());
    }

    #[test]
    fn counts_addresses_up_to_the_whole_family() {
        let all = set(&["0.0.0.0/0", "::/0"]);
        assert_eq!(all.v4_addresses(), 1 << 32);
        assert_eq!(all.v6_addresses(), u128::MAX);
        let some = set(&["192.0.2.0/24", "198.51.100.1/32", "2001:db8::/64", "2001:db9::/128"]);
        assert_eq!(some.v4_addresses(), 257);
        assert_eq!(some.v6_addresses(), (1 << 64) + 1);
        let without_one = all.difference(&set(&["::1/128"]));
        assert_eq!(without_one.v6_addresses(), u128::MAX);
        assert_eq!(PrefixSet::new().v6_addresses(), 0);
    }

    #[test]
    fn extending_keeps_the_invariant() {
        let mut grown = set(&["192.0.2.128/25"]);
        grown.extend(["192.0.2.1/25".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
        assert_eq!(grown, set(&["192.0.2.0/24", "2001:db8::/32"]));
        assert_eq!(PrefixSet::from("192.0.2.9/24".parse::<IpNet>().unwrap()).len(), 1);
    }

    #[test]
    fn serialises_as_text_and_reads_back_through_the_invariant() {
        let written = serde_json::to_string(&set(&["192.0.2.0/24", "2001:db8::/32"])).unwrap();
        assert_eq!(written, r#"["192.0.2.0/24","2001:db8::/32"]"#);
        let read: PrefixSet =
            serde_json::from_str(r#"["2001:db8::/32", "192.0.2.128/25", "192.0.2.0/25"]"#).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), written);
        let escaped: PrefixSet = serde_json::from_str(r#"["192.0.2.0\/24"]"#).unwrap();
        assert_eq!(escaped, set(&["192.0.2.0/24"]));
    }

    #[test]
    fn reading_refuses_what_is_not_a_canonical_prefix() {
        for text in [r#"["192.0.2.1/24"]"#, r#"["192.0.2.0"]"#, r"[7]", r#""192.0.2.0/24""#] {
            assert!(serde_json::from_str::<PrefixSet>(text).is_err(), "{text}");
        }
        let error = serde_json::from_str::<PrefixSet>(r#"["192.0.2.1/24"]"#).unwrap_err();
        assert!(error.to_string().contains("192.0.2.0/24"), "{error}");
    }
}
