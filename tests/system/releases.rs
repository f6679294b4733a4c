//! From installation to purge, on each release.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::agent;
use crate::consent;
use crate::loaders;
use crate::site::{CONFIG, ENFORCED, NO_RULES, Open, Site, UNIT, UNITS, packages};

#[test]
fn debian_12_from_installation_to_purge() {
    from_installation_to_purge("bookworm");
}

#[test]
fn debian_12_a_day_of_the_agent() {
    agent::a_day("bookworm");
}

#[test]
fn debian_12_host_loaders_leave_rules_loaded() {
    loaders::leave_rules_loaded("bookworm");
}

#[test]
fn debian_12_saved_iptables_rules_survive_reboot() {
    loaders::saved_rules_survive("bookworm");
}

#[test]
fn debian_12_consent_is_asked_for_and_kept() {
    consent::is_asked_for_and_kept("bookworm");
}

#[test]
fn debian_11_and_13() {
    if std::env::var_os("TAGWALL_LONG").is_none() {
        eprintln!("skipped: Debian 11 and 13 are tried with TAGWALL_LONG=1");
        return;
    }
    for release in ["bullseye", "trixie"] {
        from_installation_to_purge(release);
        agent::a_day(release);
        loaders::leave_rules_loaded(release);
        loaders::saved_rules_survive(release);
    }
}

fn from_installation_to_purge(release: &str) {
    let Some(packages) = packages() else { return };
    let Some(mut site) = Site::new(release) else { return };
    site.machine.boot();
    assert_eq!(site.open(), NO_RULES);

    // Installed: nothing is enabled, nothing runs, nothing is in force; what systemd is to know, it knows.
    site.install(&packages.old);
    assert_eq!(
        site.machine.must(&["tagwall", "--version"]),
        concat!("tagwall ", env!("CARGO_PKG_VERSION"))
    );
    assert!(site.machine.must(&["getent", "passwd", "tagwall"]).contains("nologin"));
    assert_eq!(
        site.machine.must(&["stat", "-c", "%U:%G %a", "/etc/tagwall/secrets"]),
        "root:tagwall 750"
    );
    for unit in UNITS {
        assert!(!site.machine.succeeds(&["systemctl", "is-enabled", "--quiet", unit]), "{unit}");
        assert!(!site.machine.succeeds(&["systemctl", "is-active", "--quiet", unit]), "{unit}");
    }
    assert_eq!(site.open(), NO_RULES);

    // Configured: the generator gives the capability.
    site.machine.must(&["systemctl", "daemon-reload"]);
    assert_eq!(site.show("AmbientCapabilities"), "");
    site.configure();
    assert_eq!(site.show("AmbientCapabilities"), "cap_net_admin");
    assert!(site.show("ReadWritePaths").contains("/srv/lists"));
    let verify = ["systemd-analyze", "verify", "--man=no"];
    let said = site.machine.run(&[&verify[..], &UNITS[..]].concat());
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    for line in said.lines() {
        // Debian 11's systemd, 247, knows all but one thing: which programs may be executed.
        let known = release == "bullseye" && line.contains("ExecPaths'");
        // A unit of the system's own is its own business.
        assert!(known || !line.contains("tagwall"), "{said}");
    }

    // Enabled and started: when systemd says that it is active, the rules are in force.
    site.machine.must(&["systemctl", "enable", "--now", "--quiet", UNIT]);
    assert_eq!(site.open(), ENFORCED);
    assert_eq!(site.machine.must(&["stat", "-c", "%U", "/var/lib/tagwall/current/"]), "tagwall");
    assert_eq!(site.machine.must(&["stat", "-c", "%U", "/srv/lists/devops.txt"]), "tagwall");
    let rules = site.rules();
    assert!(rules.contains("table inet tagwall"), "{rules}");
    site.machine.must(&["tagwall", "status", "--verify"]);

    // A reboot.
    site.machine.reboot();
    assert_eq!(site.open(), ENFORCED);
    assert_eq!(site.rules(), rules);
    assert!(site.is_active());

    // Another, with a configuration that is broken by then: the agent stays away, the rules are there before the network is.
    site.machine.write("etc/tagwall/tagwall.toml", "cloud = \"exampel\"\n");
    site.machine.reboot();
    assert_eq!(site.open(), ENFORCED);
    assert_eq!(site.rules(), rules);
    assert!(!site.is_active());
    let order = site.machine.must(&[
        "systemctl",
        "show",
        "--value",
        "-p",
        "Before",
        "tagwall-boot.service",
    ]);
    assert!(order.contains("network-pre.target"), "{order}");
    // Mended, the agent comes without being asked.
    site.configure();
    site.machine.wait_until("the agent", |_| site.is_active());
    assert_eq!(site.rules(), rules);

    // A power cut.
    site.machine.cut_power();
    assert_eq!(site.open(), NO_RULES);
    site.machine.boot();
    assert_eq!(site.open(), ENFORCED);
    assert!(site.is_active());
    assert_eq!(site.rules(), rules);

    // An upgrade, and back again: another agent at the end, and at no moment other rules.
    for (package, version) in [(&packages.new, "0.1.0-1"), (&packages.old, "0.0.9-1")] {
        replaced_while_it_runs(&site, package);
        assert_eq!(
            site.machine.must(&["dpkg-query", "-W", "-f", "${Version}", "tagwall"]),
            version
        );
        let config = fs::read_to_string(site.machine.path("etc/tagwall/tagwall.toml")).unwrap();
        assert_eq!(config, CONFIG);
        for unit in UNITS {
            assert!(site.machine.succeeds(&["systemctl", "is-enabled", "--quiet", unit]), "{unit}");
        }
        assert_eq!(site.rules(), rules);
    }

    // Removed: the agent goes, the rules and the state stay. Purged: the state goes, the rules stay.
    site.machine.must(&["dpkg", "-r", "tagwall"]);
    assert_eq!(site.open(), ENFORCED);
    assert!(!site.machine.succeeds(&["pgrep", "-x", "tagwall"]));
    assert!(site.machine.path("var/lib/tagwall/current").symlink_metadata().is_ok());
    assert!(site.machine.path("etc/tagwall/tagwall.toml").exists());
    site.machine.must(&["dpkg", "-P", "tagwall"]);
    assert_eq!(site.open(), ENFORCED);
    for gone in [
        "var/lib/tagwall",
        "etc/tagwall/tagwall.toml",
        "etc/systemd/system/multi-user.target.wants/tagwall.service",
        "etc/systemd/system/sysinit.target.wants/tagwall-boot.service",
        "etc/systemd/system/sysinit.target.wants/tagwall-sets.service",
        "etc/systemd/system/nftables.service.wants/tagwall-boot.service",
        "run/tagwall",
    ] {
        assert!(site.machine.path(gone).symlink_metadata().is_err(), "{gone}");
    }
    site.machine.reboot();
    assert_eq!(site.open(), NO_RULES);
}

/// Installs a package over a running agent, and watches with packets that the rules are in force all the while.
fn replaced_while_it_runs(site: &Site, package: &Path) {
    let before = site.show("MainPID");
    let seen: Mutex<(usize, BTreeSet<Open>)> = Mutex::default();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let open = site.open();
                let mut seen = seen.lock().unwrap();
                seen.0 += 1;
                seen.1.insert(open);
            }
        });
        site.install(package);
        site.machine.wait_until("another agent", |_| site.is_active());
        done.store(true, Ordering::Relaxed);
    });
    let (times, seen) = seen.into_inner().unwrap();
    assert!(times >= 2, "the packets saw nothing of it");
    assert_eq!(seen, BTreeSet::from([ENFORCED]));
    assert_ne!(site.show("MainPID"), before);
    assert_eq!(site.status()["agent"]["pid"].to_string(), site.show("MainPID"));
}
