//! Whether anything of nf_tables changed: one number, asked for in microseconds.
//!
//! A listener would be told at once, but slows down every load of the host; the number costs nobody anything. It does not rise
//! for ipset and legacy iptables, which only a comparison of their content shows.

use std::io;

use super::firewall::Netfilter;

/// The number of the ruleset of this network namespace, as it was last seen.
#[derive(Debug)]
pub struct RulesetWatch {
    socket: Netfilter,
    seen: u32,
}

impl RulesetWatch {
    /// Opens a socket, and reads the number. Needs `CAP_NET_ADMIN`.
    pub fn open() -> io::Result<Self> {
        let socket = Netfilter::open()?;
        let seen = socket.generation()?;
        Ok(Self { socket, seen })
    }

    /// Whether the ruleset changed since this was last asked.
    pub fn has_changed(&mut self) -> io::Result<bool> {
        let now = self.socket.generation()?;
        Ok(std::mem::replace(&mut self.seen, now) != now)
    }
}
