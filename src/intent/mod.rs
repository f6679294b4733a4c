//! What the configuration asks for, before any publication is looked at.
//!
//! Owns the expansion of profiles: `[apim.NAME]` becomes the same plain groups, rules, routes and security
//! rules that a user could have written by hand, together with the table that `tagwall explain` prints.
//! Promises: nothing of a profile is dropped silently (each row says where it is decided), and "any" is never a
//! destination of a firewall rule.

pub mod apim;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::ops::Range;

use ipnet::IpNet;

use crate::config::{
    Comment, Config, Direction, Endpoint, Exclusion, Families, HostName, Interface, Name, Protocol,
    Region, Service, TagSelector, normalise, space,
};
use crate::prefix::PrefixSet;
use crate::snapshot::{Cloud, TagName};

/// Everything the configuration asks for.
#[derive(Debug, Clone, Default)]
pub struct Intent {
    /// Address groups, by name.
    pub groups: Vec<GroupSpec>,
    /// Allow rules, by name.
    pub rules: Vec<RuleSpec>,
    /// User-defined routes.
    pub routes: Vec<RouteSpec>,
    /// Rules of network security groups.
    pub security: Vec<SecuritySpec>,
    /// The table of each profile.
    pub tables: Vec<apim::Table>,
}

/// A group to be selected from a publication.
#[derive(Debug, Clone)]
pub struct GroupSpec {
    /// The group's name.
    pub name: Name,
    /// The cloud of its tags.
    pub cloud: Cloud,
    /// Which tags.
    pub tags: Vec<Selector>,
    /// Fixed prefixes beside the tags.
    pub prefixes: PrefixSet,
    /// Hostnames, in order.
    pub hosts: Vec<HostName>,
    /// The tag that should hold the addresses of the hostnames, where Microsoft documents one.
    pub expected_tag: Option<TagName>,
    /// What is taken out again.
    pub exclude: Vec<(Exclusion, Option<Range<usize>>)>,
    /// Families wanted.
    pub families: Families,
    /// Whether a tag or the whole group may be empty.
    pub allow_empty: bool,
    /// How many prefixes may be written at most, with its place in the configuration; none: as many as it has.
    pub fit: Option<(NonZeroUsize, Range<usize>)>,
    /// The profile it comes from; none when the user wrote it.
    pub profile: Option<Name>,
}

/// One selection of tags, with its place in the configuration for errors.
#[derive(Debug, Clone)]
pub struct Selector {
    /// What is selected.
    pub what: Selected,
    /// Its place in the configuration.
    pub span: Option<Range<usize>>,
}

/// What a selector stands for.
#[derive(Debug, Clone)]
pub enum Selected {
    /// A tag by name, or all that match a pattern.
    Tag(TagSelector),
    /// The tag of a service in a region, joined on the document's region fields.
    ServiceInRegion {
        /// The part of the name before the dot.
        service: Box<str>,
        /// The region, in either spelling.
        region: Region,
    },
}

/// A rule whose own end is known and whose remote end is a group.
#[derive(Debug, Clone)]
pub struct RuleSpec {
    /// The rule's name.
    pub name: Name,
    /// Which way connections are opened.
    pub direction: Direction,
    /// Own prefixes.
    pub own: PrefixSet,
    /// The remote group.
    pub group: Name,
    /// Protocols and ports, joined and sorted.
    pub services: Vec<Service>,
    /// Interfaces towards the internet; empty: those of the target.
    pub interfaces: Vec<Interface>,
    /// Log new connections.
    pub log: bool,
    /// The user's comment.
    pub comment: Option<Comment>,
    /// The profile it comes from.
    pub profile: Option<Name>,
}

/// A user-defined route with next hop Internet.
#[derive(Debug, Clone)]
pub struct RouteSpec {
    /// The route's name: letters, digits, `-`; 80 at most.
    pub name: Name,
    /// Where to.
    pub destination: RouteDestination,
    /// What it is for.
    pub purpose: RoutePurpose,
    /// The profile it comes from.
    pub profile: Name,
}

/// Where a route leads to.
#[derive(Debug, Clone)]
pub enum RouteDestination {
    /// A service tag.
    Tag {
        /// Whose publication has it.
        cloud: Cloud,
        /// The tag.
        tag: TagName,
    },
    /// A prefix.
    Prefix(IpNet),
}

/// Why a route is there.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum RoutePurpose {
    /// Answers of the management endpoint.
    ControlPlane,
    /// Answers to a client.
    Client,
    /// Windows activation.
    Kms,
}

impl RoutePurpose {
    /// The purpose in words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::ControlPlane => "answers of the management endpoint",
            Self::Client => "answers to a client",
            Self::Kms => "Windows activation through Azure KMS",
        }
    }
}

/// A rule of a network security group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecuritySpec {
    /// The rule's name.
    pub name: Name,
    /// Which way.
    pub direction: Direction,
    /// The other side; the near side is always the tag VirtualNetwork.
    pub peer: SecurityPeer,
    /// The protocol.
    pub protocol: Protocol,
    /// The ports.
    pub services: Vec<Service>,
    /// What it is for.
    pub purpose: &'static str,
    /// The profile it comes from.
    pub profile: Name,
}

/// The other side of a security rule: one tag, or prefixes of one family (Azure takes no mixture).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecurityPeer {
    /// A service tag, or one of AzureLoadBalancer, VirtualNetwork and Internet.
    Tag(TagName),
    /// A service's tag in a region; the spelling is looked up in the publication.
    ServiceInRegion {
        /// Whose publication has it.
        cloud: Cloud,
        /// The service.
        service: &'static str,
        /// The region.
        region: Region,
    },
    /// Prefixes.
    Prefixes(PrefixSet),
}

impl Intent {
    /// Expands a configuration.
    pub fn of(config: &Config) -> Self {
        let mut intent = Self::default();
        let default_cloud = config.default_cloud();
        for (name, group) in &config.groups {
            let tags = if group.regions.is_empty() {
                group
                    .tags
                    .iter()
                    .map(|tag| Selector {
                        what: Selected::Tag(tag.get_ref().clone()),
                        span: Some(tag.span()),
                    })
                    .collect()
            } else {
                let join =
                    |tag: &toml::Spanned<TagSelector>, region: &toml::Spanned<Region>| Selector {
                        what: Selected::ServiceInRegion {
                            service: tag.get_ref().to_string().into(),
                            region: region.get_ref().clone(),
                        },
                        span: Some(region.span()),
                    };
                group
                    .tags
                    .iter()
                    .flat_map(|tag| group.regions.iter().map(move |region| join(tag, region)))
                    .collect()
            };
            intent.groups.push(GroupSpec {
                name: name.clone(),
                cloud: group.cloud.unwrap_or(default_cloud),
                tags,
                prefixes: space(&group.prefixes),
                hosts: group.hosts.clone(),
                expected_tag: None,
                exclude: group
                    .exclude
                    .iter()
                    .map(|exclusion| (exclusion.get_ref().clone(), Some(exclusion.span())))
                    .collect(),
                families: group.families,
                allow_empty: group.allow_empty,
                fit: group.fit.as_ref().map(|fit| (*fit.get_ref(), fit.span())),
                profile: None,
            });
        }
        for (name, rule) in config.rules.iter().filter(|(_, rule)| rule.enabled) {
            let (own, remote) = match rule.direction {
                Direction::Outbound => (rule.source.get_ref(), rule.destination.get_ref()),
                Direction::Inbound => (rule.destination.get_ref(), rule.source.get_ref()),
            };
            // Config::load lets no other combination through.
            let (Endpoint::Prefixes(own), Endpoint::Group(group)) = (own, remote) else { continue };
            intent.rules.push(RuleSpec {
                name: name.clone(),
                direction: rule.direction,
                own: space(own),
                group: group.clone(),
                services: normalise(rule.services.get_ref()),
                interfaces: distinct(&rule.interfaces),
                log: rule.log,
                comment: rule.comment.clone(),
                profile: None,
            });
        }
        for (name, profile) in &config.apim {
            apim::expand(name, profile, profile.cloud.unwrap_or(default_cloud), &mut intent);
        }
        intent.groups.sort_by(|left, right| left.name.cmp(&right.name));
        intent.rules.sort_by(|left, right| left.name.cmp(&right.name));
        intent
    }
}

/// The interfaces without repetition, in order of name.
fn distinct(interfaces: &[Interface]) -> Vec<Interface> {
    interfaces.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect()
}
