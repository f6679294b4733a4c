//! How long a publication takes on a real host: `unshare -n cargo bench --bench publish`, as root, on an idle machine.
//!
//! Two publications of the seven tags in turn, in-process. For files alone: from the decision (rules and artifacts are ready)
//! until `current` shows the new files. For nftables: from the decision until the kernel has the rules and `current` shows them,
//! which comes after the loading; and until they are read back and recorded too. Beside each a bare `nft -f` of the same file: of
//! the update, or of the whole artifact. Medians of alternating runs; only ratios mean anything.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot run stops with its reason, and prints its figures"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tagwall::config::Config;
use tagwall::publish::{Publisher, Request, Retention, Step, Took};
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

/// Whether this is a network namespace from which nothing leads anywhere. (Which one the first process has may be hidden.)
fn is_own_namespace() -> bool {
    let routes = std::fs::read_to_string("/proc/self/net/route");
    routes.is_ok_and(|routes| routes.lines().count() <= 1)
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
        let rendered =
            render::render(&config, &rule_set, rule_set.digest(), None, &templates, &[]).unwrap();
        let artifacts = rendered.artifacts;
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

/// Publishes: until `current` points elsewhere, seen by another thread, and until all is done.
fn publish(publisher: &Publisher, request: &Request) -> (Duration, Duration) {
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
                // Often enough, and without taking the processor from what is measured.
                thread::sleep(Duration::from_micros(50));
            }
            Some(Instant::now())
        });
        while !ready.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        let begun = Instant::now();
        let outcome = publisher.publish(request, Retention::default());
        let whole = begun.elapsed();
        // One more look is taken after this: what was published is seen.
        done.store(true, Ordering::Release);
        let seen = seen.join().unwrap();
        outcome.unwrap();
        (seen.unwrap() - begun, whole)
    })
}

fn nft(args: &[&str]) -> Duration {
    let begun = Instant::now();
    assert!(Command::new("nft").args(args).status().unwrap().success());
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
    let visible = (0..ROUNDS).map(|round| publish(&publisher, &lists[round % 2]).0).collect();
    println!("files: {:?} from the decision until current shows them", median(visible));

    if !is_own_namespace() {
        println!(
            "skipped: nftables; run it under `unshare -n`, so that no host's rules are touched"
        );
        return;
    }
    let towards = |interface: &str| {
        let target = "[targets.edge]\napply = \"automatic\"\n[targets.edge.nftables]\n";
        requests(&format!("{target}egress = [\"{interface}\"]\n"), &feeds)
    };
    let (tables, elsewhere) = (towards("wan0"), towards("wan1"));
    let publisher = Publisher::open(&folder.path().join("kernel"), "bench").unwrap();
    let current = publisher.store().dir().join("current");
    let mut update = Way::default();
    let mut whole = Way::default();
    for round in 0..ROUNDS {
        let (this, that) = (round % 2, (round + 1) % 2);
        publisher.publish(&tables[that], Retention::default()).unwrap();
        update.go(&publisher, &tables[this], &current.join("archive/edge.update.nft"));
        // Other rules are more than an update.
        whole.go(&publisher, &elsewhere[that], &current.join("edge/rules.nft"));
    }
    update.print("update of the sets that differ");
    whole.print("whole artifact");
}

/// What is loaded, and how long it took.
#[derive(Default)]
struct Way {
    bare: Vec<Duration>,
    to_kernel: Vec<Duration>,
    to_record: Vec<Duration>,
    steps: BTreeMap<Step, Vec<Duration>>,
}

impl Way {
    /// Publishes, and then loads the same file once more without tagwall.
    fn go(&mut self, publisher: &Publisher, request: &Request, file: &Path) {
        let (to_kernel, to_record) = publish(publisher, request);
        self.to_kernel.push(to_kernel);
        self.to_record.push(to_record);
        let store = publisher.store();
        let generation = store.read(store.current().unwrap().unwrap()).unwrap();
        for (step, took) in generation.outcome.unwrap().microseconds.values().flat_map(Took::steps)
        {
            self.steps.entry(step).or_default().push(took);
        }
        self.bare.push(nft(&["-f", file.to_str().unwrap()]));
    }

    fn print(self, what: &str) {
        let bare = median(self.bare);
        let times = |time: Duration| {
            format!("{time:?}, {:.2} times", time.as_secs_f64() / bare.as_secs_f64())
        };
        println!("{what}: a bare nft -f of the same file takes {bare:?}");
        println!("  until kernel and current have it: {}", times(median(self.to_kernel)));
        println!("  until it is read back and recorded: {}", times(median(self.to_record)));
        for (step, took) in self.steps {
            println!("  of this, {step}: {}", times(median(took)));
        }
    }
}
