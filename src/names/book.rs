//! Every name with its addresses, since when, until when and by whom.
//!
//! Owns what is concluded from what resolvers say. Promises: pure, told the time; addresses leave only when every resolver
//! that gave them has given others since, their grace period is over and the name still has others; nothing that a
//! resolver says empties a name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::agenda::Agenda;
use super::answer::{Look, Reply, Said};
use super::news::News;
use super::schedule;
use super::steps;
use super::wanted::wanted;
use crate::config::{Config, Dns, DnsPolicy, HostName};
use crate::intent::Intent;
use crate::prefix::special::special_kind;
use crate::ruleset::Family;
use crate::selection::HostAddresses;

/// Most different addresses that are remembered as refused for one name.
const MOST_REFUSED: usize = 16;
/// Longest chain of aliases that is remembered.
pub(super) const MOST_ALIASES: usize = 16;

/// Every name that is resolved, and what is known of it.
#[derive(Debug, Clone, Default)]
pub struct Book {
    names: BTreeMap<HostName, Entry>,
    /// The next lookup of each name, but for those that are being looked up.
    lookups: Agenda,
    /// The next address that leaves, of each name that has one.
    departures: Agenda,
}

/// Books are equal when the names are: who is being looked up is no part of it.
impl PartialEq for Book {
    fn eq(&self, other: &Self) -> bool {
        self.names == other.names
    }
}

impl Eq for Book {}

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its addresses.
    pub addresses: BTreeMap<IpAddr, Known>,
    /// Addresses of the last answers that were refused, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<IpAddr, String>,
    /// The names that it led to last, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The time to live of the last answer, in seconds, as answered.
    pub ttl: Option<u32>,
    /// The last look.
    pub looked: Option<Timestamp>,
    /// The last look that brought an address.
    pub answered: Option<Timestamp>,
    /// Looks since then that brought none.
    pub failures: u32,
    /// What resolvers had instead of addresses at the last look, by resolver.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub troubles: BTreeMap<String, String>,
    /// The next look.
    pub due: Timestamp,
}

/// What is known of an address of a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The first answer with it.
    pub first: Timestamp,
    /// The last answer with it.
    pub last: Timestamp,
    /// The resolvers whose last answer has it.
    pub by: BTreeSet<String>,
    /// When it leaves, because no resolver has it any more.
    pub leaves: Option<Timestamp>,
}

/// What an event changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Changed {
    /// Whether any name's addresses are others than before: the rules have to follow.
    pub addresses: bool,
    /// What is worth saying.
    pub news: Vec<News>,
}

impl Changed {
    /// Takes up what another event changed.
    pub fn join(&mut self, other: Self) {
        self.addresses |= other.addresses;
        self.news.extend(other.news);
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        !self.addresses && self.news.is_empty()
    }
}

impl Entry {
    fn new(now: Timestamp) -> Self {
        Self {
            addresses: BTreeMap::new(),
            refused: BTreeMap::new(),
            aliases: Vec::new(),
            ttl: None,
            looked: None,
            answered: None,
            failures: 0,
            troubles: BTreeMap::new(),
            due: now,
        }
    }

    /// Whether any address is answered at present: only then may another leave.
    fn has_current(&self) -> bool {
        self.addresses.values().any(|known| known.leaves.is_none())
    }

    /// The addresses that count at a time.
    pub fn current(&self, now: Timestamp) -> impl Iterator<Item = (IpAddr, &Known)> {
        let keeps_all = !self.has_current();
        self.addresses
            .iter()
            .filter(move |(_, known)| keeps_all || known.leaves.is_none_or(|leaves| now < leaves))
            .map(|(address, known)| (*address, known))
    }

    /// When an address leaves next.
    fn next_leave(&self) -> Option<Timestamp> {
        if !self.has_current() {
            return None;
        }
        self.addresses.values().filter_map(|known| known.leaves).min()
    }

    /// Lets go whose time has come.
    fn release(&mut self, now: Timestamp) -> Vec<IpAddr> {
        let kept: BTreeSet<IpAddr> = self.current(now).map(|(address, _)| address).collect();
        let gone =
            self.addresses.keys().filter(|address| !kept.contains(*address)).copied().collect();
        self.addresses.retain(|address, _| kept.contains(address));
        gone
    }
}

impl Book {
    /// A book of these names.
    pub(super) fn new(names: BTreeMap<HostName, Entry>) -> Self {
        let mut book = Self { names, ..Self::default() };
        book.plan();
        book
    }

    /// The names as they are stored.
    pub(super) fn names(&self) -> &BTreeMap<HostName, Entry> {
        &self.names
    }

    /// Every name with what is known of it.
    pub fn entries(&self) -> impl Iterator<Item = (&HostName, &Entry)> {
        self.names.iter().inspect(|_| steps::count())
    }

    /// What is known of a name.
    pub fn entry(&self, name: &HostName) -> Option<&Entry> {
        self.names.get(name)
    }

    /// Takes up the names that are wanted and forgets all others, and what resolvers said that are asked no more. What a
    /// forgotten resolver gave stays for its grace period.
    pub fn want(
        &mut self,
        wanted: &BTreeSet<HostName>,
        resolvers: &BTreeSet<String>,
        dns: &Dns,
        now: Timestamp,
    ) -> Changed {
        let mut changed = Changed::default();
        self.names.retain(|name, entry| {
            steps::count();
            let kept = wanted.contains(name);
            changed.addresses |= !kept && !entry.addresses.is_empty();
            kept
        });
        for name in wanted {
            self.names.entry(name.clone()).or_insert_with(|| Entry::new(now));
        }
        for (name, entry) in &mut self.names {
            let policy = dns.policy(name);
            // The settings may be others than those under which it was answered, and the file is only a file.
            let before = entry.addresses.len();
            entry
                .addresses
                .retain(|address, _| refusal(*address, family_of(*address), &policy).is_none());
            make_room(entry, policy.max_addresses);
            changed.addresses |= before != entry.addresses.len();
            entry.troubles.retain(|resolver, _| resolvers.contains(resolver));
            for known in entry.addresses.values_mut() {
                known.by.retain(|resolver| resolvers.contains(resolver));
                if known.by.is_empty() && known.leaves.is_none() {
                    known.leaves = Some(schedule::leaves(now, policy.grace.into()));
                }
            }
        }
        self.plan();
        changed
    }

    /// Keeps what a configuration wants and lets be used, whoever answered it: for those who ask nobody.
    pub fn keep(&mut self, config: &Config, now: Timestamp) {
        let known = self.names.values().flat_map(|entry| entry.addresses.values());
        let everyone = known.flat_map(|known| known.by.iter().cloned()).collect();
        let names = wanted(config, &Intent::of(config));
        // Nobody is told: the caller plans from what is left anyway.
        let _ = self.want(&names, &everyone, &config.dns, now);
    }

    /// The names to look up by now, and those that would follow within `ahead`: one batch instead of several. Each is given
    /// once, until its answer is applied.
    pub fn take_due(&mut self, now: Timestamp, ahead: Duration) -> Vec<HostName> {
        // What is due later than ever can be was written under another clock.
        let ever = schedule::later(now, Dns::MOST_TTL.into());
        let by_now = self.lookups.first().is_some_and(|first| first <= now);
        let mut due = self.lookups.take_after(ever);
        if by_now || !due.is_empty() {
            due.extend(self.lookups.take_until(schedule::later(now, ahead)));
        }
        due
    }

    /// Makes every name due now, also those that are being looked up.
    pub(super) fn hurry(&mut self, now: Timestamp) {
        for entry in self.names.values_mut() {
            entry.due = entry.due.min(now);
        }
        self.plan();
    }

    /// When something is to be done: a name looked up, or an address let go. None without names.
    pub fn next_due(&self) -> Option<Timestamp> {
        [self.lookups.first(), self.departures.first()].into_iter().flatten().min()
    }

    /// Puts every name on the agendas.
    fn plan(&mut self) {
        (self.lookups, self.departures) = (Agenda::default(), Agenda::default());
        for (name, entry) in &self.names {
            self.lookups.set(name, Some(entry.due));
            self.departures.set(name, entry.next_leave());
        }
    }

    /// The addresses of every name that has any.
    pub fn addresses(&self, now: Timestamp) -> HostAddresses {
        let set =
            |entry: &Entry| entry.current(now).map(|(address, _)| IpNet::from(address)).collect();
        self.names
            .iter()
            .filter(|(_, entry)| !entry.addresses.is_empty())
            .map(|(name, entry)| (name.clone(), set(entry)))
            .collect()
    }

    /// Lets go the addresses whose grace period is over.
    pub fn release(&mut self, now: Timestamp) -> Changed {
        let mut changed = Changed::default();
        for name in self.departures.take_until(now) {
            let Some(entry) = self.names.get_mut(&name) else { continue };
            let left = entry.release(now);
            self.departures.set(&name, entry.next_leave());
            if !left.is_empty() {
                changed.addresses = true;
                changed.news.push(News::Left(name, left));
            }
        }
        changed
    }

    /// Concludes from what resolvers said. `spread` is a number from 0 to 1, another each time: names that were answered
    /// together are not asked together for ever.
    pub fn apply(
        &mut self,
        look: &Look,
        policy: &DnsPolicy,
        now: Timestamp,
        spread: f64,
    ) -> Changed {
        let Some(entry) = self.names.get_mut(&look.name) else { return Changed::default() };
        let mut changed = Changed::default();
        let before: BTreeSet<IpAddr> = entry.addresses.keys().copied().collect();
        let refused_before = std::mem::take(&mut entry.refused);
        entry.looked = Some(now);
        entry.troubles.clear();
        let mut ttl: Option<u32> = None;
        for reply in &look.replies {
            if let Some(answered) = take(entry, reply, policy, now) {
                ttl = Some(ttl.map_or(answered, |known| known.min(answered)));
            }
        }
        for known in entry.addresses.values_mut().filter(|known| known.by.is_empty()) {
            let leaves = || schedule::leaves(now, policy.grace.into());
            known.leaves = known.leaves.or_else(|| Some(leaves()));
        }
        if let Some(ttl) = ttl {
            if entry.failures > 0 {
                changed.news.push(News::Recovered(look.name.clone()));
            }
            entry.ttl = Some(ttl);
            entry.answered = Some(now);
            entry.failures = 0;
            entry.due = schedule::after_answer(now, schedule::bounded(ttl, policy), spread);
        } else {
            entry.failures = entry.failures.saturating_add(1);
            if entry.failures == 1 {
                let reasons: BTreeSet<&str> = entry.troubles.values().map(String::as_str).collect();
                let reasons = reasons.into_iter().collect::<Vec<_>>().join("; ");
                changed.news.push(News::Failing(look.name.clone(), reasons));
            }
            entry.due = schedule::after_failure(now, entry.failures, policy, spread);
        }
        entry.release(now);
        let crowded = make_room(entry, policy.max_addresses);
        self.lookups.set(&look.name, Some(entry.due));
        self.departures.set(&look.name, entry.next_leave());
        for (address, reason) in &entry.refused {
            if !refused_before.contains_key(address) {
                changed.news.push(News::Refused(look.name.clone(), *address, reason.clone()));
            }
        }
        let after: BTreeSet<IpAddr> = entry.addresses.keys().copied().collect();
        let appeared: Vec<IpAddr> = after.difference(&before).copied().collect();
        let left: Vec<IpAddr> =
            before.difference(&after).filter(|gone| !crowded.contains(gone)).copied().collect();
        changed.addresses = before != after;
        if !appeared.is_empty() {
            changed.news.push(News::Appeared(look.name.clone(), appeared));
        }
        if !left.is_empty() {
            changed.news.push(News::Left(look.name.clone(), left));
        }
        if !crowded.is_empty() {
            changed.news.push(News::Crowded(look.name.clone(), crowded));
        }
        changed
    }
}

/// Takes what one resolver said into the entry. Returns the time to live when it gave an address that counts.
fn take(entry: &mut Entry, reply: &Reply, policy: &DnsPolicy, now: Timestamp) -> Option<u32> {
    let mut shortest: Option<u32> = None;
    let mut trouble: Option<String> = None;
    let mut given: BTreeMap<Family, BTreeSet<IpAddr>> = BTreeMap::new();
    for (family, said) in reply.said() {
        match said {
            Said::Addresses { addresses, ttl, aliases } => {
                let mut taken = BTreeSet::new();
                for &address in addresses {
                    match refusal(address, family, policy) {
                        None => _ = taken.insert(address),
                        Some(reason) => refuse(entry, address, reason),
                    }
                }
                if taken.is_empty() {
                    trouble = Some("only addresses that are refused".to_owned());
                    continue;
                }
                entry.aliases = aliases.iter().take(MOST_ALIASES).cloned().collect();
                shortest = Some(shortest.map_or(*ttl, |known| known.min(*ttl)));
                given.insert(family, taken);
            }
            // A name of one family is the common case; whether it is a name at all shows in the other.
            Said::Nothing => _ = given.insert(family, BTreeSet::new()),
            Said::NoSuchName | Said::Failed(_) => {
                trouble = said.trouble().map(str::to_owned).or(trouble);
            }
        }
    }
    if shortest.is_none() {
        let nothing = || Said::Nothing.trouble().unwrap_or_default().to_owned();
        entry.troubles.insert(reply.resolver.clone(), trouble.unwrap_or_else(nothing));
        return None;
    }
    if let Some(trouble) = trouble {
        entry.troubles.insert(reply.resolver.clone(), trouble);
    }
    for (family, addresses) in given {
        for (address, known) in &mut entry.addresses {
            if family_of(*address) == family && !addresses.contains(address) {
                known.by.remove(&reply.resolver);
            }
        }
        for address in addresses {
            let new = Known { first: now, last: now, by: BTreeSet::new(), leaves: None };
            let known = entry.addresses.entry(address).or_insert(new);
            known.last = now;
            known.leaves = None;
            known.by.insert(reply.resolver.clone());
        }
    }
    shortest
}

/// Why an address may not be let through for a name.
fn refusal(address: IpAddr, family: Family, policy: &DnsPolicy) -> Option<String> {
    if family_of(address) != family {
        return Some("an address of the other family".to_owned());
    }
    if policy.allow_special.contains(address) {
        return None;
    }
    special_kind(IpNet::from(address)).map(str::to_owned)
}

fn refuse(entry: &mut Entry, address: IpAddr, reason: String) {
    if entry.refused.len() < MOST_REFUSED {
        entry.refused.insert(address, reason);
    }
}

/// Brings a name back to the most addresses that it may have. Those that have gone leave first, the longest gone before all;
/// then those that came last. Returns the former.
fn make_room(entry: &mut Entry, most: usize) -> Vec<IpAddr> {
    let over = entry.addresses.len().saturating_sub(most);
    if over == 0 {
        return Vec::new();
    }
    let mut gone: Vec<(Timestamp, IpAddr)> = Vec::new();
    let mut current: Vec<(Timestamp, IpAddr)> = Vec::new();
    for (address, known) in &entry.addresses {
        match known.leaves {
            Some(leaves) => gone.push((leaves, *address)),
            None => current.push((known.first, *address)),
        }
    }
    gone.sort_unstable();
    gone.truncate(over);
    current.sort_unstable();
    for (_, address) in current.into_iter().rev().take(over - gone.len()) {
        entry.addresses.remove(&address);
        refuse(entry, address, format!("the name has more than {most} addresses"));
    }
    let crowded: Vec<IpAddr> = gone.into_iter().map(|(_, address)| address).collect();
    for address in &crowded {
        entry.addresses.remove(address);
    }
    crowded
}

fn family_of(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

#[cfg(test)]
mod tests;
