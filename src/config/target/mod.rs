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
pub use common::{NamePrefix, Rest, RestLog};
pub use custom::*;
pub use fortios::*;
pub use iptables::*;
pub use list::*;
pub use nftables::*;
pub use panos::*;

use serde::Deserialize;
use toml::Spanned;

use super::names::Name;
use super::network::Families;

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
    /// The keys of all dialects.
    pub const DIALECTS: [&'static str; 8] =
        ["nftables", "iptables", "list", "json", "panos", "fortios", "azure", "custom"];

    /// The dialects given: a valid target has exactly one.
    pub fn dialects(&self) -> Vec<Dialect<'_>> {
        let Self {
            rules: _,
            groups: _,
            families: _,
            nftables,
            iptables,
            list,
            json,
            panos,
            fortios,
            azure,
            custom,
        } = self;
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
