//! Holds the house to its plan: imports between the rooms of `src/` point one way.
//!
//! The order is the one that `docs/architecture.md` draws. A room may import rooms of lower floors only; rooms on one floor do
//! not import each other.

#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The floors, the highest first.
const FLOORS: &[&[&str]] = &[
    &["main", "lib"],
    &["cli"],
    &["agent"],
    &["control", "notify", "serve"],
    &["operate", "report"],
    &["feed", "names", "probe", "publish", "state"],
    &["web"],
    &["pipeline"],
    &["render"],
    &["ruleset"],
    &["guard"],
    &["selection"],
    &["intent"],
    &["config"],
    &["snapshot"],
    &["reach"],
    &["prefix"],
    &["os"],
];

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The room that a file of `src/` belongs to: the first component of its path.
fn room_of(file: &Path, src: &Path) -> String {
    let relative = file.strip_prefix(src).unwrap();
    let first = relative.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The rooms that a text names as `crate::ROOM`, whether in a `use` line or in place, comments left out.
fn imports(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for (place, _) in code.match_indices("crate::") {
            let rest = &code[place + "crate::".len()..];
            if let Some(group) = rest.strip_prefix('{') {
                for item in group.trim_end_matches(['}', ';']).split(',') {
                    found.push((index + 1, first_segment(item.trim())));
                }
            } else {
                found.push((index + 1, first_segment(rest)));
            }
        }
    }
    found.retain(|(_, room)| !room.is_empty());
    found
}

fn first_segment(path: &str) -> String {
    path.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

#[test]
fn imports_point_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 20, "the house has more rooms than {}", files.len());
    let mut wrong = Vec::new();
    let mut arrows: BTreeMap<(String, String), usize> = BTreeMap::new();
    for file in &files {
        let room = room_of(file, &src);
        let from = floor(&room).unwrap_or_else(|| {
            panic!("the room {room} is on no floor: add it to FLOORS and to docs/architecture.md")
        });
        let text = std::fs::read_to_string(file).unwrap();
        for (line, imported) in imports(&text) {
            let Some(to) = floor(&imported) else {
                wrong.push(format!("{}:{line}: crate::{imported} is on no floor", file.display()));
                continue;
            };
            *arrows.entry((room.clone(), imported.clone())).or_default() += 1;
            if imported != room && to <= from {
                wrong.push(format!(
                    "{}:{line}: {room} imports {imported}, which is not below it",
                    file.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that do not point down:\n{}", wrong.join("\n"));
    // The check sees something: the pipeline is known to import the renderer.
    assert!(arrows.contains_key(&("pipeline".to_owned(), "render".to_owned())));
}

#[test]
fn an_arrow_that_points_up_is_seen() {
    let text = "use crate::os::files;\n// crate::cli in a comment\nlet x = crate::cli::Exit::Ok;\nuse crate::{feed, prefix::PrefixSet};";
    let rooms: Vec<String> = imports(text).into_iter().map(|(_, room)| room).collect();
    assert_eq!(rooms, ["os", "cli", "feed", "prefix"]);
    assert!(floor("cli") < floor("os"));
}

#[test]
fn the_documentation_draws_the_same_floors() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let text = std::fs::read_to_string(path).unwrap();
    let floor = |rooms: &&[&str]| match rooms {
        [room] => (*room).to_owned(),
        rooms => format!("{{{}}}", rooms.join(", ")),
    };
    let order: Vec<String> = FLOORS[1..].iter().map(floor).collect();
    let order = order.join(" › ");
    assert!(
        text.contains(&format!("\n{order}\n")),
        "docs/architecture.md does not have the line `{order}`"
    );
}
