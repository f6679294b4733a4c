//! Protocols and ports.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::names::text_form;

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Both protocols, in the order in which rules are written.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// `tcp` or `udp`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A port, or a range of ports with both ends included; 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ports {
    /// First port.
    pub first: u16,
    /// Last port, not below the first.
    pub last: u16,
}

impl fmt::Display for Ports {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(formatter, "{}", self.first)
        } else {
            write!(formatter, "{}-{}", self.first, self.last)
        }
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| match text.parse::<u16>() {
            Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
            _ => Err(format!("`{}` is no port (1 to 65535)", text.escape_debug())),
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (port(first)?, port(last)?),
            None => (port(text)?, port(text)?),
        };
        if first > last {
            return Err(format!("the range {text} ends before it begins"));
        }
        Ok(Self { first, last })
    }
}

text_form!(Ports);

/// A protocol with its ports: `tcp/443`, `udp/123`, `tcp/8000-8010`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Service {
    /// The protocol.
    pub protocol: Protocol,
    /// The ports.
    pub ports: Ports,
}

impl Service {
    /// A service of one TCP port.
    pub const fn tcp(port: u16) -> Self {
        Self { protocol: Protocol::Tcp, ports: Ports { first: port, last: port } }
    }

    /// A service of one UDP port.
    pub const fn udp(port: u16) -> Self {
        Self { protocol: Protocol::Udp, ports: Ports { first: port, last: port } }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.protocol, self.ports)
    }
}

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "a service is written like `tcp/443`, `udp/123` or `tcp/8000-8010`";
        let (protocol, ports) = text.split_once('/').ok_or(form)?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return Err(form.to_owned()),
        };
        Ok(Self { protocol, ports: ports.parse()? })
    }
}

text_form!(Service);

/// Sorts services and joins the ports of each protocol that touch or overlap, so that equal meanings have
/// equal text (nft and iptables refuse overlapping ranges in one list).
pub fn normalise(services: &[Service]) -> Vec<Service> {
    let mut sorted = services.to_vec();
    sorted.sort_unstable();
    let mut joined: Vec<Service> = Vec::with_capacity(sorted.len());
    for service in sorted {
        if let Some(last) = joined.last_mut()
            && last.protocol == service.protocol
            && u32::from(service.ports.first) <= u32::from(last.ports.last) + 1
        {
            last.ports.last = last.ports.last.max(service.ports.last);
            continue;
        }
        joined.push(service);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_one_spelling() {
        for text in ["tcp/443", "udp/123", "tcp/8000-8010"] {
            assert_eq!(text.parse::<Service>().unwrap().to_string(), text);
        }
        for bad in
            ["443", "tcp/0", "tcp/65536", "tcp/9-1", "icmp/1", "tcp/+1", "tcp/", "tcp/1-", "TCP/1"]
        {
            assert!(bad.parse::<Service>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn overlapping_ports_are_joined() {
        let services: Vec<Service> =
            ["tcp/80", "udp/53", "tcp/100-200", "tcp/150-250", "tcp/251", "tcp/80"]
                .iter()
                .map(|text| text.parse().unwrap())
                .collect();
        let texts: Vec<_> = normalise(&services).iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["tcp/80", "tcp/100-251", "udp/53"]);
    }
}
