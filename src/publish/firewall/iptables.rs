//! iptables and ipset: checked by `--test` and in scratch sets, loaded by the restore commands, read back by the save commands.
//!
//! ipset and iptables know no transaction over both. Sets are swapped first, each by itself, then each family's rules are
//! replaced; between the two, old rules match new sets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ipnet::IpNet;

use super::{Drift, Firewall, FirewallError, compare};
use crate::os::command::CommandError;
use crate::os::files;
use crate::prefix::PrefixSet;
use crate::prefix::parse::parse_net_or_address;
use crate::render::IptablesKernel;
use crate::ruleset::RuleSet;
use crate::snapshot::Digest;

/// Largest file that is loaded, in bytes.
const MAX_BYTES: u64 = 256 << 20;
/// Each family's file with the commands that restore and save it.
const FAMILIES: [(&str, &str, &str); 2] = [
    ("rules.iptables", "iptables-restore", "iptables-save"),
    ("rules.ip6tables", "ip6tables-restore", "ip6tables-save"),
];

/// Fills the scratch sets, tests the rules, and leaves the kernel as it was.
pub(super) fn verify(
    firewall: &Firewall<'_>,
    rules: &IptablesKernel,
    folder: &Path,
) -> Result<(), FirewallError> {
    let mut made = Vec::new();
    let mut verified = Ok(());
    if let Some(file) = &rules.sets_file {
        let before = set_names(firewall)?;
        let text = files::read_bounded(&folder.join(file), MAX_BYTES)?;
        verified = restore_sets(firewall, before_the_swaps(&text));
        let present = set_names(firewall)?;
        made = present.difference(&before).cloned().collect();
    }
    for (file, restore, _) in FAMILIES {
        if verified.is_ok() {
            let text = files::read_bounded(&folder.join(file), MAX_BYTES)?;
            verified = firewall
                .command(restore)?
                .args(["-n", "-w", "5", "--test"])
                .stdin(text)
                .run()
                .map(drop)
                .map_err(FirewallError::from);
        }
    }
    for set in made {
        firewall.command("ipset")?.args(["destroy", &set]).run()?;
    }
    verified
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

pub(super) fn save(firewall: &Firewall<'_>) -> Result<Option<Vec<u8>>, FirewallError> {
    let mut text = Vec::new();
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

/// The name of what was read, and the fingerprint of its rules.
pub(super) fn read_back(
    firewall: &Firewall<'_>,
    rules: &IptablesKernel,
    folder: &Path,
    rule_set: &RuleSet,
) -> Result<(String, Digest), FirewallError> {
    if rules.sets_file.is_some() {
        let saved = firewall.command("ipset")?.arg("save").run()?;
        compare(&rules.sets, rule_set, &sets_of(&saved.stdout)?)?;
    }
    let mut kept = String::new();
    for (file, _, save) in FAMILIES {
        let meant = files::read_bounded(&folder.join(file), MAX_BYTES)?;
        let meant = String::from_utf8_lossy(&meant);
        let chains: BTreeSet<&str> = meant
            .lines()
            .filter_map(|line| line.strip_prefix(':')?.split_whitespace().next())
            .collect();
        let saved = firewall.command(save)?.args(["-t", "filter"]).run()?;
        let saved = String::from_utf8_lossy(&saved.stdout);
        let declared: BTreeSet<&str> = saved
            .lines()
            .filter_map(|line| line.strip_prefix(':')?.split_whitespace().next())
            .collect();
        if let Some(missing) = chains.iter().find(|chain| !declared.contains(*chain)) {
            let missing = format!("chain {missing} ({save})");
            return Err(FirewallError::Difference(Drift::Missing(missing)));
        }
        let ours = |line: &&str| {
            let chain = line.strip_prefix("-A ").and_then(|rest| rest.split_whitespace().next());
            chain.is_some_and(|chain| chains.contains(chain))
        };
        let found: Vec<&str> = saved.lines().filter(ours).collect();
        if found.len() != meant.lines().filter(ours).count() {
            return Err(FirewallError::Difference(Drift::Rules(format!(
                "chain {} ({save})",
                rules.chain
            ))));
        }
        for line in found {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    Ok((format!("chain {}", rules.chain), Digest::of(kept.as_bytes())))
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

fn set_names(firewall: &Firewall<'_>) -> Result<BTreeSet<String>, FirewallError> {
    let listed = firewall.command("ipset")?.args(["list", "-n"]).run();
    match listed {
        Ok(output) => {
            Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
        }
        // Nothing to list is no failure.
        Err(CommandError::Failed { .. }) => Ok(BTreeSet::new()),
        Err(error) => Err(error.into()),
    }
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
    fn nothing_is_swapped_while_verifying() {
        let text = b"create a x\nadd a.new 192.0.2.0/24\nswap a.new a\ndestroy a.new\n";
        assert_eq!(before_the_swaps(text), b"create a x\nadd a.new 192.0.2.0/24\n");
    }
}
