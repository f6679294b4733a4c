//! Wake-ups when something changes in a folder.
//!
//! The folder is watched, never a file: a file that is replaced would take its watch along. Where the kernel cannot tell (a
//! network file system, no watches left, no folder yet) the folder is looked at again and again, and that is said; as soon as
//! the kernel can tell, it is asked again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::files::{self, Candidate};

/// Longest time that changes which do not end can put off a wake-up, in settle times.
const MOST_SETTLES: u32 = 30;

/// Wake-ups when something changed in the folder and then stood still. Ends when it is dropped.
#[derive(Debug)]
pub struct Watch {
    wakes: mpsc::Receiver<()>,
    how: watch::Receiver<Watching>,
    _task: AbortOnDropHandle<()>,
}

/// How changes of a folder are noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watching {
    /// The kernel tells.
    Kernel,
    /// The folder is looked at again and again.
    Polling {
        /// Why.
        reason: String,
    },
}

impl Watch {
    pub(super) fn start(path: PathBuf, settle: Duration, poll: Duration) -> Self {
        let (wake, wakes) = mpsc::channel(1);
        let (tell, how) = watch::channel(Watching::Polling { reason: "not begun".to_owned() });
        let task = AbortOnDropHandle::new(tokio::spawn(follow(path, settle, poll, wake, tell)));
        Self { wakes, how, _task: task }
    }

    /// Waits for a change that is worth a look. False when there will be none any more.
    pub async fn changed(&mut self) -> bool {
        self.wakes.recv().await.is_some()
    }

    /// How changes are noticed: to be reported, also when it changes.
    pub fn how(&self) -> watch::Receiver<Watching> {
        self.how.clone()
    }
}

/// What the kernel told.
enum Told {
    /// Something in the folder changed.
    Changed,
    /// The folder itself changed: it may be another one now.
    Moved,
}

async fn follow(
    path: PathBuf,
    settle: Duration,
    poll: Duration,
    wake: mpsc::Sender<()>,
    tell: watch::Sender<Watching>,
) {
    let mut last: Option<Vec<Candidate>> = None;
    loop {
        match kernel_watch(&path) {
            Ok((_watcher, told)) => {
                tell.send_replace(Watching::Kernel);
                // Whatever happened before it watched.
                _ = wake.try_send(());
                listen(told, settle, &wake).await;
                last = None;
            }
            Err(reason) => {
                tell.send_if_modified(|how| {
                    let now = Watching::Polling { reason };
                    let differs = *how != now;
                    *how = now;
                    differs
                });
                let now = files::candidates(&path).ok();
                if now.is_some() && now != last {
                    _ = wake.try_send(());
                }
                last = now;
            }
        }
        // A folder that was moved is watched anew soon, but not in a tight circle.
        let pause = if matches!(*tell.borrow(), Watching::Kernel) { settle } else { poll };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = wake.closed() => return,
        }
    }
}

/// Passes on what the kernel tells, each change once it stood still; returns when the folder must be watched anew.
async fn listen(mut told: mpsc::Receiver<Told>, settle: Duration, wake: &mpsc::Sender<()>) {
    loop {
        let first = tokio::select! {
            first = told.recv() => first,
            () = wake.closed() => return,
        };
        let mut moved = matches!(first, Some(Told::Moved) | None);
        let latest = Instant::now() + settle * MOST_SETTLES;
        while !moved {
            let quiet = (Instant::now() + settle).min(latest);
            match timeout_at(quiet, told.recv()).await {
                Ok(Some(Told::Changed)) if Instant::now() < latest => {}
                Err(_) | Ok(Some(Told::Changed)) => break,
                Ok(Some(Told::Moved) | None) => moved = true,
            }
        }
        _ = wake.try_send(());
        if moved {
            return;
        }
    }
}

/// Watches the folder, or says why the kernel cannot.
fn kernel_watch(path: &Path) -> Result<(notify::RecommendedWatcher, mpsc::Receiver<Told>), String> {
    if let Some(system) = network_file_system(path) {
        return Err(format!(
            "{} is on {system}, where changes by others are not told",
            path.display()
        ));
    }
    let (sender, receiver) = mpsc::channel(64);
    let folder = path.to_owned();
    let handler = move |event: notify::Result<Event>| {
        // A full channel is already a reason to look.
        if let Some(told) = meaning(event, &folder) {
            _ = sender.try_send(told);
        }
    };
    let failed = |error: notify::Error| match error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            "the kernel has no watches left (sysctl fs.inotify.max_user_watches)".to_owned()
        }
        notify::ErrorKind::Io(error) if error.raw_os_error() == Some(EMFILE) => {
            "the kernel has no more watchers for this user (sysctl fs.inotify.max_user_instances)"
                .to_owned()
        }
        _ => format!("{} cannot be watched: {error}", path.display()),
    };
    let mut watcher = notify::recommended_watcher(handler).map_err(failed)?;
    watcher.watch(path, RecursiveMode::NonRecursive).map_err(failed)?;
    Ok((watcher, receiver))
}

const EMFILE: i32 = rustix::io::Errno::MFILE.raw_os_error();

fn meaning(event: notify::Result<Event>, folder: &Path) -> Option<Told> {
    let Ok(event) = event else { return Some(Told::Moved) };
    // Our own reading is told too, and means nothing.
    let read = matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
    if read {
        return None;
    }
    if event.need_rescan()
        || event.paths.is_empty()
        || event.paths.iter().any(|path| path == folder)
    {
        return Some(Told::Moved);
    }
    let concerns = |path: &PathBuf| path.file_name().is_some_and(files::is_candidate);
    event.paths.iter().any(concerns).then_some(Told::Changed)
}

/// The name of the file system where other machines can change files unseen by this kernel.
fn network_file_system(path: &Path) -> Option<&'static str> {
    let magic = rustix::fs::statfs(path).ok()?.f_type;
    // From linux/magic.h.
    match u32::try_from(magic & 0xffff_ffff).ok()? {
        0x6969 => Some("NFS"),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => Some("SMB"),
        0x0102_1997 => Some("9P"),
        0x6573_5546 => Some("FUSE"),
        0x00c3_6400 => Some("Ceph"),
        0x5346_414f | 0x6b41_4653 => Some("AFS"),
        0x0bd0_0bd0 => Some("Lustre"),
        0x4750_4653 | 0x7461_636f | 0x0116_1970 => Some("a cluster file system"),
        _ => None,
    }
}
