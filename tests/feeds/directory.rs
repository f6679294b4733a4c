//! A folder into which publications are dropped in every way that people and programs know.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tagwall::config::Config;
use tagwall::feed::{FeedError, Look, Source, Watching};

use super::{edition, error, found, unchanged};

struct Dropped {
    folder: tempfile::TempDir,
    source: Source,
}

impl Dropped {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = over(folder.path(), "200ms");
        Self { folder, source }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        super::common::write(&self.path(name), bytes);
    }

    async fn number(&mut self) -> u64 {
        found(&mut self.source).await.publication.snapshot.change_number()
    }
}

fn over(folder: &Path, settle: &str) -> Source {
    let text = format!(
        "[feeds.f]\ncloud = \"example\"\n[feeds.f.directory]\npath = \"{}\"\nsettle = \"{settle}\"\npoll = \"100ms\"\n",
        folder.display()
    );
    let config = Config::parse(Path::new("test.toml"), text).unwrap();
    Source::new(&"f".parse().unwrap(), &config).unwrap()
}

/// Looks whenever the watch says so, until something is found. The time is only there to end a broken test.
async fn next_of(source: &mut Source, watch: &mut tagwall::feed::Watch) -> u64 {
    let waiting = async {
        loop {
            assert!(watch.changed().await, "the watch ended");
            if let Ok(Look::Found(found)) = source.look().await {
                return found.publication.snapshot.change_number();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("nothing was found")
}

async fn until_watched(watch: &tagwall::feed::Watch) {
    let mut how = watch.how();
    let watched = how.wait_for(|how| *how == Watching::Kernel);
    tokio::time::timeout(Duration::from_secs(60), watched).await.expect("never watched").unwrap();
}

#[tokio::test]
async fn the_newest_publication_is_found_once() {
    let mut dropped = Dropped::new();
    assert!(matches!(error(&mut dropped.source).await, FeedError::Empty { .. }));
    dropped.put("ServiceTags_Example_20250901.json", &edition(3));
    dropped.put("ServiceTags_Example_20250908.json", &edition(2));
    dropped.put("ServiceTags_Example_20250915.json.part", b"{");
    dropped.put(".ServiceTags_Example_20250922.json.Xa81bc", b"{");
    assert_eq!(dropped.number().await, 2);
    unchanged(&mut dropped.source).await;
    // An older one, and one of another name but the same content, are no news.
    dropped.put("ServiceTags_Example_20250825.json", &edition(9));
    dropped.put("copy.json", &edition(2));
    unchanged(&mut dropped.source).await;
    // Without a date the number decides.
    dropped.put("tags.json", &edition(4));
    assert_eq!(dropped.number().await, 4);
    unchanged(&mut dropped.source).await;
}

#[tokio::test]
async fn what_happens_to_files_changes_nothing_of_what_was_found() {
    let mut dropped = Dropped::new();
    let (old, new) = ("ServiceTags_Example_20250901.json", "ServiceTags_Example_20250908.json");
    dropped.put(old, &edition(1));
    dropped.put(new, &edition(2));
    assert_eq!(dropped.number().await, 2);
    // Cut short, then completed.
    dropped.put(new, &edition(2)[..3000]);
    let cut = error(&mut dropped.source).await;
    assert!(matches!(cut, FeedError::Refused { .. }) && cut.is_transient(), "{cut:?}");
    assert!(cut.to_string().contains("cut short"), "{cut}");
    dropped.put(new, &edition(3));
    assert_eq!(dropped.number().await, 3);
    // Deleted: the older one that is left is no news; nor is an empty folder.
    fs::remove_file(dropped.path(new)).unwrap();
    unchanged(&mut dropped.source).await;
    fs::remove_file(dropped.path(old)).unwrap();
    unchanged(&mut dropped.source).await;
    // Replaced by a link: inside the folder it is followed, out of it not.
    fs::create_dir(dropped.path("releases")).unwrap();
    dropped.put("releases/current", &edition(4));
    symlink("releases/current", dropped.path(new)).unwrap();
    assert_eq!(dropped.number().await, 4);
    fs::remove_file(dropped.path(new)).unwrap();
    let outside = tempfile::tempdir().unwrap();
    super::common::write(&outside.path().join("tags.json"), &edition(5));
    symlink(outside.path().join("tags.json"), dropped.path(new)).unwrap();
    let out = error(&mut dropped.source).await;
    assert!(matches!(out, FeedError::LeadsOut { .. }), "{out:?}");
    fs::remove_file(dropped.path(new)).unwrap();
    symlink("/nonexistent", dropped.path(new)).unwrap();
    unchanged(&mut dropped.source).await;
    fs::remove_file(dropped.path(new)).unwrap();
    // A pipe, a folder: no files.
    fs::create_dir(dropped.path(new)).unwrap();
    unchanged(&mut dropped.source).await;
    // The folder itself goes away and comes back.
    let away = dropped.folder.path().with_extension("away");
    fs::rename(dropped.folder.path(), &away).unwrap();
    assert!(matches!(error(&mut dropped.source).await, FeedError::Folder { .. }));
    fs::rename(&away, dropped.folder.path()).unwrap();
    unchanged(&mut dropped.source).await;
}

#[tokio::test]
async fn an_unreadable_file_is_told_and_read_when_it_can_be() {
    let mut dropped = Dropped::new();
    dropped.put("ServiceTags_Example_20250901.json", &edition(1));
    assert_eq!(dropped.number().await, 1);
    let name = "ServiceTags_Example_20250908.json";
    dropped.put(name, &edition(2));
    fs::set_permissions(dropped.path(name), fs::Permissions::from_mode(0o0)).unwrap();
    if rustix::process::geteuid().is_root() {
        // root reads everything: a file larger than allowed stands for one that cannot be read.
        let file = OpenOptions::new().write(true).open(dropped.path(name)).unwrap();
        file.set_len(1 << 30).unwrap();
    }
    let unread = error(&mut dropped.source).await;
    assert!(matches!(unread, FeedError::Read { .. }), "{unread:?}");
    fs::set_permissions(dropped.path(name), fs::Permissions::from_mode(0o644)).unwrap();
    dropped.put(name, &edition(2));
    assert_eq!(dropped.number().await, 2);
}

#[tokio::test]
async fn publications_of_other_clouds_may_lie_there_too() {
    let mut dropped = Dropped::new();
    dropped.put("ServiceTags_Example_20250901.json", &edition(1));
    dropped.put(
        "ServiceTags_China_20250908.json",
        br#"{"changeNumber": 1, "cloud": "China", "values": [{"name": "Sql", "id": "Sql", "properties": {"changeNumber": 1,
            "region": "", "platform": "Azure", "systemService": "AzureSQL", "addressPrefixes": ["40.72.0.0/24"]}}]}"#,
    );
    assert_eq!(dropped.number().await, 1);
    unchanged(&mut dropped.source).await;
}

#[tokio::test]
async fn a_rename_wakes_and_is_found() {
    let mut dropped = Dropped::new();
    let mut watch = dropped.source.watch().unwrap();
    until_watched(&watch).await;
    for number in 1..4 {
        dropped.put(".upload", &edition(number));
        fs::rename(dropped.path(".upload"), dropped.path("tags.json")).unwrap();
        assert_eq!(next_of(&mut dropped.source, &mut watch).await, number);
    }
}

#[tokio::test]
async fn a_file_that_is_written_in_a_hundred_slow_pieces_is_found_whole() {
    let mut dropped = Dropped::new();
    let mut watch = dropped.source.watch().unwrap();
    until_watched(&watch).await;
    dropped.put("tags.json", &edition(1));
    assert_eq!(next_of(&mut dropped.source, &mut watch).await, 1);
    // In place, over the old contents and of the same length: half old and half new would be a valid document too.
    let path = dropped.path("tags.json");
    let writing = std::thread::spawn(move || {
        let bytes = edition(2);
        let mut file = OpenOptions::new().write(true).open(path).unwrap();
        for piece in bytes.chunks(bytes.len().div_ceil(100)) {
            file.write_all(piece).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(next_of(&mut dropped.source, &mut watch).await, 2);
    assert!(
        writing.is_finished() || {
            std::thread::sleep(Duration::from_millis(50));
            writing.is_finished()
        }
    );
    writing.join().unwrap();
    // Truncated first, opened anew for each piece.
    let path = dropped.path("tags.json");
    let writing = std::thread::spawn(move || {
        File::create(&path).unwrap();
        for piece in edition(3).chunks(400) {
            OpenOptions::new().append(true).open(&path).unwrap().write_all(piece).unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    assert_eq!(next_of(&mut dropped.source, &mut watch).await, 3);
    writing.join().unwrap();
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_polled_until_it_is() {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("drop");
    let mut source = over(&folder, "100ms");
    let mut watch = source.watch().unwrap();
    let mut how = watch.how();
    let polling =
        how.wait_for(|how| matches!(how, Watching::Polling { reason } if reason.contains("drop")));
    tokio::time::timeout(Duration::from_secs(60), polling).await.unwrap().unwrap();
    fs::create_dir(&folder).unwrap();
    super::common::write(&folder.join("tags.json"), &edition(1));
    assert_eq!(next_of(&mut source, &mut watch).await, 1);
    until_watched(&watch).await;
    // Another folder in its place is watched in its turn.
    fs::rename(&folder, above.path().join("old")).unwrap();
    fs::create_dir(&folder).unwrap();
    super::common::write(&folder.join("tags.json"), &edition(2));
    assert_eq!(next_of(&mut source, &mut watch).await, 2);
}
