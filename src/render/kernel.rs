//! What a target creates in this host's kernel, for those who apply it and read it back.

use serde::{Deserialize, Serialize};

use super::{RenderError, iptables, nftables};
use crate::config::{Dialect, Families, JumpPosition, Name, Target};
use crate::prefix::PrefixSet;
use crate::ruleset::{Family, RuleSet};

/// The comment by which the table, the sets and the chains of a target are known to be tagwall's.
pub const MARK: &str = "managed by tagwall";

/// Objects of a target in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Kernel {
    /// A table of nftables, or a part of one.
    Nftables(NftablesKernel),
    /// Chains of iptables, with or without sets of ipset.
    Iptables(IptablesKernel),
}

/// A table of nftables, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NftablesKernel {
    /// Family of the table.
    pub family: String,
    /// The table.
    pub table: String,
    /// Chains whose rules are ours; empty when the whole table is.
    pub chains: Vec<String>,
    /// Whether the whole table is ours.
    pub own: bool,
    /// The file that `nft -f` loads.
    pub file: String,
    /// The sets.
    pub sets: Vec<KernelSet>,
}

/// Chains of iptables, with or without sets of ipset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IptablesKernel {
    /// The chain that the host's rules jump to.
    pub chain: String,
    /// The families that have rules: the others' programs are not run.
    pub families: Families,
    /// The jump to the chain that tagwall keeps; none where the host's own rules have it.
    pub jump: Option<IptablesJump>,
    /// The file that `ipset restore` loads; none for rules without sets.
    pub sets_file: Option<String>,
    /// The sets.
    pub sets: Vec<KernelSet>,
}

/// A jump from a chain of the host's to ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IptablesJump {
    /// The chain that jumps.
    pub chain: String,
    /// Where in it the jump is put.
    pub position: JumpPosition,
}

/// A set in the kernel and the addresses that belong into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
        rule_set.group(&self.group).map(|group| self.family.of(&group.space())).unwrap_or_default()
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
        match dialect {
            Dialect::Nftables(settings) => {
                return nftables::kernel(name, &part, settings).map(Kernel::Nftables).map(Some);
            }
            Dialect::Iptables(settings) => {
                return Ok(Some(Kernel::Iptables(iptables::kernel(
                    &part,
                    settings,
                    target.families,
                ))));
            }
            _ => {}
        }
    }
    Ok(None)
}
