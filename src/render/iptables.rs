//! The iptables dialect: ipset sets with rules that match them, or rules alone.
//!
//! Both modes write fragments for `iptables-restore -n` that declare, and so replace, only chains of ours: one that the
//! host's FORWARD jumps to, one for each direction and, without ipset, one for each group. A family's file is written
//! even when it has no rule, so that it takes the place of an older one that had.
//!
//! Sets are filled under a second name and swapped in last, because ipset restore is not atomic.

use serde::Serialize;
use tera::Context;

use super::context::{FlowContext, GroupContext};
use super::kernel::{IptablesJump, IptablesKernel, KernelSet, MARK};
use super::naming::{Names, fit};
use super::scope::{Scope, interfaces_differ};
use super::{File, Job, RenderError};
use crate::config::{Direction, Families, Iptables, IptablesMode, Rest};
use crate::ruleset::{Family, RuleSet};

/// The templates of this dialect.
pub(super) const TEMPLATES: &[(&str, &str)] = &[
    ("iptables/sets.ipset", include_str!("../../templates/iptables/sets.ipset")),
    ("iptables/ipset.rules", include_str!("../../templates/iptables/ipset.rules")),
    ("iptables/plain.rules", include_str!("../../templates/iptables/plain.rules")),
    ("iptables/header.rules", include_str!("../../templates/iptables/header.rules")),
    ("iptables/dispatch.rules", include_str!("../../templates/iptables/dispatch.rules")),
    ("iptables/match.rules", include_str!("../../templates/iptables/match.rules")),
    ("iptables/rest.rules", include_str!("../../templates/iptables/rest.rules")),
];

/// The file of the sets.
const SETS_FILE: &str = "sets.ipset";

/// Longest text that iptables puts before a log line.
const MAX_LOG_PREFIX: usize = 29;

/// Most log lines a second that iptables can count.
const MAX_PER_SECOND: u32 = 10_000;

/// Chains of the kernel and targets of iptables: declaring one of them would empty the host's, or fail.
const TAKEN: &[&str] = &[
    "ACCEPT",
    "CONNMARK",
    "DNAT",
    "DROP",
    "FORWARD",
    "INPUT",
    "LOG",
    "MARK",
    "MASQUERADE",
    "NFLOG",
    "NFQUEUE",
    "OUTPUT",
    "POSTROUTING",
    "PREROUTING",
    "QUEUE",
    "REDIRECT",
    "REJECT",
    "RETURN",
    "SNAT",
];

/// A set with the addresses of one group and family.
#[derive(Serialize)]
struct SetContext {
    name: String,
    /// `inet` or `inet6`.
    family: &'static str,
    /// Prefixes, one a line.
    prefixes: String,
}

/// Own traffic that is looked at, in one family.
#[derive(Serialize)]
struct Dispatch {
    direction: &'static str,
    own: String,
    interface: Option<String>,
}

/// An allow rule for one own prefix and at most fifteen ports.
#[derive(Serialize)]
struct Line {
    own: String,
    /// Only where the jump into the chain has not matched it.
    interface: Option<String>,
    protocol: &'static str,
    /// Ports and ranges as iptables writes them: `443`, `8000:8010`.
    ports: Vec<String>,
    /// The set, or the chain with the prefixes.
    remote: String,
    comment: String,
    log_prefix: Option<String>,
}

/// plain: a chain with a rule for each prefix of a group.
#[derive(Serialize, PartialEq)]
struct ListContext {
    chain: String,
    /// `-d` or `-s`.
    side: &'static str,
    prefixes: String,
    /// What a logged rule goes through before it accepts: a chain of its own, for only the rule knows its name.
    log_chain: Option<String>,
    log_prefix: Option<String>,
    #[serde(skip)]
    group: String,
    #[serde(skip)]
    count: usize,
}

pub(super) fn render(job: &Job<'_>, settings: &Iptables) -> Result<Vec<File>, RenderError> {
    check(job, settings)?;
    let groups: Vec<GroupContext> = job.groups().collect();
    let flows = job.flows(Families::Both, &settings.egress);
    let scopes = job.scopes(Families::Both, &settings.egress);
    let mut names = Names::default();
    for chain in ["", "-OUT", "-IN"] {
        let chain = format!("{}{chain}", settings.chain);
        names.claim(job.name, &chain, format!("chain {chain}"))?;
    }
    let mut files = Vec::new();
    if settings.mode == IptablesMode::Ipset {
        files.push(sets(job, settings, &groups)?);
    }
    for family in Family::ALL {
        let mut fragment = Fragment::new(settings, family, &scopes);
        for flow in flows.iter().filter(|flow| flow.family == key(family)) {
            let Some(group) = groups.iter().find(|group| group.name == flow.group) else {
                continue;
            };
            fragment.add(job, &mut names, flow, group)?;
        }
        files.push(fragment.render(job)?);
    }
    Ok(files)
}

/// What iptables cannot do, whatever the rules are.
fn check(job: &Job<'_>, settings: &Iptables) -> Result<(), RenderError> {
    let unfit = |message: String| Err(RenderError::Unfit { target: job.name.clone(), message });
    let chain = settings.chain.as_str();
    if TAKEN.iter().any(|taken| taken.eq_ignore_ascii_case(chain)) {
        return unfit(format!(
            "`{chain}` is a chain or target of iptables itself; the files replace the chain they name, so give it \
             another name, like TAGWALL"
        ));
    }
    if settings.log.per_second > MAX_PER_SECOND {
        return unfit(format!(
            "log.per-second is {}; iptables counts at most {MAX_PER_SECOND}",
            settings.log.per_second
        ));
    }
    for (key, value) in [("max-elements", settings.max_elements), ("hash-size", settings.hash_size)]
    {
        if value == 0 || u32::try_from(value).is_err() {
            return unfit(format!("{key} is {value}; ipset takes 1 to {}", u32::MAX));
        }
    }
    Ok(())
}

/// What the target creates in the kernel.
pub(super) fn kernel(part: &RuleSet, settings: &Iptables, families: Families) -> IptablesKernel {
    let ipset = settings.mode == IptablesMode::Ipset;
    let mut sets = Vec::new();
    for group in part.groups.iter().filter(|_| ipset) {
        for family in Family::ALL {
            if !family.of(&group.prefixes).is_empty() || !group.hosts.is_empty() {
                let name = set_name(settings, group.name.as_str(), family);
                sets.push(KernelSet { name, group: group.name.clone(), family });
            }
        }
    }
    let sets_file = ipset.then(|| SETS_FILE.to_owned());
    let (chain, jump) = (settings.chain.to_string(), jump(settings));
    IptablesKernel { chain, families, jump, sets_file, sets }
}

/// The jump that is kept, if it is.
fn jump(settings: &Iptables) -> Option<IptablesJump> {
    settings.jump.keep.then(|| IptablesJump {
        chain: settings.jump.chain.to_string(),
        position: settings.jump.position,
    })
}

/// The name of a group's set. It depends on the group alone, so that rules and sets need not meet to agree.
fn set_name(settings: &Iptables, group: &str, family: Family) -> String {
    let suffix = match family {
        Family::V4 => "-v4",
        Family::V6 => "-v6",
    };
    fit(settings.prefix.as_str(), group, suffix, Iptables::MAX_SET)
}

/// The file of all sets: one for each family that a group has or may get (hostnames resolve to either).
fn sets(job: &Job<'_>, settings: &Iptables, groups: &[GroupContext]) -> Result<File, RenderError> {
    let mut names = Names::default();
    let mut sets = Vec::new();
    for group in groups {
        let open = !group.hosts.is_empty() || !group.wildcards.is_empty();
        for family in Family::ALL {
            let (word, what, prefixes, count) = match family {
                Family::V4 => ("inet", "IPv4 prefixes", &group.v4, group.v4_count),
                Family::V6 => ("inet6", "IPv6 prefixes", &group.v6, group.v6_count),
            };
            if count == 0 && !open {
                continue;
            }
            job.limits.check(
                format!("group {}", group.name),
                what,
                count,
                settings.max_elements,
                "raise `max-elements` (and destroy the old sets first), or select regional tags",
            )?;
            let name = set_name(settings, &group.name, family);
            names.claim(job.name, &name, format!("group {}", group.name))?;
            sets.push(SetContext { name, family: word, prefixes: prefixes.clone() });
        }
    }
    let mut context = Context::new();
    context.insert("header", &job.header());
    context.insert("target", job.name.as_str());
    context.insert("hash_size", &settings.hash_size);
    context.insert("max_elements", &settings.max_elements);
    context.insert("sets", &sets);
    // A command for each.
    let bytes = 64 * job.prefix_count();
    let text = job.templates.render_large("iptables/sets.ipset", &context, bytes)?;
    Ok(File::new(SETS_FILE, text))
}

/// The rules of one family.
struct Fragment<'s> {
    settings: &'s Iptables,
    family: Family,
    dispatch: Vec<Dispatch>,
    interfaces_in_rules: bool,
    outbound: Vec<Line>,
    inbound: Vec<Line>,
    lists: Vec<ListContext>,
}

impl<'s> Fragment<'s> {
    fn new(settings: &'s Iptables, family: Family, scopes: &[Scope]) -> Self {
        let mut dispatch = Vec::new();
        for scope in scopes.iter().filter(|scope| scope.family == family) {
            for own in &scope.own {
                for interface in each_interface(&scope.interfaces) {
                    let direction = scope.direction.name();
                    dispatch.push(Dispatch { direction, own: own.clone(), interface });
                }
            }
        }
        Self {
            settings,
            family,
            dispatch,
            interfaces_in_rules: interfaces_differ(scopes),
            outbound: Vec::new(),
            inbound: Vec::new(),
            lists: Vec::new(),
        }
    }

    /// Adds the rules of a flow, and without ipset the chain of its group.
    fn add(
        &mut self,
        job: &Job<'_>,
        names: &mut Names,
        flow: &FlowContext,
        group: &GroupContext,
    ) -> Result<(), RenderError> {
        let remote = match self.settings.mode {
            IptablesMode::Ipset => set_name(self.settings, &group.name, self.family),
            IptablesMode::Plain => self.list(job, names, flow, group)?,
        };
        let interfaces =
            if self.interfaces_in_rules { each_interface(&flow.interfaces) } else { vec![None] };
        let comment = match &flow.comment {
            Some(comment) => format!("{}: {comment}", flow.rule),
            None => flow.rule.clone(),
        };
        let ports = chunks(&flow.ports);
        let lines = if flow.is_outbound() { &mut self.outbound } else { &mut self.inbound };
        for own in &flow.own {
            for interface in &interfaces {
                for ports in &ports {
                    lines.push(Line {
                        own: own.clone(),
                        interface: interface.clone(),
                        protocol: flow.protocol,
                        ports: ports.clone(),
                        remote: remote.clone(),
                        comment: comment.clone(),
                        log_prefix: flow.log.then(|| log_prefix(&flow.rule)),
                    });
                }
            }
        }
        Ok(())
    }

    /// The chain with the prefixes of a group: rules share it, unless they are logged.
    fn list(
        &mut self,
        job: &Job<'_>,
        names: &mut Names,
        flow: &FlowContext,
        group: &GroupContext,
    ) -> Result<String, RenderError> {
        let name = |name: &str, suffix: &str| {
            fit(self.settings.prefix.as_str(), name, suffix, Iptables::MAX_CHAIN)
        };
        let (side, suffix) = if flow.is_outbound() { ("-d", "-dst") } else { ("-s", "-src") };
        let (chain, log_chain) = if flow.log {
            (name(&flow.rule, "-list"), Some(name(&flow.rule, "-log")))
        } else {
            (name(&group.name, suffix), None)
        };
        let owner =
            if flow.log { format!("rule {}", flow.rule) } else { format!("group {}", group.name) };
        for chain in std::iter::once(&chain).chain(&log_chain) {
            names.claim(job.name, chain, owner.clone())?;
        }
        let (prefixes, count) = match self.family {
            Family::V4 => (&group.v4, group.v4_count),
            Family::V6 => (&group.v6, group.v6_count),
        };
        if !self.lists.iter().any(|list| list.chain == chain) {
            self.lists.push(ListContext {
                chain: chain.clone(),
                side,
                prefixes: prefixes.clone(),
                log_prefix: log_chain.is_some().then(|| log_prefix(&flow.rule)),
                log_chain,
                group: group.name.clone(),
                count,
            });
        }
        Ok(chain)
    }

    fn render(&self, job: &Job<'_>) -> Result<File, RenderError> {
        let (name, command) = match self.family {
            Family::V4 => ("rules.iptables", "iptables"),
            Family::V6 => ("rules.ip6tables", "ip6tables"),
        };
        let template = match self.settings.mode {
            IptablesMode::Ipset => "iptables/ipset.rules",
            IptablesMode::Plain => {
                self.limit(job, name)?;
                "iptables/plain.rules"
            }
        };
        let directions: Vec<&str> = [Direction::Outbound, Direction::Inbound]
            .map(Direction::name)
            .into_iter()
            .filter(|direction| self.dispatch.iter().any(|entry| entry.direction == *direction))
            .collect();
        let log = &self.settings.log;
        let mut context = Context::new();
        context.insert("header", &job.header());
        context.insert("target", job.name.as_str());
        context.insert("family", key(self.family));
        context.insert("command", command);
        context.insert("mark", MARK);
        context.insert("chain", self.settings.chain.as_str());
        context.insert("jump", &jump(self.settings));
        context.insert("rest", &self.settings.rest);
        context.insert("log", &log.enabled);
        context.insert("log_prefix", log.prefix.as_str());
        context.insert("log_per_second", &log.per_second);
        context.insert("directions", &directions);
        context.insert("dispatch", &self.dispatch);
        context.insert("outbound", &self.outbound);
        context.insert("inbound", &self.inbound);
        context.insert("lists", &self.lists);
        let text = job.templates.render(template, &context)?;
        if let Some(chain) = unmarked(&text) {
            return Err(RenderError::Unfit {
                target: job.name.clone(),
                message: format!(
                    "template {template} does not begin chain {chain} with the mark, `-A {chain} -m comment --comment \
                     \"{{{{ mark }}}}\"`: without it tagwall cannot tell its own chains from others'"
                ),
            });
        }
        Ok(File::new(name, text))
    }

    /// Rules are matched one after another: too many make the host slow without a word.
    fn limit(&self, job: &Job<'_>, file: &str) -> Result<(), RenderError> {
        let prefixes: usize = self.lists.iter().map(|list| list.count).sum();
        let logging = 2 * self.lists.iter().filter(|list| list.log_chain.is_some()).count();
        // Two rules for each way in; in each direction one for what is established, and three for the rest; the mark of each
        // chain.
        let marks = 3 + self.lists.len() + logging / 2;
        let each = if self.settings.rest == Rest::Return { 1 } else { 4 };
        let fixed = 2 * self.dispatch.len() + 2 * each + marks;
        let count = prefixes + logging + fixed + self.outbound.len() + self.inbound.len();
        let most = match self.lists.iter().max_by_key(|list| list.count) {
            Some(list) => format!(" (most, {}, for group {})", list.count, list.group),
            None => String::new(),
        };
        let ways_out = format!(
            "use mode = \"ipset\", select regional tags, log fewer rules{most}, or raise `max-rules`"
        );
        job.limits.check(file, "rules", count, self.settings.max_rules, &ways_out)
    }
}

/// The first chain that a fragment declares and whose first rule is not the mark.
fn unmarked(text: &str) -> Option<&str> {
    let chains = text.lines().filter_map(|line| line.strip_prefix(':')?.split(' ').next());
    let mut first = std::collections::BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("-A ")) {
        if let Some((chain, rule)) = line.split_once(' ') {
            first.entry(chain).or_insert(rule);
        }
    }
    let mark = format!("-m comment --comment \"{MARK}\"");
    chains.into_iter().find(|chain| first.get(chain).is_none_or(|rule| **rule != mark))
}

/// The family's word in flows.
fn key(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

/// The interfaces as iptables writes them, one a rule; none stands for any.
fn each_interface(interfaces: &[String]) -> Vec<Option<String>> {
    if interfaces.is_empty() {
        return vec![None];
    }
    let written = |interface: &String| match interface.strip_suffix('*') {
        Some(stem) => format!("{stem}+"),
        None => interface.clone(),
    };
    interfaces.iter().map(written).map(Some).collect()
}

/// Ports as `multiport` takes them: at most fifteen, a range counts as two.
fn chunks(ports: &[String]) -> Vec<Vec<String>> {
    let mut chunks: Vec<Vec<String>> = Vec::new();
    let mut room = 0;
    for port in ports {
        let slots = if port.contains('-') { 2 } else { 1 };
        if slots > room {
            chunks.push(Vec::new());
            room = Iptables::MAX_PORTS;
        }
        room -= slots;
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(port.replace('-', ":"));
        }
    }
    chunks
}

/// What the log lines of a rule start with; of a long name the beginning.
fn log_prefix(rule: &str) -> String {
    let (before, after) = ("tagwall ", ": ");
    let room = MAX_LOG_PREFIX - before.len() - after.len();
    format!("{before}{}{after}", &rule[..room.min(rule.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_has_at_most_fifteen_ports_and_a_range_counts_twice() {
        let ports = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(chunks(&ports(&["443"])), [["443"]]);
        assert_eq!(chunks(&ports(&["8000-8010"])), [["8000:8010"]]);
        let single: Vec<String> = (1..=31).map(|port| port.to_string()).collect();
        let sizes = |ports: &[String]| chunks(ports).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(&single), [15, 15, 1]);
        let ranges: Vec<String> = (1..=8).map(|n| format!("{}-{}", n * 10, n * 10 + 1)).collect();
        // The eighth range needs slots 15 and 16.
        assert_eq!(sizes(&ranges), [7, 1]);
        let mixed = [&ranges[..7], &single[..2]].concat();
        assert_eq!(sizes(&mixed), [8, 1]);
        assert_eq!(chunks(&mixed).concat().len(), 9);
    }

    #[test]
    fn chain_without_the_mark_in_front_is_found() {
        let text = "*filter\n:A - [0:0]\n:B - [0:0]\n-A A -m comment --comment \"managed by tagwall\"\n-A A -j B\n";
        assert_eq!(unmarked(text), Some("B"));
        let mark = "-A B -m comment --comment \"managed by tagwall\"\n";
        assert_eq!(unmarked(&format!("{text}{mark}")), None);
        assert_eq!(unmarked(&format!("{text}-A B -j ACCEPT\n{mark}")), Some("B"));
    }

    #[test]
    fn a_wildcard_is_a_plus_and_no_interface_is_any() {
        assert_eq!(each_interface(&[]), [None]);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            each_interface(&["ppp*".to_owned(), "eth0.100".to_owned()]),
            [some("ppp+"), some("eth0.100")]
        );
    }

    #[test]
    fn a_log_prefix_fits() {
        assert_eq!(log_prefix("devops"), "tagwall devops: ");
        assert_eq!(log_prefix(&"x".repeat(63)).len(), MAX_LOG_PREFIX);
    }
}
