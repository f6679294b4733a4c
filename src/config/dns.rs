//! `[dns]`: how hostnames are resolved.

use serde::Deserialize;

/// `[dns]`: how hostnames are resolved.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Dns {}
