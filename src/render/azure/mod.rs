//! The azure dialect: user-defined routes, and rules of a network security group.
//!
//! By default only children of a table and a group that exist: deploying a route table with its routes inside deletes the
//! customer's 0.0.0.0/0 and everything else that is not in the file, so a whole table is written only on request, and
//! then with its default route. Deploying never removes children that went: with the rule set that was in force before,
//! `routes.delta.az.sh` does (not for Terraform, whose state knows).
//!
//! What the files say depends on routes and security rules alone ([`carried`]); a publication that changes other address
//! space leaves every byte of them.

mod delta;
mod routes;
mod security;

use serde::Serialize;
use tera::Context;

use self::routes::RouteLine;
use self::security::SecurityLine;
use super::{File, Job, RenderError};
use crate::config::{Azure, AzureFormat, Guid, Region, ResourceName, RouteTags};
use crate::prefix::PrefixSet;
use crate::ruleset::{Destination, Route, RuleSet};

/// The templates of this dialect.
pub(super) const TEMPLATES: &[(&str, &str)] = &[
    ("azure/delta.az.sh", include_str!("../../../templates/azure/delta.az.sh")),
    ("azure/nsg.arm.json", include_str!("../../../templates/azure/nsg.arm.json")),
    ("azure/nsg.az.sh", include_str!("../../../templates/azure/nsg.az.sh")),
    ("azure/nsg.bicep", include_str!("../../../templates/azure/nsg.bicep")),
    ("azure/nsg.tf", include_str!("../../../templates/azure/nsg.tf")),
    ("azure/routes.arm.json", include_str!("../../../templates/azure/routes.arm.json")),
    ("azure/routes.az.sh", include_str!("../../../templates/azure/routes.az.sh")),
    ("azure/routes.bicep", include_str!("../../../templates/azure/routes.bicep")),
    ("azure/routes.tf", include_str!("../../../templates/azure/routes.tf")),
];

/// The settings as templates see them.
#[derive(Serialize)]
struct Settings<'s> {
    resource_group: &'s str,
    subscription: Option<&'s str>,
    route_table: Option<&'s str>,
    network_security_group: Option<&'s str>,
    whole_table: bool,
    location: Option<&'s str>,
    disable_bgp_propagation: Option<bool>,
    associate_network: Option<&'s str>,
    associate_subnet: Option<&'s str>,
}

impl<'s> Settings<'s> {
    fn of(settings: &'s Azure) -> Self {
        let subnet = settings.associate_subnet.as_ref();
        Self {
            resource_group: settings.resource_group.as_str(),
            subscription: settings.subscription.as_ref().map(Guid::as_str),
            route_table: settings.route_table.as_ref().map(ResourceName::as_str),
            network_security_group: settings
                .network_security_group
                .as_ref()
                .map(ResourceName::as_str),
            whole_table: settings.whole_table,
            location: settings.location.as_ref().map(Region::as_str),
            disable_bgp_propagation: settings.disable_bgp_propagation,
            associate_network: subnet.map(|subnet| subnet.network.as_str()),
            associate_subnet: subnet.map(|subnet| subnet.subnet.as_str()),
        }
    }
}

/// The part of a target's rule set that its files say something about: routes, with the prefixes of their tags only where
/// they are written, in the families of the profile's subnets; and security rules.
pub(super) fn carried(part: &RuleSet, settings: &Azure) -> RuleSet {
    let routes = part
        .routes
        .iter()
        .map(|route| match &route.destination {
            Destination::Tag { tag, prefixes, routable } => {
                let prefixes = match settings.tags {
                    RouteTags::Tag => PrefixSet::new(),
                    RouteTags::Prefixes => in_subnets_families(part, route, prefixes),
                };
                let destination =
                    Destination::Tag { tag: tag.clone(), prefixes, routable: *routable };
                Route { destination, ..route.clone() }
            }
            Destination::Prefix(_) => route.clone(),
        })
        .collect();
    RuleSet { routes, security: part.security.clone(), ..RuleSet::default() }
}

/// A subnet without IPv6 needs no IPv6 routes, and a table has little room.
fn in_subnets_families(part: &RuleSet, route: &Route, prefixes: &PrefixSet) -> PrefixSet {
    let own = part
        .rules
        .iter()
        .filter(|rule| rule.profile.as_ref() == Some(&route.profile))
        .fold(PrefixSet::new(), |own, rule| own.union(&rule.own));
    match (own.v4().is_empty(), own.v6().is_empty()) {
        (false, true) => prefixes.only_v4(),
        (true, false) => prefixes.only_v6(),
        // Both; or the target carries no rule of the profile, and nothing is known.
        _ => prefixes.clone(),
    }
}

/// Renders what [`carried`] left.
pub(super) fn render(job: &Job<'_>, settings: &Azure) -> Result<Vec<File>, RenderError> {
    let routes = routes::checked(job, settings)?;
    let security = security::checked(job, settings)?;
    let extension = settings.format.extension();
    let mut files = Vec::new();
    let mut write = |what: &str, context: &Context| {
        let name = format!("{what}.{extension}");
        let text = job.templates.render(&format!("azure/{name}"), context)?;
        files.push(File::new(name, text));
        Ok(())
    };
    let mut context = Context::new();
    context.insert("header", &job.header());
    context.insert("target", job.name.as_str());
    context.insert("settings", &Settings::of(settings));
    if settings.route_table.is_some() {
        context.insert("routes", &routes);
        write("routes", &context)?;
    }
    if settings.network_security_group.is_some() {
        context.insert("rules", &security);
        write("nsg", &context)?;
    }
    if let Some(previous) = job.previous
        && settings.format != AzureFormat::Terraform
    {
        let old_routes = routes::lines(previous, settings);
        let old_security = security::lines(previous, settings);
        let delta = delta::Delta::between((&old_routes, &old_security), (&routes, &security));
        context.insert("delta", &delta);
        let text = job.templates.render("azure/delta.az.sh", &context)?;
        files.push(File::new("routes.delta.az.sh", text));
    }
    if let Some(first) = files.first_mut() {
        first.warnings = routes::warnings(job, settings);
    }
    Ok(files)
}

/// A name as Bicep and ARM write symbols: letters, digits and `_`.
fn symbol(kind: &str, name: &str) -> String {
    let harmless = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    format!("{kind}_{}", name.chars().map(harmless).collect::<String>())
}
