//! What does not fit on the device is refused before anything is written.

use super::objects::{Content, Member, Objects};
use crate::config::{Name, Panos, PanosLists};
use crate::render::RenderError;

/// Checks everything that has a limit on the device.
pub(super) fn check(target: &Name, objects: &Objects, settings: &Panos) -> Result<(), RenderError> {
    let check = |object: &str, what, count: usize, limit: usize, ways_out: &str| {
        if count <= limit {
            return Ok(());
        }
        Err(RenderError::Limit {
            target: target.clone(),
            object: object.to_owned(),
            what,
            count,
            limit,
            ways_out: ways_out.to_owned(),
        })
    };
    check(
        "the device",
        "address objects",
        objects.addresses.len(),
        settings.max_addresses,
        "select regional tags, use format = \"edl\", or raise `max-addresses` if the model takes more",
    )?;
    check(
        "the device",
        "FQDN objects",
        objects.fqdns.len(),
        settings.max_fqdns,
        "name fewer hosts, or raise `max-fqdns` if the model takes more",
    )?;
    for (name, group) in &objects.groups {
        let Content::Static { members, .. } = &group.content else { continue };
        let nested = members.iter().any(
            |member| matches!(member, Member::Named(name) if objects.groups.contains_key(name)),
        );
        check(
            &format!("group {} ({name})", group.of),
            if nested { "nested groups" } else { "members" },
            members.len(),
            settings.max_members,
            "raise `max-members` if the model takes more, select regional tags, or use groups = \"dynamic\" or format = \"edl\"",
        )?;
    }
    for rule in objects.rules.values() {
        for (what, members) in [("sources", &rule.source), ("destinations", &rule.destination)] {
            let ways_out = "split the rule, or name wider own prefixes";
            let object = format!("rule {}", rule.of);
            check(&object, what, members.len(), Panos::MAX_RULE_MEMBERS, ways_out)?;
        }
    }
    let Some(lists) = &settings.lists else { return Ok(()) };
    check_lists(objects, lists, check)
}

/// Only lists that rules use count on the device.
fn check_lists(
    objects: &Objects,
    settings: &PanosLists,
    check: impl Fn(&str, &'static str, usize, usize, &str) -> Result<(), RenderError>,
) -> Result<(), RenderError> {
    let used = |name: &String| {
        objects
            .rules
            .values()
            .any(|rule| rule.source.contains(name) || rule.destination.contains(name))
    };
    let used: Vec<_> = objects.lists.iter().filter(|(name, _)| used(name)).collect();
    check(
        "the rules",
        "external dynamic lists",
        used.len(),
        settings.max_lists,
        "join groups, set families = \"together\", or raise `max-lists` if the model takes more",
    )?;
    check(
        "the lists that rules use together",
        "entries",
        used.iter().map(|(_, list)| list.entries).sum(),
        settings.max_entries,
        "select regional tags, or raise `max-entries` if the model takes more (the device would skip the excess \
         with only a line in its log)",
    )
}
