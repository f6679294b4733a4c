//! Changes by others: noticed by the ruleset's number, repaired, and noted down.

use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::common::host::{GROUPS, Host};

/// An agent that compares by the clock once an hour only.
struct Running<'h> {
    host: &'h Host,
    child: Child,
}

impl<'h> Running<'h> {
    fn start(host: &'h Host) -> Self {
        let running = Self { host, child: host.start(&["run"]) };
        running.until("the agent answers", || {
            let status = running.host.attempt(&["status", "--json"]).stdout;
            String::from_utf8_lossy(&status).contains("\"pid\"")
        });
        running
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..300 {
            if is_so() {
                return;
            }
            sleep(Duration::from_millis(50));
        }
        panic!("{what}:\n{}", self.host.rules());
    }

    fn has_rules(&self) -> bool {
        self.host.rules().contains("dport 443 counter")
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        let _ = kill_process(pid, Signal::TERM);
        let _ = self.child.wait();
    }
}

fn config() -> String {
    format!(
        "{GROUPS}[agent]\ndrift-check = \"1h\"\n[targets.edge]\napply = \"automatic\"\n[targets.edge.nftables]\n"
    )
}

#[test]
fn flushed_ruleset_is_back_without_waiting_for_the_clock() {
    let Some(host) = Host::new(&["nft"], &config()) else { return };
    host.expect(0, &["render"]);
    let running = Running::start(&host);
    running.until("the rules are loaded", || running.has_rules());
    host.namespace.run(&["nft", "flush", "ruleset"], b"");
    running.until("the flushed rules are back", || running.has_rules());
    running.until("the repair is noted", || {
        let (history, _) = host.expect(0, &["history"]);
        history.contains("table inet tagwall is missing; brought back")
    });
    let trail = std::fs::read_dir(host.path("state/trail")).unwrap();
    let text: String = trail
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default())
        .collect();
    assert!(text.contains("\"action\":\"drifted\""), "{text}");
    // Of one set alone, too, which leaves the rules as they are.
    let handles =
        || host.namespace.run(&["nft", "-a", "-t", "list", "table", "inet", "tagwall"], b"");
    let before = handles();
    host.namespace.run(&["nft", "flush", "set", "inet", "tagwall", "tw-devops-v4"], b"");
    running.until("the set is full again", || {
        host.namespace
            .run(&["nft", "list", "set", "inet", "tagwall", "tw-devops-v4"], b"")
            .contains("192.0.2.")
    });
    assert_eq!(without_counters(&handles()), without_counters(&before));
    // What something else flushed and loaded again within one poll is noted too.
    let rules = host.path("state/current/edge/rules.nft");
    let text = format!("flush ruleset\ninclude \"{}\"\n", rules.display());
    running.until("the number was asked for meanwhile", || {
        host.namespace.run(&["nft", "-f", "-"], text.as_bytes());
        let (history, _) = host.expect(0, &["history"]);
        history.contains("removed and loaded again by something else")
    });
    // A pause is for somebody who is at work in the kernel.
    host.expect(0, &["pause", "at work"]);
    host.namespace.run(&["nft", "flush", "ruleset"], b"");
    sleep(Duration::from_secs(3));
    assert!(!running.has_rules());
    host.expect(0, &["resume"]);
    running.until("the rules are back after the pause", || running.has_rules());
}

#[test]
fn changed_ipset_is_filled_again_without_waiting_for_the_clock() {
    let config = config().replace("edge.nftables", "edge.iptables");
    let Some(host) = Host::new(&["iptables", "ipset"], &config) else { return };
    host.expect(0, &["render"]);
    let running = Running::start(&host);
    let set = || host.namespace.run(&["ipset", "save", "tw-devops-v4"], b"");
    let before = set();
    let line = before.lines().find(|line| line.starts_with("add ")).unwrap();
    let element = line.split(' ').nth(2).unwrap();
    // Twice, so that the second time is one that the agent sees from its own repair on, and not
    // while it is at it.
    for _ in 0..2 {
        sleep(Duration::from_secs(3));
        host.namespace.run(&["ipset", "del", "tw-devops-v4", element], b"");
        running.until("the element is back", || {
            sleep(Duration::from_millis(50));
            set().lines().any(|found| found == line)
        });
    }
    let (history, _) = host.expect(0, &["history"]);
    assert!(history.contains("set tw-devops-v4") && history.contains("brought back"), "{history}");
}

/// A listing without the figures that packets change.
fn without_counters(listed: &str) -> String {
    let figures = |word: &&str| !word.chars().all(|c| c.is_ascii_digit());
    let line = |line: &str| line.split(' ').filter(figures).collect::<Vec<_>>().join(" ");
    let counting = listed.lines().filter(|line| line.contains("counter"));
    counting.map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn agent_at_rest_asks_for_one_number() {
    let Some(host) = Host::new(&["nft", "strace"], &config()) else { return };
    host.expect(0, &["render"]);
    let running = Running::start(&host);
    running.until("the rules are loaded", || running.has_rules());
    // What the start has set off is over.
    sleep(Duration::from_secs(3));
    let traced = host.path("trace");
    let pid = running.child.id().to_string();
    let status = Command::new("timeout")
        .args(["4", "strace", "-f", "-qq", "-p", &pid, "-o"])
        .arg(&traced)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(124), "strace ran until its time was over");
    let text = std::fs::read_to_string(&traced).unwrap();
    let calls =
        |name: &str| text.lines().filter(|line| line.contains(&format!(" {name}("))).count();
    let polls = calls("sendto");
    assert!((2..=6).contains(&polls), "{text}");
    let others: Vec<&str> = text
        .lines()
        .filter(|line| {
            // What sleeps is told once, when strace comes.
            let waits =
                ["sendto(", "recvfrom(", "clock_nanosleep(", "<unfinished ...>", "resumed>"];
            !waits.iter().any(|call| line.contains(call)) && !line.contains("restart_syscall(")
        })
        .collect();
    assert!(others.is_empty(), "{others:?}");
}
