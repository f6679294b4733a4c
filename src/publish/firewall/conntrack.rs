//! Connections to ranges that left: their entries are deleted, so that the next packet is judged by the new rules.
//!
//! Rules let established connections pass first, so a withdrawn range keeps the connections that it has. Only entries between
//! own prefixes of the rules and ranges that left are touched: other hosts may use the same ranges through the same
//! firewall. The table is looked through once for each own prefix, and then only the ranges that have an entry are deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::{FirewallError, command};
use crate::config::Direction;
use crate::os::command::{CommandError, find_program};
use crate::prefix::PrefixSet;
use crate::render::Kernel;
use crate::ruleset::{Family, RuleSet};

/// Most deletions for one generation: each looks through the whole table.
const MAX_DELETIONS: usize = 1024;

/// Whether the program is there.
pub(in crate::publish) fn is_installed() -> bool {
    find_program("conntrack").is_some()
}

/// Deletes the entries of connections between own prefixes and what left; returns how many.
pub(in crate::publish) fn expire(
    kernel: &Kernel,
    old: &RuleSet,
    new: &RuleSet,
    time_limit: Duration,
) -> Result<usize, FirewallError> {
    let mut deleted = 0;
    for (own, direction, left) in left(kernel, old, new) {
        let (own_side, far_side) = match direction {
            Direction::Outbound => ("--orig-src", "--orig-dst"),
            Direction::Inbound => ("--orig-dst", "--orig-src"),
        };
        let family = if own.addr().is_ipv4() { "ipv4" } else { "ipv6" };
        let entries = command("conntrack", time_limit)?
            .args(["-L", "-f", family, own_side])
            .arg(own.to_string())
            .run()?;
        let ranges = ranges_in_use(&entries.stdout, direction, &left);
        let count = ranges.len();
        if entries.stdout_cut || count > MAX_DELETIONS {
            return Err(FirewallError::Answer {
                program: "conntrack",
                reason: format!(
                    "too many connections of {own} to look through or to delete ({count} ranges)"
                ),
            });
        }
        for range in ranges {
            let run = command("conntrack", time_limit)?
                .args(["-D", "-f", family, own_side])
                .arg(own.to_string())
                .arg(far_side)
                .arg(range.to_string())
                .run();
            match run {
                Ok(output) => deleted += count_of(&output.stderr),
                // They ended by themselves meanwhile.
                Err(CommandError::Failed { ref stderr, .. }) if says_none(stderr) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(deleted)
}

/// Own prefixes, which way connections are opened, and what left of that family.
fn left(kernel: &Kernel, old: &RuleSet, new: &RuleSet) -> Vec<(IpNet, Direction, PrefixSet)> {
    let sets = match kernel {
        Kernel::Nftables(table) => &table.sets,
        Kernel::Iptables(rules) => &rules.sets,
    };
    // Rules without sets carry every group.
    let carried =
        |group: &crate::config::Name| sets.is_empty() || sets.iter().any(|set| set.group == *group);
    let space = |rules: &RuleSet| {
        let groups = rules.groups.iter().filter(|group| carried(&group.name));
        groups.fold(PrefixSet::new(), |all, group| all.union(&group.prefixes))
    };
    let left = space(old).difference(&space(new));
    let mut own: BTreeMap<(IpNet, bool), Direction> = BTreeMap::new();
    for rule in old.rules.iter().filter(|rule| carried(&rule.group)) {
        let v4 = rule.own.v4().iter().copied().map(IpNet::V4);
        for prefix in v4.chain(rule.own.v6().iter().copied().map(IpNet::V6)) {
            own.insert((prefix, rule.direction == Direction::Inbound), rule.direction);
        }
    }
    own.into_iter()
        .map(|((own, _), direction)| {
            let family = if own.addr().is_ipv4() { Family::V4 } else { Family::V6 };
            (own, direction, family.of(&left))
        })
        .filter(|(_, _, left)| !left.is_empty())
        .collect()
}

/// The ranges that have an entry in a listing.
fn ranges_in_use(listing: &[u8], direction: Direction, left: &PrefixSet) -> BTreeSet<IpNet> {
    let key = match direction {
        Direction::Outbound => "dst=",
        Direction::Inbound => "src=",
    };
    let mut ranges = BTreeSet::new();
    for line in String::from_utf8_lossy(listing).lines() {
        // The first is that of the original direction.
        let far = line.split_whitespace().find_map(|word| word.strip_prefix(key));
        let Some(far) = far.and_then(|far| far.parse::<IpAddr>().ok()) else { continue };
        let range = match far {
            IpAddr::V4(far) => {
                left.v4().iter().find(|range| range.contains(&far)).copied().map(IpNet::V4)
            }
            IpAddr::V6(far) => {
                left.v6().iter().find(|range| range.contains(&far)).copied().map(IpNet::V6)
            }
        };
        ranges.extend(range);
    }
    ranges
}

/// `conntrack v1.4.7 (conntrack-tools): 2 flow entries have been deleted.`
fn count_of(stderr: &[u8]) -> usize {
    let text = String::from_utf8_lossy(stderr);
    let number = text.split_once("): ").and_then(|(_, rest)| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn says_none(stderr: &[u8]) -> bool {
    String::from_utf8_lossy(stderr).contains(" 0 flow entries")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ranges_that_left_and_have_an_entry_are_named() {
        let listing = b"tcp 6 431999 ESTABLISHED src=10.20.0.5 dst=192.0.2.9 sport=1 dport=443 src=192.0.2.9 dst=10.20.0.5 sport=443 dport=1 [ASSURED] mark=0 use=1\n\
            udp 17 29 src=10.20.0.5 dst=203.0.113.1 sport=1 dport=53 [UNREPLIED] src=203.0.113.1 dst=10.20.0.5 sport=53 dport=1\n";
        let set = |text: &str| {
            text.split(' ').map(|prefix| prefix.parse().unwrap()).collect::<PrefixSet>()
        };
        let left = set("192.0.2.0/26 198.51.100.0/24");
        let ranges = |direction| {
            ranges_in_use(listing, direction, &left)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(ranges(Direction::Outbound), ["192.0.2.0/26"]);
        assert!(ranges(Direction::Inbound).is_empty());
    }

    #[test]
    fn the_number_of_deleted_entries_is_read() {
        let words = b"conntrack v1.4.7 (conntrack-tools): 2 flow entries have been deleted.\n";
        assert_eq!(count_of(words), 2);
        assert!(!says_none(words));
        assert!(says_none(
            b"conntrack v1.4.7 (conntrack-tools): 0 flow entries have been deleted.\n"
        ));
    }
}
