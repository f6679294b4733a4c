//! How it went with each receiver, for the status.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::NotifyError;
use crate::config::Name;
use crate::report::ReceiverStatus;
use crate::web;

type Cell = Arc<Mutex<ReceiverStatus>>;

/// All receivers of the configuration in use.
#[derive(Debug, Clone, Default)]
pub(super) struct Deliveries(Arc<Mutex<BTreeMap<Name, Cell>>>);

/// One receiver, as its task notes it down.
#[derive(Debug, Clone)]
pub(super) struct Delivery(Cell);

impl Deliveries {
    /// The receiver of this name, with nothing delivered yet.
    pub(super) fn of(&self, name: &Name, way: &str) -> Delivery {
        let status = ReceiverStatus {
            name: name.clone(),
            way: way.to_owned(),
            told: None,
            error: None,
            given_up: 0,
        };
        let cell = Arc::new(Mutex::new(status));
        locked(&self.0).insert(name.clone(), Arc::clone(&cell));
        Delivery(cell)
    }

    /// Forgets them: others follow.
    pub(super) fn forget(&self) {
        locked(&self.0).clear();
    }

    pub(super) fn all(&self) -> Vec<ReceiverStatus> {
        locked(&self.0).values().map(|cell| locked(cell).clone()).collect()
    }
}

impl Delivery {
    /// A message was delivered.
    pub(super) fn told(&self) {
        let mut status = locked(&self.0);
        status.told = Some(Timestamp::now());
        status.error = None;
    }

    /// A message was not delivered; whether it is tried again.
    pub(super) fn failed(&self, error: &NotifyError, given_up: bool) {
        let mut status = locked(&self.0);
        status.error = Some(web::chain(error));
        status.given_up += u64::from(given_up);
    }
}

/// Nothing can panic while it is locked.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
