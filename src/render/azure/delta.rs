//! What must be done before the full files are deployed: what has gone, and priorities that make room.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{RouteLine, SecurityLine};

/// What has gone from a table and a group.
#[derive(Debug, Default, Serialize)]
pub(super) struct Delta {
    /// Routes to delete.
    routes: Vec<String>,
    /// Security rules to delete.
    rules: Vec<String>,
    /// Security rules whose priority changes, in an order in which each finds its new one free.
    moves: Vec<Move>,
}

/// A security rule that stays and gets another priority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Move {
    name: String,
    priority: usize,
}

type Lines<'l> = (&'l [RouteLine], &'l [SecurityLine]);

impl Delta {
    /// Compares what was deployed with what will be. Only names that were ours are in it.
    pub(super) fn between(old: Lines<'_>, new: Lines<'_>) -> Self {
        let (rules, moves) = security(old.1, new.1);
        Self { routes: routes(old.0, new.0), rules, moves }
    }
}

/// Routes that are gone, and those whose destination another route takes: a table has one route to a prefix.
fn routes(old: &[RouteLine], new: &[RouteLine]) -> Vec<String> {
    let goes = |route: &&RouteLine| {
        let stays = new.iter().find(|after| same(&after.name, &route.name));
        let taken = new.iter().any(|after| {
            !same(&after.name, &route.name) && same(&after.destination, &route.destination)
        });
        stays.is_none() || taken
    };
    old.iter().filter(goes).map(|route| route.name.clone()).collect()
}

/// Rules that are gone, and moves of the others. Two rules cannot have one priority, not even for a moment: moves wait for
/// their place to become free, and when they wait for each other, one of them is deleted (the full file brings it back).
fn security(old: &[SecurityLine], new: &[SecurityLine]) -> (Vec<String>, Vec<Move>) {
    let mut gone = Vec::new();
    let mut moves = Vec::new();
    let mut occupied = BTreeSet::new();
    let mut waiting: Vec<(&SecurityLine, &SecurityLine)> = Vec::new();
    for before in old {
        match new.iter().find(|after| same(&after.name, &before.name)) {
            // A rule cannot change its direction in place.
            Some(after) if after.direction == before.direction => {
                occupied.insert((before.direction, before.priority));
                if after.priority != before.priority {
                    waiting.push((before, after));
                }
            }
            _ => gone.push(before.name.clone()),
        }
    }
    while !waiting.is_empty() {
        let free = waiting
            .iter()
            .position(|(before, after)| !occupied.contains(&(before.direction, after.priority)));
        let (before, after) = waiting.remove(free.unwrap_or(0));
        occupied.remove(&(before.direction, before.priority));
        if free.is_some() {
            occupied.insert((before.direction, after.priority));
            moves.push(Move { name: before.name.clone(), priority: after.priority });
        } else {
            gone.push(before.name.clone());
        }
    }
    (gone, moves)
}

/// Azure's names know no case.
fn same(left: &str, right: &str) -> bool {
    left.eq_ignore_ascii_case(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(priorities: &[(&str, usize)]) -> Vec<SecurityLine> {
        let line = |(name, priority): &(&str, usize)| SecurityLine {
            name: (*name).to_owned(),
            symbol: String::new(),
            description: String::new(),
            direction: "Inbound",
            priority: *priority,
            protocol: "Tcp",
            sources: Vec::new(),
            destinations: Vec::new(),
            ports: Vec::new(),
            after: None,
        };
        priorities.iter().map(line).collect()
    }

    /// Applies a delta as Azure would, which refuses two rules of one priority.
    fn applied(old: &[(&str, usize)], new: &[(&str, usize)]) -> (Vec<(String, usize)>, usize) {
        let (gone, moves) = security(&rules(old), &rules(new));
        let mut state: Vec<(String, usize)> =
            old.iter().map(|(name, priority)| ((*name).to_owned(), *priority)).collect();
        // Deletions that break a circle come first, like all others.
        state.retain(|(name, _)| !gone.contains(name));
        for step in &moves {
            assert!(
                !state.iter().any(|(_, priority)| *priority == step.priority),
                "{step:?} {state:?}"
            );
            let rule = state.iter_mut().find(|(name, _)| *name == step.name).unwrap();
            rule.1 = step.priority;
        }
        for (name, priority) in &state {
            assert!(new.contains(&(name.as_str(), *priority)), "{name} is not where it belongs");
        }
        (state, gone.len())
    }

    #[test]
    fn priorities_move_without_ever_meeting() {
        let old = [("a", 100), ("b", 110), ("c", 120)];
        let (state, gone) = applied(&old, &[("a", 100), ("x", 110), ("b", 120), ("c", 130)]);
        assert_eq!((state.len(), gone), (3, 0));
        let (state, gone) = applied(&old, &[("b", 100), ("c", 110)]);
        assert_eq!((state.len(), gone), (2, 1));
        assert_eq!(applied(&old, &old).1, 0);
    }

    #[test]
    fn a_circle_is_broken_by_deleting_one() {
        let (state, gone) = applied(&[("a", 100), ("b", 110)], &[("a", 110), ("b", 100)]);
        assert_eq!((state.len(), gone), (1, 1));
        let old = [("a", 100), ("b", 110), ("c", 120)];
        let (state, gone) = applied(&old, &[("c", 100), ("a", 110), ("b", 120)]);
        assert_eq!((state.len(), gone), (2, 1));
    }
}
