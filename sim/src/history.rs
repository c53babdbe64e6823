//! Histories: what clients asked, when, and what they were told. Simulated and live clients write the same.
//!
//! A [`Recorder`] takes down records in the order in which they happen; [`History::from_records`] pairs each
//! invocation with its completion. `history/json.rs` is the file format. Nothing here judges anything, and
//! nothing here asks a server.

pub mod json;

use std::collections::BTreeMap;
use std::fmt;

use steadfast_core::error::Failure;
use steadfast_core::reply::{Receipt, Reply, Value};
use steadfast_core::types::{Blob, NodeId, SessionId};

/// A whole history, in the order of invocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The operations.
    pub ops: Vec<Operation>,
}

/// One operation of one client: asked once, answered at most once, whatever retries lay between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The client.
    pub process: u64,
    /// The client's own number for the operation.
    pub id: u64,
    /// As whom the client was logged in; `None` where access is not enforced.
    pub user: Option<Blob>,
    /// The command's arguments, its name first.
    pub args: Vec<Blob>,
    /// When it was invoked.
    pub invoked: Moment,
    /// When its end was reported, if ever. An operation that never ended is [`End::Unknown`].
    pub completed: Option<Moment>,
    /// What came of it.
    pub end: End,
    /// Where it claims to have taken effect or read.
    pub receipt: Option<Receipt>,
    /// The session that it ran in.
    pub session: Option<SessionId>,
    /// Its number in that session.
    pub seq: Option<u64>,
    /// The node that answered.
    pub node: Option<NodeId>,
}

/// A moment in a history. Moments are ordered by the records, which one clock put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// The record's index.
    pub index: u64,
    /// Nanoseconds of the history's one monotonic clock.
    pub ns: u64,
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It took effect, and this is the answer.
    Ok(Value),
    /// It definitely had no effect.
    Failed(Failure),
    /// It may have happened, may yet happen, or may never.
    Unknown(Option<Failure>),
}

impl Operation {
    /// The answer of an operation that succeeded.
    #[must_use]
    pub fn value(&self) -> Option<&Value> {
        match &self.end {
            End::Ok(value) => Some(value),
            End::Failed(_) | End::Unknown(_) => None,
        }
    }

    /// Whether the outcome is unknown.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self.end, End::Unknown(_))
    }

    /// Whether this operation had ended before `other` was invoked. One of unknown outcome never has: it may take
    /// effect yet, long after its client gave it up.
    #[must_use]
    pub fn before(&self, other: &Operation) -> bool {
        !self.is_unknown() && self.completed.is_some_and(|completed| completed < other.invoked)
    }

    /// The session and sequence, if it ran in a session.
    #[must_use]
    pub fn once(&self) -> Option<(SessionId, u64)> {
        self.session.zip(self.seq)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}.{}", self.process, self.id)?;
        for arg in &self.args {
            write!(f, " {arg}")?;
        }
        match &self.end {
            End::Ok(value) => write!(f, " -> {}", Brief(value))?,
            End::Failed(failure) => write!(f, " -> {}", failure.code.name())?,
            End::Unknown(Some(failure)) => write!(f, " -> unknown ({})", failure.code.name())?,
            End::Unknown(None) => f.write_str(" -> unknown")?,
        }
        if let Some(receipt) = self.receipt {
            write!(f, " at {} time {}", receipt.position, receipt.time)?;
        }
        if let Some((session, seq)) = self.once() {
            write!(f, " once {session}/{seq}")?;
        }
        f.write_str("]")
    }
}

/// A reply's value in few words.
pub struct Brief<'a>(pub &'a Value);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Nil => f.write_str("nil"),
            Value::Status(text) => f.write_str(text),
            Value::Int(number) => write!(f, "{number}"),
            Value::Bytes(bytes) => write!(f, "{bytes:?}"),
            Value::List(items) => {
                f.write_str("(")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{}", if at == 0 { "" } else { " " }, Brief(item))?;
                }
                f.write_str(")")
            }
            Value::Map(pairs) => write!(f, "a map of {}", pairs.len()),
            Value::Waiting(id) => write!(f, "waiting for {id}"),
            Value::Pairs(pairs) => {
                f.write_str("(")?;
                for (at, (first, second)) in pairs.iter().enumerate() {
                    write!(f, "{}{}={}", if at == 0 { "" } else { " " }, Brief(first), Brief(second))?;
                }
                f.write_str(")")
            }
        }
    }
}

/// One line of a history: an invocation or a completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Counts the records of the history from zero.
    pub index: u64,
    /// The client.
    pub process: u64,
    /// The client's own number for the operation; never used twice by one client.
    pub op: u64,
    /// Nanoseconds of the one clock; never less than in the record before.
    pub time_ns: u64,
    /// What the record says.
    pub event: RecordEvent,
    /// The session, as far as it is known by then.
    pub session: Option<SessionId>,
    /// The number in the session, as far as it is known by then.
    pub seq: Option<u64>,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordEvent {
    /// A client begins to ask.
    Invoke {
        /// As whom; `None` where access is not enforced.
        user: Option<Blob>,
        /// The arguments, the command's name first.
        args: Vec<Blob>,
    },
    /// A client learned the end.
    Complete {
        /// What came of it.
        end: End,
        /// Where it claims to have taken effect or read.
        receipt: Option<Receipt>,
        /// The node that answered.
        node: Option<NodeId>,
    },
}

/// Takes down a history as it happens, in memory.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    records: Vec<Record>,
    ops: u64,
}

impl Recorder {
    /// Takes down an invocation and gives it a number. A password among the arguments is not taken down.
    pub fn invoke(
        &mut self,
        time_ns: u64,
        process: u64,
        user: Option<Blob>,
        args: Vec<Blob>,
        once: Option<(SessionId, u64)>,
    ) -> u64 {
        let op = self.ops;
        self.ops += 1;
        let event = RecordEvent::Invoke { user, args: without_password(args) };
        self.push(time_ns, process, op, event, once);
        op
    }

    /// Takes down the end of an operation: `fail` for a definite error, `info` for an indeterminate one.
    pub fn complete(
        &mut self,
        time_ns: u64,
        process: u64,
        op: u64,
        reply: &Reply,
        node: Option<NodeId>,
        once: Option<(SessionId, u64)>,
    ) {
        let end = match &reply.outcome {
            Ok(value) => End::Ok(value.clone()),
            Err(failure) if failure.is_definite() => End::Failed(failure.clone()),
            Err(failure) => End::Unknown(Some(failure.clone())),
        };
        let event = RecordEvent::Complete { end, receipt: reply.receipt, node };
        self.push(time_ns, process, op, event, once);
    }

    /// Takes down that a client gave up, so that the outcome is unknown.
    pub fn give_up(&mut self, time_ns: u64, process: u64, op: u64, once: Option<(SessionId, u64)>) {
        let event = RecordEvent::Complete { end: End::Unknown(None), receipt: None, node: None };
        self.push(time_ns, process, op, event, once);
    }

    /// All that was taken down.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    fn push(
        &mut self,
        time_ns: u64,
        process: u64,
        op: u64,
        event: RecordEvent,
        once: Option<(SessionId, u64)>,
    ) {
        let (session, seq) = (once.map(|once| once.0), once.map(|once| once.1));
        let index = self.records.len() as u64;
        self.records.push(Record { index, process, op, time_ns, event, session, seq });
    }
}

/// Why records make no history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryError {
    /// The record's index.
    pub index: u64,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {}: {}", self.index, self.what)
    }
}

impl std::error::Error for HistoryError {}

impl History {
    /// Pairs invocations with completions.
    ///
    /// # Errors
    /// Names the first record whose index or time is out of order, that ends what did not begin or has ended,
    /// that begins an operation twice, or that changes its session.
    pub fn from_records(records: &[Record]) -> Result<Self, HistoryError> {
        let mut history = Self::default();
        let mut open: BTreeMap<(u64, u64), usize> = BTreeMap::new();
        let mut now = 0;
        for (at, record) in records.iter().enumerate() {
            let error = |what: String| HistoryError { index: at as u64, what };
            if record.index != at as u64 {
                return Err(error(format!("its index says {}", record.index)));
            }
            if record.time_ns < now {
                return Err(error(format!("its time {} is before {now}", record.time_ns)));
            }
            now = record.time_ns;
            history.add(&mut open, record).map_err(error)?;
        }
        Ok(history)
    }

    fn add(&mut self, open: &mut BTreeMap<(u64, u64), usize>, record: &Record) -> Result<(), String> {
        let moment = Moment { index: record.index, ns: record.time_ns };
        let name = (record.process, record.op);
        match &record.event {
            RecordEvent::Invoke { user, args } => {
                if open.insert(name, self.ops.len()).is_some() {
                    return Err(format!("process {} begins its operation {} again", name.0, name.1));
                }
                if args.is_empty() {
                    return Err("it asks for nothing".into());
                }
                self.ops.push(Operation {
                    process: record.process,
                    id: record.op,
                    user: user.clone(),
                    args: args.clone(),
                    invoked: moment,
                    completed: None,
                    end: End::Unknown(None),
                    receipt: None,
                    session: record.session,
                    seq: record.seq,
                    node: None,
                });
            }
            RecordEvent::Complete { end, receipt, node } => {
                let at = *open.get(&name).ok_or(format!(
                    "process {} ends its operation {}, which it did not begin",
                    name.0, name.1
                ))?;
                let op = &mut self.ops[at];
                if op.completed.is_some() {
                    return Err(format!("process {} ends its operation {} again", name.0, name.1));
                }
                op.completed = Some(moment);
                op.end = end.clone();
                op.receipt = *receipt;
                op.node = *node;
                op.session = agreed("session", op.session, record.session)?;
                op.seq = agreed("seq", op.seq, record.seq)?;
            }
        }
        Ok(())
    }
}

impl History {
    /// The operations with retries by hand put together: the same command under the same session and sequence
    /// is one operation, however often a client asked. It began when it was first asked for, and had happened
    /// when it was first answered.
    #[must_use]
    pub fn merged(&self) -> Vec<Operation> {
        let mut merged: Vec<Operation> = Vec::new();
        let mut known: BTreeMap<(SessionId, u64), Vec<usize>> = BTreeMap::new();
        for op in &self.ops {
            let Some(once) = op.once() else {
                merged.push(op.clone());
                continue;
            };
            let same = known.entry(once).or_default();
            match same.iter().find(|at| merged[**at].args == op.args) {
                Some(at) => merged[*at].take_answer(op),
                None => {
                    same.push(merged.len());
                    merged.push(op.clone());
                }
            }
        }
        merged
    }
}

impl Operation {
    /// Takes the answer of a retry, if it says more: a success says most, a definite failure of one attempt
    /// says nothing about another.
    fn take_answer(&mut self, retry: &Operation) {
        let weight = |op: &Operation| match op.end {
            End::Failed(_) => 0,
            End::Unknown(_) => 1,
            End::Ok(_) => 2,
        };
        let better = weight(retry) > weight(self);
        let earlier =
            weight(retry) == weight(self) && retry.completed < self.completed && retry.completed.is_some();
        if better || earlier {
            let first = self.invoked;
            *self = retry.clone();
            self.invoked = first;
        }
    }
}

/// A client may learn the session and number of an operation after it began, but they never change.
fn agreed<T: PartialEq + Copy + fmt::Display>(
    what: &str,
    first: Option<T>,
    second: Option<T>,
) -> Result<Option<T>, String> {
    match (first, second) {
        (Some(first), Some(second)) if first != second => {
            Err(format!("its {what} was {first} and is now {second}"))
        }
        _ => Ok(second.or(first)),
    }
}

/// Puts several recordings that share one clock together, and numbers them anew. Where times are equal,
/// invocations come first: then the two count as concurrent, which accuses nobody falsely.
#[must_use]
pub fn merge(recordings: Vec<Vec<Record>>) -> Vec<Record> {
    let mut recordings: Vec<_> = recordings.into_iter().map(|r| r.into_iter().peekable()).collect();
    let mut merged: Vec<Record> = Vec::new();
    loop {
        let next = recordings
            .iter_mut()
            .enumerate()
            .filter_map(|(at, recording)| {
                let record = recording.peek()?;
                let completes = matches!(record.event, RecordEvent::Complete { .. });
                Some(((record.time_ns, completes), at))
            })
            .min();
        let Some((_, at)) = next else { return merged };
        if let Some(mut record) = recordings[at].next() {
            record.index = merged.len() as u64;
            merged.push(record);
        }
    }
}

/// Passwords have no place in a recording, and no judge needs one.
fn without_password(mut args: Vec<Blob>) -> Vec<Blob> {
    let is = |at: usize, word: &[u8]| args.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word));
    let from = if is(0, b"AUTH") {
        args.len().saturating_sub(1).max(1)
    } else if is(0, b"USER") && (is(1, b"ADD") || is(1, b"PASSWORD")) {
        3
    } else {
        args.len()
    };
    args.iter_mut().skip(from).for_each(|arg| *arg = Blob::from("***"));
    args
}

#[cfg(test)]
mod tests;
