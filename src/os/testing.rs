//! What the tests of this room share. Not compiled into the program.

use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says on stderr that a test did not run, and why.
#[expect(clippy::print_stderr, reason = "a skipped test has to say so")]
pub(super) fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// Whether the test runs as root; says that it is skipped when not.
pub(super) fn root_or_skipped() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped("this test needs root");
    }
    root
}

/// Writes a file in the plainest way.
pub(super) fn put(path: &Path, contents: impl AsRef<[u8]>) {
    File::create(path).unwrap().write_all(contents.as_ref()).unwrap();
}

/// The names in a folder, sorted.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| String::from_utf8_lossy(entry.unwrap().file_name().as_bytes()).into_owned())
        .collect();
    names.sort();
    names
}

/// Something mounted for the time of a test.
pub(super) struct Mounted(PathBuf);

impl Mounted {
    /// Runs `mount ARGUMENTS… ON`; `None` (and a word on stderr) where the kernel does not let us.
    pub(super) fn new(arguments: &[&str], on: &Path) -> Option<Self> {
        let output = Command::new("mount").args(arguments).arg(on).output().unwrap();
        if output.status.success() {
            return Some(Self(on.to_owned()));
        }
        skipped(&format!("mount refused: {}", String::from_utf8_lossy(&output.stderr).trim()));
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()), "{} stays mounted", self.0.display());
    }
}

/// A command that runs one test of this binary again, alone, in a process of its own.
///
/// The test finds `value` in the variable `TAGWALL_TEST_ROLE` and plays that role.
pub(super) fn rerun(program: &Path, test: &str, value: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(ROLE, value);
    command
}

/// The role that [`rerun`] gave to this process.
pub(super) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

const ROLE: &str = "TAGWALL_TEST_ROLE";
