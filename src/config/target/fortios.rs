//! Settings of the fortios dialect.

mod values;

use serde::Deserialize;

use super::common::{NamePrefix, fixed};
use super::list::ListLayout;
use crate::config::{Comment, Diagnostic, Name};

pub use values::{
    FortiosFormat, FortiosIdentity, FortiosLog, FortiosScope, FortiosText, FortiosVersion,
};

/// Fortinet FortiOS.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fortios {
    /// `cli`: a script with every address as an object. `feed`: lists that the device fetches, and a script that uses them.
    pub format: FortiosFormat,
    /// The device's version, `7.4` or better `7.4.8`: without the patch number it counts as the oldest of its line.
    pub version: FortiosVersion,
    /// The VDOM that the script enters. Default: none, for devices without VDOMs.
    pub vdom: Option<FortiosText>,
    /// Write for a FortiManager script: without `execute`, one line a member list. Default: false.
    #[serde(default)]
    pub fortimanager: bool,
    /// What every name of ours starts with; 12 characters at most. Default: `tw-`.
    #[serde(default)]
    pub prefix: NamePrefix,
    /// The comment on every object of ours. Default: `Managed by tagwall`.
    #[serde(default = "default_comment")]
    pub comment: Comment,

    /// Write policies. Default: true. Without them the script holds objects for policies of one's own.
    #[serde(default = "yes")]
    pub policies: bool,
    /// First of the policy ids that are reserved for tagwall; 1,000 at least. Required for policies.
    pub first_policy_id: Option<u32>,
    /// How many ids are reserved; each rule takes two, one a family. Required for policies.
    pub policy_count: Option<u32>,
    /// Rules by name in the order of their ids: append new ones, and leave removed ones in place. Rules that are not named
    /// here come behind them in the order of their names.
    #[serde(default)]
    pub slots: Vec<Name>,
    /// Moves our policies before this one, which is not ours. Default: they stay where the device puts them, at the end.
    pub move_before: Option<u32>,
    /// Interfaces or zones of the own subnets. Required for policies.
    #[serde(default)]
    pub own_interfaces: Vec<FortiosText>,
    /// Interfaces or zones towards the internet. Required for policies.
    #[serde(default)]
    pub internet_interfaces: Vec<FortiosText>,
    /// Translate the source of outbound IPv4 connections. Default: true.
    #[serde(default = "yes")]
    pub nat: bool,
    /// Translate the source of outbound IPv6 connections. Default: false.
    #[serde(default)]
    pub nat6: bool,
    /// A pool to translate IPv4 sources to. Default: the address of the outgoing interface.
    pub ip_pool: Option<FortiosText>,
    /// A pool to translate IPv6 sources to; needs `nat6`.
    pub ip_pool6: Option<FortiosText>,
    /// An SSL/SSH inspection profile.
    pub ssl_ssh_profile: Option<FortiosText>,
    /// An IPS sensor.
    pub ips_sensor: Option<FortiosText>,
    /// An application control list.
    pub application_list: Option<FortiosText>,
    /// What rules without `log` log: `utm` (default), `disable` or `all`. Rules with `log` log all.
    #[serde(default)]
    pub log: FortiosLog,

    /// cli: most members of one group. Default: 300.
    #[serde(default = "member_limit")]
    pub member_limit: usize,
    /// cli: most address objects of a family. Default: 10,000.
    #[serde(default = "address_limit")]
    pub address_limit: usize,
    /// cli: most address groups of a family. Default: 2,500.
    #[serde(default = "group_limit")]
    pub group_limit: usize,

    /// feed: where the device fetches the lists: the address of the folder, `https://lists.example.com/fortigate`. Required.
    pub url: Option<String>,
    /// feed: `together` (default): one list a group. `apart`: GROUP-v4.txt and GROUP-v6.txt.
    #[serde(default)]
    pub layout: ListLayout,
    /// feed: `vdom` (default) or `global`: where the lists are defined. Names of global ones start with `g-`.
    #[serde(default)]
    pub scope: FortiosScope,
    /// feed: minutes between two fetches, 1 to 43,200. Default: 5.
    #[serde(default = "refresh_rate")]
    pub refresh_rate: u32,
    /// feed: how the server's certificate is checked: `full`, `basic` or `none`. Default: `full` where the version can.
    pub server_identity_check: Option<FortiosIdentity>,
    /// feed: the user name to fetch with. The password is never written: it is set on the device, once.
    pub username: Option<FortiosText>,
    /// feed: most entries: of each list before 7.4.4 (default 131,072), of all together from 7.4.4 (default 300,000).
    pub entry_limit: Option<usize>,
    /// feed: most lists. Default: 256 in a VDOM, 511 in the global scope.
    pub feed_limit: Option<usize>,
}

impl Fortios {
    /// Default of [`Fortios::member_limit`]: what the smallest models take.
    pub const MEMBER_LIMIT: usize = 300;
    /// Default of [`Fortios::address_limit`]: models differ, from a few thousand up.
    pub const ADDRESS_LIMIT: usize = 10_000;
    /// Default of [`Fortios::group_limit`].
    pub const GROUP_LIMIT: usize = 2_500;
    /// Default of [`Fortios::entry_limit`] before 7.4.4, for each list.
    pub const ENTRIES_EACH: usize = 131_072;
    /// Default of [`Fortios::entry_limit`] from 7.4.4, for all lists together.
    pub const ENTRIES_TOGETHER: usize = 300_000;
    /// Most bytes of a list before 7.4.4.
    pub const LIST_BYTES: usize = 10 << 20;
    /// Default of [`Fortios::feed_limit`] in a VDOM.
    pub const FEEDS_IN_VDOM: usize = 256;
    /// Default of [`Fortios::feed_limit`] in the global scope.
    pub const FEEDS_GLOBAL: usize = 511;
    /// Default of [`Fortios::refresh_rate`], in minutes.
    pub const REFRESH_RATE: u32 = 5;
    /// Longest refresh rate, in minutes.
    pub const MAX_REFRESH_RATE: u32 = 43_200;
    /// Longest name of an address, group or service, in characters.
    pub const MAX_NAME: usize = 79;
    /// Longest name of a policy or a feed, in characters.
    pub const MAX_SHORT_NAME: usize = 35;
    /// Longest comment, in characters.
    pub const MAX_COMMENT: usize = 255;
    /// Longest address of a list, in characters.
    pub const MAX_URL: usize = 511;
    /// Longest prefix of names: a policy's name has 35 characters, and its id stands in it.
    pub const MAX_PREFIX: usize = 12;
    /// Lowest first policy id: low numbers are what administrators and the device's own pages give.
    pub const MIN_POLICY_ID: u32 = 1_000;
    /// Highest policy id taken.
    pub const MAX_POLICY_ID: u32 = 999_999_999;

    /// How the server's certificate is checked; none where the version has no such setting.
    pub fn identity(&self) -> Option<FortiosIdentity> {
        self.version
            .checks_identity()
            .then(|| self.server_identity_check.unwrap_or(FortiosIdentity::Full))
    }

    /// The ids reserved for policies: the first, and how many.
    pub fn reserved(&self) -> Option<(u32, u32)> {
        self.first_policy_id.zip(self.policy_count)
    }

    /// What contradicts itself in `targets.NAME.fortios`.
    pub(in crate::config) fn check(&self, target: &Name, found: &mut Vec<Diagnostic>) {
        let mut wrong = |title: &str, help: &str| {
            found.push(Diagnostic::new(format!("targets.{target}.fortios{title}")).help(help));
        };
        if self.prefix.as_str().len() > Self::MAX_PREFIX {
            wrong(
                &format!(".prefix `{}` is too long", self.prefix.as_str()),
                "12 characters at most: a policy's name has 35, and its id stands in it",
            );
        }
        if self.prefix.as_str().to_ascii_lowercase().starts_with("g-") {
            wrong(
                ".prefix starts with `g-`",
                "that marks feeds of the global scope; set scope = \"global\" for these, and choose another prefix",
            );
        }
        self.check_policies(&mut wrong);
        self.check_feed(&mut wrong);
        for (key, limit, least) in [
            ("member-limit", self.member_limit, 2),
            ("address-limit", self.address_limit, 1),
            ("group-limit", self.group_limit, 1),
            ("entry-limit", self.entry_limit.unwrap_or(1), 1),
            ("feed-limit", self.feed_limit.unwrap_or(1), 1),
        ] {
            if limit < least {
                wrong(&format!(".{key} is {limit}"), &format!("it is {least} at least"));
            }
        }
    }

    fn check_policies(&self, wrong: &mut impl FnMut(&str, &str)) {
        if self.policies {
            match self.reserved() {
                None => wrong(
                    " reserves no policy ids",
                    "set first-policy-id and policy-count to ids that nothing else uses, or policies = false: \
                     `edit` of an id in use would overwrite that policy",
                ),
                Some((first, count)) => self.check_ids(first, count, wrong),
            }
            if self.own_interfaces.is_empty() || self.internet_interfaces.is_empty() {
                wrong(
                    " does not know the interfaces of its policies",
                    "set own-interfaces and internet-interfaces, or policies = false",
                );
            }
        }
        let mut slots: Vec<&Name> = self.slots.iter().collect();
        slots.sort_unstable();
        let twice = slots.iter().zip(slots.iter().skip(1)).find(|(one, next)| one == next);
        if let Some((name, _)) = twice {
            wrong(
                &format!(".slots names {name} twice"),
                "each rule has one place: its ids follow from it",
            );
        }
        if self.ip_pool.is_some() && !self.nat {
            wrong(" has `ip-pool`, but nat = false", "leave one of them out");
        }
        if self.ip_pool6.is_some() && !self.nat6 {
            wrong(" has `ip-pool6`, but no `nat6`", "set nat6 = true, or leave the pool out");
        }
    }

    fn check_ids(&self, first: u32, count: u32, wrong: &mut impl FnMut(&str, &str)) {
        if first < Self::MIN_POLICY_ID {
            wrong(
                &format!(".first-policy-id is {first}"),
                "take 1000 or more: low ids are given by administrators and by the device itself",
            );
        }
        if count == 0 {
            wrong(".policy-count is 0", "each rule takes two ids; leave room for more");
        }
        if first > Self::MAX_POLICY_ID || count > Self::MAX_POLICY_ID - first {
            wrong(
                &format!(": the policy ids from {first} on, {count} of them, end beyond 999999999"),
                "choose lower ones",
            );
        } else if self.move_before.is_some_and(|id| (first..first + count).contains(&id)) {
            wrong(
                ".move-before is one of the reserved ids",
                "it is a policy of yours, before which ours go: the final deny, most likely",
            );
        }
        if self.move_before == Some(0) {
            wrong(
                ".move-before is 0",
                "the implicit deny has no id; leave the setting out to stay at the end",
            );
        }
    }

    fn check_feed(&self, wrong: &mut impl FnMut(&str, &str)) {
        let feed = self.format == FortiosFormat::Feed;
        match &self.url {
            None if feed => wrong(
                " has format = \"feed\" but no `url`",
                "say where the device fetches the lists: url = \"https://lists.example.com/fortigate\"",
            ),
            Some(url) if !well_formed_url(url) => wrong(
                ".url is not an address that FortiOS takes",
                "write http:// or https://, a host and a path, without user, query, spaces and any of < > ( ) # ' \" ?",
            ),
            _ => {}
        }
        if !(1..=Self::MAX_REFRESH_RATE).contains(&self.refresh_rate) {
            wrong(
                &format!(".refresh-rate is {}", self.refresh_rate),
                "it is 1 to 43200, in minutes",
            );
        }
        if self.server_identity_check.is_some() && !self.version.checks_identity() {
            wrong(
                ".server-identity-check is not in this version",
                "it is in 7.0.8 to 7.0.12 and from 7.2.4; write the patch number if yours has it: version = \"7.2.8\"",
            );
        }
        if self.scope == FortiosScope::Global && feed && self.policies && self.vdom.is_none() {
            wrong(
                " has scope = \"global\" but no `vdom`",
                "name the VDOM of the policies; without VDOMs there is no global scope",
            );
        }
        if feed && self.fortimanager && self.scope == FortiosScope::Global {
            wrong(
                " has scope = \"global\" for a FortiManager script",
                "such a script runs in one VDOM: define the lists there",
            );
        }
    }
}

fn well_formed_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let refused = |c: char| !c.is_ascii_graphic() || "<>()#'\"?\\$@`{}".contains(c);
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with('/')
            && rest.len() <= Fortios::MAX_URL
            && !rest.chars().any(refused)
    })
}

fn default_comment() -> Comment {
    fixed("Managed by tagwall")
}

fn yes() -> bool {
    true
}

fn member_limit() -> usize {
    Fortios::MEMBER_LIMIT
}

fn address_limit() -> usize {
    Fortios::ADDRESS_LIMIT
}

fn group_limit() -> usize {
    Fortios::GROUP_LIMIT
}

fn refresh_rate() -> u32 {
    Fortios::REFRESH_RATE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_cannot_break_a_script() {
        assert!(well_formed_url("https://lists.example.com:8443/fw"));
        for bad in
            ["ftp://a/b", "https://", "https:///x", "https://a b", "https://u@h/", "https://h/?x"]
        {
            assert!(!well_formed_url(bad), "{bad:?}");
        }
        assert_eq!(default_comment().as_str(), "Managed by tagwall");
    }
}
