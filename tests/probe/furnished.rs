//! A host between two networks: interfaces, addresses, routes and forwarding, in a namespace.
#![allow(dead_code, reason = "each test uses its part of this")]

use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::Namespace;
use crate::common::host::BINARY;

/// A host that forwards between lan0 (10.20.0.0/24, fd00:20::/64) and wan0 (everything else).
pub(crate) struct Furnished {
    pub(crate) namespace: Namespace,
}

impl Furnished {
    pub(crate) fn new(programs: &[&str]) -> Option<Self> {
        let host = Self { namespace: Namespace::new(programs)? };
        host.namespace.run(&["ip", "link", "set", "lo", "up"], b"");
        host.link("lan0", "10.20.0.1/24");
        host.link("wan0", "198.51.100.2/24");
        for (address, device) in [("fd00:20::1/64", "lan0"), ("2001:db8::2/64", "wan0")] {
            host.namespace.run(&["ip", "addr", "add", address, "dev", device, "nodad"], b"");
        }
        host.namespace.run(&["ip", "route", "add", "default", "via", "198.51.100.1"], b"");
        host.namespace.run(&["ip", "-6", "route", "add", "default", "via", "2001:db8::1"], b"");
        for (setting, value) in [
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv6.conf.all.forwarding", "1"),
            ("net.ipv4.conf.all.rp_filter", "0"),
        ] {
            host.set(setting, value);
        }
        Some(host)
    }

    /// Adds an interface that is up.
    pub(crate) fn link(&self, name: &str, address: &str) {
        let peer = format!("{name}-p");
        let batch = format!(
            "link add {name} type veth peer name {peer}\nlink set {peer} up\nlink set {name} up\n\
             addr add {address} dev {name}\n"
        );
        self.namespace.run(&["ip", "-batch", "-"], batch.as_bytes());
    }

    /// Changes a setting of the kernel.
    pub(crate) fn set(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.namespace.run(&["sh", "-c", "echo \"$1\" >\"$0\"", &path, value], b"");
    }

    /// Runs `tagwall probe`.
    pub(crate) fn attempt(&self, args: &[&str]) -> Output {
        self.namespace.attempt(&[&[BINARY, "probe"], args].concat(), b"")
    }

    /// Runs `tagwall probe --json`, which must end with this code.
    pub(crate) fn probe(&self, code: i32, args: &[&str]) -> Value {
        let output = self.attempt(&[args, &["--json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}{errors}");
        serde_json::from_str(&text).unwrap()
    }

    /// A program that owns tables for as long as it runs.
    pub(crate) fn owner(&self) -> Owner<'_> {
        let child = Command::new("ip")
            .args(["netns", "exec", &self.namespace.0, "nft", "-i"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Owner { host: self, child }
    }
}

/// See [`Furnished::owner`].
pub(crate) struct Owner<'h> {
    host: &'h Furnished,
    child: Child,
}

impl Owner<'_> {
    /// Loads tables, and says whether `sign` appears in the listing.
    pub(crate) fn load(&mut self, tables: &str, sign: &str) -> bool {
        self.child.stdin.as_mut().unwrap().write_all(tables.as_bytes()).unwrap();
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if self.host.namespace.run(&["nft", "list", "ruleset"], b"").contains(sign) {
                return true;
            }
        }
        false
    }
}

impl Drop for Owner<'_> {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
