//! Address prefixes as users write them, and the families they may be narrowed to.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::names::text_form;
use crate::prefix::PrefixSet;
use crate::prefix::parse::parse_net_or_address;

/// An address prefix of the configuration: canonical CIDR text, or a plain address. A prefix of length 0 is
/// refused: "any" is never a source or a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(pub IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let prefix = parse_net_or_address(text).map_err(|error| error.to_string())?;
        if prefix.prefix_len() == 0 {
            return Err(format!("{prefix} stands for any address, which is never let through"));
        }
        Ok(Self(prefix))
    }
}

text_form!(Network);

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The address space of these prefixes.
pub fn space<'n>(networks: impl IntoIterator<Item = &'n Network>) -> PrefixSet {
    networks.into_iter().map(|network| network.0).collect()
}

/// Which address families are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Families {
    /// IPv4 and IPv6.
    #[default]
    Both,
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
}

impl Families {
    /// Whether IPv4 is among them.
    pub fn v4(self) -> bool {
        self != Self::Ipv6
    }

    /// Whether IPv6 is among them.
    pub fn v6(self) -> bool {
        self != Self::Ipv4
    }

    /// The part of the set that is in these families.
    pub fn of(self, set: &PrefixSet) -> PrefixSet {
        match self {
            Self::Both => set.clone(),
            Self::Ipv4 => set.only_v4(),
            Self::Ipv6 => set.only_v6(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_is_no_network() {
        assert!("10.0.0.0/8".parse::<Network>().is_ok());
        assert_eq!("192.0.2.1".parse::<Network>().unwrap().to_string(), "192.0.2.1/32");
        for bad in ["0.0.0.0/0", "::/0", "10.0.0.1/8", "x", "", "10.0.0.0/33"] {
            assert!(bad.parse::<Network>().is_err(), "{bad:?}");
        }
    }
}
