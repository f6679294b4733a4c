//! Three network namespaces in a row (client, firewall, server), with packet counters in the
//! firewall and the client.
//!
//! # Guarantees
//!
//! No packet leaves the namespaces, and they are deleted when the bed is dropped.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The client's address; its network is the source of every rule.
pub(crate) const CLIENT: &str = "10.77.1.10";
/// The source of every rule.
pub(crate) const SOURCE: &str = "10.77.1.0/24";
/// The destination that every configuration allows.
pub(crate) const ALLOWED: &str = "198.18.0.1";
/// The destination that no configuration allows.
pub(crate) const FORBIDDEN: &str = "198.18.0.17";
/// UDP port of the two streams.
pub(crate) const STREAM: u16 = 9500;
/// TCP port of the connects.
pub(crate) const CONNECT: u16 = 9501;
/// TCP port of the connection that stays open.
pub(crate) const ECHO: u16 = 9502;

/// Longest wait for the counters to stand still.
const PATIENCE: Duration = Duration::from_secs(5);

/// A namespace of the bed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Client,
    Firewall,
    Server,
}

/// Packet counters by name.
pub(crate) type Counters = BTreeMap<String, u64>;

/// The namespaces.
pub(crate) struct Bed {
    names: [String; 3],
    /// A copy of /etc/alternatives whose iptables is the legacy one, where a mode asks for it.
    alternatives: Option<tempfile::TempDir>,
}

impl Bed {
    /// Builds the namespaces and their counters; no rules are loaded.
    pub(crate) fn new() -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |place| format!("tagwall-loss-{}-{number}-{place}", std::process::id());
        let names = [name("client"), name("firewall"), name("server")];
        let bed = Self { names, alternatives: None };
        for name in &bed.names {
            outside("ip", &["netns", "add", name])?;
        }
        let [client, firewall, server] = &bed.names;
        batch(
            firewall,
            &format!(
                "link set lo up\n\
                 link add lan0 type veth peer name eth0 netns {client}\n\
                 link add wan0 type veth peer name eth0 netns {server}\n\
                 addr add 10.77.1.1/24 dev lan0\naddr add 10.77.2.1/24 dev wan0\n\
                 link set lan0 up\nlink set wan0 up\n\
                 route add 198.18.0.0/15 via 10.77.2.10\n"
            ),
        )?;
        batch(
            client,
            &format!(
                "link set lo up\naddr add {CLIENT}/24 dev eth0\nlink set eth0 up\n\
                 route add default via 10.77.1.1\n"
            ),
        )?;
        batch(
            server,
            "link set lo up\naddr add 10.77.2.10/24 dev eth0\nlink set eth0 up\n\
             route add default via 10.77.2.1\nroute add local 198.18.0.0/15 dev lo\n",
        )?;
        bed.within(Place::Firewall, || {
            set("net/ipv4/ip_forward", "1")?;
            // Every refusal is answered, so that each is seen on the client.
            set("net/ipv4/icmp_ratemask", "0")
        })?;
        bed.must(Place::Firewall, &["nft", "-f", "-"], &forwarded())?;
        bed.must(Place::Client, &["nft", "-f", "-"], &refusals())?;
        Ok(bed)
    }

    /// Makes `iptables` the legacy program for everything that runs on the firewall from now on;
    /// the reason where this host does not choose its iptables by /etc/alternatives.
    pub(crate) fn use_legacy(&mut self) -> Result<(), String> {
        let system = Path::new("/etc/alternatives");
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let entries = std::fs::read_dir(system).map_err(|error| error.to_string())?;
        let mut replaced = 0;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Ok(mut to) = std::fs::read_link(entry.path()) else { continue };
            let text = name.to_string_lossy().into_owned();
            if let Some(family) = text.strip_suffix("tables-restore").or_else(|| {
                text.strip_suffix("tables-save").or_else(|| text.strip_suffix("tables"))
            }) && matches!(family, "ip" | "ip6")
            {
                let program = text.replacen("tables", "tables-legacy", 1);
                to = PathBuf::from("/usr/sbin").join(program);
                if !to.exists() {
                    return Err(format!("{} is not installed", to.display()));
                }
                replaced += 1;
            }
            std::os::unix::fs::symlink(to, folder.path().join(name))
                .map_err(|error| error.to_string())?;
        }
        if replaced < 6 {
            return Err("iptables is not chosen by /etc/alternatives here".to_owned());
        }
        self.alternatives = Some(folder);
        let version = self.must(Place::Firewall, &["iptables", "-V"], "")?;
        if version.contains("legacy") { Ok(()) } else { Err(format!("iptables is {version}")) }
    }

    /// Runs a piece of code in a namespace, with the programs that it starts and the sockets that
    /// it opens.
    pub(crate) fn within<T: Send>(
        &self,
        place: Place,
        work: impl FnOnce() -> Result<T, String> + Send,
    ) -> Result<T, String> {
        let path = Path::new("/run/netns").join(&self.names[place as usize]);
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                let namespace = File::open(&path).map_err(|error| error.to_string())?;
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(|error| error.to_string())?;
                work()
            });
            inside.join().unwrap_or_else(|_| Err("a thread panicked".to_owned()))
        })
    }

    /// Runs a program in a namespace.
    pub(crate) fn attempt(
        &self,
        place: Place,
        command: &[&str],
        input: &str,
    ) -> Result<Output, String> {
        let folder = self.alternatives.as_ref().map(tempfile::TempDir::path);
        self.within(place, || match folder.filter(|_| place == Place::Firewall) {
            None => run(command[0], &command[1..], input),
            Some(folder) => {
                let folder = folder.to_string_lossy();
                let mount = "mount --bind \"$0\" /etc/alternatives && exec \"$@\"";
                let mut arguments = vec!["--mount", "sh", "-c", mount, &*folder];
                arguments.extend(command);
                run("unshare", &arguments, input)
            }
        })
    }

    /// Runs a program in a namespace, which must succeed; its standard output.
    pub(crate) fn must(
        &self,
        place: Place,
        command: &[&str],
        input: &str,
    ) -> Result<String, String> {
        succeeded(command, &self.attempt(place, command, input)?)
    }

    /// The counters of both namespaces once they stand still: no packet is under way.
    pub(crate) fn counters(&self) -> Result<Counters, String> {
        let started = Instant::now();
        let mut before = self.read_counters()?;
        loop {
            thread::sleep(Duration::from_millis(20));
            let now = self.read_counters()?;
            if now == before {
                return Ok(now);
            }
            if started.elapsed() > PATIENCE {
                return Err("the packet counters do not stand still".to_owned());
            }
            before = now;
        }
    }

    fn read_counters(&self) -> Result<Counters, String> {
        let mut counters = Counters::new();
        for place in [Place::Firewall, Place::Client] {
            let listing = self.must(place, &["nft", "-j", "list", "table", "ip", "loss"], "")?;
            let listing: serde_json::Value =
                serde_json::from_str(&listing).map_err(|error| error.to_string())?;
            for object in listing["nftables"].as_array().into_iter().flatten() {
                let rule = &object["rule"];
                let Some(name) = rule["comment"].as_str() else { continue };
                let packets = rule["expr"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .find_map(|expression| expression["counter"]["packets"].as_u64());
                counters.insert(name.to_owned(), packets.unwrap_or(0));
            }
        }
        Ok(counters)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for name in &self.names {
            _ = outside("ip", &["netns", "del", name]);
        }
    }
}

/// Counters of what comes to the firewall and of what leaves it, before and behind every rule.
fn forwarded() -> String {
    format!(
        "table ip loss {{
            chain arriving {{
                type filter hook prerouting priority -400; policy accept;
                iifname lan0 ip daddr {ALLOWED} udp dport {STREAM} counter comment \"allowed in\"
                iifname lan0 ip daddr {FORBIDDEN} udp dport {STREAM} counter comment \"forbidden in\"
            }}
            chain leaving {{
                type filter hook postrouting priority 400; policy accept;
                oifname wan0 ip daddr {ALLOWED} udp dport {STREAM} counter comment \"allowed out\"
                oifname wan0 ip daddr {FORBIDDEN} udp dport {STREAM} counter comment \"forbidden out\"
            }}
        }}"
    )
}

/// Counters of the ICMP errors that answer allowed packets, by code: 3 is tagwall's own refusal,
/// 13 that of the rules that the bed puts behind tagwall's.
fn refusals() -> String {
    let mut rules = String::new();
    for code in [3, 13] {
        rules.push_str(&format!(
            "icmp type destination-unreachable icmp code {code} @th,192,32 {:#x} \
             counter accept comment \"icmp code {code}\"\n",
            u32::from(ALLOWED.parse().unwrap_or(std::net::Ipv4Addr::UNSPECIFIED))
        ));
    }
    format!(
        "table ip loss {{
            chain answers {{
                type filter hook input priority 0; policy accept;
                {rules}
            }}
        }}"
    )
}

/// Writes a setting of the namespace that this thread is in.
fn set(setting: &str, value: &str) -> Result<(), String> {
    let path = Path::new("/proc/sys").join(setting);
    File::options()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(format!("{value}\n").as_bytes()))
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn batch(namespace: &str, lines: &str) -> Result<(), String> {
    let arguments = ["-n", namespace, "-batch", "-"];
    succeeded(&["ip"], &run("ip", &arguments, lines)?).map(drop)
}

fn outside(program: &str, arguments: &[&str]) -> Result<String, String> {
    succeeded(&[program], &run(program, arguments, "")?)
}

fn succeeded(command: &[&str], output: &Output) -> Result<String, String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}: {}", command.join(" "), output.status, stderr.trim()))
}

fn run(program: &str, arguments: &[&str], input: &str) -> Result<Output, String> {
    let failed = |error: std::io::Error| format!("{program}: {error}");
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut child = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading everything reports what was wrong.
        _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output().map_err(failed)
}
