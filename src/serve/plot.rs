//! A small plot of a group's size over time, as the path of an SVG.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use crate::report::Size;
use crate::report::text::grouped;

/// The drawing's size, and the room that is left at its edges.
const WIDTH: f64 = 137.0;
const HEIGHT: f64 = 26.0;
const EDGE: f64 = 3.0;

/// A plot.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Plot {
    /// What it shows, in words.
    pub(super) label: String,
    /// The path.
    pub(super) path: String,
    /// The height at which it ends.
    pub(super) end: String,
}

/// Draws sizes, the oldest first, up to now. None when there is nothing to draw.
///
/// A size holds until the next: the line has steps, and no slope that would tell of values between. Addresses are drawn, or
/// prefixes of a group that has no IPv4 addresses.
pub(super) fn of(sizes: &[Size], now: Timestamp) -> Option<Plot> {
    let (first, last) = (sizes.first()?, sizes.last()?);
    let in_addresses = sizes.iter().any(|size| size.v4_addresses > 0);
    let value = |size: &Size| if in_addresses { size.v4_addresses } else { size.prefixes };
    let most = sizes.iter().map(value).max().filter(|most| *most > 0)?;
    let low = sizes.iter().map(value).min().unwrap_or(0);
    let span = now.duration_since(first.since).as_secs_f64().max(1.0);
    let x = |time: Timestamp| {
        (time.duration_since(first.since).as_secs_f64() / span).clamp(0.0, 1.0) * WIDTH
    };
    #[expect(clippy::cast_precision_loss, reason = "a drawing of 26 points")]
    let y = |value: u64| {
        // A group that never changed is a line in the middle.
        let share = if most == low { 0.5 } else { (value - low) as f64 / (most - low) as f64 };
        HEIGHT - EDGE - share * (HEIGHT - 2.0 * EDGE)
    };
    let mut path = format!("M0 {:.1}", y(value(first)));
    for size in &sizes[1..] {
        // Writing into a text does not fail.
        let _ = write!(path, "H{:.1}V{:.1}", x(size.since), y(value(size)));
    }
    let _ = write!(path, "H{WIDTH:.1}");
    let unit = if in_addresses { "IPv4 addresses" } else { "prefixes" };
    let label = if most == low {
        format!("{} {unit}, unchanged", grouped(most))
    } else {
        format!(
            "from {} to {} {unit}, between {} and {}",
            grouped(value(first)),
            grouped(value(last)),
            grouped(low),
            grouped(most)
        )
    };
    Some(Plot { label, path, end: format!("{:.1}", y(value(last))) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(minute: i64, v4_addresses: u64) -> Size {
        let since = Timestamp::from_second(minute * 60).unwrap();
        Size { since, prefixes: 7, v4_addresses }
    }

    #[test]
    fn a_size_holds_until_the_next() {
        let now = Timestamp::from_second(600).unwrap();
        let plot = of(&[size(0, 100), size(5, 300)], now).unwrap();
        assert_eq!(plot.path, "M0 23.0H68.5V3.0H137.0");
        assert_eq!(plot.end, "3.0");
        assert_eq!(plot.label, "from 100 to 300 IPv4 addresses, between 100 and 300");
    }

    #[test]
    fn what_never_changed_is_a_line_and_nothing_is_nothing() {
        let now = Timestamp::from_second(600).unwrap();
        assert_eq!(
            of(&[size(1, 5), size(2, 5)], now).unwrap().label,
            "5 IPv4 addresses, unchanged"
        );
        assert_eq!(of(&[size(1, 0)], now).unwrap().label, "7 prefixes, unchanged");
        assert_eq!(of(&[], now), None);
        // A clock that was set back puts nothing outside the drawing.
        let before = Timestamp::from_second(-600).unwrap();
        assert_eq!(of(&[size(0, 1), size(5, 2)], before).unwrap().path, "M0 23.0H137.0V3.0H137.0");
    }
}
