//! Groups of groups: where a group has more members than a device takes, it is cut into pieces.
//!
//! A member's piece follows from its own digest alone: the pieces are the leaves of a binary tree over the digest's bits,
//! and only a leaf that overflows is cut in two. So a member that comes or goes changes one piece; by position, it
//! would shift the members of every piece behind it.

use super::objects::Member;

/// Deepest leaf: beyond it members cannot be told apart by their digests (and the limits refuse the piece).
const DEEPEST: usize = 40;

/// One piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// The bits that its members' digests begin with: `0`, `10`, `1101`.
    pub(super) path: String,
    /// Sorted.
    pub(super) members: Vec<Member>,
}

/// Cuts into pieces of at most `limit` members, in the order of their paths.
pub(super) fn pieces(members: Vec<Member>, limit: usize) -> Vec<Piece> {
    let mut digested: Vec<(u64, Member)> =
        members.into_iter().map(|member| (digest(&member), member)).collect();
    digested.sort_unstable();
    let mut found = Vec::new();
    cut(&digested, limit.max(1), &mut String::new(), &mut found);
    found
}

fn cut(members: &[(u64, Member)], limit: usize, path: &mut String, found: &mut Vec<Piece>) {
    if members.is_empty() {
        return;
    }
    let leaf = members.len() <= limit || path.len() >= DEEPEST;
    // The root itself is never a piece.
    if leaf && !path.is_empty() {
        let mut members: Vec<Member> = members.iter().map(|(_, member)| member.clone()).collect();
        members.sort_unstable();
        found.push(Piece { path: path.clone(), members });
        return;
    }
    let bit = 1_u64 << (63 - path.len());
    let middle = members.partition_point(|(digest, _)| digest & bit == 0);
    let (zeros, ones) = members.split_at(middle);
    for (digit, half) in [('0', zeros), ('1', ones)] {
        path.push(digit);
        cut(half, limit, path, found);
        path.pop();
    }
}

/// FNV-1a with a last mixing. It is part of the names on devices: another function would rename every piece.
fn digest(member: &Member) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut take = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    match member {
        Member::Net(ipnet::IpNet::V4(net)) => {
            take(&net.addr().octets());
            take(&[net.prefix_len()]);
        }
        Member::Net(ipnet::IpNet::V6(net)) => {
            take(&net.addr().octets());
            take(&[net.prefix_len()]);
        }
        Member::Named(name) => take(name.as_bytes()),
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: u32) -> Vec<Member> {
        let net = |index: u32| {
            let address = std::net::Ipv4Addr::from(0xc612_0000 + index);
            Member::Net(ipnet::Ipv4Net::new_assert(address, 32).into())
        };
        (0..count).map(net).collect()
    }

    #[test]
    fn nothing_is_lost_and_no_piece_overflows() {
        let all = members(3_000);
        let pieces = pieces(all.clone(), 100);
        let mut joined: Vec<Member> =
            pieces.iter().flat_map(|piece| piece.members.clone()).collect();
        joined.sort_unstable();
        assert_eq!(joined, all);
        assert!(pieces.iter().all(|piece| piece.members.len() <= 100));
        assert!(pieces.len() <= 100, "{} pieces are far from full", pieces.len());
    }

    #[test]
    fn one_member_more_or_less_changes_one_piece() {
        let all = members(2_000);
        let whole = pieces(all.clone(), 100);
        for gone in [0, 777, 1_999] {
            let mut fewer = all.clone();
            fewer.remove(gone);
            let after = pieces(fewer, 100);
            let same = after.iter().filter(|piece| whole.contains(piece)).count();
            // One piece differs, or two are one again.
            assert!(same + 1 >= after.len() && same + 2 >= whole.len(), "{gone}: {same}");
        }
    }
}
