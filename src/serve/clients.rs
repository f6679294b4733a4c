//! Which client fetched which list last: the answer to "which firewall is still on yesterday's list?".

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::view::List;
use crate::os::printable::printable;
use crate::snapshot::Digest;

/// Pairs of client and list that are remembered; the one that was not seen for longest is forgotten first.
const MOST: usize = 2_048;
/// Characters of a program's name that are kept.
const AGENT: usize = 100;

/// What a client fetched last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Where it came from; none for the Unix socket.
    pub address: Option<IpAddr>,
    /// Who it said it is.
    pub user: Option<String>,
    /// What program it said it is.
    pub agent: String,
    /// The list, as `TARGET/FILE`.
    pub list: String,
    /// The digest of the list that it has since.
    pub digest: Digest,
    /// The generation that the list was of.
    pub generation: u64,
    /// When.
    pub at: Timestamp,
    /// How often it came.
    pub count: u64,
}

type Key = (Option<IpAddr>, Option<String>, String);

/// The table of clients.
#[derive(Debug, Default)]
pub(super) struct Clients {
    by_key: Mutex<BTreeMap<Key, Fetch>>,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who<'w> {
    pub(super) address: Option<IpAddr>,
    pub(super) user: Option<&'w str>,
    pub(super) agent: &'w str,
}

impl Clients {
    /// Notes that a client has a list now.
    pub(super) fn note(&self, who: Who<'_>, list: &List, generation: u64, now: Timestamp) {
        let path = list.path();
        let key = (who.address, who.user.map(str::to_owned), path.clone());
        let mut table = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let count = table.get(&key).map_or(1, |known| known.count.saturating_add(1));
        if count == 1 && table.len() >= MOST {
            let oldest = table.iter().min_by_key(|(_, fetch)| fetch.at).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| table.remove(&oldest));
        }
        let fetch = Fetch {
            address: who.address,
            user: who.user.map(str::to_owned),
            agent: printable(who.agent, AGENT),
            list: path,
            digest: list.content.digest(),
            generation,
            at: now,
            count,
        };
        table.insert(key, fetch);
    }

    /// Everything known, by address, user and list.
    pub(super) fn all(&self) -> Vec<Fetch> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::serve::view::Lists;

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let config = Config::parse(Path::new("test.toml"), String::new()).unwrap();
        let target = "fw".parse().unwrap();
        let files = [(&target, "a.txt", "192.0.2.0/24\n".into())];
        let lists = Lists::of(3, files, &config, Timestamp::UNIX_EPOCH, None);
        let list = lists.get("fw/a.txt").unwrap();
        let clients = Clients::default();
        let who = |number: u32| Who {
            address: Some(Ipv4Addr::from_bits(number).into()),
            user: None,
            agent: "PAN-OS\u{1b}[31m",
        };
        for number in 0..u32::try_from(MOST).unwrap() + 10 {
            let now = Timestamp::from_second(i64::from(number)).unwrap();
            clients.note(who(number), list, 3, now);
            clients.note(who(number), list, 3, now);
        }
        let all = clients.all();
        assert_eq!(all.len(), MOST);
        assert!(all.iter().all(|fetch| fetch.address != who(9).address && fetch.count == 2));
        assert_eq!(all[0].address, who(10).address);
        assert!(all[0].agent.starts_with("PAN-OS\\u{1b}"), "{}", all[0].agent);
    }
}
