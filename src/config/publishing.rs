//! `[publish]`: how generations are kept, and what is done about foreign changes.

use serde::{Deserialize, Serialize};

use super::Period;

/// `[publish]`: how generations are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Publishing {
    /// Generations that are kept at least. The one in force and the one before it are always kept. Default: 50.
    pub generations: usize,
    /// Days for which a generation is kept at least. Default: 90.
    pub days: u32,
    /// Small generations (only addresses of hostnames differ) and failed ones that are kept, whatever their age. Default: 5.
    pub small_generations: usize,
    /// What is done when somebody else changed what is in force, for targets that do not say: `restore` (default) or `hold`.
    pub on_drift: OnDrift,
    /// How long before a firewall is full, at the growth so far, one is warned. Default: 180d.
    pub capacity_horizon: Period,
}

impl Publishing {
    /// Default of [`Publishing::generations`].
    pub const GENERATIONS: usize = 50;
    /// Default of [`Publishing::days`].
    pub const DAYS: u32 = 90;
    /// Default of [`Publishing::small_generations`].
    pub const SMALL_GENERATIONS: usize = 5;
    /// Default of [`Publishing::capacity_horizon`].
    pub const CAPACITY_HORIZON: Period = Period::days(180);
}

impl Default for Publishing {
    fn default() -> Self {
        Self {
            generations: Self::GENERATIONS,
            days: Self::DAYS,
            small_generations: Self::SMALL_GENERATIONS,
            on_drift: OnDrift::default(),
            capacity_horizon: Self::CAPACITY_HORIZON,
        }
    }
}

/// What is done when the kernel or an installed file is not as it was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDrift {
    /// It is shown, kept in the generation, and overwritten.
    #[default]
    Restore,
    /// It is shown, and left alone: nothing is published to the target until somebody decides. What is missing altogether
    /// (after a flush or a reboot) is brought back all the same.
    Hold,
}

/// What becomes of connections through the firewall whose remote address left the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conntrack {
    /// They go on until they end.
    #[default]
    Keep,
    /// Their entries are deleted, so that the next packet is judged by the new rules.
    Delete,
}
