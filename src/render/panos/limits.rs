//! What does not fit on the device is refused before anything is written.

use super::objects::{Content, Member, Objects};
use crate::config::{Panos, PanosLists};
use crate::render::RenderError;
use crate::render::limits::Limits;

/// Checks everything that has a limit on the device.
pub(super) fn check(
    limits: &Limits<'_>,
    objects: &Objects,
    settings: &Panos,
) -> Result<(), RenderError> {
    limits.check(
        "the device",
        "address objects",
        objects.addresses.len(),
        settings.max_addresses,
        "select regional tags, use format = \"edl\", or raise `max-addresses` if the model takes more",
    )?;
    limits.check(
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
        limits.check(
            format!("group {} ({name})", group.of),
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
            limits.check(&object, what, members.len(), Panos::MAX_RULE_MEMBERS, ways_out)?;
        }
    }
    let Some(lists) = &settings.lists else { return Ok(()) };
    check_lists(limits, objects, lists)
}

/// Only lists that rules use count on the device.
fn check_lists(
    limits: &Limits<'_>,
    objects: &Objects,
    settings: &PanosLists,
) -> Result<(), RenderError> {
    let used = |name: &String| {
        objects
            .rules
            .values()
            .any(|rule| rule.source.contains(name) || rule.destination.contains(name))
    };
    let used: Vec<_> = objects.lists.iter().filter(|(name, _)| used(name)).collect();
    limits.check(
        "the rules",
        "external dynamic lists",
        used.len(),
        settings.max_lists,
        "join groups, set families = \"together\", or raise `max-lists` if the model takes more",
    )?;
    limits.check(
        "the lists that rules use together",
        "entries",
        used.iter().map(|(_, list)| list.entries).sum(),
        settings.max_entries,
        "select regional tags, or raise `max-entries` if the model takes more (the device would skip the excess \
         with only a line in its log)",
    )
}
