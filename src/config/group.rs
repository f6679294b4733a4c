//! Address groups and allow rules of the configuration.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use ipnet::IpNet;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::names::{Comment, HostName, Interface, Name, Region, text_form};
use super::network::{Families, Network};
use super::service::Service;
use crate::prefix::parse::parse_net;
use crate::snapshot::{Cloud, TagName};

/// `[groups.NAME]`: a named set of addresses.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Group {
    /// The cloud whose publication holds the tags. Default: the configuration's cloud.
    pub cloud: Option<Cloud>,
    /// Service tags by name (`AzureDevOps`, `Storage.WestEurope`) or pattern (`AzureFrontDoor.*`).
    #[serde(default)]
    pub tags: Vec<Spanned<TagSelector>>,
    /// With regions, each entry of `tags` is a service, and its tag in each of these regions is taken.
    #[serde(default)]
    pub regions: Vec<Spanned<Region>>,
    /// Fixed address prefixes beside the tags.
    #[serde(default)]
    pub prefixes: Vec<Network>,
    /// Hostnames, or wildcards like `*.example.com`.
    #[serde(default)]
    pub hosts: Vec<HostName>,
    /// Tags or prefixes whose addresses are taken out again.
    #[serde(default)]
    pub exclude: Vec<Spanned<Exclusion>>,
    /// `both` (default), `ipv4` or `ipv6`.
    #[serde(default)]
    pub families: Families,
    /// Take a tag that exists but has no prefix, and a group that ends up empty. Default: false, an error.
    #[serde(default)]
    pub allow_empty: bool,
    /// Write at most so many prefixes, IPv4 and IPv6 together, for a firewall that takes no more: the addresses between them that
    /// are let through beside those published are the fewest possible, and are shown. Default: none, exactly what is published.
    pub fit: Option<Spanned<NonZeroUsize>>,
}

/// What selects tags by name: an exact name, or a pattern in which `*` stands for any characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TagSelector {
    /// One tag, by name without regard to case; either spelling of its region.
    Name(TagName),
    /// Every tag that matches.
    Pattern(Box<str>),
}

impl FromStr for TagSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(name) = TagName::new(text) {
            return Ok(Self::Name(name));
        }
        let pattern = text.contains('*')
            && text.len() <= TagName::MAX_LENGTH
            && text.bytes().any(|byte| byte.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'*' | b'.'));
        if pattern {
            Ok(Self::Pattern(text.into()))
        } else {
            Err("a service tag is written `Service` or `Service.Region`, letters and digits only; \
                 `*` stands for any characters"
                .to_owned())
        }
    }
}

text_form!(TagSelector);

impl fmt::Display for TagSelector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(formatter),
            Self::Pattern(pattern) => formatter.write_str(pattern),
        }
    }
}

/// What is taken out of a group: a tag's addresses, or a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Exclusion {
    /// The addresses of the tags selected.
    Tags(TagSelector),
    /// A prefix.
    Prefix(IpNet),
}

impl FromStr for Exclusion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(['/', ':']) {
            return parse_net(text).map(Self::Prefix).map_err(|error| error.to_string());
        }
        text.parse().map(Self::Tags)
    }
}

impl TryFrom<String> for Exclusion {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Which way the first packet of a connection goes, seen from the protected subnets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the subnets to the group.
    #[default]
    Outbound,
    /// From the group to the subnets.
    Inbound,
}

impl Direction {
    /// `outbound` or `inbound`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        }
    }
}

/// `[rules.NAME]`: lets connections through between own prefixes and a group.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// `outbound` (default) or `inbound`.
    #[serde(default)]
    pub direction: Direction,
    /// Outbound: own prefixes. Inbound: the name of a group.
    pub source: Spanned<Endpoint>,
    /// Outbound: the name of a group. Inbound: own prefixes.
    pub destination: Spanned<Endpoint>,
    /// Protocols and ports: `tcp/443`, `udp/123`, `tcp/8000-8010`.
    pub services: Spanned<Vec<Service>>,
    /// Interfaces towards the internet. Default: those of the target (`egress`), or any.
    #[serde(default)]
    pub interfaces: Vec<Interface>,
    /// Log each new connection that this rule lets through. Default: false.
    #[serde(default)]
    pub log: bool,
    /// A comment that goes into the rules, a change number for example.
    pub comment: Option<Comment>,
    /// Set to false to leave the rule out without deleting it. Default: true.
    #[serde(default = "enabled")]
    pub enabled: bool,
}

fn enabled() -> bool {
    true
}

/// One end of a rule: a group by name, or prefixes in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// The name of a group.
    Group(Name),
    /// Own prefixes.
    Prefixes(Vec<Network>),
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EndpointVisitor;

        impl<'de> Visitor<'de> for EndpointVisitor {
            type Value = Endpoint;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the name of a group, or a list of prefixes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Endpoint, E> {
                if text.contains(['.', ':', '/']) {
                    return Err(E::custom(format!(
                        "prefixes stand in a list: [\"{}\"]",
                        text.escape_debug()
                    )));
                }
                text.parse().map(Endpoint::Group).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Endpoint, A::Error> {
                let mut prefixes = Vec::new();
                while let Some(prefix) = sequence.next_element()? {
                    prefixes.push(prefix);
                }
                Ok(Endpoint::Prefixes(prefixes))
            }
        }

        deserializer.deserialize_any(EndpointVisitor)
    }
}
