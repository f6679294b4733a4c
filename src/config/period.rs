//! Lengths of time, as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::text_form;

/// A length of time: `500ms`, `90s`, `15m`, `1h30m`, `28d`; units from large to small, each once.
///
/// A number without a unit is refused: whether `30` means seconds or minutes is what goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(Duration);

/// The units with their milliseconds, the largest first.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// The longest that is taken, in days: ten years.
const MOST_DAYS: u64 = 3_653;

impl Period {
    /// No time at all.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// Whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Whole minutes.
    pub const fn minutes(minutes: u64) -> Self {
        Self::seconds(minutes * 60)
    }

    /// Whole hours.
    pub const fn hours(hours: u64) -> Self {
        Self::minutes(hours * 60)
    }

    /// Whole days of 24 hours.
    pub const fn days(days: u64) -> Self {
        Self::hours(days * 24)
    }

    /// The same for the clock.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Self {
        period.0
    }
}

impl From<Period> for jiff::SignedDuration {
    fn from(period: Period) -> Self {
        // Ten years at most: the seconds fit.
        Self::new(
            i64::try_from(period.0.as_secs()).unwrap_or(i64::MAX),
            period.0.subsec_nanos().cast_signed(),
        )
    }
}

impl fmt::Display for Period {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return formatter.write_str("0s");
        }
        for (unit, milliseconds) in UNITS {
            let count = rest / milliseconds;
            if count > 0 {
                write!(formatter, "{count}{unit}")?;
                rest %= milliseconds;
            }
        }
        Ok(())
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!(
                "`{}` is no length of time: write it like 90s, 15m, 1h30m or 28d (units d, h, m, s, ms, the largest first; \
                 ten years at most)",
                text.escape_debug()
            )
        };
        let mut rest = text;
        let mut units = UNITS.iter();
        let mut total = 0_u64;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, behind) = rest.split_at(digits);
            let number: u64 = number.parse().map_err(|_| refuse())?;
            let letters = behind.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, behind) = behind.split_at(letters);
            // Going on in the same iterator keeps the order, and each unit once.
            let (_, milliseconds) = units.find(|(name, _)| *name == unit).ok_or_else(refuse)?;
            let part = number.checked_mul(*milliseconds).ok_or_else(refuse)?;
            total = total.checked_add(part).ok_or_else(refuse)?;
            rest = behind;
        }
        if text.is_empty() || total > MOST_DAYS * 86_400_000 {
            return Err(refuse());
        }
        Ok(Self(Duration::from_millis(total)))
    }
}

text_form!(Period);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_and_written_alike() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("500ms", 500),
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("28d", 28 * 86_400_000),
            ("1d1h1m1s1ms", 90_061_001),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!(period.duration(), Duration::from_millis(milliseconds), "{text}");
            assert_eq!(period.to_string().parse::<Period>().unwrap(), period);
        }
        assert_eq!(Period::seconds(90).to_string(), "1m30s");
        assert_eq!(jiff::SignedDuration::from(Period::days(1)).as_hours(), 24);
    }

    #[test]
    fn what_could_be_meant_otherwise_is_refused() {
        for text in [
            "",
            "30",
            "s",
            "1.5h",
            "-1s",
            "1m1h",
            "1s1s",
            "1 h",
            "1w",
            "1S",
            "99999999999999999999s",
            "18446744073709551615d",
            "4000d",
            "1h30",
        ] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }
}
