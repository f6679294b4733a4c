//! Routes as the templates write them: names, duplicates, limits.

use std::collections::BTreeSet;

use serde::Serialize;

use super::super::naming::{Names, fit};
use super::super::{Job, RenderError};
use super::symbol;
use crate::config::{Azure, RouteTags};
use crate::ruleset::{Destination, RuleSet};

/// One route.
#[derive(Debug, Clone, Serialize)]
pub(super) struct RouteLine {
    /// Its name in the table.
    pub(super) name: String,
    /// Its name as a symbol of Bicep and Terraform.
    pub(super) symbol: String,
    /// A service tag or a prefix.
    pub(super) destination: String,
    /// Whether the destination is a service tag.
    pub(super) is_tag: bool,
    /// `Internet`, or `VirtualAppliance` for a default route of a whole table.
    pub(super) next_hop: &'static str,
    /// Of a VirtualAppliance.
    pub(super) next_hop_address: Option<String>,
    /// What it is for.
    pub(super) comment: String,
    /// The route before it: Azure takes changes of one table one after another.
    pub(super) after: Option<After>,
}

/// What must be deployed first.
#[derive(Debug, Clone, Serialize)]
pub(super) struct After {
    pub(super) name: String,
    pub(super) symbol: String,
}

/// The routes of a rule set, none with the destination of another: Azure refuses a second route to the same prefix, and
/// two profiles in one table share some.
pub(super) fn lines(part: &RuleSet, settings: &Azure) -> Vec<RouteLine> {
    let mut lines: Vec<RouteLine> = Vec::new();
    let mut known = BTreeSet::new();
    let mut add = |name: String, destination: String, is_tag, comment: &str| {
        if known.insert(destination.to_ascii_lowercase()) {
            lines.push(RouteLine {
                symbol: symbol("route", &name),
                name,
                destination,
                is_tag,
                next_hop: "Internet",
                next_hop_address: None,
                comment: comment.to_owned(),
                after: None,
            });
        }
    };
    let prefix = settings.prefix.as_str();
    for route in &part.routes {
        let comment = route.purpose.describe();
        match &route.destination {
            Destination::Prefix(to) => {
                let name = fit(prefix, route.name.as_str(), "", Azure::MAX_NAME);
                add(azure_name(name), to.to_string(), false, comment);
            }
            Destination::Tag { tag, prefixes, .. } => match settings.tags {
                RouteTags::Tag => {
                    let name = fit(prefix, route.name.as_str(), "", Azure::MAX_NAME);
                    add(azure_name(name), tag.to_string(), true, comment);
                }
                RouteTags::Prefixes => {
                    for to in prefixes.iter() {
                        let text = to.to_string().replace(':', "-").replace('/', "_");
                        let suffix = format!("-{text}");
                        let name = fit(prefix, route.name.as_str(), &suffix, Azure::MAX_NAME);
                        add(name, to.to_string(), false, &format!("{comment} ({tag})"));
                    }
                }
            },
        }
    }
    lines
}

/// The routes of the job in order, with the default routes of a whole table; checked for names and limits.
pub(super) fn checked(job: &Job<'_>, settings: &Azure) -> Result<Vec<RouteLine>, RenderError> {
    let mut routes = lines(job.part, settings);
    if settings.whole_table {
        routes.splice(0..0, default_routes(job, settings)?);
    }
    let limit = |what, count, limit, ways_out: &str| match &settings.route_table {
        Some(table) => {
            job.limits.check(format!("route table {table}"), what, count, limit, ways_out)
        }
        None => Ok(()),
    };
    let ways_out = match settings.tags {
        RouteTags::Prefixes => {
            "use tags = \"tag\" (one route for a service), set families = \"ipv4\" if the subnet has no IPv6, or \
             join clients into wider prefixes"
        }
        RouteTags::Tag => {
            "join clients into wider prefixes, or split the profile over two subnets with a table each"
        }
    };
    limit("routes", routes.len(), settings.max_routes, ways_out)?;
    let tags = routes.iter().filter(|route| route.is_tag).count();
    let ways_out = "use tags = \"prefixes\", or give the profiles a table each";
    limit("routes to service tags", tags, settings.max_tag_routes, ways_out)?;
    let mut names = Names::default();
    for route in &routes {
        let object = format!("the route {} to {}", route.name, route.destination);
        names.claim(job.name, &route.name, object.clone())?;
        names.claim(job.name, &route.symbol, object)?;
    }
    for index in 1..routes.len() {
        let RouteLine { name, symbol, .. } = &routes[index - 1];
        let after = After { name: name.clone(), symbol: symbol.clone() };
        routes[index].after = Some(after);
    }
    Ok(routes)
}

/// What a whole table must have so that its deployment does not cut the tunnel.
fn default_routes(job: &Job<'_>, settings: &Azure) -> Result<Vec<RouteLine>, RenderError> {
    let has_v6_routes =
        lines(job.part, settings).iter().any(|route| route.destination.contains(':'));
    if has_v6_routes && settings.default_route_next_hop_ipv6.is_none() {
        return Err(RenderError::Unfit {
            target: job.name.clone(),
            message: "the table has IPv6 routes, so its subnet has IPv6, and deploying the whole table deletes its \
                      ::/0: set `default-route-next-hop-ipv6`, or families = \"ipv4\""
                .to_owned(),
        });
    }
    let v4 = settings.default_route_next_hop.map(|hop| ("default", "0.0.0.0/0", hop.to_string()));
    let v6 =
        settings.default_route_next_hop_ipv6.map(|hop| ("default-ipv6", "::/0", hop.to_string()));
    let line = |(key, destination, hop): (&str, &str, String)| {
        let name = format!("{}{key}", settings.prefix.as_str());
        RouteLine {
            symbol: symbol("route", &name),
            name,
            destination: destination.to_owned(),
            is_tag: false,
            next_hop: "VirtualAppliance",
            next_hop_address: Some(hop),
            comment: "everything else goes through the tunnel".to_owned(),
            after: None,
        }
    };
    Ok(v4.into_iter().chain(v6).map(line).collect())
}

/// What Azure may refuse, or what is missing.
pub(super) fn warnings(job: &Job<'_>, settings: &Azure) -> Vec<String> {
    let mut warnings = Vec::new();
    if settings.route_table.is_none() {
        return warnings;
    }
    for route in &job.part.routes {
        let Destination::Tag { tag, prefixes, routable } = &route.destination else { continue };
        match settings.tags {
            RouteTags::Tag if !routable => warnings.push(format!(
                "route {} leads to the tag {tag}, whose networkFeatures in the publication do not name UDR: Azure may \
                 refuse it; tags = \"prefixes\" writes its prefixes instead",
                route.name
            )),
            RouteTags::Prefixes if prefixes.is_empty() => warnings.push(format!(
                "route {} is left out: the tag {tag} has no prefix in the families of its subnets",
                route.name
            )),
            _ => {}
        }
    }
    warnings
}

/// A name of ours may end with `-`, one of Azure's may not.
pub(super) fn azure_name(name: String) -> String {
    if name.ends_with('-') {
        format!("{}_", &name[..name.len().min(Azure::MAX_NAME - 1)])
    } else {
        name
    }
}
