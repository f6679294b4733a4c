//! The connections that are tried: what the rules let through, what lies next to it, and what is no business of theirs.

use super::*;

/// Sources of the subnets: first, last and some address.
const SOURCES_V4: [&str; 3] = ["10.20.0.0", "10.20.0.255", "10.20.0.10"];
const SOURCES_V6: [&str; 3] = ["fd00:20::", "fd00:20::ffff:ffff:ffff:ffff", "fd00:20::10"];

/// The edges of the group `storage`: 198.18.32.0/25 and 198.18.32.128/26 touch, and 2001:db8:3:100::/57 and
/// 2001:db8:3:180::/57 are one prefix.
const STORAGE_V4: [&str; 6] = [
    "198.18.32.0",
    "198.18.32.191",
    "198.18.33.32",
    "198.18.33.63",
    "198.18.34.0",
    "198.18.34.255",
];
const STORAGE_V6: [&str; 2] = ["2001:db8:3:100::", "2001:db8:3:1ff:ffff:ffff:ffff:ffff"];
const BESIDE_STORAGE_V4: [&str; 5] =
    ["198.18.31.255", "198.18.32.192", "198.18.33.31", "198.18.33.64", "198.18.35.0"];
const BESIDE_STORAGE_V6: [&str; 2] = ["2001:db8:3:ff:ffff:ffff:ffff:ffff", "2001:db8:3:200::"];

/// A storage address and a source of each family.
pub(super) const PAIRS: [(&str, &str); 2] =
    [("10.20.0.10", "198.18.34.7"), ("fd00:20::10", "2001:db8:3:142::7")];

/// What the rules let through.
pub(super) fn allowed() -> Vec<Probe> {
    let mut probes = Vec::new();
    for (own, remote) in PAIRS {
        for port in [443, 8000, 8005, 8010] {
            probes.push(Probe::new(own, remote, Tcp, port));
        }
        for port in [123, 5000, 5001, 5002] {
            probes.push(Probe::new(own, remote, Udp, port));
        }
    }
    for (own, remotes) in [("10.20.0.10", &STORAGE_V4[..]), ("fd00:20::10", &STORAGE_V6[..])] {
        for remote in remotes {
            probes.push(Probe::new(own, remote, Tcp, 443));
            probes.push(Probe::new(own, remote, Udp, 123));
        }
    }
    for (sources, (_, remote)) in [SOURCES_V4, SOURCES_V6].into_iter().zip(PAIRS) {
        probes.extend(sources.map(|source| Probe::new(source, remote, Tcp, 8000)));
    }
    for remote in ["203.0.113.64", "203.0.113.95", "192.0.2.77"] {
        probes.push(Probe::new("10.20.0.10", remote, Tcp, 1433));
    }
    for (client, own) in [
        ("198.51.100.8", "10.20.0.0"),
        ("198.51.100.11", "10.20.0.255"),
        ("2001:db8:c11e::", "fd00:20::"),
        ("2001:db8:c11e::3", "fd00:20::ffff:ffff:ffff:ffff"),
    ] {
        probes.push(Probe::new(client, own, Tcp, 443));
        probes.push(Probe::new(client, own, Udp, 6390));
        probes.push(Probe::new(client, own, Udp, 6391));
    }
    probes
}

/// What lies next to it, between the subnets and the internet.
pub(super) fn neighbours() -> Vec<Probe> {
    let mut probes = Vec::new();
    for (own, remote) in PAIRS {
        for port in [442, 444, 7999, 8011, 123, 5001, 1433, 22, 1, 65535] {
            probes.push(Probe::new(own, remote, Tcp, port));
        }
        for port in [122, 124, 4999, 5003, 443, 8005] {
            probes.push(Probe::new(own, remote, Udp, port));
        }
        probes.push(Probe::new(own, remote, Ping, 0));
    }
    for (own, remotes) in
        [("10.20.0.10", &BESIDE_STORAGE_V4[..]), ("fd00:20::10", &BESIDE_STORAGE_V6[..])]
    {
        for remote in remotes {
            probes.push(Probe::new(own, remote, Tcp, 443));
            probes.push(Probe::new(own, remote, Udp, 123));
        }
    }
    // The other rule's addresses and ports do not mix with the first one's.
    for remote in ["203.0.113.63", "203.0.113.96", "192.0.2.76", "192.0.2.78"] {
        probes.push(Probe::new("10.20.0.10", remote, Tcp, 1433));
    }
    probes.push(Probe::new("10.20.0.10", "203.0.113.64", Tcp, 443));
    probes.push(Probe::new("10.20.0.10", "203.0.113.64", Udp, 1433));
    // It is for IPv4 sources only, though its group has IPv6 addresses.
    probes.push(Probe::new("fd00:20::10", "2001:db8:77::1", Tcp, 1433));
    // Inbound: other clients, ports and protocols; and inbound is not outbound.
    for (client, beyond, own) in [
        ("198.51.100.9", ["198.51.100.7", "198.51.100.12"], "10.20.0.10"),
        (
            "2001:db8:c11e::1",
            ["2001:db8:c11d:ffff:ffff:ffff:ffff:ffff", "2001:db8:c11e::4"],
            "fd00:20::10",
        ),
    ] {
        probes.extend(beyond.map(|beyond| Probe::new(beyond, own, Tcp, 443)));
        for (transport, port) in
            [(Tcp, 442), (Tcp, 444), (Udp, 6389), (Udp, 6392), (Udp, 443), (Tcp, 6390), (Ping, 0)]
        {
            probes.push(Probe::new(client, own, transport, port));
        }
        probes.push(Probe::new(own, client, Tcp, 443));
    }
    for (own, remote) in PAIRS {
        probes.push(Probe::new(remote, own, Tcp, 443));
    }
    probes
}

/// Connections of others, which no rule is about: sources next to the subnets, and quite different ones.
pub(super) fn strangers() -> Vec<Probe> {
    let mut probes = Vec::new();
    for stranger in ["10.19.255.255", "10.20.1.0", "10.99.0.10"] {
        probes.push(Probe::new(stranger, "198.18.34.7", Tcp, 443));
        probes.push(Probe::new(stranger, "198.18.34.7", Udp, 123));
        probes.push(Probe::new(stranger, "198.18.100.1", Tcp, 80));
        probes.push(Probe::new("198.51.100.9", stranger, Tcp, 443));
    }
    for stranger in ["fd00:1f:ffff:ffff:ffff:ffff:ffff:ffff", "fd00:20:0:1::", "fd00:99::10"] {
        probes.push(Probe::new(stranger, "2001:db8:3:142::7", Tcp, 443));
        probes.push(Probe::new(stranger, "2001:db8:3:142::7", Udp, 123));
        probes.push(Probe::new(stranger, "2001:db8:4::1", Tcp, 80));
        probes.push(Probe::new("2001:db8:c11e::1", stranger, Tcp, 443));
    }
    probes
}

/// Between the subnets, on-premises and other hosts: the host's business, which is never touched.
pub(super) fn host_business() -> Vec<Probe> {
    let mut probes = vec![Probe::new("10.99.0.10", "198.18.100.1", Tcp, 22)];
    for (own, there) in [("10.20.0.10", "10.50.0.5"), ("fd00:20::10", "fd00:50::5")] {
        for (transport, port) in
            [(Tcp, 443), (Tcp, 1), (Tcp, 65535), (Udp, 53), (Udp, 5001), (Ping, 0)]
        {
            probes.push(Probe::new(own, there, transport, port));
            probes.push(Probe::new(there, own, transport, port));
        }
    }
    probes
}
