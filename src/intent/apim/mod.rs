//! Expands an API Management profile: each dependency goes where it is decided.
//!
//! - *Firewall*: connections that leave Azure through the tunnel become groups and rules (`outbound`).
//! - *Route*: what must not be tunnelled (answers of the management endpoint, answers to clients, Windows
//!   activation) becomes a route with next hop Internet (`azure`).
//! - *Network security group*: what ends inside Azure is let in there, and outbound rows are repeated there.
//! - *Service endpoint*: traffic that leaves the tunnel needs no rule, by service and region.
//! - *Virtual network*: stays inside.

mod advice;
mod azure;
mod outbound;
mod table;
mod tables;

use self::tables::{Need, TagDependency};
use super::{
    GroupSpec, Intent, RouteDestination, RoutePurpose, RouteSpec, RuleSpec, SecurityPeer,
    SecuritySpec,
};
use crate::config::{
    Apim, Direction, Families, HostName, Name, Protocol, Region, Service, ServiceEndpoint,
};
use crate::prefix::PrefixSet;
use crate::snapshot::{Cloud, TagName};

pub use table::{Decided, Row, Table};

/// Adds what the profile stands for.
pub fn expand(name: &Name, profile: &Apim, cloud: Cloud, intent: &mut Intent) {
    let mut expansion = Expansion {
        name,
        profile,
        cloud,
        table: Table { profile: name.clone(), cloud, rows: Vec::new(), advice: Vec::new() },
        intent,
    };
    for dependency in tables::TAG_DEPENDENCIES {
        expansion.tag_dependency(dependency);
    }
    for dependency in tables::HOST_DEPENDENCIES {
        expansion.host_dependency(dependency);
    }
    expansion.servers();
    expansion.kms();
    expansion.inbound();
    expansion.inside();
    let table = Table { advice: advice::of(profile), ..expansion.table };
    intent.tables.push(table);
}

struct Expansion<'c, 'i> {
    name: &'c Name,
    profile: &'c Apim,
    cloud: Cloud,
    table: Table,
    intent: &'i mut Intent,
}

impl Expansion<'_, '_> {
    /// The name of something of this profile. Config::load bounds the profile's name and the region so that the
    /// whole fits.
    fn own_name(&self, key: &str) -> Name {
        let text = format!("apim-{}-{key}", self.name);
        text.parse().unwrap_or_else(|_| self.name.clone())
    }

    fn row(&mut self, row: Row) {
        self.table.rows.push(row);
    }

    fn has_endpoint(&self, endpoint: Option<ServiceEndpoint>) -> bool {
        endpoint.is_some_and(|endpoint| self.profile.service_endpoints.contains(&endpoint))
    }

    /// Why the dependency is not in use, if it is not.
    fn unused(&self, need: Need) -> Option<String> {
        match need {
            Need::Feature(feature) if !self.profile.has(feature) => {
                let name = serde_json::to_string(&feature).unwrap_or_default();
                Some(format!("add {name} to `features` if it is used"))
            }
            Need::Required | Need::Feature(_) => None,
        }
    }

    fn group(&self, name: Name) -> GroupSpec {
        GroupSpec {
            name,
            cloud: self.cloud,
            tags: Vec::new(),
            prefixes: PrefixSet::new(),
            hosts: Vec::new(),
            expected_tag: None,
            exclude: Vec::new(),
            families: Families::Both,
            allow_empty: false,
            fit: None,
            profile: Some(self.name.clone()),
        }
    }

    /// Adds the rule of a group; both have one name.
    fn rule(&mut self, group: &Name, own: &PrefixSet, services: &[Service]) {
        self.intent.rules.push(RuleSpec {
            name: group.clone(),
            direction: Direction::Outbound,
            own: own.clone(),
            group: group.clone(),
            services: services.to_vec(),
            interfaces: super::distinct(&self.profile.egress),
            log: self.profile.log,
            comment: self.profile.comment.clone(),
            profile: Some(self.name.clone()),
        });
    }

    fn route(&mut self, key: &str, destination: RouteDestination, purpose: RoutePurpose) -> Name {
        let name = self.own_name(key);
        let profile = self.name.clone();
        self.intent.routes.push(RouteSpec { name: name.clone(), destination, purpose, profile });
        name
    }

    fn security_tag(&mut self, dependency: &TagDependency, region: Option<&Region>) {
        let (key, peer) = match region {
            None => (
                format!("out-{}", dependency.key),
                SecurityPeer::Tag(published(dependency.service)),
            ),
            Some(region) => (
                format!("out-{}-{region}", dependency.key),
                SecurityPeer::ServiceInRegion {
                    cloud: self.cloud,
                    service: dependency.service,
                    region: region.clone(),
                },
            ),
        };
        self.security(&key, Direction::Outbound, peer, dependency.services, dependency.purpose);
    }

    /// Adds a security rule; the services are of one protocol.
    fn security(
        &mut self,
        key: &str,
        direction: Direction,
        peer: SecurityPeer,
        services: &[Service],
        purpose: &'static str,
    ) {
        let protocol = services.first().map_or(Protocol::Tcp, |service| service.protocol);
        self.intent.security.push(SecuritySpec {
            name: self.own_name(key),
            direction,
            peer,
            protocol,
            services: services.to_vec(),
            purpose,
            profile: self.name.clone(),
        });
    }
}

#[expect(
    clippy::expect_used,
    reason = "names of the tables beside this file, each covered by a test"
)]
fn published(name: &str) -> TagName {
    TagName::new(name).expect("a tag of the tables is well-formed")
}

#[expect(
    clippy::expect_used,
    reason = "names of the tables beside this file, each covered by a test"
)]
fn hosts(names: &[&str]) -> Vec<HostName> {
    names.iter().map(|name| name.parse().expect("a host of the tables is well-formed")).collect()
}
