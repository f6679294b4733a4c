//! The azure dialect.

use super::{File, Job, RenderError};
use crate::config::Azure;

/// The templates of this dialect.
pub(super) const TEMPLATES: &[(&str, &str)] = &[];

pub(super) fn render(_job: &Job<'_>, _settings: &Azure) -> Result<Vec<File>, RenderError> {
    Ok(Vec::new())
}
