//! One flow through the clone: its first packet, then a connection.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::resolving::Resolved;
use super::{Scratch, TABLE};
use crate::probe::counters::Counters;
use crate::probe::path::{ARRIVE, ENTER, Ending, LEAVE, START, Trail};
use crate::probe::report::{Connection, Decision, Exchange, Report, Verdict};
use crate::probe::routes::host_route;
use crate::probe::send::{First, Service, converse};
use crate::probe::trace::{Ends, Event, Outcome, TraceSocket};
use crate::probe::{Budget, Flow, ProbeError, ProbeService};

/// Longest wait for the first event of a packet: less than the second after which TCP would
/// send it again.
const FIRST_EVENT: Duration = Duration::from_millis(900);
/// Time without an event after which a packet's way is over.
const QUIET: Duration = Duration::from_millis(150);
/// Longest wait for a refusal after a packet was dropped: `reject` sends it before it drops.
const REFUSAL: Duration = Duration::from_millis(20);
/// Time limit of a connection: TCP sends its first packet three times.
const PATIENCE: Duration = Duration::from_millis(3500);

/// Most ends of a translation that are tried, where each datagram may come to another one.
const ENDPOINTS: usize = 8;

impl Scratch<'_> {
    /// Sends a flow, and reports what became of it.
    pub fn send(&self, flow: &Flow, budget: &Budget) -> Result<Report, ProbeError> {
        budget.stage("sending through the clone");
        if let Some(fault) = flow.fault() {
            return Err(ProbeError::Flow(fault));
        }
        let resolved = self.resolve(flow, budget)?;
        let mut report = Report::new(flow);
        report.input.clone_from(&resolved.input);
        report.output.clone_from(&resolved.output);
        report.notes = self.notes.iter().chain(&resolved.notes).cloned().collect();
        if let Some(reason) = self.closed(flow, &resolved) {
            drop_by(&mut report, Decision::routing("original", reason));
            return Ok(report);
        }
        self.route("replace", &resolved, budget)?;
        let sent = self.exchange(flow, &resolved, &mut report, budget);
        self.route("del", &resolved, budget)?;
        sent.map(|()| report)
    }

    fn exchange(
        &self,
        flow: &Flow,
        resolved: &Resolved,
        report: &mut Report,
        budget: &Budget,
    ) -> Result<(), ProbeError> {
        let trail = self.first(flow, resolved, report, budget)?;
        if report.packet == Verdict::Dropped {
            return Ok(());
        }
        if !resolved.symmetric {
            report.connection.reason =
                Some("the route back to the source leads elsewhere".to_owned());
            report.verdict = report.packet;
            return Ok(());
        }
        self.connection(flow, resolved, &trail, report, budget)
    }

    /// Sends the first packet, which no hook lets out of the clone, and fills in what is known
    /// then.
    fn first(
        &self,
        flow: &Flow,
        resolved: &Resolved,
        report: &mut Report,
        budget: &Budget,
    ) -> Result<Trail, ProbeError> {
        if let Some(input) = &resolved.input {
            self.reach(flow.destination, input, budget)?;
        }
        let own = &self.legend.own;
        let (mine, sink) = (matches(flow), sink(flow));
        let rules = format!(
            "flush table inet {own}\n\
             add rule inet {own} {ENTER} {mine} meta nftrace set 1\n\
             add rule inet {own} {START} {mine} meta nftrace set 1\n\
             add rule inet {own} {ARRIVE} {sink} drop\nadd rule inet {own} {LEAVE} {sink} drop\n"
        );
        let (trace, before) = self.clone.within(|| {
            self.host.tools.nft(&["-f", "-"], &rules, budget)?;
            let before = self.counters(budget)?;
            Ok((open_trace()?, before))
        })?;
        let from = if resolved.input.is_some() { &self.outside } else { &self.clone };
        let sent = from.within(|| Ok(First::send(flow)))?;
        let events = until_over(&trace, budget)?;
        let mut trail = self.legend.trail(&events);
        let met = self.clone.within(|| self.counters(budget))?.since(&before);
        let dropped = met.iter().find(|step| step.verdict == "drop").cloned();
        trail.steps.extend(met);
        report.path.clone_from(&trail.steps);
        if let Ok(socket) = &sent
            && let Some(error) = socket.refusal(budget.within(REFUSAL))
        {
            report.connection = Connection {
                exchange: Exchange::Refused,
                reason: Some(std::io::Error::from(error).to_string()),
            };
        }
        let lost = match &trail.ending {
            Ending::Left(index) => {
                report.output = self.interfaces.get(index).cloned();
                None
            }
            Ending::Arrived => None,
            Ending::Ended => {
                let last = self.legend.trail(&events).steps.pop();
                match last {
                    Some(step) if step.verdict == "drop" => {
                        drop_by(report, step.decision("original"));
                        return Ok(trail);
                    }
                    Some(step) => Some(format!(
                        "table {} {} gives the packet to something else ({})",
                        step.family, step.table, step.verdict
                    )),
                    None => Some("the trace has no chain".to_owned()),
                }
            }
            Ending::Lost(place) => {
                if let Some(step) = dropped {
                    drop_by(report, step.decision("original"));
                    return Ok(trail);
                }
                let place = *place;
                if let Some(reason) = self.unrouted(flow, resolved, &trail, place, budget)? {
                    drop_by(report, Decision::routing("original", reason));
                    return Ok(trail);
                }
                let error = sent.err().map(|error| format!(" ({error})")).unwrap_or_default();
                Some(format!("the first packet was last seen in {place}{error}"))
            }
        };
        if lost.is_some() {
            report.reason = lost;
        } else {
            report.packet = Verdict::Accepted;
            report.decided_by = trail.acceptance();
        }
        Ok(trail)
    }

    /// Tries a connection, with a service at the end that the first packet came to.
    fn connection(
        &self,
        flow: &Flow,
        resolved: &Resolved,
        trail: &Trail,
        report: &mut Report,
        budget: &Budget,
    ) -> Result<(), ProbeError> {
        let mut ends = trail.ends.filter(|_| report.packet == Verdict::Accepted).unwrap_or(Ends {
            source: flow.source,
            destination: flow.destination,
            port: flow.service.port(),
        });
        let arrives = match report.packet {
            // A translation may lead elsewhere than the route to the destination.
            Verdict::Accepted => trail.ending == Ending::Arrived,
            _ => resolved.to_host,
        };
        let at = if arrives { &self.clone } else { &self.outside };
        let own = &self.legend.own;
        let rules = format!(
            "flush table inet {own}\nadd rule inet {own} {ENTER} meta nftrace set 1\n\
             add rule inet {own} {START} meta nftrace set 1\n"
        );
        self.clone.within(|| self.host.tools.nft(&["-f", "-"], &rules, budget))?;
        let from = if resolved.input.is_some() { &self.outside } else { &self.clone };
        let mut services: Vec<(Ends, Service)> = Vec::new();
        for _ in 0..ENDPOINTS {
            if !arrives && let Some(output) = &report.output {
                self.reach(ends.source, output, budget)?;
            }
            services.push((
                ends,
                at.within(|| {
                    Service::open(ends.destination, flow.service.with_port(ends.port))
                        .map_err(ProbeError::io(format!("cannot listen on {}", ends.destination)))
                })?,
            ));
            let (trace, before) =
                self.clone.within(|| Ok((open_trace()?, self.counters(budget)?)))?;
            let patience = budget.left()?.min(PATIENCE);
            let (exchange, reason) =
                served(&services, || from.within(|| Ok(converse(flow, patience))))?;
            report.connection = Connection { exchange, reason };
            if exchange == Exchange::Answered {
                report.verdict = Verdict::Accepted;
                report.packet = Verdict::Accepted;
                report.reason = None;
                return Ok(());
            }
            if report.packet != Verdict::Accepted {
                return Ok(());
            }
            let events = all_there(&trace, budget)?;
            // A translation that balances load has chosen an end that nobody serves yet.
            let served = |end: &Ends| services.iter().any(|(known, _)| known == end);
            let datagram = matches!(flow.service, ProbeService::Udp(_));
            match self.left(&events).filter(|end| datagram && !served(end)) {
                Some(other) => ends = other,
                None => return self.blame(&events, ends, &before, report, budget),
            }
        }
        report.reason = Some("translations lead to too many different ends".to_owned());
        Ok(())
    }

    /// Finds what dropped a packet of a connection that did not come about.
    fn blame(
        &self,
        events: &[Event],
        ends: Ends,
        before: &Counters,
        report: &mut Report,
        budget: &Budget,
    ) -> Result<(), ProbeError> {
        let met = self.clone.within(|| self.counters(budget))?.since(before);
        let legacy = met.into_iter().find(|step| step.verdict == "drop");
        let decision = self.culprit(events, ends);
        report.decided_by = decision.or(legacy.map(|step| step.decision("reply")));
        if report.decided_by.is_some() {
            report.verdict = Verdict::Dropped;
        } else {
            let reason = "the first packet passes, but no connection came about, and nothing \
                          was seen to drop it";
            report.reason = Some(reason.to_owned());
        }
        Ok(())
    }

    /// The ends of the first packet that left the clone.
    fn left(&self, events: &[Event]) -> Option<Ends> {
        let own = &self.legend.own;
        events.iter().find(|event| event.table == *own && event.chain == LEAVE)?.ends
    }

    /// The rule or policy that dropped a packet of a connection.
    fn culprit(&self, events: &[Event], ends: Ends) -> Option<Decision> {
        let dropped = events
            .iter()
            .find(|event| event.outcome == Outcome::Drop && event.table != self.legend.own)?;
        let packet: Vec<Event> =
            events.iter().filter(|event| event.id == dropped.id).cloned().collect();
        let reply = packet
            .iter()
            .find_map(|event| event.ends)
            .is_some_and(|first| first.source == ends.destination);
        let trail = self.legend.trail(&packet);
        let step = trail.steps.iter().find(|step| step.verdict == "drop")?;
        Some(step.decision(if reply { "reply" } else { "original" }))
    }

    /// Leads what is sent outside to an address to the other end of an interface of the clone.
    fn reach(&self, to: IpAddr, interface: &str, budget: &Budget) -> Result<(), ProbeError> {
        let device = self.host.network.peer_of(interface).unwrap_or_default();
        let batch = format!("{} table {TABLE}\n", host_route("replace", to, &device).trim_end());
        self.outside.within(|| self.host.tools.ip(&["-batch", "-"], &batch, budget))?;
        Ok(())
    }
}

/// Does something while services answer.
fn served<T>(
    services: &[(Ends, Service)],
    work: impl FnOnce() -> Result<T, ProbeError>,
) -> Result<T, ProbeError> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for (_, service) in services {
            scope.spawn(|| service.serve(&stop));
        }
        let result = work();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

fn drop_by(report: &mut Report, decision: Decision) {
    report.verdict = Verdict::Dropped;
    report.packet = Verdict::Dropped;
    report.decided_by = Some(decision);
}

fn open_trace() -> Result<TraceSocket, ProbeError> {
    TraceSocket::open().map_err(ProbeError::io("cannot listen to the kernel's trace"))
}

/// The events of the first packet, until its way is over.
fn until_over(trace: &TraceSocket, budget: &Budget) -> Result<Vec<Event>, ProbeError> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        let wait = if events.is_empty() { FIRST_EVENT } else { QUIET };
        let more = next(trace, wait, budget)?;
        // Everything but going on ends a packet's way, in the clone's own table too.
        let over = more
            .iter()
            .any(|event| matches!(event.outcome, Outcome::Drop | Outcome::Queue | Outcome::Stolen));
        if more.is_empty() {
            budget.left()?;
            return Ok(events);
        }
        events.extend(more);
        if over {
            return Ok(events);
        }
    }
}

/// The events that wait to be read.
fn all_there(trace: &TraceSocket, budget: &Budget) -> Result<Vec<Event>, ProbeError> {
    let mut events = Vec::new();
    loop {
        let more = next(trace, Duration::from_millis(10), budget)?;
        if more.is_empty() {
            return Ok(events);
        }
        events.extend(more);
    }
}

fn next(trace: &TraceSocket, wait: Duration, budget: &Budget) -> Result<Vec<Event>, ProbeError> {
    trace.next(budget.within(wait)).map_err(ProbeError::io("the kernel's trace was lost"))
}

/// The match of the first packet of a flow.
fn matches(flow: &Flow) -> String {
    let ip = if flow.source.is_ipv4() { "ip" } else { "ip6" };
    let service = match flow.service {
        ProbeService::Tcp(port) => format!("tcp dport {port}"),
        ProbeService::Udp(port) => format!("udp dport {port}"),
        ProbeService::Echo => sink(flow),
    };
    format!("{ip} saddr {} {ip} daddr {} {service}", flow.source, flow.destination)
}

/// The match of a first packet whatever its addresses and ports have become. An answer to it (a
/// reset, an ICMP error) does not match.
fn sink(flow: &Flow) -> String {
    match flow.service {
        ProbeService::Tcp(_) => "tcp flags & (fin | syn | rst | ack) == syn".to_owned(),
        ProbeService::Udp(_) => "meta l4proto udp".to_owned(),
        ProbeService::Echo if flow.source.is_ipv4() => "icmp type echo-request".to_owned(),
        ProbeService::Echo => "icmpv6 type echo-request".to_owned(),
    }
}
