//! `tagwall restore`: reloads the active generation into the kernel, at boot and after a flush.
//!
//! Works on the generation alone, and reads neither a publication nor the state; of the
//! configuration only the paths of programs, where it can be read. Whatever is wrong with these,
//! the rules are there after a reboot. A running agent holds the lock, and does it instead: the two
//! never work on the kernel at once.

use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use super::printer::Printer;
use super::{Cli, Exit, control, publish};
use crate::config::Name;
use crate::control::{Answer, Client, Request, Restoration};
use crate::os::clock::now;
use crate::os::lock::{DirLock, LockError};
use crate::publish::{PublishError, Publisher, Store, create_sets};

/// Longest wait for the lock: an agent that starts takes it before it can be reached, and a command
/// is done soon.
const LOCK_WAIT: Duration = Duration::from_secs(20);
/// Time between two attempts.
const LOCK_RETRY: Duration = Duration::from_millis(100);

/// Options of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Overwrite foreign changes also where `on-drift` is `hold`
    #[arg(long)]
    pub overwrite: bool,
    /// Create the absent ipset sets, and change nothing else
    #[arg(long, conflicts_with = "overwrite")]
    pub sets_only: bool,
    /// Pause, and bring back what a target (or every target) had taken over
    #[arg(long, value_name = "TARGET", num_args = 0..=1, conflicts_with_all = ["overwrite", "sets_only"])]
    pub before_take_over: Option<Vec<Name>>,
}

pub(super) fn run(cli: &Cli, args: &RestoreArgs, printer: &Printer) -> anyhow::Result<Exit> {
    if let Some(target) = &args.before_take_over {
        return before_take_over(cli, target.first(), printer);
    }
    let restoration = restore(cli, args, printer)?;
    if restoration.targets.is_empty() {
        printer.out(if args.sets_only {
            "no active target has ipset sets\n"
        } else {
            "kernel and installed files are as they were published\n"
        })?;
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

/// Restores through the agent where one runs, else here. While another process holds the lock, both
/// are tried again.
fn restore(cli: &Cli, args: &RestoreArgs, printer: &Printer) -> anyhow::Result<Restoration> {
    let end = Instant::now() + LOCK_WAIT;
    let request = Request::Restore { overwrite: args.overwrite, sets_only: args.sets_only };
    loop {
        if let Some(agent) = Client::find(&cli.state_dir) {
            return match control::ask(&agent, &request, &[])? {
                Answer::Restored(restoration) => Ok(restoration),
                other => Err(control::unexpected(&other)),
            };
        }
        let result = if args.sets_only { sets_here(cli) } else { restore_here(cli, args, printer) };
        match result {
            Err(PublishError::Locked(LockError::Held { .. })) if Instant::now() < end => {
                thread::sleep(LOCK_RETRY);
            }
            result => return Ok(result?),
        }
    }
}

/// Creates the sets without finishing an interrupted apply: that would load rules ahead of the
/// host's own.
fn sets_here(cli: &Cli) -> Result<Restoration, PublishError> {
    let store = Store::new(&cli.state_dir);
    // A folder that is absent holds no generation, and no lock.
    if store.current()?.is_none() {
        return Ok(Restoration::of(&[]));
    }
    let lock = DirLock::acquire(&cli.state_dir, "tagwall restore --sets-only")?;
    let sets = create_sets(&store);
    lock.release();
    Ok(Restoration::from(sets?.as_slice()))
}

fn restore_here(
    cli: &Cli,
    args: &RestoreArgs,
    printer: &Printer,
) -> Result<Restoration, PublishError> {
    let publisher = Publisher::open(&cli.state_dir, "tagwall restore")?;
    if let Some(mended) = publisher.mended() {
        printer.warning(&format!("an earlier run was interrupted: {mended}"));
    }
    let restored = publisher.restore(args.overwrite)?;
    publisher.close();
    Ok(Restoration::of(&restored))
}
