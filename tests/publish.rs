//! Publishing on a real kernel: what is in force is what the files say, and a failure leaves what was before.
//!
//! Needs root (for network namespaces) and nft, iptables, ipset; what is not there is said and left out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::Namespace;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_tagwall");

/// A host: its namespace, configuration and state folder.
struct Host {
    namespace: Namespace,
    folder: tempfile::TempDir,
}

impl Host {
    fn new(programs: &[&str], config: &str) -> Option<Self> {
        let namespace = Namespace::new(programs)?;
        let host = Self { namespace, folder: tempfile::tempdir().unwrap() };
        host.configure(config);
        Some(host)
    }

    fn configure(&self, config: &str) {
        fs::write(self.path("tagwall.toml"), config).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn attempt(&self, args: &[&str]) -> Output {
        let (config, state) = (self.path("tagwall.toml"), self.path("state"));
        let mut command = vec![
            BINARY,
            "--config",
            config.to_str().unwrap(),
            "--state-dir",
            state.to_str().unwrap(),
        ];
        command.extend(args);
        self.namespace.attempt(&command, b"")
    }

    fn expect(&self, code: i32, args: &[&str]) -> (String, String) {
        let output = self.attempt(args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{stdout}\n{stderr}");
        (stdout, stderr)
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.expect(0, args).0).unwrap()
    }

    fn current(&self) -> PathBuf {
        fs::read_link(self.path("state/current")).unwrap()
    }

    /// The kernel's rules as text, without counters.
    fn rules(&self) -> String {
        self.namespace.run(&["nft", "-s", "list", "ruleset"], b"")
    }
}

const GROUPS: &str = "
cloud = \"example\"
[groups.devops]
tags = [\"AzureDevOps\"]
[rules.devops]
source = [\"10.20.0.0/24\", \"fd00:20::/64\"]
destination = \"devops\"
services = [\"tcp/443\"]
interfaces = [\"wan0\"]
";

fn nftables(more: &str) -> String {
    format!(
        "{GROUPS}{more}\n[targets.edge]\napply = \"automatic\"\n[targets.edge.nftables]\n[targets.lists.list]\n"
    )
}

/// Every file below a folder with inode and change time.
fn inventory(folder: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            found.extend(inventory(&path));
        } else if path.file_name().is_some_and(|name| name != "lock") {
            found.insert(path, (metadata.ino(), metadata.mtime(), metadata.mtime_nsec()));
        }
    }
    found
}

#[test]
fn a_generation_is_in_the_kernel_and_the_same_again_touches_nothing() {
    let Some(host) = Host::new(&["nft"], &nftables("")) else { return };
    let report = host.json(&["render", "--json"]);
    assert_eq!((&report["result"], &report["generation"]), (&"published".into(), &1.into()));
    assert!(host.rules().contains("192.0.2.128/25"), "{}", host.rules());
    let (status, _) = host.expect(0, &["status", "--verify"]);
    assert!(status.contains("in the kernel, verified"), "{status}");
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
    assert!(stderr.contains("loaded the rules again"), "{stderr}");
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
fn a_rollback_goes_back_in_files_and_kernel_and_stays_until_resume() {
    let Some(host) = Host::new(&["nft"], &nftables("")) else { return };
    host.expect(0, &["render"]);
    let (rules, file) =
        (host.rules(), fs::read(host.path("state/current/edge/rules.nft")).unwrap());
    host.configure(&nftables("").replace("tcp/443", "tcp/8443"));
    host.expect(0, &["render"]);
    assert_ne!(host.rules(), rules);
    host.expect(0, &["rollback"]);
    assert_eq!(host.rules(), rules);
    assert_eq!(fs::read(host.path("state/current/edge/rules.nft")).unwrap(), file);
    let (_, stderr) = host.expect(2, &["render"]);
    assert!(stderr.contains("pinned"), "{stderr}");
    host.expect(0, &["resume"]);
    host.expect(0, &["render"]);
    assert!(host.rules().contains("8443"));
    let history = host.json(&["history", "--json"]);
    let reasons: Vec<_> = history["generations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["reason"].clone())
        .collect();
    assert_eq!(reasons, ["render", "rollback to 1", "render", "render"]);
    host.expect(2, &["rollback", "99"]);
}

#[test]
fn a_command_that_fails_leaves_everything_as_it_was() {
    let Some(host) = Host::new(&["nft"], &nftables("")) else { return };
    host.expect(0, &["render"]);
    let (rules, current) = (host.rules(), host.current());
    // Verified after edge, applied after edge: the kernel has the new rules when `late` fails.
    let late = |what: &str| {
        nftables("").replace("tcp/443", "tcp/8443")
            + &format!(
                "[targets.zlate]\n{what} = [\"/bin/false\", \"{{path}}\"]\n[targets.zlate.list]\n"
            )
    };
    for (what, step) in [("verify", "verify"), ("reload", "reload")] {
        host.configure(&late(what));
        let (_, stderr) = host.expect(7, &["render"]);
        assert!(stderr.contains(&format!("target zlate, {step}")), "{stderr}");
        assert!(stderr.contains("/bin/false"), "{stderr}");
        assert_eq!(host.rules(), rules, "after {what}");
        assert_eq!(host.current(), current, "after {what}");
        assert!(!host.path("state/journal.json").exists());
    }
    let history = host.json(&["history", "--json"]);
    assert_eq!(history["generations"][0]["result"], "failed");
    host.expect(0, &["status", "--verify"]);
}

#[test]
fn a_first_publication_that_fails_leaves_the_kernel_as_it_was() {
    let failing = "[targets.zlate]\nreload = [\"/bin/false\"]\n[targets.zlate.list]\n";
    let Some(host) = Host::new(&["nft", "iptables", "ipset"], &(nftables("") + failing)) else {
        return;
    };
    host.expect(7, &["render"]);
    assert_eq!(host.rules(), "");
    assert!(!host.path("state/current").exists());
    // A table that had the name before is put back.
    host.namespace.run(&["nft", "add", "table", "inet", "tagwall"], b"");
    host.namespace.run(&["nft", "add", "chain", "inet", "tagwall", "theirs"], b"");
    let before = host.rules();
    host.expect(7, &["render"]);
    assert_eq!(host.rules(), before);
    host.namespace.run(&["nft", "delete", "table", "inet", "tagwall"], b"");
    // The same for a target that joins later.
    let old = "[targets.old]\napply = \"automatic\"\n[targets.old.iptables]\n";
    host.configure(&(GROUPS.to_owned() + old));
    host.expect(0, &["render"]);
    let before = host.rules();
    host.configure(&(nftables("") + old + failing));
    host.expect(7, &["render"]);
    assert_eq!(host.rules(), before);
    host.expect(0, &["status", "--verify"]);
}

#[test]
fn what_the_firewalls_parser_refuses_is_never_visible() {
    let Some(host) = Host::new(&["nft"], &nftables("")) else { return };
    host.expect(0, &["render"]);
    let (rules, before) = (host.rules(), inventory(&host.path("state")));
    let templates = host.path("templates/nftables");
    fs::create_dir_all(&templates).unwrap();
    fs::write(templates.join("own.nft"), "table inet tagwall { chain fwd { drop } }\n").unwrap();
    host.configure(&("templates-dir = \"templates\"\n".to_owned() + &nftables("")));
    let (_, stderr) = host.expect(7, &["render"]);
    assert!(
        stderr.contains("target edge, verify") && stderr.contains("nothing was changed"),
        "{stderr}"
    );
    assert_eq!(host.rules(), rules);
    assert_eq!(inventory(&host.path("state")), before);
}

#[test]
fn an_interrupted_publication_is_mended() {
    let Some(host) = Host::new(&["nft"], &nftables("")) else { return };
    host.expect(0, &["render"]);
    host.configure(&nftables("").replace("tcp/443", "tcp/8443"));
    host.expect(0, &["render"]);
    // As a power cut between the switch and the record leaves it: no outcome, a journal, and an empty kernel.
    let state = host.path("state");
    fs::remove_file(state.join("generations/000002/outcome.json")).unwrap();
    fs::write(
        state.join("journal.json"),
        "{\"format\": \"tagwall-journal/1\", \"from\": 1, \"to\": 2}",
    )
    .unwrap();
    fs::create_dir(state.join("generations/.staging")).unwrap();
    host.namespace.run(&["nft", "flush", "ruleset"], b"");
    let (status, _) = host.expect(0, &["status"]);
    assert!(status.contains("interrupted"), "{status}");
    let (_, stderr) = host.expect(0, &["render"]);
    assert!(
        stderr.contains("generation 2 was switched to but not applied: applied it"),
        "{stderr}"
    );
    assert!(host.rules().contains("8443"));
    host.expect(0, &["status", "--verify"]);
    assert!(!state.join("journal.json").exists() && !state.join("generations/.staging").exists());
    // Staged and journalled, but never switched to: discarded.
    fs::create_dir_all(state.join("generations/000003/edge")).unwrap();
    fs::write(
        state.join("journal.json"),
        "{\"format\": \"tagwall-journal/1\", \"from\": 2, \"to\": 3}",
    )
    .unwrap();
    let (_, stderr) = host.expect(0, &["render"]);
    assert!(
        stderr.contains("generation 3 was staged but not switched to: discarded it"),
        "{stderr}"
    );
    assert!(!state.join("generations/000003").exists());
}

#[test]
fn an_older_publication_is_refused_unless_it_is_a_new_beginning() {
    let Some(host) = Host::new(&["nft"], &nftables("")) else { return };
    let document =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/snapshot/example.json"))
            .unwrap();
    let feed = |date: &str, from: &str, to: &str| {
        let path = host.path(&format!("ServiceTags_Example_{date}.json"));
        fs::write(&path, document.replace(from, to)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let new = feed("20250908", "192.0.2.0/26", "192.0.2.0/26");
    let old = feed("20250901", "192.0.2.0/26", "192.0.2.64/26");
    host.expect(0, &["render", "--feed", &new]);
    let rules = host.rules();
    let (_, stderr) = host.expect(4, &["render", "--feed", &old]);
    assert!(
        stderr.contains("older than the one in use") && stderr.contains("--rebaseline"),
        "{stderr}"
    );
    assert_eq!(host.rules(), rules);
    host.expect(0, &["render", "--feed", &old, "--rebaseline", "a forged date"]);
    assert!(host.rules().contains("192.0.2.64/26"));
    let history = host.json(&["history", "--json"]);
    assert_eq!(history["generations"][0]["reason"], "rebaseline: a forged date");
    host.expect(0, &["render", "--feed", &new]);
}

#[test]
fn iptables_and_ipset_are_verified_loaded_and_read_back() {
    let config = format!(
        "{GROUPS}[targets.edge]\napply = \"automatic\"\n[targets.edge.iptables]\nrest = \"drop\"\n"
    );
    let Some(host) = Host::new(&["iptables", "ipset"], &config) else { return };
    host.expect(0, &["render"]);
    let (status, _) = host.expect(0, &["status", "--verify"]);
    assert!(status.contains("in the kernel, verified"), "{status}");
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
    // A set that cannot be what the file says is refused before anything changes.
    host.configure(&config.replace("rest = \"drop\"", "rest = \"drop\"\nmax-elements = 70000"));
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
