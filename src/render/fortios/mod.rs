//! The fortios dialect: FortiOS objects and policies as a script, or lists that the device fetches with the script that
//! uses them.
//!
//! The *full* script never depends on history: running it again changes nothing. With the rule set before this one, the
//! *delta* beside it turns the device from that one's state into this one's: it adds, rewrites and removes, each object
//! after those that refer to it. Both touch only names that start with the configured prefix and policy ids that the
//! configuration reserves.
//!
//! What is here: which files there are, and what their templates are given. [`objects`] says what exists on the device,
//! [`tree`] how large groups nest, [`policy`] which policies there are and what their ids are, [`feed`] the lists,
//! [`delta`] the difference of two states.

mod delta;
mod feed;
mod objects;
mod policy;
mod tree;

use serde::Serialize;
use tera::Context;

use self::delta::{Gone, Scripted};
use self::objects::Objects;
use super::limits::Limits;
use super::{File, Job, RenderError};
use crate::config::{Fortios, FortiosFormat, FortiosScope, FortiosText};

/// The templates of this dialect.
pub(super) const TEMPLATES: &[(&str, &str)] = &[
    ("fortinet/check.txt", include_str!("../../../templates/fortinet/check.txt")),
    ("fortinet/feed.txt", include_str!("../../../templates/fortinet/feed.txt")),
    ("fortinet/feeds.conf", include_str!("../../../templates/fortinet/feeds.conf")),
    ("fortinet/policies.conf", include_str!("../../../templates/fortinet/policies.conf")),
    ("fortinet/script.conf", include_str!("../../../templates/fortinet/script.conf")),
];

/// About what an object and its place in a group take in a script.
const BYTES_A_PREFIX: usize = 224;

pub(super) fn render(job: &Job<'_>, settings: &Fortios) -> Result<Vec<File>, RenderError> {
    let now = Objects::of(&job.limits, job.part, settings)?;
    let stem = match settings.format {
        FortiosFormat::Cli => "rules",
        FortiosFormat::Feed => "feed",
    };
    let mut files = match settings.format {
        FortiosFormat::Cli => Vec::new(),
        FortiosFormat::Feed => feed::lists(job, settings, &now.feeds)?,
    };
    let whole = Scripted::whole(&now);
    let header = job.header();
    let text = script(job, settings, &whole, &Gone::default(), &header, &notes(settings, &now))?;
    files.push(File::new(format!("{stem}.conf"), text));
    if let Some(previous) = job.previous {
        let before = Objects::of(&Limits::new(job.name), previous, settings)?;
        let (made, gone) = delta::between(&before, &now);
        let mut header = job.header();
        header.push(format!("in place of rule set {}", previous.digest()));
        let notes = vec![if made.is_empty() && gone.is_empty() {
            "Nothing has changed since then.".to_owned()
        } else {
            "Brings a device from that rule set to this one; what has gone is removed.".to_owned()
        }];
        let text = script(job, settings, &made, &gone, &header, &notes)?;
        files.push(File::new(format!("{stem}.delta.conf"), text));
    }
    files.push(File::new("check.txt", check(job, settings, &now)?));
    Ok(files)
}

/// The ids of the policies, for whoever reads the script or configures `slots`.
fn notes(settings: &Fortios, now: &Objects) -> Vec<String> {
    if now.places.is_empty() {
        return Vec::new();
    }
    let mut notes = vec!["Policy ids, IPv4 and IPv6, of each rule:".to_owned()];
    notes.extend(
        now.places.iter().map(|place| format!("  {} {} {}", place.id, place.id + 1, place.rule)),
    );
    if now.places.iter().any(|place| !place.fixed) {
        let mut names: Vec<&str> = settings.slots.iter().map(crate::config::Name::as_str).collect();
        names.extend(
            now.places.iter().filter(|place| !place.fixed).map(|place| place.rule.as_str()),
        );
        notes.push(format!(
            "A rule that comes may move the ids of those behind it, unless `slots` of the target names them: {}",
            names.join(", ")
        ));
    }
    notes
}

fn script(
    job: &Job<'_>,
    settings: &Fortios,
    made: &Scripted<'_>,
    gone: &Gone,
    header: &[String],
    notes: &[String],
) -> Result<String, RenderError> {
    let global = settings.scope == FortiosScope::Global;
    let mut context = Context::new();
    context.insert("header", header);
    context.insert("notes", notes);
    context.insert("empty", &(made.is_empty() && gone.is_empty()));
    context.insert("transaction", &!settings.fortimanager);
    context.insert("vdom", &settings.vdom.as_ref().map(FortiosText::as_str));
    context.insert("global", &global);
    context.insert("prefix", settings.prefix.as_str());
    context.insert("comment", &objects::plain(settings.comment.as_str()));
    context.insert("feed", &FeedSettings::of(settings));
    context.insert("profiles", &Profiles::of(settings));
    context.insert("move_before", &settings.move_before);
    context.insert("made", made);
    context.insert("gone", gone);
    let bytes = BYTES_A_PREFIX * job.prefix_count();
    job.templates.render_large("fortinet/script.conf", &context, bytes)
}

fn check(job: &Job<'_>, settings: &Fortios, now: &Objects) -> Result<String, RenderError> {
    let mut context = Context::new();
    context.insert("header", &job.header());
    context.insert("vdom", &settings.vdom.as_ref().map(FortiosText::as_str));
    context.insert("global", &(settings.scope == FortiosScope::Global));
    context.insert("feeds", &now.feeds);
    context.insert("username", &settings.username.is_some());
    context.insert("identity", &settings.identity().is_some());
    context.insert("policies", &now.policies);
    context.insert("move_before", &settings.move_before);
    context.insert("groups", &whole_groups(now));
    context.insert("fqdns", &now.families.iter().any(|family| !family.fqdns.is_empty()));
    context.insert("counts", &[now.families[0].count, now.families[1].count]);
    job.templates.render("fortinet/check.txt", &context)
}

/// A group of the configuration, without its members.
#[derive(Serialize)]
struct WholeGroup<'o> {
    name: &'o str,
    what: &'o str,
    v6: bool,
    members: usize,
}

fn whole_groups(now: &Objects) -> Vec<WholeGroup<'_>> {
    let groups = now.families.iter().flat_map(|family| &family.groups);
    groups
        .filter(|group| group.whole)
        .map(|group| WholeGroup {
            name: &group.name,
            what: &group.what,
            v6: group.v6,
            members: group.members,
        })
        .collect()
}

/// What every feed has in common.
#[derive(Serialize)]
struct FeedSettings<'s> {
    refresh_rate: u32,
    identity: Option<&'static str>,
    username: Option<&'s str>,
}

impl<'s> FeedSettings<'s> {
    fn of(settings: &'s Fortios) -> Self {
        Self {
            refresh_rate: settings.refresh_rate,
            identity: settings.identity().map(crate::config::FortiosIdentity::name),
            username: settings.username.as_ref().map(FortiosText::as_str),
        }
    }
}

/// The inspection of every policy.
#[derive(Serialize)]
struct Profiles<'s> {
    enabled: bool,
    ssl_ssh_profile: Option<&'s str>,
    ips_sensor: Option<&'s str>,
    application_list: Option<&'s str>,
}

impl<'s> Profiles<'s> {
    fn of(settings: &'s Fortios) -> Self {
        let text = |text: &'s Option<FortiosText>| text.as_ref().map(FortiosText::as_str);
        let (ssl_ssh_profile, ips_sensor, application_list) = (
            text(&settings.ssl_ssh_profile),
            text(&settings.ips_sensor),
            text(&settings.application_list),
        );
        Self {
            enabled: ssl_ssh_profile.or(ips_sensor).or(application_list).is_some(),
            ssl_ssh_profile,
            ips_sensor,
            application_list,
        }
    }
}
