//! Objects that an earlier generation put into the kernel and the one in force does not have any more: sets and chains of
//! vanished groups, everything of vanished targets.
//!
//! Only what a manifest of ours names is ever touched. What still has users (a host's rule that jumps to our chain) cannot be
//! taken away; it is emptied, so that packets pass on to the host's own rules, and reported.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use super::{FirewallError, chains, command, iptables, ownership};
use crate::render::{Kernel, MARK};

/// Something in the kernel that is ours, in the order in which such things can be taken away.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::publish) enum Object {
    /// A jump that tagwall kept (`iptables` or `ip6tables`): from chain, to chain.
    IptablesJump(&'static str, String, String),
    /// A chain of iptables (`iptables` or `ip6tables`).
    IptablesChain(&'static str, String),
    /// A set of ipset.
    Ipset(String),
    /// A chain of ours in a host's nftables table: family, table, chain.
    NftChain(String, String, String),
    /// A set of ours in a host's nftables table.
    NftSet(String, String, String),
    /// An nftables table that is ours as a whole: family, table.
    NftTable(String, String),
}

impl fmt::Display for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IptablesJump(program, from, to) => {
                write!(formatter, "jump from chain {from} to {to} ({program})")
            }
            Self::IptablesChain(program, chain) => write!(formatter, "chain {chain} ({program})"),
            Self::Ipset(set) => write!(formatter, "set {set} (ipset)"),
            Self::NftChain(family, table, chain) => {
                write!(formatter, "chain {chain} of table {family} {table}")
            }
            Self::NftSet(family, table, set) => {
                write!(formatter, "set {set} of table {family} {table}")
            }
            Self::NftTable(family, table) => write!(formatter, "table {family} {table}"),
        }
    }
}

impl Object {
    /// Whether both live in one nftables table.
    pub(in crate::publish) fn shares_a_table_with(&self, other: &Self) -> bool {
        fn table(object: &Object) -> Option<(&str, &str)> {
            match object {
                Object::NftChain(family, table, _)
                | Object::NftSet(family, table, _)
                | Object::NftTable(family, table) => Some((family, table)),
                _ => None,
            }
        }
        table(self).is_some() && table(self) == table(other)
    }
}

impl Object {
    /// The statement of nft that empties a chain.
    fn flush(&self) -> Option<String> {
        let Self::NftChain(family, table, chain) = self else { return None };
        Some(format!("flush chain {family} {table} {chain}\n"))
    }

    /// The statement of nft that removes it.
    fn delete(&self) -> Option<String> {
        match self {
            Self::NftChain(family, table, chain) => {
                Some(format!("delete chain {family} {table} {chain}\n"))
            }
            Self::NftSet(family, table, set) => {
                Some(format!("delete set {family} {table} {set}\n"))
            }
            Self::NftTable(family, table) => Some(format!("delete table {family} {table}\n")),
            Self::IptablesJump(..) | Self::IptablesChain(..) | Self::Ipset(_) => None,
        }
    }
}

/// What a target has in the kernel; its files lie in the folder.
pub(in crate::publish) fn objects(kernel: &Kernel, folder: &Path) -> BTreeSet<Object> {
    let mut found = BTreeSet::new();
    match kernel {
        Kernel::Nftables(table) if table.own => {
            found.insert(Object::NftTable(table.family.clone(), table.table.clone()));
        }
        Kernel::Nftables(table) => {
            let place = || (table.family.clone(), table.table.clone());
            for chain in &table.chains {
                let (family, table) = place();
                found.insert(Object::NftChain(family, table, chain.clone()));
            }
            for set in &table.sets {
                let (family, table) = place();
                found.insert(Object::NftSet(family, table, set.name.clone()));
            }
        }
        Kernel::Iptables(rules) => {
            found.extend(rules.sets.iter().map(|set| Object::Ipset(set.name.clone())));
            for programs in iptables::programs(rules) {
                let program = programs.single;
                let chains = iptables::declared_in(programs, folder).unwrap_or_default();
                found.extend(chains.into_iter().map(|chain| Object::IptablesChain(program, chain)));
                found.extend(rules.jump.iter().map(|jump| {
                    Object::IptablesJump(program, jump.chain.clone(), rules.chain.clone())
                }));
            }
        }
    }
    found
}

/// Takes objects away; returns those that are left, each with the reason.
pub(in crate::publish) fn remove(
    stale: &BTreeSet<Object>,
    time_limit: Duration,
) -> Vec<(Object, FirewallError)> {
    let mut left = Vec::new();
    let (stale, theirs) = match ownership::ours(stale, time_limit) {
        Ok(ours) => ours,
        Err(error) => {
            let reason = error.to_string();
            let unknown = || FirewallError::Answer { program: "nft", reason: reason.clone() };
            return stale.iter().map(|object| (object.clone(), unknown())).collect();
        }
    };
    left.extend(theirs.into_iter().map(|object| {
        let reason = "it does not carry tagwall's mark any more".to_owned();
        (object.clone(), FirewallError::Unsuitable { object: object.to_string(), reason })
    }));
    let stale = &stale;
    for object in stale {
        // One that is gone already holds nothing; one that stays is told of with its chain.
        if let Object::IptablesJump(program, from, to) = object {
            let _ = iptables::remove_jump(program, from, to, time_limit);
        }
    }
    // Emptied first, so that they do not hold each other and what they name.
    for object in stale {
        // A chain that is gone already is told apart below.
        let _ = match object {
            Object::IptablesChain(program, chain) => {
                run(program, &["-w", "5", "-F", chain], time_limit)
            }
            _ => Ok(()),
        };
    }
    // Objects of nft in one transaction; one by one where something still uses one of them.
    let flushes: Vec<String> = stale.iter().filter_map(Object::flush).collect();
    let deletions: Vec<String> = stale.iter().filter_map(Object::delete).collect();
    let at_once = nft([flushes.concat(), deletions.concat()].concat(), time_limit).is_ok();
    if !at_once {
        for flush in flushes {
            let _ = nft(flush, time_limit);
        }
    }
    for object in stale.iter().filter(|object| !at_once || object.delete().is_none()) {
        let removed = match object {
            Object::IptablesJump(..) => Ok(()),
            Object::IptablesChain(program, chain) => {
                run(program, &["-w", "5", "-X", chain], time_limit)
            }
            Object::Ipset(set) => run("ipset", &["destroy", set], time_limit),
            _ => nft(object.delete().unwrap_or_default(), time_limit),
        };
        match removed {
            Ok(()) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => left.push((object.clone(), error)),
        }
    }
    left
}

/// Whether the kernel has an object; so also where that cannot be told.
pub(in crate::publish) fn exists(object: &Object, time_limit: Duration) -> bool {
    let listed = match object {
        Object::IptablesJump(program, from, to) => {
            let rule = ["-w", "5", "-C", from, "-m", "comment", "--comment", MARK, "-j", to];
            // That there is no such rule is said in as many ways as there are reasons.
            return run(program, &rule, time_limit).is_ok();
        }
        Object::IptablesChain(program, chain) => {
            return chains::named(program).is_none_or(|programs| {
                !matches!(chains::one(programs, chain, time_limit), Ok(None))
            });
        }
        Object::Ipset(set) => run("ipset", &["list", "-n", set], time_limit),
        Object::NftChain(family, table, chain) => {
            run("nft", &["-t", "list", "chain", family, table, chain], time_limit)
        }
        Object::NftSet(family, table, set) => {
            run("nft", &["-t", "list", "set", family, table, set], time_limit)
        }
        Object::NftTable(family, table) => {
            run("nft", &["-t", "list", "table", family, table], time_limit)
        }
    };
    listed.err().is_none_or(|error| !is_gone(&error))
}

/// Runs a transaction of nft; none where the text is empty.
fn nft(text: String, time_limit: Duration) -> Result<(), FirewallError> {
    if !text.is_empty() {
        command("nft", time_limit)?.args(["-f", "-"]).stdin(text.into_bytes()).run()?;
    }
    Ok(())
}

fn run(program: &'static str, args: &[&str], time_limit: Duration) -> Result<(), FirewallError> {
    command(program, time_limit)?.args(args.iter().copied()).run()?;
    Ok(())
}

/// Whether the reason is that there is no such object any more.
fn is_gone(error: &FirewallError) -> bool {
    let FirewallError::Command(error) = error else { return false };
    let words = String::from_utf8_lossy(error.stderr()).into_owned();
    ["No such file or directory", "does not exist", "No chain/target/match by that name"]
        .iter()
        .any(|gone| words.contains(gone))
}
