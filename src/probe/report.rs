//! Results of a probe.

use std::net::IpAddr;

use serde::Serialize;

use super::{Flow, NOT_COPIED, ProbeService};

/// Fate of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It passes.
    Accepted,
    /// It does not pass.
    Dropped,
    /// Not known; the report has the reason.
    Unknown,
}

/// The part of the system that a chain or rule belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// nf_tables, by nft.
    Nftables,
    /// nf_tables, by iptables.
    IptablesNft,
    /// ip_tables, by iptables-legacy.
    IptablesLegacy,
    /// The kernel's routing.
    Routing,
}

impl Backend {
    /// The name, as JSON has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::IptablesNft => "iptables-nft",
            Self::IptablesLegacy => "iptables-legacy",
            Self::Routing => "routing",
        }
    }
}

/// A base chain that the packet went through, or a table of legacy iptables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The part of the system that it belongs to.
    pub backend: Backend,
    /// The hook; empty for legacy iptables, whose counters do not name it.
    pub hook: String,
    /// The priority, as nft prints it.
    pub priority: String,
    /// The table's family.
    pub family: String,
    /// The table.
    pub table: String,
    /// The base chain; for legacy iptables the chain of the last verdict.
    pub chain: String,
    /// `accept`, `drop`, `queue`, `stolen`; `continue` where a legacy table has no verdict.
    pub verdict: String,
    /// True where the verdict is the chain's policy.
    pub by_policy: bool,
    /// The rules that matched, in order (legacy iptables: in the order of the table).
    pub rules: Vec<StepRule>,
}

/// A rule that matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepRule {
    /// Its chain.
    pub chain: String,
    /// Its text, as nft or iptables-save prints it.
    pub rule: String,
    /// Its effect: a verdict, or `jump NAME`.
    pub verdict: String,
}

impl Step {
    pub(super) fn new(backend: Backend, family: &str, table: &str) -> Self {
        Self {
            backend,
            hook: String::new(),
            priority: String::new(),
            family: family.to_owned(),
            table: table.to_owned(),
            chain: String::new(),
            verdict: "continue".to_owned(),
            by_policy: false,
            rules: Vec::new(),
        }
    }

    /// The verdict of this step as the decision about the packet.
    pub(super) fn decision(&self, direction: &'static str) -> Decision {
        let rule = self.rules.iter().rev().find(|rule| rule.verdict == self.verdict);
        let rule = rule.filter(|_| !self.by_policy);
        Decision {
            direction,
            verdict: self.verdict.clone(),
            backend: self.backend,
            hook: self.hook.clone(),
            family: self.family.clone(),
            table: self.table.clone(),
            chain: rule.map_or_else(|| self.chain.clone(), |rule| rule.chain.clone()),
            rule: rule.map(|rule| rule.rule.clone()),
            reason: None,
        }
    }
}

/// The rule, policy or route that decided about the packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// `original` for a packet of the flow, `reply` for one of its answers.
    pub direction: &'static str,
    /// `accept` or `drop`.
    pub verdict: String,
    /// The part of the system that the rule belongs to.
    pub backend: Backend,
    /// The hook.
    pub hook: String,
    /// The table's family.
    pub family: String,
    /// The table.
    pub table: String,
    /// The rule's chain.
    pub chain: String,
    /// The rule; none where the chain's policy or the routing decided.
    pub rule: Option<String>,
    /// The reason of the routing.
    pub reason: Option<String>,
}

impl Decision {
    /// A packet that the kernel's routing does not let pass.
    pub(super) fn routing(direction: &'static str, reason: String) -> Self {
        Self {
            direction,
            verdict: "drop".to_owned(),
            backend: Backend::Routing,
            hook: String::new(),
            family: String::new(),
            table: String::new(),
            chain: String::new(),
            rule: None,
            reason: Some(reason),
        }
    }
}

/// Outcome of the connection that is tried after the first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exchange {
    /// Data went there and back.
    Answered,
    /// A reset or an ICMP error came back.
    Refused,
    /// Nothing came back.
    Silent,
    /// It was not tried.
    NotTried,
}

/// The connection, seen from where it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Connection {
    /// Its outcome.
    pub exchange: Exchange,
    /// The reason, where it is known.
    pub reason: Option<String>,
}

/// Results of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The address that the flow comes from.
    pub source: IpAddr,
    /// The address that it goes to.
    pub destination: IpAddr,
    /// Protocol and port.
    pub service: ProbeService,
    /// The interface that it comes in by; none where it begins on the host.
    pub input: Option<String>,
    /// The interface that it leaves by; none where it ends on the host or is not known.
    pub output: Option<String>,
    /// Fate of the flow: of its first packet and of the connection.
    pub verdict: Verdict,
    /// Fate of the first packet alone.
    pub packet: Verdict,
    /// The decision.
    pub decided_by: Option<Decision>,
    /// The reason of an unknown verdict.
    pub reason: Option<String>,
    /// The base chains that the first packet went through, in order; legacy tables at the end.
    pub path: Vec<Step>,
    /// The connection.
    pub connection: Connection,
    /// Parts of this host that the clone does not have, or has otherwise.
    pub notes: Vec<String>,
    /// Parts that no clone has.
    pub not_copied: &'static [&'static str],
}

impl Report {
    /// A report of which nothing is known yet.
    pub(super) fn new(flow: &Flow) -> Self {
        Self {
            source: flow.source,
            destination: flow.destination,
            service: flow.service,
            input: flow.input.clone(),
            output: flow.output.clone(),
            verdict: Verdict::Unknown,
            packet: Verdict::Unknown,
            decided_by: None,
            reason: None,
            path: Vec::new(),
            connection: Connection { exchange: Exchange::NotTried, reason: None },
            notes: Vec::new(),
            not_copied: NOT_COPIED,
        }
    }
}
