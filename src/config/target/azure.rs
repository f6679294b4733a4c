//! Settings of the azure dialect.

use serde::Deserialize;

/// Azure route tables and network security groups.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Azure {}
