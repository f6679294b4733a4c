//! What the server is known by and knows others by: certificate and passwords, renewed without a stop.
//!
//! Files are looked at again at most every few seconds, and only when somebody connects: an idle server stays idle. What is bad
//! is refused with its reason, and what was good before stays in service.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::tls::Keyring;
use super::users::Users;
use crate::config::ServeSettings;

/// How long files are not looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Certificate and passwords in service.
#[derive(Debug)]
pub(super) struct Credentials {
    settings: ServeSettings,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    looked: Instant,
    tls: Held<Keyring>,
    users: Held<Users>,
}

/// What was taken last, and why something newer was not.
#[derive(Debug)]
struct Held<T> {
    stamps: Vec<Stamp>,
    value: Option<Arc<T>>,
    fault: Option<String>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { stamps: Vec::new(), value: None, fault: None }
    }
}

/// What tells a file from the one that replaced it; none when it cannot be looked at.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.size()))
}

impl<T> Held<T> {
    /// Loads anew when a file is another one than before, or when nothing is held.
    fn refresh(&mut self, paths: &[&PathBuf], load: impl FnOnce() -> Result<T, String>) {
        let stamps: Vec<Stamp> = paths.iter().map(|path| stamp(path)).collect();
        if stamps == self.stamps && self.fault.is_none() {
            return;
        }
        match load() {
            Ok(value) => {
                self.value = Some(Arc::new(value));
                self.fault = None;
            }
            Err(fault) => {
                if self.fault.as_ref() != Some(&fault) {
                    let stays =
                        if self.value.is_some() { "; the one before stays in service" } else { "" };
                    tracing::error!("{fault}{stays}");
                }
                self.fault = Some(fault);
            }
        }
        self.stamps = stamps;
    }
}

/// How long the certificate in service is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateTime {
    /// When the first certificate of the chain ends.
    pub ends: Timestamp,
    /// Whether clients would accept it now. Where not, connections are closed before a word.
    pub in_time: bool,
    /// Whether its end is near enough to be warned about.
    pub warn: bool,
}

impl Credentials {
    /// Loads what the settings name. Blocks. A fault does not keep the server from starting: it is told, and looked at again.
    pub(super) fn load(settings: &ServeSettings) -> Self {
        let state = State { looked: Instant::now(), tls: Held::default(), users: Held::default() };
        let credentials = Self { settings: settings.clone(), state: Mutex::new(state) };
        credentials.refresh(Timestamp::now());
        credentials
    }

    /// Those of new settings: what a bad file would lose is taken over from here.
    pub(super) fn reloaded(&self, settings: &ServeSettings) -> Self {
        let fresh = Self::load(settings);
        {
            let (old, mut new) = (self.state(), fresh.state());
            if new.tls.value.is_none() && settings.tls.is_some() {
                new.tls.value.clone_from(&old.tls.value);
            }
            if new.users.value.is_none() && settings.access.users.is_some() {
                new.users.value.clone_from(&old.users.value);
            }
        }
        fresh
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the files should be looked at again.
    pub(super) fn is_due(&self) -> bool {
        (self.settings.tls.is_some() || self.settings.access.users.is_some())
            && self.state().looked.elapsed() >= LOOK_AGAIN
    }

    /// Looks at the files, and loads those that changed. Blocks.
    pub(super) fn refresh(&self, now: Timestamp) {
        let mut state = self.state();
        state.looked = Instant::now();
        if let Some(settings) = &self.settings.tls {
            let paths: Vec<_> = [&settings.certificate, &settings.key]
                .into_iter()
                .chain(&settings.client_ca)
                .collect();
            state.tls.refresh(&paths, || Keyring::load(settings, now).map_err(|e| e.to_string()));
        }
        if let Some(path) = &self.settings.access.users {
            state.users.refresh(&[path], || Users::load(path).map_err(|e| e.to_string()));
        }
    }

    /// The certificate, when there is one that clients would accept for its time. A device that is shown an expired one stops
    /// enforcing its lists; one that reaches nobody keeps them.
    pub(super) fn keyring(&self, now: Timestamp) -> Option<Arc<Keyring>> {
        self.state().tls.value.clone().filter(|keyring| !keyring.is_out_of_time(now))
    }

    /// The passwords; none when they could not be read, which is no fault of a client.
    pub(super) fn users(&self) -> Option<Arc<Users>> {
        self.state().users.value.clone()
    }

    /// Why files are not in service.
    pub(super) fn faults(&self) -> Vec<String> {
        let state = self.state();
        state.tls.fault.iter().chain(&state.users.fault).cloned().collect()
    }

    /// The certificate in service.
    pub(super) fn certificate(&self, now: Timestamp) -> Option<CertificateTime> {
        let warn_before = self.settings.tls.as_ref()?.warn_before;
        let keyring = self.state().tls.value.clone()?;
        let warn_from = keyring.ends.checked_sub(jiff::SignedDuration::from(warn_before));
        Some(CertificateTime {
            ends: keyring.ends,
            in_time: !keyring.is_out_of_time(now),
            warn: warn_from.is_ok_and(|from| now >= from),
        })
    }
}
