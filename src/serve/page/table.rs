//! The form of a table: columns, rows, and what a cell can be beside its text.
//!
//! The template writes every table alike; what a table is about is said in `tables.rs`.

use serde::Serialize;

use crate::report::text::grouped;
use crate::serve::plot::Plot;

/// Share of a device's capacity from which on it is shown as scarce, and as nearly gone.
const SCARCE: (u64, u64) = (75, 90);
/// Width of a capacity's bar.
const BAR: u64 = 140;

/// How something is: a class of the style sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Good,
    Warn,
    Bad,
}

/// How a column is set: a class of the style sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Set {
    /// In one line.
    #[serde(rename = "")]
    Short,
    /// Broken where it is too long.
    #[serde(rename = "break")]
    Long,
    /// To the right, with digits of one width.
    #[serde(rename = "number")]
    Number,
}

/// A table. The first column heads each row.
#[derive(Debug, Serialize)]
pub(super) struct Table {
    id: &'static str,
    title: &'static str,
    /// A sentence above it.
    intro: Option<&'static str>,
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Column {
    title: &'static str,
    set: Set,
}

/// What stands in one place of a table.
#[derive(Debug, Default, Serialize)]
pub(super) struct Cell {
    text: String,
    level: Option<Level>,
    link: Option<String>,
    code: bool,
    /// Words beside it that matter less.
    beside: Vec<String>,
    plot: Option<Plot>,
    bar: Option<Bar>,
    /// The column's, for screens on which the head of the table is not seen.
    column: Option<Column>,
}

/// How much of something is used.
#[derive(Debug, Serialize)]
pub(super) struct Bar {
    level: Level,
    width: u64,
    text: String,
}

impl Table {
    /// A table without rows.
    pub(super) fn new<const N: usize>(
        id: &'static str,
        title: &'static str,
        columns: [(&'static str, Set); N],
    ) -> Self {
        let columns = columns.map(|(title, set)| Column { title, set }).into();
        Self { id, title, intro: None, columns, rows: Vec::new() }
    }

    /// With a sentence above it.
    pub(super) fn intro(mut self, intro: &'static str) -> Self {
        self.intro = Some(intro);
        self
    }

    /// With rows, each of which has a cell for each column.
    pub(super) fn rows<const N: usize>(mut self, rows: impl Iterator<Item = [Cell; N]>) -> Self {
        let columns = &self.columns;
        let labelled = |row: [Cell; N]| {
            let cells = row.into_iter().zip(columns);
            cells.map(|(cell, column)| Cell { column: Some(*column), ..cell }).collect()
        };
        self.rows = rows.map(labelled).collect();
        self
    }

    /// Itself, when there is something in it.
    pub(super) fn unless_empty(self) -> Option<Self> {
        (!self.rows.is_empty()).then_some(self)
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

impl Cell {
    /// A number with its digits in groups.
    pub(super) fn number(number: impl std::fmt::Display) -> Self {
        grouped(number).into()
    }

    /// Words that say how something is.
    pub(super) fn state(level: Level, text: impl Into<String>) -> Self {
        Self { level: Some(level), ..text.into().into() }
    }

    /// Words that lead somewhere.
    pub(super) fn link(text: impl Into<String>, to: String) -> Self {
        Self { link: Some(to), ..text.into().into() }
    }

    /// A digest.
    pub(super) fn code(text: impl Into<String>) -> Self {
        Self { code: true, ..text.into().into() }
    }

    /// A plot, when there is one.
    pub(super) fn plot(plot: Option<Plot>) -> Self {
        Self { plot, ..Self::default() }
    }

    /// A bar with its words.
    pub(super) fn bar(bar: Bar) -> Self {
        let beside = vec![bar.text.clone()];
        Self { bar: Some(bar), beside, ..Self::default() }
    }

    /// With words beside it.
    pub(super) fn beside(mut self, words: impl IntoIterator<Item = String>) -> Self {
        self.beside.extend(words);
        self
    }
}

impl Bar {
    /// How much of a capacity is used.
    pub(super) fn of(used: u64, most: u64) -> Self {
        let share = used.saturating_mul(100) / most.max(1);
        let level = match share {
            _ if share >= SCARCE.1 => Level::Bad,
            _ if share >= SCARCE.0 => Level::Warn,
            _ => Level::Good,
        };
        let width = (used.saturating_mul(BAR) / most.max(1)).clamp(u64::from(used > 0), BAR);
        Self { level, width, text: format!("{} of {} ({share} %)", grouped(used), grouped(most)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_how_near_the_end_is() {
        let bar = |used, most| (Bar::of(used, most).level, Bar::of(used, most).width);
        assert_eq!(bar(0, 100), (Level::Good, 0));
        assert_eq!(bar(1, 1_000_000), (Level::Good, 1));
        assert_eq!(bar(80, 100), (Level::Warn, 112));
        assert_eq!(bar(100, 100), (Level::Bad, 140));
        assert_eq!(bar(5, 0), (Level::Bad, 140));
        assert_eq!(Bar::of(37_500, 50_000).text, "37,500 of 50,000 (75 %)");
    }
}
