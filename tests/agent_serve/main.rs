//! The agent serves what it published: the real binary, its configuration reloaded, its server replaced, taken away and broken.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

mod clients;
#[path = "../common/mod.rs"]
mod common;

use std::collections::VecDeque;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::running::Agent;
use rustix::process::{Pid, Signal};
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

/// An agent with this configuration.
fn started(config: &[&str]) -> Agent {
    let mut agent = Agent::new(&config.concat());
    agent.launch();
    agent
}

/// Reloads this configuration, and gives what was said.
fn reload(agent: &Agent, config: &[&str]) -> String {
    agent.configure(&config.concat());
    agent.expect(0, &["reload"])
}

/// Waits until it listens, and gives the first address.
fn place(agent: &Agent) -> SocketAddr {
    let status = agent.until_status("a place", |status| {
        status["generation"].is_u64() && status["serve"]["places"][0].is_string()
    });
    status["serve"]["places"][0].as_str().unwrap().parse().unwrap()
}

/// Waits until this list is served as it is in force, and gives it.
fn served(agent: &Agent, address: SocketAddr, name: &str) -> Vec<u8> {
    let file = agent.path("state/current/edge").join(name);
    agent.until(name, |_| {
        let (status, body) = get(address, &format!("/lists/edge/{name}")).unwrap();
        (status == 200).then(|| {
            assert_eq!(body, fs::read(&file).unwrap());
            body
        })
    })
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
    let mut agent = started(&[DEVOPS, LOOPBACK]);
    let address = place(&agent);
    let devops = served(&agent, address, "devops.txt");
    assert!(!devops.is_empty());
    assert_eq!(get(address, "/readyz").unwrap().0, 200);
    // Who fetched what is told to people, here and there.
    let status =
        agent.until_status("the client", |status| status["serve"]["clients"][0].is_object());
    let client = &status["serve"]["clients"][0];
    assert_eq!((&client["list"], &client["current"]), (&"edge/devops.txt".into(), &true.into()));
    let (code, page) = get(address, "/status.json").unwrap();
    let page: Value = serde_json::from_slice(&page).unwrap();
    assert_eq!((code, &page["generation"]), (200, &1.into()));
    assert_eq!(page["agent"]["pid"], agent.pid().as_raw_nonzero().get());
    let (code, believed) = get(address, "/believed/example.json").unwrap();
    assert_eq!((code, &believed[..1]), (200, &b"{"[..]));

    // Another group, another list, at the same place.
    assert_eq!(get(address, "/lists/edge/storage.txt").unwrap().0, 404);
    reload(&agent, &[DEVOPS, STORAGE, LOOPBACK]);
    assert_eq!(place(&agent), address, "the place is the same");
    served(&agent, address, "storage.txt");

    // A place that cannot be listened at: the configuration counts, and the server stays as it was.
    let elsewhere = "[serve]\nlisten = [\"192.0.2.1:8443\"]\nplain-http = \"anywhere\"\n";
    let said = reload(&agent, &[DEVOPS, elsewhere]);
    assert!(said.contains("cannot listen at 192.0.2.1:8443"), "{said}");
    let status =
        agent.until_status("the fault", |status| faults(status).contains("192.0.2.1:8443"));
    assert_eq!(status["serve"]["places"][0], address.to_string());
    served(&agent, address, "devops.txt");

    // Nothing is served: nobody listens, and the agent lives.
    reload(&agent, &[DEVOPS]);
    let status = agent.until_status("no server", |status| status.get("serve").is_none());
    assert!(status["generation"].is_u64());
    let begun = Instant::now();
    while get(address, "/healthz").is_some() {
        assert!(begun.elapsed() < AT_MOST, "it is still listened at");
        sleep(Duration::from_millis(20));
    }

    // And again; a stop waits for nobody who is silent.
    reload(&agent, &[DEVOPS, LOOPBACK]);
    let address = place(&agent);
    assert_eq!(served(&agent, address, "devops.txt"), devops);
    let _silent = TcpStream::connect(address).unwrap();
    agent.stop();
    let log = agent.log();
    assert!(log.contains("stopped") && !log.contains("after the grace period"), "{log}");
    assert!(get(address, "/healthz").is_none());
}

#[test]
fn a_step_that_fails_is_a_metric_until_it_succeeds() {
    let late = |check: &str| {
        let target = format!("[targets.late]\nverify = [\"{check}\"]\n[targets.late.list]\n");
        [DEVOPS, &target, LOOPBACK].concat()
    };
    let mut agent = started(&[DEVOPS, LOOPBACK]);
    let address = place(&agent);
    let tell = |agent: &Agent, line: &str| {
        agent.until(line, |_| {
            let (_, metrics) = get(address, "/metrics").unwrap();
            String::from_utf8(metrics).unwrap().lines().any(|known| known == line).then_some(())
        });
    };
    agent.configure(&late("/bin/false"));
    agent.signal(Signal::HUP);
    tell(&agent, "tagwall_target_step_failed{target=\"late\",step=\"verify\"} 1.0");
    tell(&agent, "tagwall_target_step_failed{target=\"edge\",step=\"verify\"} 0.0");
    agent.configure(&late("/bin/true"));
    agent.signal(Signal::HUP);
    tell(&agent, "tagwall_target_step_failed{target=\"late\",step=\"verify\"} 0.0");
    let status = agent.until_status("the second generation", |status| status["generation"] == 2);
    let took = status["targets"][1]["microseconds"]["verify"].as_f64().unwrap();
    let line = "tagwall_target_step_duration_seconds{target=\"late\",step=\"verify\"}";
    tell(&agent, &format!("{line} {}", took / 1e6));
    agent.stop();
}

#[test]
fn what_clients_fetched_outlives_a_restart() {
    let mut agent = started(&[DEVOPS, LOOPBACK]);
    served(&agent, place(&agent), "devops.txt");
    let clients = |status: &Value| status["serve"]["clients"].clone();
    let before = agent.until_status("the client", |status| clients(status)[0].is_object());
    agent.stop();
    agent.launch();
    let after = agent.until_status("the server", |status| status["serve"]["places"][0].is_string());
    assert_eq!(clients(&after), clients(&before));
    // What cannot be used is forgotten, and said.
    agent.stop();
    fs::write(agent.path("state/clients.json"), "{").unwrap();
    agent.launch();
    place(&agent);
    assert!(agent.log().contains("what clients fetched is forgotten"), "{}", agent.log());
    served(&agent, place(&agent), "devops.txt");
}

#[test]
fn a_place_that_is_taken_holds_up_nothing_and_is_tried_again() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let serve = format!("[serve]\nlisten = [\"{address}\"]\n");
    let agent = started(&[DEVOPS, &serve]);
    let status = agent.until_status("the generation", |status| {
        status["generation"] == 1 && faults(status).contains(&address.to_string())
    });
    assert_eq!(status["serve"]["places"], Value::Array(Vec::new()));
    drop(taken);
    assert_eq!(place(&agent), address);
    served(&agent, address, "devops.txt");
    let status = agent.status().unwrap();
    assert_eq!(faults(&status), "null");
}

#[test]
fn without_a_section_nothing_is_served() {
    let agent = started(&[DEVOPS]);
    let status = agent.until_status("the generation", |status| status["generation"] == 1);
    assert!(status.get("serve").is_none(), "{status:#}");
    let threads = fs::read_dir(format!("/proc/{}/task", agent.pid().as_raw_nonzero())).unwrap();
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
    let mut agent = started(&[DEVOPS, LOOPBACK, limits]);
    let address = place(&agent);
    let stop = AtomicBool::new(false);
    let count = std::thread::scope(|scope| {
        let floods: Vec<_> = (0..4).map(|_| scope.spawn(|| flood(address, &stop))).collect();
        // It answers, takes a new configuration, and publishes; what is served follows once there is room.
        let said = reload(&agent, &[DEVOPS, STORAGE, LOOPBACK, limits]);
        assert!(said.contains("reloaded"), "{said}");
        agent.until_status("the second generation", |status| status["generation"] == 2);
        reload(&agent, &[DEVOPS, LOOPBACK, limits]);
        agent.until_status("the third generation", |status| status["generation"] == 3);
        stop.store(true, Ordering::Relaxed);
        floods.into_iter().map(|flood| flood.join().unwrap()).sum::<usize>()
    });
    assert!(count > 500, "only {count} connections: no flood");
    // The last of the flood are closed there, and not yet here.
    agent.until("room", |_| get(address, "/healthz"));
    served(&agent, address, "devops.txt");
    agent.stop();
    assert!(!agent.log().contains("panic"), "{}", agent.log());
}

/// How often its threads have been taken from or given up a processor.
fn switches(pid: Pid) -> u64 {
    let mut switches = 0;
    for task in fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let fields = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
        switches += fields.map(|(_, count)| count.trim().parse::<u64>().unwrap()).sum::<u64>();
    }
    switches
}

#[test]
fn a_server_that_nobody_asks_sleeps() {
    let agent = started(&[DEVOPS, LOOPBACK]);
    served(&agent, place(&agent), "devops.txt");
    // What was begun before (keeping what was fetched, the runtime's threads) comes to its end first.
    let quiet = (0..20).any(|_| {
        let before = switches(agent.pid());
        sleep(Duration::from_secs(3));
        // In three seconds a thread that polls ten times a second would be seen.
        switches(agent.pid()) - before < 15
    });
    assert!(quiet, "its threads do not sleep\n{}", agent.log());
}
