//! What the rules for Linux let through, shown with real packets: rules rendered from the embedded publication are
//! loaded on a firewall between network namespaces, and connections are tried that must pass and ones that must not,
//! on both sides of every edge (address, port, protocol, source).
//!
//! Needs root, `ip` and `nft`; for the iptables targets their tools too. What is lacking is said, and the test does
//! nothing.
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]

#[path = "common/netns.rs"]
mod netns;
#[path = "packets/probes.rs"]
mod probes;

use std::net::TcpStream;
use std::path::Path;

use netns::Transport::{Ping, Tcp, Udp};
use netns::Verdict::{Passed, Refused, Silent};
use netns::{PacketBed, Probe, Verdict, hindrance, talk};
use probes::{PAIRS, allowed, host_business, neighbours, strangers};
use tagwall::config::Config;
use tagwall::feed;
use tagwall::pipeline::plan;
use tagwall::render::Templates;
use tagwall::selection::{HostAddresses, Publications};
use tagwall::snapshot::Cloud;

/// Rules of every kind. What they mean is written down a second time, by hand, in [`allowed`] and [`neighbours`].
const RULES: &str = r#"
cloud = "example"

[groups.storage]
tags = ["Storage"]
regions = ["westeurope"]

[groups.fixed]
prefixes = ["203.0.113.64/27", "192.0.2.77/32", "2001:db8:77::/64"]

[groups.clients]
prefixes = ["198.51.100.8/30", "2001:db8:c11e::/126"]

[rules.storage]
source = OWN
destination = "storage"
services = ["tcp/443", "tcp/8000-8010", "udp/123", "udp/5000-5002"]
comment = "CHG-1234"
log = true

[rules.fixed-ipv4]
source = ["10.20.0.0/24"]
destination = "fixed"
services = ["tcp/1433"]

[rules.clients]
direction = "inbound"
source = "clients"
destination = OWN
services = ["tcp/443", "udp/6390-6391"]
"#;

/// The subnets that the rules are for; the second has no IPv6.
const DUAL: &str = r#"["10.20.0.0/24", "fd00:20::/64"]"#;
const ONLY_IPV4: &str = r#"["10.20.0.0/24"]"#;

/// The host's own rules around the embedded chain: nothing passes that they or the chain do not let through. They have
/// no word for established connections of the subnets, so that the chain's is the one that is tested.
const HOST_NFTABLES: &str = r#"
flush ruleset
table inet filter {
    chain azure { }
    chain forward {
        type filter hook forward priority 0; policy drop;
        jump azure
        iifname "onprem0" accept
        oifname "onprem0" accept
        ip daddr 10.99.0.0/24 ct state established accept
        ip saddr 10.99.0.0/24 tcp dport 22 accept
    }
}
"#;

/// The same for iptables.
const HOST_IPTABLES: &str = "*filter
:FORWARD DROP [0:0]
-A FORWARD -i onprem0 -j ACCEPT
-A FORWARD -o onprem0 -j ACCEPT
HOST
COMMIT
";

/// One way to enforce the rules on Linux.
struct Dialect {
    /// `[targets.edge.…]` with its settings.
    target: &'static str,
    /// The programs that load it.
    tools: &'static [&'static str],
    /// What the files are called; when they are not rendered, the dialect is not there.
    files: &'static [&'static str],
    /// How the host lives with it.
    host: Host,
    /// What becomes of a connection of the subnets, to or from the internet, that no rule lets through.
    rest: Verdict,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Host {
    /// The rules enforce by themselves; the host has none.
    Open,
    /// The host's own rules drop what nobody lets through.
    Closed,
}

const OWN_DROP: Dialect = Dialect {
    target: "[targets.edge.nftables]\negress = [\"wan0\"]",
    tools: &["nft"],
    files: &["rules.nft"],
    host: Host::Open,
    rest: Silent,
};

const OWN_REJECT: Dialect = Dialect {
    target: "[targets.edge.nftables]\negress = [\"wan0\"]\nrest = \"reject\"",
    rest: Refused,
    ..OWN_DROP
};

const EMBED: Dialect = Dialect {
    target: "[targets.edge.nftables]\nmode = \"embed\"\negress = [\"wan0\"]",
    host: Host::Closed,
    ..OWN_DROP
};

const IPSET_DROP: Dialect = Dialect {
    target: "[targets.edge.iptables]\nrest = \"drop\"\negress = [\"wan0\"]",
    tools: &["iptables", "iptables-restore", "ip6tables", "ip6tables-restore", "ipset"],
    files: &["sets.ipset", "rules.iptables", "rules.ip6tables"],
    host: Host::Open,
    rest: Silent,
};

const IPSET_RETURN: Dialect = Dialect {
    target: "[targets.edge.iptables]\negress = [\"wan0\"]",
    host: Host::Closed,
    ..IPSET_DROP
};

const PLAIN_DROP: Dialect = Dialect {
    target: "[targets.edge.iptables]\nmode = \"plain\"\nrest = \"drop\"\negress = [\"wan0\"]",
    tools: &["iptables", "iptables-restore", "ip6tables", "ip6tables-restore"],
    files: &["rules.iptables", "rules.ip6tables"],
    host: Host::Open,
    rest: Silent,
};

const PLAIN_REJECT: Dialect = Dialect {
    target: "[targets.edge.iptables]\nmode = \"plain\"\nrest = \"reject\"\negress = [\"wan0\"]",
    rest: Refused,
    ..PLAIN_DROP
};

const PLAIN_RETURN: Dialect = Dialect {
    target: "[targets.edge.iptables]\nmode = \"plain\"\negress = [\"wan0\"]",
    host: Host::Closed,
    ..PLAIN_DROP
};

/// Rendered files: name and text.
type Files = Vec<(String, String)>;

fn render(dialect: &Dialect, rules: &str, own: &str) -> Files {
    let text = format!("{}\n{}\n", rules.replace("OWN", own), dialect.target);
    let config = Config::parse(Path::new("packets.toml"), text).unwrap();
    let example = feed::example(&config.policy()).unwrap();
    let publications = Publications::from([(Cloud::Example, example)]);
    let templates = Templates::load(&config).unwrap();
    let artifacts = plan(&config, &publications, &HostAddresses::new(), &templates, None, &[])
        .unwrap()
        .artifacts;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    artifacts.into_iter().map(|artifact| (artifact.file, text(artifact.bytes))).collect()
}

fn file<'f>(files: &'f Files, name: &str) -> &'f str {
    &files.iter().find(|(file, _)| file == name).unwrap().1
}

/// Sets up what the host has of its own.
fn prepare(bed: &PacketBed, dialect: &Dialect) {
    let nftables = dialect.files == ["rules.nft"];
    match dialect.host {
        Host::Open => {}
        Host::Closed if nftables => _ = bed.on_firewall("nft", &["-f", "-"], HOST_NFTABLES),
        Host::Closed => {
            let other = "-A FORWARD -d 10.99.0.0/24 -m conntrack --ctstate ESTABLISHED -j ACCEPT
-A FORWARD -s 10.99.0.0/24 -p tcp --dport 22 -j ACCEPT";
            bed.on_firewall("iptables-restore", &[], &HOST_IPTABLES.replace("HOST", other));
            bed.on_firewall("ip6tables-restore", &[], &HOST_IPTABLES.replace("HOST\n", ""));
        }
    }
}

/// Loads the files as an administrator would, who may do it again and again.
fn load(bed: &PacketBed, files: &Files) {
    for (name, text) in files {
        match name.as_str() {
            "rules.nft" => _ = bed.on_firewall("nft", &["-f", "-"], text),
            "sets.ipset" => _ = bed.on_firewall("ipset", &["restore"], text),
            "rules.iptables" | "rules.ip6tables" => {}
            other => panic!("what is {other}?"),
        }
    }
    for (name, program) in [("rules.iptables", "iptables"), ("rules.ip6tables", "ip6tables")] {
        if files.iter().any(|(file, _)| file == name) {
            let restore = format!("{program}-restore");
            bed.on_firewall(&restore, &["-n", "-w", "5"], file(files, name));
            if !bed.try_on_firewall(program, &["-C", "FORWARD", "-j", "TAGWALL"], "") {
                bed.on_firewall(program, &["-I", "FORWARD", "-j", "TAGWALL"], "");
            }
        }
    }
}

fn with(probes: Vec<Probe>, verdict: Verdict) -> impl Iterator<Item = (Probe, Verdict)> {
    probes.into_iter().map(move |probe| (probe, verdict))
}

/// Everything, with what must become of it.
fn expected(dialect: &Dialect) -> Vec<(Probe, Verdict)> {
    let others = if dialect.host == Host::Open { Passed } else { Silent };
    with(allowed(), Passed)
        .chain(with(neighbours(), dialect.rest))
        .chain(with(strangers(), others))
        .chain(with(host_business(), Passed))
        .collect()
}

fn assert_as_expected(bed: &PacketBed, when: &str, expected: &[(Probe, Verdict)]) {
    let faults = bed.faults(expected);
    assert!(
        faults.is_empty(),
        "{when}: {} of {} connections\n{}\n\n{}",
        faults.len(),
        expected.len(),
        faults.join("\n"),
        rules_in_force(bed)
    );
}

fn rules_in_force(bed: &PacketBed) -> String {
    bed.on_firewall("nft", &["list", "ruleset"], "")
}

/// Why the test cannot be done here. Says so.
fn skipped(name: &str, dialect: &Dialect) -> bool {
    let why = hindrance(dialect.tools).or_else(|| {
        let files = render(dialect, RULES, DUAL);
        let missing =
            dialect.files.iter().find(|name| !files.iter().any(|(file, _)| file == *name));
        missing.map(|file| format!("{file} is not rendered"))
    });
    if let Some(why) = &why {
        eprintln!("skipped: {name}: {why}");
    }
    why.is_some()
}

fn keeps_its_promises(name: &str, dialect: &Dialect) {
    if skipped(name, dialect) {
        return;
    }
    let bed = PacketBed::new();
    let files = render(dialect, RULES, DUAL);
    let expected = expected(dialect);

    // Without rules everything passes: what is silent later is so because of them.
    let all: Vec<_> = expected.iter().map(|(probe, _)| (*probe, Passed)).collect();
    assert_as_expected(&bed, "without rules", &all);

    prepare(&bed, dialect);
    load(&bed, &files);
    assert_as_expected(&bed, "loaded", &expected);

    // Connections that live on while the same rules, and then others, are loaded.
    let outbound = PAIRS.map(|(own, remote)| Probe::new(own, remote, Tcp, 443));
    let inbound = [
        Probe::new("198.51.100.9", "10.20.0.10", Tcp, 443),
        Probe::new("2001:db8:c11e::1", "fd00:20::10", Tcp, 443),
    ];
    let mut lasting: Vec<(Probe, TcpStream)> =
        outbound.iter().chain(&inbound).map(|probe| (*probe, bed.open(probe))).collect();
    assert_lasting(&mut lasting, "just opened");
    load(&bed, &files);
    assert_lasting(&mut lasting, "rules loaded again");
    assert_as_expected(&bed, "loaded twice", &expected);

    // Other ports, and a group without its prefixes: the new rules are for new connections.
    let changed = RULES.replace("tcp/443", "tcp/444").replace("\"westeurope\"", "\"northeurope\"");
    load(&bed, &render(dialect, &changed, DUAL));
    assert_lasting(&mut lasting, "other rules loaded");
    let moved = [
        Probe::new("10.20.0.10", "198.18.38.7", Tcp, 444),
        Probe::new("fd00:20::10", "2001:db8:3:242::7", Tcp, 444),
        Probe::new("198.51.100.9", "10.20.0.10", Tcp, 444),
        Probe::new("2001:db8:c11e::1", "fd00:20::10", Tcp, 444),
    ];
    let gone = outbound.into_iter().chain(inbound).chain([
        Probe::new("10.20.0.10", "198.18.38.7", Tcp, 443),
        Probe::new("10.20.0.10", "198.18.34.7", Udp, 123),
    ]);
    let now: Vec<_> =
        with(moved.to_vec(), Passed).chain(with(gone.collect(), dialect.rest)).collect();
    assert_as_expected(&bed, "other rules loaded", &now);
}

/// A subnet without IPv6 opens no IPv6, though the groups have IPv6 addresses. A host that closes IPv6 shows it.
fn opens_no_ipv6_without_a_source(name: &str, dialect: &Dialect) {
    if skipped(name, dialect) {
        return;
    }
    let bed = PacketBed::new();
    prepare(&bed, dialect);
    if dialect.host == Host::Open {
        bed.on_firewall(
            "nft",
            &["-f", "-"],
            "table ip6 host {
                chain forward {
                    type filter hook forward priority 10; policy drop;
                }
            }\n",
        );
    }
    load(&bed, &render(dialect, RULES, ONLY_IPV4));
    let ipv4 = |probe: &Probe| probe.source.is_ipv4();
    let expected: Vec<_> = with(allowed(), Passed)
        .chain(with(neighbours(), dialect.rest))
        .map(|(probe, verdict)| (probe, if ipv4(&probe) { verdict } else { Silent }))
        .collect();
    assert_as_expected(&bed, "subnets without IPv6", &expected);
}

fn assert_lasting(lasting: &mut [(Probe, TcpStream)], when: &str) {
    for (probe, stream) in lasting {
        assert_eq!(talk(stream), Passed, "{when}: {probe} broke");
    }
}

#[test]
fn nftables_own_drop() {
    keeps_its_promises("nftables own, drop", &OWN_DROP);
}

#[test]
fn nftables_own_reject() {
    keeps_its_promises("nftables own, reject", &OWN_REJECT);
}

#[test]
fn nftables_embed() {
    keeps_its_promises("nftables embed", &EMBED);
}

#[test]
fn iptables_ipset_drop() {
    keeps_its_promises("iptables ipset, drop", &IPSET_DROP);
}

#[test]
fn iptables_ipset_return() {
    keeps_its_promises("iptables ipset, return", &IPSET_RETURN);
}

#[test]
fn iptables_plain_drop() {
    keeps_its_promises("iptables plain, drop", &PLAIN_DROP);
}

#[test]
fn iptables_plain_reject() {
    keeps_its_promises("iptables plain, reject", &PLAIN_REJECT);
}

#[test]
fn iptables_plain_return() {
    keeps_its_promises("iptables plain, return", &PLAIN_RETURN);
}

#[test]
fn no_ipv6_is_opened_for_a_subnet_without() {
    for (name, dialect) in [
        ("nftables own", &OWN_DROP),
        ("nftables embed", &EMBED),
        ("iptables ipset, drop", &IPSET_DROP),
        ("iptables ipset, return", &IPSET_RETURN),
        ("iptables plain, drop", &PLAIN_DROP),
        ("iptables plain, return", &PLAIN_RETURN),
    ] {
        opens_no_ipv6_without_a_source(name, dialect);
    }
}

/// The negative control: rules that are slightly wrong are found out, each by the connections that it is wrong about.
#[test]
fn wrong_rules_are_found_out() {
    if skipped("wrong rules", &OWN_DROP) {
        return;
    }
    let bed = PacketBed::new();
    let files = render(&OWN_DROP, RULES, DUAL);
    let right = file(&files, "rules.nft");
    let expected = expected(&OWN_DROP);

    let probes: Vec<_> = neighbours().into_iter().filter(|probe| probe.transport != Ping).collect();
    let closed: Vec<_> = with(probes, Silent).collect();
    assert_eq!(bed.faults(&closed).len(), closed.len(), "without rules, every neighbour passes");

    for (what, from, to, wrong) in [
        ("too wide", "203.0.113.64/27", "203.0.113.64/26", "10.20.0.10 -> 203.0.113.96 Tcp/1433"),
        ("too narrow", "198.18.34.0/24", "198.18.34.0/25", "10.20.0.10 -> 198.18.34.255 Tcp/443"),
        (
            "IPv6 too wide",
            "2001:db8:3:100::/56",
            "2001:db8:3:100::/55",
            "fd00:20::10 -> 2001:db8:3:ff:ffff:ffff:ffff:ffff Tcp/443",
        ),
        ("a port too many", "8000-8010", "8000-8011", "10.20.0.10 -> 198.18.34.7 Tcp/8011"),
        (
            "another protocol",
            "tcp dport 1433",
            "th dport 1433",
            "10.20.0.10 -> 203.0.113.64 Udp/1433",
        ),
        ("any interface", "oifname \"wan0\" ", "", "10.20.0.10 -> 10.50.0.5 Tcp/443"),
        ("another source", "fd00:20::/64", "fd00:20::/63", "fd00:20:0:1:: -> 2001:db8:4::1 Tcp/80"),
    ] {
        let broken = right.replace(from, to);
        assert_ne!(broken, right, "{what}: there is no {from}");
        bed.on_firewall("nft", &["-f", "-"], &broken);
        let probe: Vec<_> =
            expected.iter().filter(|(probe, _)| probe.to_string() == wrong).copied().collect();
        assert_eq!(probe.len(), 1, "{what}: {wrong} is tried once");
        assert_eq!(bed.faults(&probe).len(), 1, "{what} is not found out");
    }
}

/// A firewall that lets a request through and drops the answer looks silent from where the request came; the bed knows
/// better.
#[test]
fn a_request_that_leaks_out_is_found_out() {
    if let Some(why) = hindrance(&[]) {
        eprintln!("skipped: leaks: {why}");
        return;
    }
    let bed = PacketBed::new();
    bed.on_firewall(
        "nft",
        &["-f", "-"],
        "table inet x {
            chain forward {
                type filter hook forward priority 0; policy accept;
                iifname wan0 drop
            }
        }\n",
    );
    let probes = PAIRS.map(|(own, remote)| Probe::new(own, remote, Udp, 123));
    for probe in &probes {
        assert_eq!(bed.connect(probe), Silent);
    }
    let faults = bed.faults(&probes.map(|probe| (probe, Silent)));
    assert_eq!(faults.len(), probes.len(), "{faults:?}");
    assert!(faults.iter().all(|fault| fault.ends_with("arrived")), "{faults:?}");
}
