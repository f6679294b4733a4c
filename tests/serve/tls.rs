//! TLS with the clients that people have: versions, wrong authorities, client certificates, renewal, expiry.
#![allow(
    clippy::single_match_else,
    clippy::single_match,
    reason = "both outcomes stand side by side"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::access::put_secret;
use crate::support::*;

/// An authority with a name.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// Puts `NAME.pem` and `NAME.key` into a folder; the certificate ends this long from now.
    fn issue(&self, folder: &Path, name: &str, ends_in: Duration) {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let now = std::time::SystemTime::now();
        params.not_before = (now - Duration::from_secs(60)).into();
        params.not_after = (now + ends_in).into();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        put_secret(&folder.join(format!("{name}.key")), key.serialize_pem().as_bytes());
        put_secret(&folder.join(format!("{name}.pem")), certificate.pem().as_bytes());
    }
}

const DAY: Duration = Duration::from_secs(86_400);
const TLS: &str = "[serve.tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n";

/// A house with TLS, with `ca.pem` of its authority.
pub(crate) fn house(tls: &str) -> (House, Authority) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("tagwall test authority");
    put_secret(&folder.path().join("ca.pem"), authority.certificate.pem().as_bytes());
    authority.issue(folder.path(), "server", 90 * DAY);
    let house = House::open_in(folder, &format!("socket = \"http.sock\"\n{TLS}{tls}"));
    house.show(&lists(1, &[("fw", "a.txt", "192.0.2.0/24\n")]));
    (house, authority)
}

/// What curl made of the list; nothing (and a word about it) where there is no curl.
fn curl(house: &House, options: &[&str]) -> Option<Output> {
    let folder = house.folder.path();
    let mut command = Command::new("curl");
    command.current_dir(folder).args(["--silent", "--show-error", "--max-time", "20"]);
    command
        .args(options)
        .arg(format!("https://localhost:{}/lists/fw/a.txt", house.address().port()));
    match command.output() {
        Ok(output) => Some(output),
        Err(_) => {
            eprintln!("skipped: curl is not installed");
            None
        }
    }
}

#[test]
fn curl_is_served_in_both_versions_and_refuses_a_stranger() {
    let (house, _) = house("");
    for options in [["--tls-max", "1.2"], ["--tlsv1.3", "--tls13-ciphers"]] {
        let extra = if options[1] == "1.2" { vec!["--tls-max", "1.2"] } else { vec!["--tlsv1.3"] };
        let options: Vec<&str> = ["--cacert", "ca.pem"].into_iter().chain(extra).collect();
        let Some(output) = curl(&house, &options) else { return };
        assert_eq!(output.stdout, b"192.0.2.0/24\n", "{options:?}: {output:?}");
    }
    let other = Authority::new("somebody else");
    put_secret(&house.folder.path().join("other.pem"), other.certificate.pem().as_bytes());
    let Some(output) = curl(&house, &["--cacert", "other.pem"]) else { return };
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    // HTTP where TLS is spoken, and noise, are no harm.
    assert!(!house.raw(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").starts_with(b"HTTP"));
    assert!(!house.raw(&[0x16, 3, 1, 0xff, 0xff, 1, 2, 3, 0, 0, 0]).starts_with(b"HTTP"));
}

#[test]
fn a_minimum_version_is_kept() {
    let (house, _) = house("min-version = \"1.3\"\n");
    let Some(old) = curl(&house, &["--cacert", "ca.pem", "--tls-max", "1.2"]) else { return };
    assert!(!old.status.success(), "{old:?}");
    let Some(new) = curl(&house, &["--cacert", "ca.pem"]) else { return };
    assert!(new.status.success(), "{new:?}");
}

#[test]
fn python_fetches_like_a_device_that_keeps_its_connection() {
    let (house, _) = house("");
    let script = r#"
import http.client, ssl, sys
for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    context = ssl.create_default_context(cafile="ca.pem")
    context.minimum_version = context.maximum_version = version
    connection = http.client.HTTPSConnection("localhost", int(sys.argv[1]), context=context, timeout=20)
    connection.request("HEAD", "/lists/fw/a.txt")
    head = connection.getresponse(); head.read()
    connection.request("GET", "/lists/fw/a.txt")
    whole = connection.getresponse(); body = whole.read()
    assert body == b"192.0.2.0/24\n", body
    assert head.getheader("ETag") == whole.getheader("ETag")
    connection.request("GET", "/lists/fw/a.txt", headers={"If-None-Match": whole.getheader("ETag")})
    same = connection.getresponse()
    assert (same.status, same.read()) == (304, b"")
    print(connection.sock.version())
"#;
    let mut python = Command::new("python3");
    python.current_dir(house.folder.path());
    python.args(["-c", script, &house.address().port().to_string()]);
    let Ok(output) = python.output() else {
        eprintln!("skipped: python3 is not installed");
        return;
    };
    let words = String::from_utf8_lossy(&output.stdout);
    assert_eq!(words, "TLSv1.2\nTLSv1.3\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_client_without_a_certificate_stays_outside() {
    let (house, authority) = house("client-ca = \"ca.pem\"\n");
    authority.issue(house.folder.path(), "firewall-1", DAY);
    Authority::new("somebody else").issue(house.folder.path(), "stranger", DAY);
    let with = |name: &str| {
        let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
        curl(&house, &["--cacert", "ca.pem", "--cert", &certificate, "--key", &key])
    };
    let Some(known) = with("firewall-1") else { return };
    assert_eq!(known.stdout, b"192.0.2.0/24\n", "{known:?}");
    assert_eq!(house.server.status().clients[0].user.as_deref(), Some("firewall-1"));
    assert!(with("stranger").unwrap().stdout.is_empty());
    assert!(curl(&house, &["--cacert", "ca.pem"]).unwrap().stdout.is_empty());
}

#[test]
fn a_certificate_may_stand_in_for_a_password() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("tagwall test authority");
    put_secret(&folder.path().join("ca.pem"), authority.certificate.pem().as_bytes());
    authority.issue(folder.path(), "server", 90 * DAY);
    authority.issue(folder.path(), "firewall-1", DAY);
    let users = format!("edge:{}\n", bcrypt::hash("pass", 4).unwrap());
    put_secret(&folder.path().join("users"), users.as_bytes());
    let settings = format!(
        "{TLS}client-ca = \"ca.pem\"\nclient-certificate = \"accepted\"\n[serve.access]\nusers = \"users\"\n"
    );
    let house = House::open_in(folder, &settings);
    house.show(&lists(1, &[("fw", "a.txt", "192.0.2.0/24\n")]));
    let certificate = ["--cacert", "ca.pem", "--cert", "firewall-1.pem", "--key", "firewall-1.key"];
    for (options, served) in [
        (&certificate[..], true),
        (&["--cacert", "ca.pem", "--user", "edge:pass"], true),
        (&["--cacert", "ca.pem", "--user", "edge:word"], false),
        (&["--cacert", "ca.pem"], false),
    ] {
        let Some(output) = curl(&house, options) else { return };
        assert_eq!(output.stdout == b"192.0.2.0/24\n", served, "{options:?}: {output:?}");
    }
}

/// The digest of the certificate that is shown.
fn shown(house: &House) -> Option<Vec<u8>> {
    let address = house.address().to_string();
    let script = format!(
        "openssl s_client -connect {address} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256"
    );
    let output = Command::new("sh").args(["-c", &script]).output().ok()?;
    output.status.success().then_some(output.stdout)
}

#[test]
fn a_renewed_certificate_is_taken_and_a_bad_one_is_not() {
    let (house, authority) = house("");
    let Some(first) = shown(&house) else {
        eprintln!("skipped: openssl is not installed");
        return;
    };
    let folder = house.folder.path();
    // A certificate without its key: the old pair stays.
    let key = fs::read(folder.join("server.key")).unwrap();
    authority.issue(folder, "server", 60 * DAY);
    let renewed_key = fs::read(folder.join("server.key")).unwrap();
    put_secret(&folder.join("server.key"), &key);
    eventually("the fault is told", || {
        assert_eq!(shown(&house), Some(first.clone()), "the one before stays in service");
        !house.server.faults().is_empty()
    });
    assert!(
        house.server.faults()[0].contains("do not belong together"),
        "{:?}",
        house.server.faults()
    );
    put_secret(&folder.join("server.key"), &renewed_key);
    eventually("the renewed one is shown", || shown(&house).is_some_and(|now| now != first));
    assert!(house.server.faults().is_empty());
}

#[test]
fn an_expired_certificate_makes_the_server_unreachable_instead_of_untrusted() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("tagwall test authority");
    put_secret(&folder.path().join("ca.pem"), authority.certificate.pem().as_bytes());
    authority.issue(folder.path(), "server", Duration::from_secs(8));
    let house = House::open_in(folder, TLS);
    house.show(&lists(1, &[("fw", "a.txt", "192.0.2.0/24\n")]));
    assert!(house.server.certificate().unwrap().warn, "its end is near");
    if curl(&house, &["--cacert", "ca.pem"]).is_none() {
        return;
    }
    eventually("it has expired", || !house.server.certificate().unwrap().in_time);
    let output = curl(&house, &["--cacert", "ca.pem"]).unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && !words.contains("expired"),
        "no handshake was tried: {words}"
    );
    authority.issue(house.folder.path(), "server", 90 * DAY);
    eventually("the renewed one is taken", || {
        curl(&house, &["--cacert", "ca.pem"]).unwrap().stdout == b"192.0.2.0/24\n"
    });
}

#[test]
fn what_is_no_tls_is_refused_and_the_others_are_served() {
    let (house, _) = house("");
    let mut oversized = vec![0x16, 3, 1, 0xff, 0xff];
    oversized.resize(1 << 20, 0);
    let mut nothing_known = vec![0x16, 3, 1, 0, 47, 1, 0, 0, 43, 3, 3];
    nothing_known.extend([7; 32]);
    // No session, one cipher suite that does not exist, no compression.
    nothing_known.extend([0, 0, 2, 0xfa, 0xfa, 1, 0]);
    for hello in [
        b"GET /lists/fw/a.txt HTTP/1.1\r\nhost: x\r\n\r\n".as_slice(),
        &[0; 64],
        &[0x80, 46, 1, 0, 2, 0, 21, 0, 0, 0, 16],
        &[0x16, 3, 1, 0, 4, 1, 0, 0xff, 0xff],
        &[0x15, 3, 3, 0, 2, 2, 40],
        &oversized,
        &nothing_known,
    ] {
        let answer = house.raw(hello);
        // At most an alert, and never a word of HTTP.
        assert!(answer.len() <= 16 && !answer.starts_with(b"HTTP"), "{answer:?}");
    }
    eventually("nobody is left", || house.server.connections() == 0);
    assert_eq!(shown(&house).is_some(), Command::new("openssl").arg("version").output().is_ok());
    assert_eq!(house.get_unix("/healthz").status, 200);
}
