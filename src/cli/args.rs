//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::belief::BeliefArgs;
use super::check::CheckArgs;
use super::completions::CompletionsArgs;
use super::control::FetchArgs;
use super::diff::DiffArgs;
use super::explain::ExplainArgs;
use super::generator::GeneratorArgs;
use super::init::InitArgs;
use super::man::ManArgs;
use super::probe::ProbeArgs;
use super::publish::{PauseArgs, RollbackArgs};
use super::replay::ReplayArgs;
use super::resolve::ResolveArgs;
use super::restore::RestoreArgs;
use super::review::{ApproveArgs, DecideArgs, RebaselineArgs, ReviewArgs};
use super::run::RunArgs;
use super::status::{HistoryArgs, StatusArgs};
use super::tags::TagsArgs;
use super::templates::TemplatesArgs;
use crate::config::Name;

/// Where the configuration is looked for by default.
pub(super) const DEFAULT_CONFIG: &str = "/etc/tagwall/tagwall.toml";
/// Where the state is kept by default.
const DEFAULT_STATE_DIR: &str = "/var/lib/tagwall";

/// Keeps firewall rules true to Azure's Service Tags.
#[derive(Debug, Parser)]
#[command(name = "tagwall", version, max_term_width = 100, propagate_version = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// The configuration file
    #[arg(long, short, global = true, value_name = "FILE", default_value = DEFAULT_CONFIG, env = "TAGWALL_CONFIG")]
    pub config: PathBuf,
    /// Where publications, generations and decisions are kept
    #[arg(long, global = true, value_name = "DIR", default_value = DEFAULT_STATE_DIR, env = "TAGWALL_STATE_DIR")]
    pub state_dir: PathBuf,
    /// When to colour: on terminals unless NO_COLOR is set, always, or never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// When output is coloured.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Color {
    /// On terminals, unless NO_COLOR is set
    Auto,
    /// Also into files and pipes
    Always,
    /// Never
    Never,
}

impl Color {
    /// Makes it the choice of everything that writes.
    pub(super) fn apply(self) {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}

const AFTER_HELP: &str = "\
Examples:
  tagwall init --apim prod --region westeurope --subnet 10.20.0.0/24 --egress wan0
                                                  write a first configuration
  tagwall check                                   is the configuration sound?
  tagwall explain apim.prod                       where is each flow of the profile decided?
  tagwall render --dry-run --feed FILE.json       what would change?
  tagwall render --feed FILE.json --out ./out     write the files, touch nothing else
  tagwall render --feed FILE.json                 publish a generation, and apply it
  tagwall run                                     follow the feeds, as a service
  tagwall status --verify                         what is in force, and does the kernel have it?

Exit codes: 0 done or same, 1 differs, 2 command line, 3 configuration, 4 publication refused,
5 limit exceeded, 6 system, 7 firewall failed, 8 state folder in use, 9 held. docs/exit-codes.md says more.";

/// A subcommand.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a commented configuration from a few answers or flags
    Init(InitArgs),
    /// Check the configuration and its templates, without any publication
    Check(CheckArgs),
    /// Render the rules of every target from publications
    Render(RenderArgs),
    /// Say where a flow is decided: of a profile, an address or a hostname
    Explain(ExplainArgs),
    /// Resolve hostnames now, and show what would be used
    Resolve(ResolveArgs),
    /// List the service tags of a publication
    Tags(TagsArgs),
    /// Follow the feeds and keep the rules true, until a signal ends it
    Run(RunArgs),
    /// Let the running agent look at its feeds now
    Fetch(FetchArgs),
    /// Let the running agent take its configuration and templates anew
    Reload,
    /// Say what is in force, and whether the kernel has it
    Status(StatusArgs),
    /// List the generations with what changed
    History(HistoryArgs),
    /// Bring an earlier generation back, and keep it until `resume`
    Rollback(RollbackArgs),
    /// Load what is in force into the kernel again, as at boot or after a flush
    Restore(RestoreArgs),
    /// Stop everything until `resume`: what is in force stays in force
    Pause(PauseArgs),
    /// Follow the publications again after a rollback or a pause
    Resume,
    /// Show what is held: differences that are not plausible
    Review(ReviewArgs),
    /// Believe what is held
    Approve(ApproveArgs),
    /// Leave out what is held for as long as it is published in this form
    Reject(DecideArgs),
    /// Forget what is known and believed: the next publication is judged as the first one
    Rebaseline(RebaselineArgs),
    /// Show what is believed, or carry it to the other firewall of a pair
    Belief(BeliefArgs),
    /// Judge past publications one after another: what would have been applied, held and why
    Replay(ReplayArgs),
    /// Send one flow through a clone of this host's firewall (as root)
    Probe(ProbeArgs),
    /// Compare two publications by tag
    Diff(DiffArgs),
    /// List, show and export the built-in templates
    Templates(TemplatesArgs),
    /// Print the completions of a shell
    Completions(CompletionsArgs),
    /// Print the manual page, or write all of them into a folder
    Man(ManArgs),
    /// Tell systemd what the configuration needs
    #[command(hide = true)]
    Generator(GeneratorArgs),
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
    /// Only these targets; with --stdout also one file: TARGET/FILE
    #[arg(long, value_name = "TARGET[/FILE]")]
    pub target: Vec<TargetFile>,
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
    /// Take publications that are older than those in use as a new beginning, and record why
    #[arg(long, value_name = "REASON", conflicts_with_all = ["dry_run", "stdout", "out"])]
    pub rebaseline: Option<String>,
    /// Replace tables, chains and sets that are not tagwall's where targets are loaded; a copy of them is kept
    #[arg(long, conflicts_with_all = ["dry_run", "stdout", "out"])]
    pub take_over: bool,
    /// Keep the first load of a target also when no packet gets to its rules
    #[arg(long, conflicts_with_all = ["dry_run", "stdout", "out"])]
    pub allow_unreached: bool,
    /// The rule set that was in force before, as its ruleset.json: what has gone is written as delta files
    #[arg(long, value_name = "FILE")]
    pub previous: Option<PathBuf>,
}

/// A target, or one file of it.
#[derive(Debug, Clone)]
pub struct TargetFile {
    /// The target.
    pub target: Name,
    /// The file; none for all of them.
    pub file: Option<String>,
}

impl FromStr for TargetFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (target, file) = match text.split_once('/') {
            Some((target, file)) => (target, Some(file.to_owned())),
            None => (text, None),
        };
        Ok(Self { target: target.parse()?, file })
    }
}

const RENDER_HELP: &str = "\
Without --out, --dry-run and --stdout a generation is published in the state folder: staged, verified by the
firewall's own parser, switched to in one step, installed, applied and read back; all targets or none.

Examples:
  tagwall render --feed ServiceTags_Public_20250908.json
  tagwall render --config apim.toml --feed ServiceTags_Public_20250908.json --out ./out
  tagwall render --feed ServiceTags_Public_20250908.json --out ./out --dry-run
  tagwall render --target edge --stdout | nft -c -f -
  tagwall render --target hosts/devops.txt --stdout
  tagwall render --out ./out --exit-code --json

Exit codes: 0 done (with --exit-code: same), 1 differs (with --exit-code), 2 command line,
3 configuration, 4 publication refused, 5 limit exceeded, 6 system, 7 firewall failed,
8 state folder in use, 9 something is held.";
