//! nftables without nft's own detours: its language, its transactions, and its netlink protocol.

mod listing;
mod netlink;
mod plan;
mod script;

pub(super) use netlink::Elements;
pub(super) use plan::{Extent, Plan, refill, removals, same_rules};
pub(super) use script::{Chain, Script, Set, Table, normal};

pub(in crate::publish) use listing::{KeptListing, current};
pub(in crate::publish) use netlink::Netfilter;
pub(in crate::publish) use plan::Staged;
