//! What is judged as one: a group, or the destination of a route.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{Config, Families, Limits, Name};
use crate::intent::{GroupSpec, Intent, RouteDestination};
use crate::prefix::PrefixSet;
use crate::selection;
use crate::snapshot::{Cloud, Snapshot, TagName};

/// A group or route as far as one cloud is concerned.
#[derive(Debug)]
pub(super) struct Scope {
    /// The name of the group or route.
    pub(super) name: Name,
    /// The rules that let it through.
    pub(super) rules: Vec<Name>,
    /// The tags that it has in either publication, and whether each is asked for by name.
    pub(super) tags: BTreeMap<TagName, bool>,
    /// The tags that are taken out again.
    pub(super) excluded: BTreeSet<TagName>,
    /// Prefixes that it has whatever is published.
    pub(super) fixed: PrefixSet,
    /// Prefixes that it never has.
    pub(super) without: PrefixSet,
    /// The families wanted.
    pub(super) families: Families,
    /// Whether only the names of its tags count, as in security rules, which Azure fills with prefixes itself.
    pub(super) names_only: bool,
    /// Whether its owner takes it empty.
    pub(super) allow_empty: bool,
    /// Its figures.
    pub(super) limits: Limits,
}

impl Scope {
    fn new(name: &Name, limits: Limits) -> Self {
        Self {
            name: name.clone(),
            rules: Vec::new(),
            tags: BTreeMap::new(),
            excluded: BTreeSet::new(),
            fixed: PrefixSet::new(),
            without: PrefixSet::new(),
            families: Families::default(),
            names_only: false,
            allow_empty: false,
            limits,
        }
    }

    /// All tags that it depends on.
    pub(super) fn all_tags(&self) -> impl Iterator<Item = &TagName> {
        self.tags.keys().chain(&self.excluded)
    }

    /// The space of the scope when its tags have these spaces.
    pub(super) fn space(&self, of: impl Fn(&TagName) -> PrefixSet) -> PrefixSet {
        let sets: Vec<PrefixSet> = self.tags.keys().map(&of).collect();
        let mut space = match sets.as_slice() {
            [only] if self.fixed.is_empty() => only.clone(),
            _ => {
                let v4 =
                    sets.iter().chain([&self.fixed]).flat_map(PrefixSet::v4).copied().collect();
                let v6 =
                    sets.iter().chain([&self.fixed]).flat_map(PrefixSet::v6).copied().collect();
                PrefixSet::from_parts(v4, v6)
            }
        };
        if !self.without.is_empty() {
            space = space.difference(&self.without);
        }
        for tag in &self.excluded {
            space = space.difference(&of(tag));
        }
        self.families.of(&space)
    }
}

/// Every scope of the cloud, with the tags that it has in what is believed or in what is published.
pub(super) fn scopes(
    config: &Config,
    intent: &Intent,
    cloud: Cloud,
    snapshots: &[&Snapshot],
) -> Vec<Scope> {
    let groups = intent.groups.iter().filter(|spec| spec.cloud == cloud && !spec.tags.is_empty());
    let mut scopes: Vec<Scope> =
        groups.map(|spec| of_group(config, intent, spec, snapshots)).collect();
    for route in &intent.routes {
        let RouteDestination::Tag { cloud: of, tag } = &route.destination else { continue };
        if *of != cloud {
            continue;
        }
        let mut scope =
            Scope::new(&route.name, config.guard.limits(&route.name, Some(&route.profile)));
        for snapshot in snapshots {
            if let Ok(found) = selection::tag_by_name(snapshot, tag) {
                scope.tags.insert(found.name().clone(), true);
            }
        }
        scopes.push(scope);
    }
    for rule in &intent.security {
        let mut scope =
            Scope::new(&rule.name, config.guard.limits(&rule.name, Some(&rule.profile)));
        scope.names_only = true;
        for snapshot in snapshots {
            if let Some(found) = selection::peer(rule, cloud, snapshot) {
                scope.tags.insert(found.name().clone(), true);
            }
        }
        if !scope.tags.is_empty() {
            scopes.push(scope);
        }
    }
    scopes
}

fn of_group(config: &Config, intent: &Intent, spec: &GroupSpec, snapshots: &[&Snapshot]) -> Scope {
    let limits = config.guard.limits(&spec.name, spec.profile.as_ref());
    let mut scope = Scope::new(&spec.name, limits);
    let rules = intent.rules.iter().filter(|rule| rule.group == spec.name);
    scope.rules = rules.map(|rule| rule.name.clone()).collect();
    scope.fixed.clone_from(&spec.prefixes);
    scope.without = selection::excluded_prefixes(spec);
    scope.families = spec.families;
    scope.allow_empty = spec.allow_empty;
    for snapshot in snapshots {
        let parts = selection::parts(spec, snapshot);
        for (tag, named) in parts.tags {
            *scope.tags.entry(tag.name().clone()).or_default() |= named;
        }
        scope.excluded.extend(parts.excluded.into_iter().map(|tag| tag.name().clone()));
    }
    scope
}
