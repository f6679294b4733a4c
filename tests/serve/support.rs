//! A server in this process, and a plain client.
#![allow(dead_code, reason = "each test uses its part of this")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tagwall::config::{Config, Name};
use tagwall::serve::{self, Lists, Server, View};
use tokio::sync::watch;

/// A server with a folder for its files.
pub(crate) struct House {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) server: Server,
    view: watch::Sender<Arc<View>>,
}

/// The configuration of a test: where to listen, and what else is given for `[serve]`.
fn config(folder: &Path, listen: &str, serve: &str) -> Config {
    let text = format!("[serve]\nlisten = [\"{listen}\"]\n{serve}");
    Config::parse(&folder.join("tagwall.toml"), text).unwrap_or_else(|error| panic!("{error}"))
}

impl House {
    pub(crate) fn open(serve: &str) -> Self {
        Self::open_in(tempfile::tempdir().unwrap(), serve)
    }

    pub(crate) fn open_at(listen: &str, serve: &str) -> Self {
        Self::with(tempfile::tempdir().unwrap(), listen, serve)
    }

    pub(crate) fn open_in(folder: tempfile::TempDir, serve: &str) -> Self {
        Self::with(folder, "127.0.0.1:0", serve)
    }

    fn with(folder: tempfile::TempDir, listen: &str, serve: &str) -> Self {
        let settings = config(folder.path(), listen, serve).serve_settings().unwrap();
        let (view, receiver) = watch::channel(Arc::new(View::default()));
        let server = serve::start(&settings, receiver).unwrap();
        Self { folder, server, view }
    }

    pub(crate) fn show(&self, view: &View) {
        self.view.send_replace(Arc::new(view.clone()));
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.addresses()[0]
    }

    /// One request on a connection of its own.
    pub(crate) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", path, headers)
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nhost: tagwall\r\nconnection: close\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        Answer::parse(&self.raw((request + "\r\n").as_bytes()))
    }

    /// One request over the Unix socket `http.sock` of the folder.
    pub(crate) fn get_unix(&self, path: &str) -> Answer {
        let mut stream = UnixStream::connect(self.folder.path().join("http.sock")).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: tagwall\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        Answer::parse(&answer)
    }

    /// Sends these bytes and reads until the server closes.
    pub(crate) fn raw(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // The server may have closed before it read everything.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        Self { status, headers, body: bytes[end + 4..].to_vec() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// A view with these lists: target, file, text.
pub(crate) fn lists(generation: u64, files: &[(&str, &str, &str)]) -> View {
    lists_since(generation, files, Timestamp::now(), None)
}

pub(crate) fn lists_since(
    generation: u64,
    files: &[(&str, &str, &str)],
    since: Timestamp,
    before: Option<&Lists>,
) -> View {
    let config = Config::parse(Path::new("test.toml"), String::new()).unwrap();
    let named: Vec<(Name, &str, String)> = files
        .iter()
        .map(|(target, file, text)| (target.parse().unwrap(), *file, (*text).to_owned()))
        .collect();
    let files = named.iter().map(|(target, file, text)| (target, *file, text.clone().into()));
    let lists = Lists::of(generation, files, &config, since, before);
    View { lists: Some(Arc::new(lists)), ..View::default() }
}

/// Waits until something is so; how long is no matter of the test, but it is not for ever.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// An IPv4 address of this host that is not loopback, when there is one.
pub(crate) fn own_address() -> Option<std::net::IpAddr> {
    // Nothing is sent: connecting a datagram socket only chooses the address.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// The entity tag of these bytes.
pub(crate) fn etag(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let hexadecimal: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{}\"", hexadecimal.concat())
}
