//! `tagwall probe` on hosts that others live on: real rules of each kind, in namespaces of the
//! test's own, and flows whose fate is known. Needs root, nft and what each test names.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]

#[path = "common/mod.rs"]
mod common;
#[path = "probe/furnished.rs"]
mod furnished;

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use furnished::Furnished;
use serde_json::Value;

/// The table that tagwall would keep: one destination, everything else dropped.
const TAGWALL: &str = "
table inet tagwall {
    set tw-a-v4 { type ipv4_addr; flags interval; elements = { 203.0.113.0/24 }; }
    set tw-a-v6 { type ipv6_addr; flags interval; elements = { 2001:db8:1::/48 }; }
    chain forward {
        type filter hook forward priority 0; policy accept;
        ct state established,related accept
        iifname lan0 ip daddr @tw-a-v4 tcp dport 443 accept
        iifname lan0 ip6 daddr @tw-a-v6 tcp dport 443 accept
        iifname lan0 drop
    }
}
";

fn nft(host: &Furnished, rules: &str) {
    host.namespace.run(&["nft", "-f", "-"], rules.as_bytes());
}

/// The rule that decided; empty where it was a policy.
fn rule(report: &Value) -> &str {
    report["decided_by"]["rule"].as_str().unwrap_or_default()
}

#[test]
fn own_table_allows_and_refuses() {
    let Some(host) = Furnished::new(&["nft"]) else { return };
    nft(&host, TAGWALL);
    let report = host.probe(0, &["10.20.0.10", "203.0.113.7", "tcp/443"]);
    assert_eq!(report["verdict"], "accepted");
    assert_eq!(report["connection"]["exchange"], "answered");
    assert_eq!(report["decided_by"]["table"], "tagwall");
    assert_eq!(rule(&report), "iifname \"lan0\" ip daddr @tw-a-v4 tcp dport 443 accept");
    assert_eq!((&report["input"], &report["output"]), (&"lan0".into(), &"wan0".into()));
    for refused in [["10.20.0.10", "203.0.113.7", "tcp/80"], ["10.20.0.10", "192.0.2.7", "tcp/443"]]
    {
        let report = host.probe(1, &refused);
        assert_eq!(report["verdict"], "dropped");
        assert_eq!(rule(&report), "iifname \"lan0\" drop");
        assert_eq!(report["path"].as_array().unwrap().len(), 1);
    }
    // The text says the same, and what it does not prove.
    let output = host.attempt(&["10.20.0.10", "203.0.113.7", "udp/443"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("dropped  10.20.0.10 -> 203.0.113.7 udp/443"), "{text}");
    assert!(text.contains("decided by   inet tagwall forward: iifname \"lan0\" drop"), "{text}");
    assert!(text.contains("connection tracking starts empty"), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn ipv6_and_echoes_are_probed() {
    let Some(host) = Furnished::new(&["nft"]) else { return };
    nft(&host, TAGWALL);
    let report = host.probe(0, &["fd00:20::10", "2001:db8:1::7", "tcp/443"]);
    assert!(rule(&report).contains("@tw-a-v6"), "{report:#}");
    assert_eq!(report["connection"]["exchange"], "answered");
    let report = host.probe(1, &["fd00:20::10", "2001:db8:2::7", "tcp/443"]);
    assert_eq!(rule(&report), "iifname \"lan0\" drop");
    host.probe(1, &["fd00:20::10", "2001:db8:1::7", "icmp"]);
    nft(&host, "insert rule inet tagwall forward meta l4proto { icmp, ipv6-icmp, udp } accept");
    for (source, destination) in [("fd00:20::10", "2001:db8:2::7"), ("10.20.0.10", "203.0.113.200")]
    {
        for service in ["icmp", "udp/53"] {
            let report = host.probe(0, &[source, destination, service]);
            assert_eq!(report["connection"]["exchange"], "answered", "{report:#}");
        }
    }
}

#[test]
fn accept_of_tagwall_is_overruled_by_a_later_reject() {
    let Some(host) = Furnished::new(&["nft"]) else { return };
    nft(&host, TAGWALL);
    nft(
        &host,
        "table inet firewalld {
            chain filter_FORWARD {
                type filter hook forward priority filter + 10; policy accept;
                ct state { established, related } accept
                ct status dnat accept
                jump filter_FORWARD_POLICIES
                reject with icmpx admin-prohibited
            }
            chain filter_FORWARD_POLICIES {
                iifname \"lan0\" oifname \"wan0\" jump filter_FWD_internal_allow
            }
            chain filter_FWD_internal_allow {
                ip daddr 203.0.113.128/25 accept
            }
        }",
    );
    let report = host.probe(1, &["10.20.0.10", "203.0.113.7", "tcp/443"]);
    assert_eq!(rule(&report), "reject with icmpx admin-prohibited");
    assert_eq!(report["decided_by"]["table"], "firewalld");
    assert_eq!(report["connection"]["exchange"], "refused");
    let path = report["path"].as_array().unwrap();
    let verdicts: Vec<_> = path.iter().map(|step| (&step["table"], &step["verdict"])).collect();
    let (accept, drop) = (Value::from("accept"), Value::from("drop"));
    let (tagwall, firewalld) = (Value::from("tagwall"), Value::from("firewalld"));
    assert_eq!(verdicts, [(&tagwall, &accept), (&firewalld, &drop)]);
    let report = host.probe(0, &["10.20.0.10", "203.0.113.200", "tcp/443"]);
    assert_eq!(report["path"][1]["rules"].as_array().unwrap().len(), 3, "{report:#}");
}

#[test]
fn docker_rules_of_iptables_decide() {
    let Some(host) = Furnished::new(&["nft", "iptables-nft", "iptables-nft-restore"]) else {
        return;
    };
    nft(&host, TAGWALL);
    host.link("docker0", "172.17.0.1/16");
    host.namespace.run(
        &["iptables-nft-restore"],
        b"*nat\n:PREROUTING ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\n:DOCKER -\n\
          -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n\
          -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\n\
          -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 \
          -j DNAT --to-destination 172.17.0.2:80\n\
          COMMIT\n*filter\n:FORWARD DROP\n:DOCKER -\n:DOCKER-USER -\n\
          -A FORWARD -j DOCKER-USER\n\
          -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
          -A FORWARD -o docker0 -j DOCKER\n-A FORWARD -i docker0 ! -o docker0 -j ACCEPT\n\
          -A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT\n\
          -A DOCKER-USER -m comment --comment \"of the host\" -j RETURN\nCOMMIT\n",
    );
    let report = host.probe(1, &["10.20.0.10", "203.0.113.7", "tcp/443"]);
    assert_eq!(report["decided_by"]["backend"], "iptables-nft");
    assert_eq!(report["decided_by"]["chain"], "FORWARD");
    assert_eq!(rule(&report), "", "the policy decides: {report:#}");
    let rules = report["path"].to_string();
    assert!(rules.contains("-A DOCKER-USER -m comment"), "{rules}");
    // Out of a container: masqueraded, and the answer finds its way back.
    let report = host.probe(0, &["172.17.0.2", "203.0.113.7", "tcp/443"]);
    assert_eq!(rule(&report), "-A FORWARD -i docker0 ! -o docker0 -j ACCEPT");
    assert_eq!(report["connection"]["exchange"], "answered");
    // Into a container: a published port, translated.
    let report = host.probe(0, &["198.51.100.77", "198.51.100.2", "tcp/8080", "--in", "wan0"]);
    assert_eq!(report["output"], "docker0", "{report:#}");
    assert!(rule(&report).starts_with("-A DOCKER -d 172.17.0.2/32"), "{report:#}");
}

#[test]
fn kube_proxy_maps_with_dnat_are_followed() {
    let Some(host) = Furnished::new(&["nft"]) else { return };
    nft(&host, TAGWALL);
    host.link("cni0", "10.244.0.1/24");
    nft(
        &host,
        "table ip kube-proxy {
            map service-ips {
                type ipv4_addr . inet_proto . inet_service : verdict
                elements = { 10.96.0.10 . tcp . 443 : goto svc-api, 10.96.0.11 . udp . 53 : drop }
            }
            chain svc-api {
                numgen random mod 2 vmap { 0 : goto end-a, 1 : goto end-b }
            }
            chain end-a { meta l4proto tcp dnat to 10.244.0.5:6443; }
            chain end-b { meta l4proto tcp dnat to 10.244.0.6:6443; }
            chain services {
                ip daddr . meta l4proto . th dport vmap @service-ips
            }
            chain nat-prerouting {
                type nat hook prerouting priority dstnat; policy accept;
                jump services
            }
            chain filter-prerouting {
                type filter hook prerouting priority dstnat - 10; policy accept;
                ip daddr . meta l4proto . th dport vmap @service-ips
            }
        }
        flush chain ip kube-proxy filter-prerouting
        add rule ip kube-proxy filter-prerouting ip daddr 10.96.0.12 counter drop",
    );
    // tagwall's table sees the translated packet, and does not allow it.
    let report = host.probe(1, &["10.20.0.10", "10.96.0.10", "tcp/443"]);
    assert_eq!(rule(&report), "iifname \"lan0\" drop");
    assert!(report["path"].to_string().contains("dnat to 10.244.0."), "{report:#}");
    nft(&host, "insert rule inet tagwall forward oifname cni0 tcp dport 6443 accept");
    let report = host.probe(0, &["10.20.0.10", "10.96.0.10", "tcp/443"]);
    assert_eq!(report["output"], "cni0");
    assert_eq!(report["connection"]["exchange"], "answered");
    let report = host.probe(1, &["10.20.0.10", "10.96.0.12", "tcp/443"]);
    assert_eq!(rule(&report), "ip daddr 10.96.0.12 counter drop");
}

#[test]
fn legacy_rules_with_ipset_are_seen_by_counters() {
    let programs = ["nft", "ipset", "iptables-legacy", "iptables-legacy-restore"];
    let Some(host) = Furnished::new(&programs) else { return };
    host.namespace.run(
        &["ipset", "restore"],
        b"create allowed hash:net family inet\nadd allowed 203.0.113.0/24\n\
          create all list:set\nadd all allowed\n",
    );
    let loaded = host.namespace.attempt(
        &["iptables-legacy-restore"],
        b"*filter\n:INPUT ACCEPT\n:FORWARD DROP\n:OUTPUT ACCEPT\n:tagwall -\n\
          -A FORWARD -j tagwall\n\
          -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n\
          -A tagwall -p tcp -m set --match-set allowed dst -m tcp --dport 443 -j ACCEPT\n\
          -A tagwall -d 192.0.2.0/24 -j REJECT --reject-with icmp-port-unreachable\nCOMMIT\n",
    );
    if !loaded.status.success() {
        eprintln!("skipped: {}", String::from_utf8_lossy(&loaded.stderr));
        return;
    }
    let report = host.probe(0, &["10.20.0.10", "203.0.113.7", "tcp/443"]);
    assert_eq!(report["connection"]["exchange"], "answered");
    let step = &report["path"][0];
    assert_eq!((&step["backend"], &step["verdict"]), (&"iptables-legacy".into(), &"accept".into()));
    let report = host.probe(1, &["10.20.0.10", "203.0.113.7", "tcp/80"]);
    assert_eq!(report["decided_by"]["chain"], "FORWARD");
    assert_eq!(rule(&report), "");
    let report = host.probe(1, &["10.20.0.10", "192.0.2.7", "udp/53"]);
    assert!(rule(&report).contains("-j REJECT"), "{report:#}");
    assert_eq!(report["connection"]["exchange"], "refused");
    // The host's own counters have counted nothing.
    let saved = host.namespace.run(&["iptables-legacy-save", "-c"], b"");
    assert!(!saved.contains("[1:"), "{saved}");
}

#[test]
fn routing_decides_where_no_rule_does() {
    let Some(host) = Furnished::new(&["nft"]) else { return };
    nft(&host, TAGWALL);
    host.namespace.run(&["ip", "route", "del", "default"], b"");
    let reason = |report: &Value| report["decided_by"]["reason"].as_str().unwrap().to_owned();
    let report = host.probe(1, &["10.20.0.10", "203.0.113.7", "tcp/443"]);
    assert_eq!(reason(&report), "no route to 203.0.113.7: Network is unreachable");
    host.namespace.run(&["ip", "route", "add", "blackhole", "203.0.113.0/25"], b"");
    let report = host.probe(1, &["10.20.0.10", "203.0.113.7", "tcp/443"]);
    assert!(reason(&report).starts_with("no route to 203.0.113.7"), "{report:#}");
    // The command line outweighs the routes.
    let report = host.probe(0, &["10.20.0.10", "203.0.113.7", "tcp/443", "--out", "wan0"]);
    assert_eq!(report["output"], "wan0");
    // Nothing leads back to a source: which interface is meant is not known.
    let output = host.attempt(&["192.0.2.1", "10.20.0.10", "tcp/443"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--in"));
    host.set("net.ipv4.conf.wan0.rp_filter", "1");
    let report = host.probe(1, &["192.0.2.1", "10.20.0.10", "tcp/443", "--in", "wan0"]);
    assert!(reason(&report).contains("rp_filter"), "{report:#}");
    host.set("net.ipv4.ip_forward", "0");
    let report = host.probe(1, &["10.20.0.10", "198.51.100.7", "tcp/443"]);
    assert_eq!(reason(&report), "this host does not forward: net.ipv4.ip_forward is 0");
    host.set("net.ipv6.conf.all.forwarding", "0");
    let report = host.probe(1, &["fd00:20::10", "2001:db8:1::7", "tcp/443"]);
    assert!(reason(&report).contains("net.ipv6.conf.all.forwarding"), "{report:#}");
    host.namespace.run(&["ip", "link", "set", "lan0", "down"], b"");
    let report = host.probe(1, &["10.20.0.10", "198.51.100.7", "tcp/443", "--in", "lan0"]);
    assert_eq!(reason(&report), "interface lan0 is down");
}

#[test]
fn a_dropped_answer_is_found() {
    let Some(host) = Furnished::new(&["nft"]) else { return };
    nft(
        &host,
        "table inet filter {
            chain forward {
                type filter hook forward priority 0; policy drop;
                iifname lan0 accept
            }
        }",
    );
    let report = host.probe(1, &["10.20.0.10", "203.0.113.7", "tcp/443"]);
    assert_eq!(report["packet"], "accepted");
    assert_eq!(report["decided_by"]["direction"], "reply");
    assert_eq!(report["decided_by"]["chain"], "forward");
    assert_eq!(report["connection"]["exchange"], "silent");
}

#[test]
fn flows_of_the_host_itself_are_probed() {
    let Some(host) = Furnished::new(&["nft"]) else { return };
    nft(
        &host,
        "table inet filter {
            chain input {
                type filter hook input priority 0; policy drop;
                ct state established accept
                tcp dport 22 accept
            }
            chain output {
                type filter hook output priority 0; policy accept;
                udp dport 53 reject
            }
        }",
    );
    let report = host.probe(0, &["10.20.0.10", "10.20.0.1", "tcp/22"]);
    assert_eq!((&report["output"], rule(&report)), (&Value::Null, "tcp dport 22 accept"));
    assert_eq!(report["connection"]["exchange"], "answered");
    host.probe(1, &["10.20.0.10", "10.20.0.1", "tcp/23"]);
    let report = host.probe(0, &["198.51.100.2", "203.0.113.7", "tcp/443"]);
    assert_eq!(report["input"], Value::Null);
    assert_eq!(report["connection"]["exchange"], "answered");
    let report = host.probe(1, &["198.51.100.2", "203.0.113.7", "udp/53"]);
    assert_eq!(rule(&report), "udp dport 53 reject");
}

#[test]
fn a_table_with_an_owner_is_cloned() {
    let Some(host) = Furnished::new(&["nft"]) else { return };
    let mut owner = host.owner();
    let tables = "add table inet owned { flags owner; }\n\
                  add chain inet owned forward \
                  { type filter hook forward priority 0; policy accept; }\n\
                  add rule inet owned forward ip daddr 203.0.113.7 drop\n";
    if !owner.load(tables, "203.0.113.7 drop") {
        eprintln!("skipped: this nft or kernel knows no owners");
        return;
    }
    assert!(host.namespace.run(&["nft", "list", "ruleset"], b"").contains("flags owner"));
    let report = host.probe(1, &["10.20.0.10", "203.0.113.7", "tcp/443"]);
    assert_eq!(rule(&report), "ip daddr 203.0.113.7 drop");
    host.probe(0, &["10.20.0.10", "203.0.113.8", "tcp/443"]);
}

#[test]
fn an_unreadable_firewall_is_unknown() {
    let Some(host) = Furnished::new(&["nft"]) else { return };
    nft(&host, TAGWALL);
    let folder = tempfile::tempdir().unwrap();
    let [crash, config] = ["nft", "tagwall.toml"].map(|name| folder.path().join(name));
    common::write(&crash, b"#!/bin/sh\nkill -SEGV $$\n");
    host.namespace.run(&["chmod", "755", crash.to_str().unwrap()], b"");
    common::write(&config, format!("[programs]\nnft = \"{}\"\n", crash.display()).as_bytes());
    let config = config.to_str().unwrap();
    let flow = ["probe", "10.20.0.10", "203.0.113.7", "tcp/443"];
    let command = [&[common::host::BINARY, "--config", config], &flow[..]].concat();
    let output = host.namespace.attempt(&command, b"");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(7), "{text}{output:?}");
    assert!(text.starts_with("unknown  10.20.0.10"), "{text}");
    assert!(text.contains("signal 11"), "{text}");
}

#[test]
fn a_queue_is_unknown_and_says_so() {
    let Some(host) = Furnished::new(&["nft"]) else { return };
    let queue = "table inet ids {
        chain forward { type filter hook forward priority 0; policy accept; tcp dport 443 queue; }
    }";
    if !host.namespace.attempt(&["nft", "-f", "-"], queue.as_bytes()).status.success() {
        eprintln!("skipped: this kernel has no queues");
        return;
    }
    let report = host.probe(7, &["10.20.0.10", "203.0.113.7", "tcp/443"]);
    assert_eq!(report["verdict"], "unknown");
    let reason = report["reason"].as_str().unwrap();
    assert!(reason.contains("inet ids") && reason.contains("queue"), "{reason}");
}

#[test]
fn the_host_is_only_read() {
    let Some(host) = Furnished::new(&["nft"]) else { return };
    nft(&host, TAGWALL);
    let state = || {
        let rules = host.namespace.run(&["nft", "-a", "list", "ruleset"], b"");
        let network = host.namespace.run(&["ip", "-d", "addr"], b"");
        let routes = host.namespace.run(&["ip", "route", "show", "table", "all"], b"");
        [rules, network, routes]
    };
    // The kernel is still looking for duplicates of the addresses at first.
    let settled = |_: &u32| {
        thread::sleep(Duration::from_millis(50));
        !state()[1].contains("tentative")
    };
    (0..200).find(settled).expect("addresses that are no longer tentative");
    let before = state();
    host.probe(0, &["10.20.0.10", "203.0.113.7", "tcp/443"]);
    host.probe(1, &["10.20.0.10", "203.0.113.7", "tcp/80"]);
    assert_eq!(state(), before);
}

/// Killed at any moment, a probe leaves no process; and no namespace, for nothing else holds one.
#[test]
fn a_killed_probe_leaves_nothing_behind() {
    let Some(host) = Furnished::new(&["nft", "unshare"]) else { return };
    nft(&host, TAGWALL);
    let named = || host.namespace.run(&["ip", "netns", "list"], b"").lines().count();
    let _ = named();
    for delay in [5, 20, 50, 100, 150, 200, 300] {
        // All processes of a PID namespace can be counted, by its first one, which is this shell.
        let script = format!(
            "{} probe 10.20.0.10 203.0.113.7 tcp/443 >/dev/null 2>&1 & pid=$!
             read -t 0.{delay:03} nothing; kill -KILL $pid; wait $pid
             for ((try = 0; try < 600; try++)); do
                 processes=(/proc/[0-9]*)
                 [ ${{#processes[@]}} = 1 ] && exit 0
                 read -t 0.05 nothing
             done
             ps ax; exit 1",
            common::host::BINARY
        );
        let child = Command::new("ip")
            .args(["netns", "exec", &host.namespace.0, "unshare", "--pid", "--fork"])
            .args(["--mount-proc", "bash", "-c", &script])
            // Never readable, and never at its end: `read -t` waits for its time.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut child = child;
        let _input = child.stdin.take();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "killed after {delay} ms: {text}");
    }
}
