//! Sockets that systemd hands over, with systemd's own tool for that.
//!
//! Sockets are handed over by number and once in the life of a process: so the server runs in another process, which is this
//! test itself.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "the processes talk by these")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tagwall::config::Config;
use tagwall::serve::{self, View};
use tokio::sync::watch;

const CHILD: &str = "TAGWALL_TEST_SERVES";

/// The other process: serves until its standard input ends.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let text = "[serve]\nsocket-activation = true\n".to_owned();
    let settings = Config::parse(Path::new("t.toml"), text).unwrap().serve_settings().unwrap();
    let (_sender, view) = watch::channel(Arc::new(View::default()));
    let server = serve::start(&settings, view).unwrap();
    println!("serving {:?}", server.status().places);
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn healthz(mut stream: impl std::io::Read + std::io::Write) -> String {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn sockets_of_systemd_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let unix = folder.path().join("http.sock");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("systemd-socket-activate");
    command
        .args(["-l", &format!("127.0.0.1:{port}"), "-l", unix.to_str().unwrap()])
        .arg(format!("--setenv={CHILD}=1"))
        .arg(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let Ok(child) = command.spawn() else {
        eprintln!("skipped: systemd-socket-activate is not installed");
        return;
    };
    let mut child = Running(child);
    let begun = Instant::now();
    let tcp = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(_) => assert!(begun.elapsed() < Duration::from_secs(30), "nobody listens"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(healthz(tcp).starts_with("HTTP/1.1 200"));
    assert!(healthz(UnixStream::connect(&unix).unwrap()).starts_with("HTTP/1.1 200"));
    let said = BufReader::new(child.0.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .find(|line| line.contains("serving"));
    assert!(said.unwrap().contains(&format!("127.0.0.1:{port}")));
}
