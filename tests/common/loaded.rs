//! Reads back what a kernel holds and what files say: nft as JSON, iptables-save, ipset save, lists, ruleset.json.
//!
//! Each reader takes only the syntax that it knows; anything else fails the test instead of being passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use serde_json::Value;
use tagwall::prefix::PrefixSet;

use super::meaning::{Chains, Fact, Match, Ports, Verdict, Way};

/// First and last address of an interval.
pub(crate) type Interval = (IpAddr, IpAddr);

/// The interval of a prefix.
pub(crate) fn interval(prefix: IpNet) -> Interval {
    (prefix.network(), prefix.broadcast())
}

/// The elements of a set as `nft -j` shows them, one by one and in order.
pub(crate) fn nft_intervals(elements: Option<&Value>) -> Vec<Interval> {
    let list = elements.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut intervals: Vec<Interval> = list.iter().map(nft_interval).collect();
    intervals.sort_unstable();
    intervals
}

fn nft_interval(element: &Value) -> Interval {
    let address = |value: &Value| value.as_str().unwrap().parse::<IpAddr>().unwrap();
    if let Some(prefix) = element.get("prefix") {
        let length = u8::try_from(prefix["len"].as_u64().unwrap()).unwrap();
        return interval(IpNet::new(address(&prefix["addr"]), length).unwrap());
    }
    if let Some(range) = element.get("range") {
        return (address(&range[0]), address(&range[1]));
    }
    (address(element), address(element))
}

fn nft_space(elements: Option<&Value>) -> PrefixSet {
    let mut prefixes: Vec<IpNet> = Vec::new();
    for interval in nft_intervals(elements) {
        match interval {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                prefixes.extend(Ipv4Subnets::new(first, last, 0).map(IpNet::V4));
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                prefixes.extend(Ipv6Subnets::new(first, last, 0).map(IpNet::V6));
            }
            mixed => panic!("an interval of two families: {mixed:?}"),
        }
    }
    prefixes.into_iter().collect()
}

/// The chains of `nft -j list ruleset`, with the sets put in their place. There must be only one table.
pub(crate) fn nft_chains(json: &str) -> Chains {
    let document: Value = serde_json::from_str(json).unwrap();
    let objects = document["nftables"].as_array().unwrap();
    let of = |kind: &'static str| objects.iter().filter_map(move |object| object.get(kind));
    assert_eq!(of("table").count(), 1, "one table");
    let sets: BTreeMap<&str, PrefixSet> =
        of("set").map(|set| (set["name"].as_str().unwrap(), nft_space(set.get("elem")))).collect();
    let mut chains = Chains::default();
    for chain in of("chain") {
        chains.0.insert(chain["name"].as_str().unwrap().to_owned(), Vec::new());
    }
    for rule in of("rule") {
        let chain = rule["chain"].as_str().unwrap();
        chains.0.get_mut(chain).unwrap().push(nft_rule(rule, &sets));
    }
    chains
}

fn nft_rule(rule: &Value, sets: &BTreeMap<&str, PrefixSet>) -> (Match, Verdict) {
    let mut asked = Match::default();
    let mut verdict = Verdict::Continue;
    for statement in rule["expr"].as_array().unwrap() {
        let (kind, body) = statement.as_object().unwrap().iter().next().unwrap();
        match kind.as_str() {
            "match" => nft_match(body, sets, &mut asked),
            "accept" => verdict = Verdict::Accept,
            "drop" | "reject" => verdict = Verdict::Refuse,
            "jump" | "goto" => {
                verdict = Verdict::Jump(body["target"].as_str().unwrap().to_owned());
            }
            "counter" | "log" | "limit" => {}
            other => panic!("unknown statement {other} in {rule}"),
        }
    }
    (asked, verdict)
}

fn nft_match(body: &Value, sets: &BTreeMap<&str, PrefixSet>, asked: &mut Match) {
    let (left, right) = (&body["left"], &body["right"]);
    assert!(matches!(body["op"].as_str(), Some("==" | "in")), "operator in {body}");
    // One value, or several in an anonymous set.
    let single = std::slice::from_ref(right);
    let several = right.get("set").or_else(|| right.is_array().then_some(right));
    let values = several.and_then(Value::as_array).map_or(single, Vec::as_slice);
    let texts =
        || values.iter().map(|value| value.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>();
    if let Some(key) = left.pointer("/meta/key") {
        match key.as_str().unwrap() {
            "oifname" => asked.towards = Some(texts()),
            "iifname" => asked.from = Some(texts()),
            "l4proto" => asked.protocol = texts().pop_first(),
            other => panic!("unknown meta key {other}"),
        }
        return;
    }
    if left.pointer("/ct/key").is_some_and(|key| key == "state") {
        asked.established = !texts().contains("new");
        return;
    }
    let payload = &left["payload"];
    let protocol = payload["protocol"].as_str().unwrap_or_else(|| panic!("unknown match {body}"));
    match payload["field"].as_str().unwrap() {
        field @ ("saddr" | "daddr") => {
            let space = match right.as_str().and_then(|text| text.strip_prefix('@')) {
                Some(name) => {
                    asked.way = Some(if field == "daddr" { Way::Out } else { Way::In });
                    sets[name].clone()
                }
                None => nft_space(Some(&Value::from(values))),
            };
            let place = if field == "saddr" { &mut asked.source } else { &mut asked.destination };
            assert!(place.replace(space).is_none(), "two matches of {field}");
        }
        "dport" => {
            asked.protocol = Some(protocol.to_owned());
            asked.ports = Some(values.iter().map(nft_ports).collect());
        }
        other => panic!("unknown field {other}"),
    }
}

fn nft_ports(value: &Value) -> Ports {
    let port = |value: &Value| u16::try_from(value.as_u64().unwrap()).unwrap();
    match value.get("range") {
        Some(range) => (port(&range[0]), port(&range[1])),
        None => (port(value), port(value)),
    }
}

/// The sets of `ipset save`: what each holds, element by element and in order.
pub(crate) fn ipset_sets(text: &str) -> BTreeMap<String, Vec<IpNet>> {
    let mut sets: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["create", name, "hash:net", "family", "inet" | "inet6", ..] => {
                sets.insert((*name).to_owned(), Vec::new());
            }
            ["add", name, element] => {
                let prefix = element
                    .parse::<IpNet>()
                    .or_else(|_| element.parse::<IpAddr>().map(IpNet::from))
                    .unwrap();
                sets.get_mut(*name).unwrap().push(prefix);
            }
            _ => panic!("unknown line of ipset: {line}"),
        }
    }
    for list in sets.values_mut() {
        list.sort_unstable();
    }
    sets
}

/// The chains of `iptables-save` or `ip6tables-save`, with the sets put in their place.
pub(crate) fn iptables_chains(text: &str, sets: &BTreeMap<String, Vec<IpNet>>) -> Chains {
    let mut chains = Chains::default();
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix(':') {
            chains.0.insert(declared.split(' ').next().unwrap().to_owned(), Vec::new());
        } else if line.starts_with("-A ") {
            let words = words(line);
            chains.0.get_mut(&words[1]).unwrap().push(iptables_rule(&words[2..], sets));
        } else {
            let known = line.starts_with('#') || line.starts_with('*') || line == "COMMIT";
            assert!(known, "unknown line of iptables: {line}");
        }
    }
    chains
}

/// The words of a line; in quotes a space is part of a word, and `\` takes the next character as it is.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            '\\' => words.last_mut().unwrap().extend(characters.next()),
            other => words.last_mut().unwrap().push(other),
        }
    }
    words
}

fn iptables_rule(words: &[String], sets: &BTreeMap<String, Vec<IpNet>>) -> (Match, Verdict) {
    let mut asked = Match::default();
    let mut verdict = Verdict::Continue;
    let mut words = words.iter().map(String::as_str);
    let name =
        |word: &str| word.strip_suffix('+').map_or(word.to_owned(), |stem| format!("{stem}*"));
    while let Some(option) = words.next() {
        let mut next = || words.next().unwrap_or_else(|| panic!("{option} without a value"));
        let prefix = |text: &str| PrefixSet::from(text.parse::<IpNet>().unwrap());
        match option {
            "-s" => asked.source = Some(prefix(next())),
            "-d" => asked.destination = Some(prefix(next())),
            "-o" => asked.towards = Some([name(next())].into()),
            "-i" => asked.from = Some([name(next())].into()),
            "-p" => asked.protocol = Some(next().to_owned()),
            "--dport" | "--dports" => {
                asked.ports = Some(next().split(',').map(iptables_ports).collect());
            }
            "--match-set" => {
                let space: PrefixSet = sets[next()].iter().copied().collect();
                match next() {
                    "src" => asked.source = Some(space),
                    "dst" => asked.destination = Some(space),
                    other => panic!("unknown side {other}"),
                }
            }
            "--ctstate" => asked.established = !next().split(',').any(|state| state == "NEW"),
            "-j" => {
                verdict = match next() {
                    "ACCEPT" => Verdict::Accept,
                    "DROP" | "REJECT" => Verdict::Refuse,
                    "LOG" => Verdict::Continue,
                    chain => Verdict::Jump(chain.to_owned()),
                };
            }
            "-m" | "--comment" | "--log-prefix" | "--limit" | "--reject-with" => _ = next(),
            other => panic!("unknown option {other}"),
        }
    }
    // One set, one own prefix; without sets the chain tells which end is which.
    asked.way = match &verdict {
        Verdict::Jump(chain) if chain.ends_with("-OUT") => Some(Way::Out),
        Verdict::Jump(chain) if chain.ends_with("-IN") => Some(Way::In),
        _ => None,
    };
    (asked, verdict)
}

fn iptables_ports(text: &str) -> Ports {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    (first.parse().unwrap(), last.parse().unwrap())
}

/// The lists of a folder, by name; the commands beside those of a device (`check.txt` among them) are none.
pub(crate) fn lists(folder: &Path) -> BTreeMap<String, PrefixSet> {
    let mut groups = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().unwrap() != "txt" || path.file_name().unwrap() == "check.txt" {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let prefixes: PrefixSet = text.lines().map(|line| line.parse::<IpNet>().unwrap()).collect();
        // As written, each prefix once and nothing to join.
        assert_eq!(prefixes.len(), text.lines().count(), "{}", path.display());
        groups.insert(path.file_stem().unwrap().to_str().unwrap().to_owned(), prefixes);
    }
    groups
}

/// The groups of a ruleset.json, by name, read without tagwall's own reader.
pub(crate) fn json_groups(document: &Value) -> BTreeMap<String, PrefixSet> {
    let group = |group: &Value| {
        let prefixes = ["v4", "v6"].iter().flat_map(|family| json_prefixes(&group[family]));
        (group["name"].as_str().unwrap().to_owned(), prefixes.collect())
    };
    document["groups"].as_array().unwrap().iter().map(group).collect()
}

fn json_prefixes(list: &Value) -> Vec<IpNet> {
    let list = list.as_array().unwrap();
    list.iter().map(|prefix| prefix.as_str().unwrap().parse().unwrap()).collect()
}

/// What a ruleset.json lets through, with these interfaces where a rule names none.
pub(crate) fn json_facts(document: &Value, egress: &[&str]) -> Vec<Fact> {
    let groups = json_groups(document);
    let mut facts = Vec::new();
    for rule in document["rules"].as_array().unwrap() {
        let (way, own, group) = match rule["direction"].as_str().unwrap() {
            "outbound" => (Way::Out, &rule["source"], &rule["destination"]),
            "inbound" => (Way::In, &rule["destination"], &rule["source"]),
            other => panic!("unknown direction {other}"),
        };
        let named = rule["interfaces"].as_array().unwrap();
        let mut interfaces: Vec<&str> = named.iter().map(|name| name.as_str().unwrap()).collect();
        if interfaces.is_empty() {
            interfaces = egress.to_vec();
        }
        for own in json_prefixes(own) {
            let same_family = |net: &IpNet| net.addr().is_ipv4() == own.addr().is_ipv4();
            let remote: Vec<IpNet> =
                groups[group.as_str().unwrap()].iter().filter(same_family).collect();
            for interface in &interfaces {
                for ports in rule["ports"].as_array().unwrap() {
                    let text = ports.as_str().unwrap();
                    let (first, last) = text.split_once('-').unwrap_or((text, text));
                    facts.push(Fact {
                        way,
                        interface: Some((*interface).to_owned()),
                        own,
                        protocol: rule["protocol"].as_str().unwrap().to_owned(),
                        ports: (first.parse().unwrap(), last.parse().unwrap()),
                        remote: remote.clone(),
                    });
                }
            }
        }
    }
    facts
}
