//! `[guard]`: what is plausible. docs/guard.md explains each figure and what it was measured on.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::diagnostic::Diagnostic;
use super::names::Name;
use super::network::Network;

/// `[guard]`: what is plausible. Every figure is for one week between two publications, and grows with longer gaps up to the
/// bound that stands beside it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct GuardSettings {
    /// Hold every change until it is approved. Default: false.
    pub hold_everything: bool,
    /// Space in which additions are never "outside known neighbourhoods", beside what is shipped and learned. Default: none.
    pub neighbourhoods: Vec<Network>,
    /// How long an approval is good for when what it approves is not yet in force, in days. Default: 7.
    pub approval_days: Option<u16>,
    /// `[guard.limits]`: figures for every group.
    pub limits: GuardLimits,
    /// `[guard.groups.NAME]`: figures for one group or for all groups of a profile, in place of those above.
    pub groups: BTreeMap<Name, GuardLimits>,
}

/// The figures; those left out have the default, or for a group the figure of `[guard.limits]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct GuardLimits {
    /// Share of a group's addresses that may go in a week. Default: 0.10.
    pub removal_share: Option<f64>,
    /// A removal of fewer addresses is never held for its share (unless nothing remains). Default: 32.
    pub removal_addresses: Option<u64>,
    /// Share of a group's addresses that may be withdrawn in four weeks or in any gap. Default: 0.25.
    pub removal_share_most: Option<f64>,
    /// How long withdrawn ranges stay open, in days; 0 closes them at once. Default: 28.
    pub grace_days: Option<u16>,
    /// Share of a group's addresses that may come, in any gap up to 16 weeks. Default: 0.50.
    pub addition_share: Option<f64>,
    /// An addition of fewer addresses is never held for its share. Default: 512 for a group of at least 1,024 addresses, else
    /// 1,024.
    pub addition_addresses: Option<u64>,
    /// Share of a group's addresses that may come in four weeks. Default: 0.75.
    pub addition_share_four_weeks: Option<f64>,
    /// Addresses that no tag ever had and that may come to a group of one region in a week. Default: 16,384.
    pub addition_new_addresses: Option<u64>,
    /// Share of a group's addresses that may come without lying in AzureCloud. Default: 0.10.
    pub addition_outside_share: Option<f64>,
    /// Days after which a held addition is released if it still is published and no cause of the hold forbids it. Default: 6.
    pub release_additions_days: Option<u16>,
    /// Days after which a held removal is released under the same conditions. Default: 28.
    pub release_removals_days: Option<u16>,
    /// How many further publications must confirm a removal before it is released. Default: 3.
    pub release_removals_publications: Option<u32>,
    /// Release nothing without an approval. Default: false.
    pub never_release: Option<bool>,
}

/// The figures of one group, each with its value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// See [`GuardLimits::removal_share`].
    pub removal_share: f64,
    /// See [`GuardLimits::removal_addresses`].
    pub removal_addresses: u64,
    /// See [`GuardLimits::removal_share_most`].
    pub removal_share_most: f64,
    /// See [`GuardLimits::grace_days`].
    pub grace_days: u16,
    /// See [`GuardLimits::addition_share`].
    pub addition_share: f64,
    /// See [`GuardLimits::addition_addresses`]; none: by the group's size.
    pub addition_addresses: Option<u64>,
    /// See [`GuardLimits::addition_share_four_weeks`].
    pub addition_share_four_weeks: f64,
    /// See [`GuardLimits::addition_new_addresses`].
    pub addition_new_addresses: u64,
    /// See [`GuardLimits::addition_outside_share`].
    pub addition_outside_share: f64,
    /// See [`GuardLimits::release_additions_days`].
    pub release_additions_days: u16,
    /// See [`GuardLimits::release_removals_days`].
    pub release_removals_days: u16,
    /// See [`GuardLimits::release_removals_publications`].
    pub release_removals_publications: u32,
    /// See [`GuardLimits::never_release`].
    pub never_release: bool,
}

impl Limits {
    /// The defaults, calibrated on real publications (docs/guard.md).
    pub const DEFAULT: Self = Self {
        removal_share: 0.10,
        removal_addresses: 32,
        removal_share_most: 0.25,
        grace_days: 28,
        addition_share: 0.50,
        addition_addresses: None,
        addition_share_four_weeks: 0.75,
        addition_new_addresses: 16_384,
        addition_outside_share: 0.10,
        release_additions_days: 6,
        release_removals_days: 28,
        release_removals_publications: 3,
        never_release: false,
    };

    /// These figures where the settings have none.
    fn overlaid(self, with: &GuardLimits) -> Self {
        Self {
            removal_share: with.removal_share.unwrap_or(self.removal_share),
            removal_addresses: with.removal_addresses.unwrap_or(self.removal_addresses),
            removal_share_most: with.removal_share_most.unwrap_or(self.removal_share_most),
            grace_days: with.grace_days.unwrap_or(self.grace_days),
            addition_share: with.addition_share.unwrap_or(self.addition_share),
            addition_addresses: with.addition_addresses.or(self.addition_addresses),
            addition_share_four_weeks: with
                .addition_share_four_weeks
                .unwrap_or(self.addition_share_four_weeks),
            addition_new_addresses: with
                .addition_new_addresses
                .unwrap_or(self.addition_new_addresses),
            addition_outside_share: with
                .addition_outside_share
                .unwrap_or(self.addition_outside_share),
            release_additions_days: with
                .release_additions_days
                .unwrap_or(self.release_additions_days),
            release_removals_days: with.release_removals_days.unwrap_or(self.release_removals_days),
            release_removals_publications: with
                .release_removals_publications
                .unwrap_or(self.release_removals_publications),
            never_release: with.never_release.unwrap_or(self.never_release),
        }
    }
}

impl GuardSettings {
    /// Default of [`GuardSettings::approval_days`].
    pub const APPROVAL_DAYS: u16 = 7;

    /// How long an approval is good for, in days.
    pub fn approval_days(&self) -> u16 {
        self.approval_days.unwrap_or(Self::APPROVAL_DAYS)
    }

    /// The figures for a group: its own, else its profile's, else those of `[guard.limits]`, else the defaults.
    pub fn limits(&self, group: &Name, profile: Option<&Name>) -> Limits {
        let mut limits = Limits::DEFAULT.overlaid(&self.limits);
        if let Some(of_profile) = profile.and_then(|profile| self.groups.get(profile)) {
            limits = limits.overlaid(of_profile);
        }
        match self.groups.get(group) {
            Some(own) => limits.overlaid(own),
            None => limits,
        }
    }

    /// What is wrong with it: figures out of range, groups that do not exist. `known` are the names of groups and profiles.
    pub(super) fn check(
        &self,
        known: &dyn Fn(&Name) -> bool,
        found: &mut Vec<(String, Diagnostic)>,
    ) {
        let tables = std::iter::once(("guard.limits".to_owned(), &self.limits))
            .chain(self.groups.iter().map(|(name, own)| (format!("guard.groups.{name}"), own)));
        for (table, limits) in tables {
            for (key, share) in [
                ("removal-share", limits.removal_share),
                ("removal-share-most", limits.removal_share_most),
                ("addition-share", limits.addition_share),
                ("addition-share-four-weeks", limits.addition_share_four_weeks),
                ("addition-outside-share", limits.addition_outside_share),
            ] {
                if share.is_some_and(|share| !(0.0..=100.0).contains(&share)) {
                    let diagnostic = Diagnostic::new(format!("{table}.{key} is out of range"))
                        .help("it is a share of a group's addresses: 0.25 stands for a quarter");
                    found.push((key.to_owned(), diagnostic));
                }
            }
        }
        for name in self.groups.keys().filter(|name| !known(name)) {
            let diagnostic =
                Diagnostic::new(format!("guard.groups.{name}: no group or profile `{name}`")).help(
                    "name a group of [groups], a profile of [apim], or a group that a profile expands to",
                );
            found.push((format!("[guard.groups.{name}]"), diagnostic));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn the_nearest_figure_counts() {
        let settings: GuardSettings = toml::from_str(
            "[limits]\nremoval-share = 0.2\n[groups.prod]\nremoval-share = 0.3\ngrace-days = 7\n\
             [groups.apim-prod-sql]\ngrace-days = 0",
        )
        .unwrap();
        let plain = settings.limits(&name("other"), None);
        assert_eq!((plain.removal_share, plain.grace_days), (0.2, 28));
        let storage = settings.limits(&name("apim-prod-storage"), Some(&name("prod")));
        assert_eq!((storage.removal_share, storage.grace_days), (0.3, 7));
        let sql = settings.limits(&name("apim-prod-sql"), Some(&name("prod")));
        assert_eq!((sql.removal_share, sql.grace_days), (0.3, 0));
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(toml::from_str::<GuardSettings>("[limits]\nremoval-shar = 0.2").is_err());
        assert!(toml::from_str::<GuardSettings>("[groups.a]\nremoval-shar = 0.2").is_err());
    }
}
