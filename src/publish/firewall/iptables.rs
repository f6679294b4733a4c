//! iptables and ipset: checked by `--test` and in scratch sets, loaded by the restore commands, read back by the save commands.
//!
//! ipset and iptables know no transaction over both. Sets are swapped first, each by itself, then each family's rules are
//! replaced; between the two, old rules match new sets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ipnet::IpNet;

use super::{Drift, Firewall, FirewallError, Update};
use crate::os::command::CommandError;
use crate::os::files;
use crate::prefix::PrefixSet;
use crate::prefix::parse::parse_net_or_address;
use crate::render::IptablesKernel;

/// Largest file that is loaded, in bytes.
const MAX_BYTES: u64 = 256 << 20;
/// Each family's file with the commands that restore and save it.
const FAMILIES: [(&str, &str, &str); 2] = [
    ("rules.iptables", "iptables-restore", "iptables-save"),
    ("rules.ip6tables", "ip6tables-restore", "ip6tables-save"),
];

/// Fills the scratch sets, tests the rules, and leaves the kernel as it was, whatever fails.
pub(super) fn verify(
    firewall: &Firewall<'_>,
    rules: &IptablesKernel,
    folder: &Path,
) -> Result<(), FirewallError> {
    let test = || {
        for (file, restore, _) in FAMILIES {
            let text = files::read_bounded(&folder.join(file), MAX_BYTES)?;
            firewall.command(restore)?.args(["-n", "-w", "5", "--test"]).stdin(text).run()?;
        }
        Ok(())
    };
    match &rules.sets_file {
        Some(file) => {
            in_scratch(firewall, &files::read_bounded(&folder.join(file), MAX_BYTES)?, test)
        }
        None => test(),
    }
}

pub(super) fn verify_update(firewall: &Firewall<'_>, update: &Update) -> Result<(), FirewallError> {
    // Nothing may be made anew here: where a set is gone, the rules are too.
    let present = set_names(firewall)?;
    if let Some(gone) = update.sets.iter().find(|set| !present.contains(*set)) {
        return Err(FirewallError::Difference(Drift::Missing(format!("set {gone}"))));
    }
    in_scratch(firewall, &update.text, || Ok(()))
}

/// Does something while the scratch sets of a sets file are filled, then takes away the sets that this made: of the names
/// in the file alone, whatever else came up meanwhile.
fn in_scratch(
    firewall: &Firewall<'_>,
    text: &[u8],
    then: impl FnOnce() -> Result<(), FirewallError>,
) -> Result<(), FirewallError> {
    let before = set_names(firewall)?;
    let verified = restore_sets(firewall, before_the_swaps(text)).and_then(|()| then());
    let present = set_names(firewall)?;
    let mut cleaned = Ok(());
    for set in created(text).iter().filter(|set| present.contains(*set) && !before.contains(*set)) {
        let destroyed = firewall.command("ipset").and_then(|command| {
            command.args(["destroy", set.as_str()]).run().map(drop).map_err(FirewallError::from)
        });
        cleaned = cleaned.and(destroyed);
    }
    verified.and(cleaned)
}

pub(super) fn apply(
    firewall: &Firewall<'_>,
    rules: &IptablesKernel,
    folder: &Path,
) -> Result<(), FirewallError> {
    if let Some(file) = &rules.sets_file {
        restore_sets(firewall, files::read_bounded(&folder.join(file), MAX_BYTES)?)?;
    }
    for (file, restore, _) in FAMILIES {
        let text = files::read_bounded(&folder.join(file), MAX_BYTES)?;
        firewall.command(restore)?.args(["-n", "-w", "5"]).stdin(text).run()?;
    }
    Ok(())
}

pub(super) fn apply_update(firewall: &Firewall<'_>, update: &Update) -> Result<(), FirewallError> {
    restore_sets(firewall, update.text.clone())
}

/// The host's filter tables, and its sets.
pub(super) fn save(
    firewall: &Firewall<'_>,
    rules: &IptablesKernel,
) -> Result<Option<Vec<u8>>, FirewallError> {
    let mut text = Vec::new();
    if rules.sets_file.is_some() {
        text.extend(firewall.command("ipset")?.arg("save").run()?.stdout);
    }
    for (_, _, save) in FAMILIES {
        text.extend(firewall.command(save)?.args(["-t", "filter"]).run()?.stdout);
    }
    Ok(Some(text))
}

/// Empties the chain that the host jumps to: its packets pass on to the host's rules. Sets stay, unused.
pub(super) fn undo(firewall: &Firewall<'_>, rules: &IptablesKernel) -> Result<(), FirewallError> {
    for program in ["iptables", "ip6tables"] {
        firewall.command(program)?.args(["-w", "5", "-F", &rules.chain]).run()?;
    }
    Ok(())
}

/// Our chains as the save commands print them, without counters.
pub(super) fn rules(
    firewall: &Firewall<'_>,
    rules: &IptablesKernel,
    folder: &Path,
) -> Result<String, FirewallError> {
    let mut kept = String::new();
    for (file, _, save) in FAMILIES {
        let meant = files::read_bounded(&folder.join(file), MAX_BYTES)?;
        let meant = String::from_utf8_lossy(&meant);
        let chains: BTreeSet<&str> = declared_chains(&meant).collect();
        let saved = firewall.command(save)?.args(["-t", "filter"]).run()?;
        let saved = String::from_utf8_lossy(&saved.stdout);
        let declared: BTreeSet<&str> = declared_chains(&saved).collect();
        if let Some(missing) = chains.iter().find(|chain| !declared.contains(*chain)) {
            let missing = format!("chain {missing} ({save})");
            return Err(FirewallError::Difference(Drift::Missing(missing)));
        }
        let ours = |line: &&str| {
            let chain = line.strip_prefix("-A ").and_then(|rest| rest.split_whitespace().next());
            chain.is_some_and(|chain| chains.contains(chain))
        };
        kept.push_str(&format!("# {save}\n"));
        let mut count = 0;
        for line in saved.lines().filter(ours) {
            kept.push_str(line);
            kept.push('\n');
            count += 1;
        }
        let wanted = meant.lines().filter(ours).count();
        if count < wanted {
            let missing = format!("rules of chain {} ({count} of {wanted}, {save})", rules.chain);
            return Err(FirewallError::Difference(Drift::Missing(missing)));
        }
    }
    Ok(kept)
}

/// The chains that a text for the restore commands declares.
pub(super) fn declared_chains(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix(':')?.split_whitespace().next())
}

/// The sets with their content: all of the host, or those named.
pub(super) fn sets(
    firewall: &Firewall<'_>,
    only: Option<&[String]>,
) -> Result<BTreeMap<String, PrefixSet>, FirewallError> {
    let Some(only) = only else {
        return sets_of(&firewall.command("ipset")?.arg("save").run()?.stdout);
    };
    let mut found = BTreeMap::new();
    for set in only {
        match firewall.command("ipset")?.args(["save", set]).run() {
            Ok(saved) => found.extend(sets_of(&saved.stdout)?),
            Err(CommandError::Failed { .. }) if !set_names(firewall)?.contains(set) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

fn restore_sets(firewall: &Firewall<'_>, text: Vec<u8>) -> Result<(), FirewallError> {
    firewall.command("ipset")?.arg("restore").stdin(text).run()?;
    Ok(())
}

/// The part of a sets file that fills scratch sets and changes none that is in use.
fn before_the_swaps(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().take_while(|line| !line.starts_with("swap "));
    lines.flat_map(|line| [line, "\n"]).collect::<String>().into_bytes()
}

/// The sets that a sets file creates.
fn created(text: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(text);
    let named = text.lines().filter_map(|line| line.strip_prefix("create ")?.split(' ').next());
    named.map(str::to_owned).collect()
}

/// The names of all sets of the host. A failure is never taken for "there are none": what is there would then look as if it
/// had been made by us, and be taken away.
fn set_names(firewall: &Firewall<'_>) -> Result<BTreeSet<String>, FirewallError> {
    let listed = firewall.command("ipset")?.args(["list", "-n"]).run()?;
    Ok(String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect())
}

/// The sets of `ipset save` with their content.
fn sets_of(saved: &[u8]) -> Result<BTreeMap<String, PrefixSet>, FirewallError> {
    let mut nets: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
    for line in String::from_utf8_lossy(saved).lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("create"), Some(set), _) => {
                nets.entry(set.to_owned()).or_default();
            }
            (Some("add"), Some(set), Some(prefix)) => {
                let prefix = parse_net_or_address(prefix).map_err(|error| {
                    FirewallError::Answer { program: "ipset", reason: error.to_string() }
                })?;
                nets.entry(set.to_owned()).or_default().push(prefix);
            }
            _ => {}
        }
    }
    Ok(nets.into_iter().map(|(set, nets)| (set, nets.into_iter().collect())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_sets_are_read() {
        let saved = b"create a hash:net family inet hashsize 64 maxelem 10 bucketsize 12 initval 0x1\n\
            add a 192.0.2.0/25\nadd a 192.0.2.128\ncreate b hash:net family inet6\nadd b 2001:db8::/32\ncreate c hash:net\n";
        let sets = sets_of(saved).unwrap();
        assert_eq!(sets["a"].to_string(), "192.0.2.0/25, 192.0.2.128/32");
        assert_eq!(sets["b"].to_string(), "2001:db8::/32");
        assert!(sets["c"].is_empty());
        assert!(sets_of(b"add a what\n").is_err());
    }

    #[test]
    fn what_was_created_is_known_from_the_file_itself() {
        let text = b"create a x\ncreate a.new x\nadd a.new 192.0.2.0/24\nswap a.new a\n";
        assert_eq!(created(text), BTreeSet::from(["a".to_owned(), "a.new".to_owned()]));
    }

    #[test]
    fn nothing_is_swapped_while_verifying() {
        let text = b"create a x\nadd a.new 192.0.2.0/24\nswap a.new a\ndestroy a.new\n";
        assert_eq!(before_the_swaps(text), b"create a x\nadd a.new 192.0.2.0/24\n");
    }
}
