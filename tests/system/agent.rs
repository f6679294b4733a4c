//! A day of the agent under its unit: what it is told, what it is done to, and what packets meet meanwhile.

use crate::site::{CONFIG, ENFORCED, Site, UNIT, next_edition, packages};

/// A watchdog that barks soon.
const IMPATIENT: &str = "[Service]\nWatchdogSec=3s\nTimeoutAbortSec=1s\n";

pub(crate) fn a_day(release: &str) {
    let Some(packages) = packages() else { return };
    let Some(mut site) = Site::new(release) else { return };
    site.machine.boot();
    site.install(&packages.new);

    // Who uses iptables-legacy opens its lock for reading: the agent may, others may not.
    let may_read = |user: &str| {
        let (uid, gid) = (format!("--reuid={user}"), "--init-groups");
        let gids = format!("--regid={}", site.machine.must(&["id", "-g", user]));
        site.machine.succeeds(&["setpriv", &uid, &gids, gid, "test", "-r", "/run/xtables.lock"])
    };
    assert!(may_read("tagwall") && !may_read("nobody"));

    // Started: when systemd says so, the rules are in force, and the agent can be asked.
    site.configure();
    site.machine.must(&["systemctl", "start", UNIT]);
    assert_eq!(site.show("ActiveState"), "active");
    assert_eq!(site.open(), ENFORCED);
    assert_ne!(site.show("StatusText"), "");
    assert!(site.machine.path("var/lib/tagwall/control.sock").is_symlink());
    let process = site.show("MainPID");
    assert_eq!(site.status()["agent"]["pid"].to_string(), process);

    // Dropped into the folder, it is in the kernel soon.
    site.machine.write("srv/drop/ServiceTags_Example.json", &next_edition());
    site.machine.wait_until("the new edition", |_| site.open() == (true, true));

    // Reloaded: what it says is in force when the command returns.
    site.machine.write("etc/tagwall/tagwall.toml", &CONFIG.replace("tcp/443", "tcp/8443"));
    site.machine.must(&["systemctl", "reload", UNIT]);
    assert_eq!(site.open(), (false, false));
    site.machine.write("etc/tagwall/tagwall.toml", CONFIG);
    site.machine.must(&["systemctl", "reload", UNIT]);
    assert_eq!(site.open(), (true, true));

    // Refused: the reload fails, and everything is as it was.
    let rules = site.rules();
    site.machine.write("etc/tagwall/tagwall.toml", "cloud = \"exampel\"\n");
    assert!(!site.machine.succeeds(&["systemctl", "reload", UNIT]));
    assert_eq!(site.show("ActiveState"), "active");
    assert_eq!(site.show("MainPID"), process);
    assert_eq!(site.rules(), rules);
    assert_eq!(site.open(), (true, true));
    let refused = site.status()["agent"]["config_refused"].to_string();
    assert!(refused.contains("exampel"), "{refused}");
    site.machine.write("etc/tagwall/tagwall.toml", CONFIG);

    // Killed: the rules stay, and systemd starts another.
    site.machine.must(&["systemctl", "kill", "--kill-who=main", "--signal=KILL", UNIT]);
    assert_eq!(site.open(), (true, true));
    site.machine.wait_until("another agent", |_| site.show("NRestarts") == "1" && site.is_active());
    assert_ne!(site.show("MainPID"), process);
    assert_eq!(site.rules(), rules);
    assert_eq!(site.status()["agent"]["pid"].to_string(), site.show("MainPID"));

    // Power is cut: the newest publication that was believed is in force again, before the agent has looked at its feed.
    site.machine.cut_power();
    site.machine.boot();
    site.machine.must(&["systemctl", "start", "tagwall-boot.service"]);
    assert_eq!(site.open(), (true, true));
    assert_eq!(site.rules(), rules);

    // Hanging: the watchdog replaces it, and the rules stay meanwhile. Left alone it is not replaced.
    site.machine.write("etc/systemd/system/tagwall.service.d/test.conf", IMPATIENT);
    site.machine.must(&["systemctl", "daemon-reload"]);
    site.machine.must(&["systemctl", "restart", UNIT]);
    let process = site.show("MainPID");
    site.machine.must(&["sleep", "5"]);
    assert_eq!((site.show("MainPID"), site.show("NRestarts")), (process.clone(), "0".to_owned()));
    site.machine.must(&["systemctl", "kill", "--kill-who=main", "--signal=STOP", UNIT]);
    site.machine.wait_until("the watchdog", |_| site.show("NRestarts") == "1" && site.is_active());
    assert_ne!(site.show("MainPID"), process);
    assert!(site.journal().contains("atchdog timeout"), "{}", site.journal());
    assert_eq!(site.open(), (true, true));
    assert_eq!(site.rules(), rules);

    // What the configuration needs the unit is given: a port below 1024, and a feed in a home that nobody else may enter.
    let config = CONFIG.replace("/srv/drop", "/home/netops/drop");
    let config = format!("{config}[serve]\nlisten = [\"127.0.0.1:80\"]\n");
    site.machine.write("etc/tagwall/tagwall.toml", &config);
    site.machine.must(&["install", "-d", "-m", "0700", "/home/netops"]);
    site.machine.must(&["install", "-d", "/home/netops/drop"]);
    site.machine.write("home/netops/drop/ServiceTags_Example.json", &next_edition());
    site.machine.must(&["systemctl", "daemon-reload"]);
    site.machine.must(&["systemctl", "restart", UNIT]);
    let connect = "exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3; head -n 1 <&3";
    let answer = site.machine.must(&["timeout", "10", "bash", "-c", connect]);
    assert!(answer.contains(" 200 "), "{answer}");
    // The same document as before, found where it is now.
    site.machine.wait_until("the feed in a home", |_| {
        let said = site.journal();
        said.rsplit("serving at 127.0.0.1:80").next().is_some_and(|last| last.contains("unchanged"))
    });
    assert!(!site.status()["agent"]["feeds"].to_string().contains("\"error\""));
    assert_eq!(site.rules(), rules);

    // Stopped: in order, and the rules stay. Nothing that it tried was forbidden to it.
    site.machine.must(&["systemctl", "stop", UNIT]);
    assert_eq!(site.show("ActiveState"), "inactive");
    assert_eq!(site.show("Result"), "success");
    assert_eq!(site.rules(), rules);
    let said = site.journal();
    assert!(said.contains("stopped"), "{said}");
    for forbidden in ["not permitted", "Permission denied", "SIGSYS", "Read-only file system"] {
        assert!(!said.contains(forbidden), "{forbidden}: {said}");
    }
}
