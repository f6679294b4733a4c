//! Objects of others, one of each kind that nft and ipset know, and snapshots that tell whether
//! they were touched.

use serde_json::Value;

use super::host::Host;

/// Sets, maps, stateful objects and chains of every kind.
const NFT: &str = r#"
table inet others {
    set ports { type inet_service; flags interval; elements = { 22, 8000-8010 } }
    set names { type ifname; elements = { "lan0", "ppp*" }; flags interval; }
    set marks { type mark; elements = { 0x1, 0x2 } }
    set macs { type ether_addr; elements = { 02:00:00:00:00:01 } }
    set pairs { type ipv4_addr . inet_service; flags interval; elements = { 192.0.2.0/24 . 80-90 } }
    set typed { typeof ip saddr . meta mark; elements = { 192.0.2.1 . 0x1 } }
    set protocols { type inet_proto; elements = { tcp, udp } }
    set seen { type ipv4_addr; size 128; flags dynamic,timeout; timeout 1h; }
    set prefixes { type ipv4_addr; flags interval; auto-merge; elements = { 198.51.100.0/24, 203.0.113.7 } }
    set six { type ipv6_addr; flags interval; elements = { 2001:db8:51::/48 } }
    map by_port { type inet_service : verdict; elements = { 23 : drop } }
    map by_address { type ipv4_addr : mark; flags interval; elements = { 192.0.2.0/24 : 0x7 } }
    counter hits { }
    quota month { 500 mbytes }
    limit slow { rate 10/second }
    ct helper ftp { type "ftp" protocol tcp; l3proto inet; }
    ct timeout quick {
        protocol tcp;
        l3proto ip;
        policy = { established: 120, close: 20 }
    }
    chain counting {
        type filter hook forward priority -20; policy accept;
        tcp dport vmap @by_port
        tcp dport 24 counter name "hits"
        ip saddr 192.0.2.9 quota name "month" drop
        tcp dport 25 limit name "slow" accept
        meta mark set ip saddr map @by_address
        ip saddr 192.0.2.9 update @seen { ip saddr }
        tcp dport { 26, 27 } log prefix "others " drop
    }
}
table ip tagwall {
    chain not_ours { }
}
table bridge others {
    chain forward {
        type filter hook forward priority 0; policy accept;
    }
}
table arp others {
    chain input {
        type filter hook input priority 0; policy accept;
    }
}
table netdev others {
    chain in {
        type filter hook ingress device "lan0" priority 0; policy accept;
        ip saddr 192.0.2.66 drop
    }
}
"#;

/// A flowtable: not every kernel has them.
const FLOWTABLE: &str = r#"
table inet others_flow {
    flowtable fast {
        hook ingress priority 0; devices = { "lan0", "onprem0" };
    }
    chain forward {
        type filter hook forward priority 5; policy accept;
        ip saddr 192.0.2.9 ip protocol tcp flow add @fast
    }
}
"#;

/// A table that nobody but the process that made it may change.
pub(crate) const OWNER: &str = "add table inet owned { flags owner; }
add set inet owned theirs { type ipv4_addr; elements = { 192.0.2.1 }; }
add chain inet owned forward { type filter hook forward priority 30; policy accept; }
add rule inet owned forward ip saddr @theirs drop
";

const IPSETS: &str = "create others-port hash:ip,port family inet
add others-port 192.0.2.1,tcp:80
create others-net hash:net family inet counters comment timeout 0
add others-net 192.0.2.0/24 comment \"theirs\"
create others-iface hash:net,iface family inet
add others-iface 192.0.2.0/24,lan0
create others-pair hash:net,net family inet
add others-pair 192.0.2.0/24,198.51.100.0/24
create others-mac hash:mac
add others-mac 02:00:00:00:00:01
create others-mark hash:ip,mark family inet
add others-mark 192.0.2.1,0x1
create others-bits bitmap:port range 1-1024
add others-bits 53
create others-list list:set size 8
add others-list others-net
create others-six hash:net family inet6
add others-six 2001:db8:51::/48
";

/// Loads them. Kinds that this kernel lacks are left out, and named.
pub(crate) fn load(host: &mut Host<'_>) {
    host.feed(&["nft", "-f", "-"], NFT);
    if !host.attempt(&["nft", "-f", "-"], FLOWTABLE).status.success() {
        eprintln!("skipped: the flowtable, which this kernel does not have");
    }
    for set in IPSETS.split_inclusive('\n').fold(Vec::<String>::new(), by_set) {
        if !host.attempt(&["ipset", "restore"], &set).status.success() {
            let name = set.lines().next().unwrap_or_default();
            eprintln!("skipped: a set that this kernel does not have: {name}");
        }
    }
    host.start("nft -i", OWNER);
    host.wait_until("nft list chain inet owned forward | grep -q theirs", "nft");
}

/// Gathers the lines of each set.
fn by_set(mut sets: Vec<String>, line: &str) -> Vec<String> {
    match sets.last_mut() {
        Some(set) if !line.starts_with("create") => set.push_str(line),
        _ => sets.push(line.to_owned()),
    }
    sets
}

/// Everything of others on the host, in the forms in which its programs list it.
#[derive(Debug, PartialEq)]
pub(crate) struct Snapshot(Vec<String>);

impl Snapshot {
    pub(crate) fn new(host: &Host<'_>) -> Self {
        let mut lines = nft(host);
        for program in ["iptables-save", "ip6tables-save"] {
            lines.extend(iptables(program, &host.run(&[program])));
        }
        let saved = host.run(&["ipset", "save"]);
        lines.extend(saved.lines().filter(|line| !line.contains(" tw-")).map(ToOwned::to_owned));
        Self(lines)
    }

    /// Fails where something of others is not as it was.
    pub(crate) fn assert_is(&self, before: &Self, when: &str) {
        let missing = before.0.iter().filter(|line| !self.0.contains(line));
        let new = self.0.iter().filter(|line| !before.0.contains(line));
        let differences: Vec<String> = missing
            .map(|line| format!("- {line}"))
            .chain(new.map(|line| format!("+ {line}")))
            .collect();
        assert!(differences.is_empty(), "{when}: objects of others changed: {differences:#?}");
        assert!(self == before, "{when}: objects of others have another order");
    }
}

/// Rules and chains of others with their tables. Built-in chains that accept are there as soon as
/// somebody asks for them.
fn iptables(program: &str, saved: &str) -> Vec<String> {
    let mut table = "";
    let mut lines = Vec::new();
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
            continue;
        }
        let ours = line.contains("TAGWALL") || line.contains("tw-");
        let line = line.split(" [").next().unwrap_or(line);
        if ours
            || line.starts_with('#')
            || line == "COMMIT"
            || (line.starts_with(':') && line.ends_with(" ACCEPT"))
        {
            continue;
        }
        lines.push(format!("{program} {table} {line}"));
    }
    lines
}

/// Every object of nftables that is neither tagwall's nor in a table that iptables keeps.
fn nft(host: &Host<'_>) -> Vec<String> {
    let listing: Value =
        serde_json::from_str(&host.run(&["nft", "-j", "-s", "list", "ruleset"])).unwrap();
    let mut objects = Vec::new();
    for object in listing["nftables"].as_array().unwrap() {
        let (kind, mut value) =
            object.as_object().unwrap().iter().next().map(|(k, v)| (k.clone(), v.clone())).unwrap();
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let (family, name) = (text("family"), text("name"));
        let table = if kind == "table" { name.clone() } else { text("table") };
        let chain = if kind == "chain" { name.clone() } else { text("chain") };
        let of_iptables = ["ip", "ip6"].contains(&family.as_str())
            && ["filter", "nat", "mangle", "raw", "security"].contains(&table.as_str());
        let own_table = family == "inet" && table == "tagwall";
        let embedded = chain == "azure"
            || chain.starts_with("tw-")
            || (kind == "set" && name.starts_with("tw-"));
        if kind == "metainfo" || of_iptables || own_table || embedded {
            continue;
        }
        value.as_object_mut().unwrap().remove("handle");
        objects.push(format!("{kind} {value}"));
    }
    objects
}
