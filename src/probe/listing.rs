//! Listings of nft and iptables-save, as texts: their tables, and which rule has which handle.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A table of nf_tables: its family and name.
pub(super) type TableName = (String, String);

/// A table with its text, as `nft list ruleset` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableText {
    pub(super) name: TableName,
    pub(super) text: String,
}

/// Splits a listing into its tables. What lies between them (warnings) is left out, and so are
/// empty lines and what ties a table to the program that made it.
pub(super) fn tables(listing: &str) -> Vec<TableText> {
    let mut tables: Vec<TableText> = Vec::new();
    let mut open = false;
    for line in listing.lines() {
        if let Some(name) = header(line) {
            let text = format!("table {} {} {{\n", name.0, name.1);
            tables.push(TableText { name, text });
            open = true;
            continue;
        }
        if !open || line.is_empty() {
            continue;
        }
        if let Some(table) = tables.last_mut()
            && let Some(line) = without_owner(line)
        {
            table.text.push_str(&line);
            table.text.push('\n');
        }
        if line == "}" {
            open = false;
        }
    }
    tables
}

/// The family and name in the first line of a table.
fn header(line: &str) -> Option<TableName> {
    let (line, _) = line.strip_prefix("table ")?.split_once(" {")?;
    let (family, name) = line.split_once(' ')?;
    Some((family.to_owned(), name.to_owned()))
}

/// The line without the flags `owner` and `persist`; none when nothing is left of it.
fn without_owner(line: &str) -> Option<String> {
    let Some(flags) = line.strip_prefix("\tflags ") else {
        return Some(line.to_owned());
    };
    let (flags, end) = match flags.strip_suffix(';') {
        Some(flags) => (flags, ";"),
        None => (flags, ""),
    };
    let kept: Vec<&str> = flags
        .split(',')
        .map(str::trim)
        .filter(|flag| !matches!(*flag, "owner" | "persist"))
        .collect();
    (!kept.is_empty()).then(|| format!("\tflags {}{end}", kept.join(",")))
}

/// A base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) hook: String,
    pub(super) priority: String,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) chain: String,
    /// Its place in the chain, from 0.
    pub(super) place: usize,
    pub(super) text: String,
}

/// The rules of a listing that was made with handles (`nft -a`).
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    rules: HashMap<(TableName, u64), Rule>,
    bases: HashMap<(TableName, String), Base>,
}

impl Listing {
    pub(super) fn parse(text: &str) -> Self {
        let mut listing = Self::default();
        let mut table = TableName::default();
        let mut chain: Option<(String, usize)> = None;
        let mut rule = String::new();
        for line in text.lines() {
            if let Some(name) = header(line) {
                table = name;
            } else if let Some(rest) = line.strip_prefix("\tchain ") {
                let name = rest.split(" {").next().unwrap_or_default();
                chain = Some((name.to_owned(), 0));
            } else if line == "\t}" {
                chain = None;
            } else if let Some((name, count)) = &mut chain {
                let line = line.trim_start();
                if let Some(base) = base(line) {
                    listing.bases.insert((table.clone(), name.clone()), base);
                    continue;
                }
                rule.push_str(line);
                // A rule of several lines has its handle at the end of the last one.
                if let Some((text, handle)) = handled(&rule) {
                    let one = Rule { chain: name.clone(), place: *count, text: text.to_owned() };
                    listing.rules.insert((table.clone(), handle), one);
                    *count += 1;
                    rule.clear();
                } else if rule.starts_with("comment ") {
                    rule.clear();
                } else {
                    rule.push(' ');
                }
            }
        }
        listing
    }

    pub(super) fn rule(&self, table: &TableName, handle: u64) -> Option<&Rule> {
        self.rules.get(&(table.clone(), handle))
    }

    pub(super) fn base(&self, table: &TableName, chain: &str) -> Option<&Base> {
        self.bases.get(&(table.clone(), chain.to_owned()))
    }
}

/// The hook and priority of a line `type filter hook forward priority filter; policy accept;`.
fn base(line: &str) -> Option<Base> {
    let words: Vec<&str> = line.strip_prefix("type ")?.split(' ').collect();
    let hook = words.iter().position(|word| *word == "hook")?;
    let priority = line.split_once(" priority ")?.1.split(';').next()?;
    Some(Base { hook: (*words.get(hook + 1)?).to_owned(), priority: priority.to_owned() })
}

/// The text and the handle of a line.
fn handled(line: &str) -> Option<(&str, u64)> {
    let (text, handle) = line.rsplit_once(" # handle ")?;
    Some((text, handle.trim_end().parse().ok()?))
}

/// The text of a listing that was made with handles, without them.
pub(super) fn unhandled(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for line in text.lines() {
        plain.push_str(handled(line).map_or(line, |(text, _)| text));
        plain.push('\n');
    }
    plain
}

/// The tables of which `iptables-save` printed rules, with the lines of each.
pub(super) fn saved(text: &str) -> BTreeMap<String, String> {
    let mut tables = BTreeMap::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('*') {
            open = Some((name.to_owned(), String::new()));
        }
        if let Some((_, lines)) = &mut open {
            lines.push_str(line);
            lines.push('\n');
        }
        if line == "COMMIT" {
            tables.extend(open.take());
        }
    }
    tables
}

/// The same lines without the counters of chains, to be compared.
pub(super) fn uncounted(saved: &str) -> String {
    let chain = |line: &str| match line.rsplit_once(" [") {
        Some((chain, _)) if line.starts_with(':') => chain.to_owned(),
        _ => line.to_owned(),
    };
    saved.lines().map(chain).collect::<Vec<_>>().join("\n")
}

/// The rules of one chain of saved lines, in order.
pub(super) fn saved_rule<'a>(saved: &'a str, chain: &str, place: usize) -> Option<&'a str> {
    let of_chain = |line: &&str| {
        line.strip_prefix("-A ").and_then(|rest| rest.split(' ').next()) == Some(chain)
    };
    saved.lines().filter(of_chain).nth(place)
}

/// The tables with at least one rule that only iptables can express, by `nft -j -t list ruleset`.
pub(super) fn with_extensions(json: &str) -> Result<BTreeSet<TableName>, serde_json::Error> {
    let document: serde_json::Value = serde_json::from_str(json)?;
    let rules = document["nftables"].as_array().into_iter().flatten();
    let has_extension = |rule: &&serde_json::Value| {
        let mut expressions = rule["expr"].as_array().into_iter().flatten();
        expressions.any(|expression| expression.get("xt").is_some())
    };
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Ok(rules
        .filter_map(|object| object.get("rule"))
        .filter(has_extension)
        .map(|rule| (text(&rule["family"]), text(&rule["table"])))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "\
# Warning: table ip filter is managed by iptables-nft, do not touch!
table ip filter { # handle 1
\tchain FORWARD { # handle 1
\t\ttype filter hook forward priority filter + 10; policy accept;
\t\tmeta l4proto tcp counter accept # handle 2
\t\ttcp dport 80 accept comment \"x # handle 9\" # handle 3
\t}
}
table inet firewalld { # progname nft # handle 2
\tflags owner,persist

\tset s { # handle 1
\t\ttype ipv4_addr
\t\tflags interval
\t}

\tchain sub { # handle 5
\t\ttcp dport vmap { 1 : accept,
\t\t\t\t 2 : drop } # handle 6
\t}
}
";

    #[test]
    fn rules_are_found_by_handle() {
        let listing = Listing::parse(LISTING);
        let filter = ("ip".to_owned(), "filter".to_owned());
        let firewalld = ("inet".to_owned(), "firewalld".to_owned());
        let rule = listing.rule(&filter, 3).unwrap();
        assert_eq!((rule.chain.as_str(), rule.place), ("FORWARD", 1));
        assert_eq!(rule.text, "tcp dport 80 accept comment \"x # handle 9\"");
        let two_lines = &listing.rule(&firewalld, 6).unwrap().text;
        assert_eq!(two_lines, "tcp dport vmap { 1 : accept, 2 : drop }");
        let base = listing.base(&filter, "FORWARD").unwrap();
        assert_eq!((base.hook.as_str(), base.priority.as_str()), ("forward", "filter + 10"));
        assert_eq!(listing.base(&firewalld, "sub"), None);
    }

    #[test]
    fn tables_lose_their_owner_and_nothing_else() {
        let tables = tables(LISTING);
        assert_eq!(tables.len(), 2);
        assert!(!tables[0].text.contains("Warning"));
        assert!(
            tables[1].text.starts_with("table inet firewalld {\n\tset s"),
            "{}",
            tables[1].text
        );
        assert!(tables[1].text.contains("\t\tflags interval\n"));
        assert_eq!(without_owner("\tflags dormant, owner").as_deref(), Some("\tflags dormant"));
    }

    #[test]
    fn saved_tables_and_rules_are_found() {
        let text = "# Generated\n*filter\n:FORWARD DROP [1:60]\n:X - [0:0]\n-A X -j DROP\n\
                    -A FORWARD -j X\n-A FORWARD -j ACCEPT\nCOMMIT\n# Completed\n";
        let tables = saved(text);
        let filter = &tables["filter"];
        assert!(filter.starts_with("*filter\n") && filter.ends_with("COMMIT\n"));
        assert_eq!(saved_rule(filter, "FORWARD", 1), Some("-A FORWARD -j ACCEPT"));
        assert_eq!(saved_rule(filter, "FORWARD", 2), None);
        assert!(uncounted(filter).contains("\n:FORWARD DROP\n"));
    }

    #[test]
    fn tables_with_extensions_are_found() {
        let json = r#"{"nftables":[{"table":{"family":"ip","name":"nat"}},
            {"rule":{"family":"ip","table":"nat","expr":[{"xt":null}]}},
            {"rule":{"family":"inet","table":"t","expr":[{"accept":null}]}}]}"#;
        let found = with_extensions(json).unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("ip".to_owned(), "nat".to_owned())]);
    }
}
