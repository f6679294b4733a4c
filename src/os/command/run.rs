//! Running a child to its end: the threads, the clock and the kill.
//!
//! One thread feeds stdin, one each drains stdout and stderr, one waits for the child; they report
//! to the caller's thread, which alone watches the clock and alone kills and reaps. The waiting
//! thread leaves the child unreaped (`WNOWAIT`), so its process id cannot pass to a stranger before
//! the group is killed.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

/// How long the pipes may stay open after the child and its group are dead: only a process that left
/// the group can still hold them.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// How long a killed child may take to die: only one stuck in the kernel takes longer.
const KILL_TIME: Duration = Duration::from_secs(5);

/// Bytes read from a pipe at once (what a pipe holds by default).
const PIECE_BYTES: usize = 64 * 1024;

/// What a child may use.
pub(super) struct Limits {
    /// Until it is killed.
    pub(super) time: Duration,
    /// Bytes kept of each stream.
    pub(super) output: usize,
}

/// A child that is gone.
pub(super) struct Finished {
    pub(super) ending: Ending,
    pub(super) stdout: Captured,
    pub(super) stderr: Captured,
}

/// How it went.
pub(super) enum Ending {
    /// By itself (or by somebody else's signal).
    Exited(ExitStatus),
    /// By the time limit.
    TimedOut,
}

/// What was kept of a stream.
#[derive(Default)]
pub(super) struct Captured {
    pub(super) bytes: Vec<u8>,
    /// Whether there was more.
    pub(super) cut: bool,
}

/// Why a child could not be run.
pub(super) enum RunError {
    /// It was never started.
    Spawn(io::Error),
    /// It was started, and killed because it could not be watched.
    Io(io::Error),
}

/// Starts `command` in a process group of its own and sees it through. Its stdout and stderr must be
/// piped, and its stdin too when there is input.
pub(super) fn to_end(
    command: &mut Command,
    input: Option<Vec<u8>>,
    limits: &Limits,
) -> Result<Finished, RunError> {
    let deadline = Instant::now().checked_add(limits.time); // `None`: too far away to matter
    let child = command.process_group(0).spawn().map_err(RunError::Spawn)?;
    let mut group = Group::new(child);
    group.watch(input, limits.output, deadline).map_err(RunError::Io)
}

/// A running child with its process group; killed and reaped when dropped.
struct Group {
    child: Child,
    pid: Pid,
    gone: bool,
}

/// What a thread reports.
enum Event {
    /// The child is dead, and not reaped yet; or waiting for it failed.
    Dead(io::Result<()>),
    /// A stream of its output came to its end.
    Drained(io::Result<()>),
}

impl Group {
    fn new(child: Child) -> Self {
        let pid = Pid::from_child(&child);
        Self { child, pid, gone: false }
    }

    fn watch(
        &mut self,
        input: Option<Vec<u8>>,
        output_limit: usize,
        deadline: Option<Instant>,
    ) -> io::Result<Finished> {
        let (sender, events) = mpsc::channel();
        let stdout = Arc::new(Mutex::new(Kept::new(output_limit, Keep::First)));
        let stderr = Arc::new(Mutex::new(Kept::new(output_limit, Keep::Last)));
        let mut open = 0;
        if let Some(stream) = self.child.stdout.take() {
            drain(stream, Arc::clone(&stdout), sender.clone())?;
            open += 1;
        }
        if let Some(stream) = self.child.stderr.take() {
            drain(stream, Arc::clone(&stderr), sender.clone())?;
            open += 1;
        }
        if let (Some(stream), Some(input)) = (self.child.stdin.take(), input) {
            feed(stream, input)?;
        }
        wait(self.pid, sender)?;

        let in_time = until_dead(&events, deadline, &mut open)?;
        // What is left of its group goes in both cases: nothing outlives the call.
        self.kill();
        let ending = if in_time {
            Ending::Exited(self.reap()?)
        } else {
            let killed = Instant::now().checked_add(KILL_TIME);
            if until_dead(&events, killed, &mut open)? {
                self.reap()?;
            }
            Ending::TimedOut
        };
        let drained = Instant::now() + DRAIN_TIME;
        while open > 0 {
            match receive(&events, Some(drained)) {
                Some(Event::Drained(result)) => {
                    result?;
                    open -= 1;
                }
                Some(Event::Dead(_)) => {}
                None => break,
            }
        }
        let cut_short = open > 0;
        let [stdout, stderr] = [stdout, stderr].map(|kept| lock(&kept).take(cut_short));
        Ok(Finished { ending, stdout, stderr })
    }

    /// Kills the group, and the child too in case that it left the group.
    fn kill(&mut self) {
        // Both fail only when there is nobody left to kill, or when the child runs as another user;
        // then the caller's waiting is still bounded.
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        let _ = self.child.kill();
    }

    /// Takes the status of the dead child.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait()?;
        self.gone = true;
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.gone {
            return;
        }
        self.kill();
        // Killed, it dies at once; one stuck in the kernel stays a zombie until this process ends.
        let deadline = Instant::now() + KILL_TIME;
        while !matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Waits for the child's death until `deadline`; says whether it came.
fn until_dead(
    events: &Receiver<Event>,
    deadline: Option<Instant>,
    open: &mut usize,
) -> io::Result<bool> {
    loop {
        match receive(events, deadline) {
            Some(Event::Dead(result)) => return result.map(|()| true),
            Some(Event::Drained(result)) => {
                result?;
                *open -= 1;
            }
            None => return Ok(false),
        }
    }
}

/// The next report, or `None` at the deadline.
fn receive(events: &Receiver<Event>, deadline: Option<Instant>) -> Option<Event> {
    let Some(deadline) = deadline else {
        return events.recv().ok();
    };
    let left = deadline.saturating_duration_since(Instant::now());
    // Every thread sends its last report before it lets go of the channel.
    events.recv_timeout(left).ok()
}

/// Starts the thread that waits for the child without reaping it.
fn wait(pid: Pid, sender: Sender<Event>) -> io::Result<()> {
    start("command-wait", move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let result =
            rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::Pid(pid), options));
        // The caller may have given up.
        let _ = sender.send(Event::Dead(result.map(drop).map_err(Into::into)));
    })
}

/// Starts the thread that feeds the child, then closes its stdin.
fn feed(mut stream: impl Write + Send + 'static, input: Vec<u8>) -> io::Result<()> {
    start("command-stdin", move || {
        // A child that does not read to the end says by its exit status whether that is a failure.
        let _ = stream.write_all(&input);
    })
}

/// Starts the thread that reads a stream to its end.
fn drain(
    mut stream: impl Read + Send + 'static,
    kept: Arc<Mutex<Kept>>,
    sender: Sender<Event>,
) -> io::Result<()> {
    start("command-output", move || {
        let mut piece = vec![0; PIECE_BYTES];
        let result = loop {
            match stream.read(&mut piece) {
                Ok(0) => break Ok(()),
                Ok(count) => lock(&kept).add(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        drop(stream); // so that no descriptor is open any more when the call returns
        let _ = sender.send(Event::Drained(result));
    })
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(work).map(drop)
}

/// Nothing panics while it holds this lock; were it so, the bytes would still be whole.
fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which end of a stream is kept.
#[derive(Clone, Copy)]
enum Keep {
    First,
    Last,
}

/// The part of a stream that fits into its limit.
struct Kept {
    bytes: VecDeque<u8>,
    limit: usize,
    keep: Keep,
    cut: bool,
}

impl Kept {
    fn new(limit: usize, keep: Keep) -> Self {
        Self { bytes: VecDeque::new(), limit, keep, cut: false }
    }

    fn add(&mut self, piece: &[u8]) {
        let piece = match self.keep {
            Keep::First => {
                let room = self.limit - self.bytes.len();
                self.cut |= piece.len() > room;
                &piece[..piece.len().min(room)]
            }
            Keep::Last => {
                let piece_kept = &piece[piece.len().saturating_sub(self.limit)..];
                let excess = (self.bytes.len() + piece_kept.len()).saturating_sub(self.limit);
                self.cut |= excess > 0 || piece_kept.len() < piece.len();
                self.bytes.drain(..excess);
                piece_kept
            }
        };
        self.bytes.extend(piece);
    }

    /// Takes what was kept; `cut_short` says that the end of the stream was not seen.
    fn take(&mut self, cut_short: bool) -> Captured {
        Captured { bytes: std::mem::take(&mut self.bytes).into(), cut: self.cut || cut_short }
    }
}
