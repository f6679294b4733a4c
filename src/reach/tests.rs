//! Walks over recorded listings, and over damaged ones.
#![allow(clippy::panic, reason = "to panic is how a test fails")]

mod damaged;
mod hosts;
mod rules;

use std::net::IpAddr;

use super::{Elements, Flow, Key, Lookup, Ours, Reach, Ruleset, SetId, State, Walk};
use crate::prefix::Family;

const DEDICATED: &str = include_str!("tests/dedicated.json");
const DENIED_BEFORE: &str = include_str!("tests/denied-before.json");
const DOCKER: &str = include_str!("tests/docker.json");
const DOCKER_SAVE: &str = include_str!("tests/docker.save");
const DORMANT: &str = include_str!("tests/dormant.json");
const DORMANT_TEXT: &str = include_str!("tests/dormant.txt");
const EMBEDDED: &str = include_str!("tests/embedded.json");
const FIREWALLD_LIKE: &str = include_str!("tests/firewalld-like.json");
const KUBE_LIKE: &str = include_str!("tests/kube-like.json");
const LEGACY_SAVE: &str = include_str!("tests/legacy.save");
const OVERRULED: &str = include_str!("tests/overruled.json");

const ALL: [&str; 9] = [
    DEDICATED,
    DENIED_BEFORE,
    DOCKER,
    DORMANT,
    EMBEDDED,
    FIREWALLD_LIKE,
    KUBE_LIKE,
    OVERRULED,
    r#"{"nftables": []}"#,
];

/// A host with interfaces wan0, lan0, dmz0 and docker0.
fn host(listing: &str) -> Ruleset {
    let names = ["lo", "wan0", "lan0", "dmz0", "docker0"].map(str::to_owned);
    Ruleset::from_json(listing).unwrap().with_interfaces(names)
}

/// A host with two interfaces and no rules of nft.
fn empty() -> Ruleset {
    host(r#"{"nftables": []}"#)
}

fn table() -> Ours {
    Ours { family: "inet".to_owned(), table: "tagwall".to_owned(), chain: None }
}

fn chain(family: &str, table: &str, chain: &str) -> Ours {
    let chain = Some(chain.to_owned());
    Ours { family: family.to_owned(), table: table.to_owned(), chain }
}

/// A new TCP connection to port 443 by wan0.
fn flow(source: &str, destination: &str) -> Flow {
    Flow {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        protocol: Flow::TCP,
        port: Some(443),
        input: None,
        output: Some("wan0".to_owned()),
        state: State::New,
    }
}

fn v4() -> Flow {
    flow("10.20.0.1", "13.107.6.1")
}

fn v6() -> Flow {
    flow("fd00:20::1", "2620:1ec::1")
}

/// Knows the target's sets, and of others what `others` says.
struct Known {
    others: Lookup,
}

impl Elements for Known {
    fn look_up(&self, set: SetId<'_>, key: &[Key]) -> Lookup {
        let ours = set.name.starts_with("tw-devops") || set.name.starts_with("azure");
        match key {
            [Key::Address(IpAddr::V4(address))] if ours => {
                let octets = address.octets();
                if octets[..3] == [13, 107, 6] { Lookup::Present } else { Lookup::Absent }
            }
            [Key::Address(IpAddr::V6(address))] if ours => {
                if address.segments()[..2] == [0x2620, 0x1ec] {
                    Lookup::Present
                } else {
                    Lookup::Absent
                }
            }
            _ => self.others.clone(),
        }
    }
}

const SILENT: Known = Known { others: Lookup::Unknown };
const ABSENT: Known = Known { others: Lookup::Absent };

fn walk(ruleset: &Ruleset, ours: &Ours, flow: &Flow) -> Walk {
    ruleset.walk(ours, flow, &SILENT)
}

#[track_caller]
fn assert_reached(walk: &Walk) {
    assert_eq!(walk.reach, Reach::Reached, "{walk:?}");
}

/// Asserts that the rules are not reached, for this reason.
#[track_caller]
fn assert_not(walk: &Walk, words: &str, graph: bool) {
    match &walk.reach {
        Reach::NotReached { by, by_rule_graph } => {
            assert!(by.contains(words), "{by}");
            assert_eq!(*by_rule_graph, graph, "{by}");
        }
        other => panic!("{other}"),
    }
}

#[track_caller]
fn assert_unknown(walk: &Walk, words: &str) {
    match &walk.reach {
        Reach::Unknown { because } => assert!(because.contains(words), "{because}"),
        other => panic!("{other}"),
    }
}
