//! Name servers under a test's control: a real authoritative one, and one that says whatever the test wants.
//!
//! Both listen on loopback alone, on ports of their own, and end when they are dropped.
#![allow(dead_code, reason = "each test program uses the part that it needs")]

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::str::FromStr as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record};
use tempfile::TempDir;

/// How long a server may take to start, or to take up a zone.
const PATIENCE: Duration = Duration::from_secs(10);

/// NSD, authoritative for zones in files.
pub(crate) struct Nsd {
    child: Child,
    folder: TempDir,
    pub(crate) address: SocketAddr,
    /// Where it speaks TLS, if it does.
    pub(crate) tls: SocketAddr,
}

impl Nsd {
    /// Starts it with these zones (name and text), or says that it is not installed.
    pub(crate) fn start(zones: &[(&str, &str)]) -> Option<Self> {
        Self::with(zones, None)
    }

    /// The same over TLS alone: certificate and key in PEM.
    pub(crate) fn over_tls(zones: &[(&str, &str)], pem: (&str, &str)) -> Option<Self> {
        Self::with(zones, Some(pem))
    }

    fn with(zones: &[(&str, &str)], pem: Option<(&str, &str)>) -> Option<Self> {
        let program =
            ["/usr/sbin/nsd", "/usr/bin/nsd"].into_iter().find(|path| Path::new(path).exists());
        let Some(program) = program else {
            eprintln!("skipped: nsd is not installed");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        // A free port of both protocols, as far as one can know.
        let address = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = udp.local_addr().unwrap();
            if TcpListener::bind(address).is_ok() {
                break address;
            }
        };
        let at = folder.path().display();
        let mut config = format!(
            "server:\n ip-address: 127.0.0.1@{}\n username: \"\"\n chroot: \"\"\n zonesdir: \"{at}\"\n pidfile: \"\"\n \
             xfrdfile: \"\"\n zonelistfile: \"{at}/zone.list\"\n xfrdir: \"{at}\"\n logfile: \"{at}/log\"\n server-count: 1\n \
             rrl-ratelimit: 0\nremote-control:\n control-enable: no\n",
            address.port()
        );
        // Over TLS it listens on a second port, so that it can be waited for on the first.
        let tls = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        if let Some((certificate, key)) = pem {
            super::write(&folder.path().join("cert.pem"), certificate.as_bytes());
            super::write(&folder.path().join("key.pem"), key.as_bytes());
            let more = format!(
                " ip-address: 127.0.0.1@{port}\n tls-port: {port}\n tls-service-pem: \"{at}/cert.pem\"\n tls-service-key: \"{at}/key.pem\"\n",
                port = tls.port()
            );
            config = config.replace("remote-control:\n", &format!("{more}remote-control:\n"));
        }
        for (zone, text) in zones {
            super::write(&folder.path().join(format!("{zone}.zone")), text.as_bytes());
            config.push_str(&format!("zone:\n name: {zone}\n zonefile: {zone}.zone\n"));
        }
        let path = folder.path().join("nsd.conf");
        super::write(&path, config.as_bytes());
        let child = Command::new(program)
            .args(["-d", "-c"])
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, folder, address, tls };
        for (zone, _) in zones {
            server.wait_for(zone, |_| true);
        }
        Some(server)
    }

    /// Puts another text in place of a zone's, and waits until it is served. The serial must be another.
    pub(crate) fn replace(&self, zone: &str, text: &str) {
        let serial = |message: &Message| {
            message.answers.iter().find_map(|record| match &record.data {
                RData::SOA(soa) => Some(soa.serial),
                _ => None,
            })
        };
        let mut before = None;
        self.wait_for(zone, |message| {
            before = serial(message);
            true
        });
        super::write(&self.folder.path().join(format!("{zone}.zone")), text.as_bytes());
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
        self.wait_for(zone, |message| serial(message) != before);
    }

    /// Asks for a zone's SOA until the answer is as it should be.
    fn wait_for(&self, zone: &str, mut good: impl FnMut(&Message) -> bool) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut query = Message::query();
        let name = Name::from_str(&format!("{zone}.")).unwrap();
        query.add_query(Query::query(name, hickory_resolver::proto::rr::RecordType::SOA));
        let bytes = query.to_vec().unwrap();
        let end = Instant::now() + PATIENCE;
        let mut buffer = [0; 4096];
        while Instant::now() < end {
            _ = socket.send_to(&bytes, self.address);
            if let Ok(length) = socket.recv(&mut buffer)
                && let Ok(answer) = Message::from_vec(&buffer[..length])
                && answer.metadata.response_code == ResponseCode::NoError
                && !answer.answers.is_empty()
                && good(&answer)
            {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        panic!("nsd does not serve {zone}: {log}");
    }
}

impl Drop for Nsd {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// What a [`Liar`] sends for a question: datagrams in order, each from the asked address or from another.
pub(crate) type Says = dyn Fn(&Message) -> Vec<Datagram> + Send + Sync;

/// One datagram of a [`Liar`].
pub(crate) struct Datagram {
    pub(crate) message: Message,
    /// From the address that was asked, or from a stranger's.
    pub(crate) by_the_asked: bool,
}

impl From<Message> for Datagram {
    fn from(message: Message) -> Self {
        Self { message, by_the_asked: true }
    }
}

/// A server over UDP that says whatever it is told to.
pub(crate) struct Liar {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
    says: Arc<Mutex<Arc<Says>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Liar {
    pub(crate) fn start(says: impl Fn(&Message) -> Vec<Datagram> + Send + Sync + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let stranger = UdpSocket::bind("127.0.0.2:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let address = socket.local_addr().unwrap();
        let says: Arc<Mutex<Arc<Says>>> = Arc::new(Mutex::new(Arc::new(says)));
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, count, told) = (Arc::clone(&stop), Arc::clone(&asked), Arc::clone(&says));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let Ok(question) = Message::from_vec(&buffer[..length]) else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                let says = Arc::clone(&told.lock().unwrap());
                for datagram in says(&question) {
                    let by = if datagram.by_the_asked { &socket } else { &stranger };
                    _ = by.send_to(&datagram.message.to_vec().unwrap(), from);
                }
            }
        });
        Self { address, asked, says, stop, thread: Some(thread) }
    }

    /// Says something else from now on.
    pub(crate) fn say(&self, says: impl Fn(&Message) -> Vec<Datagram> + Send + Sync + 'static) {
        *self.says.lock().unwrap() = Arc::new(says);
    }

    /// How many questions came.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

/// An answer to a question: without records, and with the code given.
pub(crate) fn answer(question: &Message, code: ResponseCode) -> Message {
    let mut message = Message::response(question.metadata.id, question.metadata.op_code);
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_desired = question.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.metadata.response_code = code;
    message.add_queries(question.queries.iter().cloned());
    message
}

/// A record with an address.
pub(crate) fn address_record(name: &str, address: &str, ttl: u32) -> Record {
    let data = match address.parse().unwrap() {
        IpAddr::V4(address) => RData::A(address.into()),
        IpAddr::V6(address) => RData::AAAA(address.into()),
    };
    Record::from_rdata(Name::from_str(name).unwrap(), ttl, data)
}

/// The addresses of the family that is asked for, as the asked name's; none of that family is an empty answer.
pub(crate) fn addresses(question: &Message, addresses: &[&str], ttl: u32) -> Message {
    let mut message = answer(question, ResponseCode::NoError);
    let query = &question.queries[0];
    for text in addresses {
        let mut record = address_record("x.", text, ttl);
        record.name = query.name().clone();
        if record.record_type() == query.query_type() {
            message.add_answer(record);
        }
    }
    message
}
