//! `tagwall history --prefix`: when addresses came into the rules and left them, from which publication, and on whose word.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ReportError;
use super::text::{ADDED, HEADLINE, REMOVED, WARNING};
use crate::config::Name;
use crate::guard::{Decision, Standing, Verdict};
use crate::os::printable::printable;
use crate::prefix::PrefixSet;
use crate::ruleset::{RuleSet, RuleSetChange};
use crate::snapshot::Cloud;
use crate::state::trail::{self, Action, Entry};

const FORMAT: &str = "tagwall-prefix-history/1";
/// Longest words of a person that are shown, in characters.
const LONGEST_WORDS: usize = 500;

/// What the audit trail tells of an address or prefix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrefixHistory {
    /// `tagwall-prefix-history/1`.
    pub format: String,
    /// The prefix.
    pub prefix: IpNet,
    /// When the audit trail begins; none when there is none.
    pub since: Option<Timestamp>,
    /// Whether the audit trail goes back to the first generation.
    pub complete: bool,
    /// What changed, the oldest first.
    pub changes: Vec<PrefixChange>,
    /// In which groups it is now.
    pub now: Vec<InGroup>,
}

/// An entry of the audit trail that changed something of the prefix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrefixChange {
    /// The number of the entry.
    pub entry: u64,
    /// When.
    pub at: Timestamp,
    /// What was done.
    pub action: Action,
    /// Who asked for it; none: the agent by itself.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// The generation in force from then on.
    pub generation: Option<u64>,
    /// The publications that belief stood on then.
    pub publications: BTreeMap<Cloud, Standing>,
    /// What changed in which group.
    pub groups: Vec<Moved>,
    /// The approvals without which it would not have changed.
    pub approvals: Vec<Approval>,
}

/// What came to a group, or left it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// The group.
    pub group: Name,
    /// The rules that let the group through.
    pub rules: Vec<Name>,
    /// The part of the prefix that came.
    pub entered: PrefixSet,
    /// The part that left.
    pub left: PrefixSet,
}

/// A person's decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// The hold.
    pub hold: String,
    /// Who.
    pub who: String,
    /// When.
    pub at: Timestamp,
    /// The ticket.
    pub ticket: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// A group that has some of the prefix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InGroup {
    /// The group.
    pub group: Name,
    /// The rules that let it through.
    pub rules: Vec<Name>,
    /// The part of the prefix that is in it.
    pub space: PrefixSet,
    /// Whether that is all of it.
    pub whole: bool,
}

impl PrefixHistory {
    /// Reads the audit trail of a state folder.
    pub fn read(dir: &Path, prefix: IpNet) -> Result<Self, ReportError> {
        let mut history = Self {
            format: FORMAT.to_owned(),
            prefix,
            since: None,
            complete: true,
            changes: Vec::new(),
            now: Vec::new(),
        };
        let (mut rules, mut decided) = (RuleSet::default(), Vec::new());
        trail::entries(dir, |entry| {
            if history.since.is_none() {
                history.since = Some(entry.at);
                history.complete = entry.number == 1;
            }
            let before = if entry.whole { RuleSet::default() } else { std::mem::take(&mut rules) };
            let after = before.changed_by(&entry.rules).map_err(|error| entry.damaged(&error))?;
            // Of an entry that begins from nothing, what was there before is no news.
            let before = if entry.whole { std::mem::take(&mut rules) } else { before };
            let touched = entry.whole || touches(&entry.rules, prefix);
            let groups = if touched { moved(&before, &after, prefix) } else { Vec::new() };
            rules = after;
            decided.extend(entry.decision.clone());
            if !groups.is_empty() {
                history.changes.push(PrefixChange::of(entry, groups, &decided));
            }
            Ok(())
        })?;
        history.now = in_groups(&rules, prefix);
        Ok(history)
    }

    /// As people read it, with styles.
    pub fn text(&self) -> String {
        let mut text = format!("{HEADLINE}{}{HEADLINE:#}\n", self.prefix);
        let Some(since) = self.since else {
            text.push_str("there is no audit trail yet: it begins with the first generation\n");
            return text;
        };
        if !self.complete {
            text.push_str(&format!(
                "{WARNING}what was before {since} is not kept any more{WARNING:#}\n"
            ));
        }
        for (index, change) in self.changes.iter().enumerate() {
            let known = index == 0 && !self.complete && change.at == since;
            text.push_str(&change.text(self.prefix, known));
        }
        if self.now.is_empty() {
            text.push_str(&format!("{HEADLINE}now{HEADLINE:#}  in no group\n"));
        }
        for group in &self.now {
            text.push_str(&format!(
                "{HEADLINE}now{HEADLINE:#}  in group {}{}{}\n",
                group.group,
                of_rules(&group.rules),
                part(&group.space, self.prefix)
            ));
        }
        text
    }
}

impl PrefixChange {
    fn of(entry: Entry, groups: Vec<Moved>, decided: &[Decision]) -> Self {
        let space = |moved: &Moved| moved.entered.union(&moved.left);
        let counts = |decision: &&Decision| {
            decision.verdict == Verdict::Approve
                && decision.expires.is_none_or(|expires| expires > entry.at)
                && groups.iter().any(|moved| {
                    decision.groups.contains(&moved.group)
                        && !decision.space.intersection(&space(moved)).is_empty()
                })
        };
        Self {
            approvals: decided.iter().filter(counts).map(Approval::from).collect(),
            entry: entry.number,
            at: entry.at,
            action: entry.action,
            by: entry.by,
            reason: entry.reason,
            generation: entry.generation,
            publications: entry.publications,
            groups,
        }
    }

    fn text(&self, prefix: IpNet, known: bool) -> String {
        let mut text = String::new();
        let entered = if known { "was in" } else { "entered" };
        for moved in &self.groups {
            for (style, verb, space) in
                [(ADDED, entered, &moved.entered), (REMOVED, "left", &moved.left)]
            {
                if !space.is_empty() {
                    text.push_str(&format!(
                        "{}  {style}{verb}{style:#} group {}{}{}\n",
                        self.at,
                        moved.group,
                        of_rules(&moved.rules),
                        part(space, prefix)
                    ));
                }
            }
        }
        let generation =
            self.generation.map_or_else(String::new, |number| format!(", generation {number}"));
        text.push_str(&format!("    {}{generation}", self.action.name()));
        for (word, said) in [(" by ", &self.by), (": ", &self.reason)] {
            if let Some(said) = said {
                text.push_str(&format!("{word}{}", printable(said, LONGEST_WORDS)));
            }
        }
        text.push('\n');
        for (cloud, standing) in &self.publications {
            let date = standing.date.map_or_else(String::new, |date| format!(" of {date}"));
            text.push_str(&format!(
                "    publication{date} of cloud {cloud}: change number {}, digest {}, {}\n",
                standing.change_number,
                standing.digest.short(),
                printable(&standing.source, LONGEST_WORDS)
            ));
        }
        for approval in &self.approvals {
            text.push_str(&format!(
                "    hold {} approved by {} at {}",
                approval.hold,
                printable(&approval.who, LONGEST_WORDS),
                approval.at
            ));
            for said in [&approval.ticket, &approval.reason].into_iter().flatten() {
                text.push_str(&format!(", {}", printable(said, LONGEST_WORDS)));
            }
            text.push('\n');
        }
        text
    }
}

impl From<&Decision> for Approval {
    fn from(decision: &Decision) -> Self {
        Self {
            hold: decision.hold.to_string(),
            who: decision.who.clone(),
            at: decision.at,
            ticket: decision.ticket.clone(),
            reason: decision.reason.clone(),
        }
    }
}

/// Whether a change concerns the prefix, or which groups there are.
fn touches(change: &RuleSetChange, prefix: IpNet) -> bool {
    let mut spaces = change.groups.values().chain(change.resolved.values());
    spaces.any(|moved| moved.added.overlaps(prefix) || moved.removed.overlaps(prefix))
}

/// What of the prefix came to groups, and left them.
fn moved(before: &RuleSet, after: &RuleSet, prefix: IpNet) -> Vec<Moved> {
    let names: BTreeSet<&Name> =
        before.groups.iter().chain(&after.groups).map(|group| &group.name).collect();
    let all = PrefixSet::from(prefix);
    let within = |rules: &RuleSet, name: &Name| {
        rules.group(name).map(|group| group.space().intersection(&all)).unwrap_or_default()
    };
    names
        .into_iter()
        .filter_map(|name| {
            let (was, is) = (within(before, name), within(after, name));
            let (entered, left) = (is.difference(&was), was.difference(&is));
            let rules = rules_of(if left.is_empty() { after } else { before }, name);
            let changed = !(entered.is_empty() && left.is_empty());
            changed.then(|| Moved { group: name.clone(), rules, entered, left })
        })
        .collect()
}

fn in_groups(rules: &RuleSet, prefix: IpNet) -> Vec<InGroup> {
    let all = PrefixSet::from(prefix);
    rules
        .groups
        .iter()
        .filter_map(|group| {
            let space = group.space().intersection(&all);
            (!space.is_empty()).then(|| InGroup {
                group: group.name.clone(),
                rules: rules_of(rules, &group.name),
                whole: space == all,
                space,
            })
        })
        .collect()
}

fn rules_of(rules: &RuleSet, group: &Name) -> Vec<Name> {
    rules.rules.iter().filter(|rule| rule.group == *group).map(|rule| rule.name.clone()).collect()
}

fn of_rules(rules: &[Name]) -> String {
    let names: Vec<&str> = rules.iter().map(Name::as_str).collect();
    match names.len() {
        0 => " (no rule)".to_owned(),
        1 => format!(" (rule {})", names[0]),
        _ => format!(" (rules {})", names.join(", ")),
    }
}

/// Which part of a prefix it is; nothing for all of it.
fn part(space: &PrefixSet, prefix: IpNet) -> String {
    if *space == PrefixSet::from(prefix) { String::new() } else { format!(": {space}") }
}
