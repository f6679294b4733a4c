//! Rules as they are walked, whichever program listed them.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde_json::Value as Json;

use crate::prefix::Family;

/// A table with its chains.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) dormancy: Dormancy,
    pub(super) chains: BTreeMap<String, Chain>,
    /// Sets whose content changes with the traffic.
    pub(super) moving: BTreeSet<String>,
}

/// Whether a table is out of use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Dormancy {
    /// It is in use.
    #[default]
    Active,
    /// It is not.
    Dormant,
    /// Its flags are not readable.
    Unclear,
}

/// A chain with its rules.
#[derive(Debug, Default)]
pub(super) struct Chain {
    pub(super) base: Option<Base>,
    pub(super) rules: Vec<Rule>,
}

/// Where a base chain is hooked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) hook: String,
    /// `filter`, `nat` or `route`.
    pub(super) kind: String,
    /// None where it is not a number.
    pub(super) priority: Option<i64>,
    /// Whether what no rule decides is dropped.
    pub(super) drops: bool,
    /// Interfaces of a chain that sees only theirs.
    pub(super) devices: Vec<String>,
}

/// A rule: statements in order, and how it is shown.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) statements: Vec<Statement>,
    pub(super) source: Source,
}

/// What a rule was read from.
#[derive(Debug)]
pub(super) enum Source {
    /// Expressions of a listing in JSON.
    Json(Vec<Json>),
    /// A line of a save command.
    Line(String),
}

/// One statement.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Statement {
    /// Goes on where it matches.
    Match(Test),
    /// Goes on under a condition that is not known here.
    Condition(String),
    /// Ends the rule.
    Verdict(Verdict),
    /// Ends the rule by what a map has for a key.
    Map(Vec<Field>, Entries),
    /// Rewrites addresses or ports and accepts.
    Nat(String),
    /// Rewrites a header and goes on.
    Rewrite(String),
    /// Takes the packet out of connection tracking.
    Untrack,
    /// May accept, drop, or go on.
    Opaque(String),
    /// Decides nothing.
    Inert,
}

/// The entries of a verdict map.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Entries {
    /// Written in the rule; none for a verdict that is not understood.
    Inline(Vec<(Value, Option<Verdict>)>),
    /// Of a named map.
    Named(String),
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    Drop,
    Return,
    Continue,
    Jump(String),
    Goto(String),
}

impl Verdict {
    /// The chain that it leads to.
    pub(super) fn target(&self) -> Option<&str> {
        match self {
            Self::Jump(chain) | Self::Goto(chain) => Some(chain),
            _ => None,
        }
    }
}

/// A comparison; several fields are compared together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Test {
    pub(super) fields: Vec<Field>,
    pub(super) operator: Operator,
    pub(super) value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    /// Of flags: has one of them.
    In,
    NotEqual,
    /// Of flags: has none of them.
    NotIn,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What a comparison looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    InputName,
    OutputName,
    InputIndex,
    OutputIndex,
    /// Source address in the header of this family; none for either.
    Source(Option<Family>),
    Destination(Option<Family>),
    /// Transport protocol in the header of this family; none for either.
    Protocol(Option<Family>),
    /// `meta nfproto`.
    Nfproto,
    /// `meta protocol`.
    EtherType,
    /// Destination port of this protocol; none for any.
    DestinationPort(Option<u8>),
    SourcePort(Option<u8>),
    TcpFlags(Option<Vec<String>>),
    State,
    Status,
    Direction,
    /// A field of the header of another network protocol or transport protocol.
    HeaderOf(Header),
    /// One that is not known here.
    Other(String),
}

/// A header that a packet may lack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Header {
    /// Of a network protocol.
    Network(Family),
    /// Of a transport protocol.
    Transport(u8),
    /// One that no packet here has.
    Never,
}

/// What a field is compared with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Number(u64),
    Text(String),
    Prefix(IpNet),
    Range(Box<(Value, Value)>),
    /// Alternatives.
    Set(Vec<Value>),
    /// Flags together.
    Words(Vec<String>),
    Concat(Vec<Value>),
    /// A named set.
    Named(String),
    /// A set of ipset.
    Ipset(String),
    /// One that is not understood.
    Other(String),
}
