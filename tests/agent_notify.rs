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

use common::microsoft::{Fake, Reply};
use common::running::Agent;
use rustix::process::Signal;
use serde_json::Value;

/// Files only, and one receiver.
fn config(fake: &Fake, hook: &str, more: &str) -> String {
    format!(
        "cloud = \"example\"\n[agent]\nquiet-period = \"0s\"\n[groups.devops]\ntags = [\"AzureDevOps\"]\n[targets.lists.list]\n\
         [notify.ops]\ngather = \"100ms\"\n[notify.ops.webhook]\nurl = \"{}\"\n\
         [notify.ops.connection]\nproxy = \"none\"\nca-file = \"{}\"\n{more}",
        fake.url(hook),
        fake.ca_file().display()
    )
}

/// Waits until somebody was told this, and gives back the event.
fn told(agent: &Agent, fake: &Fake, hook: &str, kind: &str, state: &str, subject: &str) -> Value {
    agent.until(&format!("{kind} {state} {subject}"), |_| {
        events(fake, hook).into_iter().find(|event| {
            event["kind"] == kind && event["state"] == state && event["subject"] == subject
        })
    })
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

const FEED: &str = "[feeds.drop]\nunreachable-after = \"1s\"\n[feeds.drop.directory]\npath = \"FOLDER/feed\"\nsettle = \"10ms\"\n";

#[test]
fn what_happens_and_what_lasts_is_told_once_and_a_reload_changes_who_is_told() {
    let fake = Fake::start();
    for hook in ["/first", "/second"] {
        fake.on(hook, Reply::ok(""));
    }
    let mut agent = Agent::new(&config(&fake, "/first", ""));
    agent.start();
    let event = told(&agent, &fake, "/first", "published", "happened", "generation 1");
    assert!(event["summary"].as_str().unwrap().contains("1 group change"), "{event}");

    // A pause lasts: it is told when it begins, and after a restart only that it has ended.
    agent.expect(0, &["pause", "maintenance"]);
    let event = told(&agent, &fake, "/first", "paused", "begun", "pause");
    assert!(event["summary"].as_str().unwrap().contains("maintenance"), "{event}");
    agent.stop();
    agent.start();
    agent.expect(0, &["resume"]);
    told(&agent, &fake, "/first", "paused", "ended", "pause");
    let begun = events(&fake, "/first").iter().filter(|event| event["state"] == "begun").count();
    assert_eq!(begun, 1, "{:?}", events(&fake, "/first"));

    // A configuration that is refused is told by the one in use; the next one tells somebody else.
    agent.configure("nonsense");
    agent.signal(Signal::HUP);
    told(&agent, &fake, "/first", "failed", "begun", "configuration");
    agent.configure(&config(&fake, "/second", "[groups.more]\ntags = [\"AzureMonitor\"]\n"));
    agent.expect(0, &["reload"]);
    told(&agent, &fake, "/second", "failed", "ended", "configuration");
    let status =
        agent.until_status("the receiver", |status| !status["receivers"][0]["told"].is_null());
    let receiver = &status["receivers"][0];
    assert_eq!((&receiver["name"], &receiver["way"]), (&"ops".into(), &"webhook".into()));
    agent.stop();
}

#[test]
fn a_feed_out_of_reach_and_an_old_publication_are_told_and_end() {
    let fake = Fake::start();
    fake.on("/hook", Reply::ok(""));
    let mut agent = Agent::new(&config(&fake, "/hook", FEED));
    let folder = agent.path("feed");
    agent.start();
    agent.until("the event", |agent| {
        agent.expect(0, &["fetch"]);
        events(&fake, "/hook").iter().any(|event| event["subject"] == "feed drop").then_some(())
    });
    let event = told(&agent, &fake, "/hook", "failed", "begun", "feed drop");
    assert!(event["summary"].as_str().unwrap().starts_with("never answered yet: "), "{event}");
    // A file appears: of a day long ago.
    let document = include_str!("../src/snapshot/example.json");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("ServiceTags_Example_20200106.json"), document).unwrap();
    agent.expect(0, &["fetch"]);
    told(&agent, &fake, "/hook", "failed", "ended", "feed drop");
    let event = told(&agent, &fake, "/hook", "stale", "begun", "cloud example");
    assert!(event["summary"].as_str().unwrap().contains("2020-01-06"), "{event}");
    let notes = agent.status().unwrap()["feeds"][0]["notes"].to_string();
    assert!(notes.contains("2020-01-06"), "{notes}");
    agent.stop();
}
