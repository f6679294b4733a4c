//! IPv4 and IPv6.

use serde::{Deserialize, Serialize};

use super::PrefixSet;

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "ipv4")]
    V4,
    /// IPv6.
    #[serde(rename = "ipv6")]
    V6,
}

impl Family {
    /// Both, in the order in which they are written.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// `IPv4` or `IPv6`.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The part of a set that is of this family.
    pub fn of(self, set: &PrefixSet) -> PrefixSet {
        match self {
            Self::V4 => set.only_v4(),
            Self::V6 => set.only_v6(),
        }
    }
}
