//! The doors to this host's firewall: its own parser, loading, reading back.
//!
//! Every command has an absolute path, an argument vector, a time limit and no shell. What is loaded is the very file that was
//! verified and is archived.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;
use thiserror::Error;

use crate::os::command::{BoundedCommand, CommandError, find_program};
use crate::prefix::PrefixSet;
use crate::render::{Kernel, KernelSet};
use crate::ruleset::RuleSet;
use crate::snapshot::Digest;

/// Most output that is read back, in bytes: 90,000 elements take 8 MB of JSON.
const OUTPUT_LIMIT: usize = 256 << 20;

/// Why the firewall could not be asked or did not do as it was told.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FirewallError {
    /// A program is not installed.
    #[error("{0} is not installed; install it, or set apply = \"off\"")]
    NoProgram(&'static str),
    /// A command failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Its answer is not of the known form.
    #[error("{program} answered in a form that is not known: {reason}")]
    Answer {
        /// The program.
        program: &'static str,
        /// What was wrong.
        reason: String,
    },
    /// What the kernel has is not what was meant.
    #[error("the kernel does not have what was loaded: {0}")]
    Difference(Drift),
    /// A command of the user's has no program, or not with an absolute path.
    #[error("the command {0:?} needs a program with an absolute path")]
    BadCommand(Vec<String>),
}

/// How the kernel differs from what was meant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Drift {
    /// The table, or a set in it, is gone.
    #[error("{0} is missing")]
    Missing(String),
    /// A set has other content.
    #[error("set {set} lacks {lacks} and has {extra} prefixes too many")]
    Set {
        /// The set.
        set: String,
        /// Prefixes that are missing.
        lacks: usize,
        /// Prefixes that should not be there.
        extra: usize,
    },
    /// The rules are not those that were loaded.
    #[error("the rules of {0} were changed")]
    Rules(String),
}

/// The firewall of one target.
#[derive(Debug)]
pub(super) struct Firewall<'k> {
    kernel: &'k Kernel,
    time_limit: Duration,
}

impl<'k> Firewall<'k> {
    pub(super) fn new(kernel: &'k Kernel, time_limit: Duration) -> Self {
        Self { kernel, time_limit }
    }

    fn nft(&self) -> Result<BoundedCommand, FirewallError> {
        let program = find_program("nft").ok_or(FirewallError::NoProgram("nft"))?;
        Ok(BoundedCommand::new(program).time_limit(self.time_limit).output_limit(OUTPUT_LIMIT))
    }

    /// Asks the firewall's own parser.
    pub(super) fn verify(&self, folder: &Path) -> Result<(), FirewallError> {
        let Kernel::Nftables { file, .. } = self.kernel;
        self.nft()?.arg("-c").arg("-f").arg(folder.join(file)).run()?;
        Ok(())
    }

    /// Loads the files: one transaction in the kernel.
    pub(super) fn apply(&self, folder: &Path) -> Result<(), FirewallError> {
        let Kernel::Nftables { file, .. } = self.kernel;
        self.nft()?.arg("-f").arg(folder.join(file)).run()?;
        Ok(())
    }

    /// The state of the kernel's objects that a first load would touch, as text that restores them; none when there are none.
    pub(super) fn save(&self) -> Result<Option<Vec<u8>>, FirewallError> {
        let Kernel::Nftables { family, table, .. } = self.kernel;
        let listed =
            self.nft()?.args(["-s", "list", "table", family.as_str(), table.as_str()]).run();
        match listed {
            Ok(output) => Ok(Some(output.stdout)),
            Err(CommandError::Failed { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Compares the kernel with what is meant; returns the fingerprint of its rules. With an earlier fingerprint, the rules
    /// are compared with that.
    pub(super) fn read_back(
        &self,
        rule_set: &RuleSet,
        earlier: Option<Digest>,
    ) -> Result<Digest, FirewallError> {
        let Kernel::Nftables { family, table, chains, own, sets, .. } = self.kernel;
        let name = format!("table {family} {table}");
        let listed =
            self.nft()?.args(["-j", "list", "table", family.as_str(), table.as_str()]).run();
        let output = match listed {
            Ok(output) => output,
            Err(CommandError::Failed { .. }) => {
                return Err(FirewallError::Difference(Drift::Missing(name)));
            }
            Err(error) => return Err(error.into()),
        };
        let listing: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| FirewallError::Answer { program: "nft", reason: error.to_string() })?;
        let objects = listing
            .get("nftables")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let found = sets_of(objects)?;
        for set in sets {
            compare(set, rule_set, &found)?;
        }
        let fingerprint = fingerprint(objects, chains, *own);
        match earlier {
            Some(earlier) if earlier != fingerprint => {
                Err(FirewallError::Difference(Drift::Rules(name)))
            }
            _ => Ok(fingerprint),
        }
    }
}

fn compare(
    set: &KernelSet,
    rule_set: &RuleSet,
    found: &BTreeMap<String, PrefixSet>,
) -> Result<(), FirewallError> {
    let Some(has) = found.get(&set.name) else {
        return Err(FirewallError::Difference(Drift::Missing(format!("set {}", set.name))));
    };
    let meant = set.meant(rule_set);
    if *has == meant {
        return Ok(());
    }
    Err(FirewallError::Difference(Drift::Set {
        set: set.name.clone(),
        lacks: meant.difference(has).len(),
        extra: has.difference(&meant).len(),
    }))
}

/// The sets of a listing with their content.
fn sets_of(objects: &[Value]) -> Result<BTreeMap<String, PrefixSet>, FirewallError> {
    let mut sets = BTreeMap::new();
    for set in objects.iter().filter_map(|object| object.get("set")) {
        let Some(name) = set.get("name").and_then(Value::as_str) else { continue };
        let mut nets: Vec<IpNet> = Vec::new();
        for element in set.get("elem").and_then(Value::as_array).into_iter().flatten() {
            element_nets(element, &mut nets).ok_or_else(|| FirewallError::Answer {
                program: "nft",
                reason: format!("an element of set {name}"),
            })?;
        }
        sets.insert(name.to_owned(), nets.into_iter().collect());
    }
    Ok(sets)
}

/// An element is an address, a prefix, a range, or one of these with attributes.
fn element_nets(element: &Value, nets: &mut Vec<IpNet>) -> Option<()> {
    if let Some(text) = element.as_str() {
        nets.push(IpNet::from(text.parse::<IpAddr>().ok()?));
        return Some(());
    }
    if let Some(prefix) = element.get("prefix") {
        let address: IpAddr = prefix.get("addr")?.as_str()?.parse().ok()?;
        let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
        nets.push(IpNet::new(address, length).ok()?);
        return Some(());
    }
    if let Some(range) = element.get("range") {
        let first: IpAddr = range.get(0)?.as_str()?.parse().ok()?;
        let last: IpAddr = range.get(1)?.as_str()?.parse().ok()?;
        match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                nets.extend(ipnet::Ipv4Subnets::new(first, last, 0).map(IpNet::V4));
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                nets.extend(ipnet::Ipv6Subnets::new(first, last, 0).map(IpNet::V6));
            }
            _ => return None,
        }
        return Some(());
    }
    element_nets(element.get("elem")?.get("val")?, nets)
}

/// The digest of our chains and rules, without what changes by itself (handles, counters).
fn fingerprint(objects: &[Value], chains: &[String], own: bool) -> Digest {
    let ours = |name: Option<&Value>| {
        own || name
            .and_then(Value::as_str)
            .is_some_and(|name| chains.iter().any(|chain| chain == name))
    };
    let mut kept = Vec::new();
    for object in objects {
        let chain = object.get("chain").filter(|chain| ours(chain.get("name")));
        let rule = object.get("rule").filter(|rule| ours(rule.get("chain")));
        if let Some(object) = chain.or(rule) {
            let mut object = object.clone();
            without_counts(&mut object);
            kept.push(object);
        }
    }
    Digest::of(Value::Array(kept).to_string().as_bytes())
}

fn without_counts(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("handle");
            map.remove("packets");
            map.remove("bytes");
            map.values_mut().for_each(without_counts);
        }
        Value::Array(list) => list.iter_mut().for_each(without_counts),
        _ => {}
    }
}

/// Runs a command of the user's; `{path}` stands for the folder.
pub(super) fn run_user_command(
    command: &[String],
    folder: &Path,
    time_limit: Duration,
) -> Result<(), FirewallError> {
    let Some((program, args)) =
        command.split_first().filter(|(program, _)| program.starts_with('/'))
    else {
        return Err(FirewallError::BadCommand(command.to_vec()));
    };
    let path = folder.to_string_lossy();
    let args = args.iter().map(|arg| arg.replace("{path}", &path));
    BoundedCommand::new(PathBuf::from(program)).args(args).time_limit(time_limit).run()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(text: &str) -> Result<BTreeMap<String, PrefixSet>, FirewallError> {
        let value: Value = serde_json::from_str(text).unwrap();
        sets_of(value.as_array().unwrap())
    }

    #[test]
    fn every_form_of_an_element_is_read() {
        let found = sets(
            r#"[{"set": {"name": "s", "elem": [
                "192.0.2.1",
                {"prefix": {"addr": "198.51.100.0", "len": 24}},
                {"range": ["203.0.113.0", "203.0.113.5"]},
                {"elem": {"val": {"prefix": {"addr": "192.0.2.64", "len": 26}}, "counter": {}}},
                {"prefix": {"addr": "2001:db8::", "len": 32}}
            ]}}]"#,
        )
        .unwrap();
        assert_eq!(
            found["s"].to_string(),
            "192.0.2.1/32, 192.0.2.64/26, 198.51.100.0/24, 203.0.113.0/30, 203.0.113.4/31, 2001:db8::/32"
        );
        assert!(sets(r#"[{"set": {"name": "s", "elem": [{"what": 1}]}}]"#).is_err());
        assert!(sets(r#"[{"set": {"name": "s"}}]"#).unwrap()["s"].is_empty());
    }

    #[test]
    fn counters_do_not_change_the_fingerprint() {
        let rule = |packets: u64, dport: u16| {
            serde_json::json!([{"rule": {"chain": "c", "handle": packets, "expr": [
                {"match": {"right": dport}}, {"counter": {"packets": packets, "bytes": 1}}]}}])
        };
        let of = |value: Value| fingerprint(value.as_array().unwrap(), &["c".to_owned()], false);
        assert_eq!(of(rule(1, 443)), of(rule(2, 443)));
        assert_ne!(of(rule(1, 443)), of(rule(1, 80)));
    }
}
