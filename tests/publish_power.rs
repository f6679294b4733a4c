//! Power cuts: every write to a disk is logged while generations are published, and the disk is built again as it was at many
//! moments, also with the writes that were not yet flushed lost or reordered. Then one whole generation must be there, and
//! none that was reported as published may be lost.
//!
//! Two bad ways to write a file run on the same disk: were they not found out, the check would prove nothing.
//!
//! Needs root, `qemu-storage-daemon` with FUSE, loop devices and ext4; what is not there is said and left out. 40 moments, or
//! 240 with `TAGWALL_LONG=1`.
#![allow(clippy::type_complexity, clippy::similar_names, reason = "one harness, read as a whole")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::print_stderr, reason = "a skipped test must say so, and what was found is said")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tagwall::snapshot::{Digest, EXAMPLE_DOCUMENT};

const BINARY: &str = env!("CARGO_BIN_EXE_tagwall");
const DISK_BYTES: u64 = 64 << 20;
/// Rounds of each way to write.
const ROUNDS: u64 = 12;
/// Size of a control's file.
const CONTROL_BYTES: usize = 200_000;

fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap()
}

fn must(program: &str, args: &[&str]) -> String {
    let output = run(program, args);
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Why there can be no such disk here.
fn hindrance() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("power cuts need root".to_owned());
    }
    for program in ["qemu-storage-daemon", "losetup", "mkfs.ext4", "mount", "umount"] {
        if Command::new(program).arg("--version").output().is_err() {
            return Some(format!("{program} is not installed"));
        }
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        if !Path::new(device).exists() {
            return Some(format!("there is no {device}"));
        }
    }
    None
}

/// A file system on a loop device, unmounted when dropped.
struct Mounted {
    device: String,
    place: PathBuf,
}

impl Mounted {
    fn new(image: &Path, place: &Path) -> Option<Self> {
        fs::create_dir_all(place).unwrap();
        let device = run("losetup", &["-f", "--show", image.to_str().unwrap()]);
        if !device.status.success() {
            return None;
        }
        let device = String::from_utf8_lossy(&device.stdout).trim().to_owned();
        let options = "noauto_da_alloc";
        let mounted =
            run("mount", &["-t", "ext4", "-o", options, &device, place.to_str().unwrap()]);
        if !mounted.status.success() {
            run("losetup", &["-d", &device]);
            return None;
        }
        Some(Self { device, place: place.to_owned() })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &[self.place.to_str().unwrap()]);
        run("losetup", &["-d", &self.device]);
    }
}

/// The disk whose writes are logged.
struct Logged {
    daemon: Child,
    exported: PathBuf,
    log: PathBuf,
}

impl Logged {
    fn new(folder: &Path, disk: &Path) -> Option<Self> {
        let (exported, log) = (folder.join("exported"), folder.join("log"));
        File::create(&exported).unwrap();
        File::create(&log).unwrap().set_len(1 << 30).unwrap();
        let file = |name: &str, path: &Path| {
            format!("driver=file,node-name={name},filename={}", path.display())
        };
        let daemon = Command::new("qemu-storage-daemon")
            .args(["--blockdev", &file("disk", disk), "--blockdev", &file("log", &log)])
            .args([
                "--blockdev",
                "driver=blklogwrites,node-name=logged,file=disk,log=log",
                "--export",
            ])
            .arg(format!(
                "type=fuse,id=export,node-name=logged,mountpoint={},writable=on",
                exported.display()
            ))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let logged = Self { daemon, exported, log };
        let deadline = Instant::now() + Duration::from_secs(10);
        while fs::metadata(&logged.exported).unwrap().len() != DISK_BYTES {
            if Instant::now() > deadline {
                return None;
            }
            thread::sleep(Duration::from_millis(20));
        }
        Some(logged)
    }

    /// How many entries the log has: brought up to date by each flush.
    fn entries(&self) -> usize {
        let mut header = [0; 24];
        File::open(&self.log).unwrap().read_exact_at(&mut header, 0).unwrap();
        usize::try_from(number(&header, 16)).unwrap()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.daemon);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.daemon.wait();
        run("umount", &["-l", self.exported.to_str().unwrap()]);
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// One write or flush.
struct Entry {
    flushes: bool,
    at: u64,
    data: Vec<u8>,
}

/// Reads the log: a header of one sector, then for each entry a sector that describes it, and its data.
fn read_log(path: &Path, count: usize) -> Vec<Entry> {
    const SECTOR: u64 = 512;
    const FLUSH: u64 = 1;
    const DISCARD: u64 = 4;
    let file = File::open(path).unwrap();
    let mut header = vec![0; 28];
    file.read_exact_at(&mut header, 0).unwrap();
    assert_eq!(number(&header, 0), 0x6a_7366_7773_6872, "no log of block writes");
    let mut at = SECTOR;
    let mut entries = Vec::new();
    for _ in 0..count {
        let mut head = vec![0; 32];
        file.read_exact_at(&mut head, at).unwrap();
        let [sector, sectors, flags] = [0, 8, 16].map(|field| number(&head, field));
        at += SECTOR;
        let bytes = if flags & DISCARD == 0 { sectors * SECTOR } else { 0 };
        let mut data = vec![0; usize::try_from(bytes).unwrap()];
        file.read_exact_at(&mut data, at).unwrap();
        at += bytes;
        entries.push(Entry { flushes: flags & FLUSH != 0, at: sector * SECTOR, data });
    }
    entries
}

/// The folder of a control, and what each of its rounds writes.
fn content(round: u64) -> Vec<u8> {
    let letter = b'a' + u8::try_from(round % 26).unwrap();
    vec![letter; CONTROL_BYTES]
}

fn synced(path: &Path, bytes: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.write_all(bytes).unwrap();
    file.sync_all().unwrap();
}

/// Writes over the file in place, and syncs it.
fn in_place(folder: &Path, round: u64) {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(folder.join("file"))
        .unwrap();
    file.write_all(&content(round)).unwrap();
    file.sync_all().unwrap();
}

/// Renames a file that was never synced; something else is synced then.
fn renamed_unsynced(folder: &Path, round: u64) {
    fs::write(folder.join("new"), content(round)).unwrap();
    fs::rename(folder.join("new"), folder.join("file")).unwrap();
    synced(&folder.join("other"), b"other");
}

fn tagwall(folder: &Path, state: &Path, args: &[&str]) -> Output {
    let config = folder.join("tagwall.toml");
    let mut all =
        vec!["--config", config.to_str().unwrap(), "--state-dir", state.to_str().unwrap()];
    all.extend(args);
    run(BINARY, &all)
}

fn publish(folder: &Path, state: &Path, round: u64) {
    let feed = folder.join(format!("ServiceTags_Example_202509{:02}.json", round + 1));
    let text = EXAMPLE_DOCUMENT
        .replacen("\"changeNumber\": 1,", &format!("\"changeNumber\": {},", round + 1), 1)
        .replace(
            "192.0.2.0/26",
            if round.is_multiple_of(2) { "192.0.2.0/26" } else { "192.0.2.64/26" },
        );
    fs::write(&feed, text).unwrap();
    let output = tagwall(folder, state, &["render", "--json", "--feed", feed.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Each round is a generation of its own: what is counted as reported was reported.
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["result"], &report["generation"]),
        (&"published".into(), &(round + 1).into())
    );
}

/// The number of the generation in force, all of whose files must be what its manifest says; none when there is none.
fn whole_generation(state: &Path, context: &str) -> Option<u64> {
    let link = fs::read_link(state.join("current")).ok()?;
    let folder = state.join(&link);
    let manifest = fs::read(folder.join("manifest.json"));
    let manifest: Value =
        serde_json::from_slice(&manifest.unwrap_or_default()).unwrap_or_else(|error| {
            panic!("{context}: torn or empty manifest of {}: {error}", link.display())
        });
    for (target, record) in manifest["targets"].as_object().unwrap() {
        for (file, expected) in record["files"].as_object().unwrap() {
            let bytes = fs::read(folder.join(target).join(file)).unwrap_or_default();
            let found = serde_json::to_value(Digest::of(&bytes)).unwrap();
            assert_eq!(
                found,
                expected["sha256"],
                "{context}: {target}/{file} of {}",
                link.display()
            );
        }
    }
    manifest["generation"].as_u64()
}

/// Looks at a disk as a power cut left it, mends it, and looks again. `acknowledged` generations were reported as published.
fn check_state(folder: &Path, mounted: &Path, acknowledged: u64, context: &str) {
    let state = mounted.join("state");
    let before = whole_generation(&state, context).unwrap_or(0);
    assert!(
        before >= acknowledged,
        "{context}: {before} is in force, {acknowledged} had been reported"
    );
    let output = tagwall(folder, &state, &["restore"]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{context}: {words}");
    let after = whole_generation(&state, context).unwrap_or(0);
    assert!(after >= before, "{context}: {after} after the mending, {before} before");
    if after > 0 {
        let read =
            |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
        let memory = read(state.join("memory.json"));
        let manifest = read(state.join("current/manifest.json"));
        assert_eq!(
            memory["publications"]["example"]["digest"], manifest["publications"][0]["digest"],
            "{context}: memory and generation"
        );
        assert!(state.join("current/outcome.json").exists(), "{context}: not recorded");
    }
    assert!(
        !state.join("journal.json").exists() && !state.join("generations/.staging").exists(),
        "{context}"
    );
}

/// Whether a control's file is none of the contents that were ever written.
fn is_bad(file: &Path) -> bool {
    match fs::read(file) {
        Ok(bytes) => !(0..ROUNDS).any(|round| bytes == content(round)),
        Err(_) => false,
    }
}

#[test]
fn a_power_cut_at_any_moment_leaves_a_whole_generation_and_none_that_was_reported_is_lost() {
    if let Some(reason) = hindrance() {
        eprintln!("skipped: {reason}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (disk, base, place) = (folder.join("disk"), folder.join("base"), folder.join("mounted"));
    File::create(&disk).unwrap().set_len(DISK_BYTES).unwrap();
    must("mkfs.ext4", &["-q", "-F", disk.to_str().unwrap()]);
    fs::copy(&disk, &base).unwrap();
    let tags = "cloud = \"example\"\n[guard.limits]\nremoval-share = 100.0\nremoval-share-most = 100.0\naddition-share = 100.0\n\
                addition-share-four-weeks = 100.0\ngrace-days = 0\n[groups.devops]\ntags = [\"AzureDevOps\"]\n[rules.devops]\nsource = [\"10.20.0.0/24\"]\n\
                destination = \"devops\"\nservices = [\"tcp/443\"]\n[targets.lists.list]\n[targets.json.json]\n";
    fs::write(folder.join("tagwall.toml"), tags).unwrap();

    let Some(logged) = Logged::new(folder, &disk) else {
        eprintln!("skipped: no FUSE export of a disk here");
        return;
    };
    let Some(mounted) = Mounted::new(&logged.exported, &place) else {
        eprintln!("skipped: the exported disk cannot be mounted here");
        return;
    };
    let mut acknowledged = vec![logged.entries()];
    for round in 0..ROUNDS {
        publish(folder, &place.join("state"), round);
        acknowledged.push(logged.entries());
    }
    let controls: [(&str, fn(&Path, u64)); 2] =
        [("in place", in_place), ("renamed without a sync", renamed_unsynced)];
    let mut phases = Vec::new();
    for (name, write) in controls {
        let control = place.join(name);
        fs::create_dir(&control).unwrap();
        synced(&control.join("other"), b"");
        let begun = logged.entries();
        (0..ROUNDS).for_each(|round| write(&control, round));
        phases.push((name, begun, logged.entries()));
    }
    let count = logged.entries();
    let log = read_log(&logged.log, count);
    drop(mounted);
    drop(logged);

    let long = std::env::var_os("TAGWALL_LONG").is_some_and(|value| value == "1");
    let states: usize = if long { 240 } else { 40 };
    let mut random = fastrand::Rng::with_seed(7);
    let image = folder.join("image");
    // A disk as it was after so many entries; of those since the last flush all, or some.
    let mut build = |moment: usize, lossy: bool| -> usize {
        let flushed =
            log[..moment].iter().rposition(|entry| entry.flushes).map_or(0, |index| index + 1);
        // Another file each time: a process of somebody else's that has just been given a mount namespace of its own keeps the
        // state before mounted there, and writes to its file once more when it ends.
        _ = fs::remove_file(&image);
        fs::copy(&base, &image).unwrap();
        let file = OpenOptions::new().write(true).open(&image).unwrap();
        for (index, entry) in log[..moment].iter().enumerate() {
            if index < flushed || !lossy || random.bool() {
                file.write_all_at(&entry.data, entry.at).unwrap();
            }
        }
        if lossy { flushed } else { moment }
    };
    let (first, last) = (acknowledged[0], *acknowledged.last().unwrap());
    for index in 0..states {
        let moment = first + (last - first) * index / (states - 1);
        let lossy = index % 2 == 1;
        let durable = build(moment, lossy);
        let reported = acknowledged.iter().rposition(|entries| *entries <= durable).unwrap_or(0);
        let context = format!(
            "after {moment} of {count} writes{}",
            if lossy { ", unflushed ones lost" } else { "" }
        );
        let Some(mounted) = Mounted::new(&image, &place) else {
            panic!("{context}: cannot be mounted")
        };
        check_state(folder, &mounted.place, reported as u64, &context);
    }
    eprintln!(
        "{states} power cuts in {} writes of {ROUNDS} publications: every generation whole, none lost",
        last - first
    );
    for (name, begun, ended) in phases {
        let tried = states / 2;
        let bad = (0..tried)
            .filter(|index| {
                build(begun + (ended - begun) * index / (tried - 1), index % 2 == 1);
                let mounted = Mounted::new(&image, &place).unwrap();
                is_bad(&mounted.place.join(name).join("file"))
            })
            .count();
        eprintln!("control, {name}: {bad} of {tried} power cuts left a torn or empty file");
        assert!(bad > 0, "the check would not have found anything: {name}");
    }
}
