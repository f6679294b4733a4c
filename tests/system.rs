//! The package on a real system: Debian under systemd in a container that is the firewall between three networks.
//!
//! Packets say what is open, at each step from installation to purge. Debian 12 in the ordinary run; 11 and 13 too with
//! `TAGWALL_LONG=1`. Needs root, systemd-nspawn, mmdebstrap and cargo-deb; what is not there is said and left out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

#[path = "common/machine.rs"]
mod machine;
#[path = "common/netns.rs"]
mod netns;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use machine::Machine;
use netns::{PacketBed, Place, Probe, Transport, Verdict};

/// An address of the tag that is allowed, and one that is in no tag.
const ALLOWED: &str = "192.0.2.130";
const OTHER: &str = "203.0.113.77";

const CONFIG: &str = "\
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
[targets.lists]
path = \"/srv/lists/\"
[targets.lists.list]
";

/// Publishes once within everything that the unit forbids, where the agent would go on.
const PUBLISH_ONCE: &str = "\
[Service]
Type=oneshot
WatchdogSec=0
Restart=no
ExecStart=
ExecStart=/usr/bin/tagwall render
";

/// The package of this build, made once for all tests. `None` (and a word about it) where there can be none.
fn packages() -> Option<(PathBuf, PathBuf)> {
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
    let binary = folder.join("tagwall");
    fs::create_dir_all(&folder).unwrap();
    let stripped = Command::new("strip")
        .arg("-o")
        .arg(&binary)
        .arg(env!("CARGO_BIN_EXE_tagwall"))
        .status()
        .unwrap();
    assert!(stripped.success());
    let build = |version: &str| {
        let output = Command::new(root.join("packaging/build"))
            .args(["--deb", "--version", version, "--binary"])
            .arg(&binary)
            .arg("--output")
            .arg(&folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        folder.join(format!("tagwall_{version}_{arch}.deb"))
    };
    Some((build("0.0.9-1"), build("0.1.0-1")))
}

/// The firewall with the networks around it.
struct Site {
    bed: PacketBed,
    machine: Machine,
}

impl Site {
    fn new(release: &str) -> Option<Self> {
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

    /// What packets meet: whether the allowed address, and another, are reached.
    fn open(&self) -> (bool, bool) {
        let reached = |to: &str| {
            self.bed.connect(&Probe::new("10.20.0.10", to, Transport::Tcp, 443)) == Verdict::Passed
        };
        (reached(ALLOWED), reached(OTHER))
    }

    fn install(&self, package: &Path) {
        let name = package.file_name().unwrap().to_str().unwrap();
        fs::copy(package, self.machine.path("root").join(name)).unwrap();
        self.machine.must(&["dpkg", "--force-confold", "-i", &format!("/root/{name}")]);
    }

    fn rules(&self) -> String {
        self.machine.must(&["nft", "-s", "list", "ruleset"])
    }
}

const ENFORCED: (bool, bool) = (true, false);
const NO_RULES: (bool, bool) = (true, true);

fn from_installation_to_purge(release: &str) {
    let Some((old, new)) = packages() else { return };
    let Some(mut site) = Site::new(release) else { return };
    site.machine.boot();
    assert_eq!(site.open(), NO_RULES);

    // Installed: nothing is enabled, nothing runs, nothing is in force; what systemd is to know, it knows.
    site.install(&old);
    assert_eq!(
        site.machine.must(&["tagwall", "--version"]),
        concat!("tagwall ", env!("CARGO_PKG_VERSION"))
    );
    assert!(site.machine.must(&["getent", "passwd", "tagwall"]).contains("nologin"));
    assert_eq!(
        site.machine.must(&["stat", "-c", "%U:%G %a", "/etc/tagwall/secrets"]),
        "root:tagwall 750"
    );
    for unit in ["tagwall.service", "tagwall-boot.service"] {
        assert!(!site.machine.succeeds(&["systemctl", "is-enabled", "--quiet", unit]), "{unit}");
        assert!(!site.machine.succeeds(&["systemctl", "is-active", "--quiet", unit]), "{unit}");
    }
    assert_eq!(site.open(), NO_RULES);

    // Configured: the generator gives the capability.
    let effective = |site: &Site, key: &str| {
        site.machine.must(&["systemctl", "show", "--value", "-p", key, "tagwall.service"])
    };
    site.machine.must(&["systemctl", "daemon-reload"]);
    assert_eq!(effective(&site, "AmbientCapabilities"), "");
    site.machine.write("etc/tagwall/tagwall.toml", CONFIG);
    site.machine.must(&["install", "-d", "-o", "tagwall", "/srv/lists"]);
    site.machine.write("etc/systemd/system/tagwall.service.d/test.conf", PUBLISH_ONCE);
    site.machine.must(&["systemctl", "enable", "--quiet", "tagwall.service"]);
    assert_eq!(effective(&site, "AmbientCapabilities"), "cap_net_admin");
    assert!(effective(&site, "ReadWritePaths").contains("/srv/lists"));

    // Published, as the user tagwall within the unit.
    site.machine.must(&["systemctl", "start", "tagwall.service"]);
    assert_eq!(site.open(), ENFORCED);
    assert_eq!(site.machine.must(&["stat", "-c", "%U", "/var/lib/tagwall/current/"]), "tagwall");
    assert_eq!(site.machine.must(&["stat", "-c", "%U", "/srv/lists/devops.txt"]), "tagwall");
    let rules = site.rules();
    assert!(rules.contains("table inet tagwall"), "{rules}");
    site.machine.must(&["tagwall", "status", "--verify"]);

    // A reboot: the rules are there before the network is, even with a configuration that is broken by then.
    site.machine.write("etc/tagwall/tagwall.toml", "cloud = \"exampel\"\n");
    site.machine.reboot();
    assert_eq!(site.open(), ENFORCED);
    assert_eq!(site.rules(), rules);
    assert!(!site.machine.succeeds(&["systemctl", "is-active", "--quiet", "tagwall.service"]));
    let order = site.machine.must(&[
        "systemctl",
        "show",
        "--value",
        "-p",
        "Before",
        "tagwall-boot.service",
    ]);
    assert!(order.contains("network-pre.target"), "{order}");
    site.machine.write("etc/tagwall/tagwall.toml", CONFIG);

    // A power cut.
    site.machine.cut_power();
    assert_eq!(site.open(), NO_RULES);
    site.machine.boot();
    assert_eq!(site.open(), ENFORCED);

    // An upgrade: the administrator's configuration and the rules stay, and so does what was enabled.
    site.install(&new);
    assert_eq!(site.machine.must(&["dpkg-query", "-W", "-f", "${Version}", "tagwall"]), "0.1.0-1");
    assert_eq!(fs::read_to_string(site.machine.path("etc/tagwall/tagwall.toml")).unwrap(), CONFIG);
    assert!(site.machine.succeeds(&["systemctl", "is-enabled", "--quiet", "tagwall.service"]));
    assert!(site.machine.succeeds(&["systemctl", "is-enabled", "--quiet", "tagwall-boot.service"]));
    assert_eq!(site.open(), ENFORCED);
    assert_eq!(site.rules(), rules);

    // And back again.
    site.install(&old);
    assert_eq!(site.open(), ENFORCED);

    // Removed: the rules and the state stay. Purged: the state goes, the rules stay.
    site.machine.must(&["dpkg", "-r", "tagwall"]);
    assert_eq!(site.open(), ENFORCED);
    assert!(site.machine.path("var/lib/tagwall/current").symlink_metadata().is_ok());
    assert!(site.machine.path("etc/tagwall/tagwall.toml").exists());
    site.machine.must(&["dpkg", "-P", "tagwall"]);
    assert_eq!(site.open(), ENFORCED);
    for gone in [
        "var/lib/tagwall",
        "etc/tagwall/tagwall.toml",
        "etc/systemd/system/multi-user.target.wants/tagwall.service",
    ] {
        assert!(site.machine.path(gone).symlink_metadata().is_err(), "{gone}");
    }
    site.machine.reboot();
    assert_eq!(site.open(), NO_RULES);
}

#[test]
fn debian_12_from_installation_to_purge() {
    from_installation_to_purge("bookworm");
}

#[test]
fn debian_11_and_13_from_installation_to_purge() {
    if std::env::var_os("TAGWALL_LONG").is_none() {
        eprintln!("skipped: Debian 11 and 13 are tried with TAGWALL_LONG=1");
        return;
    }
    from_installation_to_purge("bullseye");
    from_installation_to_purge("trixie");
}
