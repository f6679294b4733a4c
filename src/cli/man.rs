//! `tagwall man`: the manual pages of the command line.
//!
//! They are made from the same definitions as `--help`. The configuration's own page, tagwall.toml(5), is not among
//! them.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man;

use super::printer::{Printer, counted};
use super::{Cli, Exit};
use crate::os::files::{self, Replacement};

/// Options of `man`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ManArgs {
    /// Write every page into this folder: tagwall.1, tagwall-render.1, …
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

const HELP: &str = "\
Examples:
  tagwall man | man -l -                             read the first page
  tagwall man --output /usr/local/share/man/man1     install all of them";

pub(super) fn run(args: &ManArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let pages = pages()?;
    let Some(folder) = &args.output else {
        if let Some((_, first)) = pages.first() {
            printer.raw(first)?;
        }
        return Ok(Exit::Ok);
    };
    let batch: Vec<Replacement> = pages
        .into_iter()
        .map(|(name, contents)| Replacement { path: folder.join(name), contents, mode: None })
        .collect();
    files::create_dir_all_durable(folder, 0o755)?;
    files::replace_all(&batch)?;
    let count = counted(batch.len(), "page", "pages");
    printer.out(&format!("{}: {count}\n", folder.display()))?;
    Ok(Exit::Ok)
}

/// Every page with its file's name, the command itself first.
fn pages() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    add(&root, &mut pages)?;
    Ok(pages)
}

fn add(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let page = Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)?;
    pages.push((format!("{name}.1"), text));
    command.get_subcommands().filter(|sub| !sub.is_hide_set()).try_for_each(|sub| add(sub, pages))
}
