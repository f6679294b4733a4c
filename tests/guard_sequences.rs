//! Whatever publications, decisions, pauses, rollbacks and restarts follow one another: the rules in force are those of what is
//! believed (or the generation that is pinned), belief and generation are committed together, and the audit trail reproduces both.
//!
//! Short form: a few sequences; `TAGWALL_LONG=1`: hundreds.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]

mod common;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, RngAlgorithm, TestRng, TestRunner};
use tagwall::config::{Config, Urgent};
use tagwall::guard::{Belief, Offers, Order, Verdict};
use tagwall::operate::{self, Offering, OperateError, Operator, Wish};
use tagwall::pipeline;
use tagwall::prefix::PrefixSet;
use tagwall::publish::{Retention, Store};
use tagwall::render::Templates;
use tagwall::ruleset::RuleSet;
use tagwall::selection::HostAddresses;
use tagwall::snapshot::TagContent;
use tagwall::state::{Memory, trail};

const CONFIG: &str = r#"
    cloud = "example"
    [groups.web]
    tags = ["Web"]
    [groups.mail]
    tags = ["Mail"]
    [rules.web]
    source = ["10.20.0.0/24"]
    destination = "web"
    services = ["tcp/443"]
    [rules.mail]
    source = ["10.20.0.0/24"]
    destination = "mail"
    services = ["tcp/25"]
    [targets.lists.list]
    [guard.limits]
    addition-addresses = 8
    removal-addresses = 8
"#;

#[derive(Debug, Clone)]
enum Step {
    /// Sixteen blocks of each tag, one bit each; none: the tag is not published. `foreign`: with space that Azure never had.
    Publish {
        web: Option<u16>,
        mail: Option<u16>,
        foreign: bool,
        days: i64,
        by_person: bool,
    },
    Pass {
        days: i64,
    },
    Decide {
        which: usize,
        approve: bool,
    },
    Pause,
    Resume,
    Rollback,
    Restart,
    Rebaseline,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Publications that mostly resemble each other, as real ones do.
    let blocks = || {
        prop_oneof![
            6 => (0_u16..16, 0_u16..16).prop_map(|(one, other)| Some(!(1 << one | 1 << other))),
            2 => any::<u16>().prop_map(|bits| Some(bits | 1)),
            1 => Just(None),
        ]
    };
    let publish = (blocks(), blocks(), prop::bool::weighted(0.2), 1_i64..12, any::<bool>());
    let publish = publish.prop_map(|(web, mail, foreign, days, by_person)| Step::Publish {
        web,
        mail,
        foreign,
        days,
        by_person,
    });
    let step = prop_oneof![
        10 => publish,
        2 => (1_i64..40).prop_map(|days| Step::Pass { days }),
        10 => (0_usize..4, any::<bool>()).prop_map(|(which, approve)| Step::Decide { which, approve }),
        1 => Just(Step::Pause),
        2 => Just(Step::Resume),
        1 => Just(Step::Rollback),
        2 => Just(Step::Restart),
        1 => Just(Step::Rebaseline),
    ];
    vec(step, 4..20)
}

fn blocks_of(name: &str, network: &str, blocks: u16, foreign: bool) -> TagContent {
    let nets = (0..16_u8).filter(|block| blocks >> block & 1 == 1);
    let text = |block: u8| format!("{network}.{}/28", block * 16).parse().unwrap();
    let mut v4: Vec<_> = nets.map(text).collect();
    if foreign {
        v4.push("192.0.3.0/28".parse().unwrap());
    }
    common::tags::tag(name, &PrefixSet::from_parts(v4, Vec::new()))
}

/// A state folder with everything that is needed to work on it.
struct Host {
    config: Config,
    templates: Templates,
    folder: tempfile::TempDir,
    operator: Option<Operator>,
    now: Timestamp,
    /// Whether what is believed is in force: not after a rollback or a new beginning, until the next publication.
    follows: bool,
    numbers: u64,
}

impl Host {
    fn new() -> Self {
        let config = Config::parse(Path::new("test.toml"), CONFIG.to_owned()).unwrap();
        let templates = Templates::load(&config).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let operator = Some(Operator::open(folder.path(), "a test").unwrap());
        let now = "2025-01-06T12:00:00Z".parse().unwrap();
        Self { config, templates, folder, operator, now, follows: true, numbers: 0 }
    }

    fn operator(&mut self) -> &mut Operator {
        self.operator.as_mut().unwrap()
    }

    fn offer(&mut self, offers: &Offers, by_person: bool) {
        let wish = if by_person {
            Wish::OfPerson { by: "alice".to_owned() }
        } else {
            Wish::OfAgent { closed: None, urgent: Urgent::default() }
        };
        let operator = self.operator.as_mut().unwrap();
        let before = (operator.belief().digest(), operator.memory().clone());
        let offered = operator.offer(&Offering {
            take_over: false,
            allow_unreached: false,
            config: &self.config,
            templates: &self.templates,
            offers,
            rebaseline: None,
            wish,
            reason: "test",
            now: self.now,
        });
        match offered {
            Ok(offered) if offered.waiting.is_none() => self.follows = true,
            Ok(_)
            | Err(OperateError::Plan(_) | OperateError::Paused(_) | OperateError::Pinned(_)) => {
                let after = (operator.belief().digest(), operator.memory().clone());
                assert_eq!(after, before, "what is refused or waits changes nothing");
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn step(&mut self, step: &Step) {
        let now = self.now;
        match *step {
            Step::Publish { web, mail, foreign, days, by_person } => {
                self.now += SignedDuration::from_hours(24 * days);
                self.numbers += 1;
                let tags = [("Web", "203.0.113", web), ("Mail", "198.51.100", mail)].into_iter();
                let tags = tags.filter_map(|(name, network, blocks)| {
                    Some(blocks_of(name, network, blocks?, foreign))
                });
                let date = self.now.to_zoned(jiff::tz::TimeZone::UTC).date();
                let publication = common::tags::publication(self.numbers, tags).dated(Some(date));
                self.offer(&operate::offers([publication], self.now), by_person);
            }
            Step::Pass { days } => {
                self.now += SignedDuration::from_hours(24 * days);
                if !self.operator().belief().publications().is_empty() {
                    self.offer(&Offers::new(), false);
                }
            }
            Step::Decide { which, approve } => {
                let Some(hold) = self.operator().belief().holds().get(which).cloned() else {
                    return;
                };
                let order = Order {
                    hold: hold.id,
                    verdict: if approve { Verdict::Approve } else { Verdict::Reject },
                    who: "alice".to_owned(),
                    ticket: Some("CHG-1".to_owned()),
                    reason: None,
                };
                let guard = self.config.guard.clone();
                self.operator().decide(&order, &guard, now).unwrap();
            }
            Step::Pause => self.operator().pause("test", "alice", now).unwrap(),
            Step::Resume => _ = self.operator().resume("alice", now).unwrap(),
            Step::Rollback => {
                // Without an earlier generation there is nothing to go back to.
                if self.operator().rollback(None, "alice", now, Retention::default()).is_ok() {
                    self.follows = false;
                }
            }
            Step::Restart => {
                self.operator.take().unwrap().close();
                self.operator = Some(Operator::open(self.folder.path(), "a test").unwrap());
            }
            Step::Rebaseline => {
                if self.operator().rebaseline(None, "test", "alice", now).is_ok() {
                    self.follows = false;
                }
            }
        }
    }

    /// The rules in force.
    fn rules(&self) -> RuleSet {
        let store = Store::new(self.folder.path());
        store.current().unwrap().map(|number| store.rule_set(number).unwrap()).unwrap_or_default()
    }

    /// What must be so after every step.
    fn check(&self) {
        let operator = self.operator.as_ref().unwrap();
        let (belief, rules) = (operator.belief(), self.rules());
        match &operator.memory().pin {
            Some(pin) => {
                let current = operator.publisher().store().current().unwrap();
                assert_eq!(current, Some(pin.generation), "the pinned generation is in force");
            }
            None if self.follows && !belief.publications().is_empty() => {
                let believed =
                    pipeline::rules(&self.config, belief.publications(), &HostAddresses::new());
                assert_eq!(rules, believed.unwrap(), "the rules are those of what is believed");
            }
            None => {}
        }
        let ids: BTreeSet<_> = belief.holds().iter().map(|hold| hold.id.clone()).collect();
        assert_eq!(ids.len(), belief.holds().len(), "an ID leads to one hold");
        let written = std::fs::read(self.folder.path().join(Belief::FILE)).unwrap_or_default();
        if !written.is_empty() {
            let on_disk = Belief::read(&written).unwrap();
            assert_eq!(on_disk.digest(), belief.digest());
            assert_eq!(on_disk.holds(), belief.holds());
            assert_eq!(on_disk.decisions(), belief.decisions());
        }
        assert_eq!(Memory::load(self.folder.path()).unwrap(), *operator.memory());
        let replayed = trail::replay(self.folder.path()).unwrap();
        assert_eq!(replayed.belief.digest(), belief.digest(), "the trail reproduces the belief");
        assert_eq!(replayed.belief.decisions(), belief.decisions());
        assert_eq!(replayed.rule_set, rules, "the trail reproduces the rules");
    }
}

fn same_each_time() -> TestRng {
    TestRng::deterministic_rng(RngAlgorithm::ChaCha)
}

#[test]
fn rules_follow_belief_and_the_trail_reproduces_both() {
    // The short form tries the same sequences each time, the long one others.
    let long = std::env::var_os("TAGWALL_LONG").is_some();
    let cases = if long { 400 } else { 40 };
    let runs = Runs { cases, failure_persistence: None, ..Runs::default() };
    let mut runner =
        if long { TestRunner::new(runs) } else { TestRunner::new_with_rng(runs, same_each_time()) };
    // So that the sequences cannot become ones in which nothing happens.
    let (generations, decisions, held) = (Cell::new(0), Cell::new(0), Cell::new(0));
    runner
        .run(&steps(), |steps| {
            let mut host = Host::new();
            for step in &steps {
                host.step(step);
                host.check();
            }
            // The same again, without the restarts, ends with the same.
            let mut again = Host::new();
            for step in steps.iter().filter(|step| !matches!(step, Step::Restart)) {
                again.step(step);
            }
            let (one, other) = (host.operator(), again.operator());
            assert_eq!(one.belief().digest(), other.belief().digest());
            assert_eq!(one.belief().holds(), other.belief().holds());
            assert_eq!(host.rules(), again.rules());
            let current = Store::new(host.folder.path()).current().unwrap();
            generations.set(generations.get() + current.unwrap_or_default());
            trail::entries(host.folder.path(), |entry| {
                decisions.set(decisions.get() + u64::from(entry.decision.is_some()));
                held.set(held.get() + entry.events.len() as u64);
                Ok(())
            })
            .unwrap();
            Ok(())
        })
        .unwrap();
    let happened = [generations.get(), decisions.get(), held.get()];
    assert!(happened.iter().all(|count| *count >= u64::from(cases / 4)), "{happened:?}");
}
