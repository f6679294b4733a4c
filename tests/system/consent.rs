//! A host on which the agent may not load anything without a person: what it says, how each refusal
//! is answered, and that the answers outlast a reboot.

use crate::site::{CONFIG, ENFORCED, NO_RULES, Site, UNIT};

/// The host's own rules: a table of the name that tagwall would take, and one whose chain for
/// tagwall nothing leads to.
const NFTABLES_CONF: &str = "#!/usr/sbin/nft -f
flush ruleset
table inet tagwall {
\tchain theirs {
\t\tcounter comment \"of the host\"
\t}
}
table inet filter {
\tchain azure {
\t}
\tchain forward {
\t\ttype filter hook forward priority 10; policy accept;
\t}
}
";

/// A second target, whose rules lie in the host's table.
const EMBEDDED: &str = "[targets.embedded]
apply = \"automatic\"
[targets.embedded.nftables]
mode = \"embed\"
table = \"filter\"
chain = \"azure\"
egress = [\"wan0\"]
";

pub(crate) fn is_asked_for_and_kept(release: &str) {
    let Some(mut site) = Site::with_rules(release, NFTABLES_CONF) else { return };
    let host = tables(&site);
    site.configure();
    let config = format!("{CONFIG}{EMBEDDED}");
    site.machine.write("etc/tagwall/tagwall.toml", &config);

    // The agent is ready, says what it needs, and has changed nothing.
    site.machine.must(&["systemctl", "enable", "--now", "--quiet", UNIT]);
    site.machine.wait_until("the reason", |_| site.status().to_string().contains("--take-over"));
    assert!(site.is_active());
    assert_eq!((tables(&site), site.open()), (host.clone(), NO_RULES));
    asked(&site, &["tagwall", "render"], 10, "counter comment \"of the host\"");

    // One answered by the command: the other is what is left.
    asked(&site, &["tagwall", "render", "--take-over"], 10, "no packet gets to these rules");
    // It was loaded, not reached, and taken back.
    assert_eq!((tables(&site), site.open()), (host, NO_RULES));

    // The other answered by the configuration.
    let config =
        config.replace("[targets.embedded]\n", "[targets.embedded]\nallow-unreached = true\n");
    site.machine.write("etc/tagwall/tagwall.toml", &config);
    // The first answer is remembered, so that nothing is left to ask.
    asked(&site, &["tagwall", "reload"], 0, "the configuration was reloaded");
    assert_eq!(site.open(), ENFORCED);
    asked(&site, &["tagwall", "status", "--verify"], 1, "NOT REACHED");
    site.machine.must(&["nft", "add", "rule", "inet", "filter", "forward", "jump", "azure"]);
    asked(&site, &["tagwall", "status", "--verify"], 0, "target embedded");

    // After a reboot the host makes its own table of that name again, and nobody is asked.
    site.machine.reboot();
    site.machine.wait_until("the agent", |_| site.is_active());
    assert_eq!(site.open(), ENFORCED);
    asked(&site, &["tagwall", "status", "--verify"], 1, "NOT REACHED");
    assert!(!site.rules().contains("of the host"), "{}", site.rules());
}

/// Runs a command in the machine, which ends with this code and says these words.
fn asked(site: &Site, args: &[&str], code: i32, words: &str) {
    let output = site.machine.run(args);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    assert!(text.contains(words), "{args:?}: {text}");
}

/// The tables of the host, in an order that does not depend on when they were made.
fn tables(site: &Site) -> Vec<String> {
    let rules = site.rules();
    let mut tables: Vec<String> =
        rules.split("\ntable ").map(|table| table.trim().to_owned()).collect();
    for table in &mut tables {
        *table = table.trim_start_matches("table ").to_owned();
    }
    tables.sort();
    tables
}
