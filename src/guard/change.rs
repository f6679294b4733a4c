//! What changed in a belief, as the audit trail keeps it: small where little changed, and enough to make the one of the other.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::belief::{Belief, Believed};
use super::document::BeliefError;
use super::hold::{Decision, Hold, HoldId};
use crate::snapshot::{Cloud, Features, Publication, ServiceTag, Snapshot, TagContent, TagName};

/// What changed in a belief.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct BeliefChange {
    /// Clouds of which something changed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    clouds: BTreeMap<Cloud, CloudChange>,
    /// Clouds of which nothing is believed any more.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    forgotten: BTreeSet<Cloud>,
    /// Holds that are new or differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    holds: Vec<Hold>,
    /// The order of all holds, when it or any of them changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<Vec<HoldId>>,
    /// All decisions that still count, when any changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    decisions: Option<Vec<Decision>>,
}

/// What changed in what is believed of a cloud.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct CloudChange {
    change_number: u64,
    source: String,
    date: Option<jiff::civil::Date>,
    believed: Believed,
    /// Tags that are new or differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<TagChange>,
    /// Tags that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gone: Vec<TagName>,
    /// The order of all tags, where it is another than that of the tags before with the new ones behind: the first tag of a service
    /// in a region is the one that counts there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order: Option<Vec<TagName>>,
}

/// A tag that is new or differs: what it is now, and the prefixes that came and went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct TagChange {
    name: TagName,
    change: u64,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    region: Box<str>,
    #[serde(default, skip_serializing_if = "is_zero")]
    region_id: u32,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    service: Box<str>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    features: Vec<Box<str>>,
    #[serde(default, skip_serializing_if = "Prefixes::is_empty")]
    added: Prefixes,
    #[serde(default, skip_serializing_if = "Prefixes::is_empty")]
    removed: Prefixes,
}

/// Prefixes as they were published.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Prefixes {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    v4: Vec<Ipv4Net>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    v6: Vec<Ipv6Net>,
}

impl Prefixes {
    fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over like this")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Belief {
    /// What changed in this belief since an older one.
    pub fn change_since(&self, old: &Self) -> BeliefChange {
        let known = |hold: &&Hold| old.hold(&hold.id) != Some(*hold);
        let ids = |belief: &Self| belief.holds.iter().map(|hold| hold.id.clone()).collect();
        BeliefChange {
            clouds: self
                .clouds
                .iter()
                .filter_map(|(cloud, believed)| {
                    let publication = self.publications.get(cloud)?;
                    let change = of_cloud(publication, believed, old, *cloud)?;
                    Some((*cloud, change))
                })
                .collect(),
            forgotten: old.clouds().difference(&self.clouds()).copied().collect(),
            holds: self.holds.iter().filter(known).cloned().collect(),
            held: (self.holds != old.holds).then(|| ids(self)),
            decisions: (self.decisions != old.decisions).then(|| self.decisions.clone()),
        }
    }

    /// The belief after a change.
    pub fn changed_by(mut self, change: &BeliefChange) -> Result<Self, BeliefError> {
        for cloud in &change.forgotten {
            self.publications.remove(cloud);
            self.clouds.remove(cloud);
        }
        for (cloud, change) in &change.clouds {
            let publication = apply(self.publications.get(cloud), *cloud, change)?;
            self.publications.insert(*cloud, publication);
            self.clouds.insert(*cloud, change.believed.clone());
        }
        if let Some(held) = &change.held {
            let find = |id: &HoldId| {
                let changed = change.holds.iter().find(|hold| hold.id == *id);
                let known = changed.or_else(|| self.hold(id));
                known.cloned().ok_or_else(|| BeliefError::Damaged(format!("hold {id} is missing")))
            };
            self.holds = held.iter().map(find).collect::<Result<_, _>>()?;
        }
        if let Some(decisions) = &change.decisions {
            self.decisions.clone_from(decisions);
        }
        Ok(self)
    }
}

impl BeliefChange {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn of_cloud(
    publication: &Publication,
    believed: &Believed,
    old: &Belief,
    cloud: Cloud,
) -> Option<CloudChange> {
    let known = old.publications.get(&cloud);
    let snapshot = &publication.snapshot;
    let (mut tags, mut gone, mut order) = (Vec::new(), Vec::new(), None);
    // Equal digests are not enough: they do not tell in which order tags and prefixes stand.
    if known.is_none_or(|known| !std::ptr::eq(&raw const *known.snapshot, &raw const **snapshot)) {
        let before = known.map(|known| &*known.snapshot);
        for tag in snapshot.tags() {
            let now = snapshot.content(tag);
            let was = before.and_then(|before| {
                // The exact name: one that differs in case only is another.
                let tag = before.tag(now.name.as_str()).filter(|tag| *tag.name() == now.name)?;
                Some(before.content(tag))
            });
            if was.as_ref() != Some(&now) {
                tags.push(of_tag(now, was));
            }
        }
        let left = || before.into_iter().flat_map(Snapshot::tags).map(ServiceTag::name);
        gone.extend(left().filter(|name| !has(snapshot, name)).cloned());
        let stays = left().filter(|name| has(snapshot, name));
        let is_new = |name: &&TagName| before.is_none_or(|before| !has(before, name));
        let expected = stays.chain(snapshot.tags().iter().map(ServiceTag::name).filter(is_new));
        let actual = || snapshot.tags().iter().map(ServiceTag::name);
        if !actual().eq(expected) {
            order = Some(actual().cloned().collect());
        }
    }
    let change = CloudChange {
        change_number: snapshot.change_number(),
        source: publication.source.clone(),
        date: publication.date,
        believed: believed.clone(),
        tags,
        gone,
        order,
    };
    let same = known.is_some_and(|known| {
        known.snapshot.change_number() == change.change_number
            && known.source == change.source
            && known.date == change.date
    });
    let nothing = same
        && old.clouds.get(&cloud) == Some(believed)
        && change.tags.is_empty()
        && change.gone.is_empty()
        && change.order.is_none();
    (!nothing).then_some(change)
}

fn has(snapshot: &Snapshot, name: &TagName) -> bool {
    snapshot.tag(name.as_str()).is_some_and(|tag| tag.name() == name)
}

fn of_tag(now: TagContent, was: Option<TagContent>) -> TagChange {
    let (v4, v6) = was.map(|was| (was.v4, was.v6)).unwrap_or_default();
    TagChange {
        added: Prefixes { v4: missing_in(&v4, &now.v4), v6: missing_in(&v6, &now.v6) },
        removed: Prefixes { v4: missing_in(&now.v4, &v4), v6: missing_in(&now.v6, &v6) },
        features: now.features.names().map(Into::into).collect(),
        name: now.name,
        change: now.change_number,
        region: now.region,
        region_id: now.region_id,
        service: now.system_service,
    }
}

/// What one list has and the other does not, in its order.
fn missing_in<N: Copy + Ord>(other: &[N], list: &[N]) -> Vec<N> {
    let other: BTreeSet<&N> = other.iter().collect();
    list.iter().filter(|net| !other.contains(net)).copied().collect()
}

/// A cloud's publication after a change.
fn apply(
    before: Option<&Publication>,
    cloud: Cloud,
    change: &CloudChange,
) -> Result<Publication, BeliefError> {
    let mut contents: BTreeMap<TagName, TagContent> = before
        .iter()
        .flat_map(|before| before.snapshot.tags().iter().map(|tag| before.snapshot.content(tag)))
        .map(|content| (content.name.clone(), content))
        .collect();
    for name in &change.gone {
        contents.remove(name);
    }
    for tag in &change.tags {
        let was = contents.remove(&tag.name).map(|was| (was.v4, was.v6)).unwrap_or_default();
        let content = TagContent {
            name: tag.name.clone(),
            change_number: tag.change,
            region: tag.region.clone(),
            region_id: tag.region_id,
            system_service: tag.service.clone(),
            features: Features::from_names(tag.features.iter().map(AsRef::as_ref)),
            v4: edited(was.0, &tag.removed.v4, &tag.added.v4),
            v6: edited(was.1, &tag.removed.v6, &tag.added.v6),
        };
        contents.insert(tag.name.clone(), content);
    }
    let order = change.order.clone().unwrap_or_else(|| {
        let tags = before.into_iter().flat_map(|before| before.snapshot.tags());
        let mut names: Vec<TagName> = tags.map(|tag| tag.name().clone()).collect();
        let new = change.tags.iter().map(|tag| &tag.name).filter(|name| !names.contains(name));
        let new: Vec<TagName> = new.cloned().collect();
        names.extend(new);
        names
    });
    let in_order = order.iter().filter_map(|name| contents.remove(name)).collect::<Vec<_>>();
    if !contents.is_empty() {
        return Err(BeliefError::Damaged("a change leaves out the place of a tag".to_owned()));
    }
    let snapshot = Snapshot::of_tags(cloud, change.change_number, in_order)
        .map_err(|fault| BeliefError::Damaged(fault.to_string()))?;
    Ok(Publication::new(snapshot, change.source.clone()).dated(change.date))
}

fn edited<N: Copy + Ord>(mut list: Vec<N>, removed: &[N], added: &[N]) -> Vec<N> {
    let removed: BTreeSet<&N> = removed.iter().collect();
    list.retain(|net| !removed.contains(net));
    list.extend_from_slice(added);
    list.sort_unstable();
    list
}
