//! What is decided in Azure: routes past the tunnel, and what a network security group lets in.

use std::collections::BTreeSet;

use super::tables::{self, Need};
use super::{Decided, Expansion, Row, published};
use crate::config::{Direction, Feature, Network, NetworkMode, Service, space};
use crate::intent::{RouteDestination, RoutePurpose, SecurityPeer};
use crate::prefix::PrefixSet;

impl Expansion<'_, '_> {
    /// Activation is refused when the request arrives from an on-premises address: a route, never a rule.
    pub(super) fn kms(&mut self) {
        let servers = tables::kms(self.cloud);
        let peer = servers.iter().map(|(host, _)| *host).collect::<Vec<_>>().join(" ");
        let services = [Service::tcp(1688)];
        let row =
            |peer: String| Row::outbound("Windows activation (Azure KMS)", peer, &services, false);
        if let Some(how) = self.unused(Need::Feature(Feature::Kms)) {
            return self.row(row(peer).decided(Decided::Unused, how));
        }
        if servers.is_empty() {
            let outcome = "Microsoft documents no KMS server for this cloud";
            return self.row(row("(none)".to_owned()).decided(Decided::Open, outcome));
        }
        let mut all = PrefixSet::new();
        for (host, addresses) in servers {
            for prefix in addresses.iter().filter_map(|address| address.parse::<Network>().ok()) {
                let key = format!("kms-{}", prefix.0.addr()).replace(['.', ':'], "-");
                self.route(&key, RouteDestination::Prefix(prefix.0), RoutePurpose::Kms);
                all.extend([prefix.0]);
            }
            let row = row(format!("{host} ({})", addresses.join(" ")));
            self.row(row.decided(
                Decided::Route,
                "routes to Internet: a request that arrives from on-premises is refused, so a firewall rule alone does not \
                 help",
            ));
        }
        let peer = SecurityPeer::Prefixes(all);
        self.security("out-kms", Direction::Outbound, peer, &services, "Windows activation");
    }

    /// What ends inside Azure: routes for the answers, security rules for the requests.
    pub(super) fn inbound(&mut self) {
        let purpose = "management endpoint";
        let control = published("ApiManagement");
        let destination = RouteDestination::Tag { cloud: self.cloud, tag: control };
        let route = self.route("control-plane", destination, RoutePurpose::ControlPlane);
        self.let_in("in-control-plane", "ApiManagement", 3443, purpose);
        self.row(Row::inbound(purpose, "ApiManagement", "tcp/3443", true).decided(
            Decided::Route,
            format!(
                "route {route} keeps the answers out of the tunnel; security rule lets the requests in"
            ),
        ));
        self.ends_in_azure("in-load-balancer", "AzureLoadBalancer", 6390, "load balancer", true);
        let purpose = "health of single machines";
        self.ends_in_azure("in-machine-health", "AzureLoadBalancer", 6391, purpose, false);
        if self.profile.network == NetworkMode::Internal {
            let row = Row::inbound("clients", "(internal)", "tcp/443", true);
            let outcome = "internal mode: clients come over the virtual network";
            return self.row(row.decided(Decided::VirtualNetwork, outcome));
        }
        if self.profile.regions.get_ref().len() > 1 {
            let purpose = "routing between regions";
            self.ends_in_azure("in-traffic-manager", "AzureTrafficManager", 443, purpose, true);
        }
        self.clients();
    }

    /// A security rule that lets a tag in, on one port.
    fn let_in(&mut self, key: &str, tag: &str, port: u16, purpose: &'static str) {
        let peer = SecurityPeer::Tag(published(tag));
        self.security(key, Direction::Inbound, peer, &[Service::tcp(port)], purpose);
    }

    /// What is let in by a security rule and never reaches the firewall.
    fn ends_in_azure(
        &mut self,
        key: &str,
        tag: &str,
        port: u16,
        purpose: &'static str,
        required: bool,
    ) {
        self.let_in(key, tag, port, purpose);
        let row = Row::inbound(purpose, tag, &format!("tcp/{port}"), required);
        let outcome = "ends inside Azure: security rule, no firewall rule";
        self.row(row.decided(Decided::SecurityGroup, outcome));
    }

    fn clients(&mut self) {
        const SERVICES: &str = "tcp/80,443";
        let clients: BTreeSet<Network> = self.profile.clients.get_ref().iter().copied().collect();
        if clients.is_empty() {
            let row = Row::inbound("clients", "(none configured)", SERVICES, true);
            let outcome =
                "external mode without `clients`: answers go into the tunnel and are lost";
            return self.row(row.decided(Decided::Open, outcome));
        }
        let web = [Service::tcp(80), Service::tcp(443)];
        let set = space(&clients);
        for (key, family) in [("in-clients", set.only_v4()), ("in-clients-ipv6", set.only_v6())] {
            if !family.is_empty() {
                let peer = SecurityPeer::Prefixes(family);
                self.security(key, Direction::Inbound, peer, &web, "clients");
            }
        }
        for client in &clients {
            let text = client.0.addr().to_string().replace(['.', ':'], "-");
            let key = format!("client-{}-{}", text.trim_matches('-'), client.0.prefix_len());
            let route = self.route(&key, RouteDestination::Prefix(client.0), RoutePurpose::Client);
            let outcome =
                format!("route {route}: everything sent to this client bypasses the firewall");
            let row = Row::inbound("clients", client.to_string(), SERVICES, true);
            self.row(row.decided(Decided::Route, outcome));
        }
    }

    /// What stays inside the virtual network, and what newer revisions dropped.
    pub(super) fn inside(&mut self) {
        for (dependency, services) in [
            ("cache", "tcp/6380, tcp/10000 (from 2026-04), tcp/6381-6383"),
            ("rate-limit counters", "udp/4290"),
        ] {
            let row = Row::new(dependency, "in/out", "VirtualNetwork", services, false);
            let outcome = "stays inside the virtual network: nothing to do on-premises";
            self.row(row.decided(Decided::VirtualNetwork, outcome));
        }
        let diagnostics = [Service::tcp(12_000)];
        let row = Row::outbound("diagnostics of older revisions", "any", &diagnostics, false);
        let outcome = "dropped by Microsoft in 2026-04; any destination is never let through";
        self.row(row.decided(Decided::Unused, outcome));
    }
}
