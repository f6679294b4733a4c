//! The walk: base chains in the order of the kernel, each through its jumps.

use std::collections::BTreeSet;

use super::elements::Elements;
use super::flow::{Flow, State};
use super::graph::{Paths, paths_to};
use super::listing::{LEGACY, Ruleset, nft_family};
use super::model::{Base, Dormancy, Table};
use super::outcome::{Fate, Reach, Reached, Walk};
use super::walker::Walker;
use crate::prefix::Family;

/// Hooks that a forwarded packet passes, in their order.
const HOOKS: [&str; 5] = ["ingress", "prerouting", "forward", "postrouting", "egress"];
/// Their places in [`HOOKS`].
pub(super) const PREROUTING: usize = 1;
pub(super) const FORWARD: usize = 2;
pub(super) const POSTROUTING: usize = 3;
/// Most interfaces that are tried where none is given.
const MAX_INTERFACES: usize = 64;
/// Most reasons in one answer.
pub(super) const MAX_REASONS: usize = 3;

/// The rules of a target in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ours {
    /// Family of the table: `inet`, `ip` or `ip6`.
    pub family: String,
    /// The table.
    pub table: String,
    /// The chain that the host's rules jump to; none where the whole table is the target's.
    pub chain: Option<String>,
}

impl Ours {
    /// Chains of iptables-legacy, in table filter.
    pub fn legacy(family: Family, chain: String) -> Self {
        let key = LEGACY[usize::from(family == Family::V6)];
        Self { family: key.to_owned(), table: "filter".to_owned(), chain: Some(chain) }
    }
}

/// The chains that lead to the rules of a target, for packets of one family: found once, and good
/// for any number of them.
#[derive(Debug)]
pub struct Ways<'o> {
    ours: &'o Ours,
    family: Family,
    paths: Result<Paths, Reach>,
}

/// A base chain with what it belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Station<'r> {
    pub(super) family: &'r str,
    pub(super) name: &'r str,
    pub(super) table: &'r Table,
    pub(super) chain: &'r str,
    pub(super) base: &'r Base,
    pub(super) hook: usize,
    /// Whether it leads to the target's rules.
    pub(super) leads: bool,
}

impl Station<'_> {
    pub(super) fn named(self) -> String {
        format!("table {} {}, chain {}", self.family, self.name, self.chain)
    }

    /// The interface that a base chain of some interfaces looks at; none where it is not known.
    pub(super) fn device<'f>(&self, flow: &'f Flow) -> Option<&'f str> {
        let at_exit = self.base.hook == "egress";
        if at_exit { flow.output.as_deref() } else { flow.input.as_deref() }
    }

    /// Whether it sees packets of other interfaces, or of new connections, alone.
    fn is_elsewhere(&self, flow: &Flow) -> bool {
        let devices = &self.base.devices;
        let other = |name: &str| !devices.iter().any(|device| device == name);
        (!devices.is_empty() && self.device(flow).is_some_and(other))
            || (self.base.kind == "nat" && flow.state == State::Established)
    }
}

impl Ruleset {
    /// The chains that lead to the rules of a target.
    pub fn ways<'o>(&self, ours: &'o Ours, family: Family) -> Ways<'o> {
        Ways { ours, family, paths: self.paths(ours, family) }
    }

    /// Follows a packet. Where an interface is not given, it is followed by each that the host has;
    /// the answer is unknown where they differ.
    pub fn walk(&self, ours: &Ours, flow: &Flow, elements: &dyn Elements) -> Walk {
        self.walk_by(&self.ways(ours, flow.family()), flow, elements)
    }

    /// The same, by ways that are known.
    pub fn walk_by(&self, ways: &Ways<'_>, flow: &Flow, elements: &dyn Elements) -> Walk {
        if flow.family() == Family::V6 && !self.ipv6 {
            let because = "the host has no IPv6".to_owned();
            let fate = Fate::Unknown { because: because.clone() };
            return Walk { reach: Reach::NotApplicable { because }, fate };
        }
        debug_assert_eq!(flow.family(), ways.family, "the ways are those of the packet's family");
        let walk = match &ways.paths {
            Ok(paths) => self.by_interfaces(ways.ours, flow, elements, paths),
            Err(reach) => {
                let fate = self.fate(ways.ours, flow, elements, &Paths::default());
                Walk { reach: reach.clone(), fate }
            }
        };
        match self.doubts.get(&flow.family()) {
            Some(why) => doubted(walk, why),
            None => walk,
        }
    }

    fn by_interfaces(
        &self,
        ours: &Ours,
        flow: &Flow,
        elements: &dyn Elements,
        paths: &Paths,
    ) -> Walk {
        let named = [&flow.input, &flow.output].into_iter().flatten();
        let missing = |name: &&String| {
            !self.interfaces.is_empty() && !self.interfaces.contains(name.as_str())
        };
        if let Some(name) = named.into_iter().find(missing) {
            return Walk::unknown(format!("interface {name} does not exist"));
        }
        let walk = self.in_both_orders(ours, flow, elements, paths);
        let is_decided = !matches!(walk.reach, Reach::Unknown { .. })
            && !matches!(walk.fate, Fate::Unknown { .. });
        let known = flow.input.as_ref().or(flow.output.as_ref());
        let others: Vec<&String> =
            self.interfaces.iter().filter(|name| *name != "lo" && known != Some(*name)).collect();
        let both = flow.input.is_some() && flow.output.is_some();
        if both || is_decided || others.is_empty() || others.len() > MAX_INTERFACES {
            return walk;
        }
        let by = |name: &str| match &flow.input {
            None => flow.from_input(name),
            Some(_) => flow.to_output(name),
        };
        let walks: Vec<(&str, Walk)> = others
            .into_iter()
            .map(|name| (name.as_str(), self.in_both_orders(ours, &by(name), elements, paths)))
            .collect();
        joined(&walks, if flow.input.is_none() { "input" } else { "output" })
    }

    /// The chains that lead to the target's rules, or why none does.
    fn paths(&self, ours: &Ours, family: Family) -> Result<Paths, Reach> {
        let not = |by: String, by_rule_graph| Reach::NotReached { by, by_rule_graph };
        let key = (ours.family.clone(), ours.table.clone());
        let place = format!("table {} {}", ours.family, ours.table);
        let Some(table) = self.tables.get(&key) else {
            return Err(not(format!("{place} is absent"), false));
        };
        if !families(family).contains(&ours.family.as_str()) {
            return Err(not(format!("{place} sees no {}", family.name()), true));
        }
        let chains: BTreeSet<String> = match &ours.chain {
            Some(chain) if !table.chains.contains_key(chain) => {
                return Err(not(format!("chain {chain} of {place} is absent"), false));
            }
            Some(chain) => BTreeSet::from([chain.clone()]),
            None => table.chains.keys().cloned().collect(),
        };
        if table.dormancy == Dormancy::Dormant {
            return Err(not(format!("{place} is dormant"), false));
        }
        let paths = paths_to(table, &chains);
        let based = |names: &BTreeSet<String>| -> Vec<&str> {
            let bases = names.iter().filter_map(|name| table.chains.get(name)?.base.as_ref());
            bases.map(|base| base.hook.as_str()).collect()
        };
        let passed = |hooks: &[&str]| hooks.iter().any(|hook| HOOKS.contains(hook));
        let certain = based(&paths.certain);
        if passed(&certain) || passed(&based(&paths.possible)) {
            return Ok(paths);
        }
        let what = match &ours.chain {
            Some(chain) => format!("chain {chain} of {place}"),
            None => place,
        };
        let by = if certain.is_empty() {
            format!("no base chain leads to {what}")
        } else {
            let hooks = BTreeSet::from_iter(certain).into_iter().collect::<Vec<_>>().join(", ");
            format!("no base chain of forwarded packets leads to {what}, only those at {hooks}")
        };
        Err(not(by, true))
    }

    /// Walks with the target's base chain before and behind others of its priority.
    fn in_both_orders(
        &self,
        ours: &Ours,
        flow: &Flow,
        elements: &dyn Elements,
        paths: &Paths,
    ) -> Walk {
        let order = |first| -> Vec<(&str, &str, &str)> {
            let stations = self.stations(ours, flow, paths, first).into_iter();
            stations.map(|one| (one.family, one.name, one.chain)).collect()
        };
        let first = self.in_order(ours, flow, elements, paths, true);
        if order(true) == order(false) {
            return first;
        }
        let last = self.in_order(ours, flow, elements, paths, false);
        if first.reach.reached() == last.reach.reached() {
            return if first.reach == Reach::Reached { first } else { last };
        }
        let reasons = [&first, &last].into_iter().find_map(|walk| walk.reach.reason());
        let because = format!(
            "the order of base chains of the same priority decides: {}",
            reasons.unwrap_or_default()
        );
        Walk { reach: Reach::Unknown { because }, fate: last.fate }
    }

    fn in_order(
        &self,
        ours: &Ours,
        flow: &Flow,
        elements: &dyn Elements,
        paths: &Paths,
        first: bool,
    ) -> Walk {
        let mut walker = Walker::new(ours, flow, elements, paths);
        for station in self.stations(ours, flow, paths, first) {
            walker.pass(station);
            if walker.is_over() {
                break;
            }
        }
        walker.walk()
    }

    fn fate(&self, ours: &Ours, flow: &Flow, elements: &dyn Elements, paths: &Paths) -> Fate {
        self.in_order(ours, flow, elements, paths, true).fate
    }

    /// The base chains that a packet passes, in order.
    fn stations(&self, ours: &Ours, flow: &Flow, paths: &Paths, first: bool) -> Vec<Station<'_>> {
        let families = families(flow.family());
        let mut stations = Vec::new();
        for ((family, name), table) in &self.tables {
            if !families.contains(&family.as_str()) || table.dormancy == Dormancy::Dormant {
                continue;
            }
            let is_ours = *family == ours.family && *name == ours.table;
            for (chain_name, chain) in &table.chains {
                let Some(base) = &chain.base else { continue };
                let Some(hook) = HOOKS.iter().position(|hook| *hook == base.hook) else { continue };
                let leads = is_ours && paths.possible.contains(chain_name);
                let chain = chain_name;
                let station = Station { family, name, table, chain, base, hook, leads };
                if !station.is_elsewhere(flow) {
                    stations.push(station);
                }
            }
        }
        let tie = |station: &Station<'_>| station.leads != first;
        stations.sort_by_key(|station| {
            (station.hook, station.base.priority.unwrap_or_default(), tie(station))
        });
        stations
    }
}

/// Families of the tables that see packets of an address family.
fn families(family: Family) -> [&'static str; 4] {
    [nft_family(family), "inet", "netdev", LEGACY[usize::from(family == Family::V6)]]
}

/// What is left of an answer when something about the host is not known.
fn doubted(walk: Walk, why: &str) -> Walk {
    let because = || why.to_owned();
    Walk {
        reach: match walk.reach {
            Reach::Reached => Reach::Unknown { because: because() },
            other => other,
        },
        fate: match walk.fate {
            Fate::Passes => Fate::Unknown { because: because() },
            other => other,
        },
    }
}

/// One answer for all interfaces of a kind.
fn joined(walks: &[(&str, Walk)], kind: &str) -> Walk {
    let depends = format!("it depends on the {kind} interface");
    let Some((_, walk)) = walks.first() else { return Walk::unknown(depends) };
    let reach = if walks.iter().all(|(_, other)| other.reach.reached() == walk.reach.reached()) {
        match &walk.reach {
            Reach::NotReached { by, .. } => Reach::NotReached {
                by: by.clone(),
                by_rule_graph: walks.iter().all(|(_, other)| other.reach.is_by_rule_graph()),
            },
            reach => reach.clone(),
        }
    } else {
        let mut kinds: Vec<(Reached, String)> = Vec::new();
        for (name, other) in walks {
            let reached = other.reach.reached();
            if kinds.iter().all(|(known, _)| *known != reached) {
                kinds.push((reached, format!("with {name} {}", other.reach)));
            }
        }
        let kinds: Vec<String> = kinds.into_iter().map(|(_, text)| text).collect();
        Reach::Unknown { because: format!("{depends}: {}", kinds.join("; ")) }
    };
    let same = |other: &Fate| std::mem::discriminant(other) == std::mem::discriminant(&walk.fate);
    let fate = if walks.iter().all(|(_, other)| same(&other.fate)) {
        walk.fate.clone()
    } else {
        Fate::Unknown { because: depends }
    };
    Walk { reach, fate }
}
