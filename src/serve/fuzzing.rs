//! The door for `fuzz/`: a conversation with the server in memory, without a socket.

use std::sync::Arc;

use hyper::body::Bytes;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::answer::Peer;
use super::connection::converse;
use super::server::Shared;
use super::view::{Lists, View};
use crate::config::{Config, ServeSettings};

/// Room for what a client says and is answered.
const BUFFER: usize = 1 << 20;

/// A server that has one list and no door.
#[derive(Debug)]
pub struct Doorless {
    shared: Arc<Shared>,
    runtime: Runtime,
}

impl Doorless {
    /// With a list at `/lists/` and `path` (`TARGET/FILE`), of a target that the configuration may have.
    pub fn new(config: &Config, path: &str, list: &'static [u8]) -> Option<Self> {
        let (target, file) = path.split_once('/')?;
        let files = [(&target.parse().ok()?, file, Bytes::from_static(list))];
        let since = Timestamp::UNIX_EPOCH;
        let lists = Lists::of(1, files, config, since, None);
        let view = View { lists: Some(Arc::new(lists)), ..View::default() };
        let (_, view) = watch::channel(Arc::new(view));
        let shared = Arc::new(Shared::new(&ServeSettings::default(), view).ok()?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        Some(Self { shared, runtime })
    }

    /// Says something, and hears what is answered until the server has nothing more to say.
    pub fn say(&self, words: &[u8]) -> Vec<u8> {
        self.runtime.block_on(async {
            let (mut client, server) = duplex(BUFFER);
            let active = self.shared.active();
            let mut answer = Vec::new();
            let talk = async {
                // A server that hangs up in the middle is heard out all the same.
                let _ = client.write_all(words).await;
                let _ = client.shutdown().await;
                let _ = client.read_to_end(&mut answer).await;
            };
            tokio::join!(converse(&self.shared, &active, server, Peer::default()), talk);
            answer
        })
    }

    /// Handlers that panicked; the runtime would hide them.
    pub fn panics(&self) -> u64 {
        self.shared.counters.panics.get()
    }
}
