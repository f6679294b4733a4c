//! What is in the kernel is what the files say: loaded, read back, seen when it differs, brought back, taken away.

use std::fs;

use crate::common::host::{EDGE, GROUPS, Host, grouped, inventory, nftables};

#[test]
fn a_generation_is_in_the_kernel_and_the_same_again_touches_nothing() {
    let Some(host) = Host::new(&["nft"], &nftables("")) else { return };
    let report = host.json(&["render", "--json"]);
    assert_eq!((&report["result"], &report["generation"]), (&"published".into(), &1.into()));
    assert!(host.rules().contains("192.0.2.128/25"), "{}", host.rules());
    let (status, _) = host.expect(0, &["status", "--verify"]);
    assert!(status.contains("in the kernel, reach unknown: "), "{status}");
    let before = inventory(&host.path("state"));
    let report = host.json(&["render", "--json"]);
    assert_eq!(report["result"], "unchanged");
    assert_eq!(inventory(&host.path("state")), before);
    let loaded = fs::read(host.path("state/current/edge/rules.nft")).unwrap();
    assert!(!loaded.is_empty());
}

#[test]
fn rules_that_were_flushed_are_seen_and_loaded_again() {
    let Some(host) = Host::new(&["nft"], &nftables("")) else { return };
    host.expect(0, &["render"]);
    let rules = host.rules();
    host.namespace.run(&["nft", "flush", "ruleset"], b"");
    let (status, _) = host.expect(1, &["status", "--verify"]);
    assert!(status.contains("table inet tagwall is missing"), "{status}");
    let (_, stderr) = host.expect(0, &["render"]);
    assert!(stderr.contains("brought back what was published"), "{stderr}");
    assert_eq!(host.rules(), rules);
    // One element too few, and a rule by a foreign hand, are seen too.
    host.namespace.run(
        &["nft", "delete", "element", "inet", "tagwall", "tw-devops-v4", "{ 192.0.2.0/26 }"],
        b"",
    );
    let (status, _) = host.expect(1, &["status", "--verify"]);
    assert!(status.contains("lacks 1 and has 0 prefixes too many"), "{status}");
    host.expect(0, &["render"]);
    host.namespace.run(&["nft", "add", "rule", "inet", "tagwall", "tw-outbound", "accept"], b"");
    let (status, _) = host.expect(1, &["status", "--verify"]);
    assert!(status.contains("the rules of table inet tagwall were changed"), "{status}");
}

#[test]
fn iptables_and_ipset_are_verified_loaded_and_read_back() {
    let config = format!(
        "{GROUPS}[targets.edge]\napply = \"automatic\"\n[targets.edge.iptables]\nrest = \"drop\"\n"
    );
    let Some(host) = Host::new(&["iptables", "ipset"], &config) else { return };
    host.expect(0, &["render"]);
    host.jump_to_chains();
    let (status, _) = host.expect(0, &["status", "--verify"]);
    assert!(status.contains("in the kernel, reach unknown: "), "{status}");
    let sets = host.namespace.run(&["ipset", "save"], b"");
    assert!(sets.contains("192.0.2.128/25") && !sets.contains(".new"), "{sets}");
    host.namespace.run(&["ipset", "del", "tw-devops-v4", "192.0.2.0/26"], b"");
    let (status, _) = host.expect(1, &["status", "--verify"]);
    assert!(status.contains("lacks 1"), "{status}");
    host.expect(0, &["render"]);
    host.expect(0, &["status", "--verify"]);
    host.namespace.run(&["iptables", "-F", "TAGWALL"], b"");
    host.expect(1, &["status", "--verify"]);
    host.expect(0, &["render"]);
    host.expect(0, &["status", "--verify"]);
    // A set in use gets other parameters by a swap; one that cannot be what the file says is refused before anything changes.
    let sized =
        |size: &str| config.replace("\"drop\"", &format!("\"drop\"\nmax-elements = {size}"));
    host.configure(&sized("70000"));
    host.expect(0, &["render"]);
    let header = host.namespace.run(&["ipset", "list", "-t", "tw-devops-v4"], b"");
    assert!(header.contains("maxelem 70000"), "{header}");
    host.expect(0, &["status", "--verify"]);
    host.configure(&format!("{config}hash-size = 4294967295\n"));
    let (_, stderr) = host.expect(7, &["render"]);
    assert!(stderr.contains("target edge, verify"), "{stderr}");
    host.expect(0, &["status", "--verify"]);
}

#[test]
fn installed_copies_follow_and_a_second_process_waits_outside() {
    let Some(host) = Host::new(&["nft"], "") else { return };
    let installed = host.path("installed.nft");
    let config = nftables("").replace(
        "apply = \"automatic\"",
        &format!("apply = \"automatic\"\npath = \"{}\"", installed.display()),
    );
    host.configure(&config);
    host.expect(0, &["render"]);
    assert_eq!(
        fs::read(&installed).unwrap(),
        fs::read(host.path("state/current/edge/rules.nft")).unwrap()
    );
    // The lock is the kernel's: held by a process of ours, it keeps tagwall out.
    let lock = fs::OpenOptions::new().write(true).open(host.path("state/lock")).unwrap();
    lock.lock().unwrap();
    let (_, stderr) = host.expect(8, &["render"]);
    assert!(stderr.contains("state"), "{stderr}");
    lock.unlock().unwrap();
    host.expect(0, &["render"]);
}

#[test]
fn foreign_edits_are_shown_and_overwritten_or_held() {
    let Some(host) = Host::new(&["nft"], "") else { return };
    let installed = host.path("installed.nft");
    let config = |prefix: &str, more: &str| {
        let edge = EDGE.replace(
            "apply = \"automatic\"\n",
            &format!("apply = \"automatic\"\npath = \"{}\"\n{more}", installed.display()),
        );
        grouped(prefix, &edge)
    };
    fs::write(&installed, "# the host's own\n").unwrap();
    host.configure(&config("\"192.0.2.0/26\"", ""));
    host.expect(0, &["render"]);
    let kept = host.path("state/generations/000001/archive/edge.foreign.rules.nft");
    assert_eq!(fs::read_to_string(&kept).unwrap(), "# the host's own\n");
    // Somebody edits the file, and the kernel.
    let edit = || {
        let text = fs::read_to_string(&installed).unwrap();
        fs::write(&installed, text + "# mine\n").unwrap();
        host.namespace.run(
            &["nft", "add", "element", "inet", "tagwall", "tw-a-v4", "{ 198.51.100.0/24 }"],
            b"",
        );
    };
    edit();
    let (status, _) = host.expect(1, &["status", "--verify"]);
    for shown in
        ["installed.nft was changed", "+# mine", "+198.51.100.0/24", "has 1 prefixes too many"]
    {
        assert!(status.contains(shown), "{shown}: {status}");
    }
    // hold: nothing is published to it, and nothing is lost.
    let (_, stderr) = host.expect(0, &["render"]);
    assert!(stderr.contains("+# mine") && stderr.contains("brought back"), "{stderr}");
    host.configure(&config("\"192.0.2.0/25\"", "on-drift = \"hold\"\n"));
    host.expect(0, &["render"]);
    edit();
    let rules = host.rules();
    host.configure(&config("\"192.0.2.0/24\"", "on-drift = \"hold\"\n"));
    let (_, stderr) = host.expect(7, &["render"]);
    assert!(
        stderr.contains("on-drift is \"hold\"") && stderr.contains("nothing was changed"),
        "{stderr}"
    );
    assert_eq!(host.rules(), rules);
    host.configure(&config("\"192.0.2.0/25\"", "on-drift = \"hold\"\n"));
    let (_, stderr) = host.expect(0, &["render"]);
    assert!(stderr.contains("left alone"), "{stderr}");
    assert_eq!(host.rules(), rules);
    host.expect(1, &["restore"]);
    assert_eq!(host.rules(), rules);
    host.expect(0, &["restore", "--overwrite"]);
    host.expect(0, &["status", "--verify"]);
    edit();
    // What is lost altogether is brought back all the same.
    fs::remove_file(&installed).unwrap();
    host.namespace.run(&["nft", "flush", "ruleset"], b"");
    host.expect(0, &["render"]);
    host.expect(0, &["status", "--verify"]);
    // restore: overwritten, and what was there is kept and told.
    edit();
    host.configure(&config("\"192.0.2.0/24\"", ""));
    host.expect(0, &["render"]);
    let (status, _) = host.expect(0, &["status", "--verify"]);
    assert!(
        status.contains("had been changed by somebody else") && status.contains("+# mine"),
        "{status}"
    );
    assert!(!fs::read_to_string(&installed).unwrap().contains("mine"));
}

#[test]
fn what_no_generation_has_any_more_leaves_the_kernel() {
    let Some(host) = Host::new(&["nft", "iptables", "ipset"], "") else { return };
    let one = "[groups.a]\nprefixes = [\"192.0.2.0/26\"]\n[rules.a]\nsource = [\"10.20.0.0/24\"]\n\
               destination = \"a\"\nservices = [\"tcp/443\"]\ninterfaces = [\"wan0\"]\n";
    host.namespace.run(
        &["nft", "add table inet filter; add chain inet filter azure; \
            add chain inet filter forward { type filter hook forward priority 0; }; \
            add rule inet filter forward jump azure; add set inet filter theirs { type ipv4_addr; }"],
        b"",
    );
    host.namespace.run(&["iptables", "-A", "FORWARD", "-s", "10.9.0.0/16", "-j", "ACCEPT"], b"");
    let targets = "[targets.embed]\napply = \"automatic\"\n[targets.embed.nftables]\nmode = \"embed\"\n\
                   [targets.own]\napply = \"automatic\"\n[targets.own.nftables]\n\
                   [targets.old]\napply = \"automatic\"\n[targets.old.iptables]\n";
    host.configure(&grouped("\"192.0.2.0/26\"", targets));
    host.expect(0, &["render"]);
    host.namespace.run(&["iptables", "-A", "FORWARD", "-j", "TAGWALL"], b"");
    assert!(host.rules().contains("tw-b-v4"));
    // A vanished group: its sets go everywhere.
    host.configure(&(one.to_owned() + targets));
    host.expect(0, &["render"]);
    assert!(!host.rules().contains("tw-b-v4"), "{}", host.rules());
    assert!(!host.namespace.run(&["ipset", "list", "-n"], b"").contains("tw-b"));
    host.expect(0, &["status", "--verify"]);
    // Vanished targets: everything goes that nobody uses; what the host's rules jump to is emptied and told.
    host.configure(&(one.to_owned() + "[targets.lists.list]\n"));
    host.expect(0, &["render"]);
    let rules = host.rules();
    assert!(!rules.contains("table inet tagwall") && !rules.contains("tw-"), "{rules}");
    assert!(rules.contains("set theirs") && rules.contains("jump azure"), "{rules}");
    let sets = host.namespace.run(&["ipset", "list", "-n"], b"");
    assert_eq!(sets, "");
    let saved = host.namespace.run(&["iptables-save", "-t", "filter"], b"");
    assert!(saved.contains("10.9.0.0/16") && !saved.contains("TAGWALL-OUT"), "{saved}");
    let (status, _) = host.expect(0, &["status"]);
    assert!(
        status.contains("chain azure of table inet filter is not needed any more and stays")
            && status.contains("chain TAGWALL (iptables)"),
        "{status}"
    );
}

#[test]
fn how_long_each_step_took_is_kept_and_told() {
    let check = "[targets.lists]\nverify = [\"/bin/true\"]\nreload = [\"/bin/true\"]\n[targets.lists.list]\n";
    let Some(host) = Host::new(&["nft"], &grouped("\"192.0.2.0/26\"", &(EDGE.to_owned() + check)))
    else {
        return;
    };
    host.expect(0, &["render"]);
    let steps = || {
        let status = host.json(&["status", "--json"]);
        let of = |index: usize| -> Vec<String> {
            let took = status["targets"][index]["microseconds"].as_object().unwrap().clone();
            assert!(took.values().all(|took| took.as_u64().unwrap() > 0), "{took:?}");
            took.into_iter().map(|(step, _)| step).collect()
        };
        [of(0), of(1)].concat()
    };
    // One target is loaded: loading verifies it.
    assert_eq!(steps(), ["apply", "read-back", "reload", "verify"]);
    let (status, _) = host.expect(0, &["status"]);
    assert!(status.contains("  took: apply ") && status.contains(", read back "), "{status}");
    // A target that is not touched took what it took when it was.
    let before = host.json(&["status", "--json"])["targets"][0]["microseconds"].clone();
    host.configure(&grouped(
        "\"192.0.2.0/26\"",
        &(EDGE.to_owned() + &check.replace("/bin/true", "/usr/bin/true")),
    ));
    host.expect(0, &["render"]);
    assert_eq!(host.json(&["status", "--json"])["targets"][0]["microseconds"], before);
}
