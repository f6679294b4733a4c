//! Programs of other releases under rules that are loaded: an upgrade of the host's packages is no
//! drift, and the newer or older program updates what the other one has loaded.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::host::Host;

/// The releases whose programs are tried besides the host's: nft 0.9.8, 1.0.6, 1.1.3 and later,
/// iptables 1.8.7, 1.8.9, 1.8.11 and later.
const RELEASES: [&str; 4] = ["bullseye", "bookworm", "trixie", "sid"];
/// The programs that `[programs]` names, and what they are in the release: a path, and the name by
/// which a program of many commands is called.
const PROGRAMS: [(&str, &str, Option<&str>); 8] = [
    ("nft", "usr/sbin/nft", None),
    ("ipset", "usr/sbin/ipset", None),
    ("iptables", "usr/sbin/xtables-nft-multi", Some("iptables")),
    ("ip6tables", "usr/sbin/xtables-nft-multi", Some("ip6tables")),
    ("iptables-restore", "usr/sbin/xtables-nft-multi", Some("iptables-restore")),
    ("ip6tables-restore", "usr/sbin/xtables-nft-multi", Some("ip6tables-restore")),
    ("iptables-save", "usr/sbin/xtables-nft-multi", Some("iptables-save")),
    ("ip6tables-save", "usr/sbin/xtables-nft-multi", Some("ip6tables-save")),
];

/// The table `[programs]` that takes all programs of a release, each with the release's libraries.
fn programs(host: &Host, release: &str) -> Result<String, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/root");
    let made = Command::new(script).arg(release).output().map_err(|error| error.to_string())?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).into_owned());
    }
    let root = PathBuf::from(String::from_utf8_lossy(&made.stdout).trim());
    let libraries = ["usr/lib", "lib"].map(|dir| root.join(dir).join("x86_64-linux-gnu"));
    let libraries = libraries.map(|dir| dir.display().to_string()).join(":");
    let mut table = String::from("[programs]\n");
    for (name, path, command) in PROGRAMS {
        // ipset and nft lie in /sbin in some releases, which is a link to usr/sbin in others.
        let program = [root.join(path), root.join(path.trim_start_matches("usr/"))];
        let Some(program) = program.iter().find(|path| path.exists()) else {
            return Err(format!("{release} has no {path}"));
        };
        let wrapper = host.path(&format!("{release}/{name}"));
        fs::create_dir_all(wrapper.parent().unwrap()).unwrap();
        let text = format!(
            "#!/bin/sh\nexport XTABLES_LIBDIR={root}/usr/lib/x86_64-linux-gnu/xtables\n\
             exec {root}/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 --library-path {libraries} \
             {program} {command} \"$@\"\n",
            root = root.display(),
            program = program.display(),
            command = command.unwrap_or_default()
        );
        fs::write(&wrapper, text).unwrap();
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        table.push_str(&format!("{name} = \"{}\"\n", wrapper.display()));
    }
    Ok(table)
}

fn config(prefix: &str, target: &str, programs: &str) -> String {
    format!(
        "[groups.azure]\nprefixes = [\"{prefix}\", \"192.0.2.7\", \"2001:db8:1::/48\"]\n\
         [rules.azure]\nsource = [\"10.20.0.0/24\", \"fd00:20::/64\"]\ndestination = \"azure\"\n\
         services = [\"tcp/443\", \"udp/53\", \"tcp/8000-8100\"]\n\
         [targets.edge]\napply = \"automatic\"\non-drift = \"hold\"\n{target}{programs}"
    )
}

#[test]
fn programs_of_other_releases_find_no_drift() {
    if std::env::var_os("TAGWALL_LONG").is_none() {
        eprintln!("skipped: programs of other releases are tried with TAGWALL_LONG=1");
        return;
    }
    for (needed, target) in [
        ("nft", "[targets.edge.nftables]\negress = [\"wan0\"]\nlog = {}\n"),
        ("iptables", "[targets.edge.iptables]\nmode = \"ipset\"\negress = [\"wan0\"]\nlog = {}\n"),
    ] {
        let host = Host::new(&[needed, "mmdebstrap"], &config("203.0.113.0/24", target, ""));
        let Some(host) = host else { return };
        let mut known = Vec::new();
        for release in RELEASES {
            match programs(&host, release) {
                Ok(table) => known.push((release, table)),
                Err(error) => {
                    eprintln!("skipped: the programs of {release}: {}", error.trim());
                }
            }
        }
        assert!(known.len() >= 2, "programs of two releases at least");
        // The other way round, old versions of nft end with a signal over sets of newer ones.
        for (index, (before, old)) in known.iter().enumerate() {
            for (after, new) in &known[index..] {
                let what = format!("{needed}: loaded by those of {before}, then {after}");
                host.namespace.attempt(&["nft", "flush", "ruleset"], b"");
                host.configure(&config("203.0.113.0/24", target, old));
                host.expect(0, &["render"]);
                host.expect(0, &["restore"]);
                // Upgraded under the rules: nothing is different, nothing is repaired.
                host.configure(&config("203.0.113.0/24", target, new));
                let (told, _) = host.expect(0, &["status", "--verify"]);
                assert!(!told.contains("brought back"), "{what}: {told}");
                let nft = host.path(&format!("{after}/nft")).display().to_string();
                let rules = || host.namespace.run(&[&nft, "-a", "-s", "list", "ruleset"], b"");
                let loaded = rules();
                host.expect(0, &["restore"]);
                assert_eq!(rules(), loaded, "{what}");
                // It updates what the other has loaded, and puts it back.
                host.configure(&config("203.0.113.0/25", target, new));
                host.expect(0, &["render"]);
                host.expect(0, &["status", "--verify"]);
            }
        }
    }
}
