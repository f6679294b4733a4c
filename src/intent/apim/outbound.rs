//! What leaves the subnets: groups and rules of the firewall, unless a service endpoint takes the traffic out of the tunnel.

use super::tables::{HostDependency, Need, TagDependency};
use super::{Decided, Expansion, Row, hosts, published};
use crate::config::{Direction, HostName, Protocol, Region, Server, Service, TagSelector, space};
use crate::intent::{GroupSpec, SecurityPeer, Selected, Selector};
use crate::prefix::PrefixSet;
use crate::snapshot::Cloud;

/// What becomes of traffic to a service whose endpoint the subnets have.
const BY_ENDPOINT: &str = "its service endpoint takes the traffic out of the tunnel";

impl Expansion<'_, '_> {
    pub(super) fn tag_dependency(&mut self, dependency: &TagDependency) {
        let required = dependency.need == Need::Required;
        let row =
            |peer: String| Row::outbound(dependency.purpose, peer, dependency.services, required);
        let service = dependency.service.to_owned();
        if let Some(how) = self.unused(dependency.need) {
            return self.row(row(service).decided(Decided::Unused, how));
        }
        if !dependency.regional {
            self.security_tag(dependency, None);
            if self.has_endpoint(dependency.any_region_endpoint) {
                return self.row(row(service).decided(Decided::ServiceEndpoint, BY_ENDPOINT));
            }
            let tag = Selected::Tag(TagSelector::Name(published(dependency.service)));
            let own = self.profile.all_subnets();
            return self.tag_rule(dependency, dependency.key, tag, &own, row(service));
        }
        for region in self.profile.regions.get_ref().clone() {
            self.security_tag(dependency, Some(&region));
            let row = row(format!("{service}.{region}"));
            let own = self.subnets_needing(dependency, &region);
            if own.is_empty() {
                self.row(row.decided(Decided::ServiceEndpoint, BY_ENDPOINT));
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
        self.rule(&group, own, dependency.services);
        self.row(row.by_rule(group));
    }

    pub(super) fn host_dependency(&mut self, dependency: &HostDependency) {
        let mut hosts = hosts((dependency.hosts)(self.cloud));
        if dependency.key == "entra-hosts" && matches!(self.cloud, Cloud::Public | Cloud::Example) {
            let regional = self.profile.regions.get_ref().iter();
            hosts.extend(
                regional.filter_map(|region| format!("{region}.login.microsoft.com").parse().ok()),
            );
        }
        let peer = hosts.iter().map(HostName::as_str).collect::<Vec<_>>().join(" ");
        let required = dependency.need == Need::Required;
        let row = Row::outbound(dependency.purpose, peer, dependency.services, required);
        if let Some(how) = self.unused(dependency.need) {
            return self.row(row.decided(Decided::Unused, how));
        }
        let group = self.own_name(dependency.key);
        let expected_tag = dependency.expected_tag.map(published);
        self.intent.groups.push(GroupSpec { hosts, expected_tag, ..self.group(group.clone()) });
        self.rule(&group, &self.profile.all_subnets(), dependency.services);
        self.row(row.by_rule(group));
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
    pub(super) fn servers(&mut self) {
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
        // Without configured servers names are answered by Azure itself, but time comes from any address.
        let required = key == "ntp";
        if addresses.is_empty() && hosts.is_empty() {
            let row = Row::outbound(purpose, "(none configured)", services, required);
            return self.row(if required {
                row.decided(
                    Decided::Open,
                    format!(
                        "set `{key}` to the servers in use: any destination is never let through"
                    ),
                )
            } else {
                row.decided(
                    Decided::Unused,
                    format!("no {key} servers are configured: Azure's own answer"),
                )
            });
        }
        for (suffix, family) in [("", addresses.only_v4()), ("-ipv6", addresses.only_v6())] {
            if family.is_empty() {
                continue;
            }
            for protocol in Protocol::ALL {
                let of_protocol = |service: &&Service| service.protocol == protocol;
                let ports: Vec<Service> = services.iter().filter(of_protocol).copied().collect();
                if !ports.is_empty() {
                    let name = format!("out-{key}-{protocol}{suffix}");
                    let peer = SecurityPeer::Prefixes(family.clone());
                    self.security(&name, Direction::Outbound, peer, &ports, purpose);
                }
            }
        }
        let texts = addresses.iter().map(|prefix| prefix.to_string());
        let peer: Vec<String> = texts.chain(hosts.iter().map(ToString::to_string)).collect();
        let group = self.own_name(key);
        self.rule(&group, &self.profile.all_subnets(), services);
        self.intent.groups.push(GroupSpec {
            prefixes: addresses,
            hosts,
            ..self.group(group.clone())
        });
        self.row(Row::outbound(purpose, peer.join(" "), services, required).by_rule(group));
    }
}
