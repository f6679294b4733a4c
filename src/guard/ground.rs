//! What both publications say about the tags of one cloud, and what one of them says about the other.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use ipnet::{IpNet, Ipv4Net};
use jiff::Timestamp;

use super::belief::Believed;
use super::neighbourhoods;
use crate::prefix::PrefixSet;
use crate::snapshot::{Cloud, ServiceTag, Snapshot, TagName};

/// The tag that holds nearly all space of its cloud, and its regions' tags.
const AZURE_CLOUD: &str = "AzureCloud";

/// One selected tag in both publications.
#[derive(Debug)]
pub(super) struct TagState {
    /// What is in force: believed space with grace and held removals.
    pub(super) before: PrefixSet,
    /// What is published; empty for a vanished tag.
    pub(super) published: PrefixSet,
    /// What was withdrawn and is still open.
    pub(super) grace: PrefixSet,
    /// Whether the tag is published no more.
    pub(super) vanished: bool,
    /// Whether nothing of it was judged yet although it was published before.
    pub(super) unjudged: bool,
    /// Its region; empty for a global tag.
    pub(super) region: Box<str>,
}

/// The two publications.
pub(super) struct Ground<'g> {
    pub(super) cloud: Cloud,
    /// None for the first publication.
    pub(super) believed: Option<&'g Snapshot>,
    pub(super) offered: &'g Snapshot,
    /// By tag, for all tags that a scope names.
    pub(super) tags: BTreeMap<TagName, TagState>,
    /// How long between the two, in weeks; one at least.
    pub(super) weeks: f64,
    /// The blocks in which additions are ordinary.
    pub(super) neighbourhoods: PrefixSet,
    /// Space of other clouds, as far as it is known.
    pub(super) foreign: Vec<(Cloud, PrefixSet)>,
    spaces: RefCell<BTreeMap<(bool, TagName), Rc<PrefixSet>>>,
    everything: OnceCell<PrefixSet>,
    kept: OnceCell<Option<f64>>,
}

impl<'g> Ground<'g> {
    pub(super) fn new(
        cloud: Cloud,
        believed: Option<(&'g Snapshot, &Believed)>,
        offered: &'g Snapshot,
        weeks: f64,
        now: Timestamp,
        allowed: &PrefixSet,
    ) -> Self {
        let mut neighbourhoods = neighbourhoods::shipped().union(allowed);
        if let Some((_, kept)) = believed {
            neighbourhoods = neighbourhoods.union(&neighbourhoods::settled(&kept.blocks, now));
        }
        let mut foreign: Vec<(Cloud, PrefixSet)> = Vec::new();
        for (of, blocks) in neighbourhoods::own_blocks() {
            if *of != cloud && cloud != Cloud::Example {
                foreign.push((*of, blocks.clone()));
            }
        }
        Self {
            cloud,
            believed: believed.map(|(snapshot, _)| snapshot),
            offered,
            tags: BTreeMap::new(),
            weeks,
            neighbourhoods,
            foreign,
            spaces: RefCell::default(),
            everything: OnceCell::new(),
            kept: OnceCell::new(),
        }
    }

    /// The state of a tag that a scope names.
    pub(super) fn tag(&self, name: &TagName) -> Option<&TagState> {
        self.tags.get(name)
    }

    /// The space of any tag of the new (or the old) publication; none where it is not there.
    fn space(&self, offered: bool, name: &TagName) -> Option<Rc<PrefixSet>> {
        let snapshot = if offered { self.offered } else { self.believed? };
        let tag = snapshot.tag(name.as_str())?;
        let key = (offered, tag.name().clone());
        let mut spaces = self.spaces.borrow_mut();
        let space = spaces.entry(key).or_insert_with(|| Rc::new(space_of(snapshot, tag)));
        Some(Rc::clone(space))
    }

    /// The tags within which a tag lies by the custom of all real publications: its region's AzureCloud and its service's tag of
    /// all regions, or for a tag of all regions AzureCloud.
    fn around(&self, tag: &TagName, state: &TagState) -> Vec<(Custom, TagName)> {
        let mut around = Vec::new();
        if tag.service().eq_ignore_ascii_case(AZURE_CLOUD) {
            return around;
        }
        let Some(_) = tag.suffix() else {
            around.extend(TagName::new(AZURE_CLOUD).map(|within| (Custom::AzureCloud, within)));
            return around;
        };
        let of_region = |snapshot: &Snapshot| {
            let mut tags = snapshot.tags().iter();
            let found = tags.find(|other| {
                other.name().service().eq_ignore_ascii_case(AZURE_CLOUD)
                    && other.name().suffix().is_some()
                    && other.region().eq_ignore_ascii_case(&state.region)
            })?;
            Some(found.name().clone())
        };
        if !state.region.is_empty() {
            let region = self.believed.and_then(of_region).or_else(|| of_region(self.offered));
            around.extend(region.map(|within| (Custom::Region, within)));
        }
        around.extend(TagName::new(tag.service()).map(|within| (Custom::Service, within)));
        around
    }

    /// The part of an addition to a tag that leaves the tags within which all of the tag lay before, with the custom that it breaks. A few single
    /// addresses break none, unless `strict`.
    pub(super) fn strays(
        &self,
        tag: &TagName,
        state: &TagState,
        added: &PrefixSet,
        strict: bool,
    ) -> Vec<(Custom, TagName, PrefixSet)> {
        let mut strays = Vec::new();
        for (custom, within) in self.around(tag, state) {
            let Some(before) = self.space(false, &within) else { continue };
            let outside = state.before.difference(&before);
            if !nearly_none(&outside, &state.before) {
                continue;
            }
            let stray = match self.space(true, &within) {
                Some(published) => added.difference(&published),
                None => added.difference(&before),
            };
            // A document that is wrong as a whole bears itself out: then only what was believed before counts.
            let stray = if strict { stray.union(&added.difference(&before)) } else { stray };
            // No regional tag ever left its service's tag of all regions; of the other customs a few single addresses are free,
            // where the cloud has others close by.
            let exact = strict || custom == Custom::Service && outside.is_empty();
            if more_than_strays(&stray) || exact && !stray.is_empty() || !self.lies_close(&stray) {
                strays.push((custom, within, stray));
            }
        }
        strays
    }

    /// The same for a tag that is judged for the first time: nothing was before, so only what is plainly elsewhere strays.
    pub(super) fn first_strays(
        &self,
        tag: &TagName,
        state: &TagState,
    ) -> Vec<(Custom, TagName, PrefixSet)> {
        let mut strays = Vec::new();
        for (custom, within) in self.around(tag, state) {
            let Some(published) = self.space(true, &within) else { continue };
            // Of tags of all regions only some lie in AzureCloud.
            if custom == Custom::AzureCloud {
                continue;
            }
            let stray = state.published.difference(&published);
            if more_than_strays(&stray) && !at_most(&stray, &state.published, FIRST_STRAY_SHARE) {
                strays.push((custom, within, stray));
            }
        }
        strays
    }

    /// The space of other services in a set, by the tag that has it. Tags that overlap with this one by custom do not count.
    pub(super) fn of_other_services(
        &self,
        tag: &TagName,
        state: &TagState,
        added: &PrefixSet,
        first: bool,
    ) -> Vec<(TagName, PrefixSet)> {
        let mut found = Vec::new();
        let snapshot = if first { Some(self.offered) } else { self.believed };
        let Some(snapshot) = snapshot else { return found };
        if tag.service().eq_ignore_ascii_case(AZURE_CLOUD) {
            return found;
        }
        for other in snapshot.tags() {
            let name = other.name();
            let regional = name.suffix().is_some();
            if name.service().eq_ignore_ascii_case(AZURE_CLOUD)
                || related(name.service(), tag.service())
                || regional && snapshot.tag(name.service()).is_some()
            {
                continue;
            }
            let Some(space) = self.space(first, name) else { continue };
            let common = added.intersection(&space);
            if common.is_empty() {
                continue;
            }
            let much = |common: u128, all: u128| {
                common >= OTHER_SERVICE_ADDRESSES || all >= LARGE && share(common, all) >= 0.25
            };
            let suspicious = much(v4(&common), v4(&space)) || much(v6(&common), v6(&space));
            let custom = !first && {
                let overlap = state.before.intersection(&space);
                let much = |part: u128, all: u128| share(part, all) >= CUSTOMARY_OVERLAP;
                much(v4(&overlap), v4(&space).min(v4(&state.before)))
                    || much(v6(&overlap), v6(&space).min(v6(&state.before)))
            };
            if suspicious && !custom {
                found.push((name.clone(), common));
            }
        }
        found
    }

    /// All that any tag of what is believed has.
    fn everything(&self) -> &PrefixSet {
        self.everything.get_or_init(|| self.believed.map(space_of_all).unwrap_or_default())
    }

    /// The part of an addition that no tag of what is believed has.
    pub(super) fn never_seen(&self, added: &PrefixSet) -> PrefixSet {
        added.difference(self.everything())
    }

    /// Whether every address lies where the cloud has others close by: an address of another cloud, or of a stranger, does not.
    fn lies_close(&self, set: &PrefixSet) -> bool {
        set.v4().iter().all(|net| {
            let length = net.prefix_len().min(CLOSE_BITS);
            let around = Ipv4Net::new_assert(net.addr(), length).trunc();
            self.everything().overlaps(IpNet::V4(around))
        })
    }

    /// How much of all that is believed the new publication still has, when that is less than half: then it is another
    /// document, of another cloud or cut short, and bears itself out by its own tags. None when it goes on from what is believed.
    pub(super) fn other_document(&self) -> Option<f64> {
        *self.kept.get_or_init(|| {
            let before = self.everything();
            if v4(before) < LARGE {
                return None;
            }
            let kept = share(v4(&before.intersection(&space_of_all(self.offered))), v4(before));
            (kept < SAME_DOCUMENT).then_some(kept)
        })
    }

    /// The part of an addition that neither the new AzureCloud nor any tag of what is believed has.
    pub(super) fn outside_azure(&self, added: &PrefixSet) -> PrefixSet {
        let azure = TagName::new(AZURE_CLOUD).and_then(|name| self.space(true, &name));
        match azure {
            Some(azure) => self.never_seen(&added.difference(&azure)),
            // A cloud without that tag has nothing to compare with.
            None => PrefixSet::new(),
        }
    }

    /// The IPv6 space that a regional tag gives back to its service: a prefix was narrowed to the part in use (a quarter of it at
    /// least), and the rest still is in the service's tag of all regions. Azure gives whole /48s first and trims them later.
    pub(super) fn given_back(
        &self,
        tag: &TagName,
        state: &TagState,
        lost: &PrefixSet,
    ) -> PrefixSet {
        let service = TagName::new(tag.service()).filter(|_| tag.suffix().is_some());
        let Some(service) = service.and_then(|service| self.space(true, &service)) else {
            return PrefixSet::new();
        };
        let narrowed = state.before.v6().iter().copied().filter(|net| {
            let whole = PrefixSet::from(IpNet::V6(*net));
            let rest = v6(&whole.intersection(&state.published));
            share(rest, v6(&whole)) >= KEPT_IN_USE
        });
        let narrowed = PrefixSet::from_parts(Vec::new(), narrowed.collect());
        lost.intersection(&narrowed).intersection(&service)
    }

    /// The tag that carries most of the space of one that vanished.
    pub(super) fn renamed(&self, state: &TagState) -> Option<TagName> {
        let mut best: Option<&ServiceTag> = None;
        for other in self.offered.tags() {
            // A tag that was there before had its own space already.
            let known = self.believed.is_some_and(|old| old.tag(other.name().as_str()).is_some());
            if known || best.is_some_and(|best| best.prefix_count() <= other.prefix_count()) {
                continue;
            }
            let common = state.before.intersection(&space_of(self.offered, other));
            let most = |part: u128, all: u128| all > 0 && share(part, all) > 0.5;
            if most(v4(&common), v4(&state.before)) || most(v6(&common), v6(&state.before)) {
                // The narrowest of those that carry it: AzureCloud carries everything.
                best = Some(other);
            }
        }
        best.map(|other| other.name().clone())
    }
}

/// A custom of real publications that a new prefix may break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Custom {
    /// A regional tag lies in its region's AzureCloud.
    Region,
    /// A regional tag lies in its service's tag of all regions.
    Service,
    /// A tag of all regions lies in AzureCloud.
    AzureCloud,
}

/// Real publications have tags with a few single addresses outside: so few break no custom.
const STRAYS: u128 = 8;
/// The same as a share of the tag.
const STRAY_SHARE: f64 = 0.02;
/// A single address outside has others of its cloud within the block of this length.
const CLOSE_BITS: u8 = 20;
/// A tag that is judged for the first time may have this share outside.
const FIRST_STRAY_SHARE: f64 = 0.25;
/// A publication that has less than this share of all that is believed does not go on from it: over fourteen weeks without one,
/// real ones kept nearly all.
const SAME_DOCUMENT: f64 = 0.5;
/// An IPv6 prefix of which this share is left was narrowed, not lost.
const KEPT_IN_USE: f64 = 0.25;
/// Fewer addresses of another service are no takeover.
const OTHER_SERVICE_ADDRESSES: u128 = 256;
/// Two services that share this much of the smaller one overlap by custom.
const CUSTOMARY_OVERLAP: f64 = 0.01;
/// A tag of this many addresses is large.
pub(super) const LARGE: u128 = 1024;

fn nearly_none(outside: &PrefixSet, all: &PrefixSet) -> bool {
    at_most(outside, all, STRAY_SHARE)
}

fn at_most(part: &PrefixSet, all: &PrefixSet, most: f64) -> bool {
    let within = |part: u128, all: u128| share(part, all) <= most;
    within(v4(part), v4(all)) && within(v6(part), v6(all))
}

fn more_than_strays(stray: &PrefixSet) -> bool {
    v4(stray) > STRAYS || v6(stray) > STRAYS
}

/// Whether two services are of one family by their names, as DataFactory and DataFactoryManagement are, which overlap by custom.
fn related(one: &str, other: &str) -> bool {
    let (one, other) = (one.to_ascii_lowercase(), other.to_ascii_lowercase());
    one.starts_with(&other) || other.starts_with(&one)
}

pub(super) fn v4(set: &PrefixSet) -> u128 {
    u128::from(set.v4_addresses())
}

pub(super) fn v6(set: &PrefixSet) -> u128 {
    set.v6_addresses()
}

pub(super) fn space_of(snapshot: &Snapshot, tag: &ServiceTag) -> PrefixSet {
    PrefixSet::from_parts(snapshot.v4(tag).to_vec(), snapshot.v6(tag).to_vec())
}

fn space_of_all(snapshot: &Snapshot) -> PrefixSet {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for tag in snapshot.tags() {
        v4.extend_from_slice(snapshot.v4(tag));
        v6.extend_from_slice(snapshot.v6(tag));
    }
    PrefixSet::from_parts(v4, v6)
}

/// A part of a whole; of nothing, any part is more than all.
#[expect(clippy::cast_precision_loss, reason = "a share needs no 53 bits")]
pub(super) fn share(part: u128, all: u128) -> f64 {
    match (part, all) {
        (0, _) => 0.0,
        (_, 0) => f64::INFINITY,
        (part, all) => part as f64 / all as f64,
    }
}
