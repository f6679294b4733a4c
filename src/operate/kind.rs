//! Failures by what the caller can do about them: the same for exit codes and for answers over the control socket.

use std::error::Error;

use serde::{Deserialize, Serialize};

use super::{DecisionError, OperateError};
use crate::config::ConfigError;
use crate::feed::FeedError;
use crate::os::files::FileError;
use crate::os::lock::LockError;
use crate::pipeline::PlanError;
use crate::publish::{FirewallError, PublishError};
use crate::render::{CheckError, RenderError};
use crate::snapshot::UnknownTag;
use crate::state::StateError;

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// What was asked for contradicts itself or the state.
    Usage,
    /// The configuration or a template is wrong, or asks for something that is not published.
    Config,
    /// A publication is refused.
    Refused,
    /// A limit of a firewall is exceeded.
    Limit,
    /// So much is held that there are no rules: somebody has to decide.
    Held,
    /// A file cannot be read or written.
    System,
    /// A firewall refused or failed.
    Firewall,
    /// Another process works on the state folder.
    Locked,
    /// An operator has to agree first: nothing was changed.
    Consent,
}

impl Kind {
    /// The kind of an error with its causes; what is not known is of the system.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(kind) = Self::of_cause(error) {
                return kind;
            }
            cause = error.source();
        }
        Self::System
    }

    /// The kind of one cause, by its type and not by its words.
    pub fn of_cause(cause: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(error) = cause.downcast_ref::<OperateError>() {
            return match error {
                OperateError::Plan(error) => Self::of_cause(error),
                OperateError::Render(error) => Self::of_cause(error),
                OperateError::Publish(error) => Self::of_cause(error),
                OperateError::State(error) => Self::of_cause(error),
                OperateError::Names(_) => Some(Self::System),
                OperateError::Pinned(_) | OperateError::Paused(_) => Some(Self::Usage),
            };
        }
        if let Some(error) = cause.downcast_ref::<DecisionError>() {
            return match error {
                DecisionError::Decide(_) | DecisionError::NothingKnown(_) => Some(Self::Usage),
                DecisionError::Belief(_) => Some(Self::Refused),
                DecisionError::Operate(error) => Self::of_cause(error),
            };
        }
        if let Some(PlanError::Withheld { .. }) = cause.downcast_ref() {
            return Some(Self::Held);
        }
        if let Some(error) = config_error(cause) {
            return Some(match error {
                ConfigError::Read { .. } => Self::System,
                _ => Self::Config,
            });
        }
        if let Some(error) = render_error(cause) {
            return Some(match error {
                RenderError::Limit { .. } => Self::Limit,
                RenderError::TemplatesDir { .. } => Self::System,
                _ => Self::Config,
            });
        }
        if let Some(error) = cause.downcast_ref::<FeedError>() {
            return Some(match error {
                FeedError::Read { source: FileError::TooLarge { .. }, .. }
                | FeedError::Refused { .. }
                | FeedError::WrongCloud { .. } => Self::Refused,
                _ => Self::System,
            });
        }
        if let Some(error) = cause.downcast_ref::<PublishError>() {
            return Some(match error {
                PublishError::Locked(LockError::Held { .. }) => Self::Locked,
                PublishError::TakenBack { source, .. } => return Self::of_cause(&**source),
                PublishError::Step { source, .. } => {
                    let firewall = source.downcast_ref::<FirewallError>();
                    if firewall.is_some_and(FirewallError::needs_consent) {
                        Self::Consent
                    } else {
                        Self::Firewall
                    }
                }
                PublishError::NoGeneration(_) | PublishError::NothingEarlier => Self::Usage,
                _ => Self::System,
            });
        }
        if let Some(error) = cause.downcast_ref::<StateError>() {
            return Some(match error {
                StateError::Older { .. } => Self::Refused,
                _ => Self::System,
            });
        }
        if cause.is::<UnknownTag>() {
            return Some(Self::Config);
        }
        (cause.is::<FileError>() || cause.is::<std::io::Error>()).then_some(Self::System)
    }
}

/// The error of the configuration that this is, also inside one that only passes it on: such an error is
/// `transparent`, so the chain of causes does not show it.
pub fn config_error<'e>(cause: &'e (dyn Error + 'static)) -> Option<&'e ConfigError> {
    if let Some(OperateError::Plan(error)) = cause.downcast_ref() {
        return config_error(error);
    }
    if let Some(PlanError::Config(error)) = cause.downcast_ref() {
        return Some(error);
    }
    if let Some(CheckError::Config(error)) = cause.downcast_ref() {
        return Some(error);
    }
    cause.downcast_ref()
}

/// The same for the errors of targets and templates.
fn render_error<'e>(cause: &'e (dyn Error + 'static)) -> Option<&'e RenderError> {
    if let Some(PlanError::Render(error)) = cause.downcast_ref() {
        return Some(error);
    }
    if let Some(CheckError::Render(error)) = cause.downcast_ref() {
        return Some(error);
    }
    cause.downcast_ref()
}
