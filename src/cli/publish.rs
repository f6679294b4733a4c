//! `tagwall render` without --out and --dry-run: publishes a generation; and `tagwall rollback` and `resume`.

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::args::RenderArgs;
use super::printer::Printer;
use super::{Cli, Exit, UsageError};
use crate::config::Config;
use crate::pipeline::Plan;
use crate::publish::{Companion, Published, Publisher, Request, Retention};
use crate::selection::Publications;
use crate::state::{Memory, Pin, StateError};

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

/// Publishes a plan in the state folder: files and, where configured, this host's kernel.
pub(super) fn publish(
    cli: &Cli,
    args: &RenderArgs,
    config: &Config,
    publications: &Publications,
    plan: Plan,
    printer: &Printer,
) -> anyhow::Result<Exit> {
    if !args.target.is_empty() {
        let message =
            "--target goes with --out, --dry-run or --stdout: a generation holds all targets";
        return Err(UsageError(message.to_owned()).into());
    }
    let now = now();
    let publisher = Publisher::open(&cli.state_dir, "tagwall render")?;
    report_mended(&publisher, printer);
    let mut memory = Memory::load(&cli.state_dir)?;
    if let Some(pin) = &memory.pin {
        let message = format!(
            "generation {} is pinned by a rollback since {}; `tagwall resume` first",
            pin.generation, pin.since
        );
        return Err(UsageError(message).into());
    }
    let mut reason = "render".to_owned();
    for publication in publications.values() {
        match (&args.rebaseline, memory.judge(publication)) {
            (_, Ok(())) => memory.take(publication, now),
            (Some(why), Err(_)) => {
                memory.rebaseline(publication, why, now);
                reason = format!("rebaseline: {why}");
            }
            (None, Err(older)) => return Err(older.into()),
        }
    }
    for artifact in &plan.artifacts {
        for warning in &artifact.warnings {
            printer.warning(&format!("target {}: {warning}", artifact.target));
        }
    }
    let mut request =
        Request::of(config, plan.rule_set, plan.artifacts, publications, reason, now)?;
    request.companions.push(companion(&memory)?);
    let outcome = publisher.publish(&request, Retention::from(&config.publish))?;
    if matches!(outcome, Published::Unchanged(_)) {
        // The rules are the same, but somebody may have flushed them.
        for (target, drift) in publisher.restore()? {
            printer.warning(&format!("target {target}: {drift}; loaded the rules again"));
        }
    }
    publisher.close();
    let (result, generation) = match outcome {
        Published::Unchanged(number) => ("unchanged", number),
        Published::Generation(number) => ("published", Some(number)),
    };
    let report = Report { format: "tagwall-publish/1", result, generation, pinned: false };
    if args.json {
        printer.out(&(serde_json::to_string_pretty(&report)? + "\n"))?;
    } else {
        let text = match (outcome, generation) {
            (Published::Generation(number), _) => format!("generation {number} is in force\n"),
            (_, Some(number)) => {
                format!("generation {number} is in force already: nothing was changed\n")
            }
            (_, None) => "nothing is in force\n".to_owned(),
        };
        printer.out(&text)?;
    }
    let changed = matches!(outcome, Published::Generation(_));
    Ok(if args.exit_code && changed { Exit::Differs } else { Exit::Ok })
}

/// Brings an earlier generation back and pins it.
pub(super) fn rollback(cli: &Cli, args: &RollbackArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let now = now();
    let publisher = Publisher::open(&cli.state_dir, "tagwall rollback")?;
    report_mended(&publisher, printer);
    let mut memory = Memory::load(&cli.state_dir)?;
    let pinned = |generation| {
        memory.pin = Some(Pin { generation, since: now });
        anyhow::Ok(vec![companion(&memory)?])
    };
    let generation = publisher.rollback(args.generation, now, Retention::default(), pinned)?;
    publisher.close();
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

/// Ends the pin of a rollback.
pub(super) fn resume(cli: &Cli, printer: &Printer) -> anyhow::Result<Exit> {
    let publisher = Publisher::open(&cli.state_dir, "tagwall resume")?;
    report_mended(&publisher, printer);
    let mut memory = Memory::load(&cli.state_dir)?;
    let text = match memory.pin.take() {
        Some(pin) => format!("generation {} is pinned no longer\n", pin.generation),
        None => "nothing is pinned\n".to_owned(),
    };
    publisher.keep(&[companion(&memory)?])?;
    publisher.close();
    printer.out(&text)?;
    Ok(Exit::Ok)
}

/// The memory as it is committed together with a generation.
fn companion(memory: &Memory) -> Result<Companion, StateError> {
    Ok(Companion { name: Memory::FILE, bytes: memory.write()? })
}

/// The time to the second: finer says nothing to a reader.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn report_mended(publisher: &Publisher, printer: &Printer) {
    if let Some(mended) = publisher.mended() {
        printer.warning(&format!("an earlier run was interrupted: {mended}"));
    }
}
