//! Fits a set into a number of prefixes with the fewest surplus addresses.
//!
//! Owns the only function of the house that widens a set, and it is called where the configuration asks for it in so many words.
//! Promises: the result holds every address of the set, has at most as many prefixes as asked for, touches nothing forbidden, and
//! no other such result has fewer surplus addresses (of a family; between the families, a smaller sum of their shares).
//!
//! The prefixes form a binary tree whose inner nodes are the narrowest prefix over two neighbours. The best cover of a node with
//! `j` prefixes is the node itself for `j` = 1, and else the best split of `j` between its children: a knapsack over a tree,
//! whose work is bounded by the product of prefixes and budget.

use ipnet::{Ipv4Net, Ipv6Net};
use thiserror::Error;

use super::PrefixSet;
use super::ranges::{self, Bits, Prefix};

/// A set that was fitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fitted {
    /// The set with its surplus.
    pub set: PrefixSet,
    /// The surplus alone.
    pub surplus: PrefixSet,
}

/// Why a set cannot be fitted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{needed} prefixes are needed at least, because what lies between must not be taken")]
pub struct DoesNotFit {
    /// The smallest number of prefixes that would do.
    pub needed: usize,
}

/// Fits a set into at most `budget` prefixes of both families together. Nothing of `forbidden` is ever taken.
pub fn fit(set: &PrefixSet, budget: usize, forbidden: &PrefixSet) -> Result<Fitted, DoesNotFit> {
    if set.len() <= budget {
        return Ok(Fitted { set: set.clone(), surplus: PrefixSet::new() });
    }
    let v4 = Tree::new(set.v4(), budget, |net| ranges::overlaps(forbidden.v4(), net));
    let v6 = Tree::new(set.v6(), budget, |net| ranges::overlaps(forbidden.v6(), net));
    let (least4, least6) = (v4.least, v6.least);
    if least4 + least6 > budget {
        return Err(DoesNotFit { needed: least4 + least6 });
    }
    let (size4, size6) = (u128::from(set.v4_addresses()), set.v6_addresses());
    let mut best: Option<(f64, usize)> = None;
    for count4 in least4..=(budget - least6).min(v4.most()) {
        let count6 = (budget - count4).min(v6.most());
        let loss = share(v4.surplus(count4), size4) + share(v6.surplus(count6), size6);
        if best.is_none_or(|(least, _)| loss < least) {
            best = Some((loss, count4));
        }
    }
    let count4 = best.map_or(least4, |(_, count)| count);
    let count6 = (budget - count4).min(v6.most());
    let (mut nets4, mut nets6) = (Vec::new(), Vec::new());
    v4.take(count4, &mut nets4);
    v6.take(count6, &mut nets6);
    let fitted = PrefixSet::from_parts(nets4, nets6);
    let surplus = fitted.difference(set);
    Ok(Fitted { set: fitted, surplus })
}

#[expect(clippy::cast_precision_loss, reason = "shares are compared, not added up")]
fn share(part: u128, all: u128) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

/// A cover that is not allowed.
const NEVER: u128 = u128::MAX;

struct Node<P> {
    net: P,
    children: Option<(usize, usize)>,
    /// For every number of prefixes from 1: how many of them the left child gets; 0 for the node itself.
    left: Vec<u32>,
}

/// The tree of one family, with the best covers of its root.
struct Tree<P> {
    nodes: Vec<Node<P>>,
    /// Surplus by number of prefixes, from 1; empty for an empty set.
    costs: Vec<u128>,
    /// The fewest prefixes that do, whatever the budget is.
    least: usize,
}

/// What is known of a node once it is built.
struct Built {
    index: usize,
    costs: Vec<u128>,
    /// The addresses that it must hold.
    size: u128,
    least: usize,
}

impl<P: Prefix + IntoSize> Tree<P> {
    fn new(list: &[P], budget: usize, forbidden: impl Fn(P) -> bool) -> Self {
        let mut tree =
            Self { nodes: Vec::with_capacity(list.len() * 2), costs: Vec::new(), least: 0 };
        if !list.is_empty() {
            let root = tree.build(list, budget.max(1), &forbidden);
            (tree.costs, tree.least) = (root.costs, root.least);
        }
        tree
    }

    /// Builds the node over these prefixes.
    fn build(&mut self, list: &[P], budget: usize, forbidden: &impl Fn(P) -> bool) -> Built {
        if let [only] = list {
            self.nodes.push(Node { net: *only, children: None, left: vec![0] });
            let index = self.nodes.len() - 1;
            return Built { index, costs: vec![0], size: only.size(), least: 1 };
        }
        // At least two: the highest bit in which the first and the last address differ is where the tree branches.
        let first = list[0].first();
        let bit = (first ^ list[list.len() - 1].last()).highest_one();
        let net = P::new(first, <P::Bits as Bits>::WIDTH - 1 - bit);
        let net = P::new(net.first(), net.length());
        let middle = list.partition_point(|prefix| is_below(prefix.first() ^ first, bit));
        let left = self.build(&list[..middle], budget, forbidden);
        let right = self.build(&list[middle..], budget, forbidden);
        let size = left.size + right.size;
        let most = (left.costs.len() + right.costs.len()).min(budget);
        let mut least = left.least + right.least;
        let mut costs = vec![NEVER; most];
        let mut choice = vec![0_u32; most];
        if !forbidden(net) {
            costs[0] = net.size() - size;
            least = 1;
        }
        for (l, left_cost) in left.costs.iter().enumerate() {
            for (r, right_cost) in right.costs.iter().enumerate().take(most.saturating_sub(l + 1)) {
                // With l + 1 prefixes on the left and r + 1 on the right.
                let (cost, index) = (left_cost.saturating_add(*right_cost), l + r + 1);
                if cost < costs[index] {
                    costs[index] = cost;
                    // A tree has fewer nodes than a budget of 2^32.
                    choice[index] = u32::try_from(l + 1).unwrap_or(u32::MAX);
                }
            }
        }
        let children = Some((left.index, right.index));
        self.nodes.push(Node { net, children, left: choice });
        Built { index: self.nodes.len() - 1, costs, size, least }
    }

    /// The most prefixes that are of use.
    fn most(&self) -> usize {
        self.costs.len()
    }

    fn surplus(&self, count: usize) -> u128 {
        count.checked_sub(1).and_then(|index| self.costs.get(index)).copied().unwrap_or(0)
    }

    /// The prefixes of the best cover with this number of them.
    fn take(&self, count: usize, into: &mut Vec<P>) {
        if let Some(root) = self.nodes.len().checked_sub(1)
            && count > 0
        {
            self.take_of(root, count, into);
        }
    }

    fn take_of(&self, index: usize, count: usize, into: &mut Vec<P>) {
        let node = &self.nodes[index];
        match (node.children, node.left.get(count - 1)) {
            (Some((left, right)), Some(&share)) if share > 0 => {
                self.take_of(left, share as usize, into);
                self.take_of(right, count - share as usize, into);
            }
            _ => into.push(node.net),
        }
    }
}

/// How many addresses a prefix has; the whole of IPv6 counts one less than it has.
trait IntoSize {
    fn size(self) -> u128;
}

impl IntoSize for Ipv4Net {
    fn size(self) -> u128 {
        1 << (32 - self.prefix_len())
    }
}

impl IntoSize for Ipv6Net {
    fn size(self) -> u128 {
        1_u128.checked_shl(128 - u32::from(self.prefix_len())).unwrap_or(u128::MAX)
    }
}

/// Whether the number has no bit at this position or above.
fn is_below<B: Bits>(number: B, bit: u8) -> bool {
    number & B::host_mask(B::WIDTH - bit) == number
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::needless_pass_by_value,
        clippy::single_match_else,
        reason = "an exhaustive search, written to be read"
    )]
    use super::*;
    use crate::prefix::special;

    fn set(texts: &[&str]) -> PrefixSet {
        texts.iter().map(|text| text.parse::<ipnet::IpNet>().unwrap()).collect()
    }

    /// The least surplus of all covers, tried one by one: every subset of the tree's nodes.
    fn exhaustive(set: &PrefixSet, budget: usize, forbidden: &PrefixSet) -> Option<u64> {
        let mut nodes: Vec<Ipv4Net> = Vec::new();
        for net in set.v4() {
            for length in 20..=net.prefix_len() {
                let node = Ipv4Net::new_assert(net.addr(), length).trunc();
                if !nodes.contains(&node) && !forbidden.overlaps(node.into()) {
                    nodes.push(node);
                }
            }
        }
        let mut best = None;
        search(set, budget, &nodes, PrefixSet::new(), &mut best);
        best
    }

    fn search(
        set: &PrefixSet,
        budget: usize,
        nodes: &[Ipv4Net],
        so_far: PrefixSet,
        best: &mut Option<u64>,
    ) {
        let missing = set.difference(&so_far);
        let Some(next) = missing.v4().first() else {
            let surplus = so_far.difference(set).v4_addresses();
            *best = Some(best.map_or(surplus, |best| best.min(surplus)));
            return;
        };
        if budget == 0 {
            return;
        }
        for node in nodes.iter().filter(|node| node.contains(next)) {
            search(
                set,
                budget - 1,
                nodes,
                so_far.union(&PrefixSet::from(ipnet::IpNet::V4(*node))),
                best,
            );
        }
    }

    #[test]
    fn no_cover_is_better() {
        let mut seed = fastrand::Rng::with_seed(7);
        for round in 0..60 {
            let nets = (0..seed.usize(2..7)).map(|_| {
                let host = seed.u32(0..4096);
                let length = seed.u8(24..=32);
                Ipv4Net::new_assert(std::net::Ipv4Addr::from_bits(0xc612_0000 | host), length)
                    .trunc()
            });
            let set = PrefixSet::from_parts(nets.collect(), Vec::new());
            let forbidden = match round % 3 {
                0 => PrefixSet::new(),
                _ => {
                    let host = seed.u32(0..4096);
                    let net =
                        Ipv4Net::new_assert(std::net::Ipv4Addr::from_bits(0xc612_0000 | host), 30)
                            .trunc();
                    PrefixSet::from_parts(vec![net], Vec::new()).difference(&set)
                }
            };
            for budget in 1..=set.len() {
                let found = fit(&set, budget, &forbidden);
                let expected = exhaustive(&set, budget, &forbidden);
                assert_eq!(
                    found.as_ref().ok().map(|fitted| fitted.surplus.v4_addresses()),
                    expected,
                    "{set} in {budget}"
                );
                if let Ok(fitted) = found {
                    assert!(fitted.set.len() <= budget && set.is_subset(&fitted.set));
                    assert!(fitted.set.intersection(&forbidden).is_empty());
                }
            }
        }
    }

    #[test]
    fn nothing_is_widened_without_need() {
        let all = set(&["192.0.2.0/25", "198.51.100.0/24", "2001:db8::/48"]);
        let fitted = fit(&all, 3, &PrefixSet::new()).unwrap();
        assert_eq!((fitted.set, fitted.surplus.is_empty()), (all, true));
    }

    #[test]
    fn what_is_forbidden_stands_between() {
        let halves = set(&["10.0.0.0/24", "10.0.2.0/24"]);
        let forbidden = set(&["10.0.1.0/24"]);
        assert_eq!(fit(&halves, 1, &PrefixSet::new()).unwrap().surplus.v4_addresses(), 512);
        assert_eq!(fit(&halves, 1, &forbidden), Err(DoesNotFit { needed: 2 }));
        let apart = set(&["9.255.255.0/24", "11.0.0.0/24"]);
        assert!(fit(&apart, 1, special::special_v4()).is_err());
    }

    #[test]
    fn both_families_share_one_budget() {
        let both = set(&["192.0.2.0/26", "192.0.2.128/26", "2001:db8::/64", "2001:db8:0:2::/64"]);
        let fitted = fit(&both, 3, &PrefixSet::new()).unwrap();
        assert_eq!(fitted.set.len(), 3);
        let fitted = fit(&both, 2, &PrefixSet::new()).unwrap();
        assert_eq!((fitted.set.v4().len(), fitted.set.v6().len()), (1, 1));
        assert_eq!(fit(&both, 1, &PrefixSet::new()), Err(DoesNotFit { needed: 2 }));
    }

    #[test]
    fn the_ends_of_the_families_are_no_exception() {
        let ends = set(&["0.0.0.0/32", "255.255.255.255/32", "::/128", "ffff::/16"]);
        let fitted = fit(&ends, 2, &PrefixSet::new()).unwrap();
        assert_eq!(fitted.set, set(&["0.0.0.0/0", "::/0"]));
    }
}
