//! The audit trail: what it tells is what is believed and in force, whatever happens to its files.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::devops::RULES;
use jiff::{SignedDuration, Timestamp};
use tagwall::config::{Config, HostName, Urgent};
use tagwall::guard::{Offers, Order, Verdict};
use tagwall::names::{Book, Look, Reply, Said};
use tagwall::operate::{self, Offering, Operator, Wish};
use tagwall::publish::{Published, Retention};
use tagwall::render::Templates;
use tagwall::snapshot::{EXAMPLE_DOCUMENT, Policy, Publication, Snapshot};
use tagwall::state::trail::{self, Action, Entry};

/// What comes to the tag, and is plausible.
const LITTLE: &str = "\"192.0.2.70/32\"";

struct Host {
    folder: tempfile::TempDir,
    now: Timestamp,
}

impl Host {
    fn new() -> Self {
        let now = "2025-09-08T12:00:00Z".parse().unwrap();
        Self { folder: tempfile::tempdir().unwrap(), now }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn open(&self) -> Operator {
        Operator::open(&self.dir(), "test").unwrap()
    }

    /// Offers an edition of the example, a week after the one before.
    fn offer(&mut self, operator: &mut Operator, number: u64, edit: (&str, &str)) -> Published {
        self.offer_under(RULES, operator, number, edit)
    }

    fn offer_under(
        &mut self,
        config: &str,
        operator: &mut Operator,
        number: u64,
        edit: (&str, &str),
    ) -> Published {
        self.now += SignedDuration::from_hours(24 * 7);
        let config = parsed(config);
        let offering = Offering {
            take_over: false,
            allow_unreached: false,
            config: &config,
            templates: &Templates::load(&config).unwrap(),
            offers: &operate::offers([edition(number, edit)], self.now),
            rebaseline: None,
            wish: Wish::OfAgent { closed: None, urgent: Urgent::Nothing },
            reason: "publication",
            now: self.now,
        };
        operator.offer(&offering).unwrap().published.unwrap()
    }

    fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        trail::entries(&self.dir(), |entry| {
            entries.push(entry);
            Ok(())
        })
        .unwrap();
        entries
    }

    /// What the trail tells is what the operator believes, and what the generation in force holds.
    fn agrees(&self, operator: &Operator) {
        let replayed = trail::replay(&self.dir()).unwrap();
        assert_eq!(replayed.belief, *operator.belief());
        let store = operator.publisher().store();
        let current = store.current().unwrap();
        let rules = current.map(|number| store.rule_set(number).unwrap()).unwrap_or_default();
        assert_eq!(replayed.rule_set, rules);
        assert_eq!(replayed.last.and_then(|entry| entry.generation), current);
    }

    fn file(&self) -> PathBuf {
        let files = fs::read_dir(self.dir().join("trail")).unwrap();
        files.map(|entry| entry.unwrap().path()).max().unwrap()
    }
}

fn parsed(config: &str) -> Config {
    Config::parse(Path::new("test.toml"), config.to_owned()).unwrap()
}

fn edition(number: u64, (from, to): (&str, &str)) -> Publication {
    let text = EXAMPLE_DOCUMENT
        .replacen("\"changeNumber\": 1,", &format!("\"changeNumber\": {number},"), 1)
        .replace(from, to);
    assert!(from.is_empty() || text.contains(to), "{from}");
    let snapshot = Snapshot::parse(text.as_bytes(), &Policy::default()).unwrap();
    Publication::new(snapshot, format!("edition {number}"))
}

/// The tag's prefixes in the example, to be edited.
fn prefixes() -> String {
    let start = EXAMPLE_DOCUMENT.find("\"name\": \"AzureDevOps\"").unwrap();
    let list = EXAMPLE_DOCUMENT[start..].find("\"addressPrefixes\": [").unwrap() + start;
    let end = EXAMPLE_DOCUMENT[list..].find(']').unwrap() + list;
    EXAMPLE_DOCUMENT[list..end].to_owned()
}

#[test]
fn every_decision_is_told_and_makes_belief_and_rules_again() {
    let mut host = Host::new();
    let mut operator = host.open();
    host.offer(&mut operator, 1, ("", ""));
    host.agrees(&operator);
    let more = prefixes().replacen('[', &format!("[ {LITTLE},"), 1);
    assert_eq!(host.offer(&mut operator, 2, (&prefixes(), &more)), Published::Generation(2));
    host.agrees(&operator);
    // Nothing of it: nothing is told.
    let told = host.entries().len();
    host.offer(&mut operator, 2, (&prefixes(), &more));
    assert_eq!(host.entries().len(), told);
    // All of it goes: that is held, and rejected.
    let gone = more.replace("192.0.2.", "203.0.113.");
    host.offer(&mut operator, 3, (&prefixes(), &gone));
    host.agrees(&operator);
    let hold = operator.belief().holds().first().expect("nothing is held").id.clone();
    let order = Order {
        hold,
        verdict: Verdict::Reject,
        who: "ann".to_owned(),
        ticket: Some("4711".to_owned()),
        reason: Some("a slip".to_owned()),
    };
    let config = Config::parse(Path::new("test.toml"), RULES.to_owned()).unwrap();
    operator.decide(&order, &config.guard, host.now).unwrap();
    host.agrees(&operator);
    operator.pause("storm", "bob", host.now).unwrap();
    operator.resume("bob", host.now).unwrap();
    operator.rollback(None, "eve", host.now, Retention::default()).unwrap();
    host.agrees(&operator);
    operator.resume("eve", host.now).unwrap();
    operator.rebaseline(None, "moved", "eve", host.now).unwrap();
    host.agrees(&operator);
    let other = RULES.replace("tcp/443", "tcp/8443");
    host.offer_under(&other, &mut operator, 4, ("", ""));
    host.agrees(&operator);
    operator.close();

    let entries = host.entries();
    let actions: Vec<Action> = entries.iter().map(|entry| entry.action).collect();
    assert_eq!(actions[..2], [Action::Published, Action::Published], "{actions:?}");
    assert_eq!(
        actions[actions.len() - 7..],
        [
            Action::Decided,
            Action::Paused,
            Action::Resumed,
            Action::RolledBack,
            Action::Resumed,
            Action::BeganAnew,
            Action::Published
        ],
        "{actions:?}"
    );
    let decided = entries.iter().find_map(|entry| entry.decision.as_ref()).unwrap();
    assert_eq!((decided.who.as_str(), decided.ticket.as_deref()), ("ann", Some("4711")));
    assert!(entries.iter().any(|entry| !entry.events.is_empty()));
    let configurations: Vec<_> = entries.iter().filter_map(|entry| entry.configuration).collect();
    assert_ne!(configurations.first(), configurations.last());
    assert!(entries.iter().skip(1).all(|entry| !entry.whole), "a delta was not enough");
    // A new life goes on where the old one ended.
    let operator = host.open();
    host.agrees(&operator);
    assert_eq!(host.entries().len(), entries.len());
}

#[test]
fn a_torn_line_is_written_again_and_a_full_disk_loses_nothing() {
    let mut host = Host::new();
    let mut operator = host.open();
    host.offer(&mut operator, 1, ("", ""));
    operator.pause("storm", "bob", host.now).unwrap();
    operator.resume("bob", host.now).unwrap();
    operator.close();
    let (file, pending) = (host.file(), host.dir().join("trail.pending"));
    let whole = fs::read(&file).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    // The machine stopped after the commit: before, in the middle of, and after the append.
    for end in [last, last + 1, whole.len() - 1, whole.len()] {
        fs::write(&file, &whole[..end]).unwrap();
        fs::write(&pending, &whole[last..]).unwrap();
        assert_eq!(host.entries().len(), 3, "a reader misses what is committed");
        let operator = host.open();
        assert_eq!(fs::read(&file).unwrap(), whole);
        assert!(!pending.exists());
        host.agrees(&operator);
        operator.close();
    }
    // The very first line was torn.
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    fs::write(&file, &whole[..first / 2]).unwrap();
    fs::write(&pending, &whole).unwrap();
    host.open().close();
    assert_eq!(fs::read(&file).unwrap(), whole);
    // It cannot be appended to: the operation is done all the same, and told later.
    let mut operator = host.open();
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    operator.pause("storm", "bob", host.now).unwrap();
    operator.resume("bob", host.now).unwrap();
    assert_eq!(fs::read_to_string(&pending).unwrap().lines().count(), 2);
    fs::remove_dir(&file).unwrap();
    fs::write(&file, &whole).unwrap();
    operator.close();
    let operator = host.open();
    host.agrees(&operator);
    assert_eq!(host.entries().len(), 5);
}

#[test]
fn a_line_that_was_edited_or_taken_out_is_noticed() {
    let mut host = Host::new();
    let mut operator = host.open();
    host.offer(&mut operator, 1, ("", ""));
    operator.pause("storm", "bob", host.now).unwrap();
    operator.resume("bob", host.now).unwrap();
    operator.close();
    let file = host.file();
    let whole = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    for edited in [
        whole.replacen("\"bob\"", "\"eve\"", 1),
        format!("{}\n{}\n", lines[0], lines[2]),
        format!("{}\n", lines[1..].join("\n")),
        whole.replacen("tagwall-trail/1", "tagwall-trail/9", 1),
    ] {
        fs::write(&file, &edited).unwrap();
        let error = trail::replay(&host.dir()).unwrap_err().to_string();
        assert!(error.contains("jsonl, line "), "{error}");
    }
}

#[test]
fn another_belief_than_the_trail_tells_of_begins_a_new_file() {
    let mut host = Host::new();
    let mut operator = host.open();
    host.offer(&mut operator, 1, ("", ""));
    operator.close();
    let belief = fs::read(host.dir().join("belief.json")).unwrap();
    let mut operator = host.open();
    let more = prefixes().replacen('[', &format!("[ {LITTLE},"), 1);
    host.offer(&mut operator, 2, (&prefixes(), &more));
    operator.close();
    // An old backup was restored.
    fs::write(host.dir().join("belief.json"), belief).unwrap();
    let mut operator = host.open();
    operator.pause("storm", "bob", host.now).unwrap();
    host.agrees(&operator);
    let entries = host.entries();
    assert!(entries.last().unwrap().whole);
    assert_eq!(fs::read_dir(host.dir().join("trail")).unwrap().count(), 2);
}

#[test]
fn a_full_file_is_continued_by_another_and_the_oldest_go() {
    let mut host = Host::new();
    let mut operator = host.open();
    host.offer(&mut operator, 1, ("", ""));
    let first = host.file();
    let long = "x".repeat(1 << 20);
    for _ in 0..16 {
        operator.pause(&long, "bob", host.now).unwrap();
    }
    assert!(fs::metadata(&first).unwrap().len() >= 16 << 20);
    assert_eq!(host.file(), first, "a file is continued until it is full");
    operator.resume("bob", host.now).unwrap();
    let second = host.file();
    assert_ne!(second, first);
    // The new file stands alone: belief and rules are whole in it.
    assert!(host.entries().last().unwrap().whole);
    fs::remove_file(&first).unwrap();
    host.agrees(&operator);
    operator.pause("storm", "bob", host.now).unwrap();
    operator.close();
    assert_eq!(host.file(), second);

    // Sixteen files are kept, and the newest of them tell everything.
    let belief = host.dir().join("belief.json");
    let mut other = fs::read(&belief).unwrap();
    let mut operator = host.open();
    operator.resume("bob", host.now).unwrap();
    let more = prefixes().replacen('[', &format!("[ {LITTLE},"), 1);
    host.offer(&mut operator, 2, (&prefixes(), &more));
    operator.close();
    for _ in 0..20 {
        let mine = fs::read(&belief).unwrap();
        fs::write(&belief, &other).unwrap();
        other = mine;
        let mut operator = host.open();
        operator.pause("storm", "bob", host.now).unwrap();
        operator.close();
    }
    assert_eq!(fs::read_dir(host.dir().join("trail")).unwrap().count(), 16);
    assert!(!second.exists());
    let operator = host.open();
    host.agrees(&operator);
}

#[test]
fn an_attempt_that_failed_is_told_and_changes_nothing() {
    let mut host = Host::new();
    let mut operator = host.open();
    host.offer(&mut operator, 1, ("", ""));
    let before = host.entries().len();
    let text = RULES.replace(
        "[targets.lists.list]",
        "[targets.lists]\nverify = [\"/bin/false\"]\n[targets.lists.list]",
    );
    let (broken, good) = (parsed(&text), parsed(RULES));
    let more = prefixes().replacen('[', &format!("[ {LITTLE},"), 1);
    let edit = (prefixes(), more);
    // What the agent does: the publication, and again after a while, until the firewall takes it.
    for (config, fails, reason) in
        [(&broken, true, "publication"), (&broken, true, "retry"), (&good, false, "retry")]
    {
        host.now += SignedDuration::from_hours(1);
        let result = operator.offer(&Offering {
            take_over: false,
            allow_unreached: false,
            config,
            templates: &Templates::load(config).unwrap(),
            offers: &operate::offers([edition(2, (&edit.0, &edit.1))], host.now),
            rebaseline: None,
            wish: Wish::OfAgent { closed: None, urgent: Urgent::Nothing },
            reason,
            now: host.now,
        });
        assert_eq!(result.is_err(), fails, "{result:?}");
        host.agrees(&operator);
    }
    let entries = host.entries();
    let told: Vec<_> = entries[before..]
        .iter()
        .map(|entry| (entry.action, entry.reason.clone().unwrap(), entry.generation))
        .collect();
    assert_eq!(told.len(), 3, "{told:?}");
    for (entry, reason) in told.iter().zip(["publication: ", "retry: "]) {
        assert_eq!((entry.0, entry.2), (Action::Failed, Some(1)));
        assert!(entry.1.starts_with(reason) && entry.1.contains("target lists"), "{entry:?}");
    }
    assert_eq!(told[2], (Action::Published, "retry".to_owned(), Some(2)));
    assert_eq!(entries[before].configuration, entries[before - 1].configuration);
}

/// A host with three editions behind it, of which something is held; the third generation is in force.
fn with_a_hold() -> (Host, Operator, Order) {
    let mut host = Host::new();
    let mut operator = host.open();
    host.offer(&mut operator, 1, ("", ""));
    let more = prefixes().replacen('[', &format!("[ {LITTLE},"), 1);
    host.offer(&mut operator, 2, (&prefixes(), &more));
    host.offer(&mut operator, 3, (&prefixes(), &more.replace("192.0.2.", "203.0.113.")));
    let order = Order {
        hold: operator.belief().holds().first().unwrap().id.clone(),
        verdict: Verdict::Reject,
        who: "ann".to_owned(),
        ticket: None,
        reason: None,
    };
    (host, operator, order)
}

#[test]
fn damaged_rules_in_force_are_in_the_way_of_no_person_and_are_told_from_the_trail() {
    let (host, mut operator, order) = with_a_hold();
    let damaged = host.dir().join("generations/000003/ruleset.json");
    let whole = fs::read(&damaged).unwrap();
    fs::write(&damaged, "{").unwrap();
    let before = trail::replay(&host.dir()).unwrap();
    let warned = |operator: &mut Operator| {
        let warnings = operator.take_warnings().join("\n");
        assert!(warnings.contains("ruleset.json cannot be used"), "{warnings}");
        assert!(warnings.contains("the audit trail tells the rules of generation 3"), "{warnings}");
    };
    operator.pause("storm", "bob", host.now).unwrap();
    warned(&mut operator);
    operator.resume("bob", host.now).unwrap();
    warned(&mut operator);
    operator.decide(&order, &parsed(RULES).guard, host.now).unwrap();
    warned(&mut operator);
    let told = trail::replay(&host.dir()).unwrap();
    assert_eq!((told.rule_set, told.belief), (before.rule_set, operator.belief().clone()));
    let actions: Vec<_> = host.entries().iter().rev().take(3).map(|entry| entry.action).collect();
    assert_eq!(actions, [Action::Decided, Action::Resumed, Action::Paused]);
    // What the trail tells is what the file had.
    fs::write(&damaged, whole).unwrap();
    host.agrees(&operator);
    fs::write(&damaged, "{").unwrap();
    assert_eq!(operator.rollback(None, "eve", host.now, Retention::default()).unwrap(), 4);
    warned(&mut operator);
    host.agrees(&operator);
    let last = host.entries().pop().unwrap();
    assert_eq!((last.action, last.whole), (Action::RolledBack, false));
}

#[test]
fn an_emergency_stop_works_whatever_cannot_be_told_and_a_decision_is_not_made_untold() {
    let (host, mut operator, order) = with_a_hold();
    // Neither the rules nor the trail can be read.
    fs::remove_file(host.dir().join("generations/000003/ruleset.json")).unwrap();
    let file = host.file();
    let trail = fs::read_to_string(&file).unwrap();
    fs::write(&file, trail.replacen("\"action\":\"published\"", "\"action\":\"resumed\"", 1))
        .unwrap();
    trail::replay(&host.dir()).unwrap_err();
    let error = operator.decide(&order, &parsed(RULES).guard, host.now).unwrap_err().to_string();
    assert!(error.contains("000003/ruleset.json"), "{error}");
    operator.pause("storm", "bob", host.now).unwrap();
    let warnings = operator.take_warnings().join("\n");
    assert!(warnings.contains("the audit trail does not tell of this"), "{warnings}");
    operator.close();
    let mut operator = host.open();
    assert_eq!(operator.memory().pause.as_ref().unwrap().reason, "storm");
    assert!(operator.resume("bob", host.now).unwrap().pause.is_some());
    // Not even which generation is in force.
    let current = host.dir().join("current");
    fs::rename(&current, host.dir().join("aside")).unwrap();
    fs::write(&current, "").unwrap();
    operator.pause("storm", "bob", host.now).unwrap();
    operator.resume("bob", host.now).unwrap();
    fs::rename(host.dir().join("aside"), &current).unwrap();
    // What is brought back is known, so it is told as a whole: the trail goes on in a file that stands alone.
    operator.rollback(Some(1), "eve", host.now, Retention::default()).unwrap();
    fs::remove_file(file).unwrap();
    host.agrees(&operator);
    let told = host.entries();
    assert_eq!((told.len(), told[0].action, told[0].whole), (1, Action::RolledBack, true));
}

/// What a resolver answered of the only name: these addresses.
fn answered(config: &Config, at: Timestamp, addresses: &[&str]) -> Book {
    let name: HostName = "a.example.com".parse().unwrap();
    let mut book = Book::default();
    _ = book.want(&[name.clone()].into(), &["one".to_owned()].into(), &config.dns, at);
    let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
    let v4 = Said::Addresses { addresses, ttl: 60, aliases: Vec::new() };
    let replies = vec![Reply { resolver: "one".to_owned(), v4, v6: Said::Nothing }];
    let policy = config.dns.policy(&name);
    _ = book.apply(&Look { name, replies }, &policy, at, 0.5);
    book
}

#[test]
fn answers_of_hostnames_that_a_firewall_did_not_take_are_told_too() {
    let host = Host::new();
    let flag = host.folder.path().join("takes");
    let config = parsed(&format!(
        "[groups.web]\nhosts = [\"a.example.com\"]\n[targets.lists]\nverify = [\"/usr/bin/test\", \"-e\", \"{}\"]\n\
         [targets.lists.list]\n[dns.names.\"a.example.com\"]\nallow-special = [\"198.51.100.0/24\"]\n",
        flag.display()
    ));
    let templates = Templates::load(&config).unwrap();
    fs::write(&flag, "").unwrap();
    let mut operator = host.open();
    operator.learn(answered(&config, host.now, &["198.51.100.7"]));
    let offering = Offering {
        take_over: false,
        allow_unreached: false,
        config: &config,
        templates: &templates,
        offers: &Offers::new(),
        rebaseline: None,
        wish: Wish::OfAgent { closed: None, urgent: Urgent::Nothing },
        reason: "publication",
        now: host.now,
    };
    assert_eq!(operator.offer(&offering).unwrap().published, Some(Published::Generation(1)));
    fs::remove_file(&flag).unwrap();
    operator.learn(answered(&config, host.now, &["198.51.100.7", "198.51.100.8"]));
    operator.follow(&config, &templates, host.now).unwrap_err();
    host.agrees(&operator);
    let last = host.entries().pop().unwrap();
    assert_eq!((last.action, last.generation), (Action::Failed, Some(1)));
    let reason = last.reason.unwrap();
    assert!(reason.starts_with("names: ") && reason.contains("target lists"), "{reason}");
    fs::write(&flag, "").unwrap();
    let followed = operator.follow(&config, &templates, host.now).unwrap().unwrap();
    assert_eq!(followed.published, Some(Published::Generation(2)));
    host.agrees(&operator);
}
