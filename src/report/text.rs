//! How reports look on a terminal: styles, and numbers that people can compare.

use anstyle::{AnsiColor, Style};
use jiff::{SignedDuration, Timestamp};

pub use crate::os::printable::grouped;

/// New lines and additions.
pub const ADDED: Style = AnsiColor::Green.on_default();
/// Old lines and removals.
pub const REMOVED: Style = AnsiColor::Red.on_default();
/// Headlines.
pub const HEADLINE: Style = Style::new().bold();
/// What wants attention.
pub const WARNING: Style = AnsiColor::Yellow.on_default();

/// `1 group`, `2 groups`.
pub fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// A length of time in its two largest units, as people say it: `3 d 4 h`, `5 min`, `12 s`.
pub fn length(duration: SignedDuration) -> String {
    let seconds = duration.unsigned_abs().as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let second = |count: u64, unit: &str| match count {
        0 => String::new(),
        _ => format!(" {count} {unit}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h{}", second(minutes, "min")),
        _ => format!("{days} d{}", second(hours, "h")),
    }
}

/// How long ago, or how far ahead: `5 min ago`, `in 55 min`.
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    let ahead = at.duration_since(now);
    if ahead.is_positive() {
        format!("in {}", length(ahead))
    } else {
        format!("{} ago", length(ahead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let texts: Vec<_> = [0_u64, 999, 1_000, 4_096, 1_234_567].iter().map(grouped).collect();
        assert_eq!(texts, ["0", "999", "1,000", "4,096", "1,234,567"]);
        assert_eq!(counted(1, "group", "groups"), "1 group");
        assert_eq!(counted(1_000, "group", "groups"), "1,000 groups");
    }

    #[test]
    fn times_are_said_in_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_599, "59 min"),
            (3_600, "1 h"),
            (5_400, "1 h 30 min"),
            (86_400, "1 d"),
            (273_600, "3 d 4 h"),
        ] {
            assert_eq!(length(SignedDuration::from_secs(seconds)), text);
        }
        let now: Timestamp = "2025-09-08T12:00:00Z".parse().unwrap();
        assert_eq!(relative("2025-09-08T12:55:00Z".parse().unwrap(), now), "in 55 min");
        assert_eq!(relative("2025-09-08T11:55:00Z".parse().unwrap(), now), "5 min ago");
    }
}
