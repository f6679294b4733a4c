//! The units, the generator's drop-ins and the AppArmor profile, as systemd and AppArmor themselves read them.
//!
//! Nothing is started here: `systemd-analyze` reads unit files below a root of this test's own. What needs a program that
//! is not installed is said and left out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const BINARY: &str = env!("CARGO_BIN_EXE_tagwall");
/// Largest exposure that `systemd-analyze security` may find, times ten.
const THRESHOLD: u32 = 12;
/// The same where the kernel's firewall is ruled.
const KERNEL_THRESHOLD: u32 = 15;

const NO_KERNEL: &str = "[targets.lists]\npath = \"/srv/lists/\"\n[targets.lists.list]\n";
const NFTABLES: &str = "[targets.edge]\napply = \"automatic\"\n[targets.edge.nftables]\n";
const IPTABLES: &str = "[targets.edge]\napply = \"automatic\"\n[targets.edge.iptables]\n";
const FEED: &str =
    "[feeds.mirror.http]\nurl = \"https://mirror.example/ServiceTags_Example.json\"\n";

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn installed(program: &str) -> bool {
    let found =
        ["/usr/bin", "/usr/sbin"].iter().any(|folder| Path::new(folder).join(program).is_file());
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// A root in which the units stand as the package installs them.
struct Root(tempfile::TempDir);

impl Root {
    /// With the drop-in that the generator writes for these targets; none without targets.
    fn new(targets: Option<&str>) -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        let units = root.path("usr/lib/systemd/system");
        fs::create_dir_all(&units).unwrap();
        for unit in ["tagwall.service", "tagwall-boot.service", "tagwall-sets.service"] {
            fs::copy(repository("systemd").join(unit), units.join(unit)).unwrap();
        }
        // What the units start has to be there.
        let program = root.path("usr/bin/tagwall");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(&program, "").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        if let Some(targets) = targets {
            let output = root.generate(targets);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        root
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Calls the generator as systemd does.
    fn generate(&self, targets: &str) -> Output {
        let config = self.path("tagwall.toml");
        let text = format!(
            "cloud = \"example\"\n[groups.devops]\ntags = [\"AzureDevOps\"]\n[rules.devops]\nsource = [\"10.20.0.0/24\"]\n\
             destination = \"devops\"\nservices = [\"tcp/443\"]\ninterfaces = [\"wan0\"]\n{targets}"
        );
        fs::write(&config, text).unwrap();
        let normal = self.path("usr/lib/systemd/system");
        Command::new(BINARY)
            .env_clear()
            .arg("--config")
            .arg(config)
            .arg("generator")
            .args([&normal, &self.path("early"), &self.path("late")])
            .output()
            .unwrap()
    }

    fn drop_in(&self) -> PathBuf {
        self.path("usr/lib/systemd/system/tagwall.service.d/50-configuration.conf")
    }

    /// Runs `systemd-analyze`, which must find nothing to say against the units.
    fn analyze(&self, arguments: &[&str]) -> String {
        let output = Command::new("systemd-analyze")
            .arg(format!("--root={}", self.0.path().display()))
            .args(arguments)
            .output()
            .unwrap();
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.success(), "{arguments:?}\n{text}");
        text
    }
}

#[test]
fn systemd_knows_every_key_of_the_units_and_drop_ins() {
    if !installed("systemd-analyze") {
        return;
    }
    for targets in [None, Some(NO_KERNEL), Some(NFTABLES), Some(IPTABLES)] {
        let root = Root::new(targets);
        let said = root.analyze(&[
            "verify",
            "--recursive-errors=no",
            "--man=no",
            "tagwall.service",
            "tagwall-boot.service",
            "tagwall-sets.service",
        ]);
        assert_eq!(said, "", "{targets:?}");
    }
    // The check itself finds what is wrong.
    let root = Root::new(None);
    let unit = root.path("usr/lib/systemd/system/tagwall.service");
    let text = fs::read_to_string(&unit).unwrap().replace("ProtectSystem=", "ProtectSystems=");
    fs::write(&unit, text).unwrap();
    let output = Command::new("systemd-analyze")
        .arg(format!("--root={}", root.0.path().display()))
        .args(["verify", "--recursive-errors=no", "--man=no", "tagwall.service"])
        .output()
        .unwrap();
    assert!(!output.status.success());
}

#[test]
fn what_the_units_may_do_is_little() {
    if !installed("systemd-analyze") {
        return;
    }
    let exposed = |targets: Option<&str>, unit: &str, threshold: u32| {
        let threshold = format!("--threshold={threshold}");
        let said = Root::new(targets).analyze(&[
            "security",
            "--offline=true",
            "--no-pager",
            &threshold,
            unit,
        ]);
        let level = said.lines().find(|line| line.contains("Overall exposure level"));
        eprintln!("{targets:?} {unit}: {}", level.unwrap_or("?"));
    };
    exposed(None, "tagwall.service", THRESHOLD);
    for (targets, threshold) in
        [(NO_KERNEL, THRESHOLD), (NFTABLES, KERNEL_THRESHOLD), (IPTABLES, KERNEL_THRESHOLD)]
    {
        exposed(Some(targets), "tagwall.service", threshold);
        // With a feed that is asked over the network.
        exposed(Some(&format!("{targets}{FEED}")), "tagwall.service", threshold);
    }
    exposed(None, "tagwall-boot.service", KERNEL_THRESHOLD);
    exposed(None, "tagwall-sets.service", KERNEL_THRESHOLD);
}

#[test]
fn a_configuration_that_cannot_be_used_gives_nothing_and_is_said() {
    let root = Root::new(None);
    let output = root.generate("[targets.edge]\nappply = \"automatic\"\n[targets.edge.nftables]\n");
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("appply"));
    assert!(!root.drop_in().exists());
    // Nor is there anything to do without a configuration; that is no failure.
    let output = Command::new(BINARY)
        .args(["--config", "/nonexistent/tagwall.toml", "generator", "/nonexistent"])
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn apparmor_reads_the_profile() {
    if !installed("apparmor_parser") {
        return;
    }
    let output = Command::new("apparmor_parser")
        .args(["--skip-kernel-load", "--skip-cache"])
        .arg(repository("packaging/apparmor/tagwall-agent"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_packaged_configuration_is_sound_with_and_without_its_comment_signs() {
    let text = fs::read_to_string(repository("packaging/tagwall.toml")).unwrap();
    let uncommented: String = text
        .lines()
        .filter_map(|line| match line.strip_prefix("# ") {
            Some(key) if key.starts_with('[') || key.contains(" = ") => Some(format!("{key}\n")),
            _ => None,
        })
        .collect();
    assert!(uncommented.contains("[targets.edge]\napply"), "{uncommented}");
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("commented", text), ("uncommented", uncommented)] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let output = Command::new(BINARY)
            .env_clear()
            .arg("--config")
            .arg(path)
            .arg("check")
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
