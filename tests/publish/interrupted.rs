//! A publication that was interrupted is brought to its end by the next start.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::common::host::{EDGE, Host, grouped, nftables};

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
fn what_was_being_loaded_when_the_power_went_is_brought_in_force_or_taken_back() {
    let Some(host) = Host::new(&["nft"], &nftables("")) else { return };
    host.expect(0, &["render"]);
    let rules = host.rules();
    host.configure(&nftables("").replace("tcp/443", "tcp/8443"));
    host.expect(0, &["render"]);
    let state = host.path("state");
    let new = host.rules();
    // Loaded first, and not switched to yet; what the kernel has is not known: the new rules, or those before.
    let interrupt = || {
        fs::remove_file(state.join("current")).unwrap();
        std::os::unix::fs::symlink("generations/000001", state.join("current")).unwrap();
        _ = fs::remove_file(state.join("generations/000002/outcome.json"));
        let journal =
            "{\"format\": \"tagwall-journal/1\", \"from\": 1, \"to\": 2, \"first\": \"edge\"}";
        fs::write(state.join("journal.json"), journal).unwrap();
    };
    for file in ["000002", "000001"] {
        interrupt();
        let loaded = state.join("generations").join(file).join("edge/rules.nft");
        host.namespace.run(&["nft", "-f", loaded.to_str().unwrap()], b"");
        let (status, _) = host.expect(0, &["status"]);
        assert!(status.contains("interrupted"), "{status}");
        let (_, stderr) = host.expect(0, &["restore"]);
        assert!(stderr.contains("generation 2 was being loaded: applied it"), "{stderr}");
        assert_eq!(
            (host.rules().as_str(), host.current().to_str()),
            (new.as_str(), Some("generations/000002"))
        );
        host.expect(0, &["status", "--verify"]);
    }
    // It does not pass the check: it never was visible, and is taken back.
    interrupt();
    fs::write(
        state.join("generations/000002/edge/rules.nft"),
        "table inet tagwall { chain fwd { drop } }\n",
    )
    .unwrap();
    let (_, stderr) = host.expect(0, &["restore"]);
    assert!(
        stderr.contains("generation 2 was being loaded, and cannot be: target edge, verify")
            && stderr.contains("generation 1, the one before, is in force"),
        "{stderr}"
    );
    assert_eq!(
        (host.rules().as_str(), host.current().to_str()),
        (rules.as_str(), Some("generations/000001"))
    );
    host.expect(0, &["status", "--verify"]);
    assert!(!state.join("journal.json").exists());
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

#[test]
fn a_rollback_from_a_damaged_generation_that_was_interrupted_is_mended_both_ways() {
    let Some(host) = Host::new(&["nft"], &nftables("")) else { return };
    host.expect(0, &["render"]);
    host.configure(&nftables("").replace("tcp/443", "tcp/8443"));
    host.expect(0, &["render"]);
    let damaged = host.rules();
    let state = host.path("state");
    fs::write(state.join("current/manifest.json"), "{").unwrap();
    host.expect(0, &["rollback", "1"]);
    let rules = host.rules();
    assert!(!rules.contains("8443"), "{rules}");
    let interrupt = |phase: &str| {
        fs::remove_file(state.join("generations/000003/outcome.json")).unwrap();
        let journal = format!(
            "{{\"format\": \"tagwall-journal/1\", \"from\": 2, \"anew\": true, \"to\": 3, \"phase\": \"{phase}\"}}"
        );
        fs::write(state.join("journal.json"), journal).unwrap();
    };
    interrupt("forward");
    host.namespace.run(&["nft", "flush", "ruleset"], b"");
    let (_, stderr) = host.expect(0, &["resume"]);
    assert!(
        stderr.contains("generation 3 was switched to but not applied: applied it"),
        "{stderr}"
    );
    assert_eq!(host.rules(), rules);
    host.expect(0, &["status", "--verify"]);
    // Being taken back: to what the kernel had, as it was saved.
    interrupt("back");
    let (_, stderr) = host.expect(0, &["pause", "what is this?"]);
    assert!(stderr.contains("generation 2, the one before, is in force"), "{stderr}");
    assert_eq!(host.rules(), damaged);
    assert_eq!(host.current().to_str(), Some("generations/000002"));
    assert!(!state.join("journal.json").exists());
}
