//! `tagwall render` without --out and --dry-run: publishes a generation; and `tagwall rollback`, `pause` and
//! `resume`.

use clap::Args;
use serde::Serialize;

use super::args::RenderArgs;
use super::printer::Printer;
use super::render::publications;
use super::{Cli, Exit, UsageError, capacity, control};
use crate::config::Config;
use crate::control::{Answer, Client, Document, Operation, PUBLISHED, PUBLISHED_PARTLY, Request};
use crate::feed;
use crate::operate::{self, Kind, Offering, Operator, Wish};
use crate::os::clock::now;
use crate::publish::Retention;
use crate::render::Templates;
use crate::report::HoldStatus;

/// Options of `pause`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tagwall pause 'change freeze of ticket 4711'
  tagwall resume")]
pub struct PauseArgs {
    /// Why, for everybody who reads the status
    pub reason: String,
}

/// Options of `rollback`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tagwall rollback              the last generation whose rules differ from those in force
  tagwall rollback 41           a certain one; `tagwall history` lists them
  tagwall resume                follow the publications again")]
pub struct RollbackArgs {
    /// The generation to bring back. Default: the last whose rules differ
    pub generation: Option<u64>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// What became of a publication, as JSON.
#[derive(Serialize)]
struct Report<'r> {
    format: &'static str,
    /// `published`, `published-partly`, `unchanged` or `rolled-back`.
    result: &'r str,
    generation: Option<u64>,
    pinned: bool,
    /// What is held and waits for somebody to decide.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    holds: &'r [HoldStatus],
}

/// Publishes in the state folder: files and, where configured, this host's kernel. A running agent does it in our place.
pub(super) fn publish(
    cli: &Cli,
    args: &RenderArgs,
    config: &Config,
    printer: &Printer,
) -> anyhow::Result<Exit> {
    if !args.target.is_empty() {
        let message =
            "--target goes with --out, --dry-run or --stdout: a generation holds all targets";
        return Err(UsageError(message.to_owned()).into());
    }
    let operation = match Client::find(&cli.state_dir) {
        Some(agent) => render_by(&agent, args, config)?,
        None => render_here(cli, args, config, printer)?,
    };
    let changed = [PUBLISHED, PUBLISHED_PARTLY].contains(&operation.result.as_str());
    report(&operation, args.json, printer)?;
    for one in capacity::scarce(cli, config) {
        let summary = one.summary(now());
        printer.warning(&format!("CAPACITY of target {}, {summary}", one.target));
    }
    Ok(match () {
        // Not all that was published is in force: whoever waits for it must know, whatever else changed.
        () if !operation.holds.is_empty() => Exit::Held,
        () if args.exit_code && changed => Exit::Differs,
        () => Exit::Ok,
    })
}

/// Gives the documents to the agent.
fn render_by(agent: &Client, args: &RenderArgs, config: &Config) -> anyhow::Result<Operation> {
    let mut documents = Vec::new();
    for path in &args.feed {
        let bytes = feed::bytes_of(path, &config.policy())?;
        documents.push((path.display().to_string(), bytes));
    }
    let request = Request::Render {
        configuration: config.digest().to_string(),
        documents: documents.iter().map(|(name, bytes)| Document::of(name, bytes)).collect(),
        rebaseline: args.rebaseline.clone(),
        take_over: args.take_over,
        allow_unreached: args.allow_unreached,
    };
    let bytes: Vec<&[u8]> = documents.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    match control::ask(agent, &request, &bytes)? {
        Answer::Done(operation) => Ok(operation),
        other => Err(control::unexpected(&other)),
    }
}

/// Works on the state folder itself.
fn render_here(
    cli: &Cli,
    args: &RenderArgs,
    config: &Config,
    printer: &Printer,
) -> anyhow::Result<Operation> {
    let publications = publications(config, &args.feed, printer)?;
    let templates = Templates::load(config)?;
    let now = now();
    let mut operator = open(cli, "tagwall render", printer)?;
    let offered = operator.offer(&Offering {
        config,
        templates: &templates,
        offers: &operate::offers(publications.into_values(), now),
        rebaseline: args.rebaseline.as_deref(),
        take_over: args.take_over,
        allow_unreached: args.allow_unreached,
        wish: Wish::OfPerson { by: control::me() },
        reason: "render",
        now,
    })?;
    close(operator, printer);
    Ok(Operation::of(&offered))
}

/// Brings an earlier generation back and pins it.
pub(super) fn rollback(cli: &Cli, args: &RollbackArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let operation = if let Some(agent) = Client::find(&cli.state_dir) {
        match control::ask(&agent, &Request::Rollback { generation: args.generation }, &[])? {
            Answer::Done(operation) => operation,
            other => return Err(control::unexpected(&other)),
        }
    } else {
        // A rollback must do without the configuration; then nothing is removed.
        let retention = Config::load(&cli.config)
            .map_or(Retention::ALL, |config| Retention::from(&config.publish));
        let mut operator = open(cli, "tagwall rollback", printer)?;
        let generation = operator.rollback(args.generation, &control::me(), now(), retention)?;
        close(operator, printer);
        Operation::rolled_back(generation)
    };
    report(&operation, args.json, printer)?;
    Ok(Exit::Ok)
}

/// Stops everything until `resume`.
pub(super) fn pause(cli: &Cli, args: &PauseArgs, printer: &Printer) -> anyhow::Result<Exit> {
    if let Some(agent) = Client::find(&cli.state_dir) {
        return control::say(&agent, &Request::Pause { reason: args.reason.clone() }, printer);
    }
    match Operator::open(&cli.state_dir, "tagwall pause") {
        Ok(mut operator) => {
            announce(&operator, printer);
            operator.pause(&args.reason, &control::me(), now())?;
            close(operator, printer);
        }
        // Whoever holds the lock may publish yet.
        Err(error) if Kind::of(&error) == Kind::Locked => return Err(error.into()),
        Err(error) => {
            Operator::pause_unopened(&cli.state_dir, &args.reason, &control::me(), now())?;
            printer.warning(&format!(
                "the state folder cannot be opened, so nothing is published from it anyhow, and the pause is kept for when it can \
                 be: {error}"
            ));
        }
    }
    printer.out(operate::PAUSED)?;
    Ok(Exit::Ok)
}

/// Ends a pause, and the pin of a rollback.
pub(super) fn resume(cli: &Cli, printer: &Printer) -> anyhow::Result<Exit> {
    if let Some(agent) = Client::find(&cli.state_dir) {
        return control::say(&agent, &Request::Resume, printer);
    }
    let mut operator = open(cli, "tagwall resume", printer)?;
    let resumed = operator.resume(&control::me(), now())?;
    close(operator, printer);
    printer.out(&resumed.text())?;
    Ok(Exit::Ok)
}

/// Says what an operation did, as JSON or in words.
fn report(operation: &Operation, json: bool, printer: &Printer) -> anyhow::Result<()> {
    for warning in &operation.warnings {
        printer.warning(warning);
    }
    for hold in &operation.holds {
        printer.warning(&format!("held, see `tagwall review {}`: {}", hold.id, hold.summary()));
    }
    if json {
        let report = Report {
            format: "tagwall-publish/1",
            result: &operation.result,
            generation: operation.generation,
            pinned: operation.pinned,
            holds: &operation.holds,
        };
        printer.json(&report)?;
        return Ok(());
    }
    let text = match (operation.generation, operation.pinned) {
        (None, _) => "nothing is in force\n".to_owned(),
        (Some(number), true) => {
            format!("generation {number} is in force and pinned until `tagwall resume`\n")
        }
        (Some(number), false) if operation.result == PUBLISHED => {
            format!("generation {number} is in force\n")
        }
        (Some(number), false) if operation.result == PUBLISHED_PARTLY => {
            format!("generation {number} is in force, but for isolated targets that failed\n")
        }
        (Some(number), false) => {
            format!("generation {number} is in force already: nothing was changed\n")
        }
    };
    printer.out(&text)?;
    Ok(())
}

/// Opens the state folder, and says what was mended.
pub(super) fn open(cli: &Cli, purpose: &str, printer: &Printer) -> anyhow::Result<Operator> {
    let operator = Operator::open(&cli.state_dir, purpose)?;
    announce(&operator, printer);
    Ok(operator)
}

fn announce(operator: &Operator, printer: &Printer) {
    if let Some(mended) = operator.mended() {
        printer.warning(&format!("an earlier run was interrupted: {mended}"));
    }
}

/// Says what should be known of what was done all the same, and gives the state folder back.
pub(super) fn close(mut operator: Operator, printer: &Printer) {
    for warning in operator.take_warnings() {
        printer.warning(&warning);
    }
    operator.close();
}
