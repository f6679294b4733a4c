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

mod common;
#[path = "azure/deltas.rs"]
mod deltas;
#[path = "azure/readers.rs"]
mod readers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use readers::{az, commands, meaning, run_python};
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
    render(config, rule_set, rule_set.digest(), previous, &templates, &[]).unwrap().artifacts
}

fn text<'a>(artifacts: &'a [Artifact], file: &str) -> &'a str {
    let found = artifacts.iter().find(|artifact| artifact.file == file);
    std::str::from_utf8(&found.unwrap_or_else(|| panic!("no file {file}")).bytes).unwrap()
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
        let error = render(
            &config,
            &rule_set,
            rule_set.digest(),
            None,
            &Templates::load(&config).unwrap(),
            &[],
        );
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
        match render(&config, &rule_set, rule_set.digest(), None, &templates, &[]) {
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
