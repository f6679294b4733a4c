//! iptables, with or without ipset: checked by `--test`, loaded by the restore commands, read back
//! by the save commands.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::chains::{self, PROGRAMS, Programs, declared, in_family};
use super::ipset::{self, Plan};
use super::{Drift, Firewall, FirewallError, Staged, Update, command};
use crate::config::JumpPosition;
use crate::os::files;
use crate::render::{IptablesJump, IptablesKernel, MARK};
use crate::ruleset::Family;

/// Largest file that is loaded, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// The line in front of what is saved for `ipset restore`.
pub(super) const SETS_SECTION: &str = "# ipset restore";

/// The programs of the families that a target has rules of.
pub(super) fn programs(rules: &IptablesKernel) -> impl Iterator<Item = Programs> {
    let families = rules.families;
    PROGRAMS.into_iter().filter(move |programs| match programs.family {
        Family::V4 => families.v4(),
        Family::V6 => families.v6(),
    })
}

/// Tries sets and rules, and leaves the kernel as it was, whatever fails.
pub(super) fn verify(
    firewall: &Firewall<'_>,
    rules: &IptablesKernel,
    folder: &Path,
) -> Result<(), FirewallError> {
    let test = |passing: &BTreeMap<String, String>| {
        restore_rules(firewall, rules, folder, passing, &["--test"])
    };
    match sets_text(rules, folder)? {
        Some(sets) => {
            let plan = ipset::plan(firewall, &sets)?;
            ipset::verify(firewall, &sets, &plan, |plan| test(&plan.passing))
        }
        None => test(&BTreeMap::new()),
    }
}

/// The sets file, where the target has one.
fn sets_text(rules: &IptablesKernel, folder: &Path) -> Result<Option<Vec<u8>>, FirewallError> {
    let file = rules.sets_file.as_ref().map(|file| folder.join(file));
    Ok(file.map(|file| files::read_bounded(&file, MAX_BYTES)).transpose()?)
}

/// Runs the restore commands of the target's families, on rules that use other sets.
fn restore_rules(
    firewall: &Firewall<'_>,
    rules: &IptablesKernel,
    folder: &Path,
    passing: &BTreeMap<String, String>,
    args: &[&str],
) -> Result<(), FirewallError> {
    for programs in programs(rules) {
        let text = files::read_bounded(&folder.join(programs.file), MAX_BYTES)?;
        let text = ipset::with_other_sets(&String::from_utf8_lossy(&text), passing);
        let command = firewall.command(programs.restore)?.args(["-n", "-w", "5"]);
        let command = command.args(args.iter().copied()).stdin(text.into_bytes());
        command.run().map_err(|error| in_family(programs, error.into()))?;
    }
    Ok(())
}

pub(super) fn verify_update(firewall: &Firewall<'_>, update: &Update) -> Result<(), FirewallError> {
    // Nothing may be made anew here: where a set is gone, the rules are too.
    let present = ipset::names(firewall)?;
    match update.sets.iter().find(|set| !present.contains(*set)) {
        Some(gone) => Err(FirewallError::Difference(Drift::Missing(format!("set {gone}")))),
        None => Ok(()),
    }
}

/// What a load makes before the rules that use it.
pub(super) fn staged(
    firewall: &Firewall<'_>,
    rules: &IptablesKernel,
    folder: &Path,
) -> Result<Vec<Staged>, FirewallError> {
    let Some(text) = sets_text(rules, folder)? else { return Ok(Vec::new()) };
    Ok(ipset::plan(firewall, &text)?.staged())
}

/// Loads sets and rules: at no moment is there a rule with a set that is not as either generation
/// has it together with that rule.
pub(super) fn apply(
    firewall: &Firewall<'_>,
    rules: &IptablesKernel,
    folder: &Path,
) -> Result<(), FirewallError> {
    let plan = match sets_text(rules, folder)? {
        Some(text) => ipset::plan(firewall, &text)?,
        None => Plan::default(),
    };
    let mut loaded = ipset::restore(firewall, &plan.first);
    if !plan.passing.is_empty() {
        loaded = loaded.and_then(|()| restore_rules(firewall, rules, folder, &plan.passing, &[]));
    }
    let loaded = loaded
        .and_then(|()| ipset::restore(firewall, &plan.second))
        .and_then(|()| restore_rules(firewall, rules, folder, &BTreeMap::new(), &[]));
    if let Err(error) = loaded {
        // What rules use by now stays.
        let _ = ipset::remove(firewall, &plan.made);
        return Err(error);
    }
    ipset::remove(firewall, &plan.passed_by())?;
    if let Some(jump) = &rules.jump {
        for programs in programs(rules) {
            keep_jump(firewall, programs, jump, &rules.chain)?;
        }
    }
    Ok(())
}

pub(super) fn apply_update(firewall: &Firewall<'_>, update: &Update) -> Result<(), FirewallError> {
    ipset::clean(firewall, &update.sets)?;
    update.steps.iter().try_for_each(|step| ipset::restore(firewall, step))
}

/// Puts the jump into the host's chain where it is missing. A chain that does not exist is not made.
fn keep_jump(
    firewall: &Firewall<'_>,
    programs: Programs,
    jump: &IptablesJump,
    chain: &str,
) -> Result<(), FirewallError> {
    let Some(listed) = chains::one(programs, &jump.chain, firewall.time_limit)? else {
        return Ok(());
    };
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

/// Our chains and sets as they are, as text for the restore commands: what a first load replaces.
pub(super) fn save(
    firewall: &Firewall<'_>,
    rules: &IptablesKernel,
    folder: &Path,
) -> Result<Option<Vec<u8>>, FirewallError> {
    let mut text = String::new();
    let present = if rules.sets.is_empty() { BTreeSet::new() } else { ipset::names(firewall)? };
    let ours = rules.sets.iter().map(|set| &set.name).filter(|name| present.contains(*name));
    let saved = ipset::save(firewall, ours.map(String::as_str))?;
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
        let wanted = declared_in(programs, folder)?;
        let wanted = wanted.iter().map(String::as_str).collect();
        for (chain, rules) in chains::all(programs, &wanted, firewall.time_limit)? {
            declared.push_str(&format!(":{chain} - [0:0]\n"));
            kept.push_str(&rules);
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
        Err(error) if is_no_rule(error.stderr()) || chains::is_absent(error.stderr()) => Ok(()),
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
        let chains: BTreeSet<&str> = declared(&meant).collect();
        let missing = |what: String| {
            let what = format!("{what} ({})", programs.single);
            FirewallError::Difference(Drift::Missing(what))
        };
        let ours = |line: &&str| {
            let chain = line.strip_prefix("-A ").and_then(|rest| rest.split_whitespace().next());
            chain.is_some_and(|chain| chains.contains(chain))
        };
        let found = chains::all(programs, &chains, firewall.time_limit)?;
        if let Some(chain) = chains.iter().find(|chain| !found.contains_key(**chain)) {
            return Err(missing(format!("chain {chain}")));
        }
        kept.push_str(&format!("# {}\n", programs.single));
        for rules in found.values() {
            kept.push_str(rules);
        }
        let count = found.values().flat_map(|rules| rules.lines()).count();
        let wanted = meant.lines().filter(ours).count();
        if count < wanted {
            return Err(missing(format!("rules of chain {} ({count} of {wanted})", rules.chain)));
        }
        if let Some(jump) = &rules.jump
            && let Some(listed) = chains::one(programs, &jump.chain, firewall.time_limit)?
            && !jumps_to(&listed, &jump.chain, &rules.chain)
        {
            return Err(missing(format!("jump from chain {} to {}", jump.chain, rules.chain)));
        }
    }
    Ok(kept)
}

/// The chains that the file of a family declares.
pub(super) fn declared_in(
    programs: Programs,
    folder: &Path,
) -> Result<BTreeSet<String>, FirewallError> {
    let text = files::read_bounded(&folder.join(programs.file), MAX_BYTES)?;
    Ok(declared(&String::from_utf8_lossy(&text)).map(str::to_owned).collect())
}
