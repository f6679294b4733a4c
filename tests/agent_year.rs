//! A year in minutes: the agent follows real publications one after another, while it is restarted, killed, reloaded, cut off and
//! robbed of its rules. In the end files and kernel are what the believed state renders to, and the audit trail is complete.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use common::feeds::{NEWEST, real};
use common::running::Agent;
use rustix::process::Signal;
use tagwall::config::Config;
use tagwall::guard::{Belief, Event};
use tagwall::pipeline;
use tagwall::render::Templates;
use tagwall::selection::HostAddresses;
use tagwall::snapshot::{Cloud, date_in_name};
use tagwall::state::trail;

const CONFIG: &str = "
cloud = \"public\"
[groups.near]
tags = [\"Storage.WestEurope\", \"Sql.WestEurope\", \"EventHub.WestEurope\", \"AzureKeyVault.WestEurope\"]
[groups.far]
tags = [\"AzureActiveDirectory\", \"AzureMonitor\", \"ApiManagement\"]
[rules.near]
source = [\"10.20.0.0/24\", \"fd00:20::/64\"]
destination = \"near\"
services = [\"tcp/443\", \"tcp/1433\"]
interfaces = [\"wan0\"]
[rules.far]
source = [\"10.20.0.0/24\", \"fd00:20::/64\"]
destination = \"far\"
services = [\"tcp/443\"]
interfaces = [\"wan0\"]
[agent]
quiet-period = \"0s\"
[targets.edge]
apply = \"automatic\"
[targets.edge.nftables]
[targets.lists.list]
[feeds.drop.directory]
path = \"FOLDER/drop\"
[feeds.cut-off.http]
url = \"https://127.0.0.1:9/ServiceTags_Public.json\"
[feeds.cut-off.connection]
proxy = \"none\"
";

/// The publications, the oldest first: all of them in the long form, else those that are far apart.
fn publications(newest: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(newest.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    all.sort();
    if std::env::var_os("TAGWALL_LONG").is_some() {
        return all;
    }
    // Twelve, the newest among them.
    let skip = all.len().saturating_sub(12);
    all.split_off(skip)
}

/// What befalls the agent while a publication is dropped.
fn befall(agent: &mut Agent, turn: usize, dropping: impl Fn(&Agent)) {
    match turn % 6 {
        0 => dropping(agent),
        1 => {
            agent.stop();
            dropping(agent);
            agent.launch();
        }
        2 => {
            // Killed while it judges or publishes, wherever it is then.
            dropping(agent);
            std::thread::sleep(std::time::Duration::from_millis(150 * turn as u64));
            agent.kill();
            agent.launch();
        }
        3 => {
            // Who has just been started hears no signal yet.
            agent.until_status("the agent", |_| true);
            dropping(agent);
            agent.signal(Signal::HUP);
            agent.signal(Signal::USR1);
        }
        4 => {
            // The folder goes away, as a mount does, and comes back with something in it.
            let (folder, away) = (agent.path("drop"), agent.path("away"));
            fs::rename(&folder, &away).unwrap();
            agent.signal(Signal::USR1);
            fs::rename(&away, &folder).unwrap();
            dropping(agent);
            agent.signal(Signal::USR1);
        }
        _ => {
            // Somebody flushes the firewall, and the host restarts.
            agent.kill();
            agent.namespace().run(&["nft", "flush", "ruleset"], b"");
            dropping(agent);
            agent.launch();
        }
    }
}

/// The dates of the publications that the audit trail tells of.
fn judged(agent: &Agent) -> BTreeSet<String> {
    let mut dates = BTreeSet::new();
    trail::entries(&agent.path("state"), |entry| {
        for event in &entry.events {
            if let Event::Judged { date: Some(date), .. } = event {
                dates.insert(date.to_string());
            }
        }
        Ok(())
    })
    .unwrap();
    dates
}

#[test]
fn a_year_with_its_mishaps_ends_with_what_is_believed() {
    let Some(newest) = real(NEWEST) else { return };
    let Some(mut agent) = Agent::in_namespace(&["nft"], CONFIG) else { return };
    fs::create_dir(agent.path("drop")).unwrap();
    agent.start();
    let mut dates = BTreeSet::new();
    for (turn, path) in publications(&newest).iter().enumerate() {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let date = date_in_name(&name).unwrap().to_string();
        befall(&mut agent, turn, |agent| {
            let part = agent.path("drop/.part");
            fs::copy(path, &part).unwrap();
            fs::rename(part, agent.path(&format!("drop/{name}"))).unwrap();
        });
        agent.until(&name, |agent| judged(agent).contains(&date).then_some(()));
        dates.insert(date);
    }
    agent.until("rest", |agent| {
        let said = String::from_utf8(agent.ask(&["fetch", "drop"]).stdout).unwrap();
        (said.contains("unchanged") && !agent.path("state/journal.json").exists()).then_some(())
    });
    let status = agent.status().unwrap();
    assert!(status["agent"]["failed"].is_null(), "{status}\n{}", agent.log());
    agent.expect(0, &["status", "--verify"]);
    agent.stop();

    // Files and kernel are a direct rendering of what is believed.
    let state = agent.path("state");
    let belief = Belief::read(&fs::read(state.join("belief.json")).unwrap()).unwrap();
    let config = Config::load(&agent.path("tagwall.toml")).unwrap();
    let templates = Templates::load(&config).unwrap();
    let (publications, hosts) = (belief.publications(), HostAddresses::new());
    let plan = pipeline::plan(&config, publications, &hosts, &templates, None, &[]).unwrap();
    assert!(!plan.artifacts.is_empty());
    for artifact in &plan.artifacts {
        let path = state.join("current").join(artifact.path());
        assert_eq!(fs::read(&path).unwrap(), artifact.bytes, "{}", path.display());
    }
    let in_kernel = agent.namespace().run(&["nft", "-s", "list", "ruleset"], b"");
    agent.namespace().run(&["nft", "flush", "ruleset"], b"");
    let rendered = agent.path("rendered.nft");
    let nft = plan.artifacts.iter().find(|artifact| artifact.path().ends_with("rules.nft"));
    fs::write(&rendered, &nft.unwrap().bytes).unwrap();
    agent.namespace().run(&["nft", "-f", rendered.to_str().unwrap()], b"");
    assert_eq!(agent.namespace().run(&["nft", "-s", "list", "ruleset"], b""), in_kernel);

    // The audit trail tells of every publication and generation, and makes belief and rules again.
    assert_eq!(judged(&agent), dates);
    assert_eq!(
        belief.standing(Cloud::Public).unwrap().date.unwrap().to_string(),
        *dates.last().unwrap()
    );
    let replayed = trail::replay(&state).unwrap();
    assert_eq!(replayed.belief, belief);
    assert_eq!(replayed.rule_set, plan.rule_set);
    let mut told = BTreeSet::new();
    trail::entries(&state, |entry| {
        told.extend(entry.generation);
        Ok(())
    })
    .unwrap();
    let recorded: BTreeSet<u64> = fs::read_dir(state.join("generations"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let outcome = fs::read_to_string(path.join("outcome.json")).unwrap_or_default();
            outcome.contains("\"recorded\"")
        })
        .map(|path| path.file_name().unwrap().to_str().unwrap().parse().unwrap())
        .collect();
    assert!(recorded.len() > 3, "{recorded:?}");
    assert_eq!(told, recorded);
    eprintln!("{} publications, {} generations", dates.len(), recorded.len());
}
