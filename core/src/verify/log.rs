//! Judges the log: what each segment holds, and whether a start would take the whole. The latter is asked of the code
//! that every start runs ([`Recovery::examine`]), so that both always agree.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::report::{Consequence, Damage, FileReport, LogReport, Note};
use crate::io::{DiskError, DiskOp, DiskReply, FileName, HaltReason, Outbox, Output, Token};
use crate::state::effect::Entry;
use crate::time::Millis;
use crate::types::{EntryId, Index, Term};
use crate::wal::{
    HEADER_BYTES, HeaderFlaw, Identity, Recovery, RecoveryStep, Refusal, Salvaged, Scan, SegmentHeader, Setup,
};

/// What a segment is to the log, by the headers alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A part of it, up to where a newer segment continues it.
    InUse(Option<u64>),
    /// Prepared for what comes next.
    Prepared,
    /// Needed no more.
    Past,
}

/// The role of each segment. A chain that breaks off leaves open what the segments before it are: they are taken
/// for parts of the log.
pub(super) fn roles(
    headers: &BTreeMap<u64, Result<SegmentHeader, HeaderFlaw>>,
    covered: Index,
) -> BTreeMap<u64, Role> {
    let newest = headers.iter().rev().find_map(|(segment, header)| header.ok().map(|_| *segment));
    let newest = newest.unwrap_or(0);
    let role = |segment: &u64| if *segment > newest { Role::Prepared } else { Role::Past };
    let mut roles: BTreeMap<u64, Role> = headers.keys().map(|segment| (*segment, role(segment))).collect();
    let (mut segment, mut end) = (newest, None);
    while segment > 0 {
        roles.entry(segment).and_modify(|role| *role = Role::InUse(end));
        let Some(Ok(header)) = headers.get(&segment) else {
            roles.range_mut(..segment).for_each(|(_, role)| *role = Role::InUse(None));
            break;
        };
        let link = header.link;
        if link.next <= covered.next() || link.position.segment >= segment {
            break;
        }
        (segment, end) = (link.position.segment, Some(link.position.offset));
    }
    roles
}

/// The question to the code of a start, under way.
#[derive(Clone, Debug)]
pub(super) struct Question {
    recovery: Recovery,
    out: Outbox,
    pending: Option<(Token, DiskOp)>,
    answer: Option<Answer>,
}

/// What a start would do.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// Take this log.
    Takes {
        /// The entries behind the snapshot.
        log: Salvaged,
        /// Whether they follow from the snapshot.
        follows: bool,
        /// Bytes of torn tail that it would cut.
        cut: u64,
    },
    /// Refuse it if the node is alone, and fetch what is lost from others if it is not.
    Damaged {
        /// Why.
        refusal: Refusal,
        /// What is left.
        log: Salvaged,
        /// Whether it may have ended later than that shows.
        doubtful: bool,
    },
    /// Refuse it.
    Refuses(String),
}

impl Question {
    /// Asks. The directory is that of a node which is `alone` or has others to ask.
    pub(super) fn new(setup: Setup, vouched: u64, covered: EntryId, alone: bool) -> Self {
        let mut recovery = Recovery::examine(setup, vouched, covered, alone);
        let mut out = Outbox::default();
        recovery.start(&mut out);
        let mut question = Self { recovery, out, pending: None, answer: None };
        question.take_op();
        question
    }

    fn take_op(&mut self) {
        self.pending = self.out.drain().find_map(|output| match output {
            Output::Disk { token, op } => Some((token, op)),
            _ => None,
        });
    }

    /// The next read; `None` when there is an answer.
    pub(super) fn next_op(&self) -> Option<DiskOp> {
        self.pending.as_ref().map(|(_, op)| op.clone())
    }

    /// The read that [`Self::next_op`] named has ended.
    ///
    /// # Errors
    /// A failure that says nothing about the file's bytes, such as that it has gone.
    pub(super) fn done(
        &mut self,
        covered: EntryId,
        result: Result<DiskReply, DiskError>,
    ) -> Result<(), HaltReason> {
        let (token, _) = self.pending.take().expect("only a read under way ends");
        match self.recovery.disk_done(token, result, &mut self.out) {
            Ok(RecoveryStep::Working) => {
                self.take_op();
                self.answer = self.recovery.examined().map(|examined| Answer::Takes {
                    log: Salvaged {
                        start: covered,
                        entries: examined.entries.into_iter().map(|(_, term, it)| (term, Some(it))).collect(),
                        ..Salvaged::default()
                    },
                    follows: examined.follows,
                    cut: examined.cut,
                });
            }
            Ok(RecoveryStep::Done(recovered)) => {
                let damage = recovered.damage.expect("an examination ends early, or with damage");
                let (refusal, log, doubtful) = (damage.refusal, damage.log, damage.doubtful);
                self.answer = Some(Answer::Damaged { refusal, log, doubtful });
            }
            Err(reason @ HaltReason::Disk { .. }) => return Err(reason),
            Err(reason) => self.answer = Some(Answer::Refuses(reason.to_string())),
        }
        Ok(())
    }

    /// The answer, once there is nothing more to read.
    pub(super) fn finish(self) -> Answer {
        self.answer.expect("a question without a read under way is answered")
    }
}

/// One segment in a line.
pub(super) fn file_report(segment: u64, len: u64, role: Role, scan: &Scan) -> FileReport {
    let file = FileName::Wal(segment);
    let content = match &scan.span {
        Some((first, last)) => format!(
            "{} entries ({} to {}, terms {} to {}) in {} batches",
            scan.entries, first.index, last.index, first.term, last.term, scan.batches
        ),
        None => format!("no entries in {} batches", scan.batches),
    };
    match (role, &scan.header) {
        (Role::InUse(end), Ok(header)) => {
            let continues = match header.link.position.segment {
                0 => format!("begins the log with entry {}", header.link.next),
                before => format!("continues {}", FileName::Wal(before)),
            };
            let used = end.unwrap_or(scan.used).min(len);
            FileReport::new(file, format!("log, {content}; {continues}"), len, used)
        }
        (Role::InUse(_), Err(_)) => {
            FileReport::new(file, format!("log, {content}; no header"), len, scan.used)
        }
        (Role::Prepared, _) => FileReport::spare(file, "prepared for the log, not in use yet", len),
        (Role::Past, _) => FileReport::spare(file, "older log, needed no more", len),
    }
}

/// What is wrong in one segment.
pub(super) fn damage(segment: u64, scan: &Scan, answer: &Answer) -> Vec<Damage> {
    let file = FileName::Wal(segment);
    let consequence = match answer {
        Answer::Takes { .. } => Consequence::Unnoticed,
        Answer::Damaged { .. } => Consequence::Fetches,
        Answer::Refuses(_) => Consequence::Refuses,
    };
    let flaws = scan.flaws.iter().map(|(offset, flaw)| {
        Damage::new(file, *offset, format!("{flaw}, in a part that was durable"), consequence)
    });
    let unreadable = scan.unreadable.iter().map(|(offset, index, error)| {
        Damage::new(file, *offset, format!("entry {index}: {error}"), Consequence::Refuses)
    });
    let stray = scan.stray.iter().map(|offset| {
        let what = "there are bytes where padding must be: no record suffers, but the disk does not keep what was written";
        Damage::new(file, *offset, what.to_owned(), Consequence::Starts)
    });
    flaws.chain(unreadable).chain(stray).collect()
}

/// What the start's code says in addition. `explained` says that a damaged snapshot was reported.
pub(super) fn refused(answer: &Answer, explained: bool, known: &[Damage]) -> Option<Damage> {
    let (segment, offset, what) = match answer {
        Answer::Takes { .. } => return None,
        Answer::Damaged { refusal: Refusal::Damaged { segment, offset, what }, .. } => {
            (*segment, *offset, what.clone())
        }
        Answer::Damaged { refusal: Refusal::Unfounded { segment, what }, .. } if !explained => {
            (*segment, 0, format!("the file {what}"))
        }
        Answer::Damaged { refusal: Refusal::Unfounded { .. }, .. } => return None,
        Answer::Damaged { refusal: Refusal::Foreign(text), .. } | Answer::Refuses(text) => {
            return Some(Damage::new(FileName::Wal(0), 0, text.clone(), Consequence::Refuses));
        }
    };
    let file = FileName::Wal(segment);
    let told = known.iter().any(|damage| (damage.file, damage.offset) == (file, offset));
    (!told).then(|| Damage::new(file, offset, what, Consequence::Fetches))
}

/// A start that misses a header names the segment that should have one. If that one looks as if it had never had any, the
/// segment before it may be what is lost: the two can't be told apart, and both are named. `lengths` are the files'.
pub(super) fn neighbour(
    answer: &Answer,
    headers: &BTreeMap<u64, Result<SegmentHeader, HeaderFlaw>>,
    lengths: impl Fn(FileName) -> Option<u64>,
) -> Option<Damage> {
    let Answer::Damaged { refusal: Refusal::Damaged { segment, offset: 0, .. }, .. } = answer else {
        return None;
    };
    if headers.get(segment) != Some(&Err(HeaderFlaw::Zero)) {
        return None;
    }
    let before = segment.checked_sub(1).filter(|before| *before > 0)?;
    let (file, named) = (FileName::Wal(before), FileName::Wal(*segment));
    let (offset, what) = match (lengths(file), headers.get(&before)) {
        (None, _) => (0, format!("the file is missing, unless the header of {named} alone is gone")),
        (Some(len), Some(Ok(header))) if len < header.bytes => (
            len,
            format!(
                "the file was cut from {} bytes, unless the header of {named} alone is gone",
                header.bytes
            ),
        ),
        _ => return None,
    };
    Some(Damage::new(file, offset, what, Consequence::Fetches))
}

/// What a crash has left at the end of the log.
pub(super) fn torn(
    scans: &BTreeMap<u64, Scan>,
    roles: &BTreeMap<u64, Role>,
    answer: &Answer,
) -> Option<Note> {
    let Answer::Takes { cut: cut @ 1.., .. } = answer else { return None };
    let newest = roles.iter().rev().find(|(_, role)| **role == Role::InUse(None))?.0;
    let offset = scans.get(newest).and_then(|scan| scan.torn).unwrap_or(HEADER_BYTES);
    let what = format!(
        "{cut} bytes of a write that a crash interrupted: nobody was told of it, and a start cuts it"
    );
    Some(Note { file: FileName::Wal(*newest), offset, what })
}

/// What the entries say about each other: terms and cluster time never go down. `place` finds the file of an entry.
pub(super) fn contradictions(log: &Salvaged, time: Millis, place: impl Fn(Index) -> FileName) -> Vec<Damage> {
    let mut found = Vec::new();
    let (mut newest_term, mut newest_time) = (log.start.term, time);
    for ((term, payload), index) in log.entries.iter().zip(log.start.index.0 + 1..) {
        let index = Index(index);
        if *term > Term(0) && *term < newest_term {
            let what = format!("entry {index} is of term {term}, behind one of term {newest_term}");
            found.push(Damage::new(place(index), 0, what, Consequence::Unnoticed));
        }
        newest_term = newest_term.max(*term);
        let Some(Ok(time)) = payload.as_ref().map(|payload: &Bytes| Entry::peek_time(payload)) else {
            continue;
        };
        if time < newest_time {
            let what = format!("entry {index} is of the time {time}, behind one of {newest_time}");
            found.push(Damage::new(place(index), 0, what, Consequence::Unnoticed));
        }
        newest_time = newest_time.max(time);
    }
    found
}

/// The log in figures.
/// `found` is the newest segment in which anything was.
pub(super) fn report(answer: &Answer, covered: EntryId, found: u64) -> LogReport {
    let (log, more_lost) = match answer {
        Answer::Takes { log, .. } => (log, false),
        Answer::Damaged { log, doubtful, refusal: Refusal::Damaged { segment, .. } } => {
            (log, *doubtful || *segment > found)
        }
        Answer::Damaged { log, doubtful, .. } => (log, *doubtful),
        Answer::Refuses(_) => return LogReport { covered, last: covered, ..LogReport::default() },
    };
    let last = Index(log.start.index.0 + log.entries.len() as u64);
    let term = log.entries.last().map_or(log.start.term, |(term, _)| *term);
    let mut lost = lost(log);
    if log.start.index > covered.index {
        lost.insert(0, (covered.index.next(), log.start.index));
    }
    let entries = log.entries.iter().filter(|(_, payload)| payload.is_some()).count() as u64;
    LogReport { covered, last: EntryId { index: last, term }, entries, lost, more_lost }
}

/// The runs of lost entries.
fn lost(log: &Salvaged) -> Vec<(Index, Index)> {
    let mut runs: Vec<(Index, Index)> = Vec::new();
    for ((_, payload), index) in log.entries.iter().zip(log.start.index.0 + 1..) {
        match (payload, runs.last_mut()) {
            (Some(_), _) => {}
            (None, Some((_, to))) if to.0 + 1 == index => *to = Index(index),
            (None, _) => runs.push((Index(index), Index(index))),
        }
    }
    runs
}

/// Whose log it is by its own headers, where the hard state does not say.
pub(super) fn claimed(headers: &BTreeMap<u64, Result<SegmentHeader, HeaderFlaw>>) -> Option<Identity> {
    headers.values().flatten().next().map(|header| header.identity)
}
