//! Service tags and publications made by a test.

use tagwall::prefix::PrefixSet;
use tagwall::snapshot::{Cloud, Features, Publication, Snapshot, TagContent, TagName};

/// A global tag with this space.
pub(crate) fn tag(name: &str, space: &PrefixSet) -> TagContent {
    TagContent {
        name: TagName::new(name).unwrap(),
        change_number: 1,
        region: "".into(),
        region_id: 0,
        system_service: "".into(),
        features: Features::default(),
        v4: space.v4().to_vec(),
        v6: space.v6().to_vec(),
    }
}

/// A publication of the cloud "example" of these tags.
pub(crate) fn publication(number: u64, tags: impl IntoIterator<Item = TagContent>) -> Publication {
    Publication::new(Snapshot::of_tags(Cloud::Example, number, tags).unwrap(), "test")
}
