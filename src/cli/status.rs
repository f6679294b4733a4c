//! `tagwall status` and `tagwall history`: what is in force, and what was.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use super::printer::{ADDED, HEADLINE, Printer, REMOVED, WARNING, grouped};
use super::{Cli, Exit};
use crate::config::Name;
use crate::publish::{Generation, OutcomeResult, PublicationRecord, Store, drift};
use crate::state::{Memory, Pin};

/// Options of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Read the kernel and compare it with what is in force; exit with 1 when it differs
    #[arg(long)]
    pub verify: bool,
    /// Print the status as JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Only the newest N generations
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Print the history as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Status {
    format: &'static str,
    state_dir: String,
    generation: Option<u64>,
    created: Option<String>,
    reason: Option<String>,
    rule_set: Option<String>,
    publications: Vec<PublicationRecord>,
    pin: Option<Pin>,
    interrupted: bool,
    targets: Vec<TargetStatus>,
}

#[derive(Serialize)]
struct TargetStatus {
    name: Name,
    dialect: String,
    /// Whether this host's kernel uses it.
    applied: bool,
    files: usize,
    installed: Vec<String>,
    /// How the kernel differs; absent when it was not asked or does not differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    drift: Option<String>,
}

pub(super) fn status(cli: &Cli, args: &StatusArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let store = Store::new(&cli.state_dir);
    let memory = Memory::load(&cli.state_dir)?;
    let number = store.current()?;
    let generation = number.map(|number| store.read(number)).transpose()?;
    let found = if args.verify { drift(&store)? } else { BTreeMap::new() };
    let mut targets = Vec::new();
    if let Some(generation) = &generation {
        for (name, record) in &generation.manifest.targets {
            targets.push(TargetStatus {
                name: name.clone(),
                dialect: record.dialect.clone(),
                applied: record.kernel.is_some(),
                files: record.files.len(),
                installed: record.install.values().map(|path| path.display().to_string()).collect(),
                drift: found.get(name).and_then(Option::as_ref).map(ToString::to_string),
            });
        }
    }
    let manifest = generation.as_ref().map(|generation| &generation.manifest);
    let differs = targets.iter().any(|target| target.drift.is_some());
    let status = Status {
        format: "tagwall-status/1",
        state_dir: cli.state_dir.display().to_string(),
        generation: number,
        created: manifest.map(|manifest| manifest.created.to_string()),
        reason: manifest.map(|manifest| manifest.reason.clone()),
        rule_set: manifest.map(|manifest| manifest.rule_set.to_string()),
        publications: manifest.map(|manifest| manifest.publications.clone()).unwrap_or_default(),
        pin: memory.pin,
        interrupted: generation.as_ref().is_some_and(|generation| generation.outcome.is_none()),
        targets,
    };
    if args.json {
        printer.out(&(serde_json::to_string_pretty(&status)? + "\n"))?;
    } else {
        printer.out(&status.text(args.verify))?;
    }
    Ok(if differs { Exit::Differs } else { Exit::Ok })
}

impl Status {
    fn text(&self, verified: bool) -> String {
        let (Some(number), Some(created)) = (self.generation, &self.created) else {
            return format!("nothing is in force: {} holds no generation\n", self.state_dir);
        };
        let mut text = format!(
            "{HEADLINE}generation {number}{HEADLINE:#} of {created} ({})\n",
            self.reason.as_deref().unwrap_or_default()
        );
        if let Some(pin) = &self.pin {
            text.push_str(&format!(
                "{WARNING}pinned{WARNING:#} since {}: publications are not followed until `tagwall resume`\n",
                pin.since
            ));
        }
        if self.interrupted {
            text.push_str(&format!(
                "{WARNING}interrupted{WARNING:#}: its publication was not recorded; the next run mends it\n"
            ));
        }
        for publication in &self.publications {
            text.push_str(&format!(
                "publication {} ({}, change number {}, digest {})\n",
                publication.cloud,
                publication.date.as_deref().unwrap_or("no date"),
                publication.change_number,
                publication.digest.short()
            ));
        }
        for target in &self.targets {
            let state = match (&target.drift, target.applied, verified) {
                (Some(drift), ..) => format!("{REMOVED}DIFFERS{REMOVED:#}: {drift}"),
                (None, true, true) => format!("{ADDED}in the kernel{ADDED:#}, verified"),
                (None, true, false) => "in the kernel".to_owned(),
                (None, false, _) => "files only".to_owned(),
            };
            text.push_str(&format!(
                "target {} ({}, {} files): {state}\n",
                target.name, target.dialect, target.files
            ));
            for path in &target.installed {
                text.push_str(&format!("  installed as {path}\n"));
            }
        }
        text
    }
}

#[derive(Serialize)]
struct History {
    format: &'static str,
    current: Option<u64>,
    generations: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    generation: u64,
    created: String,
    reason: String,
    /// `recorded`, `failed` or `interrupted`.
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    rule_set: String,
    publications: Vec<PublicationRecord>,
    summary: crate::publish::ChangeSummary,
}

pub(super) fn history(cli: &Cli, args: &HistoryArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let store = Store::new(&cli.state_dir);
    let mut generations = Vec::new();
    for number in store.numbers()?.into_iter().rev().take(args.limit) {
        generations.push(entry(store.read(number)?));
    }
    let history = History { format: "tagwall-history/1", current: store.current()?, generations };
    if args.json {
        printer.out(&(serde_json::to_string_pretty(&history)? + "\n"))?;
    } else {
        printer.out(&history.text())?;
    }
    Ok(Exit::Ok)
}

fn entry(generation: Generation) -> Entry {
    let Generation { manifest, outcome } = generation;
    let result = match outcome.as_ref().map(|outcome| outcome.result) {
        Some(OutcomeResult::Recorded) => "recorded",
        Some(OutcomeResult::Failed) => "failed",
        None => "interrupted",
    };
    Entry {
        generation: manifest.generation,
        created: manifest.created.to_string(),
        reason: manifest.reason,
        result,
        message: outcome.and_then(|outcome| outcome.message),
        rule_set: manifest.rule_set.to_string(),
        publications: manifest.publications,
        summary: manifest.summary,
    }
}

impl History {
    fn text(&self) -> String {
        if self.generations.is_empty() {
            return "there is no generation yet\n".to_owned();
        }
        let mut text = String::new();
        for entry in &self.generations {
            let mark = if Some(entry.generation) == self.current { "*" } else { " " };
            text.push_str(&format!(
                "{mark} {HEADLINE}{}{HEADLINE:#}  {}  {}, {}\n",
                entry.generation, entry.created, entry.reason, entry.result
            ));
            if let Some(message) = &entry.message {
                text.push_str(&format!("      {REMOVED}{message}{REMOVED:#}\n"));
            }
            for (name, group) in &entry.summary.groups {
                text.push_str(&format!(
                    "      {name}: {ADDED}+{}{ADDED:#} {REMOVED}−{}{REMOVED:#} prefixes, \
                     {ADDED}+{}{ADDED:#} {REMOVED}−{}{REMOVED:#} IPv4 addresses\n",
                    grouped(group.prefixes_added),
                    grouped(group.prefixes_removed),
                    grouped(group.v4_addresses_added),
                    grouped(group.v4_addresses_removed)
                ));
            }
            for (what, names) in [
                ("new rules", &entry.summary.rules_added),
                ("rules gone", &entry.summary.rules_removed),
                ("rules changed", &entry.summary.rules_changed),
            ] {
                if !names.is_empty() {
                    let names: Vec<_> = names.iter().map(Name::as_str).collect();
                    text.push_str(&format!("      {what}: {}\n", names.join(", ")));
                }
            }
        }
        text
    }
}
