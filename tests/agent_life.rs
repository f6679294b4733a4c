//! The agent's life: signals, configurations good and bad, who may speak to it, calendars, proposals, and long rest.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use common::host::BINARY;
use common::microsoft::{Fake, Reply};
use common::running::Agent;
use rustix::process::Signal;
use tagwall::control::{Answer, Client, Request};
use tagwall::snapshot::EXAMPLE_DOCUMENT;

const RULES: &str = "
cloud = \"example\"
[groups.devops]
tags = [\"AzureDevOps\"]
[rules.devops]
source = [\"10.20.0.0/24\"]
destination = \"devops\"
services = [\"tcp/443\"]
[targets.lists.list]
";
const DROP: &str = "[feeds.drop.directory]\npath = \"FOLDER/drop\"\n";
const AT_ONCE: &str = "[agent]\nquiet-period = \"0s\"\n";

/// An edition of the example whose devops group has so many more addresses.
fn edition(number: u64, more: u8) -> String {
    let added: Vec<_> = (0..more).map(|n| format!("\"192.0.2.{}/32\", ", 70 + 2 * n)).collect();
    let added = added.concat();
    let list = "\"192.0.2.0/26\",\n          \"192.0.2.128/25\"";
    assert_eq!(EXAMPLE_DOCUMENT.matches(list).count(), 1);
    EXAMPLE_DOCUMENT
        .replacen("\"changeNumber\": 1,", &format!("\"changeNumber\": {number},"), 1)
        .replace(list, &format!("{added}{list}"))
}

/// Puts an edition into the folder as a careful program does.
fn drop_edition(agent: &Agent, number: u64, more: u8) {
    let folder = agent.path("drop");
    fs::create_dir_all(&folder).unwrap();
    let part = folder.join(".part");
    fs::write(&part, edition(number, more)).unwrap();
    fs::rename(part, folder.join(format!("ServiceTags_Example_202509{number:02}.json"))).unwrap();
}

fn started(config: &str) -> Agent {
    let mut agent = Agent::new(config);
    drop_edition(&agent, 1, 0);
    agent.start();
    agent.until_generation(1);
    agent
}

fn list(agent: &Agent) -> String {
    fs::read_to_string(agent.path("state/current/lists/devops.txt")).unwrap()
}

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
fn a_signal_fetches_at_once() {
    let fake = Fake::start();
    fake.on("/ServiceTags_Example_20250901.json", Reply::ok(edition(1, 0)));
    let feed = |path: &str| {
        format!(
            "{RULES}{AT_ONCE}[feeds.mirror]\ninterval = \"7d\"\n[feeds.mirror.http]\nurl = \"{}\"\n[feeds.mirror.connection]\nproxy = \"none\"\nca-file = \"{}\"\n",
            fake.url(path),
            fake.ca_file().display()
        )
    };
    let mut agent = Agent::new(&feed("/ServiceTags_Example_20250901.json"));
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

/// What is current is what was recorded last, and nothing is half done.
fn is_whole(agent: &Agent) {
    let current = agent.path("state/current");
    let outcome = fs::read_to_string(current.join("outcome.json")).unwrap();
    assert!(outcome.contains("\"recorded\""), "{outcome}");
    assert!(!agent.path("state/journal.json").exists());
    agent.expect(0, &["status", "--verify"]);
    let replayed = tagwall::state::trail::replay(&agent.path("state")).unwrap();
    let belief = fs::read(agent.path("state/belief.json")).unwrap();
    assert_eq!(replayed.belief, tagwall::guard::Belief::read(&belief).unwrap());
    assert_eq!(replayed.last.unwrap().generation, agent.generation());
}

#[test]
fn a_stop_in_the_middle_of_a_publication_leaves_nothing_half_done() {
    let mut agent = Agent::new("");
    let config = format!("{}{AT_ONCE}{DROP}", slow(&agent));
    agent.configure(&config);
    drop_edition(&agent, 1, 0);
    agent.start();
    agent.until_generation(1);
    let (wait, seen) = (agent.path("wait"), agent.path("wait.seen"));
    for (number, signals) in [
        (2, &[Signal::TERM] as &[Signal]),
        (3, &[Signal::INT]),
        (4, &[Signal::TERM, Signal::TERM]),
        (5, &[Signal::TERM, Signal::INT]),
        (6, &[Signal::KILL]),
        (7, &[Signal::HUP, Signal::USR1, Signal::TERM]),
    ] {
        agent.until("rest", |agent| (!agent.path("state/journal.json").exists()).then_some(()));
        _ = fs::remove_file(&seen);
        fs::write(&wait, "").unwrap();
        drop_edition(&agent, number, u8::try_from(number).unwrap());
        agent.until("the reload", |_| seen.exists().then_some(()));
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
    let mut agent = Agent::new("");
    let config = format!("{}{AT_ONCE}{DROP}", slow(&agent));
    agent.configure(&config);
    drop_edition(&agent, 1, 0);
    agent.start();
    agent.until_generation(1);
    let (wait, seen) = (agent.path("wait"), agent.path("wait.seen"));
    _ = fs::remove_file(&seen);
    fs::write(&wait, "").unwrap();
    drop_edition(&agent, 2, 1);
    agent.until("the reload", |_| seen.exists().then_some(()));
    agent.kill();

    // Its command still runs, and nothing is changed beside it; systemd starts the agent again all the same.
    agent.launch();
    agent.until("a word about it", |agent| agent.log().contains("left behind").then_some(()));
    assert!(agent.status().is_none());
    fs::remove_file(&wait).unwrap();
    agent.until("an answer", Agent::status);
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
fn a_freeze_makes_publications_wait_and_a_person_is_not_held_up() {
    let freeze = "[agent.calendar.freezes.peak]\nfrom = \"2020-01-01\"\nto = \"2099-12-31\"\nreason = \"sales\"\n";
    let mut agent = started(&format!("{RULES}{AT_ONCE}{DROP}"));
    agent.configure(&format!("{RULES}{AT_ONCE}{freeze}{DROP}"));
    agent.expect(0, &["reload"]);
    drop_edition(&agent, 2, 2);
    let waits = |agent: &Agent| {
        agent.until_status("the wait", |status| {
            let waiting = status["agent"]["waiting"].as_str();
            waiting.is_some_and(|text| text.contains("freeze peak"))
        });
        assert!(!list(agent).contains("192.0.2.70"));
    };
    waits(&agent);
    // It still waits after a restart, and a configuration that a person loads brings nothing else with it.
    agent.stop();
    agent.start();
    waits(&agent);
    let before = agent.generation();
    agent.configure(&format!("{}{AT_ONCE}{freeze}{DROP}", RULES.replace("tcp/443", "tcp/8443")));
    let said = agent.expect(0, &["reload"]);
    assert!(said.contains("reloaded"), "{said}");
    waits(&agent);
    assert!(agent.generation() > before, "what a person asked for waits");
    // What only adds addresses may be let through.
    let urgent = "[agent.calendar]\nurgent = \"additions\"\n";
    agent.configure(&format!("{RULES}{AT_ONCE}{urgent}{freeze}{DROP}"));
    agent.expect(0, &["reload"]);
    agent.until("the addition", |agent| list(agent).contains("192.0.2.70").then_some(()));
    agent.until_status("no wait", |status| status["agent"]["waiting"].is_null());
    agent.stop();
    is_whole(&agent);
}

#[test]
fn a_proposal_waits_for_a_person_and_is_followed_over_restarts() {
    let mut agent = started(&format!("{RULES}{AT_ONCE}{DROP}"));
    agent.configure(&format!("{RULES}{AT_ONCE}mode = \"propose\"\n{DROP}"));
    agent.expect(0, &["reload"]);
    let waiting_hold = |agent: &Agent, known: &str| {
        agent.until("the hold", |agent| {
            let review: serde_json::Value =
                serde_json::from_slice(&agent.ask(&["review", "--json"]).stdout).ok()?;
            let ids = review["holds"].as_array()?.iter().filter_map(|hold| hold["id"].as_str());
            ids.map(str::to_owned).find(|id| id != known)
        })
    };
    drop_edition(&agent, 2, 1);
    let hold = waiting_hold(&agent, "");
    let status = agent.expect(0, &["status"]);
    assert!(status.contains("mode propose") && status.contains(&hold), "{status}");
    assert!(!list(&agent).contains("192.0.2.70"), "a proposal was applied");
    // Still after a restart; and what was approved comes in by itself.
    agent.kill();
    agent.start();
    assert_eq!(waiting_hold(&agent, ""), hold);
    agent.stop();
    agent.expect(0, &["approve", &hold, "--ticket", "CHG-7", "--reason", "looked at"]);
    agent.start();
    agent.until("the approved", |agent| list(agent).contains("192.0.2.70").then_some(()));
    // What was rejected does not.
    drop_edition(&agent, 3, 2);
    let hold = waiting_hold(&agent, &hold);
    agent.stop();
    agent.expect(0, &["reject", &hold, "--reason", "not ours"]);
    agent.start();
    agent.until_status("the look", |status| status["feeds"][0]["looked"].is_string());
    agent.expect(0, &["fetch"]);
    assert!(!list(&agent).contains("192.0.2.72"), "what was rejected was applied");
    agent.stop();
    is_whole(&agent);
    let said = agent.expect(0, &["history", "--prefix", "192.0.2.70"]);
    assert!(said.contains("approved by") && said.contains("CHG-7, looked at"), "{said}");
}

#[test]
fn a_pause_and_a_rollback_stop_what_comes_until_resume_and_over_restarts() {
    let mut agent = started(&format!("{RULES}{AT_ONCE}{DROP}"));
    drop_edition(&agent, 2, 1);
    agent.until_generation(2);
    agent.expect(0, &["pause", "storm"]);
    drop_edition(&agent, 3, 2);
    let waits = |agent: &Agent, more: &str| {
        agent.until_status("the wait", |status| {
            status["agent"]["waiting"].as_str().is_some_and(|text| text.contains("resume"))
        });
        assert!(!list(agent).contains(more));
    };
    waits(&agent, "192.0.2.72");
    agent.kill();
    agent.start();
    waits(&agent, "192.0.2.72");
    let status = agent.expect(0, &["status"]);
    assert!(status.contains("PAUSED") || status.contains("paused"), "{status}");
    agent.expect(0, &["resume"]);
    agent.until_generation(3);
    // Back to what was, and pinned there.
    let said = agent.expect(0, &["rollback"]);
    assert!(said.contains("pinned"), "{said}");
    drop_edition(&agent, 4, 3);
    waits(&agent, "192.0.2.72");
    agent.stop();
    agent.start();
    waits(&agent, "192.0.2.72");
    agent.expect(0, &["resume"]);
    agent.until("the newest", |agent| list(agent).contains("192.0.2.74").then_some(()));
    agent.stop();
    is_whole(&agent);
    let actions = agent.actions();
    let told: Vec<_> =
        actions.iter().filter(|action| !["published", "judged"].contains(action)).collect();
    assert_eq!(told, [&"paused", &"resumed", &"rolled back", &"resumed"], "{actions:?}");
    // When did it come, and from which publication?
    let said = agent.expect(0, &["history", "--prefix", "192.0.2.70"]);
    assert!(said.contains("entered group devops (rule devops)"), "{said}");
    assert!(said.contains("ServiceTags_Example_20250902.json"), "{said}");
    assert!(said.contains("now") && said.contains("in group devops"), "{said}");
    let json = agent.expect(0, &["history", "--prefix", "192.0.2.72", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let moves: Vec<(&str, bool)> = json["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            let entered = change["groups"][0]["entered"].as_array().unwrap();
            (change["action"].as_str().unwrap(), !entered.is_empty())
        })
        .collect();
    assert_eq!(moves, [("published", true), ("rolled-back", false), ("published", true)]);
    assert_eq!(json["now"][0]["whole"], true);
}

#[test]
fn what_reverts_before_it_is_quiet_publishes_nothing() {
    let mut agent =
        started(&format!("{RULES}[agent]\nquiet-period = \"8s\"\nmaximum-delay = \"60s\"\n{DROP}"));
    let found = |number: u64| {
        agent.until_status("the look", |status| {
            status["feeds"][0]["found"]["change_number"] == number
        });
    };
    drop_edition(&agent, 2, 5);
    found(2);
    drop_edition(&agent, 3, 0);
    found(3);
    agent.until("the judgement", |agent| {
        let mut judged = false;
        tagwall::state::trail::entries(&agent.path("state"), |entry| {
            judged |= entry.publications.values().any(|standing| standing.change_number == 3);
            Ok(())
        })
        .unwrap();
        judged.then_some(())
    });
    assert_eq!(agent.generation(), Some(1));
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
    let mut agent = Agent::new(&format!(
        "{RULES}{AT_ONCE}[feeds.mirror]\ninterval = \"7d\"\n[feeds.mirror.http]\nurl = \"{}\"\n[feeds.mirror.connection]\nproxy = \"none\"\nca-file = \"{}\"\n",
        fake.url(path),
        fake.ca_file().display()
    ));
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
