//! The running agent follows hostnames: the real binary, and a name server that says what the test wants.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

mod common;

use std::fs;
use std::process::Command;

use common::dns::{Liar, addresses, answer};
use common::running::Agent;
use hickory_resolver::proto::op::ResponseCode;
use serde_json::Value;

/// Follows one name, which this server answers.
fn config(server: &Liar, more: &str) -> String {
    format!(
        "cloud = \"example\"\n[agent]\nquiet-period = \"0s\"\n[groups.devops]\ntags = [\"AzureDevOps\"]\n\
         [groups.web]\nhosts = [\"a.example.com\"]\n[targets.lists.list]\n\
         [targets.other.list]\n\
         [dns]\nresolvers = [\"{}\"]\ntimeout = \"1s\"\nmin-ttl = \"1s\"\n[dns.names.\"a.example.com\"]\n\
         allow-special = [\"198.51.100.0/24\", \"203.0.113.0/24\", \"2001:db8::/32\"]\n{more}",
        server.address
    )
}

/// The one name of the status.
fn name(agent: &Agent) -> Value {
    agent.status().unwrap()["names"][0].clone()
}

/// A file of the generation in force.
fn file(agent: &Agent, path: &str) -> String {
    fs::read_to_string(agent.path("state/current").join(path)).unwrap_or_default()
}

/// Waits until the list of the name is this.
fn until_listed(agent: &Agent, lines: &str) {
    agent.until(lines, |agent| (list(&file(agent, "lists/web.txt")) == lines).then_some(()));
}

/// The addresses of a list on one line.
fn list(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| line.trim_end_matches("/32").trim_end_matches("/128"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A server that gives these addresses for a second.
fn server(first: &'static [&'static str]) -> Liar {
    Liar::start(move |question| vec![addresses(question, first, 1).into()])
}

#[test]
fn an_answer_becomes_a_small_generation_that_shares_the_rest() {
    let server = server(&["198.51.100.7"]);
    let mut agent = Agent::new(&config(&server, ""));
    agent.start();
    until_listed(&agent, "198.51.100.7");
    let before = agent.generation().unwrap();
    let inode = |generation: u64, path: &str| {
        use std::os::unix::fs::MetadataExt as _;
        let folder = agent.path(&format!("state/generations/{generation:06}"));
        fs::metadata(folder.join(path)).unwrap().ino()
    };
    let shared = ["other/devops.txt", "lists/devops.txt"].map(|path| inode(before, path));

    server.say(|question| vec![addresses(question, &["203.0.113.9", "2001:db8::9"], 1).into()]);
    until_listed(&agent, "198.51.100.7 203.0.113.9 2001:db8::9");
    let after = agent.generation().unwrap();
    assert_eq!(after, before + 1, "answers of about a second are one change\n{}", agent.log());
    assert_eq!(
        ["other/devops.txt", "lists/devops.txt"].map(|path| inode(after, path)),
        shared,
        "what is equal is stored once"
    );
    let manifest: Value = serde_json::from_str(&file(&agent, "manifest.json")).unwrap();
    assert_eq!((&manifest["small"], &manifest["reason"]), (&true.into(), &"names".into()));

    // A name that ends, and one that is answered with something else than addresses, keep what they had.
    for code in [ResponseCode::NXDomain, ResponseCode::ServFail, ResponseCode::NoError] {
        server.say(move |question| vec![answer(question, code).into()]);
        let failures = |name: &Value| name["failures"].as_u64().unwrap();
        agent.until("a failure", |agent| (failures(&name(agent)) > 0).then_some(()));
        server.say(|question| vec![addresses(question, &["203.0.113.9", "2001:db8::9"], 1).into()]);
        agent.until("no failure", |agent| (failures(&name(agent)) == 0).then_some(()));
    }
    assert_eq!(agent.generation().unwrap(), after, "{}", agent.log());
    let name = name(&agent);
    assert_eq!(name["addresses"].as_array().unwrap().len(), 3, "{name}");
    assert_eq!(name["addresses"][1]["by"][0], server.address.to_string(), "{name}");
    let text = agent.expect(0, &["status"]);
    assert!(text.contains("name a.example.com: 3 addresses"), "{text}");
    let text = agent.expect(0, &["explain", "a.example.com"]);
    assert!(text.contains("203.0.113.9 first "), "{text}");
    agent.stop();
}

#[test]
fn a_restart_without_dns_uses_what_was_answered_and_keeps_it() {
    let server = server(&["198.51.100.7"]);
    let mut agent = Agent::new(&config(&server, ""));
    agent.start();
    until_listed(&agent, "198.51.100.7");
    let seen = |agent: &Agent| name(agent)["addresses"][0]["last"].to_string();
    let last = seen(&agent);
    agent.until("another answer", |agent| (seen(agent) > last).then_some(()));
    agent.stop();
    server.say(|_| Vec::new());
    // Everything is rendered anew from what was stored.
    agent.configure(&config(&server, "[targets.third.list]\n"));
    agent.start();
    agent.until("the third list", |agent| {
        (list(&file(agent, "third/web.txt")) == "198.51.100.7").then_some(())
    });
    agent.until("a failure", |agent| (name(agent)["failures"] == 1).then_some(()));
    assert_eq!(list(&file(&agent, "lists/web.txt")), "198.51.100.7");
    assert!(seen(&agent) > last, "what was seen after the generation was made is kept at the end");
    assert!(agent.log().contains("is not answered"), "{}", agent.log());
    agent.stop();
}

#[test]
fn a_freeze_holds_up_publications_and_no_answer_a_pause_holds_up_both() {
    let server = server(&["198.51.100.7"]);
    let mut agent = Agent::new(&config(&server, ""));
    let freeze = "[agent.calendar.freezes.ever]\nfrom = \"2020-01-01\"\nto = \"2999-01-01\"\n";
    agent.start();
    until_listed(&agent, "198.51.100.7");
    agent.configure(&config(&server, freeze));
    agent.expect(0, &["reload"]);
    server.say(|question| vec![addresses(question, &["203.0.113.9"], 1).into()]);
    until_listed(&agent, "198.51.100.7 203.0.113.9");
    agent.expect(0, &["pause", "maintenance"]);
    server.say(|question| vec![addresses(question, &["203.0.113.10"], 1).into()]);
    agent
        .until("the wait", |agent| agent.log().contains("answers of hostnames wait").then_some(()));
    assert_eq!(list(&file(&agent, "lists/web.txt")), "198.51.100.7 203.0.113.9");
    agent.expect(0, &["resume"]);
    until_listed(&agent, "198.51.100.7 203.0.113.9 203.0.113.10");
    agent.stop();
}

#[test]
fn small_generations_are_kept_briefly_and_a_rollback_looks_past_them() {
    let server = server(&["198.51.100.1"]);
    let mut agent = Agent::new(&config(&server, "[publish]\nsmall-generations = 2\n"));
    agent.start();
    until_listed(&agent, "198.51.100.1");
    agent.configure(&config(
        &server,
        "[publish]\nsmall-generations = 2\n[groups.more]\ntags = [\"AzureMonitor\"]\n",
    ));
    agent.expect(0, &["reload"]);
    let full = agent.generation().unwrap();
    let mut expected = "198.51.100.1".to_owned();
    for last in 3..9_u8 {
        let address = format!("198.51.100.{}", last * 2 + 1);
        expected.push_str(&format!(" {address}"));
        server.say(move |question| vec![addresses(question, &[&address], 1).into()]);
        until_listed(&agent, &expected);
    }
    let history = agent.expect(0, &["history", "--json", "-n", "100"]);
    let history: Value = serde_json::from_str(&history).unwrap();
    let small = |entry: &&Value| entry["reason"] == "names";
    let entries = history["generations"].as_array().unwrap();
    assert!(entries.iter().filter(small).count() <= 3, "two, and the one in force\n{history}");
    assert!(entries.iter().any(|entry| entry["generation"] == full), "{history}");
    // What a rollback takes back is the last change of the rules, not the last answer.
    agent.expect(0, &["rollback"]);
    assert!(file(&agent, "lists/more.txt").is_empty(), "{}", agent.expect(0, &["history"]));
    agent.stop();
}

#[test]
fn an_answer_outside_of_the_tag_that_should_hold_it_is_told_everywhere() {
    let server = server(&["198.51.100.250"]);
    let expected = "expected-tag = \"AzureActiveDirectory\"\n[serve]\nlisten = [\"127.0.0.1:0\"]\n[notify.ops]\ngather = \"100ms\"\n\
         [notify.ops.command]\nrun = [\"/usr/bin/tee\", \"-a\", \"FOLDER/messages\"]\n";
    let mut agent = Agent::new(&config(&server, expected));
    let messages = agent.path("messages");
    agent.start();
    until_listed(&agent, "198.51.100.250");
    let outside = agent.until("the suspicion", |agent| {
        Some(name(agent)["outside"].clone()).filter(|it| !it.is_null())
    });
    assert_eq!(outside["tag"], "AzureActiveDirectory");
    assert_eq!(outside["addresses"][0], "198.51.100.250");
    let logged = "an address lies outside of the tag that should hold it";
    agent.until("the warning", |agent| agent.log().contains(logged).then_some(()));
    assert_eq!(agent.log().matches(logged).count(), 1, "{}", agent.log());
    for args in [&["status"][..], &["explain", "a.example.com"]] {
        let text = agent.expect(0, args);
        assert!(text.contains("outside of AzureActiveDirectory"), "{args:?}\n{text}");
    }
    agent.until("the message", |_| {
        let told = fs::read_to_string(&messages).unwrap_or_default();
        told.contains("name a.example.com: outside").then_some(())
    });
    let metrics = agent.until("the metric", |agent| {
        let place = agent.status()?["serve"]["places"][0].clone();
        let url = format!("http://{}/metrics", place.as_str()?.split(' ').next()?);
        let text = Command::new("curl").args(["-s", &url]).output().ok()?.stdout;
        let text = String::from_utf8(text).unwrap();
        text.contains("tagwall_hostname_addresses_outside{name=\"a.example.com\"} 1.0")
            .then_some(text)
    });
    let by = format!(
        "tagwall_hostname_resolver_addresses{{name=\"a.example.com\",resolver=\"{}\"}} 1",
        server.address
    );
    assert!(metrics.contains(&by), "{metrics}");
    agent.stop();
}
