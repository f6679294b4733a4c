//! Interfaces of a flow, and the routing's reasons against it.

use std::net::IpAddr;

use super::Scratch;
use crate::probe::path::Trail;
use crate::probe::routes::{Way, host_route, way};
use crate::probe::trace::Ends;
use crate::probe::{Budget, Flow, ProbeError};

/// Interfaces and routes of a flow.
pub(super) struct Resolved {
    /// None where it begins on the host.
    pub(super) input: Option<String>,
    /// None where it ends on the host, or nothing leads to its destination.
    pub(super) output: Option<String>,
    /// True where the destination is the host's own.
    pub(super) to_host: bool,
    /// True where answers leave by the interface that the flow came in by.
    pub(super) symmetric: bool,
    /// Routes that the clone gets for this flow alone.
    routes: Vec<(IpAddr, String)>,
    pub(super) notes: Vec<String>,
}

impl Scratch<'_> {
    /// Finds the interfaces of a flow, by the host's own routing.
    pub(super) fn resolve(&self, flow: &Flow, budget: &Budget) -> Result<Resolved, ProbeError> {
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
            Some(_) if output.is_none() => ask(source, None, None)?,
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

    /// Gives the clone routes of its own where the host's other routes (of policy rules, say) or
    /// the command line lead elsewhere than the clone's.
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

    /// The reason why no packet of the flow can pass, whatever the rules are.
    pub(super) fn closed(&self, flow: &Flow, resolved: &Resolved) -> Option<String> {
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
    pub(super) fn route(
        &self,
        verb: &str,
        resolved: &Resolved,
        budget: &Budget,
    ) -> Result<(), ProbeError> {
        let routes = resolved.routes.iter();
        let batch: String = routes.map(|(to, device)| host_route(verb, *to, device)).collect();
        if !batch.is_empty() {
            self.clone.within(|| self.host.tools.ip(&["-batch", "-"], &batch, budget))?;
        }
        Ok(())
    }

    /// The reason why routing ended the way of a packet that was seen before it, and not behind.
    pub(super) fn unrouted(
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
        // The kernel answers alike about a source that it does not take and a route that is no way.
        let anyhow = self.clone.within(|| way(tools, destination, None, None, budget))?;
        let source_refused = matches!(anyhow, Way::Out(_))
            && matches!(words.as_str(), "Invalid cross-device link" | "Invalid argument");
        if !source_refused {
            return Ok(Some(format!("no route to {destination}: {words}")));
        }
        Ok(Some(match self.clone.within(|| way(tools, source, None, None, budget))? {
            Way::Local => format!("{source} is an address of this host, and comes in by {input}"),
            _ => format!(
                "reverse path filter (rp_filter): no route back to {source} leads through {input}"
            ),
        }))
    }
}
