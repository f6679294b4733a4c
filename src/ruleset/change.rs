//! What changed in a rule set, as the audit trail keeps it: the addresses that came and went, and all the rest as it is now.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::document::{self, DocumentError};
use super::{Destination, RuleSet};
use crate::config::Name;
use crate::prefix::PrefixSet;

/// What changed in a rule set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RuleSetChange {
    /// Space of tags and prefixes that came to groups and left them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<Name, Moved>,
    /// Surplus of fitted groups, a part of their space, that came and went.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub surplus: BTreeMap<Name, Moved>,
    /// Addresses of hostnames that came to groups and left them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resolved: BTreeMap<Name, Moved>,
    /// Space that came to the tags of routes and left them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub routes: BTreeMap<Name, Moved>,
    /// The rule set without the addresses of groups and routes, in the form of `ruleset.json`; none when it is the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    shape: Option<serde_json::Value>,
}

/// Space that came and went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Moved {
    /// What came.
    #[serde(skip_serializing_if = "PrefixSet::is_empty")]
    pub added: PrefixSet,
    /// What went.
    #[serde(skip_serializing_if = "PrefixSet::is_empty")]
    pub removed: PrefixSet,
}

type Spaces<'s> = BTreeMap<&'s Name, &'s PrefixSet>;

impl RuleSetChange {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl RuleSet {
    /// What changed in this rule set since an older one.
    pub fn change_since(&self, old: &Self) -> RuleSetChange {
        let shape = document::write(&self.without_addresses());
        let same = shape == document::write(&old.without_addresses());
        RuleSetChange {
            groups: moved(&old.spaces(), &self.spaces()),
            surplus: moved(&old.surplus(), &self.surplus()),
            resolved: moved(&old.resolved(), &self.resolved()),
            routes: moved(&old.route_spaces(), &self.route_spaces()),
            // What was just written is JSON.
            shape: if same { None } else { serde_json::from_slice(&shape).ok() },
        }
    }

    /// The rule set after a change.
    pub fn changed_by(&self, change: &RuleSetChange) -> Result<Self, DocumentError> {
        let mut changed = match &change.shape {
            Some(shape) => document::read(&serde_json::to_vec(shape)?)?,
            None => self.without_addresses(),
        };
        let (groups, resolved, routes) = (self.spaces(), self.resolved(), self.route_spaces());
        let surplus = self.surplus();
        for group in &mut changed.groups {
            group.prefixes = after(&groups, &change.groups, &group.name);
            group.surplus = after(&surplus, &change.surplus, &group.name);
            group.resolved = after(&resolved, &change.resolved, &group.name);
        }
        for route in &mut changed.routes {
            if let Destination::Tag { prefixes, .. } = &mut route.destination {
                *prefixes = after(&routes, &change.routes, &route.name);
            }
        }
        Ok(changed)
    }

    fn without_addresses(&self) -> Self {
        let mut shape = self.clone();
        for group in &mut shape.groups {
            group.prefixes = PrefixSet::new();
            group.surplus = PrefixSet::new();
            group.resolved = PrefixSet::new();
        }
        for route in &mut shape.routes {
            if let Destination::Tag { prefixes, .. } = &mut route.destination {
                *prefixes = PrefixSet::new();
            }
        }
        shape
    }

    fn spaces(&self) -> Spaces<'_> {
        self.groups.iter().map(|group| (&group.name, &group.prefixes)).collect()
    }

    fn surplus(&self) -> Spaces<'_> {
        self.groups.iter().map(|group| (&group.name, &group.surplus)).collect()
    }

    fn resolved(&self) -> Spaces<'_> {
        self.groups.iter().map(|group| (&group.name, &group.resolved)).collect()
    }

    fn route_spaces(&self) -> Spaces<'_> {
        self.routes
            .iter()
            .filter_map(|route| match &route.destination {
                Destination::Tag { prefixes, .. } => Some((&route.name, prefixes)),
                Destination::Prefix(_) => None,
            })
            .collect()
    }
}

/// What came and went between two sides.
fn moved(old: &Spaces<'_>, new: &Spaces<'_>) -> BTreeMap<Name, Moved> {
    let empty = PrefixSet::new();
    let names: std::collections::BTreeSet<&Name> = old.keys().chain(new.keys()).copied().collect();
    names
        .into_iter()
        .filter_map(|name| {
            let (was, is) = (
                old.get(name).copied().unwrap_or(&empty),
                new.get(name).copied().unwrap_or(&empty),
            );
            let moved = Moved { added: is.difference(was), removed: was.difference(is) };
            (moved != Moved::default()).then(|| (name.clone(), moved))
        })
        .collect()
}

fn after(old: &Spaces<'_>, changes: &BTreeMap<Name, Moved>, name: &Name) -> PrefixSet {
    let was = old.get(name).map(|space| (*space).clone()).unwrap_or_default();
    match changes.get(name) {
        Some(moved) => was.difference(&moved.removed).union(&moved.added),
        None => was,
    }
}
