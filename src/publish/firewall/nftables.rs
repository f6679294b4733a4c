//! nftables: checked by `nft -c`, loaded by `nft -f`, read back by `nft list`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use serde_json::Value;

use super::{Drift, Firewall, FirewallError, Update};
use crate::os::command::CommandError;
use crate::prefix::PrefixSet;
use crate::render::NftablesKernel;

pub(super) fn verify(
    firewall: &Firewall<'_>,
    table: &NftablesKernel,
    folder: &Path,
) -> Result<(), FirewallError> {
    firewall.command("nft")?.arg("-c").arg("-f").arg(folder.join(&table.file)).run()?;
    Ok(())
}

pub(super) fn verify_update(firewall: &Firewall<'_>, update: &Update) -> Result<(), FirewallError> {
    firewall.command("nft")?.args(["-c", "-f", "-"]).stdin(update.text.clone()).run()?;
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

pub(super) fn apply_update(firewall: &Firewall<'_>, update: &Update) -> Result<(), FirewallError> {
    firewall.command("nft")?.args(["-f", "-"]).stdin(update.text.clone()).run()?;
    Ok(())
}

pub(super) fn save(
    firewall: &Firewall<'_>,
    table: &NftablesKernel,
) -> Result<Option<Vec<u8>>, FirewallError> {
    listing(firewall, &["-s", "list", "table", &table.family, &table.table])
}

/// What a listing prints; none when there is no such table or chain.
fn listing(firewall: &Firewall<'_>, args: &[&str]) -> Result<Option<Vec<u8>>, FirewallError> {
    match firewall.command("nft")?.args(args.iter().copied()).run() {
        Ok(output) => Ok(Some(output.stdout)),
        Err(CommandError::Failed { stderr, .. }) if is_missing(&stderr) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether nft says that there is no such object, as opposed to having failed.
fn is_missing(stderr: &[u8]) -> bool {
    String::from_utf8_lossy(stderr).contains("No such file or directory")
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

/// Our rules as nft prints them: without counters, and without the elements of sets.
pub(super) fn rules(
    firewall: &Firewall<'_>,
    table: &NftablesKernel,
) -> Result<String, FirewallError> {
    let (family, name) = (table.family.as_str(), table.table.as_str());
    let missing = |what: String| FirewallError::Difference(Drift::Missing(what));
    if table.own {
        let text = listing(firewall, &["-s", "-t", "list", "table", family, name])?
            .ok_or_else(|| missing(format!("table {family} {name}")))?;
        return Ok(String::from_utf8_lossy(&text).into_owned());
    }
    let mut rules = String::new();
    for chain in &table.chains {
        let text = listing(firewall, &["-s", "list", "chain", family, name, chain])?
            .ok_or_else(|| missing(format!("chain {chain} of table {family} {name}")))?;
        rules.push_str(&String::from_utf8_lossy(&text));
    }
    Ok(rules)
}

/// The sets with their content: all of the table, or those named.
pub(super) fn sets(
    firewall: &Firewall<'_>,
    table: &NftablesKernel,
    only: Option<&[String]>,
) -> Result<BTreeMap<String, PrefixSet>, FirewallError> {
    let (family, name) = (&table.family, &table.table);
    // nft finds no set any more when it is asked for two at once.
    let command = match only {
        Some([set]) => format!("list set {family} {name} {set}"),
        _ => format!("list table {family} {name}"),
    };
    let Some(text) = listing(firewall, &["-j", &command])? else { return Ok(BTreeMap::new()) };
    let document: Value = serde_json::from_slice(&text)
        .map_err(|error| FirewallError::Answer { program: "nft", reason: error.to_string() })?;
    let objects = document.get("nftables").and_then(Value::as_array);
    let mut sets = sets_of(objects.map(Vec::as_slice).unwrap_or_default())?;
    if let Some(only) = only {
        sets.retain(|set, _| only.contains(set));
    }
    Ok(sets)
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
}
