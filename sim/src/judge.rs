//! Which judges look at a run, and in which order: the cheap and the sharp first. The judges themselves are
//! in `check/`; this file only shows them what a run left.

use steadfast_core::state::effect::Entry;
use steadfast_core::types::Index;

use crate::check::log::LogEntry;
use crate::check::{self, Verdict as Judged};
use crate::history::{History, HistoryError, Record};
use crate::rare::{self, Rare};
use crate::run::Verdict;
use crate::world::{Committed, Remains};

/// Judges a run that came to its end, and says which rare states it shows.
#[must_use]
pub fn run(remains: &Remains) -> (Verdict, Rare) {
    let none = Rare::new;
    let Some(committed) = &remains.committed else {
        return (failed("log", "the final log can't be read from any node".into()), none());
    };
    let log = match decode(committed) {
        Ok(log) => log,
        Err(what) => return (failed("log", what), none()),
    };
    let history = match History::from_records(remains.recorder.records()) {
        Ok(history) => history,
        Err(error) => return (failed("history", error.to_string()), none()),
    };
    let judged = check::judge(&history, &log).and(check::replay::judge(&log, &remains.states));
    (verdict(judged), rare::states(&history, &log))
}

/// Judges a history by the judges that need no log, and says how many operations it holds.
///
/// # Errors
/// The first record that makes it no history.
pub fn history_alone(records: &[Record]) -> Result<(Verdict, usize), HistoryError> {
    let history = History::from_records(records)?;
    Ok((verdict(alone(&check::ahead::open(&history))), history.ops.len()))
}

fn alone(history: &History) -> Judged {
    check::linear::judge(history)
        .and(check::expiry::judge(history))
        .and(check::expiry::pace(history))
        .and(check::holds::judge(history))
        .and(check::access::judge(history))
}

fn decode(committed: &Committed) -> Result<Vec<LogEntry>, String> {
    let entries = committed.log.iter().enumerate();
    let decoded = entries.map(|(at, (term, body))| {
        let index = Index(at as u64 + 1);
        let entry = Entry::decode(body).map_err(|error| format!("entry {index}: {error}"))?;
        Ok(LogEntry { index, term: *term, entry })
    });
    decoded.collect()
}

fn verdict(judged: Judged) -> Verdict {
    match judged {
        Judged::Passed => Verdict::Passed,
        Judged::Failed { judge, what } => failed(judge, what),
        Judged::Inconclusive { judge, why } => Verdict::Inconclusive(format!("{judge}: {why}")),
    }
}

fn failed(judge: &str, what: String) -> Verdict {
    Verdict::Failed { judge: judge.into(), what }
}
