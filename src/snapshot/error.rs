//! What can be wrong with a publication.

use std::io;

use thiserror::Error;

use super::Cloud;

/// Why a document is not taken. Nothing of a refused document is used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The document is larger than the policy allows.
    #[error("the document has more than the {limit} bytes that are allowed")]
    TooLarge {
        /// Allowed size in bytes.
        limit: u64,
    },
    /// Its source failed while it was being read.
    #[error("reading the document failed")]
    Unreadable(#[source] io::Error),
    /// Not UTF-8.
    #[error("not a Service Tags document{}: byte {offset} is not UTF-8 text", in_brackets(*.hint))]
    NotText {
        /// Offset of the first byte that is not.
        offset: u64,
        /// What the content looks like instead, when that is recognised.
        hint: Option<&'static str>,
    },
    /// Not JSON, or cut short, or not of the published shape.
    #[error("not a Service Tags document{}: {what} at line {line} column {column}", in_brackets(*.hint))]
    Malformed {
        /// What the content looks like instead, when that is recognised.
        hint: Option<&'static str>,
        /// What was expected and found.
        what: String,
        /// Line in the document, from 1.
        line: usize,
        /// Column in the line, from 1.
        column: usize,
    },
    /// Well-formed JSON whose content breaks a rule.
    #[error("line {line}, column {column}: {fault}")]
    Fault {
        /// Line in the document, from 1.
        line: usize,
        /// Column in the line, from 1, just behind the offending value.
        column: usize,
        /// Which rule.
        fault: Fault,
    },
    /// A rule about the document as a whole is broken.
    #[error("{0}")]
    Whole(Fault),
}

fn in_brackets(hint: Option<&str>) -> String {
    hint.map(|hint| format!(" ({hint})")).unwrap_or_default()
}

/// A rule of the document's content that is broken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// The cloud is none that is known.
    #[error("cloud `{0}` is none of Public, AzureGovernment, China, AzureGermany and Example")]
    UnknownCloud(String),
    /// A required key is missing.
    #[error("the key `{key}` is missing{in_tag}", in_tag = in_tag(tag.as_deref()))]
    MissingKey {
        /// The key.
        key: &'static str,
        /// The tag it is missing in; none at the root.
        tag: Option<String>,
    },
    /// A key stands twice in one object.
    #[error("the key `{key}` stands twice{in_tag}", in_tag = in_tag(tag.as_deref()))]
    DuplicateKey {
        /// The key.
        key: &'static str,
        /// The tag it is repeated in; none at the root.
        tag: Option<String>,
    },
    /// A tag's name has characters outside `[A-Za-z0-9]+(.[A-Za-z0-9]+)?` or is too long.
    #[error(
        "`{0}` is no service tag's name (letters and digits, at most one dot, at most 80 characters)"
    )]
    BadTagName(String),
    /// A region, service or number is not of its form.
    #[error("{key} `{value}`{in_tag} is not of the published form", in_tag = in_tag(tag.as_deref()))]
    BadField {
        /// The key.
        key: &'static str,
        /// Its value, made printable.
        value: String,
        /// The tag.
        tag: Option<String>,
    },
    /// Two tags have the same name (case does not count).
    #[error("tag {0} stands twice in the document")]
    DuplicateTag(String),
    /// A prefix is not canonical CIDR text.
    #[error("prefix `{prefix}`{in_tag}: {reason}", in_tag = in_tag(tag.as_deref()))]
    BadPrefix {
        /// The text, made printable.
        prefix: String,
        /// The tag.
        tag: Option<String>,
        /// What is wrong with it.
        reason: String,
    },
    /// A prefix is wider than anything ever published.
    #[error(
        "prefix {prefix}{in_tag} is wider than /{widest}: the widest ever published are /14 (IPv4) and \
         /39 (IPv6); `widest-ipv4` and `widest-ipv6` under [document] set what is taken",
        in_tag = in_tag(tag.as_deref())
    )]
    TooWide {
        /// The prefix.
        prefix: String,
        /// The tag.
        tag: Option<String>,
        /// The shortest length taken, in bits.
        widest: u8,
    },
    /// A prefix touches private or special space.
    #[error(
        "prefix {prefix}{in_tag} touches {kind} space, which no Azure publication ever held; \
         `allow-special` under [document] names exceptions",
        in_tag = in_tag(tag.as_deref())
    )]
    Special {
        /// The prefix.
        prefix: String,
        /// The tag.
        tag: Option<String>,
        /// Which special block.
        kind: &'static str,
    },
    /// The example cloud holds a range that is not for documentation.
    #[error(
        "prefix {prefix}{in_tag} is no documentation or benchmark range: the cloud Example holds nothing else",
        in_tag = in_tag(tag.as_deref())
    )]
    NotDocumentation {
        /// The prefix.
        prefix: String,
        /// The tag.
        tag: Option<String>,
    },
    /// More tags or prefixes than the policy allows.
    #[error("more than {limit} {what}")]
    TooMany {
        /// `tags` or `prefixes`.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// `values` has no tag, or no tag has a prefix.
    #[error("the document has no {0}: an empty publication is never believed")]
    Empty(&'static str),
    /// The answer of the Discovery API goes on on another page.
    #[error(
        "the document is one page of several (its `nextLink` is set): join the pages before they are used"
    )]
    Page,
    /// The document describes another cloud than the one expected.
    #[error("the document is of cloud {actual}, expected {expected}")]
    WrongCloud {
        /// The document's cloud.
        actual: Cloud,
        /// The cloud that was asked for.
        expected: Cloud,
    },
}

impl Fault {
    /// Names the tag in which the fault was found.
    pub(super) fn in_tag(mut self, name: Option<&super::TagName>) -> Self {
        if let Self::BadPrefix { tag, .. } | Self::TooWide { tag, .. } = &mut self {
            *tag = name.map(ToString::to_string);
        }
        self
    }
}

fn in_tag(tag: Option<&str>) -> String {
    tag.map(|tag| format!(" in tag {tag}")).unwrap_or_default()
}

/// A tag, service or region that is not in the publication.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} `{name}` is not in the publication of cloud {cloud}{}", similar(.suggestions))]
pub struct UnknownTag {
    /// `service tag`, `service` or `region`.
    pub what: &'static str,
    /// What was asked for.
    pub name: String,
    /// The publication's cloud.
    pub cloud: Cloud,
    /// Names that are nearest, the best first.
    pub suggestions: Vec<String>,
}

fn similar(suggestions: &[String]) -> String {
    match suggestions {
        [] => String::new(),
        [one] => format!("; did you mean `{one}`?"),
        several => format!("; did you mean one of `{}`?", several.join("`, `")),
    }
}
