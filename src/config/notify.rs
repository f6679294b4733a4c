//! `[notify.NAME]`: who is told, of what, and how often.
//!
//! The way stands in exactly one of `[notify.NAME.webhook]`, `.mail`, `.command` and `.syslog`.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::names::text_type;
use super::{Connection, Diagnostic, Name, Period, SecretFile, UserName, WebHost, WebUrl};

/// `[notify.NAME]`: who is told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Notify {
    /// Of what. Default: everything.
    pub events: Option<BTreeSet<EventKind>>,
    /// While something lasts, it is told again after these times. Default: `["1d", "3d", "5d"]`.
    #[serde(default = "Notify::default_again_after")]
    pub again_after: Vec<Period>,
    /// What happens within this time becomes one message. Default: 30s.
    #[serde(default = "Notify::default_gather")]
    pub gather: Period,
    /// How servers are spoken to (webhook and mail).
    #[serde(default)]
    pub connection: Connection,
    /// JSON to a URL.
    pub webhook: Option<Webhook>,
    /// Mail.
    pub mail: Option<Mail>,
    /// A program.
    pub command: Option<NotifyCommand>,
    /// The system's log, or another's.
    pub syslog: Option<Syslog>,
}

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A new generation is in force.
    Published,
    /// A change is held until somebody decides.
    Held,
    /// A held change was let through or refused.
    Released,
    /// Something failed: a publication refused, a firewall that did not take the rules, a feed out of reach.
    Failed,
    /// The newest publication is too old.
    Stale,
    /// A credential or certificate is about to end, or what a firewall takes.
    Expiring,
    /// Nothing is published: paused, or a generation is pinned.
    Paused,
}

impl EventKind {
    /// The name in configuration and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Held => "held",
            Self::Released => "released",
            Self::Failed => "failed",
            Self::Stale => "stale",
            Self::Expiring => "expiring",
            Self::Paused => "paused",
        }
    }
}

/// `webhook`: JSON by POST.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Webhook {
    /// The URL.
    pub url: WebUrl,
    /// The key that messages are signed with (HMAC-SHA256).
    pub secret_file: Option<SecretFile>,
    /// A bearer token.
    pub token_file: Option<SecretFile>,
}

/// `mail`: by SMTP.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mail {
    /// The server.
    pub server: WebHost,
    /// Its port. Default: 465 with `tls`, 587 with `starttls`, 25 with `none`.
    pub port: Option<u16>,
    /// `starttls` (default), `tls`, or `none` (to this host itself only).
    #[serde(default)]
    pub encryption: MailEncryption,
    /// A user name; needs `password-file`.
    pub user: Option<UserName>,
    /// Its password.
    pub password_file: Option<SecretFile>,
    /// The sender.
    pub from: MailAddress,
    /// The receivers.
    pub to: Vec<MailAddress>,
}

/// How mail is encrypted on its way to the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailEncryption {
    /// The connection becomes encrypted, or nothing is sent.
    #[default]
    Starttls,
    /// From the first byte.
    Tls,
    /// Not at all.
    None,
}

/// `command`: a program that reads the message as JSON on its standard input.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NotifyCommand {
    /// Absolute path and arguments.
    pub run: Vec<String>,
    /// Longest time it may take. Default: 30s.
    #[serde(default = "NotifyCommand::default_time_limit")]
    pub time_limit: Period,
}

/// `syslog`: one line an event, in the form of RFC 5424.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Syslog {
    /// `local` (default: `/dev/log`), a socket's path, `udp://HOST:PORT` or `tcp://HOST:PORT`.
    pub to: SyslogPlace,
    /// The facility, 0 to 23. Default: 3 (daemon).
    pub facility: Facility,
}

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum SyslogPlace {
    /// A datagram socket on this host.
    Socket(PathBuf),
    /// Another host, by UDP.
    Udp(WebHost, u16),
    /// Another host, by TCP with octet counting (RFC 6587).
    Tcp(WebHost, u16),
}

impl Default for SyslogPlace {
    fn default() -> Self {
        Self::Socket("/dev/log".into())
    }
}

impl TryFrom<String> for SyslogPlace {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let refuse = || {
            format!(
                "`{}` is no place for log lines: write local, an absolute path, udp://HOST:PORT or tcp://HOST:PORT",
                text.escape_debug()
            )
        };
        let remote = |rest: &str| {
            let (host, port) = rest.rsplit_once(':')?;
            Some((host.parse().ok()?, port.parse().ok()?))
        };
        if text == "local" {
            return Ok(Self::default());
        }
        if text.starts_with('/') {
            return Ok(Self::Socket(text.into()));
        }
        if let Some(rest) = text.strip_prefix("udp://") {
            return remote(rest).map(|(host, port)| Self::Udp(host, port)).ok_or_else(refuse);
        }
        let rest = text.strip_prefix("tcp://").and_then(remote);
        rest.map(|(host, port)| Self::Tcp(host, port)).ok_or_else(refuse)
    }
}

impl fmt::Display for SyslogPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(formatter, "{}", path.display()),
            Self::Udp(host, port) => write!(formatter, "udp://{host}:{port}"),
            Self::Tcp(host, port) => write!(formatter, "tcp://{host}:{port}"),
        }
    }
}

/// A facility of syslog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Facility(u8);

impl Default for Facility {
    fn default() -> Self {
        Self(3)
    }
}

impl TryFrom<u8> for Facility {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        if number < 24 {
            Ok(Self(number))
        } else {
            Err("a facility is a number from 0 to 23".to_owned())
        }
    }
}

impl From<Facility> for u8 {
    fn from(facility: Facility) -> Self {
        facility.0
    }
}

/// A mail address, with or without a name: `tagwall <tagwall@example.com>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MailAddress(Box<str>);

text_type!(MailAddress);

impl FromStr for MailAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<lettre::message::Mailbox>() {
            Ok(_) => Ok(Self(text.into())),
            Err(error) => Err(format!("`{}` is no mail address: {error}", text.escape_debug())),
        }
    }
}

/// The way to a receiver.
#[derive(Debug, Clone, Copy)]
pub enum NotifyKind<'n> {
    /// JSON to a URL.
    Webhook(&'n Webhook),
    /// Mail.
    Mail(&'n Mail),
    /// A program.
    Command(&'n NotifyCommand),
    /// Log lines.
    Syslog(&'n Syslog),
}

impl NotifyCommand {
    /// Default of [`NotifyCommand::time_limit`].
    pub const TIME_LIMIT: Period = Period::seconds(30);

    fn default_time_limit() -> Period {
        Self::TIME_LIMIT
    }
}

impl Notify {
    /// The keys of all ways.
    pub const KINDS: [&'static str; 4] = ["webhook", "mail", "command", "syslog"];
    /// Default of [`Notify::again_after`].
    pub const AGAIN_AFTER: [Period; 3] = [Period::days(1), Period::days(3), Period::days(5)];
    /// Default of [`Notify::gather`].
    pub const GATHER: Period = Period::seconds(30);

    fn default_again_after() -> Vec<Period> {
        Self::AGAIN_AFTER.to_vec()
    }

    fn default_gather() -> Period {
        Self::GATHER
    }

    /// The ways given: a valid table has exactly one.
    pub fn kinds(&self) -> Vec<NotifyKind<'_>> {
        [
            self.webhook.as_ref().map(NotifyKind::Webhook),
            self.mail.as_ref().map(NotifyKind::Mail),
            self.command.as_ref().map(NotifyKind::Command),
            self.syslog.as_ref().map(NotifyKind::Syslog),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Whether this receiver is told of such an event.
    pub fn wants(&self, kind: EventKind) -> bool {
        self.events.as_ref().is_none_or(|events| events.contains(&kind))
    }

    pub(super) fn check(&self, name: &Name, found: &mut Vec<Diagnostic>) {
        let key = format!("notify.{name}");
        if !self.again_after.is_sorted_by(|earlier, later| earlier < later) {
            found.push(Diagnostic::new(format!("{key}.again-after does not rise")).help(
                "each is counted from the beginning: again-after = [\"1d\", \"3d\", \"5d\"]",
            ));
        }
        let kinds = self.kinds();
        let [kind] = kinds.as_slice() else {
            let count = if kinds.is_empty() { "no way" } else { "several ways" };
            found.push(Diagnostic::new(format!("{key} has {count} to tell")).help(format!(
                "it has exactly one of {}",
                Self::KINDS.map(|kind| format!("[{key}.{kind}]")).join(", ")
            )));
            return;
        };
        match kind {
            NotifyKind::Webhook(webhook) => self.connection.check(&key, [&webhook.url], found),
            NotifyKind::Mail(mail) => {
                self.connection.check(&key, [], found);
                mail.check(&key, found);
            }
            NotifyKind::Command(command) => {
                if command.run.first().is_none_or(|program| !program.starts_with('/')) {
                    found.push(
                        Diagnostic::new(format!(
                            "{key}.command.run does not start with an absolute path"
                        ))
                        .help(
                            "no shell is involved: run = [\"/usr/local/bin/tell\", \"--urgent\"]",
                        ),
                    );
                }
            }
            NotifyKind::Syslog(_) => {}
        }
    }
}

impl Mail {
    /// The port of the server.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.encryption {
            MailEncryption::Tls => 465,
            MailEncryption::Starttls => 587,
            MailEncryption::None => 25,
        })
    }

    fn check(&self, key: &str, found: &mut Vec<Diagnostic>) {
        if self.to.is_empty() {
            found.push(Diagnostic::new(format!("{key}.mail.to names nobody")));
        }
        if self.user.is_some() != self.password_file.is_some() {
            found.push(
                Diagnostic::new(format!("{key}.mail: `user` and `password-file` belong together"))
                    .help("name both, or neither"),
            );
        }
        let local =
            format!("http://{}/", self.server).parse::<WebUrl>().is_ok_and(|url| url.is_local());
        if self.encryption == MailEncryption::None && !local {
            found.push(
                Diagnostic::new(format!("{key}.mail would send unencrypted mail to another host"))
                    .help("set encryption = \"starttls\" or \"tls\", or hand mail to a server on this host"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_log_lines_are_read_and_written_alike() {
        for text in ["/run/log", "udp://log.example:514", "tcp://[2001:db8::1]:601"] {
            let place = SyslogPlace::try_from(text.to_owned()).unwrap();
            assert_eq!(place.to_string(), text);
        }
        assert_eq!(SyslogPlace::try_from("local".to_owned()), Ok(SyslogPlace::default()));
        for bad in ["", "log", "udp://log.example", "tcp://:1", "udp://a:99999"] {
            assert!(SyslogPlace::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn mail_addresses_are_whole() {
        assert!("tagwall <tagwall@example.com>".parse::<MailAddress>().is_ok());
        for bad in ["tagwall", "a@b\r\nBcc: x@y.example", "@example.com"] {
            assert!(bad.parse::<MailAddress>().is_err(), "{bad}");
        }
    }
}
