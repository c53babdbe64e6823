//! Medians, percentiles, and what a figure prints: a table with notes, or JSON of the same.

use std::fmt;

use serde_json::{Map, Value, json};

/// A cell of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number with so many decimals.
    Number(f64, usize),
    /// There is nothing to say.
    Empty,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Number(number as f64, 0)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number, decimals) => write!(f, "{number:.decimals$}"),
            Self::Empty => f.write_str("-"),
        }
    }
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What the figure is of.
    pub title: String,
    /// Names of the columns; the first names the rows.
    pub columns: Vec<&'static str>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
    /// What has to be known about them.
    pub notes: Vec<String>,
}

impl Report {
    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let cell = |cell: &Cell| match cell {
                Cell::Text(text) => json!(text),
                Cell::Number(number, _) => json!(number),
                Cell::Empty => Value::Null,
            };
            let pairs = self.columns.iter().zip(row).map(|(name, value)| ((*name).to_owned(), cell(value)));
            Value::Object(pairs.collect::<Map<_, _>>())
        });
        json!({"title": self.title, "rows": rows.collect::<Vec<_>>(), "notes": self.notes})
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        let head = self.columns.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let rows: Vec<Vec<String>> =
            self.rows.iter().map(|row| row.iter().map(Cell::to_string).collect()).collect();
        let all = || std::iter::once(&head).chain(&rows);
        let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0);
        for row in all() {
            for (at, cell) in row.iter().enumerate() {
                match at {
                    0 => write!(f, "  {cell:<width$}", width = width(0))?,
                    _ => write!(f, "  {cell:>width$}", width = width(at))?,
                }
            }
            writeln!(f)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  {note}"))
    }
}

/// The middle one; of an even number, the lower of the two in the middle. Zero of none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

/// The smallest value that so many percent are not above. Zero of none.
#[must_use]
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(at.max(1) - 1).copied().unwrap_or(0.0)
}

/// One number over another; nothing if there is none to compare with.
#[must_use]
pub fn ratio(over: f64, under: f64) -> Cell {
    match under > 0.0 && over > 0.0 {
        true => Cell::Number(over / under, 2),
        false => Cell::Empty,
    }
}

/// Bytes as MiB.
#[must_use]
pub fn mib(bytes: f64) -> Cell {
    match bytes > 0.0 {
        true => Cell::Number(bytes / f64::from(1 << 20), 0),
        false => Cell::Empty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(
            (median(&values), percentile(&values, 99.0), percentile(&values, 100.0)),
            (50.0, 99.0, 100.0)
        );
        assert_eq!((median(&[]), percentile(&[3.0], 99.9)), (0.0, 3.0));
    }

    #[test]
    fn a_report_is_a_table_and_json() {
        let rows =
            vec![vec![Cell::from("one"), Cell::Number(1.25, 1)], vec![Cell::from("none"), Cell::Empty]];
        let report = Report {
            title: "Title".into(),
            columns: vec!["name", "value"],
            rows,
            notes: vec!["note".into()],
        };
        assert_eq!(report.to_string(), "Title\n  name  value\n  one     1.2\n  none      -\n  note\n");
        assert_eq!(report.json()["rows"][0], json!({"name": "one", "value": 1.25}));
    }
}
