//! The files as they are read by parsers that are not ours.

use std::process::Command;
use std::sync::OnceLock;

use super::*;
use crate::common::feeds;

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

pub(super) fn az() -> Option<&'static PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let install = std::env::var_os("TAGWALL_AZ_CLI").is_some();
    PYTHON.get_or_init(|| python("venv-azcli", &["azure-cli"], "azure.cli.core", install)).as_ref()
}

pub(super) fn run_python(
    python: &Path,
    script: &str,
    arguments: &[&str],
    artifacts: &[Artifact],
) -> Value {
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
pub(super) fn commands(script: &str) -> Vec<(String, BTreeMap<String, Vec<String>>)> {
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
pub(super) fn meaning(format: &str, artifacts: &[Artifact]) -> Option<Value> {
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
    let Some(path) = feeds::real(feeds::NEWEST) else { return };
    let text = example_text();
    let profile = text.split("# One of the four").next().unwrap();
    let profile = profile.replace("cloud = \"example\"", "cloud = \"public\"");
    let config = parse(&profile);
    let publication = tagwall::feed::from_file(&path, &config.policy()).unwrap();
    assert!(all_formats_say(&profile, &[(Cloud::Public, publication)].into()) >= 2);
}
