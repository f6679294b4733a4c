//! `/metrics`: what is known, in the text format of OpenMetrics.
//!
//! Everything is read when it is asked for; the server's own counts aside, nothing is kept for this.

mod state;
mod writer;

use jiff::Timestamp;
use prometheus_client::encoding::text;
use prometheus_client::registry::{Registry, Unit};

use super::process;
use super::server::Shared;
use super::view::View;
use crate::report::{ClientStatus, ListStatus, ServeStatus};
use state::{of_history, of_status};
use writer::{Writer, number, seconds, single, yes};

/// The type of what is answered.
pub(super) const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics.
pub(super) fn write(shared: &Shared, view: &View, now: Timestamp) -> String {
    let mut writer = Writer(Registry::with_prefix("tagwall"));
    let build = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    writer.gauges("build_info", "The program", None, [(build, 1.0)]);
    if let Some(status) = &view.status {
        of_status(&mut writer, status);
    }
    if let Some(history) = &view.history {
        of_history(&mut writer, history);
    }
    of_serving(&mut writer, &shared.status(view, now));
    of_requests(&mut writer, shared);
    let mut whole = String::new();
    // Writing into memory does not fail; if it did, half a document must not be taken for a whole one.
    if text::encode_registry(&mut whole, &writer.0).is_err() {
        whole.clear();
    }
    whole.push_str(&process::metrics());
    whole.push_str("# EOF\n");
    whole
}

/// The lists, and who fetched them.
fn of_serving(writer: &mut Writer, serve: &ServeStatus) {
    let labels =
        |list: &ListStatus| vec![("target", list.target.to_string()), ("list", list.file.clone())];
    let entries = serve.lists.iter().flat_map(|list| {
        [("ipv4", list.v4), ("ipv6", list.v6)].map(|(family, count)| {
            let mut labels = labels(list);
            labels.push(("family", family.to_owned()));
            (labels, number(count))
        })
    });
    writer.gauges("list_entries", "Entries of a list", None, entries);
    let sizes = serve.lists.iter().map(|list| (labels(list), number(list.bytes)));
    writer.gauges("list_size", "Size of a list", Some(Unit::Bytes), sizes);
    let changed = serve.lists.iter().map(|list| (labels(list), seconds(list.modified)));
    writer.gauges(
        "list_changed_timestamp",
        "Since when a list is as it is",
        Some(Unit::Seconds),
        changed,
    );
    let capacity =
        serve.lists.iter().filter_map(|list| Some((labels(list), number(list.capacity?))));
    writer.gauges(
        "list_capacity_entries",
        "Entries that the device takes, in this list or in all of the target",
        None,
        capacity,
    );
    let used = serve.lists.iter().filter_map(|list| {
        Some((labels(list), number(list.counted?) / number(list.capacity?).max(1.0)))
    });
    writer.gauges("list_capacity_used_ratio", "Share of that capacity that is used", None, used);
    let client = |client: &ClientStatus| {
        vec![
            ("client", client.address.clone()),
            ("user", client.user.clone().unwrap_or_default()),
            ("list", client.list.clone()),
        ]
    };
    let fetched = serve.clients.iter().map(|fetch| (client(fetch), seconds(fetch.at)));
    writer.gauges(
        "client_fetch_timestamp",
        "When a client fetched a list last",
        Some(Unit::Seconds),
        fetched,
    );
    let current = serve.clients.iter().map(|fetch| (client(fetch), yes(fetch.current)));
    writer.gauges("client_current", "Whether a client has the list as it is now", None, current);
    writer.gauge(
        "serve_faults",
        "Places that are not listened at and files that are not in service",
        number(serve.faults.len()),
    );
    writer.time(
        "serve_certificate_expiry_timestamp",
        "When the certificate in service ends",
        serve.certificate_ends,
    );
}

/// The counts of the server.
fn of_requests(writer: &mut Writer, shared: &Shared) {
    let counters = &shared.counters;
    let registry = &mut writer.0;
    registry.register("http_requests", "Requests that were answered", counters.requests.clone());
    registry.register_with_unit(
        "http_request_duration",
        "Time until an answer began",
        Unit::Seconds,
        counters.seconds.clone(),
    );
    registry.register_with_unit(
        "http_response",
        "Bytes of answers, without their heads",
        Unit::Bytes,
        counters.bytes.clone(),
    );
    registry.register(
        "http_connections_accepted",
        "Connections that were taken in",
        counters.connections.clone(),
    );
    registry.register(
        "http_connections_refused",
        "Connections that came to nothing",
        counters.refused.clone(),
    );
    registry.register(
        "http_panics",
        "Connections that ended in a fault of the program",
        counters.panics.clone(),
    );
    let open = single(number(shared.connections()));
    registry.register("http_connections", "Connections that are open", open);
}
