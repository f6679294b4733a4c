//! The kernel's settings that decide whether a packet is forwarded.
//!
//! `/proc/sys/net` shows the network namespace of the thread that opens a file.

use std::fs::{self, File};
use std::io::Write as _;

/// Settings of a whole namespace. Forwarding comes first: it resets those of the interfaces.
const GLOBAL: &[&str] = &[
    "ipv4/ip_forward",
    "ipv4/conf/all/rp_filter",
    "ipv4/conf/all/accept_local",
    "ipv6/conf/all/forwarding",
    "ipv6/conf/all/disable_ipv6",
];

/// Settings of an interface.
const OF_INTERFACE: &[(&str, &[&str])] = &[
    ("ipv4", &["forwarding", "rp_filter", "accept_local", "route_localnet"]),
    ("ipv6", &["forwarding", "disable_ipv6"]),
];

/// Settings as they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings(Vec<(String, String)>);

impl Settings {
    /// The settings of this thread's namespace, with those of these interfaces.
    pub(super) fn read<'a>(interfaces: impl IntoIterator<Item = &'a str>) -> Self {
        let mut paths: Vec<String> = GLOBAL.iter().map(|path| (*path).to_owned()).collect();
        for interface in interfaces {
            for (family, names) in OF_INTERFACE {
                paths.extend(names.iter().map(|name| format!("{family}/conf/{interface}/{name}")));
            }
        }
        let read = |path: String| read(&path).map(|value| (path, value));
        Self(paths.into_iter().filter_map(read).collect())
    }

    /// Writes them into this thread's namespace, and returns those that could not be written.
    pub(super) fn write(&self) -> Vec<String> {
        let differs = |(path, value): &&(String, String)| {
            read(path).as_deref() != Some(value) && !write(path, value)
        };
        self.0.iter().filter(differs).map(|(path, value)| format!("{path} = {value}")).collect()
    }

    /// The value of one of them.
    pub(super) fn get(&self, path: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == path).map(|(_, value)| value.as_str())
    }
}

/// The value of a setting; none where there is no such setting.
fn read(path: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/net/{path}")).ok()?;
    Some(text.trim().to_owned())
}

/// Changes a setting; false where it cannot be changed.
pub(super) fn write(path: &str, value: &str) -> bool {
    File::options()
        .write(true)
        .open(format!("/proc/sys/net/{path}"))
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .is_ok()
}
