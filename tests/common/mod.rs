//! What tests share: network namespaces that clean up after themselves, publications, and reading firewalls back.
#![allow(dead_code, reason = "each test uses its part of this")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]

pub(crate) mod devops;
pub(crate) mod dns;
pub(crate) mod feeds;
pub(crate) mod host;
pub(crate) mod loaded;
pub(crate) mod meaning;
pub(crate) mod microsoft;
pub(crate) mod proxy;
pub(crate) mod running;
pub(crate) mod tags;

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A network namespace of this test's own, deleted when dropped.
pub(crate) struct Namespace(pub(crate) String);

impl Namespace {
    /// A fresh namespace, or nothing (and a word about it) where there can be none: `needed` names the programs that the
    /// test runs inside.
    pub(crate) fn new(needed: &[&str]) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: network namespaces need root");
            return None;
        }
        for program in ["ip"].iter().chain(needed) {
            if Command::new(program)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_err()
            {
                eprintln!("skipped: {program} is not installed");
                return None;
            }
        }
        let name =
            format!("tagwall-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let made = Command::new("ip").args(["netns", "add", &name]).output().unwrap();
        if !made.status.success() {
            eprintln!(
                "skipped: no network namespace: {}",
                String::from_utf8_lossy(&made.stderr).trim()
            );
            return None;
        }
        Some(Self(name))
    }

    /// Runs a program inside with this standard input, and gives back what became of it.
    pub(crate) fn attempt(&self, command: &[&str], input: &[u8]) -> Output {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(input).unwrap();
        file.rewind().unwrap();
        Command::new("ip")
            .args(["netns", "exec", &self.0])
            .args(command)
            .stdin(file)
            .output()
            .unwrap()
    }

    /// Runs a program inside, which must succeed, and gives back its standard output.
    pub(crate) fn run(&self, command: &[&str], input: &[u8]) -> String {
        let output = self.attempt(command, input);
        assert!(
            output.status.success(),
            "{}: {}\n{}",
            command.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Gives a file to a program inside that reads it on its standard input; it must succeed.
    pub(crate) fn feed(&self, command: &[&str], path: &Path) -> String {
        self.run(command, &std::fs::read(path).unwrap())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Writes a file of a test.
pub(crate) fn write(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}
