//! Hosts that others live on: their tables, sets and chains stay as they are, whatever tagwall does.
//!
//! Needs root (for network namespaces) and nft, iptables, ipset; what is not there is said and left out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]

#[path = "../common/mod.rs"]
mod common;
mod drift;
mod jump;
mod others;
mod take_over;
mod versions;
