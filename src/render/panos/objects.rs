//! What is on the device: every object that a rule set needs, by its final name.
//!
//! Promises: names depend on the content (an address object is called after its prefix, a service after its ports), never
//! on a position; the same rule set and settings give the same objects, so the difference of two rule sets is the
//! difference of their objects. Knows no syntax.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::nest;
use crate::config::{
    Direction, Families, ListLayout, Name, Panos, PanosFormat, PanosGroups, Protocol, Service,
};
use crate::render::RenderError;
use crate::render::naming::{Names, fit};
use crate::ruleset::{AddressGroup, AllowRule, Flow, RuleSet};

/// Everything that is ours on one device.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// Tags and their comments.
    pub(super) tags: BTreeMap<String, String>,
    /// Address objects, sorted by prefix, each once.
    pub(super) addresses: Vec<Address>,
    /// FQDN objects by name.
    pub(super) fqdns: BTreeMap<String, Fqdn>,
    /// Address groups by name.
    pub(super) groups: BTreeMap<String, Group>,
    /// Services by name.
    pub(super) services: BTreeMap<String, Ports>,
    /// External dynamic lists by name.
    pub(super) lists: BTreeMap<String, List>,
    /// Security rules by name.
    pub(super) rules: BTreeMap<String, Rule>,
    /// Rules that leave traffic undecrypted, by name.
    pub(super) decryption: BTreeMap<String, Rule>,
}

/// An address object. Its name is the prefix's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) net: IpNet,
    /// Tags of dynamic groups; the tag that all objects have is not among them.
    pub(super) tags: Vec<String>,
}

/// An FQDN object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fqdn {
    pub(super) host: String,
    /// As [`Address::tags`].
    pub(super) tags: Vec<String>,
}

/// A member of a static group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Member {
    /// The address object of this prefix.
    Net(IpNet),
    /// Another object.
    Named(String),
}

/// An address group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// The group of the rule set that it is for.
    pub(super) of: Name,
    pub(super) content: Content,
}

/// What is in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Members, sorted. Nothing in a piece is a group; see [`nest`].
    Static { members: Vec<Member>, piece: bool },
    /// Whatever has the tag that is called like the group.
    Dynamic,
}

/// A service object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) protocol: Protocol,
    pub(super) ports: String,
}

/// An external dynamic list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List {
    /// The group that it is for.
    pub(super) of: Name,
    /// The file that is fetched.
    pub(super) file: String,
    pub(super) v4: bool,
    pub(super) v6: bool,
    /// Lines in it.
    pub(super) entries: usize,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// The rule that it is for.
    pub(super) of: Name,
    pub(super) direction: Direction,
    pub(super) source: BTreeSet<String>,
    pub(super) destination: BTreeSet<String>,
    pub(super) services: BTreeSet<String>,
    pub(super) description: Option<String>,
    pub(super) log_start: bool,
}

/// `azst-192.0.2.0_24`, `azst-2001-db8--_32`: different for different prefixes, as `:` occurs in no IPv4 prefix and is
/// the only character that is replaced. The filter `each` writes the same behind the prefix.
pub(super) fn address_name(prefix: &str, net: IpNet) -> String {
    format!("{prefix}{}_{}", net.addr().to_string().replace(':', "-"), net.prefix_len())
}

/// The prefix whose address object would have this name (without our prefix), if it is one.
fn net_of_name(name: &str) -> Option<IpNet> {
    let (address, length) = name.rsplit_once('_')?;
    let net = format!("{}/{length}", address.replace('-', ":")).parse::<IpNet>().ok()?;
    (address_name("", net) == name).then_some(net)
}

impl Objects {
    /// The objects that this part of a rule set needs under these settings. Limits are not looked at.
    pub(super) fn build(
        target: &Name,
        part: &RuleSet,
        settings: &Panos,
    ) -> Result<Self, RenderError> {
        let mut build = Build {
            target,
            settings,
            prefix: settings.prefix.as_str(),
            objects: Self::default(),
            remote: BTreeMap::new(),
            names: Names::default(),
            services: Names::default(),
            files: Names::default(),
            tagged: Vec::new(),
        };
        let tag = settings.tag.as_str().to_owned();
        build.objects.tags.insert(tag, "Made by tagwall".to_owned());
        for file in ["check.txt", "edl.set", "edl.delta.set"] {
            build.files.claim(target, file, file.to_owned())?;
        }
        for group in &part.groups {
            build.group(group)?;
        }
        let flows = part.flows(Families::Both);
        let reachable: BTreeSet<&Name> =
            flows.iter().map(|flow: &Flow<'_>| &flow.rule.name).collect();
        for rule in part.rules.iter().filter(|rule| reachable.contains(&rule.name)) {
            build.rule(rule)?;
        }
        build.finish()
    }
}

struct Build<'b> {
    target: &'b Name,
    settings: &'b Panos,
    prefix: &'b str,
    objects: Objects,
    /// What a rule names for a group.
    remote: BTreeMap<Name, Vec<String>>,
    /// Addresses, groups and lists share one space of names.
    names: Names,
    services: Names,
    files: Names,
    /// Prefixes with the tag of their dynamic group, not yet sorted.
    tagged: Vec<(IpNet, Option<String>)>,
}

impl Build<'_> {
    fn fit(&self, name: &str, suffix: &str) -> String {
        fit(self.prefix, name, suffix, Panos::MAX_NAME)
    }

    fn group(&mut self, group: &AddressGroup) -> Result<(), RenderError> {
        match (self.settings.format, self.settings.groups) {
            (PanosFormat::Edl, _) => self.listed(group),
            (_, PanosGroups::Static) => self.static_group(group),
            (_, PanosGroups::Dynamic) => self.dynamic_group(group),
        }
    }

    /// The FQDN objects of a group, by name.
    fn hosts(
        &mut self,
        group: &AddressGroup,
        tag: Option<&str>,
    ) -> Result<Vec<String>, RenderError> {
        let mut names = Vec::new();
        for host in group.hosts.iter().filter(|host| !host.is_wildcard()) {
            let name = self.fit(host.as_str(), "");
            self.names.claim(self.target, &name, format!("host {host}"))?;
            let fqdn = self
                .objects
                .fqdns
                .entry(name.clone())
                .or_insert_with(|| Fqdn { host: host.to_string(), tags: Vec::new() });
            fqdn.tags.extend(tag.map(str::to_owned));
            names.push(name);
        }
        Ok(names)
    }

    fn listed(&mut self, group: &AddressGroup) -> Result<(), RenderError> {
        let (v4, v6) = (group.prefixes.v4().len(), group.prefixes.v6().len());
        let layout = self.settings.lists.as_ref().map(|lists| lists.families).unwrap_or_default();
        let lists = match layout {
            ListLayout::Together => vec![("", true, true, v4 + v6)],
            ListLayout::Apart => vec![("-v4", true, false, v4), ("-v6", false, true, v6)],
        };
        let mut remote = Vec::new();
        // A device takes an empty list for a fault: what has no address is left out.
        for (suffix, v4, v6, entries) in lists.into_iter().filter(|list| list.3 > 0) {
            let name = self.fit(group.name.as_str(), suffix);
            let file = format!("{}{suffix}.txt", group.name);
            self.names.claim(self.target, &name, format!("group {}", group.name))?;
            self.files.claim(self.target, &file, format!("the list of group {}", group.name))?;
            let list = List { of: group.name.clone(), file, v4, v6, entries };
            self.objects.lists.insert(name.clone(), list);
            remote.push(name);
        }
        remote.extend(self.hosts(group, None)?);
        self.remote.insert(group.name.clone(), remote);
        Ok(())
    }

    fn dynamic_group(&mut self, group: &AddressGroup) -> Result<(), RenderError> {
        let name = self.fit(group.name.as_str(), "");
        let hosts = self.hosts(group, Some(&name))?;
        self.tagged.extend(group.prefixes.iter().map(|net| (net, Some(name.clone()))));
        let content = Content::Dynamic;
        self.add_group(group, name, content, group.prefixes.is_empty() && hosts.is_empty())
    }

    fn static_group(&mut self, group: &AddressGroup) -> Result<(), RenderError> {
        let name = self.fit(group.name.as_str(), "");
        let mut members: Vec<Member> = group.prefixes.iter().map(Member::Net).collect();
        self.tagged.extend(group.prefixes.iter().map(|net| (net, None)));
        members.extend(self.hosts(group, None)?.into_iter().map(Member::Named));
        let empty = members.is_empty();
        if members.len() <= self.settings.max_members {
            members.sort_unstable();
            let content = Content::Static { members, piece: false };
            return self.add_group(group, name, content, empty);
        }
        let mut pieces = Vec::new();
        for piece in nest::pieces(members, self.settings.max_members) {
            // No group of the user's has a dot in its name, and no hostname ends in digits.
            let name = self.fit(group.name.as_str(), &format!(".{}", piece.path));
            self.names.claim(self.target, &name, format!("piece of group {}", group.name))?;
            let content = Content::Static { members: piece.members, piece: true };
            let piece = Group { of: group.name.clone(), content };
            self.objects.groups.insert(name.clone(), piece);
            pieces.push(Member::Named(name));
        }
        let content = Content::Static { members: pieces, piece: false };
        self.add_group(group, name, content, false)
    }

    /// The device refuses an empty group: it is left out, and rules that would need it too.
    fn add_group(
        &mut self,
        group: &AddressGroup,
        name: String,
        content: Content,
        empty: bool,
    ) -> Result<(), RenderError> {
        if empty {
            return Ok(());
        }
        self.names.claim(self.target, &name, format!("group {}", group.name))?;
        if content == Content::Dynamic {
            let taken = self.objects.tags.insert(name.clone(), format!("Group {}", group.name));
            if taken.is_some() {
                return Err(RenderError::NameClash {
                    target: self.target.clone(),
                    name,
                    first: "the setting tag".to_owned(),
                    second: format!("the tag of group {}", group.name),
                });
            }
        }
        self.objects.groups.insert(name.clone(), Group { of: group.name.clone(), content });
        self.remote.insert(group.name.clone(), vec![name]);
        Ok(())
    }

    fn rule(&mut self, rule: &AllowRule) -> Result<(), RenderError> {
        let remote: BTreeSet<String> =
            self.remote.get(&rule.group).into_iter().flatten().cloned().collect();
        if remote.is_empty() {
            return Ok(());
        }
        let own: BTreeSet<String> =
            rule.own.iter().map(|net| address_name(self.prefix, net)).collect();
        self.tagged.extend(rule.own.iter().map(|net| (net, None)));
        let mut services = BTreeSet::new();
        for protocol in Protocol::ALL {
            services.extend(self.service(protocol, &rule.services)?);
        }
        let (source, destination) = match rule.direction {
            Direction::Outbound => (own, remote),
            Direction::Inbound => (remote, own),
        };
        let name = self.fit(rule.name.as_str(), "");
        let written = Rule {
            of: rule.name.clone(),
            direction: rule.direction,
            source,
            destination,
            services,
            description: rule.comment.as_ref().map(ToString::to_string),
            log_start: rule.log || self.settings.log_start,
        };
        let tcp = rule.services.iter().any(|service| service.protocol == Protocol::Tcp);
        if self.settings.no_decrypt && tcp && rule.direction == Direction::Outbound {
            let mut services = BTreeSet::new();
            services.extend(self.service(Protocol::Tcp, &rule.services)?);
            let written = Rule { services, ..written.clone() };
            self.objects.decryption.insert(name.clone(), written);
        }
        if let Some(first) = self.objects.rules.insert(name.clone(), written) {
            return Err(RenderError::NameClash {
                target: self.target.clone(),
                name,
                first: format!("rule {}", first.of),
                second: format!("rule {}", rule.name),
            });
        }
        Ok(())
    }

    /// The service objects of a rule in one protocol, called after what is in them: several only when the ports do not
    /// fit into one.
    fn service(&mut self, protocol: Protocol, all: &[Service]) -> Result<Vec<String>, RenderError> {
        let mut texts: Vec<String> = Vec::new();
        for service in all.iter().filter(|service| service.protocol == protocol) {
            let ports = service.ports.to_string();
            match texts.last_mut() {
                Some(text) if text.len() + 1 + ports.len() <= Panos::MAX_PORTS => {
                    text.push(',');
                    text.push_str(&ports);
                }
                _ => texts.push(ports),
            }
        }
        let mut names = Vec::new();
        for ports in texts {
            let name = self.fit(&format!("{protocol}-{}", ports.replace(',', "_")), "");
            self.services.claim(self.target, &name, format!("service {protocol}/{ports}"))?;
            self.objects.services.insert(name.clone(), Ports { protocol, ports });
            names.push(name);
        }
        Ok(names)
    }

    fn finish(mut self) -> Result<Objects, RenderError> {
        // Sorted runs one behind the other: what the standard library's stable sort is made for.
        self.tagged.sort();
        let mut addresses: Vec<Address> = Vec::with_capacity(self.tagged.len());
        for (net, tag) in self.tagged {
            match addresses.last_mut() {
                Some(last) if last.net == net => {
                    if let Some(tag) = tag
                        && !last.tags.contains(&tag)
                    {
                        last.tags.push(tag);
                    }
                }
                _ => addresses.push(Address { net, tags: tag.into_iter().collect() }),
            }
        }
        let named = self.objects.groups.keys().chain(self.objects.fqdns.keys());
        for name in named.chain(self.objects.lists.keys()) {
            let net = name.strip_prefix(self.prefix).and_then(net_of_name);
            let Some(net) = net else { continue };
            if addresses.binary_search_by(|address| address.net.cmp(&net)).is_ok() {
                return Err(RenderError::NameClash {
                    target: self.target.clone(),
                    name: name.clone(),
                    first: format!("prefix {net}"),
                    second: "a group or host".to_owned(),
                });
            }
        }
        self.objects.addresses = addresses;
        Ok(self.objects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_prefix_and_lead_back() {
        for (text, expected) in [
            ("192.0.2.0/24", "azst-192.0.2.0_24"),
            ("2001:db8::/32", "azst-2001-db8--_32"),
            ("2001:db8::1/128", "azst-2001-db8--1_128"),
        ] {
            let net: IpNet = text.parse().unwrap();
            let name = address_name("azst-", net);
            assert_eq!(name, expected);
            assert_eq!(net_of_name(name.strip_prefix("azst-").unwrap()), Some(net));
        }
        for other in ["storage", "storage_24", "fd00", "1.2.3_24", "192.0.2.0_024"] {
            assert_eq!(net_of_name(other), None, "{other}");
        }
        // The longest prefix text with the longest prefix of the settings still fits.
        let longest: IpNet = "2001:db88:1111:2222:3333:4444:5555:6666/128".parse().unwrap();
        assert!(address_name(&"p".repeat(16), longest).len() <= Panos::MAX_NAME);
    }
}
