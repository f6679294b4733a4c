//! What somebody else changed, told so that it can be judged before it is overwritten.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

use crate::os::unified;
use crate::prefix::PrefixSet;

/// Most lines of a difference that are shown; the rest is counted.
const MAX_LINES: usize = 200;

/// How the kernel, or an installed file, differs from what was published.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Drift {
    /// The table, a set in it, or a chain is gone.
    #[error("{0} is missing")]
    Missing(String),
    /// A set has other content.
    #[error("set {set} lacks {} and has {} prefixes too many", lacks.len(), extra.len())]
    Set {
        /// The set.
        set: String,
        /// Prefixes that are missing.
        lacks: PrefixSet,
        /// Prefixes that should not be there.
        extra: PrefixSet,
    },
    /// The rules are not those that were loaded.
    #[error("the rules of {name} were changed")]
    Rules {
        /// The table or chain.
        name: String,
        /// From what was loaded to what is there.
        diff: String,
    },
    /// The rules are those that were loaded, and something else loaded them.
    #[error("{0}")]
    Reloaded(String),
    /// An installed file is gone.
    #[error("{path} is missing", path = path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
    },
    /// An installed file was edited.
    #[error("{path} was changed", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// From what was installed to what is there.
        diff: String,
    },
}

impl Drift {
    /// Whether something is gone altogether, as after a flush or a reboot, rather than changed by a foreign hand.
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::NoFile { .. })
    }

    /// What is foreign, line by line: `-` for what was published and is gone, `+` for what was not; none for what is missing
    /// altogether.
    pub fn diff(&self) -> Option<String> {
        match self {
            Self::Missing(_) | Self::Reloaded(_) | Self::NoFile { .. } => None,
            Self::Rules { diff, .. } | Self::File { diff, .. } => Some(diff.clone()),
            Self::Set { lacks, extra, .. } => {
                let lines = |mark: char, set: &PrefixSet| {
                    let v4 = set.v4().iter().map(ToString::to_string);
                    let all = v4.chain(set.v6().iter().map(ToString::to_string));
                    all.map(|prefix| format!("{mark}{prefix}")).collect::<Vec<_>>()
                };
                let lines = [lines('-', lacks), lines('+', extra)].concat();
                Some(bounded(lines.into_iter()))
            }
        }
    }
}

/// The unified difference of two texts, bounded.
pub(in crate::publish) fn unified(before: &str, now: &str) -> String {
    bounded(unified::unified(before, now, 2).lines())
}

/// The first lines, and how many more there are.
fn bounded(lines: impl Iterator<Item = impl fmt::Display>) -> String {
    let mut text = String::new();
    let mut left_out = 0;
    for (index, line) in lines.enumerate() {
        if index < MAX_LINES {
            text.push_str(&format!("{line}\n"));
        } else {
            left_out += 1;
        }
    }
    if left_out > 0 {
        text.push_str(&format!("… {left_out} more lines\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_foreign_is_shown_and_bounded() {
        let set = |text: &str| {
            text.split(' ').map(|prefix| prefix.parse().unwrap()).collect::<PrefixSet>()
        };
        let drift = Drift::Set {
            set: "s".to_owned(),
            lacks: set("192.0.2.0/26"),
            extra: set("198.51.100.0/24 2001:db8::/32"),
        };
        assert_eq!(drift.to_string(), "set s lacks 1 and has 2 prefixes too many");
        assert_eq!(drift.diff().unwrap(), "-192.0.2.0/26\n+198.51.100.0/24\n+2001:db8::/32\n");
        assert!(unified("a\nb\n", "a\nc\n").contains("-b\n+c\n"));
        let many = "line\n".repeat(1000);
        let shown = unified("", &many);
        assert_eq!(shown.lines().count(), MAX_LINES + 1);
        assert!(shown.ends_with(" more lines\n"), "{shown}");
    }
}
