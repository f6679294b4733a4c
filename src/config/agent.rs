//! `[agent]`: how the agent follows the feeds.

use serde::Deserialize;

/// `[agent]`: how the agent follows the feeds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct AgentSettings {}
