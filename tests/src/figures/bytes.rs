//! Latency.
use super::options::Options;
use super::report::Report;
use std::io;
/// Measures.
///
/// # Errors
/// Never.
pub fn run(_: &Options) -> io::Result<Report> {
    Ok(Report::default())
}
