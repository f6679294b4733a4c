//! A host that comes up: saved rules of its own that name our sets, and programs elsewhere than
//! usual.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::common::Namespace;
use crate::common::host::{GROUPS, Host, nftables};

const TOOLS: &[&str] = &["ipset", "iptables", "ip6tables"];

fn iptables() -> String {
    format!(
        "{GROUPS}[targets.edge]\napply = \"automatic\"\n\
         [targets.edge.iptables]\negress = [\"wan0\"]\n"
    )
}

/// The same host after a reboot: the kernel knows nothing any more.
fn rebooted(host: &mut Host) {
    host.namespace = Namespace::new(TOOLS).unwrap();
}

/// The elements of a set, in order.
fn elements(host: &Host, set: &str) -> Vec<String> {
    let saved = host.namespace.run(&["ipset", "save", set], b"");
    let mut found: Vec<String> =
        saved.lines().filter(|line| line.starts_with("add ")).map(str::to_owned).collect();
    found.sort();
    found
}

#[test]
fn saved_iptables_rules_load_after_sets_only() {
    let Some(mut host) = Host::new(TOOLS, &iptables()) else { return };
    let (nothing, _) = host.expect(0, &["restore", "--sets-only"]);
    assert!(nothing.contains("no active target has ipset sets"), "{nothing}");
    assert!(!host.path("state/lock").exists(), "nothing was made");
    host.expect(0, &["render"]);
    let before = elements(&host, "tw-devops-v4");
    assert!(!before.is_empty());
    host.namespace.run(&["iptables", "-P", "FORWARD", "DROP"], b"");
    host.namespace.run(&["iptables", "-A", "FORWARD", "-j", "TAGWALL"], b"");
    let saved = host.namespace.run(&["iptables-save"], b"");
    assert!(saved.contains("--match-set tw-devops-v4"), "{saved}");

    // Without the sets the host's saved rules are refused as a whole.
    rebooted(&mut host);
    let refused = host.namespace.attempt(&["iptables-restore"], saved.as_bytes());
    assert!(!refused.status.success());
    assert!(host.namespace.run(&["iptables", "-S", "FORWARD"], b"").contains("-P FORWARD ACCEPT"));

    // With them they are loaded, and the sets hold what they held.
    let (created, _) = host.expect(0, &["restore", "--sets-only"]);
    assert!(created.contains("target edge: 2 sets created, 0 present"), "{created}");
    assert!(!host.namespace.run(&["iptables-save"], b"").contains("TAGWALL"), "sets alone");
    assert_eq!(elements(&host, "tw-devops-v4"), before);
    host.namespace.run(&["iptables-restore"], saved.as_bytes());
    host.expect(0, &["restore"]);
    let forward = host.namespace.run(&["iptables", "-S", "FORWARD"], b"");
    assert!(forward.contains("-P FORWARD DROP") && forward.contains("-j TAGWALL"), "{forward}");
    host.expect(0, &["status", "--verify"]);

    // A set that exists is left as it is, whatever it holds.
    host.namespace.run(&["ipset", "flush", "tw-devops-v4"], b"");
    let (present, _) = host.expect(0, &["restore", "--sets-only"]);
    assert!(present.contains("0 sets created, 2 present"), "{present}");
    assert!(elements(&host, "tw-devops-v4").is_empty());
}

#[test]
fn sets_only_needs_no_configuration_and_names_sets_of_another_type() {
    let Some(mut host) = Host::new(TOOLS, &iptables()) else { return };
    host.expect(0, &["render"]);
    let before = elements(&host, "tw-devops-v6");
    rebooted(&mut host);
    host.configure("cloud = \"exampel\"\n");
    host.namespace.run(&["ipset", "create", "tw-devops-v4", "hash:ip,port"], b"");
    let (text, _) = host.expect(1, &["restore", "--sets-only"]);
    let conflict = "set tw-devops-v4 is hash:ip,port family inet, not hash:net family inet";
    assert!(text.contains("1 sets created, 0 present") && text.contains(conflict), "{text}");
    assert_eq!(elements(&host, "tw-devops-v6"), before);
    host.namespace.run(&["ipset", "destroy", "tw-devops-v4"], b"");
    host.namespace.run(&["ipset", "create", "tw-devops-v4", "hash:net", "family", "inet6"], b"");
    let (text, _) = host.expect(1, &["restore", "--sets-only"]);
    assert!(text.contains("is hash:net family inet6, not hash:net family inet"), "{text}");
}

#[test]
fn restore_waits_for_starting_agent_and_asks_it() {
    let Some(host) = Host::new(TOOLS, &iptables()) else { return };
    host.expect(0, &["render"]);
    host.namespace.run(&["iptables", "-F", "TAGWALL"], b"");
    // The agent has taken the lock, or will: it is asked once it can be.
    let mut agent = host.start(&["run"]);
    let lock = || fs::read_to_string(host.path("state/lock")).unwrap_or_default();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !lock().contains("tagwall run") {
        assert!(std::time::Instant::now() < end, "the agent did not start");
        std::thread::yield_now();
    }
    host.expect(0, &["restore"]);
    host.expect(0, &["status", "--verify"]);
    let (text, _) = host.expect(0, &["restore", "--sets-only"]);
    assert!(text.contains("0 sets created, 2 present"), "{text}");
    agent.kill().unwrap();
    agent.wait().unwrap();
}

/// A program that this test writes.
fn stand_in(host: &Host, name: &str, script: &str) -> PathBuf {
    let path = host.path(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn with_nft(path: &Path) -> String {
    nftables(&format!("[programs]\nnft = \"{}\"\n", path.display()))
}

#[test]
fn crash_of_nft_is_explained_with_the_way_out() {
    let Some(host) = Host::new(&["nft"], &nftables("")) else { return };
    host.expect(0, &["render"]);
    host.namespace.run(&["nft", "flush", "ruleset"], b"");
    let crashing = stand_in(&host, "nft", "kill -SEGV $$");
    host.configure(&with_nft(&crashing));
    let (stdout, stderr) = host.expect(7, &["restore"]);
    for shown in [
        crashing.to_str().unwrap(),
        "was ended by signal 11 (SIGSEGV)",
        "nft before 1.1.2 crashes on sets and maps that a newer nft",
        "`[programs] nft = \"/path/of/a/newer/nft\"`",
    ] {
        assert!(stderr.contains(shown), "{shown}: {stdout}\n{stderr}");
    }
    // Killed by somebody is another matter.
    host.configure(&with_nft(&stand_in(&host, "killed", "kill -KILL $$")));
    let (_, stderr) = host.expect(7, &["restore"]);
    assert!(stderr.contains("signal 9 (SIGKILL)") && !stderr.contains("crashes"), "{stderr}");
    // The way out works, also where the configuration is wrong elsewhere.
    let used = host.path("used");
    let log = format!("echo \"$*\" >>{}\nexec nft \"$@\"", used.display());
    let newer = stand_in(&host, "nft-1.1.3", &log);
    host.configure(&with_nft(&newer).replace("cloud = \"example\"", "cloud = \"exampel\""));
    host.expect(0, &["restore"]);
    assert!(fs::read_to_string(&used).unwrap().contains("-f"));
    assert!(host.rules().contains("table inet tagwall"));
    // A path with nothing behind it is named.
    host.namespace.run(&["nft", "flush", "ruleset"], b"");
    host.configure(&with_nft(Path::new("/nonexistent/nft")));
    let (_, stderr) = host.expect(7, &["restore"]);
    assert!(stderr.contains("there is no program /nonexistent/nft"), "{stderr}");
}
