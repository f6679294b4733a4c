//! Whether packets get to the rules that a generation has in this host's kernel.
//!
//! For each target and family: a new connection from the first address of each local prefix to the
//! first address of each group, on the first port, by each interface of the rule; inbound rules the
//! other way. Packets of established connections are followed apart, both ways.

mod elements;
mod host;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use self::elements::HostElements;
use self::host::Host;
use super::firewall::Firewall;
use super::manifest::{Manifest, TargetRecord};
use super::{PublishError, Store};
use crate::config::{Direction, Interface, Name, Protocol};
use crate::prefix::PrefixSet;
use crate::reach::{Fate, Flow, Ours, Reach, Ruleset, State, Ways};
use crate::render::{AllowedFlow, Kernel};
use crate::ruleset::{Family, RuleSet};

/// Most connections of a family that are followed at each check.
const MAX_FLOWS: usize = 2_000;

/// What is known of the way of packets to the rules of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetReach {
    /// By family, whether they get there. A family without rules is left out.
    pub families: BTreeMap<Family, Reach>,
    /// Rules of others that drop what the target allows, or packets of its connections.
    pub overruled: Vec<String>,
    /// What an administrator should know beside.
    pub warnings: Vec<String>,
}

impl TargetReach {
    /// Whether the rule graph keeps all packets of a family from the rules.
    pub fn is_by_rule_graph(&self) -> bool {
        self.families.values().any(Reach::is_by_rule_graph)
    }

    /// Whether packets are kept from the rules of a family.
    pub fn is_not_reached(&self) -> bool {
        self.families.values().any(|reach| matches!(reach, Reach::NotReached { .. }))
    }
}

/// Whether packets get to the rules of a target of a generation.
pub fn reach(store: &Store, manifest: &Manifest, name: &Name) -> TargetReach {
    of_target(&Host::read(), store, manifest, name)
}

/// The same for each target of the active generation that is in the kernel.
pub fn reach_of_all(store: &Store) -> Result<BTreeMap<Name, TargetReach>, PublishError> {
    let Some(number) = store.current()? else { return Ok(BTreeMap::new()) };
    let manifest = store.read(number)?.manifest;
    let in_kernel: Vec<&Name> = manifest
        .targets
        .iter()
        .filter(|(_, record)| record.kernel.is_some())
        .map(|(name, _)| name)
        .collect();
    if in_kernel.is_empty() {
        return Ok(BTreeMap::new());
    }
    let host = Host::read();
    let one = |name: &Name| (name.clone(), of_target(&host, store, &manifest, name));
    Ok(in_kernel.into_iter().map(one).collect())
}

fn of_target(host: &Host, store: &Store, manifest: &Manifest, name: &Name) -> TargetReach {
    let mut found = TargetReach::default();
    let Some(record) = manifest.targets.get(name) else { return found };
    let Some(kernel) = &record.kernel else { return found };
    let families: BTreeSet<Family> = record.allowed.flows.iter().map(|flow| flow.family).collect();
    let unknown = |because: String| {
        let of = |family: &Family| (*family, Reach::Unknown { because: because.clone() });
        families.iter().map(of).collect()
    };
    let ruleset = match host.ruleset() {
        Ok(ruleset) => ruleset,
        Err(because) => {
            found.families = unknown(because.to_owned());
            return found;
        }
    };
    let rule_set = match store.rules_of(manifest.generation, name) {
        Ok(rule_set) => rule_set,
        Err(error) => {
            found.families = unknown(error.to_string());
            return found;
        }
    };
    for interface in record.allowed.unused_egress() {
        let text = format!(
            "no rule uses the egress interface {interface}: packets by it are left to other rules"
        );
        found.warnings.push(text);
    }
    let elements = HostElements::new(kernel, &rule_set, host);
    for family in families {
        let Some(ours) = ours(kernel, family, ruleset) else { continue };
        let ways = ruleset.ways(&ours, family);
        let mut sum = Sum::new(family);
        for flow in flows(record, &rule_set, ruleset, family) {
            match flow {
                Ok(flow) => sum.add(ruleset, &ways, &flow, &elements),
                Err(because) => sum.unknown.push(because),
            }
        }
        sum.into(&mut found);
    }
    // The jump is put there when the chain appears, which is more to the point than that nothing leads to the rules.
    if found.is_by_rule_graph()
        && let Some((family, chain)) = Firewall::new(kernel, record.time_limit()).absent_jump()
        && let Some(Reach::NotReached { by, .. }) = found.families.get_mut(&family)
    {
        *by = format!("chain {chain} is absent");
    }
    found
}

/// Where the rules of a target are in the kernel; none where the table has no such family.
fn ours(kernel: &Kernel, family: Family, ruleset: &Ruleset) -> Option<Ours> {
    match kernel {
        Kernel::Nftables(table) => {
            let sees = match family {
                Family::V4 => ["ip", "inet"],
                Family::V6 => ["ip6", "inet"],
            };
            sees.contains(&table.family.as_str()).then(|| Ours {
                family: table.family.clone(),
                table: table.table.clone(),
                chain: table.chains.first().cloned(),
            })
        }
        Kernel::Iptables(rules) if ruleset.has_legacy_chain(family, &rules.chain) => {
            Some(Ours::legacy(family, rules.chain.clone()))
        }
        Kernel::Iptables(rules) => Some(Ours {
            family: if family == Family::V4 { "ip" } else { "ip6" }.to_owned(),
            table: "filter".to_owned(),
            chain: Some(rules.chain.clone()),
        }),
    }
}

/// The connections of a family that are followed; a reason where one cannot be.
fn flows(
    record: &TargetRecord,
    rule_set: &RuleSet,
    ruleset: &Ruleset,
    family: Family,
) -> Vec<Result<Flow, String>> {
    let mut flows = Vec::new();
    for allowed in record.allowed.flows.iter().filter(|flow| flow.family == family) {
        let group = rule_set.group(&allowed.group).map(|group| family.of(&group.space()));
        // A group of hostnames may have no address of this family.
        let Some(remote) = group.as_ref().and_then(first_address) else { continue };
        let names = if allowed.interfaces.is_empty() {
            &record.allowed.egress
        } else {
            &allowed.interfaces
        };
        for local in addresses(&allowed.local) {
            for interface in interfaces(names, ruleset) {
                if flows.len() >= MAX_FLOWS {
                    flows.push(Err(format!("only {MAX_FLOWS} connections are followed")));
                    return flows;
                }
                flows.push(interface.map(|name| flow(allowed, local, remote, name)));
            }
        }
    }
    flows
}

fn flow(allowed: &AllowedFlow, local: IpAddr, remote: IpAddr, interface: Option<String>) -> Flow {
    let outbound = allowed.direction == Direction::Outbound;
    let (source, destination) = if outbound { (local, remote) } else { (remote, local) };
    let (input, output) = if outbound { (None, interface) } else { (interface, None) };
    Flow {
        source,
        destination,
        protocol: match allowed.protocol {
            Protocol::Tcp => Flow::TCP,
            Protocol::Udp => Flow::UDP,
        },
        port: Some(allowed.port),
        input,
        output,
        state: State::New,
    }
}

/// The interfaces of the host that these names stand for; one that is not given for no name.
fn interfaces(names: &[Interface], ruleset: &Ruleset) -> Vec<Result<Option<String>, String>> {
    if names.is_empty() {
        return vec![Ok(None)];
    }
    let mut found = Vec::new();
    for name in names {
        let name = name.as_str();
        if !name.ends_with('*') {
            found.push(Ok(Some(name.to_owned())));
            continue;
        }
        let like = ruleset.interfaces_like(name);
        if like.is_empty() {
            found.push(Err(format!("no interface {name} exists")));
        }
        found.extend(like.into_iter().map(|name| Ok(Some(name.to_owned()))));
    }
    found
}

/// The first host address of each prefix.
fn addresses(space: &PrefixSet) -> impl Iterator<Item = IpAddr> {
    space.iter().filter_map(|prefix| prefix.hosts().next())
}

fn first_address(space: &PrefixSet) -> Option<IpAddr> {
    addresses(space).next()
}

/// The answers for the connections of a family.
struct Sum {
    family: Family,
    reached: usize,
    not_applicable: Option<String>,
    not: Vec<(String, String)>,
    by_rule_graph: usize,
    unknown: Vec<String>,
    overruled: Vec<(String, String)>,
}

impl Sum {
    fn new(family: Family) -> Self {
        Self {
            family,
            reached: 0,
            not_applicable: None,
            not: Vec::new(),
            by_rule_graph: 0,
            unknown: Vec::new(),
            overruled: Vec::new(),
        }
    }

    fn add(
        &mut self,
        ruleset: &Ruleset,
        ways: &Ways<'_>,
        flow: &Flow,
        elements: &HostElements<'_>,
    ) {
        let walk = ruleset.walk_by(ways, flow, elements);
        if let Some(by) = walk.overruled() {
            self.overruled.push((flow.to_string(), by.to_owned()));
        }
        match walk.reach {
            Reach::Reached => self.reached += 1,
            Reach::NotReached { by, by_rule_graph } => {
                self.by_rule_graph += usize::from(by_rule_graph);
                self.not.push((flow.to_string(), by));
            }
            Reach::Unknown { because } => self.unknown.push(because),
            Reach::NotApplicable { because } => {
                self.not_applicable = Some(because);
                return;
            }
        }
        for (packet, what) in
            [(flow.in_state(State::Established), "later packets"), (flow.reply(), "replies")]
        {
            if let Fate::Dropped { by } = ruleset.walk_by(ways, &packet, elements).fate {
                self.overruled.push((format!("{what} of {flow}"), by));
            }
        }
    }

    fn into(self, found: &mut TargetReach) {
        let family = self.family;
        for (subject, by) in condensed(&self.overruled) {
            found.overruled.push(format!("{}: {subject} dropped by {by}", family.name()));
        }
        let total = self.reached + self.not.len() + self.unknown.len();
        let reach = if !self.not.is_empty() {
            let by_rule_graph = self.by_rule_graph == total;
            let reasons = condensed(&self.not);
            // One reason for everything needs no example.
            let by = match reasons.as_slice() {
                [(_, by)] if self.not.len() == total => by.clone(),
                reasons => {
                    let texts: Vec<String> =
                        reasons.iter().map(|(flow, by)| format!("{flow}: {by}")).collect();
                    texts.join("; ")
                }
            };
            Reach::NotReached { by, by_rule_graph }
        } else if let Some(because) = self.unknown.first() {
            let mut reasons: Vec<&str> = vec![because];
            for reason in &self.unknown {
                if reasons.len() < 3 && !reasons.contains(&reason.as_str()) {
                    reasons.push(reason);
                }
            }
            Reach::Unknown { because: reasons.join("; ") }
        } else if self.reached > 0 {
            Reach::Reached
        } else if let Some(because) = self.not_applicable {
            Reach::NotApplicable { because }
        } else {
            // Nothing that could be followed: no group has an address of this family.
            return;
        };
        found.families.insert(family, reach);
    }
}

/// Each reason once, with the first of its subjects and the number of others; three at most.
fn condensed(all: &[(String, String)]) -> Vec<(String, String)> {
    let mut reasons: Vec<(&str, &str, usize)> = Vec::new();
    for (subject, reason) in all {
        match reasons.iter_mut().find(|(_, known, _)| known == reason) {
            Some((_, _, count)) => *count += 1,
            None => reasons.push((subject, reason, 0)),
        }
    }
    let text = |(subject, reason, more): (&str, &str, usize)| {
        let subject = match more {
            0 => subject.to_owned(),
            1 => format!("{subject} and 1 other"),
            more => format!("{subject} and {more} others"),
        };
        (subject, reason.to_owned())
    };
    reasons.into_iter().take(3).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told_once() {
        let pair = |flow: &str, by: &str| (flow.to_owned(), by.to_owned());
        let all = [pair("a", "x"), pair("b", "x"), pair("c", "y"), pair("d", "x")];
        assert_eq!(condensed(&all), [pair("a and 2 others", "x"), pair("c", "y")]);
        assert_eq!(condensed(&[]), []);
    }

    #[test]
    fn rule_graph_counts_only_where_it_explains_everything() {
        let mut sum = Sum::new(Family::V4);
        sum.not.push(("a".to_owned(), "no base chain".to_owned()));
        sum.by_rule_graph = 1;
        sum.reached = 1;
        let mut found = TargetReach::default();
        sum.into(&mut found);
        assert!(found.is_not_reached() && !found.is_by_rule_graph(), "{found:?}");
        let mut sum = Sum::new(Family::V4);
        sum.not.push(("a".to_owned(), "no base chain".to_owned()));
        sum.by_rule_graph = 1;
        sum.into(&mut found);
        assert!(found.is_by_rule_graph(), "{found:?}");
        assert_eq!(found.families[&Family::V4].reason(), Some("no base chain"));
    }
}
