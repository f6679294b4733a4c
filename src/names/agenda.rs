//! The names in the order of their times: the next lookup, and the next address that leaves.
//!
//! # Guarantees
//! Each operation costs what it returns, and the logarithm of the number of names: following 5,000
//! names must not look at 5,000 entries for each answer.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::steps;
use crate::config::HostName;

/// Names, each with at most one time, in the order of these times.
#[derive(Debug, Clone, Default)]
pub(super) struct Agenda {
    order: BTreeSet<(Timestamp, HostName)>,
    times: BTreeMap<HostName, Timestamp>,
}

impl Agenda {
    /// Gives a name its time, or takes the name off the agenda.
    pub(super) fn set(&mut self, name: &HostName, time: Option<Timestamp>) {
        steps::count();
        let before = self.times.get(name).copied();
        if before == time {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, name.clone()));
        }
        match time {
            Some(time) => {
                self.order.insert((time, name.clone()));
                self.times.insert(name.clone(), time);
            }
            None => _ = self.times.remove(name),
        }
    }

    /// The first time.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.order.first().map(|(time, _)| *time)
    }

    /// The last time.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.order.last().map(|(time, _)| *time)
    }

    /// Takes the names off the agenda whose time has come by `until`, in the order of their times.
    pub(super) fn take_until(&mut self, until: Timestamp) -> Vec<HostName> {
        self.take(|agenda| agenda.first().is_some_and(|time| time <= until), BTreeSet::pop_first)
    }

    /// Takes the names off the agenda whose time comes after `from`.
    pub(super) fn take_after(&mut self, from: Timestamp) -> Vec<HostName> {
        self.take(|agenda| agenda.last().is_some_and(|time| time > from), BTreeSet::pop_last)
    }

    fn take(
        &mut self,
        more: impl Fn(&Self) -> bool,
        next: impl Fn(&mut BTreeSet<(Timestamp, HostName)>) -> Option<(Timestamp, HostName)>,
    ) -> Vec<HostName> {
        let mut taken = Vec::new();
        while more(self) {
            let Some((_, name)) = next(&mut self.order) else { break };
            steps::count();
            self.times.remove(&name);
            taken.push(name);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HostName {
        format!("{text}.example.com").parse().unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn names_leave_in_the_order_of_their_last_times() {
        let mut agenda = Agenda::default();
        for (text, second) in [("a", 30), ("b", 10), ("c", 20), ("d", 40), ("e", 10)] {
            agenda.set(&name(text), Some(at(second)));
        }
        agenda.set(&name("b"), Some(at(35)));
        agenda.set(&name("c"), None);
        agenda.set(&name("absent"), None);
        assert_eq!((agenda.first(), agenda.last()), (Some(at(10)), Some(at(40))));
        assert_eq!(agenda.take_until(at(9)), []);
        assert_eq!(agenda.take_until(at(35)), ["e", "a", "b"].map(name));
        assert_eq!(agenda.take_after(at(40)), []);
        agenda.set(&name("a"), Some(at(50)));
        assert_eq!(agenda.take_after(at(40)), [name("a")]);
        assert_eq!(agenda.take_until(at(40)), [name("d")]);
        assert_eq!((agenda.first(), agenda.times.len()), (None, 0));
    }
}
