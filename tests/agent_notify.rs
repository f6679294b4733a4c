//! The running agent tells people: what it published, what fails, and what lasts, once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "to panic is how a test fails"
)]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use common::microsoft::{Fake, Reply};

const BINARY: &str = env!("CARGO_BIN_EXE_tagwall");
/// Ends a broken test; nothing waits for it otherwise.
const LONG: Duration = Duration::from_secs(60);

/// An agent with files only and one receiver, which is ended with the test.
struct Agent {
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Agent {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), child: None }
    }

    fn configure(&self, fake: &Fake, hook: &str, more: &str) {
        let text = format!(
            "cloud = \"example\"\n[agent]\nquiet-period = \"0s\"\n[groups.devops]\ntags = [\"AzureDevOps\"]\n[targets.lists.list]\n\
             [notify.ops]\ngather = \"100ms\"\n[notify.ops.webhook]\nurl = \"{}\"\n\
             [notify.ops.connection]\nproxy = \"none\"\nca-file = \"{}\"\n{more}",
            fake.url(hook),
            fake.ca_file().display()
        );
        fs::write(self.folder.path().join("tagwall.toml"), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .arg("--config")
            .arg(self.folder.path().join("tagwall.toml"))
            .arg("--state-dir")
            .arg(self.folder.path().join("state"))
            .args(args);
        command
    }

    fn start(&mut self) {
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let mut command = self.command(&["run"]);
        self.child =
            Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
        self.until(|| self.log().contains("\"ready\"").then_some(()));
    }

    fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(child.wait().unwrap().success(), "{}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Asks the running agent, which must answer well.
    fn ask(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "{args:?}\n{text}\n{}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
        text
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.ask(&["status", "--json"])).unwrap()
    }

    fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(began.elapsed() < LONG, "it does not come\n{}", self.log());
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Waits until somebody was told this, and gives back the event.
    fn told(&self, fake: &Fake, hook: &str, kind: &str, state: &str, subject: &str) -> Value {
        self.until(|| {
            events(fake, hook).into_iter().find(|event| {
                event["kind"] == kind && event["state"] == state && event["subject"] == subject
            })
        })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

/// All events that a hook was sent, in order.
fn events(fake: &Fake, hook: &str) -> Vec<Value> {
    fake.asked(hook)
        .iter()
        .flat_map(|asked| {
            let message: Value = serde_json::from_str(&asked.body).unwrap();
            message["events"].as_array().unwrap().clone()
        })
        .collect()
}

fn feed(folder: &Path) -> String {
    format!(
        "[feeds.drop]\nunreachable-after = \"1s\"\n[feeds.drop.directory]\npath = \"{}\"\nsettle = \"10ms\"\n",
        folder.display()
    )
}

#[test]
fn what_happens_and_what_lasts_is_told_once_and_a_reload_changes_who_is_told() {
    let fake = Fake::start();
    for hook in ["/first", "/second"] {
        fake.on(hook, Reply::ok(""));
    }
    let mut agent = Agent::new();
    agent.configure(&fake, "/first", "");
    agent.start();
    let event = agent.told(&fake, "/first", "published", "happened", "generation 1");
    assert!(event["summary"].as_str().unwrap().contains("1 group change"), "{event}");

    // A pause lasts: it is told when it begins, and after a restart only that it has ended.
    agent.ask(&["pause", "maintenance"]);
    let event = agent.told(&fake, "/first", "paused", "begun", "pause");
    assert!(event["summary"].as_str().unwrap().contains("maintenance"), "{event}");
    agent.stop();
    agent.start();
    agent.ask(&["resume"]);
    agent.told(&fake, "/first", "paused", "ended", "pause");
    let begun = events(&fake, "/first").iter().filter(|event| event["state"] == "begun").count();
    assert_eq!(begun, 1, "{:?}", events(&fake, "/first"));

    // A configuration that is refused is told by the one in use; the next one tells somebody else.
    fs::write(agent.folder.path().join("tagwall.toml"), "nonsense").unwrap();
    let pid = rustix::process::Pid::from_child(agent.child.as_ref().unwrap());
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    agent.told(&fake, "/first", "failed", "begun", "configuration");
    agent.configure(&fake, "/second", "[groups.more]\ntags = [\"AzureMonitor\"]\n");
    agent.ask(&["reload"]);
    agent.told(&fake, "/second", "failed", "ended", "configuration");
    let status = agent.until(|| {
        let status = agent.status();
        (!status["receivers"][0]["told"].is_null()).then_some(status)
    });
    let receiver = &status["receivers"][0];
    assert_eq!((&receiver["name"], &receiver["way"]), (&"ops".into(), &"webhook".into()));
    agent.stop();
}

#[test]
fn a_feed_out_of_reach_and_an_old_publication_are_told_and_end() {
    let fake = Fake::start();
    fake.on("/hook", Reply::ok(""));
    let mut agent = Agent::new();
    let drop = tempfile::tempdir().unwrap();
    let folder = drop.path().join("feed");
    agent.configure(&fake, "/hook", &feed(&folder));
    agent.start();
    agent.until(|| {
        agent.ask(&["fetch"]);
        events(&fake, "/hook").iter().any(|event| event["subject"] == "feed drop").then_some(())
    });
    let event = agent.told(&fake, "/hook", "failed", "begun", "feed drop");
    assert!(event["summary"].as_str().unwrap().starts_with("never answered yet: "), "{event}");
    // A file appears: of a day long ago.
    let document = include_str!("../src/snapshot/example.json");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("ServiceTags_Example_20200106.json"), document).unwrap();
    agent.ask(&["fetch"]);
    agent.told(&fake, "/hook", "failed", "ended", "feed drop");
    let event = agent.told(&fake, "/hook", "stale", "begun", "cloud example");
    assert!(event["summary"].as_str().unwrap().contains("2020-01-06"), "{event}");
    let notes = agent.status()["feeds"][0]["notes"].to_string();
    assert!(notes.contains("2020-01-06"), "{notes}");
    agent.stop();
}
