//! `tagwall probe`: sends one flow through a clone of this host's firewall.
//!
//! For root, and never through the agent, whose unit forbids namespaces.

use std::net::IpAddr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::printer::{ADDED, HEADLINE, Printer, REMOVED, WARNING, wrapped};
use super::{Exit, UsageError};
use crate::os::printable::printable;
use crate::probe::{
    self, Backend, Budget, Connection, Decision, Exchange, Flow, ProbeError, ProbeService, Report,
    Step, Verdict,
};

/// Time limit of a probe.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// Time after which a stage is shown.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most characters of a rule that are shown.
const RULE_CHARACTERS: usize = 240;
/// Width of what is shown.
const WIDTH: usize = 100;

/// Options of `probe`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ProbeArgs {
    /// The address that the flow comes from
    #[arg(value_name = "SRC")]
    source: IpAddr,
    /// The address that it goes to
    #[arg(value_name = "DST")]
    destination: IpAddr,
    /// Protocol and port: tcp/443, udp/53, icmp
    #[arg(value_name = "SERVICE")]
    service: ProbeService,
    /// The interface that it comes in by [default: the route back to SRC]
    #[arg(long = "in", value_name = "IF")]
    input: Option<String>,
    /// The interface that it leaves by [default: the route to DST]
    #[arg(long = "out", value_name = "IF")]
    output: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Copies the rules, sets, links, addresses and routes of this host into a scratch network namespace,
sends one packet and then one connection through it, and shows which rule decided. The host is only
read.

Examples:
  tagwall probe 10.20.0.10 203.0.113.7 tcp/443
  tagwall probe 10.20.0.10 203.0.113.7 tcp/443 --in lan0 --out wan0
  tagwall probe fd00:20::10 2001:db8::7 icmp --json | jq .decided_by

Exit codes: 0 accepted, 1 dropped, 2 command line, 6 system, 7 unknown (the reason is shown).";

#[derive(Serialize)]
struct Document<'r> {
    format: &'static str,
    #[serde(flatten)]
    report: &'r Report,
}

pub(super) fn run(args: &ProbeArgs, printer: &Printer) -> anyhow::Result<Exit> {
    if !rustix::process::geteuid().is_root() {
        bail!("a probe needs root: it reads this host's rules and makes a network namespace");
    }
    let flow = Flow {
        source: args.source,
        destination: args.destination,
        service: args.service,
        input: args.input.clone(),
        output: args.output.clone(),
    };
    let report = match watched(&flow, printer) {
        Err(ProbeError::Flow(reason)) => return Err(UsageError(reason).into()),
        report => report?,
    };
    if args.json {
        printer.json(&Document { format: "tagwall-probe/1", report: &report })?;
    } else {
        printer.out(&text(&report))?;
    }
    Ok(match report.verdict {
        Verdict::Accepted => Exit::Ok,
        Verdict::Dropped => Exit::Differs,
        Verdict::Unknown => Exit::Firewall,
    })
}

/// Makes the probe, and shows each stage that takes long on stderr.
fn watched(flow: &Flow, printer: &Printer) -> Result<Report, ProbeError> {
    let (sender, stages) = mpsc::channel::<&'static str>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut current = "";
            loop {
                match stages.recv_timeout(PATIENCE) {
                    Ok(stage) => current = stage,
                    Err(RecvTimeoutError::Timeout) if !current.is_empty() => {
                        printer.note(&format!("{current} …"));
                        current = "";
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        });
        let budget = Budget::new(TIME_LIMIT).with_stages(move |stage| {
            // Nobody listens any more only when this command is over.
            _ = sender.send(stage);
        });
        probe::probe(flow, &budget)
    })
}

fn text(report: &Report) -> String {
    let (style, verdict) = match report.verdict {
        Verdict::Accepted => (ADDED, "accepted"),
        Verdict::Dropped => (REMOVED, "dropped"),
        Verdict::Unknown => (WARNING, "unknown"),
    };
    let by = |word: &str, name: &Option<String>| match name {
        Some(name) => format!(", {word} {}", printable(name, RULE_CHARACTERS)),
        None => String::new(),
    };
    let mut text = format!(
        "{style}{verdict}{style:#}  {} -> {} {}{}{}\n",
        report.source,
        report.destination,
        report.service,
        by("in", &report.input),
        by("out", &report.output)
    );
    if let Some(reason) = &report.reason {
        text.push_str(&row("reason", &printable(reason, 2000)));
    }
    if let Some(decision) = &report.decided_by {
        text.push_str(&row("decided by", &decided(decision)));
    } else if report.verdict == Verdict::Accepted {
        text.push_str(&row("decided by", "no chain: nothing filters this packet"));
    }
    text.push_str(&row("connection", &connection(&report.connection)));
    if !report.path.is_empty() {
        text.push_str(&format!("{HEADLINE}path of the first packet{HEADLINE:#}\n"));
    }
    for step in &report.path {
        text.push_str(&step_text(step));
    }
    for note in &report.notes {
        text.push_str(&row("note", &printable(note, 1000)));
    }
    text.push_str(&row("not copied", &report.not_copied.join("; ")));
    text
}

/// A line of a label and what belongs to it, wrapped.
fn row(label: &str, text: &str) -> String {
    let indent = " ".repeat(13);
    format!("{label:<11}  {}\n", wrapped(text, WIDTH - indent.len(), &indent))
}

fn decided(decision: &Decision) -> String {
    if let Some(reason) = &decision.reason {
        return format!("routing: {}", printable(reason, RULE_CHARACTERS));
    }
    let place = place(decision.backend, &decision.family, &decision.table, &decision.chain);
    let what = match &decision.rule {
        Some(rule) => printable(rule, RULE_CHARACTERS),
        None => format!("policy {}", decision.verdict),
    };
    let of = if decision.direction == "reply" { " (of the answer)" } else { "" };
    format!("{place}: {what}{of}")
}

fn place(backend: Backend, family: &str, table: &str, chain: &str) -> String {
    let by = match backend {
        Backend::Nftables | Backend::Routing => String::new(),
        other => format!("{} ", other.name()),
    };
    printable(&format!("{by}{family} {table} {chain}"), RULE_CHARACTERS)
}

fn connection(connection: &Connection) -> String {
    let word = match connection.exchange {
        Exchange::Answered => "answered: data went there and back",
        Exchange::Refused => "refused: a reset or an ICMP error came back",
        Exchange::Silent => "silent: nothing came back",
        Exchange::NotTried => "not tried",
    };
    match &connection.reason {
        Some(reason) => format!("{word} ({})", printable(reason, RULE_CHARACTERS)),
        None => word.to_owned(),
    }
}

fn step_text(step: &Step) -> String {
    let hook = if step.hook.is_empty() { "any hook" } else { &step.hook };
    let priority = match step.priority.as_str() {
        "" => String::new(),
        priority => format!(" ({priority})"),
    };
    let by = if step.by_policy { " by policy" } else { "" };
    let mut text = format!(
        "  {:<28}  {}: {}{by}\n",
        format!("{hook}{priority}"),
        place(step.backend, &step.family, &step.table, &step.chain),
        step.verdict
    );
    for rule in &step.rules {
        let shown = printable(&rule.rule, RULE_CHARACTERS);
        text.push_str(&format!("      {}: {shown}\n", printable(&rule.chain, 64)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_others_cannot_steer_the_terminal() {
        let decision = Decision {
            direction: "reply",
            verdict: "drop".to_owned(),
            backend: Backend::IptablesNft,
            hook: "forward".to_owned(),
            family: "ip".to_owned(),
            table: "filter".to_owned(),
            chain: "FORWARD".to_owned(),
            rule: Some("-A FORWARD -m comment --comment \"\u{1b}[2J\" -j DROP".to_owned()),
            reason: None,
        };
        let shown = decided(&decision);
        assert!(!shown.contains('\u{1b}'), "{shown}");
        assert!(shown.starts_with("iptables-nft ip filter FORWARD: -A FORWARD"), "{shown}");
        assert!(shown.ends_with("(of the answer)"), "{shown}");
    }
}
