//! The firewall under test, with the networks around it, and the packages to install on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::machine::{self, Machine};
use crate::netns::{self, PacketBed, Place, Probe, Transport, Verdict};

/// The agent's unit.
pub(crate) const UNIT: &str = "tagwall.service";
/// All units of the package.
pub(crate) const UNITS: [&str; 3] = [UNIT, "tagwall-boot.service", "tagwall-sets.service"];

/// An address of the tag that is allowed, and one that is in no tag.
const ALLOWED: &str = "192.0.2.130";
const OTHER: &str = "203.0.113.77";

/// What packets meet: whether the allowed address, and another, are reached.
pub(crate) type Open = (bool, bool);
pub(crate) const ENFORCED: Open = (true, false);
pub(crate) const NO_RULES: Open = (true, true);

macro_rules! kernel {
    () => {
        "\
cloud = \"example\"
[groups.devops]
tags = [\"AzureDevOps\"]
[rules.devops]
source = [\"10.20.0.0/24\"]
destination = \"devops\"
services = [\"tcp/443\"]
[targets.edge]
apply = \"automatic\"
[targets.edge.nftables]
egress = [\"wan0\"]
"
    };
}

/// A kernel target, and nothing else.
pub(crate) const KERNEL: &str = kernel!();

/// The same, a list that is installed, and a feed that is a folder.
pub(crate) const CONFIG: &str = concat!(
    kernel!(),
    "\
[agent]
socket = \"/run/tagwall/control.sock\"
quiet-period = \"100ms\"
[feeds.drop]
cloud = \"example\"
[feeds.drop.directory]
path = \"/srv/drop\"
[targets.lists]
path = \"/srv/lists/\"
[targets.lists.list]
"
);

/// The embedded publication's next edition, in which the other address is in the tag too.
pub(crate) fn next_edition() -> String {
    let text = include_str!("../../src/snapshot/example.json");
    let mut document: serde_json::Value = serde_json::from_str(text).unwrap();
    document["changeNumber"] = 2.into();
    let tags = document["values"].as_array_mut().unwrap();
    let tag = tags.iter_mut().find(|tag| tag["name"] == "AzureDevOps").unwrap();
    tag["properties"]["changeNumber"] = 2.into();
    let prefixes = tag["properties"]["addressPrefixes"].as_array_mut().unwrap();
    prefixes.push(format!("{OTHER}/32").into());
    document.to_string()
}

/// Two packages of this build, which call themselves an older and a newer version.
#[derive(Clone)]
pub(crate) struct Packages {
    pub(crate) old: PathBuf,
    pub(crate) new: PathBuf,
}

/// Made once for all tests. `None` (and a word about it) where there can be none.
pub(crate) fn packages() -> Option<Packages> {
    static MADE: OnceLock<Option<Packages>> = OnceLock::new();
    MADE.get_or_init(make_packages).clone()
}

fn make_packages() -> Option<Packages> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("target/package/test");
    if !Command::new("cargo")
        .args(["deb", "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        eprintln!("skipped: cargo-deb is not installed");
        return None;
    }
    let build = |version: &str, binary: &[&str]| {
        let output = Command::new(root.join("packaging/build"))
            .args(["--deb", "--fast", "--version", version])
            .args(binary)
            .arg("--output")
            .arg(&folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        folder.join(format!("tagwall_{version}_{arch}.deb"))
    };
    let old = build("0.0.9-1", &["--trial"]);
    // The binary of the package before.
    let new = build("0.1.0-1", &["--binary", "target/package/bin/tagwall"]);
    Some(Packages { old, new })
}

/// The firewall with the networks around it.
pub(crate) struct Site {
    bed: PacketBed,
    pub(crate) machine: Machine,
}

impl Site {
    /// Not booted yet.
    pub(crate) fn new(release: &str) -> Option<Self> {
        if let Some(why) = netns::hindrance(&[]).or_else(machine::hindrance) {
            eprintln!("skipped: {why}");
            return None;
        }
        let bed = PacketBed::new();
        match Machine::new(release, bed.name(Place::Firewall)) {
            Ok(machine) => Some(Self { bed, machine }),
            Err(why) => {
                eprintln!("skipped: {why}");
                None
            }
        }
    }

    pub(crate) fn open(&self) -> Open {
        let reached = |to: &str| {
            self.bed.connect(&Probe::new("10.20.0.10", to, Transport::Tcp, 443)) == Verdict::Passed
        };
        (reached(ALLOWED), reached(OTHER))
    }

    /// Booted, with the package installed and these rules of the host's own in force.
    pub(crate) fn with_rules(release: &str, nftables_conf: &str) -> Option<Self> {
        let packages = packages()?;
        let mut site = Self::new(release)?;
        site.machine.boot();
        site.install(&packages.new);
        site.machine.write("etc/nftables.conf", nftables_conf);
        site.machine.must(&["systemctl", "enable", "--now", "--quiet", "nftables.service"]);
        Some(site)
    }

    pub(crate) fn install(&self, package: &Path) {
        let name = package.file_name().unwrap().to_str().unwrap();
        fs::copy(package, self.machine.path("root").join(name)).unwrap();
        self.machine.must(&["dpkg", "--force-confold", "-i", &format!("/root/{name}")]);
    }

    /// The configuration, with the folders that it names.
    pub(crate) fn configure(&self) {
        self.machine.write("etc/tagwall/tagwall.toml", CONFIG);
        self.machine.must(&["install", "-d", "-o", "tagwall", "/srv/lists"]);
        self.machine.must(&["install", "-d", "/srv/drop"]);
        self.machine.must(&["systemctl", "daemon-reload"]);
    }

    pub(crate) fn rules(&self) -> String {
        self.machine.must(&["nft", "-s", "list", "ruleset"])
    }

    /// A property of the agent's unit.
    pub(crate) fn show(&self, key: &str) -> String {
        self.machine.must(&["systemctl", "show", "--value", "-p", key, UNIT])
    }

    pub(crate) fn is_active(&self) -> bool {
        self.machine.succeeds(&["systemctl", "is-active", "--quiet", UNIT])
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.machine.must(&["tagwall", "status", "--json"])).unwrap()
    }

    /// What the journal has of the agent since the machine was started.
    pub(crate) fn journal(&self) -> String {
        self.machine.must(&["journalctl", "-b", "--no-pager", "-o", "cat", "-u", UNIT])
    }
}
