//! The reference of the configuration, made from the doc comments of `src/config` and kept equal to them:
//! `docs/configuration.md` and the manual page tagwall.toml(5).
//!
//! After a change of a setting or its description: `TAGWALL_UPDATE=1 cargo test --test reference`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

#[path = "reference/manual.rs"]
mod manual;
#[path = "reference/markdown.rs"]
mod markdown;
#[path = "reference/model.rs"]
mod model;

use std::fs;
use std::path::Path;

use model::Reference;

fn reference() -> Reference {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    Reference::read(&[&root.join("src/config"), &root.join("src/snapshot/cloud.rs")])
}

/// Compares a file with what it should be, or makes it so.
fn equal(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("TAGWALL_UPDATE").is_some() {
        fs::write(&file, text).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    let differs = found.lines().zip(text.lines()).find(|(found, wanted)| found != wanted);
    assert!(
        found == text,
        "{path} is not what src/config says: run TAGWALL_UPDATE=1 cargo test --test reference; first difference: {differs:?}"
    );
}

#[test]
fn the_page_says_what_the_code_says() {
    equal("docs/configuration.md", &markdown::write(&reference()));
}

#[test]
fn the_manual_says_what_the_code_says() {
    equal("packaging/man/tagwall.toml.5", &manual::write(&reference()));
}

/// A key that the code knows and the reference does not would go unnoticed: each key of the examples must be in it.
#[test]
fn every_key_of_the_examples_is_in_the_reference() {
    fn walk(table: &toml::Table, keys: &[&str], missing: &mut Vec<String>) {
        for (key, value) in table {
            // A key whose value is a table of the user's own keys (subnets by region, variables of a template) ends here.
            if keys.contains(&key.as_str()) {
                continue;
            }
            match value {
                toml::Value::Table(table) => walk(table, keys, missing),
                _ => missing.push(key.clone()),
            }
        }
    }
    let reference = reference();
    let keys: Vec<&str> = reference
        .tables
        .iter()
        .flat_map(|table| &table.settings)
        .map(|setting| setting.key.as_str())
        .collect();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/examples");
    for entry in fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let mut missing = Vec::new();
        walk(&fs::read_to_string(&path).unwrap().parse().unwrap(), &keys, &mut missing);
        assert_eq!(missing, [""; 0], "{}", path.display());
    }
}
