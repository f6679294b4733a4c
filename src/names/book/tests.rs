#![allow(clippy::similar_names, reason = "change and changes")]

use std::collections::BTreeMap;

use super::*;
use crate::config::Period;
use crate::prefix::PrefixSet;

fn start() -> Timestamp {
    "2025-09-08T12:00:00Z".parse().unwrap()
}

fn after(seconds: u64) -> Timestamp {
    schedule::later(start(), Duration::from_secs(seconds))
}

fn name() -> HostName {
    "cdn.example.com".parse().unwrap()
}

/// Documentation ranges are special space: a test's names may have addresses there.
fn dns() -> Dns {
    toml::from_str(
        "[names.\"cdn.example.com\"]\nallow-special = [\"198.51.100.0/24\", \"203.0.113.0/24\", \"2001:db8::/32\"]",
    )
    .unwrap()
}

fn policy() -> DnsPolicy {
    dns().policy(&name())
}

fn book() -> Book {
    let mut book = Book::default();
    let wanted = [name()].into();
    assert!(
        book.want(&wanted, &["one", "two"].map(str::to_owned).into(), &dns(), start()).is_empty()
    );
    book
}

fn said(texts: &[&str], ttl: u32) -> Said {
    if texts.is_empty() {
        return Said::Nothing;
    }
    let addresses = texts.iter().map(|text| text.parse().unwrap()).collect();
    Said::Addresses { addresses, ttl, aliases: vec!["edge.example.net".to_owned()] }
}

fn reply(resolver: &str, v4: Said, v6: Said) -> Reply {
    Reply { resolver: resolver.to_owned(), v4, v6 }
}

fn answered(v4: &[&str], v6: &[&str]) -> Look {
    Look { name: name(), replies: vec![reply("one", said(v4, 60), said(v6, 60))] }
}

fn failed(said: Said) -> Look {
    Look { name: name(), replies: vec![reply("one", said.clone(), said)] }
}

fn apply(book: &mut Book, look: &Look, now: Timestamp) -> Changed {
    book.apply(look, &policy(), now, 0.5)
}

fn addresses(book: &Book, now: Timestamp) -> Vec<String> {
    let listed: Vec<IpAddr> =
        book.entry(&name()).unwrap().current(now).map(|known| known.0).collect();
    let set: PrefixSet = listed.iter().copied().map(IpNet::from).collect();
    assert_eq!(book.addresses(now).get(&name()).cloned().unwrap_or_default(), set);
    listed.iter().map(ToString::to_string).collect()
}

#[test]
fn an_answer_brings_addresses_and_the_next_look() {
    let mut book = book();
    assert_eq!(book.take_due(start(), Duration::ZERO), [name()]);
    let look = answered(&["198.51.100.7", "198.51.100.8"], &["2001:db8::7"]);
    let changed = apply(&mut book, &look, start());
    assert!(changed.addresses);
    let all = ["198.51.100.7", "198.51.100.8", "2001:db8::7"].map(|text| text.parse().unwrap());
    assert_eq!(changed.news, [News::Appeared(name(), all.to_vec())]);
    assert_eq!(addresses(&book, start()), ["198.51.100.7", "198.51.100.8", "2001:db8::7"]);
    let entry = book.entry(&name()).unwrap();
    assert_eq!((entry.ttl, entry.answered), (Some(60), Some(start())));
    assert_eq!(entry.aliases, ["edge.example.net"]);
    assert!(entry.due > after(53) && entry.due < after(60));
    assert!(book.take_due(after(50), Duration::ZERO).is_empty());
    assert!(apply(&mut book, &look, after(57)).is_empty(), "the same again is no change");
    assert_eq!(book.entry(&name()).unwrap().addresses[&all[0]].first, start());
    assert_eq!(book.entry(&name()).unwrap().addresses[&all[0]].last, after(57));
}

#[test]
fn an_address_that_has_gone_stays_for_its_grace_period_and_comes_back_without_a_change() {
    let mut book = book();
    _ = apply(&mut book, &answered(&["198.51.100.7"], &[]), start());
    assert!(apply(&mut book, &answered(&["198.51.100.8"], &[]), after(60)).addresses);
    assert_eq!(addresses(&book, after(60)).len(), 2);
    let grace = 86_400;
    assert_eq!(addresses(&book, after(60 + grace - 1)).len(), 2);
    let back = answered(&["198.51.100.7", "198.51.100.8"], &[]);
    assert!(apply(&mut book, &back, after(120)).is_empty());
    _ = apply(&mut book, &answered(&["198.51.100.8"], &[]), after(180));
    assert_eq!(addresses(&book, after(180 + grace - 1)).len(), 2, "its grace began anew");
    let leaves = book.entry(&name()).unwrap().next_leave().unwrap();
    assert!(leaves >= after(180 + grace) && leaves <= after(180 + grace + 900));
    assert!(book.next_due().unwrap() < leaves, "until then there are looks");
    let changed = book.release(leaves);
    assert_eq!(changed.news, [News::Left(name(), vec!["198.51.100.7".parse().unwrap()])]);
    assert_eq!(addresses(&book, leaves), ["198.51.100.8"]);
}

#[test]
fn nothing_that_a_resolver_says_empties_a_name() {
    let failures = [
        Said::Nothing,
        Said::NoSuchName,
        Said::Failed("answered SERVFAIL".to_owned()),
        Said::Addresses {
            addresses: vec!["127.0.0.1".parse().unwrap(), "10.0.0.1".parse().unwrap()],
            ttl: 1,
            aliases: Vec::new(),
        },
    ];
    for failure in failures {
        let mut book = book();
        _ = apply(&mut book, &answered(&["198.51.100.7"], &["2001:db8::7"]), start());
        let changed = apply(&mut book, &failed(failure.clone()), after(60));
        assert!(!changed.addresses, "{failure:?}");
        assert!(matches!(changed.news[0], News::Failing(..)), "{failure:?}: {changed:?}");
        let mut now = after(60);
        for _ in 0..400 {
            now = book.next_due().unwrap();
            let again = apply(&mut book, &failed(failure.clone()), now);
            assert!(again.is_empty(), "it is said once: {again:?}");
            assert!(book.release(now).is_empty());
        }
        assert!(now > after(3 * 86_400), "days later");
        assert_eq!(addresses(&book, now).len(), 2, "{failure:?}");
        let changed = apply(&mut book, &answered(&["198.51.100.7"], &["2001:db8::7"]), now);
        assert_eq!(changed.news, [News::Recovered(name())]);
        assert!(!changed.addresses);
    }
}

#[test]
fn a_family_that_fails_keeps_its_addresses_while_the_other_is_answered() {
    let mut book = book();
    _ = apply(&mut book, &answered(&["198.51.100.7"], &["2001:db8::7"]), start());
    let broken = reply("one", said(&["198.51.100.7"], 60), Said::Failed("timeout".to_owned()));
    let look = Look { name: name(), replies: vec![broken] };
    for minute in 1..3_000 {
        assert!(apply(&mut book, &look, after(60 * minute)).is_empty());
    }
    assert_eq!(addresses(&book, after(180_000)).len(), 2);
    assert_eq!(book.entry(&name()).unwrap().troubles["one"], "timeout");
    // A family that is answered with nothing has gone, slowly.
    _ = apply(&mut book, &answered(&["198.51.100.7"], &[]), after(180_000));
    assert_eq!(addresses(&book, after(180_000 + 86_399)).len(), 2);
    assert_eq!(addresses(&book, after(180_000 + 86_400 + 900)), ["198.51.100.7"]);
}

#[test]
fn several_resolvers_are_united_and_one_that_is_silent_takes_nothing_away() {
    let mut book = book();
    let views = |one: Said, two: Said| Look {
        name: name(),
        replies: vec![reply("one", one, Said::Nothing), reply("two", two, Said::Nothing)],
    };
    let both = views(said(&["198.51.100.1"], 60), said(&["198.51.100.2"], 300));
    _ = apply(&mut book, &both, start());
    assert_eq!(addresses(&book, start()).len(), 2);
    assert_eq!(book.entry(&name()).unwrap().ttl, Some(60), "the shortest counts");
    let half = views(said(&["198.51.100.1"], 60), Said::Failed("timeout".to_owned()));
    for minute in 1..3_000 {
        _ = apply(&mut book, &half, after(60 * minute));
        _ = book.release(after(60 * minute));
    }
    assert_eq!(addresses(&book, after(180_000)).len(), 2, "what only the silent one gave stays");
    let moved = views(said(&["198.51.100.1"], 60), said(&["198.51.100.3"], 60));
    _ = apply(&mut book, &moved, after(180_000));
    assert_eq!(addresses(&book, after(180_000)).len(), 3);
    assert_eq!(addresses(&book, after(180_000 + 87_300)).len(), 2);
    // A resolver that is asked no more has no say, and its addresses their grace.
    let changed = book.want(&[name()].into(), &["one".to_owned()].into(), &dns(), after(200_000));
    assert!(changed.is_empty());
    assert_eq!(addresses(&book, after(200_000)).len(), 3);
    assert_eq!(addresses(&book, after(200_000 + 87_300)), ["198.51.100.1"]);
}

#[test]
fn special_addresses_are_refused_and_said_once() {
    let mut book = book();
    let look = answered(&["198.51.100.7", "10.1.2.3", "169.254.169.254"], &["::1", "fe80::1"]);
    let changed = apply(&mut book, &look, start());
    assert_eq!(addresses(&book, start()), ["198.51.100.7"]);
    let refused: BTreeMap<String, String> = changed
        .news
        .iter()
        .filter_map(|news| match news {
            News::Refused(_, address, reason) => Some((address.to_string(), reason.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(refused.len(), 4, "{refused:?}");
    assert_eq!(refused["10.1.2.3"], "private use");
    assert_eq!(refused["::1"], "loopback");
    assert!(apply(&mut book, &look, after(60)).is_empty());
    assert_eq!(book.entry(&name()).unwrap().refused.len(), 4);
}

#[test]
fn too_many_addresses_push_out_those_that_went_first_and_never_those_answered_now() {
    let mut book = book();
    let policy = DnsPolicy { max_addresses: 4, ..policy() };
    let mut apply = |texts: &[&str], now| book.apply(&answered(texts, &[]), &policy, now, 0.5);
    _ = apply(&["198.51.100.1", "198.51.100.2"], start());
    _ = apply(&["198.51.100.3"], after(2_000));
    _ = apply(&["198.51.100.4"], after(4_000));
    let changed = apply(&["198.51.100.5", "198.51.100.6"], after(6_000));
    let crowded = vec!["198.51.100.1".parse().unwrap(), "198.51.100.2".parse().unwrap()];
    assert!(changed.news.contains(&News::Crowded(name(), crowded)), "{changed:?}");
    let many: Vec<String> = (10..30).map(|last| format!("203.0.113.{last}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let changed = apply(&many, after(8_000));
    let refused = |news: &&News| matches!(news, News::Refused(_, _, reason) if reason.contains("more than 4"));
    assert_eq!(changed.news.iter().filter(refused).count(), MOST_REFUSED);
    let kept = ["203.0.113.10", "203.0.113.11", "203.0.113.12", "203.0.113.13"];
    assert_eq!(addresses(&book, after(8_000)), kept.map(str::to_owned).to_vec(), "{changed:?}");
    let again = book.apply(&answered(&many, &[]), &policy, after(8_060), 0.5);
    assert!(!again.addresses, "the same ones are kept: {again:?}");
}

#[test]
fn names_come_and_go_with_the_configuration() {
    let mut book = book();
    _ = apply(&mut book, &answered(&["198.51.100.7"], &[]), start());
    let other: HostName = "other.example.com".parse().unwrap();
    let changed = book.want(&[other.clone()].into(), &BTreeSet::new(), &dns(), after(10));
    assert!(changed.addresses, "what is forgotten leaves the rules");
    assert!(book.addresses(after(10)).is_empty());
    assert_eq!(book.take_due(after(10), Duration::ZERO), [other]);
    assert!(apply(&mut book, &answered(&["198.51.100.7"], &[]), after(11)).is_empty());
    // The permission for special space may be withdrawn.
    let mut book = self::book();
    _ = apply(&mut book, &answered(&["198.51.100.7"], &[]), start());
    assert!(book.want(&[name()].into(), &BTreeSet::new(), &Dns::default(), after(10)).addresses);
    assert!(book.addresses(after(10)).is_empty());
}

#[test]
fn a_book_comes_back_from_its_file() {
    let mut book = book();
    _ = apply(&mut book, &answered(&["198.51.100.7", "10.0.0.1"], &["2001:db8::7"]), start());
    _ = apply(&mut book, &answered(&["198.51.100.8"], &[]), after(60));
    _ = apply(&mut book, &failed(Said::NoSuchName), after(120));
    let bytes = book.write().unwrap();
    assert_eq!(Book::read(&bytes).unwrap(), book);
    let text = String::from_utf8(bytes).unwrap();
    for (from, to) in [
        ("tagwall-names/1", "tagwall-names/2"),
        ("cdn.example.com", "cdn..example.com"),
        ("198.51.100.7", "198.51.100.777"),
        ("\"failures\"", "\"faults\""),
    ] {
        assert!(text.contains(from), "{from}");
        assert!(Book::read(text.replace(from, to).as_bytes()).is_err(), "{to}");
    }
}

#[test]
fn a_clock_that_was_wrong_silences_no_name() {
    let mut book = book();
    let wrong = schedule::later(start(), Duration::from_secs(10 * 365 * 86_400));
    _ = apply(&mut book, &answered(&["198.51.100.7"], &[]), wrong);
    assert_eq!(book.take_due(start(), Duration::ZERO), [name()]);
}

/// A content network for a day: 200 addresses of which each answer holds 8, drawn anew every 30 s.
#[test]
fn a_day_of_a_rotating_name_costs_few_changes_and_interrupts_nothing() {
    let mut random = fastrand::Rng::with_seed(7);
    let pool: Vec<String> = (0..100)
        .flat_map(|last| [format!("198.51.100.{last}"), format!("203.0.113.{last}")])
        .collect();
    let mut book = book();
    let (mut now, end) = (start(), after(2 * 86_400));
    let grace = Duration::from(Period::days(1));
    let mut last_seen: BTreeMap<IpAddr, Timestamp> = BTreeMap::new();
    let (mut looks, mut first_day, mut second_day) = (0, 0, 0);
    while now < end {
        let mut look = answered(&[], &[]);
        let chosen: Vec<&str> = (0..8).map(|_| pool[random.usize(..pool.len())].as_str()).collect();
        look.replies[0].v4 = said(&chosen, 30);
        let changed = book.apply(&look, &policy(), now, random.f64());
        looks += 1;
        for address in chosen {
            last_seen.insert(address.parse().unwrap(), now);
        }
        *(if now < after(86_400) { &mut first_day } else { &mut second_day }) +=
            usize::from(changed.addresses);
        // Now and then is enough: an address that was cut off would not come back by itself.
        let allowed = if looks % 20 == 0 { book.addresses(now) } else { HostAddresses::new() };
        for (address, seen) in last_seen.iter().filter(|_| !allowed.is_empty()) {
            if now < schedule::later(*seen, grace) {
                assert!(allowed[&name()].contains(*address), "{address} was cut off at {now}");
            }
        }
        assert!(book.entry(&name()).unwrap().addresses.len() <= pool.len());
        now = book.next_due().unwrap();
    }
    assert!(looks > 5_000, "{looks}");
    assert!((20..=200).contains(&first_day), "while the pool is learnt: {first_day} changes");
    assert_eq!(second_day, 0, "settled");
}

/// A cloud that replaces every address each hour: the set is bounded by a day's worth.
#[test]
fn a_name_that_moves_on_lets_go_in_steps() {
    let mut book = book();
    let mut changes = 0;
    let mut most = 0;
    for minute in 0..3 * 24 * 60 {
        let now = after(minute * 60);
        let hour = minute / 60;
        let texts: Vec<String> =
            (0..3).map(|index| format!("198.51.100.{}", (hour * 3 + index) % 250)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut changed = book.release(now);
        changed.join(book.apply(&answered(&texts, &[]), &policy(), now, 0.5));
        changes += usize::from(changed.addresses);
        most = most.max(book.addresses(now)[&name()].v4_addresses());
    }
    assert!(changes <= 72 + 49, "one an hour for what comes, one for what leaves: {changes}");
    assert!((75..=81).contains(&most), "a day and an hour of three: {most}");
}
