//! Publishing on a real kernel: what is in force is what the files say, and a failure leaves what was before.
//!
//! Needs root (for network namespaces) and nft, iptables, ipset; what is not there is said and left out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use common::host::{GROUPS, Host, inventory, nftables};

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

/// A host whose one group has these prefixes.
fn grouped(prefixes: &str, target: &str) -> String {
    format!(
        "[groups.a]\nprefixes = [{prefixes}]\n[groups.b]\nprefixes = [\"203.0.113.0/24\"]\n\
         [rules.a]\nsource = [\"10.20.0.0/24\"]\ndestination = \"a\"\nservices = [\"tcp/443\"]\ninterfaces = [\"wan0\"]\n\
         [rules.b]\nsource = [\"10.20.0.0/24\"]\ndestination = \"b\"\nservices = [\"tcp/443\"]\ninterfaces = [\"wan0\"]\n\
         {target}"
    )
}

const EDGE: &str = "[targets.edge]\napply = \"automatic\"\n[targets.edge.nftables]\n";

#[test]
fn only_the_sets_that_differ_are_refilled_and_counters_stay() {
    let Some(host) = Host::new(&["nft"], &grouped("\"192.0.2.0/26\"", EDGE)) else { return };
    host.expect(0, &["render"]);
    // A counter that shows that the rules were not made anew: as packets would have left it.
    let handles =
        || host.namespace.run(&["nft", "-a", "-t", "list", "table", "inet", "tagwall"], b"");
    let before = handles();
    host.configure(&grouped("\"192.0.2.0/25\", \"198.51.100.0/24\"", EDGE));
    host.expect(0, &["render"]);
    assert_eq!(handles(), before, "rules and sets keep their handles");
    let update = fs::read_to_string(host.path("state/current/archive/edge.update.nft")).unwrap();
    assert!(update.contains("flush set inet tagwall tw-a-v4\n"), "{update}");
    assert!(!update.contains("tw-b-v4"), "{update}");
    host.expect(0, &["status", "--verify"]);
    // What boots the host later is the whole artifact, and it says the same.
    let rules = host.rules();
    host.namespace.run(&["nft", "flush", "ruleset"], b"");
    let artifact = host.path("state/current/edge/rules.nft");
    host.namespace.run(&["nft", "-f", artifact.to_str().unwrap()], b"");
    assert_eq!(host.rules(), rules);
    // A table that is gone, and rules that a foreign hand changed, need the whole artifact.
    host.namespace.run(&["nft", "flush", "ruleset"], b"");
    host.configure(&grouped("\"192.0.2.0/24\"", EDGE));
    host.expect(0, &["render"]);
    assert!(!host.path("state/current/archive/edge.update.nft").exists());
    host.expect(0, &["status", "--verify"]);
    host.namespace.run(&["nft", "add", "rule", "inet", "tagwall", "tw-outbound", "accept"], b"");
    host.configure(&grouped("\"192.0.2.0/25\"", EDGE));
    host.expect(0, &["render"]);
    let (status, _) = host.expect(0, &["status", "--verify"]);
    assert!(status.contains("so the whole artifact was loaded"), "{status}");
    // An emptied set and one that is filled again are other objects: more than an update.
    host.expect(0, &["rollback", "1"]);
    host.expect(0, &["status", "--verify"]);
}

#[test]
fn only_the_ipsets_that_differ_are_swapped() {
    let target = "[targets.edge]\napply = \"automatic\"\n[targets.edge.iptables]\n";
    let Some(host) = Host::new(&["iptables", "ipset"], &grouped("\"192.0.2.0/26\"", target)) else {
        return;
    };
    host.expect(0, &["render"]);
    host.namespace.run(&["iptables", "-A", "FORWARD", "-j", "TAGWALL"], b"");
    host.configure(&grouped("\"192.0.2.0/25\"", target));
    host.expect(0, &["render"]);
    let update = fs::read_to_string(host.path("state/current/archive/edge.update.ipset")).unwrap();
    assert!(
        update.contains("swap tw-a-v4.new tw-a-v4\n") && !update.contains("tw-b-v4"),
        "{update}"
    );
    let sets = host.namespace.run(&["ipset", "save"], b"");
    assert!(sets.contains("add tw-a-v4 192.0.2.0/25") && !sets.contains(".new"), "{sets}");
    host.expect(0, &["status", "--verify"]);
    // Sets that are gone, and with them the rules.
    host.namespace.run(&["iptables", "-F"], b"");
    host.namespace.run(&["ipset", "destroy"], b"");
    host.configure(&grouped("\"192.0.2.0/24\"", target));
    host.expect(0, &["render"]);
    host.expect(0, &["status", "--verify"]);
}

#[test]
fn an_isolated_target_that_fails_stays_behind_alone() {
    let push = |command: &str| {
        format!(
            "{EDGE}[targets.push]\nisolated = true\nreload = [\"{command}\"]\n[targets.push.list]\n"
        )
    };
    let Some(host) = Host::new(&["nft"], &grouped("\"192.0.2.0/26\"", &push("/bin/true"))) else {
        return;
    };
    host.expect(0, &["render"]);
    let list = || fs::read_to_string(host.path("state/current/push/a.txt")).unwrap();
    assert_eq!(list(), "192.0.2.0/26\n");
    // The others go on, and `current` shows what is in force.
    host.configure(&grouped("\"192.0.2.0/25\"", &push("/bin/false")));
    let report = host.json(&["render", "--json"]);
    assert_eq!((&report["result"], &report["generation"]), (&"published-partly".into(), &3.into()));
    assert_eq!(list(), "192.0.2.0/26\n");
    assert!(host.rules().contains("192.0.2.0/25"), "{}", host.rules());
    let (status, _) = host.expect(0, &["status", "--verify"]);
    assert!(
        status.contains("BEHIND")
            && status.contains("/bin/false")
            && status.contains("cannot be taken back"),
        "{status}"
    );
    let history = host.json(&["history", "--json"]);
    assert_eq!(history["generations"][1]["result"], "failed");
    // Alone it fails as a whole, and leaves no more than the word of it.
    let (_, stderr) = host.expect(7, &["render"]);
    assert!(stderr.contains("target push, reload"), "{stderr}");
    assert_eq!(host.current().to_str(), Some("generations/000003"));
    // Once the command works again, it catches up.
    host.configure(&grouped("\"192.0.2.0/25\"", &push("/bin/true")));
    host.expect(0, &["render"]);
    assert_eq!(list(), "192.0.2.0/25\n");
    let (status, _) = host.expect(0, &["status"]);
    assert!(!status.contains("BEHIND"), "{status}");
    // One that does not even pass its check is never visible.
    let check =
        push("/bin/true").replace("isolated = true", "isolated = true\nverify = [\"/bin/false\"]");
    host.configure(&grouped("\"192.0.2.0/24\"", &check));
    host.expect(0, &["render"]);
    assert_eq!(list(), "192.0.2.0/25\n");
    assert!(host.rules().contains("192.0.2.0/24"));
    let (status, _) = host.expect(0, &["status", "--verify"]);
    assert!(status.contains("BEHIND") && !status.contains("cannot be taken back"), "{status}");
    // A target that is not isolated takes all of them with it.
    let all = check.replace("isolated = true\n", "");
    host.configure(&grouped("\"192.0.2.0/27\"", &all));
    host.expect(7, &["render"]);
    assert!(host.rules().contains("192.0.2.0/24"));
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
fn a_rollback_looks_past_nothing_but_equal_rules_and_the_memory_is_committed_with_it() {
    let Some(host) = Host::new(&["nft"], &grouped("\"192.0.2.0/26\"", EDGE)) else { return };
    host.expect(0, &["render"]);
    host.configure(&grouped("\"192.0.2.0/25\"", EDGE));
    host.expect(0, &["render"]);
    host.expect(0, &["rollback"]);
    let memory = fs::read_to_string(host.path("state/memory.json")).unwrap();
    assert!(memory.contains("\"pin\": {\n    \"generation\": 3"), "{memory}");
    assert!(!host.path("state/current/archive/state").exists());
    // The same generation again is no new one, and is pinned all the same.
    host.expect(0, &["resume"]);
    host.expect(0, &["rollback", "3"]);
    let memory = fs::read_to_string(host.path("state/memory.json")).unwrap();
    assert!(memory.contains("\"generation\": 3"), "{memory}");
    assert_eq!(host.current().to_str(), Some("generations/000003"));
}

#[test]
fn a_killed_publication_whose_child_runs_on_keeps_others_out_until_the_child_ends() {
    use std::process::Command;
    use std::time::{Duration, Instant};
    let Some(host) = Host::new(&["nft"], &grouped("\"192.0.2.0/26\"", EDGE)) else { return };
    host.expect(0, &["render"]);
    let (script, waits) = (host.path("push"), host.path("waits"));
    fs::write(&waits, "").unwrap();
    fs::write(
        &script,
        format!("#!/bin/sh\n[ -e {} ] && exec sleep 300\nexit 0\n", waits.display()),
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let slow = format!(
        "{EDGE}[targets.slow]\nreload = [\"{}\"]\ntime-limit = 400\n[targets.slow.list]\n",
        script.display()
    );
    host.configure(&grouped("\"192.0.2.0/25\"", &slow));
    let mut publishing = host.start(&["render"]);
    let sleeper = {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let found = Command::new("pgrep")
                .args(["-P", &publishing.id().to_string(), "-x", "sleep"])
                .output()
                .unwrap();
            if let Ok(pid) = String::from_utf8_lossy(&found.stdout).trim().parse::<u32>() {
                break pid.to_string();
            }
            assert!(Instant::now() < deadline, "the command did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    publishing.kill().unwrap();
    publishing.wait().unwrap();
    let (_, stderr) = host.expect(8, &["render"]);
    assert!(stderr.contains("what it started still runs"), "{stderr}");
    fs::remove_file(&waits).unwrap();
    assert!(Command::new("kill").args(["-9", &sleeper]).status().unwrap().success());
    while Path::new(&format!("/proc/{sleeper}")).exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    // The lock ends with the orphan; what was interrupted is brought to its end.
    let (_, stderr) = host.expect(0, &["render"]);
    assert!(stderr.contains("switched to but not applied: applied it"), "{stderr}");
    host.expect(0, &["status", "--verify"]);
    assert!(host.rules().contains("192.0.2.0/25"));
}
