//! `tagwall restore`: loads what is in force into the kernel again, at boot and after a flush.
//!
//! Works on the generation alone, and reads neither the configuration nor a publication nor what is remembered: whatever is
//! wrong with these, the rules are there after a reboot.

use clap::Args;

use super::printer::Printer;
use super::{Cli, Exit};
use crate::publish::{Became, Publisher};

/// Options of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Overwrite foreign changes also where `on-drift` is `hold`
    #[arg(long)]
    pub overwrite: bool,
}

pub(super) fn run(cli: &Cli, args: &RestoreArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let publisher = Publisher::open(&cli.state_dir, "tagwall restore")?;
    if let Some(mended) = publisher.mended() {
        printer.warning(&format!("an earlier run was interrupted: {mended}"));
    }
    let restored = publisher.restore(args.overwrite)?;
    publisher.close();
    if restored.is_empty() {
        printer.out("kernel and installed files are as they were published\n")?;
    }
    let mut exit = Exit::Ok;
    for restored in restored {
        printer.out(&format!("{restored}\n"))?;
        match restored.became {
            Became::Restored => {}
            Became::Held => exit = Exit::Differs,
            Became::Failed(error) => return Err(error.into()),
        }
    }
    Ok(exit)
}
