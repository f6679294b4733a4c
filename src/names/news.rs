//! What is worth saying about names, once each.

use std::fmt;
use std::net::IpAddr;

use crate::config::HostName;

/// Something about a name that was not so before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Addresses that the name did not have.
    Appeared(HostName, Vec<IpAddr>),
    /// Addresses whose grace period is over.
    Left(HostName, Vec<IpAddr>),
    /// No resolver answers usably any more, and why; the last good addresses stay.
    Failing(HostName, String),
    /// It answers again.
    Recovered(HostName),
    /// An address that was answered and is not let through, and why.
    Refused(HostName, IpAddr, String),
    /// Addresses that had to leave before their grace period was over, because there are too many.
    Crowded(HostName, Vec<IpAddr>),
}

impl News {
    /// Whether a person should look at it.
    pub fn is_warning(&self) -> bool {
        matches!(self, Self::Failing(..) | Self::Refused(..) | Self::Crowded(..))
    }
}

impl fmt::Display for News {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |addresses: &[IpAddr]| {
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        match self {
            Self::Appeared(name, addresses) => {
                write!(formatter, "{name} has new addresses: {}", list(addresses))
            }
            Self::Left(name, addresses) => write!(
                formatter,
                "{name} no longer has, and their grace period is over: {}",
                list(addresses)
            ),
            Self::Failing(name, reason) => {
                write!(formatter, "{name} is not answered ({reason}); what is known of it stays")
            }
            Self::Recovered(name) => write!(formatter, "{name} is answered again"),
            Self::Refused(name, address, reason) => {
                write!(formatter, "{name} was answered with {address}, which is refused: {reason}")
            }
            Self::Crowded(name, addresses) => write!(
                formatter,
                "{name} has more addresses than dns.max-addresses: those that went longest ago left early: {}",
                list(addresses)
            ),
        }
    }
}
