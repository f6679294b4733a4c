//! Every subcommand but `render`, on the embedded example.
#![allow(clippy::unwrap_used, reason = "to panic is how a test fails")]

mod cli_support;

use std::fs;
use std::process::{Command, Stdio};

use cli_support::{Folder, example_document, expect, quickstart, run, tagwall, text};
use serde_json::Value;

fn quick(args: &[&str]) -> (String, String) {
    let config = quickstart();
    let mut all = vec!["--config", config.to_str().unwrap()];
    all.extend(args);
    expect(0, &all)
}

/// Parses JSON and asserts that the keys are there.
#[track_caller]
fn json(text: &str, format: &str, keys: &[&str]) -> Value {
    let value: Value = serde_json::from_str(text).unwrap();
    assert_eq!(value["format"], format);
    for key in keys {
        assert!(value.get(key).is_some(), "no key {key} in {text}");
    }
    value
}

#[test]
fn every_help_has_examples() {
    let subcommands =
        ["init", "check", "render", "explain", "tags", "diff", "templates", "completions", "man"];
    for subcommand in subcommands {
        let (help, _) = expect(0, &[subcommand, "--help"]);
        assert!(help.contains("Examples:\n"), "{subcommand}: {help}");
        assert!(help.contains(&format!("tagwall {subcommand}")), "{subcommand}");
    }
    let (help, _) = expect(0, &["--help"]);
    assert!(help.contains("Exit codes:"), "{help}");
    assert!(subcommands.iter().all(|name| help.contains(&format!("\n  {name} "))), "{help}");
    expect(2, &[]);
    expect(2, &["nothing"]);
    expect(0, &["--version"]);
}

#[test]
fn tags_are_listed_without_a_configuration() {
    let (all, _) = expect(0, &["tags", "--example"]);
    assert!(all.contains("24 tags"), "{all}");
    assert!(!all.contains('\x1b'), "coloured into a pipe");
    let feed = example_document();
    let feed = feed.to_str().unwrap();
    let (some, _) = expect(0, &["tags", "*.WESTEUROPE", "--feed", feed, "--json"]);
    let value = json(&some, "tagwall-tags/1", &["publications"]);
    let publication = &value["publications"][0];
    for key in ["cloud", "source", "date", "change_number", "digest", "tags"] {
        assert!(publication.get(key).is_some(), "{key}");
    }
    let names: Vec<&str> = publication["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["AzureCloud.westeurope", "EventHub.WestEurope", "Sql.WestEurope", "Storage.WestEurope"]
    );
    for key in ["region", "service", "change_number", "v4", "v6", "features"] {
        assert!(publication["tags"][0].get(key).is_some(), "{key}");
    }
    let (with, _) = expect(0, &["tags", "apimanage", "--example", "--prefixes"]);
    assert!(
        with.contains("\n  203.0.113.0/27\n") && with.contains("\n  2001:db8:a::/60\n"),
        "{with}"
    );
    let (of_config, _) = quick(&["tags"]);
    assert_eq!(of_config, all);
}

#[test]
fn tags_needs_a_publication_and_a_tag_that_is_there() {
    let (_, stderr) = expect(2, &["tags"]);
    assert!(stderr.contains("--feed FILE"), "{stderr}");
    let (_, stderr) = expect(3, &["tags", "Storagee", "--example"]);
    assert!(stderr.contains("did you mean") && stderr.contains("`Storage`"), "{stderr}");
    expect(6, &["tags", "--feed", "/nonexistent.json"]);
    // A configuration that is asked for by name must be there.
    expect(6, &["tags", "--example", "--config", "/nonexistent.toml"]);
    let folder = Folder::new();
    let broken = folder.put("feed.json", "{");
    expect(4, &["tags", "--feed", &broken]);
    let feed = example_document();
    let feed = feed.to_str().unwrap();
    let (_, stderr) = expect(2, &["tags", "--feed", feed, "--feed", feed]);
    assert!(stderr.contains("twice for cloud example"), "{stderr}");
}

#[test]
fn standard_input_is_a_feed_too() {
    let document = fs::read(example_document()).unwrap();
    let output =
        tagwall().args(["tags", "Sql", "--feed", "-"]).write_stdin(document).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("4 tags"));
}

#[test]
fn explain_prints_the_profiles_table() {
    let (table, _) = quick(&["explain", "apim.prod"]);
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    for part in
        ["NOT COVERED", "rule apim-prod-storage-westeurope", "What else to see to", "tcp/3443"]
    {
        assert!(table.contains(part), "{part}: {table}");
    }
    let (answer, _) = quick(&["explain", "apim.prod", "--json"]);
    let value = json(&answer, "tagwall-explain/1", &["kind", "profile", "cloud", "rows", "advice"]);
    let storage = &value["rows"][0];
    assert_eq!(storage["tags"][0], "Storage.WestEurope");
    assert_eq!(storage["decided"], "firewall");
    assert!(storage["v4_prefixes"].as_u64().unwrap() > 0);
    let config = quickstart();
    let (_, stderr) = expect(2, &["explain", "apim.prode", "--config", config.to_str().unwrap()]);
    assert!(stderr.contains("did you mean apim.prod?"), "{stderr}");
    // Without the publication the table is there, only uncounted.
    let folder = Folder::new();
    let text = fs::read_to_string(quickstart()).unwrap().replace("\"example\"", "\"public\"");
    let config = folder.put("tagwall.toml", text);
    let (table, _) = expect(0, &["explain", "apim.prod", "--config", &config]);
    assert!(table.contains("Prefixes are not counted"), "{table}");
}

#[test]
fn explain_finds_addresses_in_tags_groups_rules_and_routes() {
    let (answer, _) = quick(&["explain", "203.0.113.10", "--json"]);
    let keys = ["prefix", "tags", "groups", "rules", "own_of", "routes", "rules_without_family"];
    let value = json(&answer, "tagwall-explain/1", &keys);
    assert_eq!(value["tags"][0]["name"], "ApiManagement");
    assert_eq!(value["routes"].as_array().unwrap().len(), 2);
    assert!(value["rules"].as_array().unwrap().is_empty());
    let (answer, _) = quick(&["explain", "198.19.0.7"]);
    assert!(answer.contains("AzureActiveDirectory"), "{answer}");
    let rule = "apim-prod-entra (outbound): 10.20.0.0/24 → apim-prod-entra, tcp/443 on wan0";
    assert!(answer.contains(rule), "{answer}");
    let (answer, _) = quick(&["explain", "198.19.0.0/22"]);
    assert!(answer.contains("AzureActiveDirectory (a part of it)"), "{answer}");
    let (answer, _) = quick(&["explain", "2001:db8:b::1"]);
    assert!(answer.contains("no rule lets it through"), "{answer}");
    assert!(answer.contains("their own end has no prefix of its family"), "{answer}");
    let (answer, _) = quick(&["explain", "10.20.0.9"]);
    assert!(answer.contains("own end of the rules"), "{answer}");
    let (answer, _) = expect(0, &["explain", "203.0.113.10", "--example"]);
    assert!(answer.contains("there is no configuration"), "{answer}");
    expect(2, &["explain", "203.0.113.10"]);
    expect(2, &["explain", "nonsense", "--example"]);
    expect(2, &["explain", "10.0.0.1/8", "--example"]);
}

#[test]
fn explain_finds_hostnames_also_by_wildcard() {
    let (answer, _) = quick(&["explain", "mscrl.microsoft.com", "--json"]);
    let value = json(&answer, "tagwall-explain/1", &["host", "groups", "rules", "resolved"]);
    assert_eq!(value["groups"][0]["name"], "apim-prod-certificates");
    assert_eq!(value["resolved"], false);
    let folder = Folder::new();
    let text = fs::read_to_string(quickstart()).unwrap().replace("\"entra\"", "\"diagnostics\"");
    let config = folder.put("tagwall.toml", text);
    let (answer, _) = expect(0, &["explain", "eu.data.microsoft.com", "--config", &config]);
    assert!(
        answer.contains("(by *.data.microsoft.com)") && answer.contains("not yet resolved"),
        "{answer}"
    );
    let (answer, _) = expect(0, &["explain", "www.example.com", "--config", &config]);
    assert!(answer.contains("no group names it"), "{answer}");
}

#[test]
fn diff_says_what_changed_by_tag() {
    let folder = Folder::new();
    let old = fs::read_to_string(example_document()).unwrap();
    let new = old
        .replace("\"203.0.113.64/28\"", "\"203.0.113.64/27\"")
        .replace("AzureDevOps", "AzureOps");
    let (old, new) = (folder.put("old.json", &old), folder.put("new.json", new));
    let (answer, _) = expect(1, &["diff", &old, &new, "--json"]);
    let value = json(&answer, "tagwall-diff/1", &["cloud", "old", "new", "equal", "tags", "total"]);
    assert_eq!(value["equal"], false);
    let kinds: Vec<(&str, &str)> = value["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| (tag["name"].as_str().unwrap(), tag["kind"].as_str().unwrap()))
        .collect();
    assert_eq!(
        kinds,
        [("ApiManagement", "changed"), ("AzureDevOps", "removed"), ("AzureOps", "added")]
    );
    assert_eq!(value["tags"][0]["v4_addresses_added"], 16);
    assert_eq!(value["total"]["v4_addresses_added"], 16);
    let (text, _) = expect(1, &["diff", &old, &new]);
    assert!(text.contains("3 tags differ (1 added, 1 removed)"), "{text}");
    let (text, _) = expect(0, &["diff", &old, &old]);
    assert!(text.contains("equal content; the change numbers are equal"), "{text}");
    let risen =
        fs::read_to_string(&old).unwrap().replace("\"changeNumber\": 1,", "\"changeNumber\": 2,");
    let risen = folder.put("risen.json", risen);
    let (text, _) = expect(0, &["diff", &old, &risen]);
    assert!(text.contains("equal content; the change numbers differ"), "{text}");
    let china = r#"{"changeNumber":1,"cloud":"China","values":[{"name":"A","properties":{"changeNumber":1,"addressPrefixes":["20.0.0.0/24"]}}]}"#;
    let china = folder.put("china.json", china);
    let (_, stderr) = expect(4, &["diff", &old, &china]);
    assert!(stderr.contains("of cloud china, expected example"), "{stderr}");
}

#[test]
fn what_init_writes_passes_check_and_is_never_overwritten() {
    for dialect in ["nftables", "iptables", "list", "json", "panos", "fortios", "azure"] {
        let folder = Folder::new();
        let file = folder.arg("tagwall.toml");
        let mut args = vec![
            "init",
            "--apim",
            "prod",
            "--cloud",
            "example",
            "--region",
            "westeurope,northeurope",
        ];
        args.extend(["--subnet", "10.20.0.0/24,2001:db8:20::/64", "--egress", "wan0"]);
        args.extend([
            "--feature",
            "entra,kms",
            "--client",
            "203.0.113.10/32",
            "--tag",
            "AzureDevOps",
        ]);
        args.extend(["--dialect", dialect, "--output", &file]);
        expect(0, &args);
        expect(0, &["check", "--config", &file]);
        expect(0, &["render", "--config", &file, "--dry-run"]);
        let before = fs::read(&file).unwrap();
        args[2] = "other";
        let (_, stderr) = expect(2, &args);
        assert!(stderr.contains("is there already"), "{stderr}");
        assert_eq!(fs::read(&file).unwrap(), before);
        args.push("--force");
        expect(0, &args);
        assert_ne!(fs::read(&file).unwrap(), before);
    }
}

#[test]
fn init_says_what_is_missing_and_asks_nobody_who_is_not_there() {
    let file = Folder::new().arg("x.toml");
    for (args, missing) in [
        (vec![], "on a terminal"),
        (vec!["--region", "westeurope"], "--apim NAME, --tag TAG or both"),
        (vec!["--apim", "prod"], "--subnet is missing"),
        (vec!["--apim", "prod", "--subnet", "10.0.0.0/24"], "--region is missing"),
        (vec!["--tag", "Sql", "--subnet", "10.0.0.0/24"], "--egress is missing"),
        (vec!["--apim", "prod", "--feature", "entre"], "expected one of"),
        (vec!["--cloud", "mars"], "a cloud is one of"),
    ] {
        let mut all = vec!["init", "--output", &file];
        all.extend(args);
        let (_, stderr) = expect(2, &all);
        assert!(stderr.contains(missing), "{missing}: {stderr}");
    }
    let wide = [
        "init",
        "--apim",
        "p",
        "--region",
        "a",
        "--subnet",
        "10.0.0.0/24",
        "--egress",
        "w",
        "--client",
    ];
    let (_, stderr) = expect(3, &[&wide[..], &["203.0.0.0/8", "--output", &file]].concat());
    assert!(stderr.contains("wider than /24"), "{stderr}");
    assert!(!std::path::Path::new(&file).exists());
}

#[test]
fn templates_are_listed_shown_and_exported() {
    let (list, _) = expect(0, &["templates", "list"]);
    assert!(list.lines().any(|name| name == "nftables/own.nft"), "{list}");
    let (own, _) = expect(0, &["templates", "show", "nftables/own.nft"]);
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/templates/nftables/own.nft");
    assert_eq!(own, fs::read_to_string(source).unwrap());
    let (_, stderr) = expect(2, &["templates", "show", "nftables/own.nf"]);
    assert!(stderr.contains("did you mean `nftables/own.nft`?"), "{stderr}");
    let folder = Folder::new();
    let to = folder.arg("templates");
    expect(0, &["templates", "export", "--dialect", "list", &to]);
    let exported = folder.path("templates/list/group.txt");
    assert!(exported.exists() && !folder.path("templates/nftables").exists());
    let changed = folder.put("templates/list/group.txt", "mine\n");
    let (_, stderr) = expect(2, &["templates", "export", &to]);
    assert!(stderr.contains("group.txt is there already"), "{stderr}");
    assert_eq!(fs::read_to_string(&changed).unwrap(), "mine\n");
    assert!(!folder.path("templates/nftables").exists(), "a part was written");
    expect(0, &["templates", "export", "--force", &to]);
    assert_ne!(fs::read_to_string(&changed).unwrap(), "mine\n");
    expect(2, &["templates", "export", "--dialect", "nonsense", &to]);
    // What was exported is what is built in.
    let text = fs::read_to_string(quickstart()).unwrap();
    let text =
        text.replace("cloud = \"example\"", "cloud = \"example\"\ntemplates-dir = \"templates\"");
    let config = folder.put("tagwall.toml", text);
    let (from_folder, _) = expect(0, &["render", "--config", &config, "--stdout"]);
    let (built_in, _) = quick(&["render", "--stdout"]);
    assert_eq!(from_folder, built_in);
}

#[test]
fn completions_and_manual_pages_name_every_subcommand() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (script, _) = expect(0, &["completions", shell]);
        assert!(script.contains("templates") && script.contains("dry-run"), "{shell}");
    }
    expect(2, &["completions", "tcsh"]);
    let (page, _) = expect(0, &["man"]);
    assert!(page.contains(".TH tagwall 1"), "{page}");
    let folder = Folder::new();
    expect(0, &["man", "--output", &folder.arg("man")]);
    for name in ["tagwall", "tagwall-render", "tagwall-templates-export"] {
        let page = fs::read_to_string(folder.path(&format!("man/{name}.1"))).unwrap();
        assert!(page.contains(&format!(".TH {name} 1")), "{name}");
    }
}

#[test]
fn check_warns_of_what_is_probably_not_meant() {
    let folder = Folder::new();
    let text = "cloud = \"example\"
[groups.used]
tags = [\"Sql\"]
[groups.unused]
tags = [\"Storage\"]
[rules.on]
source = [\"10.20.0.0/24\"]
destination = \"used\"
services = [\"tcp/1433\"]
[rules.off]
enabled = false
source = [\"10.20.0.0/24\"]
destination = \"used\"
services = [\"tcp/443\"]
[targets.one.nftables]
egress = [\"wan0\"]
[targets.two.nftables]
egress = [\"wan0\"]
";
    let config = folder.put("tagwall.toml", text);
    let (answer, _) = expect(0, &["check", "--config", &config, "--json"]);
    let keys = ["config", "sound", "profiles", "groups", "rules", "targets", "warnings", "errors"];
    let value = json(&answer, "tagwall-check/1", &keys);
    let found: Vec<(&str, &str)> = value["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| (warning["kind"].as_str().unwrap(), warning["object"].as_str().unwrap()))
        .collect();
    assert_eq!(
        found,
        [
            ("unused-group", "groups.unused"),
            ("disabled-rule", "rules.off"),
            ("alike-targets", "targets.two")
        ]
    );
    let (stdout, stderr) = expect(0, &["check", "--config", &config]);
    assert!(
        stdout.contains("sound (0 profiles, 2 groups, 2 rules, 2 targets); 3 warnings"),
        "{stdout}"
    );
    assert_eq!(stderr.matches("warning: ").count(), 3, "{stderr}");
    // A list carries groups for their own sake.
    let config = folder.put("list.toml", format!("{text}[targets.l.list]\n"));
    let (answer, _) = expect(0, &["check", "--config", &config, "--json"]);
    assert!(!answer.contains("unused-group"), "{answer}");
    let (_, stderr) = quick(&["check"]);
    assert!(stderr.contains("NOT COVERED: time (NTP)"), "{stderr}");
    let config =
        folder.put("broken.toml", text.replace("destination = \"used\"", "destination = \"usd\""));
    let (answer, stderr) = expect(3, &["check", "--config", &config, "--json"]);
    let value = json(&answer, "tagwall-check/1", &keys);
    assert_eq!(value["sound"], false);
    assert_eq!(value["errors"].as_array().unwrap().len(), 2);
    assert_eq!(stderr, "");
}

#[test]
fn a_template_with_an_unknown_variable_is_found_by_check() {
    let folder = Folder::new();
    let to = folder.arg("templates");
    expect(0, &["templates", "export", "--dialect", "list", &to]);
    folder.put("templates/list/group.txt", "{{ group.nonsense }}\n");
    let text = "cloud = \"example\"\ntemplates-dir = \"templates\"\n[groups.x]\ntags = [\"Sql\"]\n[targets.l.list]\n";
    let config = folder.put("tagwall.toml", text);
    let (_, stderr) = expect(3, &["check", "--config", &config]);
    assert!(stderr.contains("list/group.txt") && stderr.contains("nonsense"), "{stderr}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let config = quickstart();
    let config = config.to_str().unwrap();
    for args in [
        vec!["--help"],
        vec!["tags", "--example", "--prefixes"],
        vec!["explain", "apim.prod", "--config", config],
        vec!["render", "--dry-run", "--config", config],
        vec!["render", "--stdout", "--config", config],
        vec!["completions", "bash"],
        vec!["man"],
    ] {
        let mut child = Command::new(assert_cmd::cargo::cargo_bin("tagwall"))
            .args(&args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Closed before anything is read.
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert_eq!(text(&output.stderr), "", "{args:?}");
    }
}

#[test]
fn colours_are_for_terminals_unless_asked_for() {
    let config = quickstart();
    let config = config.to_str().unwrap();
    let args = ["render", "--dry-run", "--config", config];
    assert!(!text(&run(&args).stdout).contains('\x1b'));
    let always = [&args[..], &["--color", "always"]].concat();
    assert!(text(&run(&always).stdout).contains('\x1b'));
    for (variable, flag, coloured) in [
        ("NO_COLOR", "auto", false),
        ("CLICOLOR_FORCE", "auto", true),
        ("CLICOLOR_FORCE", "never", false),
    ] {
        let output =
            tagwall().args(args).args(["--color", flag]).env(variable, "1").output().unwrap();
        assert_eq!(text(&output.stdout).contains('\x1b'), coloured, "{variable} {flag}");
    }
    expect(2, &["--color", "sometimes", "check"]);
}

#[test]
fn a_file_that_is_no_belief_is_refused_by_name() {
    let folder = Folder::new();
    let (file, state) = (folder.put("other.json", "{"), folder.arg("state"));
    let output =
        tagwall().args(["belief", "import", &file, "--state-dir", &state]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("other.json is not imported, nothing was changed"), "{said}");
    assert!(!folder.path("state/belief.json").exists());
}

#[test]
fn a_folder_that_cannot_be_read_is_named() {
    let folder = Folder::new();
    let missing = folder.arg("publications");
    let config = quickstart();
    let (_, stderr) = expect(6, &["replay", &missing, "--config", config.to_str().unwrap()]);
    assert!(stderr.contains(&format!("cannot read the folder {missing}")), "{stderr}");
}
