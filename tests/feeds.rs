//! Feeds against a fake Microsoft that does everything a server can do wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "to panic is how a test fails"
)]
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]

mod common;
#[path = "feeds/directory.rs"]
mod directory;
#[path = "feeds/discovery.rs"]
mod discovery;

use std::path::Path;
use std::time::Duration;

use tagwall::config::{Config, Name};
use tagwall::feed::{FeedError, Found, Look, Source};
use tagwall::snapshot::EXAMPLE_DOCUMENT;
use tagwall::web::WebError;

use common::microsoft::{Body, Fake, Reply, Shows};
use common::proxy::Proxy;

/// A feed `f` of the example cloud with this kind, against the fake.
fn source(fake: &Fake, kind: &str, connection: &str) -> Source {
    let text = format!(
        "[document]\nmax-bytes = 2000000\n[feeds.f]\ncloud = \"example\"\n{kind}\n[feeds.f.connection]\nproxy = \"none\"\n\
         ca-file = \"{}\"\n{connection}\n",
        fake.ca_file().display()
    );
    let config =
        Config::parse(Path::new("test.toml"), text).unwrap_or_else(|error| panic!("{error}"));
    Source::new(&"f".parse::<Name>().unwrap(), &config).unwrap()
}

fn fixed(fake: &Fake, connection: &str) -> Source {
    source(fake, &format!("[feeds.f.http]\nurl = \"{}\"", fake.url("/tags.json")), connection)
}

fn page(fake: &Fake) -> Source {
    source(fake, &format!("[feeds.f.download]\npage = \"{}\"", fake.url("/page")), "")
}

fn edition(number: u64) -> Vec<u8> {
    EXAMPLE_DOCUMENT
        .replacen("\"changeNumber\": 1,", &format!("\"changeNumber\": {number},"), 1)
        .into_bytes()
}

async fn found(source: &mut Source) -> Found {
    match source.look().await {
        Ok(Look::Found(found)) => *found,
        Ok(Look::Unchanged) => panic!("nothing was found"),
        Err(error) => panic!("{error}"),
    }
}

async fn unchanged(source: &mut Source) {
    match source.look().await {
        Ok(Look::Unchanged) => {}
        Ok(Look::Found(found)) => panic!("found {}", found.publication.source),
        Err(error) => panic!("{error}"),
    }
}

async fn error(source: &mut Source) -> FeedError {
    match source.look().await {
        Err(error) => error,
        Ok(_) => panic!("that went well"),
    }
}

#[tokio::test]
async fn an_unchanged_document_costs_one_conditional_request() {
    let fake = Fake::start();
    fake.serve("/tags.json", &edition(1));
    let mut source = fixed(&fake, "");
    let first = found(&mut source).await;
    assert_eq!(first.publication.snapshot.change_number(), 1);
    assert_eq!(first.publication.feed.as_deref(), Some("f"));
    assert_eq!(first.bytes, edition(1));
    unchanged(&mut source).await;
    assert_eq!(fake.count(), 2);
    assert!(fake.asked("/tags.json")[1].header("if-none-match").is_some());
    // Also in another life, from what was archived.
    let mut later = fixed(&fake, "");
    later.resume(first.seen);
    unchanged(&mut later).await;
    assert!(fake.asked("/tags.json")[2].header("if-none-match").is_some());
    fake.serve("/tags.json", &edition(2));
    assert_eq!(found(&mut later).await.publication.snapshot.change_number(), 2);
}

#[tokio::test]
async fn a_server_without_validators_is_compared_by_content() {
    let fake = Fake::start();
    fake.on(
        "/tags.json",
        Reply::ok(edition(1)).header("Last-Modified", "Mon, 08 Sep 2025 00:00:00 GMT"),
    );
    let mut source = fixed(&fake, "");
    found(&mut source).await;
    unchanged(&mut source).await;
    let asked = fake.asked("/tags.json");
    assert_eq!(asked[1].header("if-modified-since"), Some("Mon, 08 Sep 2025 00:00:00 GMT"));
    assert!(asked[1].header("user-agent").is_some_and(|agent| agent.starts_with("tagwall/")));
}

#[tokio::test]
async fn the_download_page_leads_to_the_newest_file() {
    let fake = Fake::start();
    fake.publish("20250901", &edition(1));
    let mut source = page(&fake);
    let first = found(&mut source).await;
    assert_eq!(first.publication.date.unwrap().to_string(), "2025-09-01");
    unchanged(&mut source).await;
    let file = fake.asked("/download/ServiceTags_Example_20250901.json");
    assert!(file[1].header("if-none-match").is_some(), "the file was read anew");
    fake.publish("20250908", &edition(2));
    let second = found(&mut source).await;
    assert_eq!(second.publication.date.unwrap().to_string(), "2025-09-08");
    // A page that says itself that it did not change leads to the same file.
    fake.on_each("/page", |asked| match asked.header("if-none-match") {
        Some("\"page\"") => Reply::new(304, ""),
        _ => Reply::ok("<a href=\"/download/ServiceTags_Example_20250908.json\">")
            .header("ETag", "\"page\""),
    });
    unchanged(&mut source).await;
    unchanged(&mut source).await;
    assert_eq!(fake.asked("/page").last().unwrap().header("if-none-match"), Some("\"page\""));
    // An error page with 200 changes nothing, and is told.
    fake.on("/page", Reply::ok("<html>We are sorry</html>"));
    let text = error(&mut source).await.to_string();
    assert!(text.contains("has no link to a publication of cloud example"), "{text}");
}

#[tokio::test]
async fn what_is_no_document_is_refused() {
    let fake = Fake::start();
    let mut source = fixed(&fake, "");
    for (body, expected) in [
        (b"<html>error</html>".to_vec(), "HTML"),
        (edition(1)[..1000].to_vec(), "cut short"),
        (b"[]".to_vec(), "not a Service Tags document"),
        (Vec::new(), "empty"),
        (b"\x89PNG\r\n\x1a\n\0\0".to_vec(), "not UTF-8"),
    ] {
        fake.on("/tags.json", Reply::ok(body).header("Content-Type", "image/png"));
        let error = error(&mut source).await;
        assert!(matches!(error, FeedError::Refused { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    // A wrong type alone is no fault: what counts is the document.
    fake.on("/tags.json", Reply::ok(edition(1)).header("Content-Type", "application/octet-stream"));
    found(&mut source).await;
    let other = String::from_utf8(edition(2)).unwrap().replace("\"Example\"", "\"China\"");
    fake.on("/tags.json", Reply::ok(other));
    let error = error(&mut source).await;
    assert!(!matches!(error, FeedError::Web(_)), "{error:?}");
}

#[tokio::test]
async fn compressed_answers_are_bounded_by_what_they_become() {
    let fake = Fake::start();
    let mut source = fixed(&fake, "");
    fake.on("/tags.json", Reply::gzip(&edition(1)));
    found(&mut source).await;
    assert!(fake.asked("/tags.json")[0].header("accept-encoding").unwrap().contains("gzip"));
    // 64 MB of blanks in 64 KB.
    fake.on("/tags.json", Reply::gzip(&vec![b' '; 64 << 20]));
    let error = error(&mut source).await;
    assert!(
        matches!(error, FeedError::Web(WebError::TooLarge { limit: 2_000_000, .. })),
        "{error:?}"
    );
    assert!(!error.is_transient());
    fake.on("/tags.json", Reply::ok("no gzip at all").header("Content-Encoding", "gzip"));
    assert!(matches!(source.look().await, Err(FeedError::Web(WebError::Unanswered { .. }))));
}

#[tokio::test]
async fn endless_slow_and_broken_answers_end() {
    let fake = Fake::start();
    let mut source = fixed(&fake, "timeout = \"2s\"\nread-timeout = \"1s\"");
    fake.on("/tags.json", Reply::ok("").sent(Body::Endless));
    assert!(matches!(error(&mut source).await, FeedError::Web(WebError::TooLarge { .. })));
    // Each byte comes in time, the whole never.
    fake.on("/tags.json", Reply::ok("").sent(Body::Slow(edition(1), 1, Duration::from_millis(20))));
    let slow = error(&mut source).await;
    assert!(matches!(slow, FeedError::Web(WebError::TimedOut { .. })), "{slow:?}");
    // Silence in the middle.
    fake.on(
        "/tags.json",
        Reply::ok("").sent(Body::Slow(edition(1), 5000, Duration::from_secs(30))),
    );
    assert!(matches!(error(&mut source).await, FeedError::Web(WebError::TimedOut { .. })));
    fake.on("/tags.json", Reply::ok("").sent(Body::Cut(edition(1), 5000)));
    let cut = error(&mut source).await;
    assert!(matches!(cut, FeedError::Web(WebError::Unanswered { .. })), "{cut:?}");
    assert!(cut.is_transient());
    // In pieces, but in time.
    fake.on(
        "/tags.json",
        Reply::ok("").sent(Body::Slow(edition(1), 4000, Duration::from_millis(5))),
    );
    found(&mut source).await;
}

#[tokio::test]
async fn refusals_say_when_to_come_back() {
    let fake = Fake::start();
    let mut source = fixed(&fake, "");
    for (status, pause, transient, seconds) in [
        (429, Some("120"), true, Some(120)),
        (503, Some("999999999"), true, Some(24 * 3600)),
        (500, None, true, None),
        (404, None, false, None),
        (403, None, false, None),
        (304, None, false, None),
    ] {
        let mut reply = Reply::new(status, "SECRET reason");
        if let Some(pause) = pause {
            reply = reply.header("Retry-After", pause);
        }
        fake.on("/tags.json", reply);
        let error = error(&mut source).await;
        assert_eq!(error.is_transient(), transient, "{error:?}");
        assert_eq!(error.retry_after().map(|pause| pause.as_secs()), seconds, "{error:?}");
        assert!(error.to_string().contains(&format!("answers {status}")), "{error}");
        assert!(!error.to_string().contains("SECRET"));
    }
    // The reason may be endless too.
    fake.on("/tags.json", Reply::new(500, "").sent(Body::Endless));
    assert!(matches!(
        error(&mut source).await,
        FeedError::Web(WebError::Status { status: 500, .. })
    ));
}

#[tokio::test]
async fn redirects_lead_to_allowed_hosts_only() {
    let fake = Fake::start();
    let plain = Fake::showing(Shows::Plain);
    fake.serve("/moved.json", &edition(1));
    plain.serve("/tags.json", &edition(1));
    let mut source = fixed(&fake, "");
    fake.on("/tags.json", Reply::redirect("/moved.json"));
    found(&mut source).await;
    for to in [
        fake.url_by_address("/moved.json"),
        plain.url("/tags.json"),
        "https://169.254.169.254/metadata".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let before = fake.asked("/moved.json").len();
        fake.on("/tags.json", Reply::redirect(&to));
        let error = error(&mut source).await;
        assert!(
            matches!(
                error,
                FeedError::Web(
                    WebError::Redirect { .. }
                        | WebError::Unanswered { .. }
                        | WebError::Status { .. }
                )
            ),
            "{to}: {error:?}"
        );
        assert_eq!(fake.asked("/moved.json").len(), before, "{to}");
    }
    assert_eq!(plain.count(), 0);
    // In a circle.
    fake.on("/tags.json", Reply::redirect("/tags.json"));
    assert!(matches!(error(&mut source).await, FeedError::Web(WebError::Redirect { .. })));
    // By name it is allowed, but credentials do not go along.
    let token = fake.file("token", "TOKEN\n");
    let kind = format!(
        "[feeds.f.http]\nurl = \"{}\"\ntoken-file = \"{}\"",
        fake.url("/tags.json"),
        token.display()
    );
    let mut source = self::source(&fake, &kind, "hosts = [\"127.0.0.1\"]");
    fake.on("/tags.json", Reply::redirect(&fake.url_by_address("/moved.json")));
    found(&mut source).await;
    assert_eq!(
        fake.asked("/tags.json").last().unwrap().header("authorization"),
        Some("Bearer TOKEN")
    );
    assert_eq!(fake.asked("/moved.json").last().unwrap().header("authorization"), None);
}

#[tokio::test]
async fn a_server_that_cannot_prove_itself_is_not_heard() {
    for shows in [Shows::Expired, Shows::Foreign, Shows::OtherName] {
        let fake = Fake::showing(shows);
        fake.serve("/tags.json", &edition(1));
        let mut source = fixed(&fake, "");
        let error = error(&mut source).await;
        let text = error.to_string();
        assert!(text.contains("invalid peer certificate"), "{shows:?}: {text}");
        assert_eq!(fake.count(), 0, "{shows:?}: something was sent");
    }
    // Our authority alone does not make others wrong, and theirs is not enough when ours alone counts.
    let fake = Fake::start();
    fake.serve("/tags.json", &edition(1));
    found(&mut fixed(&fake, "ca-file-only = true")).await;
}

#[tokio::test]
async fn credentials_are_sent_and_never_shown() {
    let fake = Fake::start();
    fake.on_each("/tags.json", |asked| match asked.header("authorization") {
        // reader:PASSWORD
        Some("Basic cmVhZGVyOlBBU1NXT1JE") => Reply::ok(edition(1)),
        _ => Reply::new(401, "who are you?"),
    });
    let password = fake.file("password", "PASSWORD\n");
    let kind = |file: &Path| {
        format!(
            "[feeds.f.http]\nurl = \"{}\"\nuser = \"reader\"\npassword-file = \"{}\"",
            fake.url("/tags.json"),
            file.display()
        )
    };
    let mut good = source(&fake, &kind(&password), "");
    found(&mut good).await;
    let wrong = fake.file("wrong", "WRONGWORD");
    let mut bad = source(&fake, &kind(&wrong), "");
    let error = error(&mut bad).await;
    assert!(error.to_string().contains("answers 401 (unauthorised)"), "{error}");
    assert!(!format!("{error} {error:?} {bad:?}").contains("WRONGWORD"));
    // A new password is taken without a restart; a file that is open to everybody is refused.
    common::write(&wrong, b"PASSWORD");
    found(&mut bad).await;
    std::fs::set_permissions(&wrong, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let text = self::error(&mut bad).await.to_string();
    assert!(text.contains("mode 0644 lets every user read"), "{text}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let fake = Fake::showing(Shows::AsksBack);
    fake.serve("/tags.json", &edition(1));
    let mut nameless = fixed(&fake, "");
    assert!(matches!(error(&mut nameless).await, FeedError::Web(WebError::Unanswered { .. })));
    let (certificate, key) = fake.authority.issue(&["client.example"], false);
    let certificate = fake.file("client.pem", &certificate.pem());
    let key = fake.file("client.key", &key.serialize_pem());
    let connection = format!(
        "certificate-file = \"{}\"\nkey-file = \"{}\"",
        certificate.display(),
        key.display()
    );
    found(&mut fixed(&fake, &connection)).await;
}

#[tokio::test]
async fn another_tagwalls_publication_keeps_its_date() {
    let fake = Fake::start();
    fake.on(
        "/tags.json",
        Reply::ok(edition(1)).header(
            "Content-Disposition",
            "attachment; filename=\"ServiceTags_Example_20250908.json\"",
        ),
    );
    let first = found(&mut fixed(&fake, "")).await;
    assert_eq!(first.publication.date.unwrap().to_string(), "2025-09-08");
}

#[tokio::test]
async fn a_query_that_gives_access_is_sent_and_never_shown() {
    let fake = Fake::start();
    fake.serve("/tags.json", &edition(1));
    let url = fake.url("/tags.json?sig=SIGNATURE");
    let mut source = source(&fake, &format!("[feeds.f.http]\nurl = \"{url}\""), "");
    let first = found(&mut source).await;
    assert_eq!(fake.asked("/tags.json")[0].target, "/tags.json?sig=SIGNATURE");
    assert!(!first.publication.source.contains("SIGNATURE"));
    assert!(!serde_json::to_string(&first.seen).unwrap().contains("SIGNATURE"));
    fake.on("/tags.json", Reply::new(500, ""));
    let error = error(&mut source).await;
    assert!(!format!("{error} {error:?}").contains("SIGNATURE"));
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_way_and_proves_nothing_about_the_server() {
    let fake = Fake::start();
    fake.serve("/tags.json", &edition(1));
    let proxy = Proxy::to(fake.port());
    let credentials = fake.file("proxy", "me:PASSWORD\n");
    let text = format!(
        "[feeds.f]\ncloud = \"example\"\n[feeds.f.http]\nurl = \"{}\"\n[feeds.f.connection]\nca-file = \"{}\"\n\
         proxy = \"{}\"\nproxy-credentials-file = \"{}\"\n",
        fake.url("/tags.json"),
        fake.ca_file().display(),
        proxy.url,
        credentials.display()
    );
    let config = Config::parse(Path::new("test.toml"), text).unwrap();
    let mut source = Source::new(&"f".parse().unwrap(), &config).unwrap();
    found(&mut source).await;
    let head = proxy.asked();
    assert!(head.starts_with("CONNECT localhost:"), "{head}");
    // me:PASSWORD
    assert!(head.to_ascii_lowercase().contains("proxy-authorization: basic "), "{head}");
    assert!(head.contains("bWU6UEFTU1dPUkQ="), "{head}");
}

#[tokio::test]
async fn nobody_there_is_transient() {
    let fake = Fake::start();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let kind = format!("[feeds.f.http]\nurl = \"https://localhost:{port}/\"");
    let error = error(&mut source(&fake, &kind, "")).await;
    assert!(error.is_transient(), "{error:?}");
    assert!(error.to_string().contains("no answer from https://localhost"), "{error}");
    let kind = "[feeds.f.http]\nurl = \"https://no-such-host.invalid/\"";
    let error = self::error(&mut source(&fake, kind, "timeout = \"3s\"")).await;
    assert!(
        matches!(error, FeedError::Web(WebError::Unanswered { .. } | WebError::TimedOut { .. })),
        "{error:?}"
    );
}
