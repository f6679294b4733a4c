//! Lists and documents: bytes, tags, conditions, encodings, and one generation at a time.
#![allow(
    clippy::assigning_clones,
    clippy::format_collect,
    reason = "a test is read, not run often"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::{SignedDuration, Timestamp};
use tagwall::serve::{Content, Document, View};
use tagwall::snapshot::{Cloud, Digest};

use crate::support::*;

const TEXT: &str = "192.0.2.0/24\n2001:db8::/32\n";

#[test]
fn lists_are_served_and_nothing_else_is() {
    let house = House::open("");
    house.show(&lists(1, &[("fw", "a.txt", TEXT)]));
    let answer = house.get("/lists/fw/a.txt", &[]);
    assert_eq!((answer.status, answer.text().as_str()), (200, TEXT));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("etag"), Some(etag(TEXT.as_bytes()).as_str()));
    for missing in
        ["/lists/fw/b.txt", "/lists/a.txt", "/lists/", "/lists", "/lists/FW/a.txt", "/etc/passwd"]
    {
        assert_eq!(house.get(missing, &[]).status, 404, "{missing}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"] {
        let answer = house.send(method, "/lists/fw/a.txt", &[]);
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
}

#[test]
fn without_a_generation_a_firewall_is_told_to_come_again() {
    let house = House::open("");
    let answer = house.get("/lists/fw/a.txt", &[]);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("30")));
    assert_eq!(house.get("/readyz", &[]).status, 503);
    assert_eq!(house.get("/healthz", &[]).status, 200);
    house.show(&lists(1, &[]));
    assert_eq!(house.get("/readyz", &[]).status, 200);
    assert_eq!(house.get("/lists/fw/a.txt", &[]).status, 404);
}

#[test]
fn a_firewall_that_has_the_list_is_not_sent_it_again() {
    let house = House::open("");
    let since = Timestamp::now() - SignedDuration::from_hours(1);
    house.show(&lists_since(1, &[("fw", "a.txt", TEXT)], since, None));
    // As PAN-OS does: HEAD first, then GET; and as FortiOS does: GET with a condition.
    let head = house.send("HEAD", "/lists/fw/a.txt", &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some(TEXT.len().to_string().as_str()));
    let whole = house.get("/lists/fw/a.txt", &[]);
    assert_eq!(whole.header("etag"), head.header("etag"));
    let modified = whole.header("last-modified").unwrap().to_owned();
    let tag = whole.header("etag").unwrap();
    for condition in [("if-none-match", tag), ("if-modified-since", modified.as_str())] {
        let answer = house.get("/lists/fw/a.txt", &[condition]);
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{condition:?}");
        assert_eq!(answer.header("etag"), Some(tag));
    }
    // The list goes back to what it was before: whoever has the newer one must get the older one.
    let before = since - SignedDuration::from_hours(24);
    house.show(&lists_since(2, &[("fw", "a.txt", "198.51.100.0/24\n")], before, None));
    for condition in [("if-none-match", tag), ("if-modified-since", modified.as_str())] {
        assert_eq!(house.get("/lists/fw/a.txt", &[condition]).status, 200, "{condition:?}");
    }
    let part = house.get("/lists/fw/a.txt", &[("range", "bytes=0-6")]);
    assert_eq!((part.status, part.text().as_str()), (206, "198.51."));
    assert_eq!(part.header("content-range"), Some("bytes 0-6/16"));
    let beyond = house.get("/lists/fw/a.txt", &[("range", "bytes=16-")]);
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */16")));
}

#[test]
fn a_list_keeps_its_time_as_long_as_it_keeps_its_bytes() {
    let house = House::open("");
    let old = Timestamp::now() - SignedDuration::from_hours(48);
    let first = lists_since(1, &[("fw", "a.txt", TEXT), ("fw", "b.txt", TEXT)], old, None);
    house.show(&first);
    let before = house.get("/lists/fw/a.txt", &[]).header("last-modified").unwrap().to_owned();
    let now = Timestamp::now() - SignedDuration::from_secs(5);
    let files = [("fw", "a.txt", TEXT), ("fw", "b.txt", "203.0.113.0/24\n")];
    house.show(&lists_since(2, &files, now, first.lists.as_deref()));
    let time = |path| house.get(path, &[]).header("last-modified").unwrap().to_owned();
    assert_eq!(time("/lists/fw/a.txt"), before);
    assert_ne!(time("/lists/fw/b.txt"), before);
}

#[test]
fn each_form_of_a_list_has_a_tag_of_its_own() {
    let house = House::open("");
    let text: String = (0..2_000).map(|n| format!("198.18.{}.{}/32\n", n / 250, n % 250)).collect();
    house.show(&lists(1, &[("fw", "a.txt", &text)]));
    let plain = house.get("/lists/fw/a.txt", &[]);
    let packed = house.get("/lists/fw/a.txt", &[("accept-encoding", "gzip")]);
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(packed.header("vary"), Some("accept-encoding"));
    assert_ne!(plain.header("etag"), packed.header("etag"));
    assert!(packed.body.len() * 3 < plain.body.len());
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, text.as_bytes());
    // Either form is the list: whoever has one is not sent the other.
    for tag in [plain.header("etag").unwrap(), packed.header("etag").unwrap()] {
        let headers = [("accept-encoding", "gzip"), ("if-none-match", tag)];
        let answer = house.get("/lists/fw/a.txt", &headers);
        assert_eq!((answer.status, answer.header("etag")), (304, Some(tag)));
    }
    // A part is one of the plain bytes.
    let headers = [("accept-encoding", "gzip"), ("range", "bytes=-12")];
    let part = house.get("/lists/fw/a.txt", &headers);
    assert_eq!((part.status, part.header("content-encoding")), (206, None));
    assert!(text.ends_with(&part.text()));
}

#[test]
fn documents_come_from_the_file_that_was_there() {
    let house = House::open("");
    let path = house.folder.path().join("archived");
    let first = vec![b'1'; 3_000_000];
    std::fs::File::create(&path).unwrap().write_all(&first).unwrap();
    let document = |content| {
        Arc::new(Document {
            content: Arc::new(content),
            name: "ServiceTags_Public_20250908.json".to_owned(),
            modified: Timestamp::now().into(),
            of: Digest::of(b""),
        })
    };
    let mut view = View::default();
    view.publications.insert(Cloud::Public, document(Content::of_file(&path).unwrap()));
    let spooled = Content::spooled(b"{\"believed\": 1}", house.folder.path()).unwrap();
    view.believed.insert(Cloud::Public, document(spooled));
    house.show(&view);
    std::fs::remove_file(&path).unwrap();
    let answer = house.get("/publications/public.json", &[]);
    assert_eq!(answer.status, 200);
    assert!(answer.body == first, "{} bytes", answer.body.len());
    assert_eq!(answer.header("etag"), Some(etag(&first).as_str()));
    assert_eq!(
        answer.header("content-disposition"),
        Some("inline; filename=\"ServiceTags_Public_20250908.json\"")
    );
    let part = house.get("/publications/public.json", &[("range", "bytes=100000-499999")]);
    assert_eq!((part.status, part.body.len()), (206, 400_000));
    assert_eq!(house.get("/believed/public.json", &[]).text(), "{\"believed\": 1}");
    assert_eq!(house.get("/publications/china.json", &[]).status, 404);
    assert_eq!(house.get("/publications/archived", &[]).status, 404);
}

/// Reads answers from one connection, one after the other.
fn next_answer(reader: &mut BufReader<TcpStream>) -> (String, Vec<u8>) {
    let (mut tag, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ") {
            match name {
                "etag" => tag = value.to_owned(),
                "content-length" => length = value.parse().unwrap(),
                _ => {}
            }
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (tag, body)
}

#[test]
fn ten_clients_never_see_a_mixture_while_generations_alternate() {
    let house = House::open("");
    let size = 5_000;
    let text = |generation: u64| format!("198.18.0.{generation}/32\n").repeat(size);
    let views: Vec<View> =
        (0..2).map(|g| lists(g, &[("fw", "a.txt", &text(g)), ("fw", "b.txt", &text(g))])).collect();
    house.show(&views[0]);
    let done = AtomicBool::new(false);
    let address = house.address();
    let seen: Vec<[usize; 2]> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..10)
            .map(|_| {
                let done = &done;
                scope.spawn(move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let mut seen = [0, 0];
                    while !done.load(Ordering::Relaxed) {
                        stream
                            .write_all(b"GET /lists/fw/a.txt HTTP/1.1\r\nhost: x\r\n\r\n")
                            .unwrap();
                        let (tag, body) = next_answer(&mut reader);
                        assert_eq!(tag, etag(&body), "the tag is not of these bytes");
                        let text = String::from_utf8(body).unwrap();
                        let first = text.lines().next().unwrap();
                        let generation = usize::from(first.ends_with("1/32"));
                        assert_eq!(text.lines().count(), size, "truncated");
                        assert!(text.lines().all(|line| line == first), "mixed");
                        seen[generation] += 1;
                    }
                    seen
                })
            })
            .collect();
        for round in 0..200 {
            house.show(&views[round % 2]);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        done.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(seen.iter().all(|seen| seen.iter().sum::<usize>() > 0), "{seen:?}");
    let both = seen.iter().fold([0, 0], |all, seen| [all[0] + seen[0], all[1] + seen[1]]);
    assert!(both[0] > 0 && both[1] > 0, "both generations were seen: {both:?}");
}

#[test]
fn the_server_knows_who_is_still_on_yesterdays_list() {
    let house = House::open("");
    house.show(&lists(7, &[("fw", "a.txt", TEXT), ("fw", "b.txt", "203.0.113.0/24\n")]));
    let agent = [("user-agent", "PAN-OS/11.1")];
    house.get("/lists/fw/a.txt", &agent);
    house.get("/lists/fw/b.txt", &agent);
    house.send("HEAD", "/lists/fw/b.txt", &[("user-agent", "a look is no fetch")]);
    house.get("/lists/fw/none.txt", &agent);
    house.show(&lists(8, &[("fw", "a.txt", TEXT), ("fw", "b.txt", "198.51.100.0/24\n")]));
    let clients = house.server.status().clients;
    let found: Vec<_> = clients
        .iter()
        .map(|client| {
            (client.list.as_str(), client.agent.as_str(), client.generation, client.current)
        })
        .collect();
    assert_eq!(
        found,
        [("fw/a.txt", "PAN-OS/11.1", 7, true), ("fw/b.txt", "PAN-OS/11.1", 7, false)]
    );
    house.get("/lists/fw/b.txt", &agent);
    assert!(house.server.status().clients.iter().all(|client| client.current));
}
