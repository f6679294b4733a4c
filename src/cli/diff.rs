//! `tagwall diff`: two publications, by tag.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::change::Amounts;
use super::printer::{ADDED, HEADLINE, Printer, REMOVED, WARNING, counted, grouped};
use super::{Cli, Exit, feeds};
use crate::config::Config;
use crate::feed::{self, FeedError};
use crate::prefix::PrefixSet;
use crate::ruleset::SpaceChange;
use crate::snapshot::{Cloud, Fault, Publication, ServiceTag, Snapshot, SnapshotError, TagName};

/// Options of `diff`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct DiffArgs {
    /// The older Service Tags document
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The newer one
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Examples:
  tagwall diff ServiceTags_Public_20250901.json ServiceTags_Public_20250908.json
  tagwall diff old.json new.json --json | jq '.tags[] | select(.kind == \"removed\") | .name'

Prefixes are counted as published, addresses as they count: a tag that is only written otherwise (one
/23 for two /24) has changed prefixes and no changed address.
Exit codes: 0 equal content (the numbers may differ), 1 different content, 2 command line,
4 publication refused or of another cloud, 6 system.";

#[derive(Serialize)]
struct Comparison {
    format: &'static str,
    cloud: Cloud,
    old: Side,
    new: Side,
    /// Whether the content is the same, whatever the change numbers say.
    equal: bool,
    tags: Vec<TagChange>,
    /// All tags together: an address that moves from one tag to another is neither added nor removed here.
    total: Amounts,
}

#[derive(Serialize)]
struct Side {
    source: String,
    date: Option<String>,
    change_number: u64,
    digest: String,
    tags: usize,
    prefixes: usize,
}

#[derive(Serialize)]
struct TagChange {
    name: String,
    /// `added`, `removed` or `changed`.
    kind: &'static str,
    old_change_number: Option<u64>,
    new_change_number: Option<u64>,
    /// Which of region, service and features differ.
    fields: Vec<&'static str>,
    #[serde(flatten)]
    change: Amounts,
}

pub(super) fn run(cli: &Cli, args: &DiffArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let config = feeds::optional_config(cli)?;
    let policy = config.as_ref().map(Config::policy).unwrap_or_default();
    let old = feed::from_file(&args.old, &policy)?;
    let new = feed::from_file(&args.new, &policy)?;
    let (expected, actual) = (old.snapshot.cloud(), new.snapshot.cloud());
    if expected != actual {
        let source = SnapshotError::Whole(Fault::WrongCloud { actual, expected });
        return Err(FeedError::Refused { origin: new.source, source }.into());
    }
    if let (Some(first), Some(second)) = (old.date, new.date)
        && first > second
    {
        printer.warning(&format!("OLD is of {first} and NEW of {second}: they look swapped"));
    }
    let comparison = compare(&old, &new);
    if args.json {
        printer.json(&comparison)?;
    } else {
        printer.out(&comparison.text())?;
    }
    Ok(if comparison.equal { Exit::Ok } else { Exit::Differs })
}

fn compare(old: &Publication, new: &Publication) -> Comparison {
    let (before, after) = (&*old.snapshot, &*new.snapshot);
    let names: BTreeSet<&TagName> =
        before.tags().iter().chain(after.tags()).map(ServiceTag::name).collect();
    let tags: Vec<TagChange> =
        names.into_iter().filter_map(|name| tag_change(before, after, name)).collect();
    let sum = |of: fn(&Amounts) -> usize| tags.iter().map(|tag| of(&tag.change)).sum();
    let prefixes_added = sum(|change| change.prefixes_added);
    let prefixes_removed = sum(|change| change.prefixes_removed);
    let space = SpaceChange::between(&whole(before), &whole(after));
    let total = Amounts::of(&space, prefixes_added, prefixes_removed);
    Comparison {
        format: "tagwall-diff/1",
        cloud: before.cloud(),
        old: Side::of(old),
        new: Side::of(new),
        equal: old.digest() == new.digest(),
        tags,
        total,
    }
}

/// The space of all tags together.
fn whole(snapshot: &Snapshot) -> PrefixSet {
    let v4 = snapshot.tags().iter().flat_map(|tag| snapshot.v4(tag)).copied().collect();
    let v6 = snapshot.tags().iter().flat_map(|tag| snapshot.v6(tag)).copied().collect();
    PrefixSet::from_parts(v4, v6)
}

fn tag_change(before: &Snapshot, after: &Snapshot, name: &TagName) -> Option<TagChange> {
    let (old, new) = (before.tag(name.as_str()), after.tag(name.as_str()));
    let space = |snapshot: &Snapshot, tag: Option<&ServiceTag>| {
        tag.map_or_else(PrefixSet::new, |tag| {
            PrefixSet::from_parts(snapshot.v4(tag).to_vec(), snapshot.v6(tag).to_vec())
        })
    };
    let prefixes_added = missing(after, new, before, old);
    let prefixes_removed = missing(before, old, after, new);
    let mut fields = Vec::new();
    if let (Some(old), Some(new)) = (old, new) {
        for (differs, field) in [
            (old.name().as_str() != new.name().as_str(), "spelling"),
            (old.region() != new.region() || old.region_id() != new.region_id(), "region"),
            (old.system_service() != new.system_service(), "service"),
            (old.features() != new.features(), "features"),
        ] {
            if differs {
                fields.push(field);
            }
        }
    }
    let kind = match (old, new) {
        (None, Some(_)) => "added",
        (Some(_), None) => "removed",
        _ if prefixes_added + prefixes_removed + fields.len() > 0 => "changed",
        _ => return None,
    };
    let change = SpaceChange::between(&space(before, old), &space(after, new));
    Some(TagChange {
        name: name.to_string(),
        kind,
        old_change_number: old.map(ServiceTag::change_number),
        new_change_number: new.map(ServiceTag::change_number),
        fields,
        change: Amounts::of(&change, prefixes_added, prefixes_removed),
    })
}

/// How many prefixes a tag has on one side that it has not on the other, as published.
fn missing(
    here: &Snapshot,
    tag: Option<&ServiceTag>,
    there: &Snapshot,
    other: Option<&ServiceTag>,
) -> usize {
    let Some(tag) = tag else { return 0 };
    let (v4, v6) = other.map_or((&[][..], &[][..]), |other| (there.v4(other), there.v6(other)));
    // Both are sorted.
    let missing_v4 = here.v4(tag).iter().filter(|net| v4.binary_search(net).is_err()).count();
    let missing_v6 = here.v6(tag).iter().filter(|net| v6.binary_search(net).is_err()).count();
    missing_v4 + missing_v6
}

impl Side {
    fn of(publication: &Publication) -> Self {
        Self {
            source: publication.source.clone(),
            date: publication.date.map(|date| date.to_string()),
            change_number: publication.snapshot.change_number(),
            digest: publication.digest().to_string(),
            tags: publication.snapshot.tags().len(),
            prefixes: publication.snapshot.prefix_count(),
        }
    }

    fn line(&self, what: &str, cloud: Cloud) -> String {
        format!(
            "{HEADLINE}{what}{HEADLINE:#} {cloud} ({}, change number {}, digest {}): {}, {}\n",
            self.date.as_deref().unwrap_or("no date"),
            self.change_number,
            &self.digest[..12],
            counted(self.tags, "tag", "tags"),
            counted(self.prefixes, "prefix", "prefixes")
        )
    }
}

impl Comparison {
    fn text(&self) -> String {
        let mut text = self.old.line("old", self.cloud);
        text.push_str(&self.new.line("new", self.cloud));
        let width = self.tags.iter().map(|tag| tag.name.len()).max().unwrap_or(0);
        for tag in &self.tags {
            let (style, mark) = match tag.kind {
                "added" => (ADDED, '+'),
                "removed" => (REMOVED, '−'),
                _ => (WARNING, '~'),
            };
            let number = |number: Option<u64>| number.map_or("-".to_owned(), |it| it.to_string());
            text.push_str(&format!(
                "{style}{mark} {:<width$}{style:#}  {} (change number {} → {}{})\n",
                tag.name,
                tag.change.text(),
                number(tag.old_change_number),
                number(tag.new_change_number),
                match tag.fields.as_slice() {
                    [] => String::new(),
                    fields => format!("; {} differ", fields.join(", ")),
                }
            ));
        }
        let count = |kind| self.tags.iter().filter(|tag| tag.kind == kind).count();
        let numbers = if self.old.change_number == self.new.change_number {
            "the change numbers are equal"
        } else {
            "the change numbers differ"
        };
        if self.equal {
            text.push_str(&format!("{HEADLINE}equal content{HEADLINE:#}; {numbers}\n"));
        } else {
            text.push_str(&format!(
                "{HEADLINE}in all{HEADLINE:#} {} ({} added, {} removed), {}; {numbers}\n",
                counted(self.tags.len(), "tag differs", "tags differ"),
                grouped(count("added")),
                grouped(count("removed")),
                self.total.text()
            ));
        }
        text
    }
}
