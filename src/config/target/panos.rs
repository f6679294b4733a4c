//! Settings of the panos dialect.

use serde::Deserialize;

/// Palo Alto PAN-OS.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Panos {}
