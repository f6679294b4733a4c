//! Policies and their ids.
//!
//! `edit 1` overwrites whatever policy 1 is and `edit 0` appends another at every run: so a policy needs an id that stays
//! its own. The configuration reserves a range of ids, and each rule has a *slot* in it, two ids: IPv4 and IPv6. The rules
//! that `slots` names have the slots in that order, whatever else comes or goes; the others follow in the order of their
//! names, where a new rule may move those behind it. A policy's name holds its id, because two policies cannot share a
//! name even for a moment: so a moved one is taken by the device, too.

use std::collections::BTreeMap;

use serde::Serialize;

use super::feed::Feed;
use super::objects::{address, fqdn_names, group_name, plain, quoted, service_name, short};
use crate::config::{Direction, Fortios, FortiosFormat, FortiosLog, FortiosText, Name, Service};
use crate::render::RenderError;
use crate::render::limits::Limits;
use crate::render::naming::fit;
use crate::ruleset::{Family, Flow, RuleSet};

/// Where the ids of a rule are.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) rule: Name,
    /// The id of its IPv4 policy; the next one is that of IPv6.
    pub(super) id: u32,
    /// Whether `slots` names it.
    pub(super) fixed: bool,
}

/// A policy: one rule in one family. Lists are quoted already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Policy {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) rule: String,
    /// `ipv4` or `ipv6`.
    pub(super) family: &'static str,
    pub(super) srcintf: String,
    pub(super) dstintf: String,
    pub(super) src: String,
    pub(super) dst: String,
    pub(super) services: String,
    pub(super) nat: bool,
    pub(super) pool: Option<String>,
    pub(super) log: &'static str,
    pub(super) comment: String,
    /// A connection that it lets through, to look it up on the device.
    pub(super) probe: Option<Probe>,
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Probe {
    pub(super) source: String,
    pub(super) destination: String,
    pub(super) protocol: &'static str,
    pub(super) port: u16,
    pub(super) interface: String,
}

/// The policies of a rule set, by id, and the places of all its rules.
pub(super) fn of(
    limits: &Limits<'_>,
    part: &RuleSet,
    flows: &[Flow<'_>],
    settings: &Fortios,
    feeds: &[Feed],
) -> Result<(Vec<Policy>, Vec<Place>), RenderError> {
    let places = places(limits, part, settings)?;
    let mut by_id: BTreeMap<u32, Policy> = BTreeMap::new();
    for place in &places {
        for (offset, family) in Family::ALL.into_iter().enumerate() {
            let mut own_flows = flows
                .iter()
                .filter(|flow| flow.rule.name == place.rule && flow.family == family)
                .peekable();
            let Some(&first) = own_flows.peek() else { continue };
            let services: Vec<String> = own_flows
                .flat_map(|flow| {
                    flow.ports.iter().map(|&ports| Service { protocol: flow.protocol, ports })
                })
                .map(|service| service_name(settings, service))
                .collect();
            let id = place.id + u32::from(offset > 0);
            by_id.insert(id, policy(limits, id, first, &services, settings, feeds)?);
        }
    }
    Ok((by_id.into_values().collect(), places))
}

fn places(
    limits: &Limits<'_>,
    part: &RuleSet,
    settings: &Fortios,
) -> Result<Vec<Place>, RenderError> {
    let Some((first, count)) = settings.reserved() else {
        return Err(RenderError::Unfit {
            target: limits.target().clone(),
            message: "no policy ids are reserved: set first-policy-id and policy-count".to_owned(),
        });
    };
    let mut rest: Vec<&Name> = part.rules.iter().map(|rule| &rule.name).collect();
    rest.sort_unstable();
    rest.dedup();
    let mut behind = settings.slots.len();
    let mut places = Vec::with_capacity(rest.len());
    let mut needed = 0;
    for rule in rest {
        let fixed = settings.slots.iter().position(|slot| slot == rule);
        let slot = fixed.unwrap_or_else(|| {
            behind += 1;
            behind - 1
        });
        needed = needed.max(2 * (slot + 1));
        // Beyond the range the error below is given, and the id is never used.
        let id = u32::try_from(2 * slot).ok().and_then(|offset| first.checked_add(offset));
        let fixed = fixed.is_some();
        places.push(Place { rule: rule.clone(), id: id.unwrap_or(first), fixed });
    }
    let limit = usize::try_from(count).unwrap_or(usize::MAX);
    limits.check(
        format!("the range from {first} on"),
        "policy ids in use",
        needed,
        limit,
        "raise `policy-count` to ids that nothing else uses, or carry fewer rules with `rules`",
    )?;
    places.sort_unstable_by_key(|place| place.id);
    Ok(places)
}

fn policy(
    limits: &Limits<'_>,
    id: u32,
    flow: &Flow<'_>,
    services: &[String],
    settings: &Fortios,
    feeds: &[Feed],
) -> Result<Policy, RenderError> {
    let family = flow.family;
    let prefix = settings.prefix.as_str();
    let own: Vec<String> = flow.own.iter().map(|net| address(prefix, &net.to_string())).collect();
    limits.check(
        format!("rule {}", flow.rule.name),
        "own prefixes",
        own.len(),
        settings.member_limit,
        "raise `member-limit` to what the model takes, or name wider subnets",
    )?;
    let remote: Vec<String> = match settings.format {
        FortiosFormat::Cli => vec![group_name(settings, &flow.group.name, family)],
        FortiosFormat::Feed => feeds
            .iter()
            .filter(|feed| feed.group == flow.group.name.as_str() && feed.has(family))
            .map(|feed| feed.name.clone())
            .chain(fqdn_names(settings, flow.group, family).into_iter().map(|fqdn| fqdn.name))
            .collect(),
    };
    let texts =
        |texts: &[FortiosText]| quoted(&texts.iter().map(FortiosText::as_str).collect::<Vec<_>>());
    let (own, remote) = (quoted(&own), quoted(&remote));
    let (near, far) = (texts(&settings.own_interfaces), texts(&settings.internet_interfaces));
    let outbound = flow.rule.direction == Direction::Outbound;
    let (nat, pool) = match family {
        Family::V4 => (settings.nat, &settings.ip_pool),
        Family::V6 => (settings.nat6, &settings.ip_pool6),
    };
    let ((srcintf, src), (dstintf, dst)) =
        if outbound { ((near, own), (far, remote)) } else { ((far, remote), (near, own)) };
    let comment = match &flow.rule.comment {
        Some(comment) => format!("{}: rule {}: {comment}", settings.comment, flow.rule.name),
        None => format!("{}: rule {}", settings.comment, flow.rule.name),
    };
    let suffix = format!("-{}", short(family));
    let numbered = format!("{prefix}{id}-");
    let log = if flow.rule.log { FortiosLog::All } else { settings.log };
    Ok(Policy {
        id,
        name: fit(&numbered, flow.rule.name.as_str(), &suffix, Fortios::MAX_SHORT_NAME),
        rule: flow.rule.name.to_string(),
        family: match family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        },
        srcintf,
        dstintf,
        src,
        dst,
        services: quoted(services),
        // What comes in keeps its source: the own end answers to it.
        nat: outbound && nat,
        pool: pool.as_ref().filter(|_| outbound).map(|pool| pool.as_str().to_owned()),
        log: match log {
            FortiosLog::All => "all",
            FortiosLog::Utm => "utm",
            FortiosLog::Disable => "disable",
        },
        comment: plain(&comment),
        probe: probe(flow, settings),
    })
}

/// The first connection that an outbound IPv4 policy lets through: the device's look-up knows IPv4 only.
fn probe(flow: &Flow<'_>, settings: &Fortios) -> Option<Probe> {
    let outbound = flow.family == Family::V4 && flow.rule.direction == Direction::Outbound;
    let remote = flow.group.prefixes.v4().first().filter(|_| outbound)?;
    let ipnet::IpNet::V4(own) = flow.own.first()? else { return None };
    let host = |net: &ipnet::Ipv4Net| net.hosts().next().unwrap_or(net.network()).to_string();
    Some(Probe {
        source: host(own),
        destination: host(remote),
        protocol: flow.protocol.name(),
        port: flow.ports.first()?.first,
        interface: settings.own_interfaces.first()?.as_str().to_owned(),
    })
}
