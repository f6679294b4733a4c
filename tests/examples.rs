//! Every example configuration is sound, and renders what other programs rely on.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]

mod cli_support;

use std::path::{Path, PathBuf};

use cli_support::{Folder, expect};

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/examples");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn every_example_is_sound() {
    let examples = examples();
    assert!(examples.len() >= 9, "{examples:?}");
    for path in examples {
        expect(0, &["check", "--config", path.to_str().unwrap()]);
    }
}

/// The targets of everything.toml with one file of each, by their fixed names.
const FIXED: &[&str] = &[
    "nft-own/rules.nft",
    "nft-embed/rules.nft",
    "iptables-ipset/sets.ipset",
    "iptables-ipset/rules.iptables",
    "iptables-ipset/rules.ip6tables",
    "iptables-plain/rules.iptables",
    "iptables-plain/rules.ip6tables",
    "list/storage.txt",
    "json/ruleset.json",
    "panos-edl/storage.txt",
    "panos-edl/edl.set",
    "panos-set/rules.set",
    "panos-xml/rules.xml",
    "fortios-feed/storage.txt",
    "fortios-feed/feed.conf",
    "fortios-cli/rules.conf",
    "azure-bicep/routes.bicep",
    "azure-bicep/nsg.bicep",
    "azure-arm/routes.arm.json",
    "azure-arm/nsg.arm.json",
    "azure-terraform/routes.tf",
    "azure-terraform/nsg.tf",
    "azure-cli/routes.az.sh",
    "azure-cli/nsg.az.sh",
];

#[test]
fn everything_renders_from_a_real_publication_and_twice_the_same() {
    let feeds = std::env::var_os("TAGWALL_FEEDS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/feeds"),
        PathBuf::from,
    );
    let feed = feeds.join("public/ServiceTags_Public_20250908.json");
    if !feed.exists() {
        eprintln!("skipped: no publication at {}", feed.display());
        return;
    }
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/examples/everything.toml");
    let folder = Folder::new();
    let out = folder.arg("out");
    let (config, feed) = (config.to_str().unwrap(), feed.to_str().unwrap());
    let args = ["render", "--config", config, "--feed", feed, "--out", &out];
    expect(0, &args);
    for file in FIXED {
        assert!(Path::new(&out).join(file).exists(), "{file}");
    }
    let (stdout, _) = expect(0, &[args.as_slice(), &["--exit-code"]].concat());
    assert!(!stdout.contains("  new ") && !stdout.contains("  changed "), "{stdout}");
}
