//! Security rules as the templates write them: one family each, priorities in order.

use serde::Serialize;

use super::super::naming::{Names, fit};
use super::super::{Job, RenderError};
use super::routes::{After, azure_name};
use super::symbol;
use crate::config::{Azure, Direction, Protocol};
use crate::ruleset::{Family, Peer, RuleSet};

/// One security rule.
#[derive(Debug, Clone, Serialize)]
pub(super) struct SecurityLine {
    /// Its name in the group.
    pub(super) name: String,
    /// Its name as a symbol of Bicep and Terraform.
    pub(super) symbol: String,
    /// What it is for.
    pub(super) description: String,
    /// `Inbound` or `Outbound`.
    pub(super) direction: &'static str,
    /// Its place among the rules of its direction: lower ones first.
    pub(super) priority: usize,
    /// `Tcp` or `Udp`.
    pub(super) protocol: &'static str,
    /// One service tag, or prefixes of one family.
    pub(super) sources: Vec<String>,
    /// One service tag, or prefixes of one family.
    pub(super) destinations: Vec<String>,
    /// Ports and ranges.
    pub(super) ports: Vec<String>,
    /// The rule before it: Azure takes changes of one group one after another.
    pub(super) after: Option<After>,
}

/// The near side of every rule.
const NEAR: &str = "VirtualNetwork";

/// The security rules of a rule set, inbound first, with priorities in order.
pub(super) fn lines(part: &RuleSet, settings: &Azure) -> Vec<SecurityLine> {
    let mut lines = Vec::new();
    for (direction, first) in [
        (Direction::Inbound, settings.inbound_priority),
        (Direction::Outbound, settings.outbound_priority),
    ] {
        let mut priority = usize::from(first);
        for rule in part.security.iter().filter(|rule| rule.direction == direction) {
            for (suffix, far) in far_sides(&rule.peer) {
                let prefix = settings.prefix.as_str();
                let name = azure_name(fit(prefix, rule.name.as_str(), suffix, Azure::MAX_NAME));
                let near = vec![NEAR.to_owned()];
                let (sources, destinations) = match direction {
                    Direction::Inbound => (far, near),
                    Direction::Outbound => (near, far),
                };
                lines.push(SecurityLine {
                    symbol: symbol("rule", &name),
                    name,
                    description: format!("tagwall: {}", rule.purpose),
                    direction: match direction {
                        Direction::Inbound => "Inbound",
                        Direction::Outbound => "Outbound",
                    },
                    priority,
                    protocol: match rule.protocol {
                        Protocol::Tcp => "Tcp",
                        Protocol::Udp => "Udp",
                    },
                    sources,
                    destinations,
                    ports: rule.services.iter().map(|service| service.ports.to_string()).collect(),
                    after: None,
                });
                priority += usize::from(settings.priority_step);
            }
        }
    }
    lines
}

/// What stands on the far side: a tag by itself, prefixes by family (Azure takes no mixture).
fn far_sides(peer: &Peer) -> Vec<(&'static str, Vec<String>)> {
    match peer {
        Peer::Tag(tag) => vec![("", vec![tag.to_string()])],
        Peer::Prefixes(prefixes) => {
            let mixed = !prefixes.v4().is_empty() && !prefixes.v6().is_empty();
            Family::ALL
                .into_iter()
                .map(|family| {
                    let suffix = if mixed && family == Family::V6 { "-ipv6" } else { "" };
                    let texts = family.of(prefixes).iter().map(|net| net.to_string()).collect();
                    (suffix, texts)
                })
                .filter(|(_, texts): &(_, Vec<String>)| !texts.is_empty())
                .collect()
        }
    }
}

/// The security rules of the job in order; checked for names and priorities.
pub(super) fn checked(job: &Job<'_>, settings: &Azure) -> Result<Vec<SecurityLine>, RenderError> {
    let Some(group) = &settings.network_security_group else { return Ok(Vec::new()) };
    let mut rules = lines(job.part, settings);
    for (direction, key, first) in [
        ("Inbound", "inbound-priority", settings.inbound_priority),
        ("Outbound", "outbound-priority", settings.outbound_priority),
    ] {
        let count = rules.iter().filter(|rule| rule.direction == direction).count();
        let room = usize::from(Azure::PRIORITIES.end().saturating_sub(first));
        let limit = room / usize::from(settings.priority_step.max(1)) + 1;
        let what = if direction == "Inbound" { "inbound rules" } else { "outbound rules" };
        let ways_out = format!(
            "priorities end at {}: lower `{key}` or `priority-step`",
            Azure::PRIORITIES.end()
        );
        job.limits.check(
            format!("network security group {group}"),
            what,
            count,
            limit,
            &ways_out,
        )?;
    }
    let mut names = Names::default();
    for rule in &rules {
        let object = format!("the {} rule {}", rule.direction.to_ascii_lowercase(), rule.name);
        names.claim(job.name, &rule.name, object.clone())?;
        names.claim(job.name, &rule.symbol, object)?;
    }
    for index in 1..rules.len() {
        let SecurityLine { name, symbol, .. } = &rules[index - 1];
        let after = After { name: name.clone(), symbol: symbol.clone() };
        rules[index].after = Some(after);
    }
    Ok(rules)
}
