//! `[apim.NAME]`: the profile of an API Management service behind a force-tunnelling firewall.
//!
//! Only what the user says; what follows from it (groups, rules, routes) is the business of
//! `selection::apim`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::names::{Comment, HostName, Interface, Region};
use super::network::Network;
use crate::prefix::PrefixSet;
use crate::snapshot::Cloud;

/// A force-tunnelled API Management service (classic tiers, injected into a virtual network).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Apim {
    /// The cloud it runs in. Default: the configuration's cloud.
    pub cloud: Option<Cloud>,
    /// Its regions; the first is the primary one.
    pub regions: Spanned<Vec<Region>>,
    /// How the service is injected: `external` (clients on the internet) or `internal`.
    pub network: NetworkMode,
    /// The address prefixes of its subnets: a list, or a list for each region.
    pub subnets: Spanned<Subnets>,
    /// The default routes that are tunnelled to this firewall. Default: `["0.0.0.0/0"]`. A subnet with IPv6
    /// needs `::/0` among them: otherwise its IPv6 traffic does not pass this firewall at all.
    #[serde(default = "Apim::default_tunnelled")]
    pub tunnelled: Vec<DefaultRoute>,
    /// Service endpoints on the subnets: their traffic does not reach the firewall.
    #[serde(default)]
    pub service_endpoints: Vec<ServiceEndpoint>,
    /// Interfaces of this firewall towards the internet: only these are enforced. Default: the target's.
    #[serde(default)]
    pub egress: Vec<Interface>,
    /// Optional dependencies that are in use.
    #[serde(default)]
    pub features: Vec<Feature>,
    /// External mode: clients, each of which needs a route straight to the internet.
    #[serde(default = "Apim::no_clients")]
    pub clients: Spanned<Vec<Network>>,
    /// Clients wider than /24 (IPv4) or /48 (IPv6) that are meant to be: a client's route bypasses the firewall for
    /// everything that the subnet sends to it.
    #[serde(default)]
    pub allow_wide_clients: Vec<Network>,
    /// Custom DNS servers that the subnets use over this firewall.
    #[serde(default)]
    pub dns: Vec<Network>,
    /// NTP servers, addresses or hostnames.
    #[serde(default)]
    pub ntp: Vec<Server>,
    /// Log each new connection that the profile's rules let through. Default: false.
    #[serde(default)]
    pub log: bool,
    /// A comment that goes into the profile's rules.
    pub comment: Option<Comment>,
}

impl Apim {
    /// Shortest prefix of an IPv4 client that needs no `allow-wide-clients`.
    pub const WIDEST_CLIENT_V4: u8 = 24;
    /// Shortest prefix of an IPv6 client that needs no `allow-wide-clients` (one site).
    pub const WIDEST_CLIENT_V6: u8 = 48;

    fn default_tunnelled() -> Vec<DefaultRoute> {
        vec![DefaultRoute::Ipv4]
    }

    fn no_clients() -> Spanned<Vec<Network>> {
        Spanned::new(0..0, Vec::new())
    }

    /// Whether a feature is in use.
    pub fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// The profile's primary region.
    pub fn primary(&self) -> Option<&Region> {
        self.regions.get_ref().first()
    }

    /// All subnets together.
    pub fn all_subnets(&self) -> PrefixSet {
        match self.subnets.get_ref() {
            Subnets::Together(networks) => super::network::space(networks),
            Subnets::ByRegion(regions) => super::network::space(regions.values().flatten()),
        }
    }

    /// The subnets in a region; all of them when the configuration does not say which lie where.
    pub fn subnets_in(&self, region: &Region) -> PrefixSet {
        match self.subnets.get_ref() {
            Subnets::Together(networks) => super::network::space(networks),
            Subnets::ByRegion(regions) => {
                regions.get(region).map(super::network::space).unwrap_or_default()
            }
        }
    }
}

/// How API Management is injected into the virtual network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// The gateway has a public address.
    External,
    /// The gateway is reachable from the virtual network only.
    Internal,
}

/// A default route of the subnets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DefaultRoute {
    /// All IPv4 traffic.
    #[serde(rename = "0.0.0.0/0")]
    Ipv4,
    /// All IPv6 traffic.
    #[serde(rename = "::/0")]
    Ipv6,
}

/// A virtual network service endpoint that changes what reaches the firewall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceEndpoint {
    /// `Microsoft.Storage`: storage accounts of the subnet's own region.
    #[serde(alias = "Microsoft.Storage")]
    Storage,
    /// `Microsoft.Storage.Global`: storage accounts of every region.
    #[serde(rename = "Storage.Global", alias = "Microsoft.Storage.Global")]
    StorageGlobal,
    /// `Microsoft.Sql`: databases of the subnet's own region.
    #[serde(alias = "Microsoft.Sql")]
    Sql,
    /// `Microsoft.EventHub`: every region.
    #[serde(alias = "Microsoft.EventHub")]
    EventHub,
    /// `Microsoft.KeyVault`: every region.
    #[serde(rename = "AzureKeyVault", alias = "KeyVault", alias = "Microsoft.KeyVault")]
    KeyVault,
}

/// An optional dependency of API Management.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// Entra ID sign-in, Microsoft Graph (tag AzureActiveDirectory and its hosts).
    Entra,
    /// Logging to Event Hubs.
    EventHubs,
    /// Managed connections (tag AzureConnectors).
    Connectors,
    /// The file share for Git (older revisions): SMB to Storage.
    Git,
    /// SMTP relay (older revisions).
    Smtp,
    /// CAPTCHA of the developer portal.
    Captcha,
    /// Diagnostics from the Azure portal and internal diagnostics.
    Diagnostics,
    /// Windows activation through Azure KMS: routes, not firewall rules.
    Kms,
    /// Windows Update hosts.
    WindowsUpdate,
    /// Microsoft Defender hosts.
    Defender,
}

/// A server given by address or hostname.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Server {
    /// An address or prefix.
    Address(Network),
    /// A hostname.
    Host(HostName),
}

impl TryFrom<String> for Server {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let address = text.contains([':', '/']) || text.parse::<std::net::IpAddr>().is_ok();
        if address { text.parse().map(Self::Address) } else { text.parse().map(Self::Host) }
    }
}

/// The subnets of a profile.
#[derive(Debug, Clone)]
pub enum Subnets {
    /// One list: which subnet lies in which region is not said.
    Together(Vec<Network>),
    /// A list for each region.
    ByRegion(BTreeMap<Region, Vec<Network>>),
}

impl<'de> Deserialize<'de> for Subnets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SubnetsVisitor;

        impl<'de> Visitor<'de> for SubnetsVisitor {
            type Value = Subnets;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter
                    .write_str("a list of prefixes, or a table with such a list for each region")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Subnets, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(sequence))
                    .map(Subnets::Together)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Subnets, A::Error> {
                BTreeMap::deserialize(de::value::MapAccessDeserializer::new(map))
                    .map(Subnets::ByRegion)
            }
        }

        deserializer.deserialize_any(SubnetsVisitor)
    }
}
