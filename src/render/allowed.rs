//! Connections that a target's rules allow, for those who check whether packets get to them.

use serde::{Deserialize, Serialize};

use crate::config::{Dialect, Direction, Families, Interface, Name, Protocol, Target};
use crate::prefix::PrefixSet;
use crate::ruleset::{Family, RuleSet};

/// Connections that the rules of a target in this host's kernel allow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// Interfaces for rules that name none; empty for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<Interface>,
    /// One for each rule, family and protocol.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<AllowedFlow>,
}

/// Connections of one rule, family and protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowedFlow {
    /// The rule.
    pub rule: Name,
    /// Which way they are opened.
    pub direction: Direction,
    /// Their address family.
    pub family: Family,
    /// Local prefixes of this family.
    pub local: PrefixSet,
    /// The remote group.
    pub group: Name,
    /// Their protocol.
    pub protocol: Protocol,
    /// The first of their ports.
    pub port: u16,
    /// Interfaces that the rule names; empty: those of the target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
}

impl Allowed {
    /// Whether there is nothing to check.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Interfaces of the target by which no rule allows anything, while each names its own: packets
    /// by them are left to other rules.
    pub fn unused_egress(&self) -> Vec<&Interface> {
        let used = |interface: &&Interface| {
            self.flows.iter().any(|flow| {
                flow.interfaces.is_empty() || flow.interfaces.iter().any(|name| name == *interface)
            })
        };
        self.egress.iter().filter(|interface| !self.is_empty() && !used(interface)).collect()
    }
}

/// The connections that a target allows under a rule set; none for one that has nothing to do with
/// this host's kernel.
pub fn allowed(target: &Target, rule_set: &RuleSet) -> Allowed {
    let (families, egress) = match target.dialects().first() {
        Some(Dialect::Nftables(settings)) => (settings.family.families(), &settings.egress),
        Some(Dialect::Iptables(settings)) => (Families::Both, &settings.egress),
        _ => return Allowed::default(),
    };
    if !target.applies() {
        return Allowed::default();
    }
    let part = rule_set.part_for(target);
    let flows = part.flows(families).into_iter().filter_map(|flow| {
        Some(AllowedFlow {
            rule: flow.rule.name.clone(),
            direction: flow.rule.direction,
            family: flow.family,
            local: flow.own.iter().copied().collect(),
            group: flow.group.name.clone(),
            protocol: flow.protocol,
            port: flow.ports.first()?.first,
            interfaces: flow.rule.interfaces.clone(),
        })
    });
    Allowed { egress: egress.clone(), flows: flows.collect() }
}
