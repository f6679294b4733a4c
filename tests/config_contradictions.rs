//! Settings that are well formed and cannot be meant: each is an error that names the key, and says what to do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]

mod config_frames;

use std::path::Path;

use config_frames::{PROFILE, RULE};
use tagwall::config::Config;

const HTTP: &str = "cloud = \"public\"\n[feeds.f.http]\nurl = \"https://a.example/\"\n";

/// Each text is refused, with these words among what is shown.
fn are_refused(cases: &[(String, &str)]) {
    for (text, expected) in cases {
        let Err(error) = Config::parse(Path::new("tagwall.toml"), text.clone()) else {
            panic!("{text}\nis taken; expected: {expected}")
        };
        let shown = error.render(false);
        assert!(shown.contains(expected), "{text}\n{shown}\nexpected: {expected}");
    }
}

/// Nothing is wrong with these.
fn are_taken(texts: &[String]) {
    for text in texts {
        if let Err(error) = Config::parse(Path::new("tagwall.toml"), text.clone()) {
            panic!("{text}\n{}", error.render(false));
        }
    }
}

/// A rule, and more after it.
fn rule_and(more: &str) -> String {
    format!("{RULE}{more}")
}

#[test]
fn of_profiles_groups_and_rules() {
    let profile = |from: &str, to: &str| {
        assert!(PROFILE.contains(from));
        PROFILE.replace(from, to)
    };
    are_refused(&[
        (profile("[\"westeurope\"]", "[]"), "apim.prod has no region"),
        (profile("[\"westeurope\"]", "[\"westeurope\", \"westeurope\"]"), "names a region twice"),
        (
            profile("[\"10.20.0.0/24\"]", "{ northeurope = [\"10.20.0.0/24\"] }"),
            "differ in northeurope",
        ),
        (profile("[\"10.20.0.0/24\"]", "[]"), "apim.prod has no subnet"),
        (
            profile("[\"10.20.0.0/24\"]", "7"),
            "a list of prefixes, or a table with such a list for each region",
        ),
        (
            "[groups.x]\nregions = [\"westeurope\"]\ntags = [\"Storage.WestEurope\"]\n".to_owned(),
            "`Storage.WestEurope` must be a service without a region",
        ),
        (
            "[groups.x]\nregions = [\"westeurope\"]\ntags = [\"Sto*\"]\n".to_owned(),
            "`Sto*` must be a service without a region",
        ),
        (
            RULE.replace("\"devops\"\nservices", "[\"192.0.2.0/24\"]\nservices"),
            "its destination is the name of a group",
        ),
        (
            RULE.replace("[\"10.20.0.0/24\"]", "\"10.20.0.0/24\""),
            "prefixes stand in a list: [\"10.20.0.0/24\"]",
        ),
        (RULE.replace("[\"10.20.0.0/24\"]", "7"), "the name of a group, or a list of prefixes"),
    ]);
}

#[test]
fn of_the_agent_its_calendar_and_the_guard() {
    are_refused(&[
        (
            rule_and("[agent]\nquiet-period = \"10m\"\nmaximum-delay = \"1m\"\n"),
            "agent.maximum-delay (1m) is shorter than agent.quiet-period (10m)",
        ),
        (rule_and("[agent]\nsocket = \"run/socket\"\n"), "agent.socket is not an absolute path"),
        (
            rule_and("[agent.calendar.freezes.x]\nfrom = \"2026-01-06\"\nto = \"2025-12-20\"\n"),
            "agent.calendar.freezes.x ends before it begins",
        ),
        (rule_and("[guard.groups.devopps]\ngrace-days = 0\n"), "devopps"),
        (rule_and("[dns]\nmin-ttl = \"2d\"\n"), "min-ttl"),
    ]);
}

#[test]
fn of_targets() {
    let fits = "[targets.a]\napply = \"automatic\"\n";
    are_refused(&[
        (rule_and("[targets.archive.list]\n"), "no target may be called archive"),
        (
            rule_and("[targets.a]\nconntrack = \"delete\"\n[targets.a.list]\n"),
            "needs apply = \"automatic\"",
        ),
        (rule_and("[targets.a]\n"), "targets.a has no dialect"),
        (
            rule_and("[targets.a]\ngroups = [\"devop\"]\n[targets.a.list]\n"),
            "did you mean `devops`?",
        ),
        (
            rule_and("[targets.a]\ngroups = [\"zzzzzzzz\"]\n[targets.a.list]\n"),
            "no group or profile `zzzzzzzz`",
        ),
        (
            rule_and("[targets.a]\nhostnames = \"native\"\n[targets.a.list]\n"),
            "list has no objects for hostnames",
        ),
        (
            rule_and(&format!(
                "{fits}[targets.a.iptables]\negress = [\"wan0\"]\nchain = \"{}\"\n",
                "C".repeat(27)
            )),
            "is too long: iptables takes",
        ),
        (
            rule_and(&format!("{fits}[targets.a.iptables]\nrest = \"drop\"\n")),
            "does not know the interface towards the internet",
        ),
        (
            rule_and(&format!(
                "{fits}[targets.a.nftables]\nmode = \"embed\"\ntable = \"filter\"\nrest = \"drop\"\n"
            )),
            "in embed mode the host's own rules decide about the rest",
        ),
        (
            rule_and(&format!(
                "{fits}[targets.a.nftables]\negress = [\"wan0\"]\nlog.per-second = 0\n"
            )),
            "log.per-second is 0",
        ),
        (
            rule_and(&format!(
                "{fits}[targets.a.nftables]\negress = [\"wan0\"]\nlog.prefix = \"{}\"\n",
                "p".repeat(31)
            )),
            "fit into a log line's prefix",
        ),
    ]);
}

#[test]
fn of_fortios() {
    let policies = "first-policy-id = 5000\npolicy-count = 10\nown-interfaces = [\"lan\"]\ninternet-interfaces = [\"wan\"]\n";
    let script = |more: &str| {
        rule_and(&format!(
            "[targets.f.fortios]\nformat = \"cli\"\nversion = \"7.4\"\n{policies}{more}"
        ))
    };
    let feed = |more: &str| {
        let format = "format = \"feed\"\nversion = \"7.4\"\npolicies = false\n";
        rule_and(&format!("[targets.f.fortios]\n{format}{more}"))
    };
    let url = "url = \"https://lists.example.com/f\"\n";
    are_taken(&[script(""), feed(url)]);
    are_refused(&[
        (script("prefix = \"abcdefghijklm\"\n"), ".prefix `abcdefghijklm` is too long"),
        (script("prefix = \"g-x\"\n"), ".prefix starts with `g-`"),
        (script("member-limit = 1\n"), ".member-limit is 1"),
        (script("address-limit = 0\n"), ".address-limit is 0"),
        (script("nat = true\nip-pool6 = \"p\"\n"), "has `ip-pool6`, but no `nat6`"),
        (script("nat = false\nip-pool = \"p\"\n"), "has `ip-pool`, but nat = false"),
        (script("slots = [\"devops\", \"devops\"]\n"), ".slots names devops twice"),
        (script("move-before = 0\n"), ".move-before is 0"),
        (script("move-before = 5003\n"), ".move-before is one of the reserved ids"),
        (script("").replace("= 5000", "= 999"), ".first-policy-id is 999"),
        (script("").replace("= 5000", "= 999999998"), "end beyond 999999999"),
        (script("").replace("count = 10", "count = 0"), ".policy-count is 0"),
        (
            rule_and("[targets.f.fortios]\nformat = \"cli\"\nversion = \"7.4\"\n"),
            "reserves no policy ids",
        ),
        (feed(""), "has format = \"feed\" but no `url`"),
        (
            feed("url = \"https://u@lists.example.com/<f>\"\n"),
            ".url is not an address that FortiOS takes",
        ),
        (feed(&format!("{url}refresh-rate = 0\n")), ".refresh-rate is 0"),
        (
            feed(&format!("{url}scope = \"global\"\nfortimanager = true\n")),
            "has scope = \"global\" for a FortiManager script",
        ),
        (
            feed(&format!("{url}scope = \"global\"\n{policies}")).replace("policies = false\n", ""),
            "has scope = \"global\" but no `vdom`",
        ),
        (
            feed(&format!("{url}server-identity-check = \"full\"\n")).replace("7.4", "6.4"),
            ".server-identity-check is not in this version",
        ),
    ]);
}

#[test]
fn of_what_is_asked_over_the_network() {
    let connection = |more: &str| format!("{HTTP}[feeds.f.connection]\n{more}");
    are_refused(&[
        (connection("proxy-credentials-file = \"/x\"\n"), "needs the URL of a proxy"),
        (connection("proxy = \"sometimes\"\n"), "a proxy is `environment`, `none` or a URL"),
        (connection("timeout = \"0s\"\n"), "connection.timeout is zero"),
        (connection("user-agent = \"\"\n"), "a user agent is 1 to 200 printable ASCII characters"),
    ]);
    are_taken(&[connection(
        "proxy = \"http://proxy.example:3128\"\nproxy-credentials-file = \"credential:proxy\"\nuser-agent = \"mirror/1\"\n",
    )]);
}
