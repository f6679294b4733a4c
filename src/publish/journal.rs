//! What was being done when the power went: written before the switch, cleared at the record.
//!
//! `current` alone cannot tell whether the firewall was made to use what it shows; the journal does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::PublishError;
use super::firewall::Staged;
use super::manifest::Behind;
use crate::config::Name;
use crate::os::files;

/// A publication that has begun and is not recorded yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Journal {
    format: String,
    /// The generation in force when it began; none for the first.
    pub(super) from: Option<u64>,
    /// Whether that one was damaged when it began: what was there was saved, and is not to be read from it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) anew: bool,
    /// The generation that is to be in force.
    pub(super) to: u64,
    /// A generation that was switched to, and that this one corrects: an isolated target of it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) corrects: Option<u64>,
    /// The target whose rules are loaded before the switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) first: Option<Name>,
    /// By target, what is made in the kernel before the rules that use it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) staged: BTreeMap<Name, Vec<Staged>>,
    /// Which way it goes.
    #[serde(default)]
    pub(super) phase: Phase,
    /// Isolated targets that have failed already, and carry the files that they had.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) behind: BTreeMap<Name, Behind>,
}

/// Which way a publication goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    /// The new generation is being brought in force.
    #[default]
    Forward,
    /// It failed, and the one before is being brought back.
    Back,
}

const FORMAT: &str = "tagwall-journal/1";
/// Longest journal read, in bytes.
const MAX_BYTES: u64 = 4 << 20;

impl Journal {
    pub(super) fn new(from: Option<u64>, to: u64) -> Self {
        Self {
            format: FORMAT.to_owned(),
            from,
            anew: false,
            to,
            corrects: None,
            first: None,
            staged: BTreeMap::new(),
            phase: Phase::Forward,
            behind: BTreeMap::new(),
        }
    }

    /// Where it lies.
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join("journal.json")
    }

    /// Writes the journal durably.
    pub(super) fn write(&self, dir: &Path) -> Result<(), PublishError> {
        let mut text = serde_json::to_vec_pretty(self).map_err(PublishError::Encode)?;
        text.push(b'\n');
        files::replace(&Self::path(dir), &text)?;
        Ok(())
    }

    /// The journal of a publication that was interrupted.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, PublishError> {
        let path = Self::path(dir);
        let bytes = match files::read_bounded(&path, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let unreadable = |reason: String| PublishError::State { path: path.clone(), reason };
        let journal: Self =
            serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        if journal.format == FORMAT {
            Ok(Some(journal))
        } else {
            Err(unreadable(format!(
                "its format is {}, this version reads {FORMAT}",
                journal.format
            )))
        }
    }

    /// Clears the journal durably.
    pub(super) fn clear(dir: &Path) -> Result<(), PublishError> {
        let path = Self::path(dir);
        match std::fs::remove_file(&path) {
            Ok(()) => super::store::sync_folder(dir),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(PublishError::Io { what: "clear", path, source }),
        }
    }
}
