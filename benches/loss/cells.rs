//! Modes, kinds of change, and the two configurations between which a cell alternates.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use crate::bed::{ALLOWED, FORBIDDEN, SOURCE};

/// How the target lives on the firewall, and by which program it is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    NftablesOwn,
    NftablesEmbed,
    IpsetNft,
    IpsetLegacy,
    PlainNft,
    PlainLegacy,
}

impl Mode {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 6] = [
        Self::NftablesOwn,
        Self::NftablesEmbed,
        Self::IpsetNft,
        Self::IpsetLegacy,
        Self::PlainNft,
        Self::PlainLegacy,
    ];

    /// The name in the table and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NftablesOwn => "nftables-own",
            Self::NftablesEmbed => "nftables-embed",
            Self::IpsetNft => "ipset-nft",
            Self::IpsetLegacy => "ipset-legacy",
            Self::PlainNft => "plain-nft",
            Self::PlainLegacy => "plain-legacy",
        }
    }

    pub(crate) fn is_nftables(self) -> bool {
        matches!(self, Self::NftablesOwn | Self::NftablesEmbed)
    }

    pub(crate) fn is_ipset(self) -> bool {
        matches!(self, Self::IpsetNft | Self::IpsetLegacy)
    }

    pub(crate) fn is_legacy(self) -> bool {
        matches!(self, Self::IpsetLegacy | Self::PlainLegacy)
    }
}

/// What differs from one load to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Nothing,
    Addresses,
    Ports,
    Rules,
    Egress,
    Table,
    Chain,
    Family,
    Priority,
    MaxElements,
    HashSize,
    DefaultAction,
    GroupName,
    Prefix,
    Template,
    Moves,
    SetsAndRules,
    Everything,
    Restore,
    Control,
}

impl Kind {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 20] = [
        Self::Nothing,
        Self::Addresses,
        Self::Ports,
        Self::Rules,
        Self::Egress,
        Self::Table,
        Self::Chain,
        Self::Family,
        Self::Priority,
        Self::MaxElements,
        Self::HashSize,
        Self::DefaultAction,
        Self::GroupName,
        Self::Prefix,
        Self::Template,
        Self::Moves,
        Self::SetsAndRules,
        Self::Everything,
        Self::Restore,
        Self::Control,
    ];

    /// The name in the table and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no-load",
            Self::Addresses => "addresses",
            Self::Ports => "ports",
            Self::Rules => "rules",
            Self::Egress => "egress",
            Self::Table => "table-name",
            Self::Chain => "chain-name",
            Self::Family => "family",
            Self::Priority => "priority",
            Self::MaxElements => "max-elements",
            Self::HashSize => "hash-size",
            Self::DefaultAction => "default-action",
            Self::GroupName => "group-name",
            Self::Prefix => "prefix",
            Self::Template => "template",
            Self::Moves => "moves",
            Self::SetsAndRules => "sets-and-rules",
            Self::Everything => "everything",
            Self::Restore => "restore",
            Self::Control => "control",
        }
    }

    /// The reason why this kind of change does not exist in a mode.
    pub(crate) fn inapplicable(self, mode: Mode) -> Option<&'static str> {
        use Mode::{NftablesEmbed, NftablesOwn, PlainLegacy, PlainNft};
        match (self, mode) {
            (Self::Table | Self::Family, NftablesEmbed) => {
                Some("the table is the host's, whose rules decide in either table")
            }
            (Self::Table, mode) if !mode.is_nftables() => Some("the table is always filter"),
            (Self::Family, mode) if !mode.is_nftables() => Some("both families are always loaded"),
            (Self::Chain, NftablesOwn) => Some("the chains have fixed names"),
            (Self::Priority, mode) if mode != NftablesOwn => Some("the hook is the host's"),
            (Self::MaxElements, mode) if mode.is_nftables() => {
                Some("a limit of tagwall; the rules are the same")
            }
            (Self::HashSize, mode) if mode.is_nftables() => Some("nftables has no such setting"),
            (Self::MaxElements | Self::HashSize | Self::Template, PlainNft | PlainLegacy) => {
                Some("there are no sets")
            }
            (Self::DefaultAction, NftablesEmbed) => Some("always return: the host's rules decide"),
            _ => None,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// The values that kinds of change vary.
#[derive(Clone)]
struct Site {
    group: &'static str,
    more_prefixes: bool,
    more_rules: bool,
    ports: &'static str,
    egress: &'static str,
    table: &'static str,
    chain: &'static str,
    family: &'static str,
    prefix: &'static str,
    priority: i32,
    max_elements: usize,
    hash_size: usize,
    rest: &'static str,
    template: bool,
    /// Whether both groups have the same ports.
    same_ports: bool,
    regrouped: bool,
}

/// The configuration of a cell: the first, or the second that differs by the kind of change.
/// `templates` is the directory of a changed template.
pub(crate) fn configuration(
    mode: Mode,
    kind: Kind,
    second: bool,
    elements: usize,
    templates: &Path,
) -> String {
    let embed = mode == Mode::NftablesEmbed;
    let mut site = Site {
        group: "azure",
        more_prefixes: false,
        more_rules: false,
        ports: "9000-9999",
        egress: "\"wan0\"",
        table: if embed { "filter" } else { "tagwall" },
        chain: if embed { "azure" } else { "TAGWALL" },
        family: "inet",
        prefix: "tw-",
        priority: 0,
        max_elements: 131_072,
        hash_size: 4_096,
        rest: "reject",
        template: false,
        same_ports: kind == Kind::Moves,
        regrouped: false,
    };
    if second {
        change(&mut site, mode, kind);
    }
    written(&site, mode, elements, templates)
}

fn change(site: &mut Site, mode: Mode, kind: Kind) {
    let chain = if mode == Mode::NftablesEmbed { "azure2" } else { "TAGWALL2" };
    match kind {
        Kind::Nothing | Kind::Restore => {}
        Kind::Addresses => site.more_prefixes = true,
        Kind::Ports => site.ports = "8000-9999",
        Kind::Rules => site.more_rules = true,
        Kind::Egress => site.egress = "\"wan*\"",
        Kind::Table => site.table = "tagwall2",
        Kind::Chain => site.chain = chain,
        Kind::Family => site.family = "ip",
        Kind::Priority => site.priority = 10,
        Kind::MaxElements => site.max_elements = 65_536,
        Kind::HashSize => site.hash_size = 1_024,
        Kind::DefaultAction => site.rest = "drop",
        Kind::GroupName | Kind::Control => site.group = "cloud",
        Kind::Prefix => site.prefix = "az-",
        Kind::Template => site.template = true,
        // Old rules with new sets, and new rules with old sets, would refuse the allowed
        // destination and let the forbidden one through.
        // Of `moves`: an address that is in no set for a moment would be refused.
        Kind::SetsAndRules | Kind::Moves => site.regrouped = true,
        Kind::Everything => {
            site.group = "cloud";
            site.more_prefixes = true;
            site.more_rules = true;
            site.ports = "8000-9999";
            site.egress = "\"wan*\"";
            site.max_elements = 65_536;
            if mode == Mode::NftablesOwn {
                site.priority = 10;
            }
        }
    }
}

/// Every second /28 from 198.18.0.0 on, so that no two can be joined; the forbidden destination
/// lies between the first two.
fn prefixes(indexes: Range<usize>, more: bool) -> String {
    let net = |index: usize| {
        let address = 0xc612_0000 + u32::try_from(32 * index).unwrap_or(0);
        format!("\"{}/28\"", std::net::Ipv4Addr::from_bits(address))
    };
    let count = indexes.end;
    let mut all: Vec<String> = indexes.map(net).collect();
    all.push("\"2001:db8:1::/48\"".to_owned());
    if more {
        all.extend((count..count + 4).map(net));
        all.push("\"2001:db8:3::/48\"".to_owned());
    }
    all.join(", ")
}

fn written(site: &Site, mode: Mode, elements: usize, templates: &Path) -> String {
    let Site { group, ports, egress, table, chain, family, prefix, rest, .. } = site;
    let mut text = String::new();
    if site.template {
        text.push_str(&format!("templates-dir = \"{}\"\n", templates.display()));
    }
    let rule = |name: &str, group: &str, ports: &str| {
        format!(
            "[rules.{name}]\nsource = [\"{SOURCE}\", \"fd00:77:1::/64\"]\ndestination = \"{group}\"\n\
             services = [\"udp/{ports}\", \"tcp/{ports}\"]\n"
        )
    };
    let plain = matches!(mode, Mode::PlainNft | Mode::PlainLegacy);
    // Without sets each prefix is a rule, and most firewalls of that kind have few.
    let elements = if plain { elements.min(500) } else { elements };
    text.push_str(&format!(
        "[groups.{group}]\nprefixes = [{}]\n",
        prefixes(usize::from(site.regrouped)..elements, site.more_prefixes)
    ));
    let (also, other_ports) = match (site.regrouped, site.same_ports) {
        (true, _) => (ALLOWED, *ports),
        (false, true) => ("192.0.2.1", *ports),
        (false, false) => (FORBIDDEN, "443"),
    };
    text.push_str(&format!(
        "[groups.other]\nprefixes = [\"{also}/32\", \"203.0.113.0/24\", \"2001:db8:2::/48\"]\n"
    ));
    text.push_str(&rule("stream", group, ports));
    text.push_str(&rule("other", "other", other_ports));
    if site.more_rules {
        text.push_str("[groups.third]\nprefixes = [\"192.0.2.0/24\", \"2001:db8:4::/48\"]\n");
        text.push_str(&rule("third", "third", "443"));
    }
    text.push_str("[targets.edge]\napply = \"automatic\"\n");
    let common = format!("prefix = \"{prefix}\"\negress = [{egress}]\n");
    text.push_str(&match mode {
        Mode::NftablesOwn => format!(
            "[targets.edge.nftables]\n{common}table = \"{table}\"\nfamily = \"{family}\"\n\
             priority = {}\nrest = \"{rest}\"\n",
            site.priority
        ),
        Mode::NftablesEmbed => format!(
            "[targets.edge.nftables]\nmode = \"embed\"\n{common}table = \"{table}\"\n\
             chain = \"{chain}\"\n"
        ),
        _ => format!(
            "[targets.edge.iptables]\nmode = \"{}\"\n{common}chain = \"{chain}\"\n\
             rest = \"{rest}\"\nmax-elements = {}\nhash-size = {}\n",
            if plain { "plain" } else { "ipset" },
            site.max_elements,
            site.hash_size
        ),
    });
    text
}

/// A user's template that declares sets in another way than the built-in one.
pub(crate) struct Template {
    /// The built-in template that it replaces.
    pub(crate) name: &'static str,
    /// A part of the built-in declaration, and what stands in its place.
    pub(crate) declaration: [&'static str; 2],
    /// What a listing of the sets has where they are declared so.
    pub(crate) listed: &'static str,
}

impl Template {
    /// The template of a mode that has sets.
    pub(crate) fn new(mode: Mode) -> Option<Self> {
        let counted = ["flags interval", "flags interval\n\t\tcounter"];
        let (name, declaration, listed) = match mode {
            Mode::NftablesOwn => ("nftables/own.nft", counted, "counter"),
            Mode::NftablesEmbed => ("nftables/embed.nft", counted, "counter"),
            Mode::IpsetNft | Mode::IpsetLegacy => {
                ("iptables/sets.ipset", [" -exist", " counters -exist"], "counters")
            }
            Mode::PlainNft | Mode::PlainLegacy => return None,
        };
        Some(Self { name, declaration, listed })
    }
}

/// The host's own rules: they give tagwall's chains their packets, and refuse what comes back.
/// Each is a command with its standard input.
pub(crate) fn host(mode: Mode) -> Vec<(Vec<&'static str>, String)> {
    match mode {
        Mode::NftablesOwn => Vec::new(),
        Mode::NftablesEmbed => {
            let text = format!(
                "table inet filter {{
                    chain azure {{ }}
                    chain azure2 {{ }}
                    chain forward {{
                        type filter hook forward priority 0; policy accept;
                        jump azure
                        jump azure2
                        ip saddr {SOURCE} meta l4proto tcp reject with tcp reset
                        ip saddr {SOURCE} reject with icmp type admin-prohibited
                    }}
                }}"
            );
            vec![(vec!["nft", "-f", "-"], text)]
        }
        _ => {
            // tagwall puts its jump in front of these.
            let text = format!(
                "*filter\n-A FORWARD -s {SOURCE} -p tcp -j REJECT --reject-with tcp-reset\n\
                 -A FORWARD -s {SOURCE} -j REJECT --reject-with icmp-admin-prohibited\nCOMMIT\n"
            );
            vec![(vec!["iptables-restore", "-n", "-w", "5"], text)]
        }
    }
}
