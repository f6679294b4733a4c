//! The nftables dialect: named interval sets, and a chain that matches them.
//!
//! *own*: a table that enforces. An accept in it opens nothing behind another table's drop, so it must be the one that
//! drops the rest, and it does so only for the rules' own prefixes towards the egress interfaces. *embed*: sets and a
//! regular chain inside the host's table, for the host's rules to jump to.
//!
//! Element deltas are never written: on interval sets they fail, or worse succeed wrongly, in several nft versions. A
//! full artifact replaces whole sets in one transaction.

use serde::Serialize;
use tera::Context;

use super::context::{FlowContext, GroupContext};
use super::kernel::{KernelSet, MARK, NftablesKernel};
use super::limits::Limits;
use super::naming::{Names, fit};
use super::scope::{Scope, interfaces_differ};
use super::{File, Job, RenderError};
use crate::config::{Direction, Families, Name, Nftables, NftablesMode, Rest};
use crate::ruleset::{Family, RuleSet};

/// The templates of this dialect.
pub(super) const TEMPLATES: &[(&str, &str)] = &[
    ("nftables/embed.nft", include_str!("../../templates/nftables/embed.nft")),
    ("nftables/own.nft", include_str!("../../templates/nftables/own.nft")),
    ("nftables/rules.nft", include_str!("../../templates/nftables/rules.nft")),
];

/// The file of a target.
const FILE: &str = "rules.nft";

/// Words that nft reads as syntax where a name of the user's could stand.
const KEYWORDS: &[&str] = &[
    "accept",
    "add",
    "all",
    "arp",
    "bridge",
    "chain",
    "comment",
    "continue",
    "counter",
    "ct",
    "delete",
    "drop",
    "dup",
    "dynamic",
    "element",
    "elements",
    "ether",
    "exthdr",
    "fib",
    "flags",
    "flow",
    "flowtable",
    "flush",
    "fwd",
    "goto",
    "hash",
    "hook",
    "icmp",
    "icmpv6",
    "iif",
    "iifname",
    "inet",
    "insert",
    "interval",
    "ip",
    "ip6",
    "jhash",
    "jump",
    "limit",
    "list",
    "log",
    "mac",
    "map",
    "mark",
    "masquerade",
    "meta",
    "meter",
    "monitor",
    "netdev",
    "notrack",
    "numgen",
    "oif",
    "oifname",
    "osf",
    "policy",
    "priority",
    "protocol",
    "queue",
    "quota",
    "redirect",
    "reject",
    "rename",
    "replace",
    "reset",
    "return",
    "rt",
    "rule",
    "ruleset",
    "sctp",
    "secmark",
    "set",
    "size",
    "snat",
    "dnat",
    "socket",
    "synproxy",
    "table",
    "tcp",
    "time",
    "timeout",
    "tproxy",
    "type",
    "typeof",
    "udp",
    "vlan",
    "vmap",
    "xt",
];

#[derive(Serialize)]
struct SetGroup {
    #[serde(flatten)]
    group: GroupContext,
    set_v4: Option<String>,
    set_v6: Option<String>,
}

/// One allow rule, ready to be written.
#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    flow: FlowContext,
    /// `ip` or `ip6`.
    address: &'static str,
    set: String,
}

/// A scope as the templates see it.
#[derive(Serialize)]
struct ScopeContext {
    direction: &'static str,
    interfaces: Vec<String>,
    /// `ip` or `ip6`.
    address: &'static str,
    own: Vec<String>,
}

impl ScopeContext {
    fn of(scope: &Scope) -> Self {
        Self {
            direction: scope.direction.name(),
            interfaces: quoted(&scope.interfaces),
            address: match scope.family {
                Family::V4 => "ip",
                Family::V6 => "ip6",
            },
            own: scope.own.clone(),
        }
    }
}

pub(super) fn render(job: &Job<'_>, settings: &Nftables) -> Result<Vec<File>, RenderError> {
    let families = settings.family.families();
    let table = table(settings);
    for (key, name) in [("table", table), ("chain", settings.chain.as_str())] {
        if KEYWORDS.contains(&name) {
            return Err(RenderError::Unfit {
                target: job.name.clone(),
                message: format!(
                    "`{name}` is a keyword of nftables and cannot be its {key}'s name"
                ),
            });
        }
    }
    let groups = set_groups(&job.limits, job.groups(), settings, families)?;
    let lines = lines(job, settings, families, &groups);
    let (outbound, inbound): (Vec<&Line>, Vec<&Line>) =
        lines.iter().partition(|line| line.flow.is_outbound());
    let scopes = job.scopes(families, &settings.egress);
    let mut context = Context::new();
    context.insert("header", &job.header());
    context.insert("target", job.name.as_str());
    context.insert("mark", MARK);
    context.insert("family", settings.family.name());
    context.insert("table", table);
    context.insert("chain", settings.chain.as_str());
    context.insert("prefix", settings.prefix.as_str());
    context.insert("priority", &settings.priority);
    let rest = settings.rest.unwrap_or(match settings.mode {
        NftablesMode::Own => Rest::Drop,
        NftablesMode::Embed => Rest::Return,
    });
    context.insert("rest", &rest);
    context.insert("log", &settings.log.enabled);
    context.insert("log_prefix", settings.log.prefix.as_str());
    context.insert("log_per_second", &settings.log.per_second);
    context.insert("groups", &groups);
    context.insert("outbound", &outbound);
    context.insert("inbound", &inbound);
    let in_rules = interfaces_differ(&scopes) || settings.mode == NftablesMode::Embed;
    context.insert("interfaces_in_rules", &in_rules);
    let directions: Vec<&str> = [Direction::Outbound, Direction::Inbound]
        .map(Direction::name)
        .into_iter()
        .filter(|direction| scopes.iter().any(|scope| scope.direction.name() == *direction))
        .collect();
    context.insert("directions", &directions);
    let scopes: Vec<ScopeContext> = scopes.iter().map(ScopeContext::of).collect();
    context.insert("scopes", &scopes);
    let template = match settings.mode {
        NftablesMode::Own => "nftables/own.nft",
        NftablesMode::Embed => "nftables/embed.nft",
    };
    // A line for each.
    let text = job.templates.render_large(template, &context, 40 * job.prefix_count())?;
    let marked = format!("comment \"{MARK}\"");
    let has_content = !groups.is_empty() || !lines.is_empty();
    if has_content && !text.contains(&marked) {
        return Err(RenderError::Unfit {
            target: job.name.clone(),
            message: format!(
                "template {template} does not write the mark, `comment \"{{{{ mark }}}}\"`, on the table, or on the first rule \
                 and each set of an embedded target: without it tagwall cannot tell its own rules from others'"
            ),
        });
    }
    Ok(vec![File::new(FILE, text)])
}

/// What the target creates in the kernel.
pub(super) fn kernel(
    name: &Name,
    part: &RuleSet,
    settings: &Nftables,
) -> Result<NftablesKernel, RenderError> {
    let families = settings.family.families();
    let mut sets = Vec::new();
    for set_group in set_groups(
        &Limits::new(name),
        part.groups.iter().map(GroupContext::of),
        settings,
        families,
    )? {
        let Some(group) =
            part.groups.iter().find(|group| group.name.as_str() == set_group.group.name)
        else {
            continue;
        };
        for (set, family) in [(set_group.set_v4, Family::V4), (set_group.set_v6, Family::V6)] {
            sets.extend(set.map(|name| KernelSet { name, group: group.name.clone(), family }));
        }
    }
    let own = settings.mode == NftablesMode::Own;
    let chains = if own { Vec::new() } else { vec![settings.chain.to_string()] };
    Ok(NftablesKernel {
        family: settings.family.name().to_owned(),
        table: table(settings).to_owned(),
        chains,
        own,
        file: FILE.to_owned(),
        sets,
    })
}

/// The table's name.
fn table(settings: &Nftables) -> &str {
    let default = match settings.mode {
        NftablesMode::Own => "tagwall",
        NftablesMode::Embed => "filter",
    };
    settings.table.as_ref().map_or(default, Name::as_str)
}

/// The groups with the names of their sets. A set exists for each family that the table holds and the group has or may
/// get (hostnames resolve to either).
fn set_groups(
    limits: &Limits<'_>,
    groups: impl Iterator<Item = GroupContext>,
    settings: &Nftables,
    families: Families,
) -> Result<Vec<SetGroup>, RenderError> {
    let mut names = Names::default();
    for chain in ["outbound", "inbound"] {
        let name = format!("{}{chain}", settings.prefix.as_str());
        names.claim(limits.target(), &name, format!("chain {name}"))?;
    }
    let mut set_groups = Vec::new();
    for group in groups {
        let open = !group.hosts.is_empty() || !group.wildcards.is_empty();
        let mut set = |wanted: bool, what, count: usize, suffix: &str| {
            if !wanted || (count == 0 && !open) {
                return Ok(None);
            }
            limits.check(
                format!("group {}", group.name),
                what,
                count,
                settings.max_elements,
                "raise `max-elements`, or select regional tags",
            )?;
            let name = fit(settings.prefix.as_str(), &group.name, suffix, Nftables::MAX_NAME);
            names.claim(limits.target(), &name, format!("group {}", group.name))?;
            Ok(Some(name))
        };
        let set_v4 = set(families.v4(), "IPv4 prefixes", group.v4_count, "-v4")?;
        let set_v6 = set(families.v6(), "IPv6 prefixes", group.v6_count, "-v6")?;
        set_groups.push(SetGroup { group, set_v4, set_v6 });
    }
    Ok(set_groups)
}

fn lines(job: &Job<'_>, settings: &Nftables, families: Families, groups: &[SetGroup]) -> Vec<Line> {
    job.flows(families, &settings.egress)
        .into_iter()
        .filter_map(|mut flow| {
            flow.interfaces = quoted(&flow.interfaces);
            let group = groups.iter().find(|set| set.group.name == flow.group)?;
            let (address, set) = if flow.family == "ipv4" {
                ("ip", group.set_v4.clone()?)
            } else {
                ("ip6", group.set_v6.clone()?)
            };
            Some(Line { flow, address, set })
        })
        .collect()
}

/// Interface names as nft reads any of them, `eth0.100` and names like its keywords too.
fn quoted(interfaces: &[String]) -> Vec<String> {
    interfaces.iter().map(|interface| format!("\"{interface}\"")).collect()
}
