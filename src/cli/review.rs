//! `tagwall review`, `approve` and `reject`: what is held, and what a person decides about it.

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::printer::{ADDED, HEADLINE, Printer, REMOVED, WARNING, grouped};
use super::{Cli, Exit, UsageError, control};
use crate::config::Config;
use crate::guard::{Belief, Hold, HoldId, Kind, Order, Verdict};
use crate::operate::Operator;
use crate::os::files;

/// Largest belief read, in bytes.
const MAX_BELIEF: u64 = 256 << 20;
/// How many prefixes of a hold are shown.
const SHOWN: usize = 12;

/// Options of `review`.
#[derive(Debug, Args)]
pub struct ReviewArgs {
    /// Only this hold, with all of its prefixes
    pub id: Option<HoldId>,
    /// Print the holds as JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `approve` and `reject`.
#[derive(Debug, Args)]
pub struct DecideArgs {
    /// The hold; `tagwall review` lists them
    pub id: HoldId,
    /// The ticket, for the audit trail
    #[arg(long)]
    pub ticket: Option<String>,
    /// Why, for the audit trail
    #[arg(long)]
    pub reason: Option<String>,
}

#[derive(Serialize)]
struct Document<'h> {
    format: &'static str,
    holds: Vec<Entry<'h>>,
}

#[derive(Serialize)]
struct Entry<'h> {
    #[serde(flatten)]
    hold: &'h Hold,
    addresses: u128,
    share: f64,
    why: String,
}

/// What is believed, as the state folder has it.
pub(super) fn belief(cli: &Cli) -> anyhow::Result<Belief> {
    match files::read_bounded(&cli.state_dir.join(Belief::FILE), MAX_BELIEF) {
        Ok(bytes) => Ok(Belief::read(&bytes)?),
        Err(error) if error.is_not_found() => Ok(Belief::default()),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn review(cli: &Cli, args: &ReviewArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let belief = belief(cli)?;
    let wanted = |hold: &&Hold| args.id.as_ref().is_none_or(|id| *id == hold.id);
    let holds: Vec<&Hold> = belief.holds().iter().filter(wanted).collect();
    if let (Some(id), true) = (&args.id, holds.is_empty()) {
        return Err(
            UsageError(format!("there is no hold {id}; `tagwall review` lists them")).into()
        );
    }
    if args.json {
        let entry = |hold: &&'_ Hold| (hold.addresses(), hold.share(), hold.why());
        let holds = holds.iter().map(|hold| {
            let (addresses, share, why) = entry(hold);
            Entry { hold, addresses, share, why }
        });
        let document = Document { format: "tagwall-review/1", holds: holds.collect() };
        printer.out(&(serde_json::to_string_pretty(&document)? + "\n"))?;
        return Ok(Exit::Ok);
    }
    if holds.is_empty() {
        printer.out("nothing is held\n")?;
    }
    for hold in holds {
        printer.out(&text(hold, args.id.is_some()))?;
    }
    Ok(Exit::Ok)
}

fn text(hold: &Hold, all: bool) -> String {
    let mut text = format!(
        "{HEADLINE}{}{HEADLINE:#}  {} of {} addresses in {} prefixes, cloud {}\n",
        hold.id,
        hold.kind.name(),
        grouped(hold.addresses()),
        grouped(hold.space.len()),
        hold.cloud
    );
    for group in &hold.groups {
        let rules: Vec<&str> = group.rules.iter().map(crate::config::Name::as_str).collect();
        let rules =
            if rules.is_empty() { String::new() } else { format!(" (rules {})", rules.join(", ")) };
        text.push_str(&format!(
            "  group {}: {:.1} % of it{rules}\n",
            group.name,
            group.share * 100.0
        ));
    }
    for cause in &hold.causes {
        text.push_str(&format!("  why: {cause}\n"));
    }
    let seen = &hold.seen;
    text.push_str(&format!(
        "  since {}, seen in {} publications and {} downloads\n",
        hold.since, seen.publications, seen.downloads
    ));
    text.push_str(&match hold.due {
        Some(due) => format!("  released by itself from {due} on if it still is published\n"),
        None => format!("  {WARNING}only a person may decide{WARNING:#}\n"),
    });
    let (style, sign) = match hold.kind {
        Kind::Addition => (ADDED, '+'),
        Kind::Removal => (REMOVED, '-'),
    };
    let shown = if all { hold.space.len() } else { SHOWN };
    for prefix in hold.space.iter().take(shown) {
        text.push_str(&format!("  {style}{sign} {prefix}{style:#}\n"));
    }
    if hold.space.len() > shown {
        let more = hold.space.len() - shown;
        text.push_str(&format!("  … and {} more: tagwall review {}\n", grouped(more), hold.id));
    }
    text
}

pub(super) fn decide(
    cli: &Cli,
    args: &DecideArgs,
    verdict: Verdict,
    printer: &Printer,
) -> anyhow::Result<Exit> {
    let config = Config::load(&cli.config)?;
    let mut operator = Operator::open(&cli.state_dir, "a decision about a hold")?;
    let order = Order {
        hold: args.id.clone(),
        verdict,
        who: control::me(),
        ticket: args.ticket.clone(),
        reason: args.reason.clone(),
    };
    let now = Timestamp::from_second(Timestamp::now().as_second())?;
    let decision = operator.decide(&order, &config.guard, now)?;
    operator.close();
    let (what, until) = match (verdict, decision.expires) {
        (Verdict::Approve, Some(expires)) => (
            "approved",
            format!(" until {expires}, for publication {}", decision.publication.short()),
        ),
        (Verdict::Approve, None) => ("approved", String::new()),
        (Verdict::Reject, _) => {
            ("rejected", " for as long as it is published in this form".to_owned())
        }
    };
    printer
        .out(&format!("{} is {what}{until}; the next publication of rules follows\n", args.id))?;
    Ok(Exit::Ok)
}
