//! The package on a real system: Debian under systemd in a container that is the firewall between three networks.
//!
//! Packets say what is open, at each step from installation to purge. Debian 12 in the ordinary run; 11 and 13 too with
//! `TAGWALL_LONG=1`. What is installed is built like what is released (`packaging/build`), but for the optimisation. Needs
//! root, systemd-nspawn, mmdebstrap and cargo-deb; what is not there is said and left out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

#[path = "../common/machine.rs"]
mod machine;
#[path = "../common/netns.rs"]
mod netns;

mod agent;
mod consent;
mod loaders;
mod privileges;
mod releases;
mod site;
