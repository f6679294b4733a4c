//! What a file has beside its bytes, and must have again when it is replaced: owner, access list, `SELinux` label.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::{Gid, Uid, XattrFlags};
use rustix::io::Errno;

/// The extended attribute in which Linux keeps a POSIX access list.
pub(super) const ACCESS_LIST: &str = "system.posix_acl_access";

/// The extended attribute in which `SELinux` keeps a file's label.
pub(super) const LABEL: &str = "security.selinux";

/// Gives the new file the owner and group of the old one, where they differ.
pub(super) fn keep_owner(new: &File, old: &Metadata) -> std::io::Result<()> {
    let created = new.metadata()?;
    let user = (created.uid() != old.uid()).then(|| Uid::from_raw(old.uid()));
    let group = (created.gid() != old.gid()).then(|| Gid::from_raw(old.gid()));
    if user.is_some() || group.is_some() {
        rustix::fs::fchown(new, user, group)?;
    }
    Ok(())
}

/// Gives the new file the access list of the old one, or none where it had none.
///
/// Without this the mode alone would mislead: with a list, its group bits are only an upper bound,
/// and would become real rights of the owning group.
pub(super) fn keep_access_list(new: &File, old: &File) -> Result<(), Errno> {
    match get(old, ACCESS_LIST)? {
        Some(list) => rustix::fs::fsetxattr(new, ACCESS_LIST, &list, XattrFlags::empty()),
        // The new one may have inherited a default list of the folder.
        None => match rustix::fs::fremovexattr(new, ACCESS_LIST) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
            result => result,
        },
    }
}

/// Gives the new file the label of the old one, where it has one and they differ: the policy may know the file by another
/// label than that of its folder's new files.
pub(super) fn keep_label(new: &File, old: &File) -> Result<(), Errno> {
    match get(old, LABEL)? {
        Some(label) if get(new, LABEL)?.as_ref() != Some(&label) => {
            rustix::fs::fsetxattr(new, LABEL, &label, XattrFlags::empty())
        }
        _ => Ok(()),
    }
}

/// The value of an extended attribute; none where there is none, or the file system keeps none.
fn get(file: &File, name: &str) -> Result<Option<Vec<u8>>, Errno> {
    let read = || {
        let mut value = vec![0; rustix::fs::fgetxattr_query(file, name)?];
        let size = rustix::fs::fgetxattr(file, name, &mut value[..])?;
        value.truncate(size);
        Ok(value)
    };
    match read() {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(error),
    }
}
