//! Reads a Service Tags document in one pass, checking every value where it stands.
//!
//! The prefixes go straight from the text into the snapshot's arrays: no tree of the document is built.
//! Unknown keys are skipped (Microsoft adds some), everything that is used is checked.

use std::io::Read;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::error::Fault;
use super::json::Json;
use super::labels::Labels;
use super::{Cloud, ServiceTag, Snapshot, SnapshotError, document};
use crate::os::printable::printable;
use crate::prefix::{PrefixSet, parse, special};

/// What a publication may contain. The defaults hold for every publication since 2019 (793 measured).
#[derive(Debug, Clone)]
pub struct Policy {
    /// Shortest IPv4 prefix length taken, in bits (widest ever published: 14).
    pub widest_v4: u8,
    /// Shortest IPv6 prefix length taken, in bits (widest ever published: 39).
    pub widest_v6: u8,
    /// Special space that is taken all the same.
    pub allow_special: PrefixSet,
    /// Largest document in bytes (largest ever published: 4.2 MB).
    pub max_bytes: u64,
    /// Most tags in a document (most ever published: about 3,000).
    pub max_tags: usize,
    /// Most prefixes in a document (most ever published: about 92,000).
    pub max_prefixes: usize,
}

impl Policy {
    /// Default of [`Policy::widest_v4`].
    pub const WIDEST_V4: u8 = 11;
    /// Default of [`Policy::widest_v6`].
    pub const WIDEST_V6: u8 = 32;
    /// Default of [`Policy::max_bytes`]: 64 MiB.
    pub const MAX_BYTES: u64 = 64 << 20;
    /// Default of [`Policy::max_tags`].
    pub const MAX_TAGS: usize = 50_000;
    /// Default of [`Policy::max_prefixes`].
    pub const MAX_PREFIXES: usize = 2_000_000;
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            widest_v4: Self::WIDEST_V4,
            widest_v6: Self::WIDEST_V6,
            allow_special: PrefixSet::new(),
            max_bytes: Self::MAX_BYTES,
            max_tags: Self::MAX_TAGS,
            max_prefixes: Self::MAX_PREFIXES,
        }
    }
}

impl Snapshot {
    /// Reads and validates a document in memory, of the file's shape or the Discovery API's.
    pub fn parse(mut document: &[u8], policy: &Policy) -> Result<Self, SnapshotError> {
        Self::read(&mut document, policy)
    }

    /// Reads and validates a document as it streams in; only a small part of it is ever in memory.
    pub fn read(document: &mut dyn Read, policy: &Policy) -> Result<Self, SnapshotError> {
        let mut builder = Builder::new(policy);
        Json::new(document, policy.max_bytes)
            .and_then(|mut json| document::read(&mut json, &mut builder, None))
            .map_err(SnapshotError::from)?;
        builder.finish().map_err(SnapshotError::Whole)
    }
}

/// A snapshot in the making.
pub(super) struct Builder<'p> {
    pub(super) policy: &'p Policy,
    pub(super) cloud: Option<Cloud>,
    pub(super) change_number: Option<u64>,
    pub(super) seen_values: bool,
    pub(super) next_link: bool,
    pub(super) tags: Vec<ServiceTag>,
    pub(super) labels: Labels,
    pub(super) v4: Vec<Ipv4Net>,
    pub(super) v6: Vec<Ipv6Net>,
}

impl<'p> Builder<'p> {
    pub(super) fn new(policy: &'p Policy) -> Self {
        Self {
            policy,
            cloud: None,
            change_number: None,
            seen_values: false,
            next_link: false,
            tags: Vec::with_capacity(4_096),
            labels: Labels::default(),
            v4: Vec::with_capacity(70_000),
            v6: Vec::with_capacity(30_000),
        }
    }

    /// Appends what was read from where this one stopped, by somebody else; false, and nothing is changed, when the two do not
    /// make one document within the bounds.
    pub(super) fn append(&mut self, mut behind: Self) -> bool {
        let (v4, v6) = (self.v4.len(), self.v6.len());
        let prefixes = v4 + behind.v4.len() + v6 + behind.v6.len();
        let twice = self.cloud.is_some() && behind.cloud.is_some()
            || self.change_number.is_some() && behind.change_number.is_some();
        let (Ok(v4), Ok(v6), Ok(_)) =
            (u32::try_from(v4), u32::try_from(v6), u32::try_from(prefixes))
        else {
            return false;
        };
        if twice
            || prefixes > self.policy.max_prefixes
            || self.tags.len() + behind.tags.len() > self.policy.max_tags
        {
            return false;
        }
        self.cloud = self.cloud.or(behind.cloud);
        self.change_number = self.change_number.or(behind.change_number);
        self.next_link |= behind.next_link;
        self.v4.append(&mut behind.v4);
        self.v6.append(&mut behind.v6);
        self.tags.extend(behind.tags.into_iter().map(|tag| ServiceTag {
            v4: tag.v4.start + v4..tag.v4.end + v4,
            v6: tag.v6.start + v6..tag.v6.end + v6,
            ..tag
        }));
        true
    }

    /// Takes a prefix as it is written. The text need not be UTF-8 to be refused.
    pub(super) fn add_text(&mut self, text: &[u8]) -> Result<(), Fault> {
        let text = String::from_utf8_lossy(text);
        match parse::parse_net(&text) {
            Ok(net) => self.add(net),
            Err(error) => Err(Fault::BadPrefix {
                prefix: printable(&text, 64),
                tag: None,
                reason: error.to_string(),
            }),
        }
    }

    /// Takes a prefix, within the policy's bounds.
    pub(super) fn add(&mut self, net: IpNet) -> Result<(), Fault> {
        if self.v4.len() + self.v6.len() >= self.policy.max_prefixes {
            return Err(Fault::TooMany { what: "prefixes", limit: self.policy.max_prefixes });
        }
        let widest = match net {
            IpNet::V4(_) => self.policy.widest_v4,
            IpNet::V6(_) => self.policy.widest_v6,
        };
        if net.prefix_len() < widest {
            return Err(Fault::TooWide { prefix: net.to_string(), tag: None, widest });
        }
        match net {
            IpNet::V4(net) => self.v4.push(net),
            IpNet::V6(net) => self.v6.push(net),
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Snapshot, Fault> {
        let missing = |key| Fault::MissingKey { key, tag: None };
        let cloud = self.cloud.ok_or_else(|| missing("cloud"))?;
        let change_number = self.change_number.ok_or_else(|| missing("changeNumber"))?;
        if !self.seen_values {
            return Err(missing("values"));
        }
        if self.next_link {
            return Err(Fault::Page);
        }
        if self.tags.is_empty() {
            return Err(Fault::Empty("tags"));
        }
        if self.v4.is_empty() && self.v6.is_empty() {
            return Err(Fault::Empty("prefixes"));
        }
        for tag in &self.tags {
            check_space(cloud, &self.policy.allow_special, tag, &self.v4, &self.v6)?;
            // The order of the types, by keys that are compared faster.
            self.v4[tag.v4.start as usize..tag.v4.end as usize].sort_unstable_by_key(|net| {
                u64::from(net.addr().to_bits()) << 8 | u64::from(net.prefix_len())
            });
            self.v6[tag.v6.start as usize..tag.v6.end as usize]
                .sort_unstable_by_key(|net| (net.addr().to_bits(), net.prefix_len()));
        }
        Snapshot::assemble(cloud, change_number, self.tags, self.v4, self.v6)
    }
}

/// Refuses private and special space, and in the cloud Example everything but documentation ranges.
fn check_space(
    cloud: Cloud,
    allowed: &PrefixSet,
    tag: &ServiceTag,
    v4: &[Ipv4Net],
    v6: &[Ipv6Net],
) -> Result<(), Fault> {
    let v4 = &v4[tag.v4.start as usize..tag.v4.end as usize];
    let v6 = &v6[tag.v6.start as usize..tag.v6.end as usize];
    let in_tag = || Some(tag.name.to_string());
    let nets = || v4.iter().map(|&net| IpNet::V4(net)).chain(v6.iter().map(|&net| IpNet::V6(net)));
    if cloud == Cloud::Example {
        return match nets().find(|&net| !special::documentation().covers(net)) {
            Some(net) => Err(Fault::NotDocumentation { prefix: net.to_string(), tag: in_tag() }),
            None => Ok(()),
        };
    }
    for net in nets() {
        if let Some(kind) = special::special_kind(net)
            && !allowed.covers(net)
        {
            return Err(Fault::Special { prefix: net.to_string(), tag: in_tag(), kind });
        }
    }
    Ok(())
}
