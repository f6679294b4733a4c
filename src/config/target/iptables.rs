//! Settings of the iptables dialect.

use serde::{Deserialize, Serialize};

use super::common::{NamePrefix, Rest, RestLog, fixed};
use crate::config::{Interface, Name};

/// iptables, with or without ipset.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Iptables {
    /// `ipset` (default): sets, matched by rules. `plain`: a rule for each prefix, for hosts without ipset.
    pub mode: IptablesMode,
    /// The chain of these rules, which tagwall makes. Default: `TAGWALL`.
    pub chain: Name,
    /// Prefix of the names of sets and, in plain mode, of the groups' chains. Default: `tw-`.
    pub prefix: NamePrefix,
    /// The jump to the chain from the host's own rules, which tagwall keeps.
    pub jump: Jump,
    /// Interfaces towards the internet, for rules that name none.
    pub egress: Vec<Interface>,
    /// What happens to the rest: `return` (default), `drop` or `reject`.
    pub rest: Rest,
    /// How refused connections are logged (with `drop` and `reject`); iptables counts at most 10,000 a second.
    pub log: RestLog,
    /// `maxelem` of each set. Default: 131,072.
    pub max_elements: usize,
    /// `hashsize` of each set. Default: 4,096.
    pub hash_size: usize,
    /// plain: most rules in all chains of a family together. Default: 20,000.
    pub max_rules: usize,
}

impl Iptables {
    /// Default of [`Iptables::max_elements`].
    pub const MAX_ELEMENTS: usize = 131_072;
    /// Default of [`Iptables::hash_size`].
    pub const HASH_SIZE: usize = 4_096;
    /// Default of [`Iptables::max_rules`]: rules are matched one after another.
    pub const MAX_RULES: usize = 20_000;
    /// Longest name of a chain, in characters.
    pub const MAX_CHAIN: usize = 28;
    /// Longest name of a set, in characters: 31, less the `.new` of the swap.
    pub const MAX_SET: usize = 27;
    /// Most ports in one `multiport` match; a range counts as two.
    pub const MAX_PORTS: usize = 15;
}

impl Default for Iptables {
    fn default() -> Self {
        Self {
            mode: IptablesMode::Ipset,
            chain: fixed("TAGWALL"),
            prefix: NamePrefix::default(),
            jump: Jump::default(),
            egress: Vec::new(),
            rest: Rest::Return,
            log: RestLog::default(),
            max_elements: Self::MAX_ELEMENTS,
            hash_size: Self::HASH_SIZE,
            max_rules: Self::MAX_RULES,
        }
    }
}

/// The jump from a chain of the host's to the chain of this target.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Jump {
    /// Whether tagwall puts the jump there and puts it back when it is gone. Default: true. With `false` the host's own rules
    /// jump to the chain.
    pub keep: bool,
    /// The chain of table filter that jumps, such as `FORWARD` or `DOCKER-USER`. Default: `FORWARD`. One that does not exist is
    /// never made: the jump is added when it appears.
    pub chain: Name,
    /// Where a missing jump is put: `first` (default) or `last`.
    pub position: JumpPosition,
}

impl Default for Jump {
    fn default() -> Self {
        Self { keep: true, chain: fixed("FORWARD"), position: JumpPosition::First }
    }
}

/// Where in a chain a jump is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JumpPosition {
    /// In front of all rules.
    First,
    /// Behind all rules.
    Last,
}

/// How the iptables target holds addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IptablesMode {
    /// In sets.
    Ipset,
    /// In rules.
    Plain,
}
