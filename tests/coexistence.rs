//! The recipes of docs/coexistence.md on hosts furnished by real programs, with packets.
//!
//! Each host has the rules of one program and objects of every kind that others may have; the
//! recipe is taken from the page. Needs root, nft, iptables, ipset, nsenter, and packages that are
//! downloaded (never installed); what cannot be had is named, and its test skipped.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

#[path = "coexistence/foreign.rs"]
mod foreign;
#[path = "coexistence/host.rs"]
mod host;
#[path = "coexistence/kube.rs"]
mod kube;
#[path = "common/netns.rs"]
mod netns;

use std::sync::OnceLock;

use foreign::Snapshot;
use host::{Host, text};
use netns::{PacketBed, Probe, Transport, Verdict, hindrance};

const TOOLS: &[&str] = &["iptables", "ip6tables", "ipset", "nsenter", "unshare"];
/// An address of the group, and one that only the wider group has.
const ALLOWED: [&str; 2] = ["198.51.100.1", "2001:db8:51::1"];
const ELSEWHERE: [&str; 2] = ["198.51.100.200", "2001:db8:52::1"];
const NARROW: &str = "\"198.51.100.0/25\", \"2001:db8:51::/48\"";
const WIDE: &str = "\"198.51.100.0/24\", \"2001:db8:51::/48\", \"2001:db8:52::/48\"";
/// Exit codes (docs/exit-codes.md): a firewall refused, and consent needed.
const FIREWALL: i32 = 7;
const CONSENT: i32 = 10;

/// The packages of Docker.
const DOCKER: &[&str] = &["docker.io", "containerd", "runc", "libdevmapper1.02.1"];

/// A bed, or nothing (and a word about it) where there can be none.
fn bed() -> Option<PacketBed> {
    if let Some(reason) = hindrance(TOOLS) {
        eprintln!("skipped: {reason}");
        return None;
    }
    Some(PacketBed::new())
}

/// A host in the bed with these packages.
fn furnish<'b>(bed: &'b PacketBed, packages: &[&str]) -> Option<Host<'b>> {
    match Host::new(bed, packages) {
        Ok(host) => Some(host),
        Err(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
    }
}

/// The blocks of a section of the page with this mark.
fn blocks(section: &str, mark: &str) -> Vec<String> {
    let page = include_str!("../docs/coexistence.md");
    let heading = format!("\n## {section}\n");
    let (_, text) = page.split_once(&heading).unwrap_or_else(|| panic!("no section {section}"));
    let text = text.split("\n## ").next().unwrap();
    let fence = format!("\n```{mark}\n");
    text.split(&fence)
        .skip(1)
        .map(|block| block.split("\n```").next().unwrap().to_owned() + "\n")
        .collect()
}

/// The recipe of a section.
fn recipe(section: &str) -> String {
    blocks(section, "toml").into_iter().next().unwrap_or_else(|| panic!("{section}: no recipe"))
}

/// Writes a configuration of one rule with this target.
fn configure(host: &Host<'_>, prefixes: &str, target: &str) {
    host.write(
        "/etc/tagwall/tagwall.toml",
        &format!(
            "[groups.azure]\nprefixes = [{prefixes}]\n[rules.azure]\n\
             source = [\"10.20.0.0/24\", \"fd00:20::/64\"]\ndestination = \"azure\"\n\
             services = [\"tcp/443\"]\n{target}"
        ),
    );
}

fn tagwall(host: &Host<'_>, arguments: &[&str]) -> String {
    host.run(&[&["tagwall"], arguments].concat())
}

/// Runs tagwall, which must end with this code; what it printed.
fn tagwall_ends(host: &Host<'_>, arguments: &[&str], code: i32) -> String {
    let output = host.attempt(&[&["tagwall"], arguments].concat(), "");
    let printed = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{}: {printed}", arguments.join(" "));
    printed
}

/// Whether connections from the subnet to each of these addresses pass, in both families.
fn assert_packets(bed: &PacketBed, to: [&str; 2], pass: bool, when: &str) {
    for (from, to) in ["10.20.0.5", "fd00:20::5"].into_iter().zip(to) {
        let probe = Probe::new(from, to, Transport::Tcp, 443);
        let verdict = bed.connect(&probe);
        assert_eq!(verdict == Verdict::Passed, pass, "{when}: {probe}: {verdict:?}");
    }
}

/// Runs a recipe through its life: load, update, out-of-band change, restore, and a reload of the
/// host's program. Packets are decided as the rule says at each step; what others have is the same
/// before and after.
fn lives<'b>(
    bed: &'b PacketBed,
    host: &mut Host<'b>,
    target: &str,
    damage: &str,
    reload: impl FnOnce(&mut Host<'b>),
) {
    foreign::load(host);
    let before = Snapshot::new(host);
    let untouched = |host: &Host<'_>, when: &str| {
        Snapshot::new(host).assert_is(&before, when);
    };
    configure(host, NARROW, target);
    tagwall(host, &["check"]);
    tagwall(host, &["render"]);
    tagwall_ends(host, &["status", "--verify"], 0);
    untouched(host, "after the first load");
    assert_packets(bed, ALLOWED, true, "first load");
    assert_packets(bed, ELSEWHERE, false, "first load");

    configure(host, WIDE, target);
    tagwall(host, &["render"]);
    assert_packets(bed, ELSEWHERE, true, "wider group");
    configure(host, NARROW, &target.replace("\"wan0\"", "\"wan*\""));
    tagwall(host, &["render"]);
    assert_packets(bed, ELSEWHERE, false, "narrow group by another egress");
    untouched(host, "after updates");

    host.shell(damage);
    tagwall_ends(host, &["status", "--verify"], 1);
    tagwall(host, &["restore", "--overwrite"]);
    tagwall_ends(host, &["status", "--verify"], 0);
    assert_packets(bed, ALLOWED, true, "restored");
    assert_packets(bed, ELSEWHERE, false, "restored");
    untouched(host, "after a restore");

    reload(host);
    assert_packets(bed, ALLOWED, true, "reloaded");
    assert_packets(bed, ELSEWHERE, false, "reloaded");
    tagwall_ends(host, &["status", "--verify"], 0);
    tagwall(host, &["restore"]);
    tagwall_ends(host, &["status", "--verify"], 0);
    assert_packets(bed, ALLOWED, true, "restored after the reload");
}

/// Damages of an own table, and of iptables' chains with their jump.
const NO_TABLE: &str = "nft delete table inet tagwall";
const NO_CHAINS: &str = "for program in iptables ip6tables; do
    while $program -D FORWARD -j TAGWALL 2>/dev/null; do :; done
    $program -F TAGWALL
    $program -F TAGWALL-OUT
done";

/// A host without any rules: what the other hosts are compared with.
#[test]
fn host_of_foreign_objects() {
    let Some(bed) = bed() else { return };
    let Some(mut host) = furnish(&bed, &[]) else { return };
    lives(&bed, &mut host, &recipe("Tables with an owner"), NO_TABLE, |_| {});
}

/// Own chain and sets in a table of the host that has sets, maps and a flowtable of its own.
#[test]
fn host_table_with_sets_of_every_kind() {
    let Some(bed) = bed() else { return };
    let Some(mut host) = furnish(&bed, &[]) else { return };
    host.feed(
        &["nft", "-f", "-"],
        "table inet filter {
            set ports { type inet_service; elements = { 22 } }
            map verdicts { type inet_service : verdict; elements = { 23 : drop } }
            set names { type ifname; elements = { \"lan0\" } }
            quota month { 500 mbytes }
            chain azure { }
            chain forward {
                type filter hook forward priority 0; policy accept;
                tcp dport vmap @verdicts
                jump azure
                iifname @names oifname \"wan0\" reject with icmpx admin-prohibited
            }
        }",
    );
    let target = "[targets.edge]\napply = \"automatic\"\n[targets.edge.nftables]\n\
                  mode = \"embed\"\negress = [\"wan0\"]\n";
    lives(&bed, &mut host, target, "nft flush chain inet filter azure", |host| {
        host.shell("nft add element inet filter ports { 2222 }");
    });
}

#[test]
fn firewalld() {
    let packages = [
        "firewalld",
        "python3-firewall",
        "python3-nftables",
        "python3-cap-ng",
        "python3-dbus",
        "python3-gi",
        "gir1.2-nm-1.0",
        "gir1.2-glib-2.0",
        "libgirepository-1.0-1",
        "dbus-daemon",
        "libdbus-1-3",
    ];
    let Some(bed) = bed() else { return };
    let Some(mut host) = furnish(&bed, &packages) else { return };
    // The daemon is configured before it runs: its client asks polkit, which is no part of this.
    for line in blocks("firewalld", "sh host").concat().lines() {
        if line != "firewall-cmd --reload" {
            host.shell(&line.replace("firewall-cmd --permanent", "firewall-offline-cmd"));
        }
    }
    host.write("/etc/bus.conf", BUS);
    host.shell("mkdir -p /run/dbus");
    host.start("dbus-daemon --config-file=/etc/bus.conf --nofork --nopidfile", "");
    host.wait_until("test -S /run/dbus/system_bus_socket", "dbus-daemon");
    host.start("firewalld --nofork --nopid", "");
    host.wait_until(FIREWALLD_IS_READY, "firewalld");
    lives(&bed, &mut host, &recipe("firewalld"), NO_TABLE, reload_firewalld);

    // What cannot work: packets that firewalld does not allow, and a chain in its table.
    host.shell(
        "nft add chain inet firewalld azure; nft flush chain inet firewalld filter_FORWARD_ZONES",
    );
    assert_packets(&bed, ALLOWED, false, "refused by firewalld");
    reload_firewalld(&mut host);
    assert_packets(&bed, ALLOWED, true, "allowed by firewalld");
    let chain = host.attempt(&["nft", "list", "chain", "inet", "firewalld", "azure"], "");
    assert!(!chain.status.success(), "a foreign chain outlives a reload of firewalld");
}

/// A system bus for everybody, without services that it starts.
const BUS: &str = r#"<busconfig>
<type>system</type>
<listen>unix:path=/run/dbus/system_bus_socket</listen>
<auth>EXTERNAL</auth>
<policy context="default">
<allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
</policy>
</busconfig>
"#;

/// firewalld's rules as it loaded them first.
static FIREWALLD_RULES: OnceLock<String> = OnceLock::new();

/// The rules of the policy are the last that firewalld loads.
const FIREWALLD_IS_READY: &str = "nft list table inet firewalld | grep -q 10.20.0.0/24";

/// A reload makes firewalld's table again, with the same rules. Meanwhile another table of
/// firewalld's drops everything.
fn reload_firewalld(host: &mut Host<'_>) {
    let handle = "nft -a list table inet firewalld | sed -n 's/^table .* handle //p'";
    let rules = "nft -s list table inet firewalld";
    let before = host.shell(handle);
    host.write("/tmp/firewalld.before", &FIREWALLD_RULES.get_or_init(|| host.shell(rules)).clone());
    host.shell("kill -HUP $(cat /proc/[0-9]*/stat | awk '$2 == \"(firewalld)\" { print $1 }')");
    let made_again = format!(
        "test \"$({handle})\" != '{}' && {rules} | cmp -s - /tmp/firewalld.before &&
         ! nft list table inet firewalld_policy_drop",
        before.trim()
    );
    host.wait_until(&made_again, "firewalld");
}

/// A table that another program owns.
#[test]
fn tables_with_an_owner() {
    let Some(bed) = bed() else { return };
    let Some(mut host) = furnish(&bed, &[]) else { return };
    host.start("nft -i", foreign::OWNER);
    host.wait_until("nft list chain inet owned forward | grep -q theirs", "nft");
    let before = Snapshot::new(&host);
    configure(
        &host,
        NARROW,
        "[targets.edge]\napply = \"automatic\"\n[targets.edge.nftables]\nmode = \"embed\"\n\
         table = \"owned\"\negress = [\"wan0\"]\n",
    );
    let output = host.attempt(&["tagwall", "render"], "");
    let printed = text(&output.stderr);
    assert!(!output.status.success() && printed.contains("owner"), "{printed}");
    Snapshot::new(&host).assert_is(&before, "refused");
}

#[test]
fn ufw() {
    let Some(bed) = bed() else { return };
    let Some(mut host) = furnish(&bed, &["ufw"]) else { return };
    // As the package does when it is installed.
    host.shell("cp /usr/share/ufw/*.rules /usr/share/ufw/*.init /usr/share/ufw/ufw.conf /etc/ufw/");
    host.shell("ufw allow 22/tcp; ufw route allow in on lan0 out on onprem0; ufw --force enable");
    assert!(host.run(&["iptables", "-S", "FORWARD"]).contains("-P FORWARD DROP"));
    assert_packets(&bed, ALLOWED, false, "ufw alone");
    lives(&bed, &mut host, &recipe("ufw"), NO_CHAINS, |host| {
        host.shell("ufw reload");
    });
}

#[test]
fn docker() {
    let Some(bed) = bed() else { return };
    let Some(mut host) = furnish(&bed, DOCKER) else { return };
    // Docker sets the policy of FORWARD where it enables forwarding itself.
    host.shell("echo 0 >/proc/sys/net/ipv4/ip_forward");
    if !start_docker(&mut host) {
        return;
    }
    assert!(host.run(&["iptables", "-S", "FORWARD"]).contains("-P FORWARD DROP"));
    assert_packets_v4(&bed, ALLOWED[0], false, "Docker alone");
    host.shell("iptables -I DOCKER-USER -s 203.0.113.66 -j DROP");
    lives(&bed, &mut host, &recipe("Docker"), NO_CHAINS, |host| {
        stop_docker(host);
        assert!(start_docker(host));
    });

    let target = "[targets.edge]\napply = \"automatic\"\nfamilies = \"ipv4\"\n\
                  [targets.edge.iptables]\negress = [\"wan0\"]\nchain = \"DOCKER-USER\"\n";
    host.shell("rm -rf /var/lib/tagwall");
    configure(&host, NARROW, target);
    let before = Snapshot::new(&host);
    tagwall_ends(&host, &["render"], CONSENT);
    Snapshot::new(&host).assert_is(&before, "refused");
    assert!(host.run(&["iptables", "-S", "DOCKER-USER"]).contains("203.0.113.66"));
}

/// The jump goes into a chain that Docker makes later.
#[test]
fn docker_user_appears_after_the_load() {
    let Some(bed) = bed() else { return };
    let Some(mut host) = furnish(&bed, DOCKER) else { return };
    let target = recipe("Docker").replace("\"FORWARD\"", "\"DOCKER-USER\"");
    let target =
        target.replace("apply = \"automatic\"", "apply = \"automatic\"\nfamilies = \"ipv4\"");
    configure(&host, NARROW, &target);
    tagwall(&host, &["render", "--allow-unreached"]);
    let printed = tagwall_ends(&host, &["status", "--verify"], 1);
    assert!(printed.contains("DOCKER-USER"), "{printed}");
    assert!(!host.run(&["iptables", "-S"]).contains("-N DOCKER-USER"), "the chain is Docker's");
    if !start_docker(&mut host) {
        return;
    }
    tagwall(&host, &["restore"]);
    tagwall_ends(&host, &["status", "--verify"], 0);
    assert_packets_v4(&bed, ALLOWED[0], true, "by DOCKER-USER");
    assert_packets_v4(&bed, ELSEWHERE[0], false, "by DOCKER-USER");
}

/// A table that iptables-nft keeps is none to embed into.
#[test]
fn embed_in_a_table_of_iptables_is_refused() {
    let Some(bed) = bed() else { return };
    let Some(host) = furnish(&bed, &[]) else { return };
    host.shell("iptables-nft -A FORWARD -s 203.0.113.66 -j DROP");
    let before = host.run(&["iptables-nft", "-S"]);
    configure(
        &host,
        NARROW,
        "[targets.edge]\napply = \"automatic\"\nfamilies = \"ipv4\"\n[targets.edge.nftables]\n\
         mode = \"embed\"\nfamily = \"ip\"\negress = [\"wan0\"]\n",
    );
    let printed = tagwall_ends(&host, &["render"], FIREWALL);
    assert!(printed.contains("iptables keeps it"), "{printed}");
    assert_eq!(host.run(&["iptables-nft", "-S"]), before);
}

#[test]
fn kube_proxy_nftables() {
    let Some(bed) = bed() else { return };
    let Some(mut host) = furnish(&bed, &[]) else { return };
    host.feed(&["nft", "-f", "-"], kube::NFTABLES);
    lives(&bed, &mut host, &recipe("kube-proxy"), NO_TABLE, |host| {
        // kube-proxy fills its maps whenever a service changes.
        let element = "{ 10.96.0.30 . tcp . 80 : goto reject-chain }";
        host.shell(&format!("nft add element ip kube-proxy no-endpoint-services '{element}'"));
    });
}

#[test]
fn kube_proxy_iptables_and_ipvs() {
    let Some(bed) = bed() else { return };
    let Some(mut host) = furnish(&bed, &[]) else { return };
    host.feed(&["ipset", "restore"], kube::IPSETS);
    host.feed(&["iptables-restore", "-n"], kube::IPTABLES);
    lives(&bed, &mut host, &recipe("kube-proxy"), NO_TABLE, |host| {
        // kube-proxy loads its tables again whenever a service changes.
        host.feed(&["iptables-restore", "-n"], &kube_tables_again());
    });
}

/// kube-proxy's chains without the rules of built-in chains, which it adds once.
fn kube_tables_again() -> String {
    let built_in = ["-A INPUT", "-A FORWARD", "-A OUTPUT", "-A PREROUTING", "-A POSTROUTING"];
    let lines =
        kube::IPTABLES.lines().filter(|line| !built_in.iter().any(|it| line.starts_with(it)));
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn netfilter_persistent() {
    let Some(bed) = bed() else { return };
    let packages = ["netfilter-persistent", "iptables-persistent"];
    let Some(mut host) = furnish(&bed, &packages) else { return };
    host.shell("iptables -P FORWARD DROP; iptables -A FORWARD -i onprem0 -j ACCEPT");
    lives(&bed, &mut host, &recipe("netfilter-persistent"), NO_CHAINS, |host| {
        host.shell("netfilter-persistent save");
    });
    // A boot: the kernel is empty, and the saved rules name tagwall's sets.
    let boot = "for program in iptables ip6tables; do
            $program -P FORWARD ACCEPT; $program -F; $program -X
        done
        nft list tables | sed -n 's/^table .* others.*/delete &/p' | nft -f -
        for set in $(ipset list -n); do ipset destroy $set 2>/dev/null || true; done
        for set in $(ipset list -n); do ipset destroy $set; done";
    host.shell(boot);
    // It may end with 0 all the same.
    host.attempt(&["netfilter-persistent", "start"], "");
    let rules = host.run(&["iptables", "-S"]);
    assert!(!rules.contains("-P FORWARD DROP"), "rules that name absent sets were loaded: {rules}");
    for line in blocks("netfilter-persistent", "sh host").concat().lines() {
        host.shell(line);
    }
    assert!(host.run(&["iptables", "-S"]).contains("-P FORWARD DROP"));
    tagwall_ends(&host, &["status", "--verify"], 0);
    assert_packets(&bed, ALLOWED, true, "booted");
    assert_packets(&bed, ELSEWHERE, false, "booted");
}

#[test]
fn iptables_legacy() {
    let Some(bed) = bed() else { return };
    let Some(mut host) = furnish(&bed, &[]) else { return };
    let chosen = "for program in iptables ip6tables; do
        for command in $program $program-save $program-restore; do
            legacy=/usr/sbin/$(echo $command | sed 's/tables/tables-legacy/')
            test -x $legacy && ln -sf $legacy /usr/sbin/$command
        done
    done";
    if !host.attempt(&["sh", "-euc", chosen], "").status.success()
        || !host.run(&["iptables", "-V"]).contains("legacy")
        || !host.attempt(&["iptables", "-S"], "").status.success()
    {
        eprintln!("skipped: there is no legacy iptables here");
        return;
    }
    host.shell("iptables -P FORWARD DROP; iptables -A FORWARD -i onprem0 -j ACCEPT");
    lives(&bed, &mut host, &recipe("iptables-legacy"), NO_CHAINS, |host| {
        host.shell("iptables-save | iptables-restore");
    });
}

fn assert_packets_v4(bed: &PacketBed, to: &str, pass: bool, when: &str) {
    let probe = Probe::new("10.20.0.5", to, Transport::Tcp, 443);
    let verdict = bed.connect(&probe);
    assert_eq!(verdict == Verdict::Passed, pass, "{when}: {probe}: {verdict:?}");
}

/// Starts Docker's daemon; false (and a word about it) where it cannot run.
fn start_docker(host: &mut Host<'_>) -> bool {
    host.shell(
        "mkdir -p /var/lib/docker /sys/fs/cgroup
         mountpoint -q /var/lib/docker || mount -t tmpfs tmpfs /var/lib/docker
         if ! mountpoint -q /sys/fs/cgroup; then
             mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null && grep -q memory /sys/fs/cgroup/cgroup.controllers || {
                 umount /sys/fs/cgroup 2>/dev/null || true
                 mount -t tmpfs tmpfs /sys/fs/cgroup
                 for controller in devices memory cpu cpuset pids blkio freezer; do
                     mkdir /sys/fs/cgroup/$controller
                     mount -t cgroup -o $controller none /sys/fs/cgroup/$controller || rmdir /sys/fs/cgroup/$controller
                 done
             }
         fi",
    );
    host.start("dockerd --storage-driver=vfs --host unix:///run/docker.sock", "");
    host.wait_until(
        "grep -q -e 'API listen' -e 'failed to start' -e 'error while loading' /tmp/dockerd.log",
        "dockerd",
    );
    let log = host.log("dockerd");
    if log.contains("API listen") {
        return true;
    }
    eprintln!("skipped: dockerd cannot run here: {}", log.lines().last().unwrap_or_default());
    false
}

fn stop_docker(host: &mut Host<'_>) {
    host.shell("kill $(cat /var/run/docker.pid)");
    host.wait_until("! test -e /var/run/docker.pid", "dockerd");
}
