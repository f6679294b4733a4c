//! `[agent]`: how the agent follows the feeds, and who may talk to it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::names::text_type;
use super::{Calendar, Period};

/// `[agent]`: how the agent follows the feeds, and who may talk to it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct AgentSettings {
    /// Whether changes of publications are applied by themselves, or wait for a person each time. Default:
    /// automatic.
    pub mode: Mode,
    /// How long it must be quiet before gathered changes are looked at: what comes together is published
    /// together. Default: 2s.
    pub quiet_period: Period,
    /// How long changes wait at most when it does not get quiet. Default: 30s.
    pub maximum_delay: Period,
    /// How often the kernel is compared with what should be in force; 0s: never. Default: 5m.
    pub drift_check: Period,
    /// How long a stop waits for what is under way; a second signal does not wait. Default: 20s.
    pub grace_period: Period,
    /// How long a pause or a pin lasts before the log reminds of it, and then again each time. Default: 7d.
    pub remind_after: Period,
    /// The Unix socket by which the command line reaches the agent. Default: `control.sock` in the runtime folder that
    /// systemd gives, else in the state folder.
    pub socket: Option<PathBuf>,
    /// The group whose members may do everything that the agent's own user may. Default: the agent's own group.
    pub socket_group: Option<GroupName>,
    /// Who may read the status through the socket. Default: everyone.
    pub status_for: Readers,
    /// How log lines look. Default: auto.
    pub log_format: LogFormat,
    /// When changes of publications may be applied.
    pub calendar: Calendar,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            mode: Mode::Automatic,
            quiet_period: Self::QUIET_PERIOD,
            maximum_delay: Self::MAXIMUM_DELAY,
            drift_check: Self::DRIFT_CHECK,
            grace_period: Self::GRACE_PERIOD,
            remind_after: Self::REMIND_AFTER,
            socket: None,
            socket_group: None,
            status_for: Readers::Everyone,
            log_format: LogFormat::Auto,
            calendar: Calendar::default(),
        }
    }
}

impl AgentSettings {
    /// Default of [`AgentSettings::quiet_period`].
    pub const QUIET_PERIOD: Period = Period::seconds(2);
    /// Default of [`AgentSettings::maximum_delay`].
    pub const MAXIMUM_DELAY: Period = Period::seconds(30);
    /// Default of [`AgentSettings::drift_check`].
    pub const DRIFT_CHECK: Period = Period::minutes(5);
    /// Default of [`AgentSettings::grace_period`].
    pub const GRACE_PERIOD: Period = Period::seconds(20);
    /// Default of [`AgentSettings::remind_after`].
    pub const REMIND_AFTER: Period = Period::days(7);
}

/// Whether changes of publications are applied by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// What is plausible is applied; the rest is held.
    Automatic,
    /// Every change is held until it is approved: recommended for the first weeks.
    Propose,
}

impl Mode {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Propose => "propose",
        }
    }
}

/// Who may read the status through the control socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readers {
    /// Every user of the host: the rules are no secret to those who can list them.
    Everyone,
    /// Root, the agent's own user and the socket's group.
    Group,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Text on a terminal, journald's fields under systemd, JSON otherwise.
    Auto,
    /// Lines for people.
    Text,
    /// journald's fields.
    Journald,
    /// One JSON object a line.
    Json,
}

/// The name of a group of the host: as `groupadd` takes it; or its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupName(Box<str>);

text_type!(GroupName);

impl FromStr for GroupName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let well_formed = (1..=32).contains(&text.len())
            && !text.starts_with('-')
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if well_formed {
            Ok(Self(text.into()))
        } else {
            Err("a group's name has letters, digits, `-`, `_` and `.`, at most 32".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<AgentSettings, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_is_the_default() {
        let settings = read("").unwrap();
        assert_eq!(settings.mode, Mode::Automatic);
        assert_eq!(settings.quiet_period, Period::seconds(2));
        assert_eq!(settings.maximum_delay, Period::seconds(30));
        assert_eq!(settings.drift_check, Period::minutes(5));
        assert_eq!(settings.grace_period, Period::seconds(20));
        assert_eq!(settings.remind_after, Period::days(7));
        assert_eq!((settings.socket, settings.socket_group), (None, None));
        assert_eq!(
            (settings.status_for, settings.log_format),
            (Readers::Everyone, LogFormat::Auto)
        );
    }

    #[test]
    fn a_mode_is_written_as_it_is_shown() {
        for (text, mode) in [("automatic", Mode::Automatic), ("propose", Mode::Propose)] {
            assert_eq!(read(&format!("mode = \"{text}\"")).unwrap().mode, mode);
            assert_eq!(mode.name(), text);
        }
        assert!(read("mode = \"manual\"").is_err());
    }

    #[test]
    fn the_group_of_the_socket_is_one_that_a_host_may_have() {
        for good in ["adm", "net-admins", "_tagwall", "ops.firewall", "54321", &"g".repeat(32)] {
            let settings = read(&format!("socket-group = \"{good}\"")).unwrap();
            assert_eq!(settings.socket_group.unwrap().as_str(), good);
        }
        for bad in ["", "-adm", "net admins", "adm:root", "Gr\u{fc}n", &"g".repeat(33)] {
            let error = read(&format!("socket-group = \"{bad}\"")).unwrap_err();
            assert!(error.contains("a group's name has letters, digits"), "{bad}: {error}");
        }
    }
}
