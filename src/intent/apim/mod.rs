//! Expands an API Management profile: each dependency goes where it is decided.
//!
//! - *Firewall*: connections that leave Azure through the tunnel become groups and rules.
//! - *Route*: what must not be tunnelled (answers of the management endpoint, answers to clients, Windows
//!   activation) becomes a route with next hop Internet.
//! - *Network security group*: what ends inside Azure is let in there, and outbound rows are repeated there.
//! - *Service endpoint*: traffic that leaves the tunnel needs no rule, by service and region.
//! - *Virtual network*: stays inside.

mod tables;

use std::collections::BTreeSet;

use self::tables::{HostDependency, Need, TagDependency};
use super::{
    GroupSpec, Intent, RouteDestination, RoutePurpose, RouteSpec, RuleSpec, SecurityPeer,
    SecuritySpec, Selected, Selector,
};
use crate::config::{
    Apim, Direction, Families, Feature, HostName, Name, Network, NetworkMode, Protocol, Region,
    Server, Service, ServiceEndpoint, Subnets, TagSelector, space,
};
use crate::prefix::PrefixSet;
use crate::snapshot::{Cloud, TagName};

/// What becomes of each dependency of a profile: printed by `tagwall explain apim.NAME`.
#[derive(Debug, Clone)]
pub struct Table {
    /// The profile.
    pub profile: Name,
    /// Its cloud.
    pub cloud: Cloud,
    /// One row a dependency (and region, where it matters).
    pub rows: Vec<Row>,
    /// What else the engineer must see to.
    pub advice: Vec<String>,
}

/// One dependency of a profile.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Row {
    /// What it is for.
    pub dependency: String,
    /// `out` or `in`, seen from the subnet.
    pub direction: &'static str,
    /// Tags, hosts or addresses.
    pub peer: String,
    /// Protocols and ports.
    pub services: String,
    /// Whether API Management cannot do without.
    pub required: bool,
    /// Where the flow is decided.
    pub decided: Decided,
    /// The group that holds its addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Name>,
    /// The rule or route that covers it, or why there is none.
    pub outcome: String,
}

/// Where a flow is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decided {
    /// On this firewall.
    Firewall,
    /// By a user-defined route (and the network security group).
    Route,
    /// By the network security group alone.
    SecurityGroup,
    /// Taken out of the tunnel by a service endpoint.
    ServiceEndpoint,
    /// Inside the virtual network.
    VirtualNetwork,
    /// Nowhere: needed, but something is missing in the configuration.
    Open,
    /// An optional dependency that is not in use.
    Unused,
}

impl Decided {
    /// The place in words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Firewall => "firewall",
            Self::Route => "route",
            Self::SecurityGroup => "security group",
            Self::ServiceEndpoint => "service endpoint",
            Self::VirtualNetwork => "virtual network",
            Self::Open => "NOT COVERED",
            Self::Unused => "not in use",
        }
    }
}

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
    expansion.advice();
    let table = expansion.table;
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

    fn in_use(&self, need: Need) -> bool {
        match need {
            Need::Required => true,
            Need::Feature(feature) => self.profile.has(feature),
        }
    }

    fn tag_dependency(&mut self, dependency: &TagDependency) {
        let row = Row {
            dependency: dependency.purpose.to_owned(),
            direction: "out",
            peer: dependency.service.to_owned(),
            services: list(dependency.services),
            required: dependency.need == Need::Required,
            decided: Decided::Unused,
            group: None,
            outcome: String::new(),
        };
        if !self.in_use(dependency.need) {
            let outcome = unused(dependency.need);
            return self.row(Row { outcome, ..row });
        }
        if !dependency.regional {
            self.security_tag(dependency, None);
            if self.has_endpoint(dependency.any_region_endpoint) {
                let outcome = "its service endpoint takes the traffic out of the tunnel".to_owned();
                return self.row(Row { decided: Decided::ServiceEndpoint, outcome, ..row });
            }
            let tag = Selected::Tag(TagSelector::Name(published(dependency.service)));
            let own = self.profile.all_subnets();
            return self.tag_rule(dependency, dependency.key, tag, &own, row);
        }
        for region in self.profile.regions.get_ref().clone() {
            self.security_tag(dependency, Some(&region));
            let peer = format!("{}.{region}", dependency.service);
            let row = Row { peer, ..row.clone() };
            let own = self.subnets_needing(dependency, &region);
            if own.is_empty() {
                let outcome = "its service endpoint takes the traffic out of the tunnel".to_owned();
                self.row(Row { decided: Decided::ServiceEndpoint, outcome, ..row });
                continue;
            }
            let tag = Selected::ServiceInRegion {
                service: dependency.service.into(),
                region: region.clone(),
            };
            let key = format!("{}-{region}", dependency.key);
            self.tag_rule(dependency, &key, tag, &own, row);
        }
    }

    /// The subnets whose traffic to the service in `region` comes through the tunnel: those of the region itself,
    /// and for the primary region those of every other one, each unless an endpoint takes it out.
    fn subnets_needing(&self, dependency: &TagDependency, region: &Region) -> PrefixSet {
        if self.has_endpoint(dependency.any_region_endpoint) {
            return PrefixSet::new();
        }
        let own_endpoint = self.has_endpoint(dependency.own_region_endpoint);
        let primary = self.profile.primary() == Some(region);
        let mut needing = PrefixSet::new();
        for home in self.profile.regions.get_ref() {
            let wanted = if home == region { !own_endpoint } else { primary };
            if wanted {
                needing = needing.union(&self.profile.subnets_in(home));
            }
        }
        needing
    }

    fn tag_rule(
        &mut self,
        dependency: &TagDependency,
        key: &str,
        tag: Selected,
        own: &PrefixSet,
        row: Row,
    ) {
        let group = self.own_name(key);
        self.intent.groups.push(GroupSpec {
            tags: vec![Selector { what: tag, span: Some(self.profile.regions.span()) }],
            ..self.group(group.clone())
        });
        let rule = self.rule(&group, own, dependency.services);
        let outcome = format!("rule {}", rule.name);
        self.intent.rules.push(rule);
        self.row(Row { decided: Decided::Firewall, group: Some(group), outcome, ..row });
    }

    fn host_dependency(&mut self, dependency: &HostDependency) {
        let mut hosts = hosts((dependency.hosts)(self.cloud));
        if dependency.key == "entra-hosts" && matches!(self.cloud, Cloud::Public | Cloud::Example) {
            let regional = self.profile.regions.get_ref().iter();
            hosts.extend(
                regional.filter_map(|region| format!("{region}.login.microsoft.com").parse().ok()),
            );
        }
        let row = Row {
            dependency: dependency.purpose.to_owned(),
            direction: "out",
            peer: hosts.iter().map(HostName::as_str).collect::<Vec<_>>().join(" "),
            services: list(dependency.services),
            required: dependency.need == Need::Required,
            decided: Decided::Unused,
            group: None,
            outcome: String::new(),
        };
        if !self.in_use(dependency.need) {
            let outcome = unused(dependency.need);
            return self.row(Row { outcome, ..row });
        }
        let group = self.own_name(dependency.key);
        let rule = self.rule(&group, &self.profile.all_subnets(), dependency.services);
        let outcome = format!("rule {}", rule.name);
        let expected_tag = dependency.expected_tag.map(published);
        self.intent.groups.push(GroupSpec { hosts, expected_tag, ..self.group(group.clone()) });
        self.intent.rules.push(rule);
        self.row(Row { decided: Decided::Firewall, group: Some(group), outcome, ..row });
        if dependency.key == "certificates" {
            let internet = SecurityPeer::Tag(published("Internet"));
            self.security(
                "out-certificates",
                Direction::Outbound,
                internet,
                &[Service::tcp(80)],
                dependency.purpose,
            );
        }
    }

    /// Configured DNS and NTP servers.
    fn servers(&mut self) {
        let dns: PrefixSet = space(&self.profile.dns);
        let dns_services = [Service::tcp(53), Service::udp(53)];
        self.server_rows(
            "dns",
            "name resolution by custom DNS servers",
            dns,
            Vec::new(),
            &dns_services,
        );
        let mut addresses = Vec::new();
        let mut names = Vec::new();
        for server in &self.profile.ntp {
            match server {
                Server::Address(address) => addresses.push(*address),
                Server::Host(host) => names.push(host.clone()),
            }
        }
        self.server_rows("ntp", "time (NTP)", space(&addresses), names, &[Service::udp(123)]);
    }

    fn server_rows(
        &mut self,
        key: &'static str,
        purpose: &'static str,
        addresses: PrefixSet,
        hosts: Vec<HostName>,
        services: &[Service],
    ) {
        let required = key == "ntp";
        let row = Row {
            dependency: purpose.to_owned(),
            direction: "out",
            peer: addresses
                .iter()
                .map(|prefix| prefix.to_string())
                .chain(hosts.iter().map(ToString::to_string))
                .collect::<Vec<_>>()
                .join(" "),
            services: list(services),
            required,
            decided: Decided::Unused,
            group: None,
            outcome: format!("no {key} servers are configured: Azure's own answer"),
        };
        if addresses.is_empty() && hosts.is_empty() {
            return self.row(if required {
                Row {
                    peer: "(none configured)".to_owned(),
                    decided: Decided::Open,
                    outcome: format!(
                        "set `{key}` to the servers in use: any destination is never let through"
                    ),
                    ..row
                }
            } else {
                Row { peer: "(none configured)".to_owned(), ..row }
            });
        }
        for (suffix, family) in [("", addresses.only_v4()), ("-ipv6", addresses.only_v6())] {
            if family.is_empty() {
                continue;
            }
            for protocol in Protocol::ALL {
                let ports: Vec<Service> = services
                    .iter()
                    .copied()
                    .filter(|service| service.protocol == protocol)
                    .collect();
                if !ports.is_empty() {
                    let peer = SecurityPeer::Prefixes(family.clone());
                    self.security(
                        &format!("out-{key}-{protocol}{suffix}"),
                        Direction::Outbound,
                        peer,
                        &ports,
                        purpose,
                    );
                }
            }
        }
        let group = self.own_name(key);
        let rule = self.rule(&group, &self.profile.all_subnets(), services);
        let outcome = format!("rule {}", rule.name);
        self.intent.groups.push(GroupSpec {
            prefixes: addresses,
            hosts,
            ..self.group(group.clone())
        });
        self.intent.rules.push(rule);
        self.row(Row { decided: Decided::Firewall, group: Some(group), outcome, ..row });
    }

    /// Activation is refused when the request arrives from an on-premises address: a route, never a rule.
    fn kms(&mut self) {
        let row = Row {
            dependency: "Windows activation (Azure KMS)".to_owned(),
            direction: "out",
            peer: String::new(),
            services: "tcp/1688".to_owned(),
            required: false,
            decided: Decided::Unused,
            group: None,
            outcome: unused(Need::Feature(Feature::Kms)),
        };
        let servers = tables::kms(self.cloud);
        let peer = servers.iter().map(|(host, _)| *host).collect::<Vec<_>>().join(" ");
        if !self.profile.has(Feature::Kms) {
            return self.row(Row { peer, ..row });
        }
        if servers.is_empty() {
            let outcome = "Microsoft documents no KMS server for this cloud".to_owned();
            return self.row(Row {
                peer: "(none)".to_owned(),
                decided: Decided::Open,
                outcome,
                ..row
            });
        }
        let mut all = PrefixSet::new();
        for (host, addresses) in servers {
            for prefix in addresses.iter().filter_map(|address| address.parse::<Network>().ok()) {
                let key = format!("kms-{}", prefix.0.addr()).replace(['.', ':'], "-");
                self.route(&key, RouteDestination::Prefix(prefix.0), RoutePurpose::Kms);
                all.extend([prefix.0]);
            }
            self.row(Row {
                peer: format!("{host} ({})", addresses.join(" ")),
                decided: Decided::Route,
                outcome: "routes to Internet: a request that arrives from on-premises is refused, \
                          so a firewall rule alone does not help"
                    .to_owned(),
                ..row.clone()
            });
        }
        let peer = SecurityPeer::Prefixes(all);
        self.security(
            "out-kms",
            Direction::Outbound,
            peer,
            &[Service::tcp(1688)],
            "Windows activation",
        );
    }

    /// What ends inside Azure: routes for the answers, security rules for the requests.
    fn inbound(&mut self) {
        let control = published("ApiManagement");
        let destination = RouteDestination::Tag { cloud: self.cloud, tag: control.clone() };
        let route = self.route("control-plane", destination, RoutePurpose::ControlPlane);
        let control = SecurityPeer::Tag(control);
        let purpose = "management endpoint";
        self.security(
            "in-control-plane",
            Direction::Inbound,
            control,
            &[Service::tcp(3443)],
            purpose,
        );
        self.inbound_row(purpose, "ApiManagement", "tcp/3443", true, Decided::Route, format!(
            "route {route} keeps the answers out of the tunnel; security rule lets the requests in"
        ));
        let balancer = || SecurityPeer::Tag(published("AzureLoadBalancer"));
        let purpose = "load balancer";
        self.security(
            "in-load-balancer",
            Direction::Inbound,
            balancer(),
            &[Service::tcp(6390)],
            purpose,
        );
        let ends = "ends inside Azure: security rule, no firewall rule".to_owned();
        self.inbound_row(
            purpose,
            "AzureLoadBalancer",
            "tcp/6390",
            true,
            Decided::SecurityGroup,
            ends.clone(),
        );
        let purpose = "health of single machines";
        self.security(
            "in-machine-health",
            Direction::Inbound,
            balancer(),
            &[Service::tcp(6391)],
            purpose,
        );
        self.inbound_row(
            purpose,
            "AzureLoadBalancer",
            "tcp/6391",
            false,
            Decided::SecurityGroup,
            ends.clone(),
        );
        if self.profile.network == NetworkMode::Internal {
            let outcome = "internal mode: clients come over the virtual network".to_owned();
            return self.inbound_row(
                "clients",
                "(internal)",
                "tcp/443",
                true,
                Decided::VirtualNetwork,
                outcome,
            );
        }
        if self.profile.regions.get_ref().len() > 1 {
            let manager = SecurityPeer::Tag(published("AzureTrafficManager"));
            let purpose = "routing between regions";
            self.security(
                "in-traffic-manager",
                Direction::Inbound,
                manager,
                &[Service::tcp(443)],
                purpose,
            );
            self.inbound_row(
                purpose,
                "AzureTrafficManager",
                "tcp/443",
                true,
                Decided::SecurityGroup,
                ends,
            );
        }
        self.clients();
    }

    fn clients(&mut self) {
        let clients: BTreeSet<Network> = self.profile.clients.get_ref().iter().copied().collect();
        if clients.is_empty() {
            let outcome =
                "external mode without `clients`: answers go into the tunnel and are lost"
                    .to_owned();
            return self.inbound_row(
                "clients",
                "(none configured)",
                "tcp/80,443",
                true,
                Decided::Open,
                outcome,
            );
        }
        let web = [Service::tcp(80), Service::tcp(443)];
        let set = space(&clients);
        for (key, family) in [("in-clients", set.only_v4()), ("in-clients-ipv6", set.only_v6())] {
            if !family.is_empty() {
                self.security(
                    key,
                    Direction::Inbound,
                    SecurityPeer::Prefixes(family),
                    &web,
                    "clients",
                );
            }
        }
        for client in &clients {
            let text = client.0.addr().to_string().replace(['.', ':'], "-");
            let key = format!("client-{}-{}", text.trim_matches('-'), client.0.prefix_len());
            let route = self.route(&key, RouteDestination::Prefix(client.0), RoutePurpose::Client);
            let outcome =
                format!("route {route}: everything sent to this client bypasses the firewall");
            self.inbound_row(
                "clients",
                &client.to_string(),
                "tcp/80,443",
                true,
                Decided::Route,
                outcome,
            );
        }
    }

    /// What stays inside the virtual network, and what newer revisions dropped.
    fn inside(&mut self) {
        let inside = "stays inside the virtual network: nothing to do on-premises".to_owned();
        for (dependency, services) in [
            ("cache", "tcp/6380, tcp/10000 (from 2026-04), tcp/6381-6383"),
            ("rate-limit counters", "udp/4290"),
        ] {
            self.row(Row {
                dependency: dependency.to_owned(),
                direction: "in/out",
                peer: "VirtualNetwork".to_owned(),
                services: services.to_owned(),
                required: false,
                decided: Decided::VirtualNetwork,
                group: None,
                outcome: inside.clone(),
            });
        }
        self.row(Row {
            dependency: "diagnostics of older revisions".to_owned(),
            direction: "out",
            peer: "any".to_owned(),
            services: "tcp/12000".to_owned(),
            required: false,
            decided: Decided::Unused,
            group: None,
            outcome: "dropped by Microsoft in 2026-04; any destination is never let through"
                .to_owned(),
        });
    }

    fn advice(&mut self) {
        let profile = self.profile;
        let mut advice = Vec::new();
        let without: Vec<&str> = [
            (ServiceEndpoint::Sql, "Sql"),
            (ServiceEndpoint::Storage, "Storage"),
            (ServiceEndpoint::EventHub, "EventHub"),
            (ServiceEndpoint::KeyVault, "AzureKeyVault"),
        ]
        .into_iter()
        .filter(|(endpoint, _)| {
            let covered = *endpoint == ServiceEndpoint::Storage
                && profile.service_endpoints.contains(&ServiceEndpoint::StorageGlobal);
            !covered && !profile.service_endpoints.contains(endpoint)
        })
        .map(|(_, name)| name)
        .collect();
        if !without.is_empty() {
            advice.push(format!(
                "Microsoft strongly recommends service endpoints for {} on the subnets: the traffic then stays in \
                 Azure, and needs neither rule nor NAT.",
                without.join(", ")
            ));
        }
        if matches!(profile.subnets.get_ref(), Subnets::Together(_))
            && profile.regions.get_ref().len() > 1
        {
            advice.push(
                "The subnets are one list: every rule is for all of them. Write a list for each region \
                 (subnets = { westeurope = [...], ... }) to narrow each rule to the subnets that need it."
                    .to_owned(),
            );
        }
        advice.push(
            "Databases, vaults and storage accounts with IP firewalls see this firewall's NAT addresses: allow \
             those there."
                .to_owned(),
        );
        advice.push(
            "DNS: the subnets must resolve the hosts of the table; where their resolver's view differs from this \
             firewall's, the addresses differ too."
                .to_owned(),
        );
        if profile.subnets.get_ref().is_ipv4_only() {
            advice.push(
                "The subnets have no IPv6: no IPv6 rule is made for this profile.".to_owned(),
            );
        }
        self.table.advice = advice;
    }

    fn inbound_row(
        &mut self,
        dependency: &str,
        peer: &str,
        services: &str,
        required: bool,
        decided: Decided,
        outcome: String,
    ) {
        self.row(Row {
            dependency: dependency.to_owned(),
            direction: "in",
            peer: peer.to_owned(),
            services: services.to_owned(),
            required,
            decided,
            group: None,
            outcome,
        });
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
            profile: Some(self.name.clone()),
        }
    }

    fn rule(&self, group: &Name, own: &PrefixSet, services: &[Service]) -> RuleSpec {
        RuleSpec {
            name: group.clone(),
            direction: Direction::Outbound,
            own: own.clone(),
            group: group.clone(),
            services: services.to_vec(),
            interfaces: super::distinct(&self.profile.egress),
            log: self.profile.log,
            comment: self.profile.comment.clone(),
            profile: Some(self.name.clone()),
        }
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

impl Subnets {
    fn is_ipv4_only(&self) -> bool {
        let v4 =
            |networks: &Vec<Network>| networks.iter().all(|network| network.0.addr().is_ipv4());
        match self {
            Self::Together(networks) => v4(networks),
            Self::ByRegion(regions) => regions.values().all(v4),
        }
    }
}

fn unused(need: Need) -> String {
    match need {
        Need::Required => String::new(),
        Need::Feature(feature) => {
            let name = serde_json::to_string(&feature).unwrap_or_default();
            format!("add {name} to `features` if it is used")
        }
    }
}

fn list(services: &[Service]) -> String {
    services.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
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
