//! The shape of a document: how its objects nest, which keys are read, and which must be there once.

use std::fmt;

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use serde_json::value::RawValue;

use super::error::Fault;
use super::parse::Builder;
use super::scalars::{FeaturesSeed, Key, KeySeed, NumberSeed, Text, TextSeed, label};
use super::skip::Skip;
use super::{Cloud, Features, ServiceTag, TagName};
use crate::os::printable::printable;

/// The whole document.
pub(super) struct Root<'b, 'p>(pub(super) &'b mut Builder<'p>);

impl<'de> DeserializeSeed<'de> for Root<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Root<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with changeNumber, cloud and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let builder = self.0;
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let duplicate = |key| Fault::DuplicateKey { key, tag: None };
            match key {
                Key::ChangeNumber if builder.change_number.is_some() => {
                    return Err(builder.refuse(duplicate("changeNumber")));
                }
                Key::ChangeNumber => {
                    builder.change_number = Some(map.next_value_seed(NumberSeed)?);
                }
                Key::Cloud if builder.cloud.is_some() => {
                    return Err(builder.refuse(duplicate("cloud")));
                }
                Key::Cloud => {
                    let name = map.next_value_seed(TextSeed)?;
                    match Cloud::from_document_name(&name) {
                        Some(cloud) => builder.cloud = Some(cloud),
                        None => {
                            return Err(builder.refuse(Fault::UnknownCloud(printable(&name, 40))));
                        }
                    }
                }
                Key::Values if builder.seen_values => {
                    return Err(builder.refuse(duplicate("values")));
                }
                Key::Values => {
                    builder.seen_values = true;
                    map.next_value_seed(Values(builder))?;
                }
                Key::NextLink => {
                    let link: Option<Text<'_>> = map.next_value()?;
                    // Never taken back by a second one.
                    builder.next_link |= link.is_some_and(|link| !link.is_empty());
                }
                _ => {
                    map.next_value_seed(Skip)?;
                }
            }
        }
        Ok(())
    }
}

struct Values<'b, 'p>(&'b mut Builder<'p>);

impl<'de> DeserializeSeed<'de> for Values<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Values<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of tags")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        let builder = self.0;
        while sequence.next_element_seed(Tag(builder))?.is_some() {
            if builder.tags.len() > builder.policy.max_tags {
                let limit = builder.policy.max_tags;
                return Err(builder.refuse(Fault::TooMany { what: "tags", limit }));
            }
        }
        Ok(())
    }
}

/// What is known of the tag that is being read.
#[derive(Default)]
struct Draft {
    name: Option<TagName>,
    properties: bool,
    change_number: Option<u64>,
    region: Option<Box<str>>,
    region_id: u32,
    system_service: Option<Box<str>>,
    features: Features,
    prefixes: bool,
}

struct Tag<'b, 'p>(&'b mut Builder<'p>);

impl<'de> DeserializeSeed<'de> for Tag<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Tag<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a tag, an object with name and properties")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let builder = self.0;
        let (v4_start, v6_start) = builder.begin_tag();
        let mut draft = Draft::default();
        while let Some(key) = map.next_key_seed(KeySeed)? {
            match key {
                Key::Name if draft.name.is_some() => {
                    let tag = draft.name.map(|name| name.to_string());
                    return Err(builder.refuse(Fault::DuplicateKey { key: "name", tag }));
                }
                Key::Name => {
                    let text = map.next_value_seed(TextSeed)?;
                    match TagName::new(&text) {
                        Some(name) => draft.name = Some(name),
                        None => {
                            return Err(builder.refuse(Fault::BadTagName(printable(&text, 80))));
                        }
                    }
                }
                Key::Properties if draft.properties => {
                    let tag = draft.name.map(|name| name.to_string());
                    return Err(builder.refuse(Fault::DuplicateKey { key: "properties", tag }));
                }
                Key::Properties => {
                    draft.properties = true;
                    map.next_value_seed(Properties(builder, &mut draft))?;
                }
                _ => {
                    map.next_value_seed(Skip)?;
                }
            }
        }
        let missing = |key, tag: Option<&TagName>| Fault::MissingKey {
            key,
            tag: tag.map(ToString::to_string),
        };
        let Some(name) = draft.name else {
            return Err(builder.refuse(missing("name", None)));
        };
        for (present, key) in [
            (draft.properties, "properties"),
            (draft.prefixes, "addressPrefixes"),
            (draft.change_number.is_some(), "changeNumber"),
        ] {
            if !present {
                return Err(builder.refuse(missing(key, Some(&name))));
            }
        }
        // Both lengths are below `max_prefixes`; a document of 4 GiB prefixes cannot be read at all.
        let position = |length: usize| u32::try_from(length).map_err(A::Error::custom);
        builder.tags.push(ServiceTag {
            name,
            change_number: draft.change_number.unwrap_or_default(),
            region: draft.region.unwrap_or_default(),
            region_id: draft.region_id,
            system_service: draft.system_service.unwrap_or_default(),
            features: draft.features,
            v4: position(v4_start)?..position(builder.v4.len())?,
            v6: position(v6_start)?..position(builder.v6.len())?,
        });
        Ok(())
    }
}

struct Properties<'b, 'p, 'd>(&'b mut Builder<'p>, &'d mut Draft);

impl<'de> DeserializeSeed<'de> for Properties<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Properties<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the properties of a tag, an object with addressPrefixes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(builder, draft) = self;
        let tag_name = |draft: &Draft| draft.name.as_ref().map(ToString::to_string);
        let mut seen = [false; Key::Other as usize + 1];
        while let Some(key) = map.next_key_seed(KeySeed)? {
            if let Some(name) = key.name()
                && std::mem::replace(&mut seen[key as usize], true)
            {
                let tag = tag_name(draft);
                return Err(builder.refuse(Fault::DuplicateKey { key: name, tag }));
            }
            match key {
                Key::ChangeNumber => draft.change_number = Some(map.next_value_seed(NumberSeed)?),
                Key::Region => match label(map.next_value()?) {
                    Ok(region) => draft.region = region,
                    Err(value) => {
                        let tag = tag_name(draft);
                        return Err(builder.refuse(Fault::BadField { key: "region", value, tag }));
                    }
                },
                Key::SystemService => match label(map.next_value()?) {
                    Ok(service) => draft.system_service = service,
                    Err(value) => {
                        let (key, tag) = ("systemService", tag_name(draft));
                        return Err(builder.refuse(Fault::BadField { key, value, tag }));
                    }
                },
                Key::RegionId => draft.region_id = map.next_value::<Option<u32>>()?.unwrap_or(0),
                Key::NetworkFeatures => {
                    draft.features = map.next_value_seed(FeaturesSeed)?;
                }
                Key::AddressPrefixes => {
                    draft.prefixes = true;
                    map.next_value_seed(Prefixes(builder, draft.name.as_ref()))?;
                }
                _ => {
                    map.next_value_seed(Skip)?;
                }
            }
        }
        Ok(())
    }
}

struct Prefixes<'b, 'p, 'n>(&'b mut Builder<'p>, Option<&'n TagName>);

impl<'de> DeserializeSeed<'de> for Prefixes<'_, '_, '_> {
    type Value = ();

    /// Takes the list as it stands and reads its elements here: nine of ten bytes of a document are in these lists, and
    /// serde's way through each single text costs more than reading the prefix in it.
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self(builder, name) = self;
        let list = <&RawValue>::deserialize(deserializer)?.get();
        let Some(texts) = PlainTexts::of(list) else { return slowly(builder, name, list) };
        for text in texts {
            let Some(text) = text else { return slowly(builder, name, list) };
            if let Err(fault) = builder.add_prefix(text) {
                if text.contains('\\') {
                    return slowly(builder, name, list);
                }
                builder.refused_at(text);
                return Err(builder.refuse(fault.in_tag(name)));
            }
        }
        Ok(())
    }
}

/// Reads a list that holds something else than plain texts: escapes, which are JSON too, or what is no text.
fn slowly<E: serde::de::Error>(
    builder: &mut Builder<'_>,
    name: Option<&TagName>,
    list: &str,
) -> Result<(), E> {
    builder.restart_tag();
    let texts: Vec<Text<'_>> = serde_json::from_str(list).map_err(|error| {
        let tag = name.map(|name| format!(" of tag {name}")).unwrap_or_default();
        let shown = printable(&error.to_string(), 200);
        E::custom(format!("addressPrefixes{tag} is no list of texts: {shown} of the list"))
    })?;
    for text in texts {
        if let Err(fault) = builder.add_prefix(&text) {
            builder.refused_at(list);
            return Err(builder.refuse(fault.in_tag(name)));
        }
    }
    Ok(())
}

/// The texts of a list that is known to be JSON; `None` for an element that is not a text. A text with escapes is given as it
/// stands, or cut at an escaped quote: it has a backslash, which no prefix has.
struct PlainTexts<'d> {
    rest: &'d str,
    /// What stood between the last two texts: nearly always the same.
    between: &'d str,
}

impl<'d> PlainTexts<'d> {
    fn of(list: &'d str) -> Option<Self> {
        let inside = list.strip_prefix('[')?.strip_suffix(']')?;
        Some(Self { rest: inside, between: "" })
    }
}

impl<'d> Iterator for PlainTexts<'d> {
    type Item = Option<&'d str>;

    fn next(&mut self) -> Option<Self::Item> {
        let space = |byte: u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',');
        let Some((between, behind)) = self.rest.split_once('"') else {
            let rest = std::mem::take(&mut self.rest);
            return (!rest.bytes().all(space)).then_some(None);
        };
        if between != self.between && !between.bytes().all(space) {
            self.rest = "";
            return Some(None);
        }
        self.between = between;
        // A text that was not closed would be no JSON.
        let (text, rest) = behind.split_once('"')?;
        self.rest = rest;
        Some(Some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::PlainTexts;

    fn texts(list: &str) -> Option<Vec<&str>> {
        PlainTexts::of(list)?.collect()
    }

    #[test]
    fn plain_texts_are_taken_and_everything_else_is_left() {
        assert_eq!(texts("[]"), Some(vec![]));
        assert_eq!(texts("[ \"a\" ,\n\t\"b\"]"), Some(vec!["a", "b"]));
        for other in ["[1]", "[\"a\", null]", "[null, \"a\"]", "[[\"a\"]]", "{}", "null", "\"a\""] {
            assert_eq!(texts(other), None, "{other}");
        }
        assert!(texts("[\"a\\\"b\"]").is_none_or(|texts| texts[0].contains('\\')));
    }
}
