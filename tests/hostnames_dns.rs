//! Names resolved with real packets: a real authoritative server, and one that lies.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![expect(clippy::panic, reason = "a test may fail by panicking")]
#![expect(clippy::print_stderr, reason = "a skipped test must say so")]

mod common;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use common::dns::{Datagram, Liar, Nsd, address_record, addresses, answer};
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::CNAME;
use hickory_resolver::proto::rr::{Name, RData, Record};
use jiff::Timestamp;
use tagwall::config::{Config, Dns, HostName};
use tagwall::names::{Book, Follower, News, Resolvers, Said};

const ZONE: &str = "\
$ORIGIN example.com.
@ 60 SOA ns hostmaster 1 3600 600 86400 60
@ 60 NS ns
ns 60 A 127.0.0.1
plain 30 A 198.51.100.7
plain 30 A 198.51.100.8
plain 30 AAAA 2001:db8::7
chain 300 CNAME first
first 40 CNAME second
second 20 CNAME plain
v6only 60 AAAA 2001:db8::6
text 60 TXT \"no address\"
abroad 60 CNAME other.example.net.
dangling 60 CNAME nowhere
";

fn zone() -> String {
    let mut zone = ZONE.to_owned();
    for last in 1..=60 {
        zone.push_str(&format!("many 30 A 203.0.113.{last}\nmany 30 AAAA 2001:db8:60::{last:x}\n"));
    }
    zone
}

fn host(text: &str) -> HostName {
    text.parse().unwrap()
}

fn dns(servers: &[SocketAddr]) -> Dns {
    let servers: Vec<String> = servers.iter().map(|server| format!("\"{server}\"")).collect();
    toml::from_str(&format!("resolvers = [{}]\ntimeout = \"2s\"", servers.join(", "))).unwrap()
}

/// What one server says of a name: IPv4 and IPv6.
async fn ask(server: SocketAddr, name: &str) -> (Said, Said) {
    let look = Resolvers::new(&dns(&[server])).unwrap().look(&host(name)).await;
    assert_eq!(look.name, host(name));
    assert_eq!(look.replies[0].resolver, server.to_string());
    let reply = look.replies.into_iter().next().unwrap();
    (reply.v4, reply.v6)
}

fn listed(said: &Said) -> Vec<String> {
    match said {
        Said::Addresses { addresses, .. } => addresses.iter().map(ToString::to_string).collect(),
        other => panic!("no addresses: {other:?}"),
    }
}

fn failed(said: &Said) -> &str {
    match said {
        Said::Failed(reason) => reason,
        other => panic!("not a failure: {other:?}"),
    }
}

#[tokio::test]
async fn a_real_server_is_asked_and_followed() {
    let Some(server) = Nsd::start(&[("example.com", &zone())]) else { return };
    let (v4, v6) = ask(server.address, "plain.example.com").await;
    assert_eq!(listed(&v4), ["198.51.100.7", "198.51.100.8"]);
    assert_eq!(listed(&v6), ["2001:db8::7"]);
    let (v4, v6) = ask(server.address, "chain.example.com").await;
    let Said::Addresses { addresses, ttl, aliases } = &v4 else { panic!("{v4:?}") };
    assert_eq!(addresses.len(), 2);
    assert_eq!(*ttl, 20, "the shortest of the chain");
    assert_eq!(*aliases, ["first.example.com", "second.example.com", "plain.example.com"]);
    assert_eq!(listed(&v6), ["2001:db8::7"]);
    let (v4, v6) = ask(server.address, "v6only.example.com").await;
    assert_eq!((v4, listed(&v6)), (Said::Nothing, vec!["2001:db8::6".to_owned()]));
    assert_eq!(ask(server.address, "text.example.com").await, (Said::Nothing, Said::Nothing));
    let nobody = ask(server.address, "nobody.example.com").await;
    assert_eq!(nobody, (Said::NoSuchName, Said::NoSuchName));
    assert_eq!(ask(server.address, "dangling.example.com").await.0, Said::NoSuchName);
    // Lame: it is asked for what it is not authoritative for.
    for name in ["www.example.org", "abroad.example.com"] {
        let (v4, _) = ask(server.address, name).await;
        assert!(
            failed(&v4).contains("REFUSED") || failed(&v4).contains("Refused"),
            "{name}: {v4:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_too_long_for_a_datagram_is_fetched_over_tcp() {
    let Some(server) = Nsd::start(&[("example.com", &zone())]) else { return };
    let (v4, v6) = ask(server.address, "many.example.com").await;
    assert_eq!(listed(&v4).len(), 60);
    assert_eq!(listed(&v6).len(), 60);
    let tcp: Dns = toml::from_str(&format!(
        "resolvers = [{{ address = \"{}\", transport = \"tcp\" }}]",
        server.address
    ))
    .unwrap();
    let look = Resolvers::new(&tcp).unwrap().look(&host("many.example.com")).await;
    assert_eq!(look.replies[0].resolver, format!("tcp://{}", server.address));
    assert_eq!(listed(&look.replies[0].v6).len(), 60);
}

#[tokio::test]
async fn failures_are_told_apart_and_end_in_time() {
    let servfail = Liar::start(|question| vec![answer(question, ResponseCode::ServFail).into()]);
    let (v4, v6) = ask(servfail.address, "a.example.com").await;
    for said in [&v4, &v6] {
        assert!(
            failed(said).to_lowercase().contains("servfail")
                || failed(said).contains("Server Failure"),
            "{said:?}"
        );
    }
    let silent = Liar::start(|_| Vec::new());
    let (v4, _) = ask(silent.address, "a.example.com").await;
    assert!(
        failed(&v4).contains("no answer")
            || failed(&v4).contains("timed out")
            || failed(&v4).contains("refused"),
        "{v4:?}"
    );
    assert!(silent.asked() >= 2);
    let empty = Liar::start(|question| vec![answer(question, ResponseCode::NoError).into()]);
    assert_eq!(ask(empty.address, "a.example.com").await, (Said::Nothing, Said::Nothing));
}

/// Each forged answer comes before the true one: taken, it would be seen.
#[tokio::test]
async fn forged_answers_are_passed_over() {
    type Forge = fn(&Message) -> Datagram;
    let forgeries: [(&str, Forge); 4] = [
        ("another identifier", |question| {
            let mut forged = addresses(question, &["203.0.113.66", "2001:db8::66"], 60);
            forged.metadata.id = question.metadata.id.wrapping_add(1);
            forged.into()
        }),
        ("another question", |question| {
            let mut other = question.clone();
            other.queries[0].set_name(Name::from_ascii("b.example.com.").unwrap());
            addresses(&other, &["203.0.113.66", "2001:db8::66"], 60).into()
        }),
        ("another source", |question| Datagram {
            message: addresses(question, &["203.0.113.66", "2001:db8::66"], 60),
            by_the_asked: false,
        }),
        ("the question in other letters", |question| {
            let mut other = question.clone();
            let name = other.queries[0].name().to_ascii();
            let flipped: String = name
                .chars()
                .map(|c| {
                    if c.is_ascii_lowercase() {
                        c.to_ascii_uppercase()
                    } else {
                        c.to_ascii_lowercase()
                    }
                })
                .collect();
            other.queries[0].set_name(Name::from_ascii(flipped).unwrap());
            addresses(&other, &["203.0.113.66", "2001:db8::66"], 60).into()
        }),
    ];
    for (what, forge) in forgeries {
        let server = Liar::start(move |question| {
            vec![forge(question), addresses(question, &["198.51.100.7", "2001:db8::7"], 60).into()]
        });
        let (v4, v6) = ask(server.address, "a.example.com").await;
        for said in [&v4, &v6] {
            // Giving up is safe too; believing is not.
            match said {
                Said::Addresses { .. } => {
                    assert!(
                        !listed(said).iter().any(|text| text.ends_with("66")),
                        "{what}: {said:?}"
                    );
                }
                Said::Failed(_) => {}
                other => panic!("{what}: {other:?}"),
            }
        }
        if what == "another source" || what == "another identifier" {
            assert_eq!(listed(&v4), ["198.51.100.7"], "{what}: anybody could silence a name");
        }
    }
}

#[tokio::test]
async fn only_the_end_of_the_chain_counts() {
    let alias = |from: &str, to: &str| {
        let target = RData::CNAME(CNAME(Name::from_ascii(to).unwrap()));
        Record::from_rdata(Name::from_ascii(from).unwrap(), 60, target)
    };
    // Records that nobody asked for, before and behind the answer.
    let server = Liar::start(move |question| {
        let mut message = answer(question, ResponseCode::NoError);
        let stranger = address_record("evil.example.net.", "203.0.113.66", 60);
        message.add_answer(stranger.clone());
        message.add_answer(alias("a.example.com.", "b.example.com."));
        message.add_answer(alias("evil.example.net.", "a.example.com."));
        message.add_answer(address_record("a.example.com.", "203.0.113.67", 60));
        message.add_answer(address_record("b.example.com.", "198.51.100.7", 60));
        message.add_additional(address_record("b.example.com.", "203.0.113.68", 60));
        vec![message.into()]
    });
    let (v4, _) = ask(server.address, "a.example.com").await;
    assert_eq!(listed(&v4), ["198.51.100.7"], "{v4:?}");
    // Aliases that lead in a circle.
    let circle = Liar::start(move |question| {
        let mut message = answer(question, ResponseCode::NoError);
        message.add_answer(alias("a.example.com.", "b.example.com."));
        message.add_answer(alias("b.example.com.", "a.example.com."));
        message.add_answer(address_record("a.example.com.", "203.0.113.66", 60));
        vec![message.into()]
    });
    let (v4, _) = ask(circle.address, "a.example.com").await;
    assert!(!matches!(v4, Said::Addresses { .. }), "{v4:?}");
}

fn config(servers: &[SocketAddr], more: &str) -> Config {
    let servers: Vec<String> = servers.iter().map(|server| format!("\"{server}\"")).collect();
    let text = format!(
        "cloud = \"example\"\n[groups.web]\nhosts = [\"a.example.com\", \"*.example.net\"]\n[rules.web]\n\
         source = [\"10.20.0.0/24\"]\ndestination = \"web\"\nservices = [\"tcp/443\"]\n[targets.lists.list]\n\
         [dns]\nresolvers = [{}]\ntimeout = \"2s\"\n{more}\n[dns.names.\"a.example.com\"]\n\
         allow-special = [\"198.51.100.0/24\", \"203.0.113.0/24\", \"2001:db8::/32\"]\n",
        servers.join(", ")
    );
    Config::parse("test.toml".as_ref(), text).unwrap_or_else(|error| panic!("{error}"))
}

async fn next(follower: &mut Follower) -> tagwall::names::Changed {
    tokio::time::timeout(Duration::from_secs(20), follower.changed()).await.unwrap()
}

fn known(book: &Book) -> BTreeSet<String> {
    let addresses = book.addresses(Timestamp::now());
    addresses
        .get(&host("a.example.com"))
        .into_iter()
        .flat_map(tagwall::prefix::PrefixSet::iter)
        .map(|net| net.to_string())
        .collect()
}

#[tokio::test]
async fn a_follower_tells_what_changed_and_keeps_what_was_good() {
    let server =
        Liar::start(|question| vec![addresses(question, &["198.51.100.7", "10.0.0.1"], 1).into()]);
    let config = config(&[server.address], "min-ttl = \"1s\"");
    let mut follower = Follower::new(&config, Book::default(), Timestamp::now());
    assert_eq!(follower.book().entries().count(), 1, "wildcards are not asked for");
    let changed = next(&mut follower).await;
    assert!(changed.addresses);
    let refused = |news: &News| matches!(news, News::Refused(_, address, _) if *address == IpAddr::from([10, 0, 0, 1]));
    assert!(changed.news.iter().any(refused), "{changed:?}");
    assert_eq!(known(follower.book()), ["198.51.100.7/32".to_owned()].into());
    server.say(|question| vec![addresses(question, &["203.0.113.9", "2001:db8::9"], 1).into()]);
    let changed = next(&mut follower).await;
    assert!(changed.addresses);
    assert_eq!(known(follower.book()).len(), 3, "the first stays for its grace period");
    server.say(|question| vec![answer(question, ResponseCode::NXDomain).into()]);
    let changed = next(&mut follower).await;
    assert!(!changed.addresses && matches!(changed.news[0], News::Failing(..)), "{changed:?}");
    assert_eq!(known(follower.book()).len(), 3);
    server.say(|question| vec![addresses(question, &["203.0.113.9", "2001:db8::9"], 1).into()]);
    let changed = next(&mut follower).await;
    assert_eq!(changed.news, [News::Recovered(host("a.example.com"))]);
}

#[tokio::test]
async fn stored_answers_are_used_when_nobody_answers() {
    let server = Liar::start(|question| vec![addresses(question, &["198.51.100.7"], 60).into()]);
    let folder = tempfile::tempdir().unwrap();
    let first = config(&[server.address], "");
    let mut follower = Follower::new(&first, Book::default(), Timestamp::now());
    assert!(next(&mut follower).await.addresses);
    common::write(&folder.path().join(Book::FILE), &follower.book().write().unwrap());
    drop(server);
    let silent = Liar::start(|_| Vec::new());
    let book = Book::load(folder.path()).unwrap();
    let second = config(&[silent.address], "grace = \"1s\"");
    let mut follower = Follower::new(&second, book, Timestamp::now());
    assert_eq!(known(follower.book()), ["198.51.100.7/32".to_owned()].into(), "before any look");
    let changed = next(&mut follower).await;
    assert!(!changed.addresses, "{changed:?}");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    // Its grace period is over, and it is still all that is known.
    _ = tokio::time::timeout(Duration::from_millis(200), follower.changed()).await;
    assert_eq!(known(follower.book()), ["198.51.100.7/32".to_owned()].into());
    assert!(Book::load(&folder.path().join("nothing")).unwrap().entries().next().is_none());
}

#[tokio::test]
async fn a_silent_resolver_delays_no_answer_of_another_name() {
    let server = Liar::start(|question| {
        let name = question.queries[0].name().to_ascii().to_lowercase();
        if name.starts_with('b') {
            Vec::new()
        } else {
            vec![addresses(question, &["198.51.100.7"], 60).into()]
        }
    });
    let text = config(&[server.address], "").text().replace("\"2s\"", "\"30s\"");
    let text = text.replace(
        "[\"a.example.com\", \"*.example.net\"]",
        "[\"a.example.com\", \"b.example.com\"]",
    );
    let config = Config::parse("test.toml".as_ref(), text).unwrap();
    let mut follower = Follower::new(&config, Book::default(), Timestamp::now());
    // A half of the longest wait: it is told long before the silent one's time is over.
    let changed = tokio::time::timeout(Duration::from_secs(15), follower.changed()).await.unwrap();
    assert!(changed.addresses);
}

#[tokio::test]
async fn a_real_server_rotates_and_every_address_stays() {
    let zone = |serial: u32, last: u8| {
        format!(
            "$ORIGIN example.com.\n@ 60 SOA ns hostmaster {serial} 3600 600 86400 60\n@ 60 NS ns\nns 60 A 127.0.0.1\n\
             a 1 CNAME edge\nedge 1 A 198.51.100.{last}\nedge 1 A 203.0.113.{last}\n"
        )
    };
    let Some(server) = Nsd::start(&[("example.com", &zone(1, 1))]) else { return };
    let config = config(&[server.address], "min-ttl = \"1s\"");
    let mut follower = Follower::new(&config, Book::default(), Timestamp::now());
    assert!(next(&mut follower).await.addresses);
    for round in 2..=4 {
        server.replace("example.com", &zone(round.into(), round));
        let changed = next(&mut follower).await;
        assert!(changed.addresses, "{changed:?}");
        assert_eq!(
            follower.book().entry(&host("a.example.com")).unwrap().addresses.len(),
            usize::from(round) * 2
        );
    }
    assert_eq!(
        follower.book().entry(&host("a.example.com")).unwrap().aliases,
        ["edge.example.com"]
    );
}

/// A zone signed with a key of its own, and the key as a trust anchor; none where the tools are missing.
fn signed(zone: &str) -> Option<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    common::write(&folder.path().join("zone"), zone.as_bytes());
    let run = |program: &str, args: &[&str]| {
        let output =
            std::process::Command::new(program).args(args).current_dir(folder.path()).output();
        let Ok(output) = output else {
            eprintln!("skipped: {program} is not installed");
            return None;
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    };
    let key = run("ldns-keygen", &["-a", "ECDSAP256SHA256", "-k", "example.com"])?;
    run("ldns-signzone", &["-o", "example.com", "zone", &key])?;
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    Some((read("zone.signed"), read(&format!("{key}.key"))))
}

#[tokio::test]
async fn with_dnssec_what_is_signed_is_taken_and_what_was_changed_is_not() {
    let plain =
        zone().replace("abroad 60 CNAME other.example.net.\n", "changed 60 A 198.51.100.8\n");
    let Some((text, anchor)) = signed(&plain) else { return };
    // Somebody on the way changes an address; its signature is that of the true one.
    let line = |address: &str| format!("changed.example.com.\t60\tIN\tA\t{address}\n");
    let changed = text.replace(&line("198.51.100.8"), &line("203.0.113.66"));
    assert_ne!(changed, text);
    let Some(server) = Nsd::start(&[("example.com", &changed)]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("anchor");
    common::write(&file, anchor.as_bytes());
    let settings = format!(
        "resolvers = [\"{}\"]\ndnssec = true\ntrust-anchor = \"{}\"",
        server.address,
        file.display()
    );
    let validating = Resolvers::new(&toml::from_str::<Dns>(&settings).unwrap()).unwrap();
    let ask = async |name: &str| validating.look(&host(name)).await.replies.remove(0).v4;
    assert_eq!(listed(&ask("plain.example.com").await), ["198.51.100.7", "198.51.100.8"]);
    assert_eq!(listed(&ask("chain.example.com").await), ["198.51.100.7", "198.51.100.8"]);
    let refused = ask("changed.example.com").await;
    assert!(failed(&refused).contains("DNSSEC"), "{refused:?}");
    // Without validation it would have been believed: so it was the signature.
    let (v4, _) = self::ask(server.address, "changed.example.com").await;
    assert_eq!(listed(&v4), ["203.0.113.66"]);
    // Another key: nothing is believed, and a file without a key is said.
    let Some((_, other)) = signed(&plain) else { return };
    common::write(&file, other.as_bytes());
    let strangers = Resolvers::new(&toml::from_str::<Dns>(&settings).unwrap()).unwrap();
    let said = strangers.look(&host("plain.example.com")).await.replies.remove(0).v4;
    assert!(matches!(said, Said::Failed(_)), "{said:?}");
    common::write(&file, b"; nothing\n");
    let error = Resolvers::new(&toml::from_str::<Dns>(&settings).unwrap()).unwrap_err().to_string();
    assert!(error.contains("anchor holds no DNSKEY record"), "{error}");
}

#[tokio::test]
async fn over_tls_only_the_server_with_the_right_certificate_is_asked() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["dns.example.com".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let pem = (certificate.pem(), key.serialize_pem());
    let Some(server) = Nsd::over_tls(&[("example.com", &zone())], (&pem.0, &pem.1)) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (right, wrong) = (folder.path().join("right.pem"), folder.path().join("wrong.pem"));
    common::write(&right, pem.0.as_bytes());
    let other = rcgen::generate_simple_self_signed(vec!["dns.example.com".to_owned()]).unwrap();
    common::write(&wrong, other.cert.pem().as_bytes());
    let ask = async |name: &str, ca: &std::path::Path| {
        let settings = format!(
            "resolvers = [{{ address = \"{}\", transport = \"tls\", name = \"{name}\", ca = \"{}\" }}]\ntimeout = \"2s\"",
            server.tls,
            ca.display()
        );
        let resolvers = Resolvers::new(&toml::from_str::<Dns>(&settings).unwrap()).unwrap();
        resolvers.look(&host("many.example.com")).await.replies.remove(0)
    };
    let reply = ask("dns.example.com", &right).await;
    assert_eq!(listed(&reply.v4).len(), 60);
    assert_eq!(reply.resolver, format!("tls://{}#dns.example.com", server.tls));
    for (name, ca) in [("dns.example.com", &wrong), ("other.example.com", &right)] {
        let said = ask(name, ca).await.v4;
        assert!(matches!(said, Said::Failed(_)), "{name}: {said:?}");
    }
}
