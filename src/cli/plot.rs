//! The sizes of groups over past publications, drawn for a terminal and as SVG.
//!
//! A size holds until the next publication, so lines have steps and no slopes that would tell of values between. What is drawn
//! are IPv4 addresses, or prefixes of a group that has none.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::civil::Date;

use super::printer::{HEADLINE, WARNING, grouped};
use crate::config::Name;
use crate::operate::{Replayed, Size};

/// How many columns a plot has in a terminal.
const COLUMNS: usize = 60;
/// Heights that a terminal can show in one line.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The sizes of one group.
#[derive(Debug)]
struct Series<'r> {
    group: &'r Name,
    /// Days since the first publication, the size, and whether something of the group was held.
    points: Vec<Point>,
    unit: &'static str,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    day: u32,
    value: u64,
    held: bool,
}

/// Everything that is drawn.
#[derive(Debug)]
pub(super) struct Plot<'r> {
    series: Vec<Series<'r>>,
    first: Date,
    last: Date,
}

impl<'r> Plot<'r> {
    /// Of these steps; none where there is nothing to draw.
    pub(super) fn of(steps: &'r [Replayed]) -> Option<Self> {
        let dates = || steps.iter().filter_map(|step| step.date);
        let (first, last) = (dates().min()?, dates().max()?);
        let mut sizes: BTreeMap<&Name, Vec<(u32, Size, bool)>> = BTreeMap::new();
        for step in steps {
            let Some(date) = step.date else { continue };
            let day = u32::try_from((date - first).get_days()).unwrap_or_default();
            for (group, size) in &step.groups {
                let held = step.held.iter().any(|held| held.group == *group);
                sizes.entry(group).or_default().push((day, *size, held));
            }
        }
        let series: Vec<Series<'_>> = sizes
            .into_iter()
            .map(|(group, sizes)| {
                let in_addresses = sizes.iter().any(|(_, size, _)| size.ipv4_addresses > 0);
                let points = sizes.into_iter().map(|(day, size, held)| {
                    let value =
                        if in_addresses { size.ipv4_addresses } else { size.prefixes as u64 };
                    Point { day, value, held }
                });
                let unit = if in_addresses { "IPv4 addresses" } else { "prefixes" };
                Series { group, points: points.collect(), unit }
            })
            .collect();
        (!series.is_empty()).then_some(Self { series, first, last })
    }

    fn days(&self) -> u32 {
        u32::try_from((self.last - self.first).get_days()).unwrap_or_default().max(1)
    }

    /// For a terminal: a line of blocks a group, and `!` under publications of which something is held.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "\n{HEADLINE}sizes of the groups from {} to {}{HEADLINE:#}\n",
            self.first, self.last
        );
        for series in &self.series {
            let line: String =
                (0..COLUMNS).map(|column| series.block(column, self.days())).collect();
            text.push_str(&format!("{}\n  {line}  {}\n", series.group, series.words()));
            if series.points.iter().any(|point| point.held) {
                let held = (0..COLUMNS).map(|column| {
                    let here = |point: &&Point| column_of(point.day, self.days()) == column;
                    let is_held = series.points.iter().filter(here).any(|point| point.held);
                    if is_held { '!' } else { ' ' }
                });
                let marks: String = held.collect();
                text.push_str(&format!("  {WARNING}{}{WARNING:#}\n", marks.trim_end()));
            }
        }
        text
    }

    /// As a drawing by itself: a panel a group.
    pub(super) fn svg(&self) -> String {
        const WIDTH: f64 = 720.0;
        const PANEL: f64 = 110.0;
        #[expect(clippy::cast_precision_loss, reason = "a drawing")]
        let height = PANEL * self.series.len() as f64 + 30.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <title>Sizes of the groups from {} to {}</title>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
            self.first, self.last
        );
        for (index, series) in self.series.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "a drawing")]
            let top = PANEL * index as f64;
            series.panel(&mut svg, top, PANEL, WIDTH, self.days());
        }
        let bottom = height - 10.0;
        // Writing into a text does not fail.
        _ = writeln!(
            svg,
            "<text x=\"10\" y=\"{bottom}\">{}</text>\n<text x=\"{}\" y=\"{bottom}\" text-anchor=\"end\">{}</text>",
            self.first,
            WIDTH - 10.0,
            self.last
        );
        svg.push_str("</svg>\n");
        svg
    }
}

fn column_of(day: u32, days: u32) -> usize {
    let column = u64::from(day) * (COLUMNS as u64 - 1) / u64::from(days.max(1));
    usize::try_from(column).unwrap_or_default()
}

impl Series<'_> {
    fn least(&self) -> u64 {
        self.points.iter().map(|point| point.value).min().unwrap_or_default()
    }

    fn most(&self) -> u64 {
        self.points.iter().map(|point| point.value).max().unwrap_or_default()
    }

    /// The size in a column: that of the last publication up to it.
    fn block(&self, column: usize, days: u32) -> char {
        let known = self.points.iter().rfind(|point| column_of(point.day, days) <= column);
        let Some(point) = known else { return ' ' };
        let (least, most) = (self.least(), self.most());
        if least == most {
            return BLOCKS[3];
        }
        let level =
            u128::from(point.value - least) * (BLOCKS.len() as u128 - 1) / u128::from(most - least);
        usize::try_from(level).ok().and_then(|level| BLOCKS.get(level)).copied().unwrap_or(' ')
    }

    fn words(&self) -> String {
        let end = |point: Option<&Point>| point.map_or(0, |point| point.value);
        let (first, last) = (end(self.points.first()), end(self.points.last()));
        if self.least() == self.most() {
            return format!("{} {}, unchanged", grouped(last), self.unit);
        }
        format!(
            "{} → {} {} (from {} to {})",
            grouped(first),
            grouped(last),
            self.unit,
            grouped(self.least()),
            grouped(self.most())
        )
    }

    fn panel(&self, svg: &mut String, top: f64, height: f64, width: f64, days: u32) {
        let (left, right) = (10.0, width - 10.0);
        let (upper, lower) = (top + 30.0, top + height - 12.0);
        let x = |day: u32| left + (right - left) * f64::from(day) / f64::from(days);
        let (least, most) = (self.least(), self.most());
        #[expect(clippy::cast_precision_loss, reason = "a drawing of 68 points")]
        let y = |value: u64| match most - least {
            0 => f64::midpoint(upper, lower),
            span => lower - (lower - upper) * (value - least) as f64 / span as f64,
        };
        // Writing into a text does not fail; names are of an alphabet that needs no escape.
        _ = writeln!(
            svg,
            "<text x=\"{left}\" y=\"{}\"><tspan font-weight=\"bold\">{}</tspan> {}</text>",
            top + 18.0,
            self.group,
            self.words()
        );
        let mut path = String::new();
        for point in &self.points {
            let (x, y) = (x(point.day), y(point.value));
            _ = if path.is_empty() {
                write!(path, "M{x:.1} {y:.1}")
            } else {
                write!(path, "H{x:.1}V{y:.1}")
            };
        }
        _ = writeln!(
            svg,
            "<path d=\"{path}H{right:.1}\" fill=\"none\" stroke=\"#0b5cad\" stroke-width=\"1.5\"/>"
        );
        for point in self.points.iter().filter(|point| point.held) {
            _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"#c62828\"><title>held</title></circle>",
                x(point.day),
                y(point.value)
            );
        }
    }
}
