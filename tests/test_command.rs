//! The command that runs all tests: it fails when one of them does.
#![allow(clippy::unwrap_used, reason = "to panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// `tests/run` with a cargo that ends like this, by somebody who may install nothing.
fn run(cargo: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("cargo", cargo), ("id", "echo 1000")] {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let command = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/run");
    let output = Command::new(command).env("PATH", path).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn it_ends_as_the_tests_do() {
    let failing = "echo 'skipped: no device'; echo 'test result: FAILED. 1 failed'; exit 101";
    let (code, text) = run(failing);
    assert_eq!(code, Some(101), "{text}");
    assert!(text.contains("1 skipped: no device"), "{text}");
    assert!(text.ends_with("test result: FAILED. 1 failed\n"), "{text}");
    let (code, text) = run("echo 'test result: ok. 1 passed'");
    assert_eq!(code, Some(0), "{text}");
    // Nothing but a skipped line: there is nothing to show, and nothing has failed.
    assert_eq!(run("echo 'skipped: no device'").0, Some(0));
}
