//! Where a Linux target enforces: own prefixes behind interfaces, in a direction.
//!
//! Owns the merging of every rule's own end. A rule counts whether it lets anything through yet or not, so that a group
//! whose hostnames are not resolved never opens the subnet by leaving it out.

use super::Job;
use crate::config::{Direction, Families, Interface};
use crate::prefix::PrefixSet;
use crate::ruleset::Family;

/// Own prefixes of one family behind the same interfaces.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) direction: Direction,
    /// Interfaces towards the internet; empty for any.
    pub(super) interfaces: Vec<String>,
    pub(super) family: Family,
    /// Own prefixes; never empty.
    pub(super) own: Vec<String>,
}

impl Job<'_> {
    /// The scopes of the target's part in these families, with the target's interfaces where a rule names none; by
    /// direction, interfaces and family.
    pub(super) fn scopes(&self, families: Families, egress: &[Interface]) -> Vec<Scope> {
        let mut merged: Vec<(Direction, Vec<String>, PrefixSet)> = Vec::new();
        for rule in &self.part.rules {
            let interfaces = if rule.interfaces.is_empty() { egress } else { &rule.interfaces };
            let interfaces: Vec<String> = interfaces.iter().map(ToString::to_string).collect();
            let known = merged
                .iter_mut()
                .find(|(direction, known, _)| *direction == rule.direction && *known == interfaces);
            match known {
                Some((_, _, own)) => *own = own.union(&rule.own),
                None => merged.push((rule.direction, interfaces, rule.own.clone())),
            }
        }
        merged.sort_by(|left, right| (left.0, &left.1).cmp(&(right.0, &right.1)));
        let mut scopes = Vec::new();
        for (direction, interfaces, own) in merged {
            let own = families.of(&own);
            for family in Family::ALL {
                let own: Vec<String> = family.of(&own).iter().map(|net| net.to_string()).collect();
                if !own.is_empty() {
                    let interfaces = interfaces.clone();
                    scopes.push(Scope { direction, interfaces, family, own });
                }
            }
        }
        scopes
    }
}

/// Whether the rules of some direction differ in their interfaces: then each rule must match its own again, which the
/// jump into the chain has otherwise done for all of them.
pub(super) fn interfaces_differ(scopes: &[Scope]) -> bool {
    [Direction::Outbound, Direction::Inbound].into_iter().any(|direction| {
        let mut interfaces = scopes
            .iter()
            .filter(|scope| scope.direction == direction)
            .map(|scope| &scope.interfaces);
        let first = interfaces.next();
        interfaces.any(|other| Some(other) != first)
    })
}
