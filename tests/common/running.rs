//! The agent as a process of its own, asked through its socket like a person would.
#![allow(dead_code, reason = "each test uses its part of this")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tagwall::publish::Store;
use tagwall::state::trail;

use super::Namespace;
use super::host::BINARY;

/// Longer than anything here takes on a machine with much to do; never measured.
const AT_MOST: Duration = Duration::from_secs(90);

/// A host with a folder for everything, and the agent on it while it runs.
pub(crate) struct Agent {
    pub(crate) folder: tempfile::TempDir,
    namespace: Option<Namespace>,
    process: Option<Child>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            _ = process.kill();
            _ = process.wait();
        }
    }
}

impl Agent {
    /// On this host, for what needs no firewall.
    pub(crate) fn new(config: &str) -> Self {
        let agent = Self { folder: tempfile::tempdir().unwrap(), namespace: None, process: None };
        agent.configure(config);
        agent
    }

    /// In a network namespace of its own; nothing where there can be none.
    pub(crate) fn in_namespace(needed: &[&str], config: &str) -> Option<Self> {
        let namespace = Namespace::new(needed)?;
        let mut agent = Self::new(config);
        agent.namespace = Some(namespace);
        Some(agent)
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        self.namespace.as_ref().unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration; `FOLDER` in it is the agent's folder.
    pub(crate) fn configure(&self, config: &str) {
        let folder = self.folder.path().to_str().unwrap();
        fs::write(self.path("tagwall.toml"), config.replace("FOLDER", folder)).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        match &self.namespace {
            None => self.command_through(&[], args),
            Some(namespace) => self.command_through(&["ip", "netns", "exec", &namespace.0], args),
        }
    }

    /// Behind another program, which becomes it.
    fn command_through(&self, before: &[&str], args: &[&str]) -> Command {
        let mut words = before.iter().copied().chain([BINARY]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        command.arg("--config").arg(self.path("tagwall.toml"));
        command.arg("--state-dir").arg(self.path("state")).args(args);
        command
    }

    /// Starts it, and waits until its socket answers.
    pub(crate) fn start(&mut self) {
        self.launch();
        self.until("an answer", Self::status);
    }

    /// Starts it, and waits for nothing.
    pub(crate) fn launch(&mut self) {
        self.launch_with(&[]);
    }

    /// The same, with these variables in its environment.
    pub(crate) fn launch_with(&mut self, environment: &[(&str, &str)]) {
        self.spawn(self.command(&["run"]), environment);
    }

    /// The same, behind another program, which becomes it.
    pub(crate) fn launch_through(&mut self, before: &[&str]) {
        self.spawn(self.command_through(before, &["run"]), &[]);
    }

    fn spawn(&mut self, mut command: Command, environment: &[(&str, &str)]) {
        assert!(self.process.is_none());
        let log = fs::OpenOptions::new().append(true).create(true).open(self.path("log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.envs(environment.iter().copied());
        self.process = Some(command.spawn().unwrap());
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(self.process.as_ref().unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until it has ended.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        let began = Instant::now();
        loop {
            if let Some(status) = process.try_wait().unwrap() {
                return status;
            }
            if began.elapsed() > AT_MOST {
                _ = process.kill();
                _ = process.wait();
                panic!("it does not end\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.ended();
        assert!(status.success(), "{status}\n{}", self.log());
    }

    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended();
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Runs the command line on it.
    pub(crate) fn ask(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// The same, which must end with this code; what was printed, first the output, then the errors.
    pub(crate) fn expect(&self, code: i32, args: &[&str]) -> String {
        let output = self.ask(args);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{said}\n{}", self.log());
        said
    }

    /// The status of the running agent; none while it does not answer.
    pub(crate) fn status(&self) -> Option<Value> {
        let output = self.ask(&["status", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).ok()?;
        status.get("agent").is_some().then_some(status)
    }

    /// Waits for something.
    pub(crate) fn until<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(began.elapsed() < AT_MOST, "{what} does not come\n{}", self.log());
            std::thread::sleep(Duration::from_millis(40));
        }
    }

    /// Waits for something in the status.
    pub(crate) fn until_status(&self, what: &str, found: impl Fn(&Value) -> bool) -> Value {
        self.until(what, |agent| agent.status().filter(|status| found(status)))
    }

    /// The generation in force.
    pub(crate) fn generation(&self) -> Option<u64> {
        let link = fs::read_link(self.path("state/current")).ok()?;
        link.file_name()?.to_str()?.parse().ok()
    }

    pub(crate) fn until_generation(&self, number: u64) {
        self.until(&format!("generation {number}"), |agent| {
            // What is believed and remembered follows the switch: until the journal is gone, it may be that of before.
            let is_recorded = || !Store::new(&agent.path("state")).is_under_way();
            (agent.generation() == Some(number) && is_recorded()).then_some(())
        });
    }

    /// The names of the actions in the audit trail.
    pub(crate) fn actions(&self) -> Vec<&'static str> {
        let mut actions = Vec::new();
        trail::entries(&self.path("state"), |entry| {
            actions.push(entry.action.name());
            Ok(())
        })
        .unwrap();
        actions
    }
}
