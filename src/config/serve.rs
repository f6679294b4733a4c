//! `[serve]`: what is served over HTTP.

use serde::Deserialize;

/// `[serve]`: what is served over HTTP.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ServeSettings {}
