//! The ipset sets of the active generation, created ahead of the rules that use them.

use std::fmt;

use super::firewall::{CreatedSets, Firewall, FirewallError, create_sets as create};
use super::{PublishError, Store};
use crate::config::Name;
use crate::render::Kernel;

/// The result of [`create_sets`] for one target.
#[derive(Debug)]
pub struct TargetSets {
    /// The target.
    pub target: Name,
    result: Result<CreatedSets, FirewallError>,
}

impl TargetSets {
    /// Whether a set exists with another type or family than the rules need.
    pub fn has_conflict(&self) -> bool {
        self.result.as_ref().is_ok_and(|sets| !sets.unlike.is_empty())
    }

    /// The reason why the sets could not be created; none when they could.
    pub fn error(&self) -> Option<&FirewallError> {
        self.result.as_ref().err()
    }
}

impl fmt::Display for TargetSets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "target {}: ", self.target)?;
        match &self.result {
            Ok(sets) => {
                write!(formatter, "{} sets created, {} present", sets.created, sets.present)?;
                sets.unlike.iter().try_for_each(|unlike| {
                    write!(formatter, "; {unlike}: left alone, remove it with `ipset destroy`")
                })
            }
            Err(error) => write!(formatter, "sets could not be created: {error}"),
        }
    }
}

/// Creates the absent sets of each active iptables target, filled, and changes nothing else: no
/// rule, and no set that exists. Reads the generation alone; the caller holds the lock. One target
/// that fails stops no other.
pub fn create_sets(store: &Store) -> Result<Vec<TargetSets>, PublishError> {
    let Some(number) = store.current()? else { return Ok(Vec::new()) };
    let manifest = store.read(number)?.manifest;
    let mut all = Vec::new();
    for (name, record) in &manifest.targets {
        let Some(kernel @ Kernel::Iptables(rules)) = &record.kernel else { continue };
        if rules.sets_file.is_none() {
            continue;
        }
        let firewall = Firewall::new(kernel, record.time_limit());
        let folder = store.path(number).join(name.as_str());
        all.push(TargetSets { target: name.clone(), result: create(&firewall, rules, &folder) });
    }
    Ok(all)
}
