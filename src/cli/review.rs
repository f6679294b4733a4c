//! `tagwall review`, `approve`, `reject` and `rebaseline`: what is held, and what a person decides about it.

use clap::Args;
use serde::Serialize;

use super::printer::{ADDED, HEADLINE, Printer, REMOVED, WARNING, counted, grouped};
use super::publish::{close, open};
use super::{Cli, Exit, UsageError, control};
use crate::config::Config;
use crate::control::{Answer, Client, Request};
use crate::guard::{Decision, Hold, HoldId, Kind, Order, Verdict};
use crate::operate;
use crate::os::clock::now;
use crate::report::{self, Review};
use crate::snapshot::Cloud;

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

/// Options of `approve`.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// What both decisions take.
    #[command(flatten)]
    pub decision: DecideArgs,
    /// Do not wait for the calendar: what else waits for it is published too
    #[arg(long)]
    pub now: bool,
}

/// Options of `approve` and `reject`.
#[derive(Debug, Args)]
#[command(after_help = "\
An approval binds the publication, the groups and the difference, and expires (guard.approval-days). A rejection
counts for as long as the difference is published.

Examples:
  tagwall review
  tagwall approve 1a2b3c4d --ticket CHG-1234 --reason 'announced by Microsoft'
  tagwall reject 1a2b3c4d --reason 'nobody can say where it comes from'")]
pub struct DecideArgs {
    /// The hold; `tagwall review` lists them
    pub id: HoldId,
    /// The ticket, for the audit trail
    #[arg(long)]
    pub ticket: Option<String>,
    /// Why, for the audit trail
    #[arg(long)]
    pub reason: Option<String>,
    /// Print the decision as JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `rebaseline`.
#[derive(Debug, Args)]
#[command(after_help = "\
For when a wrong publication was taken that no right one can follow any more: a forged or mistaken date, or a number that
is too high. What is in force stays in force until the next publication comes, which is judged as the first one of a fresh host.
`tagwall render --rebaseline REASON --feed FILE` does both in one step.

Examples:
  tagwall rebaseline 'the mirror served a file dated 2052'
  tagwall rebaseline 'ticket 4711' --cloud china")]
pub struct RebaselineArgs {
    /// Why, for the audit trail
    pub reason: String,
    /// Only this cloud
    #[arg(long)]
    pub cloud: Option<Cloud>,
}

#[derive(Serialize)]
struct Document<'h> {
    format: &'static str,
    holds: Vec<Entry<'h>>,
    decisions: &'h [Decision],
}

#[derive(Serialize)]
struct Entry<'h> {
    #[serde(flatten)]
    hold: &'h Hold,
    addresses: u128,
    share: f64,
    why: String,
}

pub(super) fn review(cli: &Cli, args: &ReviewArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let review = match Client::find(&cli.state_dir) {
        Some(agent) => match control::ask(&agent, &Request::Review, &[])? {
            Answer::Review(review) => review,
            other => return Err(control::unexpected(&other)),
        },
        None => Review::of(&report::belief(&cli.state_dir)?),
    };
    let wanted = |hold: &&Hold| args.id.as_ref().is_none_or(|id| *id == hold.id);
    let holds: Vec<&Hold> = review.holds.iter().filter(wanted).collect();
    if let (Some(id), true) = (&args.id, holds.is_empty()) {
        return Err(
            UsageError(format!("there is no hold {id}; `tagwall review` lists them")).into()
        );
    }
    if args.json {
        let entries = holds.iter().map(|hold| Entry {
            hold,
            addresses: hold.addresses(),
            share: hold.share(),
            why: hold.why(),
        });
        let document = Document {
            format: "tagwall-review/1",
            holds: entries.collect(),
            decisions: &review.decisions,
        };
        printer.json(&document)?;
        return Ok(Exit::Ok);
    }
    if holds.is_empty() {
        printer.out("nothing is held\n")?;
    }
    for hold in holds {
        printer.out(&text(hold, args.id.is_some()))?;
    }
    for decision in review.decisions.iter().filter(|_| args.id.is_none()) {
        printer.out(&(in_words(decision) + "\n"))?;
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
        "  since {}, seen in {} and {}\n",
        hold.since,
        counted(seen.publications as usize, "publication", "publications"),
        counted(seen.downloads as usize, "download", "downloads")
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

/// Lets a hold in.
pub(super) fn approve(cli: &Cli, args: &ApproveArgs, printer: &Printer) -> anyhow::Result<Exit> {
    decide(cli, &args.decision, Verdict::Approve, args.now, printer)
}

/// Keeps a hold out.
pub(super) fn reject(cli: &Cli, args: &DecideArgs, printer: &Printer) -> anyhow::Result<Exit> {
    decide(cli, args, Verdict::Reject, false, printer)
}

/// Decides: a running agent brings it in force when the calendar lets it, or `at_once`; without one the next `render` does.
fn decide(
    cli: &Cli,
    args: &DecideArgs,
    verdict: Verdict,
    at_once: bool,
    printer: &Printer,
) -> anyhow::Result<Exit> {
    let (decision, follows) = if let Some(agent) = Client::find(&cli.state_dir) {
        let request = Request::Decide {
            hold: args.id.clone(),
            verdict,
            ticket: args.ticket.clone(),
            reason: args.reason.clone(),
            now: at_once,
        };
        let follows = if at_once {
            "the agent follows it at once"
        } else {
            "the agent follows it at once, or when the calendar opens"
        };
        match control::ask(&agent, &request, &[])? {
            Answer::Decided(decision) => (*decision, follows),
            other => return Err(control::unexpected(&other)),
        }
    } else {
        let config = Config::load(&cli.config)?;
        let mut operator = open(cli, "a decision about a hold", printer)?;
        let order = Order {
            hold: args.id.clone(),
            verdict,
            who: control::me(),
            ticket: args.ticket.clone(),
            reason: args.reason.clone(),
        };
        let decision = operator.decide(&order, &config.guard, now())?;
        close(operator, printer);
        (decision, "the next `tagwall render` follows it")
    };
    if args.json {
        printer.json(&decision)?;
    } else {
        printer.out(&format!("{}; {follows}\n", in_words(&decision)))?;
    }
    Ok(Exit::Ok)
}

/// What was decided, by whom and for how long.
fn in_words(decision: &Decision) -> String {
    let (what, until) = match (decision.verdict, decision.expires) {
        (Verdict::Approve, Some(expires)) => (
            "approved",
            format!(" until {expires}, for publication {}", decision.publication.short()),
        ),
        (Verdict::Approve, None) => ("approved", String::new()),
        (Verdict::Reject, _) => {
            ("rejected", " for as long as it is published in this form".to_owned())
        }
    };
    let ticket = decision.ticket.as_ref().map(|ticket| format!(" ({ticket})")).unwrap_or_default();
    format!(
        "{} is {what} by {}{ticket}{until}: {} of {} addresses",
        decision.hold,
        decision.who,
        decision.kind.name(),
        grouped(crate::guard::addresses(&decision.space))
    )
}

/// Begins anew.
pub(super) fn rebaseline(
    cli: &Cli,
    args: &RebaselineArgs,
    printer: &Printer,
) -> anyhow::Result<Exit> {
    if let Some(agent) = Client::find(&cli.state_dir) {
        let request = Request::Rebaseline { cloud: args.cloud, reason: args.reason.clone() };
        return control::say(&agent, &request, printer);
    }
    let mut operator = open(cli, "tagwall rebaseline", printer)?;
    let begun = operator.rebaseline(args.cloud, &args.reason, &control::me(), now())?;
    close(operator, printer);
    printer.out(&operate::begun_anew(&begun))?;
    Ok(Exit::Ok)
}
