//! The text of a first configuration.
//!
//! Every value is of a validated type whose alphabet needs no escaping in TOML.

use std::fmt::Display;

use super::{DialectName, Wishes};
use crate::config::{NetworkMode, Service};
use crate::snapshot::Cloud;

/// Writes the configuration with comments that say what each line is for.
pub(super) fn configuration(wishes: &Wishes) -> String {
    let mut text = String::from(
        "# Made by `tagwall init`. `tagwall check` validates it; `tagwall render --dry-run` shows what it makes.\n\n",
    );
    text.push_str(&format!("cloud = \"{}\"", wishes.cloud));
    text.push_str(match wishes.cloud {
        Cloud::Example => {
            "   # the embedded publication of documentation ranges; nothing of it is Azure's\n"
        }
        _ => "   # public | government | china\n",
    });
    if let Some(name) = &wishes.apim {
        text.push_str(&profile(wishes, name.as_str()));
    }
    if !wishes.tags.is_empty() {
        text.push_str(&group(wishes));
    }
    for (index, dialect) in wishes.dialects.iter().enumerate() {
        text.push_str(&target(wishes, index, *dialect));
    }
    text
}

fn profile(wishes: &Wishes, name: &str) -> String {
    let mut text = format!(
        "
# An API Management service whose subnets are force-tunnelled to this firewall.
# `tagwall explain apim.{name}` prints where each of its flows is decided.
[apim.{name}]
regions = {}   # the first is the primary one
network = \"{}\"   # external: clients on the internet | internal
subnets = {}
",
        list(&wishes.regions),
        match wishes.network {
            NetworkMode::External => "external",
            NetworkMode::Internal => "internal",
        },
        list(&wishes.subnets)
    );
    if wishes.subnets.iter().any(|subnet| subnet.0.addr().is_ipv6()) {
        let mut routes = vec!["::/0"];
        if wishes.subnets.iter().any(|subnet| subnet.0.addr().is_ipv4()) {
            routes.insert(0, "0.0.0.0/0");
        }
        text.push_str(&format!(
            "tunnelled = {}   # the subnets' default routes to this firewall\n",
            list(&routes)
        ));
    }
    if !wishes.egress.is_empty() {
        let egress = list(&wishes.egress);
        text.push_str(&format!("egress = {egress}   # interfaces towards the internet\n"));
    }
    let features: Vec<String> = wishes
        .features
        .iter()
        .map(|feature| serde_json::to_string(feature).unwrap_or_default())
        .collect();
    text.push_str(&format!(
        "features = [{}]   # optional dependencies in use\n",
        features.join(", ")
    ));
    match (wishes.network, wishes.clients.as_slice()) {
        (NetworkMode::Internal, []) => {}
        (NetworkMode::External, []) => text.push_str(
            "# clients = [\"203.0.113.10/32\"]   # each needs a route to the internet, or its answers are lost\n",
        ),
        (_, clients) => text.push_str(&format!(
            "clients = {}   # each gets a route to the internet for its answers\n",
            list(clients)
        )),
    }
    text.push_str(
        "# service-endpoints = [\"Storage\", \"Sql\"]   # their traffic does not reach this firewall
# dns = [\"192.0.2.53\"]                      # custom DNS servers behind this firewall
# ntp = [\"192.0.2.123\"]                     # time servers; any destination is never let through
",
    );
    text
}

fn group(wishes: &Wishes) -> String {
    format!(
        "
[groups.azure]
tags = {}

[rules.azure]
source = {}   # own prefixes
destination = \"azure\"   # the group
services = [\"{}\"]
{}",
        list(&wishes.tags),
        list(&wishes.subnets),
        Service::tcp(443),
        match wishes.egress.as_slice() {
            [] => String::new(),
            some => format!("interfaces = {}   # towards the internet\n", list(some)),
        }
    )
}

fn target(wishes: &Wishes, index: usize, dialect: DialectName) -> String {
    let name = match index {
        0 => "edge".to_owned(),
        _ => format!("edge-{}", dialect.key()),
    };
    let key = dialect.key();
    let what = match dialect {
        DialectName::Nftables => {
            "a table of its own that enforces for the subnets above; mode = \"embed\" is the other way"
        }
        DialectName::Iptables => {
            "ipset and chains to jump to; mode = \"plain\" is for hosts without ipset"
        }
        DialectName::List => "one prefix a line, a file for each group",
        DialectName::Json => "the whole rule set as JSON",
        DialectName::Panos => "Palo Alto PAN-OS",
        DialectName::Fortios => "Fortinet FortiOS",
        DialectName::Azure => "Azure route tables and network security groups",
    };
    let settings = match dialect {
        DialectName::Nftables | DialectName::Iptables if !wishes.egress.is_empty() => {
            format!("egress = {}\n", list(&wishes.egress))
        }
        DialectName::Panos => {
            "format = \"set\"   # set | xml | edl (lists that the device fetches)\n".to_owned()
        }
        DialectName::Fortios => "\
format = \"cli\"                # cli | feed (lists that the device fetches)
version = \"7.4\"               # of the device: 6.4 to 7.6
first-policy-id = 7000         # ids that nothing else on the device uses: 7000 to 7199
policy-count = 200
own-interfaces = [\"port2\"]   # towards the subnets; change both to yours
internet-interfaces = [\"port1\"]
"
        .to_owned(),
        DialectName::Azure => "\
format = \"bicep\"              # bicep | arm | terraform | cli
resource-group = \"rg-network\" # change these to yours; the table and the group must exist
route-table = \"rt-apim\"
network-security-group = \"nsg-apim\"
"
        .to_owned(),
        _ => String::new(),
    };
    format!("\n# {what}\n[targets.{name}.{key}]\n{settings}")
}

fn list<T: Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(|item| format!("\"{item}\"")).collect();
    format!("[{}]", items.join(", "))
}
