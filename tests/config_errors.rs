//! What a person sees who wrote something wrong: the source line with a caret, what is allowed, the nearest name.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]

mod config_frames;

use std::path::Path;

use config_frames::{PROFILE, RULE};
use tagwall::config::Config;

/// The errors of a configuration as they are printed, without colour.
#[track_caller]
fn shown(text: &str) -> String {
    let error = Config::parse(Path::new("tagwall.toml"), text.to_owned()).unwrap_err();
    error.render(false)
}

macro_rules! errors {
    ($($name:ident: $text:expr;)*) => {
        $(#[test]
        fn $name() {
            insta::assert_snapshot!(stringify!($name), shown($text));
        })*
    };
}

const GROUP: &str = "cloud = \"public\"\n[groups.devops]\ntags = [\"AzureDevOps\"]\n";

errors! {
    no_toml: "cloud = public\n";
    unknown_key: &format!("{GROUP}familys = \"ipv4\"\n");
    unknown_table: "[grups.x]\ntags = [\"Storage\"]\n";
    unknown_cloud: "cloud = \"pubic\"\n";
    unknown_feature: &format!("{PROFILE}features = [\"entre\"]\n");
    unknown_group: &RULE.replace("destination = \"devops\"", "destination = \"devop\"");
    unknown_rule_of_target: &format!("{RULE}[targets.l]\nrules = [\"devopps\"]\n[targets.l.list]\n");
    unknown_dialect: &format!("{RULE}[targets.edge.nftable]\n");
    wrong_tag: &GROUP.replace("AzureDevOps", "Azure DevOps; flush ruleset");
    wrong_service: &RULE.replace("tcp/443", "tcp/443-80");
    wrong_name: &GROUP.replace("[groups.devops]", "[groups.\"dev ops\"]");
    host_bits: &RULE.replace("10.20.0.0/24", "10.20.0.1/24");
    any_source: &RULE.replace("10.20.0.0/24", "0.0.0.0/0");
    empty_source: &RULE.replace("[\"10.20.0.0/24\"]", "[]");
    own_end_is_a_group: &RULE.replace("[\"10.20.0.0/24\"]", "\"devops\"");
    empty_group: "[groups.x]\n";
    wide_document: &format!("{GROUP}[document]\nwidest-ipv4 = 0\n");
    regions_without_tags: "[groups.x]\nregions = [\"westeurope\"]\nprefixes = [\"192.0.2.0/24\"]\n";
    two_dialects: &format!("{RULE}[targets.l.list]\n[targets.l.json]\n");
    no_egress: &format!("{RULE}[targets.edge.nftables]\n");
    own_table_that_returns:
        &format!("{RULE}[targets.edge.nftables]\negress = [\"wan0\"]\nrest = \"return\"\n");
    ipv6_not_tunnelled: &PROFILE.replace("\"10.20.0.0/24\"", "\"10.20.0.0/24\", \"2001:db8:20::/64\"");
    internal_with_clients:
        &format!("{}clients = [\"203.0.113.10/32\"]\n", PROFILE.replace("external", "internal"));
    wide_client: &format!("{PROFILE}clients = [\"203.0.0.0/8\"]\n");
    comment_that_breaks_out: &format!("{RULE}comment = \"x\\\" drop\"\n");
    several_at_once: &RULE
        .replace("destination = \"devops\"", "destination = \"storage\"")
        .replace("[\"tcp/443\"]", "[]");
}

#[test]
fn the_frames_of_these_tests_are_sound() {
    for text in [GROUP, RULE, PROFILE] {
        Config::parse(Path::new("tagwall.toml"), text.to_owned()).unwrap();
    }
}

#[test]
fn problems_have_line_and_column_for_programs() {
    let text = RULE.replace("destination = \"devops\"", "destination = \"devop\"");
    let error = Config::parse(Path::new("tagwall.toml"), text).unwrap_err();
    let problems = error.problems();
    assert_eq!(problems.len(), 1);
    assert_eq!((problems[0].line, problems[0].column), (Some(6), Some(15)));
    assert_eq!(problems[0].label.as_deref(), Some("did you mean `devops`?"));
}

#[test]
fn a_file_that_is_no_text_or_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("x.toml");
    assert!(Config::load(&missing).unwrap_err().render(false).contains("x.toml"));
    let mut file = tempfile::NamedTempFile::new_in(folder.path()).unwrap();
    std::io::Write::write_all(&mut file, b"cloud = \"\xff\"").unwrap();
    let error = Config::load(file.path()).unwrap_err().render(false);
    assert!(error.contains("not UTF-8 text (first bad byte at offset 9)"), "{error}");
}

/// The TOML blocks of a page, together.
fn blocks(page: &str) -> String {
    page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn what_the_pages_on_feeds_and_notifications_show_is_valid() {
    for page in [include_str!("../docs/feeds.md"), include_str!("../docs/notifications.md")] {
        let text = blocks(page);
        assert!(text.len() > 300, "{text}");
        if let Err(error) = Config::parse(Path::new("page.toml"), text) {
            panic!("{}", error.render(false));
        }
    }
}

#[test]
fn feeds_and_receivers_that_cannot_work_are_told_with_the_way_out() {
    let http = "[feeds.f.http]\nurl = \"https://a.example/\"\n";
    for (text, expected) in [
        ("[feeds.f]\n".to_owned(), "feeds.f has no kind"),
        (format!("[feeds.f.download]\n{http}"), "two kinds, download and http"),
        (http.replace("https", "http"), "is not encrypted"),
        (http.replace("a.example", "u:SECRET@a.example"), "holds no user name or password"),
        (format!("{http}user = \"me\"\n"), "`user` and `password-file` belong together"),
        (format!("{http}[feeds.f.connection]\nca-file-only = true\n"), "there is no `ca-file`"),
        (format!("{http}[feeds.f.connection]\ncertificate-file = \"x\"\n"), "belong together"),
        ("[feeds.f]\ninterval = \"1m\"\n[feeds.f.download]\n".to_owned(), "every 5m at most"),
        ("[feeds.f]\ncloud = \"example\"\n[feeds.f.download]\n".to_owned(), "Microsoft publishes no cloud example"),
        ("[notify.n]\n".to_owned(), "notify.n has no way to tell"),
        ("[notify.n.command]\nrun = [\"sh\"]\n".to_owned(), "absolute path"),
        (
            "[notify.n.mail]\nserver = \"m.example\"\nencryption = \"none\"\nfrom = \"a@b.example\"\nto = [\"a@b.example\"]\n"
                .to_owned(),
            "unencrypted mail to another host",
        ),
        ("[notify.n]\nagain-after = [\"3d\", \"1d\"]\n[notify.n.syslog]\n".to_owned(), "does not rise"),
    ] {
        let shown = shown(&text);
        assert!(shown.contains(expected), "{text}\n{shown}");
        // A password that was written into the file is shown by nobody's message; the line itself is the user's own.
        let message = Config::parse(Path::new("x.toml"), text).unwrap_err().to_string();
        assert!(!message.contains("SECRET"), "{message}");
    }
}
