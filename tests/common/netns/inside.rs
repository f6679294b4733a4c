//! What a namespace of the bed has inside: its settings, what records and leads its packets, and who answers them.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{Place, SERVICE, TICK};

/// Moves this thread into a namespace.
pub(super) fn enter(name: &str) {
    let path = Path::new("/run/netns").join(name);
    let namespace = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// The settings of a namespace, before it has any interface.
pub(super) fn settle(place: Place) {
    let mut settings = vec![
        // Addresses are usable at once.
        ("net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv6/conf/all/accept_dad", "0"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        ("net/ipv6/ip_nonlocal_bind", "1"),
        ("net/ipv4/ping_group_range", "0 0"),
        // The kernel holds back ICMP errors when there are many, and with them the answers of `reject`.
        ("net/ipv4/icmp_ratemask", "0"),
        ("net/ipv6/icmp/ratelimit", "0"),
        ("net/ipv6/icmp/ratemask", ""),
    ];
    if place == Place::Firewall {
        settings.extend([("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")]);
    }
    for (setting, value) in settings {
        let path = Path::new("/proc/sys").join(setting);
        let written = File::options()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(format!("{value}\n").as_bytes()));
        if let Err(error) = written {
            panic!("{}: {error}", path.display());
        }
    }
}

/// Records what arrives at a side, and leads every port of every address there to the service.
pub(super) fn redirection(own: &str, own6: &str) -> String {
    format!(
        "table inet bed {{
            set seen {{
                type ipv4_addr . ipv4_addr . inet_proto . inet_service . inet_service
                flags dynamic
                size 65535
            }}
            set seen6 {{
                type ipv6_addr . ipv6_addr . inet_proto . inet_service . inet_service
                flags dynamic
                size 65535
            }}
            chain record {{
                type filter hook prerouting priority -400; policy accept;
                iifname eth0 meta l4proto {{ tcp, udp }} meta nfproto ipv4 update @seen {{ ip saddr . ip daddr . meta l4proto . th sport . th dport }}
                iifname eth0 meta l4proto {{ tcp, udp }} meta nfproto ipv6 update @seen6 {{ ip6 saddr . ip6 daddr . meta l4proto . th sport . th dport }}
            }}
            chain lead {{
                type nat hook prerouting priority -100; policy accept;
                iifname eth0 meta nfproto ipv4 meta l4proto {{ tcp, udp }} dnat ip to {own}:{SERVICE}
                iifname eth0 meta nfproto ipv6 meta l4proto {{ tcp, udp }} dnat ip6 to [{own6}]:{SERVICE}
            }}
        }}\n"
    )
}

/// Sends everything back until the other side ends or the bed does.
pub(super) fn echo(mut connection: TcpStream, stop: &AtomicBool) {
    _ = connection.set_read_timeout(Some(TICK));
    let mut buffer = [0; 512];
    while !stop.load(Ordering::Relaxed) {
        match connection.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                if connection.write_all(&buffer[..length]).is_err() {
                    return;
                }
            }
            Err(error) if matches!(error.raw_os_error(), Some(code) if code == Errno::AGAIN.raw_os_error()) =>
                {}
            Err(_) => return,
        }
    }
}
