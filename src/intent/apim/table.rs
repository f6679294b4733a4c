//! The table of a profile: what becomes of each dependency.

use crate::config::{Name, Service};
use crate::snapshot::Cloud;

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

impl Row {
    /// What leaves the subnet. Not in use until [`Row::decided`] says otherwise.
    pub(super) fn outbound(
        dependency: &str,
        peer: impl Into<String>,
        services: &[Service],
        required: bool,
    ) -> Self {
        let services = services.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Self::new(dependency, "out", peer, &services, required)
    }

    /// What arrives at the subnet.
    pub(super) fn inbound(
        dependency: &str,
        peer: impl Into<String>,
        services: &str,
        required: bool,
    ) -> Self {
        Self::new(dependency, "in", peer, services, required)
    }

    pub(super) fn new(
        dependency: &str,
        direction: &'static str,
        peer: impl Into<String>,
        services: &str,
        required: bool,
    ) -> Self {
        Self {
            dependency: dependency.to_owned(),
            direction,
            peer: peer.into(),
            services: services.to_owned(),
            required,
            decided: Decided::Unused,
            group: None,
            outcome: String::new(),
        }
    }

    /// The row with its decision.
    pub(super) fn decided(self, decided: Decided, outcome: impl Into<String>) -> Self {
        Self { decided, outcome: outcome.into(), ..self }
    }

    /// The row of what the firewall lets through by the rule that is called like its group.
    pub(super) fn by_rule(self, group: Name) -> Self {
        let row = self.decided(Decided::Firewall, format!("rule {group}"));
        Self { group: Some(group), ..row }
    }
}
