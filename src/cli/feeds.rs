//! The publications and the configuration of commands that can do without the one or the other.

use std::path::{Path, PathBuf};

use super::args::DEFAULT_CONFIG;
use super::render::read_feeds;
use super::{Cli, UsageError};
use crate::config::{Config, ConfigError};
use crate::feed;
use crate::selection::Publications;
use crate::snapshot::Cloud;

/// The configuration; that there is none at the default place is no error.
pub(super) fn optional_config(cli: &Cli) -> Result<Option<Config>, ConfigError> {
    match Config::load(&cli.config) {
        Err(ConfigError::Read { source, .. })
            if source.is_not_found() && cli.config == Path::new(DEFAULT_CONFIG) =>
        {
            Ok(None)
        }
        config => config.map(Some),
    }
}

/// Whether the configuration lives on the embedded publication.
pub(super) fn lives_on_example(config: Option<&Config>) -> bool {
    config.is_some_and(|config| config.clouds().contains(&Cloud::Example))
}

/// The publications of these files, and the embedded one when it is wanted.
pub(super) fn publications(
    config: Option<&Config>,
    feeds: &[PathBuf],
    example: bool,
) -> anyhow::Result<Publications> {
    let policy = config.map(Config::policy).unwrap_or_default();
    let mut publications = read_feeds(feeds, &policy)?;
    if example && !publications.contains_key(&Cloud::Example) {
        publications.insert(Cloud::Example, feed::example(&policy)?);
    }
    Ok(publications)
}

/// The same, where there must be at least one.
pub(super) fn some_publications(
    config: Option<&Config>,
    feeds: &[PathBuf],
    example: bool,
) -> anyhow::Result<Publications> {
    let publications = publications(config, feeds, example)?;
    if publications.is_empty() {
        return Err(UsageError(
            "no publication: give one with --feed FILE (--example takes the embedded one of documentation ranges)"
                .to_owned(),
        )
        .into());
    }
    Ok(publications)
}
