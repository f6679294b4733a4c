//! The custom dialect, by the example for a firewall that is not shipped: its text is parsed back here and compared with
//! the rule set.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![expect(clippy::disallowed_methods, reason = "files of a test need not survive a power cut")]
#![expect(clippy::panic, reason = "a test may fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;

use tagwall::config::{Config, Direction, Families};
use tagwall::pipeline::rules;
use tagwall::render::{Artifact, Templates, check, render};
use tagwall::ruleset::RuleSet;
use tagwall::selection::HostAddresses;
use tagwall::snapshot::Cloud;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/examples/cisco-asa.toml");

fn rendered(config: &Config) -> (RuleSet, Vec<Artifact>) {
    let publication = tagwall::feed::example(&config.policy()).unwrap();
    let rule_set =
        rules(config, &[(Cloud::Example, publication)].into(), &HostAddresses::new()).unwrap();
    let templates = Templates::load(config).unwrap();
    let artifacts =
        render(config, &rule_set, rule_set.digest(), None, &templates, &[]).unwrap().artifacts;
    (rule_set, artifacts)
}

/// A configuration with a template of this text beside it.
fn with_template(text: &str, target: &str) -> (tempfile::TempDir, Config) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mine.tera"), text).unwrap();
    let original = std::fs::read_to_string(EXAMPLE).unwrap();
    let original = original.split("[targets.asa.custom]").next().unwrap();
    let config = format!("{original}\n[targets.mine.custom]\ntemplate = \"mine.tera\"\n{target}\n");
    let config = Config::parse(&folder.path().join("tagwall.toml"), config).unwrap();
    (folder, config)
}

/// One line of an access list: list, protocol, source, destination, ports.
type Line = (String, String, BTreeSet<String>, BTreeSet<String>, String);

/// Takes one end of a line: a prefix with a mask, an IPv6 prefix, or a group that must have been defined.
fn end<'w>(
    words: &mut impl Iterator<Item = &'w str>,
    groups: &BTreeMap<String, BTreeSet<String>>,
) -> BTreeSet<String> {
    match words.next().unwrap() {
        "object-group" => {
            let name = words.next().unwrap();
            groups.get(name).unwrap_or_else(|| panic!("no group {name}")).clone()
        }
        v6 if v6.contains(':') => [v6.to_owned()].into(),
        v4 => [masked(v4, words.next().unwrap())].into(),
    }
}

fn masked(address: &str, mask: &str) -> String {
    let (address, mask): (Ipv4Addr, Ipv4Addr) = (address.parse().unwrap(), mask.parse().unwrap());
    let bits = mask.to_bits();
    assert_eq!(bits.leading_ones() + bits.trailing_zeros().min(32), 32, "{mask} is no netmask");
    assert_eq!(address.to_bits() & !bits, 0, "{address} has bits behind {mask}");
    format!("{address}/{}", bits.leading_ones())
}

/// Reads what Cisco ASA reads: object groups of networks, and extended access lists.
fn asa(text: &str) -> Vec<Line> {
    let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut current = String::new();
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('!')) {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("object-group") => {
                assert_eq!(words.next(), Some("network"));
                words.next().unwrap().clone_into(&mut current);
                assert!(current.len() <= 64, "{current}");
                assert!(
                    groups.insert(current.clone(), BTreeSet::new()).is_none(),
                    "{current} twice"
                );
            }
            Some("network-object") => {
                assert!(line.starts_with(' '), "members are indented");
                let member = end(&mut words, &BTreeMap::new());
                groups.get_mut(&current).unwrap().extend(member);
            }
            Some("access-list") => {
                let list = words.next().unwrap().to_owned();
                match words.next().unwrap() {
                    "remark" => continue,
                    kind => assert_eq!((kind, words.next()), ("extended", Some("permit"))),
                }
                let protocol = words.next().unwrap().to_owned();
                let source = end(&mut words, &groups);
                let destination = end(&mut words, &groups);
                let ports = match words.next().unwrap() {
                    "eq" => words.next().unwrap().to_owned(),
                    "range" => format!("{}-{}", words.next().unwrap(), words.next().unwrap()),
                    other => panic!("{other}"),
                };
                assert!(matches!(words.next(), None | Some("log")), "{line}");
                assert_eq!(words.next(), None, "{line}");
                lines.push((list, protocol, source, destination, ports));
            }
            other => panic!("{other:?} in {line}"),
        }
    }
    lines
}

#[test]
fn the_example_means_what_the_rule_set_means() {
    let config = Config::load(Path::new(EXAMPLE)).unwrap();
    check(&config).unwrap();
    let (rule_set, artifacts) = rendered(&config);
    assert_eq!(artifacts.len(), 1);
    assert_eq!(artifacts[0].file, "asa.cfg");
    let text = std::str::from_utf8(&artifacts[0].bytes).unwrap();
    let read: BTreeSet<Line> = asa(text).into_iter().collect();
    let mut expected = BTreeSet::new();
    for flow in rule_set.flows(Families::Both) {
        let far: BTreeSet<String> =
            flow.family.of(&flow.group.prefixes).iter().map(|net| net.to_string()).collect();
        for own in &flow.own {
            for ports in &flow.ports {
                let near: BTreeSet<String> = [own.to_string()].into();
                let (list, source, destination) = match flow.rule.direction {
                    Direction::Outbound => ("tagwall-outbound", near, far.clone()),
                    Direction::Inbound => ("tagwall-inbound", far.clone(), near),
                };
                let protocol = flow.protocol.to_string();
                expected.insert((
                    list.to_owned(),
                    protocol,
                    source,
                    destination,
                    ports.to_string(),
                ));
            }
        }
    }
    assert!(expected.len() >= 9, "the example has too little to say");
    assert!(expected.iter().any(|line| line.4.contains('-')), "no range of ports");
    assert_eq!(read, expected);
    insta::assert_snapshot!("cisco-asa", text);
}

#[test]
fn an_unknown_variable_is_found_before_the_night() {
    for (template, told) in [
        ("{{ missing }}", "missing"),
        ("{{ values.missing }}", "missing"),
        ("{% for group in groups %}{{ group.nmae }}{% endfor %}", "nmae"),
        (
            "{% for route in routes %}{% if route.tag %}{{ route.tga }}{% endif %}{% endfor %}",
            "tga",
        ),
        ("{% for rule in security %}{{ rule.peer.name }}{% endfor %}", "peer"),
        ("{% for flow in flows %}{% if flow.log %}{{ flow.lgo }}{% endif %}{% endfor %}", "lgo"),
        ("{{ target | nofilter }}", "nofilter"),
        ("{% for group in groups %}", "mine"),
    ] {
        let (_folder, config) =
            with_template(template, "file = \"a.txt\"\nvalues = { known = \"x\" }");
        let error = check(&config).unwrap_err().to_string();
        assert!(error.contains(told), "{template}: {error}");
        assert!(error.contains("mine.tera"), "the error names the file: {error}");
    }
}

#[test]
fn everything_that_is_documented_is_there() {
    let template = "{{ header | join(sep=\"|\") }}{{ target }}{{ digest }}{{ values.known }}\n\
        {% for group in groups %}{{ group.name }}{{ group.cloud }}{{ group.tags | join }}{{ group.v4 }}{{ group.v4_count }}\
        {{ group.v6 }}{{ group.v6_count }}{{ group.hosts | join }}{{ group.wildcards | join }}{% endfor %}\n\
        {% for rule in rules %}{{ rule.name }}{{ rule.group }}{{ rule.direction }}{{ rule.own_v4 | join }}{{ rule.own_v6 | join }}\
        {{ rule.services | join }}{{ rule.interfaces | join }}{{ rule.log }}{{ rule.comment }}{{ rule.profile }}{% endfor %}\n\
        {% for flow in flows %}{{ flow.rule }}{{ flow.group }}{{ flow.comment }}{{ flow.direction }}{{ flow.family }}\
        {{ flow.own | join }}{{ flow.protocol }}{{ flow.ports | join }}{{ flow.interfaces | join }}{{ flow.log }}{% endfor %}\n\
        {% for route in routes %}{{ route.name }}{{ route.tag }}{{ route.routable }}{{ route.v4 }}{{ route.v6 }}{{ route.purpose }}\
        {{ route.profile }}{% endfor %}\n\
        {% for rule in security %}{{ rule.name }}{{ rule.direction }}{{ rule.tag }}{{ rule.v4 }}{{ rule.v6 }}{{ rule.protocol }}\
        {{ rule.ports | join }}{{ rule.purpose }}{{ rule.profile }}{% endfor %}\n";
    let (_folder, config) = with_template(template, "file = \"a.txt\"\nvalues = { known = \"x\" }");
    check(&config).unwrap();
    // Each of them is in the documentation too.
    let docs =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/templates.md")).unwrap();
    for variable in template.split("{{ ").skip(1) {
        let variable = variable.split([' ', '}']).next().unwrap();
        let field = variable.rsplit('.').next().unwrap();
        assert!(
            field == "known" || docs.contains(&format!("`{field}`")),
            "docs/templates.md says nothing of {variable}"
        );
    }
    for filter in ["each", "lines", "braces", "fit", "sh", "json", "bicep", "hcl"] {
        assert!(
            docs.contains(&format!("`{filter}`")),
            "docs/templates.md says nothing of {filter}"
        );
    }
}

#[test]
fn a_file_for_each_group() {
    let template = "{{ group.name }} {{ group.v4 | each(text=\"{prefix}\", between=\" \") }}";
    let (_folder, config) = with_template(template, "per-group = true\nfile = \"fw-{group}.txt\"");
    check(&config).unwrap();
    let (rule_set, artifacts) = rendered(&config);
    let files: Vec<(&str, &[u8])> =
        artifacts.iter().map(|file| (file.file.as_str(), file.bytes.as_slice())).collect();
    assert_eq!(files.len(), rule_set.groups.len());
    assert_eq!(files[0], ("fw-partner.txt", &b"partner 198.51.100.0/28\n"[..]));
}

#[test]
fn a_template_that_is_not_there_is_named() {
    let (folder, config) = with_template("x", "file = \"a.txt\"");
    std::fs::remove_file(folder.path().join("mine.tera")).unwrap();
    let error = check(&config).unwrap_err().to_string();
    assert!(error.contains("mine.tera"), "{error}");
}
