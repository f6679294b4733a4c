//! The packet that is followed.

use std::fmt;
use std::net::IpAddr;

use crate::prefix::Family;

/// A forwarded packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// Number of the transport protocol: 6 for TCP, 17 for UDP.
    pub protocol: u8,
    /// Destination port; none where any is possible.
    pub port: Option<u16>,
    /// Interface by which it arrives; none where any is possible.
    pub input: Option<String>,
    /// Interface by which it leaves; none where any is possible.
    pub output: Option<String>,
    /// State of its connection.
    pub state: State,
}

/// State of the connection that a packet belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its first packet.
    New,
    /// A later packet.
    Established,
}

impl Flow {
    /// Number of TCP.
    pub const TCP: u8 = 6;
    /// Number of UDP.
    pub const UDP: u8 = 17;

    /// The address family.
    pub fn family(&self) -> Family {
        if self.destination.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// The same packet by this input interface.
    #[must_use]
    pub fn from_input(&self, input: &str) -> Self {
        Self { input: Some(input.to_owned()), ..self.clone() }
    }

    /// The same packet by this output interface.
    #[must_use]
    pub fn to_output(&self, output: &str) -> Self {
        Self { output: Some(output.to_owned()), ..self.clone() }
    }

    /// A packet of its connection the other way.
    #[must_use]
    pub fn reply(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            protocol: self.protocol,
            port: None,
            input: self.output.clone(),
            output: self.input.clone(),
            state: State::Established,
        }
    }

    /// The same packet in this state of its connection.
    #[must_use]
    pub fn in_state(&self, state: State) -> Self {
        Self { state, ..self.clone() }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} to {} ", self.source, self.destination)?;
        match self.protocol {
            Self::TCP => formatter.write_str("tcp")?,
            Self::UDP => formatter.write_str("udp")?,
            other => write!(formatter, "protocol {other}")?,
        }
        if let Some(port) = self.port {
            write!(formatter, "/{port}")?;
        }
        if let Some(input) = &self.input {
            write!(formatter, " from {input}")?;
        }
        if let Some(output) = &self.output {
            write!(formatter, " by {output}")?;
        }
        Ok(())
    }
}
