//! What is known, as values for people and programs: the status of feeds, generation, targets, holds and names.
//!
//! Owns the documented JSON of `status` and `history`, and their text. The command line prints it, the control socket carries
//! it, the server shows it. Decides nothing, and changes nothing: all of it can be read while another process works.
//!
//! Every section that a part of the agent fills is optional, and a reader of another version passes over what it does not
//! know: so a new program can ask an old agent, and the other way round.

mod agent;
mod belief;
mod capacity;
mod group;
mod history;
mod names;
mod notify;
mod prefix;
mod reach;
mod serve;
mod status;
pub mod text;

pub use agent::{AgentStatus, FailedStep, FeedStatus, FoundStatus};
pub use belief::{BeliefStatus, GraceStatus, Review, StandingStatus};
pub use capacity::{CapacityStatus, Forecast, Use};
pub use group::{GroupStatus, Size, sizes};
pub use history::{Entry, EntryResult, History, Unreadable};
pub use names::{AddressStatus, NameStatus, OutsideStatus};
pub use notify::{HoldStatus, ReceiverStatus};
pub use prefix::{Approval, InGroup, Moved, PrefixChange, PrefixHistory};
pub use reach::{FamilyReach, ReachStatus};
pub use serve::{ClientStatus, ListStatus, ServeStatus};
pub use status::{Status, TargetStatus};

use thiserror::Error;

use crate::publish::PublishError;
use crate::state::StateError;

/// Why there is no report.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The generations cannot be read.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// What is remembered or believed cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
}
