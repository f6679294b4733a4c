//! The Discovery API: tokens of all kinds, pages, and everything that can be wrong with either.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tagwall::feed::{FeedError, Source};
use tagwall::snapshot::EXAMPLE_DOCUMENT;
use tagwall::web::WebError;

use super::common::microsoft::{Asked, Fake, Reply, Shows};
use super::{error, found, source, unchanged};

const SUBSCRIPTION: &str = "11111111-2222-3333-4444-555555555555";
const APP: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
const TOKENS: &str = "/contoso.example/oauth2/v2.0/token";

fn tags_path() -> String {
    format!(
        "/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Network/locations/westeurope/serviceTags"
    )
}

fn api(fake: &Fake, identity: &str) -> Source {
    let kind = format!(
        "[feeds.f.discovery]\nsubscription = \"{SUBSCRIPTION}\"\nlocation = \"westeurope\"\n\
         resource-manager = \"{0}\"\nlogin = \"{0}\"\n{identity}",
        fake.url("/")
    );
    source(fake, &kind, "")
}

fn with_secret(fake: &Fake) -> Source {
    let file = fake.file("secret", "CLIENTSECRET+&=\n");
    api(
        fake,
        &format!(
            "[feeds.f.discovery.client-secret]\ntenant = \"contoso.example\"\nclient-id = \"{APP}\"\nsecret-file = \"{}\"",
            file.display()
        ),
    )
}

fn grant(fake: &Fake, path: &str, lifetime: &str) {
    let body = format!(
        "{{\"token_type\":\"Bearer\",\"expires_in\":{lifetime},\"access_token\":\"TOKEN\"}}"
    );
    fake.on(path, Reply::ok(body));
}

/// The document as the API writes it, in pages of so many tags.
fn pages(fake: &Fake, number: u64, size: usize) {
    let document: serde_json::Value = serde_json::from_str(EXAMPLE_DOCUMENT).unwrap();
    let values: Vec<_> = document["values"].as_array().unwrap().clone();
    let next = fake.url(&tags_path());
    fake.on_each(&tags_path(), move |asked| {
        if asked.header("authorization") != Some("Bearer TOKEN") {
            return Reply::new(401, "");
        }
        let page: usize =
            asked.target.split("skip=").nth(1).map_or(0, |text| text.parse().unwrap());
        let mut chunks = values.chunks(size);
        let chunk = chunks.nth(page).unwrap();
        let mut body = serde_json::json!({
            "name": "Example", "id": "x", "type": "Microsoft.Network/serviceTags",
            "changeNumber": number.to_string(), "cloud": "Example", "values": chunk,
        });
        if chunks.next().is_some() {
            body["nextLink"] = format!("{next}?api-version=2024-05-01&skip={}", page + 1).into();
        }
        Reply::ok(body.to_string())
    });
}

#[tokio::test]
async fn pages_become_one_document_and_the_token_is_kept() {
    let fake = Fake::start();
    grant(&fake, TOKENS, "3600");
    pages(&fake, 7, 3);
    let mut source = with_secret(&fake);
    let first = found(&mut source).await;
    let whole = tagwall::feed::example(&tagwall::snapshot::Policy::default()).unwrap();
    assert_eq!(first.publication.digest(), whole.digest());
    assert_eq!(first.publication.snapshot.change_number(), 7);
    let asked = &fake.asked(TOKENS)[0];
    assert_eq!(asked.method, "POST");
    assert!(asked.body.contains("client_secret=CLIENTSECRET%2B%26%3D"), "{}", asked.body);
    assert!(asked.body.contains("grant_type=client_credentials"));
    assert!(asked.body.contains("%2F.default"), "{}", asked.body);
    assert!(fake.asked(&tags_path())[0].target.ends_with("?api-version=2024-05-01"));
    unchanged(&mut source).await;
    assert_eq!(fake.asked(TOKENS).len(), 1, "the token is asked for each time");
    // One that is not taken any more is renewed, once.
    fake.on(&tags_path(), Reply::new(401, ""));
    let refused = error(&mut source).await;
    assert!(matches!(refused, FeedError::Web(WebError::Status { status: 401, .. })), "{refused:?}");
    assert_eq!(fake.asked(TOKENS).len(), 2);
    // What ends within minutes is not kept.
    grant(&fake, TOKENS, "\"200\"");
    pages(&fake, 8, 1000);
    let mut other = with_secret(&fake);
    found(&mut other).await;
    unchanged(&mut other).await;
    assert_eq!(fake.asked(TOKENS).len(), 4);
}

#[tokio::test]
async fn pages_that_do_not_belong_together_are_refused() {
    let fake = Fake::start();
    let elsewhere = Fake::start();
    grant(&fake, TOKENS, "3600");
    let head = "\"changeNumber\":\"1\",\"cloud\":\"Example\",\"values\":[]";
    let own = fake.url(&tags_path());
    for (next, expected) in [
        (elsewhere.url("/x"), "leads to another server"),
        ("http://localhost/".to_owned(), "leads to another server"),
        ("no url".to_owned(), "is no URL"),
        (format!("{own}?api-version=2024-05-01"), "do not end"),
    ] {
        fake.on(&tags_path(), Reply::ok(format!("{{{head},\"nextLink\":\"{next}\"}}")));
        let text = error(&mut with_secret(&fake)).await.to_string();
        assert!(text.contains(expected), "{next}: {text}");
    }
    assert_eq!(elsewhere.count(), 0, "the token went elsewhere");
    // Endless, each page new.
    let count = Arc::new(AtomicUsize::new(0));
    fake.on_each(&tags_path(), move |_| {
        let next = format!("{own}?page={}", count.fetch_add(1, Ordering::SeqCst));
        Reply::ok(format!("{{{head},\"nextLink\":\"{next}\"}}"))
    });
    let text = error(&mut with_secret(&fake)).await.to_string();
    assert!(text.contains("do not end"), "{text}");
    // A new publication between two pages.
    let own = fake.url(&tags_path());
    fake.on_each(&tags_path(), move |asked| {
        let second = asked.target.contains("second");
        let next = if second { String::new() } else { format!(",\"nextLink\":\"{own}?second\"") };
        let number = if second { 2 } else { 1 };
        Reply::ok(format!(
            "{{\"changeNumber\":\"{number}\",\"cloud\":\"Example\",\"values\":[]{next}}}"
        ))
    });
    let changed = error(&mut with_secret(&fake)).await;
    assert!(changed.to_string().contains("changed while its pages were read"), "{changed}");
    assert!(changed.is_transient());
    for body in ["<html>", "{}", "{\"changeNumber\":1}"] {
        fake.on(&tags_path(), Reply::ok(body));
        assert!(matches!(error(&mut with_secret(&fake)).await, FeedError::Pages { .. }), "{body}");
    }
}

#[tokio::test]
async fn refused_tokens_show_azures_code_and_no_secret() {
    let fake = Fake::start();
    for (status, body, expected, transient) in [
        (
            401,
            "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000222: The provided client secret keys CLIENTSECRET are expired.\",\"error_codes\":[7000222]}",
            "invalid_client, AADSTS7000222: the client secret is over",
            false,
        ),
        (
            400,
            "{\"error\":\"unauthorized_client\",\"error_description\":\"AADSTS700016: no such application\"}",
            "AADSTS700016: the tenant has no such application",
            false,
        ),
        (400, "{\"error\":\"<script>CLIENTSECRET\"}", "status 400", false),
        (503, "{\"error\":\"temporarily_unavailable\"}", "temporarily_unavailable", true),
        (429, "slow down", "status 429", true),
        (200, "{\"access_token\":{\"CLIENTSECRET\":1}}", "the answer holds none", true),
        (200, "<html>CLIENTSECRET</html>", "the answer holds none", true),
    ] {
        fake.on(TOKENS, Reply::new(status, body).header("Retry-After", "30"));
        let refused = error(&mut with_secret(&fake)).await;
        let text = refused.to_string();
        assert!(text.contains(expected), "{text}");
        assert!(!format!("{refused:?}{text}").contains("CLIENTSECRET"), "{refused:?}");
        assert_eq!(refused.is_transient(), transient, "{refused:?}");
        let pause = refused.retry_after().map(|pause| pause.as_secs());
        assert_eq!(pause, (status != 200).then_some(30), "{refused:?}");
    }
    assert_eq!(fake.asked(&tags_path()).len(), 0);
}

/// An RSA key and certificate, in both forms that keys are kept in.
fn rsa(fake: &Fake) -> Option<(PathBuf, PathBuf, PathBuf)> {
    let (certificate, key) = (fake.file("app.pem", ""), fake.file("app.key", ""));
    let old = fake.file("app.rsa", "");
    let run = |arguments: &[&str]| {
        Command::new("openssl").args(arguments).output().is_ok_and(|output| output.status.success())
    };
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let made = run(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=tagwall",
        "-days",
        "30",
        "-keyout",
        &text(&key),
        "-out",
        &text(&certificate),
    ]) && run(&["rsa", "-in", &text(&key), "-traditional", "-out", &text(&old)]);
    if !made {
        eprintln!("skipped: openssl is not installed");
        return None;
    }
    Some((certificate, key, old))
}

#[tokio::test]
async fn an_application_signs_with_its_certificate() {
    let fake = Fake::start();
    let Some((certificate, key, old)) = rsa(&fake) else { return };
    grant(&fake, TOKENS, "3600");
    pages(&fake, 1, 1000);
    for key in [key, old] {
        let mut source = api(
            &fake,
            &format!(
                "[feeds.f.discovery.client-certificate]\ntenant = \"contoso.example\"\nclient-id = \"{APP}\"\n\
                 certificate-file = \"{}\"\nkey-file = \"{}\"",
                certificate.display(),
                key.display()
            ),
        );
        found(&mut source).await;
        let asked = fake.asked(TOKENS).pop().unwrap();
        let field = |name: &str| {
            url::form_urlencoded::parse(asked.body.as_bytes())
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
                .unwrap()
        };
        assert_eq!(
            field("client_assertion_type"),
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        );
        let assertion = field("client_assertion");
        let parts: Vec<&str> = assertion.split('.').collect();
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let json = |text| serde_json::from_slice::<serde_json::Value>(&decode(text)).unwrap();
        let (header, claims) = (json(parts[0]), json(parts[1]));
        assert_eq!(header["alg"], "RS256");
        assert_eq!(claims["iss"], APP);
        assert_eq!(claims["aud"], fake.url(TOKENS));
        assert!(claims["exp"].as_i64().unwrap() > claims["nbf"].as_i64().unwrap());
        // openssl knows the same thumbprint, and the certificate's own key fits the signature.
        let output = Command::new("openssl")
            .args(["x509", "-noout", "-fingerprint", "-sha1", "-in"])
            .arg(&certificate)
            .output()
            .unwrap();
        let fingerprint = String::from_utf8(output.stdout).unwrap();
        let hex: String = decode(header["x5t"].as_str().unwrap())
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect::<Vec<_>>()
            .concat();
        assert_eq!(fingerprint.trim().rsplit('=').next().unwrap().replace(':', ""), hex);
        let pem = std::fs::read(&certificate).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
        let parsed = pem.parse_x509().unwrap();
        let public = &parsed.public_key().subject_public_key.data;
        ring::signature::UnparsedPublicKey::new(
            &ring::signature::RSA_PKCS1_2048_8192_SHA256,
            public,
        )
        .verify(format!("{}.{}", parts[0], parts[1]).as_bytes(), &decode(parts[2]))
        .unwrap();
    }
}

const METADATA: &str = "/metadata/identity/oauth2/token";

fn machine(asked: &Asked) -> Option<Reply> {
    (asked.header("metadata") != Some("true")).then(|| Reply::new(400, "Metadata header missing"))
}

#[tokio::test]
async fn a_virtual_machine_has_an_identity() {
    let fake = Fake::start();
    let service = Fake::showing(Shows::Plain);
    pages(&fake, 1, 1000);
    service.on_each(METADATA, |asked| {
        machine(asked).unwrap_or_else(|| {
            Reply::ok(
                "{\"access_token\":\"TOKEN\",\"expires_in\":\"86399\",\"token_type\":\"Bearer\"}",
            )
        })
    });
    let identity = format!(
        "[feeds.f.discovery.managed-identity]\nclient-id = \"{APP}\"\nendpoint = \"{}\"",
        service.url("/")
    );
    found(&mut api(&fake, &identity)).await;
    let target = &service.asked(METADATA)[0].target;
    assert!(target.contains("api-version=2018-02-01&resource=https%3A%2F%2Flocalhost"), "{target}");
    assert!(target.ends_with(&format!("client_id={APP}")), "{target}");
    service.on(
        METADATA,
        Reply::new(
            400,
            "{\"error\":\"invalid_request\",\"error_description\":\"Identity not found\"}",
        ),
    );
    let text = error(&mut api(&fake, &identity)).await.to_string();
    assert!(text.contains("status 400, invalid_request"), "{text}");
    // A metadata service never sends anybody elsewhere.
    service.on(METADATA, Reply::redirect(&fake.url("/metadata")));
    assert!(matches!(error(&mut api(&fake, &identity)).await, FeedError::Token { .. }));
    assert_eq!(fake.asked("/metadata").len(), 0);
}

#[tokio::test]
async fn azure_arc_challenges_and_is_answered_with_its_own_file_only() {
    let fake = Fake::start();
    let service = Fake::showing(Shows::Plain);
    pages(&fake, 1, 1000);
    let key = fake.file("challenge.key", "CHALLENGE");
    let large = fake.file("large.key", &"x".repeat(5000));
    let password = fake.file("password.txt", "PASSWORD");
    let folder = key.parent().unwrap().to_owned();
    let identity = format!(
        "[feeds.f.discovery.arc]\nendpoint = \"{}\"\ntoken-folder = \"{}\"",
        service.url("/"),
        folder.display()
    );
    let challenge = |realm: String| {
        service.on_each(METADATA, move |asked| {
            machine(asked).unwrap_or_else(|| match asked.header("authorization") {
                Some("Basic CHALLENGE") => {
                    Reply::ok("{\"access_token\":\"TOKEN\",\"expires_in\":\"3600\"}")
                }
                Some(_) => Reply::new(403, ""),
                None => Reply::new(401, "").header("WWW-Authenticate", &realm),
            })
        });
    };
    challenge(format!("Basic realm={}", key.display()));
    found(&mut api(&fake, &identity)).await;
    assert!(service.asked(METADATA)[0].target.contains("api-version=2020-06-01"));
    for (realm, expected) in [
        (format!("Basic realm={}", password.display()), "no `.key` file"),
        ("Basic realm=/etc/shadow".to_owned(), "no `.key` file"),
        (
            format!("Basic realm={}/../{}/challenge.key", folder.display(), folder.display()),
            "no `.key` file",
        ),
        (format!("Basic realm={}", large.display()), "larger than the 4096 bytes"),
        (format!("Basic realm={}/none.key", folder.display()), "could not open"),
        ("Digest realm=x".to_owned(), "it names no file"),
    ] {
        let before = service.count();
        challenge(realm.clone());
        let text = error(&mut api(&fake, &identity)).await.to_string();
        assert!(text.contains(expected), "{realm}: {text}");
        assert_eq!(service.count(), before + 1, "{realm}: something was sent");
    }
}
