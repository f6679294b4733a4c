//! The fortios dialect.

use super::{File, Job, RenderError};
use crate::config::Fortios;

/// The templates of this dialect.
pub(super) const TEMPLATES: &[(&str, &str)] = &[];

pub(super) fn render(_job: &Job<'_>, _settings: &Fortios) -> Result<Vec<File>, RenderError> {
    Ok(Vec::new())
}
