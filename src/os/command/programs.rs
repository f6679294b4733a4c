//! Where programs are: configured paths, else the fixed search path.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use rustix::fs::Access;

use super::PATH;

/// Configured paths by name: one setting of the process, read from its configuration at start and
/// at reload.
static CONFIGURED: RwLock<BTreeMap<&'static str, PathBuf>> = RwLock::new(BTreeMap::new());

/// Replaces the configured paths of programs by name, for all commands that are built from now on;
/// returns those before.
pub fn configure_programs(
    paths: BTreeMap<&'static str, PathBuf>,
) -> BTreeMap<&'static str, PathBuf> {
    // Nothing panics while it holds this lock.
    std::mem::replace(&mut *CONFIGURED.write().unwrap_or_else(PoisonError::into_inner), paths)
}

/// Finds a program: where it is configured, whether or not it is there, so that its absence is an
/// error with this path; else one that this process may execute in the directories of [`PATH`].
pub fn find_program(name: &str) -> Option<PathBuf> {
    if name.is_empty() || name.contains('/') {
        return None;
    }
    let configured = CONFIGURED.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
    let found =
        || env::split_paths(PATH).map(|folder| folder.join(name)).find(|path| is_executable(path));
    configured.or_else(found)
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}
