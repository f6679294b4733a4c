//! The live proof of a packet's path: a clone of this host's firewall, and one flow sent through
//! it.
//!
//! [`Host::read`] lists the rules, sets, links, addresses and routes of the network namespace that
//! this process is in; [`Scratch::new`] loads them into a namespace of its own; [`Scratch::send`]
//! sends the first packet of a [`Flow`] and then one connection, and reports each base chain that
//! they met, by the kernel's own trace. One clone serves many flows. [`probe`] does all of it once.
//!
//! # Guarantees
//!
//! - The host is only read. The scratch namespaces have no name and no process: descriptors of this
//!   process hold them, so the kernel removes them when it ends, however it ends.
//! - "Accepted" and "dropped" rest on what was seen in the clone: the packet after its last hook,
//!   or the rule, policy or route that ended its way. Anything else is "unknown", with the reason.
//! - The rules of the clone are listed and compared with the host's before the first packet.
//! - Everything ends within the [`Budget`].
//!
//! For root: a namespace needs CAP_SYS_ADMIN, which the agent's unit does not have.

mod budget;
mod counters;
mod error;
mod flow;
mod host;
mod listing;
mod namespace;
mod network;
mod path;
mod report;
mod routes;
mod scratch;
mod send;
mod settings;
mod tools;
mod trace;

pub use budget::Budget;
pub use error::ProbeError;
pub use flow::{Flow, ProbeService};
pub use host::Host;
pub use report::{Backend, Connection, Decision, Exchange, Report, Step, StepRule, Verdict};
pub use scratch::Scratch;

/// Parts that no clone has, whatever the host; every report lists them.
pub const NOT_COPIED: &[&str] = &[
    "limits, quotas and counters start fresh",
    "connection tracking starts empty",
    "sets that packets fill are as they were copied",
    "policy routing, VRFs, bridge filtering, XDP, tc, IPsec and offload are left out",
    "interfaces have other kinds, hardware addresses and MTUs",
    "nobody reads user-space queues",
];

/// Clones the firewall of this network namespace and sends one flow through the clone.
///
/// A host whose rules cannot be cloned is no error: the report's verdict is unknown, with the
/// reason.
pub fn probe(flow: &Flow, budget: &Budget) -> Result<Report, ProbeError> {
    let host = match Host::read(budget) {
        Ok(host) => host,
        Err(error) => return error.into_report(flow),
    };
    let scratch = match Scratch::new(&host, budget) {
        Ok(scratch) => scratch,
        Err(error) => return error.into_report(flow),
    };
    match scratch.send(flow, budget) {
        Err(error) => error.into_report(flow),
        sent => sent,
    }
}
