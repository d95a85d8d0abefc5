//! Figures, and the table they become: on standard output and in the page the same text.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::{
    bed::{Cpu, StoreKind},
    machine::Machine,
    row::Row,
};

/// Between these lines of the page a run writes; everything around them is written by people.
const BEGIN: &str = "<!-- bench: begin (written by `make bench`) -->";
const END: &str = "<!-- bench: end -->";

/// A run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// On what.
    pub(crate) machine: Machine,
    /// In the order of the rows.
    pub(crate) figures: Vec<Figure>,
}

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) row: Row,
    /// On which store.
    pub(crate) store: Option<StoreKind>,
    /// In which variant.
    pub(crate) case: String,
    /// The most important first. Empty: it could not be measured, and the note says why.
    pub(crate) measures: Vec<Measure>,
    /// Whether the target of the design is met, where it names one.
    pub(crate) target: Option<Target>,
    /// Processor time per message.
    pub(crate) cpu: Option<CpuPerMessage>,
    /// What a reader must know to believe the figure.
    pub(crate) notes: Vec<String>,
}

/// A named number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Measure {
    /// What it is; empty for the figure that the row is about.
    pub(crate) name: &'static str,
    /// How much.
    pub(crate) value: f64,
    /// Of what.
    pub(crate) unit: Unit,
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    /// Messages.
    PerSecond,
    /// Time.
    Milliseconds,
    /// Time per message.
    Microseconds,
    /// Memory.
    Mebibytes,
    /// One figure in terms of another.
    Times,
}

/// What the design aims for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Target {
    /// In words.
    pub(crate) text: &'static str,
    /// Whether it is.
    pub(crate) met: bool,
}

/// Microseconds of processor time per message.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct CpuPerMessage {
    /// `demae`; on SQLite the database is in it.
    pub(crate) server: f64,
    /// Postgres.
    pub(crate) database: Option<f64>,
    /// The harness's own.
    pub(crate) driver: f64,
    /// The harness's own.
    pub(crate) receiver: f64,
}

impl CpuPerMessage {
    /// Shares what was used among so many messages.
    pub(crate) fn of(cpu: Cpu, messages: u64) -> Self {
        let share = |seconds: f64| seconds * 1e6 / messages.max(1) as f64;
        Self {
            server: share(cpu.server),
            database: cpu.database.map(share),
            driver: share(cpu.driver),
            receiver: share(cpu.receiver),
        }
    }

    /// What Demae costs, the database included.
    pub(crate) fn demae(self) -> f64 {
        self.server + self.database.unwrap_or(0.0)
    }
}

impl Figure {
    /// A figure without measures yet.
    pub(crate) fn new(row: Row, store: Option<StoreKind>, case: impl Into<String>) -> Self {
        Self {
            row,
            store,
            case: case.into(),
            measures: Vec::new(),
            target: None,
            cpu: None,
            notes: Vec::new(),
        }
    }

    /// Adds a measure.
    pub(crate) fn with(mut self, name: &'static str, value: f64, unit: Unit) -> Self {
        self.measures.push(Measure { name, value, unit });
        self
    }

    /// Sets the target.
    pub(crate) fn aiming(mut self, text: &'static str, met: bool) -> Self {
        self.target = Some(Target { text, met });
        self
    }

    /// Sets the processor time.
    pub(crate) fn costing(mut self, cpu: CpuPerMessage) -> Self {
        self.cpu = Some(cpu);
        self
    }

    /// Adds a note.
    pub(crate) fn noting(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    fn cells(&self) -> [String; 9] {
        let time = |time: Option<f64>| time.map_or_else(|| "–".to_owned(), few_digits);
        let cpu = self.cpu;
        let figure: Vec<String> = self.measures.iter().map(Measure::text).collect();
        let target = |target: &Target| {
            format!(
                "{}: {}",
                target.text,
                if target.met { "met" } else { "**missed**" }
            )
        };
        [
            [self.row.title(), &self.case]
                .map(str::trim)
                .join(" ")
                .trim()
                .to_owned(),
            self.store
                .map_or_else(|| "–".to_owned(), |store| store.to_string()),
            if figure.is_empty() {
                "did not run".to_owned()
            } else {
                figure.join(", ")
            },
            self.target.as_ref().map_or_else(|| "–".to_owned(), target),
            time(cpu.map(|cpu| cpu.server)),
            time(cpu.and_then(|cpu| cpu.database)),
            time(cpu.map(|cpu| cpu.driver)),
            time(cpu.map(|cpu| cpu.receiver)),
            self.notes.join("; ").replace('|', "/").replace('\n', " "),
        ]
    }
}

impl Measure {
    fn text(&self) -> String {
        let Self { name, value, unit } = self;
        let value = match unit {
            Unit::PerSecond => format!("{}/s", thousands(*value)),
            Unit::Milliseconds => format!("{value:.2} ms"),
            Unit::Microseconds => format!("{value:.0} µs"),
            Unit::Mebibytes => format!("{value:.0} MiB"),
            Unit::Times => format!("× {value:.2}"),
        };
        [*name, &value].join(" ").trim().to_owned()
    }
}

impl Report {
    /// The machine and the table, as Markdown that can be read as it is.
    pub(crate) fn text(&self) -> String {
        let head = [
            "what",
            "store",
            "figure",
            "target",
            "server µs",
            "database µs",
            "driver µs",
            "receiver µs",
            "notes",
        ];
        let rows: Vec<[String; 9]> = self.figures.iter().map(Figure::cells).collect();
        format!("{}.\n\n{}", self.machine, table(&head.map(str::to_owned), &rows))
    }
}

/// A Markdown table whose columns are aligned.
fn table<const COLUMNS: usize>(head: &[String; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().chain([head]).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut text = String::new();
    let mut line = |row: &[String; COLUMNS]| {
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a string cannot fail.
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
    };
    line(head);
    line(&widths.map(|width| "-".repeat(width)));
    rows.iter().for_each(line);
    text
}

/// A time with a decimal where it is small.
fn few_digits(micros: f64) -> String {
    let decimals = usize::from(micros < 10.0);
    format!("{micros:.decimals$}")
}

/// `12345.6` as `12,346`.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `page` with `text` between its markers.
pub(crate) fn insert(page: &str, text: &str) -> Result<String> {
    let (before, rest) = page
        .split_once(BEGIN)
        .with_context(|| format!("no line {BEGIN}"))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("no line {END} after {BEGIN}"))?;
    Ok(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            processor: "A Processor".to_owned(),
            cores: 2,
            memory: 8.0,
            kernel: "6.1".to_owned(),
            sync_micros: 100,
            in_memory: false,
            sqlite: Some("3.50".to_owned()),
            postgres: None,
            commit: None,
            day: "2030-01-02".to_owned(),
        }
    }

    #[test]
    fn the_table_names_machine_figure_target_and_cost() {
        let cpu = Cpu {
            server: 1.0,
            database: Some(2.0),
            driver: 0.25,
            receiver: 0.0725,
        };
        let report = Report {
            machine: machine(),
            figures: vec![
                Figure::new(Row::Throughput, Some(StoreKind::Postgres), "10 endpoints")
                    .with("", 12_345.6, Unit::PerSecond)
                    .with("p99", 1.5, Unit::Milliseconds)
                    .aiming("≥ 9,300/s", true)
                    .costing(CpuPerMessage::of(cpu, 10_000))
                    .noting("all arrived"),
                Figure::new(Row::Ceiling, None, "").noting("no receiver | no figure\nat all"),
            ],
        };
        let text = report.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "2030-01-02: A Processor, 2 cores, 8 GiB, Linux 6.1, 8 KiB on the disk in 100 µs (median), SQLite 3.50."
        );
        let cells: Vec<&str> = lines[4].trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(
            cells[1..],
            [
                "Postgres",
                "12,346/s, p99 1.50 ms",
                "≥ 9,300/s: met",
                "100",
                "200",
                "25",
                "7.2",
                "all arrived"
            ]
        );
        assert!(lines[5].contains("did not run") && lines[5].contains("no receiver / no figure at all"));
        let widths: Vec<usize> = lines[2..].iter().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
    }

    #[test]
    fn a_page_keeps_what_people_wrote() {
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let once = insert(&page, "new").unwrap();
        assert_eq!(once, format!("before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"));
        assert_eq!(insert(&once, "new").unwrap(), once);
        assert!(insert("no markers", "new").is_err());
        assert!(insert(&format!("{END}\n{BEGIN}"), "new").is_err());
    }

    #[test]
    fn large_numbers_can_be_read() {
        assert_eq!(
            ["0", "999", "1,000", "1,234,567"],
            [0.0, 999.0, 1_000.0, 1_234_567.0]
                .map(thousands)
                .each_ref()
                .map(String::as_str)
        );
    }
}
