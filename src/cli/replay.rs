//! `tagwall replay`: what the guard would have made of past publications.

use std::path::{Path, PathBuf};

use clap::Args;

use super::printer::Printer;
use super::{Cli, Exit, UsageError};
use crate::config::Config;
use crate::feed;
use crate::operate::{Replay, Replayed};
use crate::os::printable::printable_path;
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
    for path in files {
        let name = path.strip_prefix(&args.dir).unwrap_or(&path).display().to_string();
        let step = match feed::from_file(&path, &policy) {
            Ok(publication) => replay.step(&name, publication),
            Err(error) => replay.refused(&name, error.to_string()),
        };
        if args.json {
            printer.out(&(serde_json::to_string(&step)? + "\n"))?;
        }
        steps.push(step);
    }
    Ok(Exit::Ok)
}

/// Every document in the folder and those below it, in order of date, then of name.
fn publications(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    /// A folder for each cloud, and one for each year, is as deep as anybody sorts them.
    const DEPTH: usize = 3;
    let mut found = Vec::new();
    let mut folders = vec![(dir.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
            if kind.is_dir() && depth < DEPTH {
                folders.push((path, depth + 1));
            } else if path.extension().is_some_and(|extension| extension == "json")
                && path.is_file()
            {
                found.push(path);
            }
        }
    }
    let date = |path: &Path| path.file_name().and_then(|name| date_in_name(name.to_str()?));
    found.sort_by_cached_key(|path| (date(path), path.clone()));
    Ok(found)
}
