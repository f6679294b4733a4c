//! How a value becomes a family of metrics.

use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// The labels of a value.
pub(super) type Labels = Vec<(&'static str, String)>;

/// Writes a family after the other.
pub(super) struct Writer(pub(super) Registry);

impl Writer {
    /// Values by label, as gauges.
    pub(super) fn gauges<V: Into<f64>>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        values: impl IntoIterator<Item = (Labels, V)>,
    ) {
        let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).set(value.into());
        }
        match unit {
            Some(unit) => self.0.register_with_unit(name, help, unit, family),
            None => self.0.register(name, help, family),
        }
    }

    /// One value.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.0.register(name, help, single(value));
    }

    /// A time, when there is one.
    pub(super) fn time(&mut self, name: &str, help: &str, time: Option<Timestamp>) {
        if let Some(time) = time {
            self.0.register_with_unit(name, help, Unit::Seconds, single(seconds(time)));
        }
    }
}

pub(super) fn single(value: f64) -> Gauge<f64, AtomicU64> {
    let gauge = Gauge::<f64, AtomicU64>::default();
    gauge.set(value);
    gauge
}

pub(super) fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus has no other numbers, and 2^53 is far away"
)]
pub(super) fn number(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}

pub(super) fn truth(is: bool) -> &'static str {
    if is { "true" } else { "false" }
}

pub(super) fn yes(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}
