//! `[publish]`: how generations are kept.

use serde::Deserialize;

/// `[publish]`: how generations are kept.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Publishing {}
