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
use std::sync::OnceLock;

use machine::Machine;
use rustix::net::{AddressFamily, SocketType};

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

/// The packages of this build, an older and a newer version, made once for all tests. `None` (and a word about it) where
/// there can be none.
fn packages() -> Option<(PathBuf, PathBuf)> {
    static MADE: OnceLock<Option<(PathBuf, PathBuf)>> = OnceLock::new();
    MADE.get_or_init(make_packages).clone()
}

fn make_packages() -> Option<(PathBuf, PathBuf)> {
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
            .args(["--deb", "--fast", "--version", version, "--binary"])
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

/// What a program finds that it can do. Each of these is forbidden inside the unit.
fn possible() -> Vec<&'static str> {
    let mut found = Vec::new();
    let mut try_it = |what: &'static str, works: bool| {
        if works {
            found.push(what);
        }
    };
    for place in [
        "/etc",
        "/etc/tagwall",
        "/usr",
        "/usr/lib",
        "/root",
        "/home",
        "/run",
        "/srv",
        "/var/lib",
        "/proc/sys/kernel",
    ] {
        try_it(place, fs::File::create(Path::new(place).join("tagwall-probe")).is_ok());
    }
    for (what, shell) in
        [("a shell", "/bin/sh"), ("another shell", "/usr/bin/bash"), ("perl", "/usr/bin/perl")]
    {
        try_it(what, Command::new(shell).arg("-c").arg("1").status().is_ok());
    }
    // What it writes itself cannot be executed either.
    let own = Path::new("/var/lib/tagwall/probe");
    let copied = fs::copy(std::env::current_exe().unwrap(), own).is_ok();
    try_it("a program of its own", copied && Command::new(own).arg("--help").status().is_ok());
    _ = fs::remove_file(own);
    for (what, family, kind) in [
        ("packet sockets", AddressFamily::PACKET, SocketType::RAW),
        ("netlink sockets", AddressFamily::NETLINK, SocketType::RAW),
        ("raw sockets", AddressFamily::INET, SocketType::RAW),
    ] {
        try_it(what, rustix::net::socket(family, kind, None).is_ok());
    }
    try_it("the kernel's log", fs::File::open("/dev/kmsg").is_ok());
    try_it(
        "other users' homes",
        fs::read_dir("/home").is_ok_and(|mut inside| inside.next().is_some()),
    );
    try_it("other processes", Path::new("/proc/1/status").exists());
    try_it("kernel modules", load_module());
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let set = |key: &str| {
        status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned()
    };
    for key in ["CapEff:", "CapBnd:", "CapAmb:"] {
        try_it("capabilities", u64::from_str_radix(&set(key), 16) != Ok(0));
    }
    try_it("new privileges", set("NoNewPrivs:") != "1");
    found
}

/// Anything but a refusal of the call itself means that a module could be loaded: what is given here is none.
fn load_module() -> bool {
    use std::os::fd::AsFd as _;
    let file = fs::File::open("/proc/self/status").unwrap();
    rustix::system::finit_module(file.as_fd(), c"", 0) != Err(rustix::io::Errno::PERM)
}

/// Not a test of its own: the program that the next one starts inside the unit.
#[test]
fn probe() {
    if std::env::var_os("TAGWALL_PROBE").is_none() {
        return;
    }
    // What it needs it has.
    fs::write("/var/lib/tagwall/probed", "").unwrap();
    fs::write("/run/tagwall/probed", "").unwrap();
    for family in [AddressFamily::INET, AddressFamily::INET6, AddressFamily::UNIX] {
        assert!(rustix::net::socket(family, SocketType::STREAM, None).is_ok(), "{family:?}");
    }
    assert_eq!(possible(), [""; 0]);
}

#[test]
fn inside_the_unit_little_is_possible() {
    let Some((_, package)) = packages() else { return };
    let Some(mut site) = Site::new("bookworm") else { return };
    site.machine.boot();
    site.install(&package);
    site.machine.write("home/somebody/diary", "");
    fs::copy(std::env::current_exe().unwrap(), site.machine.path("usr/lib/tagwall-probe")).unwrap();
    let start = "/usr/lib/tagwall-probe --exact probe --nocapture";
    site.machine.write(
        "etc/systemd/system/tagwall.service.d/probe.conf",
        &format!(
            "[Service]\nType=oneshot\nWatchdogSec=0\nRestart=no\nEnvironment=TAGWALL_PROBE=1\nExecStart=\nExecStart={start}\n"
        ),
    );
    site.machine.must(&["systemctl", "daemon-reload"]);
    site.machine.must(&["systemctl", "start", "tagwall.service"]);
    let said = site.machine.must(&["journalctl", "-b", "--no-pager", "-u", "tagwall.service"]);
    assert!(said.contains("1 passed"), "the probe did not run: {said}");

    // The probe sees what is possible where nothing is forbidden.
    site.machine.must(&["mkdir", "-p", "/run/tagwall"]);
    let free = site.machine.run(&[
        "env",
        "TAGWALL_PROBE=1",
        "/usr/lib/tagwall-probe",
        "--exact",
        "probe",
        "--nocapture",
    ]);
    let said =
        String::from_utf8_lossy(&free.stderr).into_owned() + &String::from_utf8_lossy(&free.stdout);
    for what in ["/etc", "/usr", "a shell", "netlink sockets", "other users' homes", "capabilities"]
    {
        assert!(said.contains(&format!("\"{what}\"")), "{what}: {said}");
    }

    // With a kernel target: the one capability, and netlink.
    site.machine.write("etc/tagwall/tagwall.toml", CONFIG);
    site.machine.must(&["systemctl", "daemon-reload"]);
    assert!(!site.machine.succeeds(&["systemctl", "start", "tagwall.service"]));
    let said = site.machine.must(&[
        "journalctl",
        "-b",
        "--no-pager",
        "-u",
        "tagwall.service",
        "-o",
        "cat",
    ]);
    let last = said.lines().rfind(|line| line.contains("left: [")).unwrap_or_default();
    assert_eq!(
        last.trim(),
        "left: [\"netlink sockets\", \"capabilities\", \"capabilities\", \"capabilities\"]",
        "{said}"
    );
}

/// Follows a folder, and can be told from outside by the path of its socket.
const FOLLOWING: &str = "\
[agent]
socket = \"/run/tagwall/control.sock\"
quiet-period = \"100ms\"
[feeds.drop]
cloud = \"example\"
[feeds.drop.directory]
path = \"/srv/drop\"
";

/// The embedded publication's next edition, in which the other address is in the tag too.
fn next_edition() -> String {
    let text = include_str!("../src/snapshot/example.json");
    let mut document: serde_json::Value = serde_json::from_str(text).unwrap();
    document["changeNumber"] = 2.into();
    let tags = document["values"].as_array_mut().unwrap();
    let tag = tags.iter_mut().find(|tag| tag["name"] == "AzureDevOps").unwrap();
    tag["properties"]["changeNumber"] = 2.into();
    let prefixes = tag["properties"]["addressPrefixes"].as_array_mut().unwrap();
    prefixes.push(format!("{OTHER}/32").into());
    document.to_string()
}

#[test]
fn the_agent_lives_under_its_unit() {
    const UNIT: &str = "tagwall.service";
    let Some((_, package)) = packages() else { return };
    let Some(mut site) = Site::new("bookworm") else { return };
    site.machine.boot();
    site.install(&package);
    let show = |site: &Site, key: &str| {
        site.machine.must(&["systemctl", "show", "--value", "-p", key, UNIT])
    };
    let status = |site: &Site| -> serde_json::Value {
        serde_json::from_str(&site.machine.must(&["tagwall", "status", "--json"])).unwrap()
    };

    // Who uses iptables-legacy opens its lock for reading: the agent may, others may not.
    let may_read = |user: &str| {
        let (uid, gid) = (format!("--reuid={user}"), "--init-groups");
        let gids = format!("--regid={}", site.machine.must(&["id", "-g", user]));
        site.machine.succeeds(&["setpriv", &uid, &gids, gid, "test", "-r", "/run/xtables.lock"])
    };
    assert!(may_read("tagwall") && !may_read("nobody"));

    // Started: when systemd says so, the rules are in force, and the agent can be asked.
    let config = format!("{CONFIG}{FOLLOWING}");
    site.machine.write("etc/tagwall/tagwall.toml", &config);
    site.machine.must(&["install", "-d", "-o", "tagwall", "/srv/lists"]);
    site.machine.must(&["install", "-d", "/srv/drop"]);
    site.machine.must(&["systemctl", "daemon-reload"]);
    site.machine.must(&["systemctl", "start", UNIT]);
    assert_eq!(show(&site, "ActiveState"), "active");
    assert_eq!(site.open(), ENFORCED);
    assert_ne!(show(&site, "StatusText"), "");
    assert!(site.machine.path("var/lib/tagwall/control.sock").is_symlink());
    let process = show(&site, "MainPID");
    assert_eq!(status(&site)["agent"]["pid"].to_string(), process);

    // Dropped into the folder, it is in the kernel soon.
    site.machine.write("srv/drop/ServiceTags_Example.json", &next_edition());
    site.machine.wait_until("the new edition", |_| site.open() == (true, true));

    // Reloaded: what it says is in force when the command returns.
    site.machine.write("etc/tagwall/tagwall.toml", &config.replace("tcp/443", "tcp/8443"));
    site.machine.must(&["systemctl", "reload", UNIT]);
    assert_eq!(site.open(), (false, false));
    site.machine.write("etc/tagwall/tagwall.toml", &config);
    site.machine.must(&["systemctl", "reload", UNIT]);
    assert_eq!(site.open(), (true, true));

    // Refused: the reload fails, and everything is as it was.
    let rules = site.rules();
    site.machine.write("etc/tagwall/tagwall.toml", "cloud = \"exampel\"\n");
    assert!(!site.machine.succeeds(&["systemctl", "reload", UNIT]));
    assert_eq!(show(&site, "ActiveState"), "active");
    assert_eq!(show(&site, "MainPID"), process);
    assert_eq!(site.rules(), rules);
    let refused = status(&site)["agent"]["config_refused"].to_string();
    assert!(refused.contains("exampel"), "{refused}");
    site.machine.write("etc/tagwall/tagwall.toml", &config);

    // Killed: the rules stay, and systemd starts another.
    site.machine.must(&["systemctl", "kill", "--kill-who=main", "--signal=KILL", UNIT]);
    site.machine.wait_until("another agent", |_| {
        show(&site, "NRestarts") == "1" && show(&site, "ActiveState") == "active"
    });
    assert_ne!(show(&site, "MainPID"), process);
    assert_eq!(site.rules(), rules);
    assert_eq!(status(&site)["agent"]["pid"].to_string(), show(&site, "MainPID"));

    // Stopped: in order, and the rules stay. Nothing that it tried was forbidden to it.
    site.machine.must(&["systemctl", "stop", UNIT]);
    assert_eq!(show(&site, "ActiveState"), "inactive");
    assert_eq!(show(&site, "Result"), "success");
    assert_eq!(site.rules(), rules);
    let said = site.machine.must(&["journalctl", "-b", "--no-pager", "-o", "cat", "-u", UNIT]);
    assert!(said.contains("stopped"), "{said}");
    for forbidden in ["not permitted", "Permission denied", "SIGSYS", "Read-only file system"] {
        assert!(!said.contains(forbidden), "{forbidden}: {said}");
    }
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
