//! What the tests of the command line share: running the binary, the embedded example, folders to write into.
#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "to panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use tempfile::TempDir;

/// The configuration of the first example.
pub(crate) fn quickstart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/examples/quickstart.toml")
}

/// The embedded publication as a file.
pub(crate) fn example_document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/snapshot/example.json")
}

/// A state folder that does not exist: no test may see or touch the host's own.
fn no_state() -> PathBuf {
    std::env::temp_dir().join(format!("tagwall-test-without-state-{}", std::process::id()))
}

/// The binary, in an environment that decides nothing.
pub(crate) fn tagwall() -> Command {
    let mut command = Command::cargo_bin("tagwall").unwrap();
    // Where lines that are reached are counted, those of the program count too.
    let counted = std::env::vars_os().filter(|(name, _)| name == "LLVM_PROFILE_FILE");
    command.env_clear().envs(counted).env("TAGWALL_STATE_DIR", no_state());
    command
}

/// Runs it and gives what came out.
pub(crate) fn run(args: &[&str]) -> Output {
    tagwall().args(args).output().unwrap()
}

/// Runs it, asserts the exit code, and gives both outputs as text.
pub(crate) fn expect(code: i32, args: &[&str]) -> (String, String) {
    let output = run(args);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

/// Bytes as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A folder of one test, with files put into it.
pub(crate) struct Folder(TempDir);

impl Folder {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The same as text, for arguments.
    pub(crate) fn arg(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Puts a file there and gives its path as text.
    #[allow(clippy::disallowed_methods, reason = "a test's input need not survive a power cut")]
    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), content).unwrap();
        self.arg(name)
    }
}
