//! Statements, fields and values in the JSON of nft.
//!
//! Forms differ by version (`{"reject": null}`, `{"xt": null}`, flags as text or list); what is not
//! known becomes [`Statement::Opaque`], [`Field::Other`] or [`Value::Other`].

use ipnet::IpNet;
use serde_json::Value as Json;

use super::model::{Entries, Field, Header, Operator, Statement, Test, Value, Verdict};
use crate::prefix::Family;

/// Deepest nesting of values that is read.
const MAX_DEPTH: usize = 8;

/// Numbers of transport protocols by the names that nft and iptables print.
const PROTOCOLS: [(&str, u8); 17] = [
    ("icmp", 1),
    ("igmp", 2),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("icmp6", 58),
    ("ospf", 89),
    ("comp", 108),
    ("vrrp", 112),
    ("sctp", 132),
    ("udplite", 136),
];

/// The number of a transport protocol; none for a name that is not known.
pub(super) fn protocol_number(text: &str) -> Option<u8> {
    text.parse().ok().or_else(|| {
        let known = PROTOCOLS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        known.map(|(_, number)| *number)
    })
}

/// The name of a transport protocol, or its number.
pub(super) fn protocol_name(number: u8) -> String {
    let known = PROTOCOLS.iter().find(|(_, known)| *known == number);
    known.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

/// The only pair of an object.
fn entry(json: &Json) -> Option<(&str, &Json)> {
    let object = json.as_object()?;
    let (key, value) = object.iter().next()?;
    (object.len() == 1).then_some((key.as_str(), value))
}

/// A statement of a rule.
pub(super) fn statement(json: &Json) -> Statement {
    let Some((key, body)) = entry(json) else {
        return Statement::Opaque(short(json));
    };
    if let Some(verdict) = verdict_of(json) {
        return Statement::Verdict(verdict);
    }
    match key {
        "match" => Statement::Match(test(body)),
        "vmap" => match (body.get("key"), body.get("data")) {
            (Some(key), Some(data)) => Statement::Map(fields(key, 0), entries(data)),
            _ => Statement::Opaque("vmap".to_owned()),
        },
        "counter" | "log" | "comment" | "last" | "ct helper" | "ct timeout" | "ct expectation"
        | "secmark" | "flow" | "dup" => Statement::Inert,
        "limit" | "quota" | "ct count" | "connlimit" | "set" | "map" => {
            Statement::Condition(key.to_owned())
        }
        "dnat" | "snat" | "masquerade" | "redirect" => Statement::Nat(key.to_owned()),
        "notrack" => Statement::Untrack,
        "mangle" => mangle(body),
        "xt" => xt(body),
        _ => Statement::Opaque(key.to_owned()),
    }
}

/// The verdict that an object is.
pub(super) fn verdict_of(json: &Json) -> Option<Verdict> {
    let (key, body) = entry(json)?;
    let target = || body.get("target").and_then(Json::as_str).map(str::to_owned);
    match key {
        "accept" => Some(Verdict::Accept),
        "drop" | "reject" => Some(Verdict::Drop),
        "return" => Some(Verdict::Return),
        "continue" => Some(Verdict::Continue),
        "jump" => target().map(Verdict::Jump),
        "goto" => target().map(Verdict::Goto),
        _ => None,
    }
}

/// A statement of iptables as nft shows it: matches only narrow a rule, targets may do anything.
fn xt(body: &Json) -> Statement {
    let text = |key: &str| body.get(key).and_then(Json::as_str);
    match (text("type"), text("name")) {
        (Some("match"), Some("comment")) | (Some("target"), Some("LOG" | "NFLOG")) => {
            Statement::Inert
        }
        (Some("match"), name) => Statement::Condition(format!("xt {}", name.unwrap_or("match"))),
        (_, Some(name)) => Statement::Opaque(format!("xt {name}")),
        _ => Statement::Opaque("xt".to_owned()),
    }
}

fn mangle(body: &Json) -> Statement {
    let Some(key) = body.get("key") else { return Statement::Opaque("mangle".to_owned()) };
    match field(key, 0) {
        Field::Source(_)
        | Field::Destination(_)
        | Field::SourcePort(_)
        | Field::DestinationPort(_)
        | Field::Protocol(_) => Statement::Rewrite("set of an address or port".to_owned()),
        // Marks and other fields are not known anyway.
        _ => Statement::Inert,
    }
}

fn entries(data: &Json) -> Entries {
    if let Some(name) = data.as_str().and_then(|text| text.strip_prefix('@')) {
        return Entries::Named(name.to_owned());
    }
    let listed = data.get("set").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let read = |pair: &Json| match pair.as_array().map(Vec::as_slice) {
        Some([key, verdict]) => (value(key, 0), verdict_of(verdict)),
        _ => (Value::Other(short(pair)), None),
    };
    if data.get("set").is_none() {
        return Entries::Inline(vec![(Value::Other(short(data)), None)]);
    }
    Entries::Inline(listed.iter().map(read).collect())
}

fn test(body: &Json) -> Test {
    let operator = match body.get("op").and_then(Json::as_str) {
        Some("in") => Operator::In,
        Some("!=") => Operator::NotEqual,
        Some("!") => Operator::NotIn,
        Some("<") => Operator::Less,
        Some("<=") => Operator::LessOrEqual,
        Some(">") => Operator::Greater,
        Some(">=") => Operator::GreaterOrEqual,
        Some("==") | None => Operator::Equal,
        Some(other) => {
            let fields = vec![Field::Other(format!("operator {other}"))];
            return Test { fields, operator: Operator::Equal, value: Value::Other(String::new()) };
        }
    };
    let null = Json::Null;
    let left = body.get("left").unwrap_or(&null);
    let right = body.get("right").unwrap_or(&null);
    Test { fields: fields(left, 0), operator, value: value(right, 0) }
}

/// The fields of a left side: several where they are concatenated.
fn fields(json: &Json, depth: usize) -> Vec<Field> {
    match json.get("concat").and_then(Json::as_array) {
        Some(parts) => parts.iter().map(|part| field(part, depth + 1)).collect(),
        None => vec![field(json, depth)],
    }
}

fn field(json: &Json, depth: usize) -> Field {
    let Some((key, body)) = entry(json).filter(|_| depth < MAX_DEPTH) else {
        return Field::Other(short(json));
    };
    let text = |name: &str| body.get(name).and_then(Json::as_str).unwrap_or_default();
    match key {
        "meta" => {
            meta(if body.is_string() { body.as_str().unwrap_or_default() } else { text("key") })
        }
        "payload" => payload(text("protocol"), text("field")),
        "ct" if body.get("dir").is_none() => match text("key") {
            "state" => Field::State,
            "status" => Field::Status,
            "direction" => Field::Direction,
            other => Field::Other(format!("ct {other}")),
        },
        "&" => match body.as_array().map(Vec::as_slice) {
            Some([inner, mask]) if field(inner, depth + 1) == Field::TcpFlags(None) => {
                match words(mask) {
                    Some(words) => Field::TcpFlags(Some(words)),
                    None => Field::Other("tcp flags".to_owned()),
                }
            }
            Some([inner, _]) => match field(inner, depth + 1) {
                absent @ Field::HeaderOf(_) => absent,
                _ => Field::Other(format!("part of {}", super::text::expression(inner))),
            },
            _ => Field::Other("&".to_owned()),
        },
        "exthdr" | "ip option" | "tcp option" | "sctp chunk" | "fib" | "numgen" | "jhash"
        | "symhash" | "rt" | "socket" | "osf" | "ipsec" | "map" | "ct" => {
            Field::Other(super::text::expression(json))
        }
        other => Field::Other(other.to_owned()),
    }
}

fn meta(key: &str) -> Field {
    match key {
        "iifname" => Field::InputName,
        "oifname" => Field::OutputName,
        "iif" => Field::InputIndex,
        "oif" => Field::OutputIndex,
        "l4proto" => Field::Protocol(None),
        "nfproto" => Field::Nfproto,
        "protocol" => Field::EtherType,
        other => Field::Other(format!("meta {other}")),
    }
}

fn payload(protocol: &str, name: &str) -> Field {
    let other = || Field::Other(format!("{protocol} {name}"));
    let network = match protocol {
        "ip" => Some(Family::V4),
        "ip6" => Some(Family::V6),
        _ => None,
    };
    if let Some(family) = network {
        return match name {
            "saddr" => Field::Source(Some(family)),
            "daddr" => Field::Destination(Some(family)),
            "protocol" | "nexthdr" => Field::Protocol(Some(family)),
            // Not known, but only where there is such a header.
            _ => Field::HeaderOf(Header::Network(family)),
        };
    }
    match (protocol, name) {
        ("th", "dport") => Field::DestinationPort(None),
        ("th", "sport") => Field::SourcePort(None),
        ("tcp", "flags") => Field::TcpFlags(None),
        ("arp", _) => Field::HeaderOf(Header::Never),
        ("" | "ether" | "vlan" | "th", _) => other(),
        (_, "dport" | "sport") => match protocol_number(protocol) {
            Some(number) if name == "dport" => Field::DestinationPort(Some(number)),
            Some(number) => Field::SourcePort(Some(number)),
            None => other(),
        },
        _ => match protocol_number(protocol) {
            Some(number) => Field::HeaderOf(Header::Transport(number)),
            None => other(),
        },
    }
}

/// A value of a right side.
pub(super) fn value(json: &Json, depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return Value::Other(short(json));
    }
    let below = |json: &Json| value(json, depth + 1);
    match json {
        Json::String(text) => match text.strip_prefix('@') {
            Some(name) => Value::Named(name.to_owned()),
            None => Value::Text(text.clone()),
        },
        Json::Number(number) => {
            number.as_u64().map_or_else(|| Value::Other(number.to_string()), Value::Number)
        }
        Json::Array(_) => words(json).map_or_else(|| Value::Other(short(json)), Value::Words),
        Json::Object(_) => match entry(json) {
            Some(("elem", body)) => {
                body.get("val").map_or_else(|| Value::Other(short(json)), below)
            }
            Some(("set", Json::Array(parts))) => Value::Set(parts.iter().map(below).collect()),
            Some(("set", single)) => below(single),
            Some(("concat", Json::Array(parts))) => {
                Value::Concat(parts.iter().map(below).collect())
            }
            Some(("range", Json::Array(ends))) => match ends.as_slice() {
                [from, to] => Value::Range(Box::new((below(from), below(to)))),
                _ => Value::Other(short(json)),
            },
            Some(("prefix", body)) => prefix(body).unwrap_or_else(|| Value::Other(short(json))),
            _ => Value::Other(short(json)),
        },
        Json::Null | Json::Bool(_) => Value::Other(short(json)),
    }
}

fn prefix(body: &Json) -> Option<Value> {
    let address = body.get("addr")?.as_str()?.parse().ok()?;
    let length = u8::try_from(body.get("len")?.as_u64()?).ok()?;
    IpNet::new(address, length).ok().map(Value::Prefix)
}

/// The words of a list of flags, or the only one.
fn words(json: &Json) -> Option<Vec<String>> {
    match json {
        Json::String(word) => Some(vec![word.clone()]),
        Json::Array(list) => {
            list.iter().map(|word| word.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        }
        _ => None,
    }
}

/// JSON cut to what a line of a message has room for.
pub(super) fn short(json: &Json) -> String {
    super::text::cut(&json.to_string())
}
