//! Links, addresses and routes: read as JSON of `ip`, written as batches for `ip`.
//!
//! Every link becomes a veth whose other end lies outside. Both ends have one hardware address and
//! no neighbor discovery, so that each packet sent out of a link arrives at its other end.

use std::net::IpAddr;

use serde::Deserialize;

use super::tools::{self, Tools};
use super::{Budget, ProbeError};

/// Most routes that are copied; with more, only those of the flow are.
const MOST_ROUTES: usize = 20_000;

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Link {
    pub(super) ifindex: u32,
    pub(super) ifname: String,
    #[serde(default)]
    flags: Vec<String>,
    group: Option<String>,
    linkinfo: Option<LinkInfo>,
    xdp: Option<serde_json::Value>,
    master: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct LinkInfo {
    info_kind: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Addresses {
    #[serde(default)]
    ifname: String,
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Clone, Debug, Deserialize)]
struct Address {
    local: Option<IpAddr>,
    #[serde(rename = "address")]
    peer: Option<IpAddr>,
    broadcast: Option<IpAddr>,
    prefixlen: Option<u8>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Route {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    dst: String,
    #[serde(flatten)]
    hop: Hop,
    metric: Option<u32>,
    scope: Option<String>,
    prefsrc: Option<IpAddr>,
    #[serde(default)]
    nexthops: Vec<Hop>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Hop {
    dev: Option<String>,
    gateway: Option<IpAddr>,
    via: Option<Via>,
    weight: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
struct Via {
    family: String,
    host: IpAddr,
}

/// Links, addresses and routes of a namespace.
#[derive(Clone, Debug)]
pub(super) struct Network {
    pub(super) links: Vec<Link>,
    addresses: Vec<Addresses>,
    v4: Vec<Route>,
    v6: Vec<Route>,
    /// Parts that a clone will not have.
    pub(super) notes: Vec<String>,
}

impl Network {
    /// Reads those of this thread's namespace.
    pub(super) fn read(tools: &Tools, budget: &Budget) -> Result<Self, ProbeError> {
        let mut notes = Vec::new();
        let links: Vec<Link> = json(tools, &["-j", "-d", "link", "show"], budget)?;
        let addresses = json(tools, &["-j", "addr", "show"], budget)?;
        let mut routes = |family| -> Result<Vec<Route>, ProbeError> {
            let args = ["-j", family, "route", "show", "table", "main"];
            let routes: Vec<Route> = json(tools, &args, budget)?;
            if routes.len() > MOST_ROUTES {
                notes.push(format!("{} routes are not copied, only the flow's own", routes.len()));
                return Ok(Vec::new());
            }
            Ok(routes)
        };
        let (v4, v6) = (routes("-4")?, routes("-6")?);
        notes.extend(links.iter().filter_map(Link::note));
        for family in ["-4", "-6"] {
            let rules: Vec<serde_json::Value> = json(tools, &["-j", family, "rule"], budget)?;
            let more = rules.iter().filter(|rule| !is_usual(rule)).count();
            if more > 0 {
                let version = family.trim_start_matches('-');
                notes.push(format!("this host has {more} policy routing rules for IPv{version}"));
            }
        }
        if let Ok(output) = tools.ip(&["xfrm", "policy", "show"], "", budget)
            && !output.stdout.is_empty()
        {
            notes.push("this host has IPsec policies".to_owned());
        }
        Ok(Self { links, addresses, v4, v6, notes })
    }

    /// The link of this name.
    pub(super) fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.ifname == name)
    }

    /// The links that a clone gets: all but the loopback and those with names that `ip` cannot
    /// read.
    pub(super) fn copied(&self) -> impl Iterator<Item = (usize, &Link)> {
        self.links.iter().enumerate().filter(|(_, link)| link.ifname != "lo" && link.is_plain())
    }

    /// The batch that makes the links in a clone, with their other ends in another namespace.
    pub(super) fn link_batch(&self, outside: &str) -> String {
        let mut batch = "link set dev lo up\n".to_owned();
        for (index, link) in self.copied() {
            let (name, peer, address) = (&link.ifname, peer(index), hardware(index));
            batch.push_str(&format!(
                "link add dev {name} address {address} arp off type veth \
                 peer name {peer} address {address} arp off netns {outside}\n"
            ));
            if let Some(group) = link.group.as_deref().filter(|group| *group != "default") {
                batch.push_str(&format!("link set dev {name} group {group}\n"));
            }
        }
        batch
    }

    /// The batch that turns on, in a clone, the links that are on.
    pub(super) fn up_batch(&self) -> String {
        let on = self.copied().filter(|(_, link)| link.is_up());
        turned_on(on.map(|(_, link)| link.ifname.clone()))
    }

    /// The batch that turns on the other ends.
    pub(super) fn peer_batch(&self) -> String {
        turned_on(self.copied().map(|(index, _)| peer(index)))
    }

    /// The name of the other end of a link.
    pub(super) fn peer_of(&self, name: &str) -> Option<String> {
        self.links.iter().position(|link| link.ifname == name).map(peer)
    }

    /// The batch of addresses of a family.
    pub(super) fn address_batch(&self, v4: bool) -> String {
        let mut batch = String::new();
        for place in &self.addresses {
            if self.link(&place.ifname).is_none_or(|link| !link.is_plain()) {
                continue;
            }
            for address in &place.addr_info {
                let (Some(local), Some(length)) = (address.local, address.prefixlen) else {
                    continue;
                };
                if local.is_ipv4() != v4 || is_automatic(local) {
                    continue;
                }
                batch.push_str("addr add ");
                match address.peer {
                    Some(peer) => batch.push_str(&format!("{local} peer {peer}/{length}")),
                    None => batch.push_str(&format!("{local}/{length}")),
                }
                if let Some(broadcast) = address.broadcast {
                    batch.push_str(&format!(" broadcast {broadcast}"));
                }
                let detection = if v4 { "" } else { " nodad" };
                batch.push_str(&format!(" dev {} noprefixroute{detection}\n", place.ifname));
            }
        }
        batch
    }

    /// The batch of routes of a family.
    pub(super) fn route_batch(&self, v4: bool) -> String {
        let routes = if v4 { &self.v4 } else { &self.v6 };
        routes.iter().filter_map(Route::line).collect()
    }
}

impl Link {
    /// Returns whether `ip` reads the name as it is written in a batch.
    fn is_plain(&self) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+@".contains(&byte);
        self.ifname.bytes().all(plain)
    }

    pub(super) fn is_up(&self) -> bool {
        self.flags.iter().any(|flag| flag == "UP")
    }

    fn note(&self) -> Option<String> {
        let name = &self.ifname;
        let kind = self.linkinfo.as_ref().and_then(|info| info.info_kind.as_deref());
        if !self.is_plain() {
            return Some(format!("interface {name:?} is not copied"));
        }
        match (kind, &self.master) {
            (Some("vrf"), _) => Some(format!("{name} is a VRF")),
            (_, Some(master)) if self.xdp.is_some() => {
                Some(format!("an XDP program runs on {name} (of {master})"))
            }
            _ if self.xdp.is_some() => Some(format!("an XDP program runs on {name}")),
            _ => None,
        }
    }
}

impl Route {
    fn line(&self) -> Option<String> {
        let kind = self.kind.as_deref().unwrap_or("unicast");
        let metric = self.metric.map(|metric| format!(" metric {metric}")).unwrap_or_default();
        let dst = &self.dst;
        if dst.starts_with("fe80:") || dst.starts_with("ff00:") {
            return None;
        }
        match kind {
            "unreachable" | "blackhole" | "prohibit" | "throw" => {
                return Some(format!("route append {kind} {dst}{metric}\n"));
            }
            "unicast" => {}
            _ => return None,
        }
        let mut line = format!("route append {dst}{metric}");
        if let Some(source) = self.prefsrc {
            line.push_str(&format!(" src {source}"));
        }
        if let Some(scope) = self.scope.as_deref().filter(|scope| *scope == "link") {
            line.push_str(&format!(" scope {scope}"));
        }
        if self.nexthops.is_empty() {
            line.push_str(&self.hop.words()?);
        }
        for hop in &self.nexthops {
            let weight = hop.weight.map(|weight| format!(" weight {weight}")).unwrap_or_default();
            line.push_str(&format!(" nexthop{}{weight}", hop.words()?));
        }
        line.push('\n');
        Some(line)
    }
}

impl Hop {
    fn words(&self) -> Option<String> {
        let dev = self.dev.as_ref()?;
        let via = match (&self.via, self.gateway) {
            (Some(via), _) => format!(" via {} {}", via.family, via.host),
            (None, Some(gateway)) => format!(" via {gateway}"),
            (None, None) => return Some(format!(" dev {dev}")),
        };
        Some(format!("{via} dev {dev} onlink"))
    }
}

/// The batch that turns these links on.
fn turned_on(links: impl Iterator<Item = String>) -> String {
    let mut batch = String::new();
    for link in links {
        batch.push_str(&format!("link set dev {link} up\n"));
    }
    batch
}

/// The name of the other end of a link.
fn peer(index: usize) -> String {
    format!("tw{index}")
}

/// The hardware address of both ends of a link.
fn hardware(index: usize) -> String {
    let [high, low] = u16::try_from(index).unwrap_or(u16::MAX).to_be_bytes();
    format!("02:00:74:77:{high:02x}:{low:02x}")
}

/// An address that the kernel gives a link of its own accord.
fn is_automatic(address: IpAddr) -> bool {
    address.is_loopback() || matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// Returns whether a policy routing rule is one of the three that every namespace has.
fn is_usual(rule: &serde_json::Value) -> bool {
    let usual = [(0, "local"), (32766, "main"), (32767, "default")];
    let priority = rule["priority"].as_u64();
    let plain = rule.as_object().is_some_and(|fields| fields.len() == 3);
    plain && usual.iter().any(|(at, table)| priority == Some(*at) && rule["table"] == **table)
}

/// Reads what `ip` prints as JSON. Old versions print nothing for an empty list.
pub(super) fn json<T: serde::de::DeserializeOwned>(
    tools: &Tools,
    args: &[&str],
    budget: &Budget,
) -> Result<Vec<T>, ProbeError> {
    let text = tools::text("ip", tools.ip(args, "", budget)?)?;
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(&text).map_err(|error| ProbeError::Answer {
        program: "ip",
        reason: format!("{}: {error}", args.join(" ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_written_as_ip_reads_them() {
        let line = |text: &str| serde_json::from_str::<Route>(text).unwrap().line();
        assert_eq!(
            line(r#"{"dst":"default","gateway":"10.0.0.1","dev":"wan0","metric":5,"flags":[]}"#),
            Some("route append default metric 5 via 10.0.0.1 dev wan0 onlink\n".to_owned())
        );
        assert_eq!(
            line(r#"{"dst":"10.1.0.0/16","dev":"lan0","scope":"link","prefsrc":"10.1.0.1"}"#),
            Some("route append 10.1.0.0/16 src 10.1.0.1 scope link dev lan0\n".to_owned())
        );
        assert_eq!(
            line(r#"{"dst":"10.2.0.0/16","via":{"family":"inet6","host":"fd00::1"},"dev":"a"}"#),
            Some("route append 10.2.0.0/16 via inet6 fd00::1 dev a onlink\n".to_owned())
        );
        let hops = r#"{"dst":"default","nexthops":[{"gateway":"10.0.0.1","dev":"a","weight":1},
            {"gateway":"10.0.1.1","dev":"b","weight":2}]}"#;
        assert_eq!(
            line(hops),
            Some(
                "route append default nexthop via 10.0.0.1 dev a onlink weight 1 \
                 nexthop via 10.0.1.1 dev b onlink weight 2\n"
                    .to_owned()
            )
        );
        assert_eq!(
            line(r#"{"type":"blackhole","dst":"10.3.0.0/16"}"#),
            Some("route append blackhole 10.3.0.0/16\n".to_owned())
        );
        assert_eq!(line(r#"{"dst":"fe80::/64","dev":"a"}"#), None);
    }

    #[test]
    fn names_that_a_batch_cannot_hold_are_noted() {
        let link = |name: &str| Link {
            ifindex: 2,
            ifname: name.to_owned(),
            flags: vec!["UP".to_owned()],
            group: None,
            linkinfo: None,
            xdp: None,
            master: None,
        };
        assert_eq!(link("eth0.100").note(), None);
        assert!(link("a\"b").note().is_some());
        assert!(link("a#b").note().is_some());
    }
}
