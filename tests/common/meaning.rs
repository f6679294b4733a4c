//! What a firewall lets through, whatever its language.
//!
//! Owns the canonical form in which dialects are compared, and the reading of chains: rules in order, jumps followed,
//! conditions joined. A rule that accepts new connections without naming own prefixes, remote addresses, a protocol and
//! ports fails the test by itself: it would let anyone through.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::IpNet;
use tagwall::prefix::PrefixSet;

/// Which way a connection is opened, seen from the own prefixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Out,
    In,
}

/// First and last port.
pub(crate) type Ports = (u16, u16);

/// Something that is let through.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    pub(crate) way: Way,
    /// Towards the internet, `ppp*` for a wildcard; none for any.
    pub(crate) interface: Option<String>,
    pub(crate) own: IpNet,
    pub(crate) protocol: String,
    pub(crate) ports: Ports,
    pub(crate) remote: Vec<IpNet>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    way: Way,
    interface: Option<String>,
    own: IpNet,
    protocol: String,
}

/// For each direction, interface, own prefix and protocol: which remote addresses are reached on which ports. Canonical:
/// ranges of ports are disjoint, in order, and as long as their addresses are the same; none is without addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meaning(BTreeMap<Key, Vec<(Ports, PrefixSet)>>);

impl Meaning {
    pub(crate) fn of(facts: impl IntoIterator<Item = Fact>) -> Self {
        let mut by_ports: BTreeMap<(Key, Ports), Vec<IpNet>> = BTreeMap::new();
        for fact in facts {
            let Fact { way, interface, own, protocol, ports, remote } = fact;
            by_ports
                .entry((Key { way, interface, own, protocol }, ports))
                .or_default()
                .extend(remote);
        }
        let mut by_key: BTreeMap<Key, Vec<(Ports, PrefixSet)>> = BTreeMap::new();
        for ((key, ports), remote) in by_ports {
            let remote: PrefixSet = remote.into_iter().collect();
            if !remote.is_empty() {
                by_key.entry(key).or_default().push((ports, remote));
            }
        }
        Self(by_key.into_iter().map(|(key, list)| (key, canonical(&list))).collect())
    }

    /// For dialects that have zones or nothing in the place of interfaces.
    pub(crate) fn without_interfaces(&self) -> Self {
        Self::of(self.0.iter().flat_map(|(key, list)| {
            list.iter().map(|(ports, remote)| Fact {
                way: key.way,
                interface: None,
                own: key.own,
                protocol: key.protocol.clone(),
                ports: *ports,
                remote: remote.iter().collect(),
            })
        }))
    }

    /// How many ranges of ports there are in all.
    pub(crate) fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Whether some fact has this way, family and protocol.
    pub(crate) fn has(&self, way: Way, v6: bool, protocol: &str) -> bool {
        self.0.keys().any(|key| {
            key.way == way && matches!(key.own, IpNet::V6(_)) == v6 && key.protocol == protocol
        })
    }

    /// Every difference to another meaning, in words; empty when they are equal.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let empty = Vec::new();
        let keys: BTreeSet<&Key> = self.0.keys().chain(other.0.keys()).collect();
        let mut found = Vec::new();
        for key in keys {
            let (left, right) =
                (self.0.get(key).unwrap_or(&empty), other.0.get(key).unwrap_or(&empty));
            if left != right {
                found.push(format!("{key}: {} against {}", show(left), show(right)));
            }
        }
        found
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interface = self.interface.as_deref().unwrap_or("any");
        write!(formatter, "{:?} {} on {interface}, {}", self.way, self.own, self.protocol)
    }
}

fn show(list: &[(Ports, PrefixSet)]) -> String {
    let texts = list.iter().map(|((first, last), remote)| {
        let some: Vec<_> = remote.iter().take(3).map(|net| net.to_string()).collect();
        format!("{first}-{last} to {} ({})", remote.len(), some.join(" "))
    });
    format!("[{}]", texts.collect::<Vec<_>>().join("; "))
}

fn canonical(list: &[(Ports, PrefixSet)]) -> Vec<(Ports, PrefixSet)> {
    // Every port at which something begins or has ended.
    let edges: BTreeSet<u32> = list
        .iter()
        .flat_map(|((first, last), _)| [u32::from(*first), u32::from(*last) + 1])
        .collect();
    let edges: Vec<u32> = edges.into_iter().collect();
    let mut out: Vec<(Ports, PrefixSet)> = Vec::new();
    for pair in edges.windows(2) {
        let first = u16::try_from(pair[0]).unwrap();
        let end = u16::try_from(pair[1] - 1).unwrap();
        let mut remote = PrefixSet::new();
        for ((from, to), prefixes) in list {
            if *from <= first && end <= *to {
                remote = remote.union(prefixes);
            }
        }
        if remote.is_empty() {
            continue;
        }
        match out.last_mut() {
            Some(((_, before), same)) if *before + 1 == first && *same == remote => *before = end,
            _ => out.push(((first, end), remote)),
        }
    }
    out
}

/// What a rule of a chain asks for; none means that it does not ask.
#[derive(Debug, Clone, Default)]
pub(crate) struct Match {
    pub(crate) way: Option<Way>,
    pub(crate) from: Option<BTreeSet<String>>,
    pub(crate) towards: Option<BTreeSet<String>>,
    pub(crate) source: Option<PrefixSet>,
    pub(crate) destination: Option<PrefixSet>,
    pub(crate) protocol: Option<String>,
    pub(crate) ports: Option<BTreeSet<Ports>>,
    /// Only packets of connections that are known already.
    pub(crate) established: bool,
}

impl Match {
    /// Both at once; none when nothing can match both.
    fn and(&self, other: &Self) -> Option<Self> {
        #[expect(clippy::option_option, reason = "outside: contradiction; inside: not asked")]
        fn both<T: Clone>(
            left: Option<&T>,
            right: Option<&T>,
            join: impl Fn(&T, &T) -> Option<T>,
        ) -> Option<Option<T>> {
            match (left, right) {
                (Some(left), Some(right)) => join(left, right).map(Some),
                (one, other) => Some(one.or(other).cloned()),
            }
        }
        fn common<T: Clone + Ord>(left: &BTreeSet<T>, right: &BTreeSet<T>) -> Option<BTreeSet<T>> {
            let common: BTreeSet<T> = left.intersection(right).cloned().collect();
            (!common.is_empty()).then_some(common)
        }
        let space = |left: &PrefixSet, right: &PrefixSet| {
            let space = left.intersection(right);
            (!space.is_empty()).then_some(space)
        };
        Some(Self {
            way: both(self.way.as_ref(), other.way.as_ref(), |left, right| {
                (left == right).then_some(*left)
            })?,
            from: both(self.from.as_ref(), other.from.as_ref(), common)?,
            towards: both(self.towards.as_ref(), other.towards.as_ref(), common)?,
            source: both(self.source.as_ref(), other.source.as_ref(), space)?,
            destination: both(self.destination.as_ref(), other.destination.as_ref(), space)?,
            protocol: both(self.protocol.as_ref(), other.protocol.as_ref(), |left, right| {
                (left == right).then(|| left.clone())
            })?,
            ports: both(self.ports.as_ref(), other.ports.as_ref(), common)?,
            established: self.established || other.established,
        })
    }
}

/// What becomes of a packet that a rule matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Refuse,
    Jump(String),
    /// Counted, logged: the next rule is asked.
    Continue,
}

/// Chains by name, their rules in order.
#[derive(Debug, Default)]
pub(crate) struct Chains(pub(crate) BTreeMap<String, Vec<(Match, Verdict)>>);

impl Chains {
    /// What is let through for new connections that enter at a chain.
    pub(crate) fn facts(&self, start: &str) -> Vec<Fact> {
        let mut facts = Vec::new();
        self.walk(start, &Match::default(), &mut facts);
        facts
    }

    fn walk(&self, chain: &str, reached: &Match, facts: &mut Vec<Fact>) {
        let rules = self.0.get(chain).unwrap_or_else(|| panic!("no chain {chain}"));
        let mut refused = false;
        for (rule, verdict) in rules {
            let Some(all) = reached.and(rule) else { continue };
            match verdict {
                Verdict::Refuse => refused = true,
                Verdict::Continue => {}
                _ if all.established => {}
                _ => {
                    assert!(!refused, "chain {chain} accepts behind a refusal: {rule:?}");
                    match verdict {
                        Verdict::Jump(target) => self.walk(target, &all, facts),
                        _ => facts.extend(accepted(&all)),
                    }
                }
            }
        }
    }
}

fn accepted(all: &Match) -> Vec<Fact> {
    let asked =
        |what: bool, name: &str| assert!(what, "a rule accepts without asking for {name}: {all:?}");
    asked(all.way.is_some(), "a direction");
    asked(all.source.is_some(), "a source");
    asked(all.destination.is_some(), "a destination");
    asked(all.protocol.is_some(), "a protocol");
    asked(all.ports.is_some(), "ports");
    let way = all.way.unwrap();
    let (own, remote) = match way {
        Way::Out => (all.source.as_ref(), all.destination.as_ref()),
        Way::In => (all.destination.as_ref(), all.source.as_ref()),
    };
    let (near, far) = match way {
        Way::Out => (&all.from, &all.towards),
        Way::In => (&all.towards, &all.from),
    };
    assert!(near.is_none(), "an interface on the own side: {all:?}");
    let interfaces: Vec<Option<String>> = match far {
        Some(names) => names.iter().cloned().map(Some).collect(),
        None => vec![None],
    };
    let remote: Vec<IpNet> = remote.unwrap().iter().collect();
    let mut facts = Vec::new();
    for own in own.unwrap().iter() {
        for interface in &interfaces {
            for ports in all.ports.as_ref().unwrap() {
                facts.push(Fact {
                    way,
                    interface: interface.clone(),
                    own,
                    protocol: all.protocol.clone().unwrap(),
                    ports: *ports,
                    remote: remote.clone(),
                });
            }
        }
    }
    facts
}
