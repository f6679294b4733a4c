//! The custom dialect: a user's own template over the context that docs/templates.md describes.
//!
//! The template is compiled with the built-in ones, so it may include them, and is rendered with complete samples by
//! `tagwall check`: an unknown variable is found there, nested ones too. What the file means to a firewall is the
//! template's business alone; tagwall neither verifies nor removes anything for this dialect.

use tera::Context;

use super::context::GroupContext;
use super::{File, Job, RenderError};
use crate::config::{Custom, Families, Name};

/// The name of a target's template among all.
pub(super) fn template_name(target: &Name) -> String {
    format!("custom/{target}")
}

pub(super) fn render(job: &Job<'_>, settings: &Custom) -> Result<Vec<File>, RenderError> {
    let template = template_name(job.name);
    let mut context = Context::new();
    context.insert("header", &job.header());
    context.insert("target", job.name.as_str());
    context.insert("digest", &job.digest.to_string());
    context.insert("groups", &job.groups().collect::<Vec<_>>());
    context.insert("flows", &job.flows(Families::Both, &[]));
    context.insert("rules", &job.rules());
    context.insert("routes", &job.routes());
    context.insert("security", &job.security());
    context.insert("values", &settings.values);
    if !settings.per_group {
        let text = job.templates.render(&template, &context)?;
        return Ok(vec![File::new(settings.file.as_str(), text)]);
    }
    let mut files = Vec::new();
    for group in &job.part.groups {
        context.insert("group", &GroupContext::of(group));
        let text = job.templates.render(&template, &context)?;
        files.push(File::new(settings.file.for_group(&group.name), text));
    }
    Ok(files)
}
