//! Generations over time: what is removed and kept, what stays readable, what is brought back, and what has gone from devices.
//!
//! Needs root (for network namespaces) and nft; what is not there is said and left out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::host::{EDGE, Host, grouped, inventory};

const LISTS: &str = "[targets.lists.list]\n";

/// Publishes these prefixes one after the other.
fn publish(host: &Host, targets: &str, all: &[&str]) {
    for prefixes in all {
        host.configure(&grouped(prefixes, targets));
        host.expect(0, &["render"]);
    }
}

fn generations(host: &Host) -> Vec<String> {
    let entries = fs::read_dir(host.path("state/generations")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_rollback_keeps_what_the_configuration_keeps_and_everything_without_one() {
    let few = format!("{LISTS}[publish]\ngenerations = 2\ndays = 0\n");
    let Some(host) = Host::new(&[], "") else { return };
    let (old, new) = ("\"192.0.2.0/26\"", "\"192.0.2.0/25\"");
    publish(&host, LISTS, &[old, new, old, new]);
    // What is configured now counts, also for a rollback.
    host.configure("this is no configuration");
    host.expect(0, &["rollback"]);
    assert_eq!(generations(&host), ["000001", "000002", "000003", "000004", "000005"]);
    host.configure(&grouped(new, &few));
    host.expect(0, &["rollback", "4"]);
    assert_eq!(generations(&host), ["000005", "000006"]);
}

#[test]
fn a_file_that_was_damaged_does_not_live_on_in_the_next_generation() {
    let Some(host) = Host::new(&[], "") else { return };
    publish(&host, LISTS, &["\"192.0.2.0/26\""]);
    let other = || fs::read_to_string(host.path("state/current/lists/b.txt")).unwrap();
    let whole = other();
    fs::write(host.path("state/current/lists/b.txt"), "0.0.0.0/0\n").unwrap();
    publish(&host, LISTS, &["\"192.0.2.0/25\""]);
    assert_eq!(other(), whole);
}

#[test]
fn a_generation_that_cannot_be_read_stays_and_is_told_and_the_others_are_removed() {
    let few = format!("{LISTS}[publish]\ngenerations = 1\ndays = 0\n");
    let Some(host) = Host::new(&[], "") else { return };
    let (old, new) = ("\"192.0.2.0/26\"", "\"192.0.2.0/25\"");
    publish(&host, LISTS, &[old, new, old]);
    fs::write(host.path("state/generations/000001/manifest.json"), "{").unwrap();
    host.configure(&grouped(new, &few));
    host.expect(0, &["render"]);
    assert_eq!(generations(&host), ["000001", "000003", "000004"]);
    let (status, _) = host.expect(0, &["status"]);
    assert!(status.contains("old generations could not be removed"), "{status}");
    assert!(status.contains("000001/manifest.json"), "{status}");
}

#[test]
fn a_damaged_generation_in_force_is_named_and_the_way_out_leads_out() {
    let Some(host) = Host::new(&["nft"], &grouped("\"192.0.2.0/26\"", EDGE)) else { return };
    host.expect(0, &["render"]);
    let rules = host.rules();
    host.configure(&grouped("\"192.0.2.0/25\"", EDGE));
    for (file, damage) in
        [("ruleset.json", Some("{")), ("ruleset.json", None), ("manifest.json", Some("{"))]
    {
        let path = host.path("state/current").join(file);
        let whole = fs::read(&path).unwrap();
        match damage {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let (_, stderr) = host.expect(6, &["render"]);
        assert!(stderr.contains(file) && stderr.contains("docs/operations.md"), "{stderr}");
        assert_eq!(host.rules(), rules, "{file}");
        if file == "ruleset.json" {
            fs::write(&path, whole).unwrap();
        }
    }
    fs::remove_file(host.path("state/current")).unwrap();
    host.expect(0, &["render"]);
    host.expect(0, &["status", "--verify"]);
    assert!(host.rules().contains("192.0.2.0/25"), "{}", host.rules());
    host.expect(0, &["history", "--prefix", "192.0.2.64"]);
}

#[test]
fn what_is_damaged_can_be_stopped_and_rolled_away_from() {
    let (old, new) = ("\"192.0.2.0/26\"", "\"192.0.2.0/25\"");
    let hold = EDGE.replace("[targets.edge]\n", "[targets.edge]\non-drift = \"hold\"\n");
    for (file, targets) in [
        ("ruleset.json", EDGE),
        ("ruleset.json", hold.as_str()),
        ("manifest.json", EDGE),
        ("edge/rules.nft", EDGE),
    ] {
        let Some(host) = Host::new(&["nft"], &grouped(old, targets)) else { return };
        publish(&host, targets, &[old, new]);
        fs::write(host.path("state/current").join(file), "{").unwrap();
        let rules = host.rules();
        let (_, stderr) = host.expect(0, &["pause", "what is this?"]);
        assert_eq!(stderr.contains("the audit trail tells"), file == "ruleset.json", "{stderr}");
        // Whether all is stopped can be seen whatever is damaged.
        let unreadable = file == "manifest.json";
        let (status, _) = host.expect(if unreadable { 6 } else { 0 }, &["status"]);
        assert!(status.contains("PAUSED since"), "{status}");
        assert_eq!(
            status.contains("generation 2 is in force and DAMAGED: "),
            unreadable,
            "{status}"
        );
        host.expect(0, &["resume"]);
        assert_eq!(host.rules(), rules, "{file}");
        if file == "manifest.json" {
            let (_, stderr) = host.expect(6, &["rollback"]);
            assert!(stderr.contains("say to which to go back"), "{stderr}");
            host.expect(0, &["rollback", "1"]);
        } else {
            host.expect(0, &["rollback"]);
        }
        assert!(host.rules().contains("192.0.2.0/26"), "{file}\n{}", host.rules());
        host.expect(0, &["status", "--verify"]);
        let (status, _) = host.expect(0, &["status"]);
        assert!(status.contains("generation 2 was damaged"), "{status}");
        host.expect(0, &["history", "--prefix", "192.0.2.64"]);
        host.expect(0, &["resume"]);
        host.expect(0, &["render"]);
        assert!(host.rules().contains("192.0.2.0/25"), "{file}");
    }
}

#[test]
fn a_rollback_from_what_is_damaged_that_fails_leaves_kernel_and_files_as_they_were() {
    let (old, new) = ("\"192.0.2.0/26\"", "\"192.0.2.0/25\"");
    let Some(host) = Host::new(&["nft"], "") else { return };
    fs::create_dir(host.path("copies")).unwrap();
    let flag = host.path("takes");
    let targets = format!(
        "{EDGE}[targets.late]\npath = \"{}/\"\nreload = [\"/usr/bin/test\", \"-e\", \"{}\"]\n[targets.late.list]\n",
        host.path("copies").display(),
        flag.display()
    );
    fs::write(&flag, "").unwrap();
    publish(&host, &targets, &[old, new]);
    let copy = || fs::read_to_string(host.path("copies/a.txt")).unwrap();
    let before = (host.rules(), copy(), host.current());
    fs::write(host.path("state/current/manifest.json"), "{").unwrap();
    fs::remove_file(&flag).unwrap();
    let (_, stderr) = host.expect(7, &["rollback", "1"]);
    assert!(stderr.contains("target late, reload"), "{stderr}");
    assert_eq!((host.rules(), copy(), host.current()), before);
    fs::write(&flag, "").unwrap();
    host.expect(0, &["rollback", "1"]);
    host.expect(0, &["status", "--verify"]);
    assert_eq!(copy(), "192.0.2.0/26\n");
}

#[test]
fn sets_of_ipset_are_rolled_away_from_damage_too_and_put_back_where_that_fails() {
    let (old, new) = ("\"192.0.2.0/26\"", "\"192.0.2.0/25\"");
    let Some(host) = Host::new(&["iptables", "ipset"], "") else { return };
    let flag = host.path("takes");
    let targets = format!(
        "[targets.edge]\napply = \"automatic\"\n[targets.edge.iptables]\n[targets.late]\n\
         reload = [\"/usr/bin/test\", \"-e\", \"{}\"]\n[targets.late.list]\n",
        flag.display()
    );
    fs::write(&flag, "").unwrap();
    publish(&host, &targets, &[old, new]);
    host.jump_to_chains();
    // Without the random numbers of each set.
    let sets = || {
        let saved = host.namespace.run(&["ipset", "save"], b"");
        saved.lines().filter(|line| line.starts_with("add ")).collect::<Vec<_>>().join("\n")
    };
    let chains = || host.namespace.run(&["iptables", "-S"], b"");
    let before = (sets(), chains());
    fs::write(host.path("state/current/ruleset.json"), "{").unwrap();
    fs::remove_file(&flag).unwrap();
    host.expect(7, &["rollback"]);
    assert_eq!((sets(), chains()), before);
    fs::write(&flag, "").unwrap();
    host.expect(0, &["rollback"]);
    assert!(sets().contains("192.0.2.0/26"), "{}", sets());
    host.expect(0, &["status", "--verify"]);
    // Where it is not known what there was, the chains are not emptied.
    host.expect(0, &["resume"]);
    host.expect(0, &["render"]);
    fs::write(host.path("state/current/manifest.json"), "{").unwrap();
    fs::remove_file(&flag).unwrap();
    let (_, stderr) = host.expect(7, &["rollback", "1"]);
    assert!(stderr.contains("what the kernel had before cannot be put back"), "{stderr}");
    assert_eq!(chains(), before.1);
    fs::write(&flag, "").unwrap();
    host.expect(0, &["rollback", "1"]);
    host.expect(0, &["status", "--verify"]);
}

#[test]
fn a_pause_of_a_folder_that_cannot_be_opened_counts_when_it_can() {
    let Some(host) = Host::new(&[], "") else { return };
    publish(&host, LISTS, &["\"192.0.2.0/26\""]);
    for file in ["memory.json", "belief.json", "journal.json", "trail.pending"] {
        let path = host.path("state").join(file);
        let whole = fs::read(&path).ok();
        fs::write(&path, "{\n").unwrap();
        let (said, stderr) = host.expect(0, &["pause", "what is this?"]);
        assert!(said.contains("paused") && stderr.contains(file), "{said}{stderr}");
        host.expect(6, &["render"]);
        match whole {
            Some(whole) => fs::write(&path, whole).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        assert_eq!(host.json(&["status", "--json"])["pause"]["reason"], "what is this?");
        let (_, stderr) = host.expect(2, &["render"]);
        assert!(stderr.contains("paused since"), "{stderr}");
        // It is remembered and told like any other.
        assert!(!host.path("state/pause.pending").exists());
        let told = tagwall::state::trail::replay(&host.path("state")).unwrap().last.unwrap();
        assert_eq!(told.action.name(), "paused");
        assert_eq!(told.reason.as_deref(), Some("what is this?"));
        host.expect(0, &["resume"]);
        host.expect(0, &["render"]);
    }
}

#[test]
fn a_generation_that_cannot_be_read_hides_no_other_from_history_and_rollback() {
    let Some(host) = Host::new(&[], "") else { return };
    publish(&host, LISTS, &["\"192.0.2.0/26\"", "\"192.0.2.0/25\"", "\"192.0.2.0/24\""]);
    let list = || fs::read_to_string(host.path("state/current/lists/a.txt")).unwrap();
    fs::write(host.path("state/generations/000002/manifest.json"), "{").unwrap();
    let (history, _) = host.expect(0, &["history"]);
    assert!(history.contains("generation 2 cannot be read"), "{history}");
    assert!(history.contains("000002/manifest.json cannot be used"), "{history}");
    let history = host.json(&["history", "--json"]);
    let numbers = |key: &str| -> Vec<u64> {
        let entries = history[key].as_array().unwrap();
        entries.iter().map(|entry| entry["generation"].as_u64().unwrap()).collect()
    };
    assert_eq!((numbers("generations"), numbers("unreadable")), (vec![3, 1], vec![2]));
    // The last with other rules that can be read, and it is told what was looked past.
    host.expect(0, &["rollback"]);
    assert_eq!(list(), "192.0.2.0/26\n");
    let (status, _) = host.expect(0, &["status"]);
    assert!(status.contains("looked past a generation") && status.contains("000002"), "{status}");
    // Where only such are left, it is not said that there are none.
    host.expect(0, &["resume"]);
    for number in [1, 3] {
        fs::remove_file(host.path(&format!("state/generations/00000{number}/manifest.json")))
            .unwrap();
    }
    let (_, stderr) = host.expect(6, &["rollback"]);
    assert!(stderr.contains("000003/manifest.json cannot be used: it is missing"), "{stderr}");
}

#[test]
fn a_target_that_cannot_be_read_keeps_no_other_from_being_brought_back() {
    let installed = |host: &Host, name: &str| host.path(name).display().to_string();
    let Some(host) = Host::new(&[], "") else { return };
    let target = |name: &str| {
        format!("[targets.{name}]\npath = \"{}/\"\n[targets.{name}.list]\n", installed(&host, name))
    };
    for folder in ["alpha", "omega"] {
        fs::create_dir(host.path(folder)).unwrap();
    }
    publish(&host, &(target("alpha") + &target("omega")), &["\"192.0.2.0/26\""]);
    // In the place of the first a folder, which can neither be read nor replaced; the last is lost.
    fs::remove_file(host.path("alpha/a.txt")).unwrap();
    fs::create_dir(host.path("alpha/a.txt")).unwrap();
    fs::remove_file(host.path("omega/a.txt")).unwrap();
    let (stdout, stderr) = host.expect(7, &["restore"]);
    assert!(
        stdout.contains("target alpha: ") && stdout.contains("could not be brought back"),
        "{stdout}"
    );
    assert!(
        stdout.contains("target omega: ") && stdout.contains("brought back what was"),
        "{stdout}"
    );
    assert!(stderr.contains("target alpha, install") && stderr.contains("a folder"), "{stderr}");
    assert_eq!(fs::read_to_string(host.path("omega/a.txt")).unwrap(), "192.0.2.0/26\n");
    fs::remove_dir(host.path("alpha/a.txt")).unwrap();
    host.expect(0, &["restore"]);
    host.expect(0, &["status", "--verify"]);
}

#[test]
fn the_history_says_what_stayed_behind_and_what_was_overwritten() {
    let Some(host) = Host::new(&[], "") else { return };
    let installed = host.path("a.txt");
    let targets = |reload: &str| {
        format!(
            "[targets.lists]\npath = \"{}/\"\n[targets.lists.list]\n\
             [targets.push]\nisolated = true\nreload = [\"{reload}\"]\n[targets.push.list]\n",
            host.folder.path().display()
        )
    };
    publish(&host, &targets("/bin/true"), &["\"192.0.2.0/26\""]);
    fs::write(&installed, "198.51.100.1/32\n").unwrap();
    publish(&host, &targets("/bin/false"), &["\"192.0.2.0/25\""]);
    let (text, _) = host.expect(0, &["history"]);
    assert!(text.contains("target push stayed behind: reload: /bin/false"), "{text}");
    assert!(text.contains("note: target lists: ") && text.contains("-192.0.2.0/26"), "{text}");
    let history = host.json(&["history", "--json"]);
    let newest = &history["generations"][0];
    assert_eq!(newest["behind"]["push"]["was_visible"], true, "{newest}");
    assert!(newest["notes"][0].as_str().unwrap().contains("changed by somebody else"), "{newest}");
}

#[test]
fn what_has_gone_from_devices_stands_in_a_file_of_its_own_and_the_same_again_is_no_change() {
    const DEVICES: &str = "[publish]\ngenerations = 1\ndays = 0\n\
        [targets.palo]\nrules = [\"a\"]\n[targets.palo.panos]\nformat = \"set\"\nfrom = [\"trust\"]\nto = [\"untrust\"]\n\
        [targets.lists.list]\n";
    let Some(host) = Host::new(&[], "") else { return };
    let delta = || fs::read_to_string(host.path("state/current/palo/rules.delta.set")).ok();
    let both = "\"192.0.2.0/26\", \"198.51.100.0/24\"";
    publish(&host, DEVICES, &[both]);
    assert_eq!(delta(), None);
    publish(&host, DEVICES, &["\"192.0.2.0/26\""]);
    let gone = delta().unwrap();
    assert!(gone.contains("198.51.100.0") && gone.contains("delete"), "{gone}");
    let before = inventory(&host.path("state"));
    assert_eq!(host.json(&["render", "--json"])["result"], "unchanged");
    assert_eq!(inventory(&host.path("state")), before);
    // Others' rules change: its files stay, and the generation from which they start.
    let others = |config: &str| config.replace("203.0.113.0/24", "203.0.113.0/25");
    host.configure(&others(&grouped("\"192.0.2.0/26\"", DEVICES)));
    host.expect(0, &["render"]);
    assert_eq!(delta(), Some(gone));
    assert_eq!(generations(&host), ["000001", "000002", "000003"]);
    assert_eq!(host.json(&["render", "--json"])["result"], "unchanged");
    // And the next change starts from what is in force.
    publish(&host, DEVICES, &["\"198.51.100.0/24\""]);
    let gone = delta().unwrap();
    assert!(gone.contains("192.0.2.0"), "{gone}");
}

#[test]
fn a_running_agent_restores_where_it_is_asked_to() {
    let Some(host) = Host::new(&["nft"], &grouped("\"192.0.2.0/26\"", EDGE)) else { return };
    let mut agent = host.start(&["run"]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !Path::new(&host.path("state/current/outcome.json")).exists()
        || host.attempt(&["status"]).status.code() != Some(0)
    {
        assert!(Instant::now() < deadline, "nothing was published");
        std::thread::sleep(Duration::from_millis(50));
    }
    let rules = host.rules();
    host.namespace.run(&["nft", "flush", "ruleset"], b"");
    let (stdout, _) = host.expect(0, &["restore"]);
    assert!(
        stdout.contains("target edge: ") && stdout.contains("brought back what was"),
        "{stdout}"
    );
    assert_eq!(host.rules(), rules);
    let (stdout, _) = host.expect(0, &["restore"]);
    assert!(stdout.contains("are as they were published"), "{stdout}");
    let pid = rustix::process::Pid::from_child(&agent);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    agent.wait().unwrap();
}

/// nft finds none of two sets that it is asked for at once: then every update of two was taken for a kernel that somebody had changed,
/// and all was loaded anew, with its counters at nothing.
#[test]
fn an_update_of_several_sets_makes_nothing_else_anew() {
    let Some(host) = Host::new(&["nft"], &grouped("\"192.0.2.0/26\"", EDGE)) else { return };
    host.expect(0, &["render"]);
    let handles = || host.namespace.run(&["nft", "-a", "list", "table", "inet", "tagwall"], b"");
    let handle = |text: &str| {
        let line = text.lines().find(|line| line.contains("chain tw-outbound")).unwrap().to_owned();
        line.split("# handle ").nth(1).unwrap().to_owned()
    };
    // Chain and counters are those of before as long as the table is not made anew.
    let before = handle(&handles());
    host.configure(&grouped("\"192.0.2.0/25\"", EDGE).replace("203.0.113.0/24", "203.0.113.0/25"));
    host.expect(0, &["render"]);
    let (status, _) = host.expect(0, &["status", "--verify"]);
    assert!(!status.contains("the whole artifact was loaded"), "{status}");
    assert_eq!(handle(&handles()), before, "the table was made anew");
    let update = host.path("state/current/archive/edge.update.nft");
    let update = fs::read_to_string(update).unwrap();
    assert!(update.contains("tw-a-v4") && update.contains("tw-b-v4"), "{update}");
}

#[test]
fn what_somebody_has_taken_away_already_is_not_said_to_stay() {
    const BOTH: &str = "[targets.edge]\napply = \"automatic\"\n[targets.edge.nftables]\n\
        [targets.old]\napply = \"automatic\"\n[targets.old.iptables]\n[targets.lists.list]\n";
    let Some(host) = Host::new(&["nft", "iptables", "ipset"], "") else { return };
    publish(&host, BOTH, &["\"192.0.2.0/26\""]);
    host.namespace.run(&["nft", "flush", "ruleset"], b"");
    host.namespace.run(&["ipset", "destroy"], b"");
    publish(&host, LISTS, &["\"192.0.2.0/26\""]);
    let newest = &host.json(&["history", "--json"])["generations"][0];
    assert_eq!(newest["notes"].as_array().map_or(0, Vec::len), 0, "{newest}");
}
