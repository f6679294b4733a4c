//! `tagwall render`: by hand what the agent does by itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::args::RenderArgs;
use super::printer::{ADDED, HEADLINE, Printer, REMOVED, WARNING, grouped, unified, v6_space};
use super::{Cli, Exit, UsageError};
use crate::config::{Config, Name};
use crate::feed;
use crate::os::files::{self, Replacement};
use crate::pipeline::{self, Plan};
use crate::render::{Artifact, Templates};
use crate::ruleset::{self, Difference, GroupChange, RuleSet, Whole};
use crate::selection::Publications;
use crate::snapshot::{Cloud, Policy};

/// Largest file of an earlier rendering that is read for a comparison, in bytes.
const MAX_OLD_BYTES: u64 = 256 << 20;

pub(super) fn run(cli: &Cli, args: &RenderArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let config = Config::load(&cli.config)?;
    check_targets(&config, &args.target)?;
    let publications = publications(&config, &args.feed, printer)?;
    let templates = Templates::load(&config)?;
    let previous = args.previous.as_deref().map(read_rule_set).transpose()?;
    let plan = pipeline::plan(&config, &publications, &templates, previous.as_ref(), &args.target)?;
    if args.stdout {
        print_files(&plan.artifacts, printer)?;
        return Ok(Exit::Ok);
    }
    let Some(out) = args.out.as_deref().or(args.dry_run.then_some(Path::new(""))) else {
        return Err(UsageError(
            "say where to: --out DIR writes files, --dry-run shows what would change, --stdout prints".to_owned(),
        )
        .into());
    };
    let changes = changes(&plan, out, args.out.is_some())?;
    let before = previous.or_else(|| old_rule_set(&config, out));
    let summary = Summary::of(&plan, &publications, before.as_ref(), &changes);
    if !args.dry_run {
        write(&changes)?;
    }
    if args.json {
        printer.out(&(serde_json::to_string_pretty(&summary)? + "\n"))?;
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

fn check_targets(config: &Config, wanted: &[Name]) -> anyhow::Result<()> {
    for name in wanted {
        if !config.targets.contains_key(name) {
            let all: Vec<_> = config.targets.keys().map(Name::as_str).collect();
            let message =
                format!("--target {name}: there is no such target; there are: {}", all.join(", "));
            return Err(UsageError(message).into());
        }
    }
    Ok(())
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
    let whole = config.targets.iter().find(|(_, target)| {
        let target = target.get_ref();
        target.json.is_some() && target.rules.is_none() && target.groups.is_none()
    });
    let path = out.join(whole?.0.as_str()).join("ruleset.json");
    read_rule_set(&path).ok()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    New,
    Changed,
    Unchanged,
}

/// One artifact beside the file that lies where it goes.
struct Change<'p> {
    artifact: &'p Artifact,
    path: PathBuf,
    kind: Kind,
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

/// Compares each artifact with what lies in the folder; with no folder, everything is new.
fn changes<'p>(plan: &'p Plan, out: &Path, compare: bool) -> anyhow::Result<Vec<Change<'p>>> {
    plan.artifacts
        .iter()
        .map(|artifact| {
            let path = out.join(artifact.target.as_str()).join(&artifact.file);
            let old = match files::read_bounded(&path, MAX_OLD_BYTES) {
                _ if !compare => None,
                Ok(old) => Some(old),
                Err(error) if error.is_not_found() => None,
                Err(error) => return Err(error.into()),
            };
            let kind = match &old {
                None => Kind::New,
                Some(old) if *old == artifact.bytes => Kind::Unchanged,
                Some(_) => Kind::Changed,
            };
            let old = old.filter(|_| kind == Kind::Changed);
            Ok(Change { artifact, path, kind, old })
        })
        .collect()
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

/// What a rendering is about, for people and as JSON.
#[derive(Serialize)]
struct Summary {
    format: &'static str,
    publications: Vec<PublicationSummary>,
    rule_set: String,
    /// Whether the groups are compared with an earlier rule set.
    compared: bool,
    groups: Vec<GroupSummary>,
    rules: RulesSummary,
    artifacts: Vec<ArtifactSummary>,
    gaps: Vec<String>,
    /// What is rendered as asked, but may not do what was meant.
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct PublicationSummary {
    cloud: Cloud,
    source: String,
    date: Option<String>,
    change_number: u64,
    digest: String,
}

#[derive(Serialize)]
struct GroupSummary {
    name: String,
    v4_prefixes: usize,
    v4_addresses: u64,
    v6_prefixes: usize,
    hosts: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<GroupChangeSummary>,
}

#[derive(Serialize)]
struct GroupChangeSummary {
    /// `added`, `removed` or `changed`.
    kind: &'static str,
    prefixes_added: usize,
    prefixes_removed: usize,
    v4_addresses_added: u64,
    v4_addresses_removed: u64,
    /// As text: IPv6 space does not fit into the numbers that most JSON readers have.
    v6_addresses_added: String,
    v6_addresses_removed: String,
}

#[derive(Serialize)]
struct RulesSummary {
    count: usize,
    added: Vec<Name>,
    removed: Vec<Name>,
    changed: Vec<Name>,
    routes: usize,
}

#[derive(Serialize)]
struct ArtifactSummary {
    path: String,
    kind: Kind,
    bytes: usize,
}

impl Summary {
    fn of(
        plan: &Plan,
        publications: &Publications,
        before: Option<&RuleSet>,
        changes: &[Change<'_>],
    ) -> Self {
        let difference = before.map(|before| Difference::between(before, &plan.rule_set));
        let difference = difference.unwrap_or_default();
        let by_group: BTreeMap<&Name, &GroupChange> =
            difference.groups.iter().map(|change| (&change.name, change)).collect();
        let mut groups: Vec<GroupSummary> = plan
            .rule_set
            .groups
            .iter()
            .map(|group| GroupSummary {
                name: group.name.to_string(),
                v4_prefixes: group.prefixes.v4().len(),
                v4_addresses: group.prefixes.v4_addresses(),
                v6_prefixes: group.prefixes.v6().len(),
                hosts: group.hosts.len(),
                change: by_group.get(&group.name).map(|change| change_summary(change)),
            })
            .collect();
        groups.extend(
            difference.groups.iter().filter(|change| change.whole == Some(Whole::Removed)).map(
                |change| GroupSummary {
                    name: change.name.to_string(),
                    v4_prefixes: 0,
                    v4_addresses: 0,
                    v6_prefixes: 0,
                    hosts: 0,
                    change: Some(change_summary(change)),
                },
            ),
        );
        Self {
            format: "tagwall-render/1",
            publications: publications
                .values()
                .map(|publication| PublicationSummary {
                    cloud: publication.snapshot.cloud(),
                    source: publication.source.clone(),
                    date: publication.date.map(|date| date.to_string()),
                    change_number: publication.snapshot.change_number(),
                    digest: publication.digest.to_string(),
                })
                .collect(),
            rule_set: plan.rule_set.digest().to_string(),
            compared: before.is_some(),
            groups,
            rules: RulesSummary {
                count: plan.rule_set.rules.len(),
                added: difference.rules_added,
                removed: difference.rules_removed,
                changed: difference.rules_changed,
                routes: plan.rule_set.routes.len(),
            },
            artifacts: changes
                .iter()
                .map(|change| ArtifactSummary {
                    path: change.artifact.path(),
                    kind: change.kind,
                    bytes: change.artifact.bytes.len(),
                })
                .collect(),
            gaps: plan.rule_set.gaps(),
            warnings: plan
                .artifacts
                .iter()
                .flat_map(|artifact| {
                    let target = &artifact.target;
                    artifact
                        .warnings
                        .iter()
                        .map(move |warning| format!("target {target}: {warning}"))
                })
                .collect(),
        }
    }

    fn text(&self, dry_run: bool) -> String {
        let mut text = String::new();
        for publication in &self.publications {
            let date = publication.date.as_deref().unwrap_or("no date");
            text.push_str(&format!(
                "{HEADLINE}publication{HEADLINE:#} {} ({date}, change number {}, digest {})\n",
                publication.cloud,
                publication.change_number,
                &publication.digest[..12]
            ));
        }
        text.push_str(&format!("{HEADLINE}groups{HEADLINE:#}\n"));
        let width = self.groups.iter().map(|group| group.name.len()).max().unwrap_or(0);
        for group in &self.groups {
            text.push_str(&group.line(width, self.compared));
        }
        for (what, style, names) in [
            ("new", ADDED, &self.rules.added),
            ("gone", REMOVED, &self.rules.removed),
            ("changed", WARNING, &self.rules.changed),
        ] {
            if self.compared && !names.is_empty() {
                let names: Vec<_> = names.iter().map(Name::as_str).collect();
                text.push_str(&format!("{style}rules {what}{style:#}: {}\n", names.join(", ")));
            }
        }
        text.push_str(&format!(
            "{HEADLINE}rules{HEADLINE:#} {}, routes {}, rule set {}\n",
            self.rules.count,
            self.rules.routes,
            &self.rule_set[..12]
        ));
        for gap in self.gaps.iter().chain(&self.warnings) {
            text.push_str(&format!("{WARNING}note{WARNING:#}: {gap}\n"));
        }
        text.push_str(&format!(
            "{HEADLINE}files{HEADLINE:#}{}\n",
            if dry_run { " (nothing is written)" } else { "" }
        ));
        for artifact in &self.artifacts {
            let (style, mark) = match artifact.kind {
                Kind::New => (ADDED, "new"),
                Kind::Changed => (WARNING, "changed"),
                Kind::Unchanged => (anstyle::Style::new(), "same"),
            };
            text.push_str(&format!(
                "  {style}{mark:<8}{style:#}{} ({} bytes)\n",
                artifact.path,
                grouped(artifact.bytes)
            ));
        }
        text
    }
}

impl GroupSummary {
    fn line(&self, width: usize, compared: bool) -> String {
        let mut line = format!(
            "  {:<width$}  {} IPv4 ({} addresses), {} IPv6",
            self.name,
            grouped(self.v4_prefixes),
            grouped(self.v4_addresses),
            grouped(self.v6_prefixes)
        );
        if self.hosts > 0 {
            line.push_str(&format!(", {} hostnames", self.hosts));
        }
        match &self.change {
            Some(change) => line.push_str(&change.text()),
            None if compared => line.push_str("  unchanged"),
            None => {}
        }
        line.push('\n');
        line
    }
}

impl GroupChangeSummary {
    fn text(&self) -> String {
        let mut text = format!(
            "  {} {ADDED}+{}{ADDED:#} {REMOVED}−{}{REMOVED:#} prefixes",
            self.kind,
            grouped(self.prefixes_added),
            grouped(self.prefixes_removed)
        );
        if self.v4_addresses_added > 0 {
            text.push_str(&format!(
                ", {ADDED}+{}{ADDED:#} addresses",
                grouped(self.v4_addresses_added)
            ));
        }
        if self.v4_addresses_removed > 0 {
            text.push_str(&format!(
                ", {REMOVED}−{}{REMOVED:#} addresses",
                grouped(self.v4_addresses_removed)
            ));
        }
        for (sign, style, addresses) in
            [("+", ADDED, &self.v6_addresses_added), ("−", REMOVED, &self.v6_addresses_removed)]
        {
            if let Ok(addresses @ 1..) = addresses.parse::<u128>() {
                text.push_str(&format!(", {style}{sign}{}{style:#}", v6_space(addresses)));
            }
        }
        text
    }
}

fn change_summary(change: &GroupChange) -> GroupChangeSummary {
    let space = &change.space;
    GroupChangeSummary {
        kind: match change.whole {
            Some(Whole::Added) => "added",
            Some(Whole::Removed) => "removed",
            None => "changed",
        },
        prefixes_added: space.prefixes_added,
        prefixes_removed: space.prefixes_removed,
        v4_addresses_added: space.added.v4_addresses(),
        v4_addresses_removed: space.removed.v4_addresses(),
        v6_addresses_added: space.added.v6_addresses().to_string(),
        v6_addresses_removed: space.removed.v6_addresses().to_string(),
    }
}
