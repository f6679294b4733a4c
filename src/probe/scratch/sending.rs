//! One flow through the clone: its first packet, then a connection.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::{Scratch, TABLE};
use crate::probe::path::{ARRIVE, ENTER, Ending, LEAVE, START, Trail};
use crate::probe::report::{Connection, Decision, Exchange, Report, Verdict};
use crate::probe::routes::{Way, host_route, way};
use crate::probe::send::{First, Service, converse};
use crate::probe::trace::{Ends, Event, Outcome, TraceSocket};
use crate::probe::{Budget, Flow, ProbeError, ProbeService};

/// How long the first event of a packet is waited for: less than the second after which TCP would
/// send it again.
const FIRST_EVENT: Duration = Duration::from_millis(900);
/// How long a packet may be without an event before its way is taken to be over.
const QUIET: Duration = Duration::from_millis(150);
/// How long a refusal is waited for after a packet was dropped: `reject` sends it before it drops.
const REFUSAL: Duration = Duration::from_millis(20);
/// How long a connection may take: TCP sends its first packet three times.
const PATIENCE: Duration = Duration::from_millis(3500);

/// Where a flow comes in and leaves.
struct Resolved {
    /// None where it begins on the host.
    input: Option<String>,
    /// None where it ends on the host, or nothing leads to its destination.
    output: Option<String>,
    /// Whether the destination is the host's own.
    to_host: bool,
    /// Whether answers go back the way the flow came.
    symmetric: bool,
    /// Routes that the clone gets for this flow alone.
    routes: Vec<(IpAddr, String)>,
    notes: Vec<String>,
}

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

    /// Finds the interfaces of a flow, by the host's own routing.
    fn resolve(&self, flow: &Flow, budget: &Budget) -> Result<Resolved, ProbeError> {
        let host = self.host;
        for name in flow.input.iter().chain(&flow.output) {
            if host.network.copied().all(|(_, link)| link.ifname != *name) {
                return Err(ProbeError::Flow(format!("interface {name} does not exist")));
            }
        }
        let ask = |to, source, input: Option<&str>| {
            host.own.within(|| way(&host.tools, to, source, input, budget))
        };
        let (source, destination) = (flow.source, flow.destination);
        let input = match (&flow.input, ask(source, None, None)?) {
            (Some(input), _) => Some(input.clone()),
            (None, Way::Out(input)) => Some(input),
            (None, Way::Local) => None,
            (None, Way::None(reason)) => {
                return Err(ProbeError::Flow(format!(
                    "nothing leads back to {source} ({reason}); name the interface that it \
                     comes in by with --in"
                )));
            }
        };
        let forth = ask(destination, Some(source), input.as_deref())?;
        let to_host = forth == Way::Local;
        if to_host && (input.is_none() || flow.output.is_some()) {
            let both = if input.is_none() { " and so is the source" } else { "" };
            return Err(ProbeError::Flow(format!(
                "{destination} is an address of this host{both}"
            )));
        }
        let output = flow.output.clone().or_else(|| forth.out().map(ToOwned::to_owned));
        let back = match &input {
            Some(_) if to_host => ask(source, Some(destination), None)?,
            Some(_) => ask(source, Some(destination), output.as_deref())?,
            None => Way::Local,
        };
        let mut resolved = Resolved {
            symmetric: input.is_none() || back.out() == input.as_deref(),
            input,
            output,
            to_host,
            routes: Vec::new(),
            notes: Vec::new(),
        };
        if let (Some(wanted), Some(usual)) = (&flow.output, forth.out())
            && wanted != usual
        {
            let note = format!("the host's own route to {destination} leads through {usual}");
            resolved.notes.push(note);
        }
        if !resolved.symmetric {
            let leads = match &back {
                Way::Out(name) => format!("leads through {name}"),
                _ => "leads nowhere".to_owned(),
            };
            resolved.notes.push(format!("the host's route back to {source} {leads}"));
        }
        self.adopt(flow, &back, &mut resolved, budget)?;
        Ok(resolved)
    }

    /// Gives the clone routes of its own where the host's other routes (of policy rules, say) or the
    /// command line lead elsewhere than the clone's.
    fn adopt(
        &self,
        flow: &Flow,
        back: &Way,
        resolved: &mut Resolved,
        budget: &Budget,
    ) -> Result<(), ProbeError> {
        let tools = &self.host.tools;
        let (source, destination) = (flow.source, flow.destination);
        if let Some(output) = &resolved.output {
            let input = resolved.input.as_deref();
            let found =
                self.clone.within(|| way(tools, destination, Some(source), input, budget))?;
            if found.out() != Some(output) {
                resolved.routes.push((destination, output.clone()));
            }
        }
        if let Some(output) = back.out() {
            let found = self.clone.within(|| way(tools, source, None, None, budget))?;
            if found.out() != Some(output) {
                resolved.routes.push((source, output.to_owned()));
            }
        }
        Ok(())
    }

    /// Why no packet of the flow can pass, whatever the rules say.
    fn closed(&self, flow: &Flow, resolved: &Resolved) -> Option<String> {
        let (network, settings) = (&self.host.network, &self.host.settings);
        for name in resolved.input.iter().chain(&resolved.output) {
            if network.link(name).is_some_and(|link| !link.is_up()) {
                return Some(format!("interface {name} is down"));
            }
            let off = settings.get(&format!("ipv6/conf/{name}/disable_ipv6"));
            if flow.source.is_ipv6() && off.is_none_or(|off| off != "0") {
                return Some(format!("IPv6 is off on {name}"));
            }
        }
        None
    }

    /// Gives the clone the routes of this flow, or takes them away.
    fn route(&self, verb: &str, resolved: &Resolved, budget: &Budget) -> Result<(), ProbeError> {
        let routes = resolved.routes.iter();
        let batch: String = routes.map(|(to, device)| host_route(verb, *to, device)).collect();
        if !batch.is_empty() {
            self.clone.within(|| self.host.tools.ip(&["-batch", "-"], &batch, budget))?;
        }
        Ok(())
    }

    /// Sends the first packet, which no hook lets out of the clone, and fills in what is known then.
    fn first(
        &self,
        flow: &Flow,
        resolved: &Resolved,
        report: &mut Report,
        budget: &Budget,
    ) -> Result<Trail, ProbeError> {
        if let Some(input) = &resolved.input {
            self.reach(flow.source, flow.destination, input, budget)?;
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
        match lost {
            Some(reason) => report.reason = Some(reason),
            None => {
                report.packet = Verdict::Accepted;
                report.decided_by = trail.acceptance();
            }
        }
        Ok(trail)
    }

    /// Why routing ended the way of a packet that was seen before it, and not behind.
    fn unrouted(
        &self,
        flow: &Flow,
        resolved: &Resolved,
        trail: &Trail,
        place: &str,
        budget: &Budget,
    ) -> Result<Option<String>, ProbeError> {
        if place != "routing" {
            return Ok(None);
        }
        let Some(input) = resolved.input.as_deref() else {
            return Ok(None);
        };
        let v4 = flow.source.is_ipv4();
        let ends = trail.ends.unwrap_or(Ends {
            source: flow.source,
            destination: flow.destination,
            port: flow.service.port(),
        });
        let tools = &self.host.tools;
        let forth = self
            .clone
            .within(|| way(tools, ends.destination, Some(ends.source), Some(input), budget))?;
        let forwarding = if v4 { "ipv4/ip_forward" } else { "ipv6/conf/all/forwarding" };
        let of_input = format!("ipv4/conf/{input}/forwarding");
        for setting in [forwarding, &of_input] {
            let off = self.host.settings.get(setting) == Some("0");
            if off && forth != Way::Local && (v4 || setting == forwarding) {
                let name = setting.replace('/', ".");
                return Ok(Some(format!("this host does not forward: net.{name} is 0")));
            }
        }
        let Way::None(words) = forth else {
            return Ok(None);
        };
        let (source, destination) = (ends.source, ends.destination);
        // What older and newer kernels answer about a source that they do not take.
        if !matches!(words.as_str(), "Invalid cross-device link" | "Invalid argument") {
            return Ok(Some(format!("no route to {destination}: {words}")));
        }
        Ok(Some(match self.clone.within(|| way(tools, source, None, None, budget))? {
            Way::Local => format!("{source} is an address of this host, and comes in by {input}"),
            _ => format!(
                "reverse path filter (rp_filter): no route back to {source} leads through {input}"
            ),
        }))
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
        let ends = trail.ends.filter(|_| report.packet == Verdict::Accepted).unwrap_or(Ends {
            source: flow.source,
            destination: flow.destination,
            port: flow.service.port(),
        });
        let arrives = match report.packet {
            // A translation may lead elsewhere than the route to the destination.
            Verdict::Accepted => trail.ending == Ending::Arrived,
            _ => resolved.to_host,
        };
        if !arrives && let Some(output) = &report.output {
            self.reach(ends.destination, ends.source, output, budget)?;
        }
        let service = flow.service.with_port(ends.port);
        let at = if arrives { &self.clone } else { &self.outside };
        let service = at.within(|| {
            Service::open(ends.destination, service)
                .map_err(ProbeError::io(format!("cannot listen on {}", ends.destination)))
        })?;
        let own = &self.legend.own;
        let rules = format!(
            "flush table inet {own}\nadd rule inet {own} {ENTER} meta nftrace set 1\n\
             add rule inet {own} {START} meta nftrace set 1\n"
        );
        let (trace, before) = self.clone.within(|| {
            self.host.tools.nft(&["-f", "-"], &rules, budget)?;
            let before = self.counters(budget)?;
            Ok((open_trace()?, before))
        })?;
        let from = if resolved.input.is_some() { &self.outside } else { &self.clone };
        let patience = budget.left()?.min(PATIENCE);
        let stop = AtomicBool::new(false);
        let (exchange, reason) = thread::scope(|scope| {
            scope.spawn(|| service.serve(&stop));
            let result = from.within(|| Ok(converse(flow, patience)));
            stop.store(true, Ordering::Relaxed);
            result
        })?;
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
        let met = self.clone.within(|| self.counters(budget))?.since(&before);
        let legacy = met.into_iter().find(|step| step.verdict == "drop");
        match self.culprit(&events, ends).or(legacy.map(|step| step.decision("reply"))) {
            Some(decision) => {
                report.verdict = Verdict::Dropped;
                report.decided_by = Some(decision);
            }
            None => {
                report.reason = Some(
                    "the first packet passes, but no connection came about, and nothing was seen \
                     to drop it"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }

    /// What dropped a packet of a connection.
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

    /// Makes `address` one of the outside's own, whose packets to `peer` go out by the other end of
    /// an interface of the clone.
    fn reach(
        &self,
        address: IpAddr,
        peer: IpAddr,
        interface: &str,
        budget: &Budget,
    ) -> Result<(), ProbeError> {
        let device = self.host.network.peer_of(interface).unwrap_or_default();
        let length = if address.is_ipv4() { 32 } else { 128 };
        let there = host_route("replace", peer, &device);
        let batch = format!(
            "route replace local {address}/{length} dev lo table local\n{} table {TABLE}\n",
            there.trim_end()
        );
        self.outside.within(|| self.host.tools.ip(&["-batch", "-"], &batch, budget))?;
        Ok(())
    }
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
