//! nftables: checked by `nft -c`, loaded by `nft -f`, rules read back by `nft list`, sets over netlink.
//!
//! Rules are taken from the listing of the ruleset without elements: it costs milliseconds whatever the host has, where a
//! listing of one table or chain reads the elements of every set. Each of our sets is asked for by name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use rustix::io::Errno;

use super::nft::{
    Elements, Extent, Netfilter, Plan, Script, Set, Staged, Table, current, normal, removals,
};
use super::{Drift, Firewall, FirewallError, Update};
use crate::os::command::BoundedCommand;
use crate::os::files;
use crate::prefix::PrefixSet;
use crate::render::NftablesKernel;

/// Largest artifact that is read, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// The line in front of what is saved for `nft -f -`.
pub(super) const SECTION: &str = "# nft -f -";

/// How an artifact is loaded.
enum Load {
    /// By these transactions.
    Planned(Plan),
    /// As it is: its structure is not known.
    Whole,
}

pub(super) fn verify(
    firewall: &Firewall<'_>,
    table: &NftablesKernel,
    folder: &Path,
) -> Result<(), FirewallError> {
    match load(firewall, table, folder)? {
        Load::Planned(plan) => {
            verify_alone(firewall, table, folder)?;
            run(firewall, &["-c", "-f", "-"], plan.checked())
        }
        Load::Whole => verify_alone(firewall, table, folder),
    }
}

/// Asks about the artifact as it lies: whoever includes it into the host's own rules loads it alone.
pub(super) fn verify_alone(
    firewall: &Firewall<'_>,
    table: &NftablesKernel,
    folder: &Path,
) -> Result<(), FirewallError> {
    if !table.own && redeclares(firewall, table, folder)? {
        return Ok(());
    }
    firewall.command("nft")?.arg("-c").arg("-f").arg(folder.join(&table.file)).run()?;
    Ok(())
}

/// Whether an embedded artifact declares a set otherwise than the kernel has it: it loads alone where the set is not there yet.
fn redeclares(
    firewall: &Firewall<'_>,
    table: &NftablesKernel,
    folder: &Path,
) -> Result<bool, FirewallError> {
    let Ok(script) = artifact(table, folder)? else { return Ok(false) };
    let live = ruleset(firewall)?;
    let both = script.find(&table.family, &table.table).zip(live.find(&table.family, &table.table));
    Ok(both.is_some_and(|(wanted, live)| {
        wanted
            .sets
            .iter()
            .any(|set| live.set(&set.name).is_some_and(|had| !had.is_declared_like(set)))
    }))
}

pub(super) fn verify_update(firewall: &Firewall<'_>, update: &Update) -> Result<(), FirewallError> {
    let text = update.text();
    firewall.command("nft")?.args(["-c", "-f", "-"]).stdin(text).run()?;
    Ok(())
}

/// What a load of the artifact makes before the rules that use it.
pub(super) fn staged(
    firewall: &Firewall<'_>,
    table: &NftablesKernel,
    folder: &Path,
) -> Result<Vec<Staged>, FirewallError> {
    Ok(match load(firewall, table, folder)? {
        Load::Planned(plan) => plan.staged,
        Load::Whole => Vec::new(),
    })
}

/// Loads the artifact. Where a transaction is refused, what the ones before it made is removed.
pub(super) fn apply(
    firewall: &Firewall<'_>,
    table: &NftablesKernel,
    folder: &Path,
) -> Result<(), FirewallError> {
    match load(firewall, table, folder)? {
        Load::Planned(plan) => {
            for (index, step) in plan.steps.iter().enumerate() {
                if let Err(error) = run(firewall, &["-f", "-"], step.clone()) {
                    if index > 0 && error.is_refusal() {
                        remove_staged(firewall, &plan.staged);
                    }
                    return Err(error);
                }
            }
        }
        Load::Whole => {
            firewall.command("nft")?.arg("-f").arg(folder.join(&table.file)).run()?;
        }
    }
    Ok(())
}

/// Removes what was made for rules that did not come. One that is gone, or in use by now, stays as it is.
pub(super) fn remove_staged(firewall: &Firewall<'_>, staged: &[Staged]) {
    for removal in removals(staged) {
        let _ = run(firewall, &["-f", "-"], removal);
    }
}

fn run(firewall: &Firewall<'_>, args: &[&str], text: String) -> Result<(), FirewallError> {
    firewall.command("nft")?.args(args.iter().copied()).stdin(text.into_bytes()).run()?;
    Ok(())
}

/// How an artifact takes the place of what the kernel has.
fn load(
    firewall: &Firewall<'_>,
    table: &NftablesKernel,
    folder: &Path,
) -> Result<Load, FirewallError> {
    let Ok(script) = artifact(table, folder)? else { return Ok(Load::Whole) };
    let Some(wanted) = script.find(&table.family, &table.table) else { return Ok(Load::Whole) };
    let live = ruleset(firewall)?;
    let live = live.find(&table.family, &table.table);
    let extent = if table.own { Extent::Table } else { Extent::Chains(&table.chains) };
    let unchanged = unchanged(table, wanted, live)?;
    Ok(Load::Planned(Plan::new(&script, wanted, live, extent, &unchanged)))
}

/// The sets whose elements are what an artifact wants already.
fn unchanged(
    table: &NftablesKernel,
    wanted: &Table,
    live: Option<&Table>,
) -> Result<BTreeSet<String>, FirewallError> {
    let Some(live) = live else { return Ok(BTreeSet::new()) };
    let kept = wanted
        .sets
        .iter()
        .filter(|set| live.set(&set.name).is_some_and(|had| had.is_declared_like(set)))
        .filter_map(|set| Some((set, set.addresses()?)));
    let kept: Vec<(&Set, PrefixSet)> = kept.collect();
    let found = sets(table, kept.iter().map(|(set, _)| set.name.as_str()))?;
    Ok(kept
        .into_iter()
        .filter(|(set, addresses)| found.get(&set.name) == Some(addresses))
        .map(|(set, _)| set.name.clone())
        .collect())
}

/// Why an artifact is loaded as it is; none where its structure is known.
pub(super) fn not_understood(
    table: &NftablesKernel,
    folder: &Path,
) -> Result<Option<String>, FirewallError> {
    Ok(artifact(table, folder)?.err())
}

/// The artifact taken apart, or why it is no text of one table that is understood.
fn artifact(
    table: &NftablesKernel,
    folder: &Path,
) -> Result<Result<Script, String>, FirewallError> {
    let bytes = files::read_bounded(&folder.join(&table.file), MAX_BYTES)?;
    let script = match Script::parse(&String::from_utf8_lossy(&bytes)) {
        Ok(script) => script,
        Err(error) => return Ok(Err(error.to_string())),
    };
    // What lies in another table, or is neither chain nor set, is loaded with the rest of the text.
    Ok(match script.tables.as_slice() {
        [_] if script.find(&table.family, &table.table).is_none() => {
            Err(format!("it has no table {} {}", table.family, table.table))
        }
        [only] if only.others.is_empty() => Ok(script),
        [only] => Err(format!("{} is neither a chain nor a set", only.others[0])),
        tables => Err(format!("it has {} tables", tables.len())),
    })
}

/// The ruleset of this network namespace, without elements and counters.
pub(super) fn ruleset(firewall: &Firewall<'_>) -> Result<Rc<Script>, FirewallError> {
    current(|| listed(firewall.command("nft")?))
}

/// The same, by this command.
pub(super) fn listed(command: BoundedCommand) -> Result<Script, FirewallError> {
    let listed = command.args(["-a", "-s", "-t", "list", "ruleset"]).run()?;
    if listed.stdout_cut {
        return Err(FirewallError::Answer {
            program: "nft",
            reason: "the ruleset is longer than what is read".to_owned(),
        });
    }
    Ok(Script::listing(&String::from_utf8_lossy(&listed.stdout)))
}

pub(super) fn apply_update(firewall: &Firewall<'_>, update: &Update) -> Result<(), FirewallError> {
    update.steps.iter().try_for_each(|step| run(firewall, &["-f", "-"], step.clone()))
}

/// What a first load replaces, as text that puts it back.
pub(super) fn save(
    firewall: &Firewall<'_>,
    table: &NftablesKernel,
) -> Result<Option<Vec<u8>>, FirewallError> {
    let (family, name) = (table.family.as_str(), table.table.as_str());
    let live = ruleset(firewall)?;
    let Some(found) = live.find(family, name) else { return Ok(None) };
    let mut text = format!("{SECTION}\n").into_bytes();
    if table.own {
        text.extend(format!("table {family} {name}\ndelete table {family} {name}\n").bytes());
        text.extend(listing(firewall, &["-s", "list", "table", family, name])?);
        return Ok(Some(text));
    }
    let chains = table.chains.iter().filter(|chain| found.chain(chain).is_some());
    let sets = table.sets.iter().map(|set| &set.name).filter(|set| found.set(set).is_some());
    let objects: Vec<(&str, &String)> =
        chains.map(|chain| ("chain", chain)).chain(sets.map(|set| ("set", set))).collect();
    for (keyword, object) in &objects {
        text.extend(format!("flush {keyword} {family} {name} {object}\n").bytes());
    }
    for (keyword, object) in &objects {
        text.extend(listing(firewall, &["-s", "list", keyword, family, name, object])?);
    }
    Ok((!objects.is_empty()).then_some(text))
}

/// What a listing prints.
fn listing(firewall: &Firewall<'_>, args: &[&str]) -> Result<Vec<u8>, FirewallError> {
    Ok(firewall.command("nft")?.args(args.iter().copied()).run()?.stdout)
}

/// An own table is deleted (and what had its name before is loaded again); in a host's table our chains are emptied, so that
/// what jumps to them passes on to the host's rules.
pub(super) fn undo(
    firewall: &Firewall<'_>,
    table: &NftablesKernel,
    saved: Option<Vec<u8>>,
) -> Result<(), FirewallError> {
    let (family, name) = (&table.family, &table.table);
    if !table.own {
        for chain in &table.chains {
            firewall.command("nft")?.args(["flush", "chain", family, name, chain]).run()?;
        }
        return Ok(());
    }
    let text = saved.unwrap_or_else(|| {
        format!("table {family} {name}\ndelete table {family} {name}\n").into_bytes()
    });
    firewall.command("nft")?.args(["-f", "-"]).stdin(text).run()?;
    Ok(())
}

/// Our rules as the kernel has them: without counters and the elements of sets, in one form whatever version of nft prints them.
pub(super) fn rules(
    firewall: &Firewall<'_>,
    table: &NftablesKernel,
) -> Result<String, FirewallError> {
    let live = ruleset(firewall)?;
    let (family, name) = (table.family.as_str(), table.table.as_str());
    let missing = |what: String| FirewallError::Difference(Drift::Missing(what));
    let found = live.find(family, name).ok_or_else(|| missing(format!("table {family} {name}")))?;
    if let Some(chain) = table.chains.iter().find(|chain| found.chain(chain).is_none()) {
        return Err(missing(format!("chain {chain} of table {family} {name}")));
    }
    Ok(text_of(found, table))
}

/// The part of a table that is ours, as text.
fn text_of(found: &Table, table: &NftablesKernel) -> String {
    let mut text = format!("table {} {} {{\n", table.family, table.table);
    let our_set = |name: &str| table.own || table.sets.iter().any(|set| set.name == name);
    let our_chain = |name: &String| table.own || table.chains.contains(name);
    if table.own {
        let others = found.others.iter().map(String::as_str);
        for line in found.properties.iter().map(|line| normal(line)) {
            text.push_str(&format!("\t{line}\n"));
        }
        for other in others {
            text.push_str(&format!("\t{other}\n"));
        }
    }
    for set in found.sets.iter().filter(|set| our_set(&set.name)) {
        let declaration = set.declared().join("; ");
        text.push_str(&format!("\t{} {} {{ {declaration} }}\n", set.keyword, set.name));
    }
    for chain in found.chains.iter().filter(|chain| our_chain(&chain.name)) {
        text.push_str(&format!("\tchain {} {{\n", chain.name));
        let hook = chain.hooked();
        for line in hook.into_iter().chain(chain.properties.iter().map(|line| normal(line))) {
            text.push_str(&format!("\t\t{line}\n"));
        }
        for rule in &chain.rules {
            text.push_str(&format!("\t\t{}\n", normal(&rule.text)));
        }
        text.push_str("\t}\n");
    }
    text.push_str("}\n");
    text
}

/// The content of the sets named, by name; one that is gone is left out.
pub(super) fn sets<'n>(
    table: &NftablesKernel,
    names: impl Iterator<Item = &'n str>,
) -> Result<BTreeMap<String, PrefixSet>, FirewallError> {
    let netlink = |error: Errno| FirewallError::Netlink(error.into());
    let socket = Netfilter::open().map_err(netlink)?;
    let mut found = BTreeMap::new();
    for name in names {
        match socket.set(&table.family, &table.table, name).map_err(netlink)? {
            Some(Elements::Addresses(addresses)) => {
                found.insert(name.to_owned(), addresses);
            }
            Some(Elements::Other) => {
                found.insert(name.to_owned(), PrefixSet::default());
            }
            None => {}
        }
    }
    Ok(found)
}
