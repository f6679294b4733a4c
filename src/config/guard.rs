//! `[guard]`: what is plausible.

use serde::Deserialize;

/// `[guard]`: what is plausible.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct GuardSettings {}
