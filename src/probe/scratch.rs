//! The clone: this host's rules and network in a namespace of its own, connected with an outside.
//!
//! ```text
//!  ┌─ clone ────────────┐        ┌─ outside ────────────────────────┐
//!  │ lan0, wan0, …      │ ══════ │ tw0, tw1, … : both ends of flows │
//!  │ the host's rules   │  veth  │ no rules, no addresses of its own│
//!  └────────────────────┘        └──────────────────────────────────┘
//! ```
//!
//! Outside, what a process sends is routed by [`TABLE`], and what arrives is taken in whatever its
//! address: so one namespace plays both ends of a flow.

mod resolving;
mod sending;

use std::collections::{BTreeMap, HashMap};

use super::counters::Counters;
use super::host::{self, Host, Part};
use super::listing::{self, Listing};
use super::namespace::Namespace;
use super::network::{self, Link};
use super::path::{ARRIVE, ENTER, FORWARD, LEAVE, Legend, ROUTE, START};
use super::tools::{self, Iptables, uncloned};
use super::{Budget, ProbeError, settings};
use crate::os::command::CommandError;

/// The routing table of what is sent outside.
const TABLE: u32 = 50;

/// A clone of a [`Host`], in which flows can be sent.
#[derive(Debug)]
pub struct Scratch<'h> {
    host: &'h Host,
    clone: Namespace,
    outside: Namespace,
    legend: Legend,
    /// The names of the clone's interfaces.
    interfaces: HashMap<u32, String>,
    notes: Vec<String>,
}

impl<'h> Scratch<'h> {
    /// Makes a clone, loads the host's rules and compares them.
    pub fn new(host: &'h Host, budget: &Budget) -> Result<Self, ProbeError> {
        budget.stage("making scratch namespaces");
        let clone = Namespace::new(&host.tools, budget)?;
        let outside = Namespace::new(&host.tools, budget)?;
        let mut scratch = Self {
            host,
            clone,
            outside,
            legend: Legend {
                listing: Listing::default(),
                saved: host.saved.clone(),
                own: own_name(host),
            },
            interfaces: HashMap::new(),
            notes: host.notes.clone(),
        };
        scratch.connect(budget)?;
        budget.stage("loading this host's rules into the clone");
        scratch.clone.within(|| scratch.load(budget))?;
        scratch.legend.listing = scratch.clone.within(|| scratch.compared(budget))?;
        Ok(scratch)
    }

    /// Makes links, addresses, routes and settings.
    fn connect(&mut self, budget: &Budget) -> Result<(), ProbeError> {
        let (host, network) = (self.host, &self.host.network);
        let ip = |args: &[&str], batch: &str| host.tools.ip(args, batch, budget);
        self.outside.within(|| {
            outside_settings();
            let rules = format!(
                "link set dev lo up\nrule add pref 10 iif lo lookup {TABLE}\n\
                 rule add pref 100 lookup local\nrule del pref 0\n\
                 route add local default dev lo table local\n"
            );
            ip(&["-4", "-batch", "-"], &rules)?;
            if has_ipv6() {
                ip(&["-6", "-batch", "-"], &rules)?;
            }
            Ok(())
        })?;
        let links = network.link_batch(&self.outside.path());
        self.clone.within(|| {
            clone_settings();
            ip(&["-batch", "-"], &links)?;
            Ok(())
        })?;
        self.outside.within(|| ip(&["-batch", "-"], &network.peer_batch()).map(drop))?;
        let (failures, interfaces) = self.clone.within(|| {
            let mut failures = host.settings.write();
            // Turned on after the settings, so that addresses stay.
            ip(&["-batch", "-"], &network.up_batch())?;
            for (family, v4) in [("-4", true), ("-6", false)] {
                let batches = [network.address_batch(v4), network.route_batch(v4)];
                for batch in batches.iter().filter(|batch| !batch.is_empty()) {
                    failures.extend(forgiving(ip(&[family, "-force", "-batch", "-"], batch))?);
                }
            }
            let links: Vec<Link> =
                network::json(&host.tools, &["-j", "-d", "link", "show"], budget)?;
            let names = links.into_iter().map(|link| (link.ifindex, link.ifname));
            Ok((failures, names.collect()))
        })?;
        self.interfaces = interfaces;
        if !failures.is_empty() {
            self.notes.push(format!("not copied: {}", failures.join("; ")));
        }
        Ok(())
    }

    /// Loads sets and rules, and the chains by which a packet's way is seen.
    fn load(&self, budget: &Budget) -> Result<(), ProbeError> {
        let what = "the rules of this host cannot be loaded into a clone";
        let uncloned = |error| uncloned(what, error);
        let host = self.host;
        if !host.ipset.is_empty() {
            tools::run_named("ipset", &["restore"], &host.ipset, budget).map_err(uncloned)?;
        }
        for part in &host.parts {
            match part {
                Part::Nft(text) => host.tools.nft(&["-f", "-"], text, budget),
                Part::Iptables(program, text) => {
                    tools::run_named(program.restore(), &[], text, budget)
                }
            }
            .map_err(uncloned)?;
        }
        for (program, text) in &host.legacy {
            tools::run_named(program.restore(), &[], text, budget).map_err(uncloned)?;
        }
        host.tools.nft(&["-f", "-"], &own_table(&self.legend.own), budget).map_err(uncloned)?;
        Ok(())
    }

    /// The clone's listing; an error where its rules are not the host's.
    fn compared(&self, budget: &Budget) -> Result<Listing, ProbeError> {
        let host = self.host;
        let differs = |what: String| {
            ProbeError::Uncloned(format!("{what} is not the same in the clone as on this host"))
        };
        let output = host
            .tools
            .nft(&["-a", "-s", "-t", "list", "ruleset"], "", budget)
            .map_err(|error| uncloned("the rules of the clone cannot be read", error))?;
        let text = tools::text("nft", output)?;
        let tables: BTreeMap<_, _> =
            listing::tables(&text).into_iter().map(|table| (table.name, table.text)).collect();
        for (name, wanted) in &host.terse {
            let found = tables.get(name).map(|text| listing::unhandled(text));
            if found.as_ref() != Some(wanted) {
                return Err(differs(format!("table {} {}", name.0, name.1)));
            }
        }
        for program in [Iptables::Nft4, Iptables::Nft6] {
            let family = program.family();
            if !host.saved.keys().any(|(of, _)| of == family) {
                continue;
            }
            let found = listing::saved(&host::save(program, budget)?);
            for ((_, name), wanted) in host.saved.iter().filter(|((of, _), _)| of == family) {
                let found = found.get(name).map(|text| listing::uncounted(text));
                if found != Some(listing::uncounted(wanted)) {
                    return Err(differs(format!("table {family} {name} of iptables")));
                }
            }
        }
        for (program, wanted) in &host.legacy {
            let all = |text: &str| {
                let tables = listing::saved(text);
                tables
                    .into_iter()
                    .map(|(name, text)| (name, listing::uncounted(&text)))
                    .collect::<BTreeMap<_, _>>()
            };
            if all(&host::save(*program, budget)?) != all(wanted) {
                return Err(differs(format!("the rules of {}", program.save())));
            }
        }
        Ok(Listing::parse(&text))
    }

    /// The counters of legacy iptables in the clone.
    fn counters(&self, budget: &Budget) -> Result<Counters, ProbeError> {
        let mut counters = Counters::default();
        for (program, _) in &self.host.legacy {
            let output = tools::run_named(program.save(), &["-c"], "", budget)?;
            counters.add(program.family(), &tools::text(program.save(), output)?);
        }
        Ok(counters)
    }
}

/// A name for the clone's own table that the host does not use.
fn own_name(host: &Host) -> String {
    let used = |name: &str| {
        host.terse.keys().chain(host.saved.keys()).any(|(_, table)| table.as_str() == name)
    };
    let mut name = "tagwall-probe".to_owned();
    while used(&name) {
        name.push('-');
    }
    name
}

/// Chains before and behind all others of a hook. The last of postrouting comes before connection
/// tracking confirms a packet, so that what is dropped there leaves no trace of a connection.
fn own_table(name: &str) -> String {
    let first = i32::MIN;
    let last = i32::MAX - 1;
    let mut text = format!("table inet {name} {{\n");
    for (chain, hook, priority) in [
        (ENTER, "prerouting", first),
        (ROUTE, "prerouting", last),
        (FORWARD, "forward", first),
        (START, "output", first),
        (ARRIVE, "input", last),
        (LEAVE, "postrouting", last),
    ] {
        text.push_str(&format!(
            "\tchain {chain} {{\n\
             \ttype filter hook {hook} priority {priority}; policy accept;\n\t}}\n"
        ));
    }
    text.push_str("}\n");
    text
}

/// Settings of the namespace outside, which takes everything and keeps nothing back.
fn outside_settings() {
    for (path, value) in [
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv4/conf/all/accept_local", "1"),
        ("ipv4/ip_nonlocal_bind", "1"),
        ("ipv4/ping_group_range", "0 0"),
        ("ipv4/icmp_ratemask", "0"),
        ("ipv6/ip_nonlocal_bind", "1"),
        ("ipv6/conf/default/addr_gen_mode", "1"),
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/icmp/ratemask", ""),
    ] {
        // Where a kernel lacks one, a flow that needs it does not get through, and is unknown.
        settings::write(path, value);
    }
}

/// Settings of a clone that no host's answer depends on.
fn clone_settings() {
    for (path, value) in [
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv4/ping_group_range", "0 0"),
        ("ipv4/icmp_ratemask", "0"),
        ("ipv6/conf/default/addr_gen_mode", "1"),
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/icmp/ratemask", ""),
    ] {
        settings::write(path, value);
    }
}

fn has_ipv6() -> bool {
    std::path::Path::new("/proc/sys/net/ipv6").is_dir()
}

/// The failed lines of a batch that went on all the same.
fn forgiving(run: tools::Run) -> Result<Vec<String>, ProbeError> {
    match run {
        Ok(_) => Ok(Vec::new()),
        Err(ProbeError::Command(CommandError::Failed { stderr, .. })) => {
            let words = crate::os::command::last_lines(&stderr);
            Ok(words.lines().map(ToOwned::to_owned).collect())
        }
        Err(error) => Err(error),
    }
}
