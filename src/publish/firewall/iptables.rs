//! iptables and ipset: checked by `--test` and in scratch sets, loaded by the restore commands, read back by the save commands.
//!
//! ipset and iptables know no transaction over both. Sets are swapped first, each by itself, then each family's rules are
//! replaced; between the two, old rules match new sets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;

use super::{Drift, Firewall, FirewallError, Update, command};
use crate::config::JumpPosition;
use crate::os::files;
use crate::prefix::PrefixSet;
use crate::prefix::parse::parse_net_or_address;
use crate::render::{IptablesJump, IptablesKernel, MARK};
use crate::ruleset::Family;

/// Largest file that is loaded, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// More chains than these are read with the whole table: a program for each takes longer then.
const CHAINS_ONE_BY_ONE: usize = 8;

/// The line in front of what is saved for `ipset restore`.
pub(super) const SETS_SECTION: &str = "# ipset restore";

/// The programs of one family, and its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Programs {
    /// The family.
    pub(super) family: Family,
    /// `iptables` or `ip6tables`.
    pub(super) single: &'static str,
    /// The rules of this family, in the folder of a target.
    pub(super) file: &'static str,
    restore: &'static str,
    save: &'static str,
}

const PROGRAMS: [Programs; 2] = [
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

/// The programs of the families that a target has rules of.
pub(super) fn programs(rules: &IptablesKernel) -> impl Iterator<Item = Programs> {
    let families = rules.families;
    PROGRAMS.into_iter().filter(move |programs| match programs.family {
        Family::V4 => families.v4(),
        Family::V6 => families.v6(),
    })
}

/// Fills the scratch sets, tests the rules, and leaves the kernel as it was, whatever fails.
pub(super) fn verify(
    firewall: &Firewall<'_>,
    rules: &IptablesKernel,
    folder: &Path,
) -> Result<(), FirewallError> {
    let test = || {
        for programs in programs(rules) {
            let text = files::read_bounded(&folder.join(programs.file), MAX_BYTES)?;
            let command = firewall.command(programs.restore)?;
            command
                .args(["-n", "-w", "5", "--test"])
                .stdin(text)
                .run()
                .map_err(|error| in_family(programs, error.into()))?;
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

/// Explains the failure of a program whose family the kernel does not have.
fn in_family(programs: Programs, error: FirewallError) -> FirewallError {
    let FirewallError::Command(error) = error else { return error };
    let words = String::from_utf8_lossy(error.stderr()).into_owned();
    if programs.family == Family::V6 && words.contains("Address family not supported") {
        return FirewallError::NoIpv6 { program: programs.single, source: error };
    }
    FirewallError::Command(error)
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
    let text = adapted(text, &before);
    let verified = restore_sets(firewall, before_the_swaps(&text)).and_then(|()| then());
    let present = set_names(firewall)?;
    // In one process: a thousand groups take a second otherwise.
    let made = created(&text);
    let made = made.iter().filter(|set| present.contains(*set) && !before.contains(*set));
    let removed = commands("destroy", made.map(String::as_str));
    let cleaned =
        if removed.is_empty() { Ok(()) } else { restore_sets(firewall, removed.into_bytes()) };
    verified.and(cleaned)
}

pub(super) fn apply(
    firewall: &Firewall<'_>,
    rules: &IptablesKernel,
    folder: &Path,
) -> Result<(), FirewallError> {
    if let Some(file) = &rules.sets_file {
        let text = files::read_bounded(&folder.join(file), MAX_BYTES)?;
        restore_sets(firewall, adapted(&text, &set_names(firewall)?))?;
    }
    for programs in programs(rules) {
        let text = files::read_bounded(&folder.join(programs.file), MAX_BYTES)?;
        let command = firewall.command(programs.restore)?;
        command
            .args(["-n", "-w", "5"])
            .stdin(text)
            .run()
            .map_err(|error| in_family(programs, error.into()))?;
        if let Some(jump) = &rules.jump {
            keep_jump(firewall, programs, jump, &rules.chain)?;
        }
    }
    Ok(())
}

pub(super) fn apply_update(firewall: &Firewall<'_>, update: &Update) -> Result<(), FirewallError> {
    restore_sets(firewall, adapted(&update.text, &set_names(firewall)?))
}

/// Puts the jump into the host's chain where it is missing. A chain that does not exist is not made.
fn keep_jump(
    firewall: &Firewall<'_>,
    programs: Programs,
    jump: &IptablesJump,
    chain: &str,
) -> Result<(), FirewallError> {
    let Some(listed) = chain_rules(firewall, programs, &jump.chain)? else { return Ok(()) };
    if jumps_to(&listed, &jump.chain, chain) {
        return Ok(());
    }
    let place = match jump.position {
        JumpPosition::First => "-I",
        JumpPosition::Last => "-A",
    };
    let command = firewall.command(programs.single)?;
    let rule = ["-m", "comment", "--comment", MARK, "-j", chain];
    command.args(["-w", "5", place, &jump.chain]).args(rule).run()?;
    Ok(())
}

/// Whether a chain, as `-S` prints it, jumps to another whatever the packet is.
fn jumps_to(listed: &str, from: &str, to: &str) -> bool {
    let marked = format!("-A {from} -m comment --comment \"{MARK}\" -j {to}");
    let bare = format!("-A {from} -j {to}");
    listed.lines().any(|line| line == marked || line == bare)
}

/// The rules of a chain of table filter as `-S` prints them; none where there is no such chain.
pub(super) fn chain_rules(
    firewall: &Firewall<'_>,
    programs: Programs,
    chain: &str,
) -> Result<Option<String>, FirewallError> {
    match firewall.command(programs.single)?.args(["-w", "5", "-S", chain]).run() {
        Ok(listed) => Ok(Some(String::from_utf8_lossy(&listed.stdout).into_owned())),
        Err(error) if is_no_chain(error.stderr()) => Ok(None),
        // Of a chain that does not exist, 1.8.9 says that it is incompatible, as of one with rules of another kind.
        Err(error) if is_incompatible(error.stderr()) => {
            let saved = firewall.command(programs.save)?.args(["-t", "filter"]).run()?;
            let saved = String::from_utf8_lossy(&saved.stdout).into_owned();
            let exists = declared_chains(&saved).any(|known| known == chain);
            if exists || is_incompatible(saved.as_bytes()) { Err(error.into()) } else { Ok(None) }
        }
        Err(error) => Err(in_family(programs, error.into())),
    }
}

/// Whether iptables says that it does not understand what nft made.
fn is_incompatible(words: &[u8]) -> bool {
    String::from_utf8_lossy(words).contains("is incompatible, use 'nft' tool")
}

/// Whether iptables says that there is no such chain, as opposed to having failed.
fn is_no_chain(stderr: &[u8]) -> bool {
    let words = String::from_utf8_lossy(stderr);
    ["No chain/target/match by that name", "does not exist"].iter().any(|gone| words.contains(gone))
}

/// Our chains and sets as they are, as text for the restore commands: what a first load replaces.
pub(super) fn save(
    firewall: &Firewall<'_>,
    rules: &IptablesKernel,
    folder: &Path,
) -> Result<Option<Vec<u8>>, FirewallError> {
    let mut text = String::new();
    let present = if rules.sets.is_empty() { BTreeSet::new() } else { set_names(firewall)? };
    let ours = rules.sets.iter().map(|set| &set.name).filter(|name| present.contains(*name));
    let saved = save_sets(firewall, ours.map(String::as_str))?;
    if !saved.is_empty() {
        text.push_str(SETS_SECTION);
        for line in saved.lines() {
            match line.strip_prefix("create ").and_then(|rest| rest.split(' ').next()) {
                Some(set) => text.push_str(&format!("\n{line} -exist\nflush {set}")),
                None => text.push_str(&format!("\n{line}")),
            }
        }
        text.push('\n');
    }
    for programs in programs(rules) {
        let mut declared = String::new();
        let mut kept = String::new();
        for chain in declared_in(programs, folder)? {
            if let Some(listed) = chain_rules(firewall, programs, &chain)? {
                declared.push_str(&format!(":{chain} - [0:0]\n"));
                let rules = listed.lines().filter(|line| line.starts_with("-A "));
                rules.for_each(|line| kept.push_str(&format!("{line}\n")));
            }
        }
        if !declared.is_empty() {
            let restore = programs.restore;
            text.push_str(&format!("# {restore} -n -w 5\n*filter\n{declared}{kept}COMMIT\n"));
        }
    }
    Ok((!text.is_empty()).then(|| text.into_bytes()))
}

/// Empties the chain that the host jumps to: its packets pass on to the host's rules. Sets stay, unused.
pub(super) fn undo(firewall: &Firewall<'_>, rules: &IptablesKernel) -> Result<(), FirewallError> {
    for programs in programs(rules) {
        if let Some(jump) = &rules.jump {
            remove_jump(programs.single, &jump.chain, &rules.chain, firewall.time_limit)?;
        }
        firewall.command(programs.single)?.args(["-w", "5", "-F", &rules.chain]).run()?;
    }
    Ok(())
}

/// Removes the jump that tagwall put into a chain; one that is gone is none.
pub(super) fn remove_jump(
    program: &'static str,
    from: &str,
    to: &str,
    time_limit: Duration,
) -> Result<(), FirewallError> {
    let command = command(program, time_limit)?.args(["-w", "5", "-D", from]);
    let rule = ["-m", "comment", "--comment", MARK, "-j", to];
    match command.args(rule).run() {
        Ok(_) => Ok(()),
        Err(error) if is_no_rule(error.stderr()) || is_no_chain(error.stderr()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn is_no_rule(stderr: &[u8]) -> bool {
    let words = String::from_utf8_lossy(stderr);
    words.contains("Bad rule (does a matching rule exist in that chain?)")
}

/// Our chains as the kernel has them, without counters.
pub(super) fn rules(
    firewall: &Firewall<'_>,
    rules: &IptablesKernel,
    folder: &Path,
) -> Result<String, FirewallError> {
    let mut kept = String::new();
    for programs in programs(rules) {
        let meant = files::read_bounded(&folder.join(programs.file), MAX_BYTES)?;
        let meant = String::from_utf8_lossy(&meant);
        let chains: BTreeSet<&str> = declared_chains(&meant).collect();
        let missing = |what: String| {
            let what = format!("{what} ({})", programs.single);
            FirewallError::Difference(Drift::Missing(what))
        };
        let ours = |line: &&str| {
            let chain = line.strip_prefix("-A ").and_then(|rest| rest.split_whitespace().next());
            chain.is_some_and(|chain| chains.contains(chain))
        };
        let found = if chains.len() <= CHAINS_ONE_BY_ONE {
            let mut found = String::new();
            for chain in &chains {
                match chain_rules(firewall, programs, chain)? {
                    Some(listed) => found.push_str(&listed),
                    None => return Err(missing(format!("chain {chain}"))),
                }
            }
            found
        } else {
            let command = firewall.command(programs.save)?.args(["-t", "filter"]);
            let saved = command.run().map_err(|error| in_family(programs, error.into()))?;
            let saved = String::from_utf8_lossy(&saved.stdout).into_owned();
            let declared: BTreeSet<&str> = declared_chains(&saved).collect();
            if let Some(chain) = chains.iter().find(|chain| !declared.contains(*chain)) {
                return Err(missing(format!("chain {chain}")));
            }
            // In the order in which the chains are read one by one.
            let mut lines: Vec<&str> = saved.lines().filter(ours).collect();
            lines.sort_by_key(|line| line.split_whitespace().nth(1));
            lines.into_iter().flat_map(|line| [line, "\n"]).collect()
        };
        kept.push_str(&format!("# {}\n", programs.single));
        let mut count = 0;
        for line in found.lines().filter(ours) {
            kept.push_str(line);
            kept.push('\n');
            count += 1;
        }
        let wanted = meant.lines().filter(ours).count();
        if count < wanted {
            return Err(missing(format!("rules of chain {} ({count} of {wanted})", rules.chain)));
        }
        if let Some(jump) = &rules.jump
            && let Some(listed) = chain_rules(firewall, programs, &jump.chain)?
            && !jumps_to(&listed, &jump.chain, &rules.chain)
        {
            return Err(missing(format!("jump from chain {} to {}", jump.chain, rules.chain)));
        }
    }
    Ok(kept)
}

/// The chains that a text for the restore commands declares.
pub(super) fn declared_chains(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix(':')?.split_whitespace().next())
}

/// The chains that the file of a family declares.
pub(super) fn declared_in(
    programs: Programs,
    folder: &Path,
) -> Result<BTreeSet<String>, FirewallError> {
    let text = files::read_bounded(&folder.join(programs.file), MAX_BYTES)?;
    Ok(declared_chains(&String::from_utf8_lossy(&text)).map(str::to_owned).collect())
}

/// The content of the sets named, by name; one that is gone is left out.
pub(super) fn sets<'n>(
    firewall: &Firewall<'_>,
    names: impl Iterator<Item = &'n str>,
) -> Result<BTreeMap<String, PrefixSet>, FirewallError> {
    let present = set_names(firewall)?;
    sets_of(save_sets(firewall, names.filter(|name| present.contains(*name)))?.as_bytes())
}

/// What `ipset save` prints of some sets, in one process.
pub(super) fn save_sets<'n>(
    firewall: &Firewall<'_>,
    names: impl Iterator<Item = &'n str>,
) -> Result<String, FirewallError> {
    let text = commands("save", names);
    if text.is_empty() {
        return Ok(text);
    }
    let saved = firewall.command("ipset")?.arg("restore").stdin(text.into_bytes()).run()?;
    Ok(String::from_utf8_lossy(&saved.stdout).into_owned())
}

/// A command of ipset for each of some sets.
fn commands<'n>(command: &str, names: impl Iterator<Item = &'n str>) -> String {
    names.flat_map(|name| [command, " ", name, "\n"]).collect()
}

fn restore_sets(firewall: &Firewall<'_>, text: Vec<u8>) -> Result<(), FirewallError> {
    firewall.command("ipset")?.arg("restore").stdin(text).run()?;
    Ok(())
}

/// A sets file for the sets that are there: one that exists is not made again, since it may have other parameters and is
/// swapped for one of the new ones; one that a stopped run left under its second name goes first.
fn adapted(text: &[u8], present: &BTreeSet<String>) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let created = created(text.as_bytes());
    let mut adapted = String::with_capacity(text.len());
    for set in created.iter().filter(|set| present.contains(*set)) {
        if is_second_name(set, &created) {
            adapted.push_str(&format!("destroy {set}\n"));
        }
    }
    for line in text.lines() {
        let set = line.strip_prefix("create ").and_then(|rest| rest.split(' ').next());
        let stays = set.is_some_and(|set| {
            present.contains(set)
                && !is_second_name(set, &created)
                && created.contains(&format!("{set}.new"))
        });
        if !stays {
            adapted.push_str(line);
            adapted.push('\n');
        }
    }
    adapted.into_bytes()
}

/// Whether a set is another one's replacement: `NAME.new` beside `NAME`.
fn is_second_name(set: &str, created: &BTreeSet<String>) -> bool {
    set.strip_suffix(".new").is_some_and(|name| created.contains(name))
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
pub(super) fn set_names(firewall: &Firewall<'_>) -> Result<BTreeSet<String>, FirewallError> {
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
    fn set_that_exists_keeps_its_parameters_until_the_swap() {
        let text =
            b"create a x\ncreate a.new y\nadd a.new 192.0.2.0/24\nswap a.new a\ndestroy a.new\n";
        let present = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        assert_eq!(adapted(text, &present(&["other"])), text);
        let swapped = b"create a.new y\nadd a.new 192.0.2.0/24\nswap a.new a\ndestroy a.new\n";
        assert_eq!(adapted(text, &present(&["a"])), swapped);
        assert_eq!(
            adapted(text, &present(&["a", "a.new"])),
            [b"destroy a.new\n", &swapped[..]].concat()
        );
    }

    #[test]
    fn nothing_is_swapped_while_verifying() {
        let text = b"create a x\nadd a.new 192.0.2.0/24\nswap a.new a\ndestroy a.new\n";
        assert_eq!(before_the_swaps(text), b"create a x\nadd a.new 192.0.2.0/24\n");
    }
}
