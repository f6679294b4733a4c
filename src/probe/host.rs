//! This host's firewall and network, as its own programs list them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::listing::{self, TableName, TableText};
use super::namespace::Namespace;
use super::network::Network;
use super::settings::Settings;
use super::tools::{self, Iptables, Tools, uncloned};
use super::{Budget, ProbeError};
use crate::os::command::find_program;

/// The firewall and network of a network namespace.
#[derive(Debug)]
pub struct Host {
    pub(super) tools: Tools,
    /// The namespace itself, to ask its routing later.
    pub(super) own: Namespace,
    /// Tables of nf_tables, in the order in which they were made.
    pub(super) parts: Vec<Part>,
    /// The same without elements, to compare a clone with.
    pub(super) terse: BTreeMap<TableName, String>,
    /// The tables that iptables-nft keeps, as iptables-save prints them.
    pub(super) saved: BTreeMap<TableName, String>,
    /// The tables of ip_tables.
    pub(super) legacy: Vec<(Iptables, String)>,
    pub(super) ipset: String,
    pub(super) network: Network,
    pub(super) settings: Settings,
    pub(super) notes: Vec<String>,
}

/// Some tables of nf_tables.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// In the language of nft.
    Nft(String),
    /// One table in the form of iptables-save.
    Iptables(Iptables, String),
}

impl Host {
    /// Reads those of the network namespace that this thread is in.
    pub fn read(budget: &Budget) -> Result<Self, ProbeError> {
        budget.stage("reading this host's rules");
        let tools = Tools::find()?;
        let own = Namespace::own()?;
        let mut notes = Vec::new();
        let what = "the rules of this host cannot be read";
        let list = |args: &[&str]| {
            let output = tools.nft(args, "", budget).map_err(|error| uncloned(what, error))?;
            tools::text("nft", output)
        };
        let terse = list(&["-s", "-t", "list", "ruleset"])?;
        let full = list(&["-s", "list", "ruleset"])?;
        let json = list(&["-j", "-t", "list", "ruleset"])?;
        let extended = listing::with_extensions(&json)
            .map_err(|error| ProbeError::Answer { program: "nft", reason: error.to_string() })?;
        let saved = saved(&extended, budget)?;
        let left_out = |name: &TableName| {
            let bridge = extended.contains(name) && !saved.contains_key(name);
            bridge.then(|| format!("table {} {} (of ebtables or arptables)", name.0, name.1))
        };
        let full = listing::tables(&full);
        notes.extend(full.iter().filter_map(|table| left_out(&table.name)));
        let parts = parts(full, &extended, &saved);
        let terse = listing::tables(&terse)
            .into_iter()
            .filter(|table| !extended.contains(&table.name))
            .map(|table| (table.name, table.text))
            .collect();
        let legacy = legacy(budget)?;
        let ipset = ipset(budget, &mut notes)?;
        budget.stage("reading this host's network");
        let network = Network::read(&tools, budget)?;
        let settings = Settings::read(network.copied().map(|(_, link)| link.ifname.as_str()));
        notes.extend(network.notes.iter().cloned());
        Ok(Self { tools, own, parts, terse, saved, legacy, ipset, network, settings, notes })
    }
}

/// The tables with rules that only iptables can express, as iptables-save prints them.
fn saved(
    extended: &BTreeSet<TableName>,
    budget: &Budget,
) -> Result<BTreeMap<TableName, String>, ProbeError> {
    let mut saved = BTreeMap::new();
    for program in [Iptables::Nft4, Iptables::Nft6] {
        let family = program.family();
        let wanted: Vec<_> = extended.iter().filter(|(of, _)| of == family).collect();
        if wanted.is_empty() {
            continue;
        }
        let mut tables = listing::saved(&save(program, budget)?);
        for name in wanted {
            let Some(text) = tables.remove(&name.1) else {
                return Err(ProbeError::Uncloned(format!(
                    "table {family} {} has rules of iptables, and {} does not print it",
                    name.1,
                    program.save()
                )));
            };
            saved.insert(name.clone(), text);
        }
    }
    Ok(saved)
}

/// The output of a save command of the iptables family.
pub(super) fn save(program: Iptables, budget: &Budget) -> Result<String, ProbeError> {
    let output = tools::run_named(program.save(), &[], "", budget)
        .map_err(|error| uncloned("the rules of iptables cannot be read", error))?;
    tools::text(program.save(), output)
}

/// Joins the tables of nft between two of iptables, so that a clone makes all in the host's order:
/// of two chains with one priority, the one that was made last comes first.
fn parts(
    tables: Vec<TableText>,
    extended: &BTreeSet<TableName>,
    saved: &BTreeMap<TableName, String>,
) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for table in tables {
        if let Some(lines) = saved.get(&table.name) {
            let program = if table.name.0 == "ip" { Iptables::Nft4 } else { Iptables::Nft6 };
            parts.push(Part::Iptables(program, lines.clone()));
        } else if !extended.contains(&table.name) {
            match parts.last_mut() {
                Some(Part::Nft(text)) => text.push_str(&table.text),
                _ => parts.push(Part::Nft(table.text)),
            }
        }
    }
    parts
}

/// The tables of ip_tables that hold anything. Asking its programs about tables that do not exist
/// would make them.
fn legacy(budget: &Budget) -> Result<Vec<(Iptables, String)>, ProbeError> {
    let mut legacy = Vec::new();
    for program in Iptables::ALL.into_iter().filter(|program| program.is_legacy()) {
        let names = fs::read_to_string(program.names()).unwrap_or_default();
        if names.trim().is_empty() {
            continue;
        }
        let text = save(program, budget)?;
        let holds = |line: &str| {
            let policy = line.strip_prefix(':').and_then(|line| line.split(' ').nth(1));
            line.starts_with("-A ") || matches!(policy, Some("DROP"))
        };
        if text.lines().any(holds) {
            legacy.push((program, text));
        }
    }
    Ok(legacy)
}

/// The sets of ipset. A kernel without them is no error, for it then holds none.
fn ipset(budget: &Budget, notes: &mut Vec<String>) -> Result<String, ProbeError> {
    if find_program("ipset").is_none() {
        return Ok(String::new());
    }
    match tools::run_named("ipset", &["save"], "", budget) {
        Ok(output) => tools::text("ipset", output),
        Err(error @ ProbeError::Command(crate::os::command::CommandError::Failed { .. })) => {
            notes.push(format!("sets of ipset are not copied: {error}"));
            Ok(String::new())
        }
        Err(error) => Err(error),
    }
}
