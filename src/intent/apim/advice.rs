//! What the engineer must see to beside rules and routes.

use crate::config::{Apim, Network, ServiceEndpoint, Subnets};

/// What to see to for this profile, a sentence or two each.
pub(super) fn of(profile: &Apim) -> Vec<String> {
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
        advice.push("The subnets have no IPv6: no IPv6 rule is made for this profile.".to_owned());
    }
    advice
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
