//! One process, with the commands it started, works on a state folder at a time.
//!
//! Owns the file `lock` in that folder. The lock is the kernel's (`flock`), so it is never stale: it
//! ends with the last process that holds the descriptor, however that process ends. What the file
//! says about the holder is for the error message only and decides nothing.
//!
//! Every child inherits the descriptor, and so holds the lock while it runs. When this process is
//! killed in the middle of a change, its successor cannot start another change beside an `nft` or
//! `ipset` that is still at work. For this the close-on-exec mark is taken off for the life of the
//! lock: every program that we start is meant to hold it, and marking around each start (or handing
//! the descriptor over in `pre_exec`, which needs unsafe code) would only add ways to forget it. The
//! price: a daemon started by a user's hook keeps the lock after us; [`LockError::Held`] then says
//! so, and [`DirLock::release`] at an orderly end avoids it.
//!
//! It does not create the folder, and it does not keep out programs that do not ask.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::OFlags;
use rustix::io::FdFlags;
use rustix::process::Pid;
use thiserror::Error;

use super::printable::{printable, printable_path};

/// Name of the file in the state folder.
pub const LOCK_FILE: &str = "lock";

/// Only its owner may open the file, because who may open it may also lock it, and so keep us out.
const MODE: u32 = 0o600;

/// Bytes of the file that are read for the error message.
const HOLDER_BYTES: u64 = 1024;

/// Longest purpose that is written, in characters.
const PURPOSE_CHARACTERS: usize = 200;

/// The exclusive right to work on a state folder.
///
/// Dropping it closes our descriptor; children that still run keep the lock. See
/// [`release`](Self::release).
#[derive(Debug)]
#[must_use = "the lock ends when it is dropped"]
pub struct DirLock {
    file: File,
    path: PathBuf,
}

/// The lock could not be taken.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process holds it.
    #[error(
        "{} is in use by {holder}; wait for it, or find it with `fuser -v {}`",
        printable_path(.path), printable_path(&.path.join(LOCK_FILE))
    )]
    Held {
        /// The state folder.
        path: PathBuf,
        /// Who holds it, as far as the file tells, harmless to print.
        holder: String,
        /// Whether that process ended, and only a command that it started still runs.
        left_behind: bool,
    },
    /// The file could not be opened, locked or written.
    #[error(
        "could not {step} {}; the state folder must exist and be writable for user id {}",
        printable_path(.path), rustix::process::geteuid().as_raw()
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl DirLock {
    /// Takes the lock of the state folder `path`, or says at once who has it. `purpose` is what this
    /// process does, in the words of the command line (`tagwall run`).
    pub fn acquire(path: &Path, purpose: &str) -> Result<Self, LockError> {
        let lock_path = path.join(LOCK_FILE);
        let failed = |step| {
            let path = lock_path.clone();
            move |source| LockError::Io { path, step, source }
        };
        // Without waiting and without following a link: the file is ours, or it is a trap.
        let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .custom_flags(flags.bits().cast_signed())
            .open(&lock_path)
            .map_err(failed("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let (holder, left_behind) = holder(&mut file);
                return Err(LockError::Held { path: path.to_owned(), holder, left_behind });
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock")(error)),
        }
        write_holder(&mut file, purpose).map_err(failed("write"))?;
        rustix::io::fcntl_setfd(&file, FdFlags::empty())
            .map_err(|error| failed("share with children")(error.into()))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// The state folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Ends the lock for everybody who inherited it. For an orderly end, when every command has
    /// returned: then only a daemon that a hook left behind can still have it, and must not keep the
    /// next start out.
    pub fn release(self) {
        // Should it fail, closing does the same, except for such a daemon.
        let _ = self.file.unlock();
    }
}

/// Says in the file who holds it.
fn write_holder(file: &mut File, purpose: &str) -> io::Result<()> {
    let text = format!(
        "pid {}\nsince {:.0}\n{}\n",
        std::process::id(),
        Timestamp::now(),
        printable(purpose, PURPOSE_CHARACTERS)
    );
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())
}

/// Describes the holder from the file, without believing it: the text may be old, or anything. Also whether that process has
/// ended.
fn holder(file: &mut File) -> (String, bool) {
    let mut bytes = Vec::new();
    let read = file.rewind().and_then(|()| file.take(HOLDER_BYTES).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    let pid = lines.next().and_then(|line| line.strip_prefix("pid "));
    let pid = pid.and_then(|pid| Pid::from_raw(pid.parse().ok()?));
    let since = lines.next().and_then(|line| line.strip_prefix("since "));
    let (Ok(_), Some(pid), Some(since), Some(purpose)) = (read, pid, since, lines.next()) else {
        return ("another process".to_owned(), false);
    };
    let [since, purpose] = [since, purpose].map(|text| printable(text, PURPOSE_CHARACTERS));
    let number = pid.as_raw_nonzero();
    if rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
        let left_behind = format!(
            "a command that `{purpose}` started (pid {number}, since {since}): it ended itself, or \
             runs in another container, but what it started still runs"
        );
        return (left_behind, true);
    }
    (format!("`{purpose}` (pid {number}, since {since})"), false)
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    use super::*;
    use crate::os::command::BoundedCommand;
    use crate::os::testing::{put, rerun, role};

    /// Asks util-linux, which knows nothing of us, whether the lock is free.
    fn is_free(folder: &Path) -> bool {
        let status = Command::new("flock")
            .args(["--nonblock", "--conflict-exit-code", "42"])
            .arg(folder.join(LOCK_FILE))
            .arg("true")
            .status()
            .unwrap();
        assert!(matches!(status.code(), Some(0 | 42)), "{status}");
        status.success()
    }

    /// Starts this binary again as a process that holds the lock of `folder`; returns once it does.
    fn start_holder(test: &str, folder: &Path) -> Child {
        let myself = env::current_exe().unwrap();
        let mut child = rerun(&myself, test, folder.to_str().unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Not taken from the child, whose stdout has to stay open.
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("HOLDING")), "the holder did not start");
        child
    }

    #[expect(clippy::print_stdout, reason = "this is how a holder reports to the test")]
    fn report_holding() {
        println!("HOLDING");
        io::stdout().flush().unwrap();
    }

    #[test]
    fn a_second_one_is_told_who_holds_it_and_a_killed_holder_does_not_block() {
        let test =
            "os::lock::tests::a_second_one_is_told_who_holds_it_and_a_killed_holder_does_not_block";
        if let Some(folder) = role() {
            let _lock = DirLock::acquire(Path::new(&folder), "tagwall run\x1b[2J").unwrap();
            report_holding();
            io::stdin().read_line(&mut String::new()).unwrap(); // until killed
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut child = start_holder(test, folder.path());
        let error = DirLock::acquire(folder.path(), "tagwall render").unwrap_err();
        let LockError::Held { holder, left_behind: false, .. } = &error else {
            unreachable!("{error:?}")
        };
        let expected = format!("`tagwall run\\u{{1b}}[2J` (pid {}, since 2", child.id());
        assert!(holder.starts_with(&expected), "{holder}");
        let message = error.to_string();
        assert!(
            message.contains("is in use by `tagwall run") && message.contains("fuser -v"),
            "{message}"
        );
        assert!(!is_free(folder.path()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_free(folder.path()), "a killed holder blocks");
        DirLock::acquire(folder.path(), "tagwall render").unwrap().release();
    }

    #[test]
    fn a_command_holds_the_lock_of_its_killed_parent() {
        let test = "os::lock::tests::a_command_holds_the_lock_of_its_killed_parent";
        if let Some(folder) = role() {
            let _lock = DirLock::acquire(Path::new(&folder), "tagwall run").unwrap();
            report_holding();
            // Tells its process id, and runs until it is killed.
            let script = "echo $$ >\"$0.new\"; mv \"$0.new\" \"$0\"; exec sleep 1000";
            let file = format!("{folder}/sleeper");
            let _ = BoundedCommand::new("/bin/sh")
                .args(["-c", script, &file])
                .time_limit(Duration::from_secs(1000))
                .run();
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut holder = start_holder(test, folder.path());
        let sleeper = (0..6000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(10));
            fs::read_to_string(folder.path().join("sleeper")).ok()
        });
        let sleeper = Pid::from_raw(sleeper.unwrap().trim().parse().unwrap()).unwrap();
        holder.kill().unwrap();
        holder.wait().unwrap();

        let result = DirLock::acquire(folder.path(), "tagwall run");
        let blocked = !is_free(folder.path());
        rustix::process::kill_process(sleeper, rustix::process::Signal::KILL).unwrap();
        assert!(blocked, "the running command does not hold the lock");
        let error = result.unwrap_err();
        assert!(matches!(error, LockError::Held { left_behind: true, .. }), "{error:?}");
        assert!(error.to_string().contains("a command that `tagwall run` started"), "{error}");
        // It is not our child: init reaps it, and the kernel ends the lock at some time.
        let freed = (0..6000).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            is_free(folder.path())
        });
        assert!(freed, "the lock outlived the last process that held it");
    }

    #[test]
    fn release_ends_it_also_for_those_who_inherited_it() {
        let folder = tempfile::tempdir().unwrap();
        let lock = DirLock::acquire(folder.path(), "tagwall run").unwrap();
        assert_eq!(lock.path(), folder.path());
        let mut daemon = Command::new("sleep").arg("1000").spawn().unwrap();
        assert!(!is_free(folder.path()));
        lock.release();
        let free = is_free(folder.path());
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        assert!(free);
    }

    #[test]
    fn the_file_is_closed_to_others_and_its_old_text_decides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        DirLock::acquire(folder.path(), "first").unwrap().release();
        let path = folder.path().join(LOCK_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        put(&path, format!("pid 1\nsince 2020-01-01T00:00:00Z\nold {}\n", "x".repeat(5000)));
        let lock = DirLock::acquire(folder.path(), "second\nline").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(&format!("pid {}\nsince 2", std::process::id())), "{text}");
        assert!(text.ends_with("Z\nsecond\\nline\n"), "{text}");
        // Whatever the text says, it is shown harmlessly or not at all.
        put(&path, b"\x1b]0;x\x07");
        let error = DirLock::acquire(folder.path(), "third").unwrap_err();
        assert!(error.to_string().contains("in use by another process;"), "{error}");
        lock.release();
    }

    #[test]
    fn a_folder_that_cannot_be_locked_is_named() {
        let error = DirLock::acquire(Path::new("/nonexistent/state"), "x").unwrap_err();
        assert!(matches!(error, LockError::Io { step: "open", .. }), "{error:?}");
        assert!(error.to_string().contains("could not open /nonexistent/state/lock"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join(LOCK_FILE)).unwrap();
        let error = DirLock::acquire(folder.path(), "x").unwrap_err();
        assert!(matches!(error, LockError::Io { step: "open", .. }), "{error:?}");
    }
}
