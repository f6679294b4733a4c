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

/// How far ahead, in the unit in which plans are made: `in 9 days`, `in 11 weeks`, `in 14 months`, `in 4 years`.
pub fn far_ahead(at: Timestamp, now: Timestamp) -> String {
    let days = at.duration_since(now).as_hours() / 24;
    let (count, one, many) = match days {
        ..=0 => return "now".to_owned(),
        1..=20 => (days, "day", "days"),
        21..=90 => (days / 7, "week", "weeks"),
        // A month has 365/12 days.
        91..=1_094 => (days * 12 / 365, "month", "months"),
        _ => (days / 365, "year", "years"),
    };
    format!("in {}", counted(usize::try_from(count).unwrap_or(0), one, many))
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
    fn what_is_far_ahead_is_said_in_one_unit() {
        let now: Timestamp = "2025-09-08T12:00:00Z".parse().unwrap();
        for (days, text) in [
            (-3, "now"),
            (0, "now"),
            (1, "in 1 day"),
            (20, "in 20 days"),
            (21, "in 3 weeks"),
            (90, "in 12 weeks"),
            (91, "in 2 months"),
            (427, "in 14 months"),
            (1_094, "in 35 months"),
            (1_095, "in 3 years"),
        ] {
            let at = now + SignedDuration::from_hours(days * 24);
            assert_eq!(far_ahead(at, now), text, "{days}");
        }
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
