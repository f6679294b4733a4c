//! `/`: one page that shows what is in force, how old it is, what changed and who has it.
//!
//! It is made here, whole, from values; there is no script in it, nothing is loaded from elsewhere, and a policy in its head
//! keeps it so whatever a text in it says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tera::{Context, Tera};

use super::plot::{self, Plot};
use super::view::View;
use crate::config::Name;
use crate::publish::ChangeSummary;
use crate::report::text::{counted, grouped, length, relative};
use crate::report::{
    ClientStatus, Entry, EntryResult, FeedStatus, GroupStatus, History, ListStatus, ServeStatus,
    Status, TargetStatus, sizes,
};

const TEMPLATE: &str = "page.html";
const HTML: &str = include_str!("../../templates/serve/page.html");
const CSS: &str = include_str!("../../templates/serve/page.css");
/// Generations that are shown.
const SHOWN: usize = 20;
/// Share of a device's capacity from which on it is shown as scarce, and as nearly gone.
const SCARCE: (u64, u64) = (75, 90);
/// Width of a capacity's bar.
const BAR: u64 = 140;

/// The page's template.
#[derive(Debug)]
pub(super) struct Page {
    tera: Tera,
    /// What a browser may do with the page.
    pub(super) policy: String,
}

impl Page {
    /// Compiles the template.
    pub(super) fn new() -> Result<Self, tera::Error> {
        let mut tera = Tera::new();
        tera.add_raw_template(TEMPLATE, HTML)?;
        let style = BASE64.encode(Sha256::digest(CSS));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{style}'; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'"
        );
        Ok(Self { tera, policy })
    }

    /// Writes the page.
    pub(super) fn render(
        &self,
        view: &View,
        serve: &ServeStatus,
        now: Timestamp,
    ) -> Result<String, tera::Error> {
        let mut context = Context::new();
        context.insert("css", CSS);
        context.insert("page", &Content::of(view, serve, now));
        self.tera.render(TEMPLATE, &context)
    }
}

/// How something is: a class of the style sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Good,
    Warn,
    Bad,
}

/// Everything on the page, in words.
#[derive(Debug, Serialize)]
struct Content {
    title: String,
    version: &'static str,
    headline: String,
    subline: String,
    at: String,
    span: String,
    notices: Vec<Notice>,
    publications: Vec<Publication>,
    feeds: Vec<Feed>,
    groups: Vec<Group>,
    lists: Vec<List>,
    clients: Vec<Client>,
    targets: Vec<Target>,
    history: Vec<Generation>,
}

#[derive(Debug, Serialize)]
struct Notice {
    level: Level,
    text: String,
}

#[derive(Debug, Serialize)]
struct Publication {
    cloud: String,
    date: String,
    change_number: String,
    digest: String,
    source: String,
}

#[derive(Debug, Serialize)]
struct Feed {
    name: String,
    kind: String,
    cloud: String,
    level: Level,
    state: String,
    notes: Vec<String>,
    looked: String,
    answered: String,
    next: String,
    found: String,
}

#[derive(Debug, Serialize)]
struct Group {
    name: String,
    v4_prefixes: String,
    v6_prefixes: String,
    v4_addresses: String,
    hosts: String,
    plot: Option<Plot>,
}

#[derive(Debug, Serialize)]
struct List {
    path: String,
    v4: String,
    v6: String,
    bytes: String,
    changed: String,
    capacity: Option<Bar>,
}

#[derive(Debug, Serialize)]
struct Bar {
    level: Level,
    width: u64,
    text: String,
}

#[derive(Debug, Serialize)]
struct Client {
    name: String,
    list: String,
    level: Level,
    state: String,
    at: String,
    count: String,
    agent: String,
}

#[derive(Debug, Serialize)]
struct Target {
    name: String,
    dialect: String,
    files: String,
    level: Level,
    state: String,
}

#[derive(Debug, Serialize)]
struct Generation {
    number: String,
    current: bool,
    failure: bool,
    result: &'static str,
    created: String,
    ago: String,
    reason: String,
    message: Option<String>,
    summary: String,
    changes: Vec<Change>,
}

#[derive(Debug, Serialize)]
struct Change {
    what: String,
    more: String,
    less: String,
}

impl Content {
    fn of(view: &View, serve: &ServeStatus, now: Timestamp) -> Self {
        let status = view.status.as_deref();
        let history = view.history.as_deref();
        let (headline, subline) = headline(status, now);
        let oldest = history.and_then(|history| history.generations.last());
        Self {
            title: format!("tagwall: {headline}"),
            version: env!("CARGO_PKG_VERSION"),
            headline,
            subline,
            at: minute(now),
            span: oldest.map_or_else(
                || "time".to_owned(),
                |entry| length(entry.created.duration_since(now)),
            ),
            notices: notices(status, serve, now),
            publications: status.map(publications).unwrap_or_default(),
            feeds: all(status, |status| &status.feeds, |feed| Feed::of(feed, now)),
            groups: status.map(|status| groups(&status.groups, history, now)).unwrap_or_default(),
            lists: serve.lists.iter().map(|list| List::of(list, now)).collect(),
            clients: serve.clients.iter().map(|client| Client::of(client, now)).collect(),
            targets: all(status, |status| &status.targets, Target::of),
            history: history.map(|history| generations(history, now)).unwrap_or_default(),
        }
    }
}

fn all<T, W>(
    status: Option<&Status>,
    part: impl Fn(&Status) -> &Vec<T>,
    words: impl Fn(&T) -> W,
) -> Vec<W> {
    status.map(|status| part(status).iter().map(words).collect()).unwrap_or_default()
}

/// A time to the minute, for people.
fn minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn ago(time: Option<Timestamp>, now: Timestamp) -> String {
    time.map_or_else(|| "–".to_owned(), |time| relative(time, now))
}

fn headline(status: Option<&Status>, now: Timestamp) -> (String, String) {
    let Some(status) = status else {
        return ("Starting".to_owned(), "The agent has not said yet what is in force.".to_owned());
    };
    let (Some(generation), Some(created)) = (status.generation, status.created) else {
        return (
            "Nothing is in force yet".to_owned(),
            "There is no generation: no publication was taken so far.".to_owned(),
        );
    };
    let reason = status.reason.as_deref().unwrap_or_default();
    (
        format!("Generation {} is in force", grouped(generation)),
        format!("Made {}, on {} ({reason}).", relative(created, now), minute(created)),
    )
}

fn notices(status: Option<&Status>, serve: &ServeStatus, now: Timestamp) -> Vec<Notice> {
    let mut notices = Vec::new();
    let mut say = |level, text: String| notices.push(Notice { level, text });
    if let Some(status) = status {
        if let Some(pause) = &status.pause {
            say(
                Level::Bad,
                format!(
                    "Paused {} by {}: {}. Nothing is published until `tagwall resume`.",
                    relative(pause.since, now),
                    pause.by,
                    pause.reason
                ),
            );
        }
        if let Some(pin) = &status.pin {
            say(
                Level::Warn,
                format!(
                    "Pinned to generation {} {}: publications are not followed until `tagwall resume`.",
                    pin.generation,
                    relative(pin.since, now)
                ),
            );
        }
        if status.interrupted {
            say(
                Level::Warn,
                "A publication is under way, or was interrupted and is not mended yet.".to_owned(),
            );
        }
        if let Some(agent) = &status.agent {
            if let Some(failed) = &agent.failed {
                say(Level::Bad, format!("Failed: {failed}"));
            }
            if let Some(refused) = &agent.config_refused {
                say(
                    Level::Bad,
                    format!(
                        "The configuration was refused, the one before stays in use: {refused}"
                    ),
                );
            }
            if let Some(waiting) = &agent.waiting {
                say(Level::Warn, format!("Waiting: {waiting}"));
            }
        }
        for feed in &status.feeds {
            if let Some(error) = &feed.error {
                let times = counted(feed.failures as usize, "time", "times");
                say(Level::Warn, format!("Feed {} failed {times}: {error}.", feed.name));
            }
        }
        for target in status.targets.iter().filter(|target| target.behind.is_some()) {
            let name = &target.name;
            say(Level::Bad, format!("Target {name}: it keeps the files of an earlier generation."));
        }
        for target in status.targets.iter().filter(|target| target.drift.is_some()) {
            say(
                Level::Bad,
                format!("Target {}: what is there differs from what is in force.", target.name),
            );
        }
    }
    for fault in &serve.faults {
        say(Level::Bad, format!("Serving: {fault}"));
    }
    if let (Some(ends), true) = (serve.certificate_ends, serve.certificate_warning) {
        say(
            Level::Warn,
            format!("The server's certificate ends {} ({}).", relative(ends, now), minute(ends)),
        );
    }
    let behind = serve.clients.iter().filter(|client| !client.current).count();
    if behind > 0 {
        say(
            Level::Warn,
            format!("{} not the newest list.", counted(behind, "client has", "clients have")),
        );
    }
    notices
}

fn publications(status: &Status) -> Vec<Publication> {
    let of = |publication: &crate::publish::PublicationRecord| Publication {
        cloud: publication.cloud.name().to_owned(),
        date: publication.date.clone().unwrap_or_else(|| "no date".to_owned()),
        change_number: publication.change_number.to_string(),
        digest: publication.digest.short(),
        source: publication.source.clone(),
    };
    status.publications.iter().map(of).collect()
}

impl Feed {
    fn of(feed: &FeedStatus, now: Timestamp) -> Self {
        let (level, state) = match (&feed.error, feed.looked) {
            (Some(error), _) => (
                Level::Bad,
                format!("failed {}: {error}", counted(feed.failures as usize, "time", "times")),
            ),
            (None, None) => (Level::Warn, "not asked yet".to_owned()),
            (None, Some(_)) => (Level::Good, "answers".to_owned()),
        };
        let found = feed.found.as_ref().map(|found| {
            let date = found.date.as_deref().unwrap_or("no date");
            format!("{date}, number {}, {}", found.change_number, relative(found.at, now))
        });
        Self {
            name: feed.name.to_string(),
            kind: feed.kind.clone(),
            cloud: feed.cloud.name().to_owned(),
            level,
            state,
            notes: feed.notes.clone(),
            looked: ago(feed.looked, now),
            answered: ago(feed.answered, now),
            next: ago(feed.next, now),
            found: found.unwrap_or_else(|| "–".to_owned()),
        }
    }
}

fn groups(groups: &[GroupStatus], history: Option<&History>, now: Timestamp) -> Vec<Group> {
    let sizes = history.map(|history| sizes(groups, history)).unwrap_or_default();
    let of = |group: &GroupStatus| Group {
        name: group.name.to_string(),
        v4_prefixes: grouped(group.v4_prefixes),
        v6_prefixes: grouped(group.v6_prefixes),
        v4_addresses: grouped(group.v4_addresses),
        hosts: grouped(group.hosts),
        plot: sizes.get(&group.name).and_then(|sizes| plot::of(sizes, now)),
    };
    groups.iter().map(of).collect()
}

impl List {
    fn of(list: &ListStatus, now: Timestamp) -> Self {
        Self {
            path: format!("{}/{}", list.target, list.file),
            v4: grouped(list.v4),
            v6: grouped(list.v6),
            bytes: grouped(list.bytes),
            changed: relative(list.modified, now),
            capacity: list
                .capacity
                .zip(list.counted)
                .map(|(most, used)| Bar::of(used as u64, most as u64)),
        }
    }
}

impl Bar {
    fn of(used: u64, most: u64) -> Self {
        let share = used.saturating_mul(100) / most.max(1);
        let level = match share {
            _ if share >= SCARCE.1 => Level::Bad,
            _ if share >= SCARCE.0 => Level::Warn,
            _ => Level::Good,
        };
        let width = (used.saturating_mul(BAR) / most.max(1)).clamp(u64::from(used > 0), BAR);
        Self { level, width, text: format!("{} of {} ({share} %)", grouped(used), grouped(most)) }
    }
}

impl Client {
    fn of(client: &ClientStatus, now: Timestamp) -> Self {
        let name = match &client.user {
            Some(user) => format!("{} ({user})", client.address),
            None => client.address.clone(),
        };
        let (level, state) = if client.current {
            (Level::Good, "has it".to_owned())
        } else {
            (Level::Warn, format!("still on generation {}", client.generation))
        };
        Self {
            name,
            list: client.list.clone(),
            level,
            state,
            at: relative(client.at, now),
            count: grouped(client.count),
            agent: client.agent.clone(),
        }
    }
}

impl Target {
    fn of(target: &TargetStatus) -> Self {
        let (level, state) = match (&target.drift, &target.behind) {
            (Some(drift), _) => (Level::Bad, format!("differs: {drift}")),
            (None, Some(behind)) => {
                (Level::Bad, format!("keeps the files that it had: {}", behind.message))
            }
            (None, None) if target.applied => (Level::Good, "in the kernel".to_owned()),
            (None, None) => (Level::Good, "files only".to_owned()),
        };
        Self {
            name: target.name.to_string(),
            dialect: target.dialect.clone(),
            files: grouped(target.files),
            level,
            state,
        }
    }
}

fn generations(history: &History, now: Timestamp) -> Vec<Generation> {
    let of = |entry: &Entry| {
        let changes = changes(&entry.summary);
        Generation {
            number: entry.generation.to_string(),
            current: history.current == Some(entry.generation),
            failure: entry.result != EntryResult::Recorded,
            result: entry.result.name(),
            created: minute(entry.created),
            ago: relative(entry.created, now),
            reason: entry.reason.clone(),
            message: entry.message.clone(),
            summary: counted(changes.len(), "change", "changes"),
            changes,
        }
    };
    history.generations.iter().take(SHOWN).map(of).collect()
}

/// What changed, a line each.
fn changes(summary: &ChangeSummary) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, group) in &summary.groups {
        let side = |sign: &str, prefixes: usize, addresses: u64| {
            if prefixes == 0 && addresses == 0 {
                return String::new();
            }
            format!(
                "{sign}{} prefixes, {sign}{} IPv4 addresses",
                grouped(prefixes),
                grouped(addresses)
            )
        };
        changes.push(Change {
            what: format!("{name}:"),
            more: side("+", group.prefixes_added, group.v4_addresses_added),
            less: side("−", group.prefixes_removed, group.v4_addresses_removed),
        });
    }
    let names = |names: &[Name]| names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
    for (what, rules, comes) in [
        ("new rules:", &summary.rules_added, true),
        ("rules gone:", &summary.rules_removed, false),
        ("rules changed:", &summary.rules_changed, true),
    ] {
        if rules.is_empty() {
            continue;
        }
        let (more, less) =
            if comes { (names(rules), String::new()) } else { (String::new(), names(rules)) };
        changes.push(Change { what: what.to_owned(), more, less });
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_renders_what_there_is_and_what_there_is_not() {
        let page = Page::new().unwrap();
        let now = "2026-11-24T06:00:00Z".parse().unwrap();
        let text = page.render(&View::default(), &ServeStatus::default(), now).unwrap();
        assert!(text.contains("<h1>Starting</h1>") && !text.contains("<table>"), "{text}");
        let serve = ServeStatus {
            faults: vec!["<script>alert(1)</script>".to_owned()],
            ..ServeStatus::default()
        };
        let text = page.render(&View::default(), &serve, now).unwrap();
        assert!(text.contains("&lt;script&gt;alert(1)") && !text.contains("<script"), "{text}");
    }

    #[test]
    fn a_bar_shows_how_near_the_end_is() {
        let bar = |used, most| (Bar::of(used, most).level, Bar::of(used, most).width);
        assert_eq!(bar(0, 100), (Level::Good, 0));
        assert_eq!(bar(1, 1_000_000), (Level::Good, 1));
        assert_eq!(bar(80, 100), (Level::Warn, 112));
        assert_eq!(bar(100, 100), (Level::Bad, 140));
        assert_eq!(bar(5, 0), (Level::Bad, 140));
        assert_eq!(Bar::of(37_500, 50_000).text, "37,500 of 50,000 (75 %)");
    }
}
