//! Publishing on a real kernel: what is in force is what the files say, and a failure leaves what was before.
//!
//! Needs root (for network namespaces) and nft, iptables, ipset; what is not there is said and left out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

mod boot;
#[path = "../common/mod.rs"]
mod common;
mod failures;
mod interrupted;
mod kernel;
mod order;
mod updates;
