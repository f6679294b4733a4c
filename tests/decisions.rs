//! What is held, what a person decides about it, and what becomes of that: with and without a running agent, over pairs of hosts,
//! and before anything is in force. And what `replay` says about all of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use common::devops::{AT_ONCE, DROP};
use common::running::Agent;
use serde_json::{Value, json};

const CONFIG: &str = "
cloud = \"example\"
[groups.web]
tags = [\"Web\"]
[groups.mail]
tags = [\"Mail\"]
[rules.web]
source = [\"10.20.0.0/24\"]
destination = \"web\"
services = [\"tcp/443\"]
[rules.mail]
source = [\"10.20.0.0/24\"]
destination = \"mail\"
services = [\"tcp/25\"]
[targets.lists.list]
[guard.limits]
addition-addresses = 8
removal-addresses = 8
grace-days = 0
";

/// Two networks of the web, and a little mail.
const FIRST: [&[&str]; 2] = [&["192.0.2.0/24", "198.51.100.0/24"], &["203.0.113.0/28"]];
/// Half of the web is gone, which is not plausible; mail has grown by a little, which is.
const LESS: [&[&str]; 2] = [&["192.0.2.0/24"], &["203.0.113.0/28", "203.0.113.64/30"]];
/// The same, and mail has grown by far.
const MORE: [&[&str]; 2] = [&["192.0.2.0/24"], &["203.0.113.0/25"]];

/// A publication of the tags Web and Mail.
fn document(number: u64, [web, mail]: [&[&str]; 2]) -> String {
    let tag = |name: &str, prefixes: &[&str]| {
        json!({ "name": name, "id": name, "properties": {
            "changeNumber": number, "region": "", "regionId": 0, "platform": "Azure", "systemService": "",
            "addressPrefixes": prefixes, "networkFeatures": ["NSG"],
        }})
    };
    json!({ "changeNumber": number, "cloud": "Example", "values": [tag("Mail", mail), tag("Web", web)] })
        .to_string()
}

/// Puts a publication of a day in September 2025 into a folder, as a careful program does.
fn put(host: &Agent, folder: &str, day: u8, tags: [&[&str]; 2]) -> String {
    fs::create_dir_all(host.path(folder)).unwrap();
    let (part, path) = (
        host.path(&format!("{folder}/.part")),
        host.path(&format!("{folder}/ServiceTags_Example_202509{day:02}.json")),
    );
    fs::write(&part, document(day.into(), tags)).unwrap();
    fs::rename(part, &path).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The prefixes of a list in force.
fn list(host: &Agent, group: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(host.path(&format!("state/current/lists/{group}.txt"))).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

fn is(list: &BTreeSet<String>, prefixes: &[&str]) -> bool {
    list.iter().map(String::as_str).eq(prefixes.iter().copied())
}

fn review(host: &Agent) -> Value {
    serde_json::from_str(&host.expect(0, &["review", "--json"])).unwrap()
}

/// The IDs of what is held of a group.
fn held(host: &Agent, group: &str) -> Vec<String> {
    let review = review(host);
    let of_group =
        |hold: &&Value| hold["groups"].as_array().unwrap().iter().any(|held| held["name"] == group);
    let holds = review["holds"].as_array().unwrap().iter().filter(of_group);
    holds.map(|hold| hold["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn decisions_are_followed_by_the_next_render() {
    let host = Agent::new(CONFIG);
    let (first, less, more) =
        (put(&host, "in", 1, FIRST), put(&host, "in", 8, LESS), put(&host, "in", 15, MORE));
    host.expect(0, &["render", "--feed", &first]);
    // What is plausible is in force, the rest waits, and whoever runs this from a script learns of it.
    let said = host.expect(9, &["render", "--feed", &less]);
    assert!(said.contains("held, see `tagwall review"), "{said}");
    assert!(is(&list(&host, "web"), &["192.0.2.0/24", "198.51.100.0/24"]));
    assert!(is(&list(&host, "mail"), &["203.0.113.0/28", "203.0.113.64/30"]));
    let [removal] = held(&host, "web").try_into().unwrap();
    let said = host.expect(0, &["review", &removal]);
    assert!(said.contains("50 % of the group's IPv4 addresses would go"), "{said}");
    assert!(said.contains("- 198.51.100.0/24") && said.contains("(rules web)"), "{said}");
    let hold = review(&host)["holds"][0].clone();
    assert_eq!(
        (&hold["kind"], &hold["addresses"], &hold["share"]),
        (&json!("removal"), &json!(256), &json!(0.5))
    );
    assert!(host.expect(0, &["status"]).contains(&removal));
    // Again it is held, by the same name, and ends with the same code.
    host.expect(9, &["render", "--feed", &less]);
    assert_eq!(held(&host, "web"), [removal.as_str()]);

    let said = host.expect(0, &["approve", &removal, "--ticket", "CHG-7", "--reason", "announced"]);
    assert!(
        said.contains("is approved by") && said.contains("the next `tagwall render` follows it"),
        "{said}"
    );
    assert!(
        is(&list(&host, "web"), &["192.0.2.0/24", "198.51.100.0/24"]),
        "nothing is followed yet"
    );
    host.expect(0, &["render", "--feed", &less]);
    assert!(is(&list(&host, "web"), &["192.0.2.0/24"]));
    assert_eq!(held(&host, "web"), [""; 0]);

    host.expect(9, &["render", "--feed", &more]);
    let [addition] = held(&host, "mail").try_into().unwrap();
    let decision = host.expect(0, &["reject", &addition, "--reason", "not ours", "--json"]);
    let decision: Value = serde_json::from_str(&decision).unwrap();
    assert_eq!((&decision["verdict"], &decision["reason"]), (&json!("reject"), &json!("not ours")));
    // What is decided is held no more.
    host.expect(0, &["render", "--feed", &more]);
    assert!(
        is(&list(&host, "mail"), &["203.0.113.0/28", "203.0.113.64/30"]),
        "what was rejected is in force"
    );
    assert!(host.expect(0, &["review"]).contains(&format!("{addition} is rejected by")));

    let said = host.expect(2, &["approve", "00000000"]);
    assert!(said.contains("00000000"), "{said}");
    let said = host.expect(0, &["history", "--prefix", "198.51.100.7"]);
    assert!(said.contains("approved by") && said.contains("CHG-7, announced"), "{said}");
    // A second look at the same is an entry too when it was at another time.
    let actions = host.actions();
    let done: Vec<_> = actions.iter().filter(|action| **action != "judged").copied().collect();
    assert_eq!(done, ["published", "published", "decided", "published", "decided"]);
}

#[test]
fn beginning_anew_lets_an_older_publication_in() {
    let host = Agent::new(CONFIG);
    let (older, newer) = (put(&host, "in", 1, LESS), put(&host, "in", 29, FIRST));
    host.expect(2, &["rebaseline", "nothing is known yet"]);
    host.expect(0, &["render", "--feed", &newer]);
    let said = host.expect(4, &["render", "--feed", &older]);
    assert!(said.contains("rebaseline"), "the way out is not named: {said}");
    assert!(is(&list(&host, "web"), &["192.0.2.0/24", "198.51.100.0/24"]));
    let said =
        host.expect(0, &["rebaseline", "the mirror served a wrong date", "--cloud", "example"]);
    assert!(said.contains("example"), "{said}");
    // What is in force stays until then; and then the older one is the first one, of which nothing is held.
    assert!(is(&list(&host, "web"), &["192.0.2.0/24", "198.51.100.0/24"]));
    host.expect(0, &["render", "--feed", &older]);
    assert!(is(&list(&host, "web"), &["192.0.2.0/24"]));
    assert_eq!(host.actions(), ["published", "began anew", "published"]);
}

#[test]
fn a_running_agent_follows_decisions_at_once() {
    let mut host = Agent::new(&format!("{CONFIG}{AT_ONCE}{DROP}"));
    put(&host, "drop", 1, FIRST);
    host.start();
    host.until_generation(1);
    put(&host, "drop", 8, LESS);
    host.until("the mail", |host| {
        is(&list(host, "mail"), &["203.0.113.0/28", "203.0.113.64/30"]).then_some(())
    });
    let removal = host.until("the hold", |host| held(host, "web").pop());
    assert!(host.expect(0, &["review", &removal]).contains("group's IPv4 addresses would go"));
    assert!(is(&list(&host, "web"), &["192.0.2.0/24", "198.51.100.0/24"]));
    // A person who offers the same through the agent learns of the hold too.
    let less = put(&host, "in", 8, LESS);
    let said = host.expect(9, &["render", "--feed", &less]);
    assert!(said.contains(&removal), "{said}");

    let said = host.expect(0, &["approve", &removal, "--ticket", "CHG-8"]);
    assert!(said.contains("the agent follows it at once"), "{said}");
    host.until("the approved", |host| is(&list(host, "web"), &["192.0.2.0/24"]).then_some(()));
    host.until_status("no hold", |status| status.get("holds").is_none());

    put(&host, "drop", 15, MORE);
    let addition = host.until("the hold", |host| held(host, "mail").pop());
    let said = host.expect(0, &["reject", &addition, "--reason", "not ours"]);
    assert!(said.contains("is rejected by"), "{said}");
    host.until_status("no hold", |status| status.get("holds").is_none());
    assert!(is(&list(&host, "mail"), &["203.0.113.0/28", "203.0.113.64/30"]));
    host.expect(2, &["approve", "00000000"]);

    // Beginning anew: a publication older than the last counts then.
    fs::remove_dir_all(host.path("drop")).unwrap();
    let said = host.expect(0, &["rebaseline", "the mirror served a wrong date"]);
    assert!(said.contains("example"), "{said}");
    let earliest = put(&host, "in", 1, FIRST);
    host.expect(0, &["render", "--feed", &earliest]);
    assert!(is(&list(&host, "web"), &["192.0.2.0/24", "198.51.100.0/24"]));
    host.stop();
    let actions = host.actions();
    assert_eq!(actions.iter().filter(|action| **action == "decided").count(), 2, "{actions:?}");
    assert!(actions.contains(&"began anew"), "{actions:?}");
}

#[test]
fn a_pair_of_hosts_believes_the_same() {
    // With a grace, so that there is something in it.
    let config = CONFIG.replace("grace-days = 0", "grace-days = 28");
    let (one, other) = (Agent::new(&config), Agent::new(&config));
    let little = [
        &[
            "192.0.2.0/24",
            "198.51.100.0/25",
            "198.51.100.128/26",
            "198.51.100.192/27",
            "198.51.100.224/28",
        ][..],
        MORE[1],
    ];
    let first = put(&one, "in", 1, FIRST);
    let second = put(&one, "in", 8, little);
    one.expect(0, &["render", "--feed", &first]);
    one.expect(9, &["render", "--feed", &second]);
    let [addition] = held(&one, "mail").try_into().unwrap();
    one.expect(0, &["approve", &addition, "--reason", "announced"]);
    // The other one has seen nothing of it, and takes it over with everything: grace, decisions, holds.
    let exported = one.expect(0, &["belief", "export"]);
    fs::write(other.path("belief.json"), &exported).unwrap();
    let file = other.path("belief.json");
    other.expect(0, &["belief", "import", file.to_str().unwrap()]);
    let shown = one.expect(0, &["belief", "show"]);
    assert!(shown.contains("withdrawn from Web"), "{shown}");
    let digest = |text: &str| text.split_whitespace().nth(1).unwrap().to_owned();
    assert_eq!(digest(&shown), digest(&other.expect(0, &["belief", "show"])));
    assert_eq!(review(&one), review(&other));
    // Both then follow the same decision to the same belief and the same files.
    for host in [&one, &other] {
        host.expect(0, &["render", "--feed", &second]);
        assert!(is(&list(host, "mail"), &["203.0.113.0/25"]));
    }
    for group in ["web", "mail"] {
        assert_eq!(list(&one, group), list(&other, group));
    }
    assert_eq!(other.expect(0, &["belief", "export"]).lines().count(), exported.lines().count());
    let status = |host: &Agent| -> Value {
        serde_json::from_str(&host.expect(0, &["status", "--json"])).unwrap()
    };
    assert_eq!(status(&one)["rule_set"], status(&other)["rule_set"]);
    assert_eq!(
        status(&one)["belief"]["grace"][0]["until"],
        status(&other)["belief"]["grace"][0]["until"]
    );
}

#[test]
fn a_first_publication_that_is_withheld_changes_nothing_and_can_be_decided_about() {
    let hold = "[guard]\nhold-everything = true\n[guard.limits]";
    let host = Agent::new(&CONFIG.replace("[guard.limits]", hold));
    let first = put(&host, "in", 1, FIRST);
    let said = host.expect(9, &["render", "--feed", &first]);
    assert!(said.contains("nothing of mail, web is believed"), "{said}");
    assert!(said.contains("`tagwall approve ID` lets it in"), "{said}");
    assert_eq!(host.generation(), None);
    assert!(host.expect(0, &["review"]).contains("only a person may decide"));
    assert!(host.expect(0, &["status"]).contains("nothing is in force"));
    // One group alone gives no rules for the other; both do.
    let [mail] = held(&host, "mail").try_into().unwrap();
    host.expect(0, &["approve", &mail, "--reason", "looked at"]);
    let said = host.expect(9, &["render", "--feed", &first]);
    assert!(said.contains("nothing of web is believed"), "{said}");
    assert_eq!(host.generation(), None);
    let [web] = held(&host, "web").try_into().unwrap();
    host.expect(0, &["approve", &web, "--reason", "looked at"]);
    host.expect(0, &["render", "--feed", &first]);
    assert_eq!(host.generation(), Some(1));
    assert!(is(&list(&host, "web"), FIRST[0]) && is(&list(&host, "mail"), FIRST[1]));
}

#[test]
fn a_replay_says_what_would_have_been_and_draws_it() {
    let host = Agent::new(CONFIG);
    for (day, tags) in [(1, FIRST), (8, LESS), (15, LESS), (22, FIRST)] {
        put(&host, "past/example", day, tags);
    }
    fs::write(host.path("past/ServiceTags_Example_20250910.json"), "<html>").unwrap();
    let (past, drawing) = (host.path("past"), host.path("growth.svg"));
    let (past, drawing) = (past.to_str().unwrap(), drawing.to_str().unwrap());
    let said = host.expect(0, &["replay", past, "--svg", drawing]);
    for line in [
        "2025-09-01  example         1",
        "partly-held",
        "held removal of web: 256 addresses, 50 % of it",
        "refused",
        "5 publications: 2 applied, 1 partly-held, 1 unchanged, 1 refused",
        "sizes of the groups from 2025-09-01 to 2025-09-22",
        "512 IPv4 addresses, unchanged",
    ] {
        assert!(said.contains(line), "no `{line}` in\n{said}");
    }
    assert!(said.lines().any(|line| line.trim_start().starts_with('!')), "no mark: {said}");
    // One object a publication, in order of date, with the names that are fixed.
    let said = host.expect(0, &["replay", past, "--json"]);
    let steps: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outcomes: Vec<&str> = steps.iter().map(|step| step["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["applied", "partly-held", "refused", "unchanged", "applied"]);
    for key in ["file", "cloud", "change_number", "digest", "outcome", "reason", "held", "groups"] {
        assert!(steps.iter().all(|step| step.get(key).is_some()), "{key}");
    }
    let held = &steps[1]["held"][0];
    assert_eq!((&held["group"], &held["kind"]), (&json!("web"), &json!("removal")));
    assert_eq!((&held["addresses"], &held["share"]), (&json!(256), &json!(0.5)));
    assert!(held["why"].as_str().unwrap().contains("IPv4 addresses would go"));
    assert_eq!(steps[1]["groups"]["web"]["ipv4_addresses"], 512);
    assert_eq!(steps[3]["still_held"][0]["group"], "web");
    assert!(steps[4]["still_held"].as_array().unwrap().is_empty());
    // The drawing, by another reader: a panel a group, and a mark where something is held.
    let script = "import sys, xml.etree.ElementTree as tree\n\
                  root = tree.parse(sys.argv[1]).getroot()\n\
                  space = '{http://www.w3.org/2000/svg}'\n\
                  assert root.tag == space + 'svg', root.tag\n\
                  print(len(root.findall(space + 'path')), len(root.findall(space + 'circle')))\n";
    match Command::new("python3").args(["-c", script, drawing]).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(said.trim(), "2 1", "{}", String::from_utf8_lossy(&output.stderr));
        }
        Err(error) => {
            eprintln!("skipped: the drawing is read by python3, which does not run: {error}");
        }
    }
}
