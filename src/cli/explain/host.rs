//! Which groups name a hostname, and which rules lead there.

use jiff::Timestamp;
use serde::Serialize;

use super::RuleAnswer;
use crate::cli::printer::{HEADLINE, WARNING, wrapped};
use crate::config::{Config, HostName, Name};
use crate::guard::Belief;
use crate::intent::Intent;
use crate::names::{Book, Expected};
use crate::report::NameStatus;
use crate::ruleset::RuleSet;
use crate::selection::Selection;

#[derive(Serialize)]
pub(super) struct Answer {
    host: HostName,
    groups: Vec<GroupHit>,
    rules: Vec<RuleAnswer>,
    /// Whether addresses are known that dialects without hostnames use.
    resolved: bool,
    /// What is known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<NameStatus>,
}

#[derive(Serialize)]
struct GroupHit {
    name: Name,
    /// The name by which the group has it: itself, or a wildcard.
    by: HostName,
}

pub(super) fn explain(config: &Config, host: &HostName, book: &Book, belief: &Belief) -> Answer {
    // Hostnames stand in the configuration and the profiles' tables: no publication is needed.
    let intent = Intent::of(config);
    let rules = RuleSet::build(&intent, &Selection::default());
    let groups: Vec<GroupHit> = rules
        .groups
        .iter()
        .filter_map(|group| {
            let by = group.hosts.iter().find(|named| names(named, host))?.clone();
            Some(GroupHit { name: group.name.clone(), by })
        })
        .collect();
    let hit = |group: &Name| groups.iter().any(|found| found.name == *group);
    let letting = rules.rules.iter().filter(|rule| hit(&rule.group)).map(RuleAnswer::of).collect();
    let expected = Expected::of(config, &intent, belief.publications());
    let known = NameStatus::all(book, &expected).into_iter().find(|known| known.name == *host);
    let resolved = known.as_ref().is_some_and(|known| !known.addresses.is_empty());
    Answer { host: host.clone(), groups, rules: letting, resolved, known }
}

/// Whether a name of a group stands for this host: the same name, or a wildcard above it.
fn names(named: &HostName, host: &HostName) -> bool {
    if named == host {
        return true;
    }
    let below = |domain: &str| {
        host.as_str().strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
    };
    named.as_str().strip_prefix("*.").is_some_and(below)
}

impl Answer {
    pub(super) fn text(&self) -> String {
        let mut text = format!("{HEADLINE}{}{HEADLINE:#}\n", self.host);
        if self.groups.is_empty() {
            text.push_str(&format!("{WARNING}no group names it{WARNING:#}\n"));
            return text;
        }
        text.push_str(&format!("{HEADLINE}groups{HEADLINE:#}\n"));
        for group in &self.groups {
            let by =
                if group.by == self.host { String::new() } else { format!(" (by {})", group.by) };
            text.push_str(&format!("  {}{by}\n", group.name));
        }
        if self.rules.is_empty() {
            text.push_str(&format!("{WARNING}no rule lets it through{WARNING:#}\n"));
        } else {
            text.push_str(&format!("{HEADLINE}rules that lead there{HEADLINE:#}\n"));
        }
        for rule in &self.rules {
            text.push_str(&format!("  {}\n", wrapped(&rule.line(), 98, "      ")));
        }
        let now = Timestamp::now();
        if let Some(known) = &self.known {
            text.push_str(&format!("{HEADLINE}addresses{HEADLINE:#}\n"));
            text.push_str(&known.text(now));
            text.push_str(&known.details(now));
        }
        if !self.resolved {
            text.push_str(
                "not yet resolved: its addresses are not part of the rules; a dialect with hostnames takes the name\n",
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_every_name_below() {
        let named =
            |named: &str, host: &str| names(&named.parse().unwrap(), &host.parse().unwrap());
        assert!(named("*.data.example.com", "a.data.example.com"));
        assert!(named("*.data.example.com", "a.b.data.example.com"));
        assert!(!named("*.data.example.com", "data.example.com"));
        assert!(!named("*.data.example.com", "xdata.example.com"));
        assert!(named("a.example.com", "a.example.com"));
        assert!(!named("a.example.com", "b.a.example.com"));
    }
}
