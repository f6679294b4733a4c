//! Real children, most of them a shell that misbehaves.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use rustix::process::Pid;

use super::*;
use crate::os::testing::names;

/// Long enough for a loaded machine; a test that reaches it has failed.
const AMPLE: Duration = Duration::from_secs(60);

fn shell(script: &str) -> BoundedCommand {
    BoundedCommand::new("/bin/sh").args(["-c", script]).time_limit(AMPLE)
}

#[test]
fn arguments_input_and_output_pass_unchanged() {
    let output = BoundedCommand::new("/bin/sh")
        .args(["-c", "cat; printf '[%s]' \"$@\"; echo aside >&2", "name"])
        .arg("a b; rm -rf $HOME")
        .arg("")
        .stdin(b"in\0put\n".to_vec())
        .run()
        .unwrap();
    assert_eq!(output.stdout, b"in\0put\n[a b; rm -rf $HOME][]");
    assert_eq!(output.stderr, b"aside\n");
    assert!(output.status.success() && !output.stdout_cut && !output.stderr_cut);
}

#[test]
fn the_environment_holds_what_was_given_and_nothing_else() {
    let output = BoundedCommand::new("/usr/bin/env").env("TOKEN", "x=y").run().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TOKEN=x=y"]);
    assert_eq!(shell("pwd; cat").run().unwrap().stdout, b"/\n", "folder or stdin");
}

#[test]
fn a_failure_shows_the_last_words_made_harmless() {
    let error = shell(
        "echo out; for n in 1 2 3 4 5 6 7; do echo line $n >&2; done; echo >&2;
         printf 'evil \\033[2J\\342\\200\\256txt\\377\\r\\n' >&2; exit 3",
    )
    .run()
    .unwrap_err();
    let CommandError::Failed { status: 3, stderr, .. } = &error else {
        unreachable!("{error:?}");
    };
    assert!(stderr.starts_with(b"line 1\n"), "the whole of stderr is there for the caller");
    let message = error.to_string();
    let (first, words) = message.split_once(":\n").unwrap();
    assert!(first.starts_with("/bin/sh -c echo out; for n"), "{first}");
    assert!(first.ends_with("; exit 3 failed with exit status 3"), "{first}");
    assert_eq!(
        words,
        "  line 3\n  line 4\n  line 5\n  line 6\n  line 7\n  \
         evil \\u{1b}[2J\\u{202e}txt\u{FFFD}"
    );
    assert!(message.chars().all(|c| c == '\n' || !c.is_control()), "{message:?}");
    let error = shell("exit 4").run().unwrap_err();
    assert_eq!(
        error.to_string(),
        "/bin/sh -c exit 4 failed with exit status 4 and said nothing on stderr"
    );
}

#[test]
fn long_arguments_and_words_are_cut_in_the_message() {
    let long = "x".repeat(100_000);
    let error = shell("printf %s \"$0\" >&2; exit 1").arg(&long).arg("last").run().unwrap_err();
    assert_eq!(error.stderr(), long.as_bytes());
    let message = error.to_string();
    assert!(message.contains("x… failed with exit status 1:\n  xxx"), "{message}");
    assert!(message.ends_with("x…") && message.len() < 600, "{message}");
}

#[test]
fn a_signal_is_told_from_an_exit_status() {
    let error = shell("kill -USR1 $$").run().unwrap_err();
    assert!(matches!(error, CommandError::Signalled { signal: 10, .. }), "{error:?}");
}

#[test]
fn programs_that_cannot_run_are_named() {
    let error = BoundedCommand::new("sh").run().unwrap_err();
    assert!(matches!(error, CommandError::NotAbsolute { .. }), "{error:?}");
    let error = BoundedCommand::new("/nonexistent/nft").run().unwrap_err();
    assert!(matches!(error, CommandError::NotFound { .. }), "{error:?}");
    assert!(error.to_string().contains("/nonexistent/nft"), "{error}");
    let error = BoundedCommand::new("/etc/passwd").run().unwrap_err();
    assert!(
        matches!(&error, CommandError::Spawn { source, .. } if source.kind() == ErrorKind::PermissionDenied),
        "{error:?}"
    );
    let error = BoundedCommand::new("/bin/true").arg("nul\0byte").run().unwrap_err();
    assert!(matches!(error, CommandError::Spawn { .. }), "{error:?}");
}

#[test]
fn output_beyond_the_limit_is_thrown_away_and_marked() {
    // Far more than both pipes hold: a child that blocked on one of them would never end.
    let output = shell(
        "head -c 3000000 /dev/zero | tr '\\0' o; head -c 3000000 /dev/zero >&2; printf end >&2",
    )
    .output_limit(1000)
    .run()
    .unwrap();
    assert_eq!(output.stdout, vec![b'o'; 1000]);
    assert_eq!(output.stderr.len(), 1000);
    assert!(output.stderr.ends_with(b"\0end"), "the end of stderr is kept");
    assert!(output.stdout_cut && output.stderr_cut);

    let exact = shell("printf 12345; printf 67890 >&2").output_limit(5).run().unwrap();
    assert_eq!((exact.stdout, exact.stdout_cut), (b"12345".to_vec(), false));
    assert_eq!((exact.stderr, exact.stderr_cut), (b"67890".to_vec(), false));
    let none = shell("printf 1; printf 2 >&2").output_limit(0).run().unwrap();
    assert!(none.stdout.is_empty() && none.stdout_cut && none.stderr.is_empty() && none.stderr_cut);
}

#[test]
fn input_larger_than_the_pipes_passes_and_may_be_left_unread() {
    let input: Vec<u8> = (0..4_000_000_u32).flat_map(u32::to_le_bytes).take(5_000_000).collect();
    let output = BoundedCommand::new("/bin/cat")
        .stdin(input.clone())
        .output_limit(input.len())
        .time_limit(AMPLE)
        .run()
        .unwrap();
    assert!(output.stdout == input && !output.stdout_cut);
    BoundedCommand::new("/bin/true").stdin(input).run().unwrap();
}

/// Whether a process still runs (a zombie does not).
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    !(state.is_empty() || state.starts_with('Z') || state.starts_with('X'))
}

/// Waits until a killed process is gone: the signal is sent, but its death takes its time.
fn gone(pid: &str) -> bool {
    (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        !runs(pid)
    })
}

#[test]
fn at_the_limit_the_whole_group_is_killed_even_when_it_ignores_signals() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let error = shell(
        "trap '' TERM INT HUP; echo started >&2; echo $$ >\"$PIDS\";
         (echo $(exec sh -c 'echo $PPID') >>\"$PIDS\"; while :; do sleep 1000; done) &
         while :; do sleep 1000; done",
    )
    .env("PIDS", &pids)
    .time_limit(Duration::from_secs(2))
    .run()
    .unwrap_err();
    let CommandError::TimedOut { limit, stderr, .. } = &error else {
        unreachable!("{error:?}");
    };
    assert_eq!((*limit, stderr.as_slice()), (Duration::from_secs(2), b"started\n".as_slice()));
    let pids = fs::read_to_string(pids).unwrap();
    assert_eq!(pids.lines().count(), 2, "child and grandchild: {pids:?}");
    for pid in pids.lines() {
        assert!(gone(pid), "{pid} survived");
    }
    assert!(
        error.to_string().contains("did not end within 2s and was killed:\n  started"),
        "{error}"
    );
}

#[test]
fn what_a_child_leaves_in_its_group_does_not_outlive_the_call() {
    let output = shell("sleep 1000 & echo $!").run().unwrap();
    let pid = String::from_utf8(output.stdout).unwrap();
    assert!(!output.stdout_cut);
    assert!(gone(pid.trim()), "{pid} survived");
}

#[test]
fn a_daemon_that_keeps_the_pipes_does_not_make_the_call_wait() {
    // It ends when it is killed below, long after the call has to be back.
    let output = shell("setsid sleep 1000 & echo $!; sleep 0.5").run().unwrap();
    assert!(output.stdout_cut, "the end of the stream was not seen");
    let text = String::from_utf8(output.stdout).unwrap();
    let pid = text.trim();
    assert!(runs(pid), "the daemon left the group, so it is not killed");
    let daemon = Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(daemon, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn no_zombie_and_no_descriptor_is_left() {
    let role = "no_zombie";
    if crate::os::testing::role().as_deref() != Some(role) {
        // Alone in a process, because the other tests have children and descriptors too.
        let myself = std::env::current_exe().unwrap();
        let test = "os::command::tests::no_zombie_and_no_descriptor_is_left";
        assert!(crate::os::testing::rerun(&myself, test, role).status().unwrap().success());
        return;
    }
    let before = names(Path::new("/proc/self/fd"));
    for _ in 0..20 {
        shell("cat").stdin(vec![b'x'; 100_000]).run().unwrap();
    }
    shell("sleep 1000").time_limit(Duration::from_millis(1)).run().unwrap_err();
    assert_eq!(names(Path::new("/proc/self/fd")).len(), before.len());
    let children = fs::read_dir("/proc/self/task")
        .unwrap()
        .map(|task| fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default());
    assert_eq!(children.collect::<String>(), "");
}

#[test]
fn programs_are_found_in_the_fixed_path_only() {
    let shell = find_program("sh").unwrap();
    assert!(shell.is_absolute() && shell.ends_with("sh"), "{}", shell.display());
    for name in ["", "no-such-program", "/bin/sh", "../bin/sh", "."] {
        assert_eq!(find_program(name), None, "{name}");
    }
}

#[test]
fn configured_program_is_found_where_it_is_configured() {
    let path = PathBuf::from("/nonexistent/tagwall-stand-in");
    configure_programs([("tagwall-stand-in", path.clone())].into());
    assert_eq!(find_program("tagwall-stand-in"), Some(path.clone()));
    assert!(find_program("sh").is_some_and(|shell| shell.ends_with("sh")));
    let before = configure_programs(std::collections::BTreeMap::new());
    assert_eq!(before["tagwall-stand-in"], path);
    assert_eq!(find_program("tagwall-stand-in"), None);
}

#[test]
fn debugging_shows_no_credential() {
    let shown = format!("{:?}", shell("true").env("TOKEN", "hush").stdin(b"hush".to_vec()));
    assert!(shown.contains("/bin/sh") && !shown.contains("hush"), "{shown}");
}
