//! What the agent's unit lets a program do: little.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::net::{AddressFamily, SocketType};

use crate::site::{KERNEL, Site, packages};

/// What a program finds that it can do. Each of these is forbidden inside the unit.
fn possible() -> Vec<&'static str> {
    let mut found = Vec::new();
    let mut try_it = |what: &'static str, works: bool| {
        if works {
            found.push(what);
        }
    };
    for place in [
        "/etc",
        "/etc/tagwall",
        "/usr",
        "/usr/lib",
        "/root",
        "/home",
        "/run",
        "/srv",
        "/var/lib",
        "/proc/sys/kernel",
    ] {
        try_it(place, fs::File::create(Path::new(place).join("tagwall-probe")).is_ok());
    }
    for (what, shell) in
        [("a shell", "/bin/sh"), ("another shell", "/usr/bin/bash"), ("perl", "/usr/bin/perl")]
    {
        try_it(what, Command::new(shell).arg("-c").arg("1").status().is_ok());
    }
    // What it writes itself cannot be executed either.
    let own = Path::new("/var/lib/tagwall/probe");
    let copied = fs::copy(std::env::current_exe().unwrap(), own).is_ok();
    try_it("a program of its own", copied && Command::new(own).arg("--help").status().is_ok());
    _ = fs::remove_file(own);
    for (what, family, kind) in [
        ("packet sockets", AddressFamily::PACKET, SocketType::RAW),
        ("netlink sockets", AddressFamily::NETLINK, SocketType::RAW),
        ("raw sockets", AddressFamily::INET, SocketType::RAW),
    ] {
        try_it(what, rustix::net::socket(family, kind, None).is_ok());
    }
    try_it("the kernel's log", fs::File::open("/dev/kmsg").is_ok());
    try_it(
        "other users' homes",
        fs::read_dir("/home").is_ok_and(|mut inside| inside.next().is_some()),
    );
    try_it("other processes", Path::new("/proc/1/status").exists());
    try_it("kernel modules", load_module());
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let set = |key: &str| {
        status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned()
    };
    for key in ["CapEff:", "CapBnd:", "CapAmb:"] {
        try_it("capabilities", u64::from_str_radix(&set(key), 16) != Ok(0));
    }
    try_it("new privileges", set("NoNewPrivs:") != "1");
    found
}

/// Anything but a refusal of the call itself means that a module could be loaded: what is given here is none.
fn load_module() -> bool {
    use std::os::fd::AsFd as _;
    let file = fs::File::open("/proc/self/status").unwrap();
    rustix::system::finit_module(file.as_fd(), c"", 0) != Err(rustix::io::Errno::PERM)
}

/// Not a test of its own: the program that the next one starts inside the unit.
#[test]
fn probe() {
    if std::env::var_os("TAGWALL_PROBE").is_none() {
        return;
    }
    // What it needs it has; the last tells it whether the kernel has IPv6.
    fs::write("/var/lib/tagwall/probed", "").unwrap();
    fs::write("/run/tagwall/probed", "").unwrap();
    for family in [AddressFamily::INET, AddressFamily::INET6, AddressFamily::UNIX] {
        assert!(rustix::net::socket(family, SocketType::STREAM, None).is_ok(), "{family:?}");
    }
    assert!(Path::new("/proc/self/net/if_inet6").exists());
    assert_eq!(possible(), [""; 0]);
}

#[test]
fn inside_the_unit_little_is_possible() {
    let Some(packages) = packages() else { return };
    let Some(mut site) = Site::new("bookworm") else { return };
    site.machine.boot();
    site.install(&packages.new);
    site.machine.write("home/somebody/diary", "");
    fs::copy(std::env::current_exe().unwrap(), site.machine.path("usr/lib/tagwall-probe")).unwrap();
    let start = "/usr/lib/tagwall-probe --exact privileges::probe --nocapture";
    site.machine.write(
        "etc/systemd/system/tagwall.service.d/probe.conf",
        &format!(
            "[Service]\nType=oneshot\nWatchdogSec=0\nRestart=no\nEnvironment=TAGWALL_PROBE=1\nExecStart=\nExecStart={start}\n"
        ),
    );
    site.machine.must(&["systemctl", "daemon-reload"]);
    site.machine.must(&["systemctl", "start", "tagwall.service"]);
    let said = site.machine.must(&["journalctl", "-b", "--no-pager", "-u", "tagwall.service"]);
    assert!(said.contains("1 passed"), "the probe did not run: {said}");

    // The probe sees what is possible where nothing is forbidden.
    site.machine.must(&["mkdir", "-p", "/run/tagwall"]);
    let free = site.machine.run(&[
        "env",
        "TAGWALL_PROBE=1",
        "/usr/lib/tagwall-probe",
        "--exact",
        "privileges::probe",
        "--nocapture",
    ]);
    let said =
        String::from_utf8_lossy(&free.stderr).into_owned() + &String::from_utf8_lossy(&free.stdout);
    for what in ["/etc", "/usr", "a shell", "netlink sockets", "other users' homes", "capabilities"]
    {
        assert!(said.contains(&format!("\"{what}\"")), "{what}: {said}");
    }

    // With a kernel target: the one capability, and netlink.
    site.machine.write("etc/tagwall/tagwall.toml", KERNEL);
    site.machine.must(&["systemctl", "daemon-reload"]);
    assert!(!site.machine.succeeds(&["systemctl", "start", "tagwall.service"]));
    let said = site.machine.must(&[
        "journalctl",
        "-b",
        "--no-pager",
        "-u",
        "tagwall.service",
        "-o",
        "cat",
    ]);
    let last = said.lines().rfind(|line| line.contains("left: [")).unwrap_or_default();
    assert_eq!(
        last.trim(),
        "left: [\"netlink sockets\", \"capabilities\", \"capabilities\", \"capabilities\"]",
        "{said}"
    );
}
