//! Which chains lead to which, whatever a packet is like.

use std::collections::BTreeSet;

use super::model::{Entries, Statement, Table, Verdict};

/// Chains of one table from which others can be entered.
#[derive(Debug, Default)]
pub(super) struct Paths {
    /// By rules whose targets are known, the chains themselves among them.
    pub(super) certain: BTreeSet<String>,
    /// By maps whose elements are not known, too.
    pub(super) possible: BTreeSet<String>,
}

/// The chains of a table from which one of these can be entered.
pub(super) fn paths_to(table: &Table, chains: &BTreeSet<String>) -> Paths {
    Paths { certain: closure(table, chains, false), possible: closure(table, chains, true) }
}

/// Goes backwards over edges until no chain is added. With `maps`, a named map leads anywhere.
fn closure(table: &Table, chains: &BTreeSet<String>, maps: bool) -> BTreeSet<String> {
    let mut found = chains.clone();
    loop {
        let before = found.len();
        for (name, chain) in &table.chains {
            let mut statements = chain.rules.iter().flat_map(|rule| &rule.statements);
            if statements.any(|statement| leads(statement, &found, maps)) {
                found.insert(name.clone());
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// Whether a statement may lead to one of these chains.
fn leads(statement: &Statement, chains: &BTreeSet<String>, maps: bool) -> bool {
    let towards =
        |verdict: &Verdict| verdict.target().is_some_and(|target| chains.contains(target));
    match statement {
        Statement::Verdict(verdict) => towards(verdict),
        Statement::Map(_, Entries::Inline(entries)) => {
            entries.iter().any(|(_, verdict)| verdict.as_ref().is_some_and(towards))
        }
        Statement::Map(_, Entries::Named(_)) => maps,
        _ => false,
    }
}
