//! `[targets.NAME]`: one firewall dialect with its files.
//!
//! What every target has stands in `[targets.NAME]`; what one dialect alone has, in
//! `[targets.NAME.DIALECT]`, a file of this folder each.

mod azure;
mod common;
mod custom;
mod fortios;
mod iptables;
mod list;
mod nftables;
mod panos;

pub use azure::*;
pub use common::{Hostnames, NamePrefix, Rest, RestLog};
pub use custom::*;
pub use fortios::*;
pub use iptables::*;
pub use list::*;
pub use nftables::*;
pub use panos::*;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::names::Name;
use super::network::Families;
use super::publishing::{Conntrack, OnDrift};

/// A target: which rules it carries, and exactly one dialect.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Target {
    /// Rules and profiles that this target carries, by name. Default: all.
    pub rules: Option<Vec<Spanned<Name>>>,
    /// Groups that this target carries, by name. Default: all; with `rules`, those that the rules use.
    pub groups: Option<Vec<Spanned<Name>>>,
    /// `both` (default), `ipv4` or `ipv6`.
    #[serde(default)]
    pub families: Families,
    /// Who resolves hostnames: `resolve`, tagwall, their addresses are prefixes of their group; `native`, the firewall, which
    /// has objects for them. Default: `native` for panos and fortios, `resolve` for all that have no such objects; json
    /// writes names and addresses apart.
    pub hostnames: Option<Hostnames>,
    /// Where copies of the files are installed: a path for the target's only file, or a folder (with `/` at the end)
    /// for all of them. Default: none; readers use the state folder's `current/TARGET/`.
    pub path: Option<PathBuf>,
    /// Make this host's kernel use the rules: `automatic`, or `off` (default).
    #[serde(default)]
    pub apply: Apply,
    /// A command that checks the files before anything changes: absolute path and arguments; `{path}` stands for the
    /// folder of the files. Default: none, and the kernel's own parser where `apply` is automatic.
    pub verify: Option<Vec<String>>,
    /// A command that makes a firewall use the files (a reload, a push script): absolute path and arguments; `{path}`
    /// stands for the folder of the files.
    pub reload: Option<Vec<String>>,
    /// Longest time that one command may take, in seconds. Default: 60.
    #[serde(default = "Target::default_time_limit")]
    pub time_limit: u64,
    /// Whether a failure of this target leaves the others alone: they go on, and it keeps the files it had. Default: false,
    /// and all targets change together or not at all.
    #[serde(default)]
    pub isolated: bool,
    /// What becomes of connections to ranges that left: `keep` (default) or `delete`. Only where `apply` is automatic.
    #[serde(default)]
    pub conntrack: Conntrack,
    /// Whether objects of others that stand where this target is loaded may be replaced: a table, chain or set that exists, has
    /// content and does not carry tagwall's mark. Default: false, and such a target is refused.
    #[serde(default)]
    pub take_over: bool,
    /// Whether the first load by hand may stay although no packet gets to the rules: no base chain leads to them, or an earlier
    /// rule always drops. Default: false, and such a load is taken back. Later loads, the agent's and those at boot stay anyhow.
    #[serde(default)]
    pub allow_unreached: bool,
    /// What is done about foreign changes: `restore` or `hold`. Default: that of `[publish]`.
    pub on_drift: Option<OnDrift>,
    /// nftables.
    pub nftables: Option<Nftables>,
    /// iptables, with or without ipset.
    pub iptables: Option<Iptables>,
    /// One prefix a line.
    pub list: Option<List>,
    /// The whole rule set as JSON.
    pub json: Option<Json>,
    /// Palo Alto PAN-OS.
    pub panos: Option<Panos>,
    /// Fortinet FortiOS.
    pub fortios: Option<Fortios>,
    /// Azure route tables and network security groups.
    pub azure: Option<Azure>,
    /// A template of the user.
    pub custom: Option<Custom>,
}

/// Whether this host's kernel is made to use the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Apply {
    /// The files are written, and somebody else loads them.
    #[default]
    Off,
    /// Each generation is loaded, and read back.
    Automatic,
}

/// The dialect of a target, with its settings.
#[derive(Debug, Clone, Copy)]
pub enum Dialect<'t> {
    /// nftables.
    Nftables(&'t Nftables),
    /// iptables, with or without ipset.
    Iptables(&'t Iptables),
    /// One prefix a line.
    List(&'t List),
    /// The whole rule set as JSON.
    Json(&'t Json),
    /// Palo Alto PAN-OS.
    Panos(&'t Panos),
    /// Fortinet FortiOS.
    Fortios(&'t Fortios),
    /// Azure route tables and network security groups.
    Azure(&'t Azure),
    /// A template of the user.
    Custom(&'t Custom),
}

impl Dialect<'_> {
    /// The key under which its settings stand.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nftables(_) => "nftables",
            Self::Iptables(_) => "iptables",
            Self::List(_) => "list",
            Self::Json(_) => "json",
            Self::Panos(_) => "panos",
            Self::Fortios(_) => "fortios",
            Self::Azure(_) => "azure",
            Self::Custom(_) => "custom",
        }
    }
}

impl Target {
    /// The dialects that have objects for hostnames, or may have.
    pub const NATIVE_HOSTNAMES: [&'static str; 4] = ["panos", "fortios", "json", "custom"];

    /// The keys of all dialects.
    pub const DIALECTS: [&'static str; 8] =
        ["nftables", "iptables", "list", "json", "panos", "fortios", "azure", "custom"];

    /// Default of [`Target::time_limit`], in seconds.
    pub const TIME_LIMIT: u64 = 60;

    /// The name that no target may have: a generation keeps files of its own in a folder of this name.
    pub const RESERVED_NAME: &'static str = "archive";

    fn default_time_limit() -> u64 {
        Self::TIME_LIMIT
    }

    /// Whether this host's kernel is made to use the rules.
    pub fn applies(&self) -> bool {
        self.apply == Apply::Automatic
    }

    /// Whether some of its files say what has gone since the rules before.
    pub fn writes_deltas(&self) -> bool {
        self.panos.is_some() || self.fortios.is_some() || self.azure.is_some()
    }

    /// Who resolves the hostnames of this target's groups.
    pub fn hostnames(&self) -> Hostnames {
        let by_dialect = || {
            if self.writes_host_objects() {
                Hostnames::Native
            } else if self.json.is_some() {
                Hostnames::Both
            } else {
                Hostnames::Resolve
            }
        };
        self.hostnames.unwrap_or_else(by_dialect)
    }

    /// Whether its dialect writes an object for each hostname of a group.
    pub fn writes_host_objects(&self) -> bool {
        self.panos.is_some() || self.fortios.is_some()
    }

    /// Whether its firewall takes wildcards such as `*.example.com`. Of a user's template with native names it is believed.
    pub fn takes_wildcards(&self) -> bool {
        self.fortios.is_some() || (self.custom.is_some() && self.hostnames() == Hostnames::Native)
    }

    /// Where each of these files is installed.
    pub fn install_paths<'f>(
        &self,
        files: impl Iterator<Item = &'f str>,
    ) -> BTreeMap<String, PathBuf> {
        let Some(path) = &self.path else { return BTreeMap::new() };
        let folder = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        let place = |file: &str| if folder { path.join(file) } else { path.clone() };
        files.map(|file| (file.to_owned(), place(file))).collect()
    }

    /// The dialects given: a valid target has exactly one.
    pub fn dialects(&self) -> Vec<Dialect<'_>> {
        let Self { nftables, iptables, list, json, panos, fortios, azure, custom, .. } = self;
        [
            nftables.as_ref().map(Dialect::Nftables),
            iptables.as_ref().map(Dialect::Iptables),
            list.as_ref().map(Dialect::List),
            json.as_ref().map(Dialect::Json),
            panos.as_ref().map(Dialect::Panos),
            fortios.as_ref().map(Dialect::Fortios),
            azure.as_ref().map(Dialect::Azure),
            custom.as_ref().map(Dialect::Custom),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
