//! The azure dialect, read back by parsers that are not ours.
//!
//! Independent readers: azure-mgmt-network's models (ARM), tree-sitter's Bicep grammar, python-hcl2 (Terraform), and the
//! argument parser of the real azure-cli. They are installed with pip below the target folder; where that is not
//! possible the part says `skipped:`. azure-cli takes 700 MB, so it is installed only with `TAGWALL_AZ_CLI=1`; the scripts'
//! words are compared without it too.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![expect(clippy::disallowed_methods, reason = "files of a test need not survive a power cut")]
#![expect(clippy::panic, reason = "a test may fail by panicking")]
#![expect(clippy::print_stderr, reason = "says what was skipped")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};
use tagwall::config::{Config, Direction};
use tagwall::pipeline::rules;
use tagwall::render::{Artifact, RenderError, Templates, render};
use tagwall::ruleset::{Destination, Peer, RuleSet};
use tagwall::selection::{HostAddresses, Publications};
use tagwall::snapshot::Cloud;

const FORMATS: [&str; 4] = ["arm", "bicep", "terraform", "cli"];
const SETTINGS: &str =
    "resource-group = \"rg\"\nroute-table = \"rt\"\nnetwork-security-group = \"nsg\"\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn example_text() -> String {
    std::fs::read_to_string(root().join("packaging/examples/azure.toml")).unwrap()
}

fn parse(text: &str) -> Config {
    Config::parse(&root().join("packaging/examples/test.toml"), text.to_owned()).unwrap()
}

fn example_feed(config: &Config) -> Publications {
    let publication = tagwall::feed::example(&config.policy()).unwrap();
    [(Cloud::Example, publication)].into()
}

/// A configuration of the example's profile and one target of these settings.
fn with_target(settings: &str) -> Config {
    let text = example_text();
    let profile = text.split("# One of the four").next().unwrap();
    parse(&format!("{profile}\n[targets.t.azure]\n{settings}"))
}

fn files(config: &Config, rule_set: &RuleSet, previous: Option<&RuleSet>) -> Vec<Artifact> {
    let templates = Templates::load(config).unwrap();
    render(config, rule_set, previous, &templates, &[]).unwrap().artifacts
}

fn text<'a>(artifacts: &'a [Artifact], file: &str) -> &'a str {
    let found = artifacts.iter().find(|artifact| artifact.file == file);
    std::str::from_utf8(&found.unwrap_or_else(|| panic!("no file {file}")).bytes).unwrap()
}

/// The real publication of 2025-09-08.
fn real() -> Option<PathBuf> {
    let folder = std::env::var_os("TAGWALL_FEEDS")
        .map_or_else(|| root().join("../shared/feeds"), PathBuf::from);
    let path = folder.join("public/ServiceTags_Public_20250908.json");
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is absent (set TAGWALL_FEEDS)", path.display());
    None
}

/// A Python with these packages, made once by pip below the target folder.
fn python(name: &str, packages: &[&str], module: &str, install: bool) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let python = folder.join("bin/python");
    let works = || {
        let command = Command::new(&python).args(["-c", &format!("import {module}")]).output();
        command.is_ok_and(|output| output.status.success())
    };
    if !works() && install {
        let run = |program: &Path, arguments: &[&str]| {
            Command::new(program).args(arguments).output().is_ok_and(|made| made.status.success())
        };
        let folder = folder.to_str()?;
        let mut pip = vec!["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        pip.extend(packages);
        _ = run(Path::new("python3"), &["-m", "venv", folder]) && run(&python, &pip);
    }
    let works = works();
    if !works {
        eprintln!("skipped: no Python with {} ({})", packages.join(", "), folder.display());
    }
    works.then_some(python)
}

fn reader() -> Option<&'static PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let packages = ["azure-mgmt-network", "python-hcl2", "tree-sitter", "tree-sitter-bicep"];
    let modules = "azure.mgmt.network, hcl2, tree_sitter, tree_sitter_bicep";
    PYTHON.get_or_init(|| python("venv-azure", &packages, modules, true)).as_ref()
}

fn az() -> Option<&'static PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let install = std::env::var_os("TAGWALL_AZ_CLI").is_some();
    PYTHON.get_or_init(|| python("venv-azcli", &["azure-cli"], "azure.cli.core", install)).as_ref()
}

fn run_python(python: &Path, script: &str, arguments: &[&str], artifacts: &[Artifact]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(python);
    command.arg(root().join("tests/azure").join(script)).args(arguments);
    for artifact in artifacts {
        let path = folder.path().join(&artifact.file);
        std::fs::write(&path, &artifact.bytes).unwrap();
        command.arg(path);
    }
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} {arguments:?}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The options of each az command of a script: words as a shell splits them (everything is single-quoted).
fn commands(script: &str) -> Vec<(String, BTreeMap<String, Vec<String>>)> {
    let mut commands = Vec::new();
    for line in script.lines().filter(|line| line.starts_with("az ")) {
        let mut words: Vec<(String, bool)> = Vec::new();
        let (mut word, mut quoted, mut inside) = (String::new(), false, false);
        let mut letters = line.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\'' => (inside, quoted) = (!inside, true),
                '\\' if !inside => word.push(letters.next().unwrap()),
                ' ' if !inside => {
                    words.push((std::mem::take(&mut word), std::mem::take(&mut quoted)));
                }
                _ => {
                    let bare = letter.is_ascii_lowercase() || letter == '-';
                    assert!(inside || bare, "{letter:?} is not quoted in {line}");
                    word.push(letter);
                }
            }
        }
        assert!(!inside, "{line}");
        words.push((word, quoted));
        let split = words.iter().position(|(word, _)| word.starts_with("--")).unwrap();
        let command: Vec<&str> = words[1..split].iter().map(|(word, _)| word.as_str()).collect();
        let mut options: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut last = String::new();
        for (word, quoted) in &words[split..] {
            if !quoted && word.starts_with("--") {
                last.clone_from(word);
                assert!(options.insert(last.clone(), Vec::new()).is_none(), "{word} twice: {line}");
            } else {
                options.get_mut(&last).unwrap().push(word.clone());
            }
        }
        commands.push((command.join(" "), options));
    }
    commands
}

/// What a script of az commands means, in the form of tests/azure/read.py.
fn meaning_of_script(scripts: &[&str]) -> Value {
    let (mut routes, mut rules) = (Vec::new(), Vec::new());
    for (command, options) in scripts.iter().flat_map(|script| commands(script)) {
        let one = |key: &str| match options[key].as_slice() {
            [one] => one.clone(),
            other => panic!("{key}: {other:?}"),
        };
        match command.as_str() {
            "network route-table route create" => routes.push(json!({
                "name": one("--name"), "parent": one("--route-table-name"), "prefix": one("--address-prefix"),
                "hop": one("--next-hop-type"), "address": null,
            })),
            "network nsg rule create" => rules.push(json!({
                "name": one("--name"), "parent": one("--nsg-name"), "description": one("--description"),
                "priority": one("--priority").parse::<u32>().unwrap(), "access": one("--access"),
                "direction": one("--direction"), "protocol": one("--protocol"),
                "sources": options["--source-address-prefixes"],
                "destinations": options["--destination-address-prefixes"],
                "source_ports": options["--source-port-ranges"], "ports": options["--destination-port-ranges"],
            })),
            other => panic!("az {other}"),
        }
    }
    json!({ "routes": routes, "rules": rules, "tables": [] })
}

/// What the files of one target mean; none where no reader can be had.
fn meaning(format: &str, artifacts: &[Artifact]) -> Option<Value> {
    if format == "cli" {
        return Some(meaning_of_script(&[
            text(artifacts, "routes.az.sh"),
            text(artifacts, "nsg.az.sh"),
        ]));
    }
    Some(run_python(reader()?, "read.py", &[format], artifacts))
}

/// What the rule set says, computed here by other means than in the dialect.
fn expected(rule_set: &RuleSet, prefixes: bool) -> (BTreeSet<String>, Vec<Value>) {
    let mut routes = BTreeSet::new();
    for route in &rule_set.routes {
        match &route.destination {
            // The example's subnets are IPv4 only.
            Destination::Tag { prefixes: all, .. } if prefixes => {
                routes.extend(all.v4().iter().map(ToString::to_string));
            }
            Destination::Tag { tag, .. } => _ = routes.insert(tag.to_string()),
            Destination::Prefix(prefix) => _ = routes.insert(prefix.to_string()),
        }
    }
    let mut rules = Vec::new();
    for direction in [Direction::Inbound, Direction::Outbound] {
        for (index, rule) in
            rule_set.security.iter().filter(|rule| rule.direction == direction).enumerate()
        {
            let far: Vec<String> = match &rule.peer {
                Peer::Tag(tag) => vec![tag.to_string()],
                Peer::Prefixes(prefixes) => prefixes.iter().map(|net| net.to_string()).collect(),
            };
            let near = vec!["VirtualNetwork".to_owned()];
            let inbound = direction == Direction::Inbound;
            let (sources, destinations) = if inbound { (far, near) } else { (near, far) };
            let ports: Vec<_> = rule.services.iter().map(|one| one.ports.to_string()).collect();
            let protocol = rule.protocol.name();
            rules.push(json!({
                "name": format!("tw-{}", rule.name), "parent": "nsg",
                "description": format!("tagwall: {}", rule.purpose), "priority": 1000 + 10 * index,
                "access": "Allow", "direction": if inbound { "Inbound" } else { "Outbound" },
                "protocol": format!("{}{}", protocol[..1].to_uppercase(), &protocol[1..]),
                "sources": sources, "destinations": destinations, "source_ports": ["*"], "ports": ports,
            }));
        }
    }
    (routes, rules)
}

/// Checks one rule set in all formats, with tags as they are and as prefixes.
fn all_formats_say(profile: &str, publications: &Publications) -> usize {
    let mut compared = 0;
    for tags in ["tag", "prefixes"] {
        for format in FORMATS {
            let config = parse(&format!(
                "{profile}\n[targets.t.azure]\nformat = \"{format}\"\ntags = \"{tags}\"\n{SETTINGS}"
            ));
            let rule_set = rules(&config, publications, &HostAddresses::new()).unwrap();
            let artifacts = files(&config, &rule_set, None);
            assert_eq!(artifacts.len(), 2);
            let Some(meaning) = meaning(format, &artifacts) else { continue };
            let (routes, rules) = expected(&rule_set, tags == "prefixes");
            let read = meaning["routes"].as_array().unwrap();
            let to: BTreeSet<String> =
                read.iter().map(|route| route["prefix"].as_str().unwrap().to_owned()).collect();
            assert_eq!(to, routes, "{format} {tags}");
            assert_eq!(read.len(), to.len(), "a destination twice");
            let names: BTreeSet<&str> =
                read.iter().map(|route| route["name"].as_str().unwrap()).collect();
            assert_eq!(names.len(), read.len(), "a name twice");
            for route in read {
                assert_eq!((&route["hop"], &route["parent"]), (&json!("Internet"), &json!("rt")));
                let name = route["name"].as_str().unwrap();
                assert!(name.starts_with("tw-apim-prod-") && name.len() <= 80, "{name}");
                let harmless = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
                assert!(name.chars().all(harmless), "{name}");
            }
            assert_eq!(meaning["rules"], Value::from(rules), "{format} {tags}");
            assert_eq!(meaning["tables"], json!([]));
            compared += 1;
        }
    }
    compared
}

#[test]
fn every_format_says_what_the_rule_set_says() {
    let text = example_text();
    let profile = text.split("# One of the four").next().unwrap();
    let compared = all_formats_say(profile, &example_feed(&parse(&text)));
    assert!(compared >= 2, "the shell scripts need no other reader");
}

#[test]
fn every_format_says_it_of_the_real_publication() {
    let Some(path) = real() else { return };
    let text = example_text();
    let profile = text.split("# One of the four").next().unwrap();
    let profile = profile.replace("cloud = \"example\"", "cloud = \"public\"");
    let config = parse(&profile);
    let publication = tagwall::feed::from_file(&path, &config.policy()).unwrap();
    assert!(all_formats_say(&profile, &[(Cloud::Public, publication)].into()) >= 2);
}

#[test]
fn the_example_is_what_it_was() {
    let config = parse(&example_text());
    let rule_set = rules(&config, &example_feed(&config), &HostAddresses::new()).unwrap();
    for artifact in files(&config, &rule_set, None) {
        let name = artifact.path().replace('/', "__");
        insta::assert_snapshot!(name, String::from_utf8(artifact.bytes).unwrap());
    }
}

#[test]
fn by_default_nothing_but_children_is_written() {
    let config = parse(&example_text());
    let rule_set = rules(&config, &example_feed(&config), &HostAddresses::new()).unwrap();
    for artifact in files(&config, &rule_set, None) {
        let text = String::from_utf8(artifact.bytes).unwrap();
        for whole in [
            "\"type\": \"Microsoft.Network/routeTables\"",
            "azurerm_route_table",
            "ropagation",
            "association\"",
            "az network route-table create",
            "vnet subnet update",
            "0.0.0.0/0",
        ] {
            assert!(!text.contains(whole), "{}: {whole}", artifact.file);
        }
    }
}

#[test]
fn a_whole_table_has_its_default_route_and_says_what_it_deletes() {
    for (format, file) in
        [("arm", "routes.arm.json"), ("bicep", "routes.bicep"), ("terraform", "routes.tf")]
    {
        let config = with_target(&format!(
            "format = \"{format}\"\n{SETTINGS}whole-table = true\nlocation = \"westeurope\"\n\
             default-route-next-hop = \"10.0.0.4\"\ndefault-route-next-hop-ipv6 = \"2001:db8:ffff::4\"\n\
             disable-bgp-propagation = true\n"
        ));
        let rule_set = rules(&config, &example_feed(&config), &HostAddresses::new()).unwrap();
        let artifacts = files(&config, &rule_set, None);
        assert!(text(&artifacts, file).contains("deletes every route of the table"), "{format}");
        let Some(meaning) = meaning(format, &artifacts) else { continue };
        assert_eq!(meaning["tables"], json!([{ "name": "rt", "no_bgp": true }]), "{format}");
        let routes = meaning["routes"].as_array().unwrap();
        let default = json!({ "name": "tw-default", "parent": "rt", "prefix": "0.0.0.0/0",
            "hop": "VirtualAppliance", "address": "10.0.0.4" });
        assert_eq!(routes[0], default, "{format}");
        assert_eq!(routes[1]["prefix"], "::/0");
        assert_eq!(routes.len(), 2 + rule_set.routes.len());
        let settings = format!(
            "format = \"{format}\"\n{SETTINGS}whole-table = true\nlocation = \"westeurope\"\n\
             default-route-next-hop = \"10.0.0.4\"\n"
        );
        let config = with_target(&settings);
        let error = render(&config, &rule_set, None, &Templates::load(&config).unwrap(), &[]);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("default-route-next-hop-ipv6"), "{error}");
    }
}

#[test]
fn a_whole_table_keeps_the_default_route_of_ipv6_subnets() {
    let text = example_text();
    let profile = text.split("# One of the four").next().unwrap().replace(
        "subnets = [\"10.20.0.0/24\"]",
        "subnets = [\"10.20.0.0/24\", \"2001:db8:20::/64\"]\ntunnelled = [\"0.0.0.0/0\", \"::/0\"]",
    );
    let target = format!(
        "[targets.t.azure]\nformat = \"arm\"\n{SETTINGS}whole-table = true\nlocation = \"westeurope\"\n\
         default-route-next-hop = \"10.0.0.4\"\n"
    );
    let config = |more: &str| {
        Config::parse(Path::new("t.toml"), format!("{profile}\n{target}{more}"))
            .map_err(|error| error.to_string())
    };
    assert!(config("").unwrap_err().contains("::/0"));
    assert!(config("default-route-next-hop-ipv6 = \"2001:db8:ffff::4\"\n").is_ok());
}

#[test]
fn an_association_is_written_on_request_only() {
    for (format, file, words) in [
        (
            "cli",
            "routes.az.sh",
            "az network vnet subnet update --resource-group 'rg' --vnet-name 'v' --name 's' --route-table 'rt'",
        ),
        (
            "terraform",
            "routes.tf",
            "resource \"azurerm_subnet_route_table_association\" \"tagwall\"",
        ),
    ] {
        let config =
            with_target(&format!("format = \"{format}\"\n{SETTINGS}associate-subnet = \"v/s\"\n"));
        let rule_set = rules(&config, &example_feed(&config), &HostAddresses::new()).unwrap();
        let artifacts = files(&config, &rule_set, None);
        assert!(text(&artifacts, file).contains(words), "{format}");
        if format == "terraform" {
            _ = meaning(format, &artifacts);
        }
    }
}

#[test]
fn limits_are_errors_with_ways_out() {
    for (settings, object, way) in [
        ("max-routes = 5", "route table rt", "join clients"),
        ("tags = \"prefixes\"\nmax-routes = 6", "route table rt", "tags = \"tag\""),
        ("max-tag-routes = 0", "route table rt", "tags = \"prefixes\""),
        ("outbound-priority = 4090", "network security group nsg", "outbound-priority"),
        (
            "inbound-priority = 4000\npriority-step = 50",
            "network security group nsg",
            "priority-step",
        ),
    ] {
        let config = with_target(&format!("format = \"cli\"\n{SETTINGS}{settings}\n"));
        let rule_set = rules(&config, &example_feed(&config), &HostAddresses::new()).unwrap();
        let templates = Templates::load(&config).unwrap();
        match render(&config, &rule_set, None, &templates, &[]) {
            Err(error @ RenderError::Limit { .. }) => {
                let message = error.to_string();
                assert!(message.contains(object) && message.contains(way), "{message}");
            }
            other => panic!("{settings}: {other:?}"),
        }
    }
    // The last priority that Azure takes is taken.
    let config = with_target(&format!(
        "format = \"cli\"\n{SETTINGS}inbound-priority = 4091\npriority-step = 1\n"
    ));
    let rule_set = rules(&config, &example_feed(&config), &HostAddresses::new()).unwrap();
    assert!(text(&files(&config, &rule_set, None), "nsg.az.sh").contains("--priority '4096'"));
}

#[test]
fn a_tag_without_udr_is_a_warning() {
    for (tags, warned) in [("tag", true), ("prefixes", false)] {
        let config = with_target(&format!("format = \"arm\"\n{SETTINGS}tags = \"{tags}\"\n"));
        let mut rule_set = rules(&config, &example_feed(&config), &HostAddresses::new()).unwrap();
        let warnings = |rule_set: &RuleSet| -> Vec<String> {
            files(&config, rule_set, None).into_iter().flat_map(|file| file.warnings).collect()
        };
        assert_eq!(warnings(&rule_set), Vec::<String>::new());
        for route in &mut rule_set.routes {
            if let Destination::Tag { routable, .. } = &mut route.destination {
                *routable = false;
            }
        }
        let warnings = warnings(&rule_set);
        assert_eq!(warnings.len(), usize::from(warned), "{warnings:?}");
        assert!(warnings.iter().all(|warning| warning.contains("ApiManagement")
            && warning.contains("UDR")
            && warning.contains("prefixes")));
    }
}

#[test]
fn two_profiles_in_one_table_share_a_route() {
    let text = example_text();
    let profile = text.split("# One of the four").next().unwrap();
    let second = profile.split("[apim.prod]").nth(1).unwrap();
    let config = parse(&format!(
        "{profile}\n[apim.second]{second}\n[targets.t.azure]\nformat = \"cli\"\n{SETTINGS}"
    ));
    let rule_set = rules(&config, &example_feed(&config), &HostAddresses::new()).unwrap();
    let artifacts = files(&config, &rule_set, None);
    let to: Vec<String> = commands(text_of(&artifacts))
        .into_iter()
        .map(|(_, options)| options["--address-prefix"][0].clone())
        .collect();
    assert_eq!(to.len(), to.iter().collect::<BTreeSet<_>>().len(), "{to:?}");
    assert_eq!(to.len() * 2, rule_set.routes.len());
}

fn text_of(artifacts: &[Artifact]) -> &str {
    text(artifacts, "routes.az.sh")
}

#[test]
fn other_address_space_leaves_every_byte() {
    let config = with_target(&format!("format = \"bicep\"\n{SETTINGS}"));
    let rule_set = rules(&config, &example_feed(&config), &HostAddresses::new()).unwrap();
    let mut other = rule_set.clone();
    for group in &mut other.groups {
        group.prefixes = group.prefixes.difference(&group.prefixes);
    }
    for route in &mut other.routes {
        if let Destination::Tag { prefixes, .. } = &mut route.destination {
            *prefixes = prefixes.only_v4();
        }
    }
    assert_ne!(rule_set.digest(), other.digest());
    assert_eq!(files(&config, &rule_set, None), files(&config, &other, None));
}

/// A model of a table and a group: what each script does to them, refusals included.
#[derive(Debug, Default, PartialEq, Clone)]
struct Model {
    routes: BTreeMap<String, String>,
    rules: BTreeMap<String, (String, String, String)>,
}

impl Model {
    fn run(&mut self, script: &str) {
        for (command, options) in commands(script) {
            let one = |key: &str| options[key][0].clone();
            let name = one("--name");
            match command.as_str() {
                "network route-table route create" => {
                    let to = one("--address-prefix");
                    let other =
                        self.routes.iter().find(|(other, known)| **other != name && **known == to);
                    assert!(other.is_none(), "RouteConflict: {name} and {other:?}");
                    self.routes.insert(name, to);
                }
                "network route-table route delete" => _ = self.routes.remove(&name),
                "network nsg rule create" => {
                    let mut meaning = options.clone();
                    meaning.remove("--priority");
                    let rule = (one("--direction"), one("--priority"), format!("{meaning:?}"));
                    self.place(name, rule);
                }
                "network nsg rule update" => {
                    let mut rule = self
                        .rules
                        .get(&name)
                        .unwrap_or_else(|| panic!("{name}: not found"))
                        .clone();
                    rule.1 = one("--priority");
                    self.place(name, rule);
                }
                "network nsg rule delete" => _ = self.rules.remove(&name),
                other => panic!("az {other}"),
            }
        }
    }

    fn place(&mut self, name: String, rule: (String, String, String)) {
        let taken = self
            .rules
            .iter()
            .find(|(other, known)| **other != name && known.0 == rule.0 && known.1 == rule.1);
        assert!(taken.is_none(), "SecurityRuleConflict: {name} and {taken:?}");
        self.rules.insert(name, rule);
    }
}

#[test]
fn delta_and_full_lead_from_any_state_to_any_other() {
    let text_now = example_text();
    let profile = text_now.split("# One of the four").next().unwrap();
    let target = format!("[targets.t.azure]\nformat = \"cli\"\n{SETTINGS}");
    let variants = [
        profile.to_owned(),
        profile.replace("\"192.0.2.10/32\", ", ""),
        profile.replace(", \"kms\"", "").replace("\"entra\", ", ""),
        profile.replace("\"entra\", \"event-hubs\", \"kms\"", "\"connectors\", \"git\""),
        profile
            .replace("regions = [\"westeurope\", \"northeurope\"]", "regions = [\"northeurope\"]"),
        profile.replace("[apim.prod]", "[apim.other]"),
        format!("{profile}\n[apim.a]{}", profile.split("[apim.prod]").nth(1).unwrap()),
    ];
    let states: Vec<(Config, RuleSet)> = variants
        .iter()
        .map(|profile| {
            let config = parse(&format!("{profile}\n{target}"));
            let rule_set = rules(&config, &example_feed(&config), &HostAddresses::new()).unwrap();
            (config, rule_set)
        })
        .collect();
    let foreign = Model {
        routes: [("to-firewall".to_owned(), "0.0.0.0/0".to_owned())].into(),
        rules: [("deny".to_owned(), ("Inbound".to_owned(), "4096".to_owned(), String::new()))]
            .into(),
    };
    let fresh = |(config, rule_set): &(Config, RuleSet)| {
        let artifacts = files(config, rule_set, None);
        let mut model = foreign.clone();
        model.run(text(&artifacts, "routes.az.sh"));
        model.run(text(&artifacts, "nsg.az.sh"));
        model
    };
    let mut moved = 0;
    for old in &states {
        for new in &states {
            let mut model = fresh(old);
            let artifacts = files(&new.0, &new.1, Some(&old.1));
            let delta = text(&artifacts, "routes.delta.az.sh");
            moved += delta.matches("nsg rule update").count();
            assert!(!delta.contains("'to-firewall'") && !delta.contains("'deny'"));
            model.run(delta);
            model.run(text(&artifacts, "routes.az.sh"));
            model.run(text(&artifacts, "nsg.az.sh"));
            assert_eq!(model, fresh(new));
            // Full files do not depend on history, and a second run changes nothing.
            let again = files(&new.0, &new.1, None);
            assert_eq!(again[..], artifacts[..2]);
            model.run(text(&again, "routes.az.sh"));
            model.run(text(&again, "nsg.az.sh"));
            assert_eq!(model, fresh(new));
        }
    }
    assert!(moved > 0, "no variant moved a priority");
}

#[test]
fn terraform_needs_no_delta() {
    for (format, deltas) in [("terraform", 0), ("bicep", 1), ("arm", 1), ("cli", 1)] {
        let config = with_target(&format!("format = \"{format}\"\n{SETTINGS}"));
        let rule_set = rules(&config, &example_feed(&config), &HostAddresses::new()).unwrap();
        let artifacts = files(&config, &rule_set, Some(&RuleSet::default()));
        let found = artifacts.iter().filter(|file| file.file.contains(".delta.")).count();
        assert_eq!(found, deltas, "{format}");
    }
}

/// Every character that a name can have, and in the only free text (the purpose of a rule) everything that a language
/// gives meaning to.
#[test]
fn whatever_a_name_may_hold_is_quoted() {
    let hostile = "a'b\"c\\d ${e} %{f} $(g) `h` #i //j /*k*/ ;l |m &n *o ?p !q ~r [s] <t> \\' é";
    for format in FORMATS {
        let config = with_target(&format!(
            "format = \"{format}\"\nresource-group = \"(Rg)_1.a-b(c)\"\nroute-table = \"1.rt-_\"\n\
             network-security-group = \"Nsg.1-2_3\"\nprefix = \"T_w-\"\n"
        ));
        let mut rule_set = rules(&config, &example_feed(&config), &HostAddresses::new()).unwrap();
        rule_set.security.truncate(3);
        for rule in &mut rule_set.security {
            rule.purpose = hostile.to_owned();
            rule.name = "a-_-B".parse().unwrap();
        }
        rule_set.security.truncate(1);
        let artifacts = files(&config, &rule_set, None);
        let Some(meaning) = meaning(format, &artifacts) else { continue };
        let rule = &meaning["rules"][0];
        assert_eq!(rule["description"], format!("tagwall: {hostile}"), "{format}");
        assert_eq!(rule["name"], "T_w-a-_-B");
        assert_eq!(rule["parent"], "Nsg.1-2_3");
        assert_eq!(meaning["routes"][0]["parent"], "1.rt-_");
        if format == "cli" {
            // A real shell reads each line as we do.
            let script =
                format!("az() {{ printf '%s\\0' \"$@\"; }}\n{}", text(&artifacts, "nsg.az.sh"));
            let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
            assert!(output.status.success());
            let words = String::from_utf8(output.stdout).unwrap();
            assert!(words.split('\0').any(|word| word == format!("tagwall: {hostile}")));
            assert!(words.split('\0').any(|word| word == "(Rg)_1.a-b(c)"));
        }
    }
}

/// All scripts of a target with a delta and an association.
fn scripts() -> Vec<Artifact> {
    let config = with_target(&format!(
        "format = \"cli\"\nsubscription = \"00000000-0000-0000-0000-000000000000\"\n{SETTINGS}associate-subnet = \"v/s\"\n"
    ));
    let mut rule_set = rules(&config, &example_feed(&config), &HostAddresses::new()).unwrap();
    let previous = rule_set.clone();
    rule_set.routes.remove(0);
    rule_set.security.remove(2);
    files(&config, &rule_set, Some(&previous))
}

#[test]
fn scripts_are_sound_shell() {
    let scripts = scripts();
    assert_eq!(scripts.len(), 3);
    for tool in [&["bash", "-n"][..], &["sh", "-n"], &["shellcheck", "--severity=style"]] {
        for script in &scripts {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(&script.file);
            std::fs::write(&path, &script.bytes).unwrap();
            match Command::new(tool[0]).args(&tool[1..]).arg(&path).output() {
                Ok(output) => {
                    assert!(output.status.success(), "{tool:?} {}: {output:?}", script.file);
                }
                Err(_) => eprintln!("skipped: no {}", tool[0]),
            }
        }
    }
}

#[test]
fn the_real_az_command_takes_every_line() {
    let scripts = scripts();
    let Some(python) = az() else {
        eprintln!("skipped: az's own argument parser (set TAGWALL_AZ_CLI=1 to install azure-cli)");
        return;
    };
    let read = run_python(python, "az.py", &[], &scripts);
    let lines: Vec<_> = scripts
        .iter()
        .flat_map(|script| commands(std::str::from_utf8(&script.bytes).unwrap()))
        .collect();
    let read = read.as_array().unwrap();
    assert_eq!(read.len(), lines.len());
    let mut seen = BTreeSet::new();
    for (az, (command, options)) in read.iter().zip(&lines) {
        assert_eq!(az["command"], command.as_str());
        seen.insert(command.clone());
        let arguments = az["arguments"].as_object().unwrap();
        for values in options.values() {
            for value in values.iter().filter(|value| *value != "none") {
                let number = value.parse::<i64>().ok();
                let has = |known: &Value| {
                    known == value.as_str() || number.is_some_and(|number| *known == number)
                };
                let found = arguments.values().any(|known| {
                    has(known) || known.as_array().is_some_and(|list| list.iter().any(has))
                });
                assert!(found, "az lost {value} of {command}: {arguments:?}");
            }
        }
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
}
