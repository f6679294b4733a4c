//! Settings of the azure dialect.
//!
//! Names that Azure gives meaning to are validated here by Azure's own rules; which settings go together is checked by
//! [`Azure::contradictions`].

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::common::NamePrefix;
use crate::config::names::text_type;
use crate::config::{Guid, Region};

/// Azure route tables and network security groups.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Azure {
    /// What the files are written in.
    pub format: AzureFormat,
    /// The resource group of the route table and of the network security group.
    pub resource_group: ResourceGroupName,
    /// The subscription's id. Default: the one that the deployment is signed in to.
    pub subscription: Option<Guid>,
    /// The route table. Without it, no routes are written.
    pub route_table: Option<ResourceName>,
    /// The network security group. Without it, no security rules are written.
    pub network_security_group: Option<ResourceName>,
    /// Prefix of the names of routes and security rules. Default: `tw-`.
    #[serde(default)]
    pub prefix: NamePrefix,
    /// Routes to a service: by its `tag` (default), or by each of its `prefixes`.
    #[serde(default)]
    pub tags: RouteTags,
    /// Most routes in the table. Default: 400.
    #[serde(default = "Azure::default_max_routes")]
    pub max_routes: usize,
    /// Most routes to service tags in the table. Default: 25.
    #[serde(default = "Azure::default_max_tag_routes")]
    pub max_tag_routes: usize,
    /// Priority of the first inbound security rule. Default: 1000.
    #[serde(default = "Azure::default_priority")]
    pub inbound_priority: u16,
    /// Priority of the first outbound security rule. Default: 1000.
    #[serde(default = "Azure::default_priority")]
    pub outbound_priority: u16,
    /// Distance from one priority to the next. Default: 10.
    #[serde(default = "Azure::default_step")]
    pub priority_step: u16,
    /// Write the whole table instead of routes in an existing one. Deploying it deletes every route that is not in the
    /// file. Default: false.
    #[serde(default)]
    pub whole_table: bool,
    /// Whole table: where it is.
    pub location: Option<Region>,
    /// Whole table: the next hop of its 0.0.0.0/0, the firewall or what leads to it.
    pub default_route_next_hop: Option<Ipv4Addr>,
    /// Whole table: the next hop of its ::/0; required when a profile has IPv6 subnets.
    pub default_route_next_hop_ipv6: Option<Ipv6Addr>,
    /// Whole table: whether routes that gateways learn (BGP) are kept out of it.
    pub disable_bgp_propagation: Option<bool>,
    /// terraform and cli: also associate the table with this subnet, `VNET/SUBNET`; it takes the place of the table
    /// that is associated now.
    pub associate_subnet: Option<SubnetName>,
}

impl Azure {
    /// Default of [`Azure::max_routes`]: Azure's limit for one table.
    pub const MAX_ROUTES: usize = 400;
    /// Default of [`Azure::max_tag_routes`]: Azure's limit for one table.
    pub const MAX_TAG_ROUTES: usize = 25;
    /// Default of [`Azure::inbound_priority`] and [`Azure::outbound_priority`].
    pub const PRIORITY: u16 = 1_000;
    /// Default of [`Azure::priority_step`].
    pub const STEP: u16 = 10;
    /// The priorities that Azure takes, both ends included.
    pub const PRIORITIES: std::ops::RangeInclusive<u16> = 100..=4_096;
    /// Longest name of a route or security rule, in characters.
    pub const MAX_NAME: usize = 80;

    fn default_max_routes() -> usize {
        Self::MAX_ROUTES
    }

    fn default_max_tag_routes() -> usize {
        Self::MAX_TAG_ROUTES
    }

    fn default_priority() -> u16 {
        Self::PRIORITY
    }

    fn default_step() -> u16 {
        Self::STEP
    }

    /// Settings that do not go together: what is wrong, and what to do.
    pub fn contradictions(&self) -> Vec<(String, &'static str)> {
        let mut found = Vec::new();
        let mut wrong = |message: String, help| found.push((message, help));
        if self.route_table.is_none() && self.network_security_group.is_none() {
            wrong(
                "nothing to write to".to_owned(),
                "name the `route-table`, the `network-security-group`, or both",
            );
        }
        for (key, priority) in [
            ("inbound-priority", self.inbound_priority),
            ("outbound-priority", self.outbound_priority),
        ] {
            if !Self::PRIORITIES.contains(&priority) {
                wrong(format!("{key} is {priority}"), "Azure takes 100 to 4096, lower ones first");
            }
        }
        if self.priority_step == 0 {
            wrong("priority-step is 0".to_owned(), "two rules cannot have the same priority");
        }
        if self.whole_table {
            self.whole_table_contradictions(&mut wrong);
        } else {
            for (key, given) in [
                ("location", self.location.is_some()),
                ("default-route-next-hop", self.default_route_next_hop.is_some()),
                ("default-route-next-hop-ipv6", self.default_route_next_hop_ipv6.is_some()),
                ("disable-bgp-propagation", self.disable_bgp_propagation.is_some()),
            ] {
                if given {
                    wrong(
                        format!("{key} belongs to a whole table"),
                        "leave it out: routes of an existing table touch nothing else of it; or set whole-table = \
                         true, whose deployment deletes every route that is not in the file",
                    );
                }
            }
        }
        if self.associate_subnet.is_some() {
            if self.route_table.is_none() {
                wrong(
                    "associate-subnet without a route-table".to_owned(),
                    "name the route table that the subnet is to use",
                );
            }
            if matches!(self.format, AzureFormat::Bicep | AzureFormat::Arm) {
                wrong(
                    format!(
                        "associate-subnet does not go with format = \"{}\"",
                        self.format.name()
                    ),
                    "a template associates a table only by writing the whole subnet, which deletes its security \
                     group, service endpoints and delegations: use format = \"terraform\" or \"cli\", or associate \
                     it once by hand",
                );
            }
        }
        found
    }

    fn whole_table_contradictions(&self, wrong: &mut impl FnMut(String, &'static str)) {
        if self.route_table.is_none() {
            wrong("whole-table without a route-table".to_owned(), "name the table");
        }
        if self.location.is_none() {
            wrong(
                "whole-table without a location".to_owned(),
                "say in which region the table is: location = \"westeurope\"",
            );
        }
        if self.default_route_next_hop.is_none() {
            wrong(
                "whole-table without default-route-next-hop".to_owned(),
                "deploying a whole table deletes the 0.0.0.0/0 that leads to the firewall: give the address that it \
                 leads to, so that the table has it again",
            );
        }
        if self.format == AzureFormat::Cli {
            wrong(
                "whole-table does not go with format = \"cli\"".to_owned(),
                "az empties a table before its routes are created one by one, and until then the subnet has no \
                 0.0.0.0/0: use bicep, arm or terraform, which write it in one step",
            );
        }
    }
}

/// What the files of the azure dialect are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AzureFormat {
    /// Bicep.
    Bicep,
    /// ARM templates in JSON.
    Arm,
    /// Terraform, provider azurerm 4.
    Terraform,
    /// A shell script of az commands.
    Cli,
}

impl AzureFormat {
    /// The key.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bicep => "bicep",
            Self::Arm => "arm",
            Self::Terraform => "terraform",
            Self::Cli => "cli",
        }
    }

    /// What file names end with.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Bicep => "bicep",
            Self::Arm => "arm.json",
            Self::Terraform => "tf",
            Self::Cli => "az.sh",
        }
    }
}

/// How routes name a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteTags {
    /// By its tag, which Azure keeps up to date.
    #[default]
    Tag,
    /// By each of its prefixes.
    Prefixes,
}

/// A resource group's name: letters, digits, `.`, `-`, `_` and parentheses, no `.` at the end; 90 at most.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ResourceGroupName(Box<str>);

text_type!(ResourceGroupName);

impl FromStr for ResourceGroupName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let inside = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'(' | b')')
        };
        if (1..=90).contains(&text.len()) && text.bytes().all(inside) && !text.ends_with('.') {
            Ok(Self(text.into()))
        } else {
            Err("a resource group's name has 1 to 90 letters, digits, `.`, `-`, `_` and parentheses, and does not \
                 end with a dot"
                .to_owned())
        }
    }
}

/// The name of a route table, security group, network or subnet: a letter or digit, then letters, digits, `.`, `-`, `_`,
/// no `.` or `-` at the end; 80 at most.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ResourceName(Box<str>);

text_type!(ResourceName);

impl FromStr for ResourceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if (1..=80).contains(&text.len())
            && text.bytes().all(inside)
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && !text.ends_with(['.', '-'])
        {
            Ok(Self(text.into()))
        } else {
            Err("an Azure name has 1 to 80 letters, digits, `.`, `-` and `_`, starts with a letter or digit and ends \
                 with a letter, digit or `_`"
                .to_owned())
        }
    }
}

/// A subnet of the route table's resource group, as `VNET/SUBNET`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SubnetName {
    /// The virtual network.
    pub network: ResourceName,
    /// The subnet.
    pub subnet: ResourceName,
}

impl TryFrom<String> for SubnetName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (network, subnet) = text
            .split_once('/')
            .ok_or("a subnet is written as VNET/SUBNET, like vnet-prod/snet-apim")?;
        Ok(Self { network: network.parse()?, subnet: subnet.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Azure {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn names_follow_azures_rules() {
        assert!("rg-(prod)_1.a".parse::<ResourceGroupName>().is_ok());
        for bad in ["", "a.", "a b", "a'b", "a$b", "a/b", &"a".repeat(91)] {
            assert!(bad.parse::<ResourceGroupName>().is_err(), "{bad:?}");
        }
        assert!("1rt.a-b_".parse::<ResourceName>().is_ok());
        for bad in ["", "-a", "_a", "a-", "a.", "a(b)", "a/b", "a;b", &"a".repeat(81)] {
            assert!(bad.parse::<ResourceName>().is_err(), "{bad:?}");
        }
        assert!(SubnetName::try_from("vnet/snet".to_owned()).is_ok());
        assert!(SubnetName::try_from("vnet".to_owned()).is_err());
        assert!(SubnetName::try_from("vnet/a/b".to_owned()).is_err());
    }

    #[test]
    fn settings_that_do_not_go_together_are_named() {
        let base = "resource-group = \"rg\"\nroute-table = \"rt\"\n";
        let whole = "whole-table = true\nlocation = \"westeurope\"\ndefault-route-next-hop = \"10.0.0.4\"\n";
        for sound in [
            format!("format = \"cli\"\n{base}"),
            format!("format = \"arm\"\n{base}{whole}"),
            format!("format = \"bicep\"\n{base}{whole}disable-bgp-propagation = true\n"),
            format!("format = \"cli\"\n{base}associate-subnet = \"vnet/snet\"\n"),
        ] {
            assert_eq!(settings(&sound).contradictions(), [], "{sound}");
        }
        for (wrong, told) in [
            ("format = \"arm\"\nresource-group = \"rg\"\n".to_owned(), "nothing to write to"),
            (format!("format = \"cli\"\n{base}{whole}"), "format = \"cli\""),
            (format!("format = \"arm\"\n{base}whole-table = true\n"), "default-route-next-hop"),
            (format!("format = \"arm\"\n{base}disable-bgp-propagation = true\n"), "whole table"),
            (format!("format = \"arm\"\n{base}associate-subnet = \"v/s\"\n"), "associate-subnet"),
            (format!("format = \"arm\"\n{base}priority-step = 0\n"), "priority-step"),
            (format!("format = \"arm\"\n{base}inbound-priority = 99\n"), "inbound-priority"),
            (format!("format = \"arm\"\n{base}outbound-priority = 4097\n"), "outbound-priority"),
        ] {
            let found = settings(&wrong).contradictions();
            assert!(found.iter().any(|(message, _)| message.contains(told)), "{wrong}: {found:?}");
        }
    }
}
