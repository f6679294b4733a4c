//! `tagwall restore`: loads what is in force into the kernel again, at boot and after a flush.
//!
//! Works on the generation alone, and reads neither the configuration nor a publication nor what is remembered: whatever is
//! wrong with these, the rules are there after a reboot. A running agent holds the lock, and does it in our place.

use clap::Args;

use super::printer::Printer;
use super::{Cli, Exit, control, publish};
use crate::config::Name;
use crate::control::{Answer, Client, Request, Restoration};
use crate::os::clock::now;
use crate::publish::Publisher;

/// Options of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Overwrite foreign changes also where `on-drift` is `hold`
    #[arg(long)]
    pub overwrite: bool,
    /// Pause, and bring back what a target (or every target) had taken over
    #[arg(long, value_name = "TARGET", num_args = 0..=1, conflicts_with = "overwrite")]
    pub before_take_over: Option<Vec<Name>>,
}

pub(super) fn run(cli: &Cli, args: &RestoreArgs, printer: &Printer) -> anyhow::Result<Exit> {
    if let Some(target) = &args.before_take_over {
        return before_take_over(cli, target.first(), printer);
    }
    let restoration = match Client::find(&cli.state_dir) {
        Some(agent) => {
            let request = Request::Restore { overwrite: args.overwrite };
            match control::ask(&agent, &request, &[])? {
                Answer::Restored(restoration) => restoration,
                other => return Err(control::unexpected(&other)),
            }
        }
        None => restore_here(cli, args, printer)?,
    };
    if restoration.targets.is_empty() {
        printer.out("kernel and installed files are as they were published\n")?;
    }
    for target in &restoration.targets {
        printer.out(&format!("{target}\n"))?;
    }
    match restoration.failed {
        Some(failure) => Err(control::told(failure)),
        None if restoration.held => Ok(Exit::Differs),
        None => Ok(Exit::Ok),
    }
}

fn before_take_over(cli: &Cli, target: Option<&Name>, printer: &Printer) -> anyhow::Result<Exit> {
    if let Some(agent) = Client::find(&cli.state_dir) {
        let request = Request::RestoreBeforeTakeOver { target: target.cloned() };
        return control::say(&agent, &request, printer);
    }
    let mut operator = publish::open(cli, "tagwall restore", printer)?;
    let text = operator.restore_before_take_over(target, &control::me(), now())?;
    publish::close(operator, printer);
    printer.out(&text)?;
    Ok(Exit::Ok)
}

fn restore_here(cli: &Cli, args: &RestoreArgs, printer: &Printer) -> anyhow::Result<Restoration> {
    let publisher = Publisher::open(&cli.state_dir, "tagwall restore")?;
    if let Some(mended) = publisher.mended() {
        printer.warning(&format!("an earlier run was interrupted: {mended}"));
    }
    let restored = publisher.restore(args.overwrite)?;
    publisher.close();
    Ok(Restoration::of(&restored))
}
