//! What may fail while a generation is published: the program is killed, the disk is full or broken, the firewall's tools are
//! missing, hang, refuse or die. In every case one whole generation is in force, in files, kernel and memory.
//!
//! Needs root and nft, strace, unshare; what is not there is said and left out. `TAGWALL_LONG=1` tries every system call
//! instead of a sample.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]
#![allow(clippy::similar_names, reason = "point and points, prints")]
#![allow(clippy::print_stderr, reason = "how much was tried is said")]

mod common;
#[path = "publish_faults/scene.rs"]
mod scene;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use common::host::{BINARY, GROUPS, Host, nftables};
use scene::{Scene, restore};

/// Calls that change something outside the process, or start a command.
const CHANGING: &[&str] = &[
    "write",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "mkdirat",
    "chmod",
    "fchmod",
    "fchmodat",
    "ftruncate",
    "clone",
    "clone3",
    "vfork",
];

/// Points tried in the short form, for each scenario.
const SAMPLE: usize = 24;

fn is_long() -> bool {
    std::env::var_os("TAGWALL_LONG").is_some_and(|value| value == "1")
}

/// Evenly spread, the first and the last among them.
fn sample<T: Clone>(all: &[T]) -> Vec<T> {
    if is_long() || all.len() <= SAMPLE {
        return all.to_vec();
    }
    (0..SAMPLE).map(|index| all[index * (all.len() - 1) / (SAMPLE - 1)].clone()).collect()
}

/// Kills at each point, starts again, and looks at what is in force. Returns how often the old and the new side were.
fn kill_everywhere(scene: &Scene, name: &str) -> (usize, usize) {
    let every = is_long();
    let points = scene.calls(&|call| every || CHANGING.contains(&call));
    assert!(points.len() >= 40, "{points:?}");
    let tried = sample(&points);
    let (mut olds, mut news) = (0, 0);
    for (call, count) in &tried {
        let context = format!("{name}, killed at {call} {count}");
        restore(&scene.host, &scene.old);
        let output = scene.strace(&[
            "-e",
            &format!("inject={call}:signal=KILL:when={count}"),
            "-o",
            "/dev/null",
        ]);
        if every && output.status.success() && !CHANGING.contains(&call.as_str()) {
            // How often a thread waits or asks for memory varies from run to run.
            continue;
        }
        assert_ne!(output.status.code(), Some(0), "{context}: it was not killed");
        // A command that it had started may still run, and holds the lock.
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let output = scene.host.attempt(&["restore"]);
            match output.status.code() {
                Some(0) => break,
                Some(8) if Instant::now() < deadline => {}
                code => panic!("{context}: {code:?} {}", String::from_utf8_lossy(&output.stderr)),
            }
        }
        if scene.side_in_force(&context) {
            news += 1;
        } else {
            olds += 1;
        }
        for left in [
            "journal.json",
            "generations/.staging",
            "companions.pending",
            ".companions",
            ".current.new",
        ] {
            assert!(!scene.host.path("state").join(left).exists(), "{context}: {left} is left");
        }
    }
    eprintln!(
        "{name}: killed at {} of {} system calls; then the old generation was in force {olds} times, the new one {news} times",
        tried.len(),
        points.len()
    );
    (olds, news)
}

#[test]
fn a_kill_at_any_system_call_leaves_one_whole_generation() {
    let Some(scene) = Scene::new("") else { return };
    let (olds, news) = kill_everywhere(&scene, "update of sets");
    assert!(olds > 0 && news > 0);
    scene.host.expect(0, &["render", "--feed", scene.new.to_str().unwrap()]);
    assert!(scene.side_in_force("at last"));
}

#[test]
fn a_kill_while_a_failure_is_taken_back_leaves_the_generation_before() {
    let late = "[targets.zlate]\nreload = [\"/bin/false\"]\n[targets.zlate.list]\n";
    let Some(scene) = Scene::new(late) else { return };
    let (olds, news) = kill_everywhere(&scene, "taking back");
    assert!(olds > 0);
    assert_eq!(news, 0);
}

#[test]
fn a_kill_while_an_isolated_target_is_corrected_leaves_one_whole_generation() {
    let push = "[targets.push]\nisolated = true\nreload = [\"/bin/false\"]\n[targets.push.list]\n";
    let Some(scene) = Scene::new(push) else { return };
    let (olds, news) = kill_everywhere(&scene, "correction");
    assert!(olds > 0 && news > 0);
}

#[test]
fn an_error_of_the_disk_at_any_call_leaves_one_whole_generation() {
    let Some(scene) = Scene::new("") else { return };
    fail_everywhere(&scene, "update of sets");
}

#[test]
fn an_error_of_the_disk_while_an_isolated_target_is_corrected_leaves_one_whole_generation() {
    let push = "[targets.push]\nisolated = true\nreload = [\"/bin/false\"]\n[targets.push.list]\n";
    let Some(scene) = Scene::new(push) else { return };
    fail_everywhere(&scene, "correction");
}

#[test]
fn a_correction_that_cannot_be_noted_is_in_force_all_the_same_and_noted_later() {
    let push = "[targets.push]\nisolated = true\nreload = [\"/bin/false\"]\n[targets.push.list]\n";
    let Some(scene) = Scene::new(push) else { return };
    let trail = || fs::read_to_string(scene.host.path("state/trail/000000000001.jsonl")).unwrap();
    let noted = || trail().contains("\"action\":\"corrected\"");
    restore(&scene.host, &scene.old);
    let pending = scene.host.path("state/.companions/trail.pending");
    let full =
        ["-P", pending.to_str().unwrap(), "-e", "inject=write:error=ENOSPC", "-o", "/dev/null"];
    let output = scene.strace(&full);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(scene.side_in_force("not noted") && !noted(), "{}", trail());
    scene.host.expect(0, &["resume"]);
    assert!(scene.side_in_force("noted") && noted(), "{}", trail());
}

/// Lets the disk fail at each point, and looks at what is in force, at once and after the next start.
fn fail_everywhere(scene: &Scene, name: &str) {
    let faults = [
        ("write", "ENOSPC"),
        ("write", "EIO"),
        ("fsync", "EIO"),
        ("rename", "EIO"),
        ("renameat", "ENOSPC"),
        ("symlink", "ENOSPC"),
        ("linkat", "EIO"),
        ("mkdir", "ENOSPC"),
        ("unlink", "EIO"),
    ];
    let points = scene.calls(&|call| CHANGING.contains(&call));
    let mut all = Vec::new();
    for (call, error) in faults {
        let of_call =
            points.iter().filter(|(name, _)| name == call || (call == "linkat" && name == "link"));
        all.extend(of_call.map(|(name, count)| (name.clone(), *count, error)));
    }
    assert!(all.len() >= 30, "{all:?}");
    let tried = sample(&all);
    let (mut olds, mut news) = (0, 0);
    for (call, count, error) in &tried {
        let context = format!("{name}, {error} at {call} {count}");
        restore(&scene.host, &scene.old);
        let output = scene.strace(&[
            "-e",
            &format!("inject={call}:error={error}:when={count}"),
            "-o",
            "/dev/null",
        ]);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() && scene.host.path("state/journal.json").exists() {
            // Recorded, and only the tidying up failed: the next start does it.
            scene.host.expect(0, &["restore"]);
        }
        // Else in force at once, without another start: the old one after an error, the new one where it did no harm.
        let is_new = scene.side_in_force(&format!("{context}: {stderr}"));
        if output.status.success() {
            assert!(is_new, "{context}: said to be published");
            news += 1;
        } else {
            assert!(!is_new, "{context}: in force, but said to have failed: {stderr}");
            assert!(
                stderr.starts_with("error: ") && stderr.contains("os error"),
                "{context}: {stderr}"
            );
            olds += 1;
        }
        scene.host.expect(0, &["restore"]);
        assert_eq!(scene.side_in_force(&context), is_new, "{context}: after the next start");
    }
    eprintln!(
        "{name}: an error at {} of {} system calls: the old generation stayed {olds} times, the new one came {news} times",
        tried.len(),
        all.len()
    );
    assert!(olds > 0);
}

/// Runs tagwall with another program in the place of nft (a script, or none when it is empty).
fn with_fake_nft(scene: &Scene, script: &str) -> (Option<i32>, String) {
    let fake = scene.host.path("fake-nft");
    fs::write(&fake, script).unwrap();
    let mode = if script.is_empty() { 0o600 } else { 0o755 };
    fs::set_permissions(&fake, fs::Permissions::from_mode(mode)).unwrap();
    let mount = format!(
        "nft=$(readlink -f \"$(command -v nft)\"); cp \"$nft\" {real}; mount --bind {fake} \"$nft\"; exec \"$@\"",
        real = scene.host.path("real-nft").display(),
        fake = fake.display()
    );
    let mut command: Vec<String> =
        ["unshare", "-m", "--propagation", "private", "sh", "-ec", &mount, "sh"]
            .map(str::to_owned)
            .to_vec();
    command.extend(scene.command());
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let output = scene.host.namespace.attempt(&command, b"");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_firewall_that_is_missing_hangs_refuses_or_dies_leaves_what_was() {
    let Some(scene) = Scene::new("") else { return };
    let limited =
        nftables("").replace("apply = \"automatic\"", "apply = \"automatic\"\ntime-limit = 1");
    // With a second table, all is verified before any of it is loaded.
    let second =
        "[targets.second]\napply = \"automatic\"\n[targets.second.nftables]\ntable = \"second\"\n";
    let (alone, both) = (limited.clone(), limited + second);
    let real = scene.host.path("real-nft");
    let real = real.display();
    let unless_checked =
        |then: &str| format!("#!/bin/sh\ncase \"$1\" in -f) {then};; esac\nexec {real} \"$@\"\n");
    let refuses = "#!/bin/sh\necho 'Error: no, thank you' >&2\nexit 1\n".to_owned();
    let hangs = "#!/bin/sh\nexec sleep 5\n".to_owned();
    let dies = "#!/bin/sh\nkill -9 $$\n".to_owned();
    let (verify, apply) = ("target edge, verify", "target edge, apply");
    let nothing = "nothing was changed";
    let cases: [(&str, &str, String, &[&str]); 11] = [
        ("missing", &both, String::new(), &[verify, "nft is not installed", nothing]),
        ("hangs", &both, hangs.clone(), &[verify, "did not end within 1s", nothing]),
        ("refuses", &both, refuses.clone(), &[verify, "no, thank you", nothing]),
        ("dies", &both, dies.clone(), &[verify, "signal 9", nothing]),
        // Loaded without a check beforehand: what was refused is known not to be in the kernel, all else is taken back.
        (
            "missing, loaded at once",
            &alone,
            String::new(),
            &[verify, "nft is not installed", nothing],
        ),
        ("hangs, loaded at once", &alone, hangs, &[apply, "did not end within 1s"]),
        ("refuses, loaded at once", &alone, refuses, &[verify, "no, thank you", nothing]),
        ("dies, loaded at once", &alone, dies, &[apply, "signal 9"]),
        // The check passes, and then neither the update nor the whole artifact can be loaded; nor can the old one be.
        (
            "refuses to load",
            &alone,
            unless_checked("echo 'Error: not today' >&2; exit 1"),
            &[apply, "not today", "taking it back failed too"],
        ),
        ("dies while loading", &both, unless_checked("kill -9 $$"), &[apply, "signal 9"]),
        (
            "hangs while loading",
            &both,
            unless_checked("exec sleep 5"),
            &[apply, "did not end within 1s"],
        ),
    ];
    for (case, config, script, words) in cases {
        restore(&scene.host, &scene.old);
        scene.host.configure(config);
        let (code, stderr) = with_fake_nft(&scene, &script);
        assert_eq!(code, Some(7), "{case}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "{case}: {word}: {stderr}");
        }
        assert!(!scene.side_in_force(case), "{case}");
    }
}

#[test]
fn a_load_that_fails_once_is_taken_back() {
    let Some(scene) = Scene::new("") else { return };
    // The second target's command fails after the first target's rules are in the kernel, having done half of its work.
    let (script, done) = (scene.host.path("push"), scene.host.path("pushed"));
    let text = format!(
        "#!/bin/sh\nset -e\nhead -c 10 \"$1\"/devops.txt >>{0}\n[ ! -e {0}.fail ] || {{ echo 'half-way' >&2; exit 3; }}\n",
        done.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(scene.host.path("pushed.fail"), "").unwrap();
    let config = format!(
        "{}[targets.zpush]\nreload = [\"{}\", \"{{path}}\"]\n[targets.zpush.list]\n",
        nftables(""),
        script.display()
    );
    scene.host.configure(&config);
    let (_, stderr) = scene.host.expect(7, &["render", "--feed", scene.new.to_str().unwrap()]);
    assert!(
        stderr.contains("target zpush, reload")
            && stderr.contains("half-way")
            && stderr.contains("generation 1, the one before, is in force"),
        "{stderr}"
    );
    assert!(!scene.side_in_force("half-way"));
    fs::remove_file(scene.host.path("pushed.fail")).unwrap();
    scene.host.expect(0, &["render", "--feed", scene.new.to_str().unwrap()]);
    assert!(scene.side_in_force("again"));
}

#[test]
fn a_full_or_read_only_disk_is_told_before_anything_changes() {
    let Some(host) = Host::new(&["nft", "unshare"], GROUPS) else { return };
    let list = format!("{GROUPS}[targets.lists.list]\n");
    host.configure(&list);
    host.expect(0, &["render"]);
    fs::write(
        host.path("second.toml"),
        list.replace("tcp/443", "tcp/8443") + "[targets.json.json]\n",
    )
    .unwrap();
    let run = |mount: &str| {
        let script = format!(
            "{mount}; {BINARY} --config {} --state-dir {state} render 2>&1; echo \"exit $?\"; readlink {state}/current; ls -A {state}/generations",
            host.path("second.toml").display(),
            state = host.path("state").display()
        );
        host.namespace.run(
            &[
                "unshare",
                "-m",
                "--propagation",
                "private",
                "sh",
                "-ec",
                &format!("set +e; {script}"),
            ],
            b"",
        )
    };
    let state = host.path("state");
    let state = state.display();
    let text = run(&format!(
        "mkdir -p {state}.copy; cp -a {state}/. {state}.copy; mount -t tmpfs -o size=400k tmpfs {state}; cp -a {state}.copy/. {state}"
    ));
    assert!(
        text.contains("bytes free, and a generation needs") && text.contains("nothing was changed"),
        "{text}"
    );
    assert!(text.ends_with("exit 6\ngenerations/000001\n000001\n"), "{text}");
    let text = run(&format!("mount --bind {state} {state}; mount -o remount,ro,bind {state}"));
    assert!(text.contains("ead-only"), "{text}");
    assert!(text.ends_with("exit 6\ngenerations/000001\n000001\n"), "{text}");
}
