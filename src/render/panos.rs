//! The panos dialect.

use super::{File, Job, RenderError};
use crate::config::Panos;

/// The templates of this dialect.
pub(super) const TEMPLATES: &[(&str, &str)] = &[];

pub(super) fn render(_job: &Job<'_>, _settings: &Panos) -> Result<Vec<File>, RenderError> {
    Ok(Vec::new())
}
