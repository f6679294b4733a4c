//! The shape of a document: how its objects nest, which keys are read, and which must be there once.

use std::sync::Arc;

use super::error::Fault;
use super::json::{Inside, Json, Stop};
use super::parse::Builder;
use super::scalars::{Key, change_number, features, label};
use super::{Cloud, Features, ServiceTag, SnapshotError, TagName};
use crate::os::printable::printable;
use crate::prefix::parse;

/// How deep a tag lies: in the list of an object.
pub(super) const TAG_DEPTH: u8 = 2;

/// Where reading has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// To the end of the document.
    Ended,
    /// To a tag that begins where it was to stop; [`read_on`] goes on with it.
    Stopped,
}

/// Reads the document: the whole of it, or up to a tag that begins exactly at the byte `stop`.
pub(super) fn read(
    json: &mut Json<'_>,
    builder: &mut Builder<'_>,
    stop: Option<u64>,
) -> Result<Progress, Stop> {
    let root = json.object("an object with changeNumber, cloud and values")?;
    members(json, builder, root, stop)
}

/// Reads the rest of a document from the beginning of a tag.
pub(super) fn read_on(json: &mut Json<'_>, builder: &mut Builder<'_>) -> Result<Progress, Stop> {
    builder.seen_values = true;
    tag(json, builder)?;
    tags(json, builder, Inside::begun(), None)?;
    members(json, builder, Inside::begun(), None)
}

fn members(
    json: &mut Json<'_>,
    builder: &mut Builder<'_>,
    mut root: Inside,
    stop: Option<u64>,
) -> Result<Progress, Stop> {
    while let Some(key) = json.key(&mut root, Key::of)? {
        let twice = |key| Fault::DuplicateKey { key, tag: None };
        match key {
            Key::ChangeNumber if builder.change_number.is_some() => {
                return Err(refused(json, twice("changeNumber")));
            }
            Key::ChangeNumber => builder.change_number = Some(change_number(json)?),
            Key::Cloud if builder.cloud.is_some() => return Err(refused(json, twice("cloud"))),
            Key::Cloud => {
                let cloud = json.text("the name of a cloud", |name| {
                    Cloud::from_document_name(name)
                        .ok_or_else(|| Fault::UnknownCloud(printable(name, 40)))
                })?;
                builder.cloud = Some(cloud.map_err(|fault| refused(json, fault))?);
            }
            Key::Values if builder.seen_values => return Err(refused(json, twice("values"))),
            Key::Values => {
                builder.seen_values = true;
                let list = json.list("a list of tags")?;
                if tags(json, builder, list, stop)? == Progress::Stopped {
                    return Ok(Progress::Stopped);
                }
            }
            // Never taken back by a second one.
            Key::NextLink => {
                builder.next_link |= json.text_or_null("a link or null", |link| {
                    link.is_some_and(|link| !link.is_empty())
                })?;
            }
            _ => json.skip()?,
        }
    }
    json.end()?;
    Ok(Progress::Ended)
}

/// A fault, just behind the value that has it.
#[cold]
fn refused(json: &Json<'_>, fault: Fault) -> Stop {
    let (line, column) = json.place();
    Stop::from(SnapshotError::Fault { line, column, fault })
}

fn tags(
    json: &mut Json<'_>,
    builder: &mut Builder<'_>,
    mut list: Inside,
    stop: Option<u64>,
) -> Result<Progress, Stop> {
    while json.element(&mut list)? {
        if stop.is_some() && json.position()? == stop {
            return Ok(Progress::Stopped);
        }
        tag(json, builder)?;
    }
    Ok(Progress::Ended)
}

/// What is known of the tag that is being read.
#[derive(Default)]
struct Draft {
    name: Option<TagName>,
    properties: bool,
    change_number: Option<u64>,
    region: Option<Arc<str>>,
    region_id: u32,
    system_service: Option<Arc<str>>,
    features: Features,
    prefixes: bool,
}

impl Draft {
    /// The tag's name for an error, when it is known already.
    fn tag(&self) -> Option<String> {
        self.name.as_ref().map(ToString::to_string)
    }
}

fn tag(json: &mut Json<'_>, builder: &mut Builder<'_>) -> Result<(), Stop> {
    let (v4_start, v6_start) = (builder.v4.len(), builder.v6.len());
    let mut draft = Draft::default();
    let mut object = json.object("a tag, an object with name and properties")?;
    while let Some(key) = json.key(&mut object, Key::of)? {
        let twice = |key, draft: &Draft| Fault::DuplicateKey { key, tag: draft.tag() };
        match key {
            Key::Name if draft.name.is_some() => {
                return Err(refused(json, twice("name", &draft)));
            }
            Key::Name => {
                let name = json.text("the name of a tag", |name| {
                    TagName::new(name).ok_or_else(|| Fault::BadTagName(printable(name, 80)))
                })?;
                draft.name = Some(name.map_err(|fault| refused(json, fault))?);
            }
            Key::Properties if draft.properties => {
                return Err(refused(json, twice("properties", &draft)));
            }
            Key::Properties => {
                draft.properties = true;
                properties(json, builder, &mut draft)?;
            }
            _ => json.skip()?,
        }
    }
    let missing = |key, tag| Fault::MissingKey { key, tag };
    let Some(name) = draft.name else { return Err(refused(json, missing("name", None))) };
    for (present, key) in [
        (draft.properties, "properties"),
        (draft.prefixes, "addressPrefixes"),
        (draft.change_number.is_some(), "changeNumber"),
    ] {
        if !present {
            return Err(refused(json, missing(key, Some(name.to_string()))));
        }
    }
    // Both counts are at most `max_prefixes`; a document of 4 GiB prefixes cannot be read at all.
    let limit = u32::MAX as usize;
    let position = |length: usize| {
        u32::try_from(length).map_err(|_| refused(json, Fault::TooMany { what: "prefixes", limit }))
    };
    builder.tags.push(ServiceTag {
        name,
        change_number: draft.change_number.unwrap_or_default(),
        region: draft.region.unwrap_or_else(|| builder.labels.share("")),
        region_id: draft.region_id,
        system_service: draft.system_service.unwrap_or_else(|| builder.labels.share("")),
        features: draft.features,
        v4: position(v4_start)?..position(builder.v4.len())?,
        v6: position(v6_start)?..position(builder.v6.len())?,
    });
    if builder.tags.len() > builder.policy.max_tags {
        let limit = builder.policy.max_tags;
        return Err(refused(json, Fault::TooMany { what: "tags", limit }));
    }
    Ok(())
}

fn properties(
    json: &mut Json<'_>,
    builder: &mut Builder<'_>,
    draft: &mut Draft,
) -> Result<(), Stop> {
    let mut seen = [false; Key::Other as usize + 1];
    let mut object = json.object("the properties of a tag, an object with addressPrefixes")?;
    while let Some(key) = json.key(&mut object, Key::of)? {
        if let Some(name) = key.name()
            && std::mem::replace(&mut seen[key as usize], true)
        {
            return Err(refused(json, Fault::DuplicateKey { key: name, tag: draft.tag() }));
        }
        match key {
            Key::ChangeNumber => draft.change_number = Some(change_number(json)?),
            Key::Region => draft.region = labelled(json, builder, draft, "region")?,
            Key::SystemService => {
                draft.system_service = labelled(json, builder, draft, "systemService")?;
            }
            Key::RegionId if json.null()? => draft.region_id = 0,
            Key::RegionId => {
                let id = json.unsigned("the number of a region")?;
                draft.region_id = u32::try_from(id)
                    .map_err(|_| json.malformed("this number is not that of a region"))?;
            }
            Key::NetworkFeatures => draft.features = features(json)?,
            Key::AddressPrefixes => {
                draft.prefixes = true;
                prefixes(json, builder, draft)?;
            }
            _ => json.skip()?,
        }
    }
    Ok(())
}

fn labelled(
    json: &mut Json<'_>,
    builder: &mut Builder<'_>,
    draft: &Draft,
    key: &'static str,
) -> Result<Option<Arc<str>>, Stop> {
    json.text_or_null("a text or null", |text| label(text, &mut builder.labels))?
        .map_err(|value| refused(json, Fault::BadField { key, value, tag: draft.tag() }))
}

/// Nine of ten bytes of a document are in these lists.
fn prefixes(json: &mut Json<'_>, builder: &mut Builder<'_>, draft: &Draft) -> Result<(), Stop> {
    let mut list = json.list("a list of address prefixes")?;
    loop {
        while let Some(net) = json.known_element(&mut list, parse::net_before_quote) {
            if let Err(fault) = builder.add(net) {
                return Err(refused(json, fault.in_tag(draft.name.as_ref())));
            }
        }
        if !json.element(&mut list)? {
            return Ok(());
        }
        let text = json.raw_text("an address prefix in a text")?;
        let back = text.back();
        if let Err(fault) = builder.add_text(text.bytes) {
            // The beginning of the text and not its end: it may be long.
            let (line, column) = json.place_back(back);
            let fault = fault.in_tag(draft.name.as_ref());
            return Err(Stop::from(SnapshotError::Fault { line, column, fault }));
        }
    }
}
