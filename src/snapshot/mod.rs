//! One validated Service Tags document.
//!
//! Owns: what a publication may contain ([`Policy`]), how it is read ([`Snapshot::parse`], [`Snapshot::read_file`]), and the digest
//! by which two publications are told apart. Promises: a [`Snapshot`] holds canonical prefixes only, nothing
//! wider than the policy allows, nothing private or special, and names of a fixed alphabet, so that nothing
//! that follows needs to distrust it. Does not know where a document came from or whether its content is
//! plausible: the feed and the guard judge that.
//!
//! The format is Microsoft's "Azure IP Ranges and Service Tags" download and the answer of its Service Tag
//! Discovery API, which differ only in that the API writes change numbers as strings.

mod cloud;
mod content;
pub mod digest;
mod document;
mod error;
mod example;
mod features;
mod halves;
mod json;
mod labels;
mod parse;
mod publication;
mod scalars;
mod seen;
mod tag;
mod write;

pub use cloud::Cloud;
pub use content::TagContent;
pub use digest::Digest;
pub use error::{Fault, SnapshotError, UnknownTag};
pub use example::EXAMPLE_DOCUMENT;
pub use features::Features;
pub use parse::Policy;
pub use publication::{Publication, date_in_name};
pub use seen::{Seen, Validators};
pub use tag::{ServiceTag, TagName};

use ipnet::{Ipv4Net, Ipv6Net};

/// A validated Service Tags document: every tag of one cloud with its address prefixes.
///
/// The prefixes of all tags lie in two arrays (one a family) that tags point into, sorted by address inside
/// each tag: 90,000 prefixes take 0.8 MB this way.
#[derive(Debug, Clone)]
pub struct Snapshot {
    cloud: Cloud,
    change_number: u64,
    tags: Vec<ServiceTag>,
    /// Indices into `tags`, ordered by name without regard to case.
    by_name: Vec<u32>,
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
}

impl Snapshot {
    /// The cloud that the document says it describes.
    pub fn cloud(&self) -> Cloud {
        self.cloud
    }

    /// The document's own change number. It is not a content key: it has stayed equal while content
    /// changed, and has risen without a change. Use [`Snapshot::digest`] to tell contents apart.
    pub fn change_number(&self) -> u64 {
        self.change_number
    }

    /// All tags, in the document's order.
    pub fn tags(&self) -> &[ServiceTag] {
        &self.tags
    }

    /// The tag of this name, without regard to case.
    pub fn tag(&self, name: &str) -> Option<&ServiceTag> {
        self.by_name
            .binary_search_by(|&index| {
                tag::compare_names(self.tags[index as usize].name().as_str(), name)
            })
            .ok()
            .map(|position| &self.tags[self.by_name[position] as usize])
    }

    /// The tags ordered by name without regard to case.
    pub fn tags_by_name(&self) -> impl Iterator<Item = &ServiceTag> {
        self.by_name.iter().map(|&index| &self.tags[index as usize])
    }

    /// The IPv4 prefixes of a tag of this snapshot, ascending, as published (not aggregated).
    pub fn v4(&self, tag: &ServiceTag) -> &[Ipv4Net] {
        &self.v4[tag.v4.start as usize..tag.v4.end as usize]
    }

    /// The IPv6 prefixes of a tag of this snapshot, ascending, as published (not aggregated).
    pub fn v6(&self, tag: &ServiceTag) -> &[Ipv6Net] {
        &self.v6[tag.v6.start as usize..tag.v6.end as usize]
    }

    /// How many prefixes the document holds, over all tags and both families.
    pub fn prefix_count(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// SHA-256 over the canonical content: cloud, and every tag's name, region, service, features and
    /// prefixes in order of name. Change numbers, layout and the order of the document do not count.
    pub fn digest(&self) -> Digest {
        let mut hash = digest::Hasher::new("tagwall publication v1");
        hash.text(self.cloud.document_name());
        for tag in self.tags_by_name() {
            hash.text(tag.name().as_str());
            hash.text(tag.region());
            hash.number(u64::from(tag.region_id()));
            hash.text(tag.system_service());
            hash.number(u64::from(tag.features().bits()));
            hash.prefixes(self.v4(tag), self.v6(tag));
        }
        hash.finish()
    }
}
