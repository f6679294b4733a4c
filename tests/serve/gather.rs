//! What is served of a real state folder, published by the real program.
#![allow(clippy::case_sensitive_file_extension_comparisons, reason = "the names are ours")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use assert_cmd::Command;
use jiff::Timestamp;
use tagwall::config::{Config, Publishing};
use tagwall::feed;
use tagwall::report::Status;
use tagwall::selection::Publications;
use tagwall::serve::{Sources, View};
use tagwall::snapshot::{Cloud, Policy, Seen, Snapshot};
use tagwall::state::{Archive, Entry};

use crate::support::*;

/// Every dialect, over the embedded publication.
fn example(state: &Path) -> PathBuf {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/examples/everything.toml");
    let text = std::fs::read_to_string(example).unwrap();
    let path = state.join("everything.toml");
    std::fs::File::create(&path)
        .unwrap()
        .write_all(text.replace("\"public\"", "\"example\"").as_bytes())
        .unwrap();
    path
}

fn publish(state: &Path) {
    render(state, &example(state));
}

fn render(state: &Path, config: &Path) {
    let mut tagwall = Command::cargo_bin("tagwall").unwrap();
    tagwall.args(["render", "--config"]).arg(config).arg("--state-dir").arg(state);
    tagwall.assert().success();
}

fn gather(state: &Path, before: Option<&View>) -> View {
    let config = Config::load(&example(state)).unwrap();
    let publication = feed::example(&config.policy()).unwrap();
    let believed: Publications = [(Cloud::Example, publication)].into();
    let now = Timestamp::now();
    let status = Status::read(state, false, Publishing::CAPACITY_HORIZON, now).unwrap();
    let sources = Sources { state_dir: state, config: &config, believed: &believed, status, now };
    View::gather(sources, before)
}

#[test]
fn the_files_of_the_generation_in_force_are_what_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path();
    publish(state);
    let policy = Policy::default();
    let publication = feed::example(&policy).unwrap();
    let document = tagwall::snapshot::EXAMPLE_DOCUMENT.as_bytes();
    let entry = Entry::new(&publication, Seen::of(document), Timestamp::now());
    Archive::new(state).store(&entry, document).unwrap();
    let view = gather(state, None);
    assert!(view.faults.is_empty(), "{:?}", view.faults);
    let house = House::open("");
    house.show(&view);
    // Every list file below `current` is served byte for byte, and no script or check beside it.
    let mut served = 0;
    for target in std::fs::read_dir(state.join("current")).unwrap().map(Result::unwrap) {
        if !target.file_type().unwrap().is_dir() {
            continue;
        }
        for file in std::fs::read_dir(target.path()).unwrap().map(Result::unwrap) {
            let (target, name) = (
                target.file_name().into_string().unwrap(),
                file.file_name().into_string().unwrap(),
            );
            let answer = house.get(&format!("/lists/{target}/{name}"), &[]);
            let is_list = name.ends_with(".txt")
                && name != "check.txt"
                && ["list", "panos-edl", "fortios-feed"].contains(&target.as_str());
            if is_list {
                assert_eq!(answer.status, 200, "{target}/{name}");
                assert!(
                    !answer.body.is_empty() && answer.body == std::fs::read(file.path()).unwrap()
                );
                served += 1;
            } else {
                assert_eq!(answer.status, 404, "{target}/{name}");
            }
        }
    }
    assert!(served > 10, "{served} lists");
    assert_eq!(house.get("/publications/example.json", &[]).body, document);
    // Another tagwall reads what is believed as the same publication.
    let believed = house.get("/believed/example.json", &[]).body;
    let again = Snapshot::parse(&believed, &policy).unwrap();
    assert_eq!(again.digest(), publication.snapshot.digest());
    assert!(house.get("/", &[]).text().contains("Generation 1 is in force"));
    let clouds: Vec<_> =
        view.status.as_ref().unwrap().groups.iter().map(|group| group.v4_prefixes).collect();
    assert!(clouds.iter().any(|count| *count > 0));
    // What is the same is not read again.
    let second = gather(state, Some(&view));
    let same = |of: fn(&View) -> *const tagwall::serve::Content| of(&view) == of(&second);
    assert!(same(|view| Arc::as_ptr(&view.publications[&Cloud::Example].content)));
    assert!(same(|view| Arc::as_ptr(&view.believed[&Cloud::Example].content)));
    assert!(same(|view| {
        Arc::as_ptr(&view.lists.as_ref().unwrap().iter().next().unwrap().content)
    }));
}

#[test]
fn a_damaged_list_is_not_served_and_the_one_before_is() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path();
    publish(state);
    let view = gather(state, None);
    let list = view.lists.as_ref().unwrap().iter().next().unwrap().clone();
    let path = state.join("current").join(list.path.as_ref());
    std::fs::remove_file(&path).unwrap();
    std::fs::File::create(&path).unwrap();
    // At the start there is nothing to fall back to: 503, and not an empty list.
    let house = House::open("");
    let fresh = gather(state, None);
    assert!(fresh.faults[0].contains("is not what its manifest says"), "{:?}", fresh.faults);
    house.show(&fresh);
    assert_eq!(house.get(&format!("/lists/{}", list.path), &[]).status, 503);
    assert!(house.get("/readyz", &[]).text().contains("manifest"));
    // A list that was read before is not read again; a new generation that cannot be read leaves the one before.
    let next = gather(state, Some(&view));
    house.show(&next);
    let answer = house.get(&format!("/lists/{}", list.path), &[]);
    assert_eq!(
        (answer.status, Some(answer.body.as_slice())),
        (200, list.content.bytes().map(|b| &b[..]))
    );
}

#[test]
fn the_history_is_read_again_when_a_generation_came_or_went() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path();
    publish(state);
    let numbers = |view: &View| -> Vec<u64> {
        view.history.as_ref().unwrap().generations.iter().map(|entry| entry.generation).collect()
    };
    let read_again = |view: &View, before: &View| {
        !Arc::ptr_eq(view.history.as_ref().unwrap(), before.history.as_ref().unwrap())
    };
    let first = gather(state, None);
    let same = gather(state, Some(&first));
    assert!(!read_again(&same, &first));
    // Another rule, another generation.
    let path = example(state);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("tcp/443"));
    let text = text.replacen("tcp/443", "tcp/8443", 1);
    std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    render(state, &path);
    let second = gather(state, Some(&same));
    assert_eq!((numbers(&same), numbers(&second)), (vec![1], vec![2, 1]));
    // One that cannot be read is tried again each time.
    let manifest = state.join("generations/000001/manifest.json");
    let bytes = std::fs::read(&manifest).unwrap();
    std::fs::remove_file(&manifest).unwrap();
    let damaged = gather(state, None);
    assert_eq!(damaged.history.as_ref().unwrap().unreadable.len(), 1);
    assert!(read_again(&gather(state, Some(&damaged)), &damaged));
    std::fs::File::create(&manifest).unwrap().write_all(&bytes).unwrap();
    let mended = gather(state, Some(&damaged));
    assert_eq!(numbers(&mended), [2, 1]);
    // One is gone.
    std::fs::remove_dir_all(state.join("generations/000001")).unwrap();
    let pruned = gather(state, Some(&mended));
    assert_eq!(numbers(&pruned), [2]);
    assert!(!read_again(&gather(state, Some(&pruned)), &pruned));
}
