//! How many connections there are, in all and of each client.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::ServeLimits;

/// Counts connections.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    crowd: Arc<Crowd>,
    client: Option<IpAddr>,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There are too many connections.
    Full,
    /// This client has too many.
    Greedy,
}

/// What counts as one client: nobody has fewer IPv6 addresses than a /64.
fn client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

impl Crowd {
    /// Takes a connection in, if there is room. Clients of this host (`None`, loopback) are counted in all, but not by client:
    /// a proxy comes from one address.
    pub(super) fn enter(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        limits: &ServeLimits,
    ) -> Result<Seat, Refusal> {
        let client = address.filter(|address| !address.is_loopback()).map(client);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= limits.connections {
            return Err(Refusal::Full);
        }
        if let Some(client) = client {
            let count = counts.by_client.entry(client).or_default();
            if *count >= limits.connections_per_client {
                return Err(Refusal::Greedy);
            }
            *count += 1;
        }
        counts.all += 1;
        Ok(Seat { crowd: Arc::clone(self), client })
    }

    /// How many connections there are.
    pub(super) fn size(&self) -> usize {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.crowd.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        if let Some(client) = self.client
            && let Some(count) = counts.by_client.get_mut(&client)
        {
            *count -= 1;
            if *count == 0 {
                counts.by_client.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_leaves_room_for_the_others() {
        let limits =
            ServeLimits { connections: 4, connections_per_client: 2, ..ServeLimits::default() };
        let crowd = Arc::new(Crowd::default());
        let enter = |address: &str| crowd.enter(Some(address.parse().unwrap()), &limits);
        let first = enter("2001:db8::1").unwrap();
        let _second = enter("2001:db8::2").unwrap();
        assert_eq!(enter("2001:db8::3").unwrap_err(), Refusal::Greedy, "the same /64");
        let _other = enter("192.0.2.1").unwrap();
        let _local = enter("127.0.0.1").unwrap();
        assert_eq!(enter("192.0.2.2").unwrap_err(), Refusal::Full);
        drop(first);
        let _again = enter("2001:db8::3").unwrap();
        assert_eq!(crowd.size(), 4);
    }

    #[test]
    fn nothing_is_left_of_those_who_went() {
        let crowd = Arc::new(Crowd::default());
        for number in 0..1_000_u32 {
            let address = IpAddr::from(number.to_be_bytes());
            drop(crowd.enter(Some(address), &ServeLimits::default()).unwrap());
        }
        assert_eq!(crowd.size(), 0);
        assert!(crowd.counts.lock().unwrap().by_client.is_empty());
    }
}
