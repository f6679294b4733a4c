//! The agent: follows the feeds by itself and keeps the rules true.
//!
//! Owns the loop (feed due, file appeared, configuration changed, signal, hostname expired, kernel drift: gathered, then one
//! plan and one publication), its schedule, signals and the conversation with systemd. Promises: nothing is published twice
//! for one change, an unchanged publication costs no rendering, and no signal leaves a half-published state. Decides nothing
//! itself: what is believed is the guard's business, what is done to the state is [`operate`](crate::operate)'s.
//!
//! The life of the process, in order: configuration → logging → lock → mend → rules in force → stored publications → feeds,
//! names, server, control socket → ready. The loop runs on one thread and never blocks; the state is worked at on another
//! (`worker`), one job at a time; the server has threads of its own.

mod allocator;
mod clock;
mod engine;
mod feeds;
mod gather;
mod jobs;
mod life;
mod logging;
mod looking;
mod naming;
mod notifying;
mod people;
mod repairs;
mod schedule;
mod serving;
mod standing;
mod systemd;
mod tell;
mod worker;
mod wrong;

pub use allocator::settle as settle_allocator;
pub use life::{Options, run};
pub use logging::start as start_logging;

use thiserror::Error;

use crate::config::ConfigError;
use crate::control::ControlError;
use crate::operate::OperateError;
use crate::render::RenderError;
use crate::report::ReportError;

/// Why the agent does not run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A template cannot be used.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The state folder cannot be used.
    #[error(transparent)]
    Operate(#[from] OperateError),
    /// The state cannot be read.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The control socket cannot be opened.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The runtime could not be started.
    #[error("cannot start the event loop: {0}")]
    Runtime(std::io::Error),
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(std::io::Error),
    /// The thread that works at the state has ended.
    #[error(
        "the thread that works at the state has ended: this is a fault of tagwall; what was under way is mended at the next start"
    )]
    Lost,
}
