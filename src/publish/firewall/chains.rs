//! Chains of iptables' table filter: ours are read by name, not with everything that the host has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{FirewallError, command};
use crate::os::command::CommandError;
use crate::prefix::Family;

/// More chains than these are read with the whole table: a program for each takes longer then.
const ONE_BY_ONE: usize = 8;

/// The programs of one family, and its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Programs {
    /// The family.
    pub(super) family: Family,
    /// `iptables` or `ip6tables`.
    pub(super) single: &'static str,
    /// The rules of this family, in the folder of a target.
    pub(super) file: &'static str,
    /// `iptables-restore` or `ip6tables-restore`.
    pub(super) restore: &'static str,
    save: &'static str,
}

/// Those of IPv4 and of IPv6.
pub(super) const PROGRAMS: [Programs; 2] = [
    Programs {
        family: Family::V4,
        single: "iptables",
        file: "rules.iptables",
        restore: "iptables-restore",
        save: "iptables-save",
    },
    Programs {
        family: Family::V6,
        single: "ip6tables",
        file: "rules.ip6tables",
        restore: "ip6tables-restore",
        save: "ip6tables-save",
    },
];

/// Explains the failure of a program whose family the kernel does not have.
pub(super) fn in_family(programs: Programs, error: FirewallError) -> FirewallError {
    let FirewallError::Command(error) = error else { return error };
    let words = String::from_utf8_lossy(error.stderr()).into_owned();
    if programs.family == Family::V6 && words.contains("Address family not supported") {
        return FirewallError::NoIpv6 { program: programs.single, source: error };
    }
    FirewallError::Command(error)
}

/// The programs of the family whose single program has this name.
pub(super) fn named(single: &str) -> Option<Programs> {
    PROGRAMS.into_iter().find(|programs| programs.single == single)
}

/// The rules of a chain, each a line; none where there is no such chain.
pub(super) fn one(
    programs: Programs,
    chain: &str,
    time_limit: Duration,
) -> Result<Option<String>, FirewallError> {
    Ok(all(programs, &BTreeSet::from([chain]), time_limit)?.remove(chain))
}

/// The rules of those of some chains that exist, each a line.
pub(super) fn all<'c>(
    programs: Programs,
    wanted: &BTreeSet<&'c str>,
    time_limit: Duration,
) -> Result<BTreeMap<&'c str, String>, FirewallError> {
    if wanted.len() > ONE_BY_ONE {
        return saved(programs, wanted, None, time_limit);
    }
    let mut found = BTreeMap::new();
    for chain in wanted {
        match command(programs.single, time_limit)?.args(["-w", "5", "-S", chain]).run() {
            Ok(listed) => {
                let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
                let rules = listed.lines().filter(|line| line.starts_with("-A "));
                // 1.8.7 ends some lines with a space.
                let rules = rules.flat_map(|line| [line.trim_end(), "\n"]);
                found.insert(*chain, rules.collect());
            }
            Err(error) if is_absent(error.stderr()) => {}
            // Of a chain that does not exist, 1.8.9 says that it is incompatible, as of one with
            // rules of another kind.
            Err(error) if is_incompatible(error.stderr()) => {
                return saved(programs, wanted, Some((chain, error)), time_limit);
            }
            Err(error) => return Err(in_family(programs, error.into())),
        }
    }
    Ok(found)
}

/// The same, from the whole table; an error where a chain exists that could not be listed.
fn saved<'c>(
    programs: Programs,
    wanted: &BTreeSet<&'c str>,
    doubt: Option<(&str, CommandError)>,
    time_limit: Duration,
) -> Result<BTreeMap<&'c str, String>, FirewallError> {
    let saved = command(programs.save, time_limit)?.args(["-t", "filter"]).run();
    let saved = saved.map_err(|error| in_family(programs, error.into()))?;
    let saved = String::from_utf8_lossy(&saved.stdout).into_owned();
    let existing: BTreeSet<&str> = declared(&saved).collect();
    if let Some((chain, error)) = doubt
        && (existing.contains(chain) || is_incompatible(saved.as_bytes()))
    {
        return Err(error.into());
    }
    let wanted = wanted.iter().copied().filter(|chain| existing.contains(chain));
    let mut found: BTreeMap<&str, String> = wanted.map(|chain| (chain, String::new())).collect();
    for line in saved.lines() {
        let chain = line.strip_prefix("-A ").and_then(|rest| rest.split_whitespace().next());
        if let Some(rules) = chain.and_then(|chain| found.get_mut(chain)) {
            rules.push_str(line.trim_end());
            rules.push('\n');
        }
    }
    Ok(found)
}

/// Whether iptables says that it does not understand what nft made.
fn is_incompatible(words: &[u8]) -> bool {
    String::from_utf8_lossy(words).contains("is incompatible, use 'nft' tool")
}

/// Whether iptables says that there is no such chain, as opposed to having failed.
pub(super) fn is_absent(stderr: &[u8]) -> bool {
    let words = String::from_utf8_lossy(stderr);
    ["No chain/target/match by that name", "does not exist"].iter().any(|gone| words.contains(gone))
}

/// The chains that a text for the restore commands declares.
pub(super) fn declared(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix(':')?.split_whitespace().next())
}
