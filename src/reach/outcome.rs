//! Answers of a walk.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether the rules of a target decide about a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// They do.
    Reached,
    /// They do not.
    NotReached {
        /// What keeps the packet from them.
        by: String,
        /// Whether this is the rule graph: no path of jumps from a base chain, or an earlier rule
        /// that drops the packet whatever the traffic.
        by_rule_graph: bool,
    },
    /// It cannot be decided.
    Unknown {
        /// What is not known.
        because: String,
    },
    /// There are no such packets on this host.
    NotApplicable {
        /// Why not.
        because: String,
    },
}

/// A [`Reach`] without its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    /// Reached.
    Yes,
    /// Not reached.
    No,
    /// Not known.
    Unknown,
    /// No such packets on this host.
    NotApplicable,
}

impl Reach {
    /// The answer without its reason.
    pub fn reached(&self) -> Reached {
        match self {
            Self::Reached => Reached::Yes,
            Self::NotReached { .. } => Reached::No,
            Self::Unknown { .. } => Reached::Unknown,
            Self::NotApplicable { .. } => Reached::NotApplicable,
        }
    }

    /// The reason; none for what is reached.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Reached => None,
            Self::NotReached { by, .. } => Some(by),
            Self::Unknown { because } | Self::NotApplicable { because } => Some(because),
        }
    }

    /// Whether the rule graph keeps packets from the rules.
    pub fn is_by_rule_graph(&self) -> bool {
        matches!(self, Self::NotReached { by_rule_graph: true, .. })
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reached => formatter.write_str("reached"),
            Self::NotReached { by, .. } => write!(formatter, "not reached: {by}"),
            Self::Unknown { because } => write!(formatter, "unknown: {because}"),
            Self::NotApplicable { because } => write!(formatter, "not applicable: {because}"),
        }
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// No rule of the host drops it.
    Passes,
    /// It is dropped or rejected.
    Dropped {
        /// Table, chain and rule.
        by: String,
    },
    /// It cannot be decided.
    Unknown {
        /// What is not known.
        because: String,
    },
}

/// What a walk found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// Whether the rules of the target decide about the packet.
    pub reach: Reach,
    /// What becomes of it in the end.
    pub fate: Fate,
}

impl Walk {
    /// Nothing is known.
    pub(super) fn unknown(because: String) -> Self {
        let fate = Fate::Unknown { because: because.clone() };
        Self { reach: Reach::Unknown { because }, fate }
    }

    /// The rule that drops what the target's rules accept; none where there is none, or where it is
    /// not known.
    pub fn overruled(&self) -> Option<&str> {
        match (&self.reach, &self.fate) {
            (Reach::Reached, Fate::Dropped { by }) => Some(by),
            _ => None,
        }
    }
}
