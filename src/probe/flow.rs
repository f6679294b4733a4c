//! The flow that a probe sends.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A flow to send through the clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The address that it comes from.
    pub source: IpAddr,
    /// The address that it goes to.
    pub destination: IpAddr,
    /// Protocol and port.
    pub service: ProbeService,
    /// The interface that it comes in by; none for that of the route back to the source.
    pub input: Option<String>,
    /// The interface that it leaves by; none for that of the route to the destination.
    pub output: Option<String>,
}

/// A protocol, with its port where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeService {
    /// A TCP connection to this port.
    Tcp(u16),
    /// A UDP datagram to this port.
    Udp(u16),
    /// An ICMP or ICMPv6 echo.
    Echo,
}

impl ProbeService {
    /// The destination port; 0 where the protocol has none.
    pub fn port(self) -> u16 {
        match self {
            Self::Tcp(port) | Self::Udp(port) => port,
            Self::Echo => 0,
        }
    }

    /// The same protocol with another port.
    pub(super) fn with_port(self, port: u16) -> Self {
        match self {
            Self::Tcp(_) => Self::Tcp(port),
            Self::Udp(_) => Self::Udp(port),
            Self::Echo => Self::Echo,
        }
    }
}

impl FromStr for ProbeService {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "a service is written like `tcp/443`, `udp/53` or `icmp`";
        if matches!(text, "icmp" | "icmpv6") {
            return Ok(Self::Echo);
        }
        let (protocol, port) = text.split_once('/').ok_or(form)?;
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse::<u16>().ok().filter(|port| digits && *port > 0);
        match (protocol, port) {
            ("tcp", Some(port)) => Ok(Self::Tcp(port)),
            ("udp", Some(port)) => Ok(Self::Udp(port)),
            _ => Err(form.to_owned()),
        }
    }
}

impl fmt::Display for ProbeService {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(port) => write!(formatter, "tcp/{port}"),
            Self::Udp(port) => write!(formatter, "udp/{port}"),
            Self::Echo => formatter.write_str("icmp"),
        }
    }
}

impl Serialize for ProbeService {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Flow {
    /// The reason why no probe can be made of it, whatever the host.
    pub(super) fn fault(&self) -> Option<String> {
        let (source, destination) = (self.source, self.destination);
        if source.is_ipv4() != destination.is_ipv4() {
            return Some(format!("{source} and {destination} are of different families"));
        }
        if source == destination {
            return Some(format!("{source} is source and destination"));
        }
        for address in [source, destination] {
            let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
            let link_local = match address {
                IpAddr::V4(v4) => v4.is_link_local(),
                IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
            };
            if address.is_unspecified()
                || address.is_loopback()
                || address.is_multicast()
                || broadcast
                || link_local
            {
                return Some(format!("{address} is no address that a router forwards"));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(source: &str, destination: &str) -> Flow {
        Flow {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            service: ProbeService::Tcp(443),
            input: None,
            output: None,
        }
    }

    #[test]
    fn services_are_read_as_they_are_written() {
        for text in ["tcp/443", "udp/53", "icmp"] {
            assert_eq!(text.parse::<ProbeService>().unwrap().to_string(), text);
        }
        for text in ["tcp", "tcp/0", "tcp/+1", "tcp/65536", "sctp/1", "tcp/80-90", "icmp/8", ""] {
            assert!(text.parse::<ProbeService>().is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_that_are_never_forwarded_are_refused() {
        assert_eq!(flow("10.0.0.1", "203.0.113.1").fault(), None);
        assert_eq!(flow("fd00::1", "2001:db8::1").fault(), None);
        for (source, destination) in [
            ("10.0.0.1", "2001:db8::1"),
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", "224.0.0.1"),
            ("10.0.0.1", "255.255.255.255"),
            ("0.0.0.0", "10.0.0.1"),
            ("127.0.0.1", "10.0.0.1"),
            ("fe80::1", "2001:db8::1"),
        ] {
            assert!(flow(source, destination).fault().is_some(), "{source} {destination}");
        }
    }
}
