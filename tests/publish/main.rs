//! Publishing on a real kernel: what is in force is what the files say, and a failure leaves what was before.
//!
//! Needs root (for network namespaces) and nft, iptables, ipset; what is not there is said and left out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

#[path = "../common/mod.rs"]
mod common;
mod failures;
mod interrupted;
mod kernel;
mod order;
mod updates;

/// A host whose one group has these prefixes.
fn grouped(prefixes: &str, target: &str) -> String {
    format!(
        "[groups.a]\nprefixes = [{prefixes}]\n[groups.b]\nprefixes = [\"203.0.113.0/24\"]\n\
         [rules.a]\nsource = [\"10.20.0.0/24\"]\ndestination = \"a\"\nservices = [\"tcp/443\"]\ninterfaces = [\"wan0\"]\n\
         [rules.b]\nsource = [\"10.20.0.0/24\"]\ndestination = \"b\"\nservices = [\"tcp/443\"]\ninterfaces = [\"wan0\"]\n\
         {target}"
    )
}

const EDGE: &str = "[targets.edge]\napply = \"automatic\"\n[targets.edge.nftables]\n";
