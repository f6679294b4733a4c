//! Names and hashed passwords, and the memory of those that were verified.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bcrypt::HashParts;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use thiserror::Error;

use crate::os::printable::printable;
use crate::os::secret::{Secret, SecretError};

/// Passwords that one name may have at once: the old one and the new one, and room for a slip.
const MOST_HASHES: usize = 4;
/// Most expensive hash taken; each step doubles the time (14: about a second).
const MOST_COST: u32 = 14;
/// Verified credentials that are remembered.
const MOST_VERIFIED: usize = 1_024;
/// How long a verified credential is remembered after its last use.
const REMEMBERED: Duration = Duration::from_secs(3_600);
/// Longest password that is looked at; bcrypt itself takes 72 bytes.
pub(super) const LONGEST_PASSWORD: usize = 256;

/// The content of a password file.
#[derive(Debug)]
pub(super) struct Users {
    by_name: BTreeMap<String, Vec<String>>,
    /// Verified for names that are not there, so that an answer takes as long for these.
    decoy: String,
}

/// Why a password file is not taken.
#[derive(Debug, Error)]
pub(super) enum UsersError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("{file}, line {line}: {problem}")]
    Line { file: String, line: usize, problem: &'static str },
    #[error("{file} names nobody; add users with `htpasswd -B`")]
    Nobody { file: String },
}

impl Users {
    pub(super) fn load(path: &Path) -> Result<Self, UsersError> {
        let text = Secret::from_file(path)?;
        Self::parse(text.expose(), &path.display().to_string())
    }

    fn parse(text: &str, file: &str) -> Result<Self, UsersError> {
        let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut dearest: Option<(u32, String)> = None;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong =
                |problem| UsersError::Line { file: file.to_owned(), line: index + 1, problem };
            let (name, hash) = line
                .split_once(':')
                .ok_or_else(|| wrong("it is not NAME:HASH; write it with `htpasswd -B`"))?;
            if name.is_empty() || printable(name, usize::MAX) != name {
                return Err(wrong("the name is empty or has characters that cannot be shown"));
            }
            let cost = hash
                .parse::<HashParts>()
                .map_err(|_| {
                    wrong("the password is not hashed with bcrypt; write it with `htpasswd -B`")
                })?
                .get_cost();
            if cost > MOST_COST {
                return Err(wrong(
                    "the hash takes seconds to verify; write it with `htpasswd -B -C 10`",
                ));
            }
            let hashes = by_name.entry(name.to_owned()).or_default();
            if hashes.len() == MOST_HASHES {
                return Err(wrong("the name has more than four passwords; remove the old ones"));
            }
            hashes.push(hash.to_owned());
            if dearest.as_ref().is_none_or(|(known, _)| cost > *known) {
                dearest = Some((cost, hash.to_owned()));
            }
        }
        match dearest {
            Some((_, decoy)) => Ok(Self { by_name, decoy }),
            None => Err(UsersError::Nobody { file: file.to_owned() }),
        }
    }

    fn hashes(&self, name: &str) -> &[String] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether one of the name's hashes is of this password. Takes long, and as long for a name that is not there as for one
    /// with a single password.
    pub(super) fn verify(&self, name: &str, password: &str) -> Option<&str> {
        let hashes = self.hashes(name);
        if hashes.is_empty() {
            let _ = bcrypt::verify(password, &self.decoy);
            return None;
        }
        let fits = |hash: &&String| bcrypt::verify(password, hash).unwrap_or(false);
        hashes.iter().find(fits).map(String::as_str)
    }
}

/// Credentials that were verified: bcrypt is slow on purpose, and a firewall that asks for thirty lists would have it
/// work for seconds.
///
/// What is kept is a keyed digest of name, password and hash: nobody can read a password from it, a lookup tells nothing by
/// its time, and a hash that left the file is no longer found.
pub(super) struct Verified {
    key: [u8; 32],
    known: Mutex<HashMap<[u8; 32], Instant>>,
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Verified")
    }
}

impl Verified {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self { key, known: Mutex::default() }
    }

    /// Whether this password was verified against a hash that the name still has.
    pub(super) fn knows(&self, users: &Users, name: &str, password: &str, now: Instant) -> bool {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        users.hashes(name).iter().filter_map(|hash| self.tag(name, password, hash)).any(|tag| {
            match known.get_mut(&tag) {
                Some(used) if now.saturating_duration_since(*used) < REMEMBERED => {
                    *used = now;
                    true
                }
                _ => false,
            }
        })
    }

    pub(super) fn learn(&self, name: &str, password: &str, hash: &str, now: Instant) {
        let Some(tag) = self.tag(name, password, hash) else { return };
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if known.len() >= MOST_VERIFIED {
            known.retain(|_, used| now.saturating_duration_since(*used) < REMEMBERED);
        }
        if known.len() >= MOST_VERIFIED
            && let Some(oldest) = known.iter().min_by_key(|(_, used)| **used).map(|(tag, _)| *tag)
        {
            known.remove(&oldest);
        }
        known.insert(tag, now);
    }

    fn tag(&self, name: &str, password: &str, hash: &str) -> Option<[u8; 32]> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        for part in [name, password, hash] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        Some(mac.finalize().into_bytes().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(lines: &[(&str, &str)]) -> Users {
        let line = |(name, password): &(&str, &str)| {
            format!("{name}:{}\n", bcrypt::hash(password, 4).unwrap())
        };
        let text: Vec<String> = lines.iter().map(line).collect();
        Users::parse(&text.concat(), "users").unwrap()
    }

    #[test]
    fn the_old_password_and_the_new_one_are_both_good() {
        let users = users(&[("edge", "old"), ("edge", "new"), ("scrape", "metrics")]);
        assert!(users.verify("edge", "old").is_some() && users.verify("edge", "new").is_some());
        for (name, password) in [("edge", "metrics"), ("edge", ""), ("nobody", "old"), ("", "")] {
            assert!(users.verify(name, password).is_none(), "{name}:{password}");
        }
    }

    #[test]
    fn what_was_verified_is_known_until_its_hash_leaves_the_file() {
        let first = users(&[("edge", "old")]);
        let verified = Verified::new([7; 32]);
        let now = Instant::now();
        assert!(!verified.knows(&first, "edge", "old", now));
        let hash = first.verify("edge", "old").unwrap();
        verified.learn("edge", "old", hash, now);
        assert!(verified.knows(&first, "edge", "old", now));
        assert!(!verified.knows(&first, "edge", "older", now));
        assert!(!verified.knows(&first, "edg", "eold", now));
        assert!(!verified.knows(&first, "edge", "old", now + REMEMBERED * 2));
        let second = users(&[("edge", "new")]);
        assert!(!verified.knows(&second, "edge", "old", now));
    }

    #[test]
    fn the_memory_is_bounded() {
        let verified = Verified::new([7; 32]);
        let start = Instant::now();
        for number in 0..MOST_VERIFIED as u64 + 50 {
            verified.learn(
                "edge",
                &number.to_string(),
                "hash",
                start + Duration::from_millis(number),
            );
        }
        assert_eq!(verified.known.lock().unwrap().len(), MOST_VERIFIED);
    }

    #[test]
    fn a_line_that_is_not_bcrypt_is_named() {
        for (text, words) in [
            ("a:$apr1$x$y\n", "users, line 1: the password is not hashed with bcrypt"),
            ("# comment\n\nab\n", "users, line 3: it is not NAME:HASH"),
            (":$2y$05$x\n", "line 1: the name is empty"),
            ("# nobody\n", "names nobody"),
        ] {
            let error = Users::parse(text, "users").unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let dear = bcrypt::hash("x", 4).unwrap().replace("$04$", "$20$");
        let error = Users::parse(&format!("a:{dear}"), "users").unwrap_err().to_string();
        assert!(error.contains("takes seconds"), "{error}");
    }
}
