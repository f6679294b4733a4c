//! `tagwall render` without --out and --dry-run: publishes a generation; and `tagwall rollback`, `pause` and
//! `resume`.

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::args::RenderArgs;
use super::printer::Printer;
use super::{Cli, Exit, UsageError};
use crate::config::Config;
use crate::operate::{self, Offering, Operator};
use crate::os::accounts;
use crate::publish::Published;
use crate::render::Templates;
use crate::selection::Publications;

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
struct Report {
    format: &'static str,
    /// `published`, `unchanged` or `rolled-back`.
    result: &'static str,
    generation: Option<u64>,
    pinned: bool,
}

/// Publishes in the state folder: files and, where configured, this host's kernel.
pub(super) fn publish(
    cli: &Cli,
    args: &RenderArgs,
    config: &Config,
    publications: Publications,
    templates: &Templates,
    printer: &Printer,
) -> anyhow::Result<Exit> {
    if !args.target.is_empty() {
        let message =
            "--target goes with --out, --dry-run or --stdout: a generation holds all targets";
        return Err(UsageError(message.to_owned()).into());
    }
    let now = now();
    let mut operator = open(cli, "tagwall render", printer)?;
    let offers = operate::offers(publications.into_values(), now);
    let offered = operator.offer(&Offering {
        config,
        templates,
        offers: &offers,
        rebaseline: args.rebaseline.as_deref(),
        reason: "render",
        now,
    })?;
    operator.close();
    for (target, warning) in &offered.warnings {
        printer.warning(&format!("target {target}: {warning}"));
    }
    for restored in &offered.restored {
        printer.warning(&restored.to_string());
    }
    let (result, generation) = match offered.published {
        Published::Unchanged(number) => ("unchanged", number),
        Published::Generation(number) => ("published", Some(number)),
        Published::Partly(number) => ("published-partly", Some(number)),
    };
    let report = Report { format: "tagwall-publish/1", result, generation, pinned: false };
    if args.json {
        printer.out(&(serde_json::to_string_pretty(&report)? + "\n"))?;
    } else {
        let text = match (offered.published, generation) {
            (Published::Generation(number), _) => format!("generation {number} is in force\n"),
            (Published::Partly(number), _) => {
                format!("generation {number} is in force, but for isolated targets that failed\n")
            }
            (_, Some(number)) => {
                format!("generation {number} is in force already: nothing was changed\n")
            }
            (_, None) => "nothing is in force\n".to_owned(),
        };
        printer.out(&text)?;
    }
    let changed = !matches!(offered.published, Published::Unchanged(_));
    Ok(if args.exit_code && changed { Exit::Differs } else { Exit::Ok })
}

/// Brings an earlier generation back and pins it.
pub(super) fn rollback(cli: &Cli, args: &RollbackArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let mut operator = open(cli, "tagwall rollback", printer)?;
    let generation = operator.rollback(args.generation, now())?;
    operator.close();
    if args.json {
        let report = Report {
            format: "tagwall-publish/1",
            result: "rolled-back",
            generation: Some(generation),
            pinned: true,
        };
        printer.out(&(serde_json::to_string_pretty(&report)? + "\n"))?;
    } else {
        printer.out(&format!(
            "generation {generation} is in force and pinned until `tagwall resume`\n"
        ))?;
    }
    Ok(Exit::Ok)
}

/// Stops everything until `resume`.
pub(super) fn pause(cli: &Cli, args: &PauseArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let mut operator = open(cli, "tagwall pause", printer)?;
    operator.pause(&args.reason, &myself(), now())?;
    operator.close();
    printer.out("paused: nothing is published until `tagwall resume`\n")?;
    Ok(Exit::Ok)
}

/// Ends a pause, and the pin of a rollback.
pub(super) fn resume(cli: &Cli, printer: &Printer) -> anyhow::Result<Exit> {
    let mut operator = open(cli, "tagwall resume", printer)?;
    let resumed = operator.resume()?;
    operator.close();
    let mut text = String::new();
    if let Some(pause) = &resumed.pause {
        text.push_str(&format!("the pause of {} ({}) is over\n", pause.since, pause.reason));
    }
    if let Some(pin) = &resumed.pin {
        text.push_str(&format!("generation {} is pinned no longer\n", pin.generation));
    }
    if text.is_empty() {
        text.push_str("nothing is paused or pinned\n");
    }
    printer.out(&text)?;
    Ok(Exit::Ok)
}

/// The time to the second: finer says nothing to a reader.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Who asks, for the records.
fn myself() -> String {
    accounts::describe(rustix::process::getuid().as_raw())
}

/// Opens the state folder, and says what was mended.
fn open(cli: &Cli, purpose: &str, printer: &Printer) -> anyhow::Result<Operator> {
    let operator = Operator::open(&cli.state_dir, purpose)?;
    if let Some(mended) = operator.mended() {
        printer.warning(&format!("an earlier run was interrupted: {mended}"));
    }
    Ok(operator)
}
