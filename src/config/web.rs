//! How this host speaks to servers elsewhere: URLs, hosts, and the settings of a connection.
//!
//! Feeds and notifications share these. Promises: a [`WebUrl`] holds no credentials; a secret is only ever named by the file
//! or the systemd credential that it stands in.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::names::text_type;
use super::{Config, Diagnostic, Period};
use crate::os::secret::{Secret, SecretError};

/// An `https` or `http` URL without credentials and without a fragment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebUrl(url::Url);

impl WebUrl {
    /// The URL.
    pub fn url(&self) -> &url::Url {
        &self.0
    }

    /// Whether it is `http`: neither side proves who it is, and anybody on the way can change what is sent.
    pub fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }

    /// Whether it leads to this host itself.
    pub fn is_local(&self) -> bool {
        match self.0.host() {
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }
}

impl FromStr for WebUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = |reason: &str| Err(format!("`{}` {reason}", text.escape_debug()));
        let url = match url::Url::parse(text) {
            Ok(url) => url,
            Err(error) => return refuse(&format!("is no URL: {error}")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            // The text itself is not repeated: there is a password in it.
            return Err(
                "a URL holds no user name or password; name the file that holds them instead"
                    .to_owned(),
            );
        }
        match url.scheme() {
            "https" | "http" if url.host().is_none() => refuse("has no host"),
            "https" | "http" if url.fragment().is_some() => {
                refuse("has a fragment (#…), which is never sent")
            }
            "https" | "http" => Ok(Self(url)),
            _ => refuse("is neither https nor http"),
        }
    }
}

impl TryFrom<String> for WebUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<WebUrl> for String {
    fn from(url: WebUrl) -> Self {
        url.0.into()
    }
}

impl fmt::Display for WebUrl {
    /// Without the query: it may hold a signature that gives access.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&shown(&self.0))
    }
}

/// A URL as it may be shown: without credentials and query.
pub fn shown(url: &url::Url) -> String {
    let text = url.as_str();
    let end = text.find(['?', '#']).unwrap_or(text.len());
    match (url.username().is_empty() && url.password().is_none(), text[..end].find("://")) {
        (false, Some(scheme)) => {
            let rest = &text[scheme + 3..end];
            let host = rest.split_once('@').map_or(rest, |(_, host)| host);
            format!("{}{host}", &text[..scheme + 3])
        }
        _ => text[..end].to_owned(),
    }
}

/// A host: a name or an address, in the form in which URLs write it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebHost(Box<str>);

text_type!(WebHost);

impl FromStr for WebHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match url::Host::parse(text) {
            Ok(host) => Ok(Self(host.to_string().into())),
            Err(error) => Err(format!("`{}` is no host: {error}", text.escape_debug())),
        }
    }
}

/// Where a secret stands: a file that is not open to every user, or `credential:NAME` of systemd (`LoadCredential=`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum SecretFile {
    /// A file; a relative path is taken from the configuration file's folder.
    File(PathBuf),
    /// A credential that systemd hands to the service.
    Credential(String),
}

impl SecretFile {
    /// The same with relative paths taken from the configuration file's folder: what [`load`](Self::load) needs.
    #[must_use]
    pub fn located(&self, config: &Config) -> Self {
        match self {
            Self::File(path) => Self::File(config.beside(path)),
            Self::Credential(name) => Self::Credential(name.clone()),
        }
    }

    /// Reads the secret anew.
    pub fn load(&self) -> Result<Secret, SecretError> {
        match self {
            Self::File(path) => Secret::from_file(path),
            Self::Credential(name) => Secret::from_credential(name),
        }
    }
}

impl TryFrom<String> for SecretFile {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.strip_prefix("credential:") {
            Some(name)
                if !name.is_empty()
                    && !name.starts_with('.')
                    && name.bytes().all(|byte| {
                        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
                    }) =>
            {
                Ok(Self::Credential(name.to_owned()))
            }
            Some(_) => Err("a credential's name is letters, digits, `-`, `_` and `.`".to_owned()),
            None if text.is_empty() => Err("the path of a secret is empty".to_owned()),
            None => Ok(Self::File(text.into())),
        }
    }
}

/// The way to a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Proxy {
    /// As the variables `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
    #[default]
    Environment,
    /// Straight, whatever the environment says.
    None,
    /// Over this proxy.
    Url(WebUrl),
}

impl TryFrom<String> for Proxy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "environment" => Ok(Self::Environment),
            "none" => Ok(Self::None),
            url => url.parse().map(Self::Url).map_err(|error| {
                format!("{error}; a proxy is `environment`, `none` or a URL like http://proxy.example:3128")
            }),
        }
    }
}

/// `connection`: how a server is spoken to. TLS is always verified.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Connection {
    /// Longest time that one request may take, from the first byte of the connection to the last of the answer. Default: 2m.
    pub timeout: Period,
    /// Longest time to connect, with TLS. Default: 10s.
    pub connect_timeout: Period,
    /// Longest silence within an answer. Default: 30s.
    pub read_timeout: Period,
    /// `environment` (default), `none`, or the URL of a proxy.
    pub proxy: Proxy,
    /// `USER:PASSWORD` for the proxy.
    pub proxy_credentials_file: Option<SecretFile>,
    /// Authorities that are trusted beside the platform's, as PEM.
    pub ca_file: Option<PathBuf>,
    /// Trust the authorities of `ca-file` alone. Default: false.
    pub ca_file_only: bool,
    /// Our own certificate with its chain, as PEM, for servers that ask for one.
    pub certificate_file: Option<PathBuf>,
    /// Its key, as PEM.
    pub key_file: Option<SecretFile>,
    /// Further hosts that a redirect or a link may lead to. Default: none; the same host always may.
    pub hosts: Vec<WebHost>,
    /// Speak `http`, without TLS, to other hosts than this one itself. Default: false.
    pub allow_http: bool,
    /// What we call ourselves. Default: `tagwall/VERSION`.
    pub user_agent: Option<UserAgent>,
}

impl Connection {
    /// Default of [`Connection::timeout`].
    pub const TIMEOUT: Period = Period::minutes(2);
    /// Default of [`Connection::connect_timeout`].
    pub const CONNECT_TIMEOUT: Period = Period::seconds(10);
    /// Default of [`Connection::read_timeout`].
    pub const READ_TIMEOUT: Period = Period::seconds(30);

    /// The same with relative paths taken from the configuration file's folder: what a client needs.
    #[must_use]
    pub fn located(&self, config: &Config) -> Self {
        let file = |path: &Option<PathBuf>| path.as_deref().map(|path| config.beside(path));
        let secret =
            |secret: &Option<SecretFile>| secret.as_ref().map(|secret| secret.located(config));
        Self {
            ca_file: file(&self.ca_file),
            certificate_file: file(&self.certificate_file),
            key_file: secret(&self.key_file),
            proxy_credentials_file: secret(&self.proxy_credentials_file),
            ..self.clone()
        }
    }

    /// What is wrong with the settings for these URLs; `key` is the table's own.
    pub(super) fn check<'u>(
        &self,
        key: &str,
        urls: impl IntoIterator<Item = &'u WebUrl>,
        found: &mut Vec<Diagnostic>,
    ) {
        for url in urls {
            if url.is_plain() && !url.is_local() && !self.allow_http {
                found.push(
                    Diagnostic::new(format!("{key}: {url} is not encrypted and proves nothing about its sender"))
                        .help(format!(
                            "use https, or set allow-http = true under [{key}.connection] if everybody on the way may \
                             decide what this firewall lets through"
                        )),
                );
            }
        }
        if self.certificate_file.is_some() != self.key_file.is_some() {
            found.push(
                Diagnostic::new(format!(
                    "{key}.connection: `certificate-file` and `key-file` belong together"
                ))
                .help("name both, or neither"),
            );
        }
        if self.ca_file_only && self.ca_file.is_none() {
            found.push(
                Diagnostic::new(format!(
                    "{key}.connection: ca-file-only is set, but there is no `ca-file`"
                ))
                .help("name the file of the authorities to trust"),
            );
        }
        if self.proxy_credentials_file.is_some() && !matches!(self.proxy, Proxy::Url(_)) {
            found.push(
                Diagnostic::new(format!(
                    "{key}.connection: `proxy-credentials-file` needs the URL of a proxy"
                ))
                .help("set proxy = \"http://proxy.example:3128\""),
            );
        }
        for (period, name) in [
            (self.timeout, "timeout"),
            (self.connect_timeout, "connect-timeout"),
            (self.read_timeout, "read-timeout"),
        ] {
            if period == Period::ZERO {
                found.push(Diagnostic::new(format!(
                    "{key}.connection.{name} is zero: nothing can be read in no time"
                )));
            }
        }
    }
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            timeout: Self::TIMEOUT,
            connect_timeout: Self::CONNECT_TIMEOUT,
            read_timeout: Self::READ_TIMEOUT,
            proxy: Proxy::Environment,
            proxy_credentials_file: None,
            ca_file: None,
            ca_file_only: false,
            certificate_file: None,
            key_file: None,
            hosts: Vec::new(),
            allow_http: false,
            user_agent: None,
        }
    }
}

/// The value of a `User-Agent` header: printable ASCII.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserAgent(Box<str>);

text_type!(UserAgent);

impl FromStr for UserAgent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let well_formed =
            (1..=200).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if well_formed {
            Ok(Self(text.into()))
        } else {
            Err("a user agent is 1 to 200 printable ASCII characters".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_holds_no_credentials_and_shows_no_query() {
        let url: WebUrl = "https://store.example/feed.json?sig=SECRET".parse().unwrap();
        assert_eq!(url.to_string(), "https://store.example/feed.json");
        assert_eq!(url.url().query(), Some("sig=SECRET"));
        let error = "https://user:PASSWORD@store.example/".parse::<WebUrl>().unwrap_err();
        assert!(!error.contains("PASSWORD"), "{error}");
        for bad in [
            "ftp://a.example/",
            "file:///etc/passwd",
            "a.example",
            "https://",
            "https://a.example/#x",
        ] {
            assert!(bad.parse::<WebUrl>().is_err(), "{bad}");
        }
        let with = url::Url::parse("https://u:p@a.example:8443/x?y=z").unwrap();
        assert_eq!(shown(&with), "https://a.example:8443/x");
    }

    #[test]
    fn this_host_itself_is_known() {
        let local = |text: &str| text.parse::<WebUrl>().unwrap().is_local();
        assert!(
            local("http://localhost:80/") && local("http://127.3.0.1/") && local("http://[::1]/")
        );
        assert!(!local("http://localhost.example/") && !local("http://169.254.169.254/"));
    }

    #[test]
    fn a_secret_is_named_by_file_or_credential() {
        let parse = |text: &str| SecretFile::try_from(text.to_owned());
        assert_eq!(parse("credential:api-key"), Ok(SecretFile::Credential("api-key".to_owned())));
        assert_eq!(parse("secrets/key"), Ok(SecretFile::File("secrets/key".into())));
        for bad in ["credential:", "credential:../x", "credential:a/b", ""] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
