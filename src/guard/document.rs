//! The belief as a document: JSON, one tag a line, so that two of them can be compared with ordinary tools.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::belief::{Belief, Believed};
use super::compose;
use super::hold::{Decision, Hold};
use crate::prefix::parse::parse_net;
use crate::prefix::text::{push_v4, push_v6};
use crate::snapshot::{
    Cloud, Digest, Features, Publication, ServiceTag, Snapshot, TagContent, TagName,
};

const FORMAT: &str = "tagwall-belief/1";
/// What separates the head from the tags; no JSON text of the head contains a line break.
const TAGS: &str = ",\n\"tags\":[";

/// Why a belief cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BeliefError {
    /// It is no document of this kind.
    #[error("the belief is malformed: {0}")]
    Malformed(#[source] serde_json::Error),
    /// It is of another version.
    #[error("the belief's format is {0}, this version reads {FORMAT}")]
    Format(String),
    /// Something in it is not as this program writes it.
    #[error("the belief is damaged: {0}")]
    Damaged(String),
    /// It cannot be written.
    #[error("the belief cannot be written: {0}")]
    Write(#[source] serde_json::Error),
}

/// Everything but the tags.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Head<'t> {
    format: String,
    /// Of what follows, so that a belief that was cut short or edited is noticed.
    digest: Digest,
    clouds: BTreeMap<Cloud, CloudHead>,
    holds: Vec<Hold>,
    decisions: Vec<Decision>,
    #[serde(borrow, default, skip_serializing)]
    tags: Vec<TagLine<'t>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct CloudHead {
    change_number: u64,
    source: String,
    date: Option<jiff::civil::Date>,
    believed: Believed,
}

/// One tag, as it is written. What becomes something else is not copied out of the document, and one tag is made after the other:
/// between the names, which stay, such copies would leave holes in the memory of an agent at rest.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct TagLine<'t> {
    cloud: Cloud,
    name: TagName,
    change: u64,
    #[serde(borrow, default)]
    region: Cow<'t, str>,
    #[serde(default)]
    region_id: u32,
    #[serde(borrow, default)]
    service: Cow<'t, str>,
    #[serde(borrow, default)]
    features: Cow<'t, str>,
    /// Prefixes with blanks between them.
    #[serde(borrow)]
    v4: Cow<'t, str>,
    #[serde(borrow)]
    v6: Cow<'t, str>,
}

impl Belief {
    /// The belief as a document. Equal beliefs have equal bytes: tags are in the order of their names, but those that claim one
    /// region of a service, of which the first counts.
    pub fn write(&self) -> Result<Vec<u8>, BeliefError> {
        let head = Head {
            format: FORMAT.to_owned(),
            digest: self.digest(),
            clouds: self
                .clouds
                .iter()
                .filter_map(|(cloud, believed)| {
                    let publication = self.publications.get(cloud)?;
                    let head = CloudHead {
                        change_number: publication.snapshot.change_number(),
                        source: publication.source.clone(),
                        date: publication.date,
                        believed: believed.clone(),
                    };
                    Some((*cloud, head))
                })
                .collect(),
            holds: self.holds.clone(),
            decisions: self.decisions.clone(),
            tags: Vec::new(),
        };
        let mut text = serde_json::to_string(&head).map_err(BeliefError::Write)?;
        text.truncate(text.len() - 1);
        text.push_str(TAGS);
        let mut first = true;
        for (cloud, publication) in &self.publications {
            for tag in in_order(&publication.snapshot) {
                text.push_str(if first { "\n" } else { ",\n" });
                first = false;
                push_tag(&mut text, *cloud, &publication.snapshot, tag);
            }
        }
        text.push_str("\n]}\n");
        Ok(text.into_bytes())
    }

    /// Reads a belief that [`Belief::write`] wrote.
    pub fn read(bytes: &[u8]) -> Result<Self, BeliefError> {
        let head: Head = serde_json::from_slice(bytes).map_err(BeliefError::Malformed)?;
        if head.format != FORMAT {
            return Err(BeliefError::Format(head.format));
        }
        let mut lines: BTreeMap<Cloud, Vec<TagLine<'_>>> = BTreeMap::new();
        for line in head.tags {
            lines.entry(line.cloud).or_default().push(line);
        }
        let mut belief = Self { holds: head.holds, decisions: head.decisions, ..Self::default() };
        for (cloud, of_cloud) in head.clouds {
            let mut wrong = None;
            let lines = lines.remove(&cloud).unwrap_or_default();
            let made = |line| content(line).map_err(|error| wrong = Some(error)).ok();
            let tags = lines.into_iter().map_while(made);
            let snapshot = Snapshot::of_tags(cloud, of_cloud.change_number, tags);
            if let Some(error) = wrong {
                return Err(error);
            }
            let snapshot = snapshot.map_err(|fault| BeliefError::Damaged(fault.to_string()))?;
            let publication = Publication::new(snapshot, of_cloud.source).dated(of_cloud.date);
            belief.publications.insert(cloud, publication);
            belief.clouds.insert(cloud, of_cloud.believed);
        }
        if let Some(cloud) = lines.keys().next() {
            return Err(BeliefError::Damaged(format!(
                "tags of cloud {cloud}, which is not listed"
            )));
        }
        if belief.digest() != head.digest {
            return Err(BeliefError::Damaged(format!(
                "its content has digest {}, and it says {}",
                belief.digest().short(),
                head.digest.short()
            )));
        }
        Ok(belief)
    }
}

/// The tags by name; of several that claim one region of a service, each follows the one before it.
fn in_order(snapshot: &Snapshot) -> Vec<&ServiceTag> {
    let mut first: BTreeMap<(String, String), &TagName> = BTreeMap::new();
    let place = |tag| {
        let name = ServiceTag::name(tag);
        let leader = compose::claim(tag).map(|claim| *first.entry(claim).or_insert(name));
        (leader.unwrap_or(name), tag)
    };
    let mut tags: Vec<(&TagName, &ServiceTag)> = snapshot.tags().iter().map(place).collect();
    tags.sort_by_key(|(leader, _)| *leader);
    tags.into_iter().map(|(_, tag)| tag).collect()
}

/// Names, regions, services and features are of fixed alphabets, so no text needs an escape.
fn push_tag(text: &mut String, cloud: Cloud, snapshot: &Snapshot, tag: &ServiceTag) {
    // Writing to a String cannot fail.
    _ = write!(
        text,
        r#"{{"cloud":"{cloud}","name":"{}","change":{}"#,
        tag.name(),
        tag.change_number()
    );
    if !tag.region().is_empty() {
        _ = write!(text, r#","region":"{}""#, tag.region());
    }
    if tag.region_id() != 0 {
        _ = write!(text, r#","region-id":{}"#, tag.region_id());
    }
    if !tag.system_service().is_empty() {
        _ = write!(text, r#","service":"{}""#, tag.system_service());
    }
    let features: Vec<&str> = tag.features().names().collect();
    if !features.is_empty() {
        _ = write!(text, r#","features":"{}""#, features.join(" "));
    }
    text.push_str(r#","v4":""#);
    for (index, net) in snapshot.v4(tag).iter().enumerate() {
        if index > 0 {
            text.push(' ');
        }
        push_v4(text, *net);
    }
    text.push_str(r#"","v6":""#);
    for (index, net) in snapshot.v6(tag).iter().enumerate() {
        if index > 0 {
            text.push(' ');
        }
        push_v6(text, *net);
    }
    text.push_str("\"}");
}

fn content(line: TagLine<'_>) -> Result<TagContent, BeliefError> {
    let wrong = |what: &str| BeliefError::Damaged(format!("tag {}: {what}", line.name));
    let nets = |text: &str| {
        text.split(' ')
            .filter(|text| !text.is_empty())
            .map(|text| parse_net(text).map_err(|error| wrong(&error.to_string())))
            .collect::<Result<Vec<IpNet>, _>>()
    };
    let v4: Vec<Ipv4Net> = nets(&line.v4)?
        .into_iter()
        .map(|net| match net {
            IpNet::V4(net) => Ok(net),
            IpNet::V6(_) => Err(wrong("an IPv6 prefix among the IPv4 ones")),
        })
        .collect::<Result<_, _>>()?;
    let v6: Vec<Ipv6Net> = nets(&line.v6)?
        .into_iter()
        .map(|net| match net {
            IpNet::V6(net) => Ok(net),
            IpNet::V4(_) => Err(wrong("an IPv4 prefix among the IPv6 ones")),
        })
        .collect::<Result<_, _>>()?;
    for label in [&line.region, &line.service] {
        let well_formed = label.len() <= TagName::MAX_LENGTH
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !well_formed {
            return Err(wrong("a region or service is not of the published form"));
        }
    }
    Ok(TagContent {
        features: Features::from_names(line.features.split(' ')),
        name: line.name,
        change_number: line.change,
        region: line.region.as_ref().into(),
        region_id: line.region_id,
        system_service: line.service.as_ref().into(),
        v4,
        v6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::belief::Standing;
    use crate::snapshot::{EXAMPLE_DOCUMENT, Policy};

    fn belief() -> Belief {
        let snapshot = Snapshot::parse(EXAMPLE_DOCUMENT.as_bytes(), &Policy::default()).unwrap();
        let publication = Publication::new(snapshot, "embedded");
        let standing = Standing {
            date: None,
            change_number: 1,
            digest: publication.digest(),
            source: "embedded".to_owned(),
            since: jiff::Timestamp::UNIX_EPOCH,
        };
        let believed = Believed {
            standing,
            grace: Vec::new(),
            judged: BTreeMap::new(),
            blocks: BTreeMap::new(),
        };
        let mut belief = Belief::default();
        belief.publications.insert(Cloud::Example, publication);
        belief.clouds.insert(Cloud::Example, believed);
        belief
    }

    #[test]
    fn what_is_written_is_read_back() {
        for belief in [belief(), Belief::default()] {
            let written = belief.write().unwrap();
            let read = Belief::read(&written).unwrap();
            assert_eq!(read, belief);
            assert_eq!(read.write().unwrap(), written);
        }
        let text = String::from_utf8(belief().write().unwrap()).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
        let tags = belief().publications[&Cloud::Example].snapshot.tags().len();
        assert_eq!(text.lines().count(), tags + 3, "one tag a line");
    }

    #[test]
    fn a_belief_that_was_cut_or_edited_is_refused() {
        let text = String::from_utf8(belief().write().unwrap()).unwrap();
        assert!(Belief::read(&text.as_bytes()[..text.len() / 2]).is_err());
        let edited = text.replacen("192.0.2.", "203.0.113.", 1);
        assert_ne!(edited, text);
        assert!(Belief::read(edited.as_bytes()).is_err());
        let other = text.replacen("tagwall-belief/1", "tagwall-belief/9", 1);
        assert!(matches!(Belief::read(other.as_bytes()), Err(BeliefError::Format(_))));
        let unlisted = text.replacen("\"clouds\":{\"example\"", "\"clouds\":{\"public\"", 1);
        assert!(Belief::read(unlisted.as_bytes()).is_err());
    }
}
