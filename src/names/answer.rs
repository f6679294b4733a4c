//! What resolvers said of a name, before anybody believes it.

use std::net::IpAddr;

use crate::config::HostName;
use crate::ruleset::Family;

/// What one resolver said of a name's addresses of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Addresses, at the end of the chain of aliases that starts with the name.
    Addresses {
        /// As answered.
        addresses: Vec<IpAddr>,
        /// The shortest time to live in the chain, in seconds.
        ttl: u32,
        /// The names that the name led to, in order.
        aliases: Vec<String>,
    },
    /// The name is there and has no address of this family.
    Nothing,
    /// There is no such name.
    NoSuchName,
    /// No answer, or none that can be used; why.
    Failed(String),
}

impl Said {
    /// Why there is no address, in words; none when there is one.
    pub(super) fn trouble(&self) -> Option<&str> {
        match self {
            Self::Addresses { .. } => None,
            Self::Nothing => Some("no address"),
            Self::NoSuchName => Some("no such name"),
            Self::Failed(reason) => Some(reason),
        }
    }
}

/// What one resolver said of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Who said it, as the configuration names it.
    pub resolver: String,
    /// Of its IPv4 addresses.
    pub v4: Said,
    /// Of its IPv6 addresses.
    pub v6: Said,
}

impl Reply {
    /// Both families.
    pub(super) fn said(&self) -> [(Family, &Said); 2] {
        [(Family::V4, &self.v4), (Family::V6, &self.v6)]
    }
}

/// What all resolvers said of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The name.
    pub name: HostName,
    /// A reply of each resolver.
    pub replies: Vec<Reply>,
}
