//! What a rule set is on a device: addresses, groups, services, feeds, policies.
//!
//! Every name follows from what the object holds (a prefix, a hostname, ports) or from the name that the user gave, never
//! from a position. Prefixes end in `_LENGTH`, groups in `-v4` or `-v6` (their chunks in `-bBITS`), hostnames in `.fqdn4`
//! and the like: so no two kinds ever share a name, and two objects of a kind are checked.

use ipnet::{Ipv4Net, Ipv6Net};
use serde::Serialize;

use super::feed::{self, Feed};
use super::policy::{self, Place, Policy};
use super::tree;
use crate::config::{Fortios, FortiosFormat, HostName, Name, Service};
use crate::render::RenderError;
use crate::render::context::packed_nets;
use crate::render::filters::push_name;
use crate::render::limits::Limits;
use crate::render::naming::{Names, fit};
use crate::ruleset::{AddressGroup, Family, Flow, RuleSet};

/// Members on one line of a script: a console cuts long lines, so a list goes on with `append`.
const MEMBERS_A_LINE: usize = 16;

/// Everything of ours on a device.
#[derive(Debug)]
pub(super) struct Objects {
    /// IPv4, IPv6.
    pub(super) families: [FamilyObjects; 2],
    pub(super) services: Vec<ServiceObject>,
    pub(super) feeds: Vec<Feed>,
    pub(super) policies: Vec<Policy>,
    /// The ids of every rule, whether it has a policy now or not.
    pub(super) places: Vec<Place>,
}

/// The addresses and groups of one family.
#[derive(Debug, Default)]
pub(super) struct FamilyObjects {
    /// The prefixes of address objects, sorted; only one of the two is used.
    pub(super) v4: Vec<Ipv4Net>,
    pub(super) v6: Vec<Ipv6Net>,
    pub(super) fqdns: Vec<Fqdn>,
    /// Groups, each after the groups that are its members.
    pub(super) groups: Vec<GroupObject>,
    /// How many address objects there are.
    pub(super) count: usize,
}

/// An address object with a hostname.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Fqdn {
    pub(super) name: String,
    pub(super) host: String,
}

/// An address group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct GroupObject {
    pub(super) name: String,
    /// Its members, quoted, some on each line.
    pub(super) lines: Vec<String>,
    /// What it is, for its comment.
    pub(super) what: String,
    /// Whether it is a group of the configuration and not a chunk of one.
    pub(super) whole: bool,
    pub(super) v6: bool,
    pub(super) members: usize,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ServiceObject {
    pub(super) name: String,
    /// `tcp` or `udp`.
    pub(super) protocol: &'static str,
    pub(super) ports: String,
}

impl Objects {
    /// The objects of a rule set, or the limit that it exceeds.
    pub(super) fn of(
        limits: &Limits<'_>,
        part: &RuleSet,
        settings: &Fortios,
    ) -> Result<Self, RenderError> {
        let mut names = Names::default();
        let flows = part.flows(crate::config::Families::Both);
        let mut families = [
            FamilyObjects::of(limits.target(), part, &flows, settings, Family::V4, &mut names)?,
            FamilyObjects::of(limits.target(), part, &flows, settings, Family::V6, &mut names)?,
        ];
        let feeds = match settings.format {
            FortiosFormat::Feed => feed::of(limits, part, settings)?,
            FortiosFormat::Cli => Vec::new(),
        };
        let (policies, places) = if settings.policies {
            policy::of(limits, part, &flows, settings, &feeds)?
        } else {
            (Vec::new(), Vec::new())
        };
        let services = if settings.policies { services(&flows, settings) } else { Vec::new() };
        for (family, what) in families.iter_mut().zip(["IPv4", "IPv6"]) {
            // Sorted runs one behind the other: what the standard library's stable sort is made for.
            family.v4.sort();
            family.v4.dedup();
            family.v6.sort();
            family.v6.dedup();
            family.fqdns.sort_unstable_by(|left, right| left.name.cmp(&right.name));
            family.fqdns.dedup();
            family.count = family.v4.len() + family.v6.len() + family.fqdns.len();
            limits.check(
                format!("{what} of the device"),
                "address objects",
                family.count,
                settings.address_limit,
                "raise `address-limit` to what the model takes, select regional tags, or use format = \"feed\"",
            )?;
            limits.check(
                format!("{what} of the device"),
                "address groups",
                family.groups.len(),
                settings.group_limit,
                "raise `group-limit` or `member-limit` to what the model takes, or use format = \"feed\"",
            )?;
        }
        Ok(Self { families, services, feeds, policies, places })
    }
}

impl FamilyObjects {
    fn of(
        target: &Name,
        part: &RuleSet,
        flows: &[Flow<'_>],
        settings: &Fortios,
        family: Family,
        names: &mut Names,
    ) -> Result<Self, RenderError> {
        let mut objects = Self::default();
        for group in &part.groups {
            let fqdns = fqdns(target, group, flows, part, settings, family, names)?;
            if settings.format == FortiosFormat::Cli {
                objects.v4.extend(nets_v4(group, family));
                objects.v6.extend(nets_v6(group, family));
                let packed = packed_nets(nets_v4(group, family), nets_v6(group, family));
                objects.add_group(target, group, &packed, &fqdns, settings, family, names)?;
            }
            objects.fqdns.extend(fqdns);
        }
        if settings.policies {
            for flow in flows.iter().filter(|flow| flow.family == family) {
                for own in &flow.own {
                    match own {
                        ipnet::IpNet::V4(net) => objects.v4.push(*net),
                        ipnet::IpNet::V6(net) => objects.v6.push(*net),
                    }
                }
            }
        }
        Ok(objects)
    }

    #[expect(clippy::too_many_arguments, reason = "one group, with all that its names depend on")]
    fn add_group(
        &mut self,
        target: &Name,
        group: &AddressGroup,
        packed: &str,
        fqdns: &[Fqdn],
        settings: &Fortios,
        family: Family,
        names: &mut Names,
    ) -> Result<(), RenderError> {
        let prefix = settings.prefix.as_str();
        let mut members: Vec<String> = packed.lines().map(|line| address(prefix, line)).collect();
        members.extend(fqdns.iter().map(|fqdn| fqdn.name.clone()));
        if members.is_empty() {
            return Ok(());
        }
        let texts = packed.lines().chain(fqdns.iter().map(|fqdn| fqdn.name.as_str()));
        let levels = tree::levels(texts, settings.member_limit);
        for (level, nodes) in levels.iter().enumerate() {
            // Each level has a letter of its own: b, c, d.
            let letter = char::from(b'b' + u8::try_from(level).unwrap_or(u8::MAX - b'b'));
            let mut upper = Vec::with_capacity(nodes.len());
            for node in nodes {
                let suffix = format!("-{}-{letter}{}", short(family), node.bits);
                let name = fit(prefix, group.name.as_str(), &suffix, Fortios::MAX_NAME);
                names.claim(target, &name, format!("a part of group {}", group.name))?;
                let held: Vec<&str> =
                    node.holds.iter().map(|&index| members[index].as_str()).collect();
                self.groups.push(GroupObject {
                    lines: lines(&held, settings),
                    members: held.len(),
                    what: format!("part of group {}", group.name),
                    whole: false,
                    v6: family == Family::V6,
                    name: name.clone(),
                });
                upper.push(name);
            }
            members = upper;
        }
        let name = group_name(settings, &group.name, family);
        names.claim(target, &name, format!("group {}", group.name))?;
        let held: Vec<&str> = members.iter().map(String::as_str).collect();
        self.groups.push(GroupObject {
            lines: lines(&held, settings),
            members: held.len(),
            what: format!("group {}", group.name),
            whole: true,
            v6: family == Family::V6,
            name,
        });
        Ok(())
    }
}

fn nets_v4(group: &AddressGroup, family: Family) -> &[Ipv4Net] {
    if family == Family::V4 { group.prefixes.v4() } else { &[] }
}

fn nets_v6(group: &AddressGroup, family: Family) -> &[Ipv6Net] {
    if family == Family::V6 { group.prefixes.v6() } else { &[] }
}

/// The hostnames of a group that are looked up in this family: where a rule uses the group in it, or none uses it at all.
pub(super) fn fqdn_names(settings: &Fortios, group: &AddressGroup, family: Family) -> Vec<Fqdn> {
    let digit = short(family).trim_start_matches('v');
    let name = |host: &HostName| {
        let text = host.as_str();
        let (base, suffix) = match text.strip_prefix("*.") {
            Some(base) => (base, format!(".wildcard{digit}")),
            None => (text, format!(".fqdn{digit}")),
        };
        Fqdn {
            name: fit(settings.prefix.as_str(), base, &suffix, Fortios::MAX_NAME),
            host: text.to_owned(),
        }
    };
    group.hosts.iter().map(name).collect()
}

fn fqdns(
    target: &Name,
    group: &AddressGroup,
    flows: &[Flow<'_>],
    part: &RuleSet,
    settings: &Fortios,
    family: Family,
    names: &mut Names,
) -> Result<Vec<Fqdn>, RenderError> {
    let used = part.rules.iter().any(|rule| rule.group == group.name);
    let in_family = flows.iter().any(|flow| flow.family == family && flow.group.name == group.name);
    if group.hosts.is_empty() || (used && !in_family) {
        return Ok(Vec::new());
    }
    let fqdns = fqdn_names(settings, group, family);
    for fqdn in &fqdns {
        names.claim(target, &fqdn.name, format!("host {}", fqdn.host))?;
    }
    Ok(fqdns)
}

/// The services that any policy uses: one object for each port or range.
fn services(flows: &[Flow<'_>], settings: &Fortios) -> Vec<ServiceObject> {
    let mut services: Vec<Service> = flows
        .iter()
        .flat_map(|flow| flow.ports.iter().map(|&ports| Service { protocol: flow.protocol, ports }))
        .collect();
    services.sort_unstable();
    services.dedup();
    services
        .into_iter()
        .map(|service| ServiceObject {
            name: service_name(settings, service),
            protocol: service.protocol.name(),
            ports: service.ports.to_string(),
        })
        .collect()
}

/// `tw-tcp-443`: from what it holds, so that it never changes.
pub(super) fn service_name(settings: &Fortios, service: Service) -> String {
    format!("{}{}-{}", settings.prefix.as_str(), service.protocol, service.ports)
}

/// The name of a group of the configuration in one family.
pub(super) fn group_name(settings: &Fortios, group: &Name, family: Family) -> String {
    let suffix = format!("-{}", short(family));
    fit(settings.prefix.as_str(), group.as_str(), &suffix, Fortios::MAX_NAME)
}

/// The name of a prefix's address object.
pub(super) fn address(prefix: &str, line: &str) -> String {
    let mut name = String::with_capacity(prefix.len() + line.len());
    name.push_str(prefix);
    push_name(&mut name, line);
    name
}

/// `v4` or `v6`.
pub(super) fn short(family: Family) -> &'static str {
    match family {
        Family::V4 => "v4",
        Family::V6 => "v6",
    }
}

fn lines(members: &[&str], settings: &Fortios) -> Vec<String> {
    let most = if settings.fortimanager { members.len().max(1) } else { MEMBERS_A_LINE };
    members.chunks(most).map(quoted).collect()
}

/// Names as a script lists them.
pub(super) fn quoted(names: &[impl AsRef<str>]) -> String {
    let mut text = String::with_capacity(names.len() * 28);
    for name in names {
        text.push_str(if text.is_empty() { "\"" } else { " \"" });
        text.push_str(name.as_ref());
        text.push('"');
    }
    text
}

/// A comment without the characters that FortiOS refuses, and no longer than it takes.
pub(super) fn plain(text: &str) -> String {
    let character = |c: char| match c {
        '(' => '[',
        ')' => ']',
        '<' | '>' | '#' | '\'' | '"' | '?' | '\\' => ' ',
        other => other,
    };
    text.chars().map(character).take(Fortios::MAX_COMMENT).collect()
}
