//! Comparisons in three values.

use std::net::IpAddr;

use super::elements::{Elements, Key, Lookup, SetId};
use super::expression::{protocol_name, protocol_number};
use super::flow::{Flow, State};
use super::model::{Entries, Field, Header, Operator, Table, Test, Value, Verdict};
use crate::prefix::Family;

/// Whether something is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Truth {
    Yes,
    No,
    /// Not known, because of this.
    Unknown(String),
}

impl Truth {
    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            unknown @ Self::Unknown(_) => unknown,
        }
    }

    fn of(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }

    /// Whether any is so.
    fn any(all: impl Iterator<Item = Self>) -> Self {
        let mut sum = Self::No;
        for truth in all {
            match truth {
                Self::Yes => return Self::Yes,
                Self::No => {}
                unknown @ Self::Unknown(_) => sum = unknown,
            }
        }
        sum
    }

    /// Whether all are so.
    pub(super) fn all(all: impl Iterator<Item = Self>) -> Self {
        let mut sum = Self::Yes;
        for truth in all {
            match truth {
                Self::No => return Self::No,
                Self::Yes => {}
                unknown @ Self::Unknown(_) => sum = unknown,
            }
        }
        sum
    }
}

/// What a map may have for a packet.
pub(super) enum Possible {
    None,
    One(Verdict),
    /// One of these, or none, because of this.
    Some(Vec<Verdict>, String),
    /// Any verdict, because of this.
    Any(String),
}

/// What a field has for a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content<'p> {
    /// The packet has no such field: no comparison with it is true.
    Missing,
    /// Not known, because of this.
    Unknown(String),
    Address(IpAddr),
    Number(u64),
    Protocol(u8),
    Interface(&'p str),
    /// A word that nft prints for a number.
    Word(&'static str, u64),
    /// Flags that are set.
    Flags(Vec<&'static str>),
}

/// A packet at one place on its way.
#[derive(Debug, Clone)]
pub(super) struct Place<'p> {
    pub(super) flow: &'p Flow,
    /// Whether its connection is looked up already.
    pub(super) tracked: bool,
    /// Whether the output interface is chosen here already.
    pub(super) routed: bool,
    /// Whether kernels differ in the input interface that they show here.
    pub(super) past_routing: bool,
    /// What may have rewritten it.
    pub(super) rewritten: Option<String>,
    /// What may have taken it out of connection tracking.
    pub(super) untracked: Option<String>,
}

impl<'p> Place<'p> {
    fn content(&self, field: &Field) -> Content<'p> {
        let flow = self.flow;
        let family = flow.family();
        let lacks = |header: Option<Family>| header.is_some_and(|header| header != family);
        let other_protocol =
            |wanted: Option<u8>| wanted.is_some_and(|wanted| wanted != flow.protocol);
        match field {
            Field::Source(header) | Field::Destination(header) | Field::Protocol(header)
                if lacks(*header) =>
            {
                Content::Missing
            }
            Field::DestinationPort(protocol) | Field::SourcePort(protocol)
                if other_protocol(*protocol) =>
            {
                Content::Missing
            }
            Field::Source(_) => self.unless_rewritten(Content::Address(flow.source)),
            Field::Destination(_) => self.unless_rewritten(Content::Address(flow.destination)),
            Field::DestinationPort(_) => match flow.port {
                Some(port) => self.unless_rewritten(Content::Number(u64::from(port))),
                None => Content::Unknown("the destination port".to_owned()),
            },
            Field::SourcePort(_) => Content::Unknown("the source port".to_owned()),
            Field::Protocol(_) => Content::Protocol(flow.protocol),
            Field::Nfproto => match family {
                Family::V4 => Content::Word("ipv4", 2),
                Family::V6 => Content::Word("ipv6", 10),
            },
            Field::EtherType => match family {
                Family::V4 => Content::Word("ip", 0x0800),
                Family::V6 => Content::Word("ip6", 0x86dd),
            },
            Field::InputName | Field::InputIndex => match &flow.input {
                _ if self.past_routing => {
                    Content::Unknown("the input interface after routing".to_owned())
                }
                Some(name) => Content::Interface(name),
                None => Content::Unknown("the input interface".to_owned()),
            },
            // Before routing it is empty.
            Field::OutputName | Field::OutputIndex if !self.routed => Content::Interface(""),
            Field::OutputName | Field::OutputIndex => match &flow.output {
                Some(name) => self.unless_rewritten(Content::Interface(name)),
                None => Content::Unknown("the output interface".to_owned()),
            },
            Field::State | Field::Status | Field::Direction if !self.tracked => {
                Content::Unknown("connections before they are looked up".to_owned())
            }
            Field::State => match (&self.untracked, flow.state) {
                (Some(why), _) => Content::Unknown(why.clone()),
                (None, State::New) => Content::Flags(vec!["new"]),
                (None, State::Established) => Content::Flags(vec!["established"]),
            },
            Field::Status => match (&self.untracked, &self.rewritten, flow.state) {
                (None, None, State::New) => Content::Flags(Vec::new()),
                _ => Content::Unknown("ct status".to_owned()),
            },
            Field::Direction => match &self.untracked {
                None => Content::Word("original", 0),
                Some(why) => Content::Unknown(why.clone()),
            },
            Field::TcpFlags(_) if flow.protocol != Flow::TCP => Content::Missing,
            Field::TcpFlags(mask) => match flow.state {
                State::New if mask.as_ref().is_none_or(|mask| mask.iter().any(|f| f == "syn")) => {
                    Content::Flags(vec!["syn"])
                }
                State::New => Content::Flags(Vec::new()),
                State::Established => Content::Unknown("tcp flags".to_owned()),
            },
            Field::HeaderOf(Header::Never) => Content::Missing,
            Field::HeaderOf(Header::Network(header)) if *header != family => Content::Missing,
            Field::HeaderOf(Header::Transport(number)) if *number != flow.protocol => {
                Content::Missing
            }
            Field::HeaderOf(_) => Content::Unknown("a field of the header".to_owned()),
            Field::Other(name) => Content::Unknown(name.clone()),
        }
    }

    fn unless_rewritten(&self, content: Content<'p>) -> Content<'p> {
        match &self.rewritten {
            None => content,
            Some(why) => Content::Unknown(why.clone()),
        }
    }
}

/// Where named sets are looked up.
pub(super) struct Sets<'s> {
    pub(super) family: &'s str,
    pub(super) name: &'s str,
    pub(super) table: &'s Table,
    pub(super) elements: &'s dyn Elements,
}

impl Sets<'_> {
    /// Whether a comparison is true for a packet.
    pub(super) fn test(&self, place: &Place<'_>, test: &Test) -> Truth {
        let contents: Vec<Content<'_>> =
            test.fields.iter().map(|field| place.content(field)).collect();
        if contents.contains(&Content::Missing) {
            return Truth::No;
        }
        self.compare(&contents, test.operator, &test.value)
    }

    /// What a named map has for a packet.
    fn map(&self, place: &Place<'_>, fields: &[Field], map: &str) -> Possible {
        let contents: Vec<Content<'_>> = fields.iter().map(|field| place.content(field)).collect();
        if contents.contains(&Content::Missing) {
            return Possible::None;
        }
        if self.table.moving.contains(map) {
            return Possible::Any(format!("the changing map {map}"));
        }
        let key = match key(&contents) {
            Ok(key) => key,
            Err(why) => return Possible::Any(format!("{why}, for map {map}")),
        };
        let id = SetId { family: self.family, table: self.name, name: map };
        match self.elements.look_up(id, &key) {
            Lookup::Absent => Possible::None,
            Lookup::Verdict(verdict) => Possible::One(verdict.0),
            Lookup::Present => Possible::Any(format!("an element of map {map}")),
            Lookup::Unknown => Possible::Any(format!("the elements of map {map}")),
        }
    }

    /// What a map may have for a packet.
    pub(super) fn possible(
        &self,
        place: &Place<'_>,
        fields: &[Field],
        entries: &Entries,
    ) -> Possible {
        let entries = match entries {
            Entries::Named(map) => return self.map(place, fields, map),
            Entries::Inline(entries) => entries,
        };
        let mut some = Vec::new();
        let mut doubt = None;
        for (value, verdict) in entries {
            let test =
                Test { fields: fields.to_vec(), operator: Operator::Equal, value: value.clone() };
            let truth = self.test(place, &test);
            if truth == Truth::No {
                continue;
            }
            let Some(verdict) = verdict.clone() else {
                return Possible::Any("a verdict that is not understood".to_owned());
            };
            match truth {
                Truth::Unknown(why) => doubt = Some(why),
                _ if doubt.is_none() => return Possible::One(verdict),
                _ => {}
            }
            some.push(verdict);
        }
        doubt.map_or(Possible::None, |why| Possible::Some(some, why))
    }

    fn compare(&self, contents: &[Content<'_>], operator: Operator, value: &Value) -> Truth {
        match operator {
            Operator::Equal => self.is(contents, value, false),
            Operator::In => self.is(contents, value, true),
            Operator::NotEqual => self.is(contents, value, false).not(),
            Operator::NotIn => self.is(contents, value, true).not(),
            Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual => ordered(contents, operator, value),
        }
    }

    /// Whether fields have a value; of flags, with `any`, whether they have one of them.
    fn is(&self, contents: &[Content<'_>], value: &Value, any: bool) -> Truth {
        match value {
            Value::Set(values) => {
                Truth::any(values.iter().map(|value| self.is(contents, value, any)))
            }
            Value::Named(set) => self.named(contents, set),
            Value::Ipset(set) => {
                in_set(self.elements, SetId { family: "ipset", table: "", name: set }, contents)
            }
            Value::Concat(values) if values.len() == contents.len() => {
                let pairs = contents.iter().zip(values);
                Truth::all(
                    pairs
                        .map(|(content, value)| self.is(std::slice::from_ref(content), value, any)),
                )
            }
            value => match contents {
                [content] => one(content, value, any),
                _ => Truth::Unknown("a comparison of several fields".to_owned()),
            },
        }
    }

    fn named(&self, contents: &[Content<'_>], set: &str) -> Truth {
        if self.table.moving.contains(set) {
            return Truth::Unknown(format!("the changing set {set}"));
        }
        in_set(self.elements, SetId { family: self.family, table: self.name, name: set }, contents)
    }
}

fn in_set(elements: &dyn Elements, set: SetId<'_>, contents: &[Content<'_>]) -> Truth {
    let key = match key(contents) {
        Ok(key) => key,
        Err(why) => return Truth::Unknown(format!("{why}, for set {}", set.name)),
    };
    match elements.look_up(set, &key) {
        Lookup::Absent => Truth::No,
        Lookup::Present | Lookup::Verdict(_) => Truth::Yes,
        Lookup::Unknown => Truth::Unknown(format!("the elements of set {}", set.name)),
    }
}

fn key(contents: &[Content<'_>]) -> Result<Vec<Key>, String> {
    let one = |content: &Content<'_>| match content {
        Content::Address(address) => Ok(Key::Address(*address)),
        Content::Number(number) => Ok(Key::Number(*number)),
        Content::Protocol(number) => Ok(Key::Protocol(protocol_name(*number))),
        Content::Interface(name) => Ok(Key::Word((*name).to_owned())),
        Content::Word(word, _) => Ok(Key::Word((*word).to_owned())),
        Content::Flags(flags) => match flags.as_slice() {
            [flag] => Ok(Key::Word((*flag).to_owned())),
            _ => Err("flags".to_owned()),
        },
        Content::Unknown(why) => Err(why.clone()),
        Content::Missing => Err("a missing field".to_owned()),
    };
    contents.iter().map(one).collect()
}

/// Whether one field has a value that is no set.
fn one(content: &Content<'_>, value: &Value, any: bool) -> Truth {
    let unclear = || Truth::Unknown(format!("a value that is not understood: {}", shown(value)));
    match (content, value) {
        (Content::Unknown(why), value) if !is_everything(value) => Truth::Unknown(why.clone()),
        (_, value) if is_everything(value) => Truth::Yes,
        (Content::Address(address), Value::Text(text)) => match text.parse::<IpAddr>() {
            Ok(other) => Truth::of(*address == other),
            Err(_) => unclear(),
        },
        (Content::Address(address), Value::Prefix(prefix)) => Truth::of(prefix.contains(address)),
        (Content::Address(address), Value::Range(ends)) => {
            match (address_of(&ends.0), address_of(&ends.1)) {
                (Some(from), Some(to)) if from.is_ipv4() == address.is_ipv4() => {
                    Truth::of(from <= *address && *address <= to)
                }
                _ => unclear(),
            }
        }
        (Content::Number(number), Value::Range(ends)) => {
            match (number_of(&ends.0), number_of(&ends.1)) {
                (Some(from), Some(to)) => Truth::of((from..=to).contains(number)),
                _ => unclear(),
            }
        }
        (Content::Number(number), value) => match number_of(value) {
            Some(other) => Truth::of(*number == other),
            None => unclear(),
        },
        (Content::Protocol(number), Value::Number(other)) => {
            Truth::of(u64::from(*number) == *other)
        }
        (Content::Protocol(number), Value::Text(text)) => match protocol_number(text) {
            Some(other) => Truth::of(*number == other),
            None => unclear(),
        },
        (Content::Protocol(number), Value::Range(ends)) => {
            match (number_of(&ends.0), number_of(&ends.1)) {
                (Some(from), Some(to)) => Truth::of((from..=to).contains(&u64::from(*number))),
                _ => unclear(),
            }
        }
        (Content::Interface(name), Value::Text(text)) => interface(name, text),
        (Content::Word(word, number), value) => match value {
            Value::Text(text) if text.parse::<u64>().is_err() => Truth::of(text == word),
            value => match number_of(value) {
                Some(other) => Truth::of(*number == other),
                None => unclear(),
            },
        },
        (Content::Flags(flags), Value::Text(_) | Value::Words(_)) => {
            let words: Vec<&str> = match value {
                Value::Words(words) => words.iter().map(String::as_str).collect(),
                Value::Text(word) => vec![word],
                _ => Vec::new(),
            };
            if words.iter().any(|word| word.parse::<u64>().is_ok()) {
                return unclear();
            }
            if any {
                return Truth::of(words.iter().any(|word| flags.contains(word)));
            }
            Truth::of(words.len() == flags.len() && words.iter().all(|word| flags.contains(word)))
        }
        _ => unclear(),
    }
}

/// Whether a value stands for everything: the prefix of length 0, or any port.
fn is_everything(value: &Value) -> bool {
    match value {
        Value::Prefix(prefix) => prefix.prefix_len() == 0,
        Value::Range(ends) => {
            matches!(&**ends, (Value::Number(0), Value::Number(to)) if *to >= 65_535)
        }
        _ => false,
    }
}

fn interface(name: &str, pattern: &str) -> Truth {
    if let Some(literal) = pattern.strip_suffix("\\*") {
        return Truth::of(name.strip_suffix('*') == Some(literal));
    }
    match pattern.strip_suffix('*') {
        Some(stem) => Truth::of(name.starts_with(stem)),
        // An interface that is gone is shown by its number.
        None if pattern.parse::<u32>().is_ok() => {
            Truth::Unknown(format!("interface number {pattern}"))
        }
        None => Truth::of(name == pattern),
    }
}

fn ordered(contents: &[Content<'_>], operator: Operator, value: &Value) -> Truth {
    let number = match contents {
        [Content::Number(number)] => *number,
        [Content::Unknown(why)] => return Truth::Unknown(why.clone()),
        _ => return Truth::Unknown("a comparison by size".to_owned()),
    };
    let Some(other) = number_of(value) else {
        return Truth::Unknown(format!("a value that is not understood: {}", shown(value)));
    };
    Truth::of(match operator {
        Operator::Less => number < other,
        Operator::LessOrEqual => number <= other,
        Operator::Greater => number > other,
        _ => number >= other,
    })
}

fn number_of(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn address_of(value: &Value) -> Option<IpAddr> {
    match value {
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) | Value::Other(text) => super::text::cut(text),
        Value::Number(number) => number.to_string(),
        Value::Prefix(prefix) => prefix.to_string(),
        _ => "a list".to_owned(),
    }
}
