//! How a group of more members than the device allows is nested.
//!
//! Members are spread over chunks by the first bits of a fixed hash of their text: a chunk that is too large is split in
//! two by the next bit. So the chunks follow from the members alone, and a member that comes or goes changes the one chunk
//! that holds it (at a limit, that one becomes two or two become one), never those of others.

use std::ops::Range;

/// A node: which members (or nodes below) it holds, and its bits, `0110`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// Indices into what was split, ascending.
    pub(super) holds: Vec<usize>,
    /// Its place in the tree, for its name.
    pub(super) bits: String,
}

/// Spreads members over as many levels as it takes: the lowest level first, each with at most `limit` members a node. Empty
/// when one group holds them all. The nodes of the last level are the members of the group itself.
pub(super) fn levels<'t>(members: impl Iterator<Item = &'t str>, limit: usize) -> Vec<Vec<Node>> {
    let mut keys: Vec<(u64, usize)> =
        members.enumerate().map(|(index, text)| (hash(text), index)).collect();
    let mut levels = Vec::new();
    // A node holds two at least, so that each level is smaller than the one below.
    let limit = limit.max(2);
    keys.sort_unstable();
    while keys.len() > limit {
        let mut nodes = Vec::new();
        split(&keys, 0..keys.len(), 0, limit, &mut nodes);
        let parts: Vec<(u64, Node)> = nodes
            .into_iter()
            .map(|(range, depth)| {
                let key = keys[range.start].0;
                let mut holds: Vec<usize> = keys[range].iter().map(|(_, index)| *index).collect();
                holds.sort_unstable();
                let bits = (0..depth).map(|bit| if is_set(key, bit) { '1' } else { '0' }).collect();
                (key, Node { holds, bits })
            })
            .collect();
        keys = parts.iter().enumerate().map(|(index, (key, _))| (*key, index)).collect();
        levels.push(parts.into_iter().map(|(_, node)| node).collect());
    }
    levels
}

/// Cuts the range until every piece is within the limit; empty pieces are left out.
fn split(
    keys: &[(u64, usize)],
    range: Range<usize>,
    depth: u32,
    limit: usize,
    found: &mut Vec<(Range<usize>, u32)>,
) {
    if range.len() <= limit || depth == u64::BITS {
        if !range.is_empty() {
            found.push((range, depth));
        }
        return;
    }
    let middle = range.start + keys[range.clone()].partition_point(|(key, _)| !is_set(*key, depth));
    split(keys, range.start..middle, depth + 1, limit, found);
    split(keys, middle..range.end, depth + 1, limit, found);
}

fn is_set(key: u64, bit: u32) -> bool {
    key >> (u64::BITS - 1 - bit) & 1 == 1
}

/// FNV-1a with a final mix: fixed for ever, because names on devices follow from it.
fn hash(text: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn members(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("198.18.{}.{}/32", n / 256, n % 256)).collect()
    }

    fn chunks(members: &[String], limit: usize) -> BTreeMap<String, BTreeSet<String>> {
        let levels = levels(members.iter().map(String::as_str), limit);
        levels.first().map_or_else(BTreeMap::new, |level| {
            level
                .iter()
                .map(|node| {
                    let texts = node.holds.iter().map(|&index| members[index].clone()).collect();
                    (node.bits.clone(), texts)
                })
                .collect()
        })
    }

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(hash(""), 0xecba_3df2_c338_3c52, "{:#x}", hash(""));
        assert_eq!(hash("192.0.2.0/24"), 0x1f96_f16f_6bb1_133a, "{:#x}", hash("192.0.2.0/24"));
    }

    #[test]
    fn nothing_is_lost_and_no_limit_exceeded() {
        for (count, limit) in [(0, 4), (4, 4), (5, 4), (1000, 4), (1000, 2), (20_000, 300)] {
            let members = members(count);
            let levels = levels(members.iter().map(String::as_str), limit);
            let mut below = count;
            for level in &levels {
                let held: Vec<usize> =
                    level.iter().flat_map(|node| node.holds.iter().copied()).collect();
                assert_eq!(held.iter().collect::<BTreeSet<_>>().len(), below);
                assert_eq!(held.len(), below);
                assert!(level.iter().all(|node| (1..=limit).contains(&node.holds.len())));
                let names: BTreeSet<&str> = level.iter().map(|node| node.bits.as_str()).collect();
                assert_eq!(names.len(), level.len());
                below = level.len();
            }
            assert!(below <= limit, "{count} members, limit {limit}: {below} at the top");
            assert_eq!(levels.is_empty(), count <= limit);
        }
    }

    #[test]
    fn one_member_changes_one_chunk() {
        let all = members(5_000);
        let before = chunks(&all[..4_999], 100);
        let after = chunks(&all, 100);
        let changed = before.iter().filter(|(bits, texts)| after.get(*bits) != Some(texts));
        assert_eq!(changed.count(), 1);
        let new = after.iter().filter(|(bits, texts)| before.get(*bits) != Some(texts));
        assert!(new.count() <= 2);
    }
}
