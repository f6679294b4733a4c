//! The static walk and the live proof, on the same random flows over rule sets of others: they
//! never contradict each other, and the proof decides what the walk leaves open. Needs root and
//! nft; rule sets of programs that are not there are skipped by name.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]

#[path = "common/mod.rs"]
mod common;
#[path = "probe/furnished.rs"]
mod furnished;
#[path = "probe/others.rs"]
mod others;

use std::fs::File;
use std::os::fd::AsFd as _;
use std::time::Duration;

use fastrand::Rng;
use furnished::Furnished;
use others::Rules;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tagwall::prefix::Family;
use tagwall::probe::{self, Budget, Host, ProbeService, Report, Scratch, Verdict};
use tagwall::reach::{self, Fate, Lookup, Ours, Ruleset, SetId, State};

/// Flows for each rule set.
const FLOWS: usize = 52;
/// The same flows each time.
const SEED: u64 = 20_261_201;

/// Loads a rule set into a fresh host; none where a program or a part of the kernel is missing.
fn host(rules: &Rules) -> Option<Furnished> {
    let mut programs = vec!["nft"];
    if !rules.iptables.is_empty() {
        programs.extend(["iptables-nft-restore", "iptables-nft-save"]);
    }
    if !rules.legacy.is_empty() {
        programs.extend(["ipset", "iptables-legacy-restore", "iptables-legacy-save"]);
    }
    let host = Furnished::new(&programs)?;
    for (name, address) in [("dmz0", "10.21.0.1/24"), ("docker0", "172.17.0.1/16")] {
        host.link(name, address);
    }
    host.namespace.run(&["ip", "addr", "add", "fd00:21::1/64", "dev", "dmz0", "nodad"], b"");
    for (command, text) in [
        (&["ipset", "restore"][..], rules.ipset),
        (&["nft", "-f", "-"], rules.nft),
        (&["iptables-nft-restore"], rules.iptables),
        (&["iptables-legacy-restore"], rules.legacy),
    ] {
        if text.is_empty() {
            continue;
        }
        let output = host.namespace.attempt(command, text.as_bytes());
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(!command.contains(&"nft"), "{}: {words}", rules.name);
            eprintln!("skipped: {}: {words}", rules.name);
            return None;
        }
    }
    Some(host)
}

fn flow(random: &mut Rng) -> probe::Flow {
    let v4 = random.u8(0..4) > 0;
    let host = random.u8(2..250);
    let ways = [("lan0", 0), ("lan0", 0), ("dmz0", 1), ("docker0", 2), ("wan0", 3)];
    let (input, source) = loop {
        let (input, way) = ways[random.usize(..ways.len())];
        let source = match (v4, way) {
            (true, 0) => format!("10.20.0.{host}"),
            (true, 1) => format!("10.21.0.{host}"),
            (true, 2) => format!("172.17.0.{host}"),
            (true, _) => format!("198.51.100.{host}"),
            (false, 0) => format!("fd00:20::{host:x}"),
            (false, 1) => format!("fd00:21::{host:x}"),
            (false, 2) => continue,
            (false, _) => format!("2001:db8:9::{host:x}"),
        };
        break (input, source);
    };
    let low = random.u8(1..16);
    let any = random.u8(3..250);
    let near = if random.bool() { low } else { any };
    let far = [
        ("wan0", format!("203.0.113.{near}"), format!("2001:db8:1::{near:x}")),
        ("wan0", format!("203.0.113.{any}"), format!("2001:db8:3::{near:x}")),
        ("wan0", format!("192.0.2.{near}"), format!("2001:db8:2::{near:x}")),
        ("wan0", format!("198.51.100.{any}"), format!("2001:db8:4::{near:x}")),
        ("dmz0", format!("10.21.0.{any}"), format!("fd00:21::{any:x}")),
        ("docker0", format!("172.17.0.{low}"), format!("fd00:20::{any:x}")),
    ];
    let (output, destination) = loop {
        let (output, to4, to6) = &far[random.usize(..far.len())];
        // Over IPv6 the last one lies behind lan0.
        let output = if !v4 && *output == "docker0" { "lan0" } else { output };
        let destination = if v4 { to4 } else { to6 };
        let own = ["172.17.0.1", "198.51.100.2"].contains(&destination.as_str());
        if output != input && !own && *destination != source {
            break (output, destination);
        }
    };
    let port = [22, 53, 80, 443, 443, 443, 8000, 8080, 6443, 50_000][random.usize(..10)];
    let service = if random.u8(0..4) == 0 || port == 53 {
        ProbeService::Udp(port)
    } else {
        ProbeService::Tcp(port)
    };
    probe::Flow {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        service,
        input: Some(input.to_owned()),
        output: Some(output.to_owned()),
    }
}

/// The answer of the walk, with the elements of sets asked for one by one.
fn walk(host: &Furnished, ruleset: &Ruleset, flow: &probe::Flow) -> Fate {
    let elements = |set: SetId<'_>, key: &[reach::Key]| {
        let words: Vec<String> = key.iter().map(ToString::to_string).collect();
        if set.family == "ipset" {
            let output =
                host.namespace.attempt(&["ipset", "test", set.name, &words.join(",")], b"");
            let words = String::from_utf8_lossy(&output.stderr);
            return match (output.status.success(), words.contains("is NOT in set")) {
                (true, _) => Lookup::Present,
                (false, true) => Lookup::Absent,
                _ => Lookup::Unknown,
            };
        }
        let element = format!(
            "get element {} {} {} {{ {} }}",
            set.family,
            set.table,
            set.name,
            words.join(" . ")
        );
        let output = host.namespace.attempt(&["nft", &element], b"");
        if output.status.success() {
            return Lookup::from_get_element(&String::from_utf8_lossy(&output.stdout));
        }
        let absent = String::from_utf8_lossy(&output.stderr).contains("No such file");
        if absent { Lookup::Absent } else { Lookup::Unknown }
    };
    let protocol = match flow.service {
        ProbeService::Tcp(_) => reach::Flow::TCP,
        _ => reach::Flow::UDP,
    };
    let packet = reach::Flow {
        source: flow.source,
        destination: flow.destination,
        protocol,
        port: Some(flow.service.port()),
        input: flow.input.clone(),
        output: flow.output.clone(),
        state: State::New,
    };
    let ours = Ours { family: "inet".into(), table: "tagwall".into(), chain: None };
    ruleset.walk(&ours, &packet, &elements).fate
}

fn ruleset(host: &Furnished, rules: &Rules) -> Ruleset {
    let run = |command: &[&str]| host.namespace.run(command, b"");
    let names = ["lo", "lan0", "wan0", "dmz0", "docker0"].map(str::to_owned);
    let mut ruleset = Ruleset::from_json(&run(&["nft", "-j", "-t", "list", "ruleset"]))
        .unwrap()
        .with_interfaces(names)
        .with_text(&run(&["nft", "-s", "-t", "list", "ruleset"]));
    if !rules.iptables.is_empty() {
        ruleset = ruleset.with_save(Family::V4, &run(&["iptables-nft-save"]));
    }
    if !rules.legacy.is_empty() {
        ruleset = ruleset.with_legacy(Family::V4, &run(&["iptables-legacy-save"]));
    }
    ruleset
}

/// Sends all flows through one clone.
fn proofs(host: &Furnished, flows: &[probe::Flow]) -> Vec<Report> {
    let inside = || {
        let namespace = File::open(format!("/run/netns/{}", host.namespace.0)).unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        let budget = Budget::new(Duration::from_secs(300));
        let copied = Host::read(&budget).unwrap();
        let scratch = Scratch::new(&copied, &budget).unwrap();
        flows.iter().map(|flow| scratch.send(flow, &budget).unwrap()).collect()
    };
    std::thread::scope(|scope| scope.spawn(inside).join().unwrap())
}

#[test]
fn walk_and_proof_never_contradict_each_other() {
    let mut random = Rng::with_seed(SEED);
    let (mut compared, mut open, mut sets) = (0, 0, 0);
    let mut faults = Vec::new();
    for rules in &others::ALL {
        let Some(host) = host(rules) else { continue };
        sets += 1;
        let flows: Vec<probe::Flow> = (0..FLOWS).map(|_| flow(&mut random)).collect();
        let ruleset = ruleset(&host, rules);
        let fates: Vec<Fate> = flows.iter().map(|flow| walk(&host, &ruleset, flow)).collect();
        let reports = proofs(&host, &flows);
        for ((flow, fate), report) in flows.iter().zip(fates).zip(reports) {
            compared += 1;
            let agrees = match (&fate, report.packet) {
                (Fate::Passes, Verdict::Accepted) | (Fate::Dropped { .. }, Verdict::Dropped) => {
                    true
                }
                (Fate::Unknown { .. }, found) => {
                    open += 1;
                    found != Verdict::Unknown
                }
                _ => false,
            };
            let routed = report
                .decided_by
                .as_ref()
                .is_some_and(|decision| decision.backend == probe::Backend::Routing);
            if !agrees || routed {
                faults.push(format!("{}: {flow:?}: {fate:?}: {report:#?}", rules.name));
            }
        }
    }
    assert!(faults.is_empty(), "{} of {compared}:\n{}", faults.len(), faults.join("\n"));
    eprintln!("{compared} flows over {sets} rule sets, {open} left open by the walk");
    if sets == others::ALL.len() {
        assert!(compared >= 500, "{compared} flows");
        assert!(open * 4 < compared, "the walk leaves {open} of {compared} flows open");
    }
}
