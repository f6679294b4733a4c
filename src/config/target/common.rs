//! Settings that several dialects share.

use serde::{Deserialize, Serialize};

use crate::config::{Comment, Name};

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

/// Who resolves the hostnames of groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hostnames {
    /// The firewall, which has objects for them.
    Native,
    /// tagwall: their addresses stand among the prefixes of their group.
    Resolve,
    /// Names and addresses are written apart, for readers that choose. Only json does so.
    #[serde(skip)]
    Both,
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
            _ => Err(
                "a prefix starts with a letter and has at most 16 letters, digits, `-` and `_`: \
                      by it our names are told from others"
                    .to_owned(),
            ),
        }
    }
}

impl From<NamePrefix> for String {
    fn from(prefix: NamePrefix) -> Self {
        prefix.0.into()
    }
}

/// A default of a setting.
#[expect(clippy::expect_used, reason = "constants of this room, each exercised by a test")]
pub(super) fn fixed<T: std::str::FromStr<Err = String>>(text: &str) -> T {
    text.parse().expect("a default is well-formed")
}

#[cfg(test)]
mod tests {
    use super::super::{Iptables, Nftables};
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
