//! One packet on its way through base chains, each through its jumps.

use std::collections::{BTreeMap, BTreeSet};

use super::elements::Elements;
use super::evaluate::{Place, Possible, Sets, Truth};
use super::flow::Flow;
use super::graph::Paths;
use super::model::{Dormancy, Entries, Rule, Statement, Verdict};
use super::outcome::{Fate, Reach, Walk};
use super::text;
use super::walk::{FORWARD, MAX_REASONS, Ours, POSTROUTING, PREROUTING, Station};

/// Priority at prerouting behind which connections are looked up.
const CONNTRACK: i64 = -200;
/// Most jumps within jumps that the kernel takes.
const MAX_DEPTH: usize = 16;

/// What a chain is walked with: results are the same for the same key.
type MemoKey = (String, String, String, Vec<Progress>, bool, bool);

/// How far a packet has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    /// Not to the target's rules.
    Before,
    /// Through some of them.
    Entered,
    /// Accepted by one.
    Accepted,
}

/// How a chain may end, with what ends it.
#[derive(Debug, Clone, Default)]
struct Ends {
    accept: BTreeMap<Progress, String>,
    drop: BTreeMap<Progress, String>,
    /// Without a verdict.
    back: BTreeSet<Progress>,
}

impl Ends {
    fn add(&mut self, other: Self) {
        for (progress, by) in other.accept {
            self.accept.entry(progress).or_insert(by);
        }
        for (progress, by) in other.drop {
            self.drop.entry(progress).or_insert(by);
        }
        self.back.extend(other.back);
    }
}

/// A rule's place in the walk.
#[derive(Clone, Copy)]
struct At<'a> {
    station: Station<'a>,
    chain: &'a str,
    /// Whether the chain is one of the target's, or was entered from one.
    inside: bool,
    depth: usize,
}

impl<'a> At<'a> {
    fn named(self, rule: &str) -> String {
        let Self { station, chain, .. } = self;
        format!("table {} {}, chain {chain}: {rule}", station.family, station.name)
    }

    fn sets(self, elements: &'a dyn Elements) -> Sets<'a> {
        let Station { family, name, table, .. } = self.station;
        Sets { family, name, table, elements }
    }
}

/// What a rule does to a packet.
enum Effect {
    /// Nothing.
    Nothing,
    /// Nothing, as it does not match.
    Mismatch,
    /// One of these verdicts; with a reason, or none of them.
    Verdicts(Vec<Verdict>, Option<String>),
    /// Anything; the target's rules may be entered.
    Anything { why: String, entered: bool },
}

/// One packet on its way.
pub(super) struct Walker<'w> {
    ours: &'w Ours,
    elements: &'w dyn Elements,
    paths: &'w Paths,
    place: Place<'w>,
    alive: BTreeSet<Progress>,
    dropped: BTreeMap<Progress, String>,
    doubts: Vec<String>,
    /// The doubts when it first became unclear whether the target's rules decide.
    first_doubts: Option<Vec<String>>,
    /// Jumps towards the target's rules that do not match.
    mismatches: Vec<String>,
    /// What accepted the packet in a base chain that leads to the target's rules, before them.
    accepted_before: Option<String>,
    /// Whether what dropped it is a rule, or the policy of a base chain that has nothing to do with
    /// the target's rules.
    dropped_by_rule: bool,
    memo: BTreeMap<MemoKey, Ends>,
    stack: Vec<(String, String, String)>,
}

impl<'w> Walker<'w> {
    pub(super) fn new(
        ours: &'w Ours,
        flow: &'w Flow,
        elements: &'w dyn Elements,
        paths: &'w Paths,
    ) -> Self {
        let place = Place {
            flow,
            tracked: false,
            routed: false,
            past_routing: false,
            rewritten: None,
            untracked: None,
        };
        Self {
            ours,
            elements,
            paths,
            place,
            alive: BTreeSet::from([Progress::Before]),
            dropped: BTreeMap::new(),
            doubts: Vec::new(),
            first_doubts: None,
            mismatches: Vec::new(),
            accepted_before: None,
            dropped_by_rule: false,
            memo: BTreeMap::new(),
            stack: Vec::new(),
        }
    }

    /// Whether nothing is left to follow.
    pub(super) fn is_over(&self) -> bool {
        self.alive.is_empty()
    }

    /// Passes a base chain.
    pub(super) fn pass(&mut self, station: Station<'_>) {
        self.memo.clear();
        self.place.routed = station.hook >= FORWARD;
        self.place.past_routing = station.hook >= POSTROUTING;
        let named = station.named();
        let priority = station.base.priority.unwrap_or_default();
        self.place.tracked =
            station.hook >= FORWARD || (station.hook == PREROUTING && priority > CONNTRACK);
        let alive = std::mem::take(&mut self.alive);
        let mut ends = self.chain(station, station.chain, &alive, false, 0);
        let back = std::mem::take(&mut ends.back);
        let by_rule = ends.drop.contains_key(&Progress::Before);
        if station.leads
            && let Some(by) = ends.accept.get(&Progress::Before)
        {
            self.accepted_before.get_or_insert_with(|| by.clone());
        }
        let rest = if station.base.drops { &mut ends.drop } else { &mut ends.accept };
        for progress in back {
            rest.entry(progress).or_insert_with(|| format!("the policy of {named}"));
        }
        if let Some(why) = self.may_be_elsewhere(station) {
            self.doubt(format!("{named}: {why}"));
            for progress in alive {
                ends.accept.entry(progress).or_insert_with(|| why.clone());
            }
        }
        if ends.drop.contains_key(&Progress::Before) {
            self.dropped_by_rule |= by_rule || !station.leads;
        }
        self.alive = ends.accept.into_keys().collect();
        for (progress, by) in ends.drop {
            self.dropped.entry(progress).or_insert(by);
        }
        if self.first_doubts.is_none() && self.is_unclear() {
            self.first_doubts = Some(self.doubts.clone());
        }
    }

    /// Why a packet may pass by a base chain that is listed.
    fn may_be_elsewhere(&self, station: Station<'_>) -> Option<String> {
        if station.table.dormancy == Dormancy::Unclear {
            return Some("the flags of the table are not readable".to_owned());
        }
        if station.base.priority.is_none() {
            return Some("its priority is not readable".to_owned());
        }
        let on_devices = matches!(station.base.hook.as_str(), "ingress" | "egress");
        let known = !station.base.devices.is_empty() && station.device(self.place.flow).is_some();
        (on_devices && !known).then(|| "it sees the packets of some interfaces".to_owned())
    }

    /// Whether some ways lead through the target's rules and others do not.
    fn is_unclear(&self) -> bool {
        let ends: BTreeSet<Progress> =
            self.alive.iter().chain(self.dropped.keys()).copied().collect();
        ends.contains(&Progress::Accepted) && ends.len() > 1
    }

    fn doubt(&mut self, why: String) {
        if !self.doubts.contains(&why) && self.doubts.len() < 64 {
            self.doubts.push(why);
        }
    }

    fn is_ours(&self, station: Station<'_>, chain: &str) -> bool {
        station.family == self.ours.family
            && station.name == self.ours.table
            && self.ours.chain.as_deref().is_none_or(|ours| ours == chain)
    }

    /// Walks one chain with the ways that come to it.
    fn chain(
        &mut self,
        station: Station<'_>,
        name: &str,
        live: &BTreeSet<Progress>,
        inside: bool,
        depth: usize,
    ) -> Ends {
        let inside = inside || self.is_ours(station, name);
        let id = (station.family.to_owned(), station.name.to_owned(), name.to_owned());
        let key: MemoKey = (
            id.0.clone(),
            id.1.clone(),
            id.2.clone(),
            live.iter().copied().collect(),
            inside,
            self.place.rewritten.is_some() || self.place.untracked.is_some(),
        );
        if let Some(known) = self.memo.get(&key) {
            return known.clone();
        }
        let Some(chain) = station.table.chains.get(name) else {
            return self.anything(live, inside, &format!("chain {name} is not listed"));
        };
        if depth > MAX_DEPTH || self.stack.contains(&id) {
            return self.anything(live, inside, &format!("the depth of jumps at chain {name}"));
        }
        self.stack.push(id);
        let mut live: BTreeSet<Progress> = live.clone();
        if inside && live.remove(&Progress::Before) {
            live.insert(Progress::Entered);
        }
        let mut ends = Ends::default();
        let at = At { station, chain: name, inside, depth };
        for rule in &chain.rules {
            if live.is_empty() {
                break;
            }
            live = self.rule(at, rule, &live, &mut ends);
        }
        ends.back.extend(live);
        self.stack.pop();
        self.memo.insert(key, ends.clone());
        ends
    }

    /// Everything that may become of a packet.
    fn anything(&mut self, live: &BTreeSet<Progress>, inside: bool, why: &str) -> Ends {
        self.doubt(why.to_owned());
        Ends {
            accept: live.iter().map(|way| (accepted(*way, inside), why.to_owned())).collect(),
            drop: live.iter().map(|way| (*way, why.to_owned())).collect(),
            back: live.clone(),
        }
    }

    /// Applies a rule; the ways that go on behind it.
    fn rule(
        &mut self,
        at: At<'_>,
        rule: &Rule,
        live: &BTreeSet<Progress>,
        ends: &mut Ends,
    ) -> BTreeSet<Progress> {
        let witness = || at.named(&text::rule(rule));
        let (verdicts, unsure) = match self.effect(at, rule, &witness) {
            Effect::Nothing => return live.clone(),
            Effect::Mismatch => {
                if self.leads_on(at.station, rule) {
                    self.mismatches.push(witness());
                }
                return live.clone();
            }
            Effect::Anything { why, entered } => {
                let why = format!("{why} in {}", witness());
                let mut all = self.anything(live, at.inside, &why);
                if entered && at.station.leads && live.contains(&Progress::Before) {
                    all.accept.insert(Progress::Accepted, why);
                }
                ends.add(all);
                return live.clone();
            }
            Effect::Verdicts(verdicts, unsure) => (verdicts, unsure),
        };
        let mut behind = BTreeSet::new();
        let mut matters = false;
        for verdict in verdicts {
            let (on, sub) = self.verdict(at, &verdict, live, &witness);
            matters |= on != *live
                || !(sub.accept.is_empty() && sub.drop.is_empty() && sub.back.is_empty());
            behind.extend(on);
            ends.add(sub);
        }
        if let Some(why) = unsure {
            if matters {
                self.doubt(format!("{why} in {}", witness()));
            }
            behind.extend(live);
        }
        behind
    }

    /// What a rule does to the packet.
    fn effect(&mut self, at: At<'_>, rule: &Rule, witness: &dyn Fn() -> String) -> Effect {
        let mut unsure: Option<String> = None;
        for statement in &rule.statements {
            let sets = at.sets(self.elements);
            match statement {
                Statement::Inert => {}
                Statement::Match(test) => match sets.test(&self.place, test) {
                    Truth::Yes => {}
                    Truth::No => return Effect::Mismatch,
                    Truth::Unknown(why) => unsure = Some(why),
                },
                Statement::Condition(why) => unsure = Some(why.clone()),
                Statement::Untrack => {
                    self.place.untracked = Some(format!("notrack in {}", witness()));
                    self.memo.clear();
                }
                Statement::Rewrite(why) => self.rewrite(why, witness),
                Statement::Nat(why) => {
                    // Source addresses change behind all rules that matter.
                    if at.station.hook < POSTROUTING {
                        self.rewrite(why, witness);
                    }
                    return Effect::Verdicts(vec![Verdict::Accept], unsure);
                }
                Statement::Opaque(why) => {
                    return Effect::Anything { why: why.clone(), entered: false };
                }
                Statement::Verdict(verdict) => {
                    return Effect::Verdicts(vec![verdict.clone()], unsure);
                }
                Statement::Map(fields, entries) => {
                    return match sets.possible(&self.place, fields, entries) {
                        Possible::None => Effect::Mismatch,
                        Possible::One(verdict) => Effect::Verdicts(vec![verdict], unsure),
                        Possible::Some(verdicts, why) => Effect::Verdicts(verdicts, Some(why)),
                        Possible::Any(why) => Effect::Anything { why, entered: true },
                    };
                }
            }
        }
        Effect::Nothing
    }

    fn rewrite(&mut self, why: &str, witness: &dyn Fn() -> String) {
        self.place.rewritten = Some(format!("{why} in {}", witness()));
        self.memo.clear();
    }

    /// Whether a rule leads towards the target's rules from outside.
    fn leads_on(&self, station: Station<'_>, rule: &Rule) -> bool {
        let towards = |chain: &str| self.paths.possible.contains(chain);
        station.leads
            && rule.statements.iter().any(|statement| match statement {
                Statement::Verdict(verdict) => verdict.target().is_some_and(towards),
                Statement::Map(_, Entries::Named(_)) => true,
                Statement::Map(_, Entries::Inline(entries)) => {
                    entries.iter().any(|(_, verdict)| {
                        verdict.as_ref().and_then(Verdict::target).is_some_and(towards)
                    })
                }
                _ => false,
            })
    }

    /// Applies a verdict: the ways that go on behind the rule, and those that end here.
    fn verdict(
        &mut self,
        at: At<'_>,
        verdict: &Verdict,
        live: &BTreeSet<Progress>,
        witness: &dyn Fn() -> String,
    ) -> (BTreeSet<Progress>, Ends) {
        let mut ends = Ends::default();
        match verdict {
            Verdict::Accept => {
                let accept = live.iter().map(|way| (accepted(*way, at.inside), witness()));
                ends.accept = accept.collect();
            }
            Verdict::Drop => ends.drop = live.iter().map(|way| (*way, witness())).collect(),
            Verdict::Return => ends.back.clone_from(live),
            Verdict::Continue => return (live.clone(), ends),
            Verdict::Jump(chain) => {
                let mut sub = self.chain(at.station, chain, live, at.inside, at.depth + 1);
                let on = std::mem::take(&mut sub.back);
                return (on, sub);
            }
            Verdict::Goto(chain) => {
                let sub = self.chain(at.station, chain, live, at.inside, at.depth + 1);
                return (BTreeSet::new(), sub);
            }
        }
        (BTreeSet::new(), ends)
    }

    /// The answer when all base chains are passed.
    pub(super) fn walk(self) -> Walk {
        let fate = if self.dropped.is_empty() {
            Fate::Passes
        } else if self.alive.is_empty() {
            let by = self.dropped.values().next_back().cloned().unwrap_or_default();
            Fate::Dropped { by }
        } else {
            Fate::Unknown { because: reasons(&self.doubts) }
        };
        Walk { reach: self.reach(), fate }
    }

    fn reach(&self) -> Reach {
        let ends: BTreeSet<Progress> =
            self.alive.iter().chain(self.dropped.keys()).copied().collect();
        if ends == BTreeSet::from([Progress::Accepted]) {
            return Reach::Reached;
        }
        if ends.contains(&Progress::Accepted) {
            let doubts = self.first_doubts.as_ref().unwrap_or(&self.doubts);
            return Reach::Unknown { because: reasons(doubts) };
        }
        let not = |by: String, by_rule_graph| Reach::NotReached { by, by_rule_graph };
        let what = match &self.ours.chain {
            Some(chain) => format!("chain {chain}"),
            None => format!("table {} {}", self.ours.family, self.ours.table),
        };
        if ends.contains(&Progress::Entered) {
            let by = match (self.dropped.get(&Progress::Entered), self.mismatches.first()) {
                (Some(by), _) => format!("; dropped by {by}"),
                (None, Some(_)) => format!("; passed over: {}", reasons(&self.mismatches)),
                (None, None) => String::new(),
            };
            return not(format!("no rule of {what} accepts the connection{by}"), false);
        }
        let dropped = self.dropped.get(&Progress::Before);
        let mut parts = Vec::new();
        if !self.mismatches.is_empty() {
            let jumps = reasons(&self.mismatches);
            parts.push(format!("no jump to {what} matches the connection: {jumps}"));
        }
        if let Some(by) = &self.accepted_before {
            parts.push(format!("accepted before {what} by {by}"));
        }
        if let Some(by) = dropped.filter(|_| self.dropped_by_rule) {
            parts.push(format!("dropped before {what} by {by}"));
        }
        if parts.is_empty() {
            parts.push(format!("no rule leads the connection to {what}"));
        }
        // Only a drop that nothing else explains is the rule graph's.
        let by_rule_graph = parts.len() == 1
            && self.alive.is_empty()
            && self.mismatches.is_empty()
            && self.dropped_by_rule
            && dropped.is_some();
        not(parts.join("; "), by_rule_graph)
    }
}

/// How far a way is when a rule accepts it.
fn accepted(way: Progress, inside: bool) -> Progress {
    if inside { Progress::Accepted } else { way }
}

fn reasons(all: &[String]) -> String {
    let mut some: Vec<&str> = Vec::new();
    for reason in all {
        if !some.contains(&reason.as_str()) && some.len() < MAX_REASONS {
            some.push(reason);
        }
    }
    some.join("; ")
}
