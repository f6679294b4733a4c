//! Reads a Service Tags document in one pass, checking every value where it stands.
//!
//! The prefixes go straight from the text into the snapshot's arrays: no tree of the document is built.
//! Unknown keys are skipped (Microsoft adds some), everything that is used is checked.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::de::{DeserializeSeed, Error as _};

use super::document::Root;
use super::error::Fault;
use super::{Cloud, ServiceTag, Snapshot, SnapshotError};
use crate::os::printable::printable;
use crate::prefix::{PrefixSet, parse::parse_net, special};

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
    /// Reads and validates a document, of the file's shape or the Discovery API's.
    pub fn parse(document: &[u8], policy: &Policy) -> Result<Self, SnapshotError> {
        let size = document.len() as u64;
        if size > policy.max_bytes {
            return Err(SnapshotError::TooLarge { actual: size, limit: policy.max_bytes });
        }
        let text = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
        // One look at the whole is cheaper than one at each of 100,000 strings.
        let text = std::str::from_utf8(text).map_err(|error| SnapshotError::NotText {
            offset: error.valid_up_to(),
            hint: looks_like(text),
        })?;
        let mut builder = Builder::new(policy, text);
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let outcome =
            Root(&mut builder).deserialize(&mut deserializer).and_then(|()| deserializer.end());
        if let Err(error) = outcome {
            return Err(if let Some(fault) = builder.fault.take() {
                let (line, column) = builder
                    .place
                    .map_or((error.line(), error.column()), |place| place_in(text, place));
                SnapshotError::Fault { line, column, fault }
            } else {
                let hint = looks_like(text.as_bytes());
                SnapshotError::Malformed { hint, source: bounded(error) }
            });
        }
        builder.finish().map_err(SnapshotError::Whole)
    }
}

/// Line and column of an offset, both from 1.
fn place_in(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start =
        before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    (before.split(|byte| *byte == b'\n').count(), before.len() - line_start + 1)
}

/// serde quotes what it did not expect, however long that is: a message stays one readable line.
fn bounded(error: serde_json::Error) -> serde_json::Error {
    const LONGEST: usize = 300;
    let text = error.to_string();
    let shown = printable(&text, LONGEST);
    if shown == text {
        return error;
    }
    let (line, column) = (error.line(), error.column());
    serde_json::Error::custom(format!("{shown} (line {line}, column {column})"))
}

/// Names the usual things that arrive in place of a document.
fn looks_like(text: &[u8]) -> Option<&'static str> {
    let start = text.trim_ascii_start();
    match start.first() {
        None => Some("the file is empty"),
        Some(b'<') => Some("it looks like an HTML or XML page"),
        Some(0x1f) => Some("it looks like a gzip file"),
        Some(b'{') if !text.trim_ascii_end().ends_with(b"}") => Some("it is cut short"),
        _ => None,
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
    pub(super) v4: Vec<Ipv4Net>,
    pub(super) v6: Vec<Ipv6Net>,
    /// The rule that was broken, kept beside serde's own error.
    pub(super) fault: Option<Fault>,
    /// Where the document begins in memory, to tell the place of a text that is a part of it.
    pub(super) start: usize,
    /// The offset of what was refused, where it is known better than serde knows it.
    pub(super) place: Option<usize>,
    /// How many prefixes there were before the tag that is being read.
    pub(super) tag_start: (usize, usize),
}

impl<'p> Builder<'p> {
    fn new(policy: &'p Policy, document: &str) -> Self {
        Self {
            policy,
            cloud: None,
            change_number: None,
            seen_values: false,
            next_link: false,
            tags: Vec::with_capacity(4_096),
            v4: Vec::with_capacity(70_000),
            v6: Vec::with_capacity(30_000),
            fault: None,
            start: document.as_ptr().addr(),
            place: None,
            tag_start: (0, 0),
        }
    }

    /// Keeps the fault and stops the parser; the parser adds line and column.
    pub(super) fn refuse<E: serde::de::Error>(&mut self, fault: Fault) -> E {
        let error = E::custom("rule broken");
        self.fault = Some(fault);
        error
    }

    /// Remembers where in the document the refused text stands.
    pub(super) fn refused_at(&mut self, text: &str) {
        self.place = text.as_ptr().addr().checked_sub(self.start);
    }

    /// Marks where the prefixes of the next tag begin.
    pub(super) fn begin_tag(&mut self) -> (usize, usize) {
        self.tag_start = (self.v4.len(), self.v6.len());
        self.tag_start
    }

    /// Forgets the prefixes of the tag that is being read.
    pub(super) fn restart_tag(&mut self) {
        self.v4.truncate(self.tag_start.0);
        self.v6.truncate(self.tag_start.1);
    }

    pub(super) fn add_prefix(&mut self, text: &str) -> Result<(), Fault> {
        if self.v4.len() + self.v6.len() >= self.policy.max_prefixes {
            return Err(Fault::TooMany { what: "prefixes", limit: self.policy.max_prefixes });
        }
        let prefix = parse_net(text).map_err(|error| Fault::BadPrefix {
            prefix: printable(text, 64),
            tag: None,
            reason: error.to_string(),
        })?;
        let widest = match prefix {
            IpNet::V4(_) => self.policy.widest_v4,
            IpNet::V6(_) => self.policy.widest_v6,
        };
        if prefix.prefix_len() < widest {
            return Err(Fault::TooWide { prefix: prefix.to_string(), tag: None, widest });
        }
        match prefix {
            IpNet::V4(net) => self.v4.push(net),
            IpNet::V6(net) => self.v6.push(net),
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Snapshot, Fault> {
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
            self.v4[tag.v4.start as usize..tag.v4.end as usize].sort_unstable();
            self.v6[tag.v6.start as usize..tag.v6.end as usize].sort_unstable();
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
