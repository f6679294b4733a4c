//! Each way of telling people, against a real receiver.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "to panic is how a test fails"
)]

mod common;

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tagwall::config::{Config, EventKind};
use tagwall::notify::{Event, Notifier};

use common::microsoft::{Authority, Body, Fake, Reply};

/// Ends a broken test; nothing waits for it otherwise.
const LONG: Duration = Duration::from_secs(60);

fn notifier(state: &Path, receiver: &str) -> Notifier {
    let text = format!("[notify.ops]\ngather = \"100ms\"\n{receiver}\n");
    let config =
        Config::parse(Path::new("test.toml"), text).unwrap_or_else(|error| panic!("{error}"));
    Notifier::start(&config, state)
}

fn held() -> Event {
    Event::new(
        EventKind::Held,
        "hold 3f2a",
        "Storage loses 40 % of its addresses; see `tagwall review`",
    )
}

fn published(generation: u32) -> Event {
    let subject = format!("generation {generation}");
    Event::new(EventKind::Published, subject, "3 prefixes came")
}

/// Waits until there is something.
async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.expect("nobody was told")
}

fn webhook(fake: &Fake, more: &str) -> String {
    format!(
        "{more}\n[notify.ops.webhook]\nurl = \"{}\"\nsecret-file = \"{}\"\n[notify.ops.connection]\nproxy = \"none\"\nca-file = \"{}\"\n",
        fake.url("/hook"),
        fake.file("key", "KEY\n").display(),
        fake.ca_file().display()
    )
}

#[tokio::test]
async fn a_webhook_gets_signed_json_grouped_and_not_repeated() {
    let fake = Fake::start();
    fake.on("/hook", Reply::ok(""));
    let state = tempfile::tempdir().unwrap();
    let first = notifier(state.path(), &webhook(&fake, ""));
    first.tell(published(7));
    first.lasting(vec![held()]);
    first.lasting(vec![held()]);
    let asked = until(|| fake.asked("/hook").pop()).await;
    assert_eq!(
        (asked.method.as_str(), asked.header("content-type")),
        ("POST", Some("application/json"))
    );
    let message: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(message["format"], "tagwall-notification/1");
    let events = message["events"].as_array().unwrap();
    assert_eq!(events.len(), 2, "{message}");
    assert_eq!(
        (&events[0]["kind"], &events[0]["state"]),
        (&"published".into(), &"happened".into())
    );
    assert_eq!((&events[1]["kind"], &events[1]["state"]), (&"held".into(), &"begun".into()));
    assert_eq!(events[1]["subject"], "hold 3f2a");
    // Signed together with the time, so that it cannot be played back.
    let at = asked.header("tagwall-timestamp").unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"KEY").unwrap();
    mac.update(format!("{at}.{}", asked.body).as_bytes());
    let digest: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .concat();
    assert_eq!(asked.header("tagwall-signature"), Some(format!("v1={digest}").as_str()));
    // Another life does not repeat it, and tells when it is over.
    until(|| state.path().join("notified.json").exists().then_some(())).await;
    drop(first);
    let second = notifier(state.path(), &webhook(&fake, ""));
    second.lasting(vec![held()]);
    second.lasting(vec![]);
    let asked = until(|| fake.asked("/hook").get(1).cloned()).await;
    let message: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(message["events"].as_array().unwrap().len(), 1, "{message}");
    assert_eq!(message["events"][0]["state"], "ended");
}

#[tokio::test]
async fn what_a_receiver_does_not_want_it_does_not_get() {
    let fake = Fake::start();
    fake.on("/hook", Reply::ok(""));
    let state = tempfile::tempdir().unwrap();
    let notifier = notifier(state.path(), &webhook(&fake, "events = [\"failed\"]"));
    notifier.tell(published(1));
    notifier.lasting(vec![held()]);
    notifier.tell(Event::new(EventKind::Failed, "target edge", "nft refused the rules\n\x1b[2J"));
    let asked = until(|| fake.asked("/hook").pop()).await;
    let message: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(message["events"].as_array().unwrap().len(), 1, "{message}");
    assert_eq!(message["events"][0]["summary"], "nft refused the rules\\n\\u{1b}[2J");
}

#[tokio::test]
async fn a_receiver_that_is_slow_or_gone_holds_up_nobody() {
    let fake = Fake::start();
    fake.on("/hook", Reply::ok("").sent(Body::Slow(vec![b'x'; 1000], 1, Duration::from_secs(1))));
    let state = tempfile::tempdir().unwrap();
    let socket = state.path().join("log");
    let log = UnixDatagram::bind(&socket).unwrap();
    log.set_read_timeout(Some(LONG)).unwrap();
    let text = format!(
        "[notify.slow]\ngather = \"0s\"\n{}\n[notify.log]\ngather = \"0s\"\n[notify.log.syslog]\nto = \"{}\"\n",
        webhook(&fake, "").replace("notify.ops", "notify.slow"),
        socket.display()
    );
    let config =
        Config::parse(Path::new("test.toml"), text).unwrap_or_else(|error| panic!("{error}"));
    let notifier = Notifier::start(&config, state.path());
    // Far more than may wait: each call returns at once, what is too much is left out.
    for generation in 0..5000 {
        notifier.tell(published(generation));
    }
    let lines = tokio::task::spawn_blocking(move || {
        let mut buffer = [0; 4096];
        let length = log.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    });
    assert!(lines.await.unwrap().contains("generation 0"));
}

#[tokio::test]
async fn a_server_that_fails_is_tried_again() {
    let fake = Fake::start();
    let count = std::sync::atomic::AtomicUsize::new(0);
    fake.on_each("/hook", move |_| {
        let first = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        Reply::new(if first { 503 } else { 204 }, "")
    });
    let state = tempfile::tempdir().unwrap();
    let notifier = notifier(state.path(), &webhook(&fake, ""));
    notifier.tell(published(1));
    let asked = until(|| Some(fake.asked("/hook")).filter(|asked| asked.len() == 2)).await;
    assert_eq!(asked[0].body, asked[1].body, "it is another message");
}

#[tokio::test]
async fn a_command_reads_json_without_a_shell() {
    let state = tempfile::tempdir().unwrap();
    let out: PathBuf = state.path().join("told $(id).json");
    let notifier = notifier(
        state.path(),
        &format!("[notify.ops.command]\nrun = [\"/usr/bin/tee\", \"{}\"]\n", out.display()),
    );
    notifier.tell(published(3));
    let text =
        until(|| std::fs::read_to_string(&out).ok().filter(|text| text.ends_with('\n'))).await;
    let message: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(message["events"][0]["subject"], "generation 3");
}

#[tokio::test]
async fn log_lines_are_of_rfc_5424() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("log");
    let local = UnixDatagram::bind(&path).unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let places = [
        path.display().to_string(),
        format!("udp://localhost:{}", udp.local_addr().unwrap().port()),
        format!("tcp://127.0.0.1:{}", tcp.local_addr().unwrap().port()),
    ];
    local.set_read_timeout(Some(LONG)).unwrap();
    udp.set_read_timeout(Some(LONG)).unwrap();
    let reading = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        let mut lines = Vec::new();
        let length = local.recv(&mut buffer).unwrap();
        lines.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        let length = udp.recv(&mut buffer).unwrap();
        lines.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        let mut framed = String::new();
        tcp.accept().unwrap().0.read_to_string(&mut framed).unwrap();
        let (length, line) = framed.split_once(' ').unwrap();
        assert_eq!(length.parse::<usize>().unwrap(), line.len());
        lines.push(line.to_owned());
        lines
    });
    let started: Vec<Notifier> = places
        .iter()
        .map(|place| {
            notifier(
                state.path(),
                &format!("[notify.ops.syslog]\nto = \"{place}\"\nfacility = 16\n"),
            )
        })
        .collect();
    for notifier in &started {
        notifier.tell(Event::new(EventKind::Failed, "feed microsoft", "out of reach for 1 day"));
    }
    let lines = tokio::task::spawn_blocking(move || reading.join().unwrap()).await.unwrap();
    for line in lines {
        // local0.err, version 1
        assert!(line.starts_with("<131>1 20"), "{line}");
        let fields: Vec<&str> = line.splitn(8, ' ').collect();
        assert!(fields[1].ends_with('Z') && fields[1].contains('.'), "{line}");
        assert_eq!((fields[3], fields[5], fields[6]), ("tagwall", "failed", "-"), "{line}");
        assert_eq!(fields[7], "\u{feff}failed: feed microsoft: out of reach for 1 day", "{line}");
    }
}

/// A mail server that takes one letter; gives what was said to it before and after TLS began.
fn mail_server(tls: Arc<ServerConfig>, starttls: bool) -> (u16, mpsc::Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            stream.set_read_timeout(Some(LONG)).unwrap();
            let mut plain = String::new();
            if starttls && !greet(&stream, &mut plain) {
                continue;
            }
            let connection = ServerConnection::new(Arc::clone(&tls)).unwrap();
            let mut secure = StreamOwned::new(connection, stream);
            let mut said = String::new();
            // Who looks only whether somebody listens says nothing.
            if converse(&mut secure, !starttls, &mut said).is_ok() && !said.is_empty() {
                _ = sender.send((plain, said));
            }
        }
    });
    (port, receiver)
}

/// The part before STARTTLS; false when the client went away.
fn greet(mut stream: &TcpStream, said: &mut String) -> bool {
    _ = stream.write_all(b"220 mail.example ESMTP\r\n");
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut line = String::new();
        if !matches!(reader.read_line(&mut line), Ok(1..)) {
            return false;
        }
        said.push_str(&line);
        if line.starts_with("EHLO") {
            _ = stream.write_all(b"250-mail.example\r\n250 STARTTLS\r\n");
        } else if line.starts_with("STARTTLS") {
            _ = stream.write_all(b"220 go ahead\r\n");
            return true;
        } else {
            _ = stream.write_all(b"530 STARTTLS first\r\n");
        }
    }
}

fn converse(
    stream: &mut (impl Read + Write),
    greeting: bool,
    said: &mut String,
) -> std::io::Result<()> {
    if greeting {
        stream.write_all(b"220 mail.example ESMTP\r\n")?;
        stream.flush()?;
    }
    let mut data = false;
    loop {
        let mut line = String::new();
        while !line.ends_with('\n') {
            let mut byte = [0];
            if stream.read(&mut byte)? == 0 {
                return Ok(());
            }
            line.push(char::from(byte[0]));
        }
        said.push_str(&line);
        let answer: &[u8] = match line.split_whitespace().next().unwrap_or_default() {
            "." if data => {
                data = false;
                b"250 taken\r\n"
            }
            _ if data => continue,
            "EHLO" => b"250-mail.example\r\n250 AUTH PLAIN\r\n",
            "AUTH" => b"235 welcome\r\n",
            "DATA" => {
                data = true;
                b"354 go on\r\n"
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n")?;
                return stream.flush();
            }
            _ => b"250 ok\r\n",
        };
        stream.write_all(answer)?;
        stream.flush()?;
        if said.ends_with("\r\n.\r\n") {
            return Ok(());
        }
    }
}

fn server_settings(authority: &Authority, expired: bool) -> Arc<ServerConfig> {
    let (certificate, key) = authority.issue(&["localhost"], expired);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    Arc::new(
        builder
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap(),
    )
}

#[tokio::test]
async fn mail_goes_over_tls_or_not_at_all() {
    let fake = Fake::start();
    let password = fake.file("password", "PASSWORD\n");
    for (encryption, starttls) in [("tls", false), ("starttls", true)] {
        let (port, letters) = mail_server(server_settings(&fake.authority, false), starttls);
        let state = tempfile::tempdir().unwrap();
        let notifier = notifier(
            state.path(),
            &format!(
                "[notify.ops.mail]\nserver = \"localhost\"\nport = {port}\nencryption = \"{encryption}\"\nuser = \"me\"\n\
                 password-file = \"{}\"\nfrom = \"tagwall <tagwall@example.com>\"\nto = [\"ops@example.com\", \"noc@example.com\"]\n\
                 [notify.ops.connection]\nca-file = \"{}\"\n",
                password.display(),
                fake.ca_file().display()
            ),
        );
        notifier.lasting(vec![held()]);
        let (plain, secure) =
            tokio::task::spawn_blocking(move || letters.recv_timeout(LONG).unwrap()).await.unwrap();
        assert!(!plain.contains("AUTH") && !plain.contains("MAIL"), "{plain}");
        // \0me\0PASSWORD
        assert!(secure.contains("AUTH PLAIN AG1lAFBBU1NXT1JE"), "{secure}");
        assert!(secure.contains("RCPT TO:<noc@example.com>"), "{secure}");
        assert!(secure.contains("Subject: tagwall "), "{secure}");
        assert!(secure.contains("hold 3f2a"), "{secure}");
    }
    // A server that cannot prove itself gets neither password nor letter.
    let (port, letters) = mail_server(server_settings(&fake.authority, true), true);
    let state = tempfile::tempdir().unwrap();
    let notifier = notifier(
        state.path(),
        &format!(
            "[notify.ops.mail]\nserver = \"localhost\"\nport = {port}\nfrom = \"tagwall@example.com\"\nto = [\"ops@example.com\"]\n\
             [notify.ops.connection]\nca-file = \"{}\"\n",
            fake.ca_file().display()
        ),
    );
    notifier.tell(published(1));
    let heard = tokio::task::spawn_blocking(move || letters.recv_timeout(Duration::from_secs(3)));
    assert!(heard.await.unwrap().is_err(), "a letter went to a server with an expired certificate");
}
