//! Rules as text, for messages: near to what nft prints, and short.

use serde_json::Value as Json;

use super::model::{Rule, Source};

/// Most characters of a rule in a message.
const MAX_CHARS: usize = 120;
/// Deepest nesting that is written.
const MAX_DEPTH: usize = 6;

/// A rule as text.
pub(super) fn rule(rule: &Rule) -> String {
    match &rule.source {
        Source::Json(statements) => {
            let words: Vec<String> =
                statements.iter().map(statement).filter(|text| !text.is_empty()).collect();
            cut(&words.join(" "))
        }
        Source::Line(line) => cut(line),
    }
}

/// Text cut to what a message has room for, without control characters.
pub(super) fn cut(text: &str) -> String {
    let clean: String = text.chars().filter(|letter| !letter.is_control()).collect();
    if clean.chars().count() <= MAX_CHARS {
        return clean;
    }
    clean.chars().take(MAX_CHARS - 3).chain("...".chars()).collect()
}

fn statement(json: &Json) -> String {
    let Some((key, body)) = json.as_object().and_then(|object| object.iter().next()) else {
        return String::new();
    };
    match key.as_str() {
        "match" => {
            let part = |name: &str| body.get(name).map(expression).unwrap_or_default();
            match body.get("op").and_then(Json::as_str) {
                Some("==" | "in") | None => format!("{} {}", part("left"), part("right")),
                Some(operator) => format!("{} {operator} {}", part("left"), part("right")),
            }
        }
        "vmap" => {
            let part = |name: &str| body.get(name).map(expression).unwrap_or_default();
            format!("{} vmap {}", part("key"), part("data"))
        }
        "jump" | "goto" => {
            format!("{key} {}", body.get("target").and_then(Json::as_str).unwrap_or_default())
        }
        "counter" | "log" => String::new(),
        "limit" => "limit".to_owned(),
        "xt" => {
            let text = |name: &str| body.get(name).and_then(Json::as_str).unwrap_or_default();
            format!("xt {} {}", text("type"), text("name")).trim_end().to_owned()
        }
        other => other.to_owned(),
    }
}

/// An expression as text.
pub(super) fn expression(json: &Json) -> String {
    cut(&nested(json, 0))
}

fn nested(json: &Json, depth: usize) -> String {
    if depth > MAX_DEPTH {
        return "...".to_owned();
    }
    let below = |json: &Json| nested(json, depth + 1);
    match json {
        Json::String(text) if text.starts_with('@') || is_plain(text) => text.clone(),
        Json::String(text) => format!("\"{text}\""),
        Json::Array(list) => list.iter().map(below).collect::<Vec<_>>().join(","),
        Json::Object(object) => {
            let Some((key, body)) = object.iter().next() else { return String::new() };
            let text = |name: &str| body.get(name).and_then(Json::as_str).unwrap_or_default();
            match key.as_str() {
                "meta" if matches!(text("key"), "iifname" | "oifname" | "iif" | "oif") => {
                    text("key").to_owned()
                }
                "meta" | "ct" => format!("{key} {}", text("key")),
                "payload" => format!("{} {}", text("protocol"), text("field")).trim().to_owned(),
                "prefix" => {
                    let length = body.get("len").and_then(Json::as_u64).unwrap_or_default();
                    format!("{}/{length}", text("addr"))
                }
                "range" => list(body, "-", depth),
                "concat" => list(body, " . ", depth),
                "set" => format!("{{ {} }}", pairs(body, depth)),
                "elem" => body.get("val").map(below).unwrap_or_default(),
                "&" => list(body, " & ", depth),
                "jump" | "goto" => format!("{key} {}", text("target")),
                "fib" => "fib".to_owned(),
                "exthdr" | "ip option" | "tcp option" => format!("{key} {}", text("name")),
                other => other.to_owned(),
            }
        }
        other => other.to_string(),
    }
}

fn list(json: &Json, between: &str, depth: usize) -> String {
    let parts = json.as_array().map(Vec::as_slice).unwrap_or_default();
    parts.iter().map(|part| nested(part, depth + 1)).collect::<Vec<_>>().join(between)
}

/// The elements of an anonymous set or map.
fn pairs(json: &Json, depth: usize) -> String {
    let parts = json.as_array().map(Vec::as_slice).unwrap_or_default();
    let one = |part: &Json| match part.as_array().map(Vec::as_slice) {
        Some([key, verdict]) => {
            format!("{} : {}", nested(key, depth + 1), nested(verdict, depth + 1))
        }
        _ => nested(part, depth + 1),
    };
    parts.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Whether a word needs no quotes: an address or a keyword.
fn is_plain(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
        || matches!(
            text,
            "new"
                | "established"
                | "related"
                | "invalid"
                | "untracked"
                | "tcp"
                | "udp"
                | "ipv4"
                | "ipv6"
                | "ip"
                | "ip6"
                | "icmp"
                | "ipv6-icmp"
                | "syn"
                | "ack"
                | "fin"
                | "rst"
        )
}
