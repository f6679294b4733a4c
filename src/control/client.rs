//! The command line's end of the socket.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::message::{Answer, Document, Request};
use super::{PACKAGED, STATUS, beside, in_state, wire};
use crate::os::printable::printable_path;

/// Longest wait for an answer: publishing may wait for firewalls, each with a time limit of its own.
const LONGEST_WAIT: Duration = Duration::from_secs(900);

/// A running agent, as the command line sees it.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
}

/// Why the agent gave no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The socket does not take us.
    #[error(
        "an agent runs, but {} does not let user id {} in: run as root, as the agent's own user, or as a member of \
         `agent.socket-group`",
        printable_path(.0), rustix::process::geteuid().as_raw()
    )]
    Forbidden(PathBuf),
    /// The connection broke, or the answer did not come in time.
    #[error("the agent at {} gave no answer: {source}", printable_path(path))]
    Broken {
        /// The socket.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The answer is none.
    #[error(
        "the answer of the agent at {} cannot be read: {reason}; are both of one version?",
        printable_path(path)
    )]
    Unreadable {
        /// The socket.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Client {
    /// The agent that works on a state folder; none when none runs there.
    pub fn find(dir: &Path) -> Option<Self> {
        let path = in_state(dir);
        match UnixStream::connect(&path) {
            Ok(_) => Some(Self { path }),
            // It is there, and says so when it is asked.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Some(Self { path }),
            Err(_) => None,
        }
    }

    /// Asks, and waits for the answer. `documents` are the bytes that the request names.
    pub fn ask(&self, request: &Request, documents: &[&[u8]]) -> Result<Answer, ClientError> {
        let broken = |source| ClientError::Broken { path: self.path.clone(), source };
        let mut stream = self.connect(request)?;
        stream.set_read_timeout(Some(LONGEST_WAIT)).map_err(broken)?;
        stream.set_write_timeout(Some(LONGEST_WAIT)).map_err(broken)?;
        let line = wire::line(request).map_err(|error| self.unreadable(error.to_string()))?;
        // An agent that refuses early closes before it has read everything: its answer counts all the same.
        let sent = stream
            .write_all(&line)
            .and_then(|()| documents.iter().try_for_each(|bytes| stream.write_all(bytes)))
            .and_then(|()| stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        let read = (&stream).take(wire::LONGEST_ANSWER).read_to_end(&mut answer);
        if answer.is_empty() {
            sent.map_err(broken)?;
            read.map_err(broken)?;
        }
        wire::read(&answer).map_err(|reason| self.unreadable(reason))
    }

    fn connect(&self, request: &Request) -> Result<UnixStream, ClientError> {
        let broken = |source| ClientError::Broken { path: self.path.clone(), source };
        match UnixStream::connect(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                if request.only_reads() {
                    let real =
                        std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
                    let [state, runtime] = PACKAGED.map(Path::new);
                    let packaged = self.path == in_state(state);
                    let elsewhere = packaged.then(|| runtime.join(STATUS));
                    for path in [Some(beside(&real)), elsewhere].into_iter().flatten() {
                        if let Ok(stream) = UnixStream::connect(path) {
                            return Ok(stream);
                        }
                    }
                }
                Err(ClientError::Forbidden(self.path.clone()))
            }
            stream => stream.map_err(broken),
        }
    }

    fn unreadable(&self, reason: String) -> ClientError {
        ClientError::Unreadable { path: self.path.clone(), reason }
    }
}

/// How documents are announced.
impl Document {
    /// Of these bytes.
    pub fn of(name: impl Into<String>, bytes: &[u8]) -> Self {
        Self { name: name.into(), bytes: bytes.len() as u64 }
    }
}
