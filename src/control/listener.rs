//! The agent's end of the socket: two doors, bounded tasks, and requests handed over one by one.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::message::{Answer, Failure, Request};
use super::{beside, in_state, place, wire};
use crate::config::{AgentSettings, Readers};
use crate::operate::Kind;
use crate::os::accounts;
use crate::os::printable::printable_path;

/// Connections at a time, on each door.
const CONNECTIONS: usize = 16;
/// How long a client may take to say what it wants.
const TIME_TO_ASK: Duration = Duration::from_secs(5);
/// How long a client may take to send its documents, and to read its answer.
const TIME_TO_CARRY: Duration = Duration::from_secs(60);
/// Pause after an error of accepting, so that a full table of descriptors does not turn into a busy loop.
const PAUSE: Duration = Duration::from_millis(200);

/// A request that was read, with who asks, waiting for its answer.
#[derive(Debug)]
pub struct Asked {
    /// What.
    pub request: Request,
    /// The bytes of its documents, in order.
    pub documents: Vec<Vec<u8>>,
    /// Who, for the records.
    pub by: String,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Answer>,
}

/// Why there is no socket.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The operating system refused.
    #[error("cannot {step} the control socket {}: {source}", printable_path(path))]
    Io {
        /// What was tried.
        step: &'static str,
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no such group.
    #[error(
        "agent.socket-group: this host's /etc/group has no group {0}; a group of a directory server is given by its number"
    )]
    NoGroup(String),
}

/// The open doors. They close, and their files go, when it is dropped.
#[derive(Debug)]
pub struct Listener {
    files: Vec<PathBuf>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What all connections of a door share.
#[derive(Clone)]
struct Door {
    only_reading: bool,
    largest: u64,
    requests: mpsc::Sender<Asked>,
    places: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Listener {
    /// Opens the doors. `largest` is the size in bytes that all documents of a request may have together. Needs a tokio
    /// runtime; the caller holds the lock of the state folder, so a socket that lies there is a dead one.
    pub fn open(
        dir: &Path,
        settings: &AgentSettings,
        largest: u64,
        requests: &mpsc::Sender<Asked>,
    ) -> Result<Self, ControlError> {
        let link = in_state(dir);
        let runtime = std::env::var_os("RUNTIME_DIRECTORY");
        let control = place(dir, settings.socket.as_deref(), runtime.as_deref());
        let status = beside(&control);
        let mut listener = Self {
            files: vec![control.clone()],
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let group = settings
            .socket_group
            .as_ref()
            .map(|group| {
                accounts::group_id(group.as_str())
                    .ok_or_else(|| ControlError::NoGroup(group.as_str().to_owned()))
            })
            .transpose()?;
        listener.serve(bind(&control, 0o660, group)?, false, largest, requests);
        if settings.status_for == Readers::Everyone {
            listener.files.push(status.clone());
            listener.serve(bind(&status, 0o666, None)?, true, largest, requests);
        } else {
            remove(&status)?;
        }
        if control != link {
            remove(&link)?;
            let failed = |source| ControlError::Io { step: "link", path: link.clone(), source };
            std::os::unix::fs::symlink(&control, &link).map_err(failed)?;
            listener.files.push(link);
        }
        Ok(listener)
    }

    fn serve(
        &self,
        socket: UnixListener,
        only_reading: bool,
        largest: u64,
        requests: &mpsc::Sender<Asked>,
    ) {
        let door = Door {
            only_reading,
            largest,
            requests: requests.clone(),
            places: Arc::new(Semaphore::new(CONNECTIONS)),
            stop: self.stop.clone(),
            tasks: self.tasks.clone(),
        };
        self.tasks.spawn(door.keep(socket));
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.cancel();
        for file in &self.files {
            // What cannot be removed is found dead by the next start.
            _ = std::fs::remove_file(file);
        }
    }
}

/// Binds a socket that nobody can connect to before its mode and group are right: it is made in a folder of our own, and
/// moved to its place.
fn bind(path: &Path, mode: u32, group: Option<u32>) -> Result<UnixListener, ControlError> {
    let failed = |step| {
        let path = path.to_owned();
        move |source| ControlError::Io { step, path, source }
    };
    let folder = path.parent().unwrap_or(Path::new("/")).join(".control.new");
    _ = std::fs::remove_dir_all(&folder);
    std::fs::DirBuilder::new().mode(0o700).create(&folder).map_err(failed("make"))?;
    let fresh = folder.join("socket");
    let socket = UnixListener::bind(&fresh).map_err(failed("bind"))?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(mode))
        .map_err(failed("set the mode of"))?;
    if let Some(group) = group {
        std::os::unix::fs::lchown(&fresh, None, Some(group)).map_err(failed("set the group of"))?;
    }
    std::fs::rename(&fresh, path).map_err(failed("place"))?;
    std::fs::remove_dir(&folder).map_err(failed("tidy up behind"))?;
    Ok(socket)
}

fn remove(path: &Path) -> Result<(), ControlError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(ControlError::Io { step: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

impl Door {
    async fn keep(self, socket: UnixListener) {
        loop {
            let stream = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = socket.accept() => accepted,
            };
            match stream {
                Ok((stream, _)) => {
                    // Whoever comes while all places are taken is cut off: the client says that there was no answer.
                    if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                        let door = self.clone();
                        self.tasks.spawn(async move {
                            tokio::select! {
                                () = door.stop.cancelled() => {}
                                () = door.attend(stream) => {}
                            }
                            drop(place);
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket could not accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn attend(&self, stream: UnixStream) {
        let by = stream
            .peer_cred()
            .map_or_else(|_| "unknown".to_owned(), |peer| accounts::describe(peer.uid()));
        let mut stream = BufReader::new(stream);
        let answer = match self.hear(&mut stream).await {
            Ok((request, documents)) => self.pass_on(request, documents, by).await,
            Err(failure) => Answer::Failed(failure),
        };
        let Ok(line) = wire::line(&answer) else { return };
        // A client that is gone needs no answer.
        _ = timeout(TIME_TO_CARRY, stream.get_mut().write_all(&line)).await;
        _ = timeout(TIME_TO_CARRY, stream.get_mut().shutdown()).await;
    }

    /// Reads the request, and the documents that follow it.
    async fn hear(
        &self,
        stream: &mut BufReader<UnixStream>,
    ) -> Result<(Request, Vec<Vec<u8>>), Failure> {
        let mut line = Vec::new();
        let mut bounded = stream.take(wire::LONGEST_REQUEST as u64);
        match timeout(TIME_TO_ASK, bounded.read_until(b'\n', &mut line)).await {
            Ok(Ok(_)) if line.ends_with(b"\n") => {}
            Ok(Ok(_)) => return Err(refused("the request is no whole line, or too long")),
            Ok(Err(error)) => return Err(refused(&format!("the request cannot be read: {error}"))),
            Err(_) => return Err(refused("the request did not come in time")),
        }
        let request: Request = wire::read(&line)
            .map_err(|reason| refused(&format!("the request is refused: {reason}")))?;
        if self.only_reading && !request.only_reads() {
            return Err(refused("this socket is for reading only"));
        }
        if request.following() > self.largest {
            return Err(refused(&format!(
                "the documents are larger than {} bytes together (`document.max-bytes`)",
                self.largest
            )));
        }
        let mut documents = Vec::new();
        for document in request.documents() {
            let mut bytes = Vec::new();
            let mut bounded = (&mut *stream).take(document.bytes);
            match timeout(TIME_TO_CARRY, bounded.read_to_end(&mut bytes)).await {
                Ok(Ok(read)) if read as u64 == document.bytes => documents.push(bytes),
                _ => return Err(refused("a document did not come whole")),
            }
        }
        Ok((request, documents))
    }

    async fn pass_on(&self, request: Request, documents: Vec<Vec<u8>>, by: String) -> Answer {
        let (sender, receiver) = oneshot::channel();
        let asked = Asked { request, documents, by, answer: sender };
        if self.requests.try_send(asked).is_err() {
            return Answer::Failed(Failure {
                kind: Kind::Locked,
                message: "the agent is busy, or about to stop: ask again".to_owned(),
            });
        }
        receiver.await.unwrap_or_else(|_| {
            Answer::Failed(Failure {
                kind: Kind::System,
                message: "the agent stopped before it could answer".to_owned(),
            })
        })
    }
}

fn refused(message: &str) -> Failure {
    Failure { kind: Kind::Usage, message: message.to_owned() }
}
