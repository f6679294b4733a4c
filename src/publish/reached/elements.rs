//! Elements of sets: of a target's own by their content, of others by asking for one.

use std::collections::BTreeMap;

use super::host::Host;
use crate::prefix::PrefixSet;
use crate::reach::{Elements, Key, Lookup, SetId};
use crate::render::Kernel;
use crate::ruleset::RuleSet;

/// The sets of a target, and those of others on its host.
pub(super) struct HostElements<'h> {
    /// Family and table of the target's sets.
    table: (&'h str, &'h str),
    own: BTreeMap<&'h str, PrefixSet>,
    host: &'h Host,
}

impl<'h> HostElements<'h> {
    pub(super) fn new(kernel: &'h Kernel, rule_set: &RuleSet, host: &'h Host) -> Self {
        let (table, sets) = match kernel {
            Kernel::Nftables(table) => ((table.family.as_str(), table.table.as_str()), &table.sets),
            Kernel::Iptables(rules) => (("ipset", ""), &rules.sets),
        };
        let content = sets.iter().map(|set| (set.name.as_str(), set.meant(rule_set)));
        Self { table, own: content.collect(), host }
    }
}

impl Elements for HostElements<'_> {
    /// That the kernel has what is meant in the target's sets is compared elsewhere.
    fn look_up(&self, set: SetId<'_>, key: &[Key]) -> Lookup {
        let own = if (set.family, set.table) == self.table { self.own.get(set.name) } else { None };
        match (own, key) {
            (Some(content), [Key::Address(address)]) => {
                if content.contains(*address) {
                    Lookup::Present
                } else {
                    Lookup::Absent
                }
            }
            _ => self.host.look_up(set, key),
        }
    }
}
