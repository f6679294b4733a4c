//! Which names are resolved.

use std::collections::BTreeSet;

use crate::config::{Config, HostName, Hostnames, Target};
use crate::intent::Intent;

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
