//! Whether a packet gets to the rules of a target: a static walk through a host's ruleset.
//!
//! [`Ruleset`] holds what the host's programs list: the JSON of `nft -j -t list ruleset`, and the
//! text of the save commands of iptables for rules that the JSON does not describe.
//! [`Ruleset::walk`] follows a [`Flow`] from the base chains through jumps, gotos and verdict maps.
//!
//! # Guarantees
//!
//! Three values throughout: what cannot be decided keeps both branches, and the answer is *unknown*
//! where it matters. Elements of sets are never in a listing: [`Elements`] answers for one address.
//! Pure: no files, no commands.
//!
//! # Limits
//!
//! Bridges, XDP, traffic control, IPsec, policy routing and flow tables are not followed.

mod elements;
mod evaluate;
mod expression;
mod flow;
mod graph;
mod listing;
mod model;
mod outcome;
mod save;
mod text;
mod walk;
mod walker;

pub use elements::{Elements, Key, Lookup, NoElements, SetId};
pub use flow::{Flow, State};
pub use listing::{ListingError, Ruleset};
pub use outcome::{Fate, Reach, Reached, Walk};
pub use walk::{Ours, Ways};

#[cfg(test)]
mod tests;
