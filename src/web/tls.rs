//! TLS as a client: whom we trust, and who we are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::WebError;
use super::error::chain;
use crate::config::{Connection, SecretFile};
use crate::os::files;

/// Largest file of certificates read, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// The end of a certificate that we show to servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateEnd {
    /// Its file.
    pub path: PathBuf,
    /// When it ends.
    pub at: Timestamp,
}

/// The settings of TLS for a connection whose relative paths are located.
pub fn client_settings(connection: &Connection) -> Result<ClientConfig, WebError> {
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| setup("use TLS", &error))?
            .with_root_certificates(roots(connection)?);
    let (Some(certificate), Some(key)) = (&connection.certificate_file, &connection.key_file)
    else {
        return Ok(builder.with_no_client_auth());
    };
    builder
        .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
        .map_err(|error| setup(&format!("use the certificate {}", certificate.display()), &error))
}

fn roots(connection: &Connection) -> Result<RootCertStore, WebError> {
    let mut roots = RootCertStore::empty();
    if !connection.ca_file_only {
        let found = rustls_native_certs::load_native_certs();
        // One that cannot be read is of no use to anybody; that there is none at all is said below.
        roots.add_parsable_certificates(found.certs);
    }
    if let Some(path) = &connection.ca_file {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| {
                setup(&format!("trust the authorities of {}", path.display()), &error)
            })?;
        }
    }
    // With no authority at all every https server would be refused with a riddle. Plain http needs none.
    Ok(roots)
}

/// The certificates of a PEM file, at least one.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, WebError> {
    let what = format!("read the certificates in {}", path.display());
    let bytes = files::read_bounded(path, MAX_BYTES).map_err(|error| setup(&what, &error))?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| setup(&what, &error))?;
    if found.is_empty() {
        let reason = "there is none; PEM with `-----BEGIN CERTIFICATE-----` is expected".to_owned();
        return Err(WebError::Setup { what, reason });
    }
    Ok(found)
}

/// The private key of a PEM file.
pub fn private_key(file: &SecretFile) -> Result<PrivateKeyDer<'static>, WebError> {
    let what = "read the private key";
    let secret = file.load().map_err(|error| setup(what, &error))?;
    PrivateKeyDer::from_pem_slice(secret.expose().as_bytes()).map_err(|error| setup(what, &error))
}

/// When the certificate of a PEM file ends: the first in it, which is our own.
pub fn certificate_end(path: &Path) -> Result<CertificateEnd, WebError> {
    let certificates = certificates(path)?;
    let end = certificates.first().and_then(|certificate| {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()
    });
    end.map(|at| CertificateEnd { path: path.to_owned(), at }).ok_or_else(|| WebError::Setup {
        what: format!("read the certificate in {}", path.display()),
        reason: "it is no X.509 certificate".to_owned(),
    })
}

fn setup(what: &str, error: &(dyn std::error::Error + 'static)) -> WebError {
    WebError::Setup { what: what.to_owned(), reason: chain(error) }
}
