//! What each table is about.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::table::Set::{Long, Number, Short};
use super::table::{Bar, Cell, Level, Table};
use crate::config::Name;
use crate::reach::Reached;
use crate::report::text::{counted, grouped, relative};
use crate::report::{
    CapacityStatus, ClientStatus, FeedStatus, GroupStatus, History, HoldStatus, ListStatus,
    NameStatus, ReceiverStatus, ServeStatus, Status, TargetStatus, sizes,
};
use crate::serve::plot;

/// Every table that has something in it, in the order of the page.
pub(super) fn all(
    status: Option<&Status>,
    history: Option<&History>,
    serve: &ServeStatus,
    now: Timestamp,
) -> Vec<Table> {
    let of_status = status.map(|status| {
        [
            publications(status),
            holds(&status.holds, now),
            feeds(&status.feeds, now),
            groups(status, history, now),
            capacity(&status.capacity, now),
        ]
    });
    let of_serve = [lists(&serve.lists, now), clients(&serve.clients, now)];
    let rest = status.map(|status| {
        [targets(&status.targets), names(&status.names, now), receivers(&status.receivers, now)]
    });
    let whole = of_status.into_iter().flatten().chain(of_serve).chain(rest.into_iter().flatten());
    whole.filter_map(Table::unless_empty).collect()
}

fn ago(time: Option<Timestamp>, now: Timestamp) -> String {
    time.map_or_else(|| "–".to_owned(), |time| relative(time, now))
}

fn publications(status: &Status) -> Table {
    Table::new(
        "publications",
        "In force",
        [
            ("Cloud", Short),
            ("Publication of", Short),
            ("Change number", Number),
            ("Digest", Short),
            ("From", Long),
        ],
    )
    .rows(status.publications.iter().map(|publication| {
        [
            publication.cloud.name().into(),
            publication.date.as_deref().unwrap_or("no date").into(),
            publication.change_number.to_string().into(),
            Cell::code(publication.digest.short()),
            publication.source.as_str().into(),
        ]
    }))
}

fn holds(holds: &[HoldStatus], now: Timestamp) -> Table {
    Table::new(
        "holds",
        "Held",
        [
            ("Hold", Short),
            ("Change", Short),
            ("Groups", Long),
            ("Why", Long),
            ("Since", Short),
            ("Released", Short),
        ],
    )
    .intro(
        "Published, and not applied. tagwall review shows the prefixes; tagwall approve and tagwall reject decide.",
    )
    .rows(holds.iter().map(|hold| {
        let groups: Vec<_> = hold.groups.iter().map(Name::as_str).collect();
        let released = match (hold.critical, hold.due) {
            (false, Some(due)) => relative(due, now).into(),
            _ => Cell::state(Level::Bad, "only by a person"),
        };
        [
            Cell::code(hold.id.as_str()),
            format!("{} of {} addresses", hold.kind, grouped(&hold.addresses)).into(),
            Cell::from(groups.join(", ")).beside([format!("cloud {}", hold.cloud)]),
            hold.why.as_str().into(),
            relative(hold.since, now).into(),
            released,
        ]
    }))
}

fn feeds(feeds: &[FeedStatus], now: Timestamp) -> Table {
    Table::new(
        "feeds",
        "Feeds",
        [
            ("Feed", Short),
            ("State", Long),
            ("Asked", Short),
            ("Answered", Short),
            ("Next", Short),
            ("Brought last", Short),
        ],
    )
    .rows(feeds.iter().map(|feed| {
        let state = match (&feed.error, feed.looked) {
            (Some(error), _) => {
                let times = counted(feed.failures as usize, "time", "times");
                Cell::state(Level::Bad, format!("failed {times}: {error}"))
            }
            (None, None) => Cell::state(Level::Warn, "not asked yet"),
            (None, Some(_)) => Cell::state(Level::Good, "answers"),
        };
        let found = feed.found.as_ref().map(|found| {
            let date = found.date.as_deref().unwrap_or("no date");
            format!("{date}, number {}, {}", found.change_number, relative(found.at, now))
        });
        [
            Cell::from(feed.name.as_str()).beside([format!("{}, {}", feed.kind, feed.cloud)]),
            state.beside(feed.notes.iter().cloned()),
            ago(feed.looked, now).into(),
            ago(feed.answered, now).into(),
            ago(feed.next, now).into(),
            found.unwrap_or_else(|| "–".to_owned()).into(),
        ]
    }))
}

fn groups(status: &Status, history: Option<&History>, now: Timestamp) -> Table {
    let groups = &status.groups;
    let widened = |group: &GroupStatus| {
        let found = status.widened.iter().any(|surplus| surplus.group == group.name);
        found.then(|| "wider than published".to_owned())
    };
    let sizes = history.map(|history| sizes(groups, history)).unwrap_or_default();
    Table::new(
        "groups",
        "Groups",
        [
            ("Group", Short),
            ("IPv4 prefixes", Number),
            ("IPv6 prefixes", Number),
            ("IPv4 addresses", Number),
            ("Hostnames", Number),
            ("Size over time", Short),
        ],
    )
    .rows(groups.iter().map(|group| {
        [
            Cell::from(group.name.as_str()).beside(widened(group)),
            Cell::number(group.v4_prefixes),
            Cell::number(group.v6_prefixes),
            Cell::number(group.v4_addresses),
            Cell::number(group.hosts),
            Cell::plot(sizes.get(&group.name).and_then(|sizes| plot::of(sizes, now))),
        ]
    }))
}

fn capacity(all: &[CapacityStatus], now: Timestamp) -> Table {
    Table::new(
        "capacity",
        "Capacity",
        [("Target", Short), ("Of", Long), ("Counted", Short), ("Used", Short), ("Forecast", Long)],
    )
    .rows(all.iter().map(|one| {
        let forecast = one.forecast.text(one.limit, now);
        [
            one.target.as_str().into(),
            one.object.as_str().into(),
            one.what.as_str().into(),
            Cell::bar(Bar::of(one.count as u64, one.limit as u64)),
            if one.near { Cell::state(Level::Warn, forecast) } else { forecast.into() },
        ]
    }))
}

fn lists(lists: &[ListStatus], now: Timestamp) -> Table {
    Table::new(
        "lists",
        "Lists",
        [
            ("List", Short),
            ("IPv4", Number),
            ("IPv6", Number),
            ("Bytes", Number),
            ("Changed", Short),
            ("Capacity of the device", Short),
        ],
    )
    .rows(lists.iter().map(|list| {
        let path = format!("{}/{}", list.target, list.file);
        let capacity = match list.capacity.zip(list.counted) {
            Some((most, used)) => Cell::bar(Bar::of(used as u64, most as u64)),
            None => Cell::default().beside(["no limit known".to_owned()]),
        };
        [
            Cell::link(path.as_str(), format!("/lists/{path}")),
            Cell::number(list.v4),
            Cell::number(list.v6),
            Cell::number(list.bytes),
            relative(list.modified, now).into(),
            capacity,
        ]
    }))
}

fn clients(clients: &[ClientStatus], now: Timestamp) -> Table {
    Table::new(
        "clients",
        "Clients",
        [
            ("Client", Short),
            ("List", Short),
            ("State", Short),
            ("Fetched", Short),
            ("Times", Number),
            ("Program", Long),
        ],
    )
    .intro("Who fetched which list last.")
    .rows(clients.iter().map(|client| {
        let state = if client.current {
            Cell::state(Level::Good, "has it")
        } else {
            Cell::state(Level::Warn, format!("still on generation {}", client.generation))
        };
        [
            Cell::from(client.address.as_str())
                .beside(client.user.iter().map(|user| format!("({user})"))),
            client.list.as_str().into(),
            state,
            relative(client.at, now).into(),
            Cell::number(client.count),
            client.agent.as_str().into(),
        ]
    }))
}

fn targets(targets: &[TargetStatus]) -> Table {
    Table::new(
        "targets",
        "Targets",
        [("Target", Short), ("Dialect", Short), ("Files", Number), ("State", Long)],
    )
    .rows(targets.iter().map(|target| {
        let state = match (&target.drift, &target.behind) {
            (Some(drift), _) => Cell::state(Level::Bad, format!("differs: {drift}")),
            (None, Some(behind)) => {
                Cell::state(Level::Bad, format!("keeps the files that it had: {}", behind.message))
            }
            (None, None) if target.applied => in_kernel(target),
            (None, None) => Cell::state(Level::Good, "files only"),
        };
        let took = (!target.microseconds.is_empty()).then(|| target.microseconds.to_string());
        [
            target.name.as_str().into(),
            target.dialect.as_str().into(),
            Cell::number(target.files),
            state.beside(took),
        ]
    }))
}

/// The state of a target that is in the kernel as it was applied.
fn in_kernel(target: &TargetStatus) -> Cell {
    let Some(reach) = &target.reach else { return Cell::state(Level::Good, "in the kernel") };
    let overruled = reach.overruled.first();
    let (level, state) = match (reach.reasons(Reached::No), reach.reasons(Reached::Unknown)) {
        (Some(reasons), _) => (Level::Bad, format!("in the kernel, not reached: {reasons}")),
        (None, _) if let Some(text) = overruled => {
            (Level::Bad, format!("in the kernel, overruled: {text}"))
        }
        (None, Some(reasons)) => (Level::Warn, format!("in the kernel, reach unknown: {reasons}")),
        (None, None) if reach.reasons(Reached::Yes).is_some() => {
            (Level::Good, "in the kernel, reached".to_owned())
        }
        (None, None) => (Level::Good, "in the kernel".to_owned()),
    };
    Cell::state(level, state).beside(reach.warnings.iter().cloned())
}

fn names(names: &[NameStatus], now: Timestamp) -> Table {
    Table::new(
        "names",
        "Hostnames",
        [
            ("Name", Long),
            ("State", Long),
            ("Addresses", Number),
            ("Answered", Short),
            ("Time to live", Short),
            ("Next", Short),
        ],
    )
    .rows(names.iter().map(|name| {
        let (level, state) = if let Some(outside) = &name.outside {
            (Level::Bad, format!("addresses outside of {}", outside.tag))
        } else if name.addresses.is_empty() {
            (Level::Bad, "no address is known".to_owned())
        } else if name.failures > 0 {
            (Level::Warn, format!("not answered {} times", grouped(name.failures)))
        } else {
            (Level::Good, "answered".to_owned())
        };
        let by: BTreeSet<String> =
            name.addresses.iter().flat_map(|known| known.by.iter().cloned()).collect();
        let refused = name.refused.iter().map(|(address, why)| format!("refused {address}: {why}"));
        [
            name.name.as_str().into(),
            Cell::state(level, state).beside(refused),
            Cell::number(name.addresses.len()).beside(by),
            ago(name.answered, now).into(),
            name.ttl.map_or_else(|| "–".to_owned(), |ttl| format!("{} s", grouped(ttl))).into(),
            relative(name.due, now).into(),
        ]
    }))
}

fn receivers(receivers: &[ReceiverStatus], now: Timestamp) -> Table {
    Table::new("receivers", "Who is told", [("Receiver", Short), ("State", Long), ("Told", Short)])
        .rows(receivers.iter().map(|receiver| {
            let state = match &receiver.error {
                Some(error) => Cell::state(Level::Bad, format!("not told: {error}")),
                None => Cell::state(Level::Good, "reached, or nothing to tell"),
            };
            let given_up = (receiver.given_up > 0)
                .then(|| format!("{} given up", counted_messages(receiver.given_up)));
            [
                Cell::from(receiver.name.as_str()).beside([receiver.way.clone()]),
                state.beside(given_up),
                ago(receiver.told, now).into(),
            ]
        }))
}

fn counted_messages(count: u64) -> String {
    counted(usize::try_from(count).unwrap_or(usize::MAX), "message", "messages")
}
