//! The panos dialect: external dynamic lists, commands of the configuration mode, or a document for the API.
//!
//! All three come from the same [`objects`]; the templates know the syntax. Full files create and update, and never
//! depend on history; what has gone is removed by a delta file of its own, computed from the previous rule set. A full
//! file touches nothing that does not carry our prefix, and a delta removes only what the previous full file created.
//!
//! Interfaces mean nothing on PAN-OS: zones stand in their place. Wildcards cannot be FQDN objects; the summary of a
//! rendering names them as not covered.

mod delta;
mod limits;
mod nest;
mod objects;
mod view;

use std::net::IpAddr;

use ipnet::IpNet;
use tera::Context;

use self::objects::{List, Objects};
use super::context::packed;
use super::{File, Job, RenderError};
use crate::config::{
    Direction, Families, Panos, PanosFormat, PanosName, PanosRulebase, Position, Protocol,
};
use crate::ruleset::Family;

/// The templates of this dialect.
pub(super) const TEMPLATES: &[(&str, &str)] = &[
    ("paloalto/check.txt", include_str!("../../templates/paloalto/check.txt")),
    ("paloalto/delta.set", include_str!("../../templates/paloalto/delta.set")),
    ("paloalto/delta.xml", include_str!("../../templates/paloalto/delta.xml")),
    ("paloalto/list.txt", include_str!("../../templates/paloalto/list.txt")),
    ("paloalto/objects.set", include_str!("../../templates/paloalto/objects.set")),
    ("paloalto/objects.xml", include_str!("../../templates/paloalto/objects.xml")),
    ("paloalto/position.xml", include_str!("../../templates/paloalto/position.xml")),
    ("paloalto/rules.set", include_str!("../../templates/paloalto/rules.set")),
    ("paloalto/rules.xml", include_str!("../../templates/paloalto/rules.xml")),
];

/// About what an object and its place in a group take in a file.
const BYTES_A_PREFIX: usize = 192;

pub(super) fn render(job: &Job<'_>, settings: &Panos) -> Result<Vec<File>, RenderError> {
    let objects = Objects::build(job.name, job.part, settings)?;
    limits::check(&job.limits, &objects, settings)?;
    let mut context = settings_context(settings);
    view::insert(&mut context, &objects, settings);
    let mut files = Vec::new();
    let mut write = |template: &str, file: &str, context: &Context| {
        files.push(File::new(file, document(job, template, context)?));
        Ok::<(), RenderError>(())
    };
    match settings.format {
        PanosFormat::Set => write("paloalto/rules.set", "rules.set", &context)?,
        PanosFormat::Xml => {
            write("paloalto/rules.xml", "rules.xml", &context)?;
            if settings.position.is_some() && !objects.rules.is_empty() {
                write("paloalto/position.xml", "position.xml", &context)?;
            }
        }
        PanosFormat::Edl => {
            write("paloalto/rules.set", "edl.set", &context)?;
            context.insert("tests", &tests(job, &objects, settings));
            write("paloalto/check.txt", "check.txt", &context)?;
        }
    }
    if settings.format == PanosFormat::Edl {
        for list in objects.lists.values() {
            files.push(list_file(job, list)?);
        }
    }
    if let Some(previous) = job.previous {
        let before = Objects::build(job.name, previous, settings)?;
        let (template, file) = match settings.format {
            PanosFormat::Set => ("paloalto/delta.set", "rules.delta.set"),
            PanosFormat::Edl => ("paloalto/delta.set", "edl.delta.set"),
            PanosFormat::Xml => ("paloalto/delta.xml", "rules.delta.xml"),
        };
        let delta = delta::between(&before, &objects, settings.prefix.as_str());
        if !delta.is_empty() {
            let mut context = settings_context(settings);
            delta.insert(&mut context, &objects, settings);
            files.push(File::new(file, document(job, template, &context)?));
        }
    }
    Ok(files)
}

/// A rendered template without the empty lines that it may start with: a device would take them for commands.
fn document(job: &Job<'_>, template: &str, context: &Context) -> Result<String, RenderError> {
    let mut text =
        job.templates.render_large(template, context, BYTES_A_PREFIX * job.prefix_count())?;
    let empty = text.len() - text.trim_start_matches('\n').len();
    text.drain(..empty);
    Ok(text)
}

fn list_file(job: &Job<'_>, list: &List) -> Result<File, RenderError> {
    let mut text = String::new();
    if let Some(group) = job.part.group(&list.of) {
        for (wanted, family) in [(list.v4, Family::V4), (list.v6, Family::V6)] {
            if wanted {
                text.push_str(&packed(&family.of(&group.prefixes)));
            }
        }
    }
    let mut context = Context::new();
    context.insert("prefixes", &text);
    Ok(File::new(list.file.clone(), job.templates.render("paloalto/list.txt", &context)?))
}

/// What the settings alone say.
fn settings_context(settings: &Panos) -> Context {
    let mut context = Context::new();
    let (scope, place) = match (&settings.vsys, &settings.device_group) {
        (_, Some(group)) => (
            format!("device-group {} ", group.command()),
            format!("device-group/entry[@name='{group}']"),
        ),
        (Some(vsys), None) => {
            (format!("vsys {} ", vsys.command()), format!("vsys/entry[@name='{vsys}']"))
        }
        (None, None) => (String::new(), "vsys/entry[@name='vsys1']".to_owned()),
    };
    let rulebase = match (&settings.device_group, settings.rulebase) {
        (None, _) => "rulebase",
        (Some(_), None | Some(PanosRulebase::Pre)) => "pre-rulebase",
        (Some(_), Some(PanosRulebase::Post)) => "post-rulebase",
    };
    let command = |name: &Option<PanosName>| name.as_ref().map(PanosName::command);
    let text = |name: &Option<PanosName>| name.as_ref().map(ToString::to_string);
    let xpath = format!("/config/devices/entry[@name='localhost.localdomain']/{place}");
    context.insert("scope", &scope);
    context.insert("xpath", &xpath);
    context.insert("rulebase", rulebase);
    context.insert("version", &settings.version.to_string());
    context.insert("prefix", settings.prefix.as_str());
    context.insert("tag", settings.tag.as_str());
    context.insert("log_end", if settings.log_end { "yes" } else { "no" });
    context.insert("log_setting", &text(&settings.log_setting));
    context.insert("log_setting_command", &command(&settings.log_setting));
    context.insert("profile_group", &text(&settings.profile_group));
    context.insert("profile_group_command", &command(&settings.profile_group));
    let lists = settings.lists.as_ref();
    context.insert("base_url", &lists.map(|lists| lists.base_url.to_string()));
    context.insert("interval", &lists.map(|lists| lists.interval.command()));
    let profile = lists.and_then(|lists| lists.certificate_profile.as_ref());
    context.insert("certificate_profile", &profile.map(PanosName::command));
    let username = lists.and_then(|lists| lists.username.as_ref());
    context.insert("username", &username.map(PanosName::command));
    let (r#where, other) = match &settings.position {
        None => (None, None),
        Some(Position::Top) => (Some("top"), None),
        Some(Position::Bottom) => (Some("bottom"), None),
        Some(Position::Before(rule)) => (Some("before"), Some(rule)),
        Some(Position::After(rule)) => (Some("after"), Some(rule)),
    };
    context.insert("move_where", &r#where);
    context.insert("move_other", &other.map(ToString::to_string));
    context.insert("move_other_command", &other.map(PanosName::command));
    context
}

/// Operational commands that ask the device whether it lets each rule's first addresses through.
fn tests(job: &Job<'_>, objects: &Objects, settings: &Panos) -> Vec<String> {
    let mut commands = Vec::new();
    for flow in job.part.flows(Families::Both) {
        let written = objects.rules.values().any(|rule| rule.of == flow.rule.name);
        let remote = flow.family.of(&flow.group.prefixes).iter().next();
        let (Some(remote), Some(own), true) = (remote, flow.own.first(), written) else { continue };
        let (remote, own) = (host_in(remote), host_in(*own));
        let (source, destination, from, to) = match flow.rule.direction {
            Direction::Outbound => (own, remote, &settings.from, &settings.to),
            Direction::Inbound => (remote, own, &settings.to, &settings.from),
        };
        let zone = |key: &str, zones: &[PanosName]| match zones.first() {
            Some(zone) if zone.as_str() != "any" => format!("{key} {} ", zone.command()),
            _ => String::new(),
        };
        let protocol = match flow.protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        };
        let port = flow.ports.first().map_or(0, |ports| ports.first);
        commands.push(format!(
            "test security-policy-match {}{}source {source} destination {destination} protocol {protocol} \
             destination-port {port}",
            zone("from", from),
            zone("to", to)
        ));
    }
    commands
}

/// An address in a prefix that a host may have.
fn host_in(net: IpNet) -> IpAddr {
    net.hosts().next().unwrap_or(net.addr())
}
