//! Clients over TLS while the agent publishes without a pause: each body whole, of one generation, and with its own tag.
#![allow(clippy::print_stderr, reason = "how much was seen is said")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;

use super::place;
use crate::common::running::Agent;

/// Two lists, all of whose prefixes differ between two configurations; long enough that a body takes many packets.
fn alternating(second: usize) -> String {
    let prefixes = |from: usize| -> String {
        // Every other /28, so that none of them are aggregated.
        let one = |index: usize| {
            format!("\"198.{}.{}.{}/28\",", 18 + second, from + index / 8, index % 8 * 32)
        };
        (0..1_000).map(one).collect::<Vec<_>>().concat()
    };
    format!(
        "[groups.one]\nprefixes = [{}]\n[groups.two]\nprefixes = [{}]\n[targets.edge.list]\n[publish]\ngenerations = 3\ndays = 0\n",
        prefixes(0),
        prefixes(125)
    )
}

/// A certificate of its own for loopback.
fn certify(folder: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    fs::write(folder.join("server.pem"), certificate.pem()).unwrap();
    fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
    let secret = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(folder.join("server.key"), secret).unwrap();
}

/// The entity tag of these bytes.
fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", tagwall::snapshot::Digest::of(bytes))
}

/// What clients have to be given: for each path, the two bodies that it ever has.
type Known = BTreeMap<String, [Vec<u8>; 2]>;

/// Which of the two a body is.
fn side(known: &Known, path: &str, body: &[u8], tag: &str) -> usize {
    // Of what was compressed on the way, the tag says so.
    let plain = tag.replace("-gzip\"", "\"");
    assert_eq!(plain, etag(body), "{path}: the tag is not that of the bytes");
    let side = known[path].iter().position(|known| known == body);
    side.unwrap_or_else(|| panic!("{path}: {} bytes that never were in force", body.len()))
}

/// Fetches over one connection, every other time only what has changed; gives how often it saw each side.
async fn follow(
    client: reqwest::Client,
    base: String,
    known: &Known,
    done: &AtomicBool,
) -> [usize; 2] {
    let mut seen = [0; 2];
    let mut held = BTreeMap::new();
    let mut turn = 0_usize;
    while !done.load(Ordering::Relaxed) {
        for path in known.keys() {
            turn += 1;
            let mut request = client.get(format!("{base}{path}"));
            let tag = held.get(path).filter(|_| turn.is_multiple_of(2)).cloned();
            if let Some(tag) = &tag {
                request = request.header("if-none-match", tag);
            }
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            let now = answer.headers()["etag"].to_str().unwrap().to_owned();
            let body = answer.bytes().await.unwrap();
            if status == 304 {
                assert_eq!((Some(now), body.len()), (tag, 0));
                continue;
            }
            assert_eq!(status, 200);
            seen[side(known, path, &body, &now)] += 1;
            held.insert(path.clone(), now);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    seen
}

/// The same with curl, a connection for each.
fn curl(folder: &Path, name: &str, base: &str, known: &Known, done: &AtomicBool) -> [usize; 2] {
    let mut seen = [0; 2];
    while !done.load(Ordering::Relaxed) {
        for path in known.keys() {
            let [head, body] = ["head", "body"].map(|part| folder.join(format!("{name}.{part}")));
            let output = Command::new("curl")
                .args(["--silent", "--show-error", "--fail", "--max-time", "60", "--cacert"])
                .arg(folder.join("server.pem"))
                .arg("--dump-header")
                .arg(&head)
                .arg("--output")
                .arg(&body)
                .arg(format!("{base}{path}"))
                .output()
                .unwrap();
            assert!(output.status.success(), "{path}: {output:?}");
            let head = fs::read_to_string(&head).unwrap().to_lowercase();
            let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
            seen[side(known, path, &fs::read(&body).unwrap(), &tag)] += 1;
        }
        sleep(Duration::from_millis(100));
    }
    seen
}

#[test]
fn ten_clients_of_an_agent_that_publishes_without_a_pause_never_get_a_mixture() {
    /// Publications that they watch.
    const PUBLICATIONS: u64 = 200;
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("skipped: curl is not installed");
        return;
    }
    let serve = "[serve]\nlisten = [\"127.0.0.1:0\"]\n[serve.tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n";
    let configs = [0, 1].map(|second| alternating(second) + serve);
    let mut agent = Agent::new(&configs[0]);
    certify(agent.folder.path());
    agent.launch();
    let base = format!("https://{}/lists/edge/", place(&agent));
    let publish = |number: u64| {
        agent.configure(&configs[usize::from(number.is_multiple_of(2))]);
        agent.signal(Signal::HUP);
        agent.until_generation(number);
    };
    let lists = || {
        ["one.txt", "two.txt"]
            .map(|name| fs::read(agent.path("state/current/edge").join(name)).unwrap())
    };
    let first = lists();
    publish(2);
    let second = lists();
    let mut known = Known::new();
    for (index, name) in ["one.txt", "two.txt"].into_iter().enumerate() {
        let both = [first[index].clone(), second[index].clone()];
        assert!(both[0] != both[1] && both.iter().all(|body| body.len() > 15_000));
        known.insert(name.to_owned(), both);
    }
    let known = &known;
    let done = AtomicBool::new(false);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    _ = rustls::crypto::ring::default_provider().install_default();
    let pem = fs::read(agent.path("server.pem")).unwrap();
    let seen: Vec<[usize; 2]> = std::thread::scope(|scope| {
        let mut clients = Vec::new();
        for index in 0..4 {
            let (name, folder) = (format!("curl-{index}"), agent.folder.path());
            let (base, done) = (&base, &done);
            clients.push(scope.spawn(move || curl(folder, &name, base, known, done)));
        }
        for _ in 0..6 {
            let root = reqwest::Certificate::from_pem(&pem).unwrap();
            let client =
                reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().unwrap();
            let (base, done, runtime) = (base.clone(), &done, &runtime);
            clients.push(scope.spawn(move || runtime.block_on(follow(client, base, known, done))));
        }
        // Whatever goes wrong here must not leave the clients running.
        let published = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for number in 3..PUBLICATIONS + 3 {
                publish(number);
                assert!(clients.iter().all(|client| !client.is_finished()), "a client has ended");
            }
        }));
        done.store(true, Ordering::Relaxed);
        let seen = clients.into_iter().map(|client| client.join().unwrap()).collect();
        published.unwrap();
        seen
    });
    eprintln!(
        "{PUBLICATIONS} publications: each of ten clients saw the two sides so often: {seen:?}"
    );
    assert!((0..2).all(|side| seen.iter().any(|seen| seen[side] > 0)), "{seen:?}");
    agent.stop();
    assert!(!agent.log().contains("panic"), "{}", agent.log());
}
