//! Bounded requests to servers elsewhere.
//!
//! Owns the client that feeds and notifications speak HTTP with: TLS, names, proxies, redirects, limits. Promises: TLS is
//! always verified; an answer is never larger than asked, counted after decompression, and never takes longer than the
//! settings say; a redirect leads to an allowed host or nowhere; no credential is in an error. Does not repeat a request, and
//! does not know what is asked or why.
//!
//! A client lives for one errand: certificates, secrets, the system's resolver and its proxies are read when it is made, so
//! that each of them can be renewed at any time, and nothing is kept open between errands.

mod error;
mod resolver;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode, redirect};
use url::Url;

use crate::config::{Connection, Proxy, WebHost, shown};

pub use error::WebError;
pub(crate) use error::chain;
pub use resolver::SystemResolver;
pub use tls::{CertificateEnd, certificate_end, certificates, client_settings, private_key};

/// Longest chain of redirects that is followed.
const MOST_REDIRECTS: usize = 5;
/// Longest pause that a server may ask for.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);
/// Bytes of an answer that is no success which are read, for the reason in it.
const REASON_BYTES: u64 = 64 << 10;

/// Which hosts may answer, beside the one that is asked.
#[derive(Debug, Clone, Default)]
pub struct Hosts(Vec<WebHost>);

impl Hosts {
    /// These, beside the one that is asked.
    pub fn and(hosts: impl IntoIterator<Item = WebHost>) -> Self {
        Self(hosts.into_iter().collect())
    }

    /// Whether `to` may be asked when `first` was.
    pub fn allow(&self, first: &Url, to: &Url) -> bool {
        let same = first.host_str() == to.host_str();
        same || to.host_str().is_some_and(|host| self.0.iter().any(|known| known.as_str() == host))
    }
}

/// A client for one errand.
#[derive(Debug)]
pub struct Client {
    inner: reqwest::Client,
    timeout: Duration,
}

/// What is asked.
#[derive(Debug)]
pub struct Request {
    /// GET, POST.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// Headers; those with credentials are marked sensitive.
    pub headers: HeaderMap,
    /// What is sent along.
    pub body: Option<Vec<u8>>,
    /// Largest answer taken, in bytes after decompression.
    pub limit: u64,
}

impl Request {
    /// A GET.
    pub fn get(url: Url, limit: u64) -> Self {
        Self { method: Method::GET, url, headers: HeaderMap::new(), body: None, limit }
    }

    /// A POST.
    pub fn post(url: Url, body: Vec<u8>, limit: u64) -> Self {
        Self { method: Method::POST, url, headers: HeaderMap::new(), body: Some(body), limit }
    }

    /// Adds a header; a value that cannot be one is left out, as its server would refuse it anyway.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Adds a header that holds a credential.
    pub fn secret_header(mut self, name: HeaderName, value: &str) -> Result<Self, WebError> {
        let mut value = HeaderValue::from_str(value).map_err(|_| WebError::Setup {
            what: "send the credential".to_owned(),
            reason: "it has characters that cannot stand in a header".to_owned(),
        })?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }
}

/// What a server said, of any status.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Where it came from, after redirects.
    pub url: Url,
    /// The whole body, decompressed.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header as text.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The error that a status is which is no success.
    pub fn refusal(&self, now: Timestamp) -> WebError {
        WebError::Status {
            url: shown(&self.url),
            status: self.status.as_u16(),
            pause: self.header(&RETRY_AFTER).and_then(|value| pause_of(value, now)),
        }
    }
}

impl Client {
    /// A client with these settings, whose relative paths are located.
    pub fn new(connection: &Connection, hosts: Hosts) -> Result<Self, WebError> {
        let builder = Self::builder(connection)?.redirect(redirect_policy(hosts));
        let builder = match &connection.proxy {
            Proxy::Environment => builder,
            Proxy::None => builder.no_proxy(),
            Proxy::Url(url) => builder.proxy(proxy(url.url(), connection)?),
        };
        Self::build(builder, connection)
    }

    /// A client for this host's own services: straight, without redirects.
    pub fn local(connection: &Connection) -> Result<Self, WebError> {
        let builder = Self::builder(connection)?.redirect(redirect::Policy::none()).no_proxy();
        Self::build(builder, connection)
    }

    fn builder(connection: &Connection) -> Result<reqwest::ClientBuilder, WebError> {
        let agent = connection
            .user_agent
            .as_ref()
            .map_or(concat!("tagwall/", env!("CARGO_PKG_VERSION")), |agent| agent.as_str());
        Ok(reqwest::Client::builder()
            .tls_backend_preconfigured(client_settings(connection)?)
            .dns_resolver(Arc::new(SystemResolver::default()))
            .user_agent(agent)
            .referer(false)
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(1)
            .connect_timeout(connection.connect_timeout.duration())
            .read_timeout(connection.read_timeout.duration())
            .timeout(connection.timeout.duration()))
    }

    fn build(builder: reqwest::ClientBuilder, connection: &Connection) -> Result<Self, WebError> {
        let inner = builder.build().map_err(|error| WebError::Setup {
            what: "make a client".to_owned(),
            reason: chain(&error.without_url()),
        })?;
        Ok(Self { inner, timeout: connection.timeout.duration() })
    }

    /// Asks, and reads the whole answer within the limits. Every status is an answer.
    pub async fn ask(&self, request: Request) -> Result<Answer, WebError> {
        let asked = shown(&request.url);
        let failed = |error| WebError::of(error, &asked, self.timeout);
        let mut building = self.inner.request(request.method, request.url).headers(request.headers);
        if let Some(body) = request.body {
            building = building.body(body);
        }
        let mut response = building.send().await.map_err(failed)?;
        let status = response.status();
        let limit =
            if status.is_success() { request.limit } else { request.limit.min(REASON_BYTES) };
        let (headers, url) = (response.headers().clone(), response.url().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() as u64 + chunk.len() as u64 > limit {
                if !status.is_success() {
                    break; // the reason is cut, and what counts is the status
                }
                return Err(WebError::TooLarge { url: shown(&url), limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, url, body })
    }
}

fn redirect_policy(hosts: Hosts) -> redirect::Policy {
    redirect::Policy::custom(move |attempt| {
        let to = attempt.url();
        let Some(first) = attempt.previous().first() else { return attempt.follow() };
        let reason = if attempt.previous().len() > MOST_REDIRECTS {
            Some("that is one redirect too many")
        } else if first.scheme() == "https" && to.scheme() != "https" {
            Some("that is not encrypted")
        } else if !hosts.allow(first, to) {
            Some("that host is not among the `hosts` of the connection")
        } else {
            None
        };
        match reason {
            None => attempt.follow(),
            Some(reason) => {
                let to = shown(to);
                attempt.error(error::RefusedRedirect { to, reason })
            }
        }
    })
}

fn proxy(url: &Url, connection: &Connection) -> Result<reqwest::Proxy, WebError> {
    let what = || format!("use the proxy {}", shown(url));
    let proxy = reqwest::Proxy::all(url.clone())
        .map_err(|error| WebError::Setup { what: what(), reason: error.without_url().to_string() })?
        .no_proxy(reqwest::NoProxy::from_env());
    let Some(file) = &connection.proxy_credentials_file else { return Ok(proxy) };
    let secret =
        file.load().map_err(|error| WebError::Setup { what: what(), reason: chain(&error) })?;
    match secret.expose().split_once(':') {
        Some((user, password)) => Ok(proxy.basic_auth(user, password)),
        None => Err(WebError::Setup {
            what: what(),
            reason: "its credentials are not of the form USER:PASSWORD".to_owned(),
        }),
    }
}

/// The pause that `Retry-After` asks for, in seconds or as a date; bounded by [`LONGEST_PAUSE`].
fn pause_of(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let pause = if value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() {
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        // A weekday that does not fit its date says no less when to come back.
        let parser = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
        let at = parser.parse_timestamp(value).ok()?;
        Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
    };
    Some(pause.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_read_in_both_forms_and_bounded() {
        let now: Timestamp = "1994-11-06T08:49:00Z".parse().unwrap();
        let seconds = |value| pause_of(value, now).map(|pause| pause.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(37));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:40:00 GMT"), Some(0));
        assert_eq!(seconds("Sun, 06 Nov 2094 08:49:37 GMT"), Some(24 * 3600));
        assert_eq!(seconds("99999999999999999999999"), Some(24 * 3600));
        for none in ["", "soon", "-1", "1.5"] {
            assert_eq!(seconds(none), None, "{none}");
        }
    }

    #[test]
    fn the_same_host_is_allowed_and_others_only_by_name() {
        let url = |text: &str| Url::parse(text).unwrap();
        let hosts = Hosts::and(["Download.Microsoft.com".parse().unwrap()]);
        let first = url("https://www.microsoft.com/en-us/");
        assert!(hosts.allow(&first, &url("https://www.microsoft.com/de-de/")));
        assert!(hosts.allow(&first, &url("https://download.microsoft.com/x")));
        assert!(!hosts.allow(&first, &url("https://download.microsoft.com.evil.example/x")));
        assert!(!hosts.allow(&first, &url("https://microsoft.com/")));
    }
}
