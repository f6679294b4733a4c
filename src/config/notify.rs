//! `[notify.NAME]`: who is told.

use serde::Deserialize;

/// `[notify.NAME]`: who is told.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Notify {}
