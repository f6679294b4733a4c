//! Who may see what: users, passwords, client certificates.
//!
//! A client is told that it has no right (401, 403) only when that is so. When *we* cannot tell, because the password file cannot
//! be read or too many ask at once, it is told to come again (503): a firewall stops enforcing a list that it was refused.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::header::{AUTHORIZATION, HeaderMap};
use tokio::sync::Semaphore;

use super::credentials::Credentials;
use super::users::{LONGEST_PASSWORD, Verified};
use crate::config::{Area, ClientCertificate, ServeSettings};

/// Passwords that are verified at once, the others wait.
const AT_WORK: usize = 1;
/// Passwords that wait to be verified. A hash takes some 60 ms, or half a second on a busy host: nobody waits for long.
const WAITING: usize = 8;

/// What keeps the passwords that were verified, and how many are at once.
#[derive(Debug)]
pub(super) struct Gate {
    verified: Arc<Verified>,
    work: Semaphore,
    queue: Semaphore,
}

/// Whether a client may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may; its name when it gave one.
    Welcome(Option<String>),
    /// It gave no name and password.
    Unknown,
    /// Name and password are wrong.
    Wrong,
    /// It needs a certificate, and there are no passwords.
    NeedsCertificate,
    /// We cannot tell.
    CannotTell(&'static str),
}

impl Gate {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self {
            verified: Arc::new(Verified::new(key)),
            work: Semaphore::new(AT_WORK),
            queue: Semaphore::new(AT_WORK + WAITING),
        }
    }

    /// Decides about one request.
    pub(super) async fn judge(
        &self,
        settings: &ServeSettings,
        credentials: &Credentials,
        area: Area,
        headers: &HeaderMap,
        certificate: Option<&str>,
    ) -> Verdict {
        let has_users = settings.access.users.is_some();
        let accepted = settings
            .tls
            .as_ref()
            .is_some_and(|tls| tls.client_certificate == ClientCertificate::Accepted);
        if let Some(subject) = certificate
            && (accepted || !has_users)
        {
            return Verdict::Welcome(Some(subject.to_owned()));
        }
        let given = basic(headers);
        if !settings.protects(area) {
            // A name that nobody verified is none.
            return Verdict::Welcome(None);
        }
        if !has_users {
            return Verdict::NeedsCertificate;
        }
        let Some(users) = credentials.users() else {
            return Verdict::CannotTell("the password file cannot be used");
        };
        let Some((name, password)) = given else { return Verdict::Unknown };
        if self.verified.knows(&users, &name, &password, Instant::now()) {
            return Verdict::Welcome(Some(name));
        }
        let Ok(_place) = self.queue.try_acquire() else {
            return Verdict::CannotTell("too many passwords are to be verified");
        };
        let Ok(_turn) = self.work.acquire().await else {
            return Verdict::CannotTell("the server stops");
        };
        let verified = Arc::clone(&self.verified);
        let slow = tokio::task::spawn_blocking(move || {
            // Somebody before us in the queue may have brought the same.
            if verified.knows(&users, &name, &password, Instant::now()) {
                return Some(name);
            }
            let hash = users.verify(&name, &password)?;
            verified.learn(&name, &password, hash, Instant::now());
            Some(name)
        });
        match slow.await {
            Ok(Some(name)) => Verdict::Welcome(Some(name)),
            Ok(None) => Verdict::Wrong,
            Err(_) => Verdict::CannotTell("the password could not be verified"),
        }
    }
}

/// Name and password of a request; none when it has none that could be right.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || encoded.len() > 2 * LONGEST_PASSWORD {
        return None;
    }
    let text = String::from_utf8(BASE64.decode(encoded.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}
