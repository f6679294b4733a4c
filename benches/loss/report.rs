//! The table, as text and as JSON.

use serde_json::{Value, json};

use crate::cell::{Cell, Settings};
use crate::cells::{Kind, Mode};

/// A cell with its place in the table.
pub(crate) struct Row {
    pub(crate) mode: Mode,
    pub(crate) kind: Kind,
    pub(crate) cell: Cell,
}

impl Row {
    /// Whether the cell is as it is to be: a control loses something, everything else nothing.
    pub(crate) fn is_good(&self) -> bool {
        match &self.cell {
            Cell::NotApplicable(_) => true,
            Cell::Failed(_) => false,
            Cell::Measured(measured) => measured.is_clean() != (self.kind == Kind::Control),
        }
    }

    /// The row of the text table.
    pub(crate) fn text(&self) -> String {
        let place = format!("{:14}  {:14}", self.mode, self.kind);
        match &self.cell {
            Cell::NotApplicable(reason) => format!("{place}  not applicable: {reason}"),
            Cell::Failed(reason) => {
                format!("{place}  FAILED: {}", reason.lines().collect::<Vec<_>>().join(" "))
            }
            Cell::Measured(cell) => {
                let mut line = format!(
                    "{place}  {:5}  {:6.0}  {:5} of {:8}  {:5} of {:8}  {:4} + {:4} of {:6}  {:3}",
                    cell.loads,
                    cell.rate(),
                    cell.lost,
                    cell.allowed,
                    cell.leaked,
                    cell.forbidden,
                    cell.refused,
                    cell.timed_out,
                    cell.established + cell.refused + cell.timed_out,
                    cell.cut
                );
                for (who, count) in &cell.refused_by {
                    if *count > 0 {
                        line.push_str(&format!("  {count} refused by {who}"));
                    }
                }
                if !self.is_good() {
                    line.push_str("  <--");
                }
                line
            }
        }
    }
}

/// The heading of the text table.
pub(crate) fn heading() -> String {
    format!(
        "{:14}  {:14}  {:>5}  {:>17}  {:>17}  {:>21}  {:>3}",
        "mode",
        "change",
        "loads",
        "allowed lost",
        "forbidden leaked",
        "TCP refused+timed out",
        "cut"
    )
}

/// The table as Markdown: a row for each kind of change, a column for each mode; allowed packets
/// lost, connections refused or timed out, forbidden packets let through, and loads.
pub(crate) fn markdown(rows: &[Row], modes: &[Mode], kinds: &[Kind]) -> String {
    let mut text = "| change |".to_owned();
    for mode in modes {
        text.push_str(&format!(" {mode} |"));
    }
    text.push_str(&format!("\n|---|{}", "---|".repeat(modes.len())));
    for kind in kinds {
        text.push_str(&format!("\n| {kind} |"));
        let of_kind = rows.iter().filter(|row| row.kind == *kind);
        for row in of_kind {
            text.push_str(&match &row.cell {
                Cell::NotApplicable(reason) => format!(" not applicable: {reason} |"),
                Cell::Failed(_) => " the load fails |".to_owned(),
                Cell::Measured(cell) => format!(
                    " {}, {}, {} / {} |",
                    cell.lost,
                    cell.refused + cell.timed_out + cell.cut,
                    cell.leaked,
                    cell.loads
                ),
            });
        }
    }
    text
}

/// All of it as JSON.
pub(crate) fn document(rows: &[Row], settings: &Settings) -> Value {
    let cells: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "mode": row.mode.name(),
                "change": row.kind.name(),
                "expected": row.is_good(),
                "result": row.cell,
            })
        })
        .collect();
    json!({
        "packets_per_second": settings.rate,
        "elements": settings.elements,
        "cells": cells,
    })
}
