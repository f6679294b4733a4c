//! `tagwall restore`: loads what is in force into the kernel again, at boot and after a flush.
//!
//! Works on the generation alone, and reads neither the configuration nor a publication nor what is remembered: whatever is
//! wrong with these, the rules are there after a reboot.

use super::printer::Printer;
use super::{Cli, Exit};
use crate::publish::Publisher;

pub(super) fn run(cli: &Cli, printer: &Printer) -> anyhow::Result<Exit> {
    let publisher = Publisher::open(&cli.state_dir, "tagwall restore")?;
    if let Some(mended) = publisher.mended() {
        printer.warning(&format!("an earlier run was interrupted: {mended}"));
    }
    let restored = publisher.restore()?;
    publisher.close();
    let mut text = String::new();
    for (target, drift) in &restored {
        text.push_str(&format!("target {target}: {drift}; loaded the rules again\n"));
    }
    if text.is_empty() {
        text.push_str("the kernel has what is in force\n");
    }
    printer.out(&text)?;
    Ok(Exit::Ok)
}
