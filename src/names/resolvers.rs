//! Those who are asked.
//!
//! Owns the questions on the wire: both families, the chain of aliases from the name to its addresses, UDP with TCP where an
//! answer is truncated, TLS, DNSSEC. Promises: what is returned stood in an answer to this question, at the end of the chain
//! that starts with the name; every question ends within its time. Keeps no cache: when to ask again is the book's business.
//! The hosts file is not read: what a firewall lets through must not depend on it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::dnssec::{Proof, TrustAnchors};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use thiserror::Error;
use tokio::sync::Semaphore;

use super::answer::{Look, Reply, Said};
use super::book::MOST_ALIASES;
use crate::config::{Dns, DnsResolver, DnsTransport, HostName};
use crate::os::files::{self, FileError};
use crate::os::printable::printable;

/// What the resolvers of /etc/resolv.conf are called together.
pub const SYSTEM: &str = "system";
/// Where the system names its resolvers.
const SYSTEM_FILE: &str = "/etc/resolv.conf";
/// Questions that are under way at a time.
const AT_A_TIME: usize = 32;
/// How often a question is asked again that got no answer.
const RETRIES: usize = 1;
/// Largest file of certificate authorities or trust anchors, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// Longest reason that is kept of a failure, in characters.
pub(super) const MAX_REASON: usize = 200;

/// Why nobody can be asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ResolverError {
    /// /etc/resolv.conf names nobody.
    #[error(
        "{SYSTEM_FILE} names no resolver that can be used ({0}); name resolvers in `dns.resolvers`"
    )]
    System(String),
    /// A file of certificate authorities or trust anchors cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of certificate authorities holds none.
    #[error("{} holds no certificate in PEM: {reason}", .path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file of trust anchors holds none.
    #[error("{} holds no DNSKEY record, as `example.com. IN DNSKEY 257 3 13 …`: {reason}", .path.display())]
    Anchors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A resolver cannot be set up.
    #[error("resolver {label} cannot be used: {reason}")]
    Setup {
        /// Its name.
        label: String,
        /// What is wrong.
        reason: String,
    },
}

/// Everyone who is asked.
#[derive(Clone)]
pub struct Resolvers {
    each: Arc<Vec<One>>,
    turns: Arc<Semaphore>,
    time_limit: Duration,
    /// The content of /etc/resolv.conf, where that says who is asked.
    system: Option<Arc<Vec<u8>>>,
}

struct One {
    label: String,
    resolver: TokioResolver,
    validates: bool,
}

impl std::fmt::Debug for Resolvers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.labels()).finish()
    }
}

impl Resolvers {
    /// Sets up what the configuration names. Asks nobody yet.
    pub fn new(dns: &Dns) -> Result<Self, ResolverError> {
        let mut each = Vec::new();
        let mut system = None;
        if dns.resolvers.is_empty() {
            let bytes = files::read_bounded(Path::new(SYSTEM_FILE), MAX_FILE)?;
            let (config, _) = hickory_resolver::system_conf::parse_resolv_conf(&bytes)
                .map_err(|error| ResolverError::System(reason(&error)))?;
            system = Some(Arc::new(bytes));
            let servers = ResolverConfig::from_name_servers(config.name_servers);
            each.push(One::new(SYSTEM.to_owned(), servers, None, dns)?);
        }
        for resolver in &dns.resolvers {
            let servers = ResolverConfig::from_name_servers(vec![server(resolver)]);
            let tls = match resolver.transport {
                DnsTransport::Tls => Some(tls(resolver)?),
                DnsTransport::Udp | DnsTransport::Tcp => None,
            };
            each.push(One::new(resolver.to_string(), servers, tls, dns)?);
        }
        Ok(Self {
            each: Arc::new(each),
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
            time_limit: dns.timeout.into(),
            system,
        })
    }

    /// What those who are asked are called.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.each.iter().map(|one| one.label.as_str())
    }

    /// Whether the system still names those who are asked. A file that is away or half written takes nobody away.
    pub(super) fn are_current(&self) -> bool {
        let Some(known) = &self.system else { return true };
        files::read_bounded(Path::new(SYSTEM_FILE), MAX_FILE).map_or(true, |bytes| bytes == **known)
    }

    /// Asks every resolver for a name's addresses of both families. Never fails: what fails is part of the answer.
    pub async fn look(&self, name: &HostName) -> Look {
        // The semaphore is never closed, and without a turn it would only be more at a time.
        let _turn = self.turns.acquire().await.ok();
        let replies = self.each.iter().map(async |one| {
            let (v4, v6) = futures_util::future::join(
                one.ask(name, RecordType::A, self.time_limit),
                one.ask(name, RecordType::AAAA, self.time_limit),
            )
            .await;
            Reply { resolver: one.label.clone(), v4, v6 }
        });
        let replies = futures_util::future::join_all(replies).await;
        Look { name: name.clone(), replies }
    }
}

/// What those who are asked are called under these settings, whether or not they can be set up.
pub(super) fn labels(dns: &Dns) -> BTreeSet<String> {
    if dns.resolvers.is_empty() {
        return BTreeSet::from([SYSTEM.to_owned()]);
    }
    dns.resolvers.iter().map(ToString::to_string).collect()
}

impl One {
    fn new(
        label: String,
        servers: ResolverConfig,
        tls: Option<rustls::ClientConfig>,
        dns: &Dns,
    ) -> Result<Self, ResolverError> {
        let provider = TokioRuntimeProvider::default();
        let mut builder =
            TokioResolver::builder_with_config(servers, provider).with_options(options(dns));
        if let Some(tls) = tls {
            builder = builder.with_tls_config(tls);
        }
        if let Some(path) = &dns.trust_anchor {
            // Handed over as a value: the library only takes note that its option names a file, and uses the root's keys.
            builder = builder.with_trust_anchor(Arc::new(trust_anchors(path)?));
        }
        let setup =
            |error: NetError| ResolverError::Setup { label: label.clone(), reason: reason(&error) };
        let resolver = builder.build().map_err(setup)?;
        Ok(Self { label, resolver, validates: dns.dnssec })
    }

    async fn ask(&self, name: &HostName, family: RecordType, limit: Duration) -> Said {
        let Ok(mut question) = Name::from_ascii(name.as_str()) else {
            return Said::Failed("not a name of the DNS".to_owned());
        };
        // Fully qualified: no search list makes another name of it.
        question.set_fqdn(true);
        match tokio::time::timeout(limit, self.resolver.lookup(question.clone(), family)).await {
            Ok(Ok(lookup)) => end_of_chain(&question, &lookup, self.validates),
            Ok(Err(error)) => failure(&error),
            Err(_) => Said::Failed(format!("no answer within {} s", limit.as_secs_f32())),
        }
    }
}

fn options(dns: &Dns) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = dns.timeout.duration().div_f64(2.0);
    options.attempts = RETRIES;
    options.try_tcp_on_error = true;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.preserve_intermediates = true;
    // Sixteen bits of an identifier, a random port, and the case of each letter: what a forger off the path must guess.
    options.case_randomization = true;
    options.validate = dns.dnssec;
    options
}

fn server(resolver: &DnsResolver) -> NameServerConfig {
    let mut connections = match (&resolver.transport, &resolver.name) {
        (DnsTransport::Udp, _) => vec![ConnectionConfig::udp(), ConnectionConfig::tcp()],
        (DnsTransport::Tls, Some(name)) => vec![ConnectionConfig::tls(Arc::from(name.as_str()))],
        (DnsTransport::Tcp | DnsTransport::Tls, _) => vec![ConnectionConfig::tcp()],
    };
    for connection in &mut connections {
        connection.port = resolver.address.port();
    }
    NameServerConfig::new(resolver.address.ip(), true, connections)
}

/// How a resolver's certificate is verified: by the file given, else by the host's authorities.
fn tls(resolver: &DnsResolver) -> Result<rustls::ClientConfig, ResolverError> {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(path) = &resolver.ca {
        let wrong = |reason: String| ResolverError::Authorities { path: path.clone(), reason };
        for certificate in authorities(path)? {
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(wrong("there is no such block".to_owned()));
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ResolverError::Setup {
            label: resolver.to_string(),
            reason: error.to_string(),
        })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, ResolverError> {
    let bytes = files::read_bounded(path, MAX_FILE)?;
    CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(|error| {
        ResolverError::Authorities { path: path.to_owned(), reason: error.to_string() }
    })
}

/// The addresses at the end of the chain of aliases that starts with the question. Whatever else stands in the answer was
/// not asked for and is left alone; so is what failed its validation.
pub(super) fn end_of_chain(question: &Name, lookup: &Lookup, validated: bool) -> Said {
    let records = || lookup.answers().iter().filter(|record| believable(record, validated));
    let mut at = question.clone();
    let mut aliases = Vec::new();
    let mut ttl = u32::MAX;
    loop {
        let next = records().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == at => Some((target.0.clone(), record.ttl)),
            _ => None,
        });
        let Some((target, shortest)) = next else { break };
        if aliases.len() == MOST_ALIASES {
            return Said::Failed(format!("more than {MOST_ALIASES} aliases in a row"));
        }
        ttl = ttl.min(shortest);
        // In small letters: an answer repeats the random case of the question.
        let alias = target.to_string().to_ascii_lowercase();
        aliases.push(printable(alias.trim_end_matches('.'), 255));
        at = target;
    }
    let mut addresses: Vec<IpAddr> = Vec::new();
    for record in records().filter(|record| record.name == at) {
        let address = match &record.data {
            RData::A(address) => IpAddr::V4(address.0),
            RData::AAAA(address) => IpAddr::V6(address.0),
            _ => continue,
        };
        ttl = ttl.min(record.ttl);
        addresses.push(address);
    }
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Said::Nothing;
    }
    Said::Addresses { addresses, ttl, aliases }
}

/// Whether a record may be used: without validation any, with it those that are signed or belong to a zone that is proven
/// not to be.
fn believable(record: &Record, validated: bool) -> bool {
    !validated || matches!(record.proof, Proof::Secure | Proof::Insecure)
}

/// The keys that are trusted in place of the root zone's: DNSKEY records, a line each.
fn trust_anchors(path: &Path) -> Result<TrustAnchors, ResolverError> {
    let wrong = |reason: String| ResolverError::Anchors { path: path.to_owned(), reason };
    let bytes = files::read_bounded(path, MAX_FILE)?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is not text".to_owned()))?;
    let uncommented = |line: &str| line.split(';').next().unwrap_or_default().trim().to_owned();
    if text.lines().all(|line| uncommented(line).is_empty()) {
        return Err(wrong("there is no such record".to_owned()));
    }
    text.parse::<TrustAnchors>().map_err(|error| wrong(reason(&error)))
}

fn failure(error: &NetError) -> Said {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => Said::NoSuchName,
            ResponseCode::NoError => Said::Nothing,
            code => Said::Failed(format!("answered {code}")),
        },
        NetError::Dns(DnsError::ResponseCode(ResponseCode::NXDomain)) => Said::NoSuchName,
        other => Said::Failed(reason(other)),
    }
}

/// An error on one line, harmless on a terminal.
fn reason(error: &dyn std::error::Error) -> String {
    printable(&error.to_string(), MAX_REASON)
}
