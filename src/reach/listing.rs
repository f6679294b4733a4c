//! The ruleset of a host, as its programs list it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;
use thiserror::Error;

use super::expression;
use super::model::{Base, Chain, Dormancy, Rule, Source, Statement, Table};
use super::save::{self, SavedTable};
use crate::prefix::Family;

/// Family of the tables that hold rules of iptables-legacy; not one of nft.
pub(super) const LEGACY: [&str; 2] = ["legacy ip", "legacy ip6"];

/// The tables that iptables-nft keeps.
const XTABLES: [&str; 5] = ["raw", "mangle", "nat", "filter", "security"];

/// Why a listing cannot be read.
#[derive(Debug, Error)]
pub enum ListingError {
    /// It is not JSON.
    #[error("the listing of nft is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is not a ruleset.
    #[error("the listing of nft has no ruleset")]
    NoRuleset,
}

/// Tables, chains and rules of a host.
#[derive(Debug, Default)]
pub struct Ruleset {
    /// By family and name.
    pub(super) tables: BTreeMap<(String, String), Table>,
    /// Interfaces of the host.
    pub(super) interfaces: BTreeSet<String>,
    /// Whether the host has IPv6.
    pub(super) ipv6: bool,
    /// What is not known of rules of a family.
    pub(super) doubts: BTreeMap<Family, String>,
}

impl Ruleset {
    /// Reads the output of `nft -j -t list ruleset`.
    pub fn from_json(listing: &str) -> Result<Self, ListingError> {
        let mut document: Json = serde_json::from_str(listing)?;
        let objects = document.get_mut("nftables").map(Json::take);
        let Some(Json::Array(objects)) = objects else { return Err(ListingError::NoRuleset) };
        let mut ruleset = Self { ipv6: true, ..Self::default() };
        for object in objects {
            let Json::Object(object) = object else { continue };
            for (kind, body) in object {
                ruleset.add(&kind, body);
            }
        }
        Ok(ruleset)
    }

    /// Adds the host's interfaces, by name.
    #[must_use]
    pub fn with_interfaces(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.interfaces = names.into_iter().collect();
        self
    }

    /// Says whether the host has IPv6. Without a word it has.
    #[must_use]
    pub fn with_ipv6(mut self, ipv6: bool) -> Self {
        self.ipv6 = ipv6;
        self
    }

    /// Says what is not known of the rules of a family: then nothing of it is reached for sure.
    #[must_use]
    pub fn with_doubt(mut self, family: Family, why: &str) -> Self {
        self.doubts.entry(family).or_insert_with(|| why.to_owned());
        self
    }

    /// Whether a chain of iptables-legacy is there.
    pub fn has_legacy_chain(&self, family: Family, chain: &str) -> bool {
        let key = (LEGACY[usize::from(family == Family::V6)].to_owned(), "filter".to_owned());
        self.tables.get(&key).is_some_and(|table| table.chains.contains_key(chain))
    }

    /// The interfaces that a name stands for: `ppp*` for all that begin so.
    pub fn interfaces_like(&self, name: &str) -> Vec<&str> {
        let fits = |known: &&str| match name.strip_suffix('*') {
            Some(stem) => known.starts_with(stem),
            None => *known == name,
        };
        self.interfaces.iter().map(String::as_str).filter(fits).collect()
    }

    /// Whether rules of iptables-nft for this family are listed without their parameters.
    pub fn needs_save(&self, family: Family) -> bool {
        let key = nft_family(family);
        let has_xt = |rule: &Rule| match &rule.source {
            Source::Json(parts) => parts.iter().any(|part| part.get("xt").is_some()),
            Source::Line(_) => false,
        };
        self.tables.iter().any(|((table_family, _), table)| {
            table_family == key && table.chains.values().flat_map(|chain| &chain.rules).any(has_xt)
        })
    }

    /// Whether the flags of a table are not readable in the JSON, as nft 1.0.6 writes them.
    pub fn needs_text(&self) -> bool {
        self.tables.values().any(|table| table.dormancy == Dormancy::Unclear)
    }

    /// Takes the flags of tables from the output of `nft -t list ruleset`.
    #[must_use]
    pub fn with_text(mut self, text: &str) -> Self {
        let mut current = None;
        let mut dormant = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("table ") {
                let mut words = rest.split_whitespace();
                current = words
                    .next()
                    .zip(words.next())
                    .map(|(family, name)| (family.to_owned(), name.to_owned()));
                seen.extend(current.clone());
            } else if let Some(flags) = line.strip_prefix("\tflags ")
                && flags.split(',').any(|flag| flag.trim() == "dormant")
            {
                dormant.extend(current.clone());
            }
        }
        for (key, table) in &mut self.tables {
            if seen.contains(key) {
                table.dormancy =
                    if dormant.contains(key) { Dormancy::Dormant } else { Dormancy::Active };
            }
        }
        self
    }

    /// Completes rules of iptables-nft by the output of `iptables-save` or `ip6tables-save`.
    ///
    /// Where the numbers of rules of a table differ, as after a change between the two listings,
    /// its rules stay as they are.
    #[must_use]
    pub fn with_save(mut self, family: Family, text: &str) -> Self {
        for saved in save::tables(text) {
            let key = (nft_family(family).to_owned(), saved.name.clone());
            if let Some(table) = self.tables.get_mut(&key)
                && XTABLES.contains(&saved.name.as_str())
            {
                complete(table, saved);
            }
        }
        self
    }

    /// Adds the tables of iptables-nft where there is no listing of nft.
    #[must_use]
    pub fn with_tables_of_save(mut self, family: Family, text: &str) -> Self {
        for saved in save::tables(text) {
            let key = (nft_family(family).to_owned(), saved.name.clone());
            self.tables.insert(key, saved.into_table());
        }
        self
    }

    /// Adds the rules of iptables-legacy, which nft does not list: the output of
    /// `iptables-legacy-save` or `ip6tables-legacy-save`.
    #[must_use]
    pub fn with_legacy(mut self, family: Family, text: &str) -> Self {
        let key = LEGACY[usize::from(family == Family::V6)];
        for saved in save::tables(text) {
            let name = saved.name.clone();
            self.tables.insert((key.to_owned(), name), saved.into_table());
        }
        self
    }

    fn add(&mut self, kind: &str, mut body: Json) {
        let text = |body: &Json, key: &str| body.get(key).and_then(Json::as_str).map(str::to_owned);
        let Some(family) = text(&body, "family") else { return };
        if kind == "table" {
            let Some(name) = text(&body, "name") else { return };
            self.tables.entry((family, name)).or_default().dormancy = dormancy(body.get("flags"));
            return;
        }
        let Some(table) = text(&body, "table") else { return };
        let table = self.tables.entry((family, table)).or_default();
        match kind {
            "chain" => {
                let Some(name) = text(&body, "name") else { return };
                table.chains.entry(name).or_default().base = base(&body);
            }
            "set" | "map" | "meter" => {
                let Some(name) = text(&body, "name") else { return };
                if is_moving(&body) {
                    table.moving.insert(name);
                }
            }
            "rule" => {
                let Some(chain) = text(&body, "chain") else { return };
                let statements = body.get_mut("expr").map(Json::take);
                let rule = match statements {
                    Some(Json::Array(parts)) => Rule {
                        statements: parts.iter().map(expression::statement).collect(),
                        source: Source::Json(parts),
                    },
                    _ => Rule {
                        statements: vec![Statement::Opaque("a rule without text".to_owned())],
                        source: Source::Line(String::new()),
                    },
                };
                table.chains.entry(chain).or_default().rules.push(rule);
            }
            _ => {}
        }
    }
}

/// The family of nft's tables for one address family.
pub(super) fn nft_family(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// Replaces rules that the JSON shows without parameters.
fn complete(table: &mut Table, saved: SavedTable) {
    let mut saved = saved.into_table();
    let count = |chain: Option<&Chain>| chain.map_or(0, |chain| chain.rules.len());
    let names: BTreeSet<&String> = table.chains.keys().chain(saved.chains.keys()).collect();
    if names.iter().any(|name| count(table.chains.get(*name)) != count(saved.chains.get(*name))) {
        return;
    }
    for (name, chain) in &mut table.chains {
        let Some(lines) = saved.chains.get_mut(name) else { continue };
        for (rule, line) in chain.rules.iter_mut().zip(lines.rules.drain(..)) {
            let lacks = match &rule.source {
                Source::Json(parts) => parts.iter().any(|part| part.get("xt").is_some()),
                Source::Line(_) => false,
            };
            if lacks {
                rule.statements = line.statements;
            }
            rule.source = line.source;
        }
    }
}

fn dormancy(flags: Option<&Json>) -> Dormancy {
    let words: Vec<&str> = match flags {
        None | Some(Json::Null) => return Dormancy::Active,
        Some(Json::String(word)) => vec![word],
        Some(Json::Array(list)) => list.iter().filter_map(Json::as_str).collect(),
        Some(_) => return Dormancy::Unclear,
    };
    if words.contains(&"dormant") {
        Dormancy::Dormant
    } else if words.iter().all(|word| ["owner", "persist"].contains(word)) {
        Dormancy::Active
    } else {
        Dormancy::Unclear
    }
}

fn base(body: &Json) -> Option<Base> {
    let text = |key: &str| body.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let hook = body.get("hook").and_then(Json::as_str)?.to_owned();
    let devices = match body.get("dev") {
        Some(Json::String(name)) => vec![name.clone()],
        Some(Json::Array(list)) => {
            list.iter().filter_map(Json::as_str).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    };
    Some(Base {
        hook,
        kind: text("type"),
        priority: body.get("prio").and_then(Json::as_i64),
        drops: text("policy") == "drop",
        devices,
    })
}

/// Whether the traffic or the time changes a set.
fn is_moving(body: &Json) -> bool {
    let flags = match body.get("flags") {
        None => Vec::new(),
        Some(Json::String(word)) => vec![word.as_str()],
        Some(Json::Array(list)) => list.iter().filter_map(Json::as_str).collect(),
        Some(_) => return true,
    };
    body.get("timeout").is_some()
        || body.get("gc-interval").is_some()
        || flags.iter().any(|flag| !["constant", "interval"].contains(flag))
}
