//! The Unix socket by which the command line reaches a running agent.
//!
//! Owns the protocol (one request and one answer a connection, JSON lines, bounded; docs/control.md) and who may speak it.
//! There are two sockets beside each other: `control.sock` for everything, whose mode and group the kernel checks, and
//! `status.sock` for those who may only read. Promises: a client that is slow, silent or hostile costs one bounded task and
//! never the agent's loop. Decides nothing: requests are handed to the agent.

mod client;
mod listener;
mod message;
mod wire;

pub use client::{Client, ClientError};
pub use listener::{Asked, ControlError, Listener};
pub use message::{
    Answer, Document, Failure, Operation, PUBLISHED, PUBLISHED_PARTLY, Request, Restoration, Said,
};

use std::path::{Path, PathBuf};

/// Name of the socket in the state folder, for everything.
const CONTROL: &str = "control.sock";
/// Name of the socket beside it, for reading.
const STATUS: &str = "status.sock";

/// Where the command line finds the socket: in the state folder, where the agent leaves a link when it lies elsewhere.
fn in_state(dir: &Path) -> PathBuf {
    dir.join(CONTROL)
}

/// The socket for those who only read, beside the other.
fn beside(control: &Path) -> PathBuf {
    control.with_file_name(STATUS)
}
