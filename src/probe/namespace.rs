//! Scratch network namespaces that nothing but a descriptor of this process holds.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::tools::Tools;
use super::{Budget, ProbeError};
use crate::os::command::last_lines;

/// A network namespace; it goes when this value and the sockets in it are gone.
#[derive(Debug)]
pub(super) struct Namespace(File);

impl Namespace {
    /// An empty namespace, made by `unshare --net`.
    ///
    /// The program that it starts answers one byte as soon as it runs inside, and ends when its
    /// standard input does: so also when this process is killed.
    pub(super) fn new(tools: &Tools, budget: &Budget) -> Result<Self, ProbeError> {
        let child = Command::new(&tools.unshare)
            .args(["--net", "--"])
            .arg(&tools.cat)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(ProbeError::io("cannot start unshare"))?;
        let mut maker = Maker(child);
        let ready = maker.ready(budget)?;
        if !ready {
            return Err(ProbeError::Namespace(maker.last_words()));
        }
        let path = format!("/proc/{}/ns/net", maker.0.id());
        let namespace = File::open(&path).map_err(ProbeError::io(path))?;
        Ok(Self(namespace))
    }

    /// The namespace that this thread is in.
    pub(super) fn own() -> Result<Self, ProbeError> {
        let path = "/proc/thread-self/ns/net";
        Ok(Self(File::open(path).map_err(ProbeError::io(path))?))
    }

    /// A path by which children of this process can open the namespace.
    pub(super) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Runs a piece of work, with the programs that it starts and the sockets that it opens,
    /// inside.
    pub(super) fn within<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, ProbeError> + Send,
    ) -> Result<T, ProbeError> {
        let inside = || {
            move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|error| ProbeError::Namespace(error.to_string()))?;
            work()
        };
        thread::scope(|scope| {
            let thread = thread::Builder::new()
                .name("probe-inside".to_owned())
                .spawn_scoped(scope, inside)
                .map_err(ProbeError::io("cannot start a thread"))?;
            thread.join().unwrap_or_else(|_| {
                Err(ProbeError::Io {
                    step: "a thread of the probe ended early".to_owned(),
                    source: io::Error::other("see above"),
                })
            })
        })
    }
}

/// The child that makes a namespace; killed and reaped when dropped.
struct Maker(Child);

impl Maker {
    /// Waits until the child runs inside its namespace; false where it ended before.
    fn ready(&mut self, budget: &Budget) -> Result<bool, ProbeError> {
        let failed = || ProbeError::io("cannot speak with unshare");
        let (Some(input), Some(output)) = (&mut self.0.stdin, &mut self.0.stdout) else {
            return Ok(false);
        };
        // A child that ended before it read anything says why on stderr.
        if input.write_all(b"\n").and_then(|()| input.flush()).is_err() {
            return Ok(false);
        }
        let left = Timespec::try_from(budget.left()?).unwrap_or_default();
        let mut waiting = [PollFd::new(output, PollFlags::IN)];
        let answered = rustix::io::retry_on_intr(|| poll(&mut waiting, Some(&left)));
        if answered.map_err(|error| failed()(error.into()))? == 0 {
            return Err(ProbeError::Time);
        }
        let mut byte = [0];
        Ok(output.read(&mut byte).map_err(failed())? == 1)
    }

    /// The last lines that the child wrote on stderr.
    fn last_words(&mut self) -> String {
        _ = self.0.kill();
        let mut words = Vec::new();
        if let Some(stderr) = self.0.stderr.take() {
            _ = stderr.take(4096).read_to_end(&mut words);
        }
        last_lines(&words)
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}
