//! The list dialect: one prefix a line, a file for each group.

use tera::Context;

use super::{File, Job, RenderError};
use crate::config::{List, ListLayout};

/// The templates of this dialect.
pub(super) const TEMPLATES: &[(&str, &str)] =
    &[("list/group.txt", include_str!("../../templates/list/group.txt"))];

pub(super) fn render(job: &Job<'_>, settings: &List) -> Result<Vec<File>, RenderError> {
    let mut files = Vec::new();
    for group in job.groups() {
        let pieces: Vec<(String, Vec<&str>, usize)> = match settings.layout {
            ListLayout::Together => vec![(
                format!("{}.txt", group.name),
                vec![&group.v4, &group.v6],
                group.v4_count + group.v6_count,
            )],
            ListLayout::Apart => vec![
                (format!("{}-v4.txt", group.name), vec![&group.v4], group.v4_count),
                (format!("{}-v6.txt", group.name), vec![&group.v6], group.v6_count),
            ],
        };
        for (name, packed, count) in pieces {
            // A reader takes an empty list for "nothing is allowed"; hostnames without addresses are in the summary.
            if count == 0 {
                continue;
            }
            if let Some(limit) = settings.max_entries.filter(|&limit| count > limit) {
                return Err(RenderError::Limit {
                    target: job.name.clone(),
                    object: format!("group {}", group.name),
                    what: "prefixes",
                    count,
                    limit,
                    ways_out: "raise `max-entries`, select regional tags, or split the group"
                        .to_owned(),
                });
            }
            let mut context = Context::new();
            let header = if settings.header { job.header() } else { Vec::new() };
            context.insert("header", &header);
            context.insert("group", &group);
            context.insert("prefixes", &packed.concat());
            files.push(File::new(name, job.templates.render("list/group.txt", &context)?));
        }
    }
    Ok(files)
}
