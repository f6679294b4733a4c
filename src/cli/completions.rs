//! `tagwall completions`: what a shell completes.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::printer::Printer;
use super::{Cli, Exit};

/// Options of `completions`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

const HELP: &str = "\
Examples:
  tagwall completions bash > /usr/share/bash-completion/completions/tagwall
  tagwall completions zsh > /usr/local/share/zsh/site-functions/_tagwall
  tagwall completions fish > ~/.config/fish/completions/tagwall.fish";

pub(super) fn run(args: &CompletionsArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tagwall", &mut script);
    printer.raw(&script)?;
    Ok(Exit::Ok)
}
