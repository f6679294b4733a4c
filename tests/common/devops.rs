//! A small configuration that an agent follows, and editions of the example for it.

use std::fs;

use tagwall::snapshot::EXAMPLE_DOCUMENT;

use super::microsoft::Fake;
use super::running::Agent;

pub(crate) const RULES: &str = "
cloud = \"example\"
[groups.devops]
tags = [\"AzureDevOps\"]
[rules.devops]
source = [\"10.20.0.0/24\"]
destination = \"devops\"
services = [\"tcp/443\"]
[targets.lists.list]
";
pub(crate) const DROP: &str = "[feeds.drop.directory]\npath = \"FOLDER/drop\"\n";
pub(crate) const AT_ONCE: &str = "[agent]\nquiet-period = \"0s\"\n";

/// A feed of this server.
pub(crate) fn mirror(fake: &Fake, path: &str) -> String {
    format!(
        "[feeds.mirror]\ninterval = \"7d\"\n[feeds.mirror.http]\nurl = \"{}\"\n[feeds.mirror.connection]\nproxy = \"none\"\nca-file = \"{}\"\n",
        fake.url(path),
        fake.ca_file().display()
    )
}

/// An edition of the example whose devops group has so many more addresses.
pub(crate) fn edition(number: u64, more: u8) -> String {
    let added: Vec<_> = (0..more).map(|n| format!("\"192.0.2.{}/32\", ", 70 + 2 * n)).collect();
    let added = added.concat();
    let list = "\"192.0.2.0/26\",\n          \"192.0.2.128/25\"";
    assert_eq!(EXAMPLE_DOCUMENT.matches(list).count(), 1);
    EXAMPLE_DOCUMENT
        .replacen("\"changeNumber\": 1,", &format!("\"changeNumber\": {number},"), 1)
        .replace(list, &format!("{added}{list}"))
}

/// Puts an edition into the folder as a careful program does.
pub(crate) fn drop_edition(agent: &Agent, number: u64, more: u8) {
    let folder = agent.path("drop");
    fs::create_dir_all(&folder).unwrap();
    let part = folder.join(".part");
    super::write(&part, edition(number, more).as_bytes());
    fs::rename(part, folder.join(format!("ServiceTags_Example_202509{number:02}.json"))).unwrap();
}

/// An agent that has the first edition in force.
pub(crate) fn started(config: &str) -> Agent {
    let mut agent = Agent::new(config);
    drop_edition(&agent, 1, 0);
    agent.start();
    agent.until_generation(1);
    agent
}

/// The list in force.
pub(crate) fn list(agent: &Agent) -> String {
    fs::read_to_string(agent.path("state/current/lists/devops.txt")).unwrap()
}

/// What is current is what was recorded last, and nothing is half done.
pub(crate) fn is_whole(agent: &Agent) {
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
