//! Documents that are no publication, or worse: each is refused with one clear error and the documented exit code, and
//! nothing is written.
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]
#![allow(clippy::unwrap_used, reason = "to panic is how a test fails")]

mod cli_support;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use cli_support::{Folder, example_document, text};
use tagwall::snapshot::{EXAMPLE_DOCUMENT, Policy, Snapshot};

const CONFIG: &str = "cloud = \"public\"\n[groups.x]\ntags = [\"Storage\"]\n[targets.l.list]\n";

/// Runs `render --out` with this document and asserts that it is refused: exit code 4, one line on stderr that holds
/// `expected` and nothing dangerous, nothing on stdout, no output folder.
#[track_caller]
fn refused(document: impl AsRef<[u8]>, expected: &str) {
    let folder = Folder::new();
    let config = folder.put("tagwall.toml", CONFIG);
    let feed = folder.put("feed.json", document);
    let out = folder.arg("out");
    let (stdout, stderr) =
        cli_support::expect(4, &["render", "--config", &config, "--feed", &feed, "--out", &out]);
    assert_eq!(stdout, "");
    assert!(stderr.contains(expected), "`{expected}` is not in: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("error: "), "{stderr}");
    assert!(stderr.len() < 1_200, "{} bytes of error", stderr.len());
    assert!(!stderr.trim_end().contains(char::is_control), "{stderr:?}");
    assert!(!Path::new(&out).exists(), "something was written");
}

fn document(name: &str, prefixes: &str) -> String {
    format!(
        r#"{{"changeNumber":1,"cloud":"Public","values":[{{"name":"{name}","id":"{name}","properties":{{"changeNumber":1,"region":"","regionId":0,"platform":"Azure","systemService":"","addressPrefixes":[{prefixes}],"networkFeatures":null}}}}]}}"#
    )
}

fn with_prefix(prefix: &str) -> String {
    document("Storage", &format!("\"{prefix}\""))
}

#[test]
fn the_frame_of_these_tests_is_a_document_that_is_taken() {
    let folder = Folder::new();
    let config = folder.put("tagwall.toml", CONFIG);
    let feed = folder.put("feed.json", with_prefix("20.0.0.0/24"));
    let out = folder.arg("out");
    cli_support::expect(0, &["render", "--config", &config, "--feed", &feed, "--out", &out]);
    assert_eq!(std::fs::read_to_string(folder.path("out/l/x.txt")).unwrap(), "20.0.0.0/24\n");
}

#[test]
fn names_that_would_break_out_are_refused() {
    for name in [
        r#"a\"b"#,
        "a'b",
        r"a\nb",
        "a; flush ruleset",
        "../../etc/passwd",
        "a/b",
        r"a\\b",
        r"\u0000",
        r"Storage\u0000",
        r"Storage\u202e",
        "$(reboot)",
        "`reboot`",
        "{{ x }}",
        "a b",
        "",
        ".",
        "..",
        "a.b.c",
    ] {
        refused(document(name, "\"20.0.0.0/24\""), "is no service tag's name");
    }
    refused(document(&"a".repeat(5_000_000), "\"20.0.0.0/24\""), "is no service tag's name");
    let region = with_prefix("20.0.0.0/24").replace(r#""region":"""#, r#""region":"a; b""#);
    refused(region, "region `a; b` in tag Storage is not of the published form");
}

#[test]
fn prefixes_that_no_publication_ever_held_are_refused() {
    for (prefix, expected) in [
        ("0.0.0.0/0", "in tag Storage is wider than /11"),
        ("20.0.0.0/10", "in tag Storage is wider than /11"),
        ("::/0", "in tag Storage is wider than /32"),
        ("2603::/16", "in tag Storage is wider than /32"),
        ("10.0.0.0/16", "in tag Storage touches"),
        ("172.16.0.0/16", "in tag Storage touches"),
        ("192.168.1.0/24", "in tag Storage touches"),
        ("127.0.0.0/16", "in tag Storage touches"),
        ("169.254.169.254/32", "in tag Storage touches"),
        ("100.64.0.0/16", "in tag Storage touches"),
        ("224.0.0.0/16", "in tag Storage touches"),
        ("fe80::/64", "in tag Storage touches"),
        ("fd00::/48", "in tag Storage touches"),
        ("::ffff:20.0.0.0/120", "in tag Storage touches"),
        ("192.0.2.0/24", "in tag Storage touches"),
        ("2001:db8::/48", "in tag Storage touches"),
        ("20.0.0.1/24", "prefix `20.0.0.1/24` in tag Storage"),
        ("20.0.0.0", "prefix `20.0.0.0` in tag Storage"),
        ("20.0.0.0/33", "in tag Storage"),
        ("20.0.0.0/024", "in tag Storage"),
        ("020.0.0.0/24", "in tag Storage"),
        (" 20.0.0.0/24", "in tag Storage"),
        ("20.0.0.0/24 # x", "in tag Storage"),
        ("20.0.0.0/24\\n0.0.0.0/0", "in tag Storage"),
        ("20.0.0.0/24\\u0000", "in tag Storage"),
        ("any", "in tag Storage"),
        ("", "in tag Storage"),
    ] {
        refused(with_prefix(prefix), expected);
    }
    refused(with_prefix(&"1".repeat(3_000_000)), "in tag Storage");
}

#[test]
fn the_example_cloud_holds_documentation_ranges_only() {
    let real = with_prefix("20.0.0.0/24").replace("Public", "Example");
    refused(real, "is no documentation or benchmark range");
}

#[test]
fn other_things_in_place_of_a_document_are_named() {
    refused(
        "<!DOCTYPE html><html><body>Not found</body></html>",
        "it looks like an HTML or XML page",
    );
    refused(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "it looks like a gzip file");
    refused("", "the file is empty");
    refused(" \n\t", "the file is empty");
    refused("\0\0\0\0", "not a Service Tags document");
    refused("[]", "not a Service Tags document");
    refused("null", "not a Service Tags document");
    refused("{}", "`cloud` is missing");
    let whole = with_prefix("20.0.0.0/24");
    refused(format!("{whole}{whole}"), "trailing characters");
    refused(format!("{whole} x"), "trailing characters");
    let mut utf8 = with_prefix("20.0.0.0/24").into_bytes();
    let place = utf8.windows(5).position(|window| window == b"Azure").unwrap();
    utf8[place] = 0xff;
    refused(utf8, "not UTF-8 text");
}

#[test]
fn what_is_empty_or_incomplete_is_never_believed() {
    let whole = with_prefix("20.0.0.0/24");
    refused(r#"{"changeNumber":1,"cloud":"Public","values":[]}"#, "has no tags");
    refused(r#"{"changeNumber":1,"cloud":"Public","values":null}"#, "not a Service Tags document");
    refused(document("Storage", ""), "has no prefixes");
    refused(whole.replacen("\"changeNumber\":1,", "", 1), "`changeNumber` is missing");
    refused(whole.replace("\"cloud\":\"Public\",", ""), "`cloud` is missing");
    refused(whole.replace("\"name\":\"Storage\",", ""), "`name` is missing");
    refused(
        whole.replace("addressPrefixes", "prefixes"),
        "`addressPrefixes` is missing in tag Storage",
    );
    let page = whole.replacen('{', r#"{"nextLink":"https://example.invalid/next","#, 1);
    refused(page, "one page of several");
    // A second key does not take the first one back.
    let page =
        whole.replacen('{', r#"{"nextLink":"https://example.invalid/next","nextLink":null,"#, 1);
    refused(page, "one page of several");
}

#[test]
fn what_stands_twice_is_refused() {
    let whole = with_prefix("20.0.0.0/24");
    let tag = &whole[whole.find("[{").unwrap() + 1..whole.rfind(']').unwrap()];
    let twice = |second: &str| whole.replace(tag, &format!("{tag},{second}"));
    refused(twice(tag), "tag Storage stands twice");
    refused(twice(&tag.replace("Storage", "sTORAGE")), "stands twice");
    for (key, value) in [
        ("changeNumber", "2"),
        ("region", "\"westeurope\""),
        ("regionId", "7"),
        ("systemService", "\"x\""),
        ("networkFeatures", "[]"),
        ("addressPrefixes", "[\"20.1.0.0/24\"]"),
    ] {
        let double = whole.replace("\"platform\"", &format!("\"{key}\":{value},\"platform\""));
        refused(double, &format!("the key `{key}` stands twice in tag Storage"));
    }
    for (key, value) in [("changeNumber", "2"), ("cloud", "\"China\""), ("values", "[]")] {
        let double = format!("{},\"{key}\":{value}}}", &whole[..whole.len() - 1]);
        refused(double, &format!("the key `{key}` stands twice"));
    }
}

#[test]
fn clouds_and_numbers_are_checked() {
    let whole = with_prefix("20.0.0.0/24");
    refused(whole.replace("Public", "public"), "cloud `public` is none of");
    refused(whole.replace("Public", r"Pub\u001b[31mlic"), "is none of");
    for number in
        ["-1", "1.5", "1e400", "99999999999999999999999999", "\"abc\"", "\"\"", "null", "{}"]
    {
        let document = whole.replacen(":1,", &format!(":{number},"), 1);
        refused(document, "not a Service Tags document");
    }
    refused(
        whole.replace("\"regionId\":0", "\"regionId\":4294967296"),
        "not a Service Tags document",
    );
    refused(
        whole.replace("\"regionId\":0", &format!("\"regionId\":{}", "9".repeat(1_000_000))),
        "not a Service Tags document",
    );
    let long = whole.replacen(":1,", &format!(":\"{}\",", "x\\n".repeat(500_000)), 1);
    refused(long, "not a Service Tags document");
}

#[test]
fn a_publication_of_another_cloud_is_not_taken_for_the_configured_one() {
    let folder = Folder::new();
    let config = folder.put("tagwall.toml", CONFIG);
    let feed = folder.put("feed.json", with_prefix("20.0.0.0/24").replace("Public", "China"));
    let out = folder.arg("out");
    let (_, stderr) =
        cli_support::expect(3, &["render", "--config", &config, "--feed", &feed, "--out", &out]);
    assert!(stderr.contains("there is no publication of cloud public"), "{stderr}");
    assert!(!Path::new(&out).exists());
}

#[test]
fn depth_is_bounded_also_where_nothing_is_read() {
    let whole = with_prefix("20.0.0.0/24");
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let inner = format!("{}1{}", open.repeat(200_000), close.repeat(200_000));
        let root = whole.replacen('{', &format!("{{\"x\":{inner},"), 1);
        refused(root, "recursion limit exceeded");
        let tag = whole.replace("\"id\":\"Storage\"", &format!("\"id\":{inner}"));
        refused(tag, "recursion limit exceeded");
        let property = whole.replace("\"platform\":\"Azure\"", &format!("\"platform\":{inner}"));
        refused(property, "recursion limit exceeded");
    }
    refused("[".repeat(1_000_000), "not a Service Tags document");
}

#[test]
fn a_million_tiny_tags_are_too_many() {
    use std::fmt::Write as _;
    let mut document = String::from(r#"{"changeNumber":1,"cloud":"Public","values":["#);
    for index in 0..1_000_000 {
        let comma = if index == 0 { "" } else { "," };
        write!(
            document,
            r#"{comma}{{"name":"t{index}","properties":{{"changeNumber":1,"addressPrefixes":[]}}}}"#
        )
        .unwrap();
    }
    document.push_str("]}");
    // Larger than the default bound on size: the bound on count must hold by itself.
    let config = format!("{CONFIG}[document]\nmax-bytes = 268435456\n");
    let folder = Folder::new();
    let config = folder.put("tagwall.toml", config);
    let feed = folder.put("feed.json", document);
    let out = folder.arg("out");
    let (_, stderr) =
        cli_support::expect(4, &["render", "--config", &config, "--feed", &feed, "--out", &out]);
    assert!(stderr.contains("more than 50000 tags"), "{stderr}");
    assert!(!Path::new(&out).exists());
}

#[test]
fn a_gigabyte_is_refused_without_being_read() {
    let folder = Folder::new();
    let config = folder.put("tagwall.toml", CONFIG);
    let feed = folder.path("feed.json");
    File::create(&feed).unwrap().set_len(1 << 30).unwrap();
    // With 100 MB of address space the whole file does not fit into memory: reading it would end in an abort.
    let binary = assert_cmd::cargo::cargo_bin("tagwall");
    let output = Command::new("/bin/sh")
        .args(["-c", "ulimit -v 100000 && exec \"$@\"", "sh"])
        .arg(binary)
        .args(["render", "--config", &config, "--out", &folder.arg("out"), "--feed"])
        .arg(&feed)
        .output()
        .unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("67108864"), "the limit is not named: {stderr}");
    assert!(!folder.path("out").exists());
}

#[test]
fn a_pipe_or_folder_in_place_of_a_file_is_refused_without_waiting() {
    let folder = Folder::new();
    let config = folder.put("tagwall.toml", CONFIG);
    for feed in [folder.arg("."), "/dev/zero".to_owned()] {
        let args = ["render", "--config", &config, "--out", &folder.arg("out"), "--feed", &feed];
        let (_, stderr) = cli_support::expect(6, &args);
        assert!(stderr.contains("regular file"), "{stderr}");
    }
    assert!(!folder.path("out").exists());
}

#[test]
fn the_example_is_refused_when_cut_at_any_byte() {
    let whole = EXAMPLE_DOCUMENT.as_bytes();
    let end = EXAMPLE_DOCUMENT.trim_end().len();
    assert!(Snapshot::parse(&whole[..end], &Policy::default()).is_ok());
    for length in 0..end {
        let outcome = Snapshot::parse(&whole[..length], &Policy::default());
        assert!(outcome.is_err(), "taken when cut after {length} bytes");
    }
    let cut = &EXAMPLE_DOCUMENT[..end / 2];
    refused(cut, "it is cut short");
    assert!(example_document().exists());
}

#[test]
fn a_real_publication_is_refused_when_cut() {
    let folder = std::env::var_os("TAGWALL_FEEDS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/feeds"),
        PathBuf::from,
    );
    let path = folder.join("public/ServiceTags_Public_20250908.json");
    let Ok(whole) = std::fs::read(&path) else {
        eprintln!("skipped: no {}", path.display());
        return;
    };
    let end = whole.trim_ascii_end().len();
    assert!(Snapshot::parse(&whole, &Policy::default()).is_ok());
    // Spread over the document, and every one of the last bytes.
    let places = (0..150).map(|step| end * step / 150).chain(end - 50..end);
    for length in places {
        let outcome = Snapshot::parse(&whole[..length], &Policy::default());
        assert!(outcome.is_err(), "taken when cut after {length} bytes");
    }
}
