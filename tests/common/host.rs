//! A host with a firewall of its own: a network namespace, a configuration and a state folder.
#![allow(dead_code, reason = "each test uses its part of this")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use super::Namespace;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_tagwall");

/// A host: its namespace, configuration and state folder.
pub(crate) struct Host {
    /// Removed before the namespace, whose number the next one may have.
    pub(crate) folder: tempfile::TempDir,
    pub(crate) namespace: Namespace,
}

impl Host {
    pub(crate) fn new(programs: &[&str], config: &str) -> Option<Self> {
        let namespace = Namespace::new(programs)?;
        let host = Self { namespace, folder: tempfile::tempdir().unwrap() };
        host.configure(config);
        Some(host)
    }

    pub(crate) fn configure(&self, config: &str) {
        fs::write(self.path("tagwall.toml"), config).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn attempt(&self, args: &[&str]) -> Output {
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

    /// Starts the program inside, and does not wait for it: the child is tagwall itself.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        let (config, state) = (self.path("tagwall.toml"), self.path("state"));
        Command::new("ip")
            .args(["netns", "exec", &self.namespace.0, BINARY, "--config"])
            .arg(config)
            .arg("--state-dir")
            .arg(state)
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    pub(crate) fn expect(&self, code: i32, args: &[&str]) -> (String, String) {
        let output = self.attempt(args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{stdout}\n{stderr}");
        (stdout, stderr)
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.expect(0, args).0).unwrap()
    }

    pub(crate) fn current(&self) -> PathBuf {
        fs::read_link(self.path("state/current")).unwrap()
    }

    /// Leads packets to the chains of the iptables target, as the host's own rules do.
    pub(crate) fn jump_to_chains(&self) {
        for program in ["iptables", "ip6tables"] {
            self.namespace.run(&[program, "-A", "FORWARD", "-j", "TAGWALL"], b"");
        }
    }

    /// The kernel's rules as text, without counters.
    pub(crate) fn rules(&self) -> String {
        self.namespace.run(&["nft", "-s", "list", "ruleset"], b"")
    }
}

/// The guard holds nothing: what tests change of the few ranges of a sample is always a large share.
pub(crate) const GROUPS: &str = "
cloud = \"example\"
[guard.limits]
removal-share = 100.0
removal-share-most = 100.0
addition-share = 100.0
addition-share-four-weeks = 100.0
[groups.devops]
tags = [\"AzureDevOps\"]
[rules.devops]
source = [\"10.20.0.0/24\", \"fd00:20::/64\"]
destination = \"devops\"
services = [\"tcp/443\"]
interfaces = [\"wan0\"]
";

/// A target that the kernel uses.
pub(crate) const EDGE: &str = "[targets.edge]\napply = \"automatic\"\n[targets.edge.nftables]\n";

pub(crate) fn nftables(more: &str) -> String {
    format!("{GROUPS}{more}\n{EDGE}[targets.lists.list]\n")
}

/// A configuration of two groups, the first of which has these prefixes.
pub(crate) fn grouped(prefixes: &str, targets: &str) -> String {
    format!(
        "[groups.a]\nprefixes = [{prefixes}]\n[groups.b]\nprefixes = [\"203.0.113.0/24\"]\n\
         [rules.a]\nsource = [\"10.20.0.0/24\"]\ndestination = \"a\"\nservices = [\"tcp/443\"]\ninterfaces = [\"wan0\"]\n\
         [rules.b]\nsource = [\"10.20.0.0/24\"]\ndestination = \"b\"\nservices = [\"tcp/443\"]\ninterfaces = [\"wan0\"]\n\
         {targets}"
    )
}

/// Every file below a folder with inode and change time.
pub(crate) fn inventory(folder: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
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
