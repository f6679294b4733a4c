//! Replacing real files, on real file systems where the failure needs one.

use std::error::Error;
use std::io;
use std::os::unix::fs::{chown, symlink};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::attributes::{ACCESS_LIST, LABEL};
use super::*;
use rustix::fs::XattrFlags;

use crate::os::testing::{Mounted, names, put, rerun, role, root_or_skipped, skipped};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn wanted(path: &Path, contents: &[u8], mode: Option<u32>) -> Replacement {
    Replacement { path: path.to_owned(), contents: contents.to_vec(), mode }
}

#[test]
fn a_new_file_has_its_mode_whatever_the_umask() {
    let test = "os::files::tests::a_new_file_has_its_mode_whatever_the_umask";
    let Some(folder) = role() else {
        // In a process of its own, because the umask belongs to the whole process.
        let folder = tempfile::tempdir().unwrap();
        let myself = std::env::current_exe().unwrap();
        let status = rerun(&myself, test, folder.path().to_str().unwrap()).status().unwrap();
        assert!(status.success());
        return;
    };
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let folder = Path::new(&folder);
    let [plain, asked] = ["plain", "asked"].map(|name| folder.join(name));
    assert_eq!(replace(&plain, b"new").unwrap(), Written::Created);
    assert_eq!(replace_all(&[wanted(&asked, b"", Some(0o666))]).unwrap(), [Written::Created]);
    assert_eq!((mode(&plain), mode(&asked)), (0o644, 0o666));
    assert_eq!(fs::read(&plain).unwrap(), b"new");
    assert_eq!(names(folder), ["asked", "plain"]);
}

#[test]
fn an_equal_file_keeps_inode_and_times() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    // Longer than one piece of the comparison, and not a multiple of it.
    let mut contents = vec![b'x'; 3 * read::COMPARE_BYTES + 17];
    put(&path, &contents);
    let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::options().write(true).open(&path).unwrap().set_modified(past).unwrap();
    let before = fs::metadata(&path).unwrap();
    assert_eq!(replace(&path, &contents).unwrap(), Written::Unchanged);
    let after = fs::metadata(&path).unwrap();
    assert_eq!((before.ino(), after.modified().unwrap()), (after.ino(), past));
    assert_eq!((before.ctime(), before.ctime_nsec()), (after.ctime(), after.ctime_nsec()));

    // One other byte at the very end, at the same size; then a shorter one.
    *contents.last_mut().unwrap() = b'y';
    assert_eq!(replace(&path, &contents).unwrap(), Written::Replaced);
    assert!(
        fs::read(&path).unwrap() == contents && fs::metadata(&path).unwrap().ino() != before.ino()
    );
    contents.pop();
    assert_eq!(replace(&path, &contents).unwrap(), Written::Replaced);
    assert!(fs::read(&path).unwrap() == contents);
    assert_eq!(replace(&path, b"").unwrap(), Written::Replaced);
    assert_eq!(replace(&path, b"").unwrap(), Written::Unchanged);
}

#[test]
fn an_asked_mode_is_enforced_and_otherwise_the_old_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    put(&path, b"old");
    set_mode(&path, 0o604);
    replace_all(&[wanted(&path, b"new", None)]).unwrap();
    assert_eq!(mode(&path), 0o604);
    replace_all(&[wanted(&path, b"newer", Some(0o640))]).unwrap();
    assert_eq!(mode(&path), 0o640);
    let before = fs::metadata(&path).unwrap();
    let written = replace_all(&[wanted(&path, b"newer", Some(0o600))]).unwrap();
    assert_eq!((written.as_slice(), mode(&path)), ([Written::Unchanged].as_slice(), 0o600));
    assert_eq!(fs::metadata(&path).unwrap().ino(), before.ino());
}

#[test]
fn the_owner_is_kept() {
    if !root_or_skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    put(&path, b"old");
    chown(&path, Some(1234), Some(4321)).unwrap();
    set_mode(&path, 0o4751); // with a bit that a change of owner clears
    assert_eq!(replace(&path, b"new").unwrap(), Written::Replaced);
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), mode(&path)), (1234, 4321, 0o4751));
}

#[test]
fn an_owner_that_cannot_be_kept_is_an_error_and_nothing_changes() {
    let test = "os::files::tests::an_owner_that_cannot_be_kept_is_an_error_and_nothing_changes";
    if let Some(path) = role() {
        let path = Path::new(&path);
        let error = replace(path, b"new").unwrap_err();
        assert!(matches!(error, FileError::Io { step: Step::SetOwner, .. }), "{error:?}");
        assert!(error.to_string().contains("file (user id 65534 may not"), "{error}");
        assert_eq!(names(path.parent().unwrap()), ["file"]);
        // Its own files it may replace.
        let own = path.with_file_name("own");
        assert_eq!(replace(&own, b"1").unwrap(), Written::Created);
        assert_eq!(replace(&own, b"2").unwrap(), Written::Replaced);
        return;
    }
    if !root_or_skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    set_mode(folder.path(), 0o777);
    let path = folder.path().join("file");
    put(&path, b"old");
    set_mode(&path, 0o666);
    // A copy that the other user can reach, wherever this binary was built.
    let program =
        folder.path().parent().unwrap().join(format!("tagwall-test-{}", std::process::id()));
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    set_mode(&program, 0o755);
    let again = rerun(&program, test, path.to_str().unwrap());
    let status = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(again.get_program())
        .args(again.get_args())
        .envs(again.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .status();
    fs::remove_file(&program).unwrap();
    assert!(status.unwrap().success());
    assert_eq!(fs::read(&path).unwrap(), b"old");
}

#[test]
fn the_access_list_is_kept_or_its_absence() {
    if !root_or_skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    put(&path, b"old");
    set_mode(&path, 0o600);
    // Version 2; owner rw-, user 1234 rw-, group ---, mask rw-, others ---.
    let entries = [
        (1_u16, 6_u16, u32::MAX),
        (2, 6, 1234),
        (4, 0, u32::MAX),
        (0x10, 6, u32::MAX),
        (0x20, 0, u32::MAX),
    ];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        list.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    let file = File::open(&path).unwrap();
    if let Err(error) = rustix::fs::fsetxattr(&file, ACCESS_LIST, &list, XattrFlags::empty()) {
        skipped(&format!("this file system keeps no access lists: {error}"));
        return;
    }
    let list_of = |path: &Path| {
        let mut buffer = vec![0; 1000];
        rustix::fs::getxattr(path, ACCESS_LIST, &mut buffer[..]).map(|size| buffer[..size].to_vec())
    };
    assert_eq!(replace(&path, b"new").unwrap(), Written::Replaced);
    assert_eq!(list_of(&path), Ok(list.clone()));
    assert_eq!(mode(&path), 0o660, "the mask");

    // A file without a list gets none from the folder either.
    let plain = folder.path().join("plain");
    put(&plain, b"old");
    set_mode(&plain, 0o640);
    let opened = File::open(folder.path()).unwrap();
    rustix::fs::fsetxattr(&opened, "system.posix_acl_default", &list, XattrFlags::empty()).unwrap();
    assert_eq!(replace(&plain, b"new").unwrap(), Written::Replaced);
    assert_eq!((list_of(&plain), mode(&plain)), (Err(Errno::NODATA), 0o640));
}

/// On a host without `SELinux` the kernel keeps the attribute all the same, and judges nothing by it.
#[test]
fn the_label_is_kept_and_an_unlabelled_file_gets_none() {
    if !root_or_skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (labelled, plain) = (folder.path().join("labelled"), folder.path().join("plain"));
    let label = b"system_u:object_r:etc_t:s0\0";
    put(&labelled, b"old");
    put(&plain, b"old");
    let label_of = |path: &Path| {
        let mut buffer = vec![0; 1000];
        rustix::fs::getxattr(path, LABEL, &mut buffer[..]).map(|size| buffer[..size].to_vec())
    };
    let without = label_of(&plain);
    let file = File::open(&labelled).unwrap();
    if let Err(error) = rustix::fs::fsetxattr(&file, LABEL, label, XattrFlags::empty()) {
        skipped(&format!("this host takes no such label: {error}"));
        return;
    }
    for path in [&labelled, &plain] {
        assert_eq!(replace(path, b"new").unwrap(), Written::Replaced);
    }
    assert_eq!(label_of(&labelled), Ok(label.to_vec()));
    assert_eq!(label_of(&plain), without);
}

#[test]
fn a_symbolic_link_stays_and_its_end_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("below");
    fs::create_dir(&below).unwrap();
    put(&below.join("file"), b"old");
    symlink("../below/file", below.join("second")).unwrap();
    symlink("below/second", folder.path().join("first")).unwrap();
    let first = folder.path().join("first");
    assert_eq!(replace(&first, b"new").unwrap(), Written::Replaced);
    assert_eq!(fs::read(below.join("file")).unwrap(), b"new");
    assert_eq!(fs::read_link(&first).unwrap(), Path::new("below/second"));
    assert_eq!(names(&below), ["file", "second"]);

    let dangling = folder.path().join("dangling");
    symlink("below/created", &dangling).unwrap();
    assert_eq!(replace(&dangling, b"1").unwrap(), Written::Created);
    assert_eq!(fs::read(below.join("created")).unwrap(), b"1");
    assert!(fs::symlink_metadata(&dangling).unwrap().is_symlink());

    let circle = folder.path().join("circle");
    symlink("circle", &circle).unwrap();
    let error = replace(&circle, b"").unwrap_err();
    assert!(error.to_string().contains("leads in a circle"), "{error}");
}

#[test]
fn a_link_that_the_kernel_would_not_follow_is_not_followed() {
    if !root_or_skipped() {
        return;
    }
    let protected = fs::read_to_string("/proc/sys/fs/protected_symlinks").unwrap_or_default();
    if protected.trim() != "1" {
        skipped("fs.protected_symlinks is off");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let shared = folder.path().join("shared");
    fs::create_dir(&shared).unwrap();
    set_mode(&shared, 0o1777);
    let victim = folder.path().join("victim");
    put(&victim, b"old");
    let planted = shared.join("planted");
    symlink(&victim, &planted).unwrap();
    std::os::unix::fs::lchown(&planted, Some(1234), Some(1234)).unwrap();
    let error = replace(&planted, b"new").unwrap_err();
    assert!(matches!(error, FileError::Io { step: Step::FollowLink, .. }), "{error:?}");
    assert_eq!(fs::read(&victim).unwrap(), b"old");
}

#[test]
fn what_is_not_a_file_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
    let missing = folder.path().join("missing");
    for (path, expected) in [
        (pipe, " is a pipe, not a regular file"),
        (folder.path().to_owned(), " is a folder, not a regular file"),
        (folder.path().join(".."), " is a folder, not a regular file"),
        (folder.path().join("new/"), " is a folder, not a regular file"),
        (PathBuf::from("/"), " is a folder, not a regular file"),
        (missing.join("file"), "missing does not exist; create it first"),
    ] {
        let error = replace(&path, b"new").unwrap_err();
        assert!(error.to_string().ends_with(expected), "{}: {error}", path.display());
    }
    let error = replace(Path::new("/dev/null"), b"new").unwrap_err();
    assert!(error.to_string().ends_with(" is a device, not a regular file"), "{error}");
    assert_eq!(names(folder.path()), ["pipe"]);
}

#[test]
fn a_full_file_system_changes_nothing_and_leaves_nothing() {
    if !root_or_skipped() {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let full = base.path().join("full");
    fs::create_dir(&full).unwrap();
    let options = ["-t", "tmpfs", "-o", "size=64k", "tmpfs"];
    let Some(_mounted) = Mounted::new(&options, &full) else { return };
    let [first, second] = ["first", "second"].map(|name| full.join(name));
    let elsewhere = base.path().join("elsewhere");
    for path in [&first, &second, &elsewhere] {
        put(path, b"old");
    }
    let batch = [
        wanted(&elsewhere, b"new", None),
        wanted(&first, b"new", None),
        wanted(&second, &vec![b'x'; 256 * 1024], None),
    ];
    let error = replace_all(&batch).unwrap_err();
    assert!(matches!(error, FileError::Io { step: Step::Write, .. }), "{error:?}");
    assert_eq!(error.path(), second);
    assert!(
        error.to_string().ends_with("second (the file system is full: free space or inodes there)")
    );
    let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
    assert_eq!(source.kind(), ErrorKind::StorageFull);
    for path in [&first, &second, &elsewhere] {
        assert_eq!(fs::read(path).unwrap(), b"old", "{}", path.display());
    }
    assert_eq!(names(&full), ["first", "second"]);
    assert_eq!(names(base.path()), ["elsewhere", "full"]);
    // There is room again for what fits.
    assert_eq!(replace_all(&batch[..2]).unwrap(), [Written::Replaced; 2]);
}

#[test]
fn a_read_only_file_system_is_named() {
    if !root_or_skipped() {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let options = ["-t", "tmpfs", "-o", "size=64k,ro", "tmpfs"];
    let Some(_mounted) = Mounted::new(&options, base.path()) else { return };
    let error = replace(&base.path().join("file"), b"new").unwrap_err();
    assert!(matches!(error, FileError::Io { step: Step::CreateTemporary, .. }), "{error:?}");
    assert!(error.to_string().contains("read-only here: under systemd"), "{error}");
}

#[test]
fn a_file_that_is_a_mount_point_is_named_before_anything_changes() {
    if !root_or_skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [other, source, bound] = ["other", "source", "bound"].map(|name| folder.path().join(name));
    for path in [&other, &source, &bound] {
        put(path, b"old");
    }
    let source_text = source.to_str().unwrap();
    let Some(_mounted) = Mounted::new(&["--bind", source_text], &bound) else { return };
    let error =
        replace_all(&[wanted(&other, b"new", None), wanted(&bound, b"new", None)]).unwrap_err();
    assert!(matches!(&error, FileError::MountPoint { path } if *path == bound), "{error:?}");
    assert!(error.to_string().ends_with("mount the folder that contains it instead"), "{error}");
    assert_eq!(fs::read(&other).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["bound", "other", "source"]);
    // Equal bytes need no rename.
    assert_eq!(replace(&bound, b"old").unwrap(), Written::Unchanged);
}

#[test]
fn a_mount_that_comes_too_late_stops_the_batch_and_says_how_far_it_came() {
    if !root_or_skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [first, source, bound] = ["first", "source", "bound"].map(|name| folder.path().join(name));
    for path in [&first, &source, &bound] {
        put(path, b"old");
    }
    let batch = [
        Wanted { path: &first, contents: b"new", mode: None },
        Wanted { path: &bound, contents: b"new", mode: None },
    ];
    let targets = locate(&batch).unwrap();
    let mut staged: Vec<_> = targets.iter().map(|target| stage(target).unwrap()).collect();
    let source_text = source.to_str().unwrap();
    let Some(_mounted) = Mounted::new(&["--bind", source_text], &bound) else { return };
    let error = place(&targets, &mut staged).unwrap_err();
    drop(staged);
    let FileError::Partly { replaced, planned: 2, source } = &error else {
        unreachable!("{error:?}")
    };
    assert_eq!((replaced.as_slice(), source.path()), ([first.clone()].as_slice(), bound.as_path()));
    assert!(matches!(**source, FileError::MountPoint { .. }), "{source:?}");
    assert_eq!(error.to_string(), "stopped after 1 of 2 files were already replaced");
    assert_eq!(fs::read(&first).unwrap(), b"new");
    assert_eq!(names(folder.path()), ["bound", "first", "source"]);
}

#[test]
fn a_batch_reports_each_file_and_refuses_one_named_twice() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("below");
    fs::create_dir(&below).unwrap();
    let [equal, other, new] = [folder.path().join("equal"), below.join("other"), below.join("new")];
    put(&equal, b"same");
    // Large enough that the old contents are freed in a thread.
    put(&other, vec![0; usize::try_from(SLOW_TO_FREE_BYTES).unwrap()]);
    let batch = [
        wanted(&new, b"1", None),
        wanted(&equal, b"same", None),
        wanted(&other, b"2", Some(0o600)),
    ];
    let expected = [Written::Created, Written::Unchanged, Written::Replaced];
    assert_eq!(replace_all(&batch).unwrap(), expected);
    assert_eq!(
        (fs::read(&new).unwrap(), fs::read(&other).unwrap()),
        (b"1".to_vec(), b"2".to_vec())
    );
    assert_eq!((mode(&new), mode(&other)), (0o644, 0o600));
    assert_eq!(replace_all(&[]).unwrap(), []);

    symlink(&below, folder.path().join("link")).unwrap();
    let again = folder.path().join("link/../below/new");
    let error = replace_all(&[wanted(&new, b"3", None), wanted(&again, b"4", None)]).unwrap_err();
    assert!(matches!(&error, FileError::Twice { second, .. } if *second == again), "{error:?}");
    assert_eq!(fs::read(&new).unwrap(), b"1");
}

#[test]
fn a_reader_never_sees_a_mixture() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let versions = [vec![b'a'; 300_000], vec![b'b'; 200_000]];
    replace(&path, &versions[0]).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 1..60 {
                assert_eq!(replace(&path, &versions[round % 2]).unwrap(), Written::Replaced);
            }
        });
        while !writer.is_finished() {
            let seen = read_bounded(&path, 1 << 20).unwrap();
            assert!(versions.contains(&seen), "{} bytes of a mixture", seen.len());
        }
    });
}
