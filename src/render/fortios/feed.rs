//! Lists that the device fetches, and what it can hold of them.
//!
//! A device that is given too much takes the first entries and drops the rest with nothing but a log line: so too much is
//! an error here.

use serde::Serialize;
use tera::Context;

use super::objects::plain;
use crate::config::{Fortios, FortiosScope, ListLayout};
use crate::render::context::packed;
use crate::render::limits::Limits;
use crate::render::naming::{Names, fit};
use crate::render::{File, Job, RenderError};
use crate::ruleset::{Family, RuleSet};

/// An external resource: one list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Feed {
    /// Its name on the device.
    pub(super) name: String,
    /// The list's file.
    pub(super) file: String,
    pub(super) url: String,
    pub(super) group: String,
    pub(super) comment: String,
    /// How many entries of each family it has now: they are the list's matter, not the script's.
    pub(super) v4: usize,
    pub(super) v6: usize,
}

impl Feed {
    /// Whether it has addresses of this family.
    pub(super) fn has(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4 > 0,
            Family::V6 => self.v6 > 0,
        }
    }

    /// Whether the device would be told the same about it.
    pub(super) fn is_defined_as(&self, other: &Self) -> bool {
        self.name == other.name && self.url == other.url && self.comment == other.comment
    }
}

/// The feeds of a rule set: a group without addresses has none, because an empty list reads as "nothing is allowed".
pub(super) fn of(
    limits: &Limits<'_>,
    part: &RuleSet,
    settings: &Fortios,
) -> Result<Vec<Feed>, RenderError> {
    let mut names = Names::default();
    let mut feeds = Vec::new();
    let base = settings.url.as_deref().unwrap_or_default().trim_end_matches('/');
    let prefix = match settings.scope {
        FortiosScope::Vdom => settings.prefix.as_str().to_owned(),
        FortiosScope::Global => format!("g-{}", settings.prefix.as_str()),
    };
    for group in &part.groups {
        let (v4, v6) = (group.prefixes.v4().len(), group.prefixes.v6().len());
        let pieces = match settings.layout {
            ListLayout::Together => vec![("", v4, v6)],
            ListLayout::Apart => vec![("-v4", v4, 0), ("-v6", 0, v6)],
        };
        for (suffix, v4, v6) in pieces {
            if v4 + v6 == 0 {
                continue;
            }
            let name = fit(&prefix, group.name.as_str(), suffix, Fortios::MAX_SHORT_NAME);
            names.claim(limits.target(), &name, format!("the list of group {}", group.name))?;
            let file = format!("{}{suffix}.txt", group.name);
            let url = format!("{base}/{file}");
            if url.len() > Fortios::MAX_URL {
                return Err(RenderError::Unfit {
                    target: limits.target().clone(),
                    message: format!(
                        "the address of {file} has {} characters, more than the {} that FortiOS takes; \
                         shorten `url`",
                        url.len(),
                        Fortios::MAX_URL
                    ),
                });
            }
            let comment = plain(&format!("{}: group {}", settings.comment, group.name));
            let group = group.name.to_string();
            feeds.push(Feed { name, file, url, group, comment, v4, v6 });
        }
    }
    check(limits, settings, &feeds)?;
    Ok(feeds)
}

fn check(limits: &Limits<'_>, settings: &Fortios, feeds: &[Feed]) -> Result<(), RenderError> {
    let most = settings.feed_limit.unwrap_or(match settings.scope {
        FortiosScope::Vdom => Fortios::FEEDS_IN_VDOM,
        FortiosScope::Global => Fortios::FEEDS_GLOBAL,
    });
    limits.check(
        "the device",
        "lists",
        feeds.len(),
        most,
        "carry fewer groups with `groups`, join groups, or use layout = \"together\"",
    )?;
    let ways_out =
        "raise `entry-limit` if the model takes more, select regional tags, or split the group";
    if settings.version.full() < (7, 4, 4) {
        let limit = settings.entry_limit.unwrap_or(Fortios::ENTRIES_EACH);
        for feed in feeds {
            let object = format!("group {}", feed.group);
            limits.check(object, "prefixes in one list", feed.v4 + feed.v6, limit, ways_out)?;
        }
    }
    if settings.version.full() >= (7, 4, 0) {
        let limit = settings.entry_limit.unwrap_or(Fortios::ENTRIES_TOGETHER);
        // 7.4 without a patch number may count either way.
        let limit = if settings.version.full() >= (7, 4, 4) {
            limit
        } else {
            Fortios::ENTRIES_TOGETHER.max(limit)
        };
        let count = feeds.iter().map(|feed| feed.v4 + feed.v6).sum();
        limits.check("the lists together", "prefixes", count, limit, ways_out)?;
    }
    Ok(())
}

/// The files of the lists: a prefix a line and nothing else, which is all that the device reads.
pub(super) fn lists(
    job: &Job<'_>,
    settings: &Fortios,
    feeds: &[Feed],
) -> Result<Vec<File>, RenderError> {
    let mut files = Vec::with_capacity(feeds.len());
    for feed in feeds {
        let Some(group) = job.part.groups.iter().find(|group| group.name.as_str() == feed.group)
        else {
            continue;
        };
        let prefixes = match (feed.v4, feed.v6) {
            (_, 0) => group.prefixes.only_v4(),
            (0, _) => group.prefixes.only_v6(),
            _ => group.prefixes.clone(),
        };
        let mut context = Context::new();
        context.insert("group", &feed.group);
        context.insert("prefixes", &packed(&prefixes));
        let text = job.templates.render("fortinet/feed.txt", &context)?;
        if settings.version.full() < (7, 4, 4) {
            job.limits.check(
                format!("group {}", feed.group),
                "bytes in one list",
                text.len(),
                Fortios::LIST_BYTES,
                "select regional tags, split the group, or use layout = \"apart\"",
            )?;
        }
        files.push(File::new(feed.file.clone(), text));
    }
    Ok(files)
}
