//! Settings of the list and json dialects.

use std::num::NonZeroU8;

use serde::{Deserialize, Serialize};

/// One prefix a line.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct List {
    /// `together` (default): one file a group. `apart`: GROUP-v4.txt and GROUP-v6.txt.
    pub layout: ListLayout,
    /// Start each file with `#` comments (digest, format). Default: false, for readers that know none.
    pub header: bool,
    /// Most lines in one file. Default: no limit.
    pub max_entries: Option<usize>,
    /// Spread each file over this many, GROUP-1.txt and so on, for devices whose lists are short. A prefix stays in its part
    /// whatever others do; with one part more, those that move all move into the new one. Default: one file.
    pub parts: Option<NonZeroU8>,
}

/// How the families of a group are spread over files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListLayout {
    /// One file.
    #[default]
    Together,
    /// A file for each family.
    Apart,
}

/// The whole rule set as JSON.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Json {}
