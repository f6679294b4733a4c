//! `[targets.NAME]`: one firewall dialect with its files.
//!
//! What every target has stands in `[targets.NAME]`; what one dialect alone has, in
//! `[targets.NAME.DIALECT]`.

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::names::{Comment, Interface, Name};
use super::network::Families;

/// A target: which rules it carries, and exactly one dialect.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Target {
    /// Rules and profiles that this target carries, by name. Default: all.
    pub rules: Option<Vec<Spanned<Name>>>,
    /// Groups that this target carries, by name. Default: all; with `rules`, those that the rules use.
    pub groups: Option<Vec<Spanned<Name>>>,
    /// `both` (default), `ipv4` or `ipv6`.
    #[serde(default)]
    pub families: Families,
    /// nftables.
    pub nftables: Option<Nftables>,
    /// iptables, with or without ipset.
    pub iptables: Option<Iptables>,
    /// One prefix a line.
    pub list: Option<List>,
    /// The whole rule set as JSON.
    pub json: Option<Json>,
}

/// The dialect of a target, with its settings.
#[derive(Debug, Clone, Copy)]
pub enum Dialect<'t> {
    /// nftables.
    Nftables(&'t Nftables),
    /// iptables, with or without ipset.
    Iptables(&'t Iptables),
    /// One prefix a line.
    List(&'t List),
    /// The whole rule set as JSON.
    Json(&'t Json),
}

impl Dialect<'_> {
    /// The key under which its settings stand.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nftables(_) => "nftables",
            Self::Iptables(_) => "iptables",
            Self::List(_) => "list",
            Self::Json(_) => "json",
        }
    }
}

impl Target {
    /// The keys of all dialects.
    pub const DIALECTS: [&'static str; 4] = ["nftables", "iptables", "list", "json"];

    /// The dialects given: a valid target has exactly one.
    pub fn dialects(&self) -> Vec<Dialect<'_>> {
        let Self { rules: _, groups: _, families: _, nftables, iptables, list, json } = self;
        [
            nftables.as_ref().map(Dialect::Nftables),
            iptables.as_ref().map(Dialect::Iptables),
            list.as_ref().map(Dialect::List),
            json.as_ref().map(Dialect::Json),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// What happens to new connections of the enforced subnets that no rule lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rest {
    /// Dropped without an answer.
    Drop,
    /// Refused with an ICMP answer (TCP: reset).
    Reject,
    /// Handed back to the host's own rules.
    Return,
}

/// How refused connections are logged.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RestLog {
    /// Log them at all. Default: true.
    pub enabled: bool,
    /// What each line starts with; 28 characters at most (iptables keeps 29).
    pub prefix: Comment,
    /// Lines a second at most, for the whole chain. Default: 5.
    pub per_second: u32,
}

impl RestLog {
    /// Longest prefix, in characters: iptables keeps 29, and a space is added.
    pub const MAX_PREFIX: usize = 28;
    /// Default of [`RestLog::per_second`].
    pub const PER_SECOND: u32 = 5;
}

impl Default for RestLog {
    fn default() -> Self {
        Self { enabled: true, prefix: fixed("tagwall refused:"), per_second: Self::PER_SECOND }
    }
}

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

/// iptables, with or without ipset.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Iptables {
    /// `ipset` (default): sets, matched by rules. `plain`: a rule for each prefix, for hosts without ipset.
    pub mode: IptablesMode,
    /// The chain that the host's FORWARD chain jumps to. Default: `TAGWALL`.
    pub chain: Name,
    /// Prefix of the names of sets. Default: `tw-`.
    pub prefix: NamePrefix,
    /// Interfaces towards the internet, for rules that name none.
    pub egress: Vec<Interface>,
    /// What happens to the rest: `return` (default), `drop` or `reject`.
    pub rest: Rest,
    /// How refused connections are logged (with `drop` and `reject`).
    pub log: RestLog,
    /// `maxelem` of each set. Changing it later needs the old sets destroyed first. Default: 131,072.
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
            egress: Vec::new(),
            rest: Rest::Return,
            log: RestLog::default(),
            max_elements: Self::MAX_ELEMENTS,
            hash_size: Self::HASH_SIZE,
            max_rules: Self::MAX_RULES,
        }
    }
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

/// One prefix a line.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct List {
    /// `together` (default): one file a group. `apart`: GROUP-v4.txt and GROUP-v6.txt.
    pub layout: ListLayout,
    /// Start each file with `#` comments (digest, format). Default: false, for readers that know none.
    pub header: bool,
    /// Most lines in one file. Default: no limit.
    pub max_entries: Option<usize>,
}

/// How the families of a group are spread over files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListLayout {
    /// One file.
    #[default]
    Together,
    /// A file for each family.
    Apart,
}

/// The whole rule set as JSON.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Json {}

/// What every name of ours on a firewall starts with: a letter, then letters, digits, `-`, `_`; 16 at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePrefix(Box<str>);

impl NamePrefix {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for NamePrefix {
    fn default() -> Self {
        Self("tw-".into())
    }
}

impl TryFrom<String> for NamePrefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.parse::<Name>() {
            Ok(_) if text.len() <= 16 => Ok(Self(text.into())),
            _ => Err("a prefix starts with a letter and has at most 16 letters, digits, `-` and `_`: \
                      by it our names are told from others"
                .to_owned()),
        }
    }
}

impl From<NamePrefix> for String {
    fn from(prefix: NamePrefix) -> Self {
        prefix.0.into()
    }
}

#[expect(clippy::expect_used, reason = "constants of this file, each exercised by the test below")]
fn fixed<T: std::str::FromStr<Err = String>>(text: &str) -> T {
    text.parse().expect("a default is well-formed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_well_formed() {
        assert_eq!(Nftables::default().chain.as_str(), "azure");
        assert_eq!(Iptables::default().chain.as_str(), "TAGWALL");
        assert!(RestLog::default().prefix.as_str().len() <= RestLog::MAX_PREFIX);
    }

    #[test]
    fn a_prefix_is_never_empty() {
        assert!(NamePrefix::try_from(String::new()).is_err());
        assert!(NamePrefix::try_from("az-".to_owned()).is_ok());
        assert!(NamePrefix::try_from("a b".to_owned()).is_err());
    }
}
