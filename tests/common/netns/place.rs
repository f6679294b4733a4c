//! The namespaces of the bed, and which addresses lie in which.

use std::net::IpAddr;

/// A namespace of the bed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// The protected subnets (10.20.0.0/24, fd00:20::/64), addresses next to them, and other hosts behind the same
    /// interface (10.99.0.0/24, fd00:99::/64).
    Subnet,
    /// Between the others.
    Firewall,
    /// The internet: every documentation range and some space around them.
    Azure,
    /// On-premises: 10.50.0.0/24, fd00:50::/64.
    Onprem,
}

impl Place {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Subnet, Self::Firewall, Self::Azure, Self::Onprem];
    /// Those beside the firewall.
    pub(super) const SIDES: [Self; 3] = [Self::Subnet, Self::Azure, Self::Onprem];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Subnet => "subnet",
            Self::Firewall => "firewall",
            Self::Azure => "azure",
            Self::Onprem => "onprem",
        }
    }

    /// The firewall's interface towards this side, the number of the link, and what is local behind it.
    pub(super) fn link(self) -> (&'static str, u8, &'static [&'static str]) {
        match self {
            Self::Subnet => (
                "lan0",
                1,
                &["10.16.0.0/12", "10.99.0.0/24", "fd00:1f::/32", "fd00:20::/32", "fd00:99::/64"],
            ),
            Self::Azure => (
                "wan0",
                2,
                &[
                    "192.0.0.0/16",
                    "198.16.0.0/12",
                    "198.51.0.0/16",
                    "203.0.0.0/16",
                    "2001:d00::/24",
                ],
            ),
            Self::Onprem => ("onprem0", 3, &["10.50.0.0/24", "fd00:50::/64"]),
            Self::Firewall => ("lo", 0, &[]),
        }
    }

    /// The side that this address lies on.
    pub(super) fn of(address: IpAddr) -> Self {
        let on = |side: &Self| {
            side.link()
                .2
                .iter()
                .any(|net| net.parse::<ipnet::IpNet>().is_ok_and(|net| net.contains(&address)))
        };
        let Some(side) = Self::SIDES.into_iter().find(on) else {
            panic!("{address} is on no side of the bed")
        };
        side
    }
}
