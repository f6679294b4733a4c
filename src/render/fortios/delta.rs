//! The difference of two states of a device: what a script makes or writes anew, and what it removes.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::feed::Feed;
use super::objects::{FamilyObjects, Fqdn, GroupObject, Objects, ServiceObject};
use super::policy::Policy;
use crate::render::context::batches;

/// What a script makes or writes anew: each object after those that it refers to.
#[derive(Serialize)]
pub(super) struct Scripted<'o> {
    v4: Addresses<'o>,
    v6: Addresses<'o>,
    services: Vec<&'o ServiceObject>,
    feeds: Vec<&'o Feed>,
    policies: Vec<&'o Policy>,
}

/// Addresses and groups of one family.
#[derive(Serialize)]
struct Addresses<'o> {
    /// Prefixes, one a line, some in each text.
    prefixes: Vec<String>,
    fqdns: Vec<&'o Fqdn>,
    groups: Vec<&'o GroupObject>,
}

/// What a script removes: each object after those that refer to it.
#[derive(Default, Serialize)]
pub(super) struct Gone {
    policies: Vec<u32>,
    v4: GoneAddresses,
    v6: GoneAddresses,
    services: Vec<String>,
    feeds: Vec<String>,
}

/// Addresses and groups of one family that have gone.
#[derive(Default, Serialize)]
struct GoneAddresses {
    groups: Vec<String>,
    /// Prefixes, one a line, some in each text.
    prefixes: Vec<String>,
    fqdns: Vec<String>,
}

impl<'o> Scripted<'o> {
    /// Everything.
    pub(super) fn whole(now: &'o Objects) -> Self {
        let [v4, v6] = &now.families;
        let addresses = |family: &'o FamilyObjects| Addresses {
            prefixes: batches(&family.v4, &family.v6),
            fqdns: family.fqdns.iter().collect(),
            groups: family.groups.iter().collect(),
        };
        Self {
            v4: addresses(v4),
            v6: addresses(v6),
            services: now.services.iter().collect(),
            feeds: now.feeds.iter().collect(),
            policies: now.policies.iter().collect(),
        }
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        let none = |family: &Addresses<'_>| {
            family.prefixes.is_empty() && family.fqdns.is_empty() && family.groups.is_empty()
        };
        none(&self.v4)
            && none(&self.v6)
            && self.services.is_empty()
            && self.feeds.is_empty()
            && self.policies.is_empty()
    }
}

impl Gone {
    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        let none = |family: &GoneAddresses| {
            family.prefixes.is_empty() && family.fqdns.is_empty() && family.groups.is_empty()
        };
        none(&self.v4)
            && none(&self.v6)
            && self.services.is_empty()
            && self.feeds.is_empty()
            && self.policies.is_empty()
    }
}

/// What leads from one state to the other.
pub(super) fn between<'o>(before: &Objects, now: &'o Objects) -> (Scripted<'o>, Gone) {
    let (v4, gone_v4) = family(&before.families[0], &now.families[0]);
    let (v6, gone_v6) = family(&before.families[1], &now.families[1]);
    let (services, gone_services) =
        changed(&before.services, &now.services, |service| service.name.clone(), PartialEq::eq);
    let (feeds, gone_feeds) =
        changed(&before.feeds, &now.feeds, |feed| feed.name.clone(), Feed::is_defined_as);
    // The connection that checks a policy is of no concern to the device.
    let same =
        |old: &Policy, new: &Policy| *old == Policy { probe: old.probe.clone(), ..new.clone() };
    let (policies, gone_policies) =
        changed(&before.policies, &now.policies, |policy| policy.id.to_string(), same);
    let gone = Gone {
        policies: gone_policies.into_iter().map(|policy| policy.id).collect(),
        v4: gone_v4,
        v6: gone_v6,
        services: gone_services.into_iter().map(|service| service.name.clone()).collect(),
        feeds: gone_feeds.into_iter().map(|feed| feed.name.clone()).collect(),
    };
    (Scripted { v4, v6, services, feeds, policies }, gone)
}

fn family<'o>(before: &FamilyObjects, now: &'o FamilyObjects) -> (Addresses<'o>, GoneAddresses) {
    let (fqdns, gone_fqdns) =
        changed(&before.fqdns, &now.fqdns, |fqdn| fqdn.name.clone(), PartialEq::eq);
    let (groups, mut gone_groups) =
        changed(&before.groups, &now.groups, |group| group.name.clone(), PartialEq::eq);
    // A group stands after its members, so it goes before them.
    gone_groups.reverse();
    let made = Addresses {
        prefixes: batches(&without(&now.v4, &before.v4), &without(&now.v6, &before.v6)),
        fqdns,
        groups,
    };
    let gone = GoneAddresses {
        groups: gone_groups.into_iter().map(|group| group.name.clone()).collect(),
        prefixes: batches(&without(&before.v4, &now.v4), &without(&before.v6, &now.v6)),
        fqdns: gone_fqdns.into_iter().map(|fqdn| fqdn.name.clone()).collect(),
    };
    (made, gone)
}

/// The sorted nets that are not among the other sorted nets.
fn without<N: Ord + Copy>(nets: &[N], other: &[N]) -> Vec<N> {
    nets.iter().filter(|net| other.binary_search(net).is_err()).copied().collect()
}

/// Which objects are new or other than before, and which have gone.
fn changed<'b, 'n, O>(
    before: &'b [O],
    now: &'n [O],
    key: impl Fn(&O) -> String,
    same: impl Fn(&O, &O) -> bool,
) -> (Vec<&'n O>, Vec<&'b O>) {
    let old: HashMap<String, &O> = before.iter().map(|object| (key(object), object)).collect();
    let new: HashSet<String> = now.iter().map(&key).collect();
    let made = now
        .iter()
        .filter(|object| !old.get(&key(object)).is_some_and(|before| same(before, object)))
        .collect();
    let gone = before.iter().filter(|object| !new.contains(&key(object))).collect();
    (made, gone)
}
