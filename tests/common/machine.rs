//! A machine: a Debian release under systemd, in a container whose network is a namespace of the caller's.
//!
//! Owns the container from its first boot to its end: a root that was made once and is shared by all (`tests/support/root`),
//! an overlay over it that belongs to this machine alone, and cgroups of its own. A reboot keeps the overlay and the
//! namespace's interfaces; a power cut kills everything at once and takes the kernel's rules with it, as a real one does.
#![allow(dead_code, reason = "each test program uses the part that it needs")]

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a boot, or a condition, is waited for. Both take a second or two; the machine that tests may be busy.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often one looks whether it has come.
const GLANCE: Duration = Duration::from_millis(100);

/// The container.
pub(crate) struct Machine {
    id: String,
    namespace: String,
    folder: tempfile::TempDir,
    running: Option<Running>,
}

struct Running {
    nspawn: Child,
    leader: u32,
}

/// Why there can be no machine here, and nothing when there can.
pub(crate) fn hindrance() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("containers need root".to_owned());
    }
    let missing: Vec<&str> = ["systemd-nspawn", "mmdebstrap", "nsenter"]
        .into_iter()
        .filter(|program| !Path::new("/usr/bin").join(program).is_file())
        .collect();
    if !missing.is_empty() {
        return Some(format!("not installed: {}", missing.join(", ")));
    }
    cgroups("probe").is_empty().then(|| "no cgroups to put a container into".to_owned())
}

/// The folders of a machine's cgroups: one below each hierarchy that systemd knows.
fn cgroups(id: &str) -> Vec<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    let hierarchies: &[&str] =
        if base.join("cgroup.controllers").exists() { &["."] } else { &["systemd", "unified"] };
    hierarchies
        .iter()
        .map(|name| base.join(name))
        .filter(|path| path.is_dir())
        .map(|path| path.join(id))
        .collect()
}

impl Machine {
    /// Makes a machine with a release of Debian, in a network namespace that is there already. It is not booted.
    pub(crate) fn new(release: &str, namespace: &str) -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/root");
        let made = Command::new(script).arg(release).output().map_err(|error| error.to_string())?;
        if !made.status.success() {
            return Err(format!("no root of {release}: {}", text(&made.stderr)));
        }
        let root = text(&made.stdout);
        let id = format!("tw{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder =
            tempfile::Builder::new().prefix("tagwall-machine").tempdir_in("/var/tmp").unwrap();
        for name in ["upper", "work", "root"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        // The overlay's own top is what / is, and nobody but root could enter a temporary folder.
        fs::set_permissions(folder.path().join("upper"), fs::Permissions::from_mode(0o755))
            .unwrap();
        let machine = Self { id, namespace: namespace.to_owned(), folder, running: None };
        let options = format!(
            "lowerdir={root},upperdir={},workdir={}",
            machine.folder.path().join("upper").display(),
            machine.folder.path().join("work").display()
        );
        host(
            "mount",
            &["-t", "overlay", "overlay", "-o", &options, machine.root().to_str().unwrap()],
        )?;
        for cgroup in cgroups(&machine.id) {
            fs::create_dir_all(cgroup).map_err(|error| format!("no cgroup: {error}"))?;
        }
        Ok(machine)
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// A path of the machine, as the host sees it.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.root().join(inside.trim_start_matches('/'))
    }

    /// Writes a file in the machine.
    pub(crate) fn write(&self, inside: &str, content: &str) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Starts it, and waits until everything that starts by itself has.
    pub(crate) fn boot(&mut self) {
        assert!(self.running.is_none(), "the machine is running");
        let enter: String = cgroups(&self.id)
            .iter()
            .map(|folder| format!("echo $$ > {}/cgroup.procs; ", folder.display()))
            .collect::<Vec<_>>()
            .concat();
        let log = File::create(self.folder.path().join("console")).unwrap();
        let nspawn = Command::new("sh")
            .args(["-c", &format!("{enter} exec systemd-nspawn \"$@\""), "sh", "-q", "-b", "-D"])
            .arg(self.root())
            .args([
                "-M",
                &self.id,
                "--register=no",
                "--keep-unit",
                "--link-journal=no",
                "--console=pipe",
            ])
            .arg(format!("--network-namespace-path=/run/netns/{}", self.namespace))
            .args(["--capability=CAP_NET_ADMIN,CAP_BPF", "--system-call-filter=bpf"])
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let parent = nspawn.id().to_string();
        let mut running = Running { nspawn, leader: 0 };
        wait("systemd to start", || {
            let found =
                Command::new("pgrep").args(["-P", &parent, "-x", "systemd"]).output().unwrap();
            running.leader =
                text(&found.stdout).lines().next().and_then(|line| line.parse().ok()).unwrap_or(0);
            running.leader != 0
        });
        self.running = Some(running);
        wait("the boot to finish", || {
            ["running", "degraded"]
                .contains(&text(&self.run(&["systemctl", "is-system-running"]).stdout).as_str())
        });
    }

    /// Runs a program in it, as root.
    pub(crate) fn run(&self, command: &[&str]) -> Output {
        let running = self.running.as_ref().unwrap_or_else(|| panic!("the machine is not running"));
        Command::new("nsenter")
            .args(["-t", &running.leader.to_string(), "-a", "--"])
            .args(command)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The same; it must succeed. Gives its standard output.
    pub(crate) fn must(&self, command: &[&str]) -> String {
        let output = self.run(command);
        assert!(
            output.status.success(),
            "{}: {}\n{}{}\n{}",
            command.join(" "),
            output.status,
            text(&output.stdout),
            text(&output.stderr),
            text(&self.run(&["journalctl", "-b", "--no-pager", "-n", "40"]).stdout)
        );
        text(&output.stdout)
    }

    /// Whether it succeeds.
    pub(crate) fn succeeds(&self, command: &[&str]) -> bool {
        self.run(command).status.success()
    }

    /// Waits until a program succeeds.
    pub(crate) fn wait_until(&self, what: &str, mut come: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !come(self) {
            assert!(
                Instant::now() < end,
                "{what} did not come\n{}",
                text(&self.run(&["journalctl", "-b", "--no-pager", "-n", "60"]).stdout)
            );
            thread::sleep(GLANCE);
        }
    }

    /// Shuts it down in order, and starts it again. The kernel's rules are gone in between.
    pub(crate) fn reboot(&mut self) {
        // The command itself dies with the machine.
        self.run(&["systemctl", "reboot"]);
        self.end();
        self.boot();
    }

    /// Everything stops at once.
    pub(crate) fn cut_power(&mut self) {
        if let Some(running) = &self.running {
            kill(running.leader);
        }
        self.end();
    }

    /// Waits for the container to end, and takes with it what the kernel remembers.
    fn end(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        _ = running.nspawn.wait();
        _ = host("ip", &["netns", "exec", &self.namespace, "nft", "flush", "ruleset"]);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.cut_power();
        _ = host("umount", &[self.root().to_str().unwrap_or_default()]);
        for cgroup in cgroups(&self.id) {
            remove_cgroup(&cgroup);
        }
    }
}

fn remove_cgroup(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_cgroup(&entry.path());
        }
    }
    _ = fs::remove_dir(path);
}

fn kill(process: u32) {
    _ = Command::new("kill").args(["-9", &process.to_string()]).status();
}

fn host(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output =
        Command::new(program).args(arguments).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{program}: {}", text(&output.stderr)))
    }
}

fn wait(what: &str, mut come: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !come() {
        assert!(Instant::now() < end, "{what} did not come");
        thread::sleep(GLANCE);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}
