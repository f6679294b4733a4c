//! A packet's way, from the events of its trace.

use std::collections::BTreeMap;

use super::listing::{Listing, TableName, saved_rule};
use super::report::{Backend, Decision, Step, StepRule};
use super::trace::{Ends, Event, Kind, Outcome};

/// The end of a packet's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It left through the interface of this index, after its last hook.
    Left(u32),
    /// It came to the host itself, after its last hook.
    Arrived,
    /// The verdict of the last step ended its way.
    Ended,
    /// Nothing ended its way; it was last seen here.
    Lost(&'static str),
}

/// The way of a packet.
#[derive(Clone, Debug)]
pub(super) struct Trail {
    pub(super) steps: Vec<Step>,
    pub(super) ending: Ending,
    /// Its ends when they were last seen, after translations.
    pub(super) ends: Option<Ends>,
}

/// The names behind the events of a clone.
#[derive(Debug)]
pub(super) struct Legend {
    pub(super) listing: Listing,
    /// The lines of iptables-save of the tables that iptables-nft keeps.
    pub(super) saved: BTreeMap<TableName, String>,
    /// The table of the clone that is not the host's.
    pub(super) own: String,
}

/// The chains of the clone's own table: each is the first or the last of its hook.
pub(super) const ENTER: &str = "enter";
pub(super) const ROUTE: &str = "route";
pub(super) const FORWARD: &str = "forward";
pub(super) const START: &str = "start";
pub(super) const ARRIVE: &str = "arrive";
pub(super) const LEAVE: &str = "leave";

impl Legend {
    /// The way of the one packet that these events are of.
    pub(super) fn trail(&self, events: &[Event]) -> Trail {
        let mut trail = Trail { steps: Vec::new(), ending: Ending::Lost("nowhere"), ends: None };
        let mut open: Option<Step> = None;
        for event in events {
            trail.ends = event.ends.or(trail.ends);
            if event.table == self.own {
                trail.ending = own(event);
                continue;
            }
            let mut step = open.take().unwrap_or_else(|| self.step(event));
            // The end of a chain is reported as a rule without a handle.
            if event.kind == Kind::Rule && event.handle != 0 {
                step.rules.push(self.rule(event, step.backend));
            }
            let verdict = word(&event.outcome);
            let ends = match (event.kind, &event.outcome) {
                (Kind::Return, _) => false,
                (Kind::Policy, _)
                | (_, Outcome::Accept | Outcome::Drop | Outcome::Queue | Outcome::Stolen) => true,
                _ => false,
            };
            if ends {
                step.by_policy = event.kind == Kind::Policy;
                step.verdict = verdict;
                if event.outcome != Outcome::Accept {
                    trail.ending = Ending::Ended;
                }
                trail.steps.push(step);
            } else {
                open = Some(step);
            }
        }
        // The verdict of the last chain has not come: its packet is lost there.
        trail.steps.extend(open);
        trail
    }

    fn step(&self, event: &Event) -> Step {
        let name = table_name(event);
        let iptables = self.saved.contains_key(&name);
        let backend = if iptables { Backend::IptablesNft } else { Backend::Nftables };
        let mut step = Step::new(backend, event.family, &event.table);
        step.chain.clone_from(&event.chain);
        if let Some(base) = self.listing.base(&name, &event.chain) {
            step.hook.clone_from(&base.hook);
            step.priority.clone_from(&base.priority);
        }
        step
    }

    fn rule(&self, event: &Event, backend: Backend) -> StepRule {
        let name = table_name(event);
        let rule = self.listing.rule(&name, event.handle);
        let saved = self.saved.get(&name).filter(|_| backend == Backend::IptablesNft);
        let saved = rule.zip(saved).and_then(|(rule, saved)| {
            saved_rule(saved, &rule.chain, rule.place).map(ToOwned::to_owned)
        });
        let text = saved.or_else(|| rule.map(|rule| rule.text.clone()));
        StepRule {
            chain: event.chain.clone(),
            rule: text.unwrap_or_else(|| format!("handle {}", event.handle)),
            verdict: word(&event.outcome),
        }
    }
}

impl Trail {
    /// The decision that the packet passes: the last rule that accepts it in the hook of forwarded
    /// (or the host's own) packets, or else the policy there.
    pub(super) fn acceptance(&self) -> Option<Decision> {
        let decides = |step: &&Step| matches!(step.hook.as_str(), "forward" | "input" | "output");
        let by_rule = self.steps.iter().filter(decides).rfind(|step| !step.by_policy);
        let by_policy = self.steps.iter().rfind(decides);
        let step = by_rule.or(by_policy)?;
        (step.verdict == "accept").then(|| step.decision("original"))
    }
}

fn table_name(event: &Event) -> TableName {
    (event.family.to_owned(), event.table.clone())
}

/// Reads an event of the clone's own table.
fn own(event: &Event) -> Ending {
    let last = event.outcome == Outcome::Drop;
    match event.chain.as_str() {
        LEAVE if last => Ending::Left(event.output),
        ARRIVE if last => Ending::Arrived,
        LEAVE => Ending::Lost("postrouting"),
        ARRIVE => Ending::Lost("input"),
        FORWARD => Ending::Lost("forward"),
        ROUTE => Ending::Lost("routing"),
        START => Ending::Lost("output"),
        _ => Ending::Lost("prerouting"),
    }
}

fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accept => "accept".to_owned(),
        Outcome::Drop => "drop".to_owned(),
        Outcome::Queue => "queue".to_owned(),
        Outcome::Stolen => "stolen".to_owned(),
        Outcome::Continue => "continue".to_owned(),
        Outcome::Return => "return".to_owned(),
        Outcome::Jump(chain) => format!("jump {chain}"),
        Outcome::Goto(chain) => format!("goto {chain}"),
        Outcome::Other(code) => format!("verdict {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "\
table ip filter { # handle 1
\tchain FORWARD { # handle 1
\t\ttype filter hook forward priority filter; policy drop;
\t\tcounter jump sub # handle 2
\t}
\tchain sub { # handle 3
\t\ttcp dport 443 counter accept # handle 4
\t}
}
table inet own { # handle 2
\tchain leave { # handle 1
\t\ttype filter hook postrouting priority 2147483646; policy accept;
\t}
}
";

    fn legend() -> Legend {
        let saved = "*filter\n-A FORWARD -j sub\n-A sub -p tcp --dport 443 -j ACCEPT\nCOMMIT\n";
        let name = ("ip".to_owned(), "filter".to_owned());
        Legend {
            listing: Listing::parse(LISTING),
            saved: BTreeMap::from([(name, saved.to_owned())]),
            own: "own".to_owned(),
        }
    }

    fn event(place: (&str, &str), kind: Kind, handle: u64, outcome: Outcome) -> Event {
        Event {
            id: 1,
            family: if place.0 == "own" { "inet" } else { "ip" },
            table: place.0.to_owned(),
            chain: place.1.to_owned(),
            kind,
            handle,
            outcome,
            output: 3,
            ends: None,
        }
    }

    #[test]
    fn an_accepted_packet_has_a_step_for_each_base_chain() {
        let trail = legend().trail(&[
            event(("own", ENTER), Kind::Policy, 0, Outcome::Accept),
            event(("filter", "FORWARD"), Kind::Rule, 2, Outcome::Jump("sub".to_owned())),
            event(("filter", "sub"), Kind::Rule, 4, Outcome::Accept),
            event(("own", LEAVE), Kind::Rule, 9, Outcome::Drop),
        ]);
        assert_eq!(trail.ending, Ending::Left(3));
        assert_eq!(trail.steps.len(), 1);
        let decision = trail.acceptance().unwrap();
        assert_eq!(decision.rule.as_deref(), Some("-A sub -p tcp --dport 443 -j ACCEPT"));
        assert_eq!((decision.hook.as_str(), decision.chain.as_str()), ("forward", "sub"));
        assert_eq!(decision.backend, Backend::IptablesNft);
    }

    #[test]
    fn a_policy_that_drops_ends_the_way() {
        let trail = legend().trail(&[
            event(("filter", "FORWARD"), Kind::Rule, 2, Outcome::Jump("sub".to_owned())),
            event(("filter", "sub"), Kind::Return, 0, Outcome::Continue),
            event(("filter", "FORWARD"), Kind::Policy, 0, Outcome::Drop),
        ]);
        assert_eq!(trail.ending, Ending::Ended);
        let step = trail.steps.last().unwrap();
        assert!(step.by_policy);
        assert_eq!(step.decision("original").rule, None);
    }

    #[test]
    fn a_packet_without_an_end_is_lost_where_it_was_seen() {
        let seen = event(("own", ROUTE), Kind::Policy, 0, Outcome::Accept);
        assert_eq!(legend().trail(&[seen]).ending, Ending::Lost("routing"));
        assert_eq!(legend().trail(&[]).ending, Ending::Lost("nowhere"));
    }
}
