//! A signed assertion in the place of a client secret (RFC 7523), as Entra ID takes it from applications with a certificate.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::digest;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::rsa::KeyPair;
use ring::signature::RSA_PKCS1_SHA256;
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;

use crate::config::{Guid, SecretFile};
use crate::feed::FeedError;
use crate::os::secret::Secret;
use crate::web;

/// How long an assertion is good, in seconds.
const LIFETIME: i64 = 600;

/// Signs an assertion of an application for this audience.
pub(super) fn sign(
    certificate: &Path,
    key: &SecretFile,
    client_id: &Guid,
    audience: &str,
    now: Timestamp,
) -> Result<Secret, FeedError> {
    let refuse = |reason: &str| {
        FeedError::Unusable(format!(
            "cannot sign with the key of {}: {reason}",
            certificate.display()
        ))
    };
    let certificates = web::certificates(certificate)?;
    let own = certificates.first().ok_or_else(|| refuse("there is no certificate"))?;
    let key = web::private_key(key)?;
    let pair = match &key {
        PrivateKeyDer::Pkcs8(key) => KeyPair::from_pkcs8(key.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(key) => KeyPair::from_der(key.secret_pkcs1_der()),
        _ => return Err(refuse("Entra ID takes RSA keys only")),
    };
    let pair = pair.map_err(|error| {
        refuse(&format!("{error}; Entra ID takes RSA keys of 2048 bits or more"))
    })?;
    let thumbprint = |algorithm| URL_SAFE_NO_PAD.encode(digest::digest(algorithm, own));
    let random = SystemRandom::new();
    let mut once = [0; 16];
    random.fill(&mut once).map_err(|_| refuse("the system has no random numbers"))?;
    let header = json!({
        "alg": "RS256",
        "typ": "JWT",
        "x5t": thumbprint(&digest::SHA1_FOR_LEGACY_USE_ONLY),
        "x5t#S256": thumbprint(&digest::SHA256),
    });
    let claims = json!({
        "aud": audience,
        "iss": client_id.as_str(),
        "sub": client_id.as_str(),
        "jti": URL_SAFE_NO_PAD.encode(once),
        "nbf": now.as_second(),
        "exp": now.as_second() + LIFETIME,
    });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&header), part(&claims));
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature)
        .map_err(|_| refuse("signing failed"))?;
    Ok(Secret::new(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))))
}
