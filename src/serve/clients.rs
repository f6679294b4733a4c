//! Which client fetched which list last: the answer to "which firewall is still on yesterday's list?".
//!
//! Kept in `clients.json` of the state folder, so that a restart does not make it look as if nobody had come for a while.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::view::List;
use crate::os::files;
use crate::os::printable::printable;
use crate::os::record::{self, Record, RecordError};
use crate::snapshot::Digest;

/// Pairs of client and list that are remembered; the one that was not seen for longest is forgotten first.
const MOST: usize = 2_048;
/// Characters of a program's name that are kept.
const AGENT: usize = 100;

/// What a client fetched last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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

/// What all clients fetched last, as it is kept between runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fetches {
    format: String,
    fetches: Vec<Fetch>,
}

impl Record for Fetches {
    const FORMAT: &'static str = "tagwall-clients/1";
    const MAX_BYTES: u64 = 4 << 20;

    fn format(&self) -> &str {
        &self.format
    }
}

impl From<Vec<Fetch>> for Fetches {
    fn from(fetches: Vec<Fetch>) -> Self {
        Self { format: Self::FORMAT.to_owned(), fetches }
    }
}

impl Fetches {
    /// Its name in the state folder.
    pub const FILE: &'static str = "clients.json";

    /// Reads what was kept in a state folder; nothing when there is no file.
    pub fn load(dir: &Path) -> Result<Self, RecordError> {
        let kept = record::read(&dir.join(Self::FILE))?;
        Ok(kept.unwrap_or_else(|| Vec::new().into()))
    }

    /// Keeps it in a state folder.
    pub fn save(&self, dir: &Path) -> Result<(), RecordError> {
        files::replace(&dir.join(Self::FILE), &record::bytes(self)?)?;
        Ok(())
    }
}

type Key = (Option<IpAddr>, Option<String>, Arc<str>);

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
        let key = (who.address, who.user.map(str::to_owned), Arc::clone(&list.path));
        let digest = list.content.digest();
        let mut table = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = table.get_mut(&key) {
            // What is kept is printable, so what equals it need not be made so.
            if known.agent != who.agent {
                known.agent = printable(who.agent, AGENT);
            }
            (known.digest, known.generation, known.at) = (digest, generation, now);
            known.count = known.count.saturating_add(1);
            return;
        }
        if table.len() >= MOST {
            let oldest = table.iter().min_by_key(|(_, fetch)| fetch.at).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| table.remove(&oldest));
        }
        let fetch = Fetch {
            address: who.address,
            user: who.user.map(str::to_owned),
            agent: printable(who.agent, AGENT),
            list: list.path.as_ref().to_owned(),
            digest,
            generation,
            at: now,
            count: 1,
        };
        table.insert(key, fetch);
    }

    /// Takes in what was kept of an earlier run; what is known already is newer.
    pub(super) fn restore(&self, kept: Fetches) {
        let mut table = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        for fetch in kept.fetches {
            if table.len() >= MOST {
                break;
            }
            let key = (fetch.address, fetch.user.clone(), fetch.list.as_str().into());
            table.entry(key).or_insert(fetch);
        }
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

        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Fetches::load(folder.path()).unwrap(), Vec::new().into());
        Fetches::from(all.clone()).save(folder.path()).unwrap();
        let after = Clients::default();
        after.note(who(11), list, 4, Timestamp::from_second(9_999).unwrap());
        after.restore(Fetches::load(folder.path()).unwrap());
        let known = after.all();
        let newer = known.iter().find(|fetch| fetch.address == who(11).address).unwrap();
        assert_eq!((newer.generation, newer.count), (4, 1), "what came since is not overwritten");
        assert_eq!(known.len(), MOST, "the table stays bounded");
        assert_eq!(known.iter().find(|fetch| fetch.address == who(12).address), all.get(2));
    }
}
