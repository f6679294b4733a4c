//! The iptables dialect.

use super::{File, Job, RenderError};
use crate::config::Iptables;

/// The templates of this dialect.
pub(super) const TEMPLATES: &[(&str, &str)] = &[];

pub(super) fn render(_job: &Job<'_>, _settings: &Iptables) -> Result<Vec<File>, RenderError> {
    Ok(Vec::new())
}
