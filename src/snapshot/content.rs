//! Snapshots made of tags, not of a document: what is believed has the same form as what is published.

use ipnet::{Ipv4Net, Ipv6Net};

use super::error::Fault;
use super::labels::Labels;
use super::{Cloud, Features, ServiceTag, Snapshot, TagName, tag};

/// A tag with the prefixes that are its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagContent {
    /// The tag's name.
    pub name: TagName,
    /// The tag's own change number.
    pub change_number: u64,
    /// The region, empty for a global tag.
    pub region: Box<str>,
    /// The number of the region, 0 for a global tag.
    pub region_id: u32,
    /// The service, often empty.
    pub system_service: Box<str>,
    /// Where the tag may be used.
    pub features: Features,
    /// IPv4 prefixes.
    pub v4: Vec<Ipv4Net>,
    /// IPv6 prefixes.
    pub v6: Vec<Ipv6Net>,
}

impl Snapshot {
    /// The content of a tag of this snapshot.
    pub fn content(&self, tag: &ServiceTag) -> TagContent {
        TagContent {
            name: tag.name.clone(),
            change_number: tag.change_number,
            region: tag.region().into(),
            region_id: tag.region_id,
            system_service: tag.system_service().into(),
            features: tag.features,
            v4: self.v4(tag).to_vec(),
            v6: self.v6(tag).to_vec(),
        }
    }

    /// A snapshot of these tags. Unlike a document it may be empty, of tags and of prefixes; what the prefixes are was checked
    /// where they came from. Refuses two tags of one name.
    pub fn of_tags(
        cloud: Cloud,
        change_number: u64,
        contents: impl IntoIterator<Item = TagContent>,
    ) -> Result<Self, Fault> {
        let (mut tags, mut v4, mut v6) = (Vec::new(), Vec::new(), Vec::new());
        let mut labels = Labels::default();
        let position = |length: usize| {
            u32::try_from(length)
                .map_err(|_| Fault::TooMany { what: "prefixes", limit: u32::MAX as usize })
        };
        for mut content in contents {
            let (v4_start, v6_start) = (position(v4.len())?, position(v6.len())?);
            content.v4.sort_unstable();
            content.v6.sort_unstable();
            v4.append(&mut content.v4);
            v6.append(&mut content.v6);
            tags.push(ServiceTag {
                name: content.name,
                change_number: content.change_number,
                region: labels.share(&content.region),
                region_id: content.region_id,
                system_service: labels.share(&content.system_service),
                features: content.features,
                v4: v4_start..position(v4.len())?,
                v6: v6_start..position(v6.len())?,
            });
        }
        Self::assemble(cloud, change_number, tags, v4, v6)
    }

    /// Puts a snapshot together: orders its names and refuses one that stands twice.
    pub(super) fn assemble(
        cloud: Cloud,
        change_number: u64,
        mut tags: Vec<ServiceTag>,
        mut v4: Vec<Ipv4Net>,
        mut v6: Vec<Ipv6Net>,
    ) -> Result<Self, Fault> {
        let by_name = sorted_by_name(&tags)?;
        v4.shrink_to_fit();
        v6.shrink_to_fit();
        tags.shrink_to_fit();
        Ok(Self { cloud, change_number, tags, by_name, v4, v6 })
    }
}

/// Indices of the tags, ordered by name without regard to case.
fn sorted_by_name(tags: &[ServiceTag]) -> Result<Vec<u32>, Fault> {
    let limit = u32::MAX as usize;
    let count = u32::try_from(tags.len()).map_err(|_| Fault::TooMany { what: "tags", limit })?;
    let name = |index: u32| tags[index as usize].name.as_str();
    // The beginning of a name as a number decides nearly every comparison.
    let start = |index: u32| {
        let mut start = [0; 16];
        start
            .iter_mut()
            .zip(name(index).bytes())
            .for_each(|(to, from)| *to = from.to_ascii_lowercase());
        u128::from_be_bytes(start)
    };
    let mut keys: Vec<(u128, u32)> = (0..count).map(|index| (start(index), index)).collect();
    keys.sort_unstable_by(|left, right| {
        left.0.cmp(&right.0).then_with(|| tag::compare_names(name(left.1), name(right.1)))
    });
    let by_name: Vec<u32> = keys.into_iter().map(|(_, index)| index).collect();
    let twice = |pair: &&[u32]| name(pair[0]).eq_ignore_ascii_case(name(pair[1]));
    match by_name.windows(2).find(twice) {
        Some(pair) => Err(Fault::DuplicateTag(name(pair[1]).to_owned())),
        None => Ok(by_name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{EXAMPLE_DOCUMENT, Policy};

    #[test]
    fn a_snapshot_made_of_its_own_tags_is_the_same() {
        let document = Snapshot::parse(EXAMPLE_DOCUMENT.as_bytes(), &Policy::default()).unwrap();
        let contents = document.tags().iter().map(|tag| document.content(tag));
        let made = Snapshot::of_tags(document.cloud(), document.change_number(), contents).unwrap();
        assert_eq!(made.digest(), document.digest());
        assert_eq!(made.tags().len(), document.tags().len());
        let twice = document.tags().iter().chain(document.tags().first());
        let twice = twice.map(|tag| document.content(tag));
        assert!(Snapshot::of_tags(document.cloud(), 1, twice).is_err());
        assert!(Snapshot::of_tags(document.cloud(), 1, []).unwrap().tags().is_empty());
    }
}
