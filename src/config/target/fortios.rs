//! Settings of the fortios dialect.

use serde::Deserialize;

/// Fortinet FortiOS.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Fortios {}
