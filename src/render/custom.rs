//! The custom dialect.

use super::{File, Job, RenderError};
use crate::config::Custom;

pub(super) fn render(_job: &Job<'_>, _settings: &Custom) -> Result<Vec<File>, RenderError> {
    Ok(Vec::new())
}
