//! What a configuration needs of the unit, and the drop-in that gives it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::places::{Hidden, Place, escaped, has_colon, writable_folder};
use crate::config::{
    Config, Dialect, FeedKind, IptablesMode, NotifyKind, ServeSettings, SyslogPlace, Target,
};
use crate::intent::Intent;
use crate::names;

/// The first systemd that knows `RestartSteps=`.
const RESTART_STEPS: u32 = 254;

/// The programs that rule this host's kernel.
const PROGRAMS: &str = "-/usr/sbin/nft -/usr/sbin/ipset -/sbin/ipset -/usr/sbin/conntrack \
                        -/usr/sbin/xtables-nft-multi -/usr/sbin/xtables-legacy-multi";

/// The first port that everybody may listen at.
const FIRST_UNPRIVILEGED: u16 = 1024;

/// Folders that the unit may write to anyhow.
const OWN: [&str; 2] = ["/run/tagwall", "/var/lib/tagwall"];

/// What a configuration needs beyond what every agent has, and what it does without.
#[derive(Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a need of its own")]
pub(super) struct Needs {
    /// A target is applied to the kernel.
    kernel: bool,
    /// And it is one of iptables.
    iptables: bool,
    /// And that matches on sets, which needs raw sockets.
    sets: bool,
    /// The server listens at a port below [`FIRST_UNPRIVILEGED`].
    low_port: bool,
    /// Commands of the user's are named.
    commands: bool,
    /// Something is fetched, resolved, served or told over the network.
    network: bool,
    /// Folders in which files are installed or sockets made.
    folders: Vec<PathBuf>,
    /// Paths that cannot be made writable without opening too much.
    pub(super) unwritable: Vec<PathBuf>,
    /// What is read from places that the unit hides.
    pub(super) hidden: Hidden,
    /// The firewall's programs that the configuration names.
    programs: Vec<PathBuf>,
}

impl Needs {
    pub(super) fn of(config: &Config) -> Self {
        let mut needs = Self::default();
        for target in config.targets.values().map(toml::Spanned::get_ref) {
            needs.add_target(config, target);
        }
        let served = config.serve.as_ref().and_then(|serve| serve.socket.as_ref());
        for socket in [config.agent.socket.as_ref(), served].into_iter().flatten() {
            needs.write_to(&config.beside(socket));
        }
        if let Some(serve) = &config.serve {
            needs.add_server(serve);
        }
        for kind in config.notify.values().flat_map(|notify| notify.get_ref().kinds()) {
            match kind {
                NotifyKind::Command(_) => needs.commands = true,
                NotifyKind::Syslog(syslog) if matches!(syslog.to, SyslogPlace::Socket(_)) => {}
                _ => needs.network = true,
            }
        }
        let feeds = config.feeds.values().flat_map(|feed| feed.get_ref().kinds());
        needs.network |= feeds.into_iter().any(|kind| !matches!(kind, FeedKind::Directory(_)));
        needs.network |= !names::wanted(config, &Intent::of(config)).is_empty();
        // What a command does is not known.
        needs.network |= needs.commands;
        needs.hidden = Hidden::of(config, &needs.folders);
        needs.programs = config.programs.paths().into_values().collect();
        needs.programs.sort();
        needs.programs.dedup();
        needs
    }

    fn add_target(&mut self, config: &Config, target: &Target) {
        if target.applies() {
            self.kernel = true;
            for dialect in target.dialects() {
                if let Dialect::Iptables(settings) = dialect {
                    self.iptables = true;
                    self.sets |= settings.mode == IptablesMode::Ipset;
                }
            }
        }
        self.commands |= target.verify.is_some() || target.reload.is_some();
        if let Some(path) = &target.path {
            self.write_to(&config.beside(path));
        }
    }

    fn add_server(&mut self, serve: &ServeSettings) {
        self.low_port |= serve.listen.iter().any(|address| address.port() < FIRST_UNPRIVILEGED);
        self.network |= !serve.listen.is_empty() || serve.socket_activation;
    }

    fn write_to(&mut self, path: &Path) {
        match writable_folder(path) {
            // A colon would part what is bound from where it is bound.
            Some(folder) if Place::of(&folder) != Place::Plain && has_colon(&folder) => {
                self.unwritable.push(path.to_owned());
            }
            Some(folder) if OWN.iter().any(|own| folder.starts_with(own)) => {}
            Some(folder) if !self.folders.contains(&folder) => self.folders.push(folder),
            Some(_) => {}
            None => self.unwritable.push(path.to_owned()),
        }
    }

    pub(super) fn drop_in(&self, config: &Path, systemd: Option<u32>) -> String {
        let mut text = head(config);
        if systemd.is_some_and(|version| version >= RESTART_STEPS) {
            text.push_str("RestartSteps=8\nRestartMaxDelaySec=5min\n");
        }
        self.write_capabilities(&mut text);
        if self.kernel {
            _ = write!(text, "RestrictAddressFamilies=AF_NETLINK\nExecPaths={PROGRAMS}\n");
            self.write_programs(&mut text);
        }
        if self.iptables {
            text.push_str("# The lock that every user of iptables-legacy takes.\nReadWritePaths=-/run/xtables.lock\n");
        }
        if self.commands {
            text.push_str(
                "# Commands of the configuration: what they start is not known, so every program may run.\nExecPaths=/\n",
            );
        }
        if !self.network {
            text.push_str("# Nothing is fetched, resolved, served or told over the network.\nIPAddressAllow=\nIPAddressDeny=any\n");
        }
        self.write_folders(&mut text);
        text
    }

    /// The drop-in of the units that load rules at boot; none where they need nothing more than they have.
    pub(super) fn boot_drop_in(&self, config: &Path) -> Option<String> {
        if self.programs.is_empty() {
            return None;
        }
        let mut text = head(config);
        self.write_programs(&mut text);
        Some(text)
    }

    fn write_programs(&self, text: &mut String) {
        if !self.programs.is_empty() {
            text.push_str(
                "# Programs of [programs]. Libraries elsewhere than in /usr/lib are to be added.\n",
            );
        }
        for program in &self.programs {
            _ = writeln!(text, "ExecPaths=\"-{}\"", escaped(program));
        }
    }

    fn write_capabilities(&self, text: &mut String) {
        let mut capabilities = Vec::new();
        if self.kernel {
            text.push_str("# A target is applied to this host's kernel");
            capabilities.push("CAP_NET_ADMIN");
            if self.sets {
                text.push_str(" through iptables, whose match on sets needs CAP_NET_RAW");
                capabilities.push("CAP_NET_RAW");
            }
            text.push_str(".\n");
        }
        if self.low_port {
            _ = writeln!(text, "# The server listens at a port below {FIRST_UNPRIVILEGED}.");
            capabilities.push("CAP_NET_BIND_SERVICE");
        }
        if !capabilities.is_empty() {
            let all = capabilities.join(" ");
            _ = write!(text, "CapabilityBoundingSet={all}\nAmbientCapabilities={all}\n");
        }
    }

    fn write_folders(&self, text: &mut String) {
        if !self.folders.is_empty() {
            text.push_str(
                "# Where files are installed and sockets are made. The user tagwall must be allowed to write there.\n",
            );
        }
        for folder in &self.folders {
            let key =
                if Place::of(folder) == Place::Plain { "ReadWritePaths" } else { "BindPaths" };
            _ = writeln!(text, "{key}=\"-{}\"", escaped(folder));
        }
        if !self.hidden.folders.is_empty() {
            text.push_str("# What is read from places that are hidden otherwise.\n");
        }
        for folder in &self.hidden.folders {
            _ = writeln!(text, "BindReadOnlyPaths=\"-{}\"", escaped(folder));
        }
        let shown =
            || self.folders.iter().chain(&self.hidden.folders).map(|folder| Place::of(folder));
        if shown().any(|place| place == Place::Home) {
            text.push_str("# Of homes, these folders and nothing else.\nProtectHome=tmpfs\n");
        }
        if shown().any(|place| place != Place::Plain) {
            text.push_str(
                "# systemd 247 makes the folders above them with this mask: the agent must get through, and nobody read.\nUMask=0026\n",
            );
        }
    }
}

/// The first lines of a drop-in.
fn head(config: &Path) -> String {
    format!(
        "# What {} needs. Written by tagwall-generator at boot and at `systemctl daemon-reload`.\n\n[Service]\n",
        config.display().to_string().replace(char::is_control, "?")
    )
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
        // Nor is there anything to ask over the network.
        assert!(text.ends_with("\nIPAddressAllow=\nIPAddressDeny=any\n"), "{text}");
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
    fn configured_programs_may_be_executed_by_agent_and_boot_units() {
        let target = "[targets.edge]\napply = \"automatic\"\n[targets.edge.nftables]\n";
        let none = needs(target);
        assert_eq!(none.boot_drop_in(Path::new("/c")), None);
        let programs = "[programs]\nnft = \"/opt/50%/nft\"\nipset = \"/opt/ipset\"\n";
        let needs = needs(&format!("{target}{programs}"));
        let agent = needs.drop_in(Path::new("/c"), None);
        let boot = needs.boot_drop_in(Path::new("/c")).unwrap();
        for text in [agent, boot] {
            assert!(text.contains("\nExecPaths=\"-/opt/50%%/nft\"\n"), "{text}");
            assert!(text.contains("\nExecPaths=\"-/opt/ipset\"\n"), "{text}");
        }
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
            assert_eq!(list(path).unwritable, [PathBuf::from(path)]);
        }
        let text = list("/srv/50%/a\\\"b/").drop_in(Path::new("/c"), None);
        assert!(text.contains("\nReadWritePaths=\"-/srv/50%%/a\\\"b\"\n"), "{text}");
    }

    #[test]
    fn the_distance_of_restarts_grows_where_systemd_can() {
        let text = |version| Needs::default().drop_in(Path::new("/c"), version);
        assert!(!text(Some(252)).contains("RestartSteps"));
        assert!(text(Some(257)).contains("\nRestartSteps=8\n"));
    }

    #[test]
    fn what_asks_nobody_gets_no_network() {
        let network = |more: &str| needs(more).network;
        assert!(!network(""));
        assert!(!network("[feeds.drop.directory]\npath = \"/srv/drop\"\n"));
        assert!(!network("[serve]\nsocket = \"/run/tagwall/serve.sock\"\n"));
        assert!(!network("[notify.log.syslog]\n"));
        for more in [
            "[feeds.microsoft.download]\n[feeds.microsoft]\ncloud = \"public\"\n",
            "[serve]\nlisten = [\"127.0.0.1:8080\"]\n",
            "[serve]\nsocket-activation = true\n",
            "[notify.log.syslog]\nto = \"udp://192.0.2.1:514\"\n",
            "[notify.team.webhook]\nurl = \"https://example.com/hook\"\n",
            "[notify.pager.command]\nrun = [\"/usr/local/bin/page\"]\n",
            "[targets.lists]\nreload = [\"/usr/local/bin/push\"]\n[targets.lists.list]\n",
            "[targets.edge.nftables]\n[groups.names]\nhosts = [\"www.example.com\"]\n",
        ] {
            assert!(network(more), "{more}");
        }
    }

    #[test]
    fn a_program_that_tells_may_be_any_program() {
        let told = needs("[notify.pager.command]\nrun = [\"/usr/local/bin/page\"]\n");
        assert!(told.drop_in(Path::new("/c"), None).contains("\nExecPaths=/\n"));
    }

    #[test]
    fn a_low_port_needs_its_capability() {
        let serving = |port: u16| {
            needs(&format!("[serve]\nlisten = [\"127.0.0.1:{port}\"]\n"))
                .drop_in(Path::new("/c"), None)
        };
        assert!(!serving(1024).contains("CAP_"));
        assert!(serving(443).contains("\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n"));
        let both = needs(
            "[serve]\nlisten = [\"127.0.0.1:443\"]\n[targets.edge]\napply = \"automatic\"\n[targets.edge.nftables]\n",
        );
        let both = both.drop_in(Path::new("/c"), None);
        assert!(both.contains("\nCapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_BIND_SERVICE\n"));
    }

    #[test]
    fn a_socket_needs_its_folder_where_it_is_not_our_own() {
        let socket = |path: &str| needs(&format!("[serve]\nsocket = \"{path}\"\n")).folders;
        assert!(socket("/run/tagwall/serve.sock").is_empty());
        assert_eq!(socket("/run/haproxy/tagwall.sock"), [PathBuf::from("/run/haproxy")]);
    }

    #[test]
    fn what_is_read_from_homes_and_temporary_folders_is_shown() {
        let feed = |path: &str| needs(&format!("[feeds.drop.directory]\npath = \"{path}\"\n"));
        let text = feed("/home/netops/drop").drop_in(Path::new("/c"), None);
        assert!(text.contains("\nBindReadOnlyPaths=\"-/home/netops/drop\"\n"), "{text}");
        assert!(text.contains("\nProtectHome=tmpfs\n"), "{text}");
        // The folders above are made with it: others may pass through them.
        assert!(text.contains("\nUMask=0026\n"), "{text}");
        let text = feed("/tmp/drop").drop_in(Path::new("/c"), None);
        assert!(text.contains("\nBindReadOnlyPaths=\"-/tmp/drop\"\n"), "{text}");
        assert!(!text.contains("ProtectHome"), "{text}");
        let plain = feed("/srv/drop").drop_in(Path::new("/c"), None);
        assert!(!plain.contains("Bind") && !plain.contains("UMask"), "{plain}");
        // A file comes with its folder, which must not be a whole home.
        let certificate = |path: &str| {
            needs(&format!(
                "[serve]\nlisten = [\"127.0.0.1:8443\"]\n[serve.tls]\ncertificate = \"{path}\"\nkey = \"/etc/tagwall/secrets/key.pem\"\n"
            ))
            .hidden
        };
        let shown = certificate("/home/netops/tls/tls.pem");
        assert_eq!(shown.folders, [PathBuf::from("/home/netops/tls")].into());
        for refused in ["/home/netops/tls.pem", "/root/tls.pem", "/tmp/tls.pem", "/tmp/a:b/tls.pem"]
        {
            assert_eq!(certificate(refused).refused, [PathBuf::from(refused)].into());
        }
        // What is installed there is written, and needs no second look.
        let lists =
            needs("[targets.lists]\npath = \"/home/netops/lists/\"\n[targets.lists.list]\n");
        let text = lists.drop_in(Path::new("/c"), None);
        assert!(text.contains("\nBindPaths=\"-/home/netops/lists\"\n"), "{text}");
        assert!(!text.contains("BindReadOnlyPaths"), "{text}");
    }
}
