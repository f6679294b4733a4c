//! Hostnames: resolved, kept while they are good, never emptied on doubt.
//!
//! Owns the resolvers, the schedule by time to live, and what was answered. Promises: an answer is hostile until it has been
//! validated (the chain of aliases from the question to the address, and no special address); a name that stops
//! answering keeps its last good addresses; an address that has gone stays for its grace period, so that sets grow and
//! settle instead of flapping; and what was answered once is used at the next start, with or without DNS.
//!
//! [`Book`] is the value of all this and pure: it is told the time and what was said. [`Resolvers`] ask, and know nothing
//! of books. [`Follower`] brings the two together for whoever has a loop. Which names there are is the configuration's
//! business, and what becomes of their addresses that of `selection` and `ruleset`.

mod agenda;
mod answer;
mod book;
mod document;
mod expected;
mod follower;
#[cfg(fuzzing)]
pub mod fuzzing;
mod news;
mod resolvers;
mod schedule;
mod steps;
mod wanted;

pub use answer::{Look, Reply, Said};
pub use book::{Book, Changed, Entry, Known};
pub use document::BookError;
pub use expected::{Expected, Outside};
pub use follower::Follower;
pub use news::News;
pub use resolvers::{ResolverError, Resolvers, SYSTEM};
pub use wanted::wanted;
