//! `tagwall templates`: the built-in templates, to read and to start from.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::printer::{Printer, counted};
use super::{Exit, UsageError};
use crate::config::nearest;
use crate::os::files::{self, Replacement};
use crate::os::printable::printable;
use crate::render::built_in;

/// Options of `templates`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct TemplatesArgs {
    #[command(subcommand)]
    command: TemplatesCommand,
}

#[derive(Debug, Subcommand)]
enum TemplatesCommand {
    /// List the names of the built-in templates
    List,
    /// Print one of them
    Show {
        /// Its name, as `templates list` shows it
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Write them into a folder, for `templates-dir`
    Export {
        /// Only those of this dialect
        #[arg(long, value_name = "DIALECT")]
        dialect: Option<String>,
        /// Take the place of files that are there
        #[arg(long)]
        force: bool,
        /// The folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

const HELP: &str = "\
Examples:
  tagwall templates list
  tagwall templates show nftables/own.nft
  tagwall templates export --dialect nftables ./templates

Then set templates-dir = \"./templates\" in the configuration: files there take the place of the built-in
ones of the same name. Delete those that you do not change, or you keep an old text when tagwall's improves.
`tagwall check` renders each with a complete sample.
Exit codes: 0 done, 2 command line (also: no such template, or a file is there already), 6 system.";

pub(super) fn run(args: &TemplatesArgs, printer: &Printer) -> anyhow::Result<Exit> {
    match &args.command {
        TemplatesCommand::List => {
            let mut names: Vec<&str> = built_in().map(|(name, _)| name).collect();
            names.sort_unstable();
            printer.out(&(names.join("\n") + "\n"))?;
        }
        TemplatesCommand::Show { name } => {
            let text = find(name)?;
            printer.raw(text.as_bytes())?;
        }
        TemplatesCommand::Export { dialect, force, folder } => {
            let chosen = of_dialect(dialect.as_deref())?;
            let batch: Vec<Replacement> = chosen
                .iter()
                .map(|(name, text)| Replacement {
                    path: folder.join(name),
                    contents: text.as_bytes().to_vec(),
                    mode: None,
                })
                .collect();
            if let Some(there) =
                batch.iter().find(|file| !force && file.path.symlink_metadata().is_ok())
            {
                return Err(UsageError(format!(
                    "{} is there already; nothing was written (--force takes its place)",
                    there.path.display()
                ))
                .into());
            }
            for parent in batch.iter().filter_map(|file| file.path.parent()) {
                files::create_dir_all_durable(parent, 0o755)
                    .with_context(|| format!("cannot export to {}", folder.display()))?;
            }
            files::replace_all(&batch)?;
            let count = counted(batch.len(), "template", "templates");
            printer.out(&format!("{}: {count}\n", folder.display()))?;
        }
    }
    Ok(Exit::Ok)
}

fn find(name: &str) -> Result<&'static str, UsageError> {
    if let Some((_, text)) = built_in().find(|(built_in, _)| *built_in == name) {
        return Ok(text);
    }
    let near = nearest(name, built_in().map(|(name, _)| name)).first().copied();
    let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    let name = printable(name, 80);
    Err(UsageError(format!(
        "there is no template `{name}`{hint} (`tagwall templates list` shows all)"
    )))
}

fn of_dialect(dialect: Option<&str>) -> Result<Vec<(&'static str, &'static str)>, UsageError> {
    let Some(dialect) = dialect else { return Ok(built_in().collect()) };
    let of = |name: &'static str| name.split('/').next().unwrap_or_default();
    let chosen: Vec<_> = built_in().filter(|(name, _)| of(name) == dialect).collect();
    if chosen.is_empty() {
        let mut dialects: Vec<&str> = built_in().map(|(name, _)| of(name)).collect();
        dialects.sort_unstable();
        dialects.dedup();
        return Err(UsageError(format!(
            "no template is of a dialect `{}`; there are: {}",
            printable(dialect, 40),
            dialects.join(", ")
        )));
    }
    Ok(chosen)
}
