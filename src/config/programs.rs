//! `[programs]`: where the firewall's programs are.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::os::files;

/// `[programs]`: the firewall's programs, by absolute path. A program that is not named is looked
/// for in /usr/sbin, /usr/bin, /sbin and /bin. `tagwall restore` and the units read this table too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Programs {
    /// nft: a newer one than the host's where the host's crashes on rules that a container loaded.
    pub nft: Option<ProgramPath>,
    /// ipset.
    pub ipset: Option<ProgramPath>,
    /// conntrack.
    pub conntrack: Option<ProgramPath>,
    /// iptables.
    pub iptables: Option<ProgramPath>,
    /// ip6tables.
    pub ip6tables: Option<ProgramPath>,
    /// iptables-restore.
    pub iptables_restore: Option<ProgramPath>,
    /// ip6tables-restore.
    pub ip6tables_restore: Option<ProgramPath>,
    /// iptables-save.
    pub iptables_save: Option<ProgramPath>,
    /// ip6tables-save.
    pub ip6tables_save: Option<ProgramPath>,
}

impl Programs {
    /// Reads this table of a configuration file, whatever else the file says: rules must be
    /// restored although another table is wrong. None where the file or the table cannot be read.
    pub fn read(config: &Path) -> Option<Self> {
        #[derive(Deserialize)]
        struct Only {
            #[serde(default)]
            programs: Programs,
        }
        let bytes = files::read_bounded(config, super::MAX_BYTES).ok()?;
        let only: Only = toml::from_str(std::str::from_utf8(&bytes).ok()?).ok()?;
        Some(only.programs)
    }

    /// The configured paths by the name of the program.
    pub fn paths(&self) -> BTreeMap<&'static str, PathBuf> {
        let all = [
            ("nft", &self.nft),
            ("ipset", &self.ipset),
            ("conntrack", &self.conntrack),
            ("iptables", &self.iptables),
            ("ip6tables", &self.ip6tables),
            ("iptables-restore", &self.iptables_restore),
            ("ip6tables-restore", &self.ip6tables_restore),
            ("iptables-save", &self.iptables_save),
            ("ip6tables-save", &self.ip6tables_save),
        ];
        let given = all.into_iter().filter_map(|(name, path)| Some((name, path.as_ref()?)));
        given.map(|(name, path)| (name, path.0.clone())).collect()
    }
}

/// An absolute path of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProgramPath(PathBuf);

impl ProgramPath {
    /// The path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl TryFrom<String> for ProgramPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let path = PathBuf::from(&text);
        if !path.is_absolute() {
            return Err(format!("the path of a program must be absolute, not {text:?}"));
        }
        if text.contains(char::is_control) || text.ends_with('/') {
            return Err(format!("{text:?} is not the path of a program"));
        }
        Ok(Self(path))
    }
}

impl From<ProgramPath> for String {
    fn from(path: ProgramPath) -> Self {
        path.to_string()
    }
}

impl fmt::Display for ProgramPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::config::Config;

    fn parse(table: &str) -> Result<Config, String> {
        let text = format!("cloud = \"example\"\n[programs]\n{table}\n");
        Config::parse(Path::new("/etc/tagwall/tagwall.toml"), text)
            .map_err(|error| error.render(false))
    }

    #[test]
    fn programs_are_known_names_with_absolute_paths() {
        let config = parse("nft = \"/opt/nft/sbin/nft\"\nip6tables-save = \"/opt/x\"").unwrap();
        let paths = config.programs.paths();
        assert_eq!(paths["nft"], Path::new("/opt/nft/sbin/nft"));
        assert_eq!(paths["ip6tables-save"], Path::new("/opt/x"));
        assert_eq!(paths.len(), 2);
        for (wrong, reason) in [
            ("nft = \"nft\"", "must be absolute"),
            ("nft = \"../sbin/nft\"", "must be absolute"),
            ("nft = \"/usr/sbin/\"", "is not the path of a program"),
            ("nftables = \"/usr/sbin/nft\"", "nftables"),
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(error.contains(reason) && error.contains("tagwall.toml:3"), "{error}");
        }
    }

    #[test]
    fn programs_are_read_from_configuration_that_is_wrong_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tagwall.toml");
        let read = |text: &str| {
            std::fs::File::create(&file).unwrap().write_all(text.as_bytes()).unwrap();
            Programs::read(&file)
        };
        let found = read("cloud = \"exampel\"\n[programs]\nnft = \"/opt/nft\"\n").unwrap();
        assert_eq!(found.nft.unwrap().path(), Path::new("/opt/nft"));
        assert_eq!(read("cloud = \"example\"\n"), Some(Programs::default()));
        assert_eq!(read("[programs]\nnft = \"nft\"\n"), None);
        assert_eq!(Programs::read(Path::new("/nonexistent/tagwall.toml")), None);
    }
}
