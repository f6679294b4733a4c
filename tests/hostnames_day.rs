//! Days of a rotating content network, compressed: how often the kernel is asked to change something, and what of the answers
//! is let through meanwhile. The clock is the test's; nothing waits.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::print_stderr, reason = "how often something changed is said")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use jiff::{SignedDuration, Timestamp};
use tagwall::config::{Dns, HostName};
use tagwall::names::{Book, Look, Reply, Said};

/// Addresses of the network for one name.
const POOL: u8 = 96;
/// Those among which it answers in one hour.
const ACTIVE: u8 = 24;
/// Those in one answer.
const ANSWERED: u8 = 4;
const NAMES: usize = 3;
const DAYS: usize = 3;
/// A change within this time of another is the same transaction.
const GATHER: SignedDuration = SignedDuration::from_secs(1);

fn address(name: usize, index: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(198, 51, u8::try_from(name).unwrap() + 110, index))
}

/// What a resolver says of a name: four of those that are active at this hour, every time others.
fn said(name: usize, now: Timestamp, random: &mut fastrand::Rng) -> Said {
    let hour = now.as_second().rem_euclid(86_400) / 3600;
    // Load balancing follows the hours of the day: the network's edge moves, and comes back the next day.
    let first = u8::try_from(hour * i64::from(POOL) / 24).unwrap();
    let start = random.u8(..ACTIVE);
    let addresses = (0..ANSWERED)
        .map(|step| address(name, (first + (start + step * 5) % ACTIVE) % POOL))
        .collect();
    Said::Addresses { addresses, ttl: 30, aliases: vec![format!("edge{start}.example.net")] }
}

#[test]
fn a_rotating_network_costs_few_transactions_and_never_an_interruption() {
    let mut random = fastrand::Rng::with_seed(7);
    let dns: Dns = toml::from_str("resolvers = [\"192.0.2.53\"]").unwrap();
    let grace = SignedDuration::from_secs(86_400);
    let start: Timestamp = "2025-09-08T00:00:00Z".parse().unwrap();
    let names: Vec<HostName> =
        (0..NAMES).map(|index| format!("n{index}.example.com").parse().unwrap()).collect();
    let mut book = Book::default();
    let resolver = BTreeSet::from(["192.0.2.53".to_owned()]);
    _ = book.want(&names.iter().cloned().collect(), &resolver, &dns, start);

    // By day: transactions, looks and the largest set.
    let mut transactions = [0_usize; DAYS];
    let mut looks = [0_usize; DAYS];
    let mut largest = [0_usize; DAYS];
    let mut answered = vec![BTreeMap::<IpAddr, Timestamp>::new(); NAMES];
    let mut last_change: Option<Timestamp> = None;
    let mut now = start;
    let end = start + SignedDuration::from_hours(24 * i64::try_from(DAYS).unwrap());
    while now < end {
        let day = usize::try_from(now.duration_since(start).as_hours() / 24).unwrap();
        let mut changed = book.release(now).addresses;
        for name in book.take_due(now, std::time::Duration::from_secs(1)) {
            looks[day] += 1;
            let index = names.iter().position(|known| *known == name).unwrap();
            // An outage from three to four in the night of the second day, and one look in fifty goes wrong.
            let out = day == 1 && now.duration_since(start).as_hours() == 27;
            let v4 = if out || random.u8(..50) == 0 {
                Said::Failed("timed out".to_owned())
            } else {
                said(index, now, &mut random)
            };
            if let Said::Addresses { addresses, .. } = &v4 {
                answered[index].extend(addresses.iter().map(|address| (*address, now)));
            }
            let reply = Reply { resolver: "192.0.2.53".to_owned(), v4, v6: Said::Nothing };
            let look = Look { name: name.clone(), replies: vec![reply] };
            let told = book.apply(&look, &dns.policy(&name), now, random.f64());
            changed |= told.addresses;
        }
        if changed && last_change.is_none_or(|last| now.duration_since(last) > GATHER) {
            transactions[day] += 1;
            last_change = Some(now);
        }
        for (index, name) in names.iter().enumerate() {
            let known: BTreeSet<IpAddr> =
                book.entry(name).unwrap().current(now).map(|(address, _)| address).collect();
            largest[day] = largest[day].max(known.len());
            for (address, at) in &answered[index] {
                let (let_through, age) = (known.contains(address), now.duration_since(*at));
                assert!(let_through || age >= grace, "{address}, answered {age:?} ago, at {now}");
                // Nor longer than that: a step of fifteen minutes, and the outage in which nothing leaves.
                let most = grace + SignedDuration::from_hours(3);
                assert!(!let_through || age <= most, "{address} is kept {age:?} after its answer");
            }
        }
        // The next second with something to do, as the loop sleeps until then.
        let next = book.next_due().unwrap().max(now + SignedDuration::from_millis(100));
        now = next;
    }
    eprintln!(
        "{NAMES} names, by day: {looks:?} looks, {transactions:?} transactions, {largest:?} addresses of a name at most"
    );
    assert!(looks.iter().all(|looks| *looks > NAMES * 2000), "followed at 30 s: {looks:?}");
    assert!(largest.iter().all(|size| *size <= usize::from(POOL)), "{largest:?}");
    // The first day learns each address once; then the wheel has turned, and what comes is known already.
    assert!(transactions[0] <= NAMES * usize::from(POOL));
    assert!(transactions[1..].iter().all(|count| count * 100 <= looks[1]), "{transactions:?}");
}
