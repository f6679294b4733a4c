//! `tagwall replay`: what the guard would have made of past publications.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anstyle::Style;
use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use jiff::civil::Date;

use super::plot::Plot;
use super::printer::{ADDED, Printer, REMOVED, WARNING, grouped};
use super::{Cli, Exit, UsageError};
use crate::config::{Config, Name};
use crate::feed;
use crate::operate::{Outcome, Replay, Replayed};
use crate::os::files;
use crate::os::printable::{printable, printable_path};
use crate::render::{Load, RenderError, Templates};
use crate::report::{CapacityStatus, Use};
use crate::snapshot::date_in_name;

/// Options of `replay`.
#[derive(Debug, Args)]
#[command(after_help = "\
The folder holds publications as Microsoft names them (ServiceTags_Public_20250908.json), also in folders below it. They
are judged in order of their dates, which are the clock; nothing is written but the plot.

Examples:
  tagwall replay ./publications
  tagwall replay ./publications --json | jq 'select(.held != [])'
  tagwall replay ./publications --svg growth.svg")]
pub struct ReplayArgs {
    /// The folder of past publications
    pub dir: PathBuf,
    /// Print one JSON object a line for each publication
    #[arg(long)]
    pub json: bool,
    /// Write a plot of the sizes of the groups
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

pub(super) fn run(cli: &Cli, args: &ReplayArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let config = Config::load(&cli.config)?;
    let policy = config.policy();
    let files = publications(&args.dir)?;
    if files.is_empty() {
        let message = format!("{} holds no *.json file", printable_path(&args.dir));
        return Err(UsageError(message).into());
    }
    let mut replay = Replay::new(&config);
    let mut steps: Vec<Replayed> = Vec::with_capacity(files.len());
    let mut capacity = (!args.json).then(|| Capacity::new(&config, &files)).transpose()?;
    for path in files {
        let name = path.strip_prefix(&args.dir).unwrap_or(&path).display().to_string();
        let step = match feed::from_file(&path, &policy) {
            Ok(publication) => replay.step(&name, publication),
            Err(error) => replay.refused(&name, error.to_string()),
        };
        if args.json {
            printer.out(&(serde_json::to_string(&step)? + "\n"))?;
        } else {
            printer.out(&line(&step))?;
        }
        if let Some(capacity) = &mut capacity {
            capacity.take(&replay, &step);
        }
        steps.push(step);
    }
    let plot = Plot::of(&steps);
    if !args.json {
        printer.out(&summary(&steps))?;
        if let Some(plot) = &plot {
            printer.out(&plot.text())?;
        }
    }
    if let Some(capacity) = capacity {
        printer.out(&capacity.text())?;
    }
    if let (Some(path), Some(plot)) = (&args.svg, &plot) {
        files::replace(path, plot.svg().as_bytes())?;
    }
    Ok(Exit::Ok)
}

/// What became of one publication, and what of it is held and why.
fn line(step: &Replayed) -> String {
    let style = match step.outcome {
        Outcome::Applied => ADDED,
        Outcome::PartlyHeld => WARNING,
        Outcome::Refused => REMOVED,
        Outcome::Unchanged => Style::new(),
    };
    let or_nothing = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut text = format!(
        "{:<10}  {:<10}  {:>5}  {:<8}  {style}{:<11}{style:#}  {}\n",
        or_nothing(step.date.map(|date| date.to_string())),
        or_nothing(step.cloud.map(|cloud| cloud.to_string())),
        or_nothing(step.change_number.map(|number| number.to_string())),
        or_nothing(step.digest.map(|digest| digest.short())),
        step.outcome.name(),
        printable(&step.file, 120)
    );
    if step.held.is_empty()
        && let Some(reason) = &step.reason
    {
        text.push_str(&format!("            {reason}\n"));
    }
    for held in &step.held {
        text.push_str(&format!(
            "            {WARNING}held{WARNING:#} {} of {}: {} addresses, {:.0} % of it: {}\n",
            held.kind.name(),
            held.group,
            grouped(held.addresses),
            held.share * 100.0,
            held.why
        ));
    }
    for released in &step.released {
        text.push_str(&format!("            {released}\n"));
    }
    text
}

/// How full the firewalls were over the last publications, for a forecast.
struct Capacity<'c> {
    config: &'c Config,
    templates: Templates,
    /// Older publications tell nothing: what is rendered of each of them would be for nothing.
    first: Option<Date>,
    /// The oldest first.
    known: Vec<(Timestamp, BTreeMap<Name, Vec<Load>>)>,
}

impl<'c> Capacity<'c> {
    fn new(config: &'c Config, files: &[PathBuf]) -> Result<Self, RenderError> {
        let last = files.iter().filter_map(|path| date_of(path)).max();
        let first = last.and_then(|last| last.checked_sub(CapacityStatus::LOOKS_BACK).ok());
        Ok(Self { config, templates: Templates::load(config)?, first, known: Vec::new() })
    }

    fn take(&mut self, replay: &Replay<'_>, step: &Replayed) {
        let is_change = step.outcome != Outcome::Unchanged && step.outcome != Outcome::Refused;
        if is_change && step.date >= self.first {
            let loads = step.at.zip(replay.loads(&self.templates));
            self.known.extend(loads);
        }
    }

    /// What is the fullest of each target, and when it will be full, seen from the last change.
    fn text(&self) -> String {
        let Some((now, _)) = self.known.last() else { return String::new() };
        let uses: Vec<Use<'_>> = self
            .known
            .iter()
            .rev()
            .map(|(since, loads)| Use { since: *since, configuration: None, loads })
            .collect();
        let horizon = self.config.publish.capacity_horizon;
        let all = CapacityStatus::all(&uses, horizon, *now);
        CapacityStatus::lines(&all, true, *now)
    }
}

/// How many of them there are of each outcome.
fn summary(steps: &[Replayed]) -> String {
    let count = |outcome| steps.iter().filter(|step| step.outcome == outcome).count();
    let of_all = [Outcome::Applied, Outcome::PartlyHeld, Outcome::Unchanged, Outcome::Refused]
        .map(|outcome| format!("{} {}", count(outcome), outcome.name()));
    format!("{} publications: {}\n", steps.len(), of_all.join(", "))
}

/// Every document in the folder and those below it, in order of date, then of name.
fn publications(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    /// A folder for each cloud, and one for each year, is as deep as anybody sorts them.
    const DEPTH: usize = 3;
    let mut found = Vec::new();
    let mut folders = vec![(dir.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let cannot = || format!("cannot read the folder {}", printable_path(&folder));
        for entry in std::fs::read_dir(&folder).with_context(cannot)? {
            let (path, kind) = entry
                .and_then(|entry| Ok((entry.path(), entry.file_type()?)))
                .with_context(cannot)?;
            if kind.is_dir() && depth < DEPTH {
                folders.push((path, depth + 1));
            } else if path.extension().is_some_and(|extension| extension == "json")
                && path.is_file()
            {
                found.push(path);
            }
        }
    }
    found.sort_by_cached_key(|path| (date_of(path), path.clone()));
    Ok(found)
}

fn date_of(path: &Path) -> Option<Date> {
    date_in_name(path.file_name()?.to_str()?)
}
