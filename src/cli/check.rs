//! `tagwall check`: is the configuration sound, and is anything in it probably not meant?

use std::collections::BTreeSet;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::printer::{Printer, WARNING, counted, wrapped};
use super::{Cli, Exit, capacity, exit_of};
use crate::config::{Config, Dialect, Endpoint, Name, Problem};
use crate::feed::DISCOVERY_ONLY;
use crate::intent::Intent;
use crate::intent::apim::Decided;
use crate::operate::config_error;
use crate::render;

/// Options of `check`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct CheckArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Examples:
  tagwall check --config packaging/examples/quickstart.toml
  tagwall check --json | jq -r '.warnings[].message'

Needs no publication. Every template is rendered with a complete sample, so an unknown variable is found
now. Where there is a state folder, firewalls that will be full soon are named. Warnings name what is
allowed but perhaps not meant; they do not change the exit code.
Exit codes: 0 sound, 2 command line, 3 something is wrong, 6 system.";

#[derive(Serialize)]
struct Report {
    format: &'static str,
    config: String,
    sound: bool,
    profiles: usize,
    groups: usize,
    rules: usize,
    targets: usize,
    warnings: Vec<Warning>,
    errors: Vec<Problem>,
}

#[derive(Serialize)]
struct Warning {
    kind: Kind,
    /// The table that it is about: `groups.devops`.
    object: String,
    message: String,
}

#[derive(Serialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    UnusedGroup,
    DisabledRule,
    NotCovered,
    AlikeTargets,
    NoTargets,
    OnlyDiscovery,
    Fitted,
    Capacity,
}

/// Loads the configuration, cross-checks it, and renders every target's templates with a complete sample.
pub(super) fn run(cli: &Cli, args: &CheckArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let path = cli.config.display().to_string();
    let checked = Config::load(&cli.config)
        .map_err(anyhow::Error::from)
        .and_then(|config| render::check(&config).map(|()| config).map_err(anyhow::Error::from));
    let config = match checked {
        Ok(config) => config,
        Err(error) if args.json => {
            let report = Report { config: path, ..Report::of_error(&error) };
            printer.json(&report)?;
            return Ok(exit_of(&error));
        }
        Err(error) => return Err(error),
    };
    let mut report = Report { config: path, ..Report::of(&config) };
    report.warnings.extend(capacity::scarce(cli, &config).into_iter().map(|one| Warning {
        kind: Kind::Capacity,
        object: format!("targets.{}", one.target),
        message: one.summary(Timestamp::now()),
    }));
    if args.json {
        printer.json(&report)?;
        return Ok(Exit::Ok);
    }
    for warning in &report.warnings {
        let text = wrapped(&format!("warning: {}: {}", warning.object, warning.message), 100, "  ");
        let text = text.strip_prefix("warning").unwrap_or_default();
        printer.note(&format!("{WARNING}warning{WARNING:#}{text}"));
    }
    let parts = [
        counted(report.profiles, "profile", "profiles"),
        counted(report.groups, "group", "groups"),
        counted(report.rules, "rule", "rules"),
        counted(report.targets, "target", "targets"),
    ];
    let warnings = match report.warnings.len() {
        0 => String::new(),
        count => format!("; {}", counted(count, "warning", "warnings")),
    };
    printer.out(&format!("{}: sound ({}){warnings}\n", report.config, parts.join(", ")))?;
    Ok(Exit::Ok)
}

impl Report {
    fn of(config: &Config) -> Self {
        Self {
            format: "tagwall-check/1",
            config: String::new(),
            sound: true,
            profiles: config.apim.len(),
            groups: config.groups.len(),
            rules: config.rules.len(),
            targets: config.targets.len(),
            warnings: warnings(config),
            errors: Vec::new(),
        }
    }

    fn of_error(error: &anyhow::Error) -> Self {
        let errors = if let Some(error) = error.chain().find_map(config_error) {
            error.problems()
        } else {
            let message = error.to_string();
            vec![Problem { line: None, column: None, message, label: None, help: None }]
        };
        Self {
            format: "tagwall-check/1",
            config: String::new(),
            sound: false,
            profiles: 0,
            groups: 0,
            rules: 0,
            targets: 0,
            warnings: Vec::new(),
            errors,
        }
    }
}

/// What is allowed but perhaps not meant.
fn warnings(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    unused_groups(config, &mut warnings);
    for (name, _) in config.rules.iter().filter(|(_, rule)| !rule.enabled) {
        warnings.push(Warning {
            kind: Kind::DisabledRule,
            object: format!("rules.{name}"),
            message: "is disabled (enabled = false): it lets nothing through".to_owned(),
        });
    }
    for table in &Intent::of(config).tables {
        for row in table.rows.iter().filter(|row| row.decided == Decided::Open) {
            warnings.push(Warning {
                kind: Kind::NotCovered,
                object: format!("apim.{}", table.profile),
                message: format!(
                    "NOT COVERED: {} ({} {}): {}",
                    row.dependency, row.direction, row.services, row.outcome
                ),
            });
        }
    }
    alike_targets(config, &mut warnings);
    for feed in config.discovery_only().into_values().flatten() {
        warnings.push(Warning {
            kind: Kind::OnlyDiscovery,
            object: format!("feeds.{feed}"),
            message: DISCOVERY_ONLY.to_owned(),
        });
    }
    for (name, group) in &config.groups {
        if let Some(fit) = &group.fit {
            warnings.push(Warning {
                kind: Kind::Fitted,
                object: format!("groups.{name}"),
                message: format!(
                    "is fitted into {} prefixes: it lets through addresses that nobody published as soon as it has more",
                    fit.get_ref()
                ),
            });
        }
    }
    if config.targets.is_empty() {
        warnings.push(Warning {
            kind: Kind::NoTargets,
            object: "targets".to_owned(),
            message: "there is none: nothing would be rendered".to_owned(),
        });
    }
    warnings
}

/// Groups without a rule do nothing on a host's own firewall; lists, JSON and devices carry groups for their own sake.
fn unused_groups(config: &Config, warnings: &mut Vec<Warning>) {
    let used: BTreeSet<&Name> = config
        .rules
        .values()
        .flat_map(|rule| [rule.source.get_ref(), rule.destination.get_ref()])
        .filter_map(|end| match end {
            Endpoint::Group(group) => Some(group),
            Endpoint::Prefixes(_) => None,
        })
        .collect();
    let carried = |group: &Name| {
        config.targets.values().map(toml::Spanned::get_ref).any(|target| {
            let of_use = target.dialects().iter().any(|dialect| {
                !matches!(dialect, Dialect::Nftables(_) | Dialect::Iptables(_) | Dialect::Azure(_))
            });
            let named = match (&target.groups, &target.rules) {
                (Some(groups), _) => groups.iter().any(|name| name.get_ref() == group),
                (None, Some(_)) => false,
                (None, None) => true,
            };
            of_use && named
        })
    };
    for name in config.groups.keys().filter(|name| !used.contains(name) && !carried(name)) {
        warnings.push(Warning {
            kind: Kind::UnusedGroup,
            object: format!("groups.{name}"),
            message: "no rule uses it, and no target carries it as a list".to_owned(),
        });
    }
}

/// Targets whose tables hold the same.
fn alike_targets(config: &Config, warnings: &mut Vec<Warning>) {
    let Ok(document) = config.text().parse::<toml::Table>() else { return };
    let Some(targets) = document.get("targets").and_then(toml::Value::as_table) else { return };
    for (index, (name, target)) in targets.iter().enumerate() {
        if let Some((first, _)) = targets.iter().take(index).find(|(_, other)| *other == target) {
            warnings.push(Warning {
                kind: Kind::AlikeTargets,
                object: format!("targets.{name}"),
                message: format!(
                    "has the same settings as targets.{first}: both get the same files"
                ),
            });
        }
    }
}
