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

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Name of the socket in the state folder, for everything.
const CONTROL: &str = "control.sock";
/// Name of the socket beside it, for reading.
const STATUS: &str = "status.sock";

/// The folders of the packaged service: who may not enter the first finds the status in the second.
const PACKAGED: [&str; 2] = ["/var/lib/tagwall", "/run/tagwall"];

/// Where the socket lies: where the configuration says, else in the runtime folder that systemd gives, else in the state
/// folder, which not everybody may enter.
fn place(dir: &Path, configured: Option<&Path>, runtime: Option<&OsStr>) -> PathBuf {
    if let Some(path) = configured {
        return path.to_owned();
    }
    // systemd writes several folders with colons between them.
    let first = runtime.and_then(|folders| std::env::split_paths(folders).next());
    match first.filter(|folder| folder.is_absolute()) {
        Some(folder) => folder.join(CONTROL),
        None => in_state(dir),
    }
}

/// Where the command line finds the socket: in the state folder, where the agent leaves a link when it lies elsewhere.
fn in_state(dir: &Path) -> PathBuf {
    dir.join(CONTROL)
}

/// The socket for those who only read, beside the other.
fn beside(control: &Path) -> PathBuf {
    control.with_file_name(STATUS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_lies_where_everybody_may_go() {
        let dir = Path::new("/var/lib/tagwall");
        let (own, runtime) =
            (Path::new("/srv/tagwall.sock"), OsStr::new("/run/tagwall:/run/other"));
        assert_eq!(place(dir, Some(own), Some(runtime)), own);
        assert_eq!(place(dir, None, Some(runtime)), Path::new("/run/tagwall/control.sock"));
        for nothing in [None, Some(OsStr::new("")), Some(OsStr::new("run"))] {
            assert_eq!(place(dir, None, nothing), Path::new("/var/lib/tagwall/control.sock"));
        }
    }
}
