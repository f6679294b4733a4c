//! A step that fails: nothing is changed, or all is taken back, or an isolated target stays behind alone.

use std::fs;

use crate::common::host::{EDGE, GROUPS, Host, grouped, inventory, nftables};

#[test]
fn a_command_that_fails_leaves_everything_as_it_was() {
    let Some(host) = Host::new(&["nft"], &nftables("")) else { return };
    host.expect(0, &["render"]);
    let (rules, current) = (host.rules(), host.current());
    // Verified after edge, applied after edge: the kernel has the new rules when `late` fails.
    let late = |what: &str| {
        nftables("").replace("tcp/443", "tcp/8443")
            + &format!(
                "[targets.zlate]\n{what} = [\"/bin/false\", \"{{path}}\"]\n[targets.zlate.list]\n"
            )
    };
    for (what, step) in [("verify", "verify"), ("reload", "reload")] {
        host.configure(&late(what));
        let (_, stderr) = host.expect(7, &["render"]);
        assert!(stderr.contains(&format!("target zlate, {step}")), "{stderr}");
        assert!(stderr.contains("/bin/false"), "{stderr}");
        assert_eq!(host.rules(), rules, "after {what}");
        assert_eq!(host.current(), current, "after {what}");
        assert!(!host.path("state/journal.json").exists());
    }
    let history = host.json(&["history", "--json"]);
    assert_eq!(history["generations"][0]["result"], "failed");
    host.expect(0, &["status", "--verify"]);
}

#[test]
fn a_first_publication_that_fails_leaves_the_kernel_as_it_was() {
    let failing = "[targets.zlate]\nreload = [\"/bin/false\"]\n[targets.zlate.list]\n";
    let Some(host) = Host::new(&["nft", "iptables", "ipset"], &(nftables("") + failing)) else {
        return;
    };
    host.expect(7, &["render"]);
    assert_eq!(host.rules(), "");
    assert!(!host.path("state/current").exists());
    // A table that had the name before is put back.
    host.namespace.run(&["nft", "add", "table", "inet", "tagwall"], b"");
    host.namespace.run(&["nft", "add", "chain", "inet", "tagwall", "theirs"], b"");
    let before = host.rules();
    host.expect(10, &["render"]);
    assert_eq!(host.rules(), before);
    host.expect(7, &["render", "--take-over"]);
    assert_eq!(host.rules(), before);
    host.namespace.run(&["nft", "delete", "table", "inet", "tagwall"], b"");
    // The same for a target that joins later.
    let old = "[targets.old]\napply = \"automatic\"\n[targets.old.iptables]\n";
    host.configure(&(GROUPS.to_owned() + old));
    host.expect(0, &["render"]);
    host.jump_to_chains();
    let before = host.rules();
    host.configure(&(nftables("") + old + failing));
    host.expect(7, &["render"]);
    assert_eq!(host.rules(), before);
    host.expect(0, &["status", "--verify"]);
}

#[test]
fn what_the_firewalls_parser_refuses_is_never_visible() {
    let Some(host) = Host::new(&["nft"], &nftables("")) else { return };
    host.expect(0, &["render"]);
    // The attempt is told in the audit trail, and nowhere else.
    let state = || {
        let mut state = inventory(&host.path("state"));
        state.retain(|path, _| !path.starts_with(host.path("state/trail")));
        state
    };
    let (rules, before) = (host.rules(), state());
    let templates = host.path("templates/nftables");
    fs::create_dir_all(&templates).unwrap();
    host.configure(&("templates-dir = \"templates\"\n".to_owned() + &nftables("")));
    let marked = "comment \"{{ mark }}\"";
    // Wrong in itself; right in parts, but not as a file that loads alone; without the mark.
    for (code, words, text) in [
        (
            7,
            "target edge, verify",
            format!("table inet tagwall {{\n{marked}\nchain fwd {{\nfrobnicate\n}}\n}}\n"),
        ),
        (
            7,
            "target edge, verify",
            format!("table inet tagwall {{\n{marked}\nchain fwd {{ drop }}\n}}\n"),
        ),
        (
            3,
            "does not write the mark",
            "table inet tagwall {\nchain fwd {\ndrop\n}\n}\n".to_owned(),
        ),
    ] {
        fs::write(templates.join("own.nft"), &text).unwrap();
        let (_, stderr) = host.expect(code, &["render"]);
        assert!(stderr.contains(words), "{text}: {stderr}");
        assert!(code != 7 || stderr.contains("nothing was changed"), "{text}: {stderr}");
        assert_eq!(host.rules(), rules, "{text}");
        assert_eq!(state(), before, "{text}");
    }
}

#[test]
fn template_that_is_not_understood_is_loaded_whole_and_says_so() {
    let config = "templates-dir = \"templates\"\n".to_owned() + &nftables("");
    let Some(host) = Host::new(&["nft"], &config) else { return };
    let built_in = concat!(env!("CARGO_MANIFEST_DIR"), "/templates/nftables/own.nft");
    let text = fs::read_to_string(built_in).unwrap();
    let mark = "\tcomment \"{{ mark }}\"\n";
    assert!(text.contains(mark));
    let folder = host.path("templates/nftables");
    fs::create_dir_all(&folder).unwrap();
    let with_object = text.replace(mark, &format!("{mark}\tcounter seen {{ }}\n"));
    fs::write(folder.join("own.nft"), with_object).unwrap();
    host.expect(0, &["render"]);
    host.expect(0, &["status", "--verify"]);
    let (history, _) = host.expect(0, &["history"]);
    assert!(history.contains("packets may be lost meanwhile"), "{history}");
    assert!(history.contains("counter seen is neither a chain nor a set"), "{history}");
    // The built-in one, which is understood, says nothing of the kind.
    fs::write(folder.join("own.nft"), format!("# Another text.\n{text}")).unwrap();
    host.expect(0, &["render"]);
    let (history, _) = host.expect(0, &["history", "--limit", "1"]);
    assert!(!history.contains("packets may be lost meanwhile"), "{history}");
}

#[test]
fn an_isolated_target_that_fails_stays_behind_alone() {
    let push = |command: &str| {
        format!(
            "{EDGE}[targets.push]\nisolated = true\nreload = [\"{command}\"]\n[targets.push.list]\n"
        )
    };
    let Some(host) = Host::new(&["nft"], &grouped("\"192.0.2.0/26\"", &push("/bin/true"))) else {
        return;
    };
    host.expect(0, &["render"]);
    let list = || fs::read_to_string(host.path("state/current/push/a.txt")).unwrap();
    assert_eq!(list(), "192.0.2.0/26\n");
    // The others go on, and `current` shows what is in force.
    host.configure(&grouped("\"192.0.2.0/25\"", &push("/bin/false")));
    let report = host.json(&["render", "--json"]);
    assert_eq!((&report["result"], &report["generation"]), (&"published-partly".into(), &3.into()));
    assert_eq!(list(), "192.0.2.0/26\n");
    assert!(host.rules().contains("192.0.2.0/25"), "{}", host.rules());
    let (status, _) = host.expect(0, &["status", "--verify"]);
    assert!(
        status.contains("BEHIND")
            && status.contains("/bin/false")
            && status.contains("cannot be taken back"),
        "{status}"
    );
    let history = host.json(&["history", "--json"]);
    assert_eq!(history["generations"][1]["result"], "failed");
    // Alone it fails as a whole, and leaves no more than the word of it.
    let (_, stderr) = host.expect(7, &["render"]);
    assert!(stderr.contains("target push, reload"), "{stderr}");
    assert_eq!(host.current().to_str(), Some("generations/000003"));
    // Once the command works again, it catches up.
    host.configure(&grouped("\"192.0.2.0/25\"", &push("/bin/true")));
    host.expect(0, &["render"]);
    assert_eq!(list(), "192.0.2.0/25\n");
    let (status, _) = host.expect(0, &["status"]);
    assert!(!status.contains("BEHIND"), "{status}");
    // One that does not even pass its check is never visible.
    let check =
        push("/bin/true").replace("isolated = true", "isolated = true\nverify = [\"/bin/false\"]");
    host.configure(&grouped("\"192.0.2.0/24\"", &check));
    host.expect(0, &["render"]);
    assert_eq!(list(), "192.0.2.0/25\n");
    assert!(host.rules().contains("192.0.2.0/24"));
    let (status, _) = host.expect(0, &["status", "--verify"]);
    assert!(status.contains("BEHIND") && !status.contains("cannot be taken back"), "{status}");
    // A target that is not isolated takes all of them with it.
    let all = check.replace("isolated = true\n", "");
    host.configure(&grouped("\"192.0.2.0/27\"", &all));
    host.expect(7, &["render"]);
    assert!(host.rules().contains("192.0.2.0/24"));
}

#[test]
fn a_copy_that_a_failed_publication_put_there_is_taken_away_again() {
    let Some(host) = Host::new(&[], "") else { return };
    let installed = |name: &str| host.path("installed").join(name);
    fs::create_dir(host.path("installed")).unwrap();
    fs::write(installed("b.txt"), "the host's own\n").unwrap();
    let lists = |path: &str, last: &str| {
        format!(
            "[targets.lists]\n{path}[targets.lists.list]\n[targets.zlate]\nreload = [\"{last}\"]\n[targets.zlate.list]\n"
        )
    };
    host.configure(&grouped("\"192.0.2.0/26\"", &lists("", "/bin/true")));
    host.expect(0, &["render"]);
    // The target is known already, and had no copies until now.
    let path = format!("path = \"{}/\"\n", host.path("installed").display());
    host.configure(&grouped("\"192.0.2.0/25\"", &lists(&path, "/bin/false")));
    let (_, stderr) = host.expect(7, &["render"]);
    assert!(stderr.contains("target zlate, reload"), "{stderr}");
    assert!(!installed("a.txt").exists());
    assert_eq!(fs::read_to_string(installed("b.txt")).unwrap(), "the host's own\n");
    // Where it had copies, these are what is there again.
    host.configure(&grouped("\"192.0.2.0/25\"", &lists(&path, "/bin/true")));
    host.expect(0, &["render"]);
    host.configure(&grouped("\"192.0.2.0/24\"", &lists(&path, "/bin/false")));
    host.expect(7, &["render"]);
    assert_eq!(fs::read_to_string(installed("a.txt")).unwrap(), "192.0.2.0/25\n");
    assert_eq!(fs::read_to_string(installed("b.txt")).unwrap(), "203.0.113.0/24\n");
}

#[test]
fn a_table_of_another_name_is_taken_out_again_when_its_publication_fails() {
    let table = |name: &str, last: &str| {
        grouped(
            "\"192.0.2.0/26\"",
            &format!(
                "[targets.edge]\napply = \"automatic\"\n[targets.edge.nftables]\ntable = \"{name}\"\n\
                 [targets.zlate]\nreload = [\"{last}\"]\n[targets.zlate.list]\n"
            ),
        )
    };
    let Some(host) = Host::new(&["nft"], &table("one", "/bin/true")) else { return };
    host.namespace.run(&["nft", "add", "table", "inet", "one"], b"");
    host.expect(0, &["render"]);
    // What was taken back is listed in another order: table by table, then.
    let tables = || {
        let rules = host.rules();
        let mut tables: Vec<String> = rules.split("table inet ").map(str::to_owned).collect();
        tables.sort();
        tables
    };
    let before = tables();
    assert!(before.len() == 2 && before[1].starts_with("one {"), "{before:?}");
    host.configure(&table("two", "/bin/false"));
    host.expect(7, &["render"]);
    assert_eq!(tables(), before);
    host.expect(0, &["status", "--verify"]);
    // Somebody's own table of that name is put back.
    host.namespace.run(&["nft", "add", "table", "inet", "two"], b"");
    host.namespace.run(&["nft", "add", "chain", "inet", "two", "theirs"], b"");
    let before = tables();
    host.expect(10, &["render"]);
    assert_eq!(tables(), before);
    host.expect(7, &["render", "--take-over"]);
    assert_eq!(tables(), before);
    host.namespace.run(&["nft", "delete", "table", "inet", "two"], b"");
    host.configure(&table("two", "/bin/true"));
    host.expect(0, &["render"]);
    let before = tables();
    assert!(before.len() == 2 && before[1].starts_with("two {"), "{before:?}");
    // What was in the first one's place before it is nothing of the third's.
    host.configure(&table("three", "/bin/false"));
    host.expect(7, &["render"]);
    assert_eq!(tables(), before);
}
