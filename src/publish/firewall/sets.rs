//! ipset sets created without rules, for saved rules of the host that name them:
//! `tagwall restore --sets-only`.
//!
//! Saved rules whose sets are absent are not loaded at all, and the host would come up without any.
//! So the sets of the active generation are created before the host's own rules are loaded, with
//! their content. A set that exists is left alone: it may be in use, and the rules that follow
//! bring it up to date.

use std::path::Path;
use std::time::Duration;

use super::ipset::{Set, names, outcome};
use super::{Firewall, FirewallError, command};
use crate::os::files;
use crate::render::IptablesKernel;

/// Largest sets file, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// The sets of a target after [`create`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::publish) struct CreatedSets {
    /// Sets that were absent, and are there now.
    pub(in crate::publish) created: usize,
    /// Sets that were there already, as they are needed.
    pub(in crate::publish) present: usize,
    /// Sets that are there with another type or family: rules that match on them may be refused.
    pub(in crate::publish) unlike: Vec<String>,
}

/// Creates those sets of a target that are absent, filled.
pub(in crate::publish) fn create(
    firewall: &Firewall<'_>,
    rules: &IptablesKernel,
    folder: &Path,
) -> Result<CreatedSets, FirewallError> {
    let Some(file) = &rules.sets_file else { return Ok(CreatedSets::default()) };
    let bytes = files::read_bounded(&folder.join(file), MAX_BYTES)?;
    let text = String::from_utf8_lossy(&bytes);
    let sets = outcome(&text)
        .map_err(|reason| FirewallError::Answer { program: "the sets file", reason })?;
    let present = names(firewall)?;
    let mut created = CreatedSets::default();
    let mut absent = String::new();
    for (name, set) in &sets {
        if !present.contains(*name) {
            created.created += 1;
            absent.push_str(&set.restore_text(name));
            continue;
        }
        match unlike(name, set, firewall.time_limit)? {
            Some(unlike) => created.unlike.push(unlike),
            None => created.present += 1,
        }
    }
    if !absent.is_empty() {
        command("ipset", firewall.time_limit)?
            .args(["restore", "-exist"])
            .stdin(absent.into_bytes())
            .run()?;
    }
    Ok(created)
}

/// How a set that exists differs in type or family; none where it does not.
fn unlike(name: &str, set: &Set<'_>, limit: Duration) -> Result<Option<String>, FirewallError> {
    let listed = command("ipset", limit)?.args(["list", "-t", name]).run()?;
    let listed = String::from_utf8_lossy(&listed.stdout);
    let value = |key: &str| listed.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let has = value("Type:").unwrap_or_default();
    let header: Vec<&str> = value("Header:").unwrap_or_default().split_whitespace().collect();
    let found = Set { parameters: [vec![has], header].concat(), ..Set::default() };
    let ((has, has_family), (needs, needs_family)) = (found.kind(), set.kind());
    Ok(((has, has_family) != (needs, needs_family)).then(|| {
        format!("set {name} is {has} family {has_family}, not {needs} family {needs_family}")
    }))
}
