//! How long each stage takes on a real publication: `cargo bench`.
//!
//! Reads the newest publication below `TAGWALL_FEEDS` (default `../shared/feeds`); without one, the embedded example, which is
//! far too small for its numbers to mean anything, and says so.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a benchmark that cannot run stops with its reason"
)]

use std::path::{Path, PathBuf};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tagwall::config::Config;
use tagwall::prefix::PrefixSet;
use tagwall::render::{self, Templates};
use tagwall::selection::{HostAddresses, Publications};
use tagwall::snapshot::{EXAMPLE_DOCUMENT, Policy, Publication, Snapshot};
use tagwall::{feed, pipeline};

fn newest() -> Option<PathBuf> {
    let base = std::env::var_os("TAGWALL_FEEDS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/feeds"),
        PathBuf::from,
    );
    let folder = std::fs::read_dir(base.join("public")).ok()?;
    folder.filter_map(|entry| Some(entry.ok()?.path())).max()
}

fn document() -> Vec<u8> {
    newest().map_or_else(
        || {
            eprintln!("skipped: no real publication; these numbers are of the embedded example");
            EXAMPLE_DOCUMENT.as_bytes().to_vec()
        },
        |path| std::fs::read(path).unwrap(),
    )
}

fn stages(criterion: &mut Criterion) {
    let document = document();
    let policy = Policy::default();
    let mut group = criterion.benchmark_group("stages");
    group.throughput(Throughput::Bytes(document.len() as u64));
    group.bench_function("parse and validate", |bench| {
        bench.iter(|| Snapshot::parse(&document, &policy).unwrap());
    });
    let snapshot = Snapshot::parse(&document, &policy).unwrap();
    group.bench_function("digest", |bench| bench.iter(|| snapshot.digest()));
    group.bench_function("aggregate every tag", |bench| {
        bench.iter(|| {
            snapshot
                .tags()
                .iter()
                .map(|tag| {
                    PrefixSet::from_parts(snapshot.v4(tag).to_vec(), snapshot.v6(tag).to_vec())
                        .len()
                })
                .sum::<usize>()
        });
    });
    group.finish();
}

fn seven_tags(criterion: &mut Criterion) {
    let Some(path) = newest() else { return };
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/examples/seven-tags.toml");
    let config = Config::load(&example).unwrap();
    let publication: Publication = feed::from_file(&path, &config.policy()).unwrap();
    let mut publications = Publications::new();
    publications.insert(publication.snapshot.cloud(), publication);
    let templates = Templates::load(&config).unwrap();
    let rule_set = pipeline::rules(&config, &publications, &HostAddresses::new()).unwrap();
    let mut group = criterion.benchmark_group("seven tags");
    group.bench_function("compile the templates", |bench| {
        bench.iter(|| Templates::load(&config).unwrap());
    });
    group.bench_function("select and build", |bench| {
        bench.iter(|| pipeline::rules(&config, &publications, &HostAddresses::new()).unwrap());
    });
    group.bench_function("render four targets", |bench| {
        bench.iter(|| {
            render::render(&config, &rule_set, rule_set.digest(), None, &templates, &[]).unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, stages, seven_tags);
criterion_main!(benches);
