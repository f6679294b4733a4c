//! What a rendering is about, for people and as JSON.
//!
//! Owns the form of the summary; what changed is computed elsewhere.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::change::Amounts;
use super::printer::{ADDED, HEADLINE, REMOVED, WARNING, grouped, wrapped};
use super::render::Change;
use crate::config::Name;
use crate::pipeline::Plan;
use crate::report::CapacityStatus;
use crate::ruleset::{Difference, GroupChange, RuleSet, Surplus, Whole};
use crate::selection::Publications;
use crate::snapshot::Cloud;

/// What becomes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    New,
    Changed,
    Unchanged,
}

/// What a rendering is about, for people and as JSON.
#[derive(Serialize)]
pub(super) struct Summary {
    format: &'static str,
    publications: Vec<PublicationSummary>,
    rule_set: String,
    /// Whether the groups are compared with an earlier rule set.
    compared: bool,
    groups: Vec<GroupSummary>,
    rules: RulesSummary,
    artifacts: Vec<ArtifactSummary>,
    gaps: Vec<String>,
    /// What groups let through beside what is published, where they are fitted into fewer prefixes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    widened: Vec<Surplus>,
    /// How much of each limit of the firewalls is used, and for how long it will do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    capacity: Vec<CapacityStatus>,
    /// What is rendered as asked, but may not do what was meant.
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct PublicationSummary {
    cloud: Cloud,
    source: String,
    date: Option<String>,
    change_number: u64,
    digest: String,
}

#[derive(Serialize)]
struct GroupSummary {
    name: String,
    v4_prefixes: usize,
    v4_addresses: u64,
    v6_prefixes: usize,
    hosts: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<GroupChangeSummary>,
}

#[derive(Serialize)]
struct GroupChangeSummary {
    /// `added`, `removed` or `changed`.
    kind: &'static str,
    #[serde(flatten)]
    amounts: Amounts,
}

#[derive(Serialize)]
struct RulesSummary {
    count: usize,
    added: Vec<Name>,
    removed: Vec<Name>,
    changed: Vec<Name>,
    routes: usize,
    routes_added: Vec<Name>,
    routes_removed: Vec<Name>,
    security_rules: usize,
    security_rules_added: Vec<Name>,
    security_rules_removed: Vec<Name>,
}

#[derive(Serialize)]
struct ArtifactSummary {
    path: String,
    kind: Kind,
    bytes: usize,
}

impl Summary {
    pub(super) fn of(
        plan: &Plan,
        publications: &Publications,
        before: Option<&RuleSet>,
        changes: &[Change<'_>],
        capacity: Vec<CapacityStatus>,
    ) -> Self {
        // Compared with itself where every file is equal: then there is nothing to look for.
        let other = before.filter(|before| !std::ptr::eq(*before, &raw const plan.rule_set));
        let difference = other.map(|before| Difference::between(before, &plan.rule_set));
        let difference = difference.unwrap_or_default();
        let by_group: BTreeMap<&Name, &GroupChange> =
            difference.groups.iter().map(|change| (&change.name, change)).collect();
        let mut groups: Vec<GroupSummary> = plan
            .rule_set
            .groups
            .iter()
            .map(|group| GroupSummary {
                name: group.name.to_string(),
                v4_prefixes: group.prefixes.v4().len(),
                v4_addresses: group.prefixes.v4_addresses(),
                v6_prefixes: group.prefixes.v6().len(),
                hosts: group.hosts.len(),
                change: by_group.get(&group.name).map(|change| change_summary(change)),
            })
            .collect();
        groups.extend(
            difference.groups.iter().filter(|change| change.whole == Some(Whole::Removed)).map(
                |change| GroupSummary {
                    name: change.name.to_string(),
                    v4_prefixes: 0,
                    v4_addresses: 0,
                    v6_prefixes: 0,
                    hosts: 0,
                    change: Some(change_summary(change)),
                },
            ),
        );
        Self {
            format: "tagwall-render/1",
            publications: publications
                .values()
                .map(|publication| PublicationSummary {
                    cloud: publication.snapshot.cloud(),
                    source: publication.source.clone(),
                    date: publication.date.map(|date| date.to_string()),
                    change_number: publication.snapshot.change_number(),
                    digest: publication.digest().to_string(),
                })
                .collect(),
            rule_set: plan.digest.to_string(),
            compared: before.is_some(),
            groups,
            rules: RulesSummary {
                count: plan.rule_set.rules.len(),
                added: difference.rules_added,
                removed: difference.rules_removed,
                changed: difference.rules_changed,
                routes: plan.rule_set.routes.len(),
                routes_added: difference.routes_added,
                routes_removed: difference.routes_removed,
                security_rules: plan.rule_set.security.len(),
                security_rules_added: difference.security_added,
                security_rules_removed: difference.security_removed,
            },
            artifacts: changes
                .iter()
                .map(|change| ArtifactSummary {
                    path: change.artifact.path(),
                    kind: change.kind,
                    bytes: change.artifact.bytes.len(),
                })
                .collect(),
            gaps: plan.rule_set.gaps(),
            widened: plan.rule_set.widened(),
            capacity,
            warnings: plan
                .artifacts
                .iter()
                .flat_map(|artifact| {
                    let target = &artifact.target;
                    artifact
                        .warnings
                        .iter()
                        .map(move |warning| format!("target {target}: {warning}"))
                })
                .collect(),
        }
    }

    /// The summary for people.
    pub(super) fn text(&self, dry_run: bool) -> String {
        let mut text = String::new();
        for publication in &self.publications {
            let date = publication.date.as_deref().unwrap_or("no date");
            text.push_str(&format!(
                "{HEADLINE}publication{HEADLINE:#} {} ({date}, change number {}, digest {})\n",
                publication.cloud,
                publication.change_number,
                &publication.digest[..12]
            ));
        }
        text.push_str(&format!("{HEADLINE}groups{HEADLINE:#}\n"));
        let width = self.groups.iter().map(|group| group.name.len()).max().unwrap_or(0);
        for group in &self.groups {
            text.push_str(&group.line(width, self.compared));
        }
        let rules = &self.rules;
        // A route or security rule that differs is named on both sides.
        for (what, style, names) in [
            ("rules new", ADDED, &rules.added),
            ("rules gone", REMOVED, &rules.removed),
            ("rules changed", WARNING, &rules.changed),
            ("routes new", ADDED, &rules.routes_added),
            ("routes gone", REMOVED, &rules.routes_removed),
            ("security rules new", ADDED, &rules.security_rules_added),
            ("security rules gone", REMOVED, &rules.security_rules_removed),
        ] {
            if self.compared && !names.is_empty() {
                let names: Vec<_> = names.iter().map(Name::as_str).collect();
                text.push_str(&format!("{style}{what}{style:#}: {}\n", names.join(", ")));
            }
        }
        text.push_str(&format!(
            "{HEADLINE}rules{HEADLINE:#} {}, routes {}, security rules {}, rule set {}\n",
            rules.count,
            rules.routes,
            rules.security_rules,
            &self.rule_set[..12]
        ));
        for surplus in &self.widened {
            let line = wrapped(&format!("WIDER: {surplus}"), 100, "  ");
            let rest = line.strip_prefix("WIDER").unwrap_or_default();
            text.push_str(&format!("{REMOVED}WIDER{REMOVED:#}{rest}\n"));
        }
        for gap in self.gaps.iter().chain(&self.warnings) {
            let gap = wrapped(&format!("note: {gap}"), 100, "  ");
            let rest = gap.strip_prefix("note").unwrap_or_default();
            text.push_str(&format!("{WARNING}note{WARNING:#}{rest}\n"));
        }
        text.push_str(&CapacityStatus::lines(&self.capacity, false, Timestamp::now()));
        text.push_str(&format!(
            "{HEADLINE}files{HEADLINE:#}{}\n",
            if dry_run { " (nothing is written)" } else { "" }
        ));
        for artifact in &self.artifacts {
            let (style, mark) = match artifact.kind {
                Kind::New => (ADDED, "new"),
                Kind::Changed => (WARNING, "changed"),
                Kind::Unchanged => (anstyle::Style::new(), "same"),
            };
            text.push_str(&format!(
                "  {style}{mark:<8}{style:#}{} ({} bytes)\n",
                artifact.path,
                grouped(artifact.bytes)
            ));
        }
        text
    }
}

impl GroupSummary {
    fn line(&self, width: usize, compared: bool) -> String {
        let mut line = format!("  {:<width$}  ", self.name);
        let mut between = "";
        let mut part = |count: usize, what: &str| {
            if count > 0 {
                line.push_str(between);
                line.push_str(&grouped(count));
                line.push_str(what);
                between = ", ";
            }
        };
        let addresses = match self.v4_addresses {
            1 => " IPv4 (1 address)".to_owned(),
            several => format!(" IPv4 ({} addresses)", grouped(several)),
        };
        part(self.v4_prefixes, &addresses);
        part(self.v6_prefixes, " IPv6");
        part(self.hosts, if self.hosts == 1 { " hostname" } else { " hostnames" });
        if between.is_empty() {
            line.push_str("empty");
        }
        match &self.change {
            Some(change) => line.push_str(&change.text()),
            None if compared => line.push_str("  unchanged"),
            None => {}
        }
        line.push('\n');
        line
    }
}

impl GroupChangeSummary {
    fn text(&self) -> String {
        format!("  {} {}", self.kind, self.amounts.text())
    }
}

fn change_summary(change: &GroupChange) -> GroupChangeSummary {
    let space = &change.space;
    GroupChangeSummary {
        kind: match change.whole {
            Some(Whole::Added) => "added",
            Some(Whole::Removed) => "removed",
            None => "changed",
        },
        amounts: Amounts::of(space, space.prefixes_added, space.prefixes_removed),
    }
}
