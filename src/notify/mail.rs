//! Mail by SMTP: encrypted, or to this host itself.

use std::path::PathBuf;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message as Letter, Tokio1Executor};

use super::NotifyError;
use super::event::{Message, News};
use crate::config::{Config, Connection, Mail, MailEncryption};
use crate::os::files;
use crate::os::printable::printable;
use crate::web::SystemResolver;

/// Largest file of authorities read, in bytes.
const MAX_CA_BYTES: u64 = 4 << 20;

/// A mail server, and who writes to whom.
#[derive(Debug)]
pub(super) struct Postman {
    mail: Mail,
    connection: Connection,
}

impl Postman {
    pub(super) fn new(mail: &Mail, connection: Connection, config: &Config) -> Self {
        let password_file = mail.password_file.as_ref().map(|file| file.located(config));
        Self { mail: Mail { password_file, ..mail.clone() }, connection }
    }

    pub(super) async fn deliver(&self, message: &Message) -> Result<(), NotifyError> {
        let letter = self.letter(message)?;
        let transport = self.transport().await?;
        let sending =
            tokio::time::timeout(self.connection.timeout.duration(), transport.send(letter));
        match sending.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.failed(&crate::web::chain(&error), !error.is_permanent())),
            Err(_) => Err(self.failed("it takes too long", true)),
        }
    }

    fn letter(&self, message: &Message) -> Result<Letter, NotifyError> {
        let mailbox = |address: &str| {
            address.parse::<Mailbox>().map_err(|error| self.failed(&error.to_string(), false))
        };
        let mut letter = Letter::builder()
            .from(mailbox(self.mail.from.as_str())?)
            .subject(message.subject())
            .message_id(Some(format!("<{}@tagwall>", message.id)));
        for address in &self.mail.to {
            letter = letter.to(mailbox(address.as_str())?);
        }
        let lines: Vec<String> = message.events.iter().map(News::line).collect();
        let text = format!("{}\n\n-- \ntagwall on {}\n", lines.join("\n\n"), message.host);
        letter
            .header(ContentType::TEXT_PLAIN)
            .body(text)
            .map_err(|error| self.failed(&error.to_string(), false))
    }

    async fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, NotifyError> {
        let server = self.mail.server.as_str();
        let bare = server.trim_start_matches('[').trim_end_matches(']');
        // Resolved here and not by libc; the certificate is checked for the name.
        let address = match bare.parse() {
            Ok(address) => address,
            Err(_) => self.resolve(server).await?,
        };
        let tls = match self.mail.encryption {
            MailEncryption::None => Tls::None,
            MailEncryption::Starttls => Tls::Required(self.tls(bare).await?),
            MailEncryption::Tls => Tls::Wrapper(self.tls(bare).await?),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(
            std::net::IpAddr::to_string(&address),
        )
        .port(self.mail.port())
        .tls(tls)
        .timeout(Some(self.connection.timeout.duration()));
        if let (Some(user), Some(file)) = (&self.mail.user, &self.mail.password_file) {
            let password = file.load()?;
            builder = builder
                .credentials(Credentials::new(user.to_string(), password.expose().to_owned()));
        }
        Ok(builder.build())
    }

    /// An address at which the server listens; the first where none does.
    async fn resolve(&self, server: &str) -> Result<std::net::IpAddr, NotifyError> {
        let found = SystemResolver::default().addresses(server).await;
        let found = found.map_err(|error| self.failed(&error.to_string(), true))?;
        let limit = self.connection.connect_timeout.duration();
        for address in &found {
            let connecting = tokio::net::TcpStream::connect((*address, self.mail.port()));
            if matches!(tokio::time::timeout(limit, connecting).await, Ok(Ok(_))) {
                return Ok(*address);
            }
        }
        found.first().copied().ok_or_else(|| self.failed("it has no address", true))
    }

    async fn tls(&self, server: &str) -> Result<TlsParameters, NotifyError> {
        let mut builder = TlsParameters::builder(server.to_owned());
        if let Some(path) = &self.connection.ca_file {
            if self.connection.ca_file_only {
                builder = builder.certificate_store(CertificateStore::None);
            }
            builder = builder.add_root_certificate(self.authorities(path.clone()).await?);
        }
        builder.build().map_err(|error| self.failed(&crate::web::chain(&error), false))
    }

    async fn authorities(&self, path: PathBuf) -> Result<Certificate, NotifyError> {
        let reading = tokio::task::spawn_blocking(move || files::read_bounded(&path, MAX_CA_BYTES));
        let bytes = reading
            .await
            .map_err(|error| NotifyError::GivenUp(error.to_string()))?
            .map_err(|error| self.failed(&error.to_string(), true))?;
        Certificate::from_pem(&bytes)
            .map_err(|error| self.failed(&crate::web::chain(&error), false))
    }

    fn failed(&self, reason: &str, transient: bool) -> NotifyError {
        let server = format!("{}:{}", self.mail.server, self.mail.port());
        NotifyError::Mail { server, reason: printable(reason, 300), transient }
    }
}
