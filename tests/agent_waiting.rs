//! What makes changes wait: calendars, proposals, a pause, a pin, a quiet period; and what a person decides meanwhile.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

mod common;

use std::fs;

use common::devops::{AT_ONCE, DROP, RULES, drop_edition, is_whole, list, started};
use common::running::Agent;
use serde_json::Value;
use tagwall::state::trail;

const FREEZE: &str = "[agent.calendar.freezes.peak]\nfrom = \"2020-01-01\"\nto = \"2099-12-31\"\nreason = \"sales\"\n";

/// Waits until a change waits for this, and looks that it is not in force.
fn waits(agent: &Agent, what: &str, prefix: &str) {
    agent.until_status("the wait", |status| {
        status["agent"]["waiting"].as_str().is_some_and(|text| text.contains(what))
    });
    assert!(!list(agent).contains(prefix), "what waits is in force\n{}", agent.log());
}

/// Waits for a hold that is not known yet.
fn another_hold(agent: &Agent, known: &str) -> String {
    agent.until("the hold", |agent| {
        let review: Value =
            serde_json::from_slice(&agent.ask(&["review", "--json"]).stdout).ok()?;
        let ids = review["holds"].as_array()?.iter().filter_map(|hold| hold["id"].as_str());
        ids.map(str::to_owned).find(|id| id != known)
    })
}

#[test]
fn a_freeze_makes_publications_wait_and_a_person_is_not_held_up() {
    let mut agent = started(&format!("{RULES}{AT_ONCE}{DROP}"));
    agent.configure(&format!("{RULES}{AT_ONCE}{FREEZE}{DROP}"));
    agent.expect(0, &["reload"]);
    drop_edition(&agent, 2, 2);
    waits(&agent, "freeze peak", "192.0.2.70");
    // It still waits after a restart, and a configuration that a person loads brings nothing else with it.
    agent.stop();
    agent.start();
    waits(&agent, "freeze peak", "192.0.2.70");
    let before = agent.generation();
    agent.configure(&format!("{}{AT_ONCE}{FREEZE}{DROP}", RULES.replace("tcp/443", "tcp/8443")));
    let said = agent.expect(0, &["reload"]);
    assert!(said.contains("reloaded"), "{said}");
    waits(&agent, "freeze peak", "192.0.2.70");
    assert!(agent.generation() > before, "what a person asked for waits");
    // What only adds addresses may be let through.
    let urgent = "[agent.calendar]\nurgent = \"additions\"\n";
    agent.configure(&format!("{RULES}{AT_ONCE}{urgent}{FREEZE}{DROP}"));
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
    drop_edition(&agent, 2, 1);
    let hold = another_hold(&agent, "");
    let status = agent.expect(0, &["status"]);
    assert!(status.contains("mode propose") && status.contains(&hold), "{status}");
    assert!(!list(&agent).contains("192.0.2.70"), "a proposal was applied");
    // Still after a restart; and what was approved comes in by itself.
    agent.kill();
    agent.start();
    assert_eq!(another_hold(&agent, ""), hold);
    agent.stop();
    agent.expect(0, &["approve", &hold, "--ticket", "CHG-7", "--reason", "looked at"]);
    agent.start();
    agent.until("the approved", |agent| list(agent).contains("192.0.2.70").then_some(()));
    // What was rejected does not.
    drop_edition(&agent, 3, 2);
    let hold = another_hold(&agent, &hold);
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
    waits(&agent, "resume", "192.0.2.72");
    agent.kill();
    agent.start();
    waits(&agent, "resume", "192.0.2.72");
    let status = agent.expect(0, &["status"]);
    assert!(status.contains("PAUSED") || status.contains("paused"), "{status}");
    agent.expect(0, &["resume"]);
    agent.until_generation(3);
    // Back to what was, and pinned there.
    let said = agent.expect(0, &["rollback"]);
    assert!(said.contains("pinned"), "{said}");
    drop_edition(&agent, 4, 3);
    waits(&agent, "resume", "192.0.2.72");
    agent.stop();
    agent.start();
    waits(&agent, "resume", "192.0.2.72");
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
    let json: Value = serde_json::from_str(&json).unwrap();
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
        trail::entries(&agent.path("state"), |entry| {
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
fn what_a_person_decides_waits_for_the_calendar_unless_they_say_otherwise() {
    let mut agent = started(&format!("{RULES}{AT_ONCE}{DROP}"));
    agent.configure(&format!("{RULES}{AT_ONCE}mode = \"propose\"\n{FREEZE}{DROP}"));
    agent.expect(0, &["reload"]);
    drop_edition(&agent, 2, 1);
    let hold = another_hold(&agent, "");
    let said = agent.expect(0, &["approve", &hold, "--ticket", "CHG-8"]);
    assert!(said.contains("or when the calendar opens"), "{said}");
    waits(&agent, "freeze peak", "192.0.2.70");
    // The end of a pause opens no calendar either.
    agent.expect(0, &["pause", "storm"]);
    agent.expect(0, &["resume"]);
    waits(&agent, "freeze peak", "192.0.2.70");
    let said = agent.expect(0, &["approve", &hold, "--ticket", "CHG-9", "--now"]);
    assert!(said.contains("at once"), "{said}");
    agent.until("the approved", |agent| list(agent).contains("192.0.2.70").then_some(()));
    agent.until_status("no wait", |status| status["agent"]["waiting"].is_null());
    agent.stop();
    is_whole(&agent);
    let said = agent.expect(0, &["history", "--prefix", "192.0.2.70"]);
    assert!(said.contains("CHG-9"), "{said}");
}

#[test]
fn what_waits_is_judged_anew_at_start() {
    let mut agent = started(&format!("{RULES}{AT_ONCE}{DROP}"));
    agent.configure(&format!("{RULES}{AT_ONCE}{FREEZE}{DROP}"));
    agent.expect(0, &["reload"]);
    drop_edition(&agent, 2, 1);
    waits(&agent, "freeze peak", "192.0.2.70");
    agent.stop();
    // The freeze ends while nothing runs, and the folder is empty then: what waited was kept.
    fs::remove_dir_all(agent.path("drop")).unwrap();
    agent.configure(&format!("{RULES}{AT_ONCE}{DROP}"));
    agent.start();
    agent.until("the addition", |agent| list(agent).contains("192.0.2.70").then_some(()));
    agent.stop();
    is_whole(&agent);
}

#[test]
fn a_running_agent_takes_over_the_belief_of_another() {
    let config = format!("{RULES}{AT_ONCE}{DROP}");
    let (mut first, mut second) = (started(&config), started(&config));
    drop_edition(&first, 2, 1);
    first.until_generation(2);
    let belief = first.ask(&["belief", "export"]).stdout;
    let file = second.path("belief.json");
    fs::write(&file, "{}").unwrap();
    second.expect(4, &["belief", "import", file.to_str().unwrap()]);
    fs::write(&file, &belief).unwrap();
    let said = second.expect(0, &["belief", "import", file.to_str().unwrap()]);
    assert!(said.contains("was taken over"), "{said}");
    second.until("what the other has", |agent| list(agent).contains("192.0.2.70").then_some(()));
    let digest = |agent: &Agent| {
        let shown = agent.expect(0, &["belief", "show"]);
        shown.lines().next().unwrap().to_owned()
    };
    assert_eq!(digest(&first), digest(&second));
    first.stop();
    second.stop();
    is_whole(&second);
    assert!(second.actions().contains(&"began anew"));
}

#[test]
fn an_agent_is_stopped_and_rolled_back_although_what_is_in_force_is_damaged() {
    let mut agent = started(&format!("{RULES}{AT_ONCE}{DROP}"));
    drop_edition(&agent, 2, 1);
    agent.until_generation(2);
    fs::write(agent.path("state/current/ruleset.json"), "{").unwrap();
    for args in [&["pause", "storm"][..], &["resume"], &["rollback"]] {
        let said = agent.expect(0, args);
        assert!(said.contains("ruleset.json cannot be used"), "{args:?}: {said}");
    }
    assert!(!list(&agent).contains("192.0.2.70"));
    let status = agent.status().unwrap();
    assert_eq!((&status["generation"], &status["pin"]["generation"]), (&3.into(), &3.into()));
    agent.stop();
    is_whole(&agent);
    let actions = agent.actions();
    assert!(actions.ends_with(&["paused", "resumed", "rolled back"]), "{actions:?}");
}
