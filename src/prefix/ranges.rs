//! The algebra of address prefixes, written once for both families.
//!
//! Owns the linear passes over *minimal lists*: slices of prefixes without host bits, ascending,
//! disjoint, and with no two siblings that would merge into their parent. Promises that every
//! function takes minimal lists (save [`aggregate`], which makes one) and returns minimal lists.
//! Does not know about text, files or names.
//!
//! All of it rests on two facts. Two prefixes are either disjoint or nested. And a prefix that lies
//! wholly inside a minimal list lies inside *one* member of it: otherwise the members inside it
//! would tile it, and the two smallest neighbours among them would have been merged.
//!
//! Ranges are inclusive at both ends, so the last address of the family and the whole family
//! (`/0`) need no wider integer.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::{Add, BitAnd, BitOr, BitXor, Not, Sub};

use ipnet::{Ipv4Net, Ipv6Net};

/// An address as an unsigned integer.
pub(super) trait Bits:
    Copy
    + Ord
    + Add<Output = Self>
    + Sub<Output = Self>
    + BitAnd<Output = Self>
    + BitOr<Output = Self>
    + BitXor<Output = Self>
    + Not<Output = Self>
{
    /// Bits in an address of the family.
    const WIDTH: u8;
    /// The distance between neighbouring addresses.
    const ONE: Self;
    /// The last address of the family.
    const MAX: Self;

    /// The bits that a prefix of `length` leaves to hosts; `length` is at most [`Self::WIDTH`].
    fn host_mask(length: u8) -> Self;
    /// How many of the lowest bits are zero; all of them for zero itself.
    fn low_zeros(self) -> u8;
    /// The position of the highest bit that is set; `self` is not zero.
    fn highest_one(self) -> u8;
}

macro_rules! bits {
    ($($integer:ty: $width:literal),*) => {$(
        impl Bits for $integer {
            const WIDTH: u8 = $width;
            const ONE: Self = 1;
            const MAX: Self = Self::MAX;

            fn host_mask(length: u8) -> Self {
                // A shift by the whole width is undefined for the processor: /32 and /128.
                Self::MAX.checked_shr(u32::from(length)).unwrap_or(0)
            }
            #[expect(clippy::cast_possible_truncation, reason = "at most 128")]
            fn low_zeros(self) -> u8 {
                self.trailing_zeros() as u8
            }
            #[expect(clippy::cast_possible_truncation, reason = "at most 127")]
            fn highest_one(self) -> u8 {
                self.ilog2() as u8
            }
        }
    )*};
}
bits!(u32: 32, u128: 128);

/// A prefix of one family.
pub(super) trait Prefix: Copy {
    /// The family's addresses.
    type Bits: Bits;
    /// First address, then length, as something that is compared fast: an enclosing prefix comes
    /// before what it encloses.
    type Key: Copy + Ord;

    /// Where the prefix belongs in an ascending list.
    fn key(self) -> Self::Key;
    /// The prefix of a key, without host bits.
    fn from_key(key: Self::Key) -> Self;
    /// The address as it was given, host bits included.
    fn address(self) -> Self::Bits;
    /// The prefix length, at most the family's width.
    fn length(self) -> u8;
    /// The prefix of `length` (at most the family's width) at `first`.
    fn new(first: Self::Bits, length: u8) -> Self;

    /// The lowest address in the prefix.
    fn first(self) -> Self::Bits {
        self.address() & !Self::Bits::host_mask(self.length())
    }
    /// The highest address in the prefix.
    fn last(self) -> Self::Bits {
        self.address() | Self::Bits::host_mask(self.length())
    }
}

impl Prefix for Ipv4Net {
    type Bits = u32;
    type Key = u64;

    fn key(self) -> u64 {
        u64::from(self.first()) << 8 | u64::from(self.length())
    }
    #[expect(clippy::cast_possible_truncation, reason = "the length is what the last byte holds")]
    fn from_key(key: u64) -> Self {
        <Self as Prefix>::new((key >> 8) as u32, key as u8)
    }

    fn address(self) -> u32 {
        self.addr().to_bits()
    }
    fn length(self) -> u8 {
        self.prefix_len()
    }
    fn new(first: u32, length: u8) -> Self {
        Self::new_assert(Ipv4Addr::from_bits(first), length)
    }
}

impl Prefix for Ipv6Net {
    type Bits = u128;
    type Key = (u128, u8);

    fn key(self) -> (u128, u8) {
        (self.first(), self.length())
    }
    fn from_key((first, length): (u128, u8)) -> Self {
        <Self as Prefix>::new(first, length)
    }

    fn address(self) -> u128 {
        self.addr().to_bits()
    }
    fn length(self) -> u8 {
        self.prefix_len()
    }
    fn new(first: u128, length: u8) -> Self {
        Self::new_assert(Ipv6Addr::from_bits(first), length)
    }
}

/// Makes a minimal list of prefixes in any order, with duplicates, nesting and host bits.
///
/// Merges in place: what has been merged so far is a stack at the front of the same vector.
pub(super) fn aggregate<P: Prefix>(mut prefixes: Vec<P>) -> Vec<P> {
    let ascending = prefixes.windows(2).all(|pair| pair[0].last() < pair[1].first());
    if !ascending {
        // Packed keys sort twice as fast as prefixes whose host bits are masked at each comparison.
        let mut keys: Vec<P::Key> = prefixes.iter().map(|prefix| prefix.key()).collect();
        keys.sort_unstable();
        prefixes.clear();
        prefixes.extend(keys.into_iter().map(P::from_key));
    }
    merge_sorted(&mut prefixes);
    prefixes
}

/// Merges prefixes that are sorted by first address, then length.
fn merge_sorted<P: Prefix>(prefixes: &mut Vec<P>) {
    let mut depth = 0;
    for next in 0..prefixes.len() {
        let prefix = prefixes[next];
        let (mut first, mut length) = (prefix.first(), prefix.length());
        if depth > 0 && first <= prefixes[depth - 1].last() {
            continue; // nested in the one before, or equal to it
        }
        while depth > 0 && length > 0 {
            let before = prefixes[depth - 1];
            // Siblings differ in the last bit of the prefix only, and the lower is the parent's start.
            let bit = P::Bits::host_mask(length - 1) ^ P::Bits::host_mask(length);
            if before.length() != length || before.first() ^ first != bit {
                break;
            }
            first = before.first();
            length -= 1;
            depth -= 1;
        }
        prefixes[depth] = P::new(first, length);
        depth += 1;
    }
    prefixes.truncate(depth);
}

/// The member that holds the address, if any.
fn member<P: Prefix>(list: &[P], address: P::Bits) -> Option<P> {
    let after = list.partition_point(|prefix| prefix.first() <= address);
    let candidate = *list.get(after.checked_sub(1)?)?;
    (candidate.last() >= address).then_some(candidate)
}

/// Whether the address is in the list.
pub(super) fn contains<P: Prefix>(list: &[P], address: P::Bits) -> bool {
    member(list, address).is_some()
}

/// Whether all of the prefix is in the list: one member holds it whole (see the module's facts).
pub(super) fn covers<P: Prefix>(list: &[P], prefix: P) -> bool {
    member(list, prefix.first()).is_some_and(|member| member.last() >= prefix.last())
}

/// Whether any address of the prefix is in the list.
pub(super) fn overlaps<P: Prefix>(list: &[P], prefix: P) -> bool {
    let after = list.partition_point(|member| member.first() <= prefix.last());
    after > 0 && list[after - 1].last() >= prefix.first()
}

/// Whether every address of `inner` is in `outer`.
pub(super) fn is_subset<P: Prefix>(inner: &[P], outer: &[P]) -> bool {
    let mut rest = outer;
    inner.iter().all(|prefix| {
        let skip = rest.partition_point(|member| member.last() < prefix.first());
        rest = &rest[skip..];
        rest.first().is_some_and(|member| {
            member.first() <= prefix.first() && member.last() >= prefix.last()
        })
    })
}

/// The addresses in either list.
pub(super) fn union<P: Prefix>(left: &[P], right: &[P]) -> Vec<P> {
    let mut all = Vec::with_capacity(left.len() + right.len());
    let (mut l, mut r) = (0, 0);
    while let (Some(a), Some(b)) = (left.get(l), right.get(r)) {
        if a.key() <= b.key() {
            all.push(*a);
            l += 1;
        } else {
            all.push(*b);
            r += 1;
        }
    }
    all.extend_from_slice(&left[l..]);
    all.extend_from_slice(&right[r..]);
    merge_sorted(&mut all);
    all
}

/// The addresses in both lists.
///
/// Minimal without another pass: siblings in the result would put their parent into both lists,
/// hence into one member of each, and the parent itself would have been emitted.
pub(super) fn intersection<P: Prefix>(left: &[P], right: &[P]) -> Vec<P> {
    let mut both = Vec::new();
    let (mut l, mut r) = (0, 0);
    while let (Some(&a), Some(&b)) = (left.get(l), right.get(r)) {
        if a.first() <= b.last() && b.first() <= a.last() {
            both.push(if a.length() >= b.length() { a } else { b });
        }
        if a.last() <= b.last() {
            l += 1;
        } else {
            r += 1;
        }
    }
    both
}

/// The addresses in `left` that are not in `right`.
///
/// Minimal without another pass: what is left of two members cannot be siblings, for their parent
/// would be inside `left`, hence inside one member of it; and inside one member, each gap between
/// what was taken away is cut into the fewest prefixes.
pub(super) fn difference<P: Prefix>(left: &[P], right: &[P]) -> Vec<P> {
    let mut rest = Vec::with_capacity(left.len());
    let mut r = 0;
    for &prefix in left {
        let (mut from, to) = (prefix.first(), prefix.last());
        let mut exhausted = false;
        while let Some(&taken) = right.get(r) {
            if taken.first() > to {
                break;
            }
            // What ends before `from` lies before the whole prefix and takes nothing from it.
            if taken.last() >= from {
                if taken.first() > from {
                    push_range(&mut rest, from, taken.first() - P::Bits::ONE);
                }
                if taken.last() >= to {
                    exhausted = true; // and it may reach into the next member: keep it
                    break;
                }
                from = taken.last() + P::Bits::ONE; // below `to`, so no overflow
            }
            r += 1;
        }
        if !exhausted {
            push_range(&mut rest, from, to);
        }
    }
    rest
}

/// Appends the fewest prefixes that make up the inclusive range.
fn push_range<P: Prefix>(list: &mut Vec<P>, mut from: P::Bits, to: P::Bits) {
    loop {
        let span = to - from;
        let fits =
            if span == P::Bits::MAX { P::Bits::WIDTH } else { (span + P::Bits::ONE).highest_one() };
        let length = P::Bits::WIDTH - fits.min(from.low_zeros());
        let block = P::new(from, length);
        list.push(block);
        if block.last() >= to {
            return;
        }
        from = block.last() + P::Bits::ONE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(texts: &[&str]) -> Vec<Ipv4Net> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }
    fn v6(texts: &[&str]) -> Vec<Ipv6Net> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn aggregates_any_order_nesting_duplicates_and_host_bits() {
        let list = v4(&[
            "192.0.2.200/25",
            "198.51.100.7/32",
            "192.0.2.0/26",
            "192.0.2.64/26",
            "198.51.100.0/24",
            "192.0.2.64/26",
        ]);
        assert_eq!(aggregate(list), v4(&["192.0.2.0/24", "198.51.100.0/24"]));
    }

    #[test]
    fn neighbours_that_are_no_siblings_stay_apart() {
        // Adjacent and of one length, but across a /23 boundary: their union is no prefix.
        let list = v4(&["198.18.1.0/24", "198.18.2.0/24"]);
        assert_eq!(aggregate(list.clone()), list);
    }

    #[test]
    fn merging_cascades_to_the_whole_family() {
        let mut halves: Vec<Ipv4Net> = (1..=32)
            .map(|length| Ipv4Net::new_assert((1 << (32 - length)).into(), length))
            .collect();
        halves.push(v4(&["0.0.0.0/32"])[0]);
        assert_eq!(aggregate(halves), v4(&["0.0.0.0/0"]));
        assert_eq!(aggregate(v6(&["8000::/1", "::/1"])), v6(&["::/0"]));
        assert_eq!(aggregate(v6(&["::/0", "ffff::/16", "::/0"])), v6(&["::/0"]));
    }

    #[test]
    fn ascending_input_with_host_bits_is_truncated_too() {
        assert_eq!(
            aggregate(v4(&["192.0.2.9/25", "198.51.100.1/24"])),
            v4(&["192.0.2.0/25", "198.51.100.0/24"])
        );
    }

    #[test]
    fn the_top_of_the_space_does_not_overflow() {
        let all = v4(&["0.0.0.0/0"]);
        let top = v4(&["255.255.255.255/32"]);
        let rest = difference(&all, &top);
        assert_eq!(rest.len(), 32);
        assert_eq!(union(&rest, &top), all);
        assert!(difference(&top, &all).is_empty());
        assert!(contains(&top, u32::MAX) && !contains(&rest, u32::MAX));

        let all = v6(&["::/0"]);
        let bottom = v6(&["::/128"]);
        let rest = difference(&all, &bottom);
        assert_eq!(rest.len(), 128);
        assert_eq!(union(&bottom, &rest), all);
        assert_eq!(difference(&all, &[]), all);
        assert!(difference(&all, &all).is_empty());
    }

    #[test]
    fn one_withdrawn_prefix_may_span_several_members() {
        let left = v4(&["192.0.2.0/26", "192.0.2.128/26", "198.51.100.0/24"]);
        assert_eq!(difference(&left, &v4(&["192.0.2.0/24"])), v4(&["198.51.100.0/24"]));
        assert_eq!(
            intersection(&left, &v4(&["192.0.2.0/24"])),
            v4(&["192.0.2.0/26", "192.0.2.128/26"])
        );
    }

    #[test]
    fn covering_overlapping_and_subsets() {
        let list = v4(&["192.0.2.0/25", "198.51.100.0/24"]);
        assert!(covers(&list, v4(&["192.0.2.64/26"])[0]));
        assert!(!covers(&list, v4(&["192.0.2.0/24"])[0]));
        assert!(overlaps(&list, v4(&["192.0.2.0/24"])[0]));
        assert!(overlaps(&list, v4(&["0.0.0.0/0"])[0]));
        assert!(!overlaps(&list, v4(&["192.0.2.128/25"])[0]));
        assert!(is_subset(&v4(&["192.0.2.1/32", "198.51.100.128/25"]), &list));
        assert!(!is_subset(&v4(&["192.0.2.1/32", "203.0.113.0/24"]), &list));
        assert!(is_subset(&[], &list) && !is_subset(&list, &[]));
    }
}
