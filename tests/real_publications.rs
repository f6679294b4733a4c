//! Every real publication at hand is taken, and what Microsoft's numbers say of it is known.
//!
//! The publications are found through `TAGWALL_FEEDS`, else in `../shared/feeds`; a test that lacks them says so.
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]

mod cli_support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cli_support::Folder;
use serde_json::{Value, json};
use tagwall::snapshot::{Cloud, Policy, Publication, ServiceTag, Snapshot};

fn feeds() -> Option<PathBuf> {
    let folder = std::env::var_os("TAGWALL_FEEDS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/feeds"),
        PathBuf::from,
    );
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no publications in {}", folder.display());
    None
}

fn publication(path: &Path) -> Publication {
    let bytes = fs::read(path).unwrap();
    let snapshot = Snapshot::parse(&bytes, &Policy::default())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Publication::new(snapshot, path.display().to_string())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn every_publication_is_taken_whole() {
    let Some(feeds) = feeds() else { return };
    let mut by_cloud: BTreeMap<Cloud, usize> = BTreeMap::new();
    for path in files(&feeds) {
        let publication = publication(&path);
        let snapshot = &publication.snapshot;
        *by_cloud.entry(snapshot.cloud()).or_default() += 1;
        assert!(publication.date.is_some(), "{}", path.display());
        // Counted once more by a reader that knows nothing of tagwall.
        let value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let tags = value["values"].as_array().unwrap();
        let prefixes: usize = tags
            .iter()
            .map(|tag| tag["properties"]["addressPrefixes"].as_array().unwrap().len())
            .sum();
        assert_eq!(snapshot.tags().len(), tags.len(), "{}", path.display());
        assert_eq!(snapshot.prefix_count(), prefixes, "{}", path.display());
        assert_eq!(Some(snapshot.change_number()), value["changeNumber"].as_u64());
        assert_eq!(Some(snapshot.cloud().document_name()), value["cloud"].as_str());
        for tag in tags {
            let name = tag["name"].as_str().unwrap();
            let found = snapshot.tag(&name.to_ascii_uppercase()).unwrap();
            assert_eq!(found.name().as_str(), name);
            let count = tag["properties"]["addressPrefixes"].as_array().unwrap().len();
            assert_eq!(found.prefix_count(), count, "{name} of {}", path.display());
            assert_eq!(Some(found.region()), tag["properties"]["region"].as_str());
        }
    }
    let clouds: Vec<Cloud> = by_cloud.keys().copied().collect();
    assert_eq!(clouds, [Cloud::Public, Cloud::Government, Cloud::China, Cloud::Germany]);
}

#[test]
fn the_publication_of_2025_09_08_has_the_known_counts() {
    let Some(feeds) = feeds() else { return };
    let publication = publication(&feeds.join("public/ServiceTags_Public_20250908.json"));
    assert_eq!(publication.snapshot.tags().len(), 3_002);
    assert_eq!(publication.date.map(|date| date.to_string()).as_deref(), Some("2025-09-08"));
}

#[test]
fn numbers_may_rise_without_a_change_and_stay_with_one() {
    let Some(feeds) = feeds() else { return };
    let both = |first: &str, second: &str| {
        (publication(&feeds.join(first)), publication(&feeds.join(second)))
    };
    let (old, new) =
        both("china/ServiceTags_China_20251020.json", "china/ServiceTags_China_20251028.json");
    assert_eq!(old.digest(), new.digest());
    assert_ne!(old.snapshot.change_number(), new.snapshot.change_number());
    let (old, new) =
        both("public/ServiceTags_Public_20250217.json", "public/ServiceTags_Public_20250303.json");
    assert_ne!(old.digest(), new.digest());
    assert_eq!(old.snapshot.change_number(), new.snapshot.change_number());
}

#[test]
fn diff_tells_content_from_numbers() {
    let Some(feeds) = feeds() else { return };
    let path = |name: &str| feeds.join(name).to_str().unwrap().to_owned();
    let (text, _) = cli_support::expect(
        0,
        &[
            "diff",
            &path("china/ServiceTags_China_20251020.json"),
            &path("china/ServiceTags_China_20251028.json"),
        ],
    );
    assert!(text.contains("equal content; the change numbers differ"), "{text}");
    let (text, _) = cli_support::expect(
        1,
        &[
            "diff",
            &path("public/ServiceTags_Public_20250217.json"),
            &path("public/ServiceTags_Public_20250303.json"),
        ],
    );
    assert!(text.contains("; the change numbers are equal"), "{text}");
}

/// The shape of the Discovery API: change numbers are texts, and the root has four keys more.
#[test]
fn the_shape_of_the_api_has_the_same_digest() {
    let Some(feeds) = feeds() else { return };
    let folder = Folder::new();
    for name in [
        "public/ServiceTags_Public_20250908.json",
        "germany/ServiceTags_AzureGermany_20220307.json",
    ] {
        let path = feeds.join(name);
        let mut value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for key in ["name", "id", "type", "nextLink"] {
            value[key] = Value::Null;
        }
        value["changeNumber"] = json!(value["changeNumber"].to_string());
        for tag in value["values"].as_array_mut().unwrap() {
            let number = tag["properties"]["changeNumber"].to_string();
            tag["properties"]["changeNumber"] = json!(number);
        }
        let api = folder.put("api.json", serde_json::to_vec(&value).unwrap());
        let (file, api) = (publication(&path), publication(Path::new(&api)));
        assert_eq!(file.digest(), api.digest());
        assert_eq!(file.snapshot.change_number(), api.snapshot.change_number());
        let number = |publication: &Publication| {
            let snapshot = &publication.snapshot;
            snapshot.tags().iter().map(ServiceTag::change_number).sum::<u64>()
        };
        assert_eq!(number(&file), number(&api));
    }
}

#[test]
fn escapes_in_prefixes_are_json_too() {
    let plain = include_str!("../src/snapshot/example.json");
    let policy = Policy::default();
    let expected = Snapshot::parse(plain.as_bytes(), &policy).unwrap().digest();
    let escaped = plain
        .replace("192.0.2.0/26", "192.0.2.0\\/26")
        .replace("2001:db8:f::/48", "\\u0032001:db8:f::/48");
    assert_ne!(escaped, plain);
    assert_eq!(Snapshot::parse(escaped.as_bytes(), &policy).unwrap().digest(), expected);
    for wrong in [
        "\"192.0.2.0/26\\\"\"",
        "\"\\\\192.0.2.0/26\"",
        "7",
        "null",
        "[\"192.0.2.0/26\"]",
        "{\"a\": \"192.0.2.0/26\"}",
    ] {
        let text = plain.replace("\"192.0.2.0/26\"", wrong);
        assert_ne!(text, plain);
        assert!(Snapshot::parse(text.as_bytes(), &policy).is_err(), "{wrong}");
    }
}
