//! What a group is made of in one snapshot, as far as it is there: for those who compare two snapshots, of which one may lack
//! what the other has.

use super::lookup;
use crate::config::{Exclusion, TagSelector};
use crate::intent::{GroupSpec, SecurityPeer, SecuritySpec, Selected};
use crate::prefix::PrefixSet;
use crate::snapshot::{Cloud, ServiceTag, Snapshot};

/// The tags of a group in a snapshot. What is not there is left out.
#[derive(Debug, Default)]
pub struct Parts<'s> {
    /// Tags whose space it has, and whether each was asked for by name (and not by a pattern).
    pub tags: Vec<(&'s ServiceTag, bool)>,
    /// Tags whose space is taken out again.
    pub excluded: Vec<&'s ServiceTag>,
}

/// The tags that a group has in a snapshot.
pub fn parts<'s>(spec: &GroupSpec, snapshot: &'s Snapshot) -> Parts<'s> {
    let mut parts = Parts::default();
    for selector in &spec.tags {
        match &selector.what {
            Selected::Tag(tag) => {
                let named = matches!(tag, TagSelector::Name(_));
                let tags = lookup::tags_of(snapshot, tag).unwrap_or_default();
                parts.tags.extend(tags.into_iter().map(|tag| (tag, named)));
            }
            Selected::ServiceInRegion { service, region } => {
                let tag = lookup::tag_in_region(snapshot, service, region).ok();
                parts.tags.extend(tag.map(|tag| (tag, true)));
            }
        }
    }
    for (exclusion, _) in &spec.exclude {
        if let Exclusion::Tags(selector) = exclusion {
            parts.excluded.extend(lookup::tags_of(snapshot, selector).unwrap_or_default());
        }
    }
    parts
}

/// The prefixes that are taken out of a group whatever is published.
pub fn excluded_prefixes(spec: &GroupSpec) -> PrefixSet {
    spec.exclude
        .iter()
        .filter_map(|(exclusion, _)| match exclusion {
            Exclusion::Prefix(prefix) => Some(*prefix),
            Exclusion::Tags(_) => None,
        })
        .collect()
}

/// The tag of this cloud that a security rule names in a snapshot.
pub fn peer<'s>(
    spec: &SecuritySpec,
    cloud: Cloud,
    snapshot: &'s Snapshot,
) -> Option<&'s ServiceTag> {
    match &spec.peer {
        SecurityPeer::ServiceInRegion { cloud: of, service, region } if *of == cloud => {
            lookup::tag_in_region(snapshot, service, region).ok()
        }
        _ => None,
    }
}
