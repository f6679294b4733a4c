//! Rules in the output of the save commands of iptables.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::expression::protocol_number;
use super::model::{
    Base, Chain, Dormancy, Field, Operator, Rule, Source, Statement, Table, Test, Value, Verdict,
};

/// Built-in chains with hook and priority, by table.
const BUILT_IN: [(&str, &str, &str, i64); 16] = [
    ("raw", "PREROUTING", "prerouting", -300),
    ("raw", "OUTPUT", "output", -300),
    ("mangle", "PREROUTING", "prerouting", -150),
    ("mangle", "INPUT", "input", -150),
    ("mangle", "FORWARD", "forward", -150),
    ("mangle", "OUTPUT", "output", -150),
    ("mangle", "POSTROUTING", "postrouting", -150),
    ("nat", "PREROUTING", "prerouting", -100),
    ("nat", "INPUT", "input", 100),
    ("nat", "OUTPUT", "output", -100),
    ("nat", "POSTROUTING", "postrouting", 100),
    ("filter", "INPUT", "input", 0),
    ("filter", "FORWARD", "forward", 0),
    ("filter", "OUTPUT", "output", 0),
    ("security", "FORWARD", "forward", 50),
    ("security", "INPUT", "input", 50),
];

/// Targets that decide nothing about a packet.
const INERT: [&str; 22] = [
    "LOG",
    "NFLOG",
    "ULOG",
    "TRACE",
    "AUDIT",
    "MARK",
    "CONNMARK",
    "CONNSECMARK",
    "SECMARK",
    "TCPMSS",
    "TOS",
    "DSCP",
    "TTL",
    "HL",
    "CLASSIFY",
    "CHECKSUM",
    "SET",
    "TEE",
    "IDLETIMER",
    "RATEEST",
    "LED",
    "ECN",
];

/// Options that take no value.
const FLAGS: [&str; 4] = ["--syn", "-f", "--fragment", "--notrack"];

/// One table of a save command.
#[derive(Debug)]
pub(super) struct SavedTable {
    pub(super) name: String,
    /// Chains with their policies, `-` where there is none.
    chains: BTreeMap<String, String>,
    /// Lines with `-A`.
    rules: Vec<String>,
}

/// The tables of a save command.
pub(super) fn tables(text: &str) -> Vec<SavedTable> {
    let mut tables: Vec<SavedTable> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            let name = name.trim().to_owned();
            tables.push(SavedTable { name, chains: BTreeMap::new(), rules: Vec::new() });
            continue;
        }
        let Some(table) = tables.last_mut() else { continue };
        if let Some(rest) = line.strip_prefix(':') {
            let mut words = rest.split_whitespace();
            if let (Some(chain), Some(policy)) = (words.next(), words.next()) {
                table.chains.insert(chain.to_owned(), policy.to_owned());
            }
        } else if line.starts_with("-A ") || line.starts_with('[') {
            // With counters, a line starts with them.
            let rule = line.find("-A ").map(|start| line[start..].to_owned());
            table.rules.extend(rule);
        }
    }
    tables
}

impl SavedTable {
    /// Chains and rules as they are walked.
    pub(super) fn into_table(self) -> Table {
        let mut table = Table { dormancy: Dormancy::Active, ..Table::default() };
        for (name, policy) in &self.chains {
            let built_in = BUILT_IN
                .iter()
                .find(|(of, chain, ..)| *of == self.name && chain == name && policy != "-");
            let base = built_in.map(|(of, _, hook, priority)| Base {
                hook: (*hook).to_owned(),
                kind: if *of == "nat" { "nat" } else { "filter" }.to_owned(),
                priority: Some(*priority),
                drops: policy == "DROP",
                devices: Vec::new(),
            });
            table.chains.insert(name.clone(), Chain { base, rules: Vec::new() });
        }
        for line in &self.rules {
            let words = words(line);
            let Some(chain) = words.get(1) else { continue };
            let rest = words.get(2..).unwrap_or_default();
            let statements = Parser { chains: &self.chains, words: rest, at: 0 }.statements();
            let rule = Rule { statements, source: Source::Line(line.clone()) };
            table.chains.entry(chain.clone()).or_default().rules.push(rule);
        }
        table
    }
}

/// The words of a line; quotes hold a word together, and a backslash inside them keeps the next
/// sign.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().extend(letters.next()),
            letter if letter.is_whitespace() && !quoted => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// Reads one rule.
struct Parser<'p> {
    chains: &'p BTreeMap<String, String>,
    words: &'p [String],
    at: usize,
}

impl Parser<'_> {
    fn statements(mut self) -> Vec<Statement> {
        let mut statements = Vec::new();
        let mut module = String::new();
        let mut negated = false;
        while let Some(word) = self.next() {
            match word.as_str() {
                "!" => {
                    negated = true;
                    continue;
                }
                "-m" | "--match" => {
                    module = self.next().unwrap_or_default();
                    // A module without options of its own is a condition all the same.
                    if !self.has_option() && !matches!(module.as_str(), "tcp" | "udp" | "comment") {
                        statements.push(Statement::Condition(module.clone()));
                    }
                }
                "-j" | "--jump" => {
                    let target = self.next().unwrap_or_default();
                    statements.push(self.target(&target, false));
                }
                "-g" | "--goto" => {
                    let target = self.next().unwrap_or_default();
                    statements.push(self.target(&target, true));
                }
                option => {
                    let option = option.to_owned();
                    statements.push(self.option(&option, &module, negated));
                }
            }
            negated = false;
        }
        statements
    }

    fn next(&mut self) -> Option<String> {
        let word = self.words.get(self.at).cloned();
        self.at += 1;
        word
    }

    /// Whether an option follows that belongs to the module just named.
    fn has_option(&self) -> bool {
        let next = self.words.get(self.at).map(String::as_str);
        let next =
            if next == Some("!") { self.words.get(self.at + 1).map(String::as_str) } else { next };
        next.is_some_and(|word| word.starts_with("--"))
    }

    /// The values up to the next option.
    fn values(&mut self) -> Vec<String> {
        let mut values = Vec::new();
        while let Some(word) = self.words.get(self.at) {
            let is_option = word.len() > 1 && word.starts_with('-') && word.parse::<i64>().is_err();
            if is_option || word == "!" {
                break;
            }
            values.push(word.clone());
            self.at += 1;
        }
        values
    }

    fn option(&mut self, option: &str, module: &str, negated: bool) -> Statement {
        let values = match option {
            // Its text may look like an option.
            "--comment" => self.next().into_iter().collect(),
            option if FLAGS.contains(&option) => Vec::new(),
            _ => self.values(),
        };
        let first = values.first().map(String::as_str).unwrap_or_default();
        let unknown = || {
            let not = if negated { "! " } else { "" };
            let module = if module.is_empty() { String::new() } else { format!("-m {module} ") };
            Statement::Condition(super::text::cut(&format!("{module}{not}{option} {first}")))
        };
        let (fields, value) = match (option, module) {
            ("-s" | "--source", _) => (Field::Source(None), addresses(first)),
            ("-d" | "--destination", _) => (Field::Destination(None), addresses(first)),
            ("-i" | "--in-interface", _) => (Field::InputName, Some(interface(first))),
            ("-o" | "--out-interface", _) => (Field::OutputName, Some(interface(first))),
            ("-p" | "--protocol", _) if first == "all" || first == "0" => return Statement::Inert,
            ("-p" | "--protocol", _) => (
                Field::Protocol(None),
                protocol_number(first).map(|number| Value::Number(u64::from(number))),
            ),
            ("--dport" | "--destination-port" | "--dports" | "--destination-ports", _) => {
                (Field::DestinationPort(None), ports(first))
            }
            ("--sport" | "--source-port" | "--sports" | "--source-ports", _) => {
                (Field::SourcePort(None), ports(first))
            }
            ("--ctstate" | "--state", _) => (Field::State, Some(flags(first))),
            ("--ctstatus", _) => (Field::Status, Some(flags(first))),
            ("--syn", _) => return syn(negated),
            ("--tcp-flags", _) => match values.as_slice() {
                [mask, wanted] => {
                    (Field::TcpFlags(Some(tcp_flags(mask))), Some(Value::Words(tcp_flags(wanted))))
                }
                _ => return unknown(),
            },
            ("--comment", _) => return Statement::Inert,
            ("--match-set", "set") => match values.as_slice() {
                [set, side] if side == "src" => {
                    (Field::Source(None), Some(Value::Ipset(set.clone())))
                }
                [set, side] if side == "dst" => {
                    (Field::Destination(None), Some(Value::Ipset(set.clone())))
                }
                _ => return unknown(),
            },
            _ => return unknown(),
        };
        let Some(value) = value else { return unknown() };
        let operator = match (&fields, negated) {
            (Field::State | Field::Status, false) => Operator::In,
            (Field::State | Field::Status, true) => Operator::NotIn,
            (_, false) => Operator::Equal,
            (_, true) => Operator::NotEqual,
        };
        Statement::Match(Test { fields: vec![fields], operator, value })
    }

    /// What a target does; its options are passed over.
    fn target(&mut self, target: &str, goto: bool) -> Statement {
        let options: Vec<&str> =
            self.words.get(self.at..).unwrap_or_default().iter().map(String::as_str).collect();
        self.at = self.words.len();
        if self.chains.contains_key(target) {
            let chain = target.to_owned();
            return Statement::Verdict(if goto {
                Verdict::Goto(chain)
            } else {
                Verdict::Jump(chain)
            });
        }
        match target {
            "ACCEPT" => Statement::Verdict(Verdict::Accept),
            "DROP" | "REJECT" => Statement::Verdict(Verdict::Drop),
            "RETURN" => Statement::Verdict(Verdict::Return),
            "DNAT" | "REDIRECT" | "NETMAP" | "SNAT" | "MASQUERADE" => {
                Statement::Nat(target.to_owned())
            }
            "NOTRACK" => Statement::Untrack,
            "CT" if options.contains(&"--notrack") => Statement::Untrack,
            "CT" => Statement::Inert,
            inert if INERT.contains(&inert) => Statement::Inert,
            other => Statement::Opaque(format!("-j {other}")),
        }
    }
}

/// `--syn`: the first packet of a TCP connection.
fn syn(negated: bool) -> Statement {
    Statement::Match(Test {
        fields: vec![Field::TcpFlags(Some(tcp_flags("FIN,SYN,RST,ACK")))],
        operator: if negated { Operator::NotEqual } else { Operator::Equal },
        value: Value::Words(tcp_flags("SYN")),
    })
}

fn tcp_flags(text: &str) -> Vec<String> {
    match text {
        "NONE" => Vec::new(),
        "ALL" => ["fin", "syn", "rst", "psh", "ack", "urg"].map(str::to_owned).to_vec(),
        text => text.split(',').map(str::to_ascii_lowercase).collect(),
    }
}

fn flags(text: &str) -> Value {
    Value::Words(text.split(',').map(str::to_ascii_lowercase).collect())
}

/// `eth+` stands for all names that begin so; `+` for any.
fn interface(text: &str) -> Value {
    match text.strip_suffix('+') {
        Some(stem) => Value::Text(format!("{stem}*")),
        None => Value::Text(text.to_owned()),
    }
}

fn addresses(text: &str) -> Option<Value> {
    let one = |text: &str| {
        let parsed = text.parse::<IpNet>().ok();
        let parsed = parsed.or_else(|| {
            let (address, mask) =
                text.split_once('/').map_or((text, None), |(address, mask)| (address, Some(mask)));
            let address: std::net::IpAddr = address.parse().ok()?;
            match mask {
                None => Some(IpNet::from(address)),
                // A mask with gaps is none of these.
                Some(mask) => IpNet::with_netmask(address, mask.parse().ok()?).ok(),
            }
        });
        parsed.map(Value::Prefix)
    };
    text.split(',').map(one).collect::<Option<Vec<_>>>().map(Value::Set)
}

fn ports(text: &str) -> Option<Value> {
    let one = |text: &str| match text.split_once(':') {
        None => text.parse().ok().map(Value::Number),
        Some((from, to)) => {
            let from = if from.is_empty() { 0 } else { from.parse().ok()? };
            let to = if to.is_empty() { 65535 } else { to.parse().ok()? };
            Some(Value::Range(Box::new((Value::Number(from), Value::Number(to)))))
        }
    };
    text.split(',').map(one).collect::<Option<Vec<_>>>().map(Value::Set)
}
