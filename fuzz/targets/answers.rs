//! Answers of the DNS, several in a row. Nothing special is ever taken, no bound is exceeded, and a name that had an
//! address keeps one.
#![no_main]

use std::time::Duration;

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use tagwall::config::{Dns, HostName};
use tagwall::names::{Book, Look, Reply, Said, fuzzing};
use tagwall::prefix::special::special_kind;

/// The name whose answers the seeds are.
const NAME: &str = "cdn.example.com";
/// Stands between two answers.
const BETWEEN: &[u8] = b"\n--\n";

fuzz_target!(|answers: &[u8]| {
    let Ok(name) = NAME.parse::<HostName>() else { return };
    let dns = Dns::default();
    let policy = dns.policy(&name);
    let mut now = Timestamp::UNIX_EPOCH;
    let mut book = Book::default();
    let resolvers = ["one".to_owned()].into();
    let _ = book.want(&[name.clone()].into(), &resolvers, &dns, now);
    for wire in parted(answers) {
        let had = book.addresses(now);
        let said = fuzzing::said(&name, wire).unwrap_or(Said::Nothing);
        let reply = Reply { resolver: "one".to_owned(), v4: said.clone(), v6: said };
        let look = Look { name: name.clone(), replies: vec![reply] };
        let _ = book.apply(&look, &policy, now, 0.5);
        let has = book.addresses(now);
        assert!(had.is_empty() || !has.is_empty(), "emptied");
        for (address, _) in book.entry(&name).into_iter().flat_map(|entry| entry.current(now)) {
            assert!(special_kind(address.into()).is_none(), "{address}");
        }
        let many = book.entry(&name).map_or(0, |entry| entry.current(now).count());
        assert!(many <= policy.max_addresses);
        // What is kept can be kept on disk.
        let written = book.write().unwrap_or_default();
        assert!(Book::read(&written).is_ok_and(|read| read.addresses(now) == has));
        now += Duration::from_secs(6 * 3600);
    }
});

fn parted(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some(place) = bytes.windows(BETWEEN.len()).position(|window| window == BETWEEN) {
        parts.push(&bytes[..place]);
        bytes = &bytes[place + BETWEEN.len()..];
    }
    parts.push(bytes);
    parts
}
