//! Settings of the nftables dialect.

use serde::{Deserialize, Serialize};

use super::common::{NamePrefix, Rest, RestLog, fixed};
use crate::config::{Families, Interface, Name};

/// nftables.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Nftables {
    /// `own` (default): a table that enforces for the rules' subnets towards the egress interfaces.
    /// `embed`: sets and a chain inside a table that the host's own rules live in.
    pub mode: NftablesMode,
    /// Family of the table. Default: inet.
    pub family: NftablesFamily,
    /// Name of the table. Default: `tagwall` (own) or `filter` (embed).
    pub table: Option<Name>,
    /// embed: the chain that the host's rules jump to. Default: `azure`.
    pub chain: Name,
    /// Prefix of the names of sets and chains. Default: `tw-`.
    pub prefix: NamePrefix,
    /// own: priority of the hook. Default: 0 (`filter`).
    pub priority: i32,
    /// Interfaces towards the internet, for rules that name none.
    pub egress: Vec<Interface>,
    /// own: what happens to the rest: `drop` (default) or `reject`. embed: `return` only.
    pub rest: Option<Rest>,
    /// own: how refused connections are logged.
    pub log: RestLog,
    /// Most prefixes in one set. Default: 1,000,000.
    pub max_elements: usize,
}

impl Nftables {
    /// Default of [`Nftables::max_elements`]: nft takes a million, in about half a minute.
    pub const MAX_ELEMENTS: usize = 1_000_000;
    /// Longest name of a set, in characters.
    pub const MAX_NAME: usize = 255;
}

impl Default for Nftables {
    fn default() -> Self {
        Self {
            mode: NftablesMode::Own,
            family: NftablesFamily::Inet,
            table: None,
            chain: fixed("azure"),
            prefix: NamePrefix::default(),
            priority: 0,
            egress: Vec::new(),
            rest: None,
            log: RestLog::default(),
            max_elements: Self::MAX_ELEMENTS,
        }
    }
}

/// How the nftables target lives beside the host's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NftablesMode {
    /// A table of its own that enforces.
    Own,
    /// Sets and a chain inside the host's table.
    Embed,
}

/// Family of an nftables table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NftablesFamily {
    /// IPv4 and IPv6.
    Inet,
    /// IPv4 only.
    Ip,
    /// IPv6 only.
    Ip6,
}

impl NftablesFamily {
    /// The keyword.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        }
    }

    /// The families that a table of this family can hold.
    pub fn families(self) -> Families {
        match self {
            Self::Inet => Families::Both,
            Self::Ip => Families::Ipv4,
            Self::Ip6 => Families::Ipv6,
        }
    }
}
