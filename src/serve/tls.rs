//! A certificate with its key, checked before it is taken.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::{ClientCertificate, ServeTls, TlsVersion};
use crate::os::files::{self, FileError};
use crate::os::printable::printable;
use crate::os::secret::{Secret, SecretError};

/// Largest file of certificates, in bytes: a bundle of all public authorities has 250 kB.
const MAX_BYTES: u64 = 1 << 20;

/// A certificate in service.
#[derive(Debug)]
pub(super) struct Keyring {
    pub(super) config: Arc<ServerConfig>,
    /// The latest beginning of a certificate of the chain.
    pub(super) begins: Timestamp,
    /// The earliest end of one.
    pub(super) ends: Timestamp,
}

/// Why a certificate is not taken.
#[derive(Debug, Error)]
pub(super) enum TlsError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("{path} holds no certificate in PEM", path = .0.display())]
    NoCertificate(PathBuf),
    #[error("{path}, certificate {number}: {problem}", path = path.display())]
    Certificate { path: PathBuf, number: usize, problem: String },
    #[error("{path} holds no private key in PEM", path = .0.display())]
    NoKey(PathBuf),
    #[error("{key} and {certificate} do not belong together, or are not usable: {source}", key = key.display(),
            certificate = certificate.display())]
    Pair { key: PathBuf, certificate: PathBuf, source: rustls::Error },
    #[error("{path} cannot vouch for clients: {source}", path = path.display())]
    ClientCa { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
}

impl Keyring {
    /// Reads and checks everything: the chain is in order and in its time, and the key is the certificate's.
    pub(super) fn load(settings: &ServeTls, now: Timestamp) -> Result<Self, TlsError> {
        let chain = certificates(&settings.certificate)?;
        let (begins, ends) = span(&settings.certificate, &chain, now)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let pair = |source| TlsError::Pair {
            key: settings.key.clone(),
            certificate: settings.certificate.clone(),
            source,
        };
        let versions: &[_] = match settings.min_version {
            TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::V1_3 => &[&rustls::version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(pair)?;
        let builder = match &settings.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => builder.with_client_cert_verifier(verifier(
                path,
                settings.client_certificate,
                provider,
            )?),
        };
        let mut config =
            builder.with_single_cert(chain, private_key(&settings.key)?).map_err(pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), begins, ends })
    }

    /// Whether clients would refuse it for the time.
    pub(super) fn is_out_of_time(&self, now: Timestamp) -> bool {
        now < self.begins || now >= self.ends
    }
}

/// The name by which a client's certificate is shown.
pub(super) fn subject(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let common =
        certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let shown = common.map_or_else(|| certificate.subject().to_string(), str::to_owned);
    Some(printable(&shown, 100))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = files::read_bounded(path, MAX_BYTES)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::NoCertificate(path.to_owned()))?;
    if chain.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(chain) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = Secret::from_file(path)?;
    PrivateKeyDer::from_pem_slice(text.expose().as_bytes())
        .map_err(|_| TlsError::NoKey(path.to_owned()))
}

/// The time in which every certificate of the chain is valid; an error when it is not now, or the order is wrong.
fn span(
    path: &Path,
    chain: &[CertificateDer<'static>],
    now: Timestamp,
) -> Result<(Timestamp, Timestamp), TlsError> {
    let mut span = (Timestamp::MIN, Timestamp::MAX);
    let mut issuer = None;
    for (index, der) in chain.iter().enumerate() {
        let wrong = |problem: String| TlsError::Certificate {
            path: path.to_owned(),
            number: index + 1,
            problem,
        };
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| wrong(error.to_string()))?;
        let subject = certificate.subject().as_raw().to_vec();
        if issuer.is_some_and(|issuer| issuer != subject) {
            return Err(wrong(
                "it did not sign the one before it; put the chain in order".to_owned(),
            ));
        }
        issuer = Some(certificate.issuer().as_raw().to_vec());
        let validity = certificate.validity();
        let time = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|error| wrong(error.to_string()))
        };
        let (begins, ends) = (time(validity.not_before)?, time(validity.not_after)?);
        if now < begins {
            return Err(wrong(format!("it is valid from {begins} on only; is the clock right?")));
        }
        if now >= ends {
            return Err(wrong(format!("it expired at {ends}; renew it")));
        }
        span = (span.0.max(begins), span.1.min(ends));
    }
    Ok(span)
}

fn verifier(
    path: &Path,
    wanted: ClientCertificate,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let unfit = |source: Box<dyn std::error::Error + Send + Sync>| TlsError::ClientCa {
        path: path.to_owned(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unfit(error.into()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match wanted {
        ClientCertificate::Required => builder,
        ClientCertificate::Accepted => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| unfit(error.into()))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use std::io::Write as _;

    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn put(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&path, mode).unwrap();
            path
        }
    }

    fn params(from: i32, to: i32) -> CertificateParams {
        let mut params = CertificateParams::new(vec!["tagwall.example.net".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        params
    }

    fn load(folder: &Folder, certificate: &str, key: &str) -> Result<Keyring, String> {
        let settings = ServeTls {
            certificate: folder.put("cert.pem", certificate),
            key: folder.put("key.pem", key),
            min_version: TlsVersion::V1_2,
            client_ca: None,
            client_certificate: ClientCertificate::Required,
            warn_before: ServeTls::WARN_BEFORE,
        };
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        Keyring::load(&settings, now).map_err(|error| error.to_string())
    }

    #[test]
    fn what_clients_would_refuse_is_refused_here() {
        let folder = Folder::new();
        let key = KeyPair::generate().unwrap();
        let good = params(2025, 2027).self_signed(&key).unwrap().pem();
        let keyring = load(&folder, &good, &key.serialize_pem()).unwrap();
        assert_eq!(keyring.ends.to_string(), "2027-01-01T00:00:00Z");
        assert!(keyring.is_out_of_time("2027-01-01T00:00:00Z".parse().unwrap()));
        assert!(!keyring.is_out_of_time("2026-12-31T23:59:59Z".parse().unwrap()));

        let other = KeyPair::generate().unwrap();
        let late = params(2027, 2028).self_signed(&key).unwrap().pem();
        let old = params(2024, 2026).self_signed(&key).unwrap().pem();
        for (certificate, key, words) in [
            (good.as_str(), other.serialize_pem(), "do not belong together"),
            (&late, key.serialize_pem(), "is valid from 2027"),
            (&old, key.serialize_pem(), "expired at 2026"),
            (&format!("{good}{good}{old}"), key.serialize_pem(), "certificate 3: it expired"),
            ("", key.serialize_pem(), "holds no certificate"),
            (&good, good.clone(), "holds no private key"),
            (&good.replace('M', "A"), key.serialize_pem(), "certificate"),
        ] {
            let error = load(&folder, certificate, &key).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_chain_out_of_order_is_refused() {
        let folder = Folder::new();
        let key = KeyPair::generate().unwrap();
        let named = |name: &str| {
            let mut params = params(2025, 2027);
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.self_signed(&key).unwrap().pem()
        };
        let error = load(&folder, &(named("a") + &named("b")), &key.serialize_pem()).unwrap_err();
        assert!(error.contains("put the chain in order"), "{error}");
    }
}
