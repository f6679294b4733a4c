//! What `status --verify` says about the way of packets to a target's rules, on hosts with rules of
//! their own.
//!
//! Needs root (for network namespaces), nft, iptables and ipset; what is not there is said and left
//! out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]

mod common;

use common::host::{BINARY, GROUPS, Host};
use serde_json::Value;

/// A host with interfaces wan0, lan0, dmz0 and dmz1.
fn host(programs: &[&str], config: &str) -> Option<Host> {
    let host = Host::new(programs, config)?;
    for (one, other) in [("wan0", "lan0"), ("dmz0", "dmz1")] {
        let link = ["ip", "link", "add", one, "type", "veth", "peer", "name", other];
        host.namespace.run(&link, b"");
    }
    Some(host)
}

fn iptables(more: &str) -> String {
    format!("{GROUPS}[targets.edge]\napply = \"automatic\"\n[targets.edge.iptables]\n{more}\n")
}

fn nftables(more: &str) -> String {
    format!("{GROUPS}[targets.edge]\napply = \"automatic\"\n[targets.edge.nftables]\n{more}\n")
}

/// The line of target edge in `status --verify`, which ends with this code.
fn line(host: &Host, code: i32) -> String {
    let (status, _) = host.expect(code, &["status", "--verify"]);
    let line = status.lines().find(|line| line.starts_with("target edge"));
    line.unwrap_or_else(|| panic!("{status}")).to_owned()
}

/// What the JSON says of target edge.
fn reach(host: &Host, code: i32) -> Value {
    let (status, _) = host.expect(code, &["status", "--verify", "--json"]);
    let status: Value = serde_json::from_str(&status).unwrap();
    status["targets"][0]["reach"].clone()
}

fn nft(host: &Host, rules: &str) {
    host.namespace.run(&["nft", "-f", "-"], rules.as_bytes());
}

#[test]
fn chain_without_jump_is_not_reached() {
    let jump_of_the_host = "rest = \"drop\"\njump = { keep = false }";
    let config = iptables(jump_of_the_host);
    let Some(host) = host(&["nft", "iptables", "ipset"], &config) else { return };
    // The first load by hand is taken back, unless it is allowed by the command or the configuration.
    let (_, stderr) = host.expect(10, &["render"]);
    assert!(stderr.contains("no base chain leads to chain TAGWALL"), "{stderr}");
    assert!(stderr.contains("--allow-unreached"), "{stderr}");
    assert!(!host.path("state/current").exists());
    let (_, stderr) = host.expect(0, &["render", "--allow-unreached"]);
    assert!(stderr.contains("loaded, but no packet gets to these rules"), "{stderr}");
    // Later loads stay.
    host.configure(&config.replace("tcp/443", "tcp/8443"));
    host.expect(0, &["render"]);
    let text = line(&host, 1);
    for family in ["IPv4", "IPv6"] {
        let words = format!("{family}: no base chain leads to chain TAGWALL of table ip");
        assert!(text.contains(&words), "{text}");
    }
    assert!(text.contains("in the kernel, NOT REACHED: ") && !text.contains("verified"), "{text}");
    let json = reach(&host, 1);
    assert_eq!(json["families"]["ipv4"]["reached"], "no", "{json}");
    assert_eq!(json["families"]["ipv4"]["by_rule_graph"], true, "{json}");
    // One jump leads one family there.
    host.namespace.run(&["iptables", "-A", "FORWARD", "-j", "TAGWALL"], b"");
    let text = line(&host, 1);
    assert!(text.contains("NOT REACHED: IPv6: no base chain leads to"), "{text}");
    assert!(!text.contains("IPv4"), "{text}");
    host.namespace.run(&["ip6tables", "-A", "FORWARD", "-j", "TAGWALL"], b"");
    let text = line(&host, 0);
    assert!(text.ends_with("in the kernel, reached"), "{text}");
    let json = reach(&host, 0);
    assert_eq!(json["families"]["ipv6"]["reached"], "yes", "{json}");
    host.expect(0, &["status", "--verify", "--strict"]);
    // Somebody builds the chain again without it.
    host.namespace.run(&["iptables", "-F", "FORWARD"], b"");
    let text = line(&host, 1);
    assert!(text.contains("NOT REACHED: IPv4: no base chain leads to"), "{text}");
    // A jump that does not match, and one behind an accept.
    host.namespace.run(&["iptables", "-A", "FORWARD", "-o", "dmz0", "-j", "TAGWALL"], b"");
    let text = line(&host, 1);
    assert!(text.contains("no jump to chain TAGWALL matches the connection: "), "{text}");
    assert!(text.contains("-A FORWARD -o dmz0 -j TAGWALL"), "{text}");
    assert_eq!(reach(&host, 1)["families"]["ipv4"]["by_rule_graph"], false);
    host.namespace.run(&["iptables", "-I", "FORWARD", "-j", "ACCEPT"], b"");
    host.namespace.run(&["iptables", "-A", "FORWARD", "-j", "TAGWALL"], b"");
    let text = line(&host, 1);
    assert!(text.contains("accepted before chain TAGWALL by"), "{text}");
}

#[test]
fn embedded_chain_needs_a_jump_for_each_family() {
    let config = nftables("mode = \"embed\"\nfamily = \"inet\"\ntable = \"filter\"");
    let Some(host) = host(&["nft"], &config) else { return };
    nft(
        &host,
        "table inet filter {\n chain forward {\n  type filter hook forward priority 0; policy drop\n  \
         ct state established,related accept\n }\n}\n",
    );
    let before = host.rules();
    host.expect(10, &["render"]);
    let left = host.rules();
    assert!(!left.contains("443") && !left.contains("set tw-"), "{before}\n{left}");
    host.configure(&config.replace("automatic\"\n", "automatic\"\nallow-unreached = true\n"));
    host.expect(0, &["render"]);
    let text = line(&host, 1);
    assert!(text.contains("no base chain leads to chain azure of table inet filter"), "{text}");
    nft(&host, "add rule inet filter forward meta nfproto ipv4 oifname \"wan0\" jump azure\n");
    let text = line(&host, 1);
    assert!(text.contains("NOT REACHED: IPv6: no jump to chain azure matches"), "{text}");
    nft(&host, "add rule inet filter forward iifname \"lan0\" jump azure\n");
    // From lan0 IPv6 gets there, from others it does not.
    let text = line(&host, 0);
    assert!(text.contains("reach unknown: IPv6: it depends on the input interface"), "{text}");
    host.expect(1, &["status", "--verify", "--strict"]);
    nft(&host, "add rule inet filter forward jump azure\n");
    assert!(line(&host, 0).ends_with("in the kernel, reached"));
}

#[test]
fn egress_that_does_not_exist_is_unknown_and_one_without_rules_is_named() {
    let Some(host) = host(&["nft"], &nftables("").replace("wan0", "wna0")) else { return };
    host.expect(0, &["render"]);
    let text = line(&host, 0);
    assert!(text.contains("reach unknown: "), "{text}");
    assert!(text.contains("IPv4: interface wna0 does not exist"), "{text}");
    host.expect(1, &["status", "--verify", "--strict"]);
    host.configure(&nftables("").replace("wan0", "ppp*"));
    host.expect(0, &["render"]);
    assert!(line(&host, 0).contains("no interface ppp* exists"));
    host.namespace.run(&["ip", "link", "set", "dmz1", "name", "ppp7"], b"");
    assert!(line(&host, 0).ends_with("in the kernel, reached"));
    host.configure(&nftables("egress = [\"wan0\", \"dmz0\"]"));
    host.expect(0, &["render"]);
    let text = line(&host, 0);
    assert!(text.contains("reached; warning: no rule uses the egress interface dmz0"), "{text}");
    host.expect(1, &["status", "--verify", "--strict"]);
}

#[test]
fn reject_of_another_table_overrules() {
    let Some(host) = host(&["nft"], &nftables("")) else { return };
    host.expect(0, &["render"]);
    assert!(line(&host, 0).ends_with("in the kernel, reached"));
    // A set of the host decides, whose elements are asked for one at a time.
    nft(
        &host,
        "table inet other {\n set blocked { type ipv4_addr\n flags interval\n }\n chain late {\n  \
         type filter hook forward priority 10; policy accept\n  \
         ip daddr @blocked counter reject with icmpx type admin-prohibited\n }\n}\n",
    );
    assert!(line(&host, 0).ends_with("in the kernel, reached"));
    nft(&host, "add element inet other blocked { 192.0.2.0/24 }\n");
    let text = line(&host, 1);
    assert!(text.contains("reached; OVERRULED: IPv4: 10.20.0.1 to 192.0.2.1 tcp/443"), "{text}");
    assert!(text.contains("table inet other, chain late: ip daddr @blocked"), "{text}");
    // The drop comes first where the priority is lower.
    nft(&host, "delete table inet other\n");
    nft(
        &host,
        "table ip other {\n chain early {\n  type filter hook forward priority -10; policy drop\n }\n}\n",
    );
    let text = line(&host, 1);
    assert!(text.contains("NOT REACHED: IPv4: dropped before table inet tagwall by"), "{text}");
    assert_eq!(reach(&host, 1)["families"]["ipv4"]["by_rule_graph"], true);
    nft(&host, "table ip other { flags dormant; }\n");
    assert!(line(&host, 0).ends_with("in the kernel, reached"));
    nft(&host, "table inet tagwall { flags dormant; }\n");
    let (status, _) = host.expect(1, &["status", "--verify"]);
    assert!(status.contains("table inet tagwall is dormant"), "{status}");
}

#[test]
fn ipv6_off_is_said_and_is_no_failure() {
    let Some(host) = host(&["nft"], &nftables("")) else { return };
    host.expect(0, &["render"]);
    // The kernel of such a host shows no IPv6 under /proc/self/net.
    let script = format!(
        "mount -t tmpfs none /proc/$$/net && exec {BINARY} --config {} --state-dir {} status --verify",
        host.path("tagwall.toml").display(),
        host.path("state").display()
    );
    let output = host.namespace.attempt(&["unshare", "-m", "sh", "-c", &script], b"");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() && text.is_empty() {
        eprintln!("skipped: {}", String::from_utf8_lossy(&output.stderr).trim());
        return;
    }
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("in the kernel, reached; not applicable: IPv6: the host has no IPv6"),
        "{text}"
    );
}

#[test]
fn legacy_rules_beside_nft_are_followed() {
    let Some(host) = host(&["nft", "iptables-legacy"], &nftables("priority = 10")) else { return };
    host.expect(0, &["render"]);
    let policy = ["iptables-legacy", "-P", "FORWARD", "DROP"];
    if !host.namespace.attempt(&policy, b"").status.success() {
        eprintln!("skipped: the kernel has no tables of iptables-legacy");
        return;
    }
    let text = line(&host, 1);
    assert!(text.contains("the policy of table legacy ip filter, chain FORWARD"), "{text}");
    assert!(text.contains("NOT REACHED: IPv4: dropped before") && !text.contains("IPv6"), "{text}");
    host.namespace.run(&["iptables-legacy", "-A", "FORWARD", "-o", "wan0", "-j", "ACCEPT"], b"");
    let text = line(&host, 1);
    // Replies need a rule of their own.
    assert!(text.contains("reached; OVERRULED: IPv4: replies of 10.20.0.1"), "{text}");
    let state = ["-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT"];
    let rule: Vec<&str> = ["iptables-legacy", "-A", "FORWARD"].into_iter().chain(state).collect();
    host.namespace.run(&rule, b"");
    assert!(line(&host, 0).ends_with("in the kernel, reached"));
}
