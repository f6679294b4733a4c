//! Whether packets get to the rules of a target, as status shows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::text::{ADDED, REMOVED, WARNING};
use crate::publish::TargetReach;
use crate::reach::{Reach, Reached};
use crate::ruleset::Family;

/// Whether packets get to the rules of a target in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachStatus {
    /// By family; a family without rules is left out.
    #[serde(default)]
    pub families: BTreeMap<Family, FamilyReach>,
    /// Rules of others that drop what the target allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overruled: Vec<String>,
    /// What an administrator should know beside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Whether packets of a family get to the rules of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyReach {
    /// `yes`, `no`, `unknown` or `not_applicable`.
    pub reached: Reached,
    /// Why they do not, or why it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the reason is the rule graph, whatever the packets.
    #[serde(default)]
    pub by_rule_graph: bool,
}

impl From<&TargetReach> for ReachStatus {
    fn from(found: &TargetReach) -> Self {
        let status = |(family, reach): (&Family, &Reach)| {
            let reach = FamilyReach {
                reached: reach.reached(),
                reason: reach.reason().map(str::to_owned),
                by_rule_graph: reach.is_by_rule_graph(),
            };
            (*family, reach)
        };
        Self {
            families: found.families.iter().map(status).collect(),
            overruled: found.overruled.clone(),
            warnings: found.warnings.clone(),
        }
    }
}

impl ReachStatus {
    /// The families with this answer, each with its reason, on one line; none where there is none.
    pub fn reasons(&self, reached: Reached) -> Option<String> {
        let these = self.families.iter().filter(|(_, reach)| reach.reached == reached);
        let texts: Vec<String> = these
            .map(|(family, reach)| {
                let reason = reach.reason.as_deref().unwrap_or("yes");
                format!("{}: {reason}", family.name())
            })
            .collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// Whether packets are kept from the rules, or dropped by others behind them.
    pub fn is_broken(&self) -> bool {
        self.has(Reached::No) || !self.overruled.is_empty()
    }

    /// Whether something is not known, or not as it is probably meant.
    pub fn is_doubtful(&self) -> bool {
        self.has(Reached::Unknown) || !self.warnings.is_empty()
    }

    fn has(&self, reached: Reached) -> bool {
        self.families.values().any(|reach| reach.reached == reached)
    }

    /// What is shown behind "in the kernel", with styles.
    pub(super) fn text(&self) -> String {
        let mut parts = Vec::new();
        if let Some(reasons) = self.reasons(Reached::No) {
            parts.push(format!("{REMOVED}NOT REACHED{REMOVED:#}: {reasons}"));
        }
        if let Some(reasons) = self.reasons(Reached::Unknown) {
            parts.push(format!("{WARNING}reach unknown{WARNING:#}: {reasons}"));
        }
        if parts.is_empty() && self.has(Reached::Yes) {
            parts.push(format!("{ADDED}reached{ADDED:#}"));
        }
        if let Some(reasons) = self.reasons(Reached::NotApplicable) {
            parts.push(format!("not applicable: {reasons}"));
        }
        if self.families.is_empty() {
            parts.push("no connection to follow".to_owned());
        }
        for text in &self.overruled {
            parts.push(format!("{REMOVED}OVERRULED{REMOVED:#}: {text}"));
        }
        for text in &self.warnings {
            parts.push(format!("{WARNING}warning{WARNING:#}: {text}"));
        }
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(families: &[(Family, Reach)], overruled: &[&str]) -> ReachStatus {
        ReachStatus::from(&TargetReach {
            families: families.iter().cloned().collect(),
            overruled: overruled.iter().map(|text| (*text).to_owned()).collect(),
            warnings: Vec::new(),
        })
    }

    fn plain(status: &ReachStatus) -> String {
        anstream::adapter::strip_str(&status.text()).to_string()
    }

    #[test]
    fn unknown_is_never_reached() {
        let because = "interface wan0 does not exist".to_owned();
        let status =
            status(&[(Family::V4, Reach::Reached), (Family::V6, Reach::Unknown { because })], &[]);
        assert_eq!(plain(&status), "reach unknown: IPv6: interface wan0 does not exist");
        assert!(!status.is_broken() && status.is_doubtful());
    }

    #[test]
    fn families_are_named_with_their_reasons() {
        let not = Reach::NotReached { by: "no base chain".to_owned(), by_rule_graph: true };
        let off = Reach::NotApplicable { because: "the host has no IPv6".to_owned() };
        let one = status(&[(Family::V4, not), (Family::V6, off.clone())], &[]);
        assert_eq!(
            plain(&one),
            "NOT REACHED: IPv4: no base chain; not applicable: IPv6: the host has no IPv6"
        );
        assert!(one.is_broken());
        let json = serde_json::to_value(&one).unwrap();
        assert_eq!(json["families"]["ipv4"]["reached"], "no");
        assert_eq!(json["families"]["ipv6"]["reached"], "not_applicable");
        let two = status(&[(Family::V4, Reach::Reached), (Family::V6, off)], &["x dropped by y"]);
        assert_eq!(
            plain(&two),
            "reached; not applicable: IPv6: the host has no IPv6; OVERRULED: x dropped by y"
        );
        assert!(two.is_broken() && !two.is_doubtful());
    }
}
