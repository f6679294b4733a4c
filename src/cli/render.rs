//! `tagwall render`: by hand what the agent does by itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jiff::Timestamp;

use super::args::{RenderArgs, TargetFile};
use super::printer::{Printer, unified};
use super::publish;
use super::summary::{Kind, Summary};
use super::{Cli, Exit, UsageError, capacity};
use crate::config::{Config, Name};
use crate::feed;
use crate::names::Book;
use crate::os::files::{self, OpenFolder, Replacement};
use crate::os::printable::printable;
use crate::os::two;
use crate::pipeline::{self, Plan};
use crate::render::{Artifact, Templates};
use crate::ruleset::{self, RuleSet};
use crate::selection::{HostAddresses, Publications};
use crate::snapshot::{Cloud, Policy};

/// Largest file of an earlier rendering that is read for a comparison, in bytes.
const MAX_OLD_BYTES: u64 = 256 << 20;

/// What was answered of the names that the configuration needs, as far as its settings let it be used.
fn stored_answers(cli: &Cli, config: &Config) -> anyhow::Result<HostAddresses> {
    let mut book = Book::load(&cli.state_dir).context("cannot read the stored answers")?;
    let now = Timestamp::now();
    book.keep(config, now);
    Ok(book.addresses(now))
}

pub(super) fn run(cli: &Cli, args: &RenderArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let config = Config::load(&cli.config)?;
    check_targets(&config, args)?;
    if args.out.is_none() && !args.dry_run && !args.stdout {
        return publish::publish(cli, args, &config, printer);
    }
    let publications = publications(&config, &args.feed, printer)?;
    let templates = Templates::load(&config)?;
    let hosts = stored_answers(cli, &config)?;
    let previous = args.previous.as_deref().map(read_rule_set).transpose()?;
    let wanted: Vec<Name> = args.target.iter().map(|wanted| wanted.target.clone()).collect();
    let plan = std::thread::scope(|scope| {
        // Digests of whole publications are for the summary only; the plan does not wait for them.
        scope.spawn(|| publications.values().for_each(|publication| _ = publication.digest()));
        pipeline::plan(&config, &publications, &hosts, &templates, previous.as_ref(), &wanted)
    })?;
    if args.stdout {
        print_files(&narrowed(plan.artifacts, &args.target)?, printer)?;
        return Ok(Exit::Ok);
    }
    let in_force = cli.state_dir.join("current");
    let out = args.out.as_deref().unwrap_or(&in_force);
    let changes = changes(&plan, out)?;
    let same = !changes.is_empty() && changes.iter().all(|change| change.kind == Kind::Unchanged);
    let older = if previous.is_some() || same { previous } else { old_rule_set(&config, out) };
    // Equal files came from equal rules: there is nothing to read back and compare.
    let before = older.as_ref().or(same.then_some(&plan.rule_set));
    let capacity = capacity::planned(cli, &config, &plan);
    let summary = Summary::of(&plan, &publications, before, &changes, capacity);
    if !args.dry_run {
        write(&changes)?;
    }
    if args.json {
        printer.json(&summary)?;
    } else {
        printer.out(&summary.text(args.dry_run))?;
        if args.dry_run {
            for change in changes.iter().filter(|change| change.kind != Kind::Unchanged) {
                printer.out(&change.diff())?;
            }
        }
    }
    let differs = changes.iter().any(|change| change.kind != Kind::Unchanged);
    Ok(if args.exit_code && differs { Exit::Differs } else { Exit::Ok })
}

fn check_targets(config: &Config, args: &RenderArgs) -> Result<(), UsageError> {
    for TargetFile { target, file } in &args.target {
        if !config.targets.contains_key(target) {
            let all: Vec<_> = config.targets.keys().map(Name::as_str).collect();
            return Err(UsageError(format!(
                "--target {target}: there is no such target; there are: {}",
                all.join(", ")
            )));
        }
        if let Some(file) = file
            && !args.stdout
        {
            return Err(UsageError(format!(
                "--target {target}/{file}: a single file is for --stdout; the files of a target belong together"
            )));
        }
    }
    Ok(())
}

/// The files that `--target TARGET/FILE` names.
fn narrowed(artifacts: Vec<Artifact>, wanted: &[TargetFile]) -> Result<Vec<Artifact>, UsageError> {
    let names = |artifact: &Artifact, wanted: &TargetFile| {
        artifact.target == wanted.target
            && wanted.file.as_ref().is_none_or(|file| *file == artifact.file)
    };
    for wanted in wanted {
        if !artifacts.iter().any(|artifact| names(artifact, wanted)) {
            let files: Vec<_> = artifacts
                .iter()
                .filter(|artifact| artifact.target == wanted.target)
                .map(|artifact| artifact.file.as_str())
                .collect();
            return Err(UsageError(format!(
                "--target {}/{}: there is no such file; there are: {}",
                wanted.target,
                printable(wanted.file.as_deref().unwrap_or_default(), 80),
                files.join(", ")
            )));
        }
    }
    let asked =
        |artifact: &Artifact| wanted.is_empty() || wanted.iter().any(|one| names(artifact, one));
    Ok(artifacts.into_iter().filter(asked).collect())
}

/// The publications that are given, and the embedded one where the configuration asks for it.
pub(super) fn publications(
    config: &Config,
    feeds: &[PathBuf],
    printer: &Printer,
) -> anyhow::Result<Publications> {
    let policy = config.policy();
    let mut publications = read_feeds(feeds, &policy)?;
    let needed = config.clouds();
    if needed.contains(&Cloud::Example) && !publications.contains_key(&Cloud::Example) {
        publications.insert(Cloud::Example, feed::example(&policy)?);
    }
    for cloud in publications.keys().filter(|cloud| !needed.contains(cloud)) {
        printer.warning(&format!("nothing in the configuration uses cloud {cloud}"));
    }
    Ok(publications)
}

/// The publications of these files, one for each cloud.
pub(super) fn read_feeds(feeds: &[PathBuf], policy: &Policy) -> anyhow::Result<Publications> {
    let mut publications = Publications::new();
    for path in feeds {
        let publication = feed::from_file(path, policy)?;
        let cloud = publication.snapshot.cloud();
        if let Some(first) = publications.insert(cloud, publication) {
            let message = format!(
                "--feed is given twice for cloud {cloud}: {} and {}; once for each cloud",
                first.source,
                path.display()
            );
            return Err(UsageError(message).into());
        }
    }
    Ok(publications)
}

fn read_rule_set(path: &Path) -> anyhow::Result<RuleSet> {
    let bytes = files::read_bounded(path, MAX_OLD_BYTES)?;
    ruleset::read_document(&bytes)
        .with_context(|| format!("cannot read the previous rule set {}", path.display()))
}

/// The rule set that a json target of an earlier rendering in this folder holds, for the summary.
fn old_rule_set(config: &Config, out: &Path) -> Option<RuleSet> {
    // A generation holds the whole rule set beside its targets.
    if let Ok(whole) = read_rule_set(&out.join("ruleset.json")) {
        return Some(whole);
    }
    let whole = config.targets.iter().find(|(_, target)| {
        let target = target.get_ref();
        target.json.is_some() && target.rules.is_none() && target.groups.is_none()
    });
    let path = out.join(whole?.0.as_str()).join("ruleset.json");
    read_rule_set(&path).ok()
}

/// One artifact beside the file that lies where it goes.
pub(super) struct Change<'p> {
    pub(super) artifact: &'p Artifact,
    path: PathBuf,
    pub(super) kind: Kind,
    /// The old content, when it differs.
    old: Option<Vec<u8>>,
}

impl Change<'_> {
    fn diff(&self) -> String {
        let old = self.old.as_ref().map(|bytes| String::from_utf8_lossy(bytes));
        let new = String::from_utf8_lossy(&self.artifact.bytes);
        unified(old.as_deref(), Some(&new), &self.artifact.path())
    }
}

/// Compares each artifact with what lies in the folder; without the folder, everything is new.
fn changes<'p>(plan: &'p Plan, out: &Path) -> anyhow::Result<Vec<Change<'p>>> {
    let path_of = |artifact: &Artifact| {
        let mut path = out.join(artifact.target.as_str());
        path.push(&artifact.file);
        path
    };
    let mut folders: BTreeMap<&Name, OpenFolder> = BTreeMap::new();
    for artifact in &plan.artifacts {
        folders.entry(&artifact.target).or_insert_with(|| OpenFolder::of(&path_of(artifact)));
    }
    let compare = |artifact: &'p Artifact| {
        let path = path_of(artifact);
        let folder = folders.get(&artifact.target);
        if folder.is_some_and(|folder| folder.holds(&artifact.file, &artifact.bytes)) {
            return Ok(Change { artifact, path, kind: Kind::Unchanged, old: None });
        }
        let (kind, old) = match files::read_bounded(&path, MAX_OLD_BYTES) {
            // Behind a symbolic link.
            Ok(old) if old == artifact.bytes => (Kind::Unchanged, None),
            Ok(old) => (Kind::Changed, Some(old)),
            Err(error) if error.is_not_found() => (Kind::New, None),
            Err(error) => return Err(error.into()),
        };
        Ok(Change { artifact, path, kind, old })
    };
    two::map_small(&plan.artifacts, compare).into_iter().collect()
}

fn write(changes: &[Change<'_>]) -> anyhow::Result<()> {
    let batch: Vec<Replacement> = changes
        .iter()
        .filter(|change| change.kind != Kind::Unchanged)
        .map(|change| Replacement {
            path: change.path.clone(),
            contents: change.artifact.bytes.clone(),
            mode: None,
        })
        .collect();
    for change in &batch {
        if let Some(folder) = change.path.parent() {
            files::create_dir_all_durable(folder, 0o755)?;
        }
    }
    files::replace_all(&batch)?;
    Ok(())
}

fn print_files(artifacts: &[Artifact], printer: &Printer) -> anyhow::Result<()> {
    if let [only] = artifacts {
        printer.raw(&only.bytes)?;
        return Ok(());
    }
    for (index, artifact) in artifacts.iter().enumerate() {
        let gap = if index > 0 { "\n" } else { "" };
        printer.raw(format!("{gap}==> {} <==\n", artifact.path()).as_bytes())?;
        printer.raw(&artifact.bytes)?;
    }
    Ok(())
}
