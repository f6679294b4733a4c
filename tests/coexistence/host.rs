//! A host furnished by real programs: packages unpacked over an overlay of this system, in
//! namespaces that end with the test. Nothing is installed, started or changed outside of them.
//!
//! # Guarantees
//!
//! Every process that was started inside is ended, and every mount undone, when the host is
//! dropped: they belong to a PID and a mount namespace whose first process then ends.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::netns::{PacketBed, Place};

/// Longest wait for a program to do what it is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// The search path inside.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Mounts the overlay with the program of this build, unpacks the packages that follow over it, and
/// waits until its input ends.
const FIRST_PROCESS: &str = r#"
set -eu
work=$0 tagwall=$1
shift
mount -t tmpfs tmpfs "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$work/root"
mount -t proc proc "$work/root/proc"
mount --rbind /dev "$work/root/dev"
mount -t sysfs sysfs "$work/root/sys"
mount -t tmpfs tmpfs "$work/root/run"
mount -t tmpfs -o mode=1777 tmpfs "$work/root/tmp"
for package in "$@"; do
    dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink -C "$work/root"
done
rm -rf "$work/root/etc/tagwall" "$work/root/var/lib/tagwall"
# This build's program, which may lie in another file system than /.
rm -f "$work/root/usr/bin/tagwall"
touch "$work/root/usr/bin/tagwall"
mount --bind "$tagwall" "$work/root/usr/bin/tagwall"
mkdir -p "$work/root/etc/tagwall"
echo ready
exec cat >/dev/null
"#;

/// The host.
pub(crate) struct Host<'b> {
    bed: &'b PacketBed,
    /// `unshare`, and its child, the first process of the namespaces.
    holder: Child,
    first: u32,
    /// The namespaces end when this is closed.
    input: Option<ChildStdin>,
    folder: tempfile::TempDir,
    /// Programs that run in the background, such as daemons.
    running: Vec<Child>,
}

/// The packages by name, downloaded once and kept below the target directory; the reason where one
/// cannot be had.
pub(crate) fn packages(names: &[&str]) -> Result<Vec<PathBuf>, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
    fs::create_dir_all(&folder).unwrap();
    names
        .iter()
        .map(|name| {
            let kept = || {
                let entries = fs::read_dir(&folder).unwrap().flatten();
                let prefix = format!("{name}_");
                entries.map(|entry| entry.path()).find(|path| {
                    let file = path.file_name().unwrap_or_default().to_string_lossy();
                    file.starts_with(&prefix) && file.ends_with(".deb")
                })
            };
            if let Some(path) = kept() {
                return Ok(path);
            }
            let fetched = tempfile::tempdir_in(&folder).unwrap();
            let output = Command::new("apt-get")
                .args(["download", "-q", name])
                .current_dir(fetched.path())
                .output()
                .map_err(|error| format!("apt-get: {error}"))?;
            for entry in fs::read_dir(fetched.path()).unwrap().flatten() {
                // Another test may have downloaded it at the same time: one of the two stays.
                fs::rename(entry.path(), folder.join(entry.file_name())).unwrap();
            }
            kept().ok_or_else(|| {
                let reason = String::from_utf8_lossy(&output.stderr);
                format!("package {name} cannot be downloaded: {}", reason.trim())
            })
        })
        .collect()
}

impl<'b> Host<'b> {
    /// A host in the firewall's place of the bed, with these packages; the reason where there can
    /// be none.
    pub(crate) fn new(bed: &'b PacketBed, names: &[&str]) -> Result<Self, String> {
        let packages = packages(names)?;
        let folder = tempfile::tempdir().unwrap();
        let holder = bed.within(Place::Firewall, || {
            Command::new("unshare")
                .args(["--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"])
                .args(["sh", "-c", FIRST_PROCESS])
                .arg(folder.path())
                .arg(env!("CARGO_BIN_EXE_tagwall"))
                .args(&packages)
                .env("PATH", PATH)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        });
        let mut host = Self { bed, holder, first: 0, input: None, folder, running: Vec::new() };
        host.input = host.holder.stdin.take();
        let mut line = String::new();
        BufReader::new(host.holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.trim() != "ready" {
            let mut reason = String::new();
            host.holder.stderr.take().unwrap().read_to_string(&mut reason).unwrap();
            return Err(format!("no overlay: {}", reason.trim()));
        }
        let children = format!("/proc/{0}/task/{0}/children", host.holder.id());
        let first = fs::read_to_string(children).map_err(|error| error.to_string())?;
        host.first = first.trim().parse().map_err(|error| format!("{first:?}: {error}"))?;
        Ok(host)
    }

    fn command(&self, command: &[&str]) -> Command {
        let mut inside = Command::new("nsenter");
        inside
            .args(["--target", &self.first.to_string(), "--mount", "--pid"])
            .args(["chroot", &self.folder.path().join("root").to_string_lossy()])
            .args(command)
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C.UTF-8");
        inside
    }

    /// Runs a program on the host.
    pub(crate) fn attempt(&self, command: &[&str], input: &str) -> Output {
        self.bed.within(Place::Firewall, || {
            let mut child = self
                .command(command)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            // A program that ends without reading everything reports what was wrong.
            _ = child.stdin.take().unwrap().write_all(input.as_bytes());
            child.wait_with_output().unwrap()
        })
    }

    /// Runs a program on the host, which must succeed; its standard output.
    pub(crate) fn feed(&self, command: &[&str], input: &str) -> String {
        let output = self.attempt(command, input);
        assert!(
            output.status.success(),
            "{}: {}\n{}{}",
            command.join(" "),
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Runs a program on the host without input, which must succeed; its standard output.
    pub(crate) fn run(&self, command: &[&str]) -> String {
        self.feed(command, "")
    }

    /// Runs a line of shell on the host, which must succeed; its standard output.
    pub(crate) fn shell(&self, line: &str) -> String {
        self.run(&["sh", "-euc", line])
    }

    /// Starts a program that goes on in the background. Its output goes to the file /tmp/NAME.log
    /// of the host. What reads its input (`nft -i`) is given this and then waits.
    pub(crate) fn start(&mut self, command: &str, input: &str) {
        let name = command.split(' ').next().unwrap_or_default();
        self.shell(&format!("rm -f /tmp/{name}.log"));
        let line = format!("exec {command} >/tmp/{name}.log 2>&1");
        let child = self.bed.within(Place::Firewall, || {
            let mut child =
                self.command(&["sh", "-c", &line]).stdin(Stdio::piped()).spawn().unwrap();
            if let Some(stdin) = &mut child.stdin {
                stdin.write_all(input.as_bytes()).unwrap();
            }
            child
        });
        self.running.push(child);
    }

    /// What a program in the background has written so far.
    pub(crate) fn log(&self, name: &str) -> String {
        text(&self.attempt(&["cat", &format!("/tmp/{name}.log")], "").stdout)
    }

    /// Waits until a line of shell succeeds.
    pub(crate) fn wait_until(&self, line: &str, name: &str) {
        let started = Instant::now();
        while !self.attempt(&["sh", "-c", line], "").status.success() {
            assert!(started.elapsed() < PATIENCE, "{line}\n{}", self.log(name));
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Writes a file of the host.
    pub(crate) fn write(&self, path: &str, content: &str) {
        self.feed(
            &["sh", "-c", &format!("mkdir -p \"$(dirname {path})\" && cat >{path}")],
            content,
        );
    }
}

impl Drop for Host<'_> {
    fn drop(&mut self) {
        // The first process reads to the end of its input; with it end all others.
        drop(self.input.take());
        for child in &mut self.running {
            _ = child.wait();
        }
        _ = self.holder.wait();
    }
}

/// Output of a program as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
