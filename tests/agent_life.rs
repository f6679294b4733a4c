//! The agent's life: signals, configurations good and bad, feeds out of the ordinary, who may speak to it, systemd, and long rest.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use common::devops::{
    AT_ONCE, DROP, RULES, drop_edition, edition, is_whole, list, mirror, started,
};
use common::host::BINARY;
use common::microsoft::{Fake, Reply};
use common::proxy::Proxy;
use common::running::Agent;
use rustix::process::Signal;
use serde_json::Value;
use tagwall::control::{Answer, Client, Request};

#[test]
fn a_good_configuration_is_taken_and_a_bad_one_leaves_the_old_one() {
    let mut agent = started(&format!("{RULES}{AT_ONCE}"));
    agent.configure(&format!("{}{AT_ONCE}", RULES.replace("tcp/443", "tcp/8443")));
    agent.signal(Signal::HUP);
    agent.until_generation(2);
    for (bad, why) in [("tcp/70000", "70000"), ("tcp/443\"]\nnonsense = [\"", "nonsense")] {
        agent.configure(&format!("{}{AT_ONCE}", RULES.replace("tcp/443", bad)));
        agent.signal(Signal::HUP);
        agent.until_status("the refusal", |status| {
            status["agent"]["config_refused"].as_str().is_some_and(|text| text.contains(why))
        });
    }
    // What is not published is refused like what cannot be read, by the command line too.
    agent.configure(&format!("{}{AT_ONCE}", RULES.replace("AzureDevOps", "AzureDevOop")));
    let said = agent.expect(3, &["reload"]);
    assert!(said.contains("AzureDevOps"), "{said}");
    assert_eq!(agent.generation(), Some(2));
    agent.configure(&format!("{RULES}{AT_ONCE}"));
    let said = agent.expect(0, &["reload"]);
    assert!(said.contains("reloaded"), "{said}");
    assert_eq!(agent.generation(), Some(3));
    assert!(agent.status().unwrap()["agent"]["config_refused"].is_null());
    // A configuration that is good, and a firewall that does not take it: in use, not in force, and no success.
    let check = "reload = [\"/bin/false\"]\n[targets.lists.list]";
    let verified = RULES.replace("[targets.lists.list]", &format!("[targets.lists]\n{check}"));
    agent.configure(&format!("{}{AT_ONCE}", verified.replace("tcp/443", "tcp/9443")));
    let said = agent.expect(7, &["reload"]);
    assert!(said.contains("not in force") && said.contains("reload"), "{said}");
    assert_eq!(agent.generation(), Some(3));
    agent.stop();
}

#[test]
fn how_full_a_target_is_follows_each_generation() {
    let limited = RULES.replace("lists.list]", "lists.list]\nmax-entries = 100");
    let mut agent = started(&format!("{limited}{AT_ONCE}{DROP}"));
    let count = |status: &Value| status["capacity"][0]["count"].as_u64();
    let counted = agent.until_status("a count", |status| count(status).is_some());
    let first = count(&counted).unwrap();
    drop_edition(&agent, 2, 3);
    agent.until_status("three more entries", |status| count(status) == Some(first + 3));
    agent.expect(0, &["rollback"]);
    agent.until_status("the entries of before", |status| count(status) == Some(first));
    agent.stop();
}

#[test]
fn a_signal_fetches_at_once() {
    let fake = Fake::start();
    fake.on("/ServiceTags_Example_20250901.json", Reply::ok(edition(1, 0)));
    let mut agent = Agent::new(&format!(
        "{RULES}{AT_ONCE}{}",
        mirror(&fake, "/ServiceTags_Example_20250901.json")
    ));
    agent.start();
    agent.until_generation(1);
    agent.until_status("the first look", |status| status["feeds"][0]["answered"].is_string());
    fake.on("/ServiceTags_Example_20250901.json", Reply::ok(edition(2, 3)));
    agent.signal(Signal::USR1);
    agent.until_generation(2);
    // 429 with its time, and 500: told, and what is in force stays.
    for reply in [Reply::new(429, "").header("Retry-After", "7200"), Reply::new(500, "")] {
        fake.on("/ServiceTags_Example_20250901.json", reply);
        let said = agent.expect(0, &["fetch"]);
        assert!(said.contains("failed"), "{said}");
    }
    assert_eq!(agent.generation(), Some(2));
    agent.stop();
}

#[test]
fn a_proxy_of_the_environment_is_used() {
    let fake = Fake::start();
    let path = "/ServiceTags_Example_20250901.json";
    fake.on(path, Reply::ok(edition(1, 0)));
    let mut agent = Agent::new(&format!("{RULES}{AT_ONCE}{}", mirror(&fake, path)));
    let proxy = Proxy::to(fake.port());
    // Nobody is where the server is said to be: only the proxy leads to it.
    let nowhere = format!("localhost:{}", fake.port());
    let config = fs::read_to_string(agent.path("tagwall.toml")).unwrap();
    agent.configure(&config.replace(&nowhere, "localhost:9").replace("proxy = \"none\"\n", ""));
    agent.launch_with(&[("HTTPS_PROXY", &proxy.url)]);
    agent.until_status("the publication", |status| status["feeds"][0]["found"].is_object());
    let head = proxy.asked();
    assert!(head.starts_with("CONNECT localhost:9 HTTP/1.1"), "{head}");
    assert_eq!(fake.asked(path).len(), 1);
    agent.stop();
}

#[test]
fn a_kernel_without_watches_is_told_and_the_folder_is_polled() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: user namespaces with limits of their own need root");
        return;
    }
    for (limit, sysctl) in [
        ("max_inotify_instances", "fs.inotify.max_user_instances"),
        ("max_inotify_watches", "fs.inotify.max_user_watches"),
    ] {
        let poll = "[feeds.drop.directory]\npath = \"FOLDER/drop\"\npoll = \"1s\"\n";
        let mut agent = Agent::new(&format!("{RULES}{AT_ONCE}{poll}"));
        drop_edition(&agent, 1, 0);
        // The kernel counts per user namespace too.
        let script = format!("echo 0 > /proc/sys/user/{limit} && exec \"$0\" \"$@\"");
        let before = ["unshare", "--user", "--map-root-user", "sh", "-c", &script];
        if !Command::new(before[0]).args(&before[1..]).arg("true").status().unwrap().success() {
            eprintln!("skipped: no user namespace");
            return;
        }
        agent.launch_through(&before);
        let status = agent.until_status("the note", |status| {
            status["feeds"][0]["notes"].to_string().contains("polled")
        });
        let notes = status["feeds"][0]["notes"].to_string();
        assert!(notes.contains(sysctl), "{notes}");
        agent.until_generation(1);
        drop_edition(&agent, 2, 1);
        agent.until("the edition", |agent| list(agent).contains("192.0.2.70").then_some(()));
        agent.stop();
    }
}

/// A target whose firewall takes its time while a file says so.
fn slow(agent: &Agent) -> String {
    let script = agent.path("reload.sh");
    let wait = agent.path("wait");
    let text = format!(
        "#!/bin/sh\ntouch {0}.seen\nwhile [ -e {0} ]; do /bin/sleep 0.05; done\n",
        wait.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    RULES.replace(
        "[targets.lists.list]",
        "[targets.lists]\nreload = [\"FOLDER/reload.sh\"]\n[targets.lists.list]",
    )
}

/// A running agent with such a target, and the file that holds it up.
fn slow_agent() -> (Agent, PathBuf) {
    let mut agent = Agent::new("");
    let config = format!("{}{AT_ONCE}{DROP}", slow(&agent));
    agent.configure(&config);
    drop_edition(&agent, 1, 0);
    agent.start();
    agent.until_generation(1);
    let wait = agent.path("wait");
    (agent, wait)
}

/// Drops an edition, and returns while the firewall that is held up takes it.
fn begin(agent: &Agent, number: u64, more: u8) {
    let seen = agent.path("wait.seen");
    _ = fs::remove_file(&seen);
    fs::write(agent.path("wait"), "").unwrap();
    drop_edition(agent, number, more);
    agent.until("the reload", |_| seen.exists().then_some(()));
}

#[test]
fn a_stop_in_the_middle_of_a_publication_leaves_nothing_half_done() {
    let (mut agent, wait) = slow_agent();
    for (number, signals) in [
        (2, &[Signal::TERM] as &[Signal]),
        (3, &[Signal::INT]),
        (4, &[Signal::TERM, Signal::TERM]),
        (5, &[Signal::TERM, Signal::INT]),
        (6, &[Signal::KILL]),
        (7, &[Signal::HUP, Signal::USR1, Signal::TERM]),
    ] {
        agent.until("rest", |agent| (!agent.path("state/journal.json").exists()).then_some(()));
        begin(&agent, number, u8::try_from(number).unwrap());
        for signal in signals {
            agent.signal(*signal);
            std::thread::sleep(Duration::from_millis(200));
        }
        let at_once = signals.len() == 2 || signals == [Signal::KILL];
        if !at_once {
            // A single signal waits for what is under way.
            fs::remove_file(&wait).unwrap();
        }
        let status = agent.ended();
        assert!(status.success() || signals == [Signal::KILL], "{signals:?}: {status}");
        _ = fs::remove_file(&wait);
        agent.until("the lock", |agent| agent.ask(&["resume"]).status.success().then_some(()));
        is_whole(&agent);
        agent.start();
        agent.until("the edition", |agent| {
            list(agent).contains(&format!("192.0.2.{}", 70 + 2 * (number - 1))).then_some(())
        });
        agent.until("rest", |agent| (!agent.path("state/journal.json").exists()).then_some(()));
    }
    agent.stop();
    is_whole(&agent);
}

#[test]
fn what_a_killed_agent_left_behind_is_waited_for() {
    let (mut agent, wait) = slow_agent();
    begin(&agent, 2, 1);
    agent.kill();

    // Its command still runs, and nothing is changed beside it; systemd starts the agent again all the same.
    agent.launch();
    agent.until("a word about it", |agent| agent.log().contains("left behind").then_some(()));
    assert!(agent.status().is_none());
    // What it is asked meanwhile is done afterwards.
    agent.configure("this is no configuration");
    agent.signal(Signal::HUP);
    agent.signal(Signal::USR1);
    fs::remove_file(&wait).unwrap();
    agent.until_status("a reload that is refused", |status| {
        status["agent"]["config_refused"].is_string()
    });
    agent.until_generation(2);
    agent.stop();
    is_whole(&agent);
}

#[test]
fn the_kernel_decides_who_may_speak() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: other users need root");
        return;
    }
    let mut agent = Agent::new(&format!("{RULES}[agent]\nsocket-group = \"54321\"\n"));
    fs::set_permissions(agent.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = agent.path("tagwall");
    fs::copy(BINARY, &binary).unwrap();
    agent.start();
    agent.until_status("generation 1", |status| status["generation"] == 1);
    let state = agent.path("state");
    let as_user = |group: &str, args: &[&str]| {
        let output = Command::new("setpriv")
            .args(["--reuid", "12345", "--regid", group, "--clear-groups"])
            .arg(&binary)
            .arg("--state-dir")
            .arg(&state)
            .args(args)
            .output()
            .unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap(), text)
    };
    let (code, said) = as_user("12345", &["pause", "a stranger"]);
    assert!(code != 0 && said.contains("does not let user id 12345 in"), "{said}");
    let (code, said) = as_user("12345", &["status"]);
    assert!(code == 0 && said.contains("generation 1"), "{said}");
    // Who may not read the generations is told of them by the agent.
    let generations = state.join("generations");
    fs::set_permissions(&generations, fs::Permissions::from_mode(0o700)).unwrap();
    let (code, said) = as_user("12345", &["history"]);
    assert!(code == 0 && said.starts_with("* 1 ") && said.contains("recorded"), "{said}");
    let (code, said) = as_user("54321", &["pause", "a member"]);
    assert!(code == 0, "{said}");
    let pause = &agent.status().unwrap()["pause"];
    assert!(pause["by"].as_str().unwrap().contains("12345"), "{pause}");
    assert_eq!(pause["reason"], "a member");
    agent.expect(0, &["resume"]);
    // In a runtime folder everybody reaches the status, whoever may enter the state folder.
    agent.stop();
    let runtime = agent.path("run");
    fs::create_dir(&runtime).unwrap();
    agent.launch_with(&[("RUNTIME_DIRECTORY", runtime.to_str().unwrap())]);
    agent.until_status("generation 1", |status| status["generation"] == 1);
    assert_eq!(fs::read_link(state.join("control.sock")).unwrap(), runtime.join("control.sock"));
    let mode = |name: &str| fs::metadata(runtime.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("control.sock"), mode("status.sock")), (0o660, 0o666));
    // Where only the group may read, strangers may not even do that.
    agent.configure(&format!("{RULES}[agent]\nsocket-group = \"54321\"\nstatus-for = \"group\"\n"));
    agent.stop();
    agent.start();
    agent.until_status("generation 1", |status| status["generation"] == 1);
    let (code, said) = as_user("12345", &["status"]);
    assert!(code != 0 && said.contains("does not let user id 12345 in"), "{said}");
    assert_eq!(as_user("54321", &["status"]).0, 0);
    agent.stop();
}

#[test]
fn systemd_is_told_where_the_agent_stands() {
    let mut agent = Agent::new(&format!("{RULES}{AT_ONCE}"));
    let path = agent.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
    agent.launch_with(&[("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "400000")]);
    let next = |wanted: &str| {
        let mut buffer = [0; 4096];
        loop {
            let length = socket.recv(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.contains(wanted) {
                return text;
            }
            assert!(!text.contains("STOPPING"), "{wanted} did not come");
        }
    };
    let ready = next("READY=1");
    assert!(ready.contains("STATUS=generation 1 is in force"), "{ready}");
    assert_eq!(agent.generation(), Some(1), "it is ready before its rules are");
    next("WATCHDOG=1");
    agent.signal(Signal::HUP);
    let reloading = next("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    next("READY=1");
    // Who does not turn gives no sign of life.
    agent.signal(Signal::STOP);
    std::thread::sleep(Duration::from_millis(100));
    socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4096];
    while socket.recv(&mut buffer).is_ok() {}
    std::thread::sleep(Duration::from_millis(900));
    assert!(socket.recv(&mut buffer).is_err(), "a stopped process pinged");
    socket.set_nonblocking(false).unwrap();
    agent.signal(Signal::CONT);
    next("WATCHDOG=1");
    agent.signal(Signal::TERM);
    next("STOPPING=1");
    assert!(agent.ended().success());
}

/// Open files, threads and kibibytes of memory of a process.
fn resources(agent: &Agent) -> (usize, u64, u64) {
    let process = format!("/proc/{}", agent.pid().as_raw_nonzero());
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let files = fs::read_dir(format!("{process}/fd")).unwrap().count();
    (files, field("Threads:"), field("VmRSS:"))
}

#[test]
fn nothing_grows_over_many_looks() {
    let fake = Fake::start();
    let path = "/ServiceTags_Example_20250901.json";
    let document = edition(1, 0);
    fake.on_each(path, move |asked| match asked.header("if-none-match") {
        Some("\"1\"") => Reply::new(304, "").header("ETag", "\"1\""),
        _ => Reply::ok(document.clone()).header("ETag", "\"1\""),
    });
    let mut agent = Agent::new(&format!("{RULES}{AT_ONCE}{}", mirror(&fake, path)));
    agent.start();
    agent.until_generation(1);
    let client = Client::find(&agent.path("state")).unwrap();
    let look = || match client.ask(&Request::Fetch { feed: None }, &[]).unwrap() {
        Answer::Said(said) => said.text,
        other => panic!("{other:?}"),
    };
    for _ in 0..200 {
        look();
    }
    let (before, told) = (resources(&agent), agent.actions());
    let looks = if std::env::var_os("TAGWALL_LONG").is_some() { 10_000 } else { 600 };
    for _ in 0..looks {
        let said = look();
        assert!(said.contains("feed mirror: unchanged"), "{said}");
    }
    agent.until("rest", |agent| (resources(agent).1 <= before.1).then_some(()));
    let after = resources(&agent);
    assert!(fake.count() >= looks + 200, "{}", fake.count());
    assert!(after.0 <= before.0 + 2, "open files: {before:?}, {after:?}");
    assert!(after.2 <= before.2 + 1024, "memory in KiB: {before:?}, {after:?}");
    eprintln!("{looks} looks: {before:?} before, {after:?} after (files, threads, KiB)");
    assert_eq!(agent.actions(), told, "what changes nothing is told");
    agent.stop();
}
