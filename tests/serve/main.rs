//! The server as its clients see it: lists, conditions, TLS, passwords, attacks, metrics and the page.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]

mod access;
mod attacks;
mod gather;
mod lists;
mod metrics;
mod page;
mod reload;
mod support;
mod tls;
