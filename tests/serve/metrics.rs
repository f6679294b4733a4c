//! The metrics: their format by an independent reader, and the names that alerts and dashboard use.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::page::{shown_house, shown_view};

/// The Python of a virtual environment with the official client of Prometheus, which reads the format strictly.
fn python() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("venv-prometheus-0.22");
    let python = folder.join("bin/python");
    let works = |python: &Path| {
        let import = ["-c", "import prometheus_client.openmetrics.parser"];
        Command::new(python).args(import).output().is_ok_and(|output| output.status.success())
    };
    if !works(&python) {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).output();
        let installed = made.is_ok_and(|made| made.status.success())
            && Command::new(&python)
                .args(["-m", "pip", "install", "--quiet", "prometheus-client==0.22.1"])
                .output()
                .is_ok_and(|output| output.status.success());
        if !installed || !works(&python) {
            eprintln!("skipped: no Python with prometheus-client 0.22.1 could be made");
            return None;
        }
    }
    Some(python)
}

#[test]
fn an_independent_reader_takes_them() {
    let house = shown_house();
    house.get("/lists/edge/apim-prod-storage-westeurope.txt", &[]);
    house.get("/none", &[]);
    let answer = house.get("/metrics", &[]);
    assert_eq!(
        answer.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let text = answer.text();
    for line in [
        "tagwall_generation 12.0",
        "tagwall_publication_change_number{cloud=\"public\"} 367.0",
        "tagwall_client_current{client=\"127.0.0.1\",user=\"\",list=\"edge/apim-prod-storage-westeurope.txt\"} 1.0",
        "tagwall_holds{cloud=\"public\",kind=\"addition\",critical=\"true\"} 1.0",
        "tagwall_holds{cloud=\"public\",kind=\"removal\",critical=\"false\"} 1.0",
        "tagwall_hostname_addresses{name=\"login.microsoftonline.com\"} 1.0",
        "tagwall_hostname_consecutive_failures{name=\"login.microsoftonline.com\"} 3.0",
        "tagwall_hostname_addresses_outside{name=\"login.microsoftonline.com\"} 1.0",
        "tagwall_target_step_duration_seconds{target=\"local\",step=\"apply\"} 0.053",
        "tagwall_target_step_duration_seconds{target=\"local\",step=\"read_back\"} 0.0617",
        "tagwall_target_step_failed{target=\"local\",step=\"verify\"} 0.0",
        "tagwall_target_reached{target=\"local\",family=\"ipv4\"} 1.0",
        "tagwall_target_reached{target=\"local\",family=\"ipv6\"} -1.0",
        "tagwall_target_overruled{target=\"local\"} 0.0",
        // It failed the last time, and is in no generation yet.
        "tagwall_target_step_failed{target=\"late\",step=\"verify\"} 1.0",
        "tagwall_target_step_failed{target=\"late\",step=\"apply\"} 0.0",
        "tagwall_http_requests_total{area=\"lists\",code=\"200\"} 1",
        "tagwall_http_requests_total{area=\"page\",code=\"404\"} 1",
    ] {
        assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
    }
    let Some(python) = python() else { return };
    let script = "import sys\nfrom prometheus_client.openmetrics.parser import text_string_to_metric_families\n\
                  for family in text_string_to_metric_families(sys.stdin.read()):\n    print(family.name, len(family.samples))\n";
    let mut reader = Command::new(python)
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    reader.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = reader.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8(output.stdout).unwrap().lines().count() > 30);
}

/// The names of our metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    words(text)
        .filter(|word| word.starts_with("tagwall_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Every metric that is served, with its labels.
fn served() -> BTreeMap<String, BTreeSet<String>> {
    let (house, _authority) = super::tls::house("");
    house.show(&shown_view());
    house.raw(b"no handshake");
    house.get_unix("/lists/edge/apim-prod-storage-westeurope.txt");
    let mut there: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in house.get_unix("/metrics").text().lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap().to_owned();
        there.entry(name).or_default().extend(before(line, "=\""));
    }
    there
}

/// The words that stand before each of these marks.
fn before(text: &str, mark: &str) -> BTreeSet<String> {
    let parts = text.split(mark);
    let count = parts.clone().count();
    parts.take(count - 1).filter_map(|part| words(part).last()).map(str::to_owned).collect()
}

/// What is in brackets behind each of these marks.
fn bracketed<'t>(text: &'t str, mark: &str, end: &'t str) -> impl Iterator<Item = &'t str> {
    text.split(mark).skip(1).map(move |rest| rest.split(end).next().unwrap())
}

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

const ALERTS: &str = "packaging/prometheus/alerts.yml";
const DASHBOARD: &str = "packaging/grafana/dashboard.json";
const MANUAL: &str = "docs/serve.md";

#[test]
fn alerts_dashboard_and_manual_name_metrics_that_there_are() {
    let there: BTreeSet<String> = served().into_keys().collect();
    for file in [ALERTS, DASHBOARD, MANUAL] {
        let used = names(&read(file));
        assert!(!used.is_empty(), "{file}");
        let unknown: Vec<_> = used.difference(&there).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}, which are not served");
    }
}

#[test]
fn alerts_and_dashboard_show_labels_that_their_metrics_have() {
    let there = served();
    let alerts = read(ALERTS);
    let dashboard: serde_json::Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    // Each query, with the text that shows its labels.
    let mut queries: Vec<(String, BTreeSet<String>)> = Vec::new();
    for alert in alerts.split("- alert: ").skip(1) {
        let query = alert.lines().find_map(|line| line.trim().strip_prefix("expr: ")).unwrap();
        let shown = bracketed(alert, "$labels.", " ").map(str::to_owned).collect();
        queries.push((query.to_owned(), shown));
    }
    let alert_count = queries.len();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            let shown = bracketed(legend, "{{", "}}").map(str::to_owned).collect();
            queries.push((target["expr"].as_str().unwrap().to_owned(), shown));
        }
    }
    assert!(alert_count > 15 && queries.len() > alert_count + 15, "{}", queries.len());
    for (query, shown) in queries {
        // Prometheus knows these of whatever it asks.
        let mut known = BTreeSet::from(["instance".to_owned(), "job".to_owned()]);
        for metric in names(&query) {
            known.extend(there.get(&metric).into_iter().flatten().cloned());
        }
        let mut used = before(&query, "=\"");
        let kept: BTreeSet<String> =
            bracketed(&query, "by (", ")").flat_map(words).map(str::to_owned).collect();
        used.extend(before(&query, "=~\""));
        used.extend(kept.iter().cloned());
        let unknown: Vec<_> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "{query} asks for {unknown:?}");
        let left = if kept.is_empty() { known } else { kept };
        let unknown: Vec<_> = shown.difference(&left).collect();
        assert!(unknown.is_empty(), "{query} shows {unknown:?}");
    }
}

#[test]
fn the_manual_names_every_metric() {
    let manual = names(&read(MANUAL));
    // A histogram is named by its buckets alone.
    let there = served().into_keys().filter(|name| {
        name.starts_with("tagwall_") && !name.ends_with("_sum") && !name.ends_with("_count")
    });
    let unnamed: Vec<_> = there.filter(|name| !manual.contains(name)).collect();
    assert!(unnamed.is_empty(), "{MANUAL} does not name {unnamed:?}");
}
