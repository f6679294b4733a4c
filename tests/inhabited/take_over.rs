//! The first load where somebody else's objects are: refused, or done with consent and a copy.

use std::process::{Command, Stdio};

use crate::common::host::{BINARY, GROUPS, Host};

const FILTER: &str = r#"
table inet filter {
    chain azure {
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        jump azure
    }
    chain input {
        type filter hook input priority filter; policy drop;
        iifname "mgmt0" tcp dport 22 accept
    }
}
"#;

fn target(settings: &str) -> String {
    format!("{GROUPS}[targets.edge]\napply = \"automatic\"\n{settings}\n")
}

/// Is refused with 10, shows this, and changes nothing.
fn refused(host: &Host, shown: &str) {
    let before = host.rules();
    let (_, stderr) = host.expect(10, &["render"]);
    assert!(stderr.contains(shown), "{stderr}");
    assert!(stderr.contains("--take-over") && stderr.contains("nothing was changed"), "{stderr}");
    assert_eq!(host.rules(), before);
    assert!(!host.path("state/current").exists());
}

#[test]
fn table_of_the_host_is_taken_over_with_consent_only() {
    let own = target("on-drift = \"hold\"\n[targets.edge.nftables]\ntable = \"filter\"");
    let Some(host) = Host::new(&["nft"], &own) else { return };
    host.namespace.run(&["nft", "-f", "-"], FILTER.as_bytes());
    let before = host.rules();
    refused(&host, "iifname \"mgmt0\" tcp dport 22 accept");
    let (_, stderr) = host.expect(0, &["render", "--take-over"]);
    assert!(stderr.contains("replaced table inet filter"), "{stderr}");
    host.expect(0, &["status", "--verify"]);
    assert!(!host.rules().contains("mgmt0"));
    // The consent counts when the host's own file has made the table again.
    host.namespace.run(&["nft", "delete", "table", "inet", "filter"], b"");
    host.namespace.run(&["nft", "-f", "-"], FILTER.as_bytes());
    host.expect(0, &["restore", "--overwrite"]);
    host.configure(&own.replace("tcp/443", "tcp/8443"));
    host.expect(0, &["render"]);
    // Back to what was there before: everything is paused, and the table is nobody's to remove any more.
    let (stdout, _) = host.expect(0, &["restore", "--before-take-over"]);
    assert!(stdout.contains("edge"), "{stdout}");
    assert_eq!(host.rules(), before);
    host.configure(&format!("{GROUPS}[targets.lists.list]\n"));
    host.expect(0, &["resume"]);
    let (_, stderr) = host.expect(0, &["render"]);
    assert!(stderr.contains("does not carry tagwall's mark any more"), "{stderr}");
    assert_eq!(host.rules(), before);
    // The consent went with the target.
    host.configure(&own);
    host.expect(10, &["render"]);
    assert_eq!(host.rules(), before);
}

#[test]
fn consent_in_the_configuration_counts() {
    let own = target("take-over = true\n[targets.edge.nftables]\ntable = \"filter\"");
    let Some(host) = Host::new(&["nft"], &own) else { return };
    host.namespace.run(&["nft", "-f", "-"], FILTER.as_bytes());
    host.expect(0, &["render"]);
    host.expect(0, &["status", "--verify"]);
}

#[test]
fn chain_with_rules_of_the_host_is_refused() {
    let embed = "[targets.edge.nftables]\nmode = \"embed\"\nchain = \"azure\"\n";
    let Some(host) = Host::new(&["nft"], &target(embed)) else { return };
    host.namespace.run(&["nft", "-f", "-"], FILTER.as_bytes());
    host.namespace.run(&["nft", "add rule inet filter azure tcp dport 25 drop"], b"");
    refused(&host, "tcp dport 25 drop");
    // A set of the same name is the host's too.
    host.namespace.run(&["nft", "flush chain inet filter azure"], b"");
    host.namespace.run(&["nft", "add set inet filter tw-devops-v4 { type inet_service; }"], b"");
    refused(&host, "set tw-devops-v4 of table inet filter");
    host.namespace.run(&["nft", "delete set inet filter tw-devops-v4"], b"");
    host.expect(0, &["render"]);
}

#[test]
fn places_that_cannot_be_used_are_refused_by_name() {
    let embed = |table: &str, chain: &str| {
        target(&format!("[targets.edge.nftables]\nmode = \"embed\"\n{table}chain = \"{chain}\"\n"))
    };
    let Some(host) = Host::new(&["nft", "iptables"], &embed("", "forward")) else { return };
    host.namespace.run(&["nft", "-f", "-"], FILTER.as_bytes());
    host.namespace.run(&["iptables", "-P", "FORWARD", "DROP"], b"");
    host.namespace.run(&["iptables", "-N", "azure"], b"");
    let before = host.rules();
    for (table, chain, words) in [
        ("", "forward", "it is a base chain"),
        ("table = \"fitler\"\n", "azure", "it does not exist"),
        ("family = \"ip\"\n", "azure", "iptables keeps it"),
    ] {
        host.configure(&embed(table, chain));
        for args in [&["render"][..], &["render", "--take-over"]] {
            let (_, stderr) = host.expect(7, args);
            assert!(stderr.contains(words), "{words}: {stderr}");
        }
        assert_eq!(host.rules(), before, "{words}");
    }
    // iptables still understands its table.
    assert!(host.namespace.run(&["iptables", "-S"], b"").contains("-N azure"));
}

#[test]
fn table_with_an_owner_is_explained() {
    let embed =
        "[targets.edge.nftables]\nmode = \"embed\"\ntable = \"firewalld\"\nchain = \"azure\"\n";
    let Some(host) = Host::new(&["nft"], &target(embed)) else { return };
    let mut owner = Command::new("ip")
        .args(["netns", "exec", &host.namespace.0, "nft", "-i"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let text = b"table inet firewalld { flags owner; chain azure { }; }\n";
    std::io::Write::write_all(owner.stdin.as_mut().unwrap(), text).unwrap();
    let listed = || host.namespace.run(&["nft", "list", "ruleset"], b"");
    for _ in 0..100 {
        if listed().contains("chain azure") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let before = listed();
    assert!(before.contains("owner"), "{before}");
    let (_, stderr) = host.expect(7, &["render"]);
    assert!(stderr.contains("NftablesTableOwner=no"), "{stderr}");
    assert_eq!(listed(), before);
    drop(owner.stdin.take());
    owner.wait().unwrap();
}

#[test]
fn iptables_chain_with_rules_of_the_host_is_refused() {
    let config = target("[targets.edge.iptables]\nchain = \"DOCKER-USER\"\n");
    let Some(host) = Host::new(&["iptables", "ipset"], &config) else { return };
    host.namespace.run(&["iptables", "-N", "DOCKER-USER"], b"");
    host.namespace.run(&["iptables", "-A", "DOCKER-USER", "-s", "203.0.113.66", "-j", "DROP"], b"");
    host.namespace.run(&["iptables", "-A", "FORWARD", "-j", "DOCKER-USER"], b"");
    refused(&host, "203.0.113.66");
    assert_eq!(host.namespace.run(&["ipset", "list", "-n"], b""), "");
    // With consent it is emptied, and comes back.
    host.expect(0, &["render", "--take-over"]);
    host.expect(0, &["restore", "--before-take-over", "edge"]);
    let rules = host.namespace.run(&["iptables", "-S", "DOCKER-USER"], b"");
    assert_eq!(rules, "-N DOCKER-USER\n-A DOCKER-USER -s 203.0.113.66/32 -j DROP\n");
}

#[test]
fn ipset_of_the_host_is_refused() {
    let config = target("[targets.edge.iptables]\n");
    let Some(host) = Host::new(&["iptables", "ipset"], &config) else { return };
    let create = |kind: &str| {
        host.namespace.run(&["sh", "-c", &format!("ipset create tw-devops-v4 {kind}")], b"");
    };
    let destroy = || host.namespace.run(&["ipset", "destroy", "tw-devops-v4"], b"");
    create("hash:ip,port");
    let (_, stderr) = host.expect(7, &["render", "--take-over"]);
    assert!(stderr.contains("hash:ip,port"), "{stderr}");
    destroy();
    create("hash:net");
    host.namespace.run(&["ipset", "add", "tw-devops-v4", "198.51.100.0/24"], b"");
    refused(&host, "198.51.100.0/24");
    // An empty one of the right type holds nothing that could be lost.
    host.namespace.run(&["ipset", "flush", "tw-devops-v4"], b"");
    host.expect(0, &["render"]);
    // A set that a generation names is ours, whatever the boot.
    let saved = host.namespace.run(&["ipset", "save", "tw-devops-v4"], b"");
    host.configure(&target("[targets.edge.iptables]\nprefix = \"other-\"\n"));
    host.expect(0, &["render"]);
    host.namespace.run(&["ipset", "restore"], saved.as_bytes());
    host.configure(&config);
    host.expect(0, &["render"]);
}

/// Runs `render` with another state directory.
fn by_another(host: &Host, state: &str) -> std::process::Output {
    let (config, state) = (host.path("tagwall.toml"), host.path(state));
    let (config, state) = (config.to_str().unwrap(), state.to_str().unwrap());
    let args = [BINARY, "--config", config, "--state-dir", state, "render"];
    host.namespace.attempt(&args, b"")
}

#[test]
fn record_of_an_earlier_namespace_refuses_nothing() {
    let config =
        target("[targets.edge.iptables]\n[targets.edge.iptables.jump]\nchain = \"FORWARD\"\n");
    let Some(host) = Host::new(&["iptables", "ipset"], &config) else { return };
    host.expect(0, &["render"]);
    assert_eq!(by_another(&host, "second").status.code(), Some(7));
    // What a namespace is like that got the number of one that is gone.
    host.namespace.run(&["nft", "flush", "ruleset"], b"");
    host.namespace.run(&["ipset", "destroy"], b"");
    let output = by_another(&host, "second");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn record_of_a_ruleset_that_went_further_is_of_another_namespace() {
    let config = target("[targets.edge.nftables]\n");
    let Some(host) = Host::new(&["nft"], &config) else { return };
    host.expect(0, &["render"]);
    assert_eq!(by_another(&host, "second").status.code(), Some(7));
    let inode = host.namespace.run(&["stat", "-L", "-c", "%i", "/proc/self/ns/net"], b"");
    let record = format!("/run/tagwall/instances-{}.json", inode.trim());
    let text = std::fs::read_to_string(&record).unwrap();
    let mut changed: serde_json::Value = serde_json::from_str(&text).unwrap();
    changed["ruleset"] = 1_000_000.into();
    std::fs::write(&record, changed.to_string()).unwrap();
    let output = by_another(&host, "second");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn second_instance_on_one_table_is_refused() {
    let config = target("[targets.edge.nftables]\n");
    let Some(host) = Host::new(&["nft"], &config) else { return };
    host.expect(0, &["render"]);
    let before = host.rules();
    let second = by_another(&host, "second");
    let stderr = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(7), "{stderr}");
    assert!(stderr.contains("another state directory") && stderr.contains("/state"), "{stderr}");
    assert_eq!(host.rules(), before);
    // Once the first one has left the table, or is gone altogether, the second may have it.
    host.configure(&target("[targets.edge.nftables]\ntable = \"elsewhere\"\n"));
    host.expect(0, &["render"]);
    host.configure(&config);
    assert!(by_another(&host, "second").status.success());
    std::fs::remove_dir_all(host.path("second")).unwrap();
    assert!(by_another(&host, "third").status.success());
    // In a namespace that got the number of one that is gone, the record is of another kernel.
    host.namespace.run(&["nft", "flush", "ruleset"], b"");
    assert!(by_another(&host, "fourth").status.success());
}
