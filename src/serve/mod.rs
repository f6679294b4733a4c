//! What is served over HTTP: the lists that firewalls fetch, metrics, health, and a page to look at.
//!
//! Owns the listeners, TLS, authentication and the answers. Promises: lists are the bytes of one recorded generation; a fault
//! of our own is answered with 503 and never with an empty list, 401 or 403; nothing can be changed over HTTP; a fault of the
//! server never touches the agent's loop. Is handed values ([`View`]) and decides nothing.
//!
//! A connection goes through `doors` and `crowd` into a task of its own (`connection`), speaks TLS (`tls`) on a stream that
//! does not wait for ever (`patient`), and each of its requests is judged (`access`), answered (`answer`) and counted
//! (`counters`).

mod access;
mod answer;
mod clients;
mod conditional;
mod connection;
mod content;
mod counters;
mod credentials;
mod crowd;
mod doors;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gather;
mod metrics;
mod page;
mod patient;
mod payload;
mod plot;
mod process;
mod server;
mod tls;
mod users;
mod view;

pub use clients::{Fetch, Fetches};
pub use conditional::Modified;
pub use content::Content;
pub use credentials::CertificateTime;
pub use doors::Place;
pub use gather::Sources;
pub use server::{ServeError, Server, start};
pub use view::{Capacity, Document, List, Lists, View, ViewError};
