//! ipset sets created without rules, for saved rules of the host that name them:
//! `tagwall restore --sets-only`.
//!
//! Saved rules whose sets are absent are not loaded at all, and the host would come up without any.
//! So the sets of the active generation are created before the host's own rules are loaded, with
//! their content. A set that exists is left alone: it may be in use, and the rules that follow
//! bring it up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::iptables::set_names;
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

/// A set as a sets file leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Set<'t> {
    /// The type and its parameters, word by word.
    parameters: Vec<&'t str>,
    /// The elements, each with its options.
    elements: BTreeSet<String>,
}

impl Set<'_> {
    /// The type and the family, as a listing shows them.
    fn kind(&self) -> (&str, &str) {
        let family = self.parameters.iter().position(|word| *word == "family");
        let family = family.and_then(|at| self.parameters.get(at + 1));
        (self.parameters.first().copied().unwrap_or_default(), family.copied().unwrap_or("inet"))
    }
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
    let present = set_names(firewall)?;
    let mut created = CreatedSets::default();
    let mut absent = String::new();
    for (name, set) in &sets {
        if !present.contains(*name) {
            created.created += 1;
            absent.push_str(&restore_text(name, set));
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

/// The text that creates and fills a set.
fn restore_text(name: &str, set: &Set<'_>) -> String {
    let mut text = format!("create {name} {}\n", set.parameters.join(" "));
    for element in &set.elements {
        text.push_str(&format!("add {name} {element}\n"));
    }
    text
}

/// The sets that exist at the end of a sets file, whatever template wrote it: the file is followed
/// line by line.
fn outcome(text: &str) -> Result<BTreeMap<&str, Set<'_>>, String> {
    let mut sets: BTreeMap<&str, Set<'_>> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let words = line.split_whitespace().filter(|word| !matches!(*word, "-exist" | "-!"));
        let words: Vec<&str> = words.collect();
        let known = match words.as_slice() {
            [] | ["COMMIT"] => Some(()),
            [comment, ..] if comment.starts_with('#') => Some(()),
            ["create" | "-N", name, parameters @ ..] if !parameters.is_empty() => {
                let set = || Set { parameters: parameters.to_vec(), ..Set::default() };
                sets.entry(name).or_insert_with(set);
                Some(())
            }
            ["add" | "-A", name, element @ ..] => {
                sets.get_mut(name).map(|set| _ = set.elements.insert(element.join(" ")))
            }
            ["del" | "-D", name, element @ ..] => {
                sets.get_mut(name).map(|set| _ = set.elements.remove(&element.join(" ")))
            }
            ["flush" | "-F", name] => sets.get_mut(name).map(|set| set.elements.clear()),
            ["destroy" | "-X", name] => sets.remove(name).map(drop),
            ["swap" | "-W", one, other] => {
                let both = (sets.remove(one), sets.remove(other));
                if let (Some(of_one), Some(of_other)) = both {
                    sets.insert(one, of_other);
                    sets.insert(other, of_one);
                    Some(())
                } else {
                    None
                }
            }
            ["rename" | "-E", from, to] => sets.remove(from).map(|set| _ = sets.insert(to, set)),
            _ => None,
        };
        known.ok_or_else(|| format!("line {} is not understood: {line:?}", number + 1))?;
    }
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_file_leaves_what_was_swapped_in() {
        let text = "# a comment\n\ncreate a hash:net family inet6 maxelem 10 -exist\n\
            create a.new hash:net family inet6 maxelem 10 -exist\nflush a.new\n\
            add a.new 2001:db8::/32\n\
            add a.new 2001:db9::/32\ndel a.new 2001:db9::/32\nswap a.new a\ndestroy a.new\n\
            create b hash:ip timeout 5\nadd b 192.0.2.1 timeout 7\nrename b c\n";
        let sets = outcome(text).unwrap();
        assert_eq!(sets.keys().copied().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(
            restore_text("a", &sets["a"]),
            "create a hash:net family inet6 maxelem 10\nadd a 2001:db8::/32\n"
        );
        assert_eq!(
            restore_text("c", &sets["c"]),
            "create c hash:ip timeout 5\nadd c 192.0.2.1 timeout 7\n"
        );
        assert_eq!(
            (sets["a"].kind(), sets["c"].kind()),
            (("hash:net", "inet6"), ("hash:ip", "inet"))
        );
    }

    #[test]
    fn sets_file_with_unknown_line_is_refused() {
        for text in ["add a 192.0.2.1\n", "create a\n", "swap a b\n", "quit\n", "flush a\n"] {
            let error = outcome(text).unwrap_err();
            assert!(error.starts_with("line 1 is not understood"), "{text}: {error}");
        }
    }
}
