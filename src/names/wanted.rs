//! Which names are resolved, and in which tag their addresses are expected.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::book::Book;
use crate::config::{Config, HostName, Hostnames, Target};
use crate::intent::Intent;
use crate::prefix::PrefixSet;
use crate::selection::{Publications, tag_by_name};
use crate::snapshot::{Cloud, TagName};

/// The tag in which a name's addresses are expected, and whose publication has it.
pub type Expected = BTreeMap<HostName, (Cloud, TagName)>;

/// The names that some target needs resolved. Wildcards never are.
pub fn wanted(config: &Config, intent: &Intent) -> BTreeSet<HostName> {
    let resolves =
        |target: &Target| target.azure.is_none() && target.hostnames() != Hostnames::Native;
    if !config.targets.values().any(|target| resolves(target.get_ref())) {
        return BTreeSet::new();
    }
    let hosts = intent.groups.iter().flat_map(|group| &group.hosts);
    hosts.filter(|host| !host.is_wildcard()).cloned().collect()
}

/// The tags in which addresses are expected: as the profiles know it, and as the configuration says of a name.
pub fn expected(config: &Config, intent: &Intent) -> Expected {
    let mut expected = Expected::new();
    for group in &intent.groups {
        for host in &group.hosts {
            let own = config.dns.names.get(host).and_then(|own| own.expected_tag.as_ref());
            if let Some(tag) = own.or(group.expected_tag.as_ref()) {
                expected.insert(host.clone(), (group.cloud, tag.clone()));
            }
        }
    }
    expected
}

/// The addresses that lie outside of the tag in which they are expected: that is news, or an attack. A tag that is not
/// published expects nothing.
pub fn outside(
    book: &Book,
    expected: &Expected,
    publications: &Publications,
) -> BTreeMap<HostName, (TagName, Vec<IpAddr>)> {
    let mut spaces: BTreeMap<(Cloud, &TagName), Option<PrefixSet>> = BTreeMap::new();
    let mut found = BTreeMap::new();
    for (name, entry) in book.entries() {
        let Some((cloud, tag)) = expected.get(name) else { continue };
        let space = spaces.entry((*cloud, tag)).or_insert_with(|| {
            let snapshot = &publications.get(cloud)?.snapshot;
            let tag = tag_by_name(snapshot, tag).ok()?;
            Some(PrefixSet::from_parts(snapshot.v4(tag).to_vec(), snapshot.v6(tag).to_vec()))
        });
        let Some(space) = space else { continue };
        let strangers: Vec<IpAddr> =
            entry.addresses.keys().copied().filter(|address| !space.contains(*address)).collect();
        if !strangers.is_empty() {
            found.insert(name.clone(), (tag.clone(), strangers));
        }
    }
    found
}
