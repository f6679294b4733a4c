//! Finds tags in a snapshot: by name, by service and region, by pattern.
//!
//! The suffix of a name is not the region: `Storage.FranceCentral` and `AzureCloud.centralfrance` lie in the
//! same region `centralfrance`. So a region is looked up by either spelling and joined on the document's region
//! field, and a name that is not published as written is tried as service and region.

use std::collections::BTreeSet;

use crate::config::{Region, TagSelector, nearest};
use crate::snapshot::{ServiceTag, Snapshot, TagName, UnknownTag};

/// The tags that a selector stands for; at least one.
pub(super) fn tags_of<'s>(
    snapshot: &'s Snapshot,
    selector: &TagSelector,
) -> Result<Vec<&'s ServiceTag>, UnknownTag> {
    match selector {
        TagSelector::Name(name) => tag_by_name(snapshot, name).map(|tag| vec![tag]),
        TagSelector::Pattern(pattern) => {
            let tags: Vec<_> = snapshot
                .tags_by_name()
                .filter(|tag| matches_pattern(pattern, tag.name().as_str()))
                .collect();
            if tags.is_empty() {
                return Err(unknown(snapshot, "pattern", pattern, &[]));
            }
            Ok(tags)
        }
    }
}

/// The tag of this name; a regional tag also under the region's other spelling.
pub fn tag_by_name<'s>(
    snapshot: &'s Snapshot,
    name: &TagName,
) -> Result<&'s ServiceTag, UnknownTag> {
    if let Some(tag) = snapshot.tag(name.as_str()) {
        return Ok(tag);
    }
    if let Some(suffix) = name.suffix()
        && let Ok(region) = suffix.parse::<Region>()
        && let Ok(tag) = tag_in_region(snapshot, name.service(), &region)
    {
        return Ok(tag);
    }
    let names: Vec<&str> = snapshot.tags().iter().map(|tag| tag.name().as_str()).collect();
    Err(unknown(snapshot, "service tag", name.as_str(), &names))
}

/// The tag of a service in a region, joined on the document's region field.
pub fn tag_in_region<'s>(
    snapshot: &'s Snapshot,
    service: &str,
    region: &Region,
) -> Result<&'s ServiceTag, UnknownTag> {
    let of_service = |tag: &&ServiceTag| tag.name().service().eq_ignore_ascii_case(service);
    let canonical = region_of(snapshot, region)?;
    let in_region = |tag: &&ServiceTag| {
        tag.name().suffix().is_some() && tag.region().eq_ignore_ascii_case(canonical)
    };
    // Several tags of a service may claim one region: the one that is named after it comes first.
    let namesake = |tag: &&ServiceTag| {
        tag.name().suffix().is_some_and(|suffix| {
            suffix.eq_ignore_ascii_case(region.as_str()) || suffix.eq_ignore_ascii_case(canonical)
        })
    };
    let there = || snapshot.tags().iter().filter(of_service).filter(in_region);
    if let Some(tag) = there().find(namesake).or_else(|| there().next()) {
        return Ok(tag);
    }
    if !snapshot.tags().iter().any(|tag| of_service(&tag)) {
        let services: BTreeSet<&str> =
            snapshot.tags().iter().map(|tag| tag.name().service()).collect();
        let services: Vec<&str> = services.into_iter().collect();
        return Err(unknown(snapshot, "service", service, &services));
    }
    let names: Vec<&str> =
        snapshot.tags().iter().filter(of_service).map(|tag| tag.name().as_str()).collect();
    Err(unknown(snapshot, "service tag", &format!("{service}.{region}"), &names))
}

/// The document's own spelling of a region that may be written like a name's suffix.
pub fn region_of<'s>(snapshot: &'s Snapshot, region: &Region) -> Result<&'s str, UnknownTag> {
    let written = region.as_str();
    let regional = || snapshot.tags().iter().filter(|tag| !tag.region().is_empty());
    let by_field = regional().find(|tag| tag.region().eq_ignore_ascii_case(written));
    let by_suffix = || {
        regional().find(|tag| {
            tag.name().suffix().is_some_and(|suffix| suffix.eq_ignore_ascii_case(written))
        })
    };
    by_field.or_else(by_suffix).map(ServiceTag::region).ok_or_else(|| {
        let mut spellings: BTreeSet<String> =
            regional().map(|tag| tag.region().to_ascii_lowercase()).collect();
        spellings
            .extend(regional().filter_map(|tag| tag.name().suffix().map(str::to_ascii_lowercase)));
        let spellings: Vec<&str> = spellings.iter().map(String::as_str).collect();
        unknown(snapshot, "region", written, &spellings)
    })
}

fn unknown(snapshot: &Snapshot, what: &'static str, name: &str, names: &[&str]) -> UnknownTag {
    UnknownTag {
        what,
        name: name.to_owned(),
        cloud: snapshot.cloud(),
        suggestions: nearest(name, names.iter().copied()).into_iter().map(str::to_owned).collect(),
    }
}

/// Whether a name matches a pattern in which `*` stands for any characters; case does not count.
pub fn matches_pattern(pattern: &str, name: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    let name = name.to_ascii_lowercase();
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(place) => rest = &rest[place + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{EXAMPLE_DOCUMENT, Policy};

    fn example() -> Snapshot {
        Snapshot::parse(EXAMPLE_DOCUMENT.as_bytes(), &Policy::default()).unwrap()
    }

    #[test]
    fn either_spelling_of_a_region_finds_the_tag() {
        let snapshot = example();
        for region in ["francecentral", "centralfrance"] {
            let region = region.parse().unwrap();
            let name =
                |service| tag_in_region(&snapshot, service, &region).unwrap().name().to_string();
            assert_eq!(name("Storage"), "Storage.FranceCentral");
            assert_eq!(name("AzureCloud"), "AzureCloud.centralfrance");
        }
        let name = TagName::new("azurecloud.francecentral").unwrap();
        assert_eq!(
            tag_by_name(&snapshot, &name).unwrap().name().as_str(),
            "AzureCloud.centralfrance"
        );
    }

    #[test]
    fn of_several_tags_in_a_region_the_one_named_after_it_is_taken() {
        let document = example();
        let claims = |name: &str| {
            let tag = document.tag("Storage.WestEurope").unwrap();
            let name = TagName::new(name).unwrap();
            crate::snapshot::TagContent { name, ..document.content(tag) }
        };
        let tags = [claims("Storage.WestEuropeStage"), claims("Storage.WestEurope")];
        let both = Snapshot::of_tags(document.cloud(), 1, tags).unwrap();
        let found = tag_in_region(&both, "Storage", &"westeurope".parse().unwrap()).unwrap();
        assert_eq!(found.name().as_str(), "Storage.WestEurope");
    }

    #[test]
    fn what_is_not_published_is_an_error_with_suggestions() {
        let snapshot = example();
        let error = tag_by_name(&snapshot, &TagName::new("Storag").unwrap()).unwrap_err();
        assert_eq!(error.suggestions.first().map(String::as_str), Some("Storage"));
        let error = tag_in_region(&snapshot, "Storage", &"westeurop".parse().unwrap()).unwrap_err();
        assert_eq!((error.what, error.suggestions[0].as_str()), ("region", "westeurope"));
        let error = tag_in_region(&snapshot, "Sqll", &"westeurope".parse().unwrap()).unwrap_err();
        assert_eq!((error.what, error.suggestions[0].as_str()), ("service", "Sql"));
        let error =
            tag_in_region(&snapshot, "AzureMonitor", &"westeurope".parse().unwrap()).unwrap_err();
        assert_eq!(error.what, "service tag");
    }

    #[test]
    fn patterns_match_whole_names() {
        assert!(matches_pattern("AzureFrontDoor.*", "AzureFrontDoor.Backend"));
        assert!(matches_pattern("*.westeurope", "Storage.WestEurope"));
        assert!(matches_pattern("S*l*", "Sql.WestEurope"));
        assert!(!matches_pattern("Storage.*", "Storage"));
        assert!(!matches_pattern("*.west", "Storage.WestEurope"));
        assert!(!matches_pattern("a*b*a", "aba1"));
        assert!(!matches_pattern("ab*ba", "aba"));
    }
}
