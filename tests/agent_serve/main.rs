//! The agent serves what it published: the real binary, its configuration reloaded, its server replaced, taken away and broken.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

mod clients;

use std::collections::VecDeque;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than anything here takes on a machine with much to do; never measured.
const AT_MOST: Duration = Duration::from_secs(60);

const DEVOPS: &str = "\
cloud = \"example\"
[groups.devops]
tags = [\"AzureDevOps\"]
[targets.edge.list]
";
const STORAGE: &str = "[groups.storage]\ntags = [\"Storage\"]\n";
const LOOPBACK: &str = "[serve]\nlisten = [\"127.0.0.1:0\"]\n";

/// A running agent with its folders.
struct Agent {
    folder: tempfile::TempDir,
    process: Child,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Agent {
    fn start(config: &[&str]) -> Self {
        Self::start_with(config, |_| ())
    }

    /// Starts with what is put into its folder before.
    fn start_with(config: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        fs::write(folder.path().join("tagwall.toml"), config.concat()).unwrap();
        let process = run(&folder);
        Self { folder, process }
    }

    /// Ends it as systemd does, and starts it again.
    fn restart(&mut self) {
        let (status, log) = self.terminate();
        assert!(status.success(), "{status}\n{log}");
        self.process = run(&self.folder);
    }

    fn write(&self, config: &[&str]) {
        fs::write(self.folder.path().join("tagwall.toml"), config.concat()).unwrap();
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        command(&self.folder, arguments).output().unwrap()
    }

    /// Reloads this configuration, and gives what was said.
    fn reload(&self, config: &[&str]) -> String {
        self.write(config);
        let output = self.ask(&["reload"]);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(output.status.success(), "{said}\n{}", self.log());
        said
    }

    /// The status of the running agent; none while it does not answer.
    fn status(&self) -> Option<Value> {
        let output = self.ask(&["status", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).ok()?;
        status.get("agent").is_some().then_some(status)
    }

    /// Waits for something in the status.
    fn until(&self, what: &str, found: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let status = self.status();
            match status {
                Some(status) if found(&status) => return status,
                _ => {}
            }
            assert!(begun.elapsed() < AT_MOST, "never: {what}\n{status:#?}\n{}", self.log());
            sleep(Duration::from_millis(50));
        }
    }

    /// Waits until it listens, and gives the first address.
    fn address(&self) -> SocketAddr {
        let status = self.until("listens", |status| {
            status["generation"].is_u64() && status["serve"]["places"][0].is_string()
        });
        status["serve"]["places"][0].as_str().unwrap().parse().unwrap()
    }

    /// Waits until this list is served as it is in force, and gives it.
    fn list(&self, address: SocketAddr, name: &str) -> Vec<u8> {
        let begun = Instant::now();
        let file = self.state().join("current/edge").join(name);
        loop {
            let (status, body) = get(address, &format!("/lists/edge/{name}")).unwrap();
            if status == 200 {
                assert_eq!(body, fs::read(&file).unwrap());
                return body;
            }
            assert!(begun.elapsed() < AT_MOST, "{name}: {status}\n{}", self.log());
            sleep(Duration::from_millis(50));
        }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn terminate(&mut self) -> (ExitStatus, String) {
        self.signal(rustix::process::Signal::TERM);
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return (status, self.log());
            }
            assert!(begun.elapsed() < AT_MOST, "it does not end\n{}", self.log());
            sleep(Duration::from_millis(20));
        }
    }
}

fn run(folder: &tempfile::TempDir) -> Child {
    command(folder, &["run"])
        .stdout(Stdio::null())
        .stderr(fs::File::create(folder.path().join("log")).unwrap())
        .spawn()
        .unwrap()
}

fn command(folder: &tempfile::TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tagwall"));
    command.args(arguments).env_clear();
    command.arg("--config").arg(folder.path().join("tagwall.toml"));
    command.arg("--state-dir").arg(folder.path().join("state"));
    command
}

/// Status and body; none when nobody listens.
fn get(address: SocketAddr, path: &str) -> Option<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(AT_MOST)).unwrap();
    stream
        .write_all(
            format!("GET {path} HTTP/1.1\r\nhost: tagwall\r\nconnection: close\r\n\r\n").as_bytes(),
        )
        .ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let code = std::str::from_utf8(&answer[..end]).unwrap().split(' ').nth(1).unwrap();
    Some((code.parse().unwrap(), answer[end + 4..].to_vec()))
}

fn faults(status: &Value) -> String {
    status["serve"]["faults"].to_string()
}

#[test]
fn what_is_in_force_is_served_through_reloads() {
    let mut agent = Agent::start(&[DEVOPS, LOOPBACK]);
    let address = agent.address();
    let devops = agent.list(address, "devops.txt");
    assert!(!devops.is_empty());
    assert_eq!(get(address, "/readyz").unwrap().0, 200);
    // Who fetched what is told to people, here and there.
    let status = agent.until("the client", |status| status["serve"]["clients"][0].is_object());
    let client = &status["serve"]["clients"][0];
    assert_eq!((&client["list"], &client["current"]), (&"edge/devops.txt".into(), &true.into()));
    let (code, page) = get(address, "/status.json").unwrap();
    let page: Value = serde_json::from_slice(&page).unwrap();
    assert_eq!((code, &page["generation"]), (200, &1.into()));
    assert_eq!(page["agent"]["pid"], agent.process.id());
    let (code, believed) = get(address, "/believed/example.json").unwrap();
    assert_eq!((code, &believed[..1]), (200, &b"{"[..]));

    // Another group, another list, at the same place.
    assert_eq!(get(address, "/lists/edge/storage.txt").unwrap().0, 404);
    agent.reload(&[DEVOPS, STORAGE, LOOPBACK]);
    assert_eq!(agent.address(), address, "the place is the same");
    agent.list(address, "storage.txt");

    // A place that cannot be listened at: the configuration counts, and the server stays as it was.
    let elsewhere = "[serve]\nlisten = [\"192.0.2.1:8443\"]\nplain-http = \"anywhere\"\n";
    let said = agent.reload(&[DEVOPS, elsewhere]);
    assert!(said.contains("cannot listen at 192.0.2.1:8443"), "{said}");
    let status = agent.until("the fault", |status| faults(status).contains("192.0.2.1:8443"));
    assert_eq!(status["serve"]["places"][0], address.to_string());
    agent.list(address, "devops.txt");

    // Nothing is served: nobody listens, and the agent lives.
    agent.reload(&[DEVOPS]);
    let status = agent.until("no server", |status| status.get("serve").is_none());
    assert!(status["generation"].is_u64());
    let begun = Instant::now();
    while get(address, "/healthz").is_some() {
        assert!(begun.elapsed() < AT_MOST, "it is still listened at");
        sleep(Duration::from_millis(20));
    }

    // And again; a stop waits for nobody who is silent.
    agent.reload(&[DEVOPS, LOOPBACK]);
    let address = agent.address();
    assert_eq!(agent.list(address, "devops.txt"), devops);
    let _silent = TcpStream::connect(address).unwrap();
    let (status, log) = agent.terminate();
    assert!(status.success(), "{status}\n{log}");
    assert!(log.contains("stopped") && !log.contains("after the grace period"), "{log}");
    assert!(get(address, "/healthz").is_none());
}

#[test]
fn what_clients_fetched_outlives_a_restart() {
    let mut agent = Agent::start(&[DEVOPS, LOOPBACK]);
    agent.list(agent.address(), "devops.txt");
    let clients = |status: &Value| status["serve"]["clients"].clone();
    let before = agent.until("the client", |status| clients(status)[0].is_object());
    agent.restart();
    let after = agent.until("the server", |status| status["serve"]["places"][0].is_string());
    assert_eq!(clients(&after), clients(&before));
    // What cannot be used is forgotten, and said.
    agent.terminate();
    fs::write(agent.state().join("clients.json"), "{").unwrap();
    agent.process = run(&agent.folder);
    agent.address();
    assert!(agent.log().contains("what clients fetched is forgotten"), "{}", agent.log());
    agent.list(agent.address(), "devops.txt");
}

#[test]
fn a_place_that_is_taken_holds_up_nothing_and_is_tried_again() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let serve = format!("[serve]\nlisten = [\"{address}\"]\n");
    let agent = Agent::start(&[DEVOPS, &serve]);
    let status = agent.until("the generation", |status| {
        status["generation"] == 1 && faults(status).contains(&address.to_string())
    });
    assert_eq!(status["serve"]["places"], Value::Array(Vec::new()));
    drop(taken);
    assert_eq!(agent.address(), address);
    agent.list(address, "devops.txt");
    let status = agent.status().unwrap();
    assert_eq!(faults(&status), "null");
}

#[test]
fn without_a_section_nothing_is_served() {
    let agent = Agent::start(&[DEVOPS]);
    let status = agent.until("the generation", |status| status["generation"] == 1);
    assert!(status.get("serve").is_none(), "{status:#}");
    let threads = fs::read_dir(format!("/proc/{}/task", agent.process.id())).unwrap();
    let names = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("comm")));
    assert!(!names.flatten().any(|name| name.starts_with("tagwall-serve")));
}

/// Opens connections, half a request each, and whole requests, until it is told to stop; gives how many.
fn flood(address: SocketAddr, stop: &AtomicBool) -> usize {
    let (mut held, mut count) = (VecDeque::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        if let Ok(mut stream) = TcpStream::connect(address) {
            let half = count % 2 == 0;
            let request: &[u8] = if half {
                b"GET / HTTP/1.1\r\nhost"
            } else {
                b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
            };
            let _ = stream.write_all(request);
            held.push_back(stream);
            count += 1;
        }
        if held.len() > 200 {
            held.pop_front();
        }
    }
    count
}

#[test]
fn a_flood_of_its_server_is_not_felt_by_the_agent() {
    let limits = "[serve.limits]\nconnections = 100\n";
    let mut agent = Agent::start(&[DEVOPS, LOOPBACK, limits]);
    let address = agent.address();
    let stop = AtomicBool::new(false);
    let count = std::thread::scope(|scope| {
        let floods: Vec<_> = (0..4).map(|_| scope.spawn(|| flood(address, &stop))).collect();
        // It answers, takes a new configuration, and publishes; what is served follows once there is room.
        let said = agent.reload(&[DEVOPS, STORAGE, LOOPBACK, limits]);
        assert!(said.contains("reloaded"), "{said}");
        agent.until("the second generation", |status| status["generation"] == 2);
        agent.reload(&[DEVOPS, LOOPBACK, limits]);
        agent.until("the third generation", |status| status["generation"] == 3);
        stop.store(true, Ordering::Relaxed);
        floods.into_iter().map(|flood| flood.join().unwrap()).sum::<usize>()
    });
    assert!(count > 500, "only {count} connections: no flood");
    agent.list(address, "devops.txt");
    let (status, log) = agent.terminate();
    assert!(status.success() && !log.contains("panic"), "{status}\n{log}");
}

/// How often its threads have been taken from or given up a processor.
fn switches(pid: u32) -> u64 {
    let mut switches = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let fields = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
        switches += fields.map(|(_, count)| count.trim().parse::<u64>().unwrap()).sum::<u64>();
    }
    switches
}

#[test]
fn a_server_that_nobody_asks_sleeps() {
    let agent = Agent::start(&[DEVOPS, LOOPBACK]);
    agent.list(agent.address(), "devops.txt");
    // What was begun before (keeping what was fetched, the runtime's threads) comes to its end first.
    let quiet = (0..20).any(|_| {
        let before = switches(agent.process.id());
        sleep(Duration::from_secs(3));
        // In three seconds a thread that polls ten times a second would be seen.
        switches(agent.process.id()) - before < 15
    });
    assert!(quiet, "its threads do not sleep\n{}", agent.log());
}
