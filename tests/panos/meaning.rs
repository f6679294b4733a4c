//! What the device lets through is what the json target says.

use super::*;

type Meaning = BTreeSet<(String, BTreeSet<String>, BTreeSet<String>, String, String)>;

/// What the device lets through: rule, source, destination, protocol, ports.
fn meaning_of(device: &Device) -> Meaning {
    let mut meaning = Meaning::new();
    for ((kind, name), rule) in ours(device) {
        if kind != "security" {
            continue;
        }
        assert_eq!(rule["action"], BTreeSet::from(["allow".to_owned()]));
        assert_eq!(rule["application"], BTreeSet::from(["any".to_owned()]));
        let end = |path: &str| {
            rule[path].iter().flat_map(|name| device.expand(name)).collect::<BTreeSet<_>>()
        };
        for service in &rule["service"] {
            let service = &device.objects[&("service".to_owned(), service.clone())];
            for protocol in ["tcp", "udp"] {
                if let Some(ports) = service.get(&format!("protocol {protocol} port")) {
                    let ports = ports.iter().next().unwrap().clone();
                    let name = name.strip_prefix("azst-").unwrap().to_owned();
                    meaning.insert((
                        name,
                        end("source"),
                        end("destination"),
                        protocol.to_owned(),
                        ports,
                    ));
                }
            }
        }
    }
    meaning
}

/// The same of the json target, without rules that nothing but a wildcard could serve.
fn meaning_of_json(text: &str) -> Meaning {
    let document: Value = serde_json::from_str(text).unwrap();
    let texts = |value: &Value| -> BTreeSet<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .map(|text| text.as_str().unwrap().to_owned())
            .collect()
    };
    let end = |value: &Value| -> BTreeSet<String> {
        let Some(name) = value.as_str() else { return texts(value) };
        let groups = document["groups"].as_array().unwrap();
        let group = groups.iter().find(|group| group["name"] == name).unwrap();
        let hosts = texts(&group["hosts"]).into_iter().filter(|host| !host.starts_with('*'));
        texts(&group["v4"]).into_iter().chain(texts(&group["v6"])).chain(hosts).collect()
    };
    let rules = document["rules"].as_array().unwrap().iter();
    rules
        .map(|rule| {
            let ports: Vec<&str> = rule["ports"]
                .as_array()
                .unwrap()
                .iter()
                .map(|port| port.as_str().unwrap())
                .collect();
            let text = |key: &str| rule[key].as_str().unwrap().to_owned();
            (
                text("name"),
                end(&rule["source"]),
                end(&rule["destination"]),
                text("protocol"),
                ports.join(","),
            )
        })
        .filter(|rule| !rule.1.is_empty() && !rule.2.is_empty())
        .collect()
}

#[test]
fn rules_mean_what_the_rule_set_means() {
    let config = config(&with_variants(EXAMPLE));
    let mut steps = vec![(example(&config), config)];
    if let Some(last) = public().last() {
        let config = self::config(&with_variants(REAL));
        let publication = feed::from_file(last, &config.policy()).unwrap();
        steps.push((Publications::from([(Cloud::Public, publication)]), config));
    }
    for (publications, config) in steps {
        let (_, files) = render(&config, &publications, None).unwrap();
        let expected = meaning_of_json(&files["json/ruleset.json"]);
        assert!(expected.len() > 5);
        for (name, file, _) in VARIANTS.iter().filter(|variant| variant.0 != "edl") {
            let mut device = device();
            load(&mut device, file, &files[&format!("{name}/{file}")]);
            assert_eq!(meaning_of(&device), expected, "{name}");
        }
        // A list stands for its file.
        let mut device = device();
        load(&mut device, "edl.set", &files["edl/edl.set"]);
        let from_lists = |names: BTreeSet<String>| -> BTreeSet<String> {
            let expand = |name: String| match name.strip_prefix("list azst-") {
                Some(list) => {
                    files[&format!("edl/{list}.txt")].lines().map(str::to_owned).collect()
                }
                None => vec![name],
            };
            names.into_iter().flat_map(expand).collect()
        };
        let meaning: Meaning = meaning_of(&device)
            .into_iter()
            .map(|rule| (rule.0, from_lists(rule.1), from_lists(rule.2), rule.3, rule.4))
            .collect();
        assert_eq!(meaning, expected, "edl");
    }
}
