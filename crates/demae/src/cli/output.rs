//! What commands print: tables and lines for people, JSON for machines.
//!
//! Results go to standard output, remarks to standard error. Colour only on a terminal and without `NO_COLOR`.

use std::io::{self, Write as _};

use console::{Style, measure_text_width};
use serde_json::Value;

/// A table with aligned columns.
pub(crate) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(header: &[&'static str]) -> Self {
        Self {
            header: header.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Prints it; an empty one as `nothing`.
    pub(crate) fn print(&self, nothing: &str) -> io::Result<()> {
        if self.rows.is_empty() {
            remark(nothing);
            return Ok(());
        }
        let mut widths: Vec<usize> = self.header.iter().map(|cell| measure_text_width(cell)).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(measure_text_width(cell));
            }
        }
        let mut out = io::stdout().lock();
        let header = self
            .header
            .iter()
            .map(|cell| bold().apply_to(cell).to_string())
            .collect::<Vec<_>>();
        print_row(&mut out, &header, &widths)?;
        for row in &self.rows {
            print_row(&mut out, row, &widths)?;
        }
        Ok(())
    }
}

fn print_row(out: &mut impl io::Write, cells: &[String], widths: &[usize]) -> io::Result<()> {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        line.push_str(&console::pad_str(cell, *width, console::Alignment::Left, None));
        line.push_str("  ");
    }
    writeln!(out, "{}", line.trim_end())
}

/// Prints JSON, indented.
pub(crate) fn json(value: &Value) -> io::Result<()> {
    line(&format!("{value:#}"))
}

/// Prints one line of a result.
pub(crate) fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Says something that is no result.
pub(crate) fn remark(text: &str) {
    // If nobody can read it, it need not be said.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

pub(crate) fn bold() -> Style {
    Style::new().bold()
}

pub(crate) fn good() -> Style {
    Style::new().green()
}

pub(crate) fn bad() -> Style {
    Style::new().red()
}

pub(crate) fn dim() -> Style {
    Style::new().dim()
}

/// A member of a JSON object as a table's cell: texts without quotes, nothing as `-`.
pub(crate) fn cell(value: &Value, member: &str) -> String {
    match &value[member] {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => printable(text),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), printable)
}

/// Text from elsewhere without what a terminal would obey.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}
