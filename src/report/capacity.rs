//! How full the firewalls are, and when they will be: see docs/capacity.md.
//!
//! Each generation's manifest says how much of every limit it uses. What has been in force over the last weeks makes a straight
//! line, and where that line meets the limit is the forecast. Pure, but for [`CapacityStatus::read`].

use std::collections::BTreeMap;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::ReportError;
use super::history::History;
use super::text::{WARNING, far_ahead, grouped};
use crate::config::{Name, Period};
use crate::render::Load;
use crate::snapshot::Digest;

/// Generations that are looked at: more than two years of weekly publications.
pub(super) const MOST_GENERATIONS: usize = 128;
/// Weeks that are looked at.
const MOST_WEEKS: i64 = 104;
/// Weeks of which something must be known before a forecast is dared: a season of publications.
const FEWEST_WEEKS: i64 = 12;
/// Generations that must be known: a line through a few steps says nothing.
const FEWEST_GENERATIONS: usize = 6;
/// Further ahead nothing is forecast.
const FURTHEST: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);
/// The share of a limit, in hundredths, from which on it is told whatever the forecast is: of limits that growth may reach, and
/// not of those that are set to what is needed.
const NEARLY_FULL: (usize, usize) = (90, 100);

/// How full the firewalls were from a time on.
#[derive(Debug, Clone, Copy)]
pub struct Use<'u> {
    /// From when on.
    pub since: Timestamp,
    /// Under which configuration.
    pub configuration: Option<Digest>,
    /// How much of each limit was used, by target.
    pub loads: &'u BTreeMap<Name, Vec<Load>>,
}

/// How much of one limit of a target's firewall is used, and for how long it will do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CapacityStatus {
    /// The target.
    pub target: Name,
    /// What has the limit: `group storage`, `the device`.
    pub object: String,
    /// What is counted: `prefixes`.
    pub what: String,
    /// How many there are.
    pub count: usize,
    /// How many fit.
    pub limit: usize,
    /// When it will be reached.
    pub forecast: Forecast,
    /// Whether somebody should do something about it: it is nearly full, or will be within `capacity-horizon`.
    pub near: bool,
}

/// When a limit will be reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Forecast {
    /// Too little is known to say.
    NotEnoughHistory {
        /// Weeks of which something is known.
        weeks: i64,
        /// Generations in them.
        generations: usize,
    },
    /// It does not grow.
    NotGrowing,
    /// It grows, but will not reach the limit within ten years.
    Far {
        /// How many come in a week.
        per_week: f64,
    },
    /// At the growth so far.
    Reached {
        /// When.
        at: Timestamp,
        /// How many come in a week.
        per_week: f64,
    },
}

impl Forecast {
    /// Follows the counts over time, the oldest first, to a limit.
    ///
    /// The counts at the end of each of the last 104 weeks, as many as are known and twelve at least, are fitted by a straight line
    /// (least squares); at its slope today's count goes on. Pure.
    #[expect(clippy::cast_precision_loss, reason = "counts of entries, and weeks")]
    pub fn of(steps: &[(Timestamp, usize)], limit: usize, now: Timestamp) -> Self {
        let known = steps.first().map_or(SignedDuration::ZERO, |first| now.duration_since(first.0));
        let weeks = (known.as_hours() / WEEK.as_hours()).clamp(0, MOST_WEEKS);
        let enough = weeks >= FEWEST_WEEKS && steps.len() >= FEWEST_GENERATIONS;
        let Some(&(_, count)) = steps.last().filter(|_| enough) else {
            return Self::NotEnoughHistory { weeks, generations: steps.len() };
        };
        // Counted back from now, so that the last point is today's.
        let points: Vec<(f64, f64)> = (0..=weeks)
            .rev()
            .filter_map(|week| {
                let end =
                    now.checked_sub(SignedDuration::from_hours(week * WEEK.as_hours())).ok()?;
                let behind = steps.partition_point(|(since, _)| *since <= end);
                let in_force = steps.get(behind.checked_sub(1)?)?.1;
                Some((-(week as f64), in_force as f64))
            })
            .collect();
        let per_week = slope(&points);
        // Less than one in all that time is no growth, but the noise of a sum.
        if per_week * (weeks as f64) < 1.0 {
            return Self::NotGrowing;
        }
        let left = limit.saturating_sub(count) as f64 / per_week;
        let furthest = FURTHEST.as_secs_f64() / WEEK.as_secs_f64();
        let ahead = (left < furthest)
            .then(|| SignedDuration::try_from_secs_f64(left * WEEK.as_secs_f64()).ok());
        match ahead.flatten().and_then(|ahead| now.checked_add(ahead).ok()) {
            Some(at) => Self::Reached { at, per_week },
            None => Self::Far { per_week },
        }
    }

    fn is_known(&self) -> bool {
        !matches!(self, Self::NotEnoughHistory { .. })
    }

    fn is_before(&self, end: Timestamp) -> bool {
        matches!(self, Self::Reached { at, .. } if *at <= end)
    }

    /// In words, after a count and its limit.
    pub fn text(&self, limit: usize, now: Timestamp) -> String {
        match self {
            Self::NotEnoughHistory { weeks, generations } => format!(
                "not enough history for a forecast (weeks: {weeks} of {FEWEST_WEEKS}, generations: {generations} of \
                 {FEWEST_GENERATIONS})"
            ),
            Self::NotGrowing => "not growing".to_owned(),
            Self::Far { .. } => "at this growth not full within ten years".to_owned(),
            Self::Reached { at, .. } => {
                format!("at this growth it reaches {} {}", grouped(limit), far_ahead(*at, now))
            }
        }
    }
}

/// The slope of the straight line through points (least squares).
#[expect(clippy::cast_precision_loss, reason = "a hundred points")]
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len().max(1) as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (middle, height) = (mean(|point| point.0), mean(|point| point.1));
    let with: f64 = points.iter().map(|(x, y)| (x - middle) * (y - height)).sum();
    let alone: f64 = points.iter().map(|(x, _)| (x - middle).powi(2)).sum();
    if alone > 0.0 { with / alone } else { 0.0 }
}

impl CapacityStatus {
    /// What is older has no part in a forecast.
    pub const LOOKS_BACK: SignedDuration = SignedDuration::from_hours(MOST_WEEKS * 7 * 24);

    /// Every limit of the generation in force of a state folder, by target.
    pub fn read(dir: &Path, horizon: Period, now: Timestamp) -> Result<Vec<Self>, ReportError> {
        Ok(Self::all(&History::for_forecasts(dir)?.uses(), horizon, now))
    }

    /// Every limit of the first of these, by target; the others were in force before it, the newest first.
    pub fn all(uses: &[Use<'_>], horizon: Period, now: Timestamp) -> Vec<Self> {
        let newest = uses.first().into_iter().flat_map(|newest| newest.loads);
        newest
            .flat_map(|(target, loads)| loads.iter().map(move |load| (target, load)))
            .map(|(target, load)| Self::of(target, load, &steps(uses, target, load), horizon, now))
            .collect()
    }

    fn of(
        target: &Name,
        load: &Load,
        steps: &[(Timestamp, usize)],
        horizon: Period,
        now: Timestamp,
    ) -> Self {
        let Load { object, what, count, limit } = load.clone();
        let forecast = Forecast::of(steps, limit, now);
        let end = now.checked_add(SignedDuration::from(horizon)).unwrap_or(Timestamp::MAX);
        let (share, smallest) = NEARLY_FULL;
        let full = limit >= smallest && count.saturating_mul(100) >= limit.saturating_mul(share);
        let near = full || forecast.is_before(end);
        Self { target: target.clone(), object, what, count, limit, forecast, near }
    }

    /// The share that is used.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn used(&self) -> f64 {
        self.count as f64 / self.limit.max(1) as f64
    }

    /// `group storage: 4,070 of 65,536 prefixes (6 %), at this growth it reaches 65,536 in 14 months`.
    pub fn summary(&self, now: Timestamp) -> String {
        format!(
            "{}: {} of {} {} ({:.0} %), {}",
            self.object,
            grouped(self.count),
            grouped(self.limit),
            self.what,
            self.used() * 100.0,
            self.forecast.text(self.limit, now)
        )
    }

    /// What people should see of all of it, a line each: what is near its limit, and of each other target what is the fullest;
    /// where nothing can be forecast, only if `always`.
    pub fn lines(all: &[Self], always: bool, now: Timestamp) -> String {
        let mut lines = String::new();
        let mut targets: Vec<&Name> = all.iter().map(|one| &one.target).collect();
        targets.dedup();
        for target in targets {
            let of_target = all.iter().filter(|one| one.target == *target);
            let near: Vec<_> = of_target.clone().filter(|one| one.near).collect();
            for one in &near {
                let summary = one.summary(now);
                lines.push_str(&format!(
                    "{WARNING}CAPACITY{WARNING:#} of target {target}, {summary}\n"
                ));
            }
            let fullest = of_target.max_by(|one, other| one.used().total_cmp(&other.used()));
            let said = fullest.filter(|one| near.is_empty() && (always || one.forecast.is_known()));
            if let Some(fullest) = said {
                let summary = fullest.summary(now);
                lines.push_str(&format!("capacity of target {target}, fullest {summary}\n"));
            }
        }
        lines
    }
}

/// How much of a limit was used at each time, the oldest first.
///
/// What changed together with an edit of the configuration is not growth: the counts before it are moved by as much.
fn steps(uses: &[Use<'_>], target: &Name, load: &Load) -> Vec<(Timestamp, usize)> {
    let mut steps = Vec::with_capacity(uses.len());
    let mut edits = 0_i64;
    let mut newer: Option<(&Use<'_>, i64)> = None;
    for one in uses {
        let mut loads = one.loads.get(target).into_iter().flatten();
        let same = |known: &&Load| known.object == load.object && known.what == load.what;
        let Some(count) = loads.find(same).and_then(|known| i64::try_from(known.count).ok()) else {
            break;
        };
        if let Some((after, count_after)) = newer
            && after.configuration != one.configuration
        {
            edits += count_after - count;
        }
        newer = Some((one, count));
        steps.push((one.since, usize::try_from(count + edits).unwrap_or(0)));
    }
    steps.reverse();
    steps
}

#[cfg(test)]
mod tests {
    use super::super::history::{Entry, EntryResult};
    use super::*;
    use crate::publish::ChangeSummary;

    const NOW: &str = "2026-01-05T12:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    fn weeks_ago(weeks: i64) -> Timestamp {
        now() - SignedDuration::from_hours(weeks * 7 * 24)
    }

    /// So many a week, up to so many now.
    fn growth(weeks: i64, per_week: usize, last: usize) -> Vec<(Timestamp, usize)> {
        let count = |week: i64| last - per_week * usize::try_from(week).unwrap();
        (0..=weeks).rev().map(|week| (weeks_ago(week), count(week))).collect()
    }

    #[test]
    fn a_list_that_grows_evenly_reaches_its_limit_when_it_is_reckoned() {
        // 100 a week, 6,100 to go: 61 weeks, 14 months.
        let forecast = Forecast::of(&growth(52, 100, 43_900), 50_000, now());
        let Forecast::Reached { at, per_week } = forecast else { unreachable!("{forecast:?}") };
        assert!((per_week - 100.0).abs() < 1e-6, "{per_week}");
        assert_eq!(at.duration_since(now()).as_hours() / 24, 61 * 7);
        assert_eq!(forecast.text(50_000, now()), "at this growth it reaches 50,000 in 14 months");
    }

    #[test]
    fn steps_in_any_rhythm_are_the_growth_of_their_weeks() {
        // Nothing for weeks, then much at once: what counts is how much was in force when.
        let mut steps = growth(48, 100, 5_000);
        steps.retain(|(at, _)| (now().duration_since(*at).as_hours() / 168) % 8 == 0);
        let Forecast::Reached { per_week, .. } = Forecast::of(&steps, 10_000, now()) else {
            unreachable!()
        };
        assert!((90.0..110.0).contains(&per_week), "{per_week}");
    }

    #[test]
    fn without_enough_history_nothing_is_forecast() {
        for steps in [Vec::new(), growth(11, 100, 5_000), vec![(weeks_ago(40), 1), (now(), 5_000)]]
        {
            let forecast = Forecast::of(&steps, 10_000, now());
            assert!(matches!(forecast, Forecast::NotEnoughHistory { .. }), "{forecast:?}");
        }
        assert!(matches!(Forecast::of(&growth(12, 1, 50), 60, now()), Forecast::Reached { .. }));
    }

    #[test]
    fn what_does_not_grow_reaches_nothing() {
        assert_eq!(Forecast::of(&growth(52, 0, 9_000), 10_000, now()), Forecast::NotGrowing);
        let shrinking: Vec<_> = (0..=30)
            .rev()
            .map(|week| (weeks_ago(week), 1_000 + usize::try_from(week).unwrap()))
            .collect();
        assert_eq!(Forecast::of(&shrinking, 10_000, now()), Forecast::NotGrowing);
        let slow = Forecast::of(&growth(104, 1, 200), 1_000_000, now());
        assert!(matches!(slow, Forecast::Far { .. }), "{slow:?}");
        // What is over its limit by now has reached it.
        let full = Forecast::of(&growth(52, 1, 100), 90, now());
        assert!(matches!(full, Forecast::Reached { at, .. } if at == now()), "{full:?}");
    }

    fn entry(week: i64, count: usize, configuration: &[u8], result: EntryResult) -> Entry {
        let load = Load {
            object: "group storage".to_owned(),
            what: "prefixes".to_owned(),
            count,
            limit: 1_000,
        };
        Entry {
            generation: u64::try_from(100 - week).unwrap(),
            created: weeks_ago(week),
            reason: String::new(),
            result,
            message: None,
            behind: BTreeMap::new(),
            notes: Vec::new(),
            rule_set: Digest::of(b""),
            configuration: Some(Digest::of(configuration)),
            publications: Vec::new(),
            summary: ChangeSummary::default(),
            loads: [("edge".parse().unwrap(), vec![load])].into(),
        }
    }

    fn status(generations: Vec<Entry>, horizon: Period) -> CapacityStatus {
        let history = History { current: Some(100), generations, ..History::default() };
        let mut all = CapacityStatus::all(&history.uses(), horizon, now());
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    #[test]
    fn an_edit_of_the_configuration_is_not_growth() {
        // Two a week; ten weeks ago somebody added a tag of 400.
        let count =
            |week: i64| 500 - 2 * usize::try_from(week).unwrap() - if week > 10 { 400 } else { 0 };
        let of = |week: i64| if week > 10 { b"old" } else { b"new" };
        let entries = |edited: bool| {
            let text = |week| if edited { of(week) } else { b"new" };
            (0..=30)
                .map(|week| entry(week, count(week), text(week), EntryResult::Recorded))
                .collect()
        };
        let Forecast::Reached { per_week, .. } = status(entries(true), Period::days(1)).forecast
        else {
            unreachable!()
        };
        // In the week of the edit nothing is growth.
        assert!((1.7..=2.0).contains(&per_week), "{per_week}");
        let Forecast::Reached { per_week, .. } = status(entries(false), Period::days(1)).forecast
        else {
            unreachable!()
        };
        assert!(per_week > 10.0, "{per_week}");
    }

    #[test]
    fn what_is_only_planned_is_where_the_growth_goes_on_from() {
        let known: Vec<Entry> = (0..=30)
            .map(|week| {
                entry(week, 500 - usize::try_from(week).unwrap(), b"", EntryResult::Recorded)
            })
            .collect();
        let history = History { current: Some(100), generations: known, ..History::default() };
        // Somebody is about to add a tag of 400: 100 are left, at one a week.
        let planned = entry(0, 900, b"edited", EntryResult::Recorded);
        let mut uses =
            vec![Use { since: now(), configuration: planned.configuration, loads: &planned.loads }];
        uses.extend(history.uses());
        let [one] = CapacityStatus::all(&uses, Period::days(1), now()).try_into().unwrap();
        let Forecast::Reached { at, per_week } = one.forecast else { unreachable!("{one:?}") };
        assert!((per_week - 1.0).abs() < 0.1, "{per_week}");
        let weeks = at.duration_since(now()).as_hours() / 168;
        assert!((90..=110).contains(&weeks), "{weeks}");
        assert_eq!((one.count, one.near), (900, true));
    }

    #[test]
    fn what_was_never_in_force_does_not_count() {
        let mut entries: Vec<Entry> =
            (0..=30).map(|week| entry(week, 100, b"", EntryResult::Recorded)).collect();
        entries.insert(3, entry(3, 900, b"", EntryResult::Failed));
        assert_eq!(status(entries, Period::days(1)).forecast, Forecast::NotGrowing);
    }

    #[test]
    fn near_is_what_will_be_full_within_the_horizon_or_nearly_is() {
        let growing = |horizon| {
            let count = |week: i64| 600 - 10 * usize::try_from(week).unwrap();
            let entries = (0..=30).map(|week| entry(week, count(week), b"", EntryResult::Recorded));
            status(entries.collect(), Period::days(horizon))
        };
        // 400 to go at 10 a week: 280 days.
        assert!(!growing(270).near && growing(290).near);
        assert!(!status(vec![entry(0, 899, b"", EntryResult::Recorded)], Period::days(1)).near);
        let full = status(vec![entry(0, 900, b"", EntryResult::Recorded)], Period::days(1));
        assert!(full.near);
        assert_eq!(
            full.summary(now()),
            "group storage: 900 of 1,000 prefixes (90 %), not enough history for a forecast (weeks: 0 of 12, generations: 1 \
             of 6)"
        );
        let lines = CapacityStatus::lines(&[full], false, now());
        assert!(
            lines.contains("CAPACITY") && lines.contains("of target edge, group storage"),
            "{lines}"
        );
    }
}
