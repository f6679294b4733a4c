//! What the templates of this dialect are given of [`Objects`].
//!
//! Addresses stay packed text, which the filter `each` writes out: thousands of small objects cost more than all the
//! rest of a rendering. Long lists come in batches that make one command each.

use std::collections::BTreeSet;

use serde::Serialize;
use tera::Context;

use super::objects::{Address, Content, Group, Member, Objects, Rule, address_name};
use crate::config::{Direction, Panos, PanosName, Position};
use crate::prefix::text;

/// Members in one command: the line stays below what a terminal takes.
const BATCH: usize = 50;

/// Addresses in one text: many times as many are copied about in memory that the kernel has yet to give.
const ADDRESSES: usize = 256;

/// Addresses with the same tags.
#[derive(Serialize)]
struct AddressesView<'o> {
    /// Tags beside the one that all have.
    #[serde(flatten)]
    tags: Tags<'o>,
    /// Prefixes, one a line.
    packed: String,
}

#[derive(Serialize)]
struct TagView<'o> {
    name: &'o str,
    comment: &'o str,
}

#[derive(Serialize)]
struct FqdnView<'o> {
    name: &'o str,
    host: &'o str,
    #[serde(flatten)]
    tags: Tags<'o>,
}

/// The tags of dynamic groups that an object has.
#[derive(Serialize)]
struct Tags<'o> {
    #[serde(rename = "tags")]
    names: &'o [String],
    /// ` a b`, to be written behind another.
    tag_text: String,
    /// `<member>a</member><member>b</member>`.
    tag_xml: String,
}

impl<'o> Tags<'o> {
    fn of(tags: &'o [String]) -> Self {
        Self {
            names: tags,
            tag_text: tags.iter().flat_map(|tag| [" ", tag.as_str()]).collect(),
            tag_xml: tags.iter().flat_map(|tag| ["<member>", tag.as_str(), "</member>"]).collect(),
        }
    }
}

#[derive(Serialize)]
struct GroupView<'o> {
    name: &'o str,
    dynamic: bool,
    batches: Vec<BatchView<'o>>,
}

#[derive(Serialize)]
struct BatchView<'o> {
    /// Prefixes whose address objects are members.
    packed: String,
    /// Other members.
    named: Vec<&'o str>,
}

#[derive(Serialize)]
struct ServiceView<'o> {
    name: &'o str,
    protocol: &'static str,
    ports: &'o str,
}

#[derive(Serialize)]
struct ListView<'o> {
    name: &'o str,
    file: &'o str,
}

#[derive(Serialize)]
struct RuleView<'o> {
    name: &'o str,
    from: Vec<String>,
    from_commands: Vec<String>,
    to: Vec<String>,
    to_commands: Vec<String>,
    source: Vec<Vec<&'o String>>,
    destination: Vec<Vec<&'o String>>,
    services: Vec<&'o String>,
    description: Option<&'o str>,
    description_xml: Option<String>,
    log_start: &'static str,
}

/// Inserts everything, in the order in which a device can take it.
pub(super) fn insert(context: &mut Context, objects: &Objects, settings: &Panos) {
    let tags: Vec<TagView<'_>> =
        objects.tags.iter().map(|(name, comment)| TagView { name, comment }).collect();
    context.insert("tags", &tags);
    context.insert("addresses", &addresses(&objects.addresses));
    let fqdns: Vec<FqdnView<'_>> = objects
        .fqdns
        .iter()
        .map(|(name, fqdn)| FqdnView { name, host: &fqdn.host, tags: Tags::of(&fqdn.tags) })
        .collect();
    context.insert("fqdns", &fqdns);
    context.insert("groups", &groups(objects));
    let services: Vec<ServiceView<'_>> = objects
        .services
        .iter()
        .map(|(name, service)| ServiceView {
            name,
            protocol: service.protocol.name(),
            ports: &service.ports,
        })
        .collect();
    context.insert("services", &services);
    let lists: Vec<ListView<'_>> =
        objects.lists.iter().map(|(name, list)| ListView { name, file: &list.file }).collect();
    context.insert("lists", &lists);
    for (key, rules) in [("rules", &objects.rules), ("decryption", &objects.decryption)] {
        let views: Vec<RuleView<'_>> =
            rules.iter().map(|(name, rule)| rule_view(name, rule, settings)).collect();
        context.insert(key, &views);
    }
    insert_moves(context, objects, settings);
}

/// The rules in the order in which they must be moved, so that they end in the order of their names. `top` and `after`
/// put each above the one before.
pub(super) fn insert_moves(context: &mut Context, objects: &Objects, settings: &Panos) {
    let mut moves: Vec<&str> = match settings.position {
        None => Vec::new(),
        Some(_) => objects.rules.keys().map(String::as_str).collect(),
    };
    if matches!(settings.position, Some(Position::Top | Position::After(_))) {
        moves.reverse();
    }
    context.insert("moves", &moves);
}

/// Prefixes as packed text.
pub(super) fn packed<'a>(nets: impl IntoIterator<Item = &'a ipnet::IpNet>) -> String {
    let mut text = String::new();
    for net in nets {
        text::push(&mut text, *net);
        text.push('\n');
    }
    text
}

fn addresses(addresses: &[Address]) -> Vec<AddressesView<'_>> {
    let mut sorted: Vec<&Address> = addresses.iter().collect();
    sorted.sort_by(|left, right| left.tags.cmp(&right.tags));
    sorted
        .chunk_by(|left, right| left.tags == right.tags)
        .flat_map(|same| same.chunks(ADDRESSES))
        .map(|same| AddressesView {
            tags: Tags::of(&same[0].tags),
            packed: packed(same.iter().map(|address| &address.net)),
        })
        .collect()
}

/// Pieces first: a group can only name what is there.
fn groups(objects: &Objects) -> Vec<GroupView<'_>> {
    let is_piece = |group: &Group| matches!(group.content, Content::Static { piece: true, .. });
    let (pieces, whole): (Vec<_>, Vec<_>) =
        objects.groups.iter().partition(|(_, group)| is_piece(group));
    pieces
        .into_iter()
        .chain(whole)
        .map(|(name, group)| match &group.content {
            Content::Dynamic => GroupView { name, dynamic: true, batches: Vec::new() },
            Content::Static { members, .. } => {
                let batches = members.chunks(BATCH).map(batch).collect();
                GroupView { name, dynamic: false, batches }
            }
        })
        .collect()
}

fn batch(members: &[Member]) -> BatchView<'_> {
    let nets = members.iter().filter_map(|member| match member {
        Member::Net(net) => Some(net),
        Member::Named(_) => None,
    });
    let named = members.iter().filter_map(|member| match member {
        Member::Net(_) => None,
        Member::Named(name) => Some(name.as_str()),
    });
    BatchView { packed: packed(nets), named: named.collect() }
}

/// The name of a member's object.
pub(super) fn member_name(prefix: &str, member: &Member) -> String {
    match member {
        Member::Net(net) => address_name(prefix, *net),
        Member::Named(name) => name.clone(),
    }
}

fn rule_view<'o>(name: &'o str, rule: &'o Rule, settings: &Panos) -> RuleView<'o> {
    let (from, to) = match rule.direction {
        Direction::Outbound => (&settings.from, &settings.to),
        Direction::Inbound => (&settings.to, &settings.from),
    };
    let texts = |zones: &[PanosName]| zones.iter().map(ToString::to_string).collect();
    let commands = |zones: &[PanosName]| zones.iter().map(PanosName::command).collect();
    RuleView {
        name,
        from: texts(from),
        from_commands: commands(from),
        to: texts(to),
        to_commands: commands(to),
        source: batches(&rule.source),
        destination: batches(&rule.destination),
        services: rule.services.iter().collect(),
        description: rule.description.as_deref(),
        // Of the characters that XML escapes, a comment can have this one alone.
        description_xml: rule.description.as_ref().map(|text| text.replace('&', "&amp;")),
        log_start: if rule.log_start { "yes" } else { "no" },
    }
}

fn batches(names: &BTreeSet<String>) -> Vec<Vec<&String>> {
    let names: Vec<&String> = names.iter().collect();
    names.chunks(BATCH).map(<[&String]>::to_vec).collect()
}
