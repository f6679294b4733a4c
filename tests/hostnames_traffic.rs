//! Packets while the addresses of a name rotate: the agent runs on a firewall between networks, and a name server beside it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(
    clippy::print_stderr,
    reason = "a skipped test must say so, and how much was tried is said"
)]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

mod common;
#[path = "common/netns.rs"]
mod netns;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::dns::{Liar, addresses};
use netns::{PacketBed, Place, Probe, Transport, Verdict, hindrance, talk};

const BINARY: &str = env!("CARGO_BIN_EXE_tagwall");
/// Ends a broken test; nothing waits for it otherwise.
const LONG: Duration = Duration::from_secs(60);

struct Site {
    bed: PacketBed,
    server: Liar,
    folder: tempfile::TempDir,
    agent: Option<Child>,
}

impl Site {
    /// A firewall whose one rule leads to the addresses of a name; it is answered with this one at first.
    fn start(first: &'static str, grace: &str) -> Option<Self> {
        if let Some(reason) = hindrance(&[]) {
            eprintln!("skipped: {reason}");
            return None;
        }
        let bed = PacketBed::new();
        bed.on_firewall("ip", &["link", "set", "lo", "up"], "");
        let says = move |question: &_| vec![addresses(question, &[first], 1).into()];
        let server = bed.within(Place::Firewall, || Liar::start(says));
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "cloud = \"example\"\n[agent]\nquiet-period = \"0s\"\n[groups.web]\nhosts = [\"a.example.com\"]\n\
             [groups.b]\nprefixes = [\"192.0.2.0/24\"]\n\
             [rules.web]\nsource = [\"10.20.0.0/24\"]\ndestination = \"web\"\nservices = [\"tcp/443\"]\ninterfaces = [\"wan0\"]\n\
             [rules.b]\nsource = [\"10.20.0.0/24\"]\ndestination = \"b\"\nservices = [\"tcp/443\"]\ninterfaces = [\"wan0\"]\n\
             [targets.edge]\napply = \"automatic\"\n[targets.edge.nftables]\n\
             [dns]\nresolvers = [\"{}\"]\ntimeout = \"1s\"\nmin-ttl = \"1s\"\ngrace = \"{grace}\"\n\
             [dns.names.\"a.example.com\"]\nallow-special = [\"203.0.113.0/24\"]\n",
            server.address
        );
        fs::write(folder.path().join("tagwall.toml"), text).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let agent = bed.within(Place::Firewall, || {
            let mut command = Command::new(BINARY);
            command.arg("--config").arg(folder.path().join("tagwall.toml"));
            command.arg("--state-dir").arg(folder.path().join("state")).arg("run");
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
        });
        let site = Self { bed, server, folder, agent: Some(agent) };
        // Without rules everything passes.
        site.until("the rules", || !site.passes("203.0.113.99"));
        site.until("the first address", || site.passes(first));
        Some(site)
    }

    fn answer(&self, address: &'static str) {
        self.server.say(move |question| vec![addresses(question, &[address], 1).into()]);
    }

    fn passes(&self, to: &str) -> bool {
        self.bed.connect(&probe(to)) == Verdict::Passed
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn until(&self, what: &str, came: impl Fn() -> bool) {
        let began = Instant::now();
        while !came() {
            assert!(began.elapsed() < LONG, "it does not come: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(&mut self) {
        let mut agent = self.agent.take().unwrap();
        let pid = rustix::process::Pid::from_child(&agent);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(agent.wait().unwrap().success(), "{}", self.log());
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            _ = agent.kill();
            _ = agent.wait();
        }
    }
}

fn probe(to: &str) -> Probe {
    Probe::new("10.20.0.5", to, Transport::Tcp, 443)
}

const ROTATION: [&str; 6] =
    ["203.0.113.1", "203.0.113.20", "203.0.113.3", "203.0.113.40", "203.0.113.5", "203.0.113.60"];

#[test]
fn connections_old_and_new_go_on_while_addresses_rotate() {
    let Some(mut site) = Site::start(ROTATION[0], "1d") else { return };
    let mut established = site.bed.open(&probe(ROTATION[0]));
    let mut of_rule_b = site.bed.open(&probe("192.0.2.1"));
    let done = AtomicBool::new(false);
    let tried = std::thread::scope(|scope| {
        // New connections to the first address and through the other rule, without a pause.
        let prober = scope.spawn(|| {
            let mut tried = 0_usize;
            while !done.load(Ordering::Relaxed) {
                assert!(site.passes(ROTATION[0]), "after {tried} connections\n{}", site.log());
                assert!(site.passes("192.0.2.1"), "after {tried} connections\n{}", site.log());
                tried += 1;
            }
            tried
        });
        for round in 1..ROTATION.len() {
            site.answer(ROTATION[round]);
            site.until("the next address", || prober.is_finished() || site.passes(ROTATION[round]));
            for earlier in &ROTATION[..round] {
                assert!(site.passes(earlier), "{earlier} in round {round}\n{}", site.log());
            }
            assert_eq!(talk(&mut established), Verdict::Passed, "round {round}");
            assert_eq!(talk(&mut of_rule_b), Verdict::Passed, "round {round}");
            assert!(!site.passes("203.0.113.99"), "what was never answered is not let through");
        }
        done.store(true, Ordering::Relaxed);
        prober.join().unwrap()
    });
    eprintln!("{tried} pairs of new connections passed while {} addresses came", ROTATION.len());
    assert!(tried > 0);
    // What was loaded refills the one set, and nothing else.
    let current = fs::canonicalize(site.folder.path().join("state/current")).unwrap();
    let update = fs::read_to_string(current.join("archive/edge.update.nft")).unwrap();
    assert!(update.contains("flush set inet tagwall tw-web-v4"), "{update}");
    assert!(!update.contains("tw-b-") && !update.contains("chain"), "{update}");
    site.stop();
}

#[test]
fn an_address_is_closed_after_its_grace_and_what_is_established_goes_on() {
    let Some(mut site) = Site::start(ROTATION[0], "2s") else { return };
    let mut established = site.bed.open(&probe(ROTATION[0]));
    site.answer(ROTATION[1]);
    site.until("the second address", || site.passes(ROTATION[1]));
    site.until("the end of the first", || !site.passes(ROTATION[0]));
    assert_eq!(talk(&mut established), Verdict::Passed);
    assert!(site.log().contains("their grace period is over: 203.0.113.1\""), "{}", site.log());
    // Nobody answers any more: the last stays, however long its grace period is over.
    site.server.say(|_| Vec::new());
    site.until("a failure", || site.log().contains("is not answered"));
    std::thread::sleep(Duration::from_secs(4));
    assert!(site.passes(ROTATION[1]), "{}", site.log());
    site.stop();
}

/// What stands in a code block of the manual that begins with this.
fn documented(begins: &str) -> String {
    let page = include_str!("../docs/hostnames.md");
    let block =
        page.split("```").find(|block| block.trim_start_matches("nft").trim().starts_with(begins));
    block.unwrap().trim_start_matches("nft").trim().to_owned() + "\n"
}

#[test]
fn names_below_a_domain_are_observed_as_the_manual_says() {
    let hindered = hindrance(&["dnsmasq"]);
    if let Some(reason) = hindered {
        eprintln!("skipped: {reason}");
        return;
    }
    let bed = PacketBed::new();
    bed.on_firewall("ip", &["link", "set", "lo", "up"], "");
    bed.on_firewall("nft", &["-f", "-"], &documented("table inet firewall"));
    let says = |question: &_| vec![addresses(question, &["203.0.113.9", "2001:db8::9"], 60).into()];
    let server = bed.within(Place::Firewall, || Liar::start(says));
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("dnsmasq.conf");
    let text = format!(
        "{}port=5353\nlisten-address=127.0.0.1\nbind-interfaces\nno-hosts\nno-resolv\nserver={}\nuser=root\npid-file\n",
        documented("nftset="),
        server.address.to_string().replace(':', "#")
    );
    fs::write(&config, text).unwrap();
    let mut dnsmasq = bed.within(Place::Firewall, || {
        let mut command = Command::new("dnsmasq");
        command.arg("--keep-in-foreground").arg(format!("--conf-file={}", config.display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    });
    let ask = |name: &str| {
        let settings = "resolvers = [\"127.0.0.1:5353\"]\ntimeout = \"1s\"";
        let resolvers = tagwall::names::Resolvers::new(&toml::from_str(settings).unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let look = runtime.block_on(resolvers.look(&name.parse().unwrap()));
        matches!(look.replies[0].v4, tagwall::names::Said::Addresses { .. })
    };
    let set = |name: &str| bed.on_firewall("nft", &["list", "set", "inet", "firewall", name], "");
    let began = Instant::now();
    while !bed.within(Place::Firewall, || ask("other.example.com")) {
        assert!(began.elapsed() < LONG, "dnsmasq does not answer");
    }
    assert!(!set("update-v4").contains("203.0.113.9"), "another domain was observed");
    assert!(bed.within(Place::Firewall, || ask("a.b.update.microsoft.com")));
    assert!(set("update-v4").contains("203.0.113.9"), "{}", set("update-v4"));
    assert!(set("update-v6").contains("2001:db8::9"), "{}", set("update-v6"));
    _ = dnsmasq.kill();
    _ = dnsmasq.wait();
}
