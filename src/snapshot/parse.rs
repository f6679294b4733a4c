//! Reads a Service Tags document in one pass, checking every value where it stands.
//!
//! The prefixes go straight from the text into the snapshot's arrays: no tree of the document is built.
//! Unknown keys are skipped (Microsoft adds some), everything that is used is checked.

use std::fmt;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::error::Fault;
use super::skip::Skip;
use super::{Cloud, Features, ServiceTag, Snapshot, SnapshotError, TagName, tag};
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
        let mut builder = Builder::new(policy);
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let outcome =
            Root(&mut builder).deserialize(&mut deserializer).and_then(|()| deserializer.end());
        if let Err(error) = outcome {
            return Err(match builder.fault.take() {
                Some(fault) => {
                    SnapshotError::Fault { line: error.line(), column: error.column(), fault }
                }
                None => {
                    let hint = looks_like(text.as_bytes());
                    SnapshotError::Malformed { hint, source: bounded(error) }
                }
            });
        }
        builder.finish().map_err(SnapshotError::Whole)
    }
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

struct Builder<'p> {
    policy: &'p Policy,
    cloud: Option<Cloud>,
    change_number: Option<u64>,
    seen_values: bool,
    next_link: bool,
    tags: Vec<ServiceTag>,
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
    /// The rule that was broken, kept beside serde's own error (which has the place).
    fault: Option<Fault>,
}

impl<'p> Builder<'p> {
    fn new(policy: &'p Policy) -> Self {
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
        }
    }

    /// Keeps the fault and stops the parser; the parser adds line and column.
    fn refuse<E: serde::de::Error>(&mut self, fault: Fault) -> E {
        let error = E::custom("rule broken");
        self.fault = Some(fault);
        error
    }

    fn add_prefix(&mut self, text: &str) -> Result<(), Fault> {
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
        let count = u32::try_from(self.tags.len())
            .map_err(|_| Fault::TooMany { what: "tags", limit: u32::MAX as usize })?;
        let mut by_name: Vec<u32> = (0..count).collect();
        let name = |index: u32| self.tags[index as usize].name.as_str();
        // Published documents are nearly in order, which a stable sort makes use of.
        by_name.sort_by(|&left, &right| tag::compare_names(name(left), name(right)));
        if let Some(pair) =
            by_name.windows(2).find(|pair| name(pair[0]).eq_ignore_ascii_case(name(pair[1])))
        {
            return Err(Fault::DuplicateTag(name(pair[1]).to_owned()));
        }
        self.v4.shrink_to_fit();
        self.v6.shrink_to_fit();
        self.tags.shrink_to_fit();
        Ok(Snapshot { cloud, change_number, by_name, tags: self.tags, v4: self.v4, v6: self.v6 })
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

/// The keys of the root, of a tag and of its properties that are read; all others are skipped.
#[derive(Clone, Copy)]
enum Key {
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
    fn name(self) -> Option<&'static str> {
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

struct KeySeed;

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
type Text<'de> = std::borrow::Cow<'de, str>;

struct TextSeed;

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
struct NumberSeed;

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

struct Root<'b, 'p>(&'b mut Builder<'p>);

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
        let (v4_start, v6_start) = (builder.v4.len(), builder.v6.len());
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

/// A region or service: letters, digits and underscores, 80 at most. `Err` holds the value made printable.
fn label(text: Option<Text<'_>>) -> Result<Option<Box<str>>, String> {
    let Some(text) = text else { return Ok(None) };
    let well_formed = text.len() <= TagName::MAX_LENGTH
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if well_formed { Ok(Some(text.into())) } else { Err(printable(&text, 80)) }
}

struct FeaturesSeed;

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

struct Prefixes<'b, 'p, 'n>(&'b mut Builder<'p>, Option<&'n TagName>);

impl<'de> DeserializeSeed<'de> for Prefixes<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Prefixes<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of address prefixes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        let Self(builder, name) = self;
        while let Some(text) = sequence.next_element_seed(TextSeed)? {
            if let Err(fault) = builder.add_prefix(&text) {
                return Err(builder.refuse(fault.in_tag(name)));
            }
        }
        Ok(())
    }
}
