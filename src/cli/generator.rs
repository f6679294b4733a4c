//! `tagwall generator`: what systemd calls at boot and at `daemon-reload`, to learn what the agent needs.
//!
//! A unit file cannot read the configuration, so it would have to allow what any configuration could need. This writes
//! a drop-in beside it instead: the firewall's capabilities where a target is applied to this host's kernel, and the
//! folders into which targets install files. A configuration that cannot be used adds nothing; what is wrong with it
//! is said by `tagwall check` when the agent starts.

use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::printer::Printer;
use super::{Cli, Exit};
use crate::config::{Config, Dialect, IptablesMode};
use crate::os::command::{BoundedCommand, find_program};
use crate::os::files::{self, Replacement};

/// Options of `generator`: what systemd gives a generator.
#[derive(Debug, Args)]
pub struct GeneratorArgs {
    /// Where units are written
    #[arg(value_name = "NORMAL")]
    normal: PathBuf,
    /// Where units that take precedence over the administrator's are written; not used
    #[arg(value_name = "EARLY")]
    _early: Option<PathBuf>,
    /// Where units that everything takes precedence over are written; not used
    #[arg(value_name = "LATE")]
    _late: Option<PathBuf>,
}

/// The first systemd that knows `RestartSteps=`.
const RESTART_STEPS: u32 = 254;

/// The programs that rule this host's kernel.
const PROGRAMS: &str = "-/usr/sbin/nft -/usr/sbin/ipset -/sbin/ipset -/usr/sbin/conntrack \
                        -/usr/sbin/xtables-nft-multi -/usr/sbin/xtables-legacy-multi";

/// Longest time that systemd may take to say its version: a boot waits for it.
const VERSION_LIMIT: Duration = Duration::from_secs(2);

pub(super) fn run(cli: &Cli, args: &GeneratorArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let config = match Config::load(&cli.config) {
        Ok(config) => config,
        Err(crate::config::ConfigError::Read { source, .. }) if source.is_not_found() => {
            return Ok(Exit::Ok);
        }
        Err(error) => return Err(error.into()),
    };
    let needs = Needs::of(&config);
    for path in &needs.refused {
        printer.warning(&format!("{} cannot be made writable for the agent", path.display()));
    }
    let folder = args.normal.join("tagwall.service.d");
    files::create_dir_all_durable(&folder, 0o755)?;
    let drop_in = Replacement {
        path: folder.join("50-configuration.conf"),
        contents: needs.drop_in(&cli.config, systemd_version()).into_bytes(),
        mode: Some(0o644),
    };
    files::replace_all(&[drop_in])?;
    Ok(Exit::Ok)
}

/// What a configuration needs beyond what every agent has.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    /// A target is applied to the kernel.
    kernel: bool,
    /// And it is one of iptables.
    iptables: bool,
    /// And that matches on sets, which needs raw sockets.
    sets: bool,
    /// A target names a command of the user's.
    commands: bool,
    /// Folders in which files are installed.
    folders: Vec<PathBuf>,
    /// Paths that cannot be made writable without opening too much.
    refused: Vec<PathBuf>,
}

impl Needs {
    fn of(config: &Config) -> Self {
        let mut needs = Self::default();
        for target in config.targets.values().map(toml::Spanned::get_ref) {
            if target.applies() {
                needs.kernel = true;
                for dialect in target.dialects() {
                    if let Dialect::Iptables(settings) = dialect {
                        needs.iptables = true;
                        needs.sets |= settings.mode == IptablesMode::Ipset;
                    }
                }
            }
            needs.commands |= target.verify.is_some() || target.reload.is_some();
            let Some(path) = &target.path else { continue };
            match writable_folder(&config.beside(path)) {
                Some(folder) if !needs.folders.contains(&folder) => needs.folders.push(folder),
                Some(_) => {}
                None => needs.refused.push(path.clone()),
            }
        }
        needs
    }

    fn drop_in(&self, config: &Path, systemd: Option<u32>) -> String {
        let mut text = format!(
            "# What {} needs. Written by tagwall-generator at boot and at `systemctl daemon-reload`.\n\n",
            config.display().to_string().replace(char::is_control, "?")
        );
        if systemd.is_some_and(|version| version >= RESTART_STEPS) {
            text.push_str("[Service]\nRestartSteps=8\nRestartMaxDelaySec=5min\n");
        } else {
            text.push_str("[Service]\n");
        }
        if self.kernel {
            let (why, raw) = if self.sets {
                (" through iptables, whose match on sets needs CAP_NET_RAW", " CAP_NET_RAW")
            } else {
                ("", "")
            };
            _ = write!(
                text,
                "# A target is applied to this host's kernel{why}.\n\
                 CapabilityBoundingSet=CAP_NET_ADMIN{raw}\nAmbientCapabilities=CAP_NET_ADMIN{raw}\n\
                 RestrictAddressFamilies=AF_NETLINK\nExecPaths={PROGRAMS}\n"
            );
        }
        if self.iptables {
            text.push_str("# The lock that every user of iptables-legacy takes.\nReadWritePaths=-/run/xtables.lock\n");
        }
        if self.commands {
            text.push_str(
                "# Commands of the configuration: what they start is not known, so every program may run.\nExecPaths=/\n",
            );
        }
        if !self.folders.is_empty() {
            text.push_str(
                "# Where targets install their files. The user tagwall must be allowed to write there.\n",
            );
        }
        for folder in &self.folders {
            _ = writeln!(text, "ReadWritePaths=\"-{}\"", escaped(folder));
        }
        text
    }
}

/// The folder that has to be writable for an installed file; none where that would open a whole system.
fn writable_folder(path: &Path) -> Option<PathBuf> {
    let is_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/");
    let folder = if is_folder { path } else { path.parent()? };
    let plain = folder.is_absolute()
        && folder.to_str().is_some_and(|text| !text.contains(char::is_control))
        && folder
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let names = folder.components().count() - 1;
    // A whole /etc or /usr is no place to hand over.
    let top = ["/etc", "/usr", "/usr/bin", "/usr/lib", "/usr/sbin", "/boot", "/root", "/home"];
    let whole = names < 2 && folder != Path::new("/srv")
        || top.iter().any(|top| Path::new(top) == folder)
        || folder.starts_with("/etc/systemd")
        || folder.starts_with("/usr/lib/systemd");
    (plain && !whole).then(|| folder.components().collect())
}

/// A path as a quoted word of a unit file, in which `%` starts a specifier.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%")
}

/// The version of the systemd that is installed: `systemd 252 (252.38-1~deb12u1)`.
fn systemd_version() -> Option<u32> {
    let output = BoundedCommand::new(find_program("systemctl")?)
        .arg("--version")
        .time_limit(VERSION_LIMIT)
        .run()
        .ok()?;
    version_in(&String::from_utf8_lossy(&output.stdout))
}

fn version_in(text: &str) -> Option<u32> {
    let digits = |word: &str| -> String { word.chars().take_while(char::is_ascii_digit).collect() };
    digits(text.strip_prefix("systemd ")?).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(targets: &str) -> Needs {
        let text = format!(
            "cloud = \"example\"\n[groups.devops]\ntags = [\"AzureDevOps\"]\n[rules.devops]\nsource = [\"10.20.0.0/24\"]\n\
             destination = \"devops\"\nservices = [\"tcp/443\"]\ninterfaces = [\"wan0\"]\n{targets}"
        );
        Needs::of(&Config::parse(Path::new("/etc/tagwall/tagwall.toml"), text).unwrap())
    }

    #[test]
    fn files_alone_need_nothing() {
        let needs = needs("[targets.edge.nftables]\n[targets.lists.list]\n");
        assert_eq!(needs, Needs::default());
        let text = needs.drop_in(Path::new("/etc/tagwall/tagwall.toml"), Some(252));
        assert!(!text.contains("CAP_"), "{text}");
        assert!(text.ends_with("[Service]\n"), "{text}");
    }

    #[test]
    fn a_kernel_target_needs_its_capability_and_iptables_one_more() {
        let nft = needs("[targets.edge]\napply = \"automatic\"\n[targets.edge.nftables]\n")
            .drop_in(Path::new("/c"), None);
        assert!(nft.contains("\nAmbientCapabilities=CAP_NET_ADMIN\n"), "{nft}");
        assert!(nft.contains("\nRestrictAddressFamilies=AF_NETLINK\n"), "{nft}");
        assert!(nft.contains("/usr/sbin/nft") && !nft.contains("ExecPaths=/\n"), "{nft}");
        let iptables = |mode: &str| {
            needs(&format!("[targets.edge]\napply = \"automatic\"\n[targets.edge.iptables]\nmode = \"{mode}\"\n"))
                .drop_in(Path::new("/c"), None)
        };
        assert!(!iptables("plain").contains("CAP_NET_RAW"));
        let iptables = iptables("ipset");
        assert!(
            iptables.contains("\nCapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW\n"),
            "{iptables}"
        );
    }

    #[test]
    fn a_command_of_the_user_may_be_any_program() {
        let text =
            needs("[targets.lists]\nreload = [\"/usr/local/bin/push\"]\n[targets.lists.list]\n")
                .drop_in(Path::new("/c"), None);
        assert!(text.contains("\nExecPaths=/\n"), "{text}");
    }

    #[test]
    fn installed_files_need_their_folder_and_no_more() {
        let list = |path: &str| {
            needs(&format!("[targets.lists]\npath = \"{path}\"\n[targets.lists.list]\n"))
        };
        for (path, folder) in [
            ("/srv/lists/devops.txt", "/srv/lists"),
            ("/etc/haproxy/lists/", "/etc/haproxy/lists"),
            ("/srv/50%/a\\\"b/", "/srv/50%/a\"b"),
        ] {
            assert_eq!(list(path).folders, [PathBuf::from(folder)], "{path}");
        }
        for path in [
            "/devops.txt",
            "/etc/devops.txt",
            "/usr/lib/",
            "/srv/../etc/x/",
            "/etc/systemd/system/",
        ] {
            assert!(list(path).folders.is_empty(), "{path}");
            assert_eq!(list(path).refused, [PathBuf::from(path)]);
        }
        let text = list("/srv/50%/a\\\"b/").drop_in(Path::new("/c"), None);
        assert!(text.contains("\nReadWritePaths=\"-/srv/50%%/a\\\"b\"\n"), "{text}");
    }

    #[test]
    fn the_distance_of_restarts_grows_where_systemd_can() {
        assert_eq!(version_in("systemd 252 (252.38-1~deb12u1)\n+PAM"), Some(252));
        assert_eq!(version_in("systemd 256.7 (256.7-1)"), Some(256));
        assert_eq!(version_in("something else"), None);
        let text = |version| Needs::default().drop_in(Path::new("/c"), version);
        assert!(!text(Some(252)).contains("RestartSteps"));
        assert!(text(Some(257)).contains("\nRestartSteps=8\n"));
    }
}
