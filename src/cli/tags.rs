//! `tagwall tags`: what is published.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::printer::{HEADLINE, Printer, counted, grouped};
use super::{Cli, Exit, feeds};
use crate::config::nearest;
use crate::os::printable::printable;
use crate::selection::matches_pattern;
use crate::snapshot::{Cloud, Publication, ServiceTag, Snapshot, UnknownTag};

/// Options of `tags`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct TagsArgs {
    /// Only these tags: a part of the name, or a pattern in which `*` stands for any characters
    #[arg(value_name = "PATTERN")]
    pattern: Option<String>,
    /// A Service Tags document, once for each cloud; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    feed: Vec<PathBuf>,
    /// Take the embedded publication of documentation ranges
    #[arg(long)]
    example: bool,
    /// Also print the prefixes of each tag, as published
    #[arg(long)]
    prefixes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Examples:
  tagwall tags --example                                    the embedded publication
  tagwall tags storage --feed ServiceTags_Public_20250908.json
  tagwall tags '*.westeurope' --feed ServiceTags_Public_20250908.json --json
  tagwall tags ApiManagement --prefixes --feed ServiceTags_Public_20250908.json

No configuration is needed. With one of cloud \"example\", the embedded publication is the default.
Exit codes: 0 done, 2 command line, 3 no tag matches, 4 publication refused, 6 system.";

#[derive(Serialize)]
struct List<'p> {
    format: &'static str,
    publications: Vec<Entry<'p>>,
}

#[derive(Serialize)]
struct Entry<'p> {
    cloud: Cloud,
    source: &'p str,
    date: Option<String>,
    change_number: u64,
    digest: String,
    tags: Vec<TagEntry<'p>>,
}

#[derive(Serialize)]
struct TagEntry<'p> {
    name: &'p str,
    /// Empty for a global tag.
    region: &'p str,
    service: &'p str,
    change_number: u64,
    v4: usize,
    v6: usize,
    features: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefixes: Option<Vec<String>>,
}

pub(super) fn run(cli: &Cli, args: &TagsArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let config = feeds::optional_config(cli)?;
    let example =
        args.example || (args.feed.is_empty() && feeds::lives_on_example(config.as_ref()));
    let publications = feeds::some_publications(config.as_ref(), &args.feed, example)?;
    let entries: Vec<Entry<'_>> =
        publications.values().map(|publication| entry(publication, args)).collect();
    if let Some(pattern) = &args.pattern
        && entries.iter().all(|entry| entry.tags.is_empty())
    {
        let names = publications.values().flat_map(|publication| publication.snapshot.tags());
        return Err(unknown(pattern, entries[0].cloud, names).into());
    }
    if args.json {
        let list = List { format: "tagwall-tags/1", publications: entries };
        printer.json(&list)?;
    } else {
        for entry in &entries {
            printer.out(&text(entry))?;
        }
    }
    Ok(Exit::Ok)
}

fn unknown<'p>(
    pattern: &str,
    cloud: Cloud,
    tags: impl Iterator<Item = &'p ServiceTag>,
) -> UnknownTag {
    let near = nearest(pattern, tags.map(|tag| tag.name().as_str()));
    UnknownTag {
        what: if pattern.contains('*') { "pattern" } else { "service tag" },
        name: printable(pattern, 80),
        cloud,
        suggestions: near.into_iter().map(str::to_owned).collect(),
    }
}

fn entry<'p>(publication: &'p Publication, args: &TagsArgs) -> Entry<'p> {
    let snapshot = &publication.snapshot;
    Entry {
        cloud: snapshot.cloud(),
        source: &publication.source,
        date: publication.date.map(|date| date.to_string()),
        change_number: snapshot.change_number(),
        digest: publication.digest().to_string(),
        tags: snapshot
            .tags_by_name()
            .filter(|tag| {
                args.pattern.as_ref().is_none_or(|pattern| matches(pattern, tag.name().as_str()))
            })
            .map(|tag| tag_entry(snapshot, tag, args.prefixes))
            .collect(),
    }
}

fn tag_entry<'p>(snapshot: &'p Snapshot, tag: &'p ServiceTag, prefixes: bool) -> TagEntry<'p> {
    let (v4, v6) = (snapshot.v4(tag), snapshot.v6(tag));
    let texts =
        || v4.iter().map(ToString::to_string).chain(v6.iter().map(ToString::to_string)).collect();
    TagEntry {
        name: tag.name().as_str(),
        region: tag.region(),
        service: tag.system_service(),
        change_number: tag.change_number(),
        v4: v4.len(),
        v6: v6.len(),
        features: tag.features().names().collect(),
        prefixes: prefixes.then(texts),
    }
}

/// Without `*`, a part of the name is enough.
fn matches(pattern: &str, name: &str) -> bool {
    if pattern.contains('*') {
        matches_pattern(pattern, name)
    } else {
        name.to_ascii_lowercase().contains(&pattern.to_ascii_lowercase())
    }
}

fn text(entry: &Entry<'_>) -> String {
    let width = |what: fn(&TagEntry<'_>) -> usize, headline: usize| {
        entry.tags.iter().map(what).max().unwrap_or(0).max(headline)
    };
    let name = width(|tag| tag.name.len(), 4);
    let region = width(|tag| tag.region.len(), 6);
    let service = width(|tag| tag.service.len(), 7);
    let mut text = format!(
        "{HEADLINE}cloud {}{HEADLINE:#} ({}, {}, change number {}, digest {})\n",
        entry.cloud,
        entry.date.as_deref().unwrap_or("no date"),
        counted(entry.tags.len(), "tag", "tags"),
        entry.change_number,
        &entry.digest[..12]
    );
    text.push_str(&format!(
        "{HEADLINE}{:<name$}  {:<region$}  {:<service$}  CHANGE    IPv4    IPv6  FEATURES{HEADLINE:#}\n",
        "NAME", "REGION", "SERVICE"
    ));
    for tag in &entry.tags {
        let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let line = format!(
            "{:<name$}  {:<region$}  {:<service$}  {:>6}  {:>6}  {:>6}  {}",
            tag.name,
            dash(tag.region),
            dash(tag.service),
            tag.change_number,
            grouped(tag.v4),
            grouped(tag.v6),
            dash(&tag.features.join(" "))
        );
        text.push_str(&line);
        text.push('\n');
        for prefix in tag.prefixes.iter().flatten() {
            text.push_str("  ");
            text.push_str(prefix);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_the_whole_name_and_a_word_any_part() {
        assert!(matches("storage", "Storage.WestEurope"));
        assert!(matches("westeu", "Storage.WestEurope"));
        assert!(matches("*.WESTEUROPE", "Storage.WestEurope"));
        assert!(!matches("west*", "Storage.WestEurope"));
    }
}
