//! The transactions by which an artifact takes the place of what the kernel has, without a packet lost.
//!
//! Elements of a set that is made in the same transaction as the rules that use it are found only when the transaction ends, up
//! to milliseconds after the rules are active: packets that are allowed before and after are refused meanwhile. So new sets are
//! filled in a transaction of their own, which no packet notices, and a second one replaces the rules. A set that changes
//! together with rules is made under another name, and again under its own. A table is never deleted and made again.
//!
//! Everything is derived from two texts, the artifact and the listing of the kernel, whatever template wrote the artifact.

use std::collections::BTreeSet;

use super::script::{Chain, Script, Set, Table, normal};
use crate::render::Kernel;

/// The transactions, in order, and what the first of them makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::publish) struct Plan {
    /// Texts for `nft -f -`.
    pub(in crate::publish) steps: Vec<String>,
    /// What is made before the rules that use it: removed again when these are refused.
    pub(in crate::publish) staged: Vec<Staged>,
}

/// Something that a plan makes before rules use it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::publish) struct Staged {
    /// Family of the table; `ipset` for a set of ipset.
    pub(in crate::publish) family: String,
    /// The table; empty for a set of ipset.
    pub(in crate::publish) table: String,
    /// The set or map, as `delete` takes it: `set NAME`; the table itself where this is empty.
    pub(in crate::publish) object: String,
}

/// The family of sets of ipset.
const IPSET: &str = "ipset";

impl Staged {
    /// A set of ipset.
    pub(in crate::publish) fn ipset(set: &str) -> Self {
        Self { family: IPSET.to_owned(), table: String::new(), object: format!("set {set}") }
    }

    /// The name, if it is a set of ipset.
    pub(in crate::publish) fn as_ipset(&self) -> Option<&str> {
        self.object.strip_prefix("set ").filter(|_| self.family == IPSET)
    }

    /// Whether a target has it in the kernel.
    pub(in crate::publish) fn is_part_of(&self, kernel: &Kernel) -> bool {
        let table = match kernel {
            Kernel::Nftables(table) => table,
            Kernel::Iptables(rules) => {
                return rules.sets.iter().any(|set| self.as_ipset() == Some(&set.name));
            }
        };
        let name = self.object.split_once(' ').map_or("", |(_, name)| name);
        (&table.family, &table.table) == (&self.family, &self.table)
            && (name.is_empty() || table.sets.iter().any(|set| set.name == name))
    }

    /// The statement that removes it.
    fn removal(&self) -> String {
        let Self { family, table, object } = self;
        match object.split_once(' ') {
            Some((keyword, name)) => format!("delete {keyword} {family} {table} {name}\n"),
            None => format!("delete table {family} {table}\n"),
        }
    }
}

/// The text that removes what was staged, each in a transaction of its own so that one that is gone already stops no other.
pub(in crate::publish) fn removals(staged: &[Staged]) -> impl Iterator<Item = String> {
    staged.iter().map(Staged::removal)
}

/// What of a table is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::publish) enum Extent<'e> {
    /// All of it: what the artifact does not have is removed.
    Table,
    /// These chains, and the sets that the artifact names.
    Chains(&'e [String]),
}

impl Plan {
    /// The plan from what the kernel has of a table, if there is one, to the table of an artifact. Sets named `unchanged` have
    /// their elements already.
    pub(in crate::publish) fn new(
        artifact: &Script,
        wanted: &Table,
        live: Option<&Table>,
        extent: Extent<'_>,
        unchanged: &BTreeSet<String>,
    ) -> Self {
        let none = Table::default();
        let present = live.unwrap_or(&none);
        let changed: BTreeSet<&str> = wanted
            .sets
            .iter()
            .filter(|set| {
                present
                    .set(&set.name)
                    .is_some_and(|had| !had.is_declared_like(set) || !unchanged.contains(&set.name))
            })
            .map(|set| set.name.as_str())
            .collect();
        let mut plan = Self { steps: Vec::new(), staged: Vec::new() };
        if changed.is_empty() {
            plan.two(artifact, wanted, live, extent);
            return plan;
        }
        // New rules and new elements are not active at the same moment, so rules never meet a set that changes: they go over to
        // sets of other names, and back.
        let suffix = unused_suffix(&changed, present);
        let renamed = renamed(wanted, &changed, &suffix);
        plan.two(artifact, &renamed, live, extent);
        // An embedded table keeps what its artifact does not name, so sets are removed by name.
        let embedded = matches!(extent, Extent::Chains(_));
        let remove = |plan: &mut Self, sets: Vec<&Set>| {
            if let Some(last) = plan.steps.last_mut().filter(|_| embedded) {
                for set in sets {
                    last.push_str(&delete(wanted, &set.keyword, &set.name));
                }
            }
        };
        let is_changed = |set: &&Set| changed.contains(set.name.as_str());
        remove(&mut plan, present.sets.iter().filter(is_changed).collect());
        let mut between = renamed.clone();
        if embedded {
            let others = present.sets.iter().filter(|set| !is_changed(set));
            between.sets.extend(others.filter(|set| renamed.set(&set.name).is_none()).cloned());
        }
        plan.two(artifact, wanted, Some(&between), extent);
        let passing = renamed.sets.iter().filter(|set| wanted.set(&set.name).is_none());
        remove(&mut plan, passing.collect());
        plan
    }

    /// One text with the transactions up to the one that activates the rules: what `nft -c` is asked about.
    pub(in crate::publish) fn checked(&self) -> String {
        self.steps.iter().take(2).map(String::as_str).collect()
    }

    /// Adds a transaction with the new sets, if there are any, and one with everything else.
    fn two(&mut self, artifact: &Script, wanted: &Table, live: Option<&Table>, extent: Extent<'_>) {
        let (family, name) = (&wanted.family, &wanted.name);
        let none = Table::default();
        let present = live.unwrap_or(&none);
        let head = head(&artifact.defines);

        let new: Vec<&Set> =
            wanted.sets.iter().filter(|set| present.set(&set.name).is_none()).collect();
        if !new.is_empty() || live.is_none() {
            let mut text = format!("{head}table {family} {name} {{\n");
            for property in &wanted.properties {
                text.push_str(&format!("\t{property}\n"));
            }
            for set in &new {
                text.push_str(&block(set));
            }
            text.push_str("}\n");
            self.steps.push(text);
            let staged =
                |object: String| Staged { family: family.clone(), table: name.clone(), object };
            if live.is_none() {
                self.staged.push(staged(String::new()));
            } else {
                let objects = new.iter().map(|set| format!("{} {}", set.keyword, set.name));
                self.staged.extend(objects.map(staged));
            }
        }

        let mut text = head;
        let ours = |chain: &&Chain| match extent {
            Extent::Table => true,
            Extent::Chains(chains) => chains.contains(&chain.name),
        };
        for chain in present.chains.iter().filter(ours) {
            text.push_str(&format!("flush chain {family} {name} {}\n", chain.name));
        }
        // A base chain cannot move: it is removed and made again, which loses nothing inside one transaction.
        for chain in present.chains.iter().filter(ours) {
            let moved = |to: &Chain| to.hooked() != chain.hooked();
            if chain.hook.is_some() && wanted.chain(&chain.name).is_some_and(moved) {
                text.push_str(&delete(wanted, "chain", &chain.name));
            }
        }
        text.push_str(&format!("table {family} {name} {{\n"));
        // nft 0.9.8 does not know a set of the kernel that the text does not declare.
        for set in &wanted.sets {
            text.push_str(&block(&Set { elements: Vec::new(), ..set.clone() }));
        }
        for chain in &wanted.chains {
            text.push_str(&format!("\tchain {} {{\n", chain.name));
            for line in chain.hook.iter().chain(&chain.properties) {
                text.push_str(&format!("\t\t{line}\n"));
            }
            for rule in &chain.rules {
                text.push_str(&format!("\t\t{}\n", rule.text));
            }
            text.push_str("\t}\n");
        }
        text.push_str("}\n");
        if extent == Extent::Table {
            for chain in present.chains.iter().filter(|chain| wanted.chain(&chain.name).is_none()) {
                text.push_str(&delete(wanted, "chain", &chain.name));
            }
            for set in present.sets.iter().filter(|set| wanted.set(&set.name).is_none()) {
                text.push_str(&delete(wanted, &set.keyword, &set.name));
            }
            for object in &present.others {
                if let Some((keyword, object)) = object.rsplit_once(' ') {
                    text.push_str(&delete(wanted, keyword, object));
                }
            }
        }
        self.steps.push(text);
    }
}

/// A transaction that refills sets that stay, and changes nothing else. The form with a block is what makes it cheap: nft
/// reads every set of the host before it understands `add element`.
pub(in crate::publish) fn refill(defines: &[String], table: &Table, sets: &[String]) -> String {
    let (family, name) = (&table.family, &table.name);
    let mut text = head(defines);
    for set in sets {
        text.push_str(&format!("flush set {family} {name} {set}\n"));
    }
    let filled = |set: &&Set| sets.contains(&set.name) && !set.elements.is_empty();
    let blocks: String = table.sets.iter().filter(filled).map(block).collect();
    if !blocks.is_empty() {
        text.push_str(&format!("table {family} {name} {{\n{blocks}}}\n"));
    }
    text
}

/// The beginning of each text: so that it can be run, and with the definitions that statements use.
fn head(defines: &[String]) -> String {
    let mut text = String::from("#!/usr/sbin/nft -f\n");
    for line in defines {
        text.push_str(&format!("{line}\n"));
    }
    text
}

/// Whether two tables differ in nothing but the content of sets.
pub(in crate::publish) fn same_rules(old: &Table, new: &Table) -> bool {
    let chains = |table: &Table| -> Vec<_> {
        table
            .chains
            .iter()
            .map(|chain| {
                let properties: Vec<String> =
                    chain.properties.iter().map(|line| normal(line)).collect();
                let rules: Vec<String> =
                    chain.rules.iter().map(|rule| normal(&rule.text)).collect();
                (chain.name.clone(), chain.hooked(), properties, rules)
            })
            .collect()
    };
    let sets = |table: &Table| -> Vec<(String, String, Vec<String>)> {
        let mut sets: Vec<_> = table
            .sets
            .iter()
            .map(|set| (set.keyword.clone(), set.name.clone(), set.declared()))
            .collect();
        sets.sort();
        sets
    };
    (&old.family, &old.name, &old.others) == (&new.family, &new.name, &new.others)
        && old.properties == new.properties
        && chains(old) == chains(new)
        && sets(old) == sets(new)
}

/// A set as a block inside its table.
fn block(set: &Set) -> String {
    let mut text = format!("\t{} {} {{\n", set.keyword, set.name);
    for line in &set.declaration {
        text.push_str(&format!("\t\t{line}\n"));
    }
    if !set.elements.is_empty() {
        let elements = set.elements.join(",\n");
        text.push_str(&format!("\t\telements = {{\n{elements}\n\t\t}}\n"));
    }
    text.push_str("\t}\n");
    text
}

fn delete(table: &Table, keyword: &str, name: &str) -> String {
    format!("delete {keyword} {} {} {name}\n", table.family, table.name)
}

/// The end of the names that sets have while the sets of their own names are made again: one that nothing has.
fn unused_suffix(sets: &BTreeSet<&str>, present: &Table) -> String {
    let used =
        |suffix: &str| sets.iter().any(|set| present.set(&format!("{set}{suffix}")).is_some());
    let numbered = (2_u32..).map(|number| format!(".new{number}"));
    let mut suffixes = std::iter::once(".new".to_owned()).chain(numbered);
    suffixes.find(|suffix| !used(suffix)).unwrap_or_default()
}

/// The table with some sets under other names, in the rules too.
fn renamed(table: &Table, sets: &BTreeSet<&str>, suffix: &str) -> Table {
    let mut table = table.clone();
    for set in table.sets.iter_mut().filter(|set| sets.contains(set.name.as_str())) {
        set.name.push_str(suffix);
    }
    for rule in table.chains.iter_mut().flat_map(|chain| &mut chain.rules) {
        rule.text = with_other_sets(&rule.text, sets, suffix);
    }
    table
}

/// A rule that names other sets.
fn with_other_sets(rule: &str, sets: &BTreeSet<&str>, suffix: &str) -> String {
    let mut text = String::with_capacity(rule.len());
    let mut quoted = false;
    let mut rest = rule;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        quoted ^= c == '"';
        text.push(c);
        rest = after;
        if c == '@' && !quoted {
            let part_of_name = |c: char| c.is_ascii_alphanumeric() || "_-./\\".contains(c);
            let end = after.find(|c: char| !part_of_name(c)).unwrap_or(after.len());
            text.push_str(&after[..end]);
            if sets.contains(&after[..end]) {
                text.push_str(suffix);
            }
            rest = &after[end..];
        }
    }
    text
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
