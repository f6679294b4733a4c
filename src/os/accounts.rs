//! Users and groups of this host by name.
//!
//! Owns the reading of `/etc/passwd` and `/etc/group`. A name service behind them is not asked: the program is linked
//! statically, and who may do what must not hang on a directory server. A group that only such a service knows is given by
//! its number.

use std::path::Path;

use super::files;
use super::printable::printable;

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// A user for the records: `alice (uid 1000)`, or `uid 1000` when the host does not know the name.
pub fn describe(uid: u32) -> String {
    match name_of(Path::new("/etc/passwd"), uid) {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}

/// The number of a group, given by name or number.
pub fn group_id(group: &str) -> Option<u32> {
    id_of(Path::new("/etc/group"), group).or_else(|| group.parse().ok())
}

/// The fields of each line: both files have the name first and the number third.
fn entries(path: &Path) -> Vec<(String, u32)> {
    let bytes = files::read_bounded(path, MAX_BYTES).unwrap_or_default();
    String::from_utf8_lossy(&bytes)
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let id = fields.nth(1)?.parse().ok()?;
            Some((printable(name, 64), id))
        })
        .collect()
}

fn name_of(path: &Path, id: u32) -> Option<String> {
    entries(path).into_iter().find(|(_, number)| *number == id).map(|(name, _)| name)
}

fn id_of(path: &Path, name: &str) -> Option<u32> {
    entries(path).into_iter().find(|(known, _)| known == name).map(|(_, number)| number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::testing::put;

    #[test]
    fn names_and_numbers_are_found_and_bad_lines_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("group");
        put(&path, "root:x:0:\nbroken\nbad:x:none:\nnetops:x:2000:alice,bob\n+::::\n");
        assert_eq!(id_of(&path, "netops"), Some(2000));
        assert_eq!(id_of(&path, "nobody-knows"), None);
        assert_eq!(name_of(&path, 0).as_deref(), Some("root"));
        assert_eq!(name_of(&folder.path().join("missing"), 0), None);
        assert_eq!(describe(0), "root (uid 0)");
        assert_eq!(group_id("4711"), Some(4711));
    }
}
