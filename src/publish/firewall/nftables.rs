//! nftables: checked by `nft -c`, loaded by `nft -f`, read back by `nft -j list`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use serde_json::Value;

use super::{Drift, Firewall, FirewallError, compare};
use crate::os::command::CommandError;
use crate::prefix::PrefixSet;
use crate::render::NftablesKernel;
use crate::ruleset::RuleSet;
use crate::snapshot::Digest;

pub(super) fn verify(
    firewall: &Firewall<'_>,
    table: &NftablesKernel,
    folder: &Path,
) -> Result<(), FirewallError> {
    firewall.command("nft")?.arg("-c").arg("-f").arg(folder.join(&table.file)).run()?;
    Ok(())
}

pub(super) fn apply(
    firewall: &Firewall<'_>,
    table: &NftablesKernel,
    folder: &Path,
) -> Result<(), FirewallError> {
    firewall.command("nft")?.arg("-f").arg(folder.join(&table.file)).run()?;
    Ok(())
}

pub(super) fn save(
    firewall: &Firewall<'_>,
    table: &NftablesKernel,
) -> Result<Option<Vec<u8>>, FirewallError> {
    let listed =
        firewall.command("nft")?.args(["-s", "list", "table", &table.family, &table.table]).run();
    match listed {
        Ok(output) => Ok(Some(output.stdout)),
        Err(CommandError::Failed { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// An own table is deleted (and what had its name before is loaded again); in a host's table our chains are emptied, so that
/// what jumps to them passes on to the host's rules.
pub(super) fn undo(
    firewall: &Firewall<'_>,
    table: &NftablesKernel,
    saved: Option<Vec<u8>>,
) -> Result<(), FirewallError> {
    let (family, name) = (&table.family, &table.table);
    if !table.own {
        for chain in &table.chains {
            firewall.command("nft")?.args(["flush", "chain", family, name, chain]).run()?;
        }
        return Ok(());
    }
    let mut text = format!("table {family} {name}\ndelete table {family} {name}\n").into_bytes();
    text.extend(saved.unwrap_or_default());
    firewall.command("nft")?.args(["-f", "-"]).stdin(text).run()?;
    Ok(())
}

/// The name of what was read, and the fingerprint of its rules.
pub(super) fn read_back(
    firewall: &Firewall<'_>,
    table: &NftablesKernel,
    rule_set: &RuleSet,
) -> Result<(String, Digest), FirewallError> {
    let name = format!("table {} {}", table.family, table.table);
    let listed =
        firewall.command("nft")?.args(["-j", "list", "table", &table.family, &table.table]).run();
    let output = match listed {
        Ok(output) => output,
        Err(CommandError::Failed { .. }) => {
            return Err(FirewallError::Difference(Drift::Missing(name)));
        }
        Err(error) => return Err(error.into()),
    };
    let listing: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| FirewallError::Answer { program: "nft", reason: error.to_string() })?;
    let objects =
        listing.get("nftables").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    compare(&table.sets, rule_set, &sets_of(objects)?)?;
    let fingerprint = fingerprint(objects, &table.chains, table.own);
    Ok((name, fingerprint))
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
