//! What loads the host's own rules, started, restarted and reloaded around ours.

use crate::site::{CONFIG, ENFORCED, Site, UNIT, packages};

/// The configuration that Debian's nftables comes with: it starts with `flush ruleset`.
const NFTABLES_CONF: &str = "#!/usr/sbin/nft -f\nflush ruleset\ntable inet filter {\n}\n";

/// What netfilter-persistent does, as a unit of the same name.
const NETFILTER_PERSISTENT: &str = "\
[Unit]
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target shutdown.target
After=local-fs.target
Conflicts=shutdown.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'exec iptables-restore </etc/iptables/rules.v4'
ExecStop=/usr/sbin/iptables -F FORWARD
[Install]
WantedBy=multi-user.target
";

pub(crate) fn leave_rules_loaded(release: &str) {
    let Some(mut site) = Site::with_rules(release, NFTABLES_CONF) else { return };
    // Nobody but the units repairs anything here.
    let config = CONFIG.replace("[agent]\n", "[agent]\ndrift-check = \"0s\"\n");
    assert_ne!(config, CONFIG);
    site.configure();
    site.machine.write("etc/tagwall/tagwall.toml", &config);
    site.machine.must(&["systemctl", "enable", "--now", "--quiet", UNIT]);
    assert_eq!(site.open(), ENFORCED);
    loaded_after_each(&site);
    assert!(site.is_active(), "the agent outlives them");
    site.machine.must(&["tagwall", "status"]);

    // Without the agent too.
    site.machine.must(&["systemctl", "stop", UNIT]);
    loaded_after_each(&site);

    // And after a reboot, with and without the agent.
    site.machine.reboot();
    assert_eq!(site.open(), ENFORCED);
    loaded_after_each(&site);
}

/// Restarts, stops and starts, and reloads nftables.service: our rules are loaded after each, by
/// the units alone.
fn loaded_after_each(site: &Site) {
    // Sets are loaded before the rules that use them, and read back afterwards: what is seen while
    // the unit is at work is not its outcome.
    let unit = ["systemctl", "show", "-p", "ActiveState", "-p", "Job", "tagwall-boot.service"];
    let loaded = |what: &str| {
        site.machine.wait_until(what, |machine| {
            let rules = site.rules();
            let state = machine.must(&unit);
            rules.contains("table inet tagwall")
                && rules.contains("table inet filter")
                && state.lines().any(|line| line == "ActiveState=active")
                // Without a job there is an empty line for it, or none.
                && state.lines().all(|line| line.strip_prefix("Job=").is_none_or(str::is_empty))
        });
        assert_eq!(site.open(), ENFORCED, "{what}");
    };
    for (what, commands) in [
        ("rules after a restart", &["restart"][..]),
        ("rules after a stop and start", &["stop", "start"]),
        ("rules after a reload", &["reload"]),
        ("rules after another reload", &["reload"]),
    ] {
        // What was there before must not be taken for what comes.
        site.machine.must(&["nft", "delete", "table", "inet", "tagwall"]);
        for command in commands {
            site.machine.must(&["systemctl", command, "nftables.service"]);
        }
        loaded(what);
    }
}

pub(crate) fn saved_rules_survive(release: &str) {
    let Some(packages) = packages() else { return };
    let Some(mut site) = Site::new(release) else { return };
    site.machine.boot();
    site.install(&packages.new);
    site.configure();
    let config = CONFIG.replace("[targets.edge.nftables]", "[targets.edge.iptables]");
    site.machine.write("etc/tagwall/tagwall.toml", &config);
    site.machine.must(&["systemctl", "daemon-reload"]);
    site.machine.must(&["systemctl", "enable", "--now", "--quiet", UNIT]);
    for rule in ["-P FORWARD DROP", "-A FORWARD -j TAGWALL"] {
        site.machine.must(&[&["iptables"][..], &rule.split(' ').collect::<Vec<_>>()].concat());
    }
    // Saved as the kernel has it: with our chains, which name our sets.
    let saved = site.machine.must(&["iptables-save"]);
    assert!(saved.contains("--match-set tw-devops-v4"), "{saved}");
    site.machine.write("etc/iptables/rules.v4", &format!("{saved}\n"));
    let unit = "etc/systemd/system/netfilter-persistent.service";
    site.machine.write(unit, NETFILTER_PERSISTENT);
    site.machine.must(&["systemctl", "daemon-reload"]);
    site.machine.must(&["systemctl", "enable", "--quiet", "netfilter-persistent.service"]);

    let loaded = |site: &Site, what: &str| {
        let active = ["systemctl", "is-active", "--quiet", "netfilter-persistent.service"];
        assert!(site.machine.succeeds(&active), "{what}");
        site.machine.wait_until(what, |machine| {
            let forward = machine.must(&["iptables", "-S"]);
            ["-P FORWARD DROP", "-A FORWARD -j TAGWALL", "--match-set tw-devops-v4"]
                .iter()
                .all(|rule| forward.contains(rule))
        });
    };
    site.machine.reboot();
    loaded(&site, "saved rules after a reboot");
    site.machine.must(&["tagwall", "status", "--verify"]);

    // The same with a configuration that is broken by then, and so without the agent.
    site.machine.write("etc/tagwall/tagwall.toml", "cloud = \"exampel\"\n");
    site.machine.reboot();
    loaded(&site, "saved rules without the agent");
    assert!(!site.is_active());

    // Somebody destroys the sets while the rules are gone: starting brings them before the rules.
    site.machine.must(&["systemctl", "stop", "netfilter-persistent.service"]);
    for program in ["iptables", "ip6tables"] {
        site.machine.must(&[program, "-F"]);
        site.machine.must(&[program, "-X"]);
    }
    site.machine.must(&["ipset", "destroy"]);
    site.machine.must(&["systemctl", "start", "netfilter-persistent.service"]);
    loaded(&site, "saved rules after a start");
}
