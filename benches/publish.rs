//! How long a publication takes on a real host: `unshare -n cargo bench --bench publish`, as root, on an idle machine.
//!
//! Two publications of the seven tags in turn, in-process. For files alone: from the decision (rules and artifacts are ready)
//! until `current` shows the new files. For nftables: from the decision until everything is verified, loaded, read back and
//! recorded, beside a bare `nft -f` of the same file. Medians of alternating runs; only ratios mean anything.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot run stops with its reason, and prints its figures"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tagwall::config::Config;
use tagwall::publish::{Publisher, Request, Retention};
use tagwall::render::{self, Templates};
use tagwall::selection::Publications;
use tagwall::{feed, pipeline};

const ROUNDS: usize = 21;

fn publications() -> Option<Vec<PathBuf>> {
    let base = std::env::var_os("TAGWALL_FEEDS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/feeds"),
        PathBuf::from,
    );
    let folder = std::fs::read_dir(base.join("public")).ok()?;
    let mut all: Vec<PathBuf> = folder.filter_map(|entry| Some(entry.ok()?.path())).collect();
    all.sort();
    all.reverse();
    Some(all)
}

fn is_own_namespace() -> bool {
    let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
    of("self") != of("1") && of("self").is_some()
}

/// The requests of the newest publication and of the newest before it that has other rules.
fn requests(target: &str, feeds: &[PathBuf]) -> [Request; 2] {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/examples/seven-tags.toml");
    let text = std::fs::read_to_string(&example).unwrap();
    let rules = text.split_once("[targets.").map(|(rules, _)| rules.to_owned()).unwrap();
    let config = Config::parse(&example, rules + target).unwrap();
    let templates = Templates::load(&config).unwrap();
    let mut requests = feeds.iter().map(|path| {
        let publication = feed::from_file(path, &config.policy()).unwrap();
        let mut publications = Publications::new();
        publications.insert(publication.snapshot.cloud(), publication);
        let rule_set =
            pipeline::rules(&config, &publications, &tagwall::selection::HostAddresses::new())
                .unwrap();
        let artifacts =
            render::render(&config, &rule_set, rule_set.digest(), None, &templates, &[]).unwrap();
        let now = jiff::Timestamp::now();
        Request::of(&config, rule_set, artifacts, &publications, "bench".to_owned(), now).unwrap()
    });
    let newest = requests.next().unwrap();
    let digest = newest.rule_set.digest();
    let earlier = requests.find(|earlier| earlier.rule_set.digest() != digest);
    [earlier.unwrap(), newest]
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Until `current` points elsewhere, seen by another thread.
fn until_visible(publisher: &Publisher, request: &Request) -> Duration {
    let link = publisher.store().dir().join("current");
    let before = std::fs::read_link(&link).ok();
    let (ready, done) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let seen = scope.spawn(|| {
            ready.store(true, Ordering::Release);
            while std::fs::read_link(&link).ok() == before {
                if done.load(Ordering::Acquire) && std::fs::read_link(&link).ok() == before {
                    return None;
                }
                std::hint::spin_loop();
            }
            Some(Instant::now())
        });
        while !ready.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        let begun = Instant::now();
        let outcome = publisher.publish(request, Retention::default());
        // One more look is taken after this: what was published is seen.
        done.store(true, Ordering::Release);
        let seen = seen.join().unwrap();
        outcome.unwrap();
        seen.unwrap() - begun
    })
}

fn nft(file: &Path) -> Duration {
    let begun = Instant::now();
    assert!(Command::new("nft").arg("-f").arg(file).status().unwrap().success());
    begun.elapsed()
}

fn main() {
    let Some(feeds) = publications() else {
        println!("skipped: no real publications");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let lists = requests("[targets.lists.list]\n[targets.json.json]\n", &feeds);
    let publisher = Publisher::open(&folder.path().join("files"), "bench").unwrap();
    publisher.publish(&lists[1], Retention::default()).unwrap();
    let visible = (0..ROUNDS).map(|round| until_visible(&publisher, &lists[round % 2])).collect();
    println!("files: {:?} from the decision until current shows them", median(visible));

    if !is_own_namespace() {
        println!(
            "skipped: nftables; run it under `unshare -n`, so that no host's rules are touched"
        );
        return;
    }
    let tables = requests(
        "[targets.edge]\napply = \"automatic\"\n[targets.edge.nftables]\negress = [\"wan0\"]\n",
        &feeds,
    );
    let publisher = Publisher::open(&folder.path().join("kernel"), "bench").unwrap();
    publisher.publish(&tables[1], Retention::default()).unwrap();
    let artifact = publisher.store().dir().join("current/edge/rules.nft");
    let (mut bare, mut updated, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let request = &tables[round % 2];
        let begun = Instant::now();
        publisher.publish(request, Retention::default()).unwrap();
        updated.push(begun.elapsed());
        bare.push(nft(&artifact));
        // The kernel has lost the table: the whole artifact is verified, loaded and read back.
        assert!(
            Command::new("nft")
                .args(["delete", "table", "inet", "tagwall"])
                .status()
                .unwrap()
                .success()
        );
        let begun = Instant::now();
        publisher.publish(&tables[(round + 1) % 2], Retention::default()).unwrap();
        whole.push(begun.elapsed());
        publisher.publish(request, Retention::default()).unwrap();
    }
    let (bare, updated, whole) = (median(bare), median(updated), median(whole));
    let ratio = |time: Duration| time.as_secs_f64() / bare.as_secs_f64();
    println!("bare nft -f of the whole artifact: {bare:?}");
    println!(
        "update of the sets that differ, verified, loaded, read back, recorded: {updated:?}, {:.2} times",
        ratio(updated)
    );
    println!(
        "whole artifact, verified, loaded, read back, recorded: {whole:?}, {:.2} times",
        ratio(whole)
    );
}
