//! Objects of others: never listed, compared, changed or removed.

use crate::common::host::{GROUPS, Host};

/// A table of the host's with objects of every kind, for an embedded target in chain azure.
const HOST: &str = r#"
table inet filter {
    set open_ports { type inet_service; flags interval; elements = { 22, 443, 8000-8100 }; }
    set links { type ifname; elements = { "mgmt0", "lan0" }; }
    set pairs { type ipv4_addr . inet_service; flags interval; elements = { 192.0.2.1 . 80, 198.51.100.0/24 . 443 }; }
    set marks { type mark; elements = { 0x00000001, 0x000000ff }; }
    set seen { type ipv4_addr; size 128; flags dynamic,timeout; timeout 1h; }
    map zones { type ipv4_addr : mark; elements = { 192.0.2.7 : 0x00000007 }; }
    map verdicts { type inet_service : verdict; elements = { 25 : drop }; }
    counter hits { packets 3 bytes 4 }
    quota most { over 5 mbytes used 1 kbytes }
    chain azure {
    }
    chain input {
        type filter hook input priority filter; policy drop;
        iifname @links tcp dport @open_ports accept
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        tcp dport vmap @verdicts
        jump azure
    }
}
table bridge frames {
    chain forward {
        type filter hook forward priority 0; policy accept;
        ether type arp accept
    }
}
table netdev early {
}
"#;

fn embedded(more: &str) -> String {
    format!(
        "{GROUPS}[targets.edge]\napply = \"automatic\"\n{more}\n[targets.edge.nftables]\nmode = \"embed\"\n\
         table = \"filter\"\nchain = \"azure\"\n"
    )
}

/// The ruleset without the chain and the sets of the target.
fn theirs(host: &Host) -> String {
    let listed = host.namespace.run(&["nft", "list", "ruleset"], b"");
    let mut kept = String::new();
    let mut ours = false;
    for line in listed.lines() {
        ours |= line.starts_with("\tchain azure {") || line.starts_with("\tset tw-");
        if !ours && !line.is_empty() {
            kept.push_str(line);
            kept.push('\n');
        }
        ours &= line != "\t}";
    }
    kept
}

#[test]
fn embedded_target_leaves_every_kind_of_object_alone() {
    let Some(host) = Host::new(&["nft"], &embedded("")) else { return };
    host.namespace.run(&["nft", "-f", "-"], HOST.as_bytes());
    let before = theirs(&host);
    host.expect(0, &["render"]);
    host.expect(0, &["status", "--verify"]);
    assert_eq!(theirs(&host), before);
    // Objects that come later are no drift.
    for later in [
        "add set inet filter later { type inet_service; elements = { 8443 }; }",
        "add rule inet filter input udp dport 53 accept",
        "add table ip6 more",
        "add set inet tw-others s",
    ] {
        let _ = host.namespace.attempt(&["nft", later], b"");
        host.expect(0, &["status", "--verify"]);
    }
    host.expect(0, &["restore"]);
    host.configure(&embedded("").replace("tcp/443", "tcp/8443"));
    host.expect(0, &["render"]);
    let rules = host.rules();
    for kept in ["set open_ports", "map verdicts", "quota most", "iifname @links", "table ip6 more"]
    {
        assert!(rules.contains(kept), "{kept}: {rules}");
    }
    assert!(rules.contains("tcp dport 8443"), "{rules}");
}

#[test]
fn own_table_comes_and_goes_beside_tables_of_others() {
    let config =
        format!("{GROUPS}[targets.edge]\napply = \"automatic\"\n[targets.edge.nftables]\n");
    let Some(host) = Host::new(&["nft"], &config) else { return };
    host.namespace.run(&["nft", "-f", "-"], HOST.as_bytes());
    let before = host.rules();
    host.expect(0, &["render"]);
    host.expect(0, &["status", "--verify"]);
    host.configure(&(config.clone() + "table = \"other\"\n"));
    host.expect(0, &["render"]);
    host.configure(&format!("{GROUPS}[targets.lists.list]\n"));
    host.expect(0, &["render"]);
    assert_eq!(host.rules(), before);
}

#[test]
fn ipsets_of_every_type_are_left_alone() {
    let config =
        format!("{GROUPS}[targets.edge]\napply = \"automatic\"\n[targets.edge.iptables]\n");
    let Some(host) = Host::new(&["iptables", "ipset"], &config) else { return };
    let mut made = 0;
    for (create, add) in [
        ("svc hash:ip,port timeout 300", "svc 10.96.0.10,tcp:53"),
        ("ports bitmap:port range 1-1024", "ports 80"),
        ("macs hash:mac", "macs 00:00:5e:00:53:01"),
        ("nets hash:net,iface", "nets 192.0.2.0/24,eth0"),
        ("pairs hash:net,net", "pairs 192.0.2.0/24,198.51.100.0/24"),
        ("all list:set", "all svc"),
    ] {
        // Not every kernel has every type.
        let text = format!("create {create}\nadd {add}\n");
        made += u32::from(
            host.namespace.attempt(&["ipset", "restore"], text.as_bytes()).status.success(),
        );
    }
    assert!(made >= 3, "{made} of 6 types of sets");
    let foreign = || {
        let saved = host.namespace.run(&["ipset", "save"], b"");
        let mut kept: Vec<String> = saved
            .lines()
            .filter(|line| !line.contains(" tw-"))
            .map(|line| line.split(" timeout").next().unwrap().to_owned())
            .collect();
        kept.sort();
        kept
    };
    let before = foreign();
    host.expect(0, &["render"]);
    host.expect(0, &["status", "--verify"]);
    host.namespace.run(&["ipset", "create", "later", "bitmap:port", "range", "1-9"], b"");
    host.expect(0, &["status", "--verify"]);
    host.namespace.run(&["ipset", "destroy", "later"], b"");
    host.configure(&format!("{config}max-elements = 70000\n"));
    host.expect(0, &["render"]);
    host.configure(&format!("{GROUPS}[targets.lists.list]\n"));
    host.expect(0, &["render"]);
    assert_eq!(foreign(), before);
    let left = host.namespace.run(&["ipset", "list", "-n"], b"");
    assert!(!left.contains("tw-"), "{left}");
}

#[test]
fn set_that_a_stopped_load_has_left_goes_with_the_next_one() {
    let config =
        format!("{GROUPS}[targets.edge]\napply = \"automatic\"\n[targets.edge.iptables]\n");
    let Some(host) = Host::new(&["iptables", "ipset"], &config) else { return };
    host.expect(0, &["render"]);
    let names = || host.namespace.run(&["ipset", "list", "-n"], b"");
    let before = names();
    let set = "tw-devops-v4";
    // The sets are as they should be, so that no rule passes by one of them.
    for suffix in [".new", ".tmp"] {
        host.namespace.run(&["ipset", "create", &format!("{set}{suffix}"), "hash:net"], b"");
    }
    assert_ne!(names(), before);
    host.namespace.run(&["nft", "flush", "ruleset"], b"");
    host.expect(0, &["restore"]);
    assert_eq!(names(), before);
}

#[test]
fn ip6tables_is_not_run_for_a_target_of_ipv4() {
    let Some(host) = Host::new(
        &["iptables", "ipset"],
        &format!(
            "{GROUPS}[targets.edge]\napply = \"automatic\"\nfamilies = \"ipv4\"\n[targets.edge.iptables]\n"
        ),
    ) else {
        return;
    };
    // A program in the place of ip6tables says what legacy iptables says of a kernel without IPv6.
    let multi = host.path("multi");
    let script = format!(
        "#!/bin/bash\nname=$(basename \"$0\" | sed s,-nft,,)\ncase $name in ip6*) echo \"$name: can't initialize \
         ip6tables table: Address family not supported by protocol\" >&2; exit 3;; esac\nexec -a \"$name\" {} \"$@\"\n",
        host.path("real").display()
    );
    std::fs::copy("/usr/sbin/xtables-nft-multi", host.path("real")).unwrap();
    std::fs::write(&multi, script).unwrap();
    std::fs::set_permissions(&multi, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let run = |args: &str| {
        let mount = format!(
            "mount --bind {} /usr/sbin/xtables-nft-multi && {} --config {} --state-dir {} {args}",
            multi.display(),
            crate::common::host::BINARY,
            host.path("tagwall.toml").display(),
            host.path("state").display(),
        );
        let script = ["unshare", "-m", "--propagation", "private", "sh", "-c", &mount];
        host.namespace.attempt(&script, b"")
    };
    let rendered = run("render");
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
    assert!(run("status --verify").status.success());
    let rules = host.namespace.run(&["iptables", "-S"], b"");
    assert!(rules.contains("-A TAGWALL-OUT"), "{rules}");
    // With both families the message names the kernel and the setting.
    host.configure(&format!(
        "{GROUPS}[targets.edge]\napply = \"automatic\"\n[targets.edge.iptables]\n"
    ));
    let both = run("render");
    let stderr = String::from_utf8_lossy(&both.stderr).into_owned();
    assert_eq!(both.status.code(), Some(7), "{stderr}");
    assert!(stderr.contains("this kernel has no IPv6"), "{stderr}");
    assert!(stderr.contains("families = \"ipv4\""), "{stderr}");
}
