//! Publishing under traffic: packets, readers of the kernel's sets and of the files, established connections, counters.
//!
//! Needs root and nft, conntrack; what is not there is said and left out.
#![allow(clippy::similar_names, reason = "reader and readers")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(
    clippy::print_stderr,
    reason = "a skipped test must say so, and how much was seen is said"
)]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

#[path = "common/netns.rs"]
mod netns;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use netns::{PacketBed, Probe, Transport, Verdict, hindrance, talk};

const BINARY: &str = env!("CARGO_BIN_EXE_tagwall");
/// Publications that the readers watch.
const PUBLICATIONS: usize = 200;

struct Site {
    bed: PacketBed,
    folder: tempfile::TempDir,
}

impl Site {
    fn new(tools: &[&str]) -> Option<Self> {
        if let Some(reason) = hindrance(tools) {
            eprintln!("skipped: {reason}");
            return None;
        }
        Some(Self { bed: PacketBed::new(), folder: tempfile::tempdir().unwrap() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn tagwall(&self, args: &[&str]) -> String {
        let (config, state) = (self.path("tagwall.toml"), self.path("state"));
        let mut all =
            vec!["--config", config.to_str().unwrap(), "--state-dir", state.to_str().unwrap()];
        all.extend(args);
        self.bed.on_firewall(BINARY, &all, "")
    }

    /// Publishes rules whose one group has these prefixes; a second group never changes.
    fn publish(&self, prefixes: &str, more: &str) {
        let text = format!(
            "[groups.a]\nprefixes = [{prefixes}]\n[groups.b]\nprefixes = [\"203.0.113.0/24\"]\n\
             [rules.a]\nsource = [\"10.20.0.0/24\"]\ndestination = \"a\"\nservices = [\"tcp/443\"]\ninterfaces = [\"wan0\"]\n\
             [rules.b]\nsource = [\"10.20.0.0/24\"]\ndestination = \"b\"\nservices = [\"tcp/443\"]\ninterfaces = [\"wan0\"]\n\
             [targets.edge]\napply = \"automatic\"\n{more}[targets.edge.nftables]\n[targets.lists.list]\n"
        );
        fs::write(self.path("tagwall.toml"), text).unwrap();
        self.tagwall(&["render"]);
    }

    fn passes(&self, to: &str) -> bool {
        match self.bed.connect(&to_azure(to)) {
            Verdict::Passed => true,
            Verdict::Refused | Verdict::Silent => false,
        }
    }
}

fn to_azure(to: &str) -> Probe {
    Probe::new("10.20.0.5", to, Transport::Tcp, 443)
}

const OLD: &str = "\"192.0.2.0/26\", \"198.51.100.0/25\"";
const NEW: &str = "\"192.0.2.0/25\"";

#[test]
fn packets_follow_a_publication_a_rollback_and_the_way_forward() {
    let Some(site) = Site::new(&[]) else { return };
    site.publish(OLD, "");
    let seen =
        || ["192.0.2.1", "192.0.2.100", "198.51.100.1", "203.0.113.1"].map(|to| site.passes(to));
    assert_eq!(seen(), [true, false, true, true]);
    site.publish(NEW, "");
    assert_eq!(seen(), [true, true, false, true]);
    site.tagwall(&["rollback"]);
    assert_eq!(seen(), [true, false, true, true]);
    site.tagwall(&["resume"]);
    site.publish(NEW, "");
    assert_eq!(seen(), [true, true, false, true]);
}

#[test]
fn connections_to_ranges_that_left_go_on_or_are_ended_as_configured() {
    let Some(site) = Site::new(&["conntrack"]) else { return };
    for (setting, expected) in [("keep", Verdict::Passed), ("delete", Verdict::Silent)] {
        let more = format!("conntrack = \"{setting}\"\n");
        site.publish(OLD, &more);
        let mut leaving = site.bed.open(&to_azure("198.51.100.1"));
        let mut staying = site.bed.open(&to_azure("192.0.2.1"));
        assert_eq!(talk(&mut leaving), Verdict::Passed);
        site.publish(NEW, &more);
        assert_eq!(talk(&mut leaving), expected, "{setting}");
        assert_eq!(talk(&mut staying), Verdict::Passed, "{setting}");
        let status = site.tagwall(&["status", "--verify"]);
        assert_eq!(
            status.contains(" connections to ranges that left"),
            setting == "delete",
            "{status}"
        );
    }
}

#[test]
fn readers_see_only_whole_generations_and_connections_and_counters_live_on() {
    let Some(site) = Site::new(&[]) else { return };
    let set = || site.bed.on_firewall("nft", &["list", "set", "inet", "tagwall", "tw-a-v4"], "");
    let files = || {
        // One look at `current`: what lies behind it is one generation.
        let current = fs::canonicalize(site.path("state/current")).unwrap();
        let rules = fs::read_to_string(current.join("edge/rules.nft")).unwrap();
        let elements: Vec<String> = rules
            .lines()
            .map(|line| line.trim().trim_end_matches(',').to_owned())
            .filter(|line| line.parse::<ipnet::IpNet>().is_ok())
            .collect();
        let list = fs::read_to_string(current.join("lists/a.txt")).unwrap();
        (elements, list)
    };
    let counter = || {
        let chain =
            site.bed.on_firewall("nft", &["list", "chain", "inet", "tagwall", "tw-outbound"], "");
        let line = chain.lines().find(|line| line.contains("tw-b-v4")).unwrap().to_owned();
        let packets = line.split("packets ").nth(1).unwrap().split(' ').next().unwrap();
        packets.parse::<u64>().unwrap()
    };
    site.publish(NEW, "");
    let new = (set(), files());
    site.publish(OLD, "");
    let old = (set(), files());
    assert!(old.0 != new.0 && old.1.0 != new.1.0 && old.1.1 != new.1.1);
    assert!(site.passes("203.0.113.1"));
    let counted = counter();
    assert!(counted > 0);
    let mut kept = site.bed.open(&to_azure("192.0.2.1"));
    let mut left = site.bed.open(&to_azure("198.51.100.1"));
    let done = AtomicBool::new(false);
    let (sets, looks) = thread::scope(|scope| {
        let sets = scope.spawn(|| {
            let mut seen = [0_usize; 2];
            while !done.load(Ordering::Relaxed) {
                let now = set();
                assert!(
                    now == old.0 || now == new.0,
                    "neither the old set nor the new one:\n{now}"
                );
                seen[usize::from(now == new.0)] += 1;
            }
            seen
        });
        let looks = scope.spawn(|| {
            let mut seen = [0_usize; 2];
            while !done.load(Ordering::Relaxed) {
                let now = files();
                assert!(now == old.1 || now == new.1, "a mixture: {now:?}");
                seen[usize::from(now == new.1)] += 1;
                thread::sleep(std::time::Duration::from_millis(2));
            }
            seen
        });
        for turn in 0..PUBLICATIONS {
            site.publish(if turn % 2 == 0 { NEW } else { OLD }, "");
            if turn % 20 == 0 {
                assert_eq!(talk(&mut kept), Verdict::Passed, "turn {turn}");
                assert_eq!(talk(&mut left), Verdict::Passed, "turn {turn}: established goes first");
            }
            if sets.is_finished() || looks.is_finished() {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        (sets.join().unwrap(), looks.join().unwrap())
    });
    eprintln!(
        "{PUBLICATIONS} publications: the set was read {} times (old {}, new {}), the files {} times (old {}, new {})",
        sets[0] + sets[1],
        sets[0],
        sets[1],
        looks[0] + looks[1],
        looks[0],
        looks[1]
    );
    assert!(sets[0] > 0 && sets[1] > 0 && looks[0] > 0 && looks[1] > 0);
    assert!(counter() >= counted, "the counters were set back");
    assert_eq!(talk(&mut kept), Verdict::Passed);
    let history = site.tagwall(&["history", "--json", "-n", "1000"]);
    assert!(history.contains(&format!("\"current\": {}", PUBLICATIONS + 2)), "{history}");
}
