//! `[feeds.NAME]`: where publications come from.
//!
//! What every feed has stands in `[feeds.NAME]`; its kind in exactly one of `[feeds.NAME.download]`, `.http`, `.discovery`
//! and `.directory`; how servers are spoken to in `[feeds.NAME.connection]`.

mod values;

use std::path::PathBuf;

use jiff::civil::Date;
use serde::Deserialize;

use super::{Config, Connection, Diagnostic, Guid, Name, Period, Region, SecretFile, WebUrl};
use crate::snapshot::Cloud;
pub use values::{FileUrl, Tenant, UserName};

/// `[feeds.NAME]`: where publications of one cloud come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Feed {
    /// The cloud whose publications it brings. Default: the configuration's cloud.
    pub cloud: Option<Cloud>,
    /// Time between two looks. Default: 1h; new ranges are not used for at least a week.
    #[serde(default = "Feed::default_interval")]
    pub interval: Period,
    /// Looks are shifted by up to this time, differently on each host, so that a fleet does not call at once. Default: 10m.
    #[serde(default = "Feed::default_splay")]
    pub splay: Period,
    /// The age of the newest publication from which on it is a warning. Default: 35d (gaps of 28 days have happened).
    #[serde(default = "Feed::default_stale_after")]
    pub stale_after: Period,
    /// How long looks may fail before it is a warning. Default: 1d.
    #[serde(default = "Feed::default_unreachable_after")]
    pub unreachable_after: Period,
    /// How servers are spoken to.
    #[serde(default)]
    pub connection: Connection,
    /// Microsoft's download page.
    pub download: Option<Download>,
    /// A fixed URL.
    pub http: Option<Http>,
    /// The Service Tag Discovery API.
    pub discovery: Option<Discovery>,
    /// A folder.
    pub directory: Option<Directory>,
}

/// The kind of a feed, with its settings.
#[derive(Debug, Clone, Copy)]
pub enum FeedKind<'f> {
    /// Microsoft's download page.
    Download(&'f Download),
    /// A fixed URL.
    Http(&'f Http),
    /// The Service Tag Discovery API.
    Discovery(&'f Discovery),
    /// A folder.
    Directory(&'f Directory),
}

impl FeedKind<'_> {
    /// The key under which its settings stand.
    pub fn name(self) -> &'static str {
        match self {
            Self::Download(_) => "download",
            Self::Http(_) => "http",
            Self::Discovery(_) => "discovery",
            Self::Directory(_) => "directory",
        }
    }
}

/// `download`: the newest publication behind Microsoft's download page.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Download {
    /// The page. Default: Microsoft's page of the cloud.
    pub page: Option<WebUrl>,
    /// Where the file is read from, with `{file}` for its name. Default: where the page's link leads to.
    pub file: Option<FileUrl>,
}

/// `http`: a document at a fixed URL: a mirror, an artifact store, another tagwall.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Http {
    /// The URL.
    pub url: WebUrl,
    /// A user name; needs `password-file`.
    pub user: Option<UserName>,
    /// The user's password.
    pub password_file: Option<SecretFile>,
    /// A bearer token, in place of user and password.
    pub token_file: Option<SecretFile>,
}

/// `discovery`: the Service Tag Discovery API of Azure Resource Manager. It may lag the download by weeks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Discovery {
    /// The subscription that asks; its identity needs `Microsoft.Network/*/read` on it.
    pub subscription: Guid,
    /// Any region of the cloud: the answer holds every region.
    pub location: Region,
    /// An application with a secret.
    pub client_secret: Option<AppSecret>,
    /// An application with a certificate.
    pub client_certificate: Option<AppCertificate>,
    /// The managed identity of this virtual machine in Azure.
    pub managed_identity: Option<ManagedIdentity>,
    /// The identity of this host in Azure Arc.
    pub arc: Option<ArcHost>,
    /// Where Azure Resource Manager is. Default: that of the cloud.
    pub resource_manager: Option<WebUrl>,
    /// Where tokens come from. Default: that of the cloud.
    pub login: Option<WebUrl>,
}

/// An application of Entra ID that proves itself with a secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AppSecret {
    /// The directory.
    pub tenant: Tenant,
    /// The application.
    pub client_id: Guid,
    /// The secret.
    pub secret_file: SecretFile,
    /// The day on which the secret ends, for the warning before it. Default: unknown.
    pub expires: Option<Date>,
}

/// An application of Entra ID that proves itself with a certificate.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AppCertificate {
    /// The directory.
    pub tenant: Tenant,
    /// The application.
    pub client_id: Guid,
    /// The certificate, as PEM.
    pub certificate_file: PathBuf,
    /// Its RSA key, as PEM.
    pub key_file: SecretFile,
}

/// The managed identity of a virtual machine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ManagedIdentity {
    /// The user-assigned identity. Default: the system-assigned one.
    pub client_id: Option<Guid>,
    /// Where it answers. Default: <http://169.254.169.254>.
    pub endpoint: Option<WebUrl>,
}

/// The identity of a host in Azure Arc.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ArcHost {
    /// Where the agent of Azure Arc answers. Default: <http://localhost:40342>.
    pub endpoint: Option<WebUrl>,
    /// The folder of its challenges: no other file is ever read for it. Default: `/var/opt/azcmagent/tokens`.
    pub token_folder: Option<PathBuf>,
}

/// How a discovery feed proves who asks.
#[derive(Debug, Clone, Copy)]
pub enum Identity<'f> {
    /// An application with a secret.
    Secret(&'f AppSecret),
    /// An application with a certificate.
    Certificate(&'f AppCertificate),
    /// The managed identity of this virtual machine.
    Machine(&'f ManagedIdentity),
    /// The identity of this host in Azure Arc.
    Arc(&'f ArcHost),
}

/// `directory`: a folder into which publications are dropped by any means.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Directory {
    /// The folder. Files `*.json` in it are read, hidden ones are not.
    pub path: PathBuf,
    /// How long a file stands still before it is read. Default: 1s.
    #[serde(default = "Directory::default_settle")]
    pub settle: Period,
    /// Time between two looks where the kernel cannot tell of changes (a network file system). Default: 30s.
    #[serde(default = "Directory::default_poll")]
    pub poll: Period,
}

impl Feed {
    /// The keys of all kinds.
    pub const KINDS: [&'static str; 4] = ["download", "http", "discovery", "directory"];
    /// Default of [`Feed::interval`].
    pub const INTERVAL: Period = Period::hours(1);
    /// Default of [`Feed::splay`].
    pub const SPLAY: Period = Period::minutes(10);
    /// Default of [`Feed::stale_after`].
    pub const STALE_AFTER: Period = Period::days(35);
    /// Default of [`Feed::unreachable_after`].
    pub const UNREACHABLE_AFTER: Period = Period::days(1);
    /// Shortest interval at which Microsoft's own servers are asked.
    pub const SHORTEST_AT_MICROSOFT: Period = Period::minutes(5);

    fn default_interval() -> Period {
        Self::INTERVAL
    }

    fn default_splay() -> Period {
        Self::SPLAY
    }

    fn default_stale_after() -> Period {
        Self::STALE_AFTER
    }

    fn default_unreachable_after() -> Period {
        Self::UNREACHABLE_AFTER
    }

    /// The kinds given: a valid feed has exactly one.
    pub fn kinds(&self) -> Vec<FeedKind<'_>> {
        let Self { download, http, discovery, directory, .. } = self;
        [
            download.as_ref().map(FeedKind::Download),
            http.as_ref().map(FeedKind::Http),
            discovery.as_ref().map(FeedKind::Discovery),
            directory.as_ref().map(FeedKind::Directory),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    pub(super) fn check(&self, name: &Name, config: &Config, found: &mut Vec<Diagnostic>) {
        let key = format!("feeds.{name}");
        let kind = match self.kinds().as_slice() {
            [one] => *one,
            [] => {
                found.push(Diagnostic::new(format!("{key} has no kind")).help(format!(
                    "add one of {}",
                    Self::KINDS.map(|kind| format!("[{key}.{kind}]")).join(", ")
                )));
                return;
            }
            [first, second, ..] => {
                found.push(
                    Diagnostic::new(format!(
                        "{key} has two kinds, {} and {}",
                        first.name(),
                        second.name()
                    ))
                    .help("a feed has one kind; make a second feed for the other"),
                );
                return;
            }
        };
        if self.interval == Period::ZERO {
            found.push(
                Diagnostic::new(format!("{key}.interval is zero")).help("write interval = \"1h\""),
            );
        }
        let cloud = self.cloud.unwrap_or_else(|| config.default_cloud());
        let mut at_microsoft = false;
        match kind {
            FeedKind::Download(download) => {
                at_microsoft = download.page.is_none();
                if at_microsoft && cloud == Cloud::Example {
                    found.push(
                        Diagnostic::new(format!("{key}: Microsoft publishes no cloud {cloud}"))
                            .help("set `cloud`, or `page`"),
                    );
                }
                let file = download.file.as_ref().and_then(FileUrl::sample);
                self.connection.check(&key, download.page.iter().chain(&file), found);
            }
            FeedKind::Http(http) => {
                self.connection.check(&key, [&http.url], found);
                if http.user.is_some() != http.password_file.is_some() {
                    found.push(
                        Diagnostic::new(format!(
                            "{key}.http: `user` and `password-file` belong together"
                        ))
                        .help("name both, or neither"),
                    );
                }
                if http.user.is_some() && http.token_file.is_some() {
                    found.push(
                        Diagnostic::new(format!("{key}.http has both a user and a token")).help(
                            "a request proves itself in one way; leave out `user` or `token-file`",
                        ),
                    );
                }
            }
            FeedKind::Discovery(discovery) => {
                at_microsoft = discovery.resource_manager.is_none();
                if at_microsoft && matches!(cloud, Cloud::Example | Cloud::Germany) {
                    found.push(
                        Diagnostic::new(format!("{key}: cloud {cloud} has no Discovery API"))
                            .help("set `cloud`, or `resource-manager` and `login`"),
                    );
                }
                let urls = discovery.resource_manager.iter().chain(&discovery.login);
                self.connection.check(&key, urls, found);
                check_identity(&key, discovery, found);
            }
            FeedKind::Directory(directory) => {
                for (period, name) in [(directory.settle, "settle"), (directory.poll, "poll")] {
                    if period == Period::ZERO {
                        found.push(Diagnostic::new(format!("{key}.directory.{name} is zero")));
                    }
                }
            }
        }
        if at_microsoft && self.interval < Self::SHORTEST_AT_MICROSOFT {
            found.push(
                Diagnostic::new(format!(
                    "{key}.interval is {}: Microsoft's servers are asked every {} at most",
                    self.interval,
                    Self::SHORTEST_AT_MICROSOFT
                ))
                .help("publications come weekly, and their ranges are not used for a week more"),
            );
        }
    }
}

fn check_identity(key: &str, discovery: &Discovery, found: &mut Vec<Diagnostic>) {
    let given = discovery.identities().len();
    if given != 1 {
        found.push(
            Diagnostic::new(format!(
                "{key}.discovery has {} of proving who asks",
                if given == 0 { "no way" } else { "several ways" }
            ))
            .help(format!(
                "add one of {}",
                ["client-secret", "client-certificate", "managed-identity", "arc"]
                    .map(|kind| format!("[{key}.discovery.{kind}]"))
                    .join(", ")
            )),
        );
    }
}

impl Discovery {
    /// The ways given: a valid feed has exactly one.
    pub fn identities(&self) -> Vec<Identity<'_>> {
        [
            self.client_secret.as_ref().map(Identity::Secret),
            self.client_certificate.as_ref().map(Identity::Certificate),
            self.managed_identity.as_ref().map(Identity::Machine),
            self.arc.as_ref().map(Identity::Arc),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Directory {
    /// Default of [`Directory::settle`].
    pub const SETTLE: Period = Period::seconds(1);
    /// Default of [`Directory::poll`].
    pub const POLL: Period = Period::seconds(30);

    fn default_settle() -> Period {
        Self::SETTLE
    }

    fn default_poll() -> Period {
        Self::POLL
    }
}
