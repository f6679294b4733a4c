//! Log lines in the form of RFC 5424: to this host's log or another's.

use std::os::unix::net::UnixDatagram;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::NotifyError;
use super::event::{Message, News};
use crate::config::{Syslog, SyslogPlace, WebHost};
use crate::web::SystemResolver;

/// Longest line, in bytes: what every receiver of RFC 5424 should take.
const MAX_LINE: usize = 2048;
/// Longest time that one delivery may take.
const TIME_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

/// A log.
#[derive(Debug)]
pub(super) struct Log {
    place: SyslogPlace,
    facility: u8,
}

impl Log {
    pub(super) fn new(syslog: &Syslog) -> Self {
        Self { place: syslog.to.clone(), facility: syslog.facility.into() }
    }

    pub(super) async fn deliver(&self, message: &Message) -> Result<(), NotifyError> {
        let lines: Vec<Vec<u8>> =
            message.events.iter().map(|news| self.line(message, news)).collect();
        let sent = timeout(TIME_LIMIT, self.send(&lines)).await;
        let result = sent.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        result.map_err(|source| NotifyError::Log { place: self.place.to_string(), source })
    }

    async fn send(&self, lines: &[Vec<u8>]) -> std::io::Result<()> {
        match &self.place {
            SyslogPlace::Socket(path) => {
                // Never waits: a log that does not read is tried again later.
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                socket.connect(path)?;
                lines.iter().try_for_each(|line| socket.send(line).map(|_| ()))
            }
            SyslogPlace::Udp(host, port) => {
                let to = resolve(host, *port).await?;
                let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any).await?;
                for line in lines {
                    socket.send_to(line, to).await?;
                }
                Ok(())
            }
            SyslogPlace::Tcp(host, port) => {
                let mut stream = TcpStream::connect(resolve(host, *port).await?).await?;
                for line in lines {
                    stream.write_all(format!("{} ", line.len()).as_bytes()).await?;
                    stream.write_all(line).await?;
                }
                stream.shutdown().await
            }
        }
    }

    /// `<PRI>1 TIME HOST tagwall PID KIND [tagwall@…] TEXT`
    fn line(&self, message: &Message, news: &News) -> Vec<u8> {
        let priority = u32::from(self.facility) * 8 + news.severity() as u32;
        let word = |text: &str| {
            let text: String = text.chars().filter(char::is_ascii_graphic).take(255).collect();
            if text.is_empty() { "-".to_owned() } else { text }
        };
        let mut line = format!(
            "<{priority}>1 {at:.6} {host} tagwall {pid} {kind} - \u{feff}{text}",
            at = news.event.at,
            host = word(&message.host),
            pid = std::process::id(),
            kind = news.event.kind.name(),
            text = news.line()
        );
        let mut end = line.len().min(MAX_LINE);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.into_bytes()
    }
}

async fn resolve(host: &WebHost, port: u16) -> std::io::Result<std::net::SocketAddr> {
    let name = host.as_str();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse() {
        return Ok(std::net::SocketAddr::new(address, port));
    }
    let found = SystemResolver::default().addresses(name).await.map_err(std::io::Error::other)?;
    let first = found.first().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
    Ok(std::net::SocketAddr::new(*first, port))
}
