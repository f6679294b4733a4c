//! Which state directory's agent loaded an object of this network namespace, so that two of them never fight over one.
//!
//! The record lies in the runtime directory, a tmpfs: it lasts as long as what is in the kernel. Where there is none that can
//! be written, nothing is recorded and nothing refused.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Store;
use super::firewall::{Netfilter, Object, exists, objects};
use crate::os::files;

/// Where the record lies.
const RUNTIME_DIR: &str = "/run/tagwall";
/// Longest record that is read, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// What was loaded into a network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// The number of its ruleset then. It only rises, so that a lower one is of another namespace
    /// with the same inode.
    ruleset: u32,
    /// By object, the state directory whose generation has it.
    owners: BTreeMap<String, PathBuf>,
}

/// The number of the ruleset; 0 where it is not known.
fn ruleset() -> u32 {
    Netfilter::open().and_then(|socket| socket.generation()).unwrap_or(0)
}

/// The record of this network namespace.
fn path() -> Option<PathBuf> {
    let namespace = std::fs::metadata("/proc/self/ns/net").ok()?;
    Some(Path::new(RUNTIME_DIR).join(format!("instances-{}.json", namespace.ino())))
}

fn read(path: &Path) -> Record {
    let bytes = files::read_bounded(path, MAX_BYTES).unwrap_or_default();
    let record: Record = serde_json::from_slice(&bytes).unwrap_or_default();
    if record.ruleset > ruleset() { Record::default() } else { record }
}

/// The first object that the active generation of another state directory has in this network namespace.
///
/// What the kernel does not have is nobody's: the record may be of an earlier namespace all the
/// same.
pub(super) fn other<'o>(
    store: &Store,
    wanted: impl IntoIterator<Item = &'o Object>,
    time_limit: Duration,
) -> Option<(String, PathBuf)> {
    let record = read(&path()?);
    let ours = std::fs::canonicalize(store.dir()).ok()?;
    for object in wanted {
        let name = object.to_string();
        if let Some(dir) = record.owners.get(&name).filter(|dir| **dir != ours)
            && has(dir, &name)
            && exists(object, time_limit)
        {
            return Some((name, dir.clone()));
        }
    }
    None
}

/// Whether the active generation of a state directory has an object.
fn has(dir: &Path, object: &str) -> bool {
    let store = Store::new(dir);
    let Ok(Some(number)) = store.current() else { return false };
    let Ok(generation) = store.read(number) else { return false };
    generation.manifest.targets.iter().any(|(name, record)| {
        let folder = store.path(number).join(name.as_str());
        record.kernel.as_ref().is_some_and(|kernel| {
            objects(kernel, &folder).iter().any(|one| one.to_string() == object)
        })
    })
}

/// Records that a state directory loaded these objects. What cannot be written is not recorded.
pub(super) fn record<'o>(store: &Store, loaded: impl IntoIterator<Item = &'o Object>) {
    let Some(path) = path() else { return };
    let Ok(dir) = std::fs::canonicalize(store.dir()) else { return };
    let before = read(&path);
    let mut record = before.clone();
    record.owners.retain(|_, owner| *owner != dir && owner.exists());
    record.owners.extend(loaded.into_iter().map(|object| (object.to_string(), dir.clone())));
    if record.owners == before.owners {
        return;
    }
    record.ruleset = ruleset();
    let Ok(text) = serde_json::to_vec(&record) else { return };
    if rustix::process::geteuid().is_root() {
        let _ = files::create_dir_all_durable(Path::new(RUNTIME_DIR), 0o755);
    }
    let _ = files::replace(&path, &text);
}
