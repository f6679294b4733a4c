//! Why a target cannot be rendered.

use std::path::PathBuf;

use thiserror::Error;

use crate::config::Name;

/// Why a target cannot be rendered. Nothing of a generation is published when one of its targets fails.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RenderError {
    /// A template does not compile or names something that is not there.
    #[error("template {name}{from}: {message}", from = from.as_ref().map(|path| format!(" ({})", path.display())).unwrap_or_default())]
    Template {
        /// The template's name.
        name: String,
        /// The user's file; none for a built-in one.
        from: Option<PathBuf>,
        /// What is wrong, with line and column.
        message: String,
    },
    /// A folder or file of the user's templates cannot be read.
    #[error("cannot read the templates in {path}: {source}", path = path.display())]
    TemplatesDir {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file in the user's folder is no template that tagwall has.
    #[error("{path} takes the place of no template{near}; `tagwall templates list` shows their names", path = path.display(), near = near.as_ref().map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default())]
    UnknownTemplate {
        /// The file.
        path: PathBuf,
        /// The nearest name.
        near: Option<String>,
    },
    /// A limit of the firewall is exceeded.
    #[error(
        "target {target}: {object} has {count} {what}, more than the {limit} that fit; {ways_out}"
    )]
    Limit {
        /// The target.
        target: Name,
        /// What exceeds it: `group storage`, `chain TAGWALL`.
        object: String,
        /// What is counted.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many fit.
        limit: usize,
        /// What can be done.
        ways_out: String,
    },
    /// Two objects would have the same name on the firewall.
    #[error(
        "target {target}: {first} and {second} would both be called `{name}`; rename one of them"
    )]
    NameClash {
        /// The target.
        target: Name,
        /// The shared name.
        name: String,
        /// One object.
        first: String,
        /// The other.
        second: String,
    },
    /// The target's settings and the rule set do not fit together.
    #[error("target {target}: {message}")]
    Unfit {
        /// The target.
        target: Name,
        /// What does not fit, and what to do.
        message: String,
    },
}
