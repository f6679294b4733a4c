//! From the objects of one rule set to those of the next, in an order that a device accepts.
//!
//! First what is new is created and what changes is extended; then rules, members and groups let go of what has gone;
//! only then it is removed, as an object in use cannot be. `set` adds members and so needs each removal said; in XML
//! `edit` replaces the members of a group or rule at once.

use std::collections::BTreeMap;

use serde::Serialize;
use tera::Context;

use super::objects::{Content, Group, Member, Objects};
use super::view;
use crate::config::Panos;

/// What is to be done.
pub(super) struct Delta {
    /// New objects, and changed groups with their new members only: for `set`, which adds.
    added: Objects,
    /// New and changed groups with all their members: for `edit`, which replaces.
    replaced: BTreeMap<String, Group>,
    /// Groups, addresses and FQDN objects that lose something, and whose whole is to be replaced by `edit`.
    retagged: Objects,
    /// Rules that have gone.
    rules_gone: Vec<String>,
    /// Rules of decryption that have gone.
    decryption_gone: Vec<String>,
    /// Rulebase, rule, and what of it has gone (`source X`, `description`).
    of_rules_gone: Vec<(&'static str, String, String)>,
    /// Group and member that has gone.
    members_gone: Vec<(String, Member)>,
    /// Groups that have gone: those that name pieces come first.
    groups_gone: Vec<String>,
    /// Address or FQDN object, and tag that has gone.
    tags_off: Vec<(String, String)>,
    addresses_gone: Vec<ipnet::IpNet>,
    objects_gone: Vec<Gone>,
    /// Whether there are new rules, which need their place.
    new_rules: bool,
    prefix: String,
}

/// An object that has gone.
#[derive(Serialize)]
struct Gone {
    /// `address`, `service`, `external-list` or `tag`.
    kind: &'static str,
    name: String,
}

/// Compares.
pub(super) fn between(old: &Objects, new: &Objects, prefix: &str) -> Delta {
    let mut delta = Delta {
        added: Objects::default(),
        replaced: BTreeMap::new(),
        retagged: Objects::default(),
        rules_gone: gone(&old.rules, &new.rules),
        decryption_gone: gone(&old.decryption, &new.decryption),
        of_rules_gone: Vec::new(),
        members_gone: Vec::new(),
        groups_gone: Vec::new(),
        tags_off: Vec::new(),
        addresses_gone: Vec::new(),
        objects_gone: Vec::new(),
        new_rules: new.rules.keys().any(|name| !old.rules.contains_key(name)),
        prefix: prefix.to_owned(),
    };
    delta.added.tags = changed(&old.tags, &new.tags);
    delta.added.services = changed(&old.services, &new.services);
    // What a list is called on the device and where it lies; how much is in it is no change of the object.
    delta.added.lists = new
        .lists
        .iter()
        .filter(|(name, list)| old.lists.get(*name).is_none_or(|old| old.file != list.file))
        .map(|(name, list)| (name.clone(), list.clone()))
        .collect();
    delta.rules(old, new);
    delta.groups(old, new);
    delta.addresses(old, new);
    delta.fqdns(old, new);
    for (kind, names) in [
        ("address", gone(&old.fqdns, &new.fqdns)),
        ("service", gone(&old.services, &new.services)),
        ("external-list", gone(&old.lists, &new.lists)),
        ("tag", gone(&old.tags, &new.tags)),
    ] {
        delta.objects_gone.extend(names.into_iter().map(|name| Gone { kind, name }));
    }
    delta
}

fn gone<V>(old: &BTreeMap<String, V>, new: &BTreeMap<String, V>) -> Vec<String> {
    old.keys().filter(|name| !new.contains_key(*name)).cloned().collect()
}

fn changed<V: Clone + PartialEq>(
    old: &BTreeMap<String, V>,
    new: &BTreeMap<String, V>,
) -> BTreeMap<String, V> {
    new.iter()
        .filter(|(name, value)| old.get(*name) != Some(*value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

impl Delta {
    fn rules(&mut self, old: &Objects, new: &Objects) {
        self.added.rules = changed(&old.rules, &new.rules);
        self.added.decryption = changed(&old.decryption, &new.decryption);
        for (base, old, changed) in [
            ("security", &old.rules, &self.added.rules),
            ("decryption", &old.decryption, &self.added.decryption),
        ] {
            for (name, rule) in changed {
                let Some(before) = old.get(name) else { continue };
                for (field, before, after) in [
                    ("source", &before.source, &rule.source),
                    ("destination", &before.destination, &rule.destination),
                    ("service", &before.services, &rule.services),
                ] {
                    let gone = before.difference(after);
                    self.of_rules_gone.extend(
                        gone.map(|member| (base, name.clone(), format!("{field} {member}"))),
                    );
                }
                if before.description.is_some() && rule.description.is_none() {
                    self.of_rules_gone.push((base, name.clone(), "description".to_owned()));
                }
            }
        }
    }

    fn groups(&mut self, old: &Objects, new: &Objects) {
        self.replaced = changed(&old.groups, &new.groups);
        for (name, group) in &self.replaced {
            let mut added = group.clone();
            if let (Content::Static { members: after, .. }, Some(before)) =
                (&group.content, old.groups.get(name))
                && let Content::Static { members: before, .. } = &before.content
            {
                let missing = |in_these: &[Member], of: &[Member]| -> Vec<Member> {
                    let missing = |member: &&Member| in_these.binary_search(member).is_err();
                    of.iter().filter(missing).cloned().collect()
                };
                if let Content::Static { members, .. } = &mut added.content {
                    *members = missing(before, after);
                }
                let gone = missing(after, before);
                self.members_gone.extend(gone.into_iter().map(|member| (name.clone(), member)));
            }
            self.added.groups.insert(name.clone(), added);
        }
        let gone = gone(&old.groups, &new.groups);
        let is_piece = |name: &String| {
            matches!(
                old.groups.get(name).map(|group| &group.content),
                Some(Content::Static { piece: true, .. })
            )
        };
        let (pieces, whole): (Vec<_>, Vec<_>) = gone.into_iter().partition(is_piece);
        self.groups_gone = whole.into_iter().chain(pieces).collect();
    }

    fn addresses(&mut self, old: &Objects, new: &Objects) {
        let find = |all: &Objects, net: &ipnet::IpNet| {
            let found = all.addresses.binary_search_by(|address| address.net.cmp(net));
            found.ok().map(|index| all.addresses[index].clone())
        };
        for address in &new.addresses {
            let before = find(old, &address.net);
            if before.as_ref() == Some(address) {
                continue;
            }
            let name = super::objects::address_name(&self.prefix, address.net);
            let off = before.iter().flat_map(|before| &before.tags);
            let off: Vec<_> = off.filter(|tag| !address.tags.contains(tag)).cloned().collect();
            let whole = if off.is_empty() { &mut self.added } else { &mut self.retagged };
            whole.addresses.push(address.clone());
            self.tags_off.extend(off.into_iter().map(|tag| (name.clone(), tag)));
        }
        let gone = |address: &&super::objects::Address| find(new, &address.net).is_none();
        self.addresses_gone = old.addresses.iter().filter(gone).map(|gone| gone.net).collect();
    }

    fn fqdns(&mut self, old: &Objects, new: &Objects) {
        for (name, fqdn) in changed(&old.fqdns, &new.fqdns) {
            let off = old.fqdns.get(&name).into_iter().flat_map(|before| &before.tags);
            let off: Vec<_> = off.filter(|tag| !fqdn.tags.contains(tag)).cloned().collect();
            let whole = if off.is_empty() { &mut self.added } else { &mut self.retagged };
            whole.fqdns.insert(name.clone(), fqdn);
            self.tags_off.extend(off.into_iter().map(|tag| (name.clone(), tag)));
        }
    }

    /// Whether nothing is to be done.
    pub(super) fn is_empty(&self) -> bool {
        let Self { added, retagged, .. } = self;
        [added, retagged].iter().all(|objects| {
            objects.tags.is_empty()
                && objects.addresses.is_empty()
                && objects.fqdns.is_empty()
                && objects.groups.is_empty()
                && objects.services.is_empty()
                && objects.lists.is_empty()
                && objects.rules.is_empty()
                && objects.decryption.is_empty()
        }) && self.rules_gone.is_empty()
            && self.decryption_gone.is_empty()
            && self.groups_gone.is_empty()
            && self.addresses_gone.is_empty()
            && self.objects_gone.is_empty()
    }

    /// What the templates are given. `set` takes the objects that are added, with retagged ones among them (it adds their new
    /// tags); `xml` the groups as a whole, and the retagged ones apart.
    pub(super) fn insert(mut self, context: &mut Context, new: &Objects, settings: &Panos) {
        if settings.format == crate::config::PanosFormat::Xml {
            self.added.groups = std::mem::take(&mut self.replaced);
        } else {
            self.added.addresses.append(&mut self.retagged.addresses);
            self.added.addresses.sort_unstable_by_key(|address| address.net);
            self.added.fqdns.append(&mut self.retagged.fqdns);
        }
        let mut retagged = Context::new();
        view::insert(&mut retagged, &self.retagged, settings);
        view::insert(context, &self.added, settings);
        if self.new_rules {
            view::insert_moves(context, new, settings);
        } else {
            context.insert("moves", &Vec::<String>::new());
        }
        for key in ["addresses", "fqdns"] {
            if let Some(value) = retagged.get(key) {
                context.insert(format!("retagged_{key}"), value);
            }
        }
        context.insert("rules_gone", &self.rules_gone);
        context.insert("decryption_gone", &self.decryption_gone);
        let of_rules: Vec<String> = self
            .of_rules_gone
            .iter()
            .map(|(base, name, what)| format!("{base} rules {name} {what}"))
            .collect();
        context.insert("of_rules_gone", &of_rules);
        let prefix = &self.prefix;
        let members: Vec<String> = self
            .members_gone
            .iter()
            .map(|(group, member)| format!("{group} static {}", view::member_name(prefix, member)))
            .collect();
        context.insert("members_gone", &members);
        context.insert("groups_gone", &self.groups_gone);
        let tags: Vec<String> =
            self.tags_off.iter().map(|(name, tag)| format!("{name} tag {tag}")).collect();
        context.insert("tags_off", &tags);
        context.insert("addresses_gone", &view::packed(&self.addresses_gone));
        context.insert("objects_gone", &self.objects_gone);
    }
}
