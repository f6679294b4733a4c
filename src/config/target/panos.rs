//! Settings of the panos dialect.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::common::{NamePrefix, fixed};
use crate::config::names::text_form;
use crate::config::{Diagnostic, ListLayout, Name};

/// Palo Alto PAN-OS.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Panos {
    /// `set` (default): commands of the configuration mode. `xml`: a `multi-config` document for the API. `edl`: external
    /// dynamic lists, with the commands that define and use them.
    pub format: PanosFormat,
    /// What every name of ours starts with. Default: `azst-`.
    pub prefix: NamePrefix,
    /// The tag that every object and rule of ours carries. Default: `tagwall`.
    pub tag: Name,
    /// Zones of the own prefixes. Default: `any`.
    pub from: Vec<PanosName>,
    /// Zones towards the internet. Default: `any`. Inbound rules swap the two.
    pub to: Vec<PanosName>,
    /// Where the rules go; without it new ones are appended, and all stay where an administrator moves them.
    pub position: Option<Position>,
    /// Log forwarding profile of the rules.
    pub log_setting: Option<PanosName>,
    /// Log at the start of sessions. Default: false; a rule with `log = true` does anyway.
    pub log_start: bool,
    /// Log at the end of sessions. Default: true.
    pub log_end: bool,
    /// Security profile group of the rules.
    pub profile_group: Option<PanosName>,
    /// Write a no-decrypt rule beside each outbound TCP rule: certificate pinning and mutual TLS do not survive
    /// decryption. Default: false.
    pub no_decrypt: bool,
    /// set, xml: how groups name their members: `static` (default) or `dynamic` (by a tag for each group).
    pub groups: PanosGroups,
    /// set, xml: most members of a static group; larger ones nest. Default: 500.
    pub max_members: usize,
    /// set, xml: most address objects. Default: 10,000.
    pub max_addresses: usize,
    /// Most FQDN objects. Default: 2,000.
    pub max_fqdns: usize,
    /// The virtual system, where there are several.
    pub vsys: Option<PanosName>,
    /// The device group of a Panorama.
    pub device_group: Option<PanosName>,
    /// With `device-group`: the rulebase, `pre` (default) or `post`.
    pub rulebase: Option<PanosRulebase>,
    /// xml: the `version` of the document. Default: `10.1.0`.
    pub version: PanosVersion,
    /// edl: how the lists are fetched. Needed with `format = "edl"`, meaningless without.
    pub lists: Option<PanosLists>,
}

impl Panos {
    /// Default of [`Panos::prefix`].
    pub const PREFIX: &'static str = "azst-";
    /// Default of [`Panos::max_members`]: what the smallest models take.
    pub const MAX_MEMBERS: usize = 500;
    /// Fewest that [`Panos::max_members`] may be: with less, the groups of groups overflow.
    pub const LEAST_MEMBERS: usize = 10;
    /// Default of [`Panos::max_addresses`]: small models take fewer, large ones many times as many.
    pub const MAX_ADDRESSES: usize = 10_000;
    /// Default of [`Panos::max_fqdns`]: what small models take.
    pub const MAX_FQDNS: usize = 2_000;
    /// Longest name of an object, in characters.
    pub const MAX_NAME: usize = 63;
    /// Longest text of a service's ports, in characters.
    pub const MAX_PORTS: usize = 1_023;
    /// Most members of a rule's source or destination.
    pub const MAX_RULE_MEMBERS: usize = 65_535;
}

impl Default for Panos {
    fn default() -> Self {
        Self {
            format: PanosFormat::Set,
            prefix: NamePrefix::try_from(Self::PREFIX.to_owned()).unwrap_or_default(),
            tag: fixed("tagwall"),
            from: vec![fixed("any")],
            to: vec![fixed("any")],
            position: None,
            log_setting: None,
            log_start: false,
            log_end: true,
            profile_group: None,
            no_decrypt: false,
            groups: PanosGroups::Static,
            max_members: Self::MAX_MEMBERS,
            max_addresses: Self::MAX_ADDRESSES,
            max_fqdns: Self::MAX_FQDNS,
            vsys: None,
            device_group: None,
            rulebase: None,
            version: fixed("10.1.0"),
            lists: None,
        }
    }
}

/// External dynamic lists.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PanosLists {
    /// Where the device fetches the lists: `https://HOST/PATH`; the file's name is appended.
    pub base_url: BaseUrl,
    /// `together` (default): one list a group. `apart`: one for each family.
    #[serde(default)]
    pub families: ListLayout,
    /// How often the device fetches: `five-minute` (default), `hourly` or `daily` (at midnight).
    #[serde(default)]
    pub interval: PanosInterval,
    /// The certificate profile by which the device checks the server.
    pub certificate_profile: Option<PanosName>,
    /// User name for basic authentication. The password is typed on the device and appears in no file.
    pub username: Option<PanosName>,
    /// Most addresses and ranges in all lists that rules use. Default: 50,000.
    #[serde(default = "PanosLists::default_entries")]
    pub max_entries: usize,
    /// Most lists that rules use. Default: 30.
    #[serde(default = "PanosLists::default_lists")]
    pub max_lists: usize,
}

impl PanosLists {
    /// Default of [`PanosLists::max_entries`]; large models take 150,000.
    pub const MAX_ENTRIES: usize = 50_000;
    /// Default of [`PanosLists::max_lists`].
    pub const MAX_LISTS: usize = 30;

    fn default_entries() -> usize {
        Self::MAX_ENTRIES
    }

    fn default_lists() -> usize {
        Self::MAX_LISTS
    }
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PanosFormat {
    /// Lists that the device fetches.
    Edl,
    /// Commands.
    Set,
    /// A document for the API.
    Xml,
}

/// How groups name their members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PanosGroups {
    /// One by one.
    Static,
    /// By tag.
    Dynamic,
}

/// A rulebase of a Panorama.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PanosRulebase {
    /// Before the rules of the device.
    Pre,
    /// After them.
    Post,
}

/// How often a device fetches a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PanosInterval {
    /// Every five minutes.
    #[default]
    FiveMinute,
    /// Every hour.
    Hourly,
    /// Every day at midnight.
    Daily,
}

impl PanosInterval {
    /// As the command wants it.
    pub fn command(self) -> &'static str {
        match self {
            Self::FiveMinute => "five-minute",
            Self::Hourly => "hourly",
            Self::Daily => "daily at 00",
        }
    }
}

/// Derives the serde forms of a text type with a `FromStr`.
macro_rules! panos_text {
    ($type:ident) => {
        text_form!($type);
    };
}

/// The name of something that the administrator made: a zone, a profile, a rule, a virtual system. Letters, digits,
/// `_`, `.`, `-` and spaces between them; 63 at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PanosName(Box<str>);

impl PanosName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As a command line wants it: in quotes when it has a space.
    pub fn command(&self) -> String {
        if self.0.contains(' ') { format!("\"{}\"", self.0) } else { self.0.to_string() }
    }
}

impl std::fmt::Display for PanosName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for PanosName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let inside =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b' ');
        let well_formed = (1..=Panos::MAX_NAME).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
            && !text.ends_with(' ')
            && text.bytes().all(inside);
        if well_formed {
            Ok(Self(text.into()))
        } else {
            Err("a name on PAN-OS has 1 to 63 letters, digits, `_`, `.`, `-` and spaces, and starts with a letter, \
                 digit or `_`"
                .to_owned())
        }
    }
}

panos_text!(PanosName);

/// Where rules go in the rulebase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Position {
    /// Before all others.
    Top,
    /// Behind all others.
    Bottom,
    /// Right before this rule.
    Before(PanosName),
    /// Right behind this rule.
    After(PanosName),
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(' ') {
            None if text == "top" => Ok(Self::Top),
            None if text == "bottom" => Ok(Self::Bottom),
            Some(("before", rule)) => Ok(Self::Before(rule.parse()?)),
            Some(("after", rule)) => Ok(Self::After(rule.parse()?)),
            _ => Err("a position is `top`, `bottom`, `before RULE` or `after RULE`".to_owned()),
        }
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Top => formatter.write_str("top"),
            Self::Bottom => formatter.write_str("bottom"),
            Self::Before(rule) => write!(formatter, "before {rule}"),
            Self::After(rule) => write!(formatter, "after {rule}"),
        }
    }
}

panos_text!(Position);

/// The beginning of a list's URL: http or https, and only characters that need no escaping anywhere; 128 at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BaseUrl(Box<str>);

impl std::fmt::Display for BaseUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for BaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim_end_matches('/');
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let inside = |byte: u8| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b'.' | b'-' | b'_' | b'~' | b':' | b'/' | b'[' | b']')
        };
        match rest {
            Some(rest)
                if text.len() <= 128
                    && rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
                    && rest.bytes().all(inside) =>
            {
                Ok(Self(text.into()))
            }
            _ => Err("a base URL is http:// or https://, a host, and perhaps a port and a path, in letters, digits, \
                      `.`, `-`, `_`, `~`, `:` and `/`; credentials and queries do not belong into it"
                .to_owned()),
        }
    }
}

panos_text!(BaseUrl);

/// A version of PAN-OS: numbers with dots, `10.1.0`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PanosVersion(Box<str>);

impl std::fmt::Display for PanosVersion {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for PanosVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('.').collect();
        let number = |part: &&str| part.len() <= 3 && part.parse::<u16>().is_ok();
        if (2..=3).contains(&parts.len()) && parts.iter().all(number) {
            Ok(Self(text.into()))
        } else {
            Err("a version of PAN-OS is written like `10.1.0`".to_owned())
        }
    }
}

panos_text!(PanosVersion);

/// What serde cannot see.
pub(in crate::config) fn check_panos(name: &Name, settings: &Panos, found: &mut Vec<Diagnostic>) {
    let at = format!("targets.{name}.panos");
    match (settings.format, &settings.lists) {
        (PanosFormat::Edl, None) => found.push(
            Diagnostic::new(format!("{at}: the device must know where to fetch its lists"))
                .help(format!("add [{at}.lists] with base-url = \"https://HOST/PATH\"")),
        ),
        (PanosFormat::Set | PanosFormat::Xml, Some(_)) => found.push(
            Diagnostic::new(format!("{at}.lists is only for format = \"edl\""))
                .help("remove it, or make a second target for the lists"),
        ),
        _ => {}
    }
    if settings.vsys.is_some() && settings.device_group.is_some() {
        found.push(
            Diagnostic::new(format!("{at} has both vsys and device-group"))
                .help("a Panorama's device group says by itself which virtual systems it is for"),
        );
    }
    if settings.rulebase.is_some() && settings.device_group.is_none() {
        found.push(
            Diagnostic::new(format!("{at}.rulebase is only for a Panorama"))
                .help("name the device-group, or remove it; a firewall has one rulebase"),
        );
    }
    for (key, zones) in [("from", &settings.from), ("to", &settings.to)] {
        let any = zones.iter().any(|zone| zone.as_str() == "any");
        if zones.is_empty() || any && zones.len() > 1 {
            found.push(Diagnostic::new(format!(
                "{at}.{key}: name zones, or \"any\" and nothing beside it"
            )));
        }
    }
    if settings.format != PanosFormat::Edl
        && settings.groups == PanosGroups::Static
        && settings.max_members < Panos::LEAST_MEMBERS
    {
        found.push(Diagnostic::new(format!(
            "{at}.max-members is {}; at least {} are needed to nest groups",
            settings.max_members,
            Panos::LEAST_MEMBERS
        )));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_well_formed() {
        let defaults = Panos::default();
        assert_eq!(defaults.prefix.as_str(), Panos::PREFIX);
        assert_eq!(defaults.from[0].as_str(), "any");
        assert_eq!(defaults.version.to_string(), "10.1.0");
    }

    #[test]
    fn texts_cannot_break_a_command_or_a_document() {
        for good in ["trust", "Deny All", "1st.zone", "dmz_2-a"] {
            assert_eq!(good.parse::<PanosName>().unwrap().as_str(), good);
        }
        for bad in ["", " a", "a ", "a\"b", "a<b", "a&b", "a'b", "a\nb", "-a", &"a".repeat(64)] {
            assert!(bad.parse::<PanosName>().is_err(), "{bad:?}");
        }
        assert_eq!(
            "https://h.example.com:8443/l/".parse::<BaseUrl>().unwrap().to_string(),
            "https://h.example.com:8443/l"
        );
        for bad in ["h.example.com", "ftp://h", "https://u@h", "https://h/?a=b", "https://h/a b"] {
            assert!(bad.parse::<BaseUrl>().is_err(), "{bad:?}");
        }
        for bad in ["", "10", "10.1.x", "10.1.0.1", "10..1"] {
            assert!(bad.parse::<PanosVersion>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn positions_have_one_spelling() {
        for good in ["top", "bottom", "before Deny All", "after dns"] {
            assert_eq!(good.parse::<Position>().unwrap().to_string(), good);
        }
        for bad in ["", "before", "before ", "middle", "top x"] {
            assert!(bad.parse::<Position>().is_err(), "{bad:?}");
        }
    }
}
