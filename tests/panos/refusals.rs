//! What does not fit, contradicts itself or clashes is refused with the way out.

use super::*;

#[test]
fn what_does_not_fit_is_an_error_with_ways_out() {
    let refused = |settings: &str| {
        let config = config(&format!("{EXAMPLE}[targets.fw.panos]\n{settings}\n"));
        render(&config, &example(&config), None).expect_err(settings)
    };
    let lists = |more: &str| {
        format!("format = \"edl\"\nlists = {{ base-url = \"https://h.example.com\", {more} }}")
    };
    for (settings, needle) in [
        ("max-addresses = 5".to_owned(), "raise `max-addresses`"),
        ("max-fqdns = 1".to_owned(), "raise `max-fqdns`"),
        (lists("max-entries = 7"), "raise `max-entries`"),
        (lists("max-lists = 2"), "families = \"together\""),
    ] {
        let error = refused(&settings);
        assert!(error.contains(needle) && error.contains("target fw"), "{error}");
    }
    // More groups than fit into a group of groups.
    let nets: Vec<String> = (0..400)
        .map(|index| format!("\"198.18.{}.{}/32\"", index / 100, index % 100 * 2))
        .collect();
    let text = format!(
        "{EXAMPLE}[groups.many]\nprefixes = [{}]\n[targets.fw.panos]\nmax-members = 10\n",
        nets.join(", ")
    );
    let config = config(&text);
    let error = render(&config, &example(&config), None).unwrap_err();
    assert!(error.contains("nested groups") && error.contains("dynamic"), "{error}");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for (settings, needle) in [
        ("format = \"edl\"", "where to fetch"),
        ("lists = { base-url = \"https://h.example.com\" }", "only for format"),
        ("vsys = \"vsys2\"\ndevice-group = \"edge\"", "both vsys and device-group"),
        ("rulebase = \"post\"", "only for a Panorama"),
        ("from = [\"any\", \"trust\"]", "nothing beside it"),
        ("to = []", "name zones"),
        ("max-members = 2", "at least 10"),
        ("zones = []", "zones"),
    ] {
        let text = format!("{EXAMPLE}[targets.fw.panos]\n{settings}\n");
        let error = Config::parse(Path::new("test.toml"), text).expect_err(settings);
        assert!(format!("{error}").contains(needle), "{settings}: {error}");
    }
}

#[test]
fn names_never_clash() {
    let with = |more: &str| {
        let config = config(&format!(
            "{EXAMPLE}{more}\n[targets.fw.panos]\n[targets.dyn.panos]\ngroups = \"dynamic\"\ntag = \"azst-own\"\n"
        ));
        render(&config, &example(&config), None)
    };
    // A hostname that reads like an address object, and a group whose tag is the common one.
    let error = with("[groups.odd]\nprefixes = [\"192.0.2.128/28\"]\nhosts = [\"192.0.2.128_28\"]")
        .unwrap_err();
    assert!(error.contains("azst-192.0.2.128_28"), "{error}");
    let error = with("[groups.own]\nprefixes = [\"192.0.2.128/28\"]").unwrap_err();
    assert!(error.contains("azst-own"), "{error}");
    let long = "a".repeat(60);
    let (_, files) = with(&format!("[groups.{long}b]\nprefixes = [\"192.0.2.128/28\"]\n[groups.{long}c]\nprefixes = [\"192.0.2.128/28\"]")).unwrap();
    load(&mut device(), "rules.set", &files["fw/rules.set"]);
}
