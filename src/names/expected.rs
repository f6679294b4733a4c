//! Where the addresses of names are expected: an answer outside of its service tag is news, or an attack.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::book::{Book, Entry};
use crate::config::{Config, HostName};
use crate::intent::Intent;
use crate::prefix::PrefixSet;
use crate::selection::{Publications, tag_by_name};
use crate::snapshot::{Cloud, TagName};

/// The service tags that should hold the addresses of names. A tag that is not published expects nothing.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    names: BTreeMap<HostName, (TagName, Arc<PrefixSet>)>,
}

/// Addresses of a name that lie outside of the tag that should hold them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// The tag.
    pub tag: TagName,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
}

impl Expected {
    /// As the profiles know it, and as the configuration says of a name.
    pub fn of(config: &Config, intent: &Intent, publications: &Publications) -> Self {
        let mut spaces: BTreeMap<(Cloud, &TagName), Option<Arc<PrefixSet>>> = BTreeMap::new();
        let mut names = BTreeMap::new();
        for group in &intent.groups {
            for host in &group.hosts {
                let own = config.dns.names.get(host).and_then(|own| own.expected_tag.as_ref());
                let Some(tag) = own.or(group.expected_tag.as_ref()) else { continue };
                let space = spaces
                    .entry((group.cloud, tag))
                    .or_insert_with(|| space_of(publications, group.cloud, tag).map(Arc::new));
                if let Some(space) = space {
                    names.insert(host.clone(), (tag.clone(), Arc::clone(space)));
                }
            }
        }
        Self { names }
    }

    /// What of a name lies outside.
    pub fn outside_of(&self, name: &HostName, entry: &Entry) -> Option<Outside> {
        let (tag, space) = self.names.get(name)?;
        let strangers = entry.addresses.keys().copied().filter(|address| !space.contains(*address));
        let addresses: Vec<IpAddr> = strangers.collect();
        (!addresses.is_empty()).then(|| Outside { tag: tag.clone(), addresses })
    }

    /// All that lies outside.
    pub fn outside(&self, book: &Book) -> BTreeMap<HostName, Outside> {
        book.entries()
            .filter_map(|(name, entry)| Some((name.clone(), self.outside_of(name, entry)?)))
            .collect()
    }
}

fn space_of(publications: &Publications, cloud: Cloud, tag: &TagName) -> Option<PrefixSet> {
    let snapshot = &publications.get(&cloud)?.snapshot;
    let tag = tag_by_name(snapshot, tag).ok()?;
    Some(PrefixSet::from_parts(snapshot.v4(tag).to_vec(), snapshot.v6(tag).to_vec()))
}
