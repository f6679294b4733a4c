//! `[agent.calendar]`: when changes of publications may be applied.
//!
//! Windows and freezes are written in local time, and a day that has 23 or 25 hours is no special case to the reader: jiff
//! turns each edge into an instant of its own.

use std::collections::BTreeMap;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

use super::{Comment, Name};

/// A week, and an hour for one that is longer.
const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24 + 1);

/// `[agent.calendar]`: when changes of publications may be applied. What a person asks for by hand is always done.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Calendar {
    /// The time zone of all windows and freezes, as `Europe/Berlin`. Default: UTC.
    pub time_zone: Zone,
    /// What is let through outside the windows and in a freeze. Default: nothing.
    pub urgent: Urgent,
    /// Changes are applied in these only. Default: at any time.
    pub windows: BTreeMap<Name, Window>,
    /// No change is applied in these, window or not.
    pub freezes: BTreeMap<Name, Freeze>,
}

/// What is let through while the calendar is closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Urgent {
    /// Nothing.
    #[default]
    Nothing,
    /// A change that only adds addresses to groups: what is missing is an outage, what is left over is not.
    Additions,
}

/// Hours of certain days in which changes are applied.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Window {
    /// The days on which it begins. Default: every day.
    #[serde(default)]
    pub days: Vec<Day>,
    /// When it begins.
    pub from: Clock,
    /// When it ends; not after `from`: on the next day.
    pub to: Clock,
}

/// A time in which no change is applied.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Freeze {
    /// Its beginning: a date, or a date with a time.
    pub from: Edge,
    /// Its end: a date, which belongs to it, or a date with a time.
    pub to: Edge,
    /// Why; shown in the status.
    pub reason: Option<Comment>,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "days need no explanation")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    fn weekday(self) -> Weekday {
        match self {
            Self::Mon => Weekday::Monday,
            Self::Tue => Weekday::Tuesday,
            Self::Wed => Weekday::Wednesday,
            Self::Thu => Weekday::Thursday,
            Self::Fri => Weekday::Friday,
            Self::Sat => Weekday::Saturday,
            Self::Sun => Weekday::Sunday,
        }
    }
}

/// A time zone of the host's database.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl TryFrom<String> for Zone {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "UTC" {
            return Ok(Self::default());
        }
        TimeZone::get(&text).map(Self).map_err(|_| {
            format!(
                "`{}` is no time zone of this host: write it like Europe/Berlin; where /usr/share/zoneinfo is missing, \
                 install tzdata",
                text.escape_debug()
            )
        })
    }
}

/// A time of day: `09:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Clock(Time);

impl TryFrom<String> for Clock {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = |range: std::ops::Range<usize>| -> Option<i8> {
            let part = text.get(range)?;
            part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?
        };
        let time = (text.len() == 5 && text.as_bytes().get(2) == Some(&b':'))
            .then(|| Time::new(digits(0..2)?, digits(3..5)?, 0, 0).ok())
            .flatten();
        time.map(Self).ok_or_else(|| {
            format!("`{}` is no time of day: write it like 09:00", text.escape_debug())
        })
    }
}

/// Where a freeze begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Edge {
    /// A whole day.
    Day(Date),
    /// A minute of it.
    Minute(DateTime),
}

impl TryFrom<String> for Edge {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let edge = match text.len() {
            10 => Date::from_str(&text).ok().map(Self::Day),
            16 | 19 => DateTime::from_str(&text).ok().map(Self::Minute),
            _ => None,
        };
        edge.ok_or_else(|| {
            format!(
                "`{}` is no date: write it like 2025-12-20 or 2025-12-20T18:00",
                text.escape_debug()
            )
        })
    }
}

impl Edge {
    fn begins(self) -> DateTime {
        match self {
            Self::Day(date) => date.to_datetime(Time::midnight()),
            Self::Minute(minute) => minute,
        }
    }

    fn ends(self) -> DateTime {
        match self {
            // The last day of all time has no tomorrow; nobody plans that far.
            Self::Day(date) => date.tomorrow().unwrap_or(date).to_datetime(Time::midnight()),
            Self::Minute(minute) => minute,
        }
    }
}

impl Freeze {
    /// Whether it ends before it begins.
    pub(super) fn is_backwards(&self) -> bool {
        self.to.ends() <= self.from.begins()
    }
}

/// Whether changes may be applied at a moment, and how long that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Why not; none: they may.
    pub closed: Option<Closed>,
    /// When that changes; none: never.
    pub until: Option<Timestamp>,
}

/// Why changes may not be applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Closed {
    /// A freeze.
    Freeze {
        /// Its name.
        name: Name,
        /// Its reason.
        reason: Option<String>,
    },
    /// No window is open.
    OutsideWindows,
}

impl Calendar {
    /// Whether changes may be applied now.
    pub fn gate(&self, now: Timestamp) -> Gate {
        let closed = self.closed(now);
        Gate { until: self.next_change(now, closed.as_ref()), closed }
    }

    /// When it is not so any more. The state changes at an edge only; edges at which it stays the same (two windows that touch)
    /// are passed over.
    fn next_change(&self, now: Timestamp, closed: Option<&Closed>) -> Option<Timestamp> {
        let mut edge = self.next_edge(now)?;
        let week_after = |time: Timestamp| time.checked_add(WEEK).unwrap_or(Timestamp::MAX);
        let mut week = week_after(now);
        while self.closed(edge).as_ref() == closed {
            // Windows repeat: a week without a change is followed by others like it, until a freeze begins or ends.
            if edge > week {
                edge = self.freeze_edges().filter(|other| *other > edge).min()?;
                week = week_after(edge);
            } else {
                edge = self.next_edge(edge)?;
            }
        }
        Some(edge)
    }

    fn closed(&self, now: Timestamp) -> Option<Closed> {
        let freeze = self.freezes.iter().find(|(_, freeze)| {
            self.instant(freeze.from.begins()).is_some_and(|from| from <= now)
                && self.instant(freeze.to.ends()).is_some_and(|to| now < to)
        });
        if let Some((name, freeze)) = freeze {
            let reason = freeze.reason.as_ref().map(|reason| reason.as_str().to_owned());
            return Some(Closed::Freeze { name: name.clone(), reason });
        }
        let open =
            self.windows.is_empty() || self.openings(now).any(|(from, to)| from <= now && now < to);
        (!open).then_some(Closed::OutsideWindows)
    }

    /// The next moment at which anything begins or ends.
    fn next_edge(&self, now: Timestamp) -> Option<Timestamp> {
        let windows = self.openings(now).flat_map(|(from, to)| [from, to]);
        windows.chain(self.freeze_edges()).filter(|edge| *edge > now).min()
    }

    fn freeze_edges(&self) -> impl Iterator<Item = Timestamp> {
        let edges = |freeze: &Freeze| [freeze.from.begins(), freeze.to.ends()];
        self.freezes.values().flat_map(edges).filter_map(|edge| self.instant(edge))
    }

    /// The openings of all windows from yesterday to the same day of the next week.
    fn openings(&self, now: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let today = now.to_zoned(self.time_zone.0.clone()).date();
        (-1..=8_i64).filter_map(move |offset| today.checked_add(offset.days()).ok()).flat_map(
            move |date| {
                self.windows.values().filter_map(move |window| {
                    let on = window.days.is_empty()
                        || window.days.iter().any(|day| day.weekday() == date.weekday());
                    if !on {
                        return None;
                    }
                    let last =
                        if window.to.0 > window.from.0 { date } else { date.tomorrow().ok()? };
                    let from = self.instant(date.to_datetime(window.from.0))?;
                    let to = self.instant(last.to_datetime(window.to.0))?;
                    Some((from, to))
                })
            },
        )
    }

    fn instant(&self, local: DateTime) -> Option<Timestamp> {
        self.time_zone.0.to_ambiguous_timestamp(local).compatible().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(text: &str) -> Calendar {
        toml::from_str(text).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn without_windows_and_freezes_it_is_open_for_ever() {
        let gate = Calendar::default().gate(at("2025-09-08T12:00:00Z"));
        assert_eq!(gate, Gate { closed: None, until: None });
    }

    #[test]
    fn windows_open_on_their_days_and_may_pass_midnight() {
        let calendar = calendar(
            "[windows.night]\ndays = [\"mon\"]\nfrom = \"22:00\"\nto = \"04:00\"\n\
             [windows.noon]\nfrom = \"12:00\"\nto = \"13:00\"\n",
        );
        let outside = Some(Closed::OutsideWindows);
        // 2025-09-08 is a Monday.
        for (now, closed, until) in [
            ("2025-09-08T11:59:59Z", outside.clone(), "2025-09-08T12:00:00Z"),
            ("2025-09-08T12:00:00Z", None, "2025-09-08T13:00:00Z"),
            ("2025-09-08T13:00:00Z", outside.clone(), "2025-09-08T22:00:00Z"),
            ("2025-09-09T03:59:59Z", None, "2025-09-09T04:00:00Z"),
            ("2025-09-09T04:00:00Z", outside, "2025-09-09T12:00:00Z"),
        ] {
            let gate = calendar.gate(at(now));
            assert_eq!((gate.closed, gate.until), (closed, Some(at(until))), "{now}");
        }
    }

    #[test]
    fn windows_that_touch_are_one() {
        let day = calendar(
            "[windows.a]\nfrom = \"10:00\"\nto = \"11:00\"\n[windows.b]\nfrom = \"11:00\"\nto = \"12:00\"\n",
        );
        let gate = day.gate(at("2025-09-08T10:30:00Z"));
        assert_eq!(gate, Gate { closed: None, until: Some(at("2025-09-08T12:00:00Z")) });
        let all_day = calendar("[windows.a]\nfrom = \"00:00\"\nto = \"00:00\"\n");
        let gate = all_day.gate(at("2025-09-08T10:30:00Z"));
        assert_eq!(gate, Gate { closed: None, until: None });
    }

    #[test]
    fn what_is_far_away_is_found_at_once() {
        // Looked for day by day, this would take minutes.
        let always = "[windows.a]\nfrom = \"00:00\"\nto = \"00:00\"\n";
        let far = "[freezes.far]\nfrom = \"9000-01-01\"\nto = \"9000-01-31\"\n";
        let gate = calendar(&format!("{always}{far}")).gate(at("2025-09-08T10:30:00Z"));
        assert_eq!(gate, Gate { closed: None, until: Some(at("9000-01-01T00:00:00Z")) });
        // A window that the freeze swallows whole opens only after it.
        let sundays = "[windows.a]\ndays = [\"sun\"]\nfrom = \"10:00\"\nto = \"11:00\"\n";
        let long = "[freezes.long]\nfrom = \"2025-09-13\"\nto = \"2026-09-13\"\n";
        let gate = calendar(&format!("{sundays}{long}")).gate(at("2025-09-08T10:30:00Z"));
        assert_eq!(gate.closed, Some(Closed::OutsideWindows));
        assert_eq!(gate.until, Some(at("2025-09-13T00:00:00Z")), "from then on it is the freeze");
        let gate = calendar(&format!("{sundays}{long}")).gate(at("2025-10-08T10:30:00Z"));
        assert_eq!(gate.until, Some(at("2026-09-14T00:00:00Z")), "outside the windows again");
    }

    #[test]
    fn a_freeze_wins_over_a_window_and_includes_its_last_day() {
        let calendar = calendar(
            "[windows.day]\nfrom = \"08:00\"\nto = \"18:00\"\n\
             [freezes.year-end]\nfrom = \"2025-12-20\"\nto = \"2026-01-06\"\nreason = \"end of year\"\n",
        );
        let gate = calendar.gate(at("2026-01-06T12:00:00Z"));
        let freeze = Closed::Freeze {
            name: "year-end".parse().unwrap(),
            reason: Some("end of year".to_owned()),
        };
        assert_eq!(gate.closed, Some(freeze));
        // The freeze ends at midnight, when no window is open: the state changes there, and again at eight.
        assert_eq!(gate.until, Some(at("2026-01-07T00:00:00Z")));
        assert_eq!(calendar.gate(at("2026-01-07T08:00:00Z")).closed, None);
    }

    #[test]
    fn local_time_follows_the_zone_through_the_change_of_clocks() {
        if TimeZone::get("Europe/Berlin").is_err() {
            return; // no time zones on this host
        }
        let calendar = calendar(
            "time-zone = \"Europe/Berlin\"\n[windows.w]\nfrom = \"02:30\"\nto = \"03:30\"\n",
        );
        // 2025-03-30: clocks go from 02:00 to 03:00. 02:30 does not exist and is taken as 03:30; the window is empty.
        assert_eq!(calendar.gate(at("2025-03-30T01:15:00Z")).closed, Some(Closed::OutsideWindows));
        // The day after, and a day in winter.
        assert_eq!(calendar.gate(at("2025-03-31T00:45:00Z")).closed, None);
        assert_eq!(calendar.gate(at("2025-01-15T01:45:00Z")).closed, None);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["9:00", "24:00", "09:60", "0900", "09:00:00", "+9:00", "ab:cd"] {
            assert!(Clock::try_from(text.to_owned()).is_err(), "{text}");
        }
        for text in ["2025-13-01", "20251220", "2025-12-20T25:00", "tomorrow"] {
            assert!(Edge::try_from(text.to_owned()).is_err(), "{text}");
        }
        assert!(Zone::try_from("Europe/Atlantis".to_owned()).is_err());
    }
}
