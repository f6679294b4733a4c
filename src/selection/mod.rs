//! Finds in the publications what the configuration asks for: named address sets, aggregated exactly.
//!
//! Owns: tags by name, by service and region, by pattern; exclusions. Promises: a name that is not published is
//! an error that suggests names, never an empty set; the space of a group is exactly that of its tags and
//! prefixes, less what is excluded. Does not judge whether a publication is to be believed.

mod lookup;
mod parts;

use std::collections::BTreeMap;

use crate::config::{
    Config, ConfigError, Diagnostic, Exclusion, Families, HostName, Name, Region, TagSelector,
};
use crate::intent::{GroupSpec, Intent, RouteDestination, SecurityPeer, Selected};
use crate::os::two;
use crate::prefix::{self, Fitted, PrefixSet, special};
use crate::snapshot::{Cloud, Features, Publication, ServiceTag, Snapshot, TagName, UnknownTag};

pub use lookup::{matches_pattern, region_of, tag_by_name, tag_in_region};
pub use parts::{Parts, excluded_prefixes, parts, peer};

/// The publications in use, one for each cloud.
pub type Publications = BTreeMap<Cloud, Publication>;

/// The addresses by which hostnames are known. A name without an answer is not in it.
pub type HostAddresses = BTreeMap<HostName, PrefixSet>;

/// What was found for each group, route and security rule.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// By group.
    pub groups: BTreeMap<Name, SelectedGroup>,
    /// Tags that routes lead to.
    pub route_tags: BTreeMap<(Cloud, TagName), RouteTag>,
    /// Tags in regions that security rules name.
    pub region_tags: BTreeMap<(Cloud, &'static str, Region), TagName>,
}

/// The addresses of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelectedGroup {
    /// The tags it is made of, as published, in order of name.
    pub tags: Vec<TagName>,
    /// The space of its tags and prefixes; where it is fitted, with the surplus.
    pub prefixes: PrefixSet,
    /// The part of it that is let through only because the group is fitted into fewer prefixes.
    pub surplus: PrefixSet,
    /// The addresses of its hostnames.
    pub resolved: PrefixSet,
    /// Its hostnames whose addresses are not known; wildcards, which never can be, are not among them.
    pub unresolved: Vec<HostName>,
}

/// A tag that a route leads to.
#[derive(Debug, Clone)]
pub struct RouteTag {
    /// The name as published.
    pub name: TagName,
    /// Its space.
    pub prefixes: PrefixSet,
    /// Whether the publication says that it may be a route's destination.
    pub routable: bool,
}

/// Selects everything that the intent names. All errors are reported together, each with its place in the
/// configuration.
pub fn select(
    config: &Config,
    intent: &Intent,
    publications: &Publications,
    hosts: &HostAddresses,
) -> Result<Selection, ConfigError> {
    let mut selection = Selection::default();
    let mut found = Vec::new();
    let groups = two::map_small(&intent.groups, |spec| select_group(spec, publications, hosts));
    for (spec, group) in intent.groups.iter().zip(groups) {
        match group {
            Ok(group) => {
                selection.groups.insert(spec.name.clone(), group);
            }
            Err(diagnostics) => found.extend(diagnostics),
        }
    }
    for route in &intent.routes {
        let RouteDestination::Tag { cloud, tag } = &route.destination else { continue };
        match snapshot_of(publications, *cloud).and_then(|snapshot| find_tag(snapshot, tag)) {
            Ok((snapshot, tag_found)) => {
                let route_tag = RouteTag {
                    name: tag_found.name().clone(),
                    prefixes: space_of(snapshot, tag_found),
                    routable: tag_found.features().contains(Features::UDR),
                };
                selection.route_tags.insert((*cloud, tag.clone()), route_tag);
            }
            Err(missing) => found.push(missing.diagnostic(&route.name)),
        }
    }
    for rule in &intent.security {
        let SecurityPeer::ServiceInRegion { cloud, service, region } = &rule.peer else { continue };
        let tag = snapshot_of(publications, *cloud)
            .and_then(|snapshot| Ok(tag_in_region(snapshot, service, region)?));
        match tag {
            Ok(tag) => {
                let key = (*cloud, *service, region.clone());
                selection.region_tags.insert(key, tag.name().clone());
            }
            Err(missing) => found.push(missing.diagnostic(&rule.name)),
        }
    }
    if found.is_empty() {
        return Ok(selection);
    }
    // One mistyped region of a profile is missed by many groups: say it once.
    let mut seen = std::collections::HashSet::new();
    found.retain(|diagnostic| seen.insert(diagnostic.title().to_owned()));
    Err(config.errors(found))
}

/// Why something could not be selected.
enum Missing {
    Publication(Cloud),
    Unknown(UnknownTag),
}

impl From<UnknownTag> for Missing {
    fn from(unknown: UnknownTag) -> Self {
        Self::Unknown(unknown)
    }
}

impl Missing {
    fn diagnostic(self, wanted_by: &Name) -> Diagnostic {
        match self {
            Self::Publication(cloud) => Diagnostic::new(format!(
                "there is no publication of cloud {cloud}, which `{wanted_by}` needs"
            ))
            .help(format!(
                "give one with --feed, or set the group's cloud to another than {cloud}"
            )),
            Self::Unknown(unknown) => {
                let diagnostic = Diagnostic::new(format!(
                    "{} `{}` is not in the publication of cloud {}",
                    unknown.what, unknown.name, unknown.cloud
                ))
                .help(format!("tagwall tags shows what is published; wanted by `{wanted_by}`"));
                match unknown.suggestions.as_slice() {
                    [] => diagnostic,
                    [one] => diagnostic.label(format!("did you mean `{one}`?")),
                    several => {
                        diagnostic.label(format!("did you mean one of `{}`?", several.join("`, `")))
                    }
                }
            }
        }
    }
}

fn snapshot_of(publications: &Publications, cloud: Cloud) -> Result<&Snapshot, Missing> {
    publications
        .get(&cloud)
        .map(|publication| &*publication.snapshot)
        .ok_or(Missing::Publication(cloud))
}

fn find_tag<'s>(
    snapshot: &'s Snapshot,
    name: &TagName,
) -> Result<(&'s Snapshot, &'s ServiceTag), Missing> {
    Ok((snapshot, tag_by_name(snapshot, name)?))
}

fn space_of(snapshot: &Snapshot, tag: &ServiceTag) -> PrefixSet {
    PrefixSet::from_parts(snapshot.v4(tag).to_vec(), snapshot.v6(tag).to_vec())
}

fn select_group(
    spec: &GroupSpec,
    publications: &Publications,
    hosts: &HostAddresses,
) -> Result<SelectedGroup, Vec<Diagnostic>> {
    let mut tags: BTreeMap<&TagName, &ServiceTag> = BTreeMap::new();
    let mut found = Vec::new();
    let at = |diagnostic: Diagnostic, span: &Option<std::ops::Range<usize>>| match span {
        Some(span) => diagnostic.at(span.clone()),
        None => diagnostic,
    };
    for selector in &spec.tags {
        let selected =
            snapshot_of(publications, spec.cloud).and_then(|snapshot| match &selector.what {
                Selected::Tag(tag) => Ok(lookup::tags_of(snapshot, tag)?),
                Selected::ServiceInRegion { service, region } => {
                    Ok(vec![tag_in_region(snapshot, service, region)?])
                }
            });
        match selected {
            Ok(selected) => {
                for tag in selected {
                    if tag.prefix_count() == 0 && !spec.allow_empty {
                        let empty = Diagnostic::new(format!(
                            "service tag {} is published without a single prefix",
                            tag.name()
                        ))
                        .help(format!(
                            "set allow-empty = true in group `{}` to take it",
                            spec.name
                        ));
                        found.push(at(empty, &selector.span));
                    }
                    tags.insert(tag.name(), tag);
                }
            }
            Err(missing) => found.push(at(missing.diagnostic(&spec.name), &selector.span)),
        }
    }
    let mut v4 = spec.prefixes.v4().to_vec();
    let mut v6 = spec.prefixes.v6().to_vec();
    if let Some(publication) = publications.get(&spec.cloud) {
        for tag in tags.values() {
            v4.extend_from_slice(publication.snapshot.v4(tag));
            v6.extend_from_slice(publication.snapshot.v6(tag));
        }
    }
    let mut prefixes = PrefixSet::from_parts(v4, v6);
    let (mut resolved, unresolved) = addresses_of(spec, hosts);
    let mut all_excluded = PrefixSet::new();
    for (exclusion, span) in &spec.exclude {
        let excluded = match exclusion {
            Exclusion::Prefix(prefix) => Ok(PrefixSet::from(*prefix)),
            Exclusion::Tags(selector) => excluded_space(spec, publications, selector),
        };
        match excluded {
            Ok(excluded) => {
                prefixes = prefixes.difference(&excluded);
                resolved = resolved.difference(&excluded);
                all_excluded = all_excluded.union(&excluded);
            }
            Err(missing) => found.push(at(missing.diagnostic(&spec.name), span)),
        }
    }
    if spec.families != Families::Both {
        (prefixes, resolved) = (spec.families.of(&prefixes), spec.families.of(&resolved));
    }
    if found.is_empty() && prefixes.is_empty() && spec.hosts.is_empty() && !spec.allow_empty {
        let empty = Diagnostic::new(format!("group `{}` holds no address", spec.name)).help(
            "what it selects is excluded again or of the other family; set allow-empty = true if that is meant",
        );
        found.push(at(empty, &spec.tags.first().and_then(|selector| selector.span.clone())));
    }
    if !found.is_empty() {
        return Err(found);
    }
    let fitted = fitted(spec, prefixes, &all_excluded).map_err(|diagnostic| vec![diagnostic])?;
    let tags = tags.into_keys().cloned().collect();
    Ok(SelectedGroup { tags, prefixes: fitted.set, surplus: fitted.surplus, resolved, unresolved })
}

/// The space in as few prefixes as the group may have. The surplus is never taken from space that the group excludes, nor from
/// private or other special space.
fn fitted(
    spec: &GroupSpec,
    prefixes: PrefixSet,
    excluded: &PrefixSet,
) -> Result<Fitted, Diagnostic> {
    let Some((budget, span)) =
        spec.fit.as_ref().filter(|(budget, _)| prefixes.len() > budget.get())
    else {
        return Ok(Fitted { set: prefixes, surplus: PrefixSet::new() });
    };
    let mut special = special::special_v4().union(special::special_v6());
    if spec.cloud == Cloud::Example {
        // Its tags are documentation space, as far as they are anything.
        special = special.difference(special::documentation());
    }
    prefix::fit(&prefixes, budget.get(), &special.union(excluded)).map_err(|unfit| {
        Diagnostic::new(format!(
            "group `{}` does not fit into {budget} prefixes: {unfit}",
            spec.name
        ))
        .at(span.clone())
        .help(format!(
            "set fit = {} or more, exclude less, select regional tags, or split the group",
            unfit.needed
        ))
    })
}

/// The addresses that a group's hostnames are known by, and the names that have none yet.
fn addresses_of(spec: &GroupSpec, hosts: &HostAddresses) -> (PrefixSet, Vec<HostName>) {
    let mut nets = Vec::new();
    let mut unresolved = Vec::new();
    for host in spec.hosts.iter().filter(|host| !host.is_wildcard()) {
        match hosts.get(host) {
            Some(addresses) if !addresses.is_empty() => nets.extend(addresses.iter()),
            _ => unresolved.push(host.clone()),
        }
    }
    (nets.into_iter().collect(), unresolved)
}

fn excluded_space(
    spec: &GroupSpec,
    publications: &Publications,
    selector: &TagSelector,
) -> Result<PrefixSet, Missing> {
    let snapshot = snapshot_of(publications, spec.cloud)?;
    let mut excluded = PrefixSet::new();
    for tag in lookup::tags_of(snapshot, selector)? {
        excluded = excluded.union(&space_of(snapshot, tag));
    }
    Ok(excluded)
}
