//! Where only addresses differ, only the sets that differ are loaded.

use std::fs;

use crate::common::host::{EDGE, Host, grouped};

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
