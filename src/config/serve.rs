//! `[serve]`: what is served over HTTP, to whom, and how much of this host it may take.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::{Config, Network, Period};

/// `[serve]`: the server of lists, documents, metrics and the page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ServeSettings {
    /// Addresses and ports to listen on, like `"192.0.2.10:8443"` or `"[::]:8443"` (which is IPv6 alone).
    pub listen: Vec<SocketAddr>,
    /// A Unix socket to listen on, without TLS, for a proxy on this host. Its mode is 0660.
    pub socket: Option<PathBuf>,
    /// Serve on the sockets that systemd hands over too. Default: false.
    pub socket_activation: bool,
    /// Whether lists may be fetched without TLS from elsewhere: `loopback` (default) or `anywhere`. Whoever is on the
    /// way could then add to what a firewall lets through.
    pub plain_http: PlainHttp,
    /// Networks whose clients are answered; others are cut off before a word. Loopback always is. Default: all.
    pub networks: Vec<Network>,
    /// TLS.
    pub tls: Option<ServeTls>,
    /// Who must say who they are.
    pub access: ServeAccess,
    /// What clients may take of this host.
    pub limits: ServeLimits,
}

/// Where clients without TLS may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlainHttp {
    /// Only this host.
    #[default]
    Loopback,
    /// Any client.
    Anywhere,
}

/// `[serve.tls]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServeTls {
    /// The certificate with its chain, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// Oldest version of TLS: `"1.2"` (default) or `"1.3"`.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// Certificates, in PEM, of those who sign certificates of clients. Default: clients have none.
    pub client_ca: Option<PathBuf>,
    /// With `client-ca`: `required` (default; without one there is no connection) or `accepted` (it stands in for a
    /// password).
    #[serde(default)]
    pub client_certificate: ClientCertificate,
    /// How long before its end the certificate is warned about. Default: 21d.
    #[serde(default = "ServeTls::default_warn_before")]
    pub warn_before: Period,
}

impl ServeTls {
    /// Default of [`ServeTls::warn_before`].
    pub const WARN_BEFORE: Period = Period::days(21);

    fn default_warn_before() -> Period {
        Self::WARN_BEFORE
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

/// What a client's certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientCertificate {
    /// There is no connection without one.
    #[default]
    Required,
    /// One stands in for a password.
    Accepted,
}

/// `[serve.access]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ServeAccess {
    /// Names and bcrypt hashes, as `htpasswd -B` writes them. A name may stand there twice, with its old and its new
    /// password. Default: none, and nobody is asked.
    pub users: Option<PathBuf>,
    /// What only those may see who said who they are. Default: everything but `health`.
    pub protect: Option<Vec<Area>>,
}

/// A part of what is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// `/lists/…`.
    Lists,
    /// `/publications/…` and `/believed/…`.
    Documents,
    /// `/metrics`.
    Metrics,
    /// `/` and `/status.json`.
    Page,
    /// `/healthz` and `/readyz`.
    Health,
}

impl Area {
    /// Its name in the configuration and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lists => "lists",
            Self::Documents => "documents",
            Self::Metrics => "metrics",
            Self::Page => "page",
            Self::Health => "health",
        }
    }
}

/// `[serve.limits]`: what clients may take of this host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ServeLimits {
    /// Threads that answer. Default: 2.
    pub threads: usize,
    /// Most connections at once. Default: 512.
    pub connections: usize,
    /// Most connections at once of one client (an IPv4 address, an IPv6 /64); this host's own are not counted.
    /// Default: 64.
    pub connections_per_client: usize,
    /// Most headers of a request. Default: 64.
    pub headers: usize,
    /// Longest head of a request, in bytes. Default: 16,384.
    pub header_bytes: usize,
    /// Longest time for a TLS handshake. Default: 10s.
    pub handshake_timeout: Period,
    /// Longest time until the head of a request is there, counted from the connection or the answer before.
    /// Default: 15s.
    pub header_timeout: Period,
    /// Longest time in which a client takes less than 64 KiB of an answer that waits for it. Default: 20s.
    pub stall_timeout: Period,
    /// Longest life of a connection; one that is busy then gets as long again to finish. Default: 5m.
    pub connection_lifetime: Period,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            threads: 2,
            connections: 512,
            connections_per_client: 64,
            headers: 64,
            header_bytes: 16 * 1024,
            handshake_timeout: Period::seconds(10),
            header_timeout: Period::seconds(15),
            stall_timeout: Period::seconds(20),
            connection_lifetime: Period::minutes(5),
        }
    }
}

impl ServeLimits {
    /// Each limit with its name and bounds.
    fn bounds(&self) -> [(&'static str, u64, u64, u64); 5] {
        let wide = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
        [
            ("threads", wide(self.threads), 1, 64),
            ("connections", wide(self.connections), 1, 100_000),
            ("connections-per-client", wide(self.connections_per_client), 1, 100_000),
            ("headers", wide(self.headers), 8, 1_000),
            // The reader of heads needs 8 KiB at least.
            ("header-bytes", wide(self.header_bytes), 8_192, 1 << 20),
        ]
    }

    /// Each time with its name.
    fn times(&self) -> [(&'static str, Period); 4] {
        [
            ("handshake-timeout", self.handshake_timeout),
            ("header-timeout", self.header_timeout),
            ("stall-timeout", self.stall_timeout),
            ("connection-lifetime", self.connection_lifetime),
        ]
    }
}

impl ServeSettings {
    /// Whether somebody must have said who they are to see this part.
    pub fn protects(&self, area: Area) -> bool {
        match &self.access.protect {
            Some(areas) => areas.contains(&area),
            None => self.asks() && area != Area::Health,
        }
    }

    /// Whether there is a way to say who one is.
    fn asks(&self) -> bool {
        self.access.users.is_some() || self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some())
    }

    /// What contradicts itself, each with a way out.
    pub(super) fn contradictions(&self) -> Vec<(String, &'static str)> {
        let mut found = Vec::new();
        if self.listen.is_empty() && self.socket.is_none() && !self.socket_activation {
            found.push((
                "serve listens nowhere".to_owned(),
                "set `listen`, `socket` or `socket-activation`, or remove [serve]",
            ));
        }
        let open = self.listen.iter().find(|address| !address.ip().is_loopback());
        if let (Some(address), None, PlainHttp::Loopback) = (open, &self.tls, self.plain_http) {
            found.push((
                format!("serve.listen: {address} can be reached from elsewhere, and there is no TLS"),
                "add [serve.tls] with a certificate and its key, or set plain-http = \"anywhere\" where nobody on the \
                 way can change what a firewall will let through",
            ));
        }
        if self.access.protect.as_ref().is_some_and(|areas| !areas.is_empty()) && !self.asks() {
            found.push((
                "serve.access.protect: nobody could say who they are".to_owned(),
                "set `users` to a file that `htpasswd -B` wrote, or `client-ca` in [serve.tls]",
            ));
        }
        for (key, value, least, most) in self.limits.bounds() {
            if !(least..=most).contains(&value) {
                found.push((
                    format!("serve.limits.{key} is {value}; it is from {least} to {most}"),
                    "leave it out for the default",
                ));
            }
        }
        for (key, time) in self.limits.times() {
            if !(Period::seconds(1)..=Period::days(1)).contains(&time) {
                found.push((
                    format!("serve.limits.{key} is {time}; it is from 1s to 1d"),
                    "leave it out for the default",
                ));
            }
        }
        found
    }
}

impl Config {
    /// The server's settings, relative paths taken from the configuration file's folder.
    pub fn serve_settings(&self) -> Option<ServeSettings> {
        let mut settings = self.serve.clone()?;
        let beside = |path: &mut PathBuf| *path = self.beside(path);
        settings.socket.as_mut().map(beside);
        settings.access.users.as_mut().map(beside);
        if let Some(tls) = &mut settings.tls {
            beside(&mut tls.certificate);
            beside(&mut tls.key);
            tls.client_ca.as_mut().map(beside);
        }
        Some(settings)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const AREAS: [Area; 5] =
        [Area::Lists, Area::Documents, Area::Metrics, Area::Page, Area::Health];

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("/etc/tagwall/tagwall.toml"), text.to_owned())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn without_tls_only_this_host_is_served_unless_said_otherwise() {
        let error = parse("[serve]\nlisten = [\"192.0.2.1:8080\"]").unwrap_err();
        assert!(error.contains("there is no TLS"), "{error}");
        assert!(error.contains("tagwall.toml:1"), "{error}");
        for fine in [
            "[serve]\nlisten = [\"127.0.0.1:8080\", \"[::1]:8080\"]",
            "[serve]\nlisten = [\"192.0.2.1:8080\"]\nplain-http = \"anywhere\"",
            "[serve]\nlisten = [\"192.0.2.1:8080\"]\n[serve.tls]\ncertificate = \"c\"\nkey = \"k\"",
            "[serve]\nsocket-activation = true",
        ] {
            assert!(parse(fine).is_ok(), "{fine}: {:?}", parse(fine));
        }
    }

    #[test]
    fn contradictions_are_errors() {
        for (text, words) in [
            ("[serve]", "listens nowhere"),
            ("[serve]\nsocket = \"s\"\n[serve.access]\nprotect = [\"lists\"]", "nobody could say"),
            ("[serve]\nsocket = \"s\"\n[serve.limits]\nheaders = 2", "from 8 to 1000"),
            ("[serve]\nsocket = \"s\"\nusers = \"u\"", "unknown field"),
            ("[serve]\nlisten = [\"localhost:1\"]", "invalid socket address"),
            (
                "[serve]\nsocket = \"s\"\n[serve.limits]\nstall-timeout = \"0s\"",
                "serve.limits.stall-timeout is 0s; it is from 1s to 1d",
            ),
            (
                "[serve]\nsocket = \"s\"\n[serve.limits]\nconnection-lifetime = \"2d\"",
                "serve.limits.connection-lifetime is 2d; it is from 1s to 1d",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words) || error.contains("unknown key"), "{text}: {error}");
        }
    }

    #[test]
    fn paths_stand_beside_the_configuration_and_health_is_open() {
        let text = "[serve]\nsocket = \"http.sock\"\n[serve.access]\nusers = \"/srv/users\"";
        let settings = parse(text).unwrap().serve_settings().unwrap();
        assert_eq!(settings.socket.as_deref(), Some(Path::new("/etc/tagwall/http.sock")));
        assert_eq!(settings.access.users.as_deref(), Some(Path::new("/srv/users")));
        assert!(settings.protects(Area::Lists) && !settings.protects(Area::Health));
        let open = parse("[serve]\nsocket = \"s\"").unwrap().serve_settings().unwrap();
        assert!(AREAS.iter().all(|area| !open.protects(*area)));
    }

    #[test]
    fn an_area_is_protected_by_the_name_that_metrics_have_for_it() {
        for protected in AREAS {
            let text = format!(
                "[serve]\nsocket = \"s\"\n[serve.access]\nusers = \"u\"\nprotect = [\"{}\"]",
                protected.name()
            );
            let settings = parse(&text).unwrap().serve_settings().unwrap();
            for area in AREAS {
                assert_eq!(settings.protects(area), area == protected, "{text}: {area:?}");
            }
        }
    }

    #[test]
    fn certificates_of_clients_say_who_they_are() {
        let text = "[serve]\nlisten = [\"192.0.2.1:8443\"]\n[serve.tls]\ncertificate = \"own.pem\"\n\
                    key = \"/run/own.key\"\nclient-ca = \"clients.pem\"";
        let settings = parse(text).unwrap().serve_settings().unwrap();
        assert!(settings.protects(Area::Page) && !settings.protects(Area::Health));
        let tls = settings.tls.unwrap();
        assert_eq!(tls.certificate, Path::new("/etc/tagwall/own.pem"));
        assert_eq!(tls.key, Path::new("/run/own.key"));
        assert_eq!(tls.client_ca.as_deref(), Some(Path::new("/etc/tagwall/clients.pem")));
        // What is not said is the stricter of both, and time enough to renew the certificate.
        assert_eq!(tls.client_certificate, ClientCertificate::Required);
        assert_eq!((tls.min_version, tls.warn_before), (TlsVersion::V1_2, Period::days(21)));
    }
}
