//! `[feeds.NAME]`: where publications come from.

use serde::Deserialize;

/// `[feeds.NAME]`: where publications come from.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Feed {}
