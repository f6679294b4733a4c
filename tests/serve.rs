//! The server as its clients see it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]

mod serve_support;

use serve_support::*;

#[test]
fn lists_are_served_and_nothing_else_is() {
    let house = House::open("");
    let text = "192.0.2.0/24\n2001:db8::/32\n";
    house.show(&lists(1, &[("fw", "a.txt", text)]));
    let answer = house.get("/lists/fw/a.txt", &[]);
    assert_eq!((answer.status, answer.text().as_str()), (200, text));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("etag"), Some(etag(text.as_bytes()).as_str()));
    for missing in ["/lists/fw/b.txt", "/lists/a.txt", "/lists/", "/lists/FW/a.txt", "/etc/passwd"]
    {
        assert_eq!(house.get(missing, &[]).status, 404, "{missing}");
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
