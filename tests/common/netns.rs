//! A packet test bed: a firewall with a network on each side, in network namespaces of its own.
//!
//! ```text
//!  subnet ── lan0 ┌──────────┐ wan0 ── azure      every address of the documentation ranges answers, and some around
//!                 │ firewall │
//!                 └──────────┘ onprem0 ── onprem
//! ```
//!
//! Owns the namespaces, the addresses in them, and a service that answers TCP and UDP on every port and address of the
//! three sides. Promises: no packet leaves the namespaces; what is said to have passed was answered, and what is said
//! not to have arrived never reached the other side (each side records the first packets it sees, so a firewall that
//! lets a request through and drops the answer is found out); everything is gone when the bed is dropped. Knows nothing
//! of tagwall: the rules are loaded by whoever builds the bed.
#![allow(dead_code, reason = "each test program uses the part that it needs")]

#[path = "netns/inside.rs"]
mod inside;
#[path = "netns/place.rs"]
mod place;
#[path = "netns/probe.rs"]
mod probe;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::Shutdown;

use inside::{echo, enter, redirection, settle};
pub(crate) use place::Place;
pub(crate) use probe::{Probe, Transport, Verdict, talk};
use probe::{datagram, open, ping, verdict_of};

/// How long an answer is waited for. Only the verdict of a connection that is to be silent depends on it, and that one
/// is confirmed by what arrived; anything else that is silent is asked again.
const PATIENCE: Duration = Duration::from_millis(700);
/// How long an answer is waited for that must come.
const LONG_PATIENCE: Duration = Duration::from_secs(3);
/// How often a connection is tried again that was unexpectedly silent.
const RETRIES: usize = 1;
/// Connections that are tried at a time.
const AT_A_TIME: usize = 256;
/// The port of the service behind every port.
const SERVICE: u16 = 7;
/// How often the service looks whether it is to end.
const TICK: Duration = Duration::from_millis(100);

/// Why there can be no bed here, and nothing when there can: root, `ip` and `nft` are needed, and `tools`.
pub(crate) fn hindrance(tools: &[&str]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("packets need root".to_owned());
    }
    let missing: Vec<&str> =
        ["ip", "nft"].iter().chain(tools).copied().filter(|tool| !installed(tool)).collect();
    if !missing.is_empty() {
        return Some(format!("not installed: {}", missing.join(", ")));
    }
    // A container's root may lack the right to make namespaces.
    let name = unique("probe");
    let made = run("ip", &["netns", "add", &name], "");
    if !made.status.success() {
        return Some(format!("no network namespaces: {}", text(&made.stderr)));
    }
    must("ip", &["netns", "del", &name], "");
    None
}

fn installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(tool).is_file())
}

/// A name that no other bed has, of this process or another.
fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("tagwall-{}-{number}-{what}", std::process::id())
}

/// The bed. See the top of this file.
pub(crate) struct PacketBed {
    names: [String; 4],
    next_port: AtomicU16,
    stop: Arc<AtomicBool>,
    listeners: Vec<TcpListener>,
    services: Vec<JoinHandle<()>>,
}

impl PacketBed {
    /// Builds the namespaces, connects them and starts the services. No rules are loaded: everything passes.
    pub(crate) fn new() -> Self {
        let number = unique("");
        let names = Place::ALL.map(|place| format!("{number}{}", place.name()));
        let mut bed = Self {
            names,
            next_port: AtomicU16::new(10_000),
            stop: Arc::new(AtomicBool::new(false)),
            listeners: Vec::new(),
            services: Vec::new(),
        };
        for name in &bed.names {
            must("ip", &["netns", "add", name], "");
        }
        for place in Place::ALL {
            bed.within(place, || settle(place));
        }
        for side in Place::SIDES {
            bed.connect_side(side);
        }
        for side in Place::SIDES {
            bed.serve(side);
        }
        bed.acquaint();
        bed
    }

    /// Lets every two neighbours learn each other's hardware address: while many packets wait for one, some are lost.
    fn acquaint(&self) {
        for (near, far) in [
            ("10.20.0.10", "198.18.0.1"),
            ("10.20.0.10", "10.50.0.5"),
            ("fd00:20::10", "2001:db8::1"),
            ("fd00:20::10", "fd00:50::5"),
        ] {
            let probe = Probe::new(near, far, Transport::Tcp, SERVICE);
            assert_eq!(talk(&mut self.open(&probe)), Verdict::Passed, "the bed is broken: {probe}");
        }
    }

    /// The name of a namespace.
    pub(crate) fn name(&self, place: Place) -> &str {
        &self.names[Place::ALL.iter().position(|known| *known == place).unwrap_or(0)]
    }

    /// Runs a piece of code, with the programs that it starts and the sockets that it opens, in a namespace.
    pub(crate) fn within<T: Send>(&self, place: Place, work: impl FnOnce() -> T + Send) -> T {
        let name = self.name(place);
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                enter(name);
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a program on the firewall with this standard input; it must succeed.
    pub(crate) fn on_firewall(&self, program: &str, arguments: &[&str], input: &str) -> String {
        let output = self.within(Place::Firewall, || must(program, arguments, input));
        text(&output.stdout)
    }

    /// Runs a program on the firewall and says whether it succeeded.
    pub(crate) fn try_on_firewall(&self, program: &str, arguments: &[&str], input: &str) -> bool {
        self.within(Place::Firewall, || run(program, arguments, input)).status.success()
    }

    fn connect_side(&self, side: Place) {
        let (interface, link, nets) = side.link();
        let (firewall, name) = (self.name(Place::Firewall), self.name(side));
        let near = |host: u8| (format!("10.255.{link}.{host}"), format!("fd00:ff:{link}::{host}"));
        let (gateway, gateway6) = near(1);
        let (own, own6) = near(2);
        let mut outside = format!(
            "link add {interface} type veth peer name eth0 netns {name}\n\
             addr add {gateway}/30 dev {interface}\naddr add {gateway6}/64 dev {interface} nodad\n\
             link set {interface} up\n"
        );
        let mut inside = format!(
            "link set lo up\naddr add {own}/30 dev eth0\naddr add {own6}/64 dev eth0 nodad\nlink set eth0 up\n\
             route add default via {gateway}\n-6 route add default via {gateway6}\n"
        );
        for net in nets {
            let (family, via) = if net.contains(':') { ("-6", &own6) } else { ("-4", &own) };
            outside.push_str(&format!("{family} route add {net} via {via}\n"));
            inside.push_str(&format!("{family} route add local {net} dev lo\n"));
        }
        // `ip -batch` takes no family on a line, so the lines of each family are a batch of their own.
        for (namespace, lines) in [(firewall, &outside), (name, &inside)] {
            let mut plain = String::new();
            let mut six = String::new();
            for line in lines.lines() {
                match line.strip_prefix("-6 ") {
                    Some(rest) => six.push_str(&format!("{rest}\n")),
                    None => plain.push_str(&format!("{}\n", line.trim_start_matches("-4 "))),
                }
            }
            must("ip", &["-n", namespace, "-batch", "-"], &plain);
            must("ip", &["-n", namespace, "-6", "-batch", "-"], &six);
        }
        self.within(side, || {
            must("nft", &["-f", "-"], &redirection(&own, &own6));
        });
    }

    /// Starts the service of a side: what it is sent, it sends back.
    fn serve(&mut self, side: Place) {
        let (tcp, udp) = self.within(side, || {
            let any = SocketAddr::new("::".parse().unwrap(), SERVICE);
            (TcpListener::bind(any).unwrap(), UdpSocket::bind(any).unwrap())
        });
        self.listeners.push(tcp.try_clone().unwrap());
        let stop = Arc::clone(&self.stop);
        self.services.push(thread::spawn(move || {
            let mut connections = Vec::new();
            while let Ok((connection, _)) = tcp.accept() {
                let stop = Arc::clone(&stop);
                connections.push(thread::spawn(move || echo(connection, &stop)));
            }
            for connection in connections {
                _ = connection.join();
            }
        }));
        let stop = Arc::clone(&self.stop);
        self.services.push(thread::spawn(move || {
            udp.set_read_timeout(Some(TICK)).unwrap();
            let mut buffer = [0; 512];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((length, from)) = udp.recv_from(&mut buffer) {
                    _ = udp.send_to(&buffer[..length], from);
                }
            }
        }));
    }

    /// Tries one connection.
    pub(crate) fn connect(&self, probe: &Probe) -> Verdict {
        self.attempt(probe, PATIENCE).0
    }

    fn attempt(&self, probe: &Probe, patience: Duration) -> (Verdict, u16) {
        // Never the same port twice: what the firewall remembers of an earlier connection is not asked.
        let port = self.next_port.fetch_add(1, Ordering::Relaxed);
        let source = SocketAddr::new(probe.source, port);
        let to = SocketAddr::new(probe.to, probe.port);
        let verdict = self.within(Place::of(probe.source), || match probe.transport {
            Transport::Tcp => open(source, to, patience).map(|mut stream| talk(&mut stream)),
            Transport::Udp => datagram(source, to, patience),
            Transport::Ping => ping(source.ip(), to.ip(), patience),
        });
        (verdict.unwrap_or_else(verdict_of), port)
    }

    /// Opens a connection that is kept.
    pub(crate) fn open(&self, probe: &Probe) -> TcpStream {
        let port = self.next_port.fetch_add(1, Ordering::Relaxed);
        let source = SocketAddr::new(probe.source, port);
        let to = SocketAddr::new(probe.to, probe.port);
        let opened = self.within(Place::of(probe.source), || open(source, to, LONG_PATIENCE));
        opened.unwrap_or_else(|error| panic!("{probe} cannot be opened: {error}"))
    }

    /// Tries all these connections and returns what was not as expected, in words. Beyond the verdict: whatever is not
    /// to pass must not have reached the other side either.
    pub(crate) fn faults(&self, expected: &[(Probe, Verdict)]) -> Vec<String> {
        for side in Place::SIDES {
            self.within(side, || must("nft", &["flush", "set", "inet", "bed", "seen"], ""));
            self.within(side, || must("nft", &["flush", "set", "inet", "bed", "seen6"], ""));
        }
        let try_one = |probe: &Probe, wanted: Verdict| {
            let mut ports = Vec::new();
            let mut verdict = Verdict::Silent;
            for retry in 0..=RETRIES {
                let patience = if retry == 0 { PATIENCE } else { LONG_PATIENCE };
                let (found, port) = self.attempt(probe, patience);
                verdict = found;
                ports.push(port);
                // On a busy machine an answer may be late, but never one that is not to come.
                if verdict == wanted || verdict != Verdict::Silent {
                    break;
                }
            }
            (verdict, ports)
        };
        let mut tried = Vec::new();
        for some in expected.chunks(AT_A_TIME) {
            tried.extend(thread::scope(|scope| {
                let running: Vec<_> = some
                    .iter()
                    .map(|(probe, wanted)| scope.spawn(move || try_one(probe, *wanted)))
                    .collect();
                running.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
            }));
        }
        let seen: BTreeSet<String> =
            Place::SIDES.iter().flat_map(|side| self.seen(*side)).collect();
        let mut faults = Vec::new();
        for ((probe, wanted), (verdict, ports)) in expected.iter().zip(tried) {
            let arrived = ports.iter().any(|port| seen.contains(&key(probe, *port)));
            let recorded = probe.transport != Transport::Ping;
            if verdict != *wanted {
                faults.push(format!("{probe}: {verdict:?} instead of {wanted:?}"));
            } else if recorded && arrived != (verdict == Verdict::Passed) {
                faults.push(format!(
                    "{probe}: {verdict:?}, but its packets {}",
                    if arrived { "arrived" } else { "were not seen on the other side" }
                ));
            }
        }
        faults
    }

    /// What arrived at a side since the last look.
    fn seen(&self, side: Place) -> Vec<String> {
        let mut found = Vec::new();
        for set in ["seen", "seen6"] {
            let listing = self
                .within(side, || must("nft", &["-j", "-n", "list", "set", "inet", "bed", set], ""));
            let listing: serde_json::Value = serde_json::from_slice(&listing.stdout).unwrap();
            let elements = listing["nftables"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|object| object["set"]["elem"].as_array())
                .flatten();
            for element in elements {
                let fields = element["concat"].as_array().unwrap();
                let fields: Vec<String> = fields
                    .iter()
                    .map(|field| {
                        field.as_str().map_or_else(|| field.to_string(), ToOwned::to_owned)
                    })
                    .collect();
                found.push(fields.join(" "));
            }
        }
        found
    }
}

impl Drop for PacketBed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for listener in &self.listeners {
            // Wakes whoever waits in accept.
            _ = rustix::net::shutdown(listener, Shutdown::Both);
        }
        for service in self.services.drain(..) {
            _ = service.join();
        }
        for name in &self.names {
            _ = run("ip", &["netns", "del", name], "");
        }
    }
}

/// The text under which a side records the first packet of a probe from this port.
fn key(probe: &Probe, port: u16) -> String {
    let protocol = match probe.transport {
        Transport::Tcp => "6",
        Transport::Udp => "17",
        Transport::Ping => "1",
    };
    format!("{} {} {protocol} {port} {}", probe.source, probe.to, probe.port)
}

fn run(program: &str, arguments: &[&str], input: &str) -> Output {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut child = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    // A program that ends without reading everything says itself what was wrong.
    _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn must(program: &str, arguments: &[&str], input: &str) -> Output {
    let output = run(program, arguments, input);
    assert!(
        output.status.success(),
        "{program} {} failed: {}\n{input}",
        arguments.join(" "),
        text(&output.stderr)
    );
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}
