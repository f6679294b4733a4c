//! The small values of a document: keys, numbers, labels, features.

use std::sync::Arc;

use super::json::{Json, Stop};
use super::labels::Labels;
use super::{Features, TagName};
use crate::os::printable::printable;

/// The keys of the root, of a tag and of its properties that are read; all others are skipped.
#[derive(Clone, Copy)]
pub(super) enum Key {
    ChangeNumber,
    Cloud,
    Values,
    NextLink,
    Name,
    Properties,
    Region,
    RegionId,
    SystemService,
    NetworkFeatures,
    AddressPrefixes,
    Other,
}

impl Key {
    pub(super) fn of(key: &[u8]) -> Self {
        match key {
            b"changeNumber" => Self::ChangeNumber,
            b"cloud" => Self::Cloud,
            b"values" => Self::Values,
            b"nextLink" => Self::NextLink,
            b"name" => Self::Name,
            b"properties" => Self::Properties,
            b"region" => Self::Region,
            b"regionId" => Self::RegionId,
            b"systemService" => Self::SystemService,
            b"networkFeatures" => Self::NetworkFeatures,
            b"addressPrefixes" => Self::AddressPrefixes,
            _ => Self::Other,
        }
    }

    /// The name of a key of a tag's properties.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::ChangeNumber => Some("changeNumber"),
            Self::Region => Some("region"),
            Self::RegionId => Some("regionId"),
            Self::SystemService => Some("systemService"),
            Self::NetworkFeatures => Some("networkFeatures"),
            Self::AddressPrefixes => Some("addressPrefixes"),
            Self::Cloud
            | Self::Values
            | Self::NextLink
            | Self::Name
            | Self::Properties
            | Self::Other => None,
        }
    }
}

/// A change number: an integer in the file, digits in a text in the API.
pub(super) fn change_number(json: &mut Json<'_>) -> Result<u64, Stop> {
    const EXPECTED: &str = "a change number, an integer or digits in a text";
    if !json.is_text()? {
        return json.unsigned(EXPECTED);
    }
    let number = json.text(EXPECTED, |text| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = if digits { text.parse().ok() } else { None };
        number.ok_or_else(|| format!("`{}` is not {EXPECTED}", printable(text, 40)))
    })?;
    number.map_err(|what| json.malformed(&what))
}

/// A region or service: letters, digits and underscores, 80 at most. `Err` holds the value made printable.
pub(super) fn label(text: Option<&str>, labels: &mut Labels) -> Result<Option<Arc<str>>, String> {
    let Some(text) = text else { return Ok(None) };
    let well_formed = text.len() <= TagName::MAX_LENGTH
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if well_formed { Ok(Some(labels.share(text))) } else { Err(printable(text, 80)) }
}

/// Where a tag may be used.
pub(super) fn features(json: &mut Json<'_>) -> Result<Features, Stop> {
    let mut features = Features::default();
    if json.null()? {
        return Ok(features);
    }
    let mut list = json.list("a list of features or null")?;
    while json.element(&mut list)? {
        json.text("the name of a feature", |name| features.insert_named(name))?;
    }
    Ok(features)
}
