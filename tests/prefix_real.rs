//! Every tag of every real publication at hand, against two implementations by others: `iprange`
//! for IPv4 and Python's `ipaddress` for IPv6.
//!
//! The publications are found through `TAGWALL_FEEDS`, else in `../shared/feeds`; a test that
//! lacks them, or its peer, says so and does nothing.
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]
#![allow(clippy::unwrap_used, reason = "to panic is how a test fails")]

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::Value;
use tagwall::prefix::parse::parse_net;
use tagwall::prefix::{PrefixSet, special};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn json_files(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            json_files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    Ok(())
}

/// The publications' files in order, or nothing (and a word about it) where there are none.
fn publications() -> std::io::Result<Vec<PathBuf>> {
    let folder = std::env::var_os("TAGWALL_FEEDS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/feeds"),
        PathBuf::from,
    );
    let mut found = Vec::new();
    if folder.is_dir() {
        json_files(&folder, &mut found)?;
    }
    if found.is_empty() {
        eprintln!("skipped: no publications in {}", folder.display());
    }
    found.sort();
    Ok(found)
}

/// Every list of prefixes that some tag of a publication has.
fn for_each_tag(
    file: &Path,
    mut visit: impl FnMut(&str, &[&str]),
) -> Result<(), Box<dyn std::error::Error>> {
    let document: Value = serde_json::from_slice(&fs::read(file)?)?;
    let tags = document["values"].as_array().ok_or("no values")?;
    assert!(!tags.is_empty(), "{} has no tags", file.display());
    for tag in tags {
        let name = tag["name"].as_str().ok_or("no name")?;
        let prefixes = tag["properties"]["addressPrefixes"].as_array().ok_or("no prefixes")?;
        let prefixes: Option<Vec<&str>> = prefixes.iter().map(Value::as_str).collect();
        visit(name, &prefixes.ok_or("a prefix that is no text")?);
    }
    Ok(())
}

/// The distinct lists of one family over all tags of all publications, in the publications' order
/// of prefixes, and of each publication as a whole.
fn distinct_lists<P: Copy + Ord + std::hash::Hash>(
    files: &[PathBuf],
    family: fn(IpNet) -> Option<P>,
) -> Result<Vec<Vec<P>>, Box<dyn std::error::Error>> {
    let mut distinct = HashSet::new();
    for file in files {
        let mut whole = Vec::new();
        for_each_tag(file, |_, prefixes| {
            let nets = prefixes.iter().map(|text| parse_net(text).unwrap());
            let list: Vec<P> = nets.filter_map(family).collect();
            whole.extend_from_slice(&list);
            distinct.insert(list);
        })?;
        distinct.insert(whole);
    }
    let mut distinct: Vec<Vec<P>> = distinct.into_iter().filter(|list| !list.is_empty()).collect();
    distinct.sort_unstable();
    Ok(distinct)
}

fn v4(net: IpNet) -> Option<Ipv4Net> {
    if let IpNet::V4(net) = net { Some(net) } else { None }
}

fn v6(net: IpNet) -> Option<Ipv6Net> {
    if let IpNet::V6(net) = net { Some(net) } else { None }
}

fn is_installed(program: &str) -> bool {
    let run = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if run.is_err() {
        eprintln!("skipped: {program} is not installed");
    }
    run.is_ok()
}

/// Runs a program on a text and returns what it prints; input is written while output is read.
fn filter(command: &mut Command, input: &str) -> Result<String, Box<dyn std::error::Error>> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
    let mut stdin = child.stdin.take().ok_or("no standard input")?;
    let output = thread::scope(|scope| {
        let writer = scope.spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output();
        writer.join().map_err(|_| "the writer panicked")??;
        Ok::<_, Box<dyn std::error::Error>>(output?)
    })?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn lines<T: ToString>(items: &[T]) -> String {
    items.iter().map(|item| item.to_string() + "\n").collect()
}

#[test]
fn every_published_prefix_is_canonical_and_ordinary() -> Outcome {
    let mut texts = BTreeSet::new();
    let files = publications()?;
    for file in &files {
        for_each_tag(file, |name, prefixes| {
            let mut addresses = 0_u64;
            for text in prefixes {
                if !texts.contains(*text) {
                    let net = parse_net(text).unwrap();
                    assert_eq!(net.to_string().parse::<IpNet>(), text.parse(), "{name}: {text}");
                    assert_eq!(special::special_kind(net), None, "{name}: {text}");
                    texts.insert((*text).to_owned());
                }
                if let Ok(IpNet::V4(net)) = parse_net(text) {
                    addresses += 1 << (32 - net.prefix_len());
                }
            }
            // Inside a tag nothing is nested or repeated, so that the sum is the set's size.
            let set: PrefixSet = prefixes.iter().map(|text| parse_net(text).unwrap()).collect();
            assert_eq!(set.v4_addresses(), addresses, "{name} in {}", file.display());
        })?;
    }
    eprintln!("{} distinct prefixes in {} publications", texts.len(), files.len());
    Ok(())
}

#[test]
fn ipv4_aggregates_as_iprange_does() -> Outcome {
    let files = publications()?;
    if files.is_empty() || !is_installed("iprange") {
        return Ok(());
    }
    let lists = distinct_lists(&files, v4)?;
    // iprange has no way to keep sets apart in one run, so it runs once a list (a millisecond),
    // on IPv4 only: it takes IPv6 for hostnames. It writes a /32 as a plain address.
    for list in &lists {
        let ours = PrefixSet::from_parts(list.clone(), Vec::new());
        let theirs = filter(&mut Command::new("iprange"), &lines(list))?;
        let ours = lines(ours.v4()).replace("/32\n", "\n");
        assert_eq!(ours, theirs, "from {}", lines(list));
    }
    eprintln!("{} distinct IPv4 lists agree with iprange", lists.len());
    Ok(())
}

const COLLAPSE: &str = "
import ipaddress, sys
for line in sys.stdin:
    networks = [ipaddress.IPv6Network(text) for text in line.split()]
    print(*ipaddress.collapse_addresses(networks))
";

#[test]
fn ipv6_aggregates_as_python_does() -> Outcome {
    let files = publications()?;
    if files.is_empty() || !is_installed("python3") {
        return Ok(());
    }
    let lists = distinct_lists(&files, v6)?;
    let row = |list: &[Ipv6Net]| lines(list).trim_end().replace('\n', " ") + "\n";
    let input: String = lists.iter().map(|list| row(list)).collect();
    let theirs = filter(Command::new("python3").args(["-c", COLLAPSE]), &input)?;
    assert_eq!(theirs.lines().count(), lists.len());
    for (list, theirs) in lists.iter().zip(theirs.split_inclusive('\n')) {
        let ours = PrefixSet::from_parts(Vec::new(), list.clone());
        assert_eq!(row(ours.v6()), theirs, "from {}", row(list));
    }
    eprintln!("{} distinct IPv6 lists agree with ipaddress", lists.len());
    Ok(())
}
