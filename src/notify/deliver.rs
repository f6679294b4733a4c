//! One receiver, and how a message gets there.

use std::path::PathBuf;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use sha2::Sha256;
use thiserror::Error;

use super::event::Message;
use super::mail::Postman;
use super::syslog::Log;
use crate::config::{Config, Connection, Notify, NotifyCommand, NotifyKind, SecretFile, Webhook};
use crate::os::command::{BoundedCommand, CommandError};
use crate::os::secret::SecretError;
use crate::web::{Client, Hosts, Request, WebError};

/// When a message was signed, in seconds since 1970: a message that is played back later is seen to be old.
pub(super) const TIMESTAMP: HeaderName = HeaderName::from_static("tagwall-timestamp");
/// `v1=` and the HMAC-SHA256 of `TIMESTAMP.BODY` in hexadecimal digits.
pub(super) const SIGNATURE: HeaderName = HeaderName::from_static("tagwall-signature");
/// Largest answer of a webhook that is read, in bytes.
const MAX_ANSWER: u64 = 64 << 10;

/// Why somebody was not told.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// The webhook's server gave no answer, or none that helps.
    #[error(transparent)]
    Web(#[from] WebError),
    /// A secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The program failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The mail server did not take it.
    #[error("the mail server {server} did not take the message: {reason}")]
    Mail {
        /// The server.
        server: String,
        /// What it said.
        reason: String,
        /// Whether trying again can help.
        transient: bool,
    },
    /// The log's socket did not take it.
    #[error("cannot write to the log {place}: {source}")]
    Log {
        /// The socket or host.
        place: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The thread that delivers was given up.
    #[error("the delivery was given up: {0}")]
    GivenUp(String),
}

impl NotifyError {
    /// Whether trying again can help. A secret or setting can be mended while we wait, so most can.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Web(error) => error.is_transient() || matches!(error, WebError::Setup { .. }),
            Self::Mail { transient, .. } => *transient,
            Self::Secret(_) | Self::Command(_) | Self::Log { .. } => true,
            Self::GivenUp(_) => false,
        }
    }
}

/// A receiver of the configuration.
#[derive(Debug)]
pub(super) struct Receiver {
    name: String,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Webhook(Hook),
    Mail(Postman),
    Command(NotifyCommand),
    Syslog(Log),
}

#[derive(Debug)]
struct Hook {
    url: url::Url,
    key: Option<SecretFile>,
    token: Option<SecretFile>,
    connection: Connection,
}

impl Receiver {
    /// The receiver of a valid table.
    pub(super) fn new(name: &str, settings: &Notify, config: &Config) -> Option<Self> {
        let connection = settings.connection.located(config);
        let way = match settings.kinds().first()? {
            NotifyKind::Webhook(webhook) => Way::Webhook(Hook::new(webhook, connection, config)),
            NotifyKind::Mail(mail) => Way::Mail(Postman::new(mail, connection, config)),
            NotifyKind::Command(command) => Way::Command((*command).clone()),
            NotifyKind::Syslog(syslog) => Way::Syslog(Log::new(syslog)),
        };
        Some(Self { name: name.to_owned(), way })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The key under which its way stands.
    pub(super) fn way(&self) -> &'static str {
        match self.way {
            Way::Webhook(_) => "webhook",
            Way::Mail(_) => "mail",
            Way::Command(_) => "command",
            Way::Syslog(_) => "syslog",
        }
    }

    /// Delivers once.
    pub(super) async fn deliver(&self, message: &Message) -> Result<(), NotifyError> {
        match &self.way {
            Way::Webhook(hook) => hook.deliver(message).await,
            Way::Mail(postman) => postman.deliver(message).await,
            Way::Syslog(log) => log.deliver(message).await,
            Way::Command(command) => {
                let Some((program, arguments)) = command.run.split_first() else { return Ok(()) };
                let running = BoundedCommand::new(PathBuf::from(program))
                    .args(arguments)
                    .stdin(message.json())
                    .time_limit(command.time_limit.duration());
                let ran = tokio::task::spawn_blocking(move || running.run()).await;
                ran.map_err(|error| NotifyError::GivenUp(error.to_string()))??;
                Ok(())
            }
        }
    }
}

impl Hook {
    fn new(webhook: &Webhook, connection: Connection, config: &Config) -> Self {
        let located = |file: &Option<SecretFile>| file.as_ref().map(|file| file.located(config));
        Self {
            url: webhook.url.url().clone(),
            key: located(&webhook.secret_file),
            token: located(&webhook.token_file),
            connection,
        }
    }

    async fn deliver(&self, message: &Message) -> Result<(), NotifyError> {
        let body = message.json();
        let mut request = Request::post(self.url.clone(), body.clone(), MAX_ANSWER)
            .header(CONTENT_TYPE, "application/json");
        if let Some(key) = &self.key {
            let at = Timestamp::now().as_second().to_string();
            let signature = sign(key.load()?.expose().as_bytes(), &at, &body);
            request = request.header(TIMESTAMP, &at).header(SIGNATURE, &signature);
        }
        if let Some(token) = &self.token {
            let token = token.load()?;
            request =
                request.secret_header(AUTHORIZATION, &format!("Bearer {}", token.expose()))?;
        }
        // A redirected POST becomes a GET: nobody is told that way.
        let hosts = Hosts::and(self.connection.hosts.iter().cloned());
        let answer = Client::new(&self.connection, hosts)?.ask(request).await?;
        if answer.status.is_success() {
            Ok(())
        } else {
            Err(answer.refusal(Timestamp::now()).into())
        }
    }
}

/// The value of the signature's header.
fn sign(key: &[u8], at: &str, body: &[u8]) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(at.as_bytes());
    mac.update(b".");
    mac.update(body);
    let digest = mac.finalize().into_bytes();
    digest.iter().fold("v1=".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_openssl() {
        // printf '1757332800.{}' | openssl dgst -sha256 -hmac key
        assert_eq!(
            sign(b"key", "1757332800", b"{}"),
            "v1=bea547b3b308c5236708ac289776d9d202863468adfa825689058560a1614ae8"
        );
    }
}
