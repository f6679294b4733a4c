//! How much a group that is fitted into few prefixes lets through beside what is published.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AddressGroup, RuleSet};
use crate::config::Name;
use crate::os::printable::grouped;

/// What a group lets through although nobody published it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Surplus {
    /// The group.
    pub group: Name,
    /// The prefixes that it has.
    pub prefixes: usize,
    /// IPv4 addresses.
    pub v4_addresses: u64,
    /// Their share of the published ones.
    pub v4_share: f64,
    /// IPv6 addresses, in decimal digits.
    pub v6_addresses: String,
    /// Their share of the published ones.
    pub v6_share: f64,
}

impl AddressGroup {
    /// What it lets through beside what is published; none when it is exact.
    #[expect(clippy::cast_precision_loss, reason = "a share is read, not reckoned with")]
    fn widened(&self) -> Option<Surplus> {
        if self.surplus.is_empty() {
            return None;
        }
        let share = |part: u128, all: u128| match all - part {
            0 => 0.0,
            published => part as f64 / published as f64,
        };
        let (v4, v6) = (self.surplus.v4_addresses(), self.surplus.v6_addresses());
        Some(Surplus {
            group: self.name.clone(),
            prefixes: self.prefixes.len(),
            v4_addresses: v4,
            v4_share: share(v4.into(), self.prefixes.v4_addresses().into()),
            v6_addresses: v6.to_string(),
            v6_share: share(v6, self.prefixes.v6_addresses()),
        })
    }
}

impl RuleSet {
    /// The groups that let through more than is published.
    pub fn widened(&self) -> Vec<Surplus> {
        self.groups.iter().filter_map(AddressGroup::widened).collect()
    }
}

impl fmt::Display for Surplus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.v4_addresses > 0 {
            parts.push(format!(
                "{} IPv4 addresses ({} of what is published)",
                grouped(self.v4_addresses),
                percent(self.v4_share)
            ));
        }
        if self.v6_addresses != "0" {
            parts.push(format!("IPv6 space of {} of what is published", percent(self.v6_share)));
        }
        write!(
            formatter,
            "group {} is WIDER than what is published: `fit` writes it in {} prefixes, which let through {} that nobody published",
            self.group,
            grouped(self.prefixes),
            parts.join(" and ")
        )
    }
}

/// A share with the digits that matter: `0.011 %`, `5.9 %`, `less than 0.001 %`.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        _ if percent < 0.001 => "less than 0.001 %".to_owned(),
        _ if percent < 1.0 => format!("{percent:.3} %"),
        _ => format!("{percent:.1} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::PrefixSet;

    fn set(texts: &[&str]) -> PrefixSet {
        texts.iter().map(|text| text.parse::<ipnet::IpNet>().unwrap()).collect()
    }

    #[test]
    fn says_how_much_of_each_family() {
        let mut group = AddressGroup {
            name: "storage".parse().unwrap(),
            cloud: None,
            tags: Vec::new(),
            prefixes: set(&["198.51.100.0/24", "2001:db8::/47"]),
            surplus: set(&["198.51.100.64/26", "2001:db8::/48"]),
            hosts: Vec::new(),
            resolved: PrefixSet::new(),
            unresolved: Vec::new(),
            profile: None,
        };
        let surplus = group.widened().unwrap();
        assert_eq!((surplus.v4_addresses, surplus.v4_share), (64, 64.0 / 192.0));
        assert!((surplus.v6_share - 1.0).abs() < f64::EPSILON);
        assert_eq!(
            surplus.to_string(),
            "group storage is WIDER than what is published: `fit` writes it in 2 prefixes, which let through 64 IPv4 \
             addresses (33.3 % of what is published) and IPv6 space of 100.0 % of what is published that nobody published"
        );
        group.surplus = PrefixSet::new();
        assert_eq!(group.widened(), None);
    }

    #[test]
    fn small_shares_are_not_nothing() {
        assert_eq!(percent(0.000_11), "0.011 %");
        assert_eq!(percent(0.000_000_1), "less than 0.001 %");
        assert_eq!(percent(0.059), "5.9 %");
    }
}
