//! Who is answered, and what those are told who are not.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::support::*;

/// A password file as `htpasswd -B` writes it, or nothing (and a word about it) where that is not installed.
fn htpasswd(path: &Path, users: &[(&str, &str)]) -> bool {
    let mut text = Vec::new();
    for (name, password) in users {
        let Ok(output) = Command::new("htpasswd").args(["-nbB", name, password]).output() else {
            eprintln!("skipped: htpasswd is not installed");
            return false;
        };
        text.extend_from_slice(String::from_utf8(output.stdout).unwrap().trim().as_bytes());
        text.push(b'\n');
    }
    put_secret(path, &text);
    true
}

pub(crate) fn put_secret(path: &Path, bytes: &[u8]) {
    let fresh = path.with_extension("new");
    std::fs::File::create(&fresh).unwrap().write_all(bytes).unwrap();
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(fresh, path).unwrap();
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{name}:{password}")))
}

const USERS: &str = "[serve.access]\nusers = \"users\"";

#[test]
fn a_name_with_an_old_and_a_new_password_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let users = [("edge", "old"), ("edge", "new:with:colons"), ("scrape", "s")];
    if !htpasswd(&folder.path().join("users"), &users) {
        return;
    }
    let house = House::open_in(folder, USERS);
    house.show(&lists(1, &[("fw", "a.txt", "192.0.2.0/24\n")]));
    let status = |authorization: &str| {
        house.get("/lists/fw/a.txt", &[("authorization", authorization)]).status
    };
    for (name, password) in users {
        assert_eq!(status(&basic(name, password)), 200, "{name}");
    }
    let scheme = basic("edge", "old").replace("Basic", "bAsIc");
    assert_eq!(status(&scheme), 200);
    let long = "x".repeat(5_000);
    for (name, password) in
        [("edge", "older"), ("nobody", "old"), ("", ""), ("edge", long.as_str())]
    {
        assert_eq!(status(&basic(name, password)), 401, "{name}");
    }
    for nonsense in ["Basic", "Basic ", "Basic %%%", "Bearer x", "Basic ZWRnZQ=="] {
        assert_eq!(status(nonsense), 401, "{nonsense}");
    }
    let refused = house.get("/lists/fw/a.txt", &[]);
    let asks = refused.header("www-authenticate");
    assert_eq!((refused.status, asks), (401, Some("Basic realm=\"tagwall\", charset=\"UTF-8\"")));
    for (path, status) in [("/", 401), ("/metrics", 401), ("/status.json", 401), ("/healthz", 200)]
    {
        assert_eq!(house.get(path, &[]).status, status, "{path}");
    }
    let client = &house.server.status().clients[0];
    assert_eq!(client.user.as_deref(), Some("edge"));
}

#[test]
fn a_password_file_that_cannot_be_used_is_our_fault_and_not_the_clients() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open_in(folder, USERS);
    house.show(&lists(1, &[("fw", "a.txt", "192.0.2.0/24\n")]));
    let ask = || {
        let answer = house.get("/lists/fw/a.txt", &[("authorization", &basic("edge", "old"))]);
        (answer.status, answer.header("retry-after").is_some())
    };
    assert_eq!(ask(), (503, true), "there is no file");
    assert_eq!(house.get("/lists/fw/a.txt", &[]).status, 503, "nobody is asked for a password");
    assert!(house.get("/readyz", &[]).text().contains("users"), "the reason is told");
    assert_eq!(house.server.faults().len(), 1, "{:?}", house.server.faults());
    if !htpasswd(&house.folder.path().join("users"), &[("edge", "old")]) {
        return;
    }
    // The file is looked at again when a few seconds have passed.
    eventually("the file is taken", || ask() == (200, false));
    // A bad file leaves the one before in service.
    put_secret(&house.folder.path().join("users"), b"edge:$apr1$not$bcrypt\n");
    eventually("the fault is told", || {
        assert_eq!(ask(), (200, false), "the one before stays in service");
        !house.server.faults().is_empty()
    });
    let faults = house.server.faults();
    assert!(
        faults[0].contains("users, line 1: the password is not hashed with bcrypt"),
        "{faults:?}"
    );
    // A password that left the file is not good any more, though it was verified before.
    if htpasswd(&house.folder.path().join("users"), &[("edge", "new")]) {
        eventually("the old password is refused", || ask().0 == 401);
    }
}

#[test]
fn a_flood_of_wrong_passwords_is_answered_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let hash = bcrypt::hash("right", 9).unwrap();
    put_secret(&folder.path().join("users"), format!("edge:{hash}\n").as_bytes());
    let house = House::open_in(folder, USERS);
    house.show(&lists(1, &[("fw", "a.txt", "192.0.2.0/24\n")]));
    let status = |password: &str| {
        house.get("/lists/fw/a.txt", &[("authorization", &basic("edge", password))]).status
    };
    assert_eq!(status("right"), 200);
    let codes: Vec<u16> = std::thread::scope(|scope| {
        let status = &status;
        let flood: Vec<_> =
            (0..60).map(|n| scope.spawn(move || status(&format!("wrong {n}")))).collect();
        // Whoever was verified before does not wait for the others.
        assert_eq!(status("right"), 200);
        flood.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(codes.iter().all(|code| matches!(code, 401 | 503)), "{codes:?}");
    assert!(
        codes.contains(&401) && codes.contains(&503),
        "some had no place in the queue: {codes:?}"
    );
}

#[test]
fn a_unix_socket_is_for_proxies_of_this_host() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("http.sock");
    let house = House::open_in(folder, "socket = \"http.sock\"");
    house.show(&lists(1, &[("fw", "a.txt", "192.0.2.0/24\n")]));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--unix-socket", path.to_str().unwrap(), "http://x/lists/fw/a.txt"]);
    let Ok(output) = curl.output() else {
        eprintln!("skipped: curl is not installed");
        return;
    };
    assert_eq!(output.stdout, b"192.0.2.0/24\n");
    assert_eq!(house.server.status().clients[0].address, "unix");
}

#[test]
fn clients_of_other_networks_hear_nothing() {
    let Some(own) = own_address() else {
        eprintln!("skipped: this host has no address but loopback");
        return;
    };
    let listen = |networks: &str| {
        format!("networks = [{networks}]\nplain-http = \"anywhere\"\n[serve.access]\n")
    };
    let other = if own.to_string().starts_with("192.0.2.") { "203.0.113.0" } else { "192.0.2.0" };
    for (networks, answered) in [(format!("\"{other}/24\""), false), (format!("\"{own}\""), true)] {
        let house = House::open_at(&format!("{own}:0"), &listen(&networks));
        house.show(&lists(1, &[]));
        let answer = house.raw(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        assert_eq!(!answer.is_empty(), answered, "{networks}");
    }
}
