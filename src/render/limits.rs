//! What a firewall takes, and how much of it is used.
//!
//! Every limit of every dialect is checked here: what exceeds it is an error with the ways out, and what does not is kept as a
//! [`Load`], so that a person learns in time which limit comes next.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::RenderError;
use crate::config::Name;

/// How much of one limit is used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// What has the limit: `group storage`, `the device`.
    pub object: String,
    /// What is counted: `prefixes`.
    pub what: String,
    /// How many there are.
    pub count: usize,
    /// How many fit.
    pub limit: usize,
}

/// The limits of a target, as far as they were looked at.
#[derive(Debug)]
pub(super) struct Limits<'n> {
    target: &'n Name,
    loads: Mutex<Vec<Load>>,
}

impl<'n> Limits<'n> {
    pub(super) fn new(target: &'n Name) -> Self {
        Self { target, loads: Mutex::default() }
    }

    pub(super) fn target(&self) -> &'n Name {
        self.target
    }

    /// Notes how much of a limit is used; an error where that is more than there is.
    pub(super) fn check(
        &self,
        object: impl Into<String>,
        what: &'static str,
        count: usize,
        limit: usize,
        ways_out: &str,
    ) -> Result<(), RenderError> {
        let object = object.into();
        if count > limit {
            return Err(RenderError::Limit {
                target: self.target.clone(),
                object,
                what,
                count,
                limit,
                ways_out: ways_out.to_owned(),
            });
        }
        let load = Load { object, what: what.to_owned(), count, limit };
        // Nothing that holds the lock can panic.
        self.loads.lock().unwrap_or_else(PoisonError::into_inner).push(load);
        Ok(())
    }

    /// What was noted, in order, since groups are looked at in any. What was noted more than once counts where it is fullest.
    pub(super) fn into_loads(self) -> Vec<Load> {
        let mut loads = self.loads.into_inner().unwrap_or_else(PoisonError::into_inner);
        loads.sort_unstable();
        loads.reverse();
        loads.dedup_by(|less, most| (&less.object, &less.what) == (&most.object, &most.what));
        loads.reverse();
        loads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_noted_and_what_does_not_is_an_error() {
        let name: Name = "edge".parse().unwrap();
        let limits = Limits::new(&name);
        limits.check("group sql", "prefixes", 3, 4, "").unwrap();
        limits.check("group sql", "prefixes", 4, 4, "").unwrap();
        limits.check("group sql", "members", 1, 4, "").unwrap();
        let error = limits.check("group sql", "prefixes", 5, 4, "take fewer").unwrap_err();
        assert_eq!(
            error.to_string(),
            "target edge: group sql has 5 prefixes, more than the 4 that fit; take fewer"
        );
        let counts: Vec<_> =
            limits.into_loads().into_iter().map(|load| (load.what, load.count)).collect();
        assert_eq!(counts, [("members".to_owned(), 1), ("prefixes".to_owned(), 4)]);
    }
}
