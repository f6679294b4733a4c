//! The metrics: their format by an independent reader, and the names that alerts and dashboard use.

use std::collections::BTreeSet;
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
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("tagwall_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn alerts_and_dashboard_name_metrics_that_there_are() {
    let (house, _authority) = super::tls::house("");
    house.show(&shown_view());
    house.raw(b"no handshake");
    house.get_unix("/lists/edge/apim-prod-storage-westeurope.txt");
    let there: BTreeSet<String> = house
        .get_unix("/metrics")
        .text()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(['{', ' ']).next().unwrap().to_owned())
        .collect();
    for file in
        ["packaging/prometheus/alerts.yml", "packaging/grafana/dashboard.json", "docs/serve.md"]
    {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let used = names(&std::fs::read_to_string(path).unwrap());
        assert!(!used.is_empty(), "{file}");
        let unknown: Vec<_> = used.difference(&there).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}, which are not served");
    }
}
