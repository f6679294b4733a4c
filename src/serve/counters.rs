//! What the server counts of itself.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

/// Bounds of the time to an answer, in seconds: a list from memory, a page, a password.
const SECONDS: [f64; 8] = [0.000_25, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0];

/// Counts of one server.
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) requests: Family<Request, Counter>,
    pub(super) seconds: Histogram,
    pub(super) bytes: Counter,
    pub(super) connections: Counter,
    pub(super) refused: Family<Refused, Counter>,
    pub(super) panics: Counter,
}

/// A request that was answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Request {
    pub(super) area: &'static str,
    pub(super) code: u16,
}

/// A connection that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Refused {
    pub(super) reason: Reason,
}

/// Why a connection came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "these are the values of a label")]
pub(super) enum Reason {
    /// There were too many.
    full,
    /// The client had too many.
    client_full,
    /// The client is in no allowed network.
    network,
    /// There is no certificate in service.
    certificate,
    /// The handshake failed.
    handshake,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            seconds: Histogram::new(SECONDS),
            bytes: Counter::default(),
            connections: Counter::default(),
            refused: Family::default(),
            panics: Counter::default(),
        }
    }
}

impl Counters {
    pub(super) fn refuse(&self, reason: Reason) {
        self.refused.get_or_create(&Refused { reason }).inc();
    }
}
