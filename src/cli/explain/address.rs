//! Which tags, groups, rules and routes have an address or prefix.

use ipnet::IpNet;
use serde::Serialize;

use super::RuleAnswer;
use crate::cli::printer::{HEADLINE, WARNING, wrapped};
use crate::config::{Config, Name, Network};
use crate::pipeline;
use crate::prefix::PrefixSet;
use crate::ruleset::{AllowRule, Destination, Family, RuleSet};
use crate::selection::{HostAddresses, Publications};
use crate::snapshot::{Cloud, Snapshot};

#[derive(Serialize)]
pub(super) struct Answer {
    prefix: String,
    /// Whether a configuration was asked too.
    configured: bool,
    clouds: Vec<Cloud>,
    tags: Vec<TagHit>,
    groups: Vec<GroupHit>,
    rules: Vec<RuleAnswer>,
    /// Rules whose group has it, but whose own end has no prefix of its family.
    rules_without_family: Vec<Name>,
    /// Rules at whose own end it is.
    own_of: Vec<Name>,
    routes: Vec<RouteHit>,
}

#[derive(Serialize)]
struct TagHit {
    cloud: Cloud,
    name: String,
    /// Whether the tag has all of it, not only a part.
    whole: bool,
}

#[derive(Serialize)]
struct GroupHit {
    name: Name,
    whole: bool,
    /// Whether all or a part of it is let through only because the group is fitted into fewer prefixes.
    surplus: bool,
}

#[derive(Serialize)]
struct RouteHit {
    name: Name,
    purpose: &'static str,
}

pub(super) fn explain(
    config: Option<&Config>,
    network: Network,
    publications: &Publications,
) -> anyhow::Result<Answer> {
    let net = network.0;
    let rules = config
        .map(|config| pipeline::rules(config, publications, &HostAddresses::new()))
        .transpose()?;
    let rules = rules.unwrap_or_default();
    let groups: Vec<GroupHit> = rules
        .groups
        .iter()
        .filter(|group| group.prefixes.overlaps(net))
        .map(|group| GroupHit {
            name: group.name.clone(),
            whole: group.prefixes.covers(net),
            surplus: group.surplus.overlaps(net),
        })
        .collect();
    let family = match net {
        IpNet::V4(_) => Family::V4,
        IpNet::V6(_) => Family::V6,
    };
    let hit = |rule: &&AllowRule| groups.iter().any(|group| group.name == rule.group);
    let (letting, without): (Vec<_>, Vec<_>) =
        rules.rules.iter().filter(hit).partition(|rule| !family.of(&rule.own).is_empty());
    let own = rules.rules.iter().filter(|rule| rule.own.overlaps(net));
    Ok(Answer {
        prefix: net.to_string(),
        configured: config.is_some(),
        clouds: publications.keys().copied().collect(),
        tags: publications
            .values()
            .flat_map(|publication| tags(&publication.snapshot, net))
            .collect(),
        rules: letting.into_iter().map(RuleAnswer::of).collect(),
        rules_without_family: without.into_iter().map(|rule| rule.name.clone()).collect(),
        own_of: own.map(|rule| rule.name.clone()).collect(),
        routes: routes(&rules, net),
        groups,
    })
}

fn tags(snapshot: &Snapshot, net: IpNet) -> Vec<TagHit> {
    let mut hits = Vec::new();
    for tag in snapshot.tags_by_name() {
        let space = PrefixSet::from_parts(snapshot.v4(tag).to_vec(), snapshot.v6(tag).to_vec());
        if space.overlaps(net) {
            let (cloud, whole) = (snapshot.cloud(), space.covers(net));
            hits.push(TagHit { cloud, name: tag.name().to_string(), whole });
        }
    }
    hits
}

fn routes(rules: &RuleSet, net: IpNet) -> Vec<RouteHit> {
    let leads_to = |destination: &Destination| match destination {
        Destination::Prefix(prefix) => PrefixSet::from(*prefix).overlaps(net),
        Destination::Tag { prefixes, .. } => prefixes.overlaps(net),
    };
    rules
        .routes
        .iter()
        .filter(|route| leads_to(&route.destination))
        .map(|route| RouteHit { name: route.name.clone(), purpose: route.purpose.describe() })
        .collect()
}

impl Answer {
    pub(super) fn text(&self) -> String {
        let clouds: Vec<&str> = self.clouds.iter().map(|cloud| cloud.name()).collect();
        let mut text = format!("{HEADLINE}{}{HEADLINE:#}\n", self.prefix);
        let mut section = |headline: String, lines: &[String]| {
            text.push_str(&format!("{HEADLINE}{headline}{HEADLINE:#}\n"));
            for line in lines {
                text.push_str(&format!("  {}\n", wrapped(line, 98, "      ")));
            }
        };
        let part = |whole: bool| if whole { "" } else { " (a part of it)" };
        let tags: Vec<String> =
            self.tags.iter().map(|tag| format!("{}{}", tag.name, part(tag.whole))).collect();
        match tags.as_slice() {
            [] => section(format!("no tag of cloud {} has it", clouds.join(", ")), &[]),
            tags => section(format!("tags of cloud {}", clouds.join(", ")), tags),
        }
        if !self.configured {
            text.push_str("there is no configuration, hence no group and no rule\n");
            return text;
        }
        let groups: Vec<String> = self
            .groups
            .iter()
            .map(|group| {
                let surplus = if group.surplus {
                    ": not published, or only in part; `fit` lets it through to save prefixes"
                } else {
                    ""
                };
                format!("{}{}{surplus}", group.name, part(group.whole))
            })
            .collect();
        match groups.as_slice() {
            [] => section("no group has it".to_owned(), &[]),
            groups => section("groups".to_owned(), groups),
        }
        let rules: Vec<String> = self.rules.iter().map(RuleAnswer::line).collect();
        match rules.as_slice() {
            [] => section(format!("{WARNING}no rule lets it through{WARNING:#}"), &[]),
            rules => section("rules that let it through".to_owned(), rules),
        }
        for (headline, names) in [
            ("not let through by these: their own end has no prefix of its family", {
                &self.rules_without_family
            }),
            ("own end of the rules", &self.own_of),
        ] {
            if !names.is_empty() {
                section(
                    headline.to_owned(),
                    &names.iter().map(Name::to_string).collect::<Vec<_>>(),
                );
            }
        }
        if !self.routes.is_empty() {
            let routes: Vec<String> = self
                .routes
                .iter()
                .map(|route| format!("{} ({})", route.name, route.purpose))
                .collect();
            section("routes that take it past this firewall".to_owned(), &routes);
        }
        text
    }
}
