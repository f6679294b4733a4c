//! A fake Microsoft: an HTTPS server of the test's own authority whose answers, good and bad, are laid out by path.
//!
//! It speaks raw HTTP/1.1 over threads, so that a test decides about every byte: slow ones, missing ones, endless ones.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

/// Most bytes of an endless body that are sent to somebody who goes on reading.
const ENOUGH: usize = 512 << 20;

/// A certificate authority of one test.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for these names, valid or long over, with its key.
    pub(crate) fn issue(&self, names: &[&str], expired: bool) -> (rcgen::Certificate, KeyPair) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(if expired { 2021 } else { 2100 }, 1, 1);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

/// What the server shows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shows {
    /// A valid certificate.
    Good,
    /// One that is long over.
    Expired,
    /// One of an authority that nobody trusts.
    Foreign,
    /// One of another name.
    OtherName,
    /// A valid one; and it wants the client's, of the same authority.
    AsksBack,
    /// Nothing: plain HTTP.
    Plain,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Asked {
    /// A header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
}

/// How a body is sent.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// As it should be.
    Whole(Vec<u8>),
    /// In pieces with pauses.
    Slow(Vec<u8>, usize, Duration),
    /// The connection breaks after so many bytes.
    Cut(Vec<u8>, usize),
    /// It never ends.
    Endless,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: Body::Whole(body.into()) }
    }

    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200, body)
    }

    pub(crate) fn redirect(to: &str) -> Self {
        Self::new(302, "").header("Location", to)
    }

    #[must_use]
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub(crate) fn sent(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// Compressed, and said to be.
    pub(crate) fn gzip(bytes: &[u8]) -> Self {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        Self::ok(encoder.finish().unwrap()).header("Content-Encoding", "gzip")
    }
}

type Answer = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// The running server; it ends when this is dropped.
pub(crate) struct Fake {
    address: SocketAddr,
    scheme: &'static str,
    folder: TempDir,
    pub(crate) authority: Authority,
    answers: Arc<Mutex<BTreeMap<String, Answer>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    accepting: Option<std::thread::JoinHandle<()>>,
}

impl Fake {
    pub(crate) fn start() -> Self {
        Self::showing(Shows::Good)
    }

    pub(crate) fn showing(shows: Shows) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("fake Microsoft");
        super::write(&folder.path().join("ca.pem"), authority.pem.as_bytes());
        let tls = (shows != Shows::Plain).then(|| Arc::new(settings(shows, &authority)));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answers: Arc<Mutex<BTreeMap<String, Answer>>> = Arc::default();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let accepting = std::thread::spawn({
            let (answers, asked, stop) =
                (Arc::clone(&answers), Arc::clone(&asked), Arc::clone(&stop));
            move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(stream) = stream else { continue };
                    let (answers, asked, tls) =
                        (Arc::clone(&answers), Arc::clone(&asked), tls.clone());
                    std::thread::spawn(move || converse(stream, tls, &answers, &asked));
                }
            }
        });
        let scheme = if shows == Shows::Plain { "http" } else { "https" };
        Self {
            address,
            scheme,
            folder,
            authority,
            answers,
            asked,
            stop,
            accepting: Some(accepting),
        }
    }

    /// The port at which it listens.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", self.scheme, self.port())
    }

    /// The same under another name of this host.
    pub(crate) fn url_by_address(&self, path: &str) -> String {
        format!("{}://127.0.0.1:{}{path}", self.scheme, self.port())
    }

    /// The authority's certificate.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A file of the test's own, closed to others.
    pub(crate) fn file(&self, name: &str, contents: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.folder.path().join(name);
        super::write(&path, contents.as_bytes());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Answers a path, whatever its query, in this way from now on.
    pub(crate) fn on(&self, path: &str, reply: Reply) {
        self.on_each(path, move |_| reply.clone());
    }

    /// The same with an answer that depends on the request.
    pub(crate) fn on_each(
        &self,
        path: &str,
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) {
        self.answers.lock().unwrap().insert(path.to_owned(), Arc::new(answer));
    }

    /// Serves a document with an entity tag, and 304 to those who have it.
    pub(crate) fn serve(&self, path: &str, document: &[u8]) {
        let tag = format!(
            "\"{:x}\"",
            document
                .iter()
                .fold(0_u64, |sum, &byte| { sum.wrapping_mul(31).wrapping_add(u64::from(byte)) })
        );
        let document = document.to_vec();
        self.on_each(path, move |asked| {
            if asked.header("if-none-match") == Some(tag.as_str()) {
                Reply::new(304, "").header("ETag", &tag)
            } else {
                Reply::ok(document.clone())
                    .header("ETag", &tag)
                    .header("Content-Type", "application/json")
            }
        });
    }

    /// A download page that links to a file of the example cloud which this server serves as well.
    pub(crate) fn publish(&self, date: &str, document: &[u8]) {
        let file = format!("/download/ServiceTags_Example_{date}.json");
        self.serve(&file, document);
        self.on(
            "/page",
            Reply::ok(format!("<html><a href=\"{}\">Download</a></html>", self.url(&file)))
                .header("Content-Type", "text/html"),
        );
    }

    /// What was asked so far of a path.
    pub(crate) fn asked(&self, path: &str) -> Vec<Asked> {
        let all = self.asked.lock().unwrap();
        all.iter().filter(|asked| path_of(&asked.target) == path).cloned().collect()
    }

    /// How often anything was asked.
    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            _ = accepting.join();
        }
    }
}

fn settings(shows: Shows, authority: &Authority) -> ServerConfig {
    let foreign = Authority::new("nobody trusts this one");
    let issuer = if shows == Shows::Foreign { &foreign } else { authority };
    let names: &[&str] = if shows == Shows::OtherName {
        &["elsewhere.example"]
    } else {
        &["localhost", "127.0.0.1"]
    };
    let (certificate, key) = issuer.issue(names, shows == Shows::Expired);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if shows == Shows::AsksBack {
        let mut roots = RootCertStore::empty();
        roots.add(pem_certificate(&authority.pem)).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    builder.with_single_cert(vec![certificate.der().clone()], key.into()).unwrap()
}

fn pem_certificate(pem: &str) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

/// One connection, one request. Whatever the client breaks is the client's own business.
fn converse(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    answers: &Mutex<BTreeMap<String, Answer>>,
    asked: &Mutex<Vec<Asked>>,
) {
    _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
    _ = stream.set_write_timeout(Some(Duration::from_secs(20)));
    _ = match tls {
        Some(tls) => match ServerConnection::new(tls) {
            Ok(connection) => {
                let mut stream = StreamOwned::new(connection, stream);
                let done = answer(&mut stream, answers, asked);
                stream.conn.send_close_notify();
                _ = stream.flush();
                done
            }
            Err(_) => return,
        },
        None => answer(&mut { stream }, answers, asked),
    };
}

fn answer(
    stream: &mut (impl Read + Write),
    answers: &Mutex<BTreeMap<String, Answer>>,
    asked: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let request = read_request(stream)?;
    let found = answers.lock().unwrap().get(path_of(&request.target)).map(Arc::clone);
    asked.lock().unwrap().push(request.clone());
    let reply = found.map_or_else(|| Reply::new(404, "no such page"), |found| found(&request));
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Body::Whole(bytes) | Body::Slow(bytes, ..) | Body::Cut(bytes, _) = &reply.body {
        head.push_str(&format!("Content-Length: {}\r\n", bytes.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    match reply.body {
        Body::Whole(bytes) => stream.write_all(&bytes)?,
        Body::Slow(bytes, size, pause) => {
            for piece in bytes.chunks(size) {
                stream.write_all(piece)?;
                stream.flush()?;
                std::thread::sleep(pause);
            }
        }
        Body::Cut(bytes, after) => stream.write_all(&bytes[..after])?,
        Body::Endless => {
            let piece = vec![b' '; 64 << 10];
            for _ in 0..ENOUGH / piece.len() {
                stream.write_all(&piece)?;
            }
        }
    }
    stream.flush()
}

fn read_request(stream: &mut impl Read) -> std::io::Result<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, target) =
        (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Asked { method, target, headers, body })
}
