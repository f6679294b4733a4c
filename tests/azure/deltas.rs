//! What scripts do to a table and a group.

use super::*;

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
