//! Objects of others that a person let a target take over, and copies of them from before.
//!
//! The consent is kept by target and object until the target leaves the configuration: after a reboot the host's own file may
//! have made the object again, without the mark.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::PublishError;
use crate::config::Name;
use crate::os::files;

const FILE: &str = "taken-over.json";
const COPIES: &str = "before-take-over";
const FORMAT: &str = "tagwall-taken-over/1";
/// Longest list of consents, and largest copy, in bytes.
const MAX_BYTES: u64 = 4 << 20;
const MAX_COPY: u64 = 256 << 20;

/// By target, the objects of others that were taken over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TakenOver {
    format: String,
    pub(super) targets: BTreeMap<Name, BTreeSet<String>>,
}

impl TakenOver {
    /// Reads the consents of a state directory.
    pub(super) fn read(dir: &Path) -> Result<Self, PublishError> {
        let path = dir.join(FILE);
        let bytes = match files::read_bounded(&path, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(Self::default()),
            Err(error) => return Err(error.into()),
        };
        let read: Self = serde_json::from_slice(&bytes).map_err(|error| PublishError::State {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        if read.format != FORMAT {
            let reason = format!("its format is {}, not {FORMAT}", read.format);
            return Err(PublishError::State { path, reason });
        }
        Ok(read)
    }

    /// Whether a target may replace an object.
    pub(super) fn has(&self, target: &Name, object: &str) -> bool {
        self.targets.get(target).is_some_and(|objects| objects.contains(object))
    }

    /// Writes the consents.
    pub(super) fn write(&mut self, dir: &Path) -> Result<(), PublishError> {
        FORMAT.clone_into(&mut self.format);
        let mut text = serde_json::to_vec_pretty(self).map_err(PublishError::Encode)?;
        text.push(b'\n');
        files::replace(&dir.join(FILE), &text)?;
        Ok(())
    }

    /// Forgets the targets that the configuration does not have any more.
    pub(super) fn retain(
        dir: &Path,
        is_configured: impl Fn(&Name) -> bool,
    ) -> Result<(), PublishError> {
        let mut taken = Self::read(dir)?;
        let gone: Vec<Name> =
            taken.targets.keys().filter(|name| !is_configured(name)).cloned().collect();
        for name in &gone {
            taken.targets.remove(name);
            match std::fs::remove_file(copy_path(dir, name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(super::store::failed("remove", &copy_path(dir, name))(error));
                }
                _ => {}
            }
        }
        if gone.is_empty() { Ok(()) } else { taken.write(dir) }
    }
}

fn copy_path(dir: &Path, target: &Name) -> PathBuf {
    dir.join(COPIES).join(target.as_str())
}

/// Keeps a copy of what a target takes over; the first one stays.
pub(super) fn keep_copy(dir: &Path, target: &Name, text: &[u8]) -> Result<PathBuf, PublishError> {
    let path = copy_path(dir, target);
    if !path.exists() {
        files::create_dir_all_durable(&dir.join(COPIES), 0o700)?;
        files::replace(&path, text)?;
    }
    Ok(path)
}

/// The copy of what a target took over; none where it took over nothing.
pub(super) fn copy_of(dir: &Path, target: &Name) -> Result<Option<Vec<u8>>, PublishError> {
    match files::read_bounded(&copy_path(dir, target), MAX_COPY) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
