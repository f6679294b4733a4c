//! The configuration: documented structures, loading, and errors that show the source line.
//!
//! Owns everything that a user writes in `tagwall.toml`. Each value is parsed once into a type that can only
//! hold valid values; what serde cannot see (a rule that names a group that does not exist) is cross-checked
//! by `check.rs`. A [`Config`] that [`Config::load`] returned is sound in itself; whether its tags exist is known
//! only when a publication is at hand.

mod agent;
mod apim;
mod calendar;
mod check;
mod diagnostic;
mod dns;
mod feed;
mod group;
mod guard;
mod names;
mod network;
mod notify;
mod period;
mod programs;
mod publishing;
mod serve;
mod service;
mod target;
mod web;

pub use agent::*;
pub use apim::{Apim, DefaultRoute, Feature, NetworkMode, Server, ServiceEndpoint, Subnets};
pub use calendar::{Calendar, Closed, Edge, Freeze, Gate, Urgent, Window};
pub use diagnostic::{ConfigError, Diagnostic, Problem, nearest};
pub use dns::*;
pub use feed::*;
pub use group::{Direction, Endpoint, Exclusion, Group, Rule, TagSelector};
pub use guard::*;
pub use names::{Comment, Guid, HostName, Interface, Name, Region};
pub use network::{Families, Network, space};
pub use notify::*;
pub use period::Period;
pub use programs::{ProgramPath, Programs};
pub use publishing::*;
pub use serve::*;
pub use service::{Ports, Protocol, Service, normalise};
pub use target::*;
pub use web::*;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::os::files;
use crate::snapshot::{Cloud, Digest, Policy};

/// Largest configuration file taken, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// The text of a configuration with its path, for errors.
#[derive(Debug)]
pub struct Source {
    /// The path as the user gave it.
    pub path: PathBuf,
    /// The text.
    pub text: String,
}

/// A whole configuration file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The cloud of groups and profiles that name none. Default: the only one that is named anywhere, else
    /// public.
    pub cloud: Option<Cloud>,
    /// A folder of templates that take the place of built-in ones of the same name; relative to the
    /// configuration file.
    pub templates_dir: Option<PathBuf>,
    /// What a publication may contain.
    #[serde(default)]
    pub document: Document,
    /// API Management profiles.
    #[serde(default)]
    pub apim: BTreeMap<Name, Apim>,
    /// Address groups.
    #[serde(default)]
    pub groups: BTreeMap<Name, Group>,
    /// Allow rules.
    #[serde(default)]
    pub rules: BTreeMap<Name, Rule>,
    /// Targets.
    #[serde(default)]
    pub targets: BTreeMap<Name, toml::Spanned<Target>>,
    /// Feeds.
    #[serde(default)]
    pub feeds: BTreeMap<Name, toml::Spanned<Feed>>,
    /// The agent.
    #[serde(default)]
    pub agent: AgentSettings,
    /// The guard.
    #[serde(default)]
    pub guard: GuardSettings,
    /// Hostnames.
    #[serde(default)]
    pub dns: Dns,
    /// The server; none when the table is absent.
    pub serve: Option<ServeSettings>,
    /// Notifications.
    #[serde(default)]
    pub notify: BTreeMap<Name, toml::Spanned<Notify>>,
    /// Generations.
    #[serde(default)]
    pub publish: Publishing,
    /// The firewall's programs.
    #[serde(default)]
    pub programs: Programs,
    #[serde(skip)]
    source: Option<Arc<Source>>,
}

/// `[document]`: what a publication may contain.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Document {
    /// Shortest IPv4 prefix length taken. Default: 11 (widest ever published: /14).
    pub widest_ipv4: u8,
    /// Shortest IPv6 prefix length taken. Default: 32 (widest ever published: /39).
    pub widest_ipv6: u8,
    /// Private or special space that is taken all the same. Default: none.
    pub allow_special: Vec<Network>,
    /// Largest publication in bytes. Default: 64 MiB (largest ever published: 4.2 MB).
    pub max_bytes: u64,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            widest_ipv4: Policy::WIDEST_V4,
            widest_ipv6: Policy::WIDEST_V6,
            allow_special: Vec::new(),
            max_bytes: Policy::MAX_BYTES,
        }
    }
}

impl Config {
    /// Reads, parses and cross-checks a configuration file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bytes = files::read_bounded(path, MAX_BYTES).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let place = error.utf8_error().valid_up_to();
            ConfigError::NotText { path: path.to_owned(), place }
        })?;
        Self::parse(path, text)
    }

    /// Parses and cross-checks a configuration; `path` is used in errors and for relative paths.
    pub fn parse(path: &Path, text: String) -> Result<Self, ConfigError> {
        let source = Arc::new(Source { path: path.to_owned(), text });
        let mut config: Self = toml::from_str(&source.text)
            .map_err(|error| ConfigError::invalid(&source, vec![diagnostic::of_toml(&error)]))?;
        config.source = Some(Arc::clone(&source));
        let diagnostics = check::check(&config);
        if diagnostics.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::invalid(&source, diagnostics))
        }
    }

    /// Errors that were found after loading.
    pub fn errors(&self, diagnostics: Vec<Diagnostic>) -> ConfigError {
        let source = self.source.clone().unwrap_or_else(|| {
            Arc::new(Source { path: PathBuf::from("(configuration)"), text: String::new() })
        });
        ConfigError::invalid(&source, diagnostics)
    }

    /// The cloud of groups and profiles that name none.
    pub fn default_cloud(&self) -> Cloud {
        if let Some(cloud) = self.cloud {
            return cloud;
        }
        let named: BTreeSet<Cloud> = self
            .groups
            .values()
            .filter_map(|group| group.cloud)
            .chain(self.apim.values().filter_map(|profile| profile.cloud))
            .collect();
        match named.first() {
            Some(&only) if named.len() == 1 => only,
            _ => Cloud::Public,
        }
    }

    /// The clouds whose publications this configuration needs.
    pub fn clouds(&self) -> BTreeSet<Cloud> {
        let default = self.default_cloud();
        let groups = self
            .groups
            .values()
            .filter(|group| !group.tags.is_empty())
            .map(|group| group.cloud.unwrap_or(default));
        groups.chain(self.apim.values().map(|profile| profile.cloud.unwrap_or(default))).collect()
    }

    /// The clouds of which only the Discovery API brings publications, with those feeds.
    pub fn discovery_only(&self) -> BTreeMap<Cloud, Vec<&Name>> {
        let mut found: BTreeMap<Cloud, (bool, Vec<&Name>)> = BTreeMap::new();
        for (name, feed) in &self.feeds {
            let feed = feed.get_ref();
            let cloud = feed.cloud.unwrap_or_else(|| self.default_cloud());
            let (only, names) = found.entry(cloud).or_insert((true, Vec::new()));
            *only &= feed.discovery.is_some();
            names.push(name);
        }
        found
            .into_iter()
            .filter_map(|(cloud, (only, names))| only.then_some((cloud, names)))
            .collect()
    }

    /// What a publication may contain.
    pub fn policy(&self) -> Policy {
        Policy {
            widest_v4: self.document.widest_ipv4,
            widest_v6: self.document.widest_ipv6,
            allow_special: space(&self.document.allow_special),
            max_bytes: self.document.max_bytes,
            ..Policy::default()
        }
    }

    /// The folder of the user's templates, relative paths taken from the configuration file's folder.
    pub fn templates_dir(&self) -> Option<PathBuf> {
        self.templates_dir.as_deref().map(|given| self.beside(given))
    }

    /// A path of the configuration, relative ones taken from the configuration file's folder.
    pub fn beside(&self, given: &Path) -> PathBuf {
        let base = self.source.as_ref().and_then(|source| source.path.parent());
        base.map_or_else(|| given.to_owned(), |base| base.join(given))
    }

    /// The text as it was read.
    pub fn text(&self) -> &str {
        self.source.as_ref().map_or("", |source| source.text.as_str())
    }

    /// The digest of the configuration's text.
    pub fn digest(&self) -> Digest {
        Digest::of(self.text().as_bytes())
    }
}
