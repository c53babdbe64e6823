//! Counts and latencies of a load, and their report.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use steadfast_core::error::ErrorCode;

use super::mix::Op;

/// Latencies beyond this count as this, in microseconds.
const LONGEST_US: u64 = 600_000_000;

/// What was counted.
pub struct Tally {
    ops: BTreeMap<Op, Histogram<u64>>,
    errors: BTreeMap<ErrorCode, u64>,
    /// Requests that had their moment and were never sent, because all connections waited for so long.
    pub unsent: u64,
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, 3).expect("these bounds make a histogram")
}

impl Tally {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self { ops: BTreeMap::new(), errors: BTreeMap::new(), unsent: 0 }
    }

    /// A request was answered.
    pub fn count(&mut self, op: Op, latency: Duration, failure: Option<ErrorCode>) {
        match failure {
            Some(code) => *self.errors.entry(code).or_default() += 1,
            None => {
                let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).clamp(1, LONGEST_US);
                self.ops.entry(op).or_insert_with(histogram).record(us).expect("it lies within the bounds");
            }
        }
    }

    /// Adds what another counted.
    pub fn add(&mut self, other: &Self) {
        for (op, more) in &other.ops {
            self.ops.entry(*op).or_insert_with(histogram).add(more).expect("all have the same bounds");
        }
        self.unsent += other.unsent;
        for (code, more) in &other.errors {
            *self.errors.entry(*code).or_default() += more;
        }
    }
}

/// What is said at the end.
#[derive(Serialize)]
pub struct Report {
    seconds: f64,
    connections: u32,
    pipeline: u32,
    /// Requests per second that were wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<u64>,
    operations: Vec<Line>,
    errors: BTreeMap<&'static str, u64>,
    unsent: u64,
}

/// One operation, or all together.
#[derive(Serialize)]
struct Line {
    operation: &'static str,
    count: u64,
    per_second: f64,
    mean_us: f64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p999_us: u64,
    max_us: u64,
}

impl Line {
    fn new(operation: &'static str, latencies: &Histogram<u64>, seconds: f64) -> Self {
        let count = latencies.len();
        Self {
            operation,
            count,
            per_second: (count as f64 / seconds).round(),
            mean_us: latencies.mean().round(),
            p50_us: latencies.value_at_quantile(0.5),
            p90_us: latencies.value_at_quantile(0.9),
            p99_us: latencies.value_at_quantile(0.99),
            p999_us: latencies.value_at_quantile(0.999),
            max_us: latencies.max(),
        }
    }
}

impl Report {
    /// Of all that was counted in this time.
    pub fn new(tally: Tally, time: Duration, connections: u32, pipeline: u32, rate: Option<u64>) -> Self {
        let seconds = time.as_secs_f64();
        let mut all = histogram();
        let mut operations = Vec::new();
        for (op, latencies) in &tally.ops {
            all.add(latencies).expect("all have the same bounds");
            operations.push(Line::new(op.name(), latencies, seconds));
        }
        if operations.len() != 1 {
            operations.push(Line::new("all", &all, seconds));
        }
        let errors = tally.errors.iter().map(|(code, count)| (code.name(), *count)).collect();
        Self { seconds, connections, pipeline, rate, operations, errors, unsent: tally.unsent }
    }

    /// One JSON object.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and names always have a JSON form")
    }

    /// For people.
    pub fn plain(&self) -> String {
        let load = match self.rate {
            Some(rate) => format!("{rate} requests per second were wanted, each with its moment"),
            None => "as many requests as are answered".to_owned(),
        };
        let mut text = format!(
            "{} connections with {} requests under way each, {} s; {load}\n\n{:<10}{:>10}{:>12}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}\n",
            self.connections,
            self.pipeline,
            self.seconds,
            "operation",
            "count",
            "per second",
            "mean us",
            "50 %",
            "90 %",
            "99 %",
            "99.9 %",
            "longest"
        );
        for line in &self.operations {
            let Line { operation, count, per_second, mean_us, p50_us, p90_us, p99_us, p999_us, max_us } =
                line;
            let _ = writeln!(
                text,
                "{operation:<10}{count:>10}{per_second:>12}{mean_us:>10}{p50_us:>10}{p90_us:>10}{p99_us:>10}{p999_us:>10}{max_us:>10}"
            );
        }
        for (code, count) in &self.errors {
            let _ = writeln!(text, "{count} times {code}");
        }
        if self.unsent > 0 {
            let _ = writeln!(
                text,
                "{} had their moment and were not sent, for all connections waited",
                self.unsent
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_counted_by_operation_and_errors_apart() {
        let (mut one, mut other) = (Tally::new(), Tally::new());
        for ms in 1..=100 {
            one.count(Op::Set, Duration::from_millis(ms), None);
        }
        other.count(Op::Get, Duration::from_secs(10_000), None);
        other.count(Op::Get, Duration::ZERO, Some(ErrorCode::Overloaded));
        one.add(&other);
        let report = Report::new(one, Duration::from_secs(10), 1, 1, None);
        let json: serde_json::Value = serde_json::from_str(&report.json()).expect("JSON");
        let line = |at: usize, name: &str| json["operations"][at][name].as_f64().expect("a number");
        assert_eq!((line(0, "count"), line(0, "per_second")), (100.0, 10.0));
        assert!((line(0, "p50_us") - 50_000.0).abs() < 100.0 && (line(0, "p99_us") - 99_000.0).abs() < 100.0);
        assert!((line(1, "max_us") / 6e8 - 1.0).abs() < 0.01, "longer than all that can be told apart");
        assert_eq!(json["operations"][2]["count"], 101);
        assert_eq!(json["errors"]["OVERLOADED"], 1);
        assert!(report.plain().contains("1 times OVERLOADED"));
    }
}
