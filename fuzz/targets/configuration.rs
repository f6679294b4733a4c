//! A configuration. It is refused with its reasons, or rules can be made of it: the same ones each time.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tagwall::config::{Config, Dialect};
use tagwall::intent::Intent;
use tagwall::pipeline;
use tagwall::render::Templates;
use tagwall::selection::{HostAddresses, Publications};
use tagwall::snapshot::Cloud;

fuzz_target!(|text: &[u8]| {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let config = match Config::parse(Path::new("/nonexistent/tagwall.toml"), text.to_owned()) {
        Ok(config) => config,
        Err(error) => {
            // Written for a person, with the lines that it is about.
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let _ = Intent::of(&config);
    // Files of the user's are not read here.
    let own = |dialect: Dialect<'_>| matches!(dialect, Dialect::Custom(_));
    let targets = config.targets.values().map(|target| target.get_ref());
    if config.templates_dir().is_some() || targets.flat_map(|target| target.dialects()).any(own) {
        return;
    }
    let Ok(example) = tagwall::feed::example(&config.policy()) else { return };
    let publications = Publications::from_iter([(Cloud::Example, example)]);
    let hosts = HostAddresses::default();
    let Ok(templates) = Templates::load(&config) else { return };
    let plan = || pipeline::plan(&config, &publications, &hosts, &templates, None, &[]);
    let (Ok(plan), Ok(again)) = (plan(), plan()) else { return };
    assert_eq!(plan.rule_set.digest(), again.rule_set.digest());
    assert!(plan.artifacts == again.artifacts);
});
