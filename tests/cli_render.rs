//! `tagwall render`: what is written, what is left alone, and how it ends.
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]
#![allow(clippy::unwrap_used, reason = "to panic is how a test fails")]

mod cli_support;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use cli_support::{Folder, example_document, expect, quickstart};
use serde_json::Value;

const CONFIG: &str = "cloud = \"example\"
[groups.sql]
tags = [\"Sql\"]
[groups.devops]
tags = [\"AzureDevOps\"]
[rules.sql]
source = [\"10.20.0.0/24\"]
destination = \"sql\"
services = [\"tcp/1433\"]
[targets.lists.list]
[targets.all.json]
";

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path.to_str().unwrap().to_owned());
        }
    }
    found.sort();
    found
}

#[test]
fn files_are_written_once_and_left_alone_when_equal() {
    let folder = Folder::new();
    let (config, out) = (folder.put("tagwall.toml", CONFIG), folder.arg("out"));
    let args = ["render", "--config", &config, "--out", &out, "--exit-code"];
    expect(1, &args);
    let written = files(Path::new(&out));
    let names: Vec<&str> = written.iter().map(|path| path.strip_prefix(&out).unwrap()).collect();
    assert_eq!(names, ["/all/ruleset.json", "/lists/devops.txt", "/lists/sql.txt"]);
    let marks = |paths: &[String]| -> Vec<(u64, i64, i64)> {
        let mark = |path: &String| {
            let data = fs::metadata(path).unwrap();
            (data.ino(), data.mtime(), data.mtime_nsec())
        };
        paths.iter().map(mark).collect()
    };
    let before = marks(&written);
    let (text, _) = expect(0, &args);
    assert!(!text.contains("  new ") && !text.contains("  changed "), "{text}");
    assert_eq!(marks(&written), before, "an unchanged file was touched");
    // One group changes: its list and the JSON, and nothing else.
    let changed = CONFIG.replace("\"AzureDevOps\"", "\"AzureDevOps\", \"AzureConnectors\"");
    folder.put("tagwall.toml", changed);
    let (text, _) = expect(1, &args);
    assert!(text.contains("changed +") || text.contains("changed"), "{text}");
    let after = marks(&written);
    assert_eq!(after[2], before[2], "lists/sql.txt was touched");
    assert_ne!(after[1], before[1]);
    assert_ne!(after[0], before[0]);
    assert_eq!(files(Path::new(&out)), written, "temporary files are left behind");
}

#[test]
fn owner_and_mode_are_kept() {
    let folder = Folder::new();
    let (config, out) = (folder.put("tagwall.toml", CONFIG), folder.arg("out"));
    let args = ["render", "--config", &config, "--out", &out];
    expect(0, &args);
    let list = folder.path("out/lists/sql.txt");
    fs::set_permissions(&list, fs::Permissions::from_mode(0o640)).unwrap();
    let root = fs::metadata(&list).unwrap().uid() == 0;
    if root {
        std::os::unix::fs::chown(&list, Some(12_345), Some(12_346)).unwrap();
    }
    folder.put("out/lists/sql.txt", "192.0.2.0/24\n");
    expect(0, &args);
    let data = fs::metadata(&list).unwrap();
    assert_ne!(fs::read_to_string(&list).unwrap(), "192.0.2.0/24\n");
    assert_eq!(data.permissions().mode() & 0o7777, 0o640);
    if root {
        assert_eq!((data.uid(), data.gid()), (12_345, 12_346));
    }
}

#[test]
fn a_dry_run_shows_everything_and_writes_nothing() {
    let folder = Folder::new();
    let (config, out) = (folder.put("tagwall.toml", CONFIG), folder.arg("out"));
    let (text, _) = expect(1, &["render", "--config", &config, "--dry-run", "--exit-code"]);
    assert!(text.contains("--- /dev/null\n+++ b/lists/sql.txt\n"), "{text}");
    expect(1, &["render", "--config", &config, "--dry-run", "--exit-code", "--out", &out]);
    assert!(!Path::new(&out).exists());
    expect(0, &["render", "--config", &config, "--out", &out]);
    expect(0, &["render", "--config", &config, "--dry-run", "--exit-code", "--out", &out]);
    folder.put("out/lists/sql.txt", "192.0.2.0/24\n");
    let (text, _) =
        expect(1, &["render", "--config", &config, "--dry-run", "--exit-code", "--out", &out]);
    assert!(
        text.contains("--- a/lists/sql.txt\n+++ b/lists/sql.txt\n")
            && text.contains("\n-192.0.2.0/24\n"),
        "{text}"
    );
    assert_eq!(fs::read_to_string(folder.path("out/lists/sql.txt")).unwrap(), "192.0.2.0/24\n");
}

#[test]
fn the_summary_is_json_too() {
    let folder = Folder::new();
    let config = folder.put("tagwall.toml", CONFIG);
    let (text, _) = expect(0, &["render", "--config", &config, "--dry-run", "--json"]);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["format"], "tagwall-render/1");
    for key in ["publications", "rule_set", "compared", "groups", "rules", "artifacts", "gaps"] {
        assert!(value.get(key).is_some(), "{key}");
    }
    assert_eq!(value["artifacts"][0]["kind"], "new");
}

#[test]
fn one_target_or_one_file_can_be_printed() {
    let folder = Folder::new();
    let config = folder.put("tagwall.toml", CONFIG);
    let render =
        |code, more: &[&str]| expect(code, &[&["render", "--config", &config], more].concat());
    let (one, _) = render(0, &["--stdout", "--target", "lists/devops.txt"]);
    assert!(!one.contains("==>") && one.lines().all(|line| line.contains('/')), "{one}");
    let (two, _) = render(0, &["--stdout", "--target", "lists"]);
    assert!(two.starts_with("==> lists/devops.txt <==\n") && two.contains(&one), "{two}");
    let (_, stderr) = render(2, &["--stdout", "--target", "lists/nothing.txt"]);
    assert!(stderr.contains("there are: devops.txt, sql.txt"), "{stderr}");
    let (_, stderr) = render(2, &["--stdout", "--target", "list"]);
    assert!(stderr.contains("there are: all, lists"), "{stderr}");
    render(2, &["--dry-run", "--target", "lists/sql.txt"]);
    render(2, &["--stdout", "--out", "x"]);
    let (_, stderr) = render(6, &["--state-dir", "/dev/null/tagwall"]);
    assert!(stderr.contains("/dev/null/tagwall"), "without --out it publishes: {stderr}");
}

#[test]
fn a_tag_that_is_not_published_is_shown_in_its_line() {
    let folder = Folder::new();
    let config = folder.put("tagwall.toml", CONFIG.replace("AzureDevOps", "AzureDevOp"));
    let out = folder.arg("out");
    let (_, stderr) = expect(3, &["render", "--config", &config, "--out", &out]);
    assert!(stderr.contains("tags = [\"AzureDevOp\"]") && stderr.contains("^^^"), "{stderr}");
    assert!(stderr.contains("did you mean one of `AzureDevOps`,"), "{stderr}");
    assert!(!Path::new(&out).exists());
}

#[test]
fn each_failure_has_its_exit_code() {
    let folder = Folder::new();
    let config = folder.put("tagwall.toml", CONFIG);
    let out = folder.arg("out");
    let broken = folder.put("feed.json", "<html>");
    expect(2, &["render", "--config", &config, "--nonsense"]);
    expect(4, &["render", "--config", &config, "--feed", &broken, "--out", &out]);
    expect(6, &["render", "--config", "/nonexistent.toml", "--out", &out]);
    expect(6, &["render", "--config", &config, "--feed", "/nonexistent.json", "--out", &out]);
    let limited = folder.put(
        "limited.toml",
        CONFIG.replace("[targets.lists.list]", "[targets.lists.list]\nmax-entries = 1"),
    );
    let (_, stderr) = expect(5, &["render", "--config", &limited, "--out", &out]);
    assert!(stderr.contains("more than the 1 that fit"), "{stderr}");
    let templates = folder.put("templates.toml", format!("templates-dir = \"nowhere\"\n{CONFIG}"));
    expect(6, &["render", "--config", &templates, "--out", &out]);
    assert!(!Path::new(&out).exists(), "something was written");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = Folder::new();
    let config = folder.put("tagwall.toml", CONFIG);
    let file = folder.put("file", "");
    let (_, stderr) = expect(6, &["render", "--config", &config, "--out", &file]);
    assert!(stderr.contains(&file), "{stderr}");
    let (_, stderr) = expect(6, &["render", "--config", &config, "--out", "/proc/tagwall"]);
    assert!(stderr.contains("/proc/tagwall"), "{stderr}");
    let locked = folder.path("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("tagwall"));
    command.args(["render", "--config", &config, "--out"]).arg(&locked);
    if fs::metadata(folder.path("file")).unwrap().uid() == 0 {
        // Root writes into folders of any mode: somebody else must try.
        fs::set_permissions(folder.path("."), fs::Permissions::from_mode(0o755)).unwrap();
        command.uid(65_534).gid(65_534);
    }
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("skipped: the binary cannot be run as somebody else: {error}");
            return;
        }
    };
    let stderr = cli_support::text(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{stderr}");
    assert!(stderr.contains("locked") && stderr.contains("check owner and mode"), "{stderr}");
    assert!(files(&locked).is_empty());
}

/// A list for each of 800 groups where a process may open 700 files: written, and replaced, in a folder and as generations.
#[test]
fn more_lists_than_files_may_be_open() {
    let folder = Folder::new();
    let (out, state) = (folder.arg("out"), folder.arg("state"));
    for tag in ["Sql", "AzureDevOps"] {
        let group = |number| format!("[groups.g{number}]\ntags = [\"{tag}\"]\n");
        let groups: String = (0..800).map(group).collect();
        let text = format!("cloud = \"example\"\n{groups}[targets.lists.list]\n");
        let config = folder.put("tagwall.toml", text);
        for place in [["--out", &out], ["--state-dir", &state]] {
            let output = Command::new("sh")
                .args(["-c", "ulimit -n 700 && exec \"$@\"", "sh"])
                .arg(assert_cmd::cargo::cargo_bin("tagwall"))
                .args(["render", "--config", &config])
                .args(place)
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", cli_support::text(&output.stderr));
        }
        let (lists, of_generation) = (files(Path::new(&out)), folder.path("state/current/lists"));
        assert_eq!(lists.len(), 800);
        for list in lists {
            let name = Path::new(&list).file_name().unwrap();
            let same = fs::read(&list).unwrap() == fs::read(of_generation.join(name)).unwrap();
            assert!(same, "{list}");
        }
    }
}

#[test]
fn what_a_feed_is_for_is_said() {
    let (config, feed) = (quickstart(), example_document());
    let (config, feed) = (config.to_str().unwrap(), feed.to_str().unwrap());
    let (given, _) = expect(0, &["render", "--config", config, "--feed", feed, "--stdout"]);
    let (embedded, _) = expect(0, &["render", "--config", config, "--stdout"]);
    assert_eq!(given, embedded);
    let folder = Folder::new();
    let other = folder.put("c.json", r#"{"changeNumber":1,"cloud":"China","values":[{"name":"A","properties":{"changeNumber":1,"addressPrefixes":["20.0.0.0/24"]}}]}"#);
    let (_, stderr) = expect(0, &["render", "--config", config, "--feed", &other, "--dry-run"]);
    assert!(stderr.contains("nothing in the configuration uses cloud china"), "{stderr}");
}
