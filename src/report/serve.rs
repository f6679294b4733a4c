//! What the server serves, and who fetched it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::text::{REMOVED, WARNING, counted, relative};
use crate::config::Name;
use crate::snapshot::Digest;

/// The server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServeStatus {
    /// Where it listens.
    pub places: Vec<String>,
    /// What keeps it from serving all that it should.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// When the certificate in service ends; none without TLS, or while no certificate could be taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_ends: Option<Timestamp>,
    /// Whether that is near enough to be warned about.
    #[serde(default)]
    pub certificate_warning: bool,
    /// The lists.
    #[serde(default)]
    pub lists: Vec<ListStatus>,
    /// What each client fetched last.
    #[serde(default)]
    pub clients: Vec<ClientStatus>,
}

/// A list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListStatus {
    /// The target.
    pub target: Name,
    /// Its file.
    pub file: String,
    /// Its digest.
    pub digest: Digest,
    /// Since when it is as it is.
    pub modified: Timestamp,
    /// Its size in bytes.
    pub bytes: u64,
    /// IPv4 entries.
    pub v4: usize,
    /// IPv6 entries.
    pub v6: usize,
    /// How many entries the device takes; none where nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<usize>,
    /// How many entries count against that: those of this list, or of all lists of the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<usize>,
}

/// What a client fetched last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientStatus {
    /// Its address; `unix` for the Unix socket.
    pub address: String,
    /// Who it said it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What program it said it is.
    pub agent: String,
    /// The list, as `TARGET/FILE`.
    pub list: String,
    /// The generation that it was of.
    pub generation: u64,
    /// The digest that it had.
    pub digest: Digest,
    /// When it came last.
    pub at: Timestamp,
    /// How often it came.
    pub count: u64,
    /// Whether it has the list as it is now.
    pub current: bool,
}

impl ServeStatus {
    pub(super) fn text(&self, now: Timestamp) -> String {
        let mut text = format!(
            "serving {} at {}\n",
            counted(self.lists.len(), "list", "lists"),
            self.places.join(", ")
        );
        for fault in &self.faults {
            text.push_str(&format!("  {REMOVED}fault{REMOVED:#}: {fault}\n"));
        }
        if let (Some(ends), true) = (self.certificate_ends, self.certificate_warning) {
            text.push_str(&format!(
                "  {WARNING}certificate{WARNING:#} ends {}: renew it\n",
                relative(ends, now)
            ));
        }
        for client in self.clients.iter().filter(|client| !client.current) {
            text.push_str(&format!(
                "  {WARNING}behind{WARNING:#}: {} fetched {} {}, generation {}\n",
                client.address,
                client.list,
                relative(client.at, now),
                client.generation
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wants_attention_is_said() {
        let now = "2026-01-10T00:00:00Z".parse().unwrap();
        let mut status = ServeStatus {
            places: vec!["192.0.2.1:8443".to_owned()],
            faults: vec!["no key".to_owned()],
            certificate_ends: Some("2026-01-12T00:00:00Z".parse().unwrap()),
            certificate_warning: true,
            clients: vec![ClientStatus {
                address: "192.0.2.7".to_owned(),
                user: None,
                agent: "PAN-OS".to_owned(),
                list: "fw/a.txt".to_owned(),
                generation: 3,
                digest: Digest::of(b""),
                at: "2026-01-09T00:00:00Z".parse().unwrap(),
                count: 1,
                current: false,
            }],
            ..ServeStatus::default()
        };
        let plain = anstream::adapter::strip_str(&status.text(now)).to_string();
        assert_eq!(
            plain,
            "serving 0 lists at 192.0.2.1:8443\n  fault: no key\n  certificate ends in 2 d: renew it\n  behind: \
             192.0.2.7 fetched fw/a.txt 1 d ago, generation 3\n"
        );
        status.clients[0].current = true;
        assert!(!status.text(now).contains("behind"));
    }
}
