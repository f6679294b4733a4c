//! The scene of each fault: a host with a generation in force, the publication that is to follow, and which of both is in
//! force afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::common::host::{BINARY, Host, nftables};

/// A host with a generation in force, and a publication that is to follow.
pub(crate) struct Scene {
    pub(crate) host: Host,
    pub(crate) old: Side,
    pub(crate) new: PathBuf,
    pub(crate) new_rules: String,
}

/// What belongs together: the kernel's rules, the file, the memory.
#[derive(Debug, PartialEq)]
pub(crate) struct Side {
    pub(crate) rules: String,
    pub(crate) file: Vec<u8>,
    pub(crate) digest: Value,
}

impl Scene {
    /// The second publication changes addresses alone; with `rules` the configuration changes too.
    pub(crate) fn new(more: &str) -> Option<Self> {
        let host = Host::new(&["nft", "strace", "unshare"], &nftables(""))?;
        let document = fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("src/snapshot/example.json"),
        )
        .unwrap();
        let feed = |date: &str, number: u32, to: &str| {
            let path = host.path(&format!("ServiceTags_Example_{date}.json"));
            let text = document
                .replacen("\"changeNumber\": 1,", &format!("\"changeNumber\": {number},"), 1)
                .replace("192.0.2.0/26", to);
            fs::write(&path, text).unwrap();
            path
        };
        let first = feed("20250901", 1, "192.0.2.0/26");
        let new = feed("20250908", 2, "192.0.2.64/26");
        host.expect(0, &["render", "--feed", first.to_str().unwrap()]);
        let old = side(&host);
        // What the new side looks like, found out once and taken away again.
        save(&host);
        host.expect(0, &["render", "--feed", new.to_str().unwrap()]);
        let new_rules = in_order(&host.rules());
        restore(&host, &old);
        host.configure(&(nftables("") + more));
        Some(Self { host, old, new, new_rules })
    }

    pub(crate) fn command(&self) -> Vec<String> {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        [
            BINARY.to_owned(),
            "--config".to_owned(),
            text(self.host.path("tagwall.toml")),
            "--state-dir".to_owned(),
            text(self.host.path("state")),
            "render".to_owned(),
            "--feed".to_owned(),
            text(self.new.clone()),
        ]
        .to_vec()
    }

    pub(crate) fn strace(&self, options: &[&str]) -> Output {
        let mut command = vec!["strace".to_owned(), "-qq".to_owned()];
        command.extend(options.iter().map(|option| (*option).to_owned()));
        command.push("--".to_owned());
        command.extend(self.command());
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        self.host.namespace.attempt(&command, b"")
    }

    /// The calls of a whole publication by name, from the taking of the lock on, each with how many went before.
    pub(crate) fn calls(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<(String, usize)> {
        let log = self.host.path("calls");
        self.strace(&["-o", log.to_str().unwrap()]);
        restore(&self.host, &self.old);
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut locked = false;
        let mut points = Vec::new();
        for line in fs::read_to_string(&log).unwrap().lines() {
            let Some((name, _)) = line.split_once('(') else { continue };
            let count = counts.entry(name.to_owned()).or_default();
            *count += 1;
            locked |= name == "flock";
            // What is printed at the end is no part of it.
            let prints = line.starts_with("write(1,") || line.starts_with("write(2,");
            if locked && wanted(name) && !prints {
                points.push((name.to_owned(), *count));
            }
        }
        points
    }

    /// Whether the old or the new side is in force; everything must agree.
    pub(crate) fn side_in_force(&self, context: &str) -> bool {
        let now = side(&self.host);
        let number = self.host.current().to_str().unwrap().to_owned();
        let manifest: Value = serde_json::from_slice(
            &fs::read(self.host.path("state").join(&number).join("manifest.json")).unwrap(),
        )
        .unwrap();
        assert_eq!(
            manifest["publications"][0]["digest"], now.digest,
            "{context}: memory and generation"
        );
        let is_new = now.rules == self.new_rules;
        assert!(is_new || now == self.old, "{context}: {number}\n{}", now.rules);
        self.host.expect(0, &["status", "--verify"]);
        is_new
    }
}

/// A listing with its objects by name: sets that are made again are listed behind the others.
fn in_order(rules: &str) -> String {
    let mut objects: Vec<String> = vec![String::new()];
    for line in rules.lines().filter(|line| !line.is_empty()) {
        let begins = line.starts_with("\tset ") || line.starts_with("\tchain ");
        if begins || line == "}" || line.starts_with("table ") {
            objects.push(String::new());
        }
        if let Some(object) = objects.last_mut() {
            object.push_str(line);
            object.push('\n');
        }
    }
    objects.sort();
    objects.concat()
}

fn side(host: &Host) -> Side {
    let memory: Value =
        serde_json::from_slice(&fs::read(host.path("state/memory.json")).unwrap()).unwrap();
    Side {
        rules: in_order(&host.rules()),
        file: fs::read(host.path("state/current/edge/rules.nft")).unwrap(),
        digest: memory["publications"]["example"]["digest"].clone(),
    }
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("rm").arg("-rf").arg(to).status().unwrap().success());
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

fn save(host: &Host) {
    copy(&host.path("state"), &host.path("saved"));
}

/// Back to the saved state folder, and its rules in the kernel.
pub(crate) fn restore(host: &Host, old: &Side) {
    copy(&host.path("saved"), &host.path("state"));
    host.namespace.run(&["nft", "-f", "-"], &old.file);
}
