//! The server beside nginx, which serves the same file: requests a second by wrk, in turn, and memory at rest.
//!
//! `cargo bench --bench serve` prints the ratio of each round and the median. Needs nginx and wrk.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark ends where it fails"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tagwall::config::{Config, Name};
use tagwall::serve::{self, Lists, View};
use tokio::sync::watch;

const ROUNDS: usize = 5;
const LINES: usize = 10_000;

struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        // TERM lets the master end its workers.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn nginx(folder: &Path, text: &str) -> Option<(Nginx, SocketAddr)> {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    std::fs::create_dir_all(folder.join("lists/fw")).unwrap();
    let put = |name: &str, text: &str| {
        std::fs::File::create(folder.join(name)).unwrap().write_all(text.as_bytes()).unwrap();
    };
    put("lists/fw/a.txt", text);
    put(
        "nginx.conf",
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
    let child = Command::new("nginx")
        .args(["-p"])
        .arg(folder)
        .args(["-c", "nginx.conf"])
        .stdin(Stdio::null())
        .spawn()
        .ok()?;
    let nginx = Nginx(child);
    for _ in 0..100 {
        if TcpStream::connect(address).is_ok() {
            return Some((nginx, address));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    None
}

/// Requests a second, all of which must have been answered with this status.
fn wrk(address: SocketAddr, header: Option<&str>) -> Option<f64> {
    let mut wrk = Command::new("wrk");
    wrk.args(["-t1", "-c32", "-d4s"]);
    if let Some(header) = header {
        wrk.args(["-H", header]);
    }
    let output = wrk.arg(format!("http://{address}/lists/fw/a.txt")).output().ok()?;
    let words = String::from_utf8(output.stdout).unwrap();
    assert!(!words.contains("Non-2xx"), "{words}");
    let line = words.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    Some(line.unwrap_or_else(|| panic!("{words}")).trim().parse().unwrap())
}

/// Status and tag of one answer.
fn look(address: SocketAddr, header: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let request =
        format!("GET /lists/fw/a.txt HTTP/1.1\r\nhost: x\r\n{header}connection: close\r\n\r\n");
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

fn resident_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn main() {
    let text: String = (0..LINES)
        .map(|n| format!("198.18.{}.{}/32\n", n / 250, n % 250))
        .collect::<Vec<_>>()
        .concat();
    let config = Config::parse(
        Path::new("bench.toml"),
        "[serve]\nlisten = [\"127.0.0.1:0\"]\n[serve.limits]\nconnection-lifetime = \"1h\"\n"
            .to_owned(),
    )
    .unwrap();
    let before = resident_kilobytes();
    let target: Name = "fw".parse().unwrap();
    let since = Timestamp::now() - SignedDuration::from_hours(1);
    let lists = Lists::of(1, [(&target, "a.txt", text.clone().into())], &config, since, None);
    let view = View { lists: Some(Arc::new(lists)), ..View::default() };
    let (_sender, receiver) = watch::channel(Arc::new(view));
    let server = serve::start(&config.serve_settings().unwrap(), receiver).unwrap();
    let ours = server.addresses()[0];
    for _ in 0..100 {
        look(ours, "");
    }
    println!(
        "memory: {} kB more than without serving ({} bytes of list), after a hundred requests",
        resident_kilobytes().saturating_sub(before),
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
