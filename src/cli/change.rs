//! By how much a group or a tag changed, for people and as JSON.

use serde::Serialize;

use super::printer::{ADDED, REMOVED, grouped, v6_space};
use crate::ruleset::SpaceChange;

/// Prefixes and addresses that came and went.
#[derive(Serialize)]
pub(super) struct Amounts {
    pub(super) prefixes_added: usize,
    pub(super) prefixes_removed: usize,
    v4_addresses_added: u64,
    v4_addresses_removed: u64,
    /// As text: IPv6 space does not fit into the numbers that most JSON readers have.
    v6_addresses_added: String,
    v6_addresses_removed: String,
}

impl Amounts {
    /// Counts of a change; prefixes are counted as the caller says.
    pub(super) fn of(space: &SpaceChange, prefixes_added: usize, prefixes_removed: usize) -> Self {
        Self {
            prefixes_added,
            prefixes_removed,
            v4_addresses_added: space.added.v4_addresses(),
            v4_addresses_removed: space.removed.v4_addresses(),
            v6_addresses_added: space.added.v6_addresses().to_string(),
            v6_addresses_removed: space.removed.v6_addresses().to_string(),
        }
    }

    /// `+32 −16 prefixes, +4,096 addresses`.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{ADDED}+{}{ADDED:#} {REMOVED}−{}{REMOVED:#} prefixes",
            grouped(self.prefixes_added),
            grouped(self.prefixes_removed)
        );
        for (sign, style, v4, v6) in [
            ("+", ADDED, self.v4_addresses_added, &self.v6_addresses_added),
            ("−", REMOVED, self.v4_addresses_removed, &self.v6_addresses_removed),
        ] {
            if v4 > 0 {
                text.push_str(&format!(", {style}{sign}{}{style:#} addresses", grouped(v4)));
            }
            if let Ok(v6 @ 1..) = v6.parse::<u128>() {
                text.push_str(&format!(", {style}{sign}{}{style:#}", v6_space(v6)));
            }
        }
        text
    }
}
