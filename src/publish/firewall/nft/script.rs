//! Text of nft taken apart: artifacts, and what `nft list ruleset` prints, which is the same language.
//!
//! Only the structure is read: tables with their sets, chains and rules. A statement stays the text that it was. What has
//! another structure is an error with its line, so that nobody works on half of a text.

use thiserror::Error;

use crate::prefix::PrefixSet;
use crate::prefix::parse::parse_net_or_address;

/// A text whose structure is not known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: `{text}` is not understood")]
pub(in crate::publish) struct ScriptError {
    /// The line, from 1.
    pub(in crate::publish) line: usize,
    /// The beginning of the statement.
    pub(in crate::publish) text: String,
}

/// The tables of a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::publish) struct Script {
    /// `define` statements, which every part of the text may use.
    pub(in crate::publish) defines: Vec<String>,
    /// The tables, in the order in which they first appear.
    pub(in crate::publish) tables: Vec<Table>,
}

/// A table: everything that is declared in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::publish) struct Table {
    /// Its family: `inet`, `ip`, `ip6`, …
    pub(in crate::publish) family: String,
    /// Its name.
    pub(in crate::publish) name: String,
    /// The kernel's number for it; none in an artifact.
    pub(in crate::publish) handle: Option<u64>,
    /// Statements of the table itself: its comment and flags.
    pub(in crate::publish) properties: Vec<String>,
    /// Its sets and maps.
    pub(in crate::publish) sets: Vec<Set>,
    /// Its chains.
    pub(in crate::publish) chains: Vec<Chain>,
    /// Whatever else it has (counters, quotas, flowtables): what `delete` takes, without the table.
    pub(in crate::publish) others: Vec<String>,
}

/// A set or map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::publish) struct Set {
    /// `set` or `map`.
    pub(in crate::publish) keyword: String,
    /// Its name.
    pub(in crate::publish) name: String,
    /// The kernel's number for it.
    pub(in crate::publish) handle: Option<u64>,
    /// Its declaration, a statement each, without elements.
    pub(in crate::publish) declaration: Vec<String>,
    /// Its elements as they stand between the braces; empty texts are left out.
    pub(in crate::publish) elements: Vec<String>,
}

/// A chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::publish) struct Chain {
    /// Its name.
    pub(in crate::publish) name: String,
    /// The kernel's number for it.
    pub(in crate::publish) handle: Option<u64>,
    /// The statement that makes it a base chain: `type filter hook forward priority 0`.
    pub(in crate::publish) hook: Option<String>,
    /// Its policy, comment and the like.
    pub(in crate::publish) properties: Vec<String>,
    /// Its rules.
    pub(in crate::publish) rules: Vec<Rule>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::publish) struct Rule {
    /// The kernel's number for it.
    pub(in crate::publish) handle: Option<u64>,
    /// Its text.
    pub(in crate::publish) text: String,
}

impl Script {
    /// Takes an artifact apart.
    pub(in crate::publish) fn parse(text: &str) -> Result<Self, ScriptError> {
        let mut script = Self::default();
        for statement in statements(text, 1) {
            script.read(&statement)?;
        }
        Ok(script)
    }

    /// Takes a listing of nft apart. What is not known is passed over: it belongs to others, or to a later version of nft.
    pub(in crate::publish) fn listing(text: &str) -> Self {
        let mut script = Self::default();
        for statement in statements(text, 1) {
            let _ = script.read(&statement);
        }
        script
    }

    fn read(&mut self, statement: &Statement<'_>) -> Result<(), ScriptError> {
        let words: Vec<&str> = statement.head.split_whitespace().collect();
        match (words.as_slice(), statement.body) {
            (["table", place @ ..] | ["add" | "create", "table", place @ ..], body)
                if matches!(place.len(), 1 | 2) =>
            {
                let (family, name) = place_of(place);
                self.table(family, name).read(body.as_ref(), statement.line)?;
            }
            (["define", ..], _) => self.defines.push(statement.text.to_owned()),
            // What an artifact clears, so that it can be loaded over itself, is cleared by whoever loads it in parts.
            (["delete" | "destroy" | "flush", "table", place @ ..], None)
                if matches!(place.len(), 1 | 2) => {}
            (["flush", "chain" | "set" | "map", place @ ..], None)
                if matches!(place.len(), 2 | 3) => {}
            (["add", "element", place @ ..] | ["element", place @ ..], Some(body)) => {
                let (family, name, set) = match place {
                    [family, name, set] => (*family, *name, *set),
                    [name, set] => ("ip", *name, *set),
                    _ => return Err(statement.unknown()),
                };
                let table = self.table(family, name);
                let Some(set) = table.sets.iter_mut().find(|known| known.name == set) else {
                    return Err(statement.unknown());
                };
                set.add(body.text);
            }
            _ => return Err(statement.unknown()),
        }
        Ok(())
    }

    /// A table, where there is one.
    pub(in crate::publish) fn find(&self, family: &str, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.family == family && table.name == name)
    }

    fn table(&mut self, family: &str, name: &str) -> &mut Table {
        let known =
            self.tables.iter().position(|table| table.family == family && table.name == name);
        let index = known.unwrap_or_else(|| {
            let (family, name) = (family.to_owned(), name.to_owned());
            self.tables.push(Table { family, name, ..Table::default() });
            self.tables.len() - 1
        });
        &mut self.tables[index]
    }
}

fn place_of<'t>(words: &[&'t str]) -> (&'t str, &'t str) {
    match words {
        [family, name] => (family, name),
        [name] => ("ip", name),
        _ => ("", ""),
    }
}

impl Table {
    /// A set or map, where there is one.
    pub(in crate::publish) fn set(&self, name: &str) -> Option<&Set> {
        self.sets.iter().find(|set| set.name == name)
    }

    /// A chain, where there is one.
    pub(in crate::publish) fn chain(&self, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.name == name)
    }

    fn read(&mut self, body: Option<&Body<'_>>, line: usize) -> Result<(), ScriptError> {
        let Some(body) = body else { return Ok(()) };
        self.handle = body.handle.or(self.handle);
        let mut read = Ok(());
        for statement in statements(body.text, line) {
            let words: Vec<&str> = statement.head.split_whitespace().collect();
            match (words.as_slice(), &statement.body) {
                ([keyword @ ("set" | "map"), name], Some(body)) => {
                    let index = self.sets.iter().position(|set| set.name == *name);
                    let index = index.unwrap_or_else(|| {
                        let (keyword, name) = ((*keyword).to_owned(), (*name).to_owned());
                        self.sets.push(Set { keyword, name, ..Set::default() });
                        self.sets.len() - 1
                    });
                    self.sets[index].read(body, statement.line);
                }
                (["chain", name], Some(body)) => {
                    let index = self.chains.iter().position(|chain| chain.name == *name);
                    let index = index.unwrap_or_else(|| {
                        self.chains.push(Chain { name: (*name).to_owned(), ..Chain::default() });
                        self.chains.len() - 1
                    });
                    self.chains[index].read(body, statement.line);
                }
                (["comment" | "flags", ..], None) => {
                    self.properties.push(statement.text.to_owned());
                }
                ([.., _], Some(_)) if words.len() <= 3 => self.others.push(words.join(" ")),
                _ => read = read.and(Err(statement.unknown())),
            }
        }
        read
    }
}

impl Set {
    fn read(&mut self, body: &Body<'_>, line: usize) {
        self.handle = body.handle.or(self.handle);
        for statement in statements(body.text, line) {
            let first = statement.head.split_whitespace().next();
            if let (Some("elements"), Some(elements)) = (first, &statement.body) {
                self.add(elements.text);
                continue;
            }
            let text = statement.text.to_owned();
            if !self.declaration.contains(&text) {
                self.declaration.push(text);
            }
        }
    }

    fn add(&mut self, elements: &str) {
        if !elements.trim().is_empty() {
            self.elements.push(elements.trim_matches('\n').trim_end().to_owned());
        }
    }

    /// Whether another set is declared in the same way.
    pub(in crate::publish) fn is_declared_like(&self, other: &Self) -> bool {
        self.keyword == other.keyword && self.declared() == other.declared()
    }

    /// The elements as addresses; none where one is something else.
    pub(in crate::publish) fn addresses(&self) -> Option<PrefixSet> {
        let elements = self.elements.iter().flat_map(|text| text.split(','));
        let elements = elements.map(str::trim).filter(|element| !element.is_empty());
        elements
            .map(|element| parse_net_or_address(element).ok())
            .collect::<Option<Vec<_>>>()
            .map(|nets| nets.into_iter().collect())
    }

    /// The declaration in a form in which two of them can be compared, however they were written.
    pub(in crate::publish) fn declared(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.declaration.iter().map(|line| normal(line).replace('=', " ")).collect();
        for line in &mut lines {
            *line = normal(line);
        }
        lines.sort();
        lines
    }
}

impl Chain {
    fn read(&mut self, body: &Body<'_>, line: usize) {
        self.handle = body.handle.or(self.handle);
        for statement in statements(body.text, line) {
            let mut words = statement.head.split_whitespace();
            let text = statement.text.to_owned();
            match (words.next(), words.nth(1)) {
                (Some("type"), Some("hook")) => self.hook = Some(text),
                (Some("policy" | "comment"), _) => self.properties.push(text),
                _ => self.rules.push(Rule { handle: statement.handle, text }),
            }
        }
    }

    /// The priority and hook in a form in which two of them can be compared: nft prints `filter` for 0.
    pub(in crate::publish) fn hooked(&self) -> Option<String> {
        let hook = self.hook.as_deref()?;
        let (place, priority) = hook.split_once("priority")?;
        let (priority, rest) = match priority.split_once(';') {
            Some((priority, rest)) => (priority, rest),
            None => (priority, ""),
        };
        let priority = priority_of(priority).map_or_else(|| normal(priority), |n| n.to_string());
        Some(normal(&format!("{place} priority {priority} {rest}")))
    }
}

/// The number of a priority such as `0`, `filter + 10`, `mangle-5`; none where it is not known.
pub(in crate::publish) fn priority_of(text: &str) -> Option<i32> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let end = text.find(['+', '-']).unwrap_or(text.len());
    let base = match &text[..end] {
        "raw" => -300,
        "mangle" => -150,
        "dstnat" => -100,
        "filter" => 0,
        "security" => 50,
        "srcnat" => 100,
        _ => return None,
    };
    match &text[end..] {
        "" => Some(base),
        offset => base.checked_add(offset.parse().ok()?),
    }
}

/// A statement on one line with single spaces, quoted text as it is, braces apart, and what versions of nft print differently in
/// one form: anonymous sets sorted, and without the burst that newer ones add to a limit.
pub(in crate::publish) fn normal(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for word in words_of(text) {
        match word.as_str() {
            "{" => open.push(words.len() + 1),
            "}" => {
                if let Some(start) = open.pop() {
                    let members = words[start..].join(" ");
                    let mut members: Vec<&str> =
                        members.split(" ,").map(str::trim).filter(|m| !m.is_empty()).collect();
                    members.sort_unstable();
                    let members = members.join(", ");
                    words.truncate(start);
                    words.push(members);
                }
            }
            _ => {}
        }
        words.push(word);
    }
    words.join(" ").replace(" burst 5 packets", "")
}

/// The words of a statement; braces and commas are words of their own.
fn words_of(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in text.chars() {
        if quoted || c == '"' {
            word.push(c);
            quoted ^= c == '"';
        } else if c.is_whitespace() || matches!(c, '{' | '}' | ',' | ';') {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            if matches!(c, '{' | '}' | ',') {
                words.push(c.to_string());
            }
        } else {
            word.push(c);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The text between two braces, and the number that a listing writes behind the first.
#[derive(Debug, Clone, Copy)]
struct Body<'t> {
    text: &'t str,
    handle: Option<u64>,
}

/// A statement, with what is between its first braces.
#[derive(Debug)]
struct Statement<'t> {
    line: usize,
    text: &'t str,
    /// The text in front of the first brace.
    head: &'t str,
    body: Option<Body<'t>>,
    handle: Option<u64>,
}

impl Statement<'_> {
    fn unknown(&self) -> ScriptError {
        let text = self.text.lines().next().unwrap_or_default().chars().take(60).collect();
        ScriptError { line: self.line, text }
    }
}

/// The statements of a text: they end at a line's end or a semicolon that is neither quoted nor between braces.
fn statements(text: &str, first_line: usize) -> Vec<Statement<'_>> {
    let mut found = Vec::new();
    let mut scan = Scan::default();
    let mut line = first_line;
    let bytes = text.as_bytes();
    let mut index = 0;
    let mut start_line = line;
    while index <= bytes.len() {
        let byte = bytes.get(index).copied();
        let ends = match byte {
            None => true,
            Some(b'"') => {
                scan.quoted = !scan.quoted;
                false
            }
            Some(_) if scan.quoted => false,
            Some(b'\\') if bytes.get(index + 1) == Some(&b'\n') => {
                index += 2;
                line += 1;
                continue;
            }
            Some(b'#') => {
                let end = text[index..].find('\n').map_or(text.len(), |end| index + end);
                if scan.depth == 0 {
                    scan.handle = handle_of(&text[index..end]);
                    scan.end = scan.end.or(Some(index));
                } else if scan.depth == 1 && scan.only_space_in_body(text, index) {
                    scan.body_handle = handle_of(&text[index..end]);
                }
                index = end;
                continue;
            }
            Some(b'{') => {
                scan.depth += 1;
                if scan.depth == 1 && scan.open.is_none() {
                    scan.open = Some(index);
                }
                false
            }
            Some(b'}') => {
                scan.depth = scan.depth.saturating_sub(1);
                if scan.depth == 0 && scan.close.is_none() {
                    scan.close = Some(index);
                }
                false
            }
            Some(b'\n' | b';') => scan.depth == 0,
            Some(_) => false,
        };
        if ends {
            let end = scan.end.unwrap_or(index.min(bytes.len()));
            if let Some(statement) = scan.statement(text, end, start_line) {
                found.push(statement);
            }
            scan = Scan { start: index + 1, ..Scan::default() };
        }
        if byte == Some(b'\n') {
            line += 1;
        }
        let read = bytes.get(scan.start..index).unwrap_or_default();
        if ends || read.iter().all(u8::is_ascii_whitespace) {
            start_line = line;
        }
        index += 1;
    }
    found
}

/// What is known of the statement that is being read.
#[derive(Debug, Default)]
struct Scan {
    start: usize,
    /// Where its text ends, when a comment follows.
    end: Option<usize>,
    quoted: bool,
    depth: usize,
    open: Option<usize>,
    close: Option<usize>,
    handle: Option<u64>,
    body_handle: Option<u64>,
}

impl Scan {
    fn only_space_in_body(&self, text: &str, index: usize) -> bool {
        self.open.is_some_and(|open| text[open + 1..index].trim().is_empty())
    }

    fn statement<'t>(&self, text: &'t str, end: usize, line: usize) -> Option<Statement<'t>> {
        let whole = text.get(self.start..end)?.trim();
        if whole.is_empty() {
            return None;
        }
        let head = text[self.start..self.open.unwrap_or(end)].trim();
        let body = self.open.map(|open| {
            let close = self.close.unwrap_or(end).max(open + 1);
            Body { text: &text[open + 1..close], handle: self.body_handle }
        });
        Some(Statement { line, text: whole, head, body, handle: self.handle })
    }
}

/// The number in a comment such as `# handle 12`.
fn handle_of(comment: &str) -> Option<u64> {
    comment.trim_start_matches('#').trim().strip_prefix("handle ")?.trim().parse().ok()
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
