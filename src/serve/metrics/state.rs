//! What is in force and what stands in its way: the metrics of status and history.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use prometheus_client::registry::Unit;

use super::writer::{Writer, number, seconds, truth, yes};
use crate::config::Name;
use crate::publish::Step;
use crate::reach::Reached;
use crate::report::{
    CapacityStatus, EntryResult, FeedStatus, Forecast, History, NameStatus, Status, TargetStatus,
};
use crate::snapshot::Cloud;

/// All of the status.
pub(super) fn of_status(writer: &mut Writer, status: &Status) {
    let cloud = |cloud: Cloud| ("cloud", cloud.name().to_owned());
    if let Some(generation) = status.generation {
        writer.gauge("generation", "Number of the generation in force", number(generation));
    }
    writer.time(
        "generation_created_timestamp",
        "When the generation in force was made",
        status.created,
    );
    writer.gauge(
        "interrupted",
        "Whether a publication is under way or was interrupted",
        yes(status.interrupted),
    );
    writer.gauge(
        "pinned",
        "Whether a rollback keeps a generation in force",
        yes(status.pin.is_some()),
    );
    writer.gauge("paused", "Whether an operator paused all changes", yes(status.pause.is_some()));
    let dates = status.publications.iter().filter_map(|publication| {
        let date: Date = publication.date.as_deref()?.parse().ok()?;
        let midnight = date.to_zoned(TimeZone::UTC).ok()?.timestamp();
        Some((vec![cloud(publication.cloud)], seconds(midnight)))
    });
    writer.gauges(
        "publication_date_timestamp",
        "The date of the publication in force",
        Some(Unit::Seconds),
        dates,
    );
    let changes = status
        .publications
        .iter()
        .map(|publication| (vec![cloud(publication.cloud)], number(publication.change_number)));
    writer.gauges(
        "publication_change_number",
        "The change number of the publication in force",
        None,
        changes,
    );
    of_feeds(writer, status);
    of_groups(writer, status);
    of_capacity(writer, status);
    of_holds(writer, status);
    of_names(writer, status);
    let targets = status.targets.iter().map(|target| {
        let labels = vec![("target", target.name.to_string()), ("dialect", target.dialect.clone())];
        (labels, yes(target.applied))
    });
    writer.gauges("target_applied", "Whether this host's kernel uses the target", None, targets);
    let drift = status
        .targets
        .iter()
        .filter(|target| target.applied)
        .map(|target| (vec![("target", target.name.to_string())], yes(target.drift.is_some())));
    writer.gauges(
        "target_drifted",
        "Whether the kernel differs from what is in force",
        None,
        drift,
    );
    of_reach(writer, status);
    let behind = status
        .targets
        .iter()
        .map(|target| (vec![("target", target.name.to_string())], yes(target.behind.is_some())));
    let help = "Whether an isolated target keeps the files of an earlier generation";
    writer.gauges("target_behind", help, None, behind);
    of_steps(writer, status);
    if let Some(agent) = &status.agent {
        writer.time("agent_start_timestamp", "Since when the agent runs", Some(agent.since));
        writer.time(
            "configuration_loaded_timestamp",
            "When the configuration in use was loaded",
            Some(agent.config_loaded),
        );
        writer.gauge(
            "configuration_refused",
            "Whether the last reload was refused",
            yes(agent.config_refused.is_some()),
        );
        writer.gauge(
            "changes_closed",
            "Whether a freeze or a window keeps changes from being applied",
            yes(agent.closed.is_some()),
        );
        writer.gauge(
            "change_waiting",
            "Whether a change waits for a window, for resume or for an approval",
            yes(agent.waiting.is_some()),
        );
        writer.gauge("failing", "Whether what was tried last failed", yes(agent.failed.is_some()));
    }
}

/// Whether packets get to the rules of targets; a family that the host lacks is left out.
fn of_reach(writer: &mut Writer, status: &Status) {
    let of = |target: &TargetStatus| {
        let families = target.reach.iter().flat_map(|reach| &reach.families);
        let values = families.filter_map(|(family, reach)| {
            let value = match reach.reached {
                Reached::Yes => 1.0,
                Reached::No => 0.0,
                Reached::Unknown => -1.0,
                Reached::NotApplicable => return None,
            };
            let family = family.name().to_ascii_lowercase();
            Some((vec![("target", target.name.to_string()), ("family", family)], value))
        });
        values.collect::<Vec<_>>()
    };
    writer.gauges(
        "target_reached",
        "Whether packets get to the rules of the target: 1, 0, or -1 where it is not known",
        None,
        status.targets.iter().flat_map(of),
    );
    let overruled = status.targets.iter().filter_map(|target| {
        let reach = target.reach.as_ref()?;
        Some((vec![("target", target.name.to_string())], yes(!reach.overruled.is_empty())))
    });
    writer.gauges(
        "target_overruled",
        "Whether rules of others drop what the target allows",
        None,
        overruled,
    );
}

/// How the steps of each target went and how long they took: of those in force, and of one that has never come so far.
fn of_steps(writer: &mut Writer, status: &Status) {
    let labels = |target: &Name, step: Step| {
        vec![("target", target.to_string()), ("step", step.name().replace(' ', "_"))]
    };
    let times = status.targets.iter().flat_map(|target| {
        let of =
            move |(step, took): (Step, Duration)| (labels(&target.name, step), took.as_secs_f64());
        target.microseconds.steps().map(of)
    });
    writer.gauges(
        "target_step_duration",
        "How long a step of the target took when it was last done for a publication",
        Some(Unit::Seconds),
        times,
    );
    let last = status.agent.as_ref().and_then(|agent| agent.failed_step.as_ref());
    let last = last.map(|failed| (&failed.target, failed.step));
    let behind = status
        .targets
        .iter()
        .filter_map(|target| Some((&target.name, target.behind.as_ref()?.step?)));
    let failed: BTreeSet<(&Name, Step)> = last.into_iter().chain(behind).collect();
    let targets: BTreeSet<&Name> = status
        .targets
        .iter()
        .map(|target| &target.name)
        .chain(failed.iter().map(|(target, _)| *target))
        .collect();
    let steps = targets.into_iter().flat_map(|target| {
        let of = |step: Step| (labels(target, step), yes(failed.contains(&(target, step))));
        Step::TOLD.map(of)
    });
    writer.gauges(
        "target_step_failed",
        "Whether the last publication failed at this step of the target",
        None,
        steps,
    );
}

fn of_feeds(writer: &mut Writer, status: &Status) {
    let labels = |feed: &FeedStatus| {
        vec![("feed", feed.name.to_string()), ("cloud", feed.cloud.name().to_owned())]
    };
    let times = |of: fn(&FeedStatus) -> Option<Timestamp>| {
        status.feeds.iter().filter_map(move |feed| Some((labels(feed), seconds(of(feed)?))))
    };
    let unit = || Some(Unit::Seconds);
    writer.gauges(
        "feed_look_timestamp",
        "When the feed was asked last",
        unit(),
        times(|feed| feed.looked),
    );
    writer.gauges(
        "feed_success_timestamp",
        "When the feed last answered well",
        unit(),
        times(|feed| feed.answered),
    );
    writer.gauges(
        "feed_next_look_timestamp",
        "When the feed is asked next",
        unit(),
        times(|feed| feed.next),
    );
    let failures = status.feeds.iter().map(|feed| (labels(feed), f64::from(feed.failures)));
    writer.gauges(
        "feed_consecutive_failures",
        "Looks that failed since the last that did not",
        None,
        failures,
    );
    let found = status
        .feeds
        .iter()
        .filter_map(|feed| Some((labels(feed), number(feed.found.as_ref()?.change_number))));
    writer.gauges(
        "feed_change_number",
        "The change number that the feed brought last",
        None,
        found,
    );
}

fn of_groups(writer: &mut Writer, status: &Status) {
    let prefixes = status.groups.iter().flat_map(|group| {
        [("ipv4", group.v4_prefixes), ("ipv6", group.v6_prefixes)].map(|(family, count)| {
            (vec![("group", group.name.to_string()), ("family", family.to_owned())], number(count))
        })
    });
    writer.gauges("group_prefixes", "Aggregated prefixes of an address group", None, prefixes);
    let addresses = status
        .groups
        .iter()
        .map(|group| (vec![("group", group.name.to_string())], number(group.v4_addresses)));
    writer.gauges("group_ipv4_addresses", "IPv4 addresses of an address group", None, addresses);
    let hosts = status
        .groups
        .iter()
        .filter(|group| group.hosts > 0)
        .map(|group| (vec![("group", group.name.to_string())], number(group.hosts)));
    writer.gauges("group_hostnames", "Hostnames that belong to an address group", None, hosts);
}

fn of_capacity(writer: &mut Writer, status: &Status) {
    let labels = |one: &CapacityStatus| {
        vec![
            ("target", one.target.to_string()),
            ("object", one.object.clone()),
            ("counted", one.what.clone()),
        ]
    };
    let used = status.capacity.iter().map(|one| (labels(one), one.used()));
    writer.gauges("capacity_used_ratio", "Share of a limit of a firewall that is used", None, used);
    let reached = status.capacity.iter().filter_map(|one| match one.forecast {
        Forecast::Reached { at, .. } => Some((labels(one), seconds(at))),
        _ => None,
    });
    writer.gauges(
        "capacity_reached_timestamp",
        "When a limit of a firewall will be reached at the growth so far",
        Some(Unit::Seconds),
        reached,
    );
    let surplus = status
        .widened
        .iter()
        .map(|surplus| (vec![("group", surplus.group.to_string())], number(surplus.v4_addresses)));
    writer.gauges(
        "group_surplus_ipv4_addresses",
        "IPv4 addresses that nobody published and a fitted group lets through",
        None,
        surplus,
    );
}

fn of_holds(writer: &mut Writer, status: &Status) {
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for hold in &status.holds {
        *counts.entry((hold.cloud.name(), hold.kind.as_str(), hold.critical)).or_default() += 1;
    }
    let counts = counts.into_iter().map(|((cloud, kind, critical), count)| {
        let labels = [("cloud", cloud), ("kind", kind), ("critical", truth(critical))];
        (labels.map(|(label, value)| (label, value.to_owned())).into(), number(count))
    });
    writer.gauges(
        "holds",
        "Changes that are published and not applied; critical ones are never released by themselves",
        None,
        counts,
    );
    writer.time(
        "hold_oldest_timestamp",
        "Since when the oldest of them is held",
        status.holds.iter().map(|hold| hold.since).min(),
    );
}

fn of_names(writer: &mut Writer, status: &Status) {
    let each = |of: fn(&NameStatus) -> Option<f64>| {
        status.names.iter().filter_map(move |name| {
            Some((vec![("name", name.name.as_str().to_owned())], of(name)?))
        })
    };
    let unit = || Some(Unit::Seconds);
    writer.gauges(
        "hostname_addresses",
        "Addresses that are let through for a hostname",
        None,
        each(|name| Some(number(name.addresses.len()))),
    );
    writer.gauges(
        "hostname_answered_timestamp",
        "When a hostname was last answered with an address",
        unit(),
        each(|name| name.answered.map(seconds)),
    );
    writer.gauges(
        "hostname_newest_address_timestamp",
        "When the newest address of a hostname was first answered",
        unit(),
        each(|name| name.addresses.iter().map(|known| known.first).max().map(seconds)),
    );
    let by = status.names.iter().flat_map(|name| {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for resolver in name.addresses.iter().flat_map(|known| &known.by) {
            *counts.entry(resolver).or_default() += 1;
        }
        counts.into_iter().map(|(resolver, count)| {
            let labels =
                vec![("name", name.name.as_str().to_owned()), ("resolver", resolver.to_owned())];
            (labels, number(count))
        })
    });
    writer.gauges(
        "hostname_resolver_addresses",
        "Addresses of a hostname in a resolver's last answer",
        None,
        by,
    );
    writer.gauges(
        "hostname_time_to_live",
        "The time to live of the last answer",
        unit(),
        each(|name| name.ttl.map(f64::from)),
    );
    writer.gauges(
        "hostname_consecutive_failures",
        "Looks that brought no address since the last that did",
        None,
        each(|name| Some(f64::from(name.failures))),
    );
    writer.gauges(
        "hostname_addresses_refused",
        "Addresses of the last answers that were refused",
        None,
        each(|name| Some(number(name.refused.len()))),
    );
    writer.gauges(
        "hostname_addresses_outside",
        "Addresses outside of the service tag that is expected to hold them",
        None,
        each(|name| {
            Some(number(name.outside.as_ref().map_or(0, |outside| outside.addresses.len())))
        }),
    );
}

/// How the newest generations ended.
pub(super) fn of_history(writer: &mut Writer, history: &History) {
    let results = [
        ("recorded", EntryResult::Recorded),
        ("failed", EntryResult::Failed),
        ("interrupted", EntryResult::Interrupted),
    ];
    let counts = results.map(|(name, result)| {
        let count = history.generations.iter().filter(|entry| entry.result == result).count();
        (vec![("result", name.to_owned())], number(count))
    });
    writer.gauges(
        "recent_generations",
        "How the newest generations ended (those that the page shows)",
        None,
        counts,
    );
}
