//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Name;

/// Where the configuration is looked for by default.
pub(super) const DEFAULT_CONFIG: &str = "/etc/tagwall/tagwall.toml";
/// Where the state is kept by default.
pub(super) const DEFAULT_STATE_DIR: &str = "/var/lib/tagwall";

/// Keeps firewall rules true to Azure's Service Tags.
#[derive(Debug, Parser)]
#[command(name = "tagwall", version, max_term_width = 100, propagate_version = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// The configuration file
    #[arg(long, short, global = true, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
    /// Where publications, generations and decisions are kept
    #[arg(long, global = true, value_name = "DIR", default_value = DEFAULT_STATE_DIR)]
    pub state_dir: PathBuf,
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  tagwall check                                   is the configuration sound?
  tagwall render --dry-run                        what would change?
  tagwall render --feed FILE.json --out ./out     write the files, touch nothing else

Exit codes: 0 done or same, 1 differs, 2 command line, 3 configuration, 4 publication refused,
5 limit exceeded, 6 system. docs/exit-codes.md says more.";

/// A subcommand.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Render the rules of every target from publications
    Render(RenderArgs),
    /// Check the configuration and its templates, without any publication
    Check,
}

/// Options of `render`.
#[derive(Debug, Args)]
#[command(after_help = RENDER_HELP)]
pub struct RenderArgs {
    /// A Service Tags document, once for each cloud; `-` reads standard input. The cloud "example" is built in
    #[arg(long, value_name = "FILE")]
    pub feed: Vec<PathBuf>,
    /// Write the files into DIR/<target>/ and touch nothing else: no state, no firewall
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Only these targets
    #[arg(long, value_name = "NAME")]
    pub target: Vec<Name>,
    /// Show what would change, as a summary and a unified diff, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the files instead of writing them: one file bare, several under a headline each
    #[arg(long, conflicts_with_all = ["dry_run", "json", "out"])]
    pub stdout: bool,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
    /// Exit with 1 when something changes (or would)
    #[arg(long)]
    pub exit_code: bool,
    /// The rule set that was in force before, as its ruleset.json: what has gone is written as delta files
    #[arg(long, value_name = "FILE")]
    pub previous: Option<PathBuf>,
}

const RENDER_HELP: &str = "\
Examples:
  tagwall render --config apim.toml --feed ServiceTags_Public_20250908.json --out ./out
  tagwall render --feed ServiceTags_Public_20250908.json --out ./out --dry-run
  tagwall render --target edge --stdout | nft -c -f -";
