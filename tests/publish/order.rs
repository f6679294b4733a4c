//! Which publication is in force: rollbacks, and publications that are older.

use std::fs;
use std::path::Path;

use crate::common::host::{EDGE, Host, grouped, nftables};

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
