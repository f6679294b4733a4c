//! What a target creates in this host's kernel, for those who apply it and read it back.

use serde::{Deserialize, Serialize};

use super::{RenderError, nftables};
use crate::config::{Dialect, Name, Target};
use crate::prefix::PrefixSet;
use crate::ruleset::{Family, RuleSet};

/// Objects of a target in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Kernel {
    /// A table of nftables, or a part of one.
    Nftables {
        /// Family of the table.
        family: String,
        /// The table.
        table: String,
        /// Chains whose rules are ours.
        chains: Vec<String>,
        /// Whether the whole table is ours.
        own: bool,
        /// The file that `nft -f` loads.
        file: String,
        /// The sets.
        sets: Vec<KernelSet>,
    },
}

/// A set in the kernel and the addresses that belong into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelSet {
    /// Its name in the kernel.
    pub name: String,
    /// The group that it holds.
    pub group: Name,
    /// The family that it holds.
    pub family: Family,
}

impl KernelSet {
    /// The addresses that belong into it under a rule set.
    pub fn meant(&self, rule_set: &RuleSet) -> PrefixSet {
        rule_set.group(&self.group).map(|group| self.family.of(&group.prefixes)).unwrap_or_default()
    }
}

/// What a target creates in the kernel under a rule set; none for a dialect that has nothing to do with this host's kernel.
pub fn kernel(
    name: &Name,
    target: &Target,
    rule_set: &RuleSet,
) -> Result<Option<Kernel>, RenderError> {
    let part = rule_set.part_for(target);
    for dialect in target.dialects() {
        if let Dialect::Nftables(settings) = dialect {
            return nftables::kernel(name, &part, settings).map(Some);
        }
    }
    Ok(None)
}
