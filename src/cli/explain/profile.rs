//! The table of a profile: each dependency, and where its flow is decided.

use serde::Serialize;

use crate::cli::printer::{HEADLINE, WARNING, grouped, wrapped};
use crate::config::{Config, Name};
use crate::intent::Intent;
use crate::intent::apim::{Decided, Row};
use crate::pipeline;
use crate::ruleset::RuleSet;
use crate::selection::{HostAddresses, Publications};
use crate::snapshot::Cloud;

/// Widest line, in characters.
const WIDTH: usize = 100;

#[derive(Serialize)]
pub(super) struct Answer {
    profile: Name,
    cloud: Cloud,
    /// Whether a publication was at hand, so that prefixes are counted.
    counted: bool,
    rows: Vec<CountedRow>,
    advice: Vec<String>,
}

#[derive(Serialize)]
struct CountedRow {
    #[serde(flatten)]
    row: Row,
    /// The tags as published.
    tags: Vec<String>,
    v4_prefixes: Option<usize>,
    v6_prefixes: Option<usize>,
}

pub(super) fn explain(
    config: &Config,
    name: &Name,
    publications: &Publications,
) -> anyhow::Result<Answer> {
    let counted = config.clouds().iter().all(|cloud| publications.contains_key(cloud));
    let rules = if counted {
        pipeline::rules(config, publications, &HostAddresses::new())?
    } else {
        RuleSet::default()
    };
    let intent = Intent::of(config);
    let table = intent.tables.into_iter().find(|table| table.profile == *name);
    let (cloud, rows, advice) = match table {
        Some(table) => (table.cloud, table.rows, table.advice),
        None => (config.default_cloud(), Vec::new(), Vec::new()),
    };
    let count = |row: Row| {
        let group = row.group.as_ref().and_then(|group| rules.group(group));
        CountedRow {
            tags: group.map(|group| texts(&group.tags)).unwrap_or_default(),
            v4_prefixes: group.map(|group| group.prefixes.v4().len()),
            v6_prefixes: group.map(|group| group.prefixes.v6().len()),
            row,
        }
    };
    let rows = rows.into_iter().map(count).collect();
    Ok(Answer { profile: name.clone(), cloud, counted, rows, advice })
}

fn texts(tags: &[crate::snapshot::TagName]) -> Vec<String> {
    tags.iter().map(ToString::to_string).collect()
}

impl Answer {
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{HEADLINE}apim.{}{HEADLINE:#} (cloud {}): what it depends on, and where each flow is decided\n\n",
            self.profile, self.cloud
        );
        let headline = line(["  DEPENDENCY", "DIR", "TAG OR HOST", "PORTS", "V4/V6", "DECIDED"]);
        text.push_str(&format!("{HEADLINE}{headline}{HEADLINE:#}\n"));
        for row in &self.rows {
            text.push_str(&row.text());
        }
        text.push_str(
            "\n* needed always; V4/V6: aggregated prefixes of the tag. DIR is seen from the subnet.\n",
        );
        if !self.counted {
            text.push_str("Prefixes are not counted: give the publication with --feed FILE.\n");
        }
        text.push_str(&format!("\n{HEADLINE}What else to see to{HEADLINE:#}\n"));
        for advice in &self.advice {
            text.push_str(&format!("- {}\n", wrapped(advice, WIDTH - 2, "  ")));
        }
        text
    }
}

/// Widths of the columns but the last.
const COLUMNS: [usize; 5] = [28, 6, 22, 14, 8];

fn line(cells: [&str; 6]) -> String {
    let [dependency, direction, peer, ports, counts, decided] = cells;
    let [first, second, third, fourth, fifth] = COLUMNS;
    format!(
        "{dependency:<first$} {direction:<second$} {peer:<third$} {ports:<fourth$} {counts:>fifth$}  {decided}"
    )
}

impl CountedRow {
    fn text(&self) -> String {
        let row = &self.row;
        let mark = if row.required { "* " } else { "  " };
        let counts = match (self.v4_prefixes, self.v6_prefixes) {
            (Some(v4), Some(v6)) => format!("{}/{}", grouped(v4), grouped(v6)),
            _ => "-".to_owned(),
        };
        let mut below = Vec::new();
        // A cell that does not fit stands below, where a whole line is free for it.
        let cell = |text: &str, width: usize, what: &str, below: &mut Vec<String>| {
            if text.chars().count() <= width {
                return text.to_owned();
            }
            below.push(text.to_owned());
            what.to_owned()
        };
        let [first, _, third, fourth, _] = COLUMNS;
        let hosts = row.peer.split(' ').count();
        let name = wrapped(&row.dependency, first - mark.len(), "");
        let (name, rest) = name.split_once('\n').unwrap_or((&name, ""));
        let several = format!("{hosts} names, below");
        let stands_below = if hosts > 1 { several.as_str() } else { "(below)" };
        let peer = cell(&row.peer, third, stands_below, &mut below);
        let ports = cell(&compact(&row.services), fourth, "(below)", &mut below);
        let shown = line([&format!("{mark}{name}"), row.direction, &peer, &ports, &counts, ""]);
        let decided = row.decided.describe();
        let mut text = match row.decided {
            Decided::Open => format!("{shown}{WARNING}{decided}{WARNING:#}\n"),
            _ => format!("{shown}{decided}\n"),
        };
        for rest in rest.lines() {
            text.push_str(&format!("  {rest}\n"));
        }
        below.push(format!("→ {}", row.outcome));
        for line in below {
            text.push_str(&format!("    {}\n", wrapped(&line, WIDTH - 4, "      ")));
        }
        text
    }
}

/// `tcp/80,443` for `tcp/80, tcp/443`.
fn compact(services: &str) -> String {
    let mut text = String::with_capacity(services.len());
    let mut protocol = "";
    for service in services.split(", ") {
        let (this, ports) = service.split_once('/').unwrap_or(("", service));
        if !text.is_empty() {
            text.push_str(if this == protocol { "," } else { ", " });
        }
        text.push_str(if this == protocol { ports } else { service });
        protocol = this;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_one_protocol_are_written_together() {
        assert_eq!(compact("tcp/80, tcp/443"), "tcp/80,443");
        assert_eq!(compact("tcp/53, udp/53"), "tcp/53, udp/53");
        assert_eq!(compact("tcp/443"), "tcp/443");
    }
}
