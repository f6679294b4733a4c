//! `[dns]`: how hostnames are resolved.
//!
//! Owns the settings of resolvers and answers, and what holds for one name. Whether a name is resolved at all is a
//! target's matter (`hostnames`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::diagnostic::Diagnostic;
use super::names::HostName;
use super::network::{Network, space};
use super::period::Period;
use crate::prefix::PrefixSet;
use crate::snapshot::TagName;

/// `[dns]`: how hostnames are resolved.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Dns {
    /// Resolvers: `"10.0.0.53"`, `"10.0.0.53:5353"`, or a table with `address`, `transport`, `name` and `ca`. Each of them
    /// is asked for every name, and their answers are united, because the subnets' view may differ from the firewall's.
    /// Default: those of /etc/resolv.conf, the fastest of which counts.
    pub resolvers: Vec<DnsResolver>,
    /// Validate answers from signed zones; an answer that fails is no answer. Needs resolvers that pass signatures on.
    /// Default: false.
    pub dnssec: bool,
    /// A file of trust anchors in place of the root zone's keys, which are compiled in.
    pub trust_anchor: Option<PathBuf>,
    /// Longest time that one question may take, all retries included. Default: 5s.
    pub timeout: Period,
    /// Shortest time to live that is followed. Default: 30s.
    pub min_ttl: Period,
    /// Longest time to live that is followed. Default: 1d.
    pub max_ttl: Period,
    /// How long an address stays allowed after the last answer with it. Default: 1d: load balancing follows the hours of
    /// the day, and clients keep connections and addresses longer than their time to live.
    pub grace: Period,
    /// Most addresses of one name; beyond them, those that have gone longest leave first. Default: 500.
    pub max_addresses: usize,
    /// What holds for one name.
    pub names: BTreeMap<HostName, DnsName>,
}

impl Dns {
    /// Default of [`Dns::timeout`].
    pub const TIMEOUT: Period = Period::seconds(5);
    /// Default of [`Dns::min_ttl`].
    pub const MIN_TTL: Period = Period::seconds(30);
    /// Default of [`Dns::max_ttl`].
    pub const MAX_TTL: Period = Period::days(1);
    /// Default of [`Dns::grace`].
    pub const GRACE: Period = Period::days(1);
    /// Default of [`Dns::max_addresses`].
    pub const MAX_ADDRESSES: usize = 500;
    /// Longest that [`Dns::max_ttl`] may be.
    pub const MOST_TTL: Period = Period::days(1);
    /// Most that [`Dns::max_addresses`] may be: more than any answer holds.
    pub const MOST_ADDRESSES: usize = 10_000;

    /// What holds for the answers of a name.
    pub fn policy(&self, name: &HostName) -> DnsPolicy {
        let own = self.names.get(name);
        DnsPolicy {
            min_ttl: self.min_ttl,
            max_ttl: self.max_ttl,
            grace: own.and_then(|own| own.grace).unwrap_or(self.grace),
            max_addresses: own.and_then(|own| own.max_addresses).unwrap_or(self.max_addresses),
            allow_special: own.map(|own| space(&own.allow_special)).unwrap_or_default(),
        }
    }
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            resolvers: Vec::new(),
            dnssec: false,
            trust_anchor: None,
            timeout: Self::TIMEOUT,
            min_ttl: Self::MIN_TTL,
            max_ttl: Self::MAX_TTL,
            grace: Self::GRACE,
            max_addresses: Self::MAX_ADDRESSES,
            names: BTreeMap::new(),
        }
    }
}

/// `[dns.names."HOST"]`: what holds for one name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct DnsName {
    /// How long an address of this name stays allowed after the last answer with it. Default: that of `[dns]`.
    pub grace: Option<Period>,
    /// Most addresses of this name. Default: that of `[dns]`.
    pub max_addresses: Option<usize>,
    /// Private or otherwise special space in which this name may have addresses. Default: none.
    pub allow_special: Vec<Network>,
    /// The service tag that should hold its addresses: an answer outside is shown. Default: as the profile knows it.
    pub expected_tag: Option<TagName>,
}

/// What holds for the answers of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsPolicy {
    /// Shortest time to live that is followed.
    pub min_ttl: Period,
    /// Longest time to live that is followed.
    pub max_ttl: Period,
    /// How long an address that has gone stays.
    pub grace: Period,
    /// Most addresses.
    pub max_addresses: usize,
    /// Special space that is taken all the same.
    pub allow_special: PrefixSet,
}

/// How a resolver is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DnsTransport {
    /// UDP, and TCP where an answer is truncated or none comes.
    #[default]
    Udp,
    /// TCP alone.
    Tcp,
    /// DNS over TLS (RFC 7858), the certificate verified.
    Tls,
}

impl DnsTransport {
    fn port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 53,
            Self::Tls => 853,
        }
    }
}

/// A resolver that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsResolver {
    /// Where it listens.
    pub address: SocketAddr,
    /// How it is reached.
    pub transport: DnsTransport,
    /// tls: the name in its certificate.
    pub name: Option<HostName>,
    /// tls: a file of certificate authorities in PEM, in place of the host's.
    pub ca: Option<PathBuf>,
}

impl fmt::Display for DnsResolver {
    /// As it is named in status and log: `10.0.0.53`, `tls://10.0.0.53#dns.example.com`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            DnsTransport::Udp => {}
            DnsTransport::Tcp => formatter.write_str("tcp://")?,
            DnsTransport::Tls => formatter.write_str("tls://")?,
        }
        if self.address.port() == self.transport.port() {
            write!(formatter, "{}", self.address.ip())?;
        } else {
            write!(formatter, "{}", self.address)?;
        }
        match &self.name {
            Some(name) => write!(formatter, "#{name}"),
            None => Ok(()),
        }
    }
}

/// The table form of a resolver.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct DnsResolverTable {
    address: String,
    #[serde(default)]
    transport: DnsTransport,
    name: Option<HostName>,
    ca: Option<PathBuf>,
}

impl<'de> Deserialize<'de> for DnsResolver {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DnsResolverVisitor;

        impl<'de> Visitor<'de> for DnsResolverVisitor {
            type Value = DnsResolver;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a resolver's address, or a table with `address`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<DnsResolver, E> {
                let transport = DnsTransport::default();
                let address = address(text, transport).map_err(E::custom)?;
                Ok(DnsResolver { address, transport, name: None, ca: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DnsResolver, A::Error> {
                let deserializer = de::value::MapAccessDeserializer::new(map);
                let DnsResolverTable { address: text, transport, name, ca } =
                    DnsResolverTable::deserialize(deserializer)?;
                let address = address(&text, transport).map_err(de::Error::custom)?;
                if transport == DnsTransport::Tls && name.is_none() {
                    return Err(de::Error::custom(
                        "a resolver over tls needs `name`, the name in its certificate",
                    ));
                }
                if transport != DnsTransport::Tls && (name.is_some() || ca.is_some()) {
                    return Err(de::Error::custom("`name` and `ca` belong to transport = \"tls\""));
                }
                Ok(DnsResolver { address, transport, name, ca })
            }
        }

        deserializer.deserialize_any(DnsResolverVisitor)
    }
}

/// An address with the transport's port where none is given.
fn address(text: &str, transport: DnsTransport) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, transport.port()));
    }
    text.parse().map_err(|_| {
        format!(
            "`{}` is no resolver: write an address like 10.0.0.53, 10.0.0.53:5353, 2001:db8::53 or [2001:db8::53]:5353",
            text.escape_debug()
        )
    })
}

/// What contradicts itself in `[dns]`.
pub(super) fn check_dns(dns: &Dns) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let bounds = Period::seconds(1)..=Dns::MOST_TTL;
    if dns.min_ttl > dns.max_ttl || !bounds.contains(&dns.min_ttl) || !bounds.contains(&dns.max_ttl)
    {
        found.push(Diagnostic::new(format!(
            "dns.min-ttl is {} and dns.max-ttl {}: both are 1s to 1d, the first not above the second",
            dns.min_ttl, dns.max_ttl
        )));
    }
    if dns.timeout < Period::seconds(1) || dns.timeout > Period::minutes(1) {
        found.push(Diagnostic::new(format!("dns.timeout is {}; it is 1s to 1m", dns.timeout)));
    }
    let mut seen = BTreeSet::new();
    for twice in
        dns.resolvers.iter().map(ToString::to_string).filter(|label| !seen.insert(label.clone()))
    {
        found.push(Diagnostic::new(format!("dns.resolvers names {twice} twice")));
    }
    if dns.trust_anchor.is_some() && !dns.dnssec {
        found.push(
            Diagnostic::new("dns.trust-anchor is given, but nothing is validated")
                .help("set dns.dnssec = true"),
        );
    }
    let limits = dns
        .names
        .iter()
        .filter_map(|(name, own)| Some((format!("dns.names.\"{name}\"."), own.max_addresses?)))
        .chain([("dns.".to_owned(), dns.max_addresses)]);
    for (key, limit) in limits {
        if limit == 0 || limit > Dns::MOST_ADDRESSES {
            found.push(Diagnostic::new(format!(
                "{key}max-addresses is {limit}; it is 1 to {}",
                Dns::MOST_ADDRESSES
            )));
        }
    }
    for wildcard in dns.names.keys().filter(|name| name.is_wildcard()) {
        found.push(
            Diagnostic::new(format!("dns.names.\"{wildcard}\": a wildcard is never resolved"))
                .help("name the hosts"),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(text: &str) -> Result<Dns, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn resolvers_are_written_short_or_as_tables() {
        let dns = dns(
            "resolvers = [\"10.0.0.53\", \"[2001:db8::53]:5353\", { address = \"10.0.0.54\", transport = \"tcp\" }, \
             { address = \"10.0.0.55\", transport = \"tls\", name = \"dns.example.com\" }]",
        )
        .unwrap();
        let labels: Vec<String> = dns.resolvers.iter().map(ToString::to_string).collect();
        assert_eq!(
            labels,
            [
                "10.0.0.53",
                "[2001:db8::53]:5353",
                "tcp://10.0.0.54",
                "tls://10.0.0.55#dns.example.com"
            ]
        );
        assert_eq!(dns.resolvers[3].address.port(), 853);
    }

    #[test]
    fn resolvers_that_say_too_little_or_too_much_are_refused() {
        for (text, message) in [
            ("resolvers = [\"dns.example.com\"]", "is no resolver"),
            ("resolvers = [{ address = \"10.0.0.1\", transport = \"tls\" }]", "needs `name`"),
            ("resolvers = [{ address = \"10.0.0.1\", ca = \"/x\" }]", "belong to transport"),
            ("resolvers = [{ address = \"10.0.0.1\", port = 53 }]", "unknown field `port`"),
            ("min-ttl = 30", "expected"),
        ] {
            let error = dns(text).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn settings_that_contradict_each_other_are_found() {
        for (text, message) in [
            ("min-ttl = \"2d\"", "dns.min-ttl is 2d"),
            ("timeout = \"0s\"", "dns.timeout is 0s"),
            ("max-addresses = 0", "dns.max-addresses is 0"),
            ("resolvers = [\"10.0.0.1\", \"10.0.0.1:53\"]", "twice"),
            ("trust-anchor = \"/x\"", "nothing is validated"),
            ("[names.\"*.example.com\"]", "never resolved"),
            ("[names.\"a.example.com\"]\nmax-addresses = 20000", "dns.names.\"a.example.com\".max"),
        ] {
            let found = check_dns(&dns(text).unwrap());
            assert!(found.len() == 1 && found[0].title().contains(message), "{text}: {found:?}");
        }
        assert!(check_dns(&Dns::default()).is_empty());
    }

    #[test]
    fn a_name_may_differ_from_the_rest() {
        let dns = dns(
            "grace = \"6h\"\n[names.\"a.example.com\"]\ngrace = \"1h\"\nallow-special = [\"10.1.0.0/16\"]",
        )
        .unwrap();
        let own = dns.policy(&"a.example.com".parse().unwrap());
        assert_eq!(own.grace, Period::hours(1));
        assert!(own.allow_special.contains("10.1.2.3".parse().unwrap()));
        let other = dns.policy(&"b.example.com".parse().unwrap());
        assert_eq!(other.grace, Period::hours(6));
        assert!(other.allow_special.is_empty());
    }
}
