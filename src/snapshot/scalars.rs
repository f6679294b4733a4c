//! The small values of a document: keys, texts, numbers, features.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};

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

pub(super) struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(match key {
            "changeNumber" => Key::ChangeNumber,
            "cloud" => Key::Cloud,
            "values" => Key::Values,
            "nextLink" => Key::NextLink,
            "name" => Key::Name,
            "properties" => Key::Properties,
            "region" => Key::Region,
            "regionId" => Key::RegionId,
            "systemService" => Key::SystemService,
            "networkFeatures" => Key::NetworkFeatures,
            "addressPrefixes" => Key::AddressPrefixes,
            _ => Key::Other,
        })
    }
}

/// A text, borrowed from the document where it has no escapes; `null` and a missing value are `None`.
pub(super) type Text<'de> = std::borrow::Cow<'de, str>;

pub(super) struct TextSeed;

impl<'de> DeserializeSeed<'de> for TextSeed {
    type Value = Text<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Text<'de>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for TextSeed {
    type Value = Text<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text::Owned(text.to_owned()))
    }
}

/// A change number: an integer in the file, digits in a text in the API.
pub(super) struct NumberSeed;

impl<'de> DeserializeSeed<'de> for NumberSeed {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for NumberSeed {
    type Value = u64;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a change number, an integer or digits in a text")
    }

    fn visit_u64<E>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<u64, E> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(E::invalid_value(serde::de::Unexpected::Str(text), &self));
        }
        text.parse().map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

/// A region or service: letters, digits and underscores, 80 at most. `Err` holds the value made printable.
pub(super) fn label(text: Option<Text<'_>>) -> Result<Option<Box<str>>, String> {
    let Some(text) = text else { return Ok(None) };
    let well_formed = text.len() <= TagName::MAX_LENGTH
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if well_formed { Ok(Some(text.into())) } else { Err(printable(&text, 80)) }
}

pub(super) struct FeaturesSeed;

impl<'de> DeserializeSeed<'de> for FeaturesSeed {
    type Value = Features;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Features, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for FeaturesSeed {
    type Value = Features;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of features or null")
    }

    fn visit_none<E>(self) -> Result<Features, E> {
        Ok(Features::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Features, D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Features, A::Error> {
        let mut features = Features::default();
        while let Some(name) = sequence.next_element_seed(TextSeed)? {
            features.insert_named(&name);
        }
        Ok(features)
    }
}
