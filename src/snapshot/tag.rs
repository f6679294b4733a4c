//! One service tag of a snapshot.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::Features;

/// The name of a service tag: `Service` or `Service.Region`, letters and digits only.
///
/// Every name in six years of publications has this form and at most 47 characters, so a name can stand in a
/// rule, a file name or a message without escaping. Two names that differ only in case are the same tag.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct TagName(Box<str>);

impl TagName {
    /// Longest name taken, in characters (the longest ever published has 47).
    pub const MAX_LENGTH: usize = 80;

    /// Checks the form of a name.
    pub fn new(name: &str) -> Option<Self> {
        let well_formed =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let accepted = name.len() <= Self::MAX_LENGTH
            && match name.split_once('.') {
                Some((service, region)) => well_formed(service) && well_formed(region),
                None => well_formed(name),
            };
        accepted.then(|| Self(name.into()))
    }

    /// The name as published.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the dot.
    pub fn service(&self) -> &str {
        self.0.split_once('.').map_or(&*self.0, |(service, _)| service)
    }

    /// The part after the dot. It is often spelt otherwise than the document's region field
    /// (`Storage.FranceCentral` is in region `centralfrance`): join on [`ServiceTag::region`].
    pub fn suffix(&self) -> Option<&str> {
        self.0.split_once('.').map(|(_, suffix)| suffix)
    }
}

/// Names are equal without regard to case.
impl PartialEq for TagName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for TagName {}

impl PartialOrd for TagName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TagName {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_names(&self.0, &other.0)
    }
}

impl fmt::Display for TagName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TagName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).ok_or_else(|| {
            serde::de::Error::custom(
                "a service tag's name is `Service` or `Service.Region`, letters and digits only",
            )
        })
    }
}

/// Orders names without regard to case.
pub(super) fn compare_names(left: &str, right: &str) -> Ordering {
    left.bytes()
        .map(|byte| byte.to_ascii_lowercase())
        .cmp(right.bytes().map(|byte| byte.to_ascii_lowercase()))
}

/// One service tag: its name, where it applies, and which prefixes of the snapshot are its own.
#[derive(Debug, Clone)]
pub struct ServiceTag {
    pub(super) name: TagName,
    pub(super) change_number: u64,
    pub(super) region: Arc<str>,
    pub(super) region_id: u32,
    pub(super) system_service: Arc<str>,
    pub(super) features: Features,
    pub(super) v4: Range<u32>,
    pub(super) v6: Range<u32>,
}

impl ServiceTag {
    /// The tag's name as published.
    pub fn name(&self) -> &TagName {
        &self.name
    }

    /// The tag's own change number: it rises exactly when the tag's prefixes change.
    pub fn change_number(&self) -> u64 {
        self.change_number
    }

    /// The region that the document gives, empty for a global tag.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The number of the region, 0 for a global tag and in publications before 2020.
    pub fn region_id(&self) -> u32 {
        self.region_id
    }

    /// The service that the document gives (`AzureStorage`), often empty.
    pub fn system_service(&self) -> &str {
        &self.system_service
    }

    /// Where the tag may be used.
    pub fn features(&self) -> Features {
        self.features
    }

    /// How many prefixes the tag has, both families.
    pub fn prefix_count(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_published_alphabet_is_a_name() {
        for good in ["Storage", "Storage.WestEurope", "AzureCloud.centralfrance", "A1.b2"] {
            assert!(TagName::new(good).is_some(), "{good}");
        }
        let long = "a".repeat(TagName::MAX_LENGTH + 1);
        for bad in [
            "",
            ".",
            "a.",
            ".b",
            "a.b.c",
            "a b",
            "a\"b",
            "a\nb",
            "a;flush ruleset",
            "../etc",
            "a/b",
            "ä",
            "a\0",
            &long,
        ] {
            assert!(TagName::new(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn case_does_not_matter() {
        let name = |text: &str| TagName::new(text).unwrap();
        assert_eq!(name("Storage.WestEurope"), name("storage.westeurope"));
        assert_eq!(name("Storage.WestEurope").service(), "Storage");
        assert_eq!(name("Storage.WestEurope").suffix(), Some("WestEurope"));
        assert_eq!(name("Storage").suffix(), None);
    }
}
