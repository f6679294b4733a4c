//! Which folders of the host a configuration names, and which of them the unit hides.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::config::Config;

/// What `ProtectHome=` and `PrivateTmp=` hide from the agent.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// Where a path lies, seen from the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Where the unit can see it.
    Plain,
    /// Below somebody's home.
    Home,
    /// Among temporary files.
    Temporary,
}

impl Place {
    pub(super) fn of(path: &Path) -> Self {
        if HOMES.iter().any(|home| path.starts_with(home)) {
            Self::Home
        } else if TEMPORARY.iter().any(|folder| path.starts_with(folder)) {
            Self::Temporary
        } else {
            Self::Plain
        }
    }
}

/// The folder that has to be writable for an installed file; none where that would open a whole system.
pub(super) fn writable_folder(path: &Path) -> Option<PathBuf> {
    let is_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/");
    let folder = if is_folder { path } else { path.parent()? };
    narrow(folder).then(|| folder.components().collect())
}

/// Whether a folder can be handed over: one that is written plainly, and no top of the system.
fn narrow(folder: &Path) -> bool {
    let plain = folder.is_absolute()
        && folder.to_str().is_some_and(|text| !text.contains(char::is_control))
        && folder
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let names = folder.components().count() - 1;
    // A whole /etc or /usr is no place to hand over, nor is a whole home.
    let top = ["/etc", "/usr", "/usr/bin", "/usr/lib", "/usr/sbin", "/boot", "/root", "/home"];
    let whole = names < 2 && folder != Path::new("/srv")
        || top.iter().any(|top| Path::new(top) == folder)
        || TEMPORARY.iter().chain(&HOMES).any(|top| Path::new(top) == folder)
        || folder.starts_with("/home") && names < 3
        || folder.starts_with("/run/user") && names < 4
        || folder.starts_with("/etc/systemd")
        || folder.starts_with("/usr/lib/systemd");
    plain && !whole
}

/// Folders of a configuration that the unit hides although something is to be read from them, and paths among them that cannot
/// be shown without showing too much.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hidden {
    pub(super) folders: BTreeSet<PathBuf>,
    pub(super) refused: BTreeSet<PathBuf>,
}

impl Hidden {
    /// Finds every path that the configuration names: whatever begins like one is one. `written` are known already.
    pub(super) fn of(config: &Config, written: &[PathBuf]) -> Self {
        let mut hidden = Self::default();
        if let Ok(table) = config.text().parse::<toml::Table>() {
            hidden.search("", &toml::Value::Table(table), written);
        }
        hidden
    }

    fn search(&mut self, key: &str, value: &toml::Value, written: &[PathBuf]) {
        match value {
            toml::Value::String(text) => self.consider(key, Path::new(text), written),
            toml::Value::Array(values) => {
                for value in values {
                    self.search(key, value, written);
                }
            }
            toml::Value::Table(table) => {
                // `path` is a folder in a feed alone.
                let named = |inner: &str| match (key, inner) {
                    ("directory", "path") => "folder".to_owned(),
                    _ => inner.to_owned(),
                };
                for (inner, value) in table {
                    self.search(&named(inner), value, written);
                }
            }
            _ => {}
        }
    }

    fn consider(&mut self, key: &str, path: &Path, written: &[PathBuf]) {
        if Place::of(path) == Place::Plain || written.iter().any(|folder| path.starts_with(folder))
        {
            return;
        }
        // A file is shown with its folder: one that is renewed is another file of the same name.
        let is_folder = matches!(key, "folder" | "templates-dir" | "token-folder");
        match if is_folder { Some(path) } else { path.parent() } {
            Some(folder) if narrow(folder) && !has_colon(folder) => {
                self.folders.insert(folder.components().collect());
            }
            _ => {
                self.refused.insert(path.to_owned());
            }
        }
    }
}

/// Whether a path has the sign that parts two paths in `BindPaths=`.
pub(super) fn has_colon(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().contains(&b':')
}

/// A path as a quoted word of a unit file, in which `%` starts a specifier.
pub(super) fn escaped(path: &Path) -> String {
    path.display().to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%")
}
