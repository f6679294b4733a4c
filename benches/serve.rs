//! The agent's server beside nginx, which serves the same file: requests a second by wrk, in turn, and memory at rest.
//!
//! `cargo bench --bench serve` prints the ratio of each round and the median. Needs nginx and wrk.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark ends where it fails"
)]

use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const ROUNDS: usize = 10;
const LINES: u128 = 10_000;
/// Where prefixes of Azure lie: others would be refused.
const AZURE: u128 = 0x2603_1000 << 96;
const LIST: &str = "/lists/fw/all.txt";

/// A program that is ended by TERM.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn put(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn connects(address: SocketAddr) -> bool {
    (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        TcpStream::connect(address).is_ok()
    })
}

/// An agent that follows a folder with one publication: one list of as many lines, served or not.
fn agent(folder: &Path, address: Option<SocketAddr>) -> Running {
    let prefixes: Vec<String> =
        (0..LINES).map(|n| format!("\"{}/128\"", Ipv6Addr::from_bits(AZURE + 2 * n))).collect();
    put(
        &folder.join("drop/ServiceTags_Public_20250908.json"),
        &format!(
            "{{\"changeNumber\": 1, \"cloud\": \"Public\", \"values\": [{{\"name\": \"Benchmark\", \"id\": \"Benchmark\", \
             \"properties\": {{\"changeNumber\": 1, \"region\": \"\", \"platform\": \"Azure\", \
             \"systemService\": \"AzureBenchmark\", \"addressPrefixes\": [{}]}}}}]}}",
            prefixes.join(", ")
        ),
    );
    let serve = address.map(|address| {
        format!("[serve]\nlisten = [\"{address}\"]\n[serve.limits]\nconnection-lifetime = \"1h\"\n")
    });
    put(
        &folder.join("tagwall.toml"),
        &format!(
            "cloud = \"public\"\n[groups.all]\ntags = [\"Benchmark\"]\n[targets.fw.list]\n[agent]\nquiet-period = \"0s\"\n\
             [feeds.drop.directory]\npath = \"{}\"\n{}",
            folder.join("drop").display(),
            serve.unwrap_or_default()
        ),
    );
    let child = Command::new(env!("CARGO_BIN_EXE_tagwall"))
        .arg("--config")
        .arg(folder.join("tagwall.toml"))
        .arg("--state-dir")
        .arg(folder.join("state"))
        .arg("run")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let agent = Running(child);
    let list = folder.join("state/current/fw/all.txt");
    for _ in 0..200 {
        std::thread::sleep(Duration::from_millis(50));
        if list.exists() && address.is_none_or(|address| look(address, "").0 == "200") {
            return agent;
        }
    }
    panic!("the agent has no list");
}

fn nginx(folder: &Path, text: &str) -> Option<(Running, SocketAddr)> {
    let address = free_address();
    put(&folder.join(&LIST[1..]), text);
    put(
        &folder.join("nginx.conf"),
        &format!(
            "user root; worker_processes 2; daemon off; pid nginx.pid; error_log error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; open_file_cache max=100; keepalive_requests 1000000;\n\
             types {{ text/plain txt; }}\n\
             client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;\n\
             server {{ listen {address}; root {}; }} }}\n",
            folder.display()
        ),
    );
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).args(["-c", "nginx.conf"]).stdin(Stdio::null());
    let nginx = Running(command.spawn().ok()?);
    connects(address).then_some((nginx, address))
}

/// Requests a second, all of which must have been answered with this status.
fn wrk(address: SocketAddr, header: Option<&str>) -> Option<f64> {
    let mut wrk = Command::new("wrk");
    wrk.args(["-t1", "-c32", "-d3s"]);
    if let Some(header) = header {
        wrk.args(["-H", header]);
    }
    let output = wrk.arg(format!("http://{address}{LIST}")).output().ok()?;
    let words = String::from_utf8(output.stdout).unwrap();
    assert!(!words.contains("Non-2xx"), "{words}");
    let line = words.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    Some(line.unwrap_or_else(|| panic!("{words}")).trim().parse().unwrap())
}

/// Status and tag of one answer; nothing where nobody listens.
fn look(address: SocketAddr, header: &str) -> (String, String) {
    let Ok(mut stream) = TcpStream::connect(address) else { return Default::default() };
    let request = format!("GET {LIST} HTTP/1.1\r\nhost: x\r\n{header}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let text = String::from_utf8(answer).unwrap();
    let tag = text
        .lines()
        .take_while(|line| !line.is_empty())
        .find(|line| line.to_ascii_lowercase().starts_with("etag: "))
        .map_or("", |line| &line["etag: ".len()..]);
    (text.split(' ').nth(1).unwrap().to_owned(), tag.to_owned())
}

fn resident_kilobytes(of: &Running) -> u64 {
    // At rest: threads that did the work are gone.
    std::thread::sleep(Duration::from_secs(12));
    let status = std::fs::read_to_string(format!("/proc/{}/status", of.0.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn main() {
    let (quiet, serving) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let without = resident_kilobytes(&agent(quiet.path(), None));
    let ours = free_address();
    let agent = agent(serving.path(), Some(ours));
    for _ in 0..100 {
        look(ours, "");
    }
    let text = std::fs::read_to_string(serving.path().join("state/current/fw/all.txt")).unwrap();
    println!(
        "memory: {} kB serving {} bytes of list after a hundred requests, {without} kB without",
        resident_kilobytes(&agent),
        text.len()
    );
    let folder = tempfile::tempdir().unwrap();
    let Some((_nginx, theirs)) = nginx(folder.path(), &text) else {
        println!("skipped: nginx is not installed");
        return;
    };
    for (what, conditional) in [("304", true), ("10,000 lines", false)] {
        let header = |address| {
            let (_, tag) = look(address, "");
            conditional.then(|| format!("If-None-Match: {tag}"))
        };
        let (our_header, their_header) = (header(ours), header(theirs));
        for (address, header) in [(ours, &our_header), (theirs, &their_header)] {
            let header = header.as_ref().map(|header| format!("{header}\r\n")).unwrap_or_default();
            let expected = if conditional { "304" } else { "200" };
            assert_eq!(look(address, &header).0, expected);
        }
        let mut ratios = Vec::new();
        for _ in 0..ROUNDS {
            let (Some(we), Some(they)) =
                (wrk(ours, our_header.as_deref()), wrk(theirs, their_header.as_deref()))
            else {
                println!("skipped: wrk is not installed");
                return;
            };
            println!("{what}: {we:.0} requests a second, nginx {they:.0}: {:.2}", we / they);
            ratios.push(we / they);
        }
        ratios.sort_by(f64::total_cmp);
        println!(
            "{what}: median {:.2} of nginx ({:.2}–{:.2})",
            ratios[ROUNDS / 2],
            ratios[0],
            ratios[ROUNDS - 1]
        );
    }
}
