//! Settings of the custom dialect.

use serde::Deserialize;

/// A template of the user.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Custom {}
